"Classifiers: plain pipelines, models on disk, early stopping, input that cannot be used"

import json
import sys
import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from autogets.classifiers.boosted import PAPER, CatBoostText, _best_round
from autogets.classifiers.linear import (
    CLASSIFIERS,
    LinearClassifier,
    load_classifier,
    make_classifier,
)
from autogets.core import UserError

LABELS = np.array(['10', '2', 'áccess', '1'])
TINY = dict(iterations=40, depth=3, patience=3, device='cpu')


def corpus(n, seed, labels=LABELS):
    "Texts of 8 words: each class prefers its own words, three in eight are noise; and a feature that tells a little"
    rng = np.random.default_rng(seed)
    y = rng.integers(0, len(labels), n)
    y[: len(labels)] = np.arange(len(labels))
    words = [
        [f'{"abcd"[k]}word{rng.integers(12)}' if rng.random() < 0.3 else f'noise{rng.integers(20)}' for _ in range(8)]
        for k in y
    ]
    area = np.where(rng.random(n) < 0.6, y % 2, rng.integers(0, 2, n))
    return (
        [' '.join(w) for w in words],
        labels[y],
        pd.DataFrame({'area': [f'area {a}' for a in area]}, index=rng.permutation(n)),
    )


@pytest.fixture(scope='module')
def data():
    return corpus(200, 0), corpus(60, 1), corpus(60, 2)


# ---- linear


@pytest.mark.parametrize(
    'params', [{}, dict(C=0.3, ngrams=(1, 1), sublinear=False, tol=1e-4), dict(seed=7, ngrams=(1, 3))]
)
def test_linear_is_the_plain_pipeline_bit_by_bit(data, params):
    (x, y, _), (z, _, _), _ = data
    weight = np.random.default_rng(3).uniform(0.1, 2, len(x))
    p = {**dict(seed=0, C=1.0, ngrams=(1, 2), sublinear=True, tol=1e-3), **params}
    plain = make_pipeline(
        TfidfVectorizer(ngram_range=p['ngrams'], sublinear_tf=p['sublinear']),
        LinearSVC(random_state=p['seed'], C=p['C'], tol=p['tol'], dual=True),
    ).fit(x, y, linearsvc__sample_weight=weight)
    ours = make_classifier('linear', **params).fit(x, y, sample_weight=weight)
    assert (plain[-1].coef_ == ours.svc_.coef_).all() and (plain[-1].intercept_ == ours.svc_.intercept_).all()
    assert (plain.predict(z) == ours.predict(z)).all() and (plain.classes_ == ours.classes_).all()
    assert not (ours.svc_.coef_ == LinearClassifier(**params).fit(x, y).svc_.coef_).all()  # the weights do count


def test_linear_can_be_rebuilt_from_its_parameters(data):
    (x, y, _), (z, _, _), _ = data
    clf = LinearClassifier(seed=5).fit(x, y)
    vec = TfidfVectorizer(**clf.vectorizer_params)
    svc = LinearSVC(**clf.svc_params).fit(vec.fit_transform(x), y)
    assert (svc.decision_function(vec.transform(z)) == clf.svc_.decision_function(clf.vectorizer_.transform(z))).all()
    json.dumps(clf.params)


@pytest.mark.parametrize('k', [2, 4])
def test_linear_probabilities_rank_as_the_decision_does(k):
    x, y, _ = corpus(120, 4, LABELS[:k])
    clf = LinearClassifier().fit(x, y)
    p = clf.predict_proba(x)
    assert p.shape == (120, k) and np.allclose(p.sum(1), 1) and (p > 0).all()
    assert (clf.predict(x) == clf.svc_.predict(clf.vectorizer_.transform(x))).all()
    assert (clf.predict(x) == y).mean() > 0.9


# ---- models on disk


def fitted(name, data, seed=0):
    x, y, f = data[0]
    return (LinearClassifier(seed=seed, C=0.7) if name == 'linear' else CatBoostText(seed=seed, **TINY)).fit(
        x, y, features=f, validation=data[1]
    )


@pytest.mark.parametrize('name', ['linear', 'catboost'])
def test_saved_and_loaded_predict_the_same(name, data, tmp_path):
    clf = fitted(name, data)
    clf.save(tmp_path / 'model')
    again = load_classifier(tmp_path / 'model')
    x, _, f = data[2]
    assert type(again) is type(clf) and again.params == clf.params and (again.classes_ == clf.classes_).all()
    assert (again.predict_proba(x, f) == clf.predict_proba(x, f)).all()
    assert json.loads((tmp_path / 'model/model.json').read_text())['versions']['numpy'] == np.__version__


