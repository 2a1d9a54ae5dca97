"Ridge on embeddings: exact against fitting again, and a job from corpus to report with it"

import numpy as np
import pytest
from scipy.stats import spearmanr

import autogets as ag
from autogets.classifiers.encoders import Embedder, tiny_encoder
from autogets.classifiers.fixed_ridge import FixedRidge, common_penalty, judging
from autogets.classifiers.ridge import (
    INTERCEPT,
    Ridge,
    RidgeHead,
    RidgeRows,
    best_ridge,
    class_factors,
    family,
    log_losses,
    with_intercept,
)
from autogets.core import UserError
from autogets.generators.build import build_pool
from autogets.generators.registry import make_generator
from autogets.replication.ours.cost import mixed_candidates
from autogets.search.candidates import weights_of
from autogets.search.class_weights import COMMON_WEIGHTS
from autogets.search.evaluator import Evaluator


def world(seed, real=30, synthetic=50, width=6, classes=4):
    "Random vectors, their classes and where the synthetic ones come from, some from two real texts"
    rng = np.random.default_rng(seed)
    own = [f'r{i}' for i in range(real)]
    sources = [tuple(rng.choice(own, rng.integers(1, 3), replace=False)) for _ in range(synthetic)]
    codes = np.array([int(i[1:]) % classes for i in own] + [int(s[0][1:]) % classes for s in sources])
    vectors = rng.normal(size=(classes, width))[codes] + rng.normal(size=(len(codes), width))
    return vectors[:real], vectors[real:], codes, own, sources, rng


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('alpha', [0.05, 1.0, 20.0])
def test_left_out_is_fitting_again_without_the_family(seed, alpha):
    real, synthetic, codes, own, sources, rng = world(seed)
    system = RidgeRows(real, codes, 4, synthetic=synthetic, members=family(own, sources))
    weights = np.concatenate([rng.uniform(0.5, 2, len(real)), rng.choice([0, 0.2, 1, 3], len(synthetic))])
    solution = Ridge(system, weights)
    (found,) = solution.left_out([alpha], block=11)
    counted = weights * class_factors(weights, codes, 4)[codes]
    for i, me in enumerate(own):
        stays = np.array([me not in ids for ids in [(o,) for o in own] + sources])
        rows = system.rows[stays]
        gram = (rows.T * counted[stays]) @ rows + alpha * np.eye(rows.shape[1])
        again = np.linalg.solve(gram, (rows.T * counted[stays]) @ system.targets[stays])
        np.testing.assert_allclose(found[i], system.rows[i] @ again, atol=1e-8)


def test_kept_sums_give_the_same_solution():
    real, synthetic, codes, own, sources, rng = world(9)
    system = RidgeRows(real, codes, 4, synthetic=synthetic)
    alike = np.concatenate([np.ones(len(real)), rng.uniform(size=4)[codes[len(real) :]]])
    uneven = alike.copy()
    uneven[len(real)] += 1e-9  # no longer alike, so summed anew
    a, b = (Ridge(system, w).coefficients(1.0) for w in (alike, uneven))
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_family_never_judges_itself():
    "Copies of a mislabeled text must not make it look right"
    real, _, codes, own, _, _ = world(3, synthetic=1)
    codes = codes[:-1].copy()
    codes[0] = (codes[0] + 1) % 4
    copies = np.repeat(real[:1], 20, axis=0)
    system = RidgeRows(real, np.concatenate([codes, codes[:1].repeat(20)]), 4, copies, family(own, [('r0',)] * 20))
    everything = np.ones(len(system.rows))
    with_copies, alone = (Ridge(system, w).left_out([1.0])[0][0] for w in (everything, None))
    assert alone.argmax() == with_copies.argmax() != codes[0]
    loose = RidgeRows(real, system.codes, 4, copies)
    assert Ridge(loose, everything).left_out([1.0])[0][0].argmax() == codes[0]


def test_the_penalty_is_that_of_least_loss():
    real, synthetic, codes, own, sources, _ = world(5)
    system = RidgeRows(real, codes, 4, synthetic=synthetic, members=family(own, sources))
    tried = [best_ridge(system, None, [a])[3].mean() for a in (0.01, 1.0, 100.0)]
    _, alpha, _, losses, _ = best_ridge(system, None, (0.01, 1.0, 100.0))
    assert losses.mean() == min(tried) and alpha == (0.01, 1.0, 100.0)[int(np.argmin(tried))]


def test_two_classes_and_one_text_of_a_class():
    head = RidgeHead().fit(np.array([[1.0, 0], [0, 1], [1, 0.1]]), ['b', 'a', 'b'])
    assert list(head.predict([[1.0, 0], [0, 1.0]])) == ['b', 'a']
    np.testing.assert_allclose(head.predict_proba([[1.0, 0]]).sum(), 1)


