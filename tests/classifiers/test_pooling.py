"Folders of sentence-transformers and SetFit as encoders, read from their files"

import json
import pickle
import shutil

import numpy as np
import pytest
from worlds import corpus, raises

from autogets.classifiers.encoders import Embedder, tiny_encoder
from autogets.classifiers.linear import load_classifier, make_classifier

TEXTS = ['own0a word1 word2', 'own1b', 'word3 word4 own2c word5 word6', 'Own0A WORD1']


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp('encoder') / 'tiny', corpus().train.text, width=16, layers=1)


@pytest.fixture
def folder(plain, tmp_path):
    "A copy of the tiny encoder, to put modules into"
    return shutil.copytree(plain, tmp_path / 'sentence')


def put(folder, *kinds, **configs):
    "Write modules.json, and the config of each module"
    where = [('' if k == 'Transformer' else f'{i}_{k}', k) for i, k in enumerate(kinds)]
    modules = [
        dict(idx=i, name=str(i), path=p, type=f'sentence_transformers.models.{k}') for i, (p, k) in enumerate(where)
    ]
    (folder / 'modules.json').write_text(json.dumps(modules))
    for path, kind in where:
        if path and kind in configs:
            (folder / path).mkdir(exist_ok=True)
            (folder / path / 'config.json').write_text(json.dumps(configs[kind]))
    return folder


def vectors(folder, place):
    return Embedder(folder, place / 'vectors').embed(TEXTS)


def states(plain):
    "The states of the tokens of each text"
    import torch
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(plain).eval(), AutoTokenizer.from_pretrained(plain)
    with torch.inference_mode():
        return [model(torch.tensor([tokenizer(t)['input_ids']])).last_hidden_state[0].numpy() for t in TEXTS]


READ = {
    'cls': lambda s: s[0],
    'max': lambda s: s.max(0),
    'mean': lambda s: s.mean(0),
    'mean_sqrt_len_tokens': lambda s: s.sum(0) / len(s) ** 0.5,
    'weightedmean': lambda s: np.average(s, axis=0, weights=np.arange(1, len(s) + 1)),
    'lasttoken': lambda s: s[-1],
}


@pytest.mark.parametrize('mode', READ)
def test_each_pooling_is_what_it_says_in_texts_of_different_length(mode, plain, folder, tmp_path):
    found = vectors(put(folder, 'Transformer', 'Pooling', Pooling=dict(pooling_mode=mode)), tmp_path)
    want = np.stack([READ[mode](s) for s in states(plain)])
    np.testing.assert_allclose(found, want / np.linalg.norm(want, axis=1, keepdims=True), atol=1e-5)


def test_the_older_form_of_the_file_is_read_and_several_stand_side_by_side(plain, folder, tmp_path):
    said = dict(word_embedding_dimension=16, pooling_mode_cls_token=True, pooling_mode_mean_tokens=True)
    e = Embedder(put(folder, 'Transformer', 'Pooling', 'Normalize', Pooling=said), tmp_path / 'vectors')
    want = np.stack([np.concatenate([s[0], s.mean(0)]) for s in states(plain)])
    np.testing.assert_allclose(e.embed(TEXTS), want / np.linalg.norm(want, axis=1, keepdims=True), atol=1e-5)
    assert e.width == 32 and e.embed([]).shape == (0, 32)


def test_a_mean_keeps_the_vectors_of_before_and_anything_else_gets_its_own(plain, folder, tmp_path):
    before = Embedder(plain, tmp_path / 'v').key
    mean = put(folder, 'Transformer', 'Pooling', 'Normalize', Pooling=dict(pooling_mode_mean_tokens=True))
    key = Embedder(mean, tmp_path / 'v').key
    first = put(folder, 'Transformer', 'Pooling', 'Normalize', Pooling=dict(pooling_mode='cls'))
    assert '-' not in key.removesuffix('-all') and '-' not in before.removesuffix('-all')
    assert Embedder(first, tmp_path / 'v').key != key