def replace(path, old, new):
    path.write_text(path.read_text().replace(old, new, 1))


@pytest.mark.parametrize('name', ['linear', 'catboost'])
@pytest.mark.parametrize(
    'damage, says',
    [
        (lambda d, w: (d / 'model.json').unlink(), 'does not exist'),
        (lambda d, w: (d / 'model.json').write_text('{"format": 1,'), 'not valid JSON'),
        (lambda d, w: (d / 'model.json').write_text('[]'), 'does not describe'),
        (lambda d, w: replace(d / 'model.json', '"format": 1', '"format": 2'), 'does not describe'),
        (lambda d, w: replace(d / 'model.json', '"params"', '"parms"'), 'params'),
        (lambda d, w: w.unlink(), 'cannot be read'),
        (lambda d, w: w.write_bytes(w.read_bytes()[:-10]), 'damaged'),
    ],
    ids=['no json', 'half json', 'foreign json', 'other format', 'no parameters', 'no weights', 'half weights'],
)
def test_damaged_models_are_refused(name, damage, says, data, tmp_path):
    fitted(name, data).save(tmp_path)
    damage(tmp_path, tmp_path / CLASSIFIERS[name].file)
    with pytest.raises(UserError, match=says):
        load_classifier(tmp_path)


def test_parameters_of_another_version_are_refused(data, tmp_path):
    fitted('linear', data).save(tmp_path)
    replace(tmp_path / 'model.json', '"sublinear"', '"sublogarithmic"')
    with pytest.raises(UserError, match='sublogarithmic'):
        load_classifier(tmp_path)


def test_weights_of_another_model_are_refused(data, tmp_path):
    fitted('linear', data).save(tmp_path / 'a')
    LinearClassifier(C=0.1).fit(*data[0][:2]).save(tmp_path / 'b')
    (tmp_path / 'b/weights.npz').replace(tmp_path / 'a/weights.npz')
    with pytest.raises(UserError, match='another model'):
        load_classifier(tmp_path / 'a')


def test_pickled_objects_are_never_loaded(data, tmp_path):
    import hashlib

    fitted('linear', data).save(tmp_path)

    class Bomb:
        def __reduce__(self):
            return exec, ('raise SystemExit("unpickled")',)

    np.savez(tmp_path / 'weights.npz', **{k: np.array([Bomb()], dtype=object) for k in ('coef', 'intercept', 'idf')})
    state = json.loads((tmp_path / 'model.json').read_text())
    state['weights'] = hashlib.sha256((tmp_path / 'weights.npz').read_bytes()).hexdigest()
    (tmp_path / 'model.json').write_text(json.dumps(state))
    with pytest.raises(UserError, match='cannot be read'):
        load_classifier(tmp_path)


# ---- CatBoost


def test_paper_parameters_reach_catboost():
    said = dict(
        iterations=300,
        learning_rate=0.2,
        depth=8,
        l2_leaf_reg=1,
        bagging_temperature=1,
        random_strength=1,
        border_count=254,
        eval_metric='TotalF1',
        random_seed=0,
    )
    clf = CatBoostText()
    assert {k: clf.model_params[k] for k in said} == said
    assert clf.patience == 20
    assert set(clf.model_params) - set(said) == {'bootstrap_type'}
    assert CatBoostText(seed=4, l2_leaf_reg=3).model_params == {**PAPER, 'random_seed': 4, 'l2_leaf_reg': 3}


@pytest.mark.parametrize('patience', [3, 8])
@pytest.mark.parametrize('k', [2, 4])
def test_one_training_stops_like_several(patience, k):
    train, a, b = (corpus(n, s, LABELS[:k]) for n, s in ((200, 0), (60, 1), (25, 2)))
    stops = {'validation': a, 'test': b, 'train': train}
    params = {**TINY, 'patience': patience}
    together = CatBoostText(**params).fit_stops(*train[:2], stops, features=train[2])
    assert len({m.rounds_ for m in together.values()}) > 1
    for name, stop in stops.items():
        alone = CatBoostText(**params).fit(*train[:2], features=train[2], validation=stop)
        assert alone.rounds_ == together[name].rounds_, name
        assert (alone.predict_proba(a[0], a[2]) == together[name].predict_proba(a[0], a[2])).all(), name


