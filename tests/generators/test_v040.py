"Pools, manifests and cached replies of version 0.4.0 are read, resumed and searched"

import json
import shutil
from pathlib import Path

import pytest

from autogets.core import UserError
from autogets.data.corpus import read_corpus
from autogets.generators.build import build_pool
from autogets.generators.eda import EDA
from autogets.generators.filters import HeldOut
from autogets.generators.pool import load_pool, pool_manifest
from autogets.generators.registry import make_generator
from autogets.generators.run import GenerationSettings, RequestSettings, run_generation
from autogets.llm.pace import Limits

OLD = Path(__file__).parents[1] / 'fixtures' / 'v0.4.0'


@pytest.fixture(scope='module')
def corpus():
    return read_corpus(OLD / 'train.csv', name='train', split='stratified', seed=42)


def copy(name, folder, keep=None):
    "The pool `name` in `folder`; with `keep` as a kill left it, after so many lines and in the middle of another"
    shutil.copytree(OLD / name, folder)
    if keep is None:
        return folder
    lines = (folder / 'texts.jsonl').read_bytes().splitlines(keepends=True)
    (folder / 'texts.jsonl').write_bytes(b''.join(lines[:keep]) + lines[keep][:20])
    manifest = json.loads((folder / 'manifest.json').read_text())
    for k in ('counts', 'drops', 'sha256'):
        del manifest[k]
    (folder / 'manifest.json').write_text(json.dumps(manifest | {'complete': False}))
    return folder


def held_out(corpus):
    return [*corpus.validation.text, *corpus.test.text]


# Nothing listens at this address, so whatever is not cached would be missing
NOWHERE = RequestSettings('http://127.0.0.1:39503/v1', limits=Limits(tries=1, timeout=1.0))
WANTED = GenerationSettings('openai:gpt-4o-mini', 'few-shot-3', target=('net',), n=1)


@pytest.mark.parametrize('name, texts, generator', [('pool-eda', 156, 'eda'), ('pool-written', 26, 'llm')])
def test_a_pool_is_read(name, texts, generator):
    pool = load_pool(OLD / name)
    assert len(pool) == texts and set(pool.texts.generator) == {generator}
    assert 'held-out' in pool.manifest['filters'] and 'screens' not in pool.manifest
    assert 'screens' in json.loads((OLD / name / 'manifest.json').read_text())


def test_a_finished_pool_is_not_made_again(tmp_path, corpus):
    folder = copy('pool-written', tmp_path / 'p')
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != 'run.json'}
    made = run_generation(corpus, WANTED, folder, NOWHERE)
    assert made.sent == 0 and made.manifest['counts']['kept'] == 26
    assert {k: (folder / k).read_bytes() for k in before} == before
    assert len(json.loads((folder / 'run.json').read_text())['runs']) == 2


@pytest.mark.parametrize('keep', [0, 1, 13])
def test_half_a_written_pool_is_resumed_from_the_cached_replies(tmp_path, corpus, keep):
    folder = copy('pool-written', tmp_path / 'p', keep)
    with pytest.raises(UserError, match='not finished'):
        load_pool(folder)
    made = run_generation(corpus, WANTED, folder, NOWHERE)
    assert made.sent == 0 and made.manifest['counts'] == pool_manifest(OLD / 'pool-written')['counts']
    for name in ('texts.jsonl', 'replies.jsonl'):
        assert (folder / name).read_bytes() == (OLD / 'pool-written' / name).read_bytes()
    assert load_pool(folder).fingerprint == load_pool(OLD / 'pool-written').fingerprint


def test_half_a_pool_of_edits_is_resumed(tmp_path, corpus):
    folder, held = copy('pool-eda', tmp_path / 'p', 40), held_out(corpus)
    build_pool(EDA(synonyms='none'), corpus.train, folder, n=2, held_out=held, filters=[HeldOut(held)])
    assert (folder / 'texts.jsonl').read_bytes() == (OLD / 'pool-eda' / 'texts.jsonl').read_bytes()


def test_other_filters_are_still_refused(tmp_path, corpus):
    folder = copy('pool-written', tmp_path / 'p', 13)
    with pytest.raises(UserError, match='was begun with filters'):
        run_generation(
            corpus,
            GenerationSettings('openai:gpt-4o-mini', 'few-shot-3', ('net',), n=1, filtered=False),
            folder,
            NOWHERE,
        )


def test_a_search_among_its_texts(corpus):
    from autogets.job import improve

    found = build_pool(make_generator(f'pool:{OLD}/pool-eda'), corpus.train, n=2, held_out=held_out(corpus))
    assert set(found.texts.text) == set(load_pool(OLD / 'pool-eda').texts.text)
    result = improve(corpus, f'pool:{OLD}/pool-eda', strategy='random', budget=5, seed=0)
    assert set(result.texts.text) <= set(found.texts.text)
