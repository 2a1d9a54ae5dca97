"Classifiers are estimators of scikit-learn: its own checks, its tools, labels of any kind, cheap copies, old models"

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score, cross_validate
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import InputTags
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.validation import check_is_fitted, validate_data
from worlds import raises, sentence

from autogets.classifiers.boosted import CatBoostText
from autogets.classifiers.linear import CLASSIFIERS, Classifier, LinearClassifier, load_classifier, make_classifier
from autogets.classifiers.rows import checked_labels, checked_texts

torch = pytest.importorskip('torch')
pytest.importorskip('transformers')
from autogets.classifiers.encoders import FrozenClassifier, tiny_encoder
from autogets.classifiers.finetune import FineTuned
from autogets.classifiers.ridge import EncoderClassifier

NAMES = ('linear', 'catboost', 'encoder', 'frozen', 'transformer')


@pytest.fixture(autouse=True)
def few_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope='module')
def room(tmp_path_factory):
    return tmp_path_factory.mktemp('estimators')


@pytest.fixture(scope='module')
def tiny(room):
    rows = [*in_words(np.random.default_rng(0).normal(size=(200, 5)) * 3), *texts(60)[0]]
    return tiny_encoder(room / 'tiny', rows, width=16, layers=1)


def texts(n=48, classes=3, own=0.6):
    "Texts of classes 0, 1, ..., and their codes"
    rng = np.random.default_rng(7)
    y = np.arange(n) % classes
    return [sentence(rng, k, own=own) for k in y], y


def settings(name, tiny, room):
    own = {
        'catboost': dict(iterations=5, depth=2, device='cpu', threads=1),
        'encoder': dict(encoder=tiny, folder=room / 'kept'),
        'frozen': dict(encoder=tiny, folder=room / 'kept'),
        'transformer': dict(encoder=tiny, epochs=1, threads=1, device='cpu', max_length=64, batch=64),
    }
    return own.get(name, {})


@pytest.fixture(params=NAMES)
def model(request, tiny, room):
    "A classifier of each kind, small and not fitted"
    return make_classifier(request.param, **settings(request.param, tiny, room))


# --- scikit-learn's own checks, whose rows of numbers are told in words ---


def in_words(X):
    return [' '.join(f'f{k}v{round(v)}' for k, v in enumerate(row)) for row in np.asarray(X, float)]


class Numbers:
    "For a classifier that shall read numbers"

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = InputTags()
        return tags

    def fit(self, X, y, sample_weight=None):
        given = validate_data(self, X) if y is None else validate_data(self, X, y)[0]
        return super().fit(in_words(given), y, sample_weight)

    def _proba(self, X, features):
        check_is_fitted(self)
        return super()._proba(in_words(validate_data(self, X, reset=False)), features)


class LinearNumbers(Numbers, LinearClassifier):
    pass


class CatBoostNumbers(Numbers, CatBoostText):
    pass


class EncoderNumbers(Numbers, EncoderClassifier):
    pass


class FrozenNumbers(Numbers, FrozenClassifier):
    pass


class FineTunedNumbers(Numbers, FineTuned):
    pass


RANDOM = {'check_classifiers_train': 'the encoder of the test has random weights and is not accurate'}
FEW = 'the rows of the check are nearly all different, and CatBoost has no word that is frequent enough'
REPEATED = 'check_sample_weight_equivalence_on_dense_data'
NOT_MET = {
    LinearNumbers: {REPEATED: 'TF-IDF counts texts, not weights'},
    CatBoostNumbers: {
        REPEATED: 'the dictionary counts texts, not weights',
        'check_sample_weights_pandas_series': FEW,
        'check_sample_weights_not_an_array': FEW,
        'check_classifier_data_not_an_array': FEW,
        'check_fit2d_1feature': FEW,
    },
    EncoderNumbers: {
        REPEATED: 'the penalty is chosen by leaving out texts, and a text given twice is two texts',
        **RANDOM,
    },
    FrozenNumbers: {},
    FineTunedNumbers: {},
}
SLOW = (FrozenNumbers, FineTunedNumbers)
ABOUT_NUMBERS = {'check_array_api_input': 'texts are in no array of numbers'}


