"Ridge on words: exact against fitting again, on disk, and a job from corpus to verdict with it"

import numpy as np
import pytest
import scipy.sparse as sp
import worlds

import autogets as ag
from autogets.classifiers.fixed_ridge import FixedRidge
from autogets.classifiers.linear import load_classifier, make_classifier
from autogets.classifiers.refit import make_refit, origin
from autogets.classifiers.ridge import class_factors, family, with_intercept
from autogets.classifiers.word_ridge import WordRows, fitted_ridge
from autogets.core import UserError
from autogets.job_settings import Job
from autogets.search.evaluator import Evaluator
from autogets.search.halving import halving_rungs, run_halving
from autogets.search.candidates import Budget


def world(seed, real=30, synthetic=50, width=12, classes=4):
    "Sparse vectors, their classes and where the synthetic ones come from, some from two real texts"
    rng = np.random.default_rng(seed)
    own = [f'r{i}' for i in range(real)]
    sources = [tuple(rng.choice(own, rng.integers(1, 3), replace=False)) for _ in range(synthetic)]
    codes = np.array([int(i[1:]) % classes for i in own] + [int(s[0][1:]) % classes for s in sources])
    vectors = sp.csr_matrix(rng.poisson(0.3, (len(codes), width)) * rng.uniform(0.2, 1, width))
    weights = np.concatenate([rng.uniform(0.5, 2, real), rng.choice([0, 0.2, 1, 3], synthetic)])
    return vectors, codes, own, sources, weights


def solved(vectors, codes, weights, alpha, classes=4, kept=slice(None)):
    "Coefficients by the normal equations, the factors of the classes those of all texts"
    counted = (weights * class_factors(weights, codes, classes)[codes])[kept]
    rows = with_intercept(vectors)[kept]
    gram = (rows.T * counted) @ rows + alpha * np.eye(rows.shape[1])
    return np.linalg.solve(gram, (rows.T * counted) @ np.eye(classes)[codes][kept])


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('alpha', [0.05, 1.0, 20.0])
@pytest.mark.parametrize('width', [3, 12])  # families larger than the vocabulary, and smaller
def test_it_is_fitting_again_with_and_without_the_family(seed, alpha, width):
    vectors, codes, own, sources, weights = world(seed, width=width)
    members = family(own, sources)
    system = WordRows(vectors[:30], codes, 4, synthetic=vectors[30:], members=members)
    fixed = FixedRidge(system, weights, alpha)
    np.testing.assert_allclose(fixed.coefficients, solved(vectors, codes, weights, alpha), atol=1e-8)
    found = fixed.left_out(block=11)
    for i, me in enumerate(own):
        stays = np.array([me not in ids for ids in [(o,) for o in own] + sources])
        again = solved(vectors, codes, weights, alpha, kept=stays)
        np.testing.assert_allclose(found[i], with_intercept(vectors[i])[0] @ again, atol=1e-8)
    single = FixedRidge(system, weights, alpha, dtype='float32').left_out()
    np.testing.assert_allclose(single, found, atol=2e-3)


def test_the_scale_makes_probabilities_of_left_out_scores():
    vectors, codes, own, sources, weights = world(5)
    system = WordRows(vectors[:30], codes, 4, synthetic=vectors[30:], members=family(own, sources))
    w, alpha = fitted_ridge(system, weights)
    plain = FixedRidge(system, weights, alpha).coefficients
    scale = w[0, 0] / plain[0, 0]
    np.testing.assert_allclose(w, scale * plain)
    assert scale > 0 and alpha in (0.1, 0.3, 1.0, 3.0, 10.0)


@pytest.fixture(scope='module')
def corpus():
    c = worlds.corpus(n=60, step=6, seed=0)
    return c, worlds.texts(c, seed=0)


def test_synthetic_texts_without_weight_have_no_part(corpus):
    c, pool = corpus
    half = pool.iloc[::2]

    def fitted(rows, weights):
        model = make_classifier('word-ridge')
        texts, labels = ([*c.train[k], *rows[k]] for k in ('text', 'label'))
        return model.fit(texts, labels, np.r_[np.ones(len(c.train)), weights], **origin(model, c.train, rows))

    with_zeros, without = fitted(pool, 1 - np.arange(len(pool)) % 2), fitted(half, np.ones(len(half)))
    test = list(c.test.text)
    np.testing.assert_allclose(with_zeros.raw_proba(test), without.raw_proba(test), atol=1e-9)


def test_the_final_scores_are_those_of_the_model_that_is_delivered(corpus):
    c, pool = corpus
    refit, rows = make_refit('word-ridge', c, pool), np.arange(0, len(pool), 2)
    weights = np.linspace(0.2, 2, len(rows))
    model, both = make_classifier('word-ridge'), [*c.train.label, *pool.label.iloc[rows]]
    model.fit(
        [*c.train.text, *pool.text.iloc[rows]],
        both,
        np.r_[np.ones(len(c.train)), weights],
        **origin(model, c.train, pool.iloc[rows]),
    )
    codes = refit.final(rows, weights)['validation']
    assert list(np.array(c.classes)[codes]) == list(model.predict(list(c.validation.text)))


