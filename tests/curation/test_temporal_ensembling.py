"""Averages over the epochs of a training: planted wrong labels are found, and the average is that of the paper"""

import numpy as np
import pytest
import worlds

from autogets.classifiers.encoders import tiny_encoder
from autogets.classifiers.linear import make_classifier
from autogets.core import UserError
from autogets.curation.planted_problems import plant, within_class_auc
from autogets.curation.pool_view import PoolView
from autogets.curation.temporal_ensembling import (
    ensemble_confidence,
    followed_epochs,
    temporal_average,
    temporal_ensemble,
)
from autogets.curation.text_scores import score_view


@pytest.mark.parametrize('momentum', [0, 0.5, 0.8])
def test_the_average_is_the_recursion_of_the_paper(momentum):
    p = np.random.default_rng(0).dirichlet(np.ones(3), (6, 4))
    slow = np.zeros((4, 3))
    for t, now in enumerate(p, 1):
        slow = momentum * slow + (1 - momentum) * now
        assert np.allclose(temporal_average(p[:t], momentum), slow / (1 - momentum**t))
    assert np.allclose(temporal_average(p, momentum).sum(1), 1)


def test_a_label_that_was_doubted_early_is_left_out_though_it_is_believed_at_last():
    early, late = np.array([[0.9, 0.1], [0.05, 0.95]]), np.array([[0.9, 0.1], [0.4, 0.6]])
    p = np.stack([early] * 9 + [late])
    assert temporal_ensemble(p, [0, 0]).kept.tolist() == [True, False]
    assert temporal_ensemble(p, [0, 0], momentum=0).kept.tolist() == [True, True]
    assert temporal_ensemble(p, [0, 1]).agrees.all() and not temporal_ensemble(p, [1, 0]).agrees.any()
    assert temporal_ensemble(p, [0, 0], threshold=0).kept.all()


def test_wrong_labels_are_ranked_below_right_ones(flipped):
    view, planted = flipped
    found = score_view(view, 'temporal-ensemble').to_numpy()
    assert within_class_auc(found, planted, view.codes) > 0.7
    assert np.array_equal(found, ensemble_confidence(view)) and not np.array_equal(found, ensemble_confidence(view, 2))


def test_the_last_epochs_of_a_long_training_believe_wrong_labels(flipped):
    view, planted = flipped
    last = ensemble_confidence(view, rounds=150, momentum=0)
    assert within_class_auc(last, planted, view.codes) < within_class_auc(
        ensemble_confidence(view, rounds=5), planted, view.codes
    )


def test_a_pool_of_one_class_cannot_be_judged():
    corpus = worlds.corpus()
    rows = worlds.texts(corpus, labels=['ant'])
    assert np.isnan(ensemble_confidence(PoolView(corpus, rows, 'linear'))).all()


def test_every_epoch_of_a_transformer_is_seen(tmp_path):
    corpus = worlds.corpus()
    tiny = tiny_encoder(tmp_path / 'tiny', corpus.train.text, width=16, layers=1)
    how = dict(epochs=3, rate=3e-3, threads=1, device='cpu', max_length=24, batch=8)
    model = make_classifier(f'transformer:{tiny}', **how)
    p = followed_epochs(model, corpus.train.text, corpus.train.label, followed=corpus.test.text)
    assert p.shape == (3, len(corpus.test), 3) and np.allclose(p.sum(2), 1)
    assert np.allclose(p[-1], model.raw_proba(list(corpus.test.text)))
    assert all(not np.allclose(a, b) for a, b in zip(p, p[1:]))
    with pytest.raises(UserError, match='goes on from a folder'):
        followed_epochs(model.set_params(folder=tmp_path), corpus.train.text, corpus.train.label)
    with pytest.raises(UserError, match='no epochs to follow'):
        followed_epochs(make_classifier('linear'), corpus.train.text, corpus.train.label)


@pytest.mark.parametrize(
    'wrong, says',
    [
        (dict(momentum=1), 'momentum of 1'),
        (dict(threshold=2), 'threshold of 2'),
        (dict(codes=[0]), '2 texts but 1 classes'),
        (dict(proba_per_epoch=np.ones((2, 2))), 'epochs x texts x classes'),
        (dict(proba_per_epoch=np.ones((0, 2, 2))), 'epochs x texts x classes'),
    ],
)
def test_what_cannot_be_is_said(wrong, says):
    given = dict(proba_per_epoch=np.full((3, 2, 2), 0.5), codes=[0, 1]) | wrong
    with pytest.raises(UserError, match=says):
        temporal_ensemble(**given)
