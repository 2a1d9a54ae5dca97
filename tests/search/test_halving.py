"Successive halving: which rungs make sense, who goes on, and what a resumed run trains"

import numpy as np
import pandas as pd
import pytest
import worlds
from worlds import TRAINED

from autogets.core import UserError
from autogets.search.candidates import Budget, Candidate, as_candidate
from autogets.search.evaluator import Evaluator
from autogets.search.halving import (
    Listed,
    Rung,
    check_rungs,
    halving_rungs,
    promote,
    run_halving,
    rungs_table,
    text_weights,
    weighted_jaccard,
)
from autogets.search.loop import run_search
from autogets.search.selection import read_constraints
from autogets.search.strategy import Random
from autogets.search.trace import Trace

# --- a small world ---

pytestmark = pytest.mark.usefixtures('costly')


def world(n=36, seed=0):
    "A corpus of three classes and a pool with two texts for each training example"
    c = worlds.corpus(n=n, step=6, seed=seed)
    return c, worlds.texts(c, seed=seed)


def up(folder=None, budget=20, rungs=None, strategy='random', seed=4, **how):
    corpus, pool = world(seed=seed)
    rungs = rungs or halving_rungs('costly', finalists=9)
    return run_halving(
        corpus,
        pool,
        rungs,
        Budget(evaluations=budget),
        strategy=strategy,
        objective='macro-f1',
        folder=folder,
        progress=False,
        **how,
    )


SEEN = ['rung', 'members', 'texts', 'macro-f1', 'accuracy', 'gain', 'sent']

# --- rungs ---


@pytest.mark.parametrize(
    'finalists, eta, full, counts',
    [
        (9, 3, 4, [(1, 9), (4, 3)]),
        (27, 3, 9, [(1, 27), (3, 9), (9, 3)]),
        (3, 3, 4, [(4, 3)]),
        (1, 3, 4, [(4, 1)]),
        (8, 2, 4, [(1, 8), (2, 4), (4, 2)]),
        (27, 3, 2, [(1, 27), (2, 3)]),
        (9, 3, 1, [(1, 9)]),
    ],
)
def test_counts_halve_and_efforts_grow_to_the_full_one(finalists, eta, full, counts):
    screen, *rungs = halving_rungs('costly', 'linear', finalists, eta, effort=full)
    assert screen == Rung('linear', {}, finalists)
    assert [(r.params['effort'], below.keep) for below, r in zip([screen, *rungs], rungs)] == counts
    assert rungs[-1].keep == 1


def test_a_classifier_without_an_effort_has_one_rung():
    assert halving_rungs('frozen:offline', 'linear', 9) == [Rung('linear', {}, 9), Rung('frozen:offline', {}, 1)]


@pytest.mark.parametrize(
    'make, said',
    [
        (lambda: halving_rungs('linear', 'linear'), 'costs as much'),
        (lambda: halving_rungs('linear', 'frozen:offline'), 'costs as much'),
        (lambda: halving_rungs('frozen:a', 'frozen:b'), 'costs as much'),
        (lambda: halving_rungs('costly', 'catboost'), 'unknown screen'),
        (lambda: halving_rungs('costly', 'nonsense'), 'unknown'),
        (lambda: halving_rungs('nonsense'), 'unknown'),
        (lambda: halving_rungs('costly', finalists=0), 'finalists'),
        (lambda: halving_rungs('costly', eta=1), 'shrink'),
        (lambda: Rung('costly', keep=0), 'keeps 0'),
        (lambda: check_rungs([Rung('linear')]), 'at least one rung'),
        (lambda: check_rungs([Rung('linear', keep=3), Rung('costly', keep=3), Rung('costly')]), 'shrink'),
        (lambda: check_rungs([Rung('linear', keep=3), Rung('costly', keep=5), Rung('costly')]), 'shrink'),
        (lambda: check_rungs([Rung('linear', keep=3), Rung('costly', keep=2)]), 'keeps 1'),
        (lambda: check_rungs(halving_rungs('costly'), 'paper'), 'honest'),
        (lambda: up(protocol='paper'), 'honest'),
    ],
)
def test_rungs_that_cannot_work_is_refused_before_anything_is_trained(make, said):
    with pytest.raises(UserError, match=said) as e:
        make()
    assert '\n' not in str(e.value) and not TRAINED


# --- who goes on ---


