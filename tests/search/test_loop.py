"The loop: budgets, strategies in pieces of any size, an honest protocol, and one result whatever the number of workers"

import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from worlds import digits, evaluator, every_strategy, frame, quick, sentence, texts, uneven

from autogets.search import loop
from autogets.core import UserError
from autogets.data.corpus import Corpus
from autogets.generators.base import POOL_COLUMNS, Generator
from autogets.job import Job, run_job
from autogets.job_report import outcome_verdict
from autogets.metrics import OBJECTIVES
from autogets.search.candidates import Budget, as_candidate
from autogets.search.evaluator import Evaluator
from autogets.search.loop import choose, run_search
from autogets.search.map import search_map
from autogets.search.registry import make_strategy
from autogets.search.strategy import Random
from autogets.search.trace import Trace

# --- strategies ---


def drive(strategy, ev, sizes, n):
    "The first `n` proposals of `strategy` when asked for pieces of `sizes`, in turn"
    out = []
    for size in itertools.cycle(sizes):
        batch = strategy.ask(size)
        assert len(batch) <= size
        if not batch or len(out) >= n:
            return [(c.ids, c.note) for c in out[:n]]
        out += batch
        strategy.tell(ev.evaluate([c.ids for c in batch]))


@every_strategy
def test_proposals_do_not_depend_on_the_size_of_pieces(strategy):
    c = uneven(n=50)
    ev = quick(c=c)
    xy = search_map(c)
    runs = [
        drive(make_strategy(strategy, ev, 'accuracy', 5, xy), ev, sizes, 500)
        for sizes in ([1], [7], [1000], [3, 1, 50])
    ]
    assert len(runs[0]) == 500 and all(r == runs[0] for r in runs)
    assert all(ids == as_candidate(ids) and set(ids) <= set(ev.sources) and ids for ids, _ in runs[0])


def test_random_gives_every_worker_something_to_do():
    assert len(Random([str(i) for i in range(50)], 0).ask(8)) == 8


@every_strategy
def test_a_trace_does_not_depend_on_the_speed_of_the_machine(strategy, monkeypatch):
    runs = []
    for cost in (lambda n: 1e-4, lambda n: 3.0, lambda n: 0.2 * (n % 5)):
        ev = quick(monkeypatch, cost, workers=1)
        runs.append(digits(run_search(make_strategy(strategy, ev, 'macro-f1', 1), ev, 'macro-f1', Budget(90))))
    assert len(runs[0]) == 91 and runs[1] == runs[0] and runs[2] == runs[0]


@every_strategy
def test_same_seed_same_trace(strategy):
    def run(seed, o='balanced-accuracy'):
        ev = quick()
        return digits(run_search(make_strategy(strategy, ev, o, seed), ev, o, Budget(80)))

    assert run(4) == run(4)
    assert (run(5) == run(4)) == (strategy in ('sliding-window', 'hierarchical')), (
        'windows do not draw, the others must'
    )


def test_windows_stay_within_the_target_class():
    c = uneven()
    for strategy in ('sliding-window', 'hierarchical'):
        ev = quick(c=c)
        asked = drive(make_strategy(strategy, ev, 'accuracy', 0, search_map(c)), ev, [10], 60)
        assert set().union(*(ids for ids, _ in asked)) <= set(c.examples('class 2').id)


# --- budgets ---


@every_strategy
def test_a_budget_of_evaluations_is_kept_to_the_letter(strategy):
    for n in (1, 2, 37):
        ev = quick()
        assert len(run_search(make_strategy(strategy, ev, 'accuracy', 0), ev, 'accuracy', Budget(n))) == n + 1


@every_strategy
@pytest.mark.parametrize('cost', [0.01, 0.3])
def test_a_budget_of_seconds_ends_with_the_evaluation_that_spends_it(strategy, cost, monkeypatch):
    ev = quick(monkeypatch, lambda n: cost)
    t = run_search(make_strategy(strategy, ev, 'accuracy', 0), ev, 'accuracy', Budget(seconds=cost * 20.5))
    assert len(t) - 1 == 21, f'{len(t) - 22} evaluations beyond the budget'


