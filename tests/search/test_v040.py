"Runs of version 0.4.0 (tests/fixtures/v0.4.0) are read, resumed and finished as that version finished them"

import json
import shutil
from pathlib import Path

import pytest
from worlds import raises

from autogets.data.corpus import read_corpus
from autogets.job import Job, run_job
from autogets.metrics import OBJECTIVES
from autogets.search.trace import read_trace

OLD = Path(__file__).parents[1] / 'fixtures' / 'v0.4.0'
RUNS = [('hierarchical', 'hierarchical', ''), ('class-weights', 'levels', ''), ('ensemble', 'ensemble', 'phase-01')]
FROM_0_4_0 = ('members', 'sources', 'texts', *OBJECTIVES, 'recalls', 'jackknife')


def improve(folder, strategy):
    "What the command that made the fixtures did: improve train.csv with 2 EDA texts an example and 12 candidates"
    corpus = read_corpus(OLD / 'train.csv')
    return run_job(corpus, Job(objective='f1', strategy=strategy, n=2, evaluations=12, folds=3), folder, progress=False)


def copied(tmp_path, run, trace, share=0.5):
    "An old run whose trace lost its last part, as if killed; the path of the trace"
    shutil.copytree(OLD / run, tmp_path / run)
    shutil.copytree(OLD / 'pool', tmp_path / run / 'pool')
    (tmp_path / run / 'summary.json').unlink()
    path = tmp_path / run / trace / 'trace.csv'
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


@pytest.mark.parametrize('run, strategy, trace', RUNS)
def test_a_run_of_0_4_0_is_finished_as_it_was(run, strategy, trace, tmp_path):
    path = copied(tmp_path, run, trace)
    kept = path.read_bytes()
    kept = kept[: kept.rfind(b'\n') + 1]
    improve(tmp_path / run, strategy)
    assert path.read_bytes().startswith(kept) and kept.count(b'\n') > 3, 'what was there stays as it is'
    old, new = read_trace(OLD / run / trace / 'trace.csv'), read_trace(path)
    assert [[r.get(c) for c in FROM_0_4_0] for r in new] == [[r.get(c) for c in FROM_0_4_0] for r in old]
    was, now = (json.loads((folder / run / 'summary.json').read_text()) for folder in (OLD, tmp_path))
    for part in ('chosen_ids', 'chosen_weights', 'chosen_texts'):
        assert now[part] == was[part]
    for part in ('baseline', 'improved'):
        assert [list(v.values()) for v in now[part].values()] == [list(v.values()) for v in was[part].values()]
    for split in ('validation', 'test'):
        assert now['gain'][split]['estimate'] == was['gain'][split]['estimate']


@pytest.mark.parametrize('run, strategy, trace', RUNS[:2])
def test_a_finished_run_of_0_4_0_is_left_as_it_is(run, strategy, trace, tmp_path):
    path = copied(tmp_path, run, trace, share=1)
    before = path.read_bytes()
    improve(tmp_path / run, strategy)
    assert path.read_bytes() == before


def test_old_notes_are_read_in_the_words_of_today():
    assert [r['note'] for r in read_trace(OLD / 'class-weights' / 'trace.csv')][:2] == ['baseline', 'full pool']


@pytest.mark.parametrize(
    'damage, said',
    [
        (lambda t: t.replace('members', 'mask', 1), 'is not a trace'),
        (lambda t: '', 'is not a trace'),
        (lambda t: t.replace(',0x', ',zz', 1), 'line 2 is not a row of a trace'),
        (lambda t: t[:-3] + '000\n', 'is not a row of a trace'),
        (lambda t: t.split('\n', 1)[0] + '\n1,2,3\n', 'line 2'),
    ],
)
def test_a_trace_that_cannot_be_read_is_refused_in_one_line(damage, said, tmp_path):
    path = copied(tmp_path, 'class-weights', '', share=1)
    path.write_text(damage(path.read_text()))
    raises(lambda: read_trace(path), said, str(path))
    raises(lambda: improve(tmp_path / 'class-weights', 'levels'), said, str(path))


def test_a_run_of_another_corpus_is_refused(tmp_path):
    path = copied(tmp_path, 'class-weights', '', share=1)
    run = path.parent / 'run.json'
    run.write_text(run.read_text().replace('"corpus": "train"', '"corpus": "other"'))
    raises(
        lambda: improve(tmp_path / 'class-weights', 'levels'), "another run (corpus is 'other' there and 'train' here)"
    )
