"Building a pool: every text accounted for, and the same bytes after a kill"

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from work import calls

import autogets
from autogets.core import UserError, text_id
from autogets.generators.build import build_pool
from autogets.generators.eda import EDA
from autogets.generators.pool import Pool, append_lines
from autogets.generators.recorded import Recorded
from generators.makers import Echo, Mortal, files, frame, numbered

ROOT = Path(autogets.__file__).parents[1]


def test_every_text_is_accounted_for():
    table = {'a': ['new a', 'A!', '  '], 'b': ['held out one', 'NEW, a', 'new b'], 'c': ['new c']}
    pool = build_pool(Echo(table), frame(['a', 'b', 'c', 'd']), n=3, held_out=pd.Series(['Held-out: one']))
    assert pool.texts.text.tolist() == ['new a', 'new b', 'new c']
    assert pool.manifest['counts'] == {
        'sources': 4,
        'sources_with_texts': 3,
        'requested': 12,
        'kept': 3,
        'dropped': {'copy of the source': 1, 'empty': 1, 'equal to a held-out text': 1, 'repeat within the pool': 1},
        'missing': {'timeout': 5},
    }
    drops = {d['text']: d['reason'] for d in pool.manifest['drops']}
    assert drops == {
        'A!': 'copy of the source',
        '  ': 'empty',
        'held out one': 'equal to a held-out text',
        'NEW, a': 'repeat within the pool',
    }
    assert pool.manifest['drops'][0]['source_id'] == text_id('a') and pool.texts['sample'].tolist() == [0, 2, 0]


def test_repeats_across_batches_are_dropped():
    pool = build_pool(Echo({t: ['same'] for t in 'abcdef'}), frame('abcdef'), n=1)
    assert len(pool) == 1 and pool.manifest['counts']['dropped'] == {'repeat within the pool': 5}


def test_repeated_examples_are_asked_once():
    pool = build_pool(Echo({'a': ['x'], 'A.': ['y']}), frame(['a', 'A.']), n=1)
    assert pool.manifest['counts']['requested'] == 1 and pool.texts.text.tolist() == ['x']


@pytest.mark.parametrize('bad', [{'a': ['x', 'y']}, {'b': ['x']}])
def test_a_generator_that_breaks_its_promise(bad):
    class Liar(Echo):
        def generate(self, examples, n):
            return super().generate(frame(list(bad)), n)

    with pytest.raises(ValueError, match='not asked for'):
        build_pool(Liar(bad), frame(['a']), n=1)


@pytest.mark.parametrize('n', [0, -1, 1.5])
def test_impossible_n(n):
    with pytest.raises(UserError, match='whole number'):
        build_pool(EDA(synonyms='none'), numbered(2), n=n)


def test_no_examples_and_empty_pool(tmp_path):
    with pytest.raises(UserError, match='no examples'):
        build_pool(EDA(synonyms='none'), numbered(0))
    with pytest.raises(UserError, match='nothing was kept .2 timeout'):
        build_pool(Echo({}), frame(['a']), tmp_path / 'p', n=2)
    empty = build_pool(Echo({}), frame(['a']), n=2)
    assert len(empty) == 0
    assert empty.manifest['counts']['missing'] == {'timeout': 2}
    assert len(empty.select([text_id('a')])) == 0
    for name in ('f', 'f.jsonl', 'f.parquet'):
        assert len(Pool.load(empty.save(tmp_path / name))) == 0


def test_prepare_sees_all_examples_once():
    class Curious(Echo):
        seen = []

        def prepare(self, examples):
            self.seen.append(len(examples))

    build_pool(Curious({}), frame('abcde'), n=1)
    assert Curious.seen == [5]


@pytest.mark.parametrize('lives', [0, 1, 3])
def test_resume_after_a_breakdown(tmp_path, lives):
    examples = numbered(18)
    whole = build_pool(Mortal(99), examples, tmp_path / 'whole', n=3)
    first, second = Mortal(lives), Mortal(99)
    with pytest.raises(ConnectionError):
        build_pool(first, examples, tmp_path / 'p', n=3)
    with pytest.raises(UserError, match='not finished'):
        Pool.load(tmp_path / 'p')
    again = build_pool(second, examples, tmp_path / 'p', n=3)
    assert set(first.asked).isdisjoint(second.asked) and len(first.asked) == 4 * lives
    assert files(tmp_path / 'p') == files(tmp_path / 'whole')
    assert again.texts.equals(whole.texts) and again.manifest == whole.manifest