def test_the_baseline_is_free(monkeypatch):
    ev = quick(monkeypatch, lambda n: 100.0 if n == 1 else 0.1)
    assert len(run_search(Random(ev.sources, 0), ev, 'accuracy', Budget(seconds=0.95))) == 11


def test_wall_time_ends_a_search_and_counts_on_after_a_kill(monkeypatch, tmp_path):
    clock = itertools.count()
    monkeypatch.setattr(loop, 'time', SimpleNamespace(perf_counter=lambda: float(next(clock))))

    def run(limit):
        ev = quick()
        return run_search(Random(ev.sources, 0), ev, 'accuracy', Budget(wall=limit), tmp_path)

    first = run(100)
    walls = [r['wall'] for r in first.rows]
    assert 10 < len(first) < 100 and walls == sorted(walls) and walls[-2] < 100
    assert len(run(100)) <= len(first) + 1, 'the time before a kill is time'
    assert len(run(200)) > 1.5 * len(first)


@every_strategy
@pytest.mark.parametrize('cost', [1e-3, 0.5])
def test_patience_ends_a_search_at_the_same_place_on_every_machine(strategy, cost, monkeypatch):
    ev = quick(monkeypatch, lambda n: cost)
    t = run_search(make_strategy(strategy, ev, 'accuracy', 2), ev, 'accuracy', Budget(5000), patience=12)
    values = [r['accuracy'] for r in t.rows]
    last = max(i for i in range(len(values)) if values[i] > max(values[:i], default=-1))
    assert len(t) - 1 - last == 12, f'{len(t) - 1 - last} evaluations without a better one'


def test_a_search_ends_when_nothing_is_left():
    ev = quick()
    few = Random(ev.sources[:3], 0)
    t = run_search(few, ev, 'accuracy', Budget(10_000))
    assert len(t) == 8


def test_impossible_budgets():
    for bad in (
        dict(),
        dict(evaluations=0),
        dict(seconds=-1.0),
        dict(wall=0),
        dict(evaluations=5, seconds=0),
        dict(seconds=float('nan')),
    ):
        with pytest.raises(UserError, match='budget'):
            Budget(**bad)


# --- protocols ---


def other_test(c, seed=11):
    "The corpus `c` with test texts that were never seen and labels at random"
    rng = np.random.default_rng(seed)
    new = frame(
        [(sentence(rng, rng.integers(3)) + f' unseen{i}', f'class {rng.integers(3)}') for i in range(len(c.test))]
    )
    return Corpus(c.name, c.train, c.validation, new)


@every_strategy
def test_an_honest_search_does_not_know_the_test_split(strategy):
    c = uneven(n=60, seed=5)
    d = other_test(c)
    out = {}
    for protocol in ('honest', 'paper'):
        job = Job('class 2', 'accuracy', strategy, protocol=protocol, evaluations=30)
        out[protocol] = [run_job(x, job, generator=Fixed(c)) for x in (c, d)]
    a, b = out['honest']
    assert digits(a.trace) == digits(b.trace) and a.row == b.row and a.final.candidate == b.final.candidate
    assert a.final.gain['validation'] == b.final.gain['validation']
    assert a.final.improved['test'] != b.final.improved['test']
    assert [r['test accuracy'] for r in a.trace.rows] == [None] * 31
    assert set(a.evaluator.refit.predict(np.array([], int))) == {'validation'}
    a, b = out['paper']
    assert [r['test accuracy'] for r in a.trace.rows] != [r['test accuracy'] for r in b.trace.rows], (
        'the paper protocol looks at test'
    )


class Fixed(Generator):
    "A generator that gives the texts of `texts`"

    name, batch = 'fixed', 10**6

    def __init__(self, c):
        self.c, self.parameters, self.failures = c, {}, {}

    def prepare(self, examples):
        return self

    def generate(self, examples, n):
        return texts(self.c, n, examples=examples)[POOL_COLUMNS]


