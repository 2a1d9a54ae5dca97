"The pool: what it selects, and files that show every damage"

import os
import random
import sys

import pytest

from autogets.core import UserError
from autogets.generators.build import build_pool
from autogets.generators.eda import EDA
from autogets.generators.pool import Pool
from generators.makers import Echo, numbered


@pytest.fixture
def pool():
    return build_pool(EDA(synonyms='none'), numbered(12), n=3)


def test_damaged_stores(tmp_path, pool):
    def damaged(name, change):
        folder = pool.save(tmp_path / name)
        change(folder)
        with pytest.raises(UserError) as e:
            Pool.load(folder)
        assert '\n' not in str(e.value) and str(folder) in str(e.value)
        return str(e.value)

    texts, manifest = (lambda f: f / 'texts.jsonl'), (lambda f: f / 'manifest.json')
    swap = lambda path, a, b: path.write_text(path.read_text().replace(a, b))
    assert 'sha256 differs' in damaged('sha', lambda f: swap(texts(f), 'printer', 'toaster'))
    assert 'sha256 differs' in damaged(
        'short', lambda f: texts(f).write_text(''.join(texts(f).read_text().splitlines(True)[:-1]))
    )
    assert 'line 12' in damaged('torn', lambda f: os.truncate(texts(f), texts(f).stat().st_size - 9))
    assert 'line 1:' in damaged('key', lambda f: swap(texts(f), '"label"', '"lable"'))
    assert 'line 1:' in damaged('type', lambda f: swap(texts(f), '"text": "', '"text": 3, "x": "'))
    assert 'no manifest.json' in damaged('gone', lambda f: manifest(f).unlink())
    assert 'not valid JSON' in damaged('half', lambda f: os.truncate(manifest(f), 40))
    assert 'format 2' in damaged('format', lambda f: swap(manifest(f), '"format": 2', '"format": 3'))
    assert 'cannot read' in damaged('texts', lambda f: texts(f).unlink())


ODD = ['line\nbreak', 'tab\t"quoted", comma', 'née Γειά 你好 🙂', '{{template}} {0} %s', 'x\u2028y\x85z\x00']


def test_select_needs_all_sources_and_keeps_row_numbers():
    rows = Echo({}).rows(['t0', 't1', 't2', 't3'], ['X', 'X', 'Y', 'Y'], [['a'], ['a', 'b'], ['b'], ['c', 'a', 'b']], 0)
    pool = Pool(rows.iloc[::-1], {})
    pick = lambda *a: pool.select(*a).text.tolist()
    assert pick(['a']) == ['t0']
    assert pick(['b', 'a']) == ['t2', 't1', 't0']
    assert pick({'a', 'b', 'c', 'zz'}) == ['t3', 't2', 't1', 't0']
    assert pick(['a', 'b'], 'Y') == ['t2'] and pick([]) == [] and list(pool.select(['a', 'b']).index) == [1, 2, 3]
    assert pool.of('X').text.tolist() == ['t1', 't0'] and sorted(pool.sources) == ['a', 'b', 'c']


def test_select_agrees_with_a_loop(pool):
    rng = random.Random(0)
    for _ in range(20):
        chosen = set(rng.sample(pool.sources, rng.randint(0, 12)))
        assert list(pool.select(chosen).index) == [i for i, s in enumerate(pool.texts.source_ids) if set(s) <= chosen]


def test_fingerprint_is_of_the_content_not_the_order(pool):
    assert Pool(pool.texts.sample(frac=1, random_state=1), {}).fingerprint == pool.fingerprint
    for column, value in (('text', 'x'), ('label', 'Z'), ('prompt', 'p'), ('sample', 9)):
        changed = pool.texts.copy()
        changed.loc[0, column] = value
        assert Pool(changed, {}).fingerprint != pool.fingerprint


def test_a_pool_has_all_columns_and_sources(pool):
    with pytest.raises(UserError, match='lacks the column text'):
        Pool(pool.texts.drop(columns='text'), {})
    with pytest.raises(UserError, match='without a source'):
        Pool(pool.texts.assign(source_ids=[[]] * len(pool)), {})


@pytest.mark.parametrize('name', ['folder', 'pool.jsonl', 'pool.parquet'])
def test_round_trip(tmp_path, name):
    rows = Echo({}).rows(
        ODD, list('XXYYY'), [['a'], ['b', 'a'], ['a'], ['c'], ['c']], [0, 1, 2, 3, 4], model=['m', 'm', '', 'n', 'n']
    )
    rows['parameters'] = [{'temperature': 0.7}, {}, {'a': [1, None]}, {}, {}]
    pool = Pool(rows, {'generator': 'echo', 'n': 5, 'counts': {'kept': 5}})
    back = Pool.load(pool.save(tmp_path / name))
    order = lambda p: p.texts.sort_values('sample', ignore_index=True)
    assert back.fingerprint == pool.fingerprint
    assert order(back).to_dict('records') == order(pool).to_dict('records')
    assert {k: back.manifest[k] for k in pool.manifest} == pool.manifest
    assert all(type(s) is list for s in back.texts.source_ids)


@pytest.mark.parametrize('name', ['pool.jsonl', 'pool.parquet'])
def test_built_pool_round_trips_with_its_manifest(tmp_path, pool, name):
    back = Pool.load(pool.save(tmp_path / name))
    assert back.texts.equals(pool.texts) and back.manifest == pool.manifest


def test_damaged_files(tmp_path, pool):
    path = pool.save(tmp_path / 'p.jsonl')
    whole = path.read_text()
    for content, says in (
        (whole.replace('printer', 'toaster'), 'fingerprint differs'),
        (whole[:-20], 'line 37'),
        ('', 'is empty'),
        ('[]\n', 'line 1 is not one JSON object'),
        (whole.replace('"label"', '"lable"'), 'lacks the column label'),
        ('\n'.join(whole.split('\n')[1:]), 'no manifest'),
    ):
        path.write_text(content)
        with pytest.raises(UserError, match=says):
            Pool.load(path)


def test_damaged_parquet(tmp_path, pool):
    path = pool.save(tmp_path / 'p.parquet')
    os.truncate(path, 100)
    with pytest.raises(UserError, match='no sound Parquet'):
        Pool.load(path)
    pool.texts.drop(columns=['parameters']).to_parquet(path)
    with pytest.raises(UserError, match='no manifest'):
        Pool.load(path)


def test_parquet_without_pyarrow(tmp_path, pool, monkeypatch):
    pool.save(tmp_path / 'p.parquet')
    monkeypatch.setitem(sys.modules, 'pyarrow.parquet', None)
    for use in (lambda: pool.save(tmp_path / 'q.parquet'), lambda: Pool.load(tmp_path / 'p.parquet')):
        with pytest.raises(UserError, match=r'pip install "autogets\[parquet\]"'):
            use()


def test_unknown_kinds_of_file(tmp_path, pool):
    with pytest.raises(UserError, match='.jsonl'):
        pool.save(tmp_path / 'pool.csv')
    with pytest.raises(UserError, match='no pool'):
        Pool.load(tmp_path / 'none')
    (tmp_path / 'pool.txt').write_text('x')
    with pytest.raises(UserError, match='.jsonl, .parquet'):
        Pool.load(tmp_path / 'pool.txt')