@pytest.mark.parametrize('kind', list(NOT_MET), ids=NAMES)
@pytest.mark.filterwarnings('ignore')
def test_scikit_learns_checks(kind, tiny, room):
    "All of them; where texts are tokenized a second time, those that scikit-learn counts to its interface"
    model = kind(**settings(NAMES[list(NOT_MET).index(kind)], tiny, room))
    expected, failed, passed = NOT_MET[kind] | ABOUT_NUMBERS, {}, 0
    for estimator, check in estimator_checks_generator(model, legacy=kind not in SLOW):
        name = check.func.__name__ if hasattr(check, 'func') else check.__name__
        try:
            check(estimator)
            passed += 1
        except Exception as e:
            failed[name] = f'{type(e).__name__}: {e}'
    assert not failed.keys() - expected.keys(), failed
    assert passed >= (15 if kind in SLOW else 50)


def test_they_are_told_to_read_texts(model):
    tags = model.__sklearn_tags__().input_tags
    assert tags.string and tags.one_d_array and not tags.two_d_array
    with pytest.warns(SkipTestWarning, match='Can.t test estimator'):
        assert len(list(estimator_checks_generator(model))) == 1, 'only that it can be cloned'


# --- parameters, copies ---


def test_parameters_are_those_of_the_constructor(model):
    p = model.get_params()
    assert p['seed'] == 0 and type(model)(**p).get_params() == p
    assert clone(model).set_params(seed=3).get_params() == p | {'seed': 3}
    assert 'seed=3' in repr(clone(model).set_params(seed=3))
    with pytest.raises(ValueError, match='Invalid parameter'):
        LinearClassifier().set_params(depth=3)


def test_further_parameters_of_catboost_are_cloned():
    model = CatBoostText(l2_leaf_reg=7, rsm=0.5)
    twin = clone(model).set_params(l2_leaf_reg=9, random_strength=2)
    assert (model.model_params['l2_leaf_reg'], twin.model_params['l2_leaf_reg']) == (7, 9)
    assert twin.model_params['rsm'] == 0.5 and twin.get_params()['random_strength'] == 2


@pytest.mark.parametrize('name', ['encoder', 'frozen', 'transformer'])
def test_nothing_is_read_before_it_is_needed(name):
    "An encoder that is nowhere is missed by `fit` and `make_classifier`, not by a copy"
    kind = {'encoder': EncoderClassifier, 'frozen': FrozenClassifier, 'transformer': FineTuned}[name]
    model = pickle.loads(pickle.dumps(clone(kind(encoder='/no/such/encoder here'))))
    raises(lambda: model.fit(*texts()), 'there is no encoder /no/such/encoder here')
    if name != 'transformer':
        raises(lambda: make_classifier(f'{name}:/no/such/encoder here'), 'there is no encoder')


def test_a_fitted_classifier_travels(model):
    x, y = texts()
    with pytest.raises(NotFittedError, match='not fitted yet'):
        model.predict(x)
    model.fit(x, y)
    said = model.predict_proba(x)
    sent = pickle.dumps(model)
    again = pickle.loads(sent)
    assert (again.predict_proba(x) == said).all() and again.predict([]).shape == (0,)
    assert len(sent) < 300_000, 'the encoder stays at home' if model.name != 'transformer' else ''
    assert not set(model.unpickled) & set(vars(again)) - {'_made'}


# --- texts and labels ---


@pytest.mark.parametrize('given', [list, tuple, np.array, pd.Series], ids=['list', 'tuple', 'array', 'series'])
def test_texts_may_come_in_any_list(given):
    x, y = texts()
    model = LinearClassifier().fit(given(x), given(list(y)))
    assert (model.predict(given(x)) == LinearClassifier().fit(x, y).predict(x)).all() and model.score(given(x), y) > 0.8


@pytest.mark.parametrize('names', [['c', 'a', 'b'], [10, 2, 1], [2.0, 0.0, 1.0]], ids=['str', 'int', 'float'])
def test_classes_are_what_the_labels_are(model, names, tmp_path):
    if model.name == 'transformer' and names[0] != 10:
        pytest.skip('whole numbers, whose order is not that of their names, are the hard case')
    x, y = texts()
    labels = np.array(names)[y]
    model.fit(x, labels, validation=(x, labels, None))
    assert model.classes_.tolist() == sorted(names) and model.classes_.dtype == labels.dtype
    assert set(model.predict(x)) <= set(names) and 0 <= model.score(x, list(labels)) <= 1
    model.save(tmp_path)
    again = load_classifier(tmp_path)
    assert again.classes_.tolist() == sorted(names) and again.params == model.params
    np.testing.assert_allclose(again.predict_proba(x), model.predict_proba(x), atol=1e-12)


