"Class weights and merging find what was planted in small worlds"

import itertools
from dataclasses import replace

import numpy as np
import pytest
from worlds import NAMES, World, corpus, of, raises, result, texts, world

from autogets.search.candidates import Budget, as_candidate, ids_of, weights_of
from autogets.search.class_weights import ClassWeights, Merge, TEXT_WEIGHTS
from autogets.search.evaluator import Evaluator
from autogets.search.loop import choose, run_search
from autogets.search.registry import make_strategy


def weighted(ev, objective='accuracy', seed=0, budget=200, **how):
    s = make_strategy('class-weights', ev, objective, seed)
    return s, run_search(s, ev, objective, Budget(budget), **how)


def full_pool(ev):
    return as_candidate(ev.sources)


def test_class_weights_without_a_reason_stay_at_the_full_pool():
    s, t = weighted(world(lambda l, i, w: 0.0))
    assert s.choice == as_candidate(t.sources) and len(t) > 10
    rng = np.random.default_rng(3)
    noisy = {}
    ev = world({'ant': 0.0, 'bee': 0.0, 'cat': 0.0})

    def codes(split, rows, weights):
        r = noisy.setdefault(
            (split, rows.tobytes(), None if weights is None else weights.tobytes()),
            np.random.default_rng(rng.integers(2**32)).random(len(ev.refit.true[split])) < 0.6,
        )
        return np.where(r, ev.refit.true[split], (ev.refit.true[split] + 1) % 3)

    left = 0
    for k in range(6):
        noisy.clear()
        ev.memo.clear()
        ev.tallies.clear()
        ev.refit.codes = codes
        s = ClassWeights({c: of(ev, c) for c in NAMES}, 'accuracy', k, errors=3.0, step_errors=3.0)
        run_search(s, ev, 'accuracy', Budget(60))
        left += s.choice != full_pool(ev)
    assert left <= 1, 'three standard errors are rarely a matter of luck'


@pytest.mark.parametrize('best', [0.0, 0.1, 0.3, 1.0, 3.0])
def test_class_weights_find_what_was_planted(best):
    def worth(label, i, w):
        if label == 'ant':
            return 0.3 * (1 - abs(np.log(w / best)) / 6) if best else -0.3 * w
        return {'bee': -0.25 * min(w, 1), 'cat': 0.0}[label]

    ev = world(worth, n=150)
    s, t = weighted(ev)
    given, ids = weights_of(s.choice), set(ids_of(s.choice))
    assert not ids & set(of(ev, 'bee')), 'harmful texts are left out'
    if best:
        assert set(of(ev, 'ant')) <= ids and given.get('ant', 1.0) == best
    else:
        assert not ids & set(of(ev, 'ant'))


@pytest.mark.parametrize('start', range(3))
def test_the_choice_of_class_weights_stands_in_the_trace(start):
    worth = [{'ant': 0.1, 'bee': -0.1, 'cat': 0.0}, {'ant': -0.3, 'bee': -0.1, 'cat': -0.1}, {'ant': 0.2}][start]
    s, t = weighted(world(worth, n=120))
    assert s.choice in [t.ids(i) for i in range(len(t))]
    assert all(set(weights_of(t.ids(i)).values()) <= set(TEXT_WEIGHTS) - {0.0, 1.0} for i in range(len(t)))


def test_class_weights_that_cannot_help_choose_nothing_at_all():
    s, t = weighted(world(lambda l, i, w: -0.1 * w, n=150))
    assert s.choice == () and choose(t, 'accuracy') == 0


def test_class_weights_do_not_depend_on_the_size_of_pieces():
    def drive(sizes):
        ev, out = world({'ant': 0.2, 'bee': -0.2, 'cat': 0.01}, n=100), []
        s = make_strategy('class-weights', ev, 'accuracy', 4)
        for n in itertools.cycle(sizes):
            if not (batch := s.ask(n)):
                return out, s.choice
            assert len(batch) <= n
            out += [(c.ids, c.note) for c in batch]
            s.tell(ev.evaluate([c.ids for c in batch]))

    runs = [drive(sizes) for sizes in ([1], [3], [1000], [2, 1, 7])]
    assert all(r == runs[0] for r in runs) and len(runs[0][0]) > 15


@pytest.mark.parametrize('n', range(1, 8))
def test_class_weights_cut_in_the_middle_of_a_batch(n):
    "The first batch has five candidates, one of them free"
    ev = world({'ant': 0.2, 'bee': -0.2, 'cat': 0.01}, n=100)
    s, t = weighted(ev, budget=n)
    assert len(t) == n + 1 and (s.choice is None or s.choice in [t.ids(i) for i in range(len(t))])
    assert 0 <= choose(t, 'accuracy') <= n


def test_class_weights_need_errors_and_a_known_objective():
    raises(lambda: weighted(world({'ant': 0.1, 'bee': 0.1, 'cat': 0.1}, folds=0)), 'folds')
    raises(lambda: ClassWeights({'ant': ['a']}, 'nonsense'), 'nonsense')


def test_class_weights_pass_over_classes_without_texts():
    s, t = weighted(world({'ant': 0.2}, n=100))
    assert set(of(world({'ant': 0.2}, n=100), 'ant')) <= set(ids_of(s.choice))
    assert len({(r['texts'], r['accuracy']) for r in t.rows}) == len(t) <= 6, 'what changes nothing is not evaluated'


def test_merge_keeps_what_pays_and_prunes_what_does_not():
    "Bees pay alone but not beside ants"
    c = corpus(n=60)
    ev = Evaluator(c, texts(c, 1))
    labels = ev.pool.label.to_numpy()

    def value(rows, weights):
        n = {l: (labels[rows] == l).sum() / (labels == l).sum() for l in NAMES}
        return 0.5 + 0.3 * n['ant'] + (0.1 if n['ant'] < 0.1 else -0.1) * n['bee'] - 0.2 * n['cat']

    ev.refit = World(ev, value)
    t = run_search(make_strategy('merge', ev, 'accuracy', 0), ev, 'accuracy', Budget(100))
    notes = [r['note'] for r in t.rows]
    assert t.ids(choose(t, 'accuracy')) == as_candidate(of(ev, 'ant')) and 'merged' in notes and notes[0] == 'baseline'
    merged = t.ids(notes.index('merged'))
    assert set(merged) & set(of(ev, 'bee')) and not set(merged) & set(of(ev, 'cat'))
    assert len(t) <= 1 + 3 * 5 + 1 + 3


def test_merge_where_nothing_pays_and_where_classes_are_tiny():
    t = run_search(
        make_strategy('merge', ev := world(lambda l, i, w: -0.1), 'accuracy', 0), ev, 'accuracy', Budget(100)
    )
    assert choose(t, 'accuracy') == 0
    s = Merge({'x': ['1'], 'y': [], 'z': ['2', '3']}, 'accuracy')
    seen = []
    while batch := s.ask(2):
        seen += batch
        s.tell([replace(result(accuracy=len(c.ids) / 3), candidate=c.ids) for c in batch])
    assert max((c.ids for c in seen), key=len) == ('1', '2', '3') and seen[-1].note.startswith('without')
