"""Weights of synthetic texts: derivatives against differences, moments against their conditions, planted problems"""

import numpy as np
import pandas as pd
import pytest
import worlds

from autogets.core import UserError
from autogets.curation import text_weights
from autogets.curation.planted_problems import plant, within_class_auc
from autogets.curation.pool_view import PoolView
from autogets.curation.text_weights import (
    SUM,
    bilevel_weights,
    clipped,
    density_ratio,
    fitted_proba,
    importance_weights,
    inner_ridge,
    matched_weights,
    moment_weights,
    reverse_cross_entropy,
    source_folds,
    synthetic_proba,
    two_sample_odds,
    weight_slopes,
)


@pytest.fixture(scope='module')
def strange(world):
    corpus, texts = world
    rng = np.random.default_rng(0)
    strangers = [' '.join(f'far{k}' for k in rng.integers(9, size=9)) for _ in range(30)]
    rows = plant(texts, 'off topic', seed=1, strangers=strangers)
    return PoolView(corpus, rows, 'linear'), rows.planted.to_numpy()


# --- what is planted is found


@pytest.mark.parametrize('held_out', [True, False])
def test_flipped_labels_get_low_importance(flipped, held_out):
    view, planted = flipped
    w = importance_weights(view, held_out)
    assert w[planted].mean() < w[~planted].mean() / 2 and within_class_auc(w, planted, view.codes) > 0.85


def test_importance_is_the_ratio_of_the_two_classifiers(flipped):
    view, _ = flipped
    rows = np.arange(len(view.codes))
    for held_out, q in ((True, synthetic_proba(view)), (False, fitted_proba(view))):
        ratio = view.own_proba / q[rows, view.codes]
        w = importance_weights(view, held_out, most=3)
        assert np.allclose(w, np.minimum(np.maximum(ratio, 1 / 3), 3)) and w.min() == pytest.approx(1 / 3)


def test_texts_off_topic_look_unlike_real_ones(strange):
    view, planted = strange
    assert within_class_auc(density_ratio(view), planted, view.codes) > 0.9
    assert within_class_auc(moment_weights(view), planted, view.codes) > 0.7


def test_a_density_ratio_does_not_look_at_labels(flipped):
    view, planted = flipped
    assert 0.3 < within_class_auc(density_ratio(view), planted, view.codes) < 0.7


def test_bilevel_weights_find_flipped_labels_without_a_real_one(flipped):
    view, planted = flipped
    w = bilevel_weights(view)
    assert within_class_auc(w, planted, view.codes) > 0.85 and 0 <= w.min() < 0.3 < 0.7 < w.max() <= 1
    assert np.array_equal(w, bilevel_weights(view)) and not np.allclose(w, bilevel_weights(view, steps=3))


# --- by differences and by conditions


def data(seed=0, n=12, width=5, classes=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, width)), rng.integers(classes, size=n), rng.uniform(0.2, 1, n)


def test_slopes_of_the_reverse_cross_entropy_are_differences():
    (scores, codes, _), step = data(width=3), 1e-6
    loss, slopes = reverse_cross_entropy(scores, codes, 2.0)
    p = np.exp(2 * scores) / np.exp(2 * scores).sum(1, keepdims=True)
    assert loss == pytest.approx(1 - p[np.arange(12), codes].mean())
    for at in np.ndindex(scores.shape):
        d = np.zeros(scores.shape)
        d[at] = step
        up, down = (reverse_cross_entropy(scores + s * d, codes, 2.0)[0] for s in (1, -1))
        assert slopes[at] == pytest.approx((up - down) / 2 / step, abs=1e-8)


@pytest.mark.parametrize('alpha', [0.3, 2.0])
def test_slopes_of_the_weights_are_differences(alpha):
    (x, y, w), (z, codes, _), step = data(1), data(2, n=7), 1e-5
    inner, outer = (x, np.eye(3)[y]), (z, codes)
    loss, slopes = weight_slopes(inner, w, outer, scale=1.7, alpha=alpha)
    for k in range(len(w)):
        up, down = (
            weight_slopes(inner, w + s * np.eye(12)[k], outer, scale=1.7, alpha=alpha)[0] for s in (step, -step)
        )
        assert slopes[k] == pytest.approx((up - down) / 2 / step, rel=1e-4, abs=1e-9)


def test_the_inner_classifier_has_no_slope_left():
    x, y, weights = data(3)
    _, w = inner_ridge(x, np.eye(3)[y], weights, alpha=0.5)
    assert np.allclose((x.T * weights) @ (x @ w - np.eye(3)[y]) + 0.5 * w, 0)