def test_truth_values_are_classes(model):
    x, y = texts(classes=2)
    model.fit(pd.Series(x), pd.Series(y == 1))
    assert model.classes_.tolist() == [False, True] and model.predict(x).dtype == bool


@pytest.mark.parametrize(
    'labels, says',
    [
        (None, 'the target y is None'),
        (['a', None], 'label 2 is missing'),
        (pd.Series(['a', pd.NA]), 'label 2 is missing'),
        ([0, np.nan], 'label 2 is missing'),
        (['a', 1], 'several kinds (int, str)'),
        ([0.5, 1.2], 'numbers with fractions'),
        ([b'a', b'b'], 'label 1 is bytes'),
        ([('a', 'b'), ('c',)], 'label 1 is tuple'),
        (np.eye(2), 'the shape (2, 2)'),
        (np.array(['2026-01-01', '2026-01-02'], 'datetime64[D]'), 'give strings or whole numbers'),
        (['a', 'a'], "one class, 'a'"),
        (['a'], '2 texts but 1 labels'),
    ],
)
def test_labels_that_are_none_are_one_line(labels, says):
    raises(lambda: LinearClassifier().fit(['one', 'two'], labels), says)
    with pytest.raises(ValueError):
        LinearClassifier().fit(['one', 'two'], labels)


def test_labels_and_texts_keep_what_they_are():
    assert checked_labels([np.str_('a'), 'b']).tolist() == ['a', 'b']
    assert checked_labels([np.int64(3), 1]).dtype.kind == 'i' and checked_labels([True, np.bool_(False)]).dtype == bool
    assert checked_labels(pd.Series(['x', 'y'], dtype='category')).tolist() == ['x', 'y']
    assert all(type(t) is str for t in checked_texts(np.array(['a', 'b'])))
    raises(lambda: checked_texts(np.array([['a'], ['b']])), 'shape (2, 1): give one column')
    with pytest.warns(UserWarning, match='column-vector'):
        assert checked_labels(np.array([[1], [0]])).tolist() == [1, 0]


@pytest.mark.parametrize(
    'weights, says',
    [
        ([1.0, -1, *[1] * 46], 'text 1 has the weight -1'),
        ([np.nan] + [1] * 47, 'text 0 has the weight nan'),
        ([1e308] * 48, 'text 0 has the weight 1e+308'),
        ([0] * 48, 'all weights are zero'),
        ([1, 1], '2 weights for 48 texts'),
        (['heavy'] * 48, 'the weights are no numbers'),
    ],
)
def test_weights_that_cannot_be_are_one_line(model, weights, says):
    raises(lambda: model.fit(*texts(), sample_weight=weights), says)


@pytest.mark.parametrize(
    'name, wrong, says',
    [
        ('linear', dict(C=0), 'C is 0: give a number above 0'),
        ('linear', dict(C=float('inf')), 'give a number'),
        ('linear', dict(ngrams=3), 'ngrams are 3'),
        ('linear', dict(ngrams=(2, 1)), 'ngrams are (2, 1)'),
        ('catboost', dict(depth=-1), 'depth is -1'),
        ('catboost', dict(device='tpu'), 'auto, cpu, gpu'),
        ('frozen', dict(C='much'), "C is 'much'"),
        ('transformer', dict(epochs=1.5), 'epochs is 1.5'),
        ('transformer', dict(stop='luck'), 'choose one of loss'),
    ],
)
def test_parameters_that_cannot_be_are_said_when_they_are_used(name, wrong, says, tiny, room):
    model = make_classifier(name, **settings(name, tiny, room)).set_params(**wrong)
    raises(lambda: make_classifier(name, **model.get_params()), says)
    raises(lambda: model.fit(*texts()), says)


# --- tools of scikit-learn ---


def test_cross_validation(model):
    x, y = texts(120)
    assert cross_val_score(model, x, y, cv=2, error_score='raise').shape == (2,)
    p = cross_val_predict(model, np.array(x), np.array(['z', 'a', 'm'])[y], cv=2, method='predict_proba')
    assert p.shape == (120, 3) and np.allclose(p.sum(1), 1)


