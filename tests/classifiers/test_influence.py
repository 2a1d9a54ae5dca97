"Derivatives of held-out losses against differences of solutions"

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from autogets.classifiers.fixed_ridge import FixedRidge
from autogets.classifiers.influence import RidgeInfluence, logistic_influence, row_counts
from autogets.classifiers.ridge import RidgeRows, family
from autogets.core import UserError


def world(seed, real=30, synthetic=50, width=6, classes=4, most=3):
    "Vectors, classes and sources (up to `most` each); a repeat of the first text; further rows; weights with zeros"
    rng = np.random.default_rng(seed)
    own = [f'r{i}' for i in range(real - 1)] + ['r0']
    sources = [tuple(rng.choice(own[:-1], rng.integers(1, most + 1), replace=False)) for _ in range(synthetic)]
    codes = np.array([int(i[1:]) % classes for i in own] + [int(s[0][1:]) % classes for s in sources])
    vectors = rng.normal(size=(classes, width))[codes] + rng.normal(size=(len(codes), width))
    vectors[real - 1] = vectors[0]
    system = RidgeRows(vectors[:real], codes, classes, synthetic=vectors[real:], members=family(own, sources))
    further, judged = rng.normal(size=(7, width)), np.append(codes[:real], rng.integers(-1, classes, 7))
    weights = np.concatenate([np.ones(real), rng.choice([0.0, 0.03, 0.5, 3], synthetic)])
    return system, weights, further, judged


def influence(made, weights, alpha, balanced, judged=None):
    system, _, further, codes = made
    solution = FixedRidge(system, weights, alpha)
    left_out = np.full((system.real, system.classes), np.nan)
    left_out[slice(None) if judged is None else judged] = solution.left_out(judged)
    return RidgeInfluence(solution, weights, left_out, vectors=further, codes=codes, balanced=balanced)


@pytest.mark.parametrize('balanced', [False, True])
@pytest.mark.parametrize('seed, alpha', [(0, 0.1), (1, 1.0), (2, 10.0)])
def test_derivatives_are_differences(seed, alpha, balanced):
    made = world(seed)
    weights, step = made[1], 1e-4
    told = influence(made, weights, alpha, balanced).by_text()

    def seen(j):
        up, down = weights.copy(), weights.copy()
        up[j] += step
        down[j] = max(0, down[j] - step)
        losses = [influence(made, w, alpha, balanced).losses.mean() for w in (up, down)]
        return (losses[0] - losses[1]) / (up[j] - down[j])

    expected = np.array([seen(j) for j in range(len(weights))])
    central = weights > step
    np.testing.assert_allclose(told[central], expected[central], rtol=1e-4, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_allclose(told, expected, atol=1e-3 * np.abs(expected).max())


def test_a_step_of_a_class_is_the_sum_of_its_texts():
    made = world(3)
    system, weights = made[:2]
    there = influence(made, weights, 1.0, False)
    groups = np.eye(4)[system.codes] * weights[:, None] * (np.arange(len(weights)) >= system.real)[:, None]
    rows = there.contributions(groups, block=5)
    assert rows.shape == (len(made[3]), 4)
    np.testing.assert_allclose(rows.mean(0), groups.T @ there.by_text(), atol=1e-10)
    grown = [influence(made, weights + s * groups[:, 1], 1.0, False).losses.mean() for s in (1e-4, -1e-4)]
    np.testing.assert_allclose(rows.mean(0)[1], (grown[0] - grown[1]) / 2e-4, rtol=1e-4)
    unknown = made[3] < 0
    assert unknown.any() and (rows[unknown] == 0).all()


def test_no_row_speaks_of_its_own_family():
    made = world(4, most=1)
    system, weights = made[:2]
    there = influence(made, weights, 1.0, False)
    pairs = there._pairs(0, system.real)
    for i, members in enumerate(system.members):
        own = members[members >= 0]
        assert (pairs[i, own] == 0).all()
        assert (np.delete(pairs[i], own) != 0).mean() > 0.9


def test_balanced_rows_count_alike():
    counts = row_counts(np.array([0] * 6 + [1] * 3 + [-1]), 3, balanced=True)
    assert counts[:6].sum() == pytest.approx(counts[6:9].sum()) == 5 and counts[9] == 0


def test_a_logistic_head_that_does_not_converge():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 12)) * np.logspace(-3, 3, 12), np.arange(40) % 3
    head = LogisticRegression(C=1e6, max_iter=5000).fit(x, y)
    with pytest.raises(UserError, match='did not converge'):
        logistic_influence(head, x, y, np.ones(40), held=x[:5], held_codes=y[:5])


def test_rows_that_do_not_judge_say_nothing():
    made, judged = world(5), np.arange(0, 30, 2)
    weights, step = made[1], 1e-4
    there = influence(made, weights, 1.0, False, judged)
    told = there.by_text()
    for j in np.flatnonzero(weights > step)[:40:5]:
        up, down = weights.copy(), weights.copy()
        up[j] += step
        down[j] -= step
        seen = [influence(made, w, 1.0, False, judged).losses.mean() for w in (up, down)]
        np.testing.assert_allclose(told[j], (seen[0] - seen[1]) / (2 * step), rtol=1e-4, atol=1e-7)
    rows = there.contributions(np.eye(len(weights)))
    assert (rows[1:30:2] == 0).all() and (rows[0:30:2] != 0).any(axis=1).all()
