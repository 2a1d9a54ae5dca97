"""Curves of few real and many synthetic texts: nothing of test in training, each text once, CIs that are right"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from autogets.classifiers.stages import Stage
from autogets.core import UserError
from autogets.replication.mixing import curves as d
from autogets.replication.mixing.ratio import RatioPlan, compare_ratios
from autogets.replication.mixing.settings import balanced_order
from autogets.stats import seed_band


def test_steps_are_disjoint_and_cover_each_text_once(s, spy):
    texts = balanced_order(s.pool, 100, 0)
    d.train_stepwise(s, texts, [0, 50, 100])
    ((stages, _),) = spy.seen[-1:]
    assert stages[0].texts == list(s.human.text) and stages[0].patience == 2 and stages[0].epochs == 50
    steps = [t for x in stages[1:] for t in x.texts]
    assert steps == list(texts.text) and len(steps) == len(set(steps))
    assert {len(x.texts) for x in stages[1:]} == {25} and {x.epochs for x in stages[1:]} == {1}


@pytest.mark.parametrize('mode, spec', [('stepwise', 'transformer:offline'), ('mixing', 'linear')])
def test_no_test_row_is_trained_on_and_the_switch_changes_what_stops(s, spy, mode, spec):
    texts = balanced_order(s.pool, 50, 0)
    for stop in ('validation', 'test'):
        d.TRAINING_MODES[mode](s, texts, [0, 25, 50], d.MixTraining(spec, stop_on=stop))
    trained = {t for stages, _ in spy.seen for x in stages for t in x.texts}
    assert not trained & {*s.test.text, *s.validation.text} and trained
    assert {tuple(v[0]) for _, v in spy.seen} == {tuple(s.validation.text), tuple(s.test.text)}


def test_an_unknown_set_to_stop_on_is_refused(s):
    with pytest.raises(UserError, match='set to stop on'):
        d.train_stepwise(s, s.pool, [0], d.MixTraining(stop_on='train'))


@pytest.mark.parametrize('draw', range(4))
def test_stage_one_goes_back_to_its_best_weights(draw):
    rng = np.random.default_rng(draw)
    texts = [' '.join(rng.choice(['ab', 'cd', 'ef', 'gh', 'ij'], 6)) for _ in range(40)]
    labels = list(rng.choice(['x', 'y'], 40))
    held, stage = (texts[:20], labels[:20]), Stage(texts[20:], labels[20:], epochs=30, patience=2)

    def score(model):
        return roc_auc_score(np.array(held[1]) == 'y', model.predict_proba(held[0])[:, 1])

    runs = [d.StagedLogistic().fit_stages([replace(stage, epochs=k, patience=None)]) for k in range(1, 31)]
    after = [score(model) for model in runs]
    best = since = 0
    for k in range(30):
        best, since = (k, 0) if after[k] > after[best] or k == 0 else (best, since + 1)
        if since == 2:
            break
    assert score(d.StagedLogistic().fit_stages([stage], held)) == pytest.approx(after[best])
    if draw == 1:
        assert after[k] < after[best], 'the last weights are not the best ones'


@pytest.mark.filterwarnings('ignore:.*longer than')
def test_a_transformer_is_fine_tuned_in_both_modes(s, tmp_path, monkeypatch):
    monkeypatch.setattr(d, 'EPOCHS', 3)
    from autogets.classifiers.encoders import tiny_encoder

    spec, texts = f'transformer:{tiny_encoder(tmp_path, list(s.human.text))}', balanced_order(s.pool, 50, 0)
    how = d.MixTraining(spec, params=dict(threads=1, epochs=2))
    found = {mode: train(s, texts, [0, 25, 50], how) for mode, train in d.TRAINING_MODES.items()}
    for scores in found.values():
        assert list(scores) == [0, 25, 50] and len({tuple(x) for x in scores.values()}) == 3
        assert {len(x) for x in scores.values()} == {len(s.test)}
    assert d.train_stepwise(s, texts, [0, 25, 50], how) == found['stepwise'], 'the same call gives the same scores'
    params = d.staged_classifier(spec).params
    assert {k: params[k] for k in d.STAGED_TUNING} == d.STAGED_TUNING


def test_points_between_steps_are_refused(s):
    with pytest.raises(UserError, match='steps are of 25'):
        d.train_stepwise(s, s.pool, [0, 30])


def test_a_killed_run_resumes(tmp_path, s, spy):
    texts, how = balanced_order(s.pool, 50, 0), d.MixTraining(folder=tmp_path)
    for train in (d.train_stepwise, d.train_mixed):
        first = train(s, texts, [0, 25, 50], how)
        n = len(spy.seen)
        assert train(s, texts, [0, 25, 50], how) == first and len(spy.seen) == n > 0
        train(s, texts.iloc[::-1], [0, 25, 50], how)
        assert len(spy.seen) > n, 'other texts are other work'


def test_a_missing_encoder_is_named(monkeypatch):
    monkeypatch.setattr(d, 'find_spec', lambda name: None)
    assert 'offline' in d.missing_extra('transformer:offline') and 'torch' in d.missing_extra('frozen:some-name')
    assert d.missing_extra('linear') == ''
    plan = dict(
        corpora=['tickets'],
        splits=1,
        points=[0, 25],
        training_modes=['stepwise'],
        added=['synthetic'],
        human=20,
        validation=20,
    )
    curves, skipped = d.run_plans(compare_ratios, RatioPlan, [plan, plan | {'spec': 'frozen:offline'}])
    assert len(curves) == 1 and list(skipped) == ['frozen:offline on tickets']
    with pytest.raises(UserError, match='no plan'):
        d.run_plans(compare_ratios, RatioPlan, [plan | {'spec': 'frozen:offline'}])
    with pytest.raises(UserError, match='key of a plan'):
        d.run_plans(compare_ratios, RatioPlan, [plan | {'temperature': 1}])


def test_a_learning_rate_reaches_the_classifier(s, spy):
    assert d.MixPlan(['tickets']).training(3) == d.MixTraining(seed=3)
    assert d.MixPlan(['tickets'], rate=0.1).training(3, 'test') == d.MixTraining(
        'linear', 3, 'test', params={'rate': 0.1}
    )


# -- 95 % CIs


def test_resampled_aucs_are_those_of_the_drawn_rows():
    rng = np.random.default_rng(1)
    truth = rng.random(60) < 0.3
    x = np.round(truth * 0.5 + rng.normal(size=60), 1)  # with ties
    found, w = d.resampled_auc(truth, x, 20), d._weights(60, 20, 0)
    assert found == pytest.approx([roc_auc_score(truth, x, sample_weight=k) for k in w])
    assert np.isnan(d.resampled_auc([1, 0], [0.1, 0.2], 50)).any()
    assert set(d.resampled_auc(truth, truth)) == {1.0} and set(d.resampled_auc(truth, [0] * 60)) == {0.5}


def test_the_ci_has_the_width_that_theory_gives():
    rng = np.random.default_rng(2)
    truth = np.arange(1000) < 400
    x = truth * 1.0 + rng.normal(size=1000)
    a, p, n = roc_auc_score(truth, x), 400, 600
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)  # Hanley and McNeil
    error = np.sqrt((a * (1 - a) + (p - 1) * (q1 - a * a) + (n - 1) * (q2 - a * a)) / (p * n))
    ci = seed_band([a], [d.resampled_auc(truth, x, 2000)])
    assert ci.high - ci.low == pytest.approx(3.92 * error, rel=0.1) and ci.low < a < ci.high


def test_a_difference_is_taken_on_the_same_rows(cell):
    x = list(np.random.default_rng(3).random(80))
    cells = d.add_auc(pd.DataFrame([cell([x, x], [0, 25]), cell([x, x], [0, 25], texts='extra-real')]))
    a, b = (cells[cells.texts == k] for k in ('synthetic', 'extra-real'))
    for e in (d.paired_over_seeds(a, b, d.auc_at(25)), d.over_seeds(a, d.mean_gain())):
        assert (e.estimate, e.low, e.high) == (0.0, 0.0, 0.0)
    assert d.over_seeds(a, d.auc_at(25)).low < d.over_seeds(a, d.auc_at(25)).high


def test_the_mean_gain_of_the_paper():
    auc, points = np.array([0.7, 0.75, 0.85, 0.99]), [0, 25, 250, 950]
    assert d.mean_gain()(auc, points) == pytest.approx(0.1)
    assert d.mean_gain(np.inf)(auc, points) == pytest.approx((0.75 + 0.85 + 0.99) / 3 - 0.7)