def test_held_out_texts_do_not_change_the_words(corpus):
    "Validation, test and labels have no part in which words are read and what they count"
    c, pool = corpus
    refit = make_refit('word-ridge', c, pool, splits=('validation', 'test'))
    reader = make_classifier('word-ridge').reader([*c.train.text, *pool.text])
    known = set(reader.vectorizer.vocabulary_)
    assert refit.system.vectors.shape[1] == len(known)
    assert known <= {w for t in [*c.train.text, *pool.text] for w in t.lower().split()}


def test_on_disk_and_back(corpus, tmp_path):
    c, _ = corpus
    model = make_classifier('word-ridge', words=50).fit(list(c.train.text), list(c.train.label))
    model.save(tmp_path)
    again = load_classifier(tmp_path)
    assert again.params == dict(seed=0, words=50, sublinear=True)
    np.testing.assert_array_equal(again.predict_proba(list(c.test.text)), model.predict_proba(list(c.test.text)))
    (tmp_path / 'weights.npz').write_bytes(b'x')
    with pytest.raises(UserError, match='damaged'):
        load_classifier(tmp_path)


@pytest.mark.parametrize(
    'texts, labels, params, said',
    [
        (['? !', '...'], ['a', 'b'], {}, 'no training text has a word'),
        (['one', 'two'], ['a', 'a'], {}, 'two or more'),
        ([], [], {}, 'no training texts'),
        (['one', 'two'], ['a', 'b'], dict(words=0), '1 or more'),
        (['one', 'two'], ['a', 'b'], dict(words=True), 'whole number'),
        (['one', 'two'], ['a', 'b'], dict(words=2.5), 'whole number'),
    ],
)
def test_what_cannot_be(texts, labels, params, said):
    with pytest.raises(UserError, match=said):
        make_classifier('word-ridge', **params).fit(texts, labels)


def test_unknown_words_and_no_texts_are_answered():
    model = make_classifier('word-ridge').fit(['my badge', 'my phone', 'a phone'], ['a', 'b', 'b'])
    p = model.predict_proba(['zzz', 'badge'])
    assert np.isfinite(p).all() and p.sum(1) == pytest.approx(1) and model.predict(['badge'])[0] == 'a'
    assert model.predict_proba([]).shape == (0, 2)


def test_candidates_have_likelihoods_and_derivatives(corpus):
    c, pool = corpus
    ev = Evaluator(c, pool, classifier='word-ridge', folds=4)
    nothing, full = ev.evaluate([(), tuple(sorted(ev.sources))])
    assert len(nothing.likelihood) == 11 and nothing.likelihood != full.likelihood
    truth = np.concatenate([ev.truth('train'), ev.truth('validation')])
    rows, step = np.arange(len(pool)), 1e-5
    found = ev.refit.influence(rows, np.ones(len(rows)), truth).by_text()[ev.refit.system.real + 3]
    moved = [ev.refit.influence(rows, np.ones(len(rows)) + d * (rows == 3), truth).losses.mean() for d in (-step, step)]
    assert (moved[1] - moved[0]) / (2 * step) == pytest.approx(found, rel=1e-3, abs=1e-8)


def test_it_screens_for_another(corpus):
    c, pool = corpus
    found = run_halving(
        c,
        pool,
        halving_rungs('linear', 'word-ridge', finalists=3),
        Budget(evaluations=8),
        strategy='class-weights',
        objective='accuracy',
        folds=4,
        progress=False,
    )
    assert [r.classifier for r in found.rungs] == ['word-ridge', 'linear']


def test_the_usual_strategy_is_the_one_for_closed_forms():
    assert Job(classifier='word-ridge').strategy == 'common-weight'
    with pytest.raises(UserError, match='word-ridge'):
        Job(classifier='linear', strategy='influence')


def test_as_a_screen_it_gives_another_classifier_its_likelihoods(corpus):
    c, pool = corpus
    assert Job(classifier='linear', screen='word-ridge', strategy='common-weight').folds is None
    result = ag.improve(
        c, pool, classifier='linear', screen='word-ridge', strategy='common-weight', free=False, progress=False
    )
    assert result.model.name == 'linear'


def test_a_job_from_corpus_to_verdict(corpus, tmp_path):
    c, pool = corpus
    result = ag.improve(c, pool, classifier='word-ridge', objective='accuracy', budget=4, free=False, progress=False)
    result.model.save(tmp_path)
    texts = list(c.test.text)
    assert list(load_classifier(tmp_path).predict(texts)) == list(result.model.predict(texts))
