"The augmenter: rows in, the same and more rows out, from the given rows alone, and weights or copies beside them"

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.metrics import balanced_accuracy_score, f1_score
from sklearn.model_selection import cross_val_score
from worlds import corpus, raises, texts

import autogets as ag
from autogets.augmenter import copies
from autogets.classifiers.linear import LinearClassifier
from autogets.core import text_id
from autogets.metrics import objective_score, scorer
from autogets.search.evaluator import Evaluator


@pytest.fixture
def rows():
    "Texts and labels that somebody trains on, and synthetic texts of some of them"
    c = corpus(n=20)
    given = pd.concat([c.train, c.validation], ignore_index=True)
    return given, texts(c, examples=given)[['text', 'label', 'source_ids']]


def quick(pool='eda', **how):
    return ag.SyntheticAugmenter(pool, **{**dict(classifier='linear', strategy='random', budget=4), **how})


def test_what_was_given_comes_back_first(rows):
    given, pool = rows
    sampler = quick(pool)
    x, y = sampler.fit_resample(given.text, given.label)
    n = len(given)
    assert type(x) is type(y) is pd.Series and (x[:n] == given.text).all() and (y[:n] == given.label).all()
    assert x[n:].tolist() == sampler.chosen_.text.tolist() and y[n:].tolist() == sampler.chosen_.label.tolist()
    assert len(sampler.sample_weight_) == len(x) and (sampler.sample_weight_[:n] == 1).all()
    assert 'biased upwards' in repr(sampler.result_) and sampler.classes_.tolist() == ['ant', 'bee', 'cat']


@pytest.mark.parametrize('form', [list, np.array], ids=['list', 'array'])
def test_labels_keep_their_kind(rows, form):
    given, pool = rows
    code = given.label.map({'ant': 10, 'bee': 9, 'cat': 100}).tolist()
    named = quick(pool.assign(label=pool.label.map({'ant': '10', 'bee': '9', 'cat': '100'})), strategy='class-weights')
    x, y = named.fit_resample(form(given.text.tolist()), form(code))
    assert type(x) is type(y) is type(form([1])) and set(y) <= {9, 10, 100} and len(y) > len(code)
    assert all(isinstance(v, (int, np.integer)) for v in y) and LinearClassifier().fit(x, y).classes_.tolist() == [
        9,
        10,
        100,
    ]


def test_only_texts_of_the_given_rows_join(rows):
    "So a training part of a cross-validation gets nothing that was written from a row to be tested on"
    given, pool = rows
    half = given.groupby('label').head(9)
    sampler = quick(pool, budget=8, seed=3)
    sampler.fit_resample(half.text, half.label)
    inside = {text_id(t) for t in half.text}
    assert (
        len(sampler.result_.evaluator.pool)
        and {i for s in sampler.result_.evaluator.pool.source_ids for i in s} <= inside
    )
    held = set(sampler.result_.evaluator.corpus.validation.id)
    assert not held & {i for s in sampler.chosen_.source_ids for i in s}, 'nothing is written from validation'


def test_no_test_split_is_looked_at(rows, monkeypatch):
    seen, real = [], Evaluator.truth
    monkeypatch.setattr(Evaluator, 'truth', lambda self, split: seen.append(split) or real(self, split))
    quick(rows[1], strategy='class-weights').fit_resample(rows[0].text, rows[0].label)
    assert set(seen) == {'train', 'validation'}


def test_weights_are_those_of_the_classes(rows):
    given, pool = rows
    sampler = quick(pool, strategy='class-weights', budget=25)
    x, y = sampler.fit_resample(given.text, given.label)
    ev, candidate = sampler.result_.evaluator, sampler.result_.candidate
    weights = ev.weights(candidate, ev.rows(candidate))
    expected = np.ones(len(sampler.chosen_)) if weights is None else weights
    assert (sampler.sample_weight_[len(given) :] == expected).all()
    other = clone(sampler).set_params(as_copies=True)
    x, y = other.fit_resample(given.text, given.label)
    assert (other.sample_weight_ == 1).all() and len(x) == len(given) + len(other.chosen_)
    assert abs(len(other.chosen_) - expected.sum()) < 4 * np.sqrt(len(expected)) + 1


def test_copies_add_up_to_the_weights():
    w = np.random.default_rng(0).choice([0, 0.05, 0.5, 1, 1.7, 4], 30_000)
    found = copies(w, np.random.default_rng(1))
    assert ((found == np.floor(w)) | (found == np.floor(w) + 1)).all() and (found[w % 1 == 0] == w[w % 1 == 0]).all()
    assert found.sum() == pytest.approx(w.sum(), rel=0.02)


