"""New labels for synthetic texts: flipped ones are mended, right ones are left, and nobody judges its own family"""

import numpy as np
import pandas as pd
import pytest
import worlds

from autogets.core import UserError
from autogets.curation import label_repair
from autogets.curation.label_repair import (
    Repair,
    clean_probability,
    cross_proba,
    cross_relabel,
    label_distribution,
    nearest_votes,
    relabeled,
    repaired_rows,
    soft_labels,
    soft_rows,
    student_relabel,
)
from autogets.curation.planted_problems import plant
from autogets.curation.pool_view import PoolView
from autogets.curation.text_weights import source_folds


@pytest.fixture(scope='module')
def right(world):
    return pd.Index(['ant', 'bee', 'cat']).get_indexer(world[1].label)


# --- what is planted is mended


@pytest.mark.parametrize('repair, mended', [(student_relabel, 0.5), (cross_relabel, 0.25)])
def test_flipped_labels_are_mended_and_right_ones_left(flipped, right, repair, mended):
    view, planted = flipped
    r = repair(view)
    assert (r.codes[planted] == right[planted]).mean() > mended
    assert (r.codes[~planted] == right[~planted]).mean() > 0.97
    assert np.array_equal(r.changed, r.codes != view.codes) and (r.confidence[r.changed] >= 0.8).all()


def test_a_pool_without_wrong_labels_is_left_alone(world):
    view = PoolView(*world, 'linear')
    assert student_relabel(view).changed.mean() < 0.03 and cross_relabel(view).changed.mean() < 0.03


def test_surer_students_change_less(flipped):
    view, _ = flipped
    for repair in (student_relabel, cross_relabel):
        changed = [repair(view, sure=s).changed for s in (0.5, 0.8, 0.99)]
        assert changed[0].sum() > changed[1].sum() > changed[2].sum()


def test_real_texts_of_the_half_help_its_student(flipped, right):
    view, planted = flipped
    p = [np.nan_to_num(cross_proba(view, view.codes, real=real)) for real in (True, False)]
    found = [(q.argmax(1) == right).mean() for q in p]
    assert found[0] > found[1] > 0.5


# --- who judges whom


def test_a_half_is_not_judged_by_its_own_labels(world, monkeypatch):
    monkeypatch.setattr(label_repair, 'fit_temperature', lambda *_: 1.0)
    view = PoolView(*world, 'linear')
    home, touched = source_folds(view)
    half = home < touched.shape[1] // 2
    lies = np.where(half, (view.codes + 1) % 3, view.codes)
    a, b = cross_proba(view, view.codes), cross_proba(view, lies)
    assert np.allclose(a[half], b[half]) and (a[~half].argmax(1) != b[~half].argmax(1)).mean() > 0.3


def test_votes_are_those_of_the_nearest_that_share_no_source(flipped):
    view, planted = flipped
    asked, k = np.array([0, 5, 40, 90]), 4
    votes = nearest_votes(view, asked, ~planted, k=k)
    real, new = (v.toarray() for v in view.near_vectors)
    own = [set(ids) for ids in view.pool.source_ids]
    for row, i in enumerate(asked):
        near = [(new[i] @ real[j], c) for j, c in enumerate(view.real_codes) if view.train.id[j] not in own[i]]
        near += [(new[i] @ new[j], view.codes[j]) for j in np.flatnonzero(~planted) if not own[j] & own[i]]
        best = [c for _, c in sorted(near, key=lambda x: -x[0])[:k]]
        assert np.allclose(votes[row], np.bincount(best, minlength=3) / k)


# --- by hand


def test_the_lower_of_two_heaps_of_losses_is_clean():
    rng = np.random.default_rng(0)
    losses = np.concatenate([rng.normal(0.5, 0.2, 300), rng.normal(3, 0.5, 100), [np.nan]])
    p = clean_probability(losses)
    assert (p[:300] > 0.7).mean() > 0.98 and (p[300:400] > 0.7).mean() < 0.02 and p[400] == 1
    assert np.array_equal(p, clean_probability(losses)) and np.allclose(p, clean_probability(7 * losses + 3))
    assert (clean_probability([1.0, 9, np.nan, 5]) == 1).all() and (clean_probability(np.full(9, 2.0)) == 1).all()