def traced(values, sets):
    "A trace of the small world with given candidates and values on validation"
    corpus, pool = world()
    ev = Evaluator(corpus, pool)
    ids = lambda part: as_candidate(ev.sources[part] if isinstance(part, slice) else part)
    cs = [Candidate((), 'baseline'), *(Candidate(ids(s)) for s in sets)]
    t = Trace(ev.sources)
    t.add('made', [(c, r, 0.0) for c, r in zip(cs, ev.evaluate([c.ids for c in cs]))])
    for row, v in zip(t.rows, [0.5, *values]):
        row['macro-f1'] = v
    return t, ev


def test_near_copies_are_passed_over():
    t, ev = traced([0.9, 0.8, 0.7, 0.6, 0.4], [slice(0, 40), slice(0, 39), slice(0, 30), slice(40, 60), slice(20, 25)])
    assert weighted_jaccard(text_weights(ev, t.ids(1)), text_weights(ev, t.ids(2))) == pytest.approx(39 / 40)
    assert promote(t, ev, 'macro-f1', 3) == [1, 3, 4]
    assert promote(t, ev, 'macro-f1', 3, overlap=1.0) == [1, 2, 3]
    assert promote(t, ev, 'macro-f1', 9) == [1, 3, 4, 5], 'one below the baseline goes on if there is nothing better'


def test_exactly_nine_tenths_is_different_enough():
    t, ev = traced([0.9, 0.8], [slice(0, 10), slice(0, 9)])
    assert weighted_jaccard(text_weights(ev, t.ids(1)), text_weights(ev, t.ids(2))) == 0.9
    assert promote(t, ev, 'macro-f1', 2) == [1, 2]


def test_the_full_pool_and_its_near_copies_take_no_place():
    t, ev = traced([0.9, 0.8, 0.7], [slice(None), slice(1, None), slice(0, 20)])
    assert promote(t, ev, 'macro-f1', 2) == [3]


def test_ties_go_to_fewer_texts():
    t, ev = traced([0.8, 0.8], [slice(0, 30), slice(30, 40)])
    assert promote(t, ev, 'macro-f1', 1) == [2]


def test_weights_make_candidates_different():
    corpus, pool = world()
    ev = Evaluator(corpus, pool)
    some = ev.sources[:20]
    light = as_candidate(some, dict.fromkeys(corpus.classes, 0.3))
    assert weighted_jaccard(text_weights(ev, as_candidate(some)), text_weights(ev, light)) == pytest.approx(0.3)


def test_a_choice_of_the_strategys_own_and_constraints_come_first():
    t, ev = traced([0.9, 0.8, 0.7], [slice(0, 30), slice(30, 50), slice(50, 60)])
    assert promote(t, ev, 'macro-f1', 1, choice=t.ids(3)) == [3]
    rule = read_constraints(['accuracy>=baseline+0.1'], ev.classes)
    for row, v in zip(t.rows, [0.5, 0.5, 0.7, 0.4]):
        row['accuracy'] = v
    assert promote(t, ev, 'macro-f1', 2, constraints=rule) == [2, 1]


# --- halving ---


def test_baseline_and_full_pool_stand_on_each_rung_and_counts_are_kept():
    found = up()
    f = found.frame
    assert list(f.groupby('rung').size()) == [21, 11, 5] and list(rungs_table(found).evaluated) == [19, 9, 3]
    for k, part in f.groupby('rung'):
        assert list(part.note[:2]) == ['baseline', 'full pool'] and part.gain.iloc[0] == 0
        assert np.allclose(part.gain, part['macro-f1'] - part['macro-f1'].iloc[0])
    assert [e for e, _ in TRAINED] == [1] * 11 + [4] * 5
    for k in (1, 2):
        assert set(f.members[f.rung == k]) == set(f.members[(f.rung == k - 1) & f.sent])
    assert found.seconds == pytest.approx(f.seconds.sum()) and f.sent[f.rung == 2].sum() == 1


def test_the_choice_is_the_best_on_validation_of_the_last_rung():
    found = up()
    last = found.frame[found.frame.rung == 2]
    best = last[last['macro-f1'] == last['macro-f1'].max()]
    assert found.row == best.sort_values(['texts', 'evaluation']).evaluation.iloc[0]
    assert found.evaluator.classifier == 'costly' and found.evaluator.params == {'effort': 4}