def test_test_labels_are_first_asked_for_after_the_choice():
    "The honest evaluator on a corpus whose test texts and labels raise, but for ids, which keep copies out of the pool"

    class Sealed:
        def __init__(self, c):
            self.c, self.open = c, False

        def __getattr__(self, k):
            if k == 'test' and not self.open:
                return SimpleNamespace(id=self.c.test.id)
            return getattr(self.c, k)

    c = Sealed(uneven(n=60, seed=5))
    ev = Evaluator(c, texts(c, labels=['class 2']), 'class 2')
    t = run_search(make_strategy('random', ev, 'accuracy', 0), ev, 'accuracy', Budget(20))
    row = choose(t, 'accuracy')
    c.open = True
    assert set(ev.final(t.ids(row), 'accuracy').improved['test']) == set(OBJECTIVES)


def test_the_paper_protocol_chooses_on_test_and_says_so():
    c = uneven(n=60, seed=5)
    o = run_job(c, Job('class 2', 'accuracy', 'random', protocol='paper', evaluations=40), generator=Fixed(c))
    tests = [r['test accuracy'] for r in o.trace.rows]
    assert o.final.improved['test']['accuracy'] == max(tests) == tests[o.row] and 'optimistic' in outcome_verdict(o)
    honest = run_job(c, Job('class 2', 'accuracy', 'random', evaluations=40), generator=Fixed(c))
    assert 'optimistic' not in outcome_verdict(honest)
    assert [r['accuracy'] for r in honest.trace.rows] == [r['accuracy'] for r in o.trace.rows]
    with pytest.raises(UserError, match='honest'):
        choose(honest.trace, 'accuracy', 'test')


@pytest.mark.parametrize('split', ['test', 'validation'])
def test_a_class_absent_from_training_is_warned_about_and_breaks_nothing(split):
    c = uneven(n=60, seed=5)
    strange = frame([(f'rows of a new kind {i}', 'class 9') for i in range(6)])
    parts = {
        s: pd.concat([getattr(c, s), strange]) if s == split else getattr(c, s) for s in ('train', 'validation', 'test')
    }
    with pytest.warns(UserWarning, match="'class 9', absent from train"):
        d = Corpus('strange', **parts)
    o, p = (run_job(x, Job('class 2', 'accuracy', 'random', evaluations=10), generator=Fixed(c)) for x in (d, c))
    other = {'test': 'validation', 'validation': 'test'}[split]
    assert o.final.baseline[other] == p.final.baseline[other]
    assert o.final.baseline[split]['recall'] == pytest.approx(p.final.baseline[split]['recall'])
    assert o.final.baseline[split]['accuracy'] <= p.final.baseline[split]['accuracy']
    for s in ('validation', 'test'):
        g = o.final.gain[s]
        assert g['estimate'] == pytest.approx(o.final.improved[s]['accuracy'] - o.final.baseline[s]['accuracy'])
        assert g['low'] <= g['estimate'] <= g['high']


# --- choice ---


def test_choice_prefers_fewer_texts_then_the_earlier():
    ev = quick()
    t = run_search(Random(ev.sources, 0), ev, 'accuracy', Budget(40))
    for r in t.rows:
        r['accuracy'] = 0.5
    assert choose(t, 'accuracy') == 0
    for i, n in ((7, 30), (9, 20), (11, 20)):
        t.rows[i] |= dict(accuracy=0.8, texts=n)
    assert choose(t, 'accuracy') == 9
    assert len(Trace(ev.sources)) == 0


def test_one_worker_or_two():
    c = uneven(n=60, seed=5)
    runs = [
        digits(run_search(make_strategy('sliding-window', e, 'accuracy', 0), e, 'accuracy', Budget(24)))
        for w in (1, 2)
        for e in [evaluator(c, workers=w)]
    ]
    assert runs[0] == runs[1] and len({r[2] for r in runs[0]}) > 3