def test_a_repair_says_what_it_did(flipped):
    view, _ = flipped
    codes = view.codes.copy()
    codes[3] = (codes[3] + 1) % 3
    rows = repaired_rows(view, relabeled(view, codes, np.full(len(codes), 0.9), by='me'))
    assert np.flatnonzero(rows.changed).tolist() == [3] and (rows.changed_by == 'me').sum() == 1
    assert rows.label.iloc[3] == view.classes[codes[3]] and rows.label_before.equals(view.pool.label)
    assert (rows.label == rows.label_before).sum() == len(rows) - 1


def test_rows_of_soft_labels_train_like_the_probabilities(flipped):
    "Least squares on a row for each class, weighted, is least squares on the probabilities"
    view, _ = flipped
    repair = soft_labels(view, trust=0.5)
    rows = soft_rows(view, repair, least=0)
    x = view.vectors[1][:, :20].astype(float)
    z, y = x[rows.position], pd.get_dummies(rows.label)[view.classes].to_numpy(float)
    weighted = np.linalg.solve((z.T * rows.weight.to_numpy()) @ z + np.eye(20), (z.T * rows.weight.to_numpy()) @ y)
    assert np.allclose(weighted, np.linalg.solve(x.T @ x + np.eye(20), x.T @ repair.labels), atol=1e-6)


def test_improbable_classes_are_left_out_and_the_rest_sums_to_one(flipped):
    view, _ = flipped
    p = np.zeros((len(view.codes), 3))
    p[:] = [0.7, 0.26, 0.04]
    rows = soft_rows(view, Repair(p, np.ones(len(p), bool), confidence=p.max(1), by='me'), least=0.05)
    assert set(rows.label) == {'ant', 'bee'} and len(rows) == 2 * len(p)
    assert rows.weight[rows.label == 'ant'].to_numpy() == pytest.approx(0.7 / 0.96)
    assert np.allclose(rows.groupby('position').weight.sum(), 1)


def test_trust_is_the_share_of_the_label(flipped):
    view, planted = flipped
    hard, soft = soft_labels(view, trust=1), soft_labels(view, trust=0)
    assert not hard.changed.any() and np.array_equal(hard.codes, view.codes)
    assert np.allclose(soft.labels, view.proba)
    assert np.allclose(soft_labels(view, 0.25).labels, 0.25 * hard.labels + 0.75 * soft.labels)
    own = soft.labels[np.arange(len(planted)), view.codes]
    assert own[planted].mean() < own[~planted].mean() / 2


def test_log_probabilities_of_label_words_come_before_the_classifier(flipped):
    view, _ = flipped
    told = [None] * len(view.codes)
    told[1] = {'ant': np.log(0.2), 'cat': np.log(0.6)}
    found = soft_labels(view, logprobs=told)
    assert np.allclose(found.labels[1], [0.25, 0, 0.75]) and found.changed[1]
    assert np.allclose(np.delete(found.labels, 1, 0), np.delete(soft_labels(view).labels, 1, 0))


@pytest.mark.parametrize(
    'call, says',
    [
        (lambda v: student_relabel(v, k=0), '0 neighbors cannot vote: give 1 or more'),
        (lambda v: cross_relabel(v, stages=0), '0 stages change no label: give 1 or more'),
        (lambda v: soft_labels(v, trust=2), 'a label cannot count 2: give a share from 0 to 1'),
        (lambda v: soft_rows(v, soft_labels(v), least=1), 'classes of probability 1 cannot be the least'),
        (lambda v: label_distribution({'dog': -1.0}, v.classes), "'dog', which is none of the classes"),
        (lambda v: label_distribution({'ant': 0.5}, v.classes), 'above 0 or missing'),
        (lambda v: label_distribution({}, v.classes), 'above 0 or missing'),
    ],
)
def test_what_cannot_be_is_said(flipped, call, says):
    with pytest.raises(UserError, match=says):
        call(flipped[0])


def test_a_repair_of_another_pool_is_refused(world, flipped):
    view, _ = flipped
    other = PoolView(world[0], world[1].head(9), 'linear')
    with pytest.raises(UserError, match='a repair of 9 texts is not one of this pool of'):
        repaired_rows(view, soft_labels(other))
