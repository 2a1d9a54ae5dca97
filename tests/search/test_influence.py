"Influence and datamodels find planted harm, believe no noise, and resume"

import numpy as np
import pytest
from worlds import NAMES, corpus, raises, texts, world

from autogets.classifiers.refit import EncoderRefit
from autogets.classifiers.ridge import RidgeRows, family, sources_of
from autogets.search.candidates import Budget, as_candidate, ids_of, weights_of
from autogets.search.evaluator import Evaluator
from autogets.search.influence import Influence, Slopes, shrunk
from autogets.search.loop import run_search
from autogets.search.registry import make_strategy

WIDTH = 12


def vectors(rows, classes, rng, spread, told):
    "Vectors around the centers of their classes, or of the classes that `told` says"
    centers = np.random.default_rng(99).normal(size=(len(classes), WIDTH))
    codes = [classes.index(told(l)) for l in rows.label]
    return centers[codes] + spread * rng.normal(size=(len(rows), WIDTH))


def planted(wrong=(), seed=0, n=30, per=5, spread=1.2, **how):
    """An evaluator whose real and synthetic texts lie around their classes; those of the classes `wrong` around the
    next class"""
    c = corpus(n=n, seed=seed)
    ev = Evaluator(c, texts(c, per, seed=seed), classifier='encoder:offline', folds=2, **how)
    rng, classes = np.random.default_rng([seed, 5]), list(c.classes)
    made = {s: vectors(getattr(c, s), classes, rng, spread, lambda l: l) for s in ('train', 'validation', 'test')}
    off = vectors(ev.pool, classes, rng, spread, lambda l: classes[(classes.index(l) + 1) % 3] if l in wrong else l)
    codes = np.array([classes.index(l) for l in [*c.train.label, *ev.pool.label]])
    refit = EncoderRefit.__new__(EncoderRefit)
    members = family(list(c.train.id), sources_of(ev.pool))
    refit.system = RidgeRows(made['train'], codes, 3, synthetic=off, members=members)
    refit.splits, refit.dtype = {'validation': made['validation']}, 'float64'
    ev.refit, ev.made = refit, made
    return ev


def on_test(ev, candidate):
    "Share of the test texts that are right"
    rows = ev.rows(candidate)
    found = ev.refit.solved(rows, ev.weights(candidate, rows)).scores(ev.made['test'])
    return (found.argmax(1) == ev.truth('test')).mean()


def searched(ev, name, budget=100, seed=0, **how):
    s = make_strategy(name, ev, 'accuracy', seed)
    return s, run_search(s, ev, 'accuracy', Budget(budget), **how)


def weight(choice, ev, label):
    "What the texts of a class count on average"
    own = set(ev.corpus.train.id[ev.corpus.train.label == label])
    return len(own & set(ids_of(choice))) / len(own) * weights_of(choice).get(label, 1.0)


@pytest.mark.parametrize('name', ['influence', 'datamodel'])
def test_a_class_of_wrong_labels_is_put_down(name):
    better, weights = [], []
    for seed in range(4):
        ev = planted(wrong=['cat'], seed=seed)
        s, t = searched(ev, name)
        assert s.choice in [t.ids(i) for i in range(len(t))]
        better.append(on_test(ev, s.choice) - on_test(ev, as_candidate(ev.sources)))
        weights.append([weight(s.choice, ev, c) for c in NAMES])
    assert min(better) >= 0 and np.mean(better) > 0.1
    ant, bee, cat = np.mean(weights, axis=0)
    assert cat < 0.5 * min(ant, bee)


def test_where_all_texts_are_alike_few_sources_go():
    out, shares = [], []
    for seed in range(4):
        ev = planted(seed=seed, n=60)
        s, _ = searched(ev, 'influence')
        found = s._slopes.at(as_candidate(ev.sources))
        told = s._slopes.by_source(found, dict.fromkeys(NAMES, 1.0))
        out.append(len(s.harmful(told, np.ones(len(told), bool))) / len(ev.sources))
        shares.append(len(ids_of(s.choice)) / len(ev.sources))
    assert max(out) < 0.05 and min(shares) > 0.95


def test_noise_is_not_believed():
    "Two hundred rows on three hundred sources, of which none has an effect"
    rng, home = np.random.default_rng(0), np.arange(300) % 3
    out = []
    for _ in range(20):
        effect = shrunk(rng.standard_t(5, size=(200, 300)), home)
        out.append(((effect.mean > 0) & (effect.apart > effect.error)).sum())
    assert np.mean(out) < 3


def test_real_differences_between_sources_are():
    rng, home = np.random.default_rng(0), np.arange(300) % 3
    real = rng.normal(0, 0.2, 300)
    effect = shrunk(rng.normal(size=(200, 300)) + real, home)
    out = (effect.mean > 0) & (effect.apart > effect.error)
    assert out.sum() > 50 and (real[out] > 0).mean() > 0.95
    raw = (rng.normal(size=(200, 300)) + real).mean(0)
    assert np.square(effect.mean - real).mean() < np.square(raw - real).mean()


