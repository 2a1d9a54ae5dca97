"A finished pool is what its manifest says, whoever reads it"

import json

import pytest
import worlds

from autogets.core import UserError
from autogets.generators import run
from autogets.generators.build import build_pool
from autogets.generators.pool import load_pool
from autogets.generators.registry import make_generator


@pytest.fixture(scope='module')
def corpus():
    return worlds.corpus()


SETTINGS = run.GenerationSettings('eda', n=2)


def emptied(file):
    file.write_bytes(b'')


def halved(file):
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b''.join(lines[: len(lines) // 2]))


def doubled(file):
    file.write_bytes(file.read_bytes() * 2)


def edited(file):
    line, *rest = file.read_text().splitlines()
    entry = json.loads(line)
    entry['texts'][0]['text'] = 'something else'
    file.write_text('\n'.join([json.dumps(entry), *rest]) + '\n')


def gone(file):
    file.unlink()


@pytest.mark.parametrize('change', [emptied, halved, doubled, edited, gone])
def test_a_finished_pool_that_was_changed(change, corpus, tmp_path):
    run.run_generation(corpus, SETTINGS, tmp_path, progress=False)
    file = tmp_path / 'texts.jsonl'
    change(file)
    left = file.read_bytes() if file.exists() else None
    again = run.RequestSettings(retry=True)
    for read in (
        lambda: run.say_run(run.run_generation(corpus, SETTINGS, tmp_path, progress=False)),
        lambda: run.run_generation(corpus, SETTINGS, tmp_path, requests=again, progress=False),
        lambda: build_pool(make_generator(f'pool:{tmp_path}'), corpus.train, n=2, progress=False),
        lambda: load_pool(tmp_path),
    ):
        with pytest.raises(UserError, match=r'was changed after it was finished|cannot read .*texts.jsonl'):
            read()
    assert (file.read_bytes() if file.exists() else None) == left


def test_a_finished_pool_is_read_as_it_is(corpus, tmp_path):
    made = run.run_generation(corpus, SETTINGS, tmp_path, progress=False)
    again = run.run_generation(corpus, SETTINGS, tmp_path, progress=False)
    assert again.manifest == made.manifest
    assert len(load_pool(tmp_path)) == made.manifest['counts']['kept']
