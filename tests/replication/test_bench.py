"`autogets bench`: the same figures for people and for programs"

import json
from dataclasses import fields

import pytest

from autogets.replication.ours import cost

ROW = dict(method='exact refit', candidates=3, ms=1.25, ms_max=2.5, ratio=1.0)
SIZES = dict(training_rows=40, features=90, pool_texts=20, validation_rows=10)
SCREEN = [dict(objective='accuracy', spearman=None, kept=1.0)]
WORKERS = dict(one=0.004, several=0.002, ratio=2.0, same=True)
LARGE = dict(training_rows=7500, pool_texts=15000, classes=150, methods=[ROW | {'folds': 4}])


def bench(**other):
    given = dict(sizes=SIZES, methods=[ROW], screen=SCREEN, workers=WORKERS, encoder=None, words=None)
    return cost.Bench('trec6', 'HUM', **given | other, import_seconds=0.5, seconds=61.0)


@pytest.fixture
def measured(monkeypatch, in_process):
    "Runs the command with what was measured in place of measuring"

    def run(found, *words):
        asked = []
        monkeypatch.setattr(cost, 'bench_recorded', lambda *given, **more: asked.append((given, more)) or found)
        code, out, err = in_process('bench', *words)
        assert code == 0, err
        return out, asked[0]

    return run


def test_as_json_it_has_every_figure_and_nothing_else(measured):
    found = bench(words=LARGE, encoder=LARGE | {'rank_correlation': 0.9})
    out, (given, more) = measured(found, '--n', '3', '--json', '--no-catboost')
    told = json.loads(out)
    assert list(told) == [f.name for f in fields(cost.Bench)]
    assert told['sizes'] == SIZES and told['methods'] == [ROW] and told['workers'] == WORKERS
    assert told['screen'][0]['spearman'] is None and told['words'] == LARGE
    assert given == ('trec6', None) and more == dict(n=3, seed=0, catboost=False, encoder=True, words=True)


def test_for_people_it_is_text(measured):
    out, _ = measured(bench(words=LARGE, encoder={'missing': 'pip install "autogets[offline]"'}))
    assert out.startswith('trec6, class HUM: 40 training rows, 90 features, 20 pool texts, 10 validation rows')
    assert 'workers: 4.0 ms a candidate with one, 2.0 ms with two (ratio 2.00), results equal' in out
    assert 'encoder: not measured, pip install "autogets[offline]"' in out and '150 classes' in out
    assert out.rstrip().endswith('import autogets: 0.50 s; whole bench: 61 s')


def test_what_was_not_asked_for_is_left_out(measured):
    out, _ = measured(bench())
    assert 'encoder' not in out and 'made-up texts' not in out
