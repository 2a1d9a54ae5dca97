"Probabilities that mean something: one temperature, fitted on texts that the model did not see"

import json

import numpy as np
import pandas as pd
import pytest

import worlds
from autogets.classifiers import calibration as cal
from autogets.classifiers.linear import LinearClassifier, load_classifier
from autogets.core import UserError, text_id
from autogets.job import improve
from autogets.plots import reliability_figure
from autogets.search.evaluator import Evaluator


@pytest.fixture(scope='module')
def drawn():
    "Probabilities that are right, and what was drawn with them"
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(30, 0.1), 4000)
    return p, np.array([rng.choice(30, p=row) for row in p])


@pytest.mark.parametrize('wrong', [0.2, 1.0, 5.0])
def test_the_temperature_that_was_planted_is_found(wrong, drawn):
    p, y = drawn
    flat = cal.rescaled(p, 1 / wrong)
    assert cal.fit_temperature(flat, y) == pytest.approx(wrong, rel=0.15)
    assert np.abs(cal.rescaled(flat, wrong) - p).mean() < 0.003


def test_labels_do_not_change_and_rows_add_up_to_one(drawn):
    p = drawn[0]
    for t in (0.01, 0.3, 20):
        q = cal.rescaled(p, t)
        assert (q.argmax(1) == p.argmax(1)).all() and np.allclose(q.sum(1), 1) and (q >= 0).all()


def test_reliability_counts_each_text_once(drawn):
    p, y = drawn
    t = cal.reliability_table(p, y)
    assert t.texts.sum() == len(y) and (t.low <= t.confidence).all() and (t.confidence <= t.high).all()
    assert cal.calibration_error(t) < 0.03 < 0.3 < cal.calibration_error(cal.reliability_table(cal.rescaled(p, 5), y))
    assert len(reliability_figure(t).axes) == 1


def test_nothing_to_fit_on_leaves_probabilities_as_they_are():
    assert cal.fit_temperature(np.ones((0, 3)) / 3, np.array([], int)) is None


# --- a model and its folder ---


@pytest.fixture
def model(small):
    return LinearClassifier().fit(small.train.text, small.train.label)


def test_a_saved_model_keeps_its_calibration(model, small, tmp_path):
    raw, labels = model.predict_proba(small.test.text), model.predict(small.test.text)
    model.calibration = {'temperature': 0.2, 'texts': 12, 'on': 'training texts, out of fold'}
    model.save(tmp_path)
    again = load_classifier(tmp_path)
    assert np.allclose(again.predict_proba(small.test.text), cal.rescaled(raw, 0.2))
    assert list(again.predict(small.test.text)) == list(labels) and again.calibration == model.calibration


def test_models_of_earlier_versions_are_read_as_before(model, small, tmp_path):
    state = json.loads(model.save(tmp_path).read_text())
    assert state.get('calibration') is None
    (tmp_path / 'model.json').write_text(json.dumps({k: v for k, v in state.items() if k != 'calibration'}))
    again = load_classifier(tmp_path)
    assert (again.predict_proba(small.test.text) == model.predict_proba(small.test.text)).all()


@pytest.mark.parametrize('value', [0, -1, 'x', True, 1e999, [1]])
def test_a_temperature_that_is_none_is_refused(value, model, tmp_path):
    state = json.loads(model.save(tmp_path).read_text()) | {'calibration': {'temperature': value}}
    (tmp_path / 'model.json').write_text(json.dumps(state))
    with pytest.raises(UserError, match='temperature'):
        load_classifier(tmp_path)


# --- what improve saves ---


@pytest.fixture(scope='module')
def calibrated(tickets):
    pool = worlds.texts(tickets)
    ev = Evaluator(tickets, pool)
    return ev, ev.calibrated(tuple(ev.sources[:40]))


def test_the_model_that_is_saved_is_calibrated_out_of_fold(calibrated, tickets):
    ev, m = calibrated
    assert m.calibration['on'] == 'training texts, out of fold' and m.calibration['texts'] == len(tickets.train)
    y = [list(m.classes_).index(l) for l in tickets.test.label]
    before, after = m.raw_proba(list(tickets.test.text)), m.predict_proba(tickets.test.text)
    errors = [cal.calibration_error(cal.reliability_table(p, y)) for p in (before, after)]
    assert errors[0] > 0.4 and errors[1] < 0.1
    assert (before.argmax(1) == after.argmax(1)).all()
    assert cal.calibration_error(ev.reliability(tuple(ev.sources[:40]))) == pytest.approx(errors[1])


def test_calibration_is_fitted_on_texts_that_no_model_was_trained_on(small, monkeypatch):
    "Neither they, nor their copies, nor what was written from them: the classifier would be too sure"
    pool = worlds.texts(small, several=6)
    pool = pd.concat(
        [pool, worlds.pool([(r.text, r.label, [small.train.id[0]]) for r in small.train[5:9].itertuples()])]
    )
    ev, asked = Evaluator(small, pool.reset_index(drop=True)), []

    def trained(self, train, chosen, weights=None):
        model = real(self, train, chosen, weights)
        used = self.pool.iloc[chosen]
        known = {*train.id, *used.id, *(i for ids in used.source_ids for i in ids)}
        say = model.raw_proba

        def raw_proba(texts, features=None):
            asked.append(([text_id(t) for t in texts], known))
            return say(texts, features)

        model.raw_proba = raw_proba
        return model

    real = Evaluator.trained
    monkeypatch.setattr(Evaluator, 'trained', trained)
    ev.calibrated(tuple(ev.sources))
    assert sorted(i for ids, _ in asked for i in ids) == sorted(small.train.id)
    assert not any(known & set(ids) for ids, known in asked)
    assert all(len(known) > len(small.train) / 2 for _, known in asked)


def test_calibration_is_deterministic_and_trains_nothing_twice(calibrated, tickets):
    ev, m = calibrated
    again = Evaluator(tickets, ev.pool).calibrated(tuple(ev.sources[:40]))
    assert again.calibration == m.calibration
    assert ev.calibrated(tuple(ev.sources[:40])) is m


def test_an_expensive_classifier_is_calibrated_on_validation(costly, small, small_pool):
    m = Evaluator(small, small_pool, classifier='costly').calibrated(())
    assert len(worlds.TRAINED) == 1 and m.calibration['on'] == 'validation texts'


def test_classes_with_two_texts_do_not_stop_it():
    c = worlds.corpus(n=5)
    m = Evaluator(c, worlds.texts(c)).calibrated(())
    assert m.calibration is None or m.calibration['temperature'] > 0


def test_improve_saves_a_calibrated_model(small, small_pool, tmp_path):
    improve(small, small_pool, budget=3, out=tmp_path, progress=False)
    saved = load_classifier(tmp_path)
    assert saved.calibration['texts'] == len(small.train)
    p = saved.raw_proba(list(small.test.text))
    assert np.allclose(saved.predict_proba(small.test.text), cal.rescaled(p, saved.calibration['temperature']))