def test_best_round_is_where_catboosts_detector_ends():
    train, stop, _ = (corpus(n, s) for n, s in ((200, 0), (25, 1), (25, 2)))

    def fit(patience):
        return CatBoostText(**{**TINY, 'patience': patience}).fit(*train[:2], features=train[2], validation=stop)

    curve = fit(1000).model_.evals_result_['validation']['TotalF1']
    best = {p: _best_round(curve, p)[0] for p in range(1, 9)}
    assert {p: fit(p).rounds_ - 1 for p in best} == best
    assert len(set(best.values())) > 1  # so that an error of one round shows


def test_a_shared_training_can_be_saved_per_stop(data, tmp_path):
    train, a, b = data
    both = CatBoostText(**TINY).fit_stops(*train[:2], {'a': a, 'b': b}, features=train[2])
    for name, clf in both.items():
        clf.save(tmp_path / name)
        assert (load_classifier(tmp_path / name).predict_proba(b[0], b[2]) == clf.predict_proba(b[0], b[2])).all()


def test_catboost_does_not_depend_on_the_number_of_threads(data):
    (x, y, f), a, _ = data
    one, two = (
        CatBoostText(**TINY, threads=t).fit(x, y, features=f, validation=a).predict_proba(a[0], a[2]) for t in (1, 2)
    )
    assert (one == two).all()


def test_catboost_uses_features_and_weights(data):
    (x, y, f), a, _ = data
    base = CatBoostText(**TINY).fit(x, y, features=f)
    other = a[2].assign(area='area 1')
    assert not (base.predict_proba(a[0], a[2]) == base.predict_proba(a[0], other)).all()
    heavy = CatBoostText(**TINY).fit(x, y, features=f, sample_weight=np.where(y == '10', 50.0, 1.0))
    assert (heavy.predict(a[0], a[2]) == '10').sum() > (base.predict(a[0], a[2]) == '10').sum()
    assert (base.classes_ == sorted(LABELS)).all() and (base.predict(x, f) == y).mean() > 0.7
    with pytest.raises(UserError, match="'area'"):
        base.predict(a[0], a[2].rename(columns={'area': 'region'}))


def test_labels_unknown_to_the_training_data_do_not_stop_it(data):
    train, (z, u, g), _ = data
    strange = u.astype(object).copy()
    strange[:5] = 'never seen'
    clf = CatBoostText(**TINY).fit(*train[:2], features=train[2], validation=(z, strange, g))
    same = CatBoostText(**TINY).fit(*train[:2], features=train[2], validation=(z[5:], u[5:], g.iloc[5:]))
    assert clf.rounds_ == same.rounds_
    with pytest.raises(UserError, match='no text of the validation set'):
        CatBoostText(**TINY).fit(*train[:2], features=train[2], validation=(z, ['never seen'] * len(z), g))


# ---- input that cannot be used


@pytest.mark.parametrize('name', ['linear', 'catboost'])
@pytest.mark.parametrize(
    'texts, labels, says',
    [
        (['a pen', 'a cup'], ['x', 'x'], "'x'"),
        ([], [], 'no training texts'),
        (['a pen', 'a cup'], ['x'], '2 texts but 1 labels'),
        (['? !', '-'], ['x', 'y'], 'training text'),
    ],
    ids=['one class', 'none', 'lengths', 'no words'],
)
def test_hopeless_training_data(name, texts, labels, says):
    with pytest.raises(UserError, match=says):
        make_classifier(name).fit(texts, labels)


def test_unknown_names_and_parameters():
    with pytest.raises(UserError, match='linear, catboost'):
        make_classifier('svm')
    with pytest.raises(UserError, match="'depth'"):
        make_classifier('linear', depth=3)
    with pytest.raises(UserError, match='auto, cpu, gpu'):
        make_classifier('catboost', device='tpu').fit(['a pen', 'a cup'], ['x', 'y'])


def test_catboost_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, 'catboost', None)
    with pytest.raises(UserError, match=r'pip install "autogets\[catboost\]"'):
        make_classifier('catboost').fit(['a pen', 'a cup'], ['x', 'y'])
    make_classifier('linear').fit(['pen', 'cup'], ['x', 'y'])