def test_a_search_over_parameters_in_a_pipeline():
    x, y = texts()
    strip = FunctionTransformer(lambda t: [s.replace('word', '') for s in t])
    search = GridSearchCV(Pipeline([('strip', strip), ('model', LinearClassifier())]), {'model__C': [0.1, 1]}, cv=3)
    search.fit(x, y, model__sample_weight=np.ones(48))
    assert search.best_score_ > 0.7 and search.predict(x).shape == (48,)
    assert search.best_estimator_[-1].C in (0.1, 1)


@pytest.mark.parametrize('together', [True, False])
def test_calibration(together):
    x, y = texts()
    model = CalibratedClassifierCV(LinearClassifier(), cv=3, ensemble=together).fit(x, y, sample_weight=np.ones(48))
    p = model.predict_proba(x)
    assert (model.classes_ == [0, 1, 2]).all() and np.allclose(p.sum(1), 1) and (p.argmax(1) == y).mean() > 0.8


def test_weights_come_by_params_and_by_routing():
    x, y = texts(own=0.1)
    w = np.where(y == 0, 50.0, 1.0)
    plain = cross_val_predict(LinearClassifier(), x, y, cv=3, params={'sample_weight': w})
    assert (plain == 0).sum() > (cross_val_predict(LinearClassifier(), x, y, cv=3) == 0).sum()
    with config_context(enable_metadata_routing=True):
        asked = LinearClassifier().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        assert (cross_val_predict(asked, x, y, cv=3, params={'sample_weight': w}) == plain).all()
        scored = cross_validate(asked, x, y, cv=3, params={'sample_weight': w})
        assert scored['test_score'].shape == (3,)
        assert 'X' not in str(asked.get_metadata_routing()) and 'features' in str(asked.get_metadata_routing())


def test_features_are_scored_with_the_texts():
    x, y = texts(classes=2)
    area = pd.DataFrame({'area': np.where(y == 1, 'north', 'south')})
    model = CatBoostText(iterations=5, depth=2, device='cpu', threads=1).fit(x, y, features=area)
    assert model.score(x, y, features=area) > 0.9


# --- what was there before ---


SAID_THEN = [[0.287228, 0.294103, 0.418669], [0.286619, 0.423273, 0.290107], [0.432119, 0.286457, 0.281424]]


def test_models_of_0_5_0_are_read():
    model = load_classifier(Path(__file__).parents[1] / 'fixtures/v0.5.0/linear')
    assert model.params == dict(seed=3, C=0.7, ngrams=[1, 2], sublinear=True, tol=1e-3)
    p = model.predict_proba(['printer jam', 'password forgotten', 'door key'])
    assert model.classes_.tolist() == ['door', 'login', 'printer']
    np.testing.assert_allclose(p, SAID_THEN, atol=1e-6)
    assert clone(model).fit(*texts()).params == model.params


def test_a_classifier_written_for_0_5_0_is_an_estimator():
    class Older(Classifier):
        name, file = 'older', 'weights.json'

        def __init__(self, seed=0, effort=2):
            self.params = dict(seed=seed, effort=effort)

        def fit(self, texts, labels, sample_weight=None, features=None, validation=None):
            self.classes_ = np.unique(labels)
            return self

        def raw_proba(self, texts, features=None):
            return np.full((len(texts), len(self.classes_)), 1 / len(self.classes_))

    try:
        twin = clone(make_classifier('older', effort=5))
        assert twin.params == dict(seed=0, effort=5) == twin.get_params()
        assert cross_val_score(twin, *texts(), cv=2, error_score='raise').mean() == pytest.approx(1 / 3, abs=0.1)
    finally:
        CLASSIFIERS.pop('older')


def test_a_subclass_without_a_name_replaces_nobody():
    assert CLASSIFIERS['linear'] is LinearClassifier and issubclass(LinearNumbers, LinearClassifier)


def test_a_calibration_ends_with_the_next_fit():
    x, y = texts()
    model = LinearClassifier().fit(x, y)
    before = model.predict_proba(x)
    model.calibration = {'temperature': 0.5, 'texts': 48, 'on': 'nothing'}
    assert not np.allclose(model.predict_proba(x), before)
    assert (model.fit(x, y).predict_proba(x) == before).all()
