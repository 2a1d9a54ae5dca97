"Ridge on embeddings: exact against fitting again, and a job from corpus to report with it"

import numpy as np
import pytest

import autogets as ag
from autogets.classifiers.encoders import tiny_encoder
from autogets.classifiers.ridge import Ridge, RidgeHead, RidgeRows, best_ridge, class_factors, family
from autogets.core import UserError
from autogets.search.candidates import weights_of
from autogets.search.class_weights import COMMON_WEIGHTS


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


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    "An encoder with random weights, and a cache of its own"
    folder = tmp_path_factory.mktemp('encoder')
    return tiny_encoder(folder / 'tiny', list(ag.load_corpus('tickets').train.text))


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


def test_common_weight_needs_likelihoods(small, small_pool):
    with pytest.raises(UserError, match='encoder:NAME'):
        ag.improve(small, small_pool, strategy='common-weight', progress=False)