def test_a_resumed_run_knows_what_the_first_one_kept_and_sees_all_examples(tmp_path):
    class Seer(Echo):
        seen, calls = [], 0

        def prepare(self, examples):
            self.seen.append(len(examples))

        def generate(self, examples, n):
            self.calls += 1
            if self.calls == 2:
                raise ConnectionError('gone')
            return super().generate(examples, n)

    table = {'a': ['same'], 'b': ['b2'], 'c': ['same'], 'd': ['d2']}
    with pytest.raises(ConnectionError):
        build_pool(Seer(table), frame('abcd'), tmp_path / 'p', n=1)
    pool = build_pool(Seer(table), frame('abcd'), tmp_path / 'p', n=1)
    assert Seer.seen == [4, 4] and pool.texts.text.tolist() == ['same', 'b2', 'd2']
    assert pool.manifest['drops'] == [
        {'source_id': text_id('c'), 'text': 'same', 'sample': 0, 'reason': 'repeat within the pool'}
    ]


def test_a_generator_may_answer_in_any_order():
    class Scrambled(Echo):
        batch = 9

        def generate(self, examples, n):
            return super().generate(examples, n).iloc[::-1]

    table = {'a': ['twice'], 'b': ['b2'], 'c': ['twice']}
    made = build_pool(Scrambled(table), frame('abc'), n=1).texts
    assert list(zip(made.text, made.source_ids)) == [('twice', [text_id('a')]), ('b2', [text_id('b')])]


def test_a_torn_last_line_is_made_again(tmp_path):
    examples, path = numbered(10), tmp_path / 'p' / 'texts.jsonl'
    build_pool(Mortal(99), examples, tmp_path / 'whole', n=2)
    whole = (tmp_path / 'whole' / 'texts.jsonl').read_bytes()
    cuts = [
        1,
        whole.index(b'\n'),
        whole.index(b'\n') + 1,
        len(whole) - 1,
        len(whole),
        *random.Random(0).sample(range(len(whole)), 5),
    ]
    for cut in cuts:
        with pytest.raises(ConnectionError):
            build_pool(Mortal(0), examples, tmp_path / 'p', n=2)
        path.write_bytes(whole[:cut])
        build_pool(Mortal(99), examples, tmp_path / 'p', n=2)
        assert files(tmp_path / 'p') == files(tmp_path / 'whole'), cut
        for f in (tmp_path / 'p').iterdir():
            f.unlink()


def test_a_finished_pool_is_loaded_not_made(tmp_path):
    made = build_pool(Mortal(99), numbered(8), tmp_path / 'p', n=2)
    idle = Mortal(0)
    assert build_pool(idle, numbered(8), tmp_path / 'p', n=2).fingerprint == made.fingerprint and not idle.asked


SLOW = '''
import sys, time
from pathlib import Path
from autogets.generators.build import build_pool
from autogets.generators.eda import EDA
from generators.makers import numbered
class Slow(EDA):
    batch = 3
    def generate(self, examples, n):
        time.sleep(.05)
        return super().generate(examples, n)
build_pool(Slow(synonyms='none'), numbered(300), Path(sys.argv[1]), n=2)
'''