def test_sources_with_wrong_texts_are_found():
    "A quarter of the sources of each class has texts of the next class"
    ev = planted(seed=1, n=100)
    own = {c: list(ev.corpus.train.id[ev.corpus.train.label == c]) for c in NAMES}
    bad = {i for c in NAMES for i in own[c][: len(own[c]) // 4]}
    wrong = np.array([s[0] in bad for s in ev.pool.source_ids])
    system = ev.refit.system
    rows, real = system.rows[:, :-1].copy(), system.real
    centers = {c: rows[:real][ev.truth('train') == k].mean(0) for k, c in enumerate(NAMES)}
    after = dict(zip(NAMES, (*NAMES[1:], NAMES[0])))
    for k in np.flatnonzero(wrong):
        rows[real + k] += centers[after[ev.pool.label[k]]] - centers[ev.pool.label[k]]
    ev.refit.system = RidgeRows(rows[:real], system.codes, 3, synthetic=rows[real:], members=system.members)
    s, _ = searched(ev, 'influence')
    told = s._slopes.by_source(
        s._slopes.at(as_candidate(ev.sources, dict.fromkeys(NAMES, 0.3))), dict.fromkeys(NAMES, 0.3)
    )
    out = s.harmful(told, np.ones(len(told), bool))
    assert len(out & bad) > 0.5 * len(bad) and len(out - bad) < 0.1 * len(out)
    assert len(set(ids_of(s.choice)) & bad) < 0.5 * len(bad)
    full = as_candidate(ev.sources)
    assert on_test(ev, s.choice) >= on_test(ev, full)


def members(t):
    return [(r['note'], r['members']) for r in t.rows]


@pytest.mark.parametrize('name', ['influence', 'datamodel'])
def test_workers_change_nothing(name):
    one, two = (searched(planted(wrong=['bee'], seed=1, n=20, workers=w), name) for w in (1, 2))
    assert members(one[1]) == members(two[1]) and one[0].choice == two[0].choice


@pytest.mark.parametrize('name, cut', [('influence', 5), ('influence', 18), ('datamodel', 12), ('datamodel', 30)])
def test_a_run_that_was_cut_resumes(name, cut, tmp_path):
    ev = planted(wrong=['bee'], seed=1, n=20)
    whole, t = searched(ev, name)
    searched(planted(wrong=['bee'], seed=1, n=20), name, budget=cut, folder=tmp_path)
    again = planted(wrong=['bee'], seed=1, n=20)
    resumed, u = searched(again, name, folder=tmp_path)
    assert members(u) == members(t) and resumed.choice == whole.choice
    assert again.evaluations == ev.evaluations - cut - 1


def by_hand(ev, **how):
    own = {c: list(ev.corpus.train.id[ev.corpus.train.label == c]) for c in NAMES}
    s = Influence(own, 'accuracy', slopes=Slopes(ev, own), **how)
    return s, run_search(s, ev, 'accuracy', Budget(60))


def test_a_placebo_goes_elsewhere_and_says_so():
    ev = planted(wrong=['cat'], seed=1)
    real, t = by_hand(ev, level='class')
    placebo, u = by_hand(ev, level='class', placebo=True)
    start = [r['note'] for r in t.rows].index('step 1, part 1')
    assert members(t)[:start] == members(u)[:start] and members(t)[start:] != members(u)[start:]
    assert u.settings['strategy_placebo'] and not t.settings['strategy_placebo']
    told = np.random.default_rng(0).normal(size=(5, 9))
    home = np.repeat([0, 1, 2], 3)
    mixed = placebo.mixed(told, home)
    assert (real.mixed(told, home) == told).all() and (mixed != told).any()
    for g in range(3):
        assert sorted(mixed[0, home == g]) == sorted(told[0, home == g])


def test_classes_alone_keep_all_their_sources():
    ev = planted(wrong=['cat'], seed=1)
    s, t = by_hand(ev, level='class')
    assert set(ids_of(s.choice)) == set(ev.sources)
    assert all(1 / 64 <= w <= 4 for r in t.results() for w in weights_of(r.candidate).values())


def test_sums_over_classes_and_sources():
    "With texts of several sources: a class is the sum of its texts, a source of those that name it"
    ev = planted(seed=3, n=20)
    ev.pool = ev.pool.assign(
        source_ids=[s if k % 3 else [*s, ev.sources[k % 4]] for k, s in enumerate(ev.pool.source_ids)]
    )
    own = {l: list(ev.corpus.train.id[ev.corpus.train.label == l]) for l in NAMES}
    slopes, weights = Slopes(ev, own), {'ant': 0.5, 'bee': 2.0, 'cat': 1.0}
    found = slopes.at(as_candidate(ev.sources, weights))
    each = found.by_text()[found.system.real :]
    w = ev.pool.label.map(weights).to_numpy()
    np.testing.assert_allclose(
        slopes.by_class(found).mean(0), [(each * w)[(ev.pool.label == l).to_numpy()].sum() for l in NAMES], atol=1e-12
    )
    told = slopes.by_source(found, weights).mean(0)
    for k, i in enumerate(i for ids in own.values() for i in ids):
        named = np.array([i in s for s in ev.pool.source_ids])
        np.testing.assert_allclose(told[k], (each * w)[named].sum(), atol=1e-12)


def test_one_class_alone_is_searched():
    ev = planted(seed=1).view('bee')
    s, t = searched(ev, 'influence')
    assert {i for r in t.results() for i in ids_of(r.candidate)} == set(ev.sources)


def test_a_classifier_without_derivatives_is_refused():
    raises(lambda: searched(world({'ant': 0.1, 'bee': 0.1, 'cat': 0.1}), 'influence'), 'encoder:NAME')


def test_a_datamodel_goes_with_any_classifier():
    ev = world({'ant': 0.2, 'bee': -0.2, 'cat': 0.0}, n=60)
    s, t = searched(ev, 'datamodel')
    kept = set(ids_of(s.choice))
    own = {c: set(ev.corpus.train.id[ev.corpus.train.label == c]) for c in ('ant', 'bee')}
    assert kept >= own['ant'] and len(kept & own['bee']) < 0.2 * len(own['bee'])
    assert weights_of(s.choice) == {} and len(t) <= 1 + 2 + 18 + 2 * 4
    ev = world({'ant': 0.2, 'bee': -0.2, 'cat': 0.0}, n=60, folds=0)
    s, t = searched(ev, 'datamodel')
    assert s.choice is None and len(t) > 20