def candidates(rng, codes, real, classes):
    "Weights of every kind: none, all, by class, a few texts, most texts, all different"
    new, w = len(codes) - real, []
    w += [np.zeros(new), np.ones(new), rng.choice([0, 0.1, 1, 3], classes)[codes[real:]]]
    w += [np.eye(1, new, 3)[0], 1.0 - np.eye(1, new, 3)[0], rng.uniform(size=new)]
    return [np.concatenate([np.ones(real), x]) for x in w]


def fitted_without(system, weights, alpha, i):
    "Scores of the real text `i` by a least squares fit from scratch to the texts outside its family"
    counted = weights * class_factors(weights, system.codes, system.classes)[system.codes]
    counted[system.members[i][system.members[i] >= 0]] = 0
    rows = with_intercept(system.vectors)
    gram = (rows.T * counted) @ rows + alpha * np.eye(rows.shape[1])
    return rows[i] @ np.linalg.solve(gram, (rows.T * counted) @ np.eye(system.classes)[system.codes])


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('alpha', [0.05, 1.0, 20.0])
def test_one_penalty_is_fitting_again(seed, alpha):
    real, synthetic, codes, own, sources, rng = world(seed)
    system = RidgeRows(real, codes, 4, synthetic=synthetic, members=family(own, sources))
    for weights in candidates(rng, codes, len(real), 4):
        fixed, every = FixedRidge(system, weights, alpha), Ridge(system, weights)
        again = [fitted_without(system, weights, alpha, i) for i in range(len(real))]
        np.testing.assert_allclose(fixed.left_out(block=11), again, atol=1e-8)
        np.testing.assert_allclose(every.left_out([alpha])[0], again, atol=1e-8)
        np.testing.assert_allclose(fixed.scores(synthetic), every.scores(synthetic, alpha), atol=1e-9)
        single = FixedRidge(system, weights, alpha, dtype='float32')
        np.testing.assert_allclose(single.left_out(), again, atol=1e-4 if alpha < 1 else 1e-5)


def test_sums_are_those_of_all_texts_whatever_is_kept():
    real, synthetic, codes, own, sources, rng = world(4)
    system = RidgeRows(real.astype(np.float32), codes, 4, synthetic=synthetic.astype(np.float32))
    assert system.vectors.dtype == np.float32
    for weights in candidates(rng, codes, len(real), 4):
        solved = Ridge(system, weights)
        np.testing.assert_allclose(solved.gram, (system.rows.T * solved.weights) @ system.rows, rtol=1e-6)
        moment = (system.rows.T * solved.weights) @ system.targets
        np.testing.assert_allclose(solved.axes @ solved.moment, moment, atol=1e-5 * INTERCEPT)


def test_large_families_small_blocks_and_a_part_of_the_texts():
    real, synthetic, codes, own, sources, rng = world(6, synthetic=80)
    sources = [('r0',) if k < 25 else s for k, s in enumerate(sources)]
    system = RidgeRows(real, codes, 4, synthetic=synthetic, members=family(own, sources))
    weights = np.concatenate([np.ones(len(real)), rng.uniform(size=80)])
    some, fixed = np.array([0, 5, 17]), FixedRidge(system, weights, 1.0)
    again = [fitted_without(system, weights, 1.0, i) for i in some]
    for block in (1, 7, 10**6):
        np.testing.assert_allclose(fixed.left_out(some, block=block), again, atol=1e-8)


@pytest.mark.parametrize('shape', ['one class left', 'more classes than texts', 'copies', 'constant numbers'])
def test_systems_without_a_solution_of_their_own(shape):
    real, synthetic, codes, own, sources, rng = world(7)
    classes = 4
    if shape == 'one class left':
        codes, classes = np.where(np.arange(len(codes)) == 0, 1, 0), 2
        codes[len(real) :] = [int('r0' in s) for s in sources]
    if shape == 'more classes than texts':
        codes, classes = np.arange(len(codes)), 200
    if shape == 'copies':
        real, synthetic = np.repeat(real[:1], len(real), axis=0), np.repeat(real[:1], len(synthetic), axis=0)
    if shape == 'constant numbers':
        real, synthetic = (np.hstack([x, np.ones((len(x), 3))]) for x in (real, synthetic))
    system, weights = RidgeRows(real, codes, classes, synthetic, family(own, sources)), np.ones(len(codes))
    found = FixedRidge(system, weights, 0.1).left_out()
    again = [fitted_without(system, weights, 0.1, i) for i in range(len(real))]
    np.testing.assert_allclose(found, again, atol=1e-8)
    assert np.isfinite(best_ridge(system, weights)[3]).all()