def test_sigkill_in_the_middle(tmp_path):
    path = tmp_path / 'p' / 'texts.jsonl'
    env = os.environ | {'PYTHONPATH': os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    run = subprocess.Popen([sys.executable, '-c', SLOW, tmp_path / 'p'], env=env, stderr=subprocess.PIPE)
    deadline = time.time() + 120
    while not (path.exists() and path.read_bytes().count(b'\n') > 20):
        assert run.poll() is None and time.time() < deadline, run.stderr.read()
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    left = path.read_bytes().count(b'\n')
    assert 20 < left < 300
    counting = Mortal(999)
    build_pool(counting, numbered(300), tmp_path / 'p', n=2)
    assert len(counting.asked) == 300 - left
    build_pool(EDA(synonyms='none'), numbered(300), tmp_path / 'whole', n=2)
    assert files(tmp_path / 'p') == files(tmp_path / 'whole')


@pytest.mark.parametrize('finish', [True, False])
@pytest.mark.parametrize(
    'change, says',
    [
        (dict(generator=EDA(seed=1, synonyms='none')), 'parameters'),
        (dict(n=3), 'n 2, not 3'),
        (dict(examples=numbered(7)), 'examples 6, not 7'),
        (dict(examples=numbered(7).iloc[1:]), 'other examples texts'),
        (dict(held_out=['x']), 'held_out 0, not 1'),
        (dict(generator=Echo({})), "generator 'eda', not 'echo'"),
    ],
)
def test_other_settings_are_refused(tmp_path, finish, change, says):
    if finish:
        build_pool(Mortal(9), numbered(6), tmp_path / 'p', n=2)
    else:
        pytest.raises(ConnectionError, build_pool, Mortal(1), numbered(6), tmp_path / 'p', n=2)
    before = files(tmp_path / 'p')
    with pytest.raises(UserError, match=says):
        build_pool(**{'generator': Mortal(9), 'examples': numbered(6), 'folder': tmp_path / 'p', 'n': 2} | change)
    assert files(tmp_path / 'p') == before


def test_a_bad_line_inside_an_unfinished_store(tmp_path):
    with pytest.raises(ConnectionError):
        build_pool(Mortal(2), numbered(10), tmp_path / 'p', n=2)
    path = tmp_path / 'p' / 'texts.jsonl'
    lines = path.read_text().splitlines(True)
    path.write_text(''.join([*lines[:2], 'rubbish\n', *lines[2:]]))
    with pytest.raises(UserError, match='line 3'):
        build_pool(Mortal(9), numbered(10), tmp_path / 'p', n=2)


@pytest.mark.parametrize(
    'line',
    [
        b'rubbish',
        b'[3]',
        b'{"texts": []}',
        b'\xff\xfe',
        b'{"missing": 3, "source_id": "a", "label": "X", "generator": "", "model": "", "prompt": "", "parameters": {}, '
        b'"texts": []}',
        b'{"missing": {"late": 1}, "attempts": "2", "source_id": "a", "label": "X", "generator": "", "model": "", '
        b'"prompt": "", "parameters": {}, "texts": []}',
    ],
)
@pytest.mark.parametrize('retry', [False, True])
def test_a_bad_line_is_one_line_when_texts_are_asked_for_again(tmp_path, line, retry):
    with pytest.raises(ConnectionError):
        build_pool(Mortal(2), numbered(10), tmp_path / 'p', n=2)
    path = tmp_path / 'p' / 'texts.jsonl'
    path.write_bytes(line + b'\n' + path.read_bytes())
    before = files(tmp_path / 'p')
    with pytest.raises(UserError, match='texts.jsonl, line 1: not a line of a pool; restore the file'):
        build_pool(Mortal(9), numbered(10), tmp_path / 'p', n=2, retry=retry)
    assert files(tmp_path / 'p') == before


def test_texts_without_a_manifest_are_not_overwritten(tmp_path):
    (tmp_path / 'texts.jsonl').write_text('mine\n')
    with pytest.raises(UserError, match='no manifest.json'):
        build_pool(Mortal(9), numbered(3), tmp_path)
    assert (tmp_path / 'texts.jsonl').read_text() == 'mine\n'


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='cannot write'):
        build_pool(Mortal(9), numbered(3), tmp_path / 'file')
    with pytest.raises(UserError, match='cannot write'):
        append_lines(tmp_path / 'none', [])


def test_four_thousand_texts_are_no_more_work_each_than_five_hundred(tmp_path):
    def counted(n):
        "Calls to build and to load a pool of five texts for each of `n` examples"
        examples, folder = numbered(n), tmp_path / str(n)
        lines = [
            {'source_id': i, 'label': 'X', 'texts': [f'{i} {k} ' + 'word ' * 20 for k in range(5)]} for i in examples.id
        ]
        (tmp_path / 'texts.jsonl').write_text('\n'.join(map(json.dumps, lines)))
        built = calls(lambda: build_pool(Recorded(tmp_path / 'texts.jsonl'), examples, folder, n=5))
        loaded = calls(lambda: assert_length(Pool.load(folder), 5 * n))
        return built / n, loaded / n

    def assert_length(pool, n):
        assert len(pool) == n

    few, many = counted(100), counted(800)
    assert many[0] < 1.06 * few[0] and many[1] < 1.06 * few[1]


def test_import_stays_light():
    heavy = ['nltk', 'pyarrow', 'sklearn', 'torch']
    code = f'import sys, autogets.generators.build; print([m for m in {heavy} if m in sys.modules])'
    env = os.environ | {'PYTHONPATH': str(ROOT)}
    assert subprocess.run([sys.executable, '-c', code], env=env, capture_output=True, text=True).stdout.strip() in (
        '[]',
        "['pyarrow']",
    )