def test_a_dense_layer_is_applied(plain, folder, tmp_path):
    import torch
    from safetensors.torch import save_file

    put(
        folder,
        'Transformer',
        'Pooling',
        'Dense',
        Pooling=dict(pooling_mode='mean'),
        Dense=dict(in_features=16, out_features=5, activation_function='torch.nn.modules.activation.Tanh'),
    )
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(5, 16)).astype(np.float32), rng.normal(size=5).astype(np.float32)
    save_file(
        {'linear.weight': torch.tensor(weight), 'linear.bias': torch.tensor(bias)},
        str(folder / '2_Dense' / 'model.safetensors'),
    )
    want = np.tanh(np.stack([s.mean(0) for s in states(plain)]) @ weight.T + bias)
    found = vectors(folder, tmp_path)
    np.testing.assert_allclose(found, want / np.linalg.norm(want, axis=1, keepdims=True), atol=1e-5)
    (folder / '2_Dense' / 'model.safetensors').unlink()
    raises(lambda: Embedder(folder, tmp_path / 'v'), 'must be in model.safetensors')


def test_lower_case_is_kept_to(folder, tmp_path):
    put(folder, 'Transformer', 'Pooling', Pooling=dict(pooling_mode='mean'))
    (folder / 'sentence_bert_config.json').write_text('{"max_seq_length": 8, "do_lower_case": true}')
    e = Embedder(folder, tmp_path / 'v')
    np.testing.assert_allclose(e.embed(['OWN0A Word1'])[0], e.embed(['own0a word1'])[0], atol=1e-6)


@pytest.mark.parametrize('kinds', [('Transformer', 'LSTM'), ('StaticEmbedding',), ('Transformer', 'Pooling', 'CNN')])
def test_what_is_not_read_here_is_refused(kinds, folder, tmp_path):
    raises(lambda: Embedder(put(folder, *kinds), tmp_path / 'v'), f'is made of {", ".join(kinds)}')


def test_damaged_files_are_refused_in_one_line(folder, tmp_path):
    for said in ('{}', '[]', '[{"idx": 0}]', '[{"idx": 0, "path": 3, "type": "Transformer"}]'):
        (folder / 'modules.json').write_text(said)
        raises(lambda: Embedder(folder, tmp_path / 'v'), 'is not what sentence-transformers writes')
    put(folder, 'Transformer', 'Pooling', Pooling=dict(pooling_mode='attention'))
    raises(lambda: Embedder(folder, tmp_path / 'v'), 'pools by attention')


class Bomb:
    def __init__(self, place):
        self.place = str(place)

    def __reduce__(self):
        return open, (self.place, 'w')


def test_the_head_of_a_setfit_model_is_never_opened_and_that_is_said(folder, tmp_path):
    put(folder, 'Transformer', 'Pooling', 'Normalize', Pooling=dict(pooling_mode='cls'))
    (folder / 'model_head.pkl').write_bytes(pickle.dumps(Bomb(tmp_path / 'opened')))
    c = corpus()
    with pytest.warns(UserWarning, match='its head .a pickle. is not opened'):
        model = make_classifier(f'frozen:{folder}', folder=str(tmp_path / 'v'))
    model.fit(list(c.train.text), list(c.train.label))
    model.save(tmp_path / 'model')
    with pytest.warns(UserWarning, match='not opened'):
        again = load_classifier(tmp_path / 'model')
    np.testing.assert_allclose(again.predict_proba(TEXTS), model.predict_proba(TEXTS))
    assert not (tmp_path / 'opened').exists()


def test_a_model_refuses_another_pooling_than_it_was_trained_with(folder, tmp_path):
    put(folder, 'Transformer', 'Pooling', Pooling=dict(pooling_mode='cls'))
    c = corpus()
    model = make_classifier(f'frozen:{folder}', folder=str(tmp_path / 'v'))
    model.fit(list(c.train.text), list(c.train.label)).save(tmp_path / 'model')
    put(folder, 'Transformer', 'Pooling', Pooling=dict(pooling_mode='max'))
    raises(lambda: load_classifier(tmp_path / 'model'), 'not the one it was trained with')