def test_constraints_hold_for_the_choice():
    free, bound = up(), up(constraints=('macro-f1<=baseline',))
    assert free.row != 0 and free.frame.gain[free.frame.rung == 2].max() > 0
    assert bound.trace.rows[bound.row]['macro-f1'] <= bound.trace.rows[0]['macro-f1']


def test_nothing_looks_at_test_before_the_end(monkeypatch):
    looked, truth = [], Evaluator.truth
    monkeypatch.setattr(Evaluator, 'truth', lambda ev, split: (looked.append(split), truth(ev, split))[1])
    found = up()
    assert set(looked) == {'validation'} and not [c for c in found.frame if c.startswith('test')]
    assert found.final().candidate == found.candidate and 'test' in looked


def cut(path, rows):
    "Take the last `rows` lines off a trace, and half of the one before"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(''.join(lines[: -rows - 1]) + lines[-rows - 1][:20])


@pytest.mark.parametrize('where, rows, trained', [('', 3, 0), ('rung-1-*', 3, 4), ('rung-2-*', 1, 2)])
def test_a_killed_halving_goes_on_and_trains_only_what_is_missing(tmp_path, where, rows, trained):
    first = up(tmp_path)
    before = len(TRAINED)
    path = next(tmp_path.glob(f'{where}/trace.csv' if where else 'trace.csv'))
    cut(path, rows)
    again = up(tmp_path)
    assert len(TRAINED) - before == trained
    assert again.frame[SEEN].equals(first.frame[SEEN]) and again.candidate == first.candidate


def test_a_halving_that_is_over_trains_nothing(tmp_path):
    first = up(tmp_path)
    before = len(TRAINED)
    again = up(tmp_path)
    assert len(TRAINED) == before and sum(e.evaluations for e in again.evaluators) == 0
    assert again.frame.equals(first.frame)
    saved = pd.read_csv(tmp_path / 'rungs.csv')
    assert list(saved.columns) == list(first.frame.columns)
    assert np.allclose(saved.gain, first.frame.gain)
    assert len(saved) == len(first.frame)


def test_a_larger_budget_trains_only_the_newcomers(tmp_path):
    first = up(tmp_path, 12)
    before = len(TRAINED)
    more = up(tmp_path, 40)
    new = sum(
        len(set(more.frame.members[more.frame.rung == k]) - set(first.frame.members[first.frame.rung == k]))
        for k in (1, 2)
    )
    assert 0 < new < 16 and len(TRAINED) - before == new
    assert more.frame[SEEN].equals(up(budget=40).frame[SEEN])


def test_other_rungs_are_not_taken_for_this_one(tmp_path):
    up(tmp_path)
    before = len(TRAINED)
    found = up(tmp_path, rungs=halving_rungs('costly', finalists=9, effort=3))
    assert [e for e, _ in TRAINED[before:]] == [1 for e, _ in TRAINED[before:] if e == 1] + [3] * 5
    assert found.frame[SEEN].equals(up(rungs=halving_rungs('costly', finalists=9, effort=3)).frame[SEEN])


def test_any_number_of_workers_gives_the_same():
    rungs = [Rung('ridge-screen', {}, 4), Rung('linear', {}, 1)]
    one, two = (up(rungs=rungs, strategy='hierarchical', workers=w) for w in (1, 2))
    assert one.frame[SEEN].equals(two.frame[SEEN])


def test_a_pool_with_one_idea_is_halved_too():
    found = up(budget=1)
    assert list(found.frame.groupby('rung').size()) == [2, 2, 2] and found.row in (0, 1)


def test_a_strategy_may_be_given_as_a_function():
    found = up(strategy=lambda ev: Random(ev.sources, 5))
    assert found.frame[SEEN].equals(up(strategy=lambda ev: Random(ev.sources, 5)).frame[SEEN])
    assert set(found.frame.members) != set(up().frame.members)


def test_a_list_is_evaluated_in_its_order():
    corpus, pool = world()
    ev = Evaluator(corpus, pool)
    cs = [Candidate(as_candidate(ev.sources[i : i + 9]), str(i)) for i in (20, 0, 10)]
    t = run_search(Listed(cs), ev, 'accuracy', Budget(evaluations=9), progress=False)
    assert [r['note'] for r in t.rows] == ['baseline', '20', '0', '10']
    assert Listed(cs).candidates != Listed(cs[::-1]).candidates