def test_the_same_seed_gives_the_same(rows):
    given, pool = rows
    one, two, other = (quick(pool, seed=s) for s in (1, 1, 2))
    x = [s.fit_resample(given.text, given.label)[0].tolist() for s in (one, two, other)]
    assert x[0] == x[1] != x[2] and one.get_params().keys() == clone(one).get_params().keys()


class Sampled(ClassifierMixin, BaseEstimator):
    "A sampler before a classifier, as a pipeline of imbalanced-learn has it"

    def __init__(self, sampler, model):
        self.sampler, self.model = sampler, model

    def fit(self, X, y):
        self.fitted_ = clone(self.model).fit(*clone(self.sampler).fit_resample(X, y))
        self.classes_ = self.fitted_.classes_
        return self

    def predict(self, X):
        return self.fitted_.predict(X)


def test_inside_a_cross_validation(rows):
    given, pool = rows
    both = Sampled(quick(pool, as_copies=True), LinearClassifier())
    found = cross_val_score(both, given.text, given.label, cv=2, scoring=scorer('macro-f1'), error_score='raise')
    assert found.shape == (2,) and (found > 0.4).all()


def test_a_pipeline_of_imbalanced_learn(rows):
    pipeline = pytest.importorskip('imblearn.pipeline', reason='imbalanced-learn is not installed')
    given, pool = rows
    steps = [('texts', quick(pool, as_copies=True)), ('model', LinearClassifier())]
    model = pipeline.Pipeline(steps).fit(given.text, given.label)
    x, y = quick(pool, as_copies=True).fit_resample(given.text, given.label)
    assert (model.predict(given.text) == LinearClassifier().fit(x, y).predict(given.text)).all()
    assert cross_val_score(pipeline.Pipeline(steps), given.text, given.label, cv=2, error_score='raise').shape == (2,)


@pytest.mark.parametrize(
    'how, says',
    [
        (dict(objective='balanced_accuracy'), 'say recall for that'),
        (dict(objective='luck'), 'unknown objective'),
        (dict(strategy='ensemble'), 'use improve for that'),
        (dict(options={'screen': 'linear'}, classifier='catboost'), 'screen alone: use improve'),
        (dict(options={'protocol': 'paper'}), 'paper alone: use improve'),
        (
            dict(options={'luck': 1}),
            "options of the augmenter: Job.__init__() got an unexpected keyword argument 'luck'",
        ),
        (dict(budget=0), 'budget'),
        (dict(texts=3), 'texts are int'),
    ],
)
def test_what_cannot_be_is_one_line(rows, how, says):
    raises(lambda: quick(how.pop('texts', 'eda'), **how).fit_resample(rows[0].text, rows[0].label), says)


def test_rows_that_cannot_be_split_are_one_line():
    raises(lambda: quick().fit_resample(['a b', 'c d', 'e f'], ['x', 'x', 'y']), 'too few rows to split')
    raises(lambda: quick().fit_resample(['a b', ''], ['x', 'y']), 'text')
    raises(lambda: quick().fit_resample(['a b', 'c d'], ['x', ' x']), 'differ in nothing but spaces')


# --- objectives as scorers ---


def test_scorers_are_those_of_scikit_learn_where_both_mean_the_same():
    rng = np.random.default_rng(0)
    true, guess = rng.choice(list('abc'), 200), rng.choice(list('abc'), 200)
    assert objective_score(true, guess) == pytest.approx(f1_score(true, guess, average='macro'))
    assert objective_score(true, guess, 'f1_macro') == objective_score(true, guess, 'macro-f1')
    assert objective_score(true, guess, 'accuracy') == pytest.approx((true == guess).mean())
    assert objective_score(true, guess, 'recall') == pytest.approx(balanced_accuracy_score(true, guess))
    overall = objective_score(true, guess, 'overall-balanced-accuracy')
    assert overall != pytest.approx(balanced_accuracy_score(true, guess), abs=0.01)
    b = balanced_accuracy_score(true == 'b', guess == 'b')
    assert objective_score(true, guess, 'balanced-accuracy', target='b') == pytest.approx(b)


def test_a_scorer_scores_an_estimator(rows):
    given, _ = rows
    model = LinearClassifier().fit(given.text, given.label)
    assert scorer('accuracy')(model, given.text, given.label) == model.score(given.text, given.label)
    assert 0 <= scorer('recall', target='bee')(model, given.text, given.label) <= 1
    raises(lambda: scorer('balanced_accuracy'), 'say recall')
