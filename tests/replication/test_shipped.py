"""Sets that are not to be had: shipped recordings stand in for them, or the experiment is skipped."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from autogets.core import UserError, project_root, read_json, write_atomic, write_json
from autogets.data.datasets import DATASETS, DataMissing
from autogets.replication import needs, results, runner
from autogets.replication.manifest import load_manifest, plan
from projects import HEAD, manifest, notebook, project

PARAMETERS = 'corpus: str = "tickets" # Which\nn: int = 2 # rows'
BODY = """exp = Experiment('demo/read')
exp.table('', pd.DataFrame({'i': range(n)}))
exp.finding('It grows', n, verdict='holds')
exp.save()"""
REAL = {'corpus': 'trec6', 'n': 5}


@pytest.fixture
def alone(tmp_path, monkeypatch):
    "Neither a folder of sets, nor a cache, nor a network"
    monkeypatch.delenv('AUTOGETS_DATA', raising=False)
    monkeypatch.delenv('AUTOGETS_NOTEBOOK', raising=False)
    monkeypatch.setenv('AUTOGETS_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setenv('AUTOGETS_MIRROR', 'http://127.0.0.1:9')


@pytest.fixture
def root(tmp_path, alone):
    root = project(tmp_path / 'project')
    notebook(root, 'demo/02_read.ipynb', PARAMETERS, HEAD, BODY)
    manifest(root, dict(id='demo/read', title='Reads', profiles={'quick': REAL}, shipped={'n': 3}))
    return root


def test_a_set_is_needed_where_a_parameter_names_it():
    assert needs.needs_of({'a': ['recorded:trec6', {'b': 'tickets'}], 'c': {'sst2': 1}, 'n': 3}) == ['trec6', 'sst2']
    assert needs.needs_of({'tasks': ['tweet_sentiment_fewshot']})[1:] == ['parrot_tweet_sentiment']
    assert needs.needs_of({'id': 'autogets/baseline', 'spec': 'linear'}) == []


def test_shipped_recordings_stand_in_and_say_so(root, capsys):
    row = runner.replicate('quick', root=root).iloc[0]
    told, record = capsys.readouterr().out, read_json(root / 'runs/quick/results/demo/read.json')
    assert row.status == 'done' and row.message.startswith('on shipped recordings: trec6 is not here')
    assert 'autogets data fetch trec6' in told and '1 done, 1 on shipped recordings' in told
    assert (record['lacks'], record['parameters']) == (['trec6'], {'corpus': 'tickets', 'n': 3})
    page = (root / 'runs/quick/index.html').read_text()
    assert page.index('On shipped recordings: trec6 is not here') < page.index('It grows')
    shown = (root / 'runs/quick/notebooks/demo/read.ipynb').read_text()
    assert 'on shipped recordings: trec6 is not here' in shown
    assert runner.replicate('quick', root=root).status.item() == 'unchanged'


def test_they_never_replace_a_record_of_the_real_sets(root, without_kernels, capsys):
    write_json(root / 'data/results/demo/read.json', {'id': 'demo/read', 'tables': [], 'figures': [], 'of': 'trec6'})
    runner.replicate('quick', root=root)
    capsys.readouterr()
    with pytest.raises(UserError, match='no finished results'):
        runner.publish('quick', root=root)
    assert 'not published, since they ran on shipped recordings: demo/read' in capsys.readouterr().out
    assert read_json(root / 'data/results/demo/read.json')['of'] == 'trec6'


def test_with_the_set_the_profile_is_run(root, without_kernels, tmp_path, monkeypatch):
    runner.replicate('quick', root=root)
    for split in DATASETS['trec6']['content']:
        write_atomic(tmp_path / f'sets/trec6/{split}.csv.gz', 'found by its name')
    monkeypatch.setenv('AUTOGETS_DATA', str(tmp_path / 'sets'))
    assert runner.replicate('quick', root=root).iloc[0].tolist()[2:5:2] == ['done', '']
    record = read_json(root / 'runs/quick/results/demo/read.json')
    assert (record['lacks'], record['parameters']) == ([], REAL)
    assert runner.publish('quick', root=root)


def test_what_they_cannot_stand_in_for_is_skipped_without_a_start(root, capsys):
    manifest(root, dict(id='demo/read', title='Reads', profiles={'quick': REAL}))
    frame = runner.replicate('quick', root=root)
    assert frame.status.item() == 'no data' and runner.exit_code(frame) == 0
    assert 'skipped: demo/read, trec6 not here: autogets data fetch trec6' in capsys.readouterr().out
    assert not (root / 'runs/quick/notebooks').exists()


def test_every_set_is_asked_for_once(root, without_kernels, monkeypatch):
    asked = []
    monkeypatch.setattr(runner, 'fetch_missing', lambda names: asked.append(sorted(names)) or list(names))
    two = [dict(id=i, title='Reads', notebook='demo/02_read.ipynb', profiles={'quick': REAL}) for i in ('d/a', 'd/b')]
    manifest(root, *two)
    runner.replicate('quick', root=root)
    assert asked == [['trec6']]


def test_a_fetch_that_hangs_is_ended(alone, monkeypatch):
    monkeypatch.setattr(needs, '_FETCH', 'import time; time.sleep(60)')
    assert needs.fetch_missing(['trec6', 'tickets', 'trec6'], seconds=0.5) == ['trec6']


def test_the_real_manifest_offers_every_family_without_any_set(alone):
    root = project_root()
    kinds = {}
    for e, parameters in plan('quick', None, root):
        lacks = needs.missing(needs.needs_of(parameters))
        if not lacks or e.shipped is not None:
            kinds.setdefault(e.id.split('/')[0], []).append(e.id)
        assert needs.needs_of(e.shipped or {}) == [] and needs.needs_of(e.profiles['smoke']) == [], e.id
    assert set(kinds) == {e.id.split('/')[0] for e in load_manifest(root)}
    assert sum(map(len, kinds.values())) >= len(load_manifest(root)) - 2


# --- by hand ---


def by_hand(root, *words):
    "Run the notebook by papermill in `root`; (exit status, what it said)"
    env = {**os.environ, 'PYTHONPATH': str(Path(results.__file__).parents[2]), 'JUPYTER_PREFER_ENV_PATH': '1'}
    env.pop('IN_TEST', None)
    call = [
        sys.executable,
        '-m',
        'papermill',
        'nbs/experiments/demo/02_read.ipynb',
        'out.ipynb',
        '-k',
        'python3',
        *words,
    ]
    done = subprocess.run(call, cwd=root, env=env, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stderr


def test_papermill_with_a_misspelled_parameter_is_refused(root):
    rc, said = by_hand(root, '-p', 'corpsu', 'trec6')
    assert rc and "02_read.ipynb has no parameter 'corpsu'; it declares corpus, n" in said
    assert by_hand(root, '-p', 'n', '4')[0] == 0
    assert pd.read_csv(root / 'runs/jupyter/results/demo/read.csv').i.tolist() == [0, 1, 2, 3]


def test_papermill_without_the_set_says_first_what_to_do(root):
    rc, said = by_hand(root, '-p', 'corpus', 'trec6')
    assert rc and 'DataMissing: trec6 is not in AUTOGETS_DATA (not set)' in said and 'autogets data fetch trec6' in said
    assert runner.notebook_error(root / 'out.ipynb')[0] == 5  # title, parameters, injected, imports, Experiment


def test_some_of_the_sets_are_enough_to_go_on(alone, monkeypatch, capsys):
    def obtain(name):
        if name == 'sst2':
            raise DataMissing('no sst2')

    monkeypatch.setattr(results, 'obtain', obtain)
    results.require(['sst2', 'emotion'])
    assert capsys.readouterr().out.startswith('not here: sst2 (autogets data fetch sst2')
    with pytest.raises(DataMissing, match='no sst2'):
        results.require(['sst2'])
