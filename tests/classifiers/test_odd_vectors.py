"What an encoder, its cache or a fold can do to a classifier: one line, or nothing at all, and nothing is lost"

import shutil

import numpy as np
import pandas as pd
import pytest
from worlds import corpus, raises, texts

from autogets.classifiers.linear import make_classifier
from autogets.search.candidates import as_candidate
from autogets.search.evaluator import Evaluator

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')
from autogets.classifiers.encoders import Embedder, tiny_encoder

GIVEN = ['my badge is lost', 'the printer jams', 'a lost badge', 'paper in the printer']
LABELS = ['badge', 'printer', 'badge', 'printer']


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp('encoder') / 'tiny', corpus().train.text, width=16, layers=1)


# --- vectors ---


@pytest.mark.parametrize('name', ['encoder', 'frozen'])
def test_an_encoder_with_damaged_weights_is_one_line_and_nothing_is_kept(name, tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / 'damaged')
    model = transformers.AutoModel.from_pretrained(tmp_path / 'damaged')
    with torch.no_grad():
        model.encoder.layer[0].output.dense.weight[0] = torch.nan
    model.save_pretrained(tmp_path / 'damaged')
    classifier = make_classifier(f'{name}:{tmp_path / "damaged"}', folder=tmp_path / 'kept')
    raises(lambda: classifier.fit(GIVEN, LABELS), 'not finite', "'my badge is lost'", 'weights are damaged')
    assert classifier.embedder.kept.do('select count(*) from vectors') == [(0,)]


def test_kept_vectors_that_are_not_finite_are_one_line(tiny, tmp_path):
    embedder = Embedder(tiny, tmp_path)
    vectors = embedder.embed(GIVEN)
    wrong = np.full(16, np.nan, np.float32).tobytes().hex()
    embedder.kept.do(f"update vectors set vector = x'{wrong}'")
    raises(lambda: embedder.embed(GIVEN), 'not finite', 'delete that file')
    embedder.kept.path.unlink()
    assert (Embedder(tiny, tmp_path).embed(GIVEN) == vectors).all()


@pytest.mark.parametrize('name', ['encoder', 'frozen', 'transformer'])
def test_texts_without_a_token(name, tiny, tmp_path):
    more = dict(epochs=1, threads=1, device='cpu') if name == 'transformer' else dict(folder=tmp_path)
    model = make_classifier(f'{name}:{tiny}', **more).fit([*GIVEN, ''], [*LABELS, 'badge'])
    p = model.predict_proba(['', 'badge', ''])
    assert np.isfinite(p).all() and (p[0] == p[2]).all()
    if name != 'transformer':
        assert not model.embedder.embed(['']).any()
        raises(lambda: model.fit([''] * 4, LABELS), 'embeddings of all texts are 0')


@pytest.mark.parametrize('name', ['linear', 'encoder', 'frozen', 'catboost'])
def test_as_many_classes_as_texts(name, tiny, tmp_path):
    more = dict(iterations=3, device='cpu') if name == 'catboost' else {}
    more = dict(encoder=tiny, folder=tmp_path) if name in ('encoder', 'frozen') else more
    given, classes = [f'the the word{k} and and' for k in range(30)], list(range(30))
    p = make_classifier(name, **more).fit(given, classes).predict_proba(given)
    assert p.shape == (30, 30) and np.isfinite(p).all() and np.allclose(p.sum(1), 1)


# --- folds ---


@pytest.mark.parametrize('classifier', ['linear', 'encoder', 'costly'])
def test_a_fold_that_leaves_one_class(classifier, tiny, tmp_path, costly):
    "The second class has one example, and one text written from it"
    c = corpus(['ant', 'bee'], n=12)
    one = c.train[c.train.label == 'bee'].head(1)
    object.__setattr__(c, 'train', pd.concat([c.train[c.train.label == 'ant'], one], ignore_index=True))
    more = dict(encoder=tiny, folder=tmp_path) if classifier == 'encoder' else {}
    ev = Evaluator(c, texts(c, 1), folds=3, classifier=classifier, **more)
    found = ev.evaluate([(), as_candidate(ev.sources)])
    assert all(np.isfinite(list(r.scores.values())).all() for r in found)


# --- the command ---


@pytest.fixture
def files(tmp_path, monkeypatch, small):
    monkeypatch.setenv('AUTOGETS_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setenv('AUTOGETS_ENCODER', 'none')
    small.train[['text', 'label']].to_csv(tmp_path / 'train.csv', index=False)
    return tmp_path


IMPROVE = 'improve train.csv --strategy random --budget 2 --n 1 --no-free --out out'.split()


def told(done, *says):
    code, _, err = done
    (said,) = [line for line in err.splitlines() if not line.startswith('autogets: note: ')]
    assert code == 2 and said.startswith('autogets: error: ') and all(s in said for s in says), err


def test_an_encoder_that_is_nowhere_ends_the_command_before_anything_is_made(in_process, files):
    told(in_process(*IMPROVE, '--classifier', 'encoder:no such encoder'), 'there is no encoder no such encoder')
    assert not (files / 'out' / 'pool').exists()
    told(in_process('weak', 'train.csv', '--classifier', 'frozen:no such encoder'), 'there is no encoder')


def test_kept_vectors_of_another_model_end_the_command_and_the_pool_stays(in_process, files, small, tiny):
    asked = [*IMPROVE, '--classifier', f'encoder:{tiny}']
    embedder = Embedder(tiny)
    embedder.embed(list(small.train.text[:3]))
    embedder.kept.do('update vectors set vector = substr(vector, 1, 32)')
    told(in_process(*asked), 'hold vectors of 8 numbers where the encoder has 16: delete that file')
    there = (files / 'out' / 'pool' / 'manifest.json').read_bytes()
    embedder.kept.path.unlink()
    assert in_process(*asked)[0] == 0 and (files / 'out' / 'pool' / 'manifest.json').read_bytes() == there


def test_a_saved_model_whose_encoder_is_gone(in_process, files, tiny):
    shutil.copytree(tiny, files / 'encoder')
    make_classifier(f'encoder:{files / "encoder"}').fit(GIVEN, LABELS).save(files / 'model')
    assert in_process('predict', 'model', 'train.csv')[0] == 0
    shutil.rmtree(files / 'encoder')
    told(in_process('predict', 'model', 'train.csv'), 'there is no encoder')