@pytest.mark.parametrize('seed', range(4))
def test_matched_weights_meet_the_conditions_of_an_optimum(seed):
    "Nonnegative least squares: no slope where a weight is above 0, and none below 0 where it is 0"
    rng = np.random.default_rng(seed)
    x, target = rng.normal(size=(20, 6)), 2 * rng.normal(size=6)
    w = matched_weights(target, x)
    a, b = np.vstack([x.T, np.full((1, 20), SUM)]), np.append(target, SUM)
    scale = (a @ w) @ b / ((a @ w) @ (a @ w))
    slope = a.T @ (a @ (scale * w) - b)
    assert w.min() >= 0 and w.sum() == pytest.approx(1) and 0 < (w == 0).sum()
    assert slope.min() > -1e-8 and np.abs(slope * w).max() < 1e-8


def test_a_mean_that_can_be_had_is_had():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 4))
    target = rng.dirichlet(np.ones(30)) @ x
    assert np.allclose(matched_weights(target, x) @ x, target, atol=1e-8)


def test_moments_of_a_class_come_nearer_to_the_real_ones(flipped):
    view, _ = flipped
    (real, new), w, even = view.vectors, moment_weights(view, even=0), moment_weights(view, even=1)
    for c in range(3):
        own, mean = view.codes == c, real[view.real_codes == c].mean(0)
        plain, matched = new[own].mean(0), w[own] @ new[own] / own.sum()
        assert w[own].mean() == pytest.approx(1) and np.linalg.norm(matched - mean) < np.linalg.norm(plain - mean)
    assert np.allclose(even, 1) and np.allclose(moment_weights(view), (w + 1) / 2)


def test_odds_are_the_ratio_of_two_known_densities():
    rng, n = np.random.default_rng(0), 4000
    real, new, at = rng.normal(0, 1, (n, 1)), rng.normal(1, 1, (n, 1)), np.array([[-1.0], [0.5], [2.0]])
    zeros = np.zeros(n, int)
    found = two_sample_odds((real, zeros), (new, zeros), at)
    assert np.log(found) == pytest.approx(0.5 - at.ravel(), abs=0.15)
    many = two_sample_odds((real, zeros), (np.tile(new, (5, 1)), np.tile(zeros, 5)), at)
    assert many == pytest.approx(found, rel=0.05)
    assert np.isnan(two_sample_odds((real, zeros), (new, zeros + 1), at)).all()


# --- who judges whom


def test_a_text_is_not_judged_by_its_siblings(flipped):
    view, _ = flipped
    home, touched = source_folds(view)
    assert touched[np.arange(len(home)), home].all()
    for k in range(5):
        judged, trained = view.pool[home == k], view.pool[~touched[:, k]]
        assert set(judged.source_ids.explode()).isdisjoint(trained.source_ids.explode()) and len(judged)


def test_texts_without_a_source_have_one_fold_for_all_copies(world):
    corpus, texts = world
    rows = texts[['text', 'label']].head(40)
    home, touched = source_folds(PoolView(corpus, pd.concat([rows, rows]), 'linear'))
    assert (home[:40] == home[40:]).all() and len(set(home)) > 1 and (touched.sum(1) == 1).all()


def test_labels_of_a_family_do_not_change_what_is_said_of_it(world, monkeypatch):
    monkeypatch.setattr(text_weights, 'fit_temperature', lambda *_: 1.0)
    corpus, texts = world
    family = np.array([s[0] == corpus.train.id[0] for s in texts.source_ids])
    lies = texts.assign(label=np.where(family, 'cat', texts.label))
    a, b = (synthetic_proba(PoolView(corpus, rows, 'linear')) for rows in (texts, lies))
    assert family.sum() == 3 and (texts.label[family] != 'cat').all()
    assert np.allclose(a[family], b[family]) and not np.allclose(a[~family], b[~family])


def test_a_pool_of_one_class_has_no_second_classifier(world):
    corpus, texts = world
    view = PoolView(corpus, texts[texts.label == 'ant'], 'linear')
    for held_out in (True, False):
        assert np.isnan(importance_weights(view, held_out)).all()
    assert np.isfinite(density_ratio(view)).all() and np.isfinite(moment_weights(view)).all()


@pytest.mark.parametrize(
    'call, says',
    [
        (lambda v: clipped(np.ones(3), 1), 'clipped to at most 1: give a number above 1'),
        (lambda v: density_ratio(v, most=0.5), 'clipped to at most 0.5'),
        (lambda v: moment_weights(v, even=1.5), 'a share of 1.5 cannot be spread: give one from 0 to 1'),
        (lambda v: bilevel_weights(v, steps=0), '0 steps change no weight: give 1 or more'),
        (lambda v: bilevel_weights(v, top=0), 'a share of 0 cannot count: give one above 0'),
    ],
)
def test_what_cannot_be_is_said(flipped, call, says):
    with pytest.raises(UserError, match=says):
        call(flipped[0])
