"Results as data sets, and as folders that are ready for the Hugging Face hub; nothing here needs a network"

import json
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from worlds import corpus, raises, texts

import autogets as ag
from autogets import hub
from autogets.classifiers.linear import make_classifier
from autogets.curation.quality_card import HOW_MEASURED
from autogets.generators.prompts import get_method
from autogets.hub import push, write_hub
from autogets.hub_cards import Publication, dataset_card, model_card
from autogets.hub_data import outcome_rows, to_datasets

CLASSES = ['ant', 'bee "x": [y]', '# cat | *<b>*']


@pytest.fixture(scope='module')
def result():
    "A job whose class names are as odd as Markdown and YAML can bear"
    c = corpus(CLASSES, n=30)
    how = dict(strategy='class-weights', budget=12, objective='accuracy', classifier='linear', progress=False)
    return ag.improve(c, texts(c), **how)


@pytest.fixture(scope='module')
def kept(result):
    "The same of which nothing is recommended"
    c, pool = result.evaluator.corpus, result.evaluator.pool
    wrong = pd.DataFrame({'text': pool.text, 'label': np.roll(pool.label, len(pool) // 2)}).head(12)
    how = dict(strategy='random', budget=2, classifier='linear', progress=False, free=False)
    return ag.improve(c, wrong, **how)


def head(card):
    first, said, _ = card.split('---\n', 2)
    assert first == ''
    return yaml.safe_load(said)


# --- rows and data sets ---


def test_chosen_texts_stand_beside_the_real_ones_at_their_weight(result):
    train = outcome_rows(result)['train']
    ev, candidate = result.evaluator, result.final.candidate
    assert (train.weight[~train.synthetic] == 1).all() and (~train.synthetic).sum() == len(ev.corpus.train)
    weights = ev.weights(candidate, ev.rows(candidate))
    want = np.ones(len(result.texts)) if weights is None else weights
    np.testing.assert_allclose(train.weight[train.synthetic], want[want > 0])


def test_a_classifier_fitted_to_the_data_set_is_the_augmented_one(result):
    train = to_datasets(result)['train']
    names = train.features['label'].names
    labels = [names[k] for k in train['label']]
    model = make_classifier('linear').fit(list(train['text']), labels, sample_weight=np.array(train['weight']))
    test = list(result.evaluator.corpus.test.text)
    assert (model.predict(test) == result.augmented.predict(test)).all()


def test_data_sets_have_classes_by_number_in_one_order(result):
    sets = to_datasets(result)
    assert list(sets) == ['train', 'validation', 'test']
    assert all(s.features == sets['train'].features for s in sets.values())
    assert sets['test'].features['label'].names == sorted(CLASSES)
    back = ag.read_corpus(to_datasets(result.evaluator.corpus))
    assert back.fingerprint == result.evaluator.corpus.fingerprint


def test_a_pool_goes_out_alone_and_anything_else_is_refused(result):
    pool = SimpleNamespace(texts=result.evaluator.pool)
    sets = to_datasets(pool)
    assert list(sets) == ['train'] and len(sets['train']) == len(pool.texts)
    raises(lambda: to_datasets({'a': 1}), 'dict is no data set')


def test_without_the_library_one_line_says_what_to_install(result, monkeypatch):
    monkeypatch.setitem(sys.modules, 'datasets', None)
    raises(lambda: to_datasets(result), 'pip install "autogets[datasets]"')


# --- cards ---


def test_heads_are_yaml_that_the_hub_reads(result):
    hub = pytest.importorskip('huggingface_hub')
    p = Publication('somebody/odd', 'cc-by-4.0', 'en')
    data = hub.DatasetCard(dataset_card(result, p)).data.to_dict()
    assert data['license'] == 'cc-by-4.0' and data['configs'][0]['config_name'] == 'default'
    card = hub.ModelCard(model_card(result, p))
    (accuracy,) = [e for e in card.data.eval_results if e.metric_type == 'accuracy']
    scores = result.final.improved if result.recommended == 'augmented' else result.final.baseline
    assert accuracy.metric_value == round(scores['test']['accuracy'], 4) and accuracy.dataset_split == 'test'


def test_cards_say_gain_with_its_ci_free_baselines_and_recommendation(result):
    g = result.final.gain['test']
    for card in (dataset_card(result), model_card(result)):
        assert all(f'{g[k]:.4f}' in card for k in ('estimate', 'low', 'high'))
        assert all(m in card for m in result.free_table.method)
        assert result.verdict.headline.split(':')[0] in card and 'full-pool' in card


def test_a_model_that_is_the_baseline_is_called_so(kept):
    assert kept.recommended == 'baseline'
    card = model_card(kept)
    assert '**the baseline**' in card
    (metric, *_) = head(card)['model-index'][0]['results'][0]['metrics']
    assert metric['value'] == round(kept.final.baseline['test']['accuracy'], 4)


def test_what_is_not_known_is_said_and_what_is_known_is_not_lost(result):
    card = dataset_card(result, Publication(intended='To <script>learn</script>', contact='a@b.example'))
    assert 'not known to the program' in card and 'not yet decided' in card and head(card)['license'] == 'other'
    assert 'To &lt;script>learn' in card and 'a@b.example' in card and '<b>' not in card
    c = result.evaluator.corpus
    c.info['license'] = 'CC BY 4.0'
    try:
        assert 'Sources: CC BY 4.0.' in dataset_card(result) and 'Sources: CC BY 4.0.' in model_card(result)
    finally:
        del c.info['license']


def test_odd_class_names_keep_tables_whole(result):
    lines = dataset_card(result).splitlines()
    start = lines.index('## Classes') + 2
    rows = [l for l in lines[start:] if l.startswith('|')][: 2 + len(CLASSES)]
    assert len({l.replace('\\|', '').count('|') for l in rows}) == 1, rows


def test_prompts_are_printed_and_quality_is_reused(result):
    pool = result.evaluator.pool
    before = pool['prompt'].copy()
    figures = pd.DataFrame(
        [dict(group='copies', figure='exact copies', synthetic=0.1, real=0.0, light='bad', reading='many are copies')]
    )
    measured = SimpleNamespace(table=figures, settings={'encoder': 'words'})
    try:
        pool['prompt'] = 'autogets'
        card = dataset_card(result, quality=measured)
    finally:
        pool['prompt'] = before
    assert get_method('autogets').system.strip() in card and HOW_MEASURED[:40] in card
    assert 'exact copies (bad): many are copies' in card


# --- the folder ---


def test_the_folder_is_read_by_the_library_and_by_load_model(result, tmp_path):
    datasets = pytest.importorskip('datasets')
    folder = write_hub(result, tmp_path / 'hub', Publication('somebody/odd', real=True))
    own = datasets.load_dataset(str(folder / 'dataset'), cache_dir=str(tmp_path / 'cache'))
    assert {s: len(d) for s, d in own.items()} == {s: len(r) for s, r in outcome_rows(result).items()}
    pool = datasets.load_dataset(str(folder / 'dataset'), 'pool', cache_dir=str(tmp_path / 'cache'))['train']
    assert len(pool) == len(result.evaluator.pool) and sum(w > 0 for w in pool['weight']) <= len(result.texts)
    test = list(result.evaluator.corpus.test.text)
    assert (ag.load_model(folder / 'model').predict(test) == result.model.predict(test)).all()


def test_real_texts_stay_at_home_unless_asked_for_and_nothing_of_before_stays(result, tmp_path):
    write_hub(result, tmp_path, Publication(real=True), suffix='.jsonl')
    assert (tmp_path / 'dataset/data/test.jsonl').is_file()
    write_hub(result, tmp_path, suffix='.jsonl')
    files = sorted(p.name for p in (tmp_path / 'dataset/data').iterdir())
    assert files == ['pool.jsonl', 'train.jsonl']
    written = ''.join(p.read_text() for p in (tmp_path / 'dataset').rglob('*') if p.is_file())
    c = result.evaluator.corpus
    assert not any(t in written for s in (c.train, c.validation, c.test) for t in s.text)
    rows = [json.loads(l) for l in (tmp_path / 'dataset/data/train.jsonl').read_text().splitlines()]
    assert {r['text'] for r in rows} <= set(result.texts.text) and all(r['synthetic'] for r in rows)


def test_files_of_others_are_not_removed(result, tmp_path):
    (tmp_path / 'dataset').mkdir()
    (tmp_path / 'dataset' / 'thesis.txt').write_text('mine')
    raises(lambda: write_hub(result, tmp_path), 'holds other files: choose another folder')
    assert (tmp_path / 'dataset' / 'thesis.txt').read_text() == 'mine'


# --- the way to the hub ---


class Shelf:
    "Stands for `HfApi`: keeps what it is given"

    def __init__(self, error=None):
        self.error, self.made, self.files = error, [], {}

    def create_repo(self, name, **how):
        self.made.append((name, how))
        if self.error:
            raise self.error

    def upload_folder(self, repo_id, repo_type, folder_path, **how):
        self.files[repo_type] = {p.name for p in Path(folder_path).rglob('*') if p.is_file()}
        self.how = how


def test_both_parts_go_to_private_repositories(result, tmp_path):
    shelf = Shelf()
    where = ag.push(result, 'somebody/odd', tmp_path, api=shelf)
    assert where == {
        'dataset': 'https://huggingface.co/datasets/somebody/odd',
        'model': 'https://huggingface.co/somebody/odd',
    }
    assert [(n, how['repo_type'], how['private']) for n, how in shelf.made] == [
        ('somebody/odd', 'dataset', True),
        ('somebody/odd', 'model', True),
    ]
    assert 'README.md' in shelf.files['dataset'] and {'README.md', 'model.json'} <= shelf.files['model']


def test_one_part_can_be_pushed_alone(result, tmp_path):
    shelf = Shelf()
    assert list(push(result, 'somebody/odd', tmp_path, 'model', api=shelf, private=False)) == ['model']
    assert list(shelf.files) == ['model'] and shelf.made[0][1]['private'] is False


def test_without_token_or_library_the_folder_is_there_and_one_line_says_so(result, tmp_path, monkeypatch):
    hub = pytest.importorskip('huggingface_hub')
    monkeypatch.setattr(hub, 'get_token', lambda: None)
    raises(lambda: push(result, 'somebody/odd', tmp_path / 'a'), 'no token for the hub', 'can be pushed by hand')
    assert (tmp_path / 'a' / 'model' / 'README.md').is_file()
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    raises(lambda: push(result, 'somebody/odd', tmp_path / 'b'), 'pip install huggingface_hub', 'by hand')


def test_a_hub_that_refuses_and_names_that_are_none(result, tmp_path):
    shelf = Shelf(PermissionError('403: you have no right\nto write'))
    raises(lambda: push(result, 'somebody/odd', tmp_path, api=shelf), 'PermissionError: 403: you have no right)')
    for name in ('odd', 'a/b/c', '../x/y', 'a/', None):
        raises(lambda: push(result, name, tmp_path, api=shelf), 'give user/name')
    raises(lambda: push(result, 'a/b', tmp_path, 'space', api=shelf), 'unknown part')
    raises(lambda: push(result, 'a/b', tmp_path, api=shelf, licence='mit'), 'unknown option')
    raises(lambda: push(result.texts, 'a/b', tmp_path, api=shelf), 'give what improve returned')


def test_a_model_that_names_a_folder_of_this_machine_is_told_of(tmp_path):
    with pytest.warns(UserWarning, match='nobody else can load it'):
        hub._warn_of_folders(f'encoder:{tmp_path}')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        hub._warn_of_folders('encoder:offline')