def test_what_cannot_be_is_said_in_one_line():
    real, synthetic, codes, own, sources, _ = world(8)
    system, ones = RidgeRows(real, codes, 4, synthetic=synthetic), np.ones(len(codes))
    for weights, said in [
        (ones * 1e308, 'text 0 has the weight 1e\\+308: give weights from 0'),
        (-ones, 'weight -1: give'),
        (np.where(ones.cumsum() == 3, np.nan, 1), 'text 2 has the weight nan'),
        (ones[:-1], '79 weights for 80 texts'),
        (0 * ones, 'all weights are zero'),
    ]:
        for solve in (FixedRidge, Ridge):
            with pytest.raises(UserError, match=said):
                solve(system, weights)
    with pytest.raises(UserError, match='penalty is 0: give a number above 0'):
        FixedRidge(system, ones, 0)
    for args, said in [
        ((np.full_like(real, np.nan), codes, 4), 'no finite embedding'),
        ((np.full_like(real, np.inf), codes, 4), 'no finite embedding'),
        ((0 * real, codes, 4, 0 * synthetic), 'embeddings of all texts are 0'),
        ((real, codes, 4, synthetic[:, 1:]), 'of 6 numbers and synthetic ones of 5'),
    ]:
        with pytest.raises(UserError, match=said):
            RidgeRows(*args)


def test_texts_without_a_vector_are_no_obstacle():
    real, synthetic, codes, own, sources, _ = world(2)
    real[3], synthetic[:5] = 0, 0
    system, ones = RidgeRows(real, codes, 4, synthetic, family(own, sources)), np.ones(len(codes))
    np.testing.assert_allclose(FixedRidge(system, ones).left_out()[3], fitted_without(system, ones, 1.0, 3), atol=1e-8)


def test_the_common_penalty_is_that_of_the_full_pool():
    real, synthetic, codes, own, sources, _ = world(5)
    system = RidgeRows(real, codes, 4, synthetic=synthetic, members=family(own, sources))
    for alphas in [(0.01, 1.0, 100.0), (3.0, 30.0)]:
        assert common_penalty(system, alphas=alphas) == best_ridge(system, np.ones(len(codes)), alphas)[1]
    some = np.arange(0, 30, 2)
    assert common_penalty(system, some, (7.0,), dtype='float32') == 7.0


def test_a_part_judges_where_there_are_too_many():
    members = family(list(range(1000)), [(i,) for i in range(500) for _ in range(4)])
    assert judging(members) is None
    some = judging(members, 600)
    sizes = (members >= 0).sum(1)
    assert 590 <= sizes[some].sum() <= 600 and (np.diff(some) > 0).all()
    assert (some == judging(members, 600)).all()


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    "An encoder with random weights, and a cache of its own"
    folder = tmp_path_factory.mktemp('encoder')
    return tiny_encoder(folder / 'tiny', list(ag.load_corpus('tickets').train.text))


def test_choices_hardly_change_with_one_penalty(tiny, tmp_path):
    corpus = ag.load_corpus('tickets')
    pool = build_pool(make_generator('recorded:tickets'), corpus.train, n=2, progress=False).texts
    ev = Evaluator(corpus, pool, classifier=f'encoder:{tiny}', folds=4, folder=tmp_path)
    system, true = ev.refit.system, ev.truth('train')
    own, one = [], []
    for c in mixed_candidates(ev, 60):
        rows = ev.rows(c)
        counted = ev.refit.counted(rows, ev.weights(c, rows))
        own.append(-best_ridge(system, counted)[3].mean())
        one.append(-log_losses(FixedRidge(system, counted, ev.refit.alpha, dtype='float32').left_out(), true)[0].mean())
    assert spearmanr(own, one).statistic > 0.98
    assert own[int(np.argmax(one))] > max(own) - 0.005


def test_a_job_with_an_encoder(small, small_pool, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv('AUTOGETS_CACHE', str(tmp_path / 'cache'))
    first = ag.improve(small, small_pool, classifier=f'encoder:{tiny}', out=tmp_path / 'run', progress=False)
    assert first.job.strategy == 'common-weight'
    told = [r['note'] for r in first.trace.rows[1:]]
    assert told == ['full pool'] + [f'all at {w:g}' for w in COMMON_WEIGHTS if w not in (0, 1)]
    assert all(len(r.likelihood) == 11 for r in first.trace.results())
    assert (tmp_path / 'run' / 'report.html').exists()
    again = ag.improve(small, small_pool, classifier=f'encoder:{tiny}', out=tmp_path / 'run', progress=False)
    assert again.trace.rows == first.trace.rows and again.summary()['gain'] == first.summary()['gain']
    saved = ag.load_model(tmp_path / 'run')
    assert list(saved.predict(list(small.test.text))) == list(first.model.predict(list(small.test.text)))
    assert set(weights_of(first.trace.ids(len(first.trace) - 1)).values()) == {2.0}


def test_workers_change_nothing(small, small_pool, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv('AUTOGETS_CACHE', str(tmp_path / 'cache'))
    runs = [
        ag.improve(small, small_pool, classifier=f'encoder:{tiny}', workers=w, progress=False, free=False)
        for w in (1, 2)
    ]
    one, two = ([(r.candidate, r.scores, np.round(r.likelihood, 9).tolist()) for r in o.trace.results()] for o in runs)
    assert one == two


@pytest.mark.parametrize('strategy', ['influence', 'datamodel'])
def test_a_job_with_a_strategy_for_encoders(strategy, small, small_pool, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv('AUTOGETS_CACHE', str(tmp_path / 'cache'))
    asked = dict(strategy=strategy, classifier=f'encoder:{tiny}', budget=40, free=False, guard=False, progress=False)
    first = ag.improve(small, small_pool, out=tmp_path / 'run', **asked)
    assert 20 < len(first.trace) < 41, 'the strategy has ended by itself'
    assert (tmp_path / 'run' / 'report.html').exists()
    again = ag.improve(small, small_pool, out=tmp_path / 'run', **asked)
    assert again.trace.rows == first.trace.rows and again.final.candidate == first.final.candidate


def test_one_by_one_and_together(small, small_pool, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv('AUTOGETS_CACHE', str(tmp_path / 'cache'))
    ids = list(dict.fromkeys(i for s in small_pool.source_ids for i in s))
    sets = [(), tuple(ids), *(tuple(ids[k::3]) for k in range(3))]

    def made(workers):
        return Evaluator(small, small_pool, classifier=f'encoder:{tiny}', folds=4, workers=workers)

    together, apart = made(2).evaluate(sets), [made(1).evaluate([s])[0] for s in reversed(sets)][::-1]
    for a, b in zip(together, apart, strict=True):
        assert (a.scores, a.likelihood, a.jackknife) == (b.scores, b.likelihood, b.jackknife)


def test_texts_that_do_not_judge_are_not_counted(small, small_pool, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv('AUTOGETS_CACHE', str(tmp_path / 'cache'))
    ev = Evaluator(small, small_pool, classifier=f'encoder:{tiny}', folds=4)
    ev.refit.judged = np.arange(0, len(small.train), 2)
    (few,) = ev.evaluate([()])
    left = Ridge(ev.refit.system).left_out([ev.refit.alpha])[0].argmax(1)[::2]
    right = (left == ev.truth('train')[::2]).sum() + (
        ev.refit.predict([])['validation'] == ev.truth('validation')
    ).sum()
    assert few.scores['accuracy'] == pytest.approx(right / (len(left) + len(small.validation)))
    assert len(few.likelihood) == 11 and np.isfinite(few.likelihood).all()


def test_test_is_scored_with_the_penalty_of_the_model_that_is_delivered(small, small_pool, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv('AUTOGETS_CACHE', str(tmp_path / 'cache'))
    ev = Evaluator(small, small_pool, classifier=f'encoder:{tiny}', folds=4)
    ev.both.__dict__['alpha'] = ev.refit.__dict__['alpha'] = 1e4  # what a search would not choose
    found, model = ev.predict(())['test'], ev.fit(())
    assert (np.array(small.classes)[found] == model.predict(list(small.test.text))).all()
    assert (ev.both.predict([])['test'] != found).any()


def test_kept_embeddings_of_another_width(small, tiny, tmp_path):
    embedder, texts = Embedder(tiny, tmp_path), list(small.train.text)
    vectors = embedder.embed(texts[:3])
    embedder.kept.do('update vectors set vector = substr(vector, 1, 64)')
    for some in (texts[:3], texts[:5]):
        with pytest.raises(UserError, match=r'hold vectors of 16 numbers where the encoder has 32: delete'):
            embedder.embed(some)
    embedder.kept.do('update vectors set vector = substr(vector, 1, 63)')
    with pytest.raises(UserError, match='delete that file'):
        embedder.embed(texts[:3])
    embedder.kept.path.unlink()
    assert (Embedder(tiny, tmp_path).embed(texts[:3]) == vectors).all()


def test_common_weight_needs_likelihoods(small, small_pool):
    with pytest.raises(UserError, match='encoder:NAME'):
        ag.improve(small, small_pool, strategy='common-weight', progress=False)
