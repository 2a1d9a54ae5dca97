"Recorded datasets by name: the registry, the rules of loading, and (where AUTOGETS_DATA is set) all the real ones"

import gzip
import hashlib
import os
import warnings

import pandas as pd
import pytest
from data.recorded import make, register, words

from autogets.core import UserError, shipped, text_id
from autogets.data.datasets import DATASETS, DataMissing
from autogets.data.recordings import PARTS, RECORDINGS, list_recordings, read_part, recording_file
from autogets.generators import recordings
from autogets.generators.build import build_pool
from autogets.generators.recorded import Recorded
from autogets.generators.recordings import load_recording, recorded_rows, recording_models, recording_pool

FOLDERS = [n for n in RECORDINGS if n not in DATASETS]
with_data = pytest.mark.skipif(not os.environ.get('AUTOGETS_DATA'), reason='AUTOGETS_DATA is not set')


@pytest.fixture
def zoo(tmp_path):
    return make(tmp_path / 'zoo')


@pytest.fixture
def registered(tmp_path, monkeypatch):
    return register(tmp_path, monkeypatch)


def pooled(corpus, generator, n=5):
    return build_pool(
        generator, corpus.examples('all'), n=n, held_out=[*corpus.validation.text, *corpus.test.text], progress=False
    )


def refusal(*args, exc=UserError, **kw):
    "The one line with which `load_recording` refuses"
    with pytest.raises(exc) as e:
        load_recording(*args, **kw)
    assert '\n' not in str(e.value)
    return str(e.value)


@pytest.mark.parametrize('name', ['sst6', '', 'no/such/folder'])
def test_unknown_names_are_refused_with_the_choices(name):
    line = refusal(name)
    assert 'unknown recorded dataset' in line
    assert 'tickets, trec6, top_navigation' in line
    assert 'path of a folder' in line
    with pytest.raises(UserError, match='unknown recorded dataset'):
        recording_models(name)


@pytest.mark.parametrize('name', FOLDERS)
def test_a_recording_that_is_not_here_says_where_it_was_looked_for(name, tmp_path, monkeypatch):
    monkeypatch.setenv('AUTOGETS_MIRROR', 'http://127.0.0.1:9')
    monkeypatch.setenv('AUTOGETS_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setenv('AUTOGETS_DATA', str(tmp_path))
    line = refusal(name, exc=DataMissing)
    assert f'llm_generated/{name}/llm.csv.gz' in line and f'AUTOGETS_DATA={tmp_path}' in line
    monkeypatch.delenv('AUTOGETS_DATA')
    assert 'AUTOGETS_DATA (not set)' in refusal(name, exc=DataMissing)


@pytest.mark.parametrize('part', PARTS)
def test_every_file_of_a_folder_is_needed(zoo, part):
    (zoo / f'{part}.csv.gz').unlink()
    assert f'has no {part}.csv.gz' in refusal(zoo, exc=DataMissing)


@pytest.mark.parametrize('part', PARTS)
def test_a_named_dataset_refuses_other_content(registered, part):
    corpus, _ = load_recording('zoo')
    assert corpus.info['source'] == 'AUTOGETS_DATA' and corpus.info['model'] == 'm1'
    path = registered / f'{part}.csv.gz'
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b' is here', b' was here', 1)))
    assert f'is not the {part} file of zoo expected here' in refusal('zoo')
    assert load_recording(registered)[0].classes == ['cat', 'dog'], 'its path is taken as it is'


def test_a_named_dataset_may_be_compressed_in_another_way(registered):
    data = gzip.decompress((registered / 'llm.csv.gz').read_bytes())
    (registered / 'llm.csv.gz').write_bytes(gzip.compress(data, 1, mtime=12345))
    assert len(load_recording('zoo')[1].stored) == 68


@pytest.mark.parametrize(
    'part,data,says',
    [
        ('seeds', b'text\nhello\n', "no column 'label'"),
        ('test', b'text,label\nhello\n', 'row 2 has 1 fields'),
        ('seeds', b'', 'is empty'),
        ('test', b'text,label\n\xff,x\n', 'not UTF-8'),
        ('llm', b'text,label\nx,cat\n', 'need text and source_text'),
    ],
)
def test_damaged_files_are_refused_in_one_line(zoo, part, data, says):
    (zoo / f'{part}.csv.gz').write_bytes(gzip.compress(data))
    assert says in refusal(zoo)


def test_a_truncated_gzip_is_refused(zoo):
    path = zoo / 'seeds.csv.gz'
    path.write_bytes(path.read_bytes()[:-20])
    assert 'damaged gzip' in refusal(zoo)


@pytest.mark.parametrize(
    'options,says',
    [
        ({'model': 'm9'}, 'it has m1, m2'),
        ({'method': 'shout'}, 'it has echo'),
        ({'min_size': 1}, 'min_size is 1'),
        ({'test_rows': 0}, 'test_rows of 1 or more'),
        ({'min_size': 11}, 'fewer than two classes'),
    ],
)
def test_bad_options_are_refused(zoo, options, says):
    assert says in refusal(zoo, **options)


def test_the_shipped_recording_refuses_a_model_it_cannot_tell():
    assert 'no model given' in refusal('tickets', model='gpt-4')
    assert 'fewer than two classes' in refusal('tickets', min_size=1000)


def test_rows_are_dropped_counted_and_never_shared(tmp_path):
    seeds = [(words(k, i), k) for k in ('cat', 'dog') for i in range(10)]
    test = [(words(k, i), k) for k in ('cat', 'dog') for i in range(50, 60)]
    odd = make(
        tmp_path / 'odd',
        [*seeds, (' ', 'cat'), (words('cat', 0).upper(), 'dog'), ('no label', ' ')],
        [*test, test[0], seeds[4], (seeds[5][0] + '!', 'dog'), ('', 'dog')],
        [('x', 'cat', t, 'm1', 'echo') for t, _ in seeds],
    )
    corpus, _ = load_recording(odd)
    assert corpus.info['dropped'] == {
        'seeds': {'empty': 2, 'repeats': 1},
        'test': {'empty': 1, 'repeats': 1, 'equal to a seed': 2},
    }
    assert len(corpus.train) + len(corpus.validation) == 20 and len(corpus.test) == 20
    assert not set(corpus.test.id) & {text_id(t) for t, _ in seeds}
    assert dict(zip(corpus.train.id, corpus.train.label)).get(text_id(words('cat', 0)), 'cat') == 'cat', (
        'the first label stays'
    )


def test_texts_that_look_like_missing_values_stay(tmp_path):
    seeds = [(t, k) for k in ('cat', 'dog') for t in (f'{k} NA', f'{k} a', f'{k} b', f'{k} c', f'{k} d')]
    corpus, _ = load_recording(
        make(tmp_path / 'na', [*seeds, ('NA', 'cat'), ('null', 'dog')], [('None', 'cat'), ('nan', 'dog')])
    )
    assert {'NA', 'null'} <= {*corpus.train.text, *corpus.validation.text}
    assert corpus.test.text.tolist() == ['None', 'nan']


def test_small_classes_go_with_their_test_rows(zoo):
    corpus, generator = load_recording(zoo)
    assert corpus.info['left_out'] == {'emu': {'examples': 4, 'test': 20}} and 'emu' not in set(corpus.test.label)
    assert set(pooled(corpus, generator).texts.label) == {'cat', 'dog'}
    whole = load_recording(zoo, min_size=4)[0]
    assert whole.classes == ['cat', 'dog', 'emu'] and whole.info['left_out'] == {} and len(whole.test) == 60


def test_a_test_class_without_seeds_is_left_out(tmp_path):
    folder = make(tmp_path / 'fox', test=[*[(words('cat', i), 'cat') for i in range(50, 60)], ('a fox', 'fox')])
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        corpus = load_recording(folder)[0]
    assert corpus.info['left_out']['fox'] == {'examples': 0, 'test': 1} and len(corpus.test) == 10


def test_validation_is_a_fifth_of_each_class(zoo):
    corpus, _ = load_recording(zoo, min_size=4)
    assert corpus.validation.label.value_counts().to_dict() == {'cat': 4, 'dog': 2, 'emu': 1}
    assert corpus.info['split'] == 'given'


def test_splits_depend_on_the_seed_and_not_on_the_model(zoo):
    def ids(**kw):
        c = load_recording(zoo, test_rows=15, **kw)[0]
        return c.train.id.tolist(), c.validation.id.tolist(), c.test.id.tolist()

    first = ids(seed=0, model='m1')
    assert ids(seed=0, model='m2') == ids(seed=0, model='all') == first
    assert all(a != b for a, b in zip(ids(seed=1), first))
    assert len(first[2]) == 15 and load_recording(zoo, test_rows=15)[0].info['test_drawn_from'] == 40


def test_models_and_defaults(registered):
    texts = {m: len(pooled(*load_recording('zoo', model=m))) for m in (None, 'm1', 'm2', 'all')}
    assert texts == {None: 48, 'm1': 48, 'm2': 24, 'all': 72}
    assert recording_models('zoo') == recording_models(registered) == [('m1', 'echo', 68), ('m2', 'echo', 34)]
    assert len(load_recording(registered)[1].stored) == 102, 'a folder has no default'
    assert list_recordings().set_index('name').loc['zoo', ['rows', 'classes', 'texts', 'models', 'where']].tolist() == [
        34,
        3,
        102,
        'm1, m2',
        'AUTOGETS_DATA',
    ]


def test_plain_csv_will_do(tmp_path):
    corpus, _ = load_recording(str(make(tmp_path / 'plain', gz=False)))
    assert corpus.name == 'plain' and corpus.fingerprint == load_recording(make(tmp_path / 'packed'))[0].fingerprint


def test_a_pool_is_that_of_the_recording_and_its_split(zoo):
    corpus, texts = recording_pool(zoo, 3, 2, 'm1')
    same, generator = load_recording(zoo, 3, 'm1')
    pd.testing.assert_frame_equal(texts, pooled(same, generator, 2).texts)
    assert corpus.fingerprint == same.fingerprint
    assert corpus.info['model'] == 'm1'
    assert set(texts.model) == {'m1'}
    assert len(texts) == 2 * len(corpus.train)


def test_a_pool_is_quiet_about_repeats_but_not_about_other_things(monkeypatch):
    bare = load_recording('tickets')

    def noisy(*args, **options):
        warnings.warn('4 rows of test repeat a text of train')
        warnings.warn('something else')
        return bare

    monkeypatch.setattr(recordings, 'load_recording', noisy)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        recording_pool('tickets', n=1)
    assert [str(w.message) for w in said] == ['something else']


def test_the_registry_agrees_with_the_shipped_recordings():
    for name in ('tickets', 'trec6'):
        data = gzip.decompress(shipped(f'banks/{name}/bank.jsonl.gz').read_bytes())
        recorded = Recorded(name)
        assert RECORDINGS[name]['files'] == {
            'bank': {'rows': len(recorded.stored), 'sha256': hashlib.sha256(data).hexdigest()}
        }
        assert RECORDINGS[name]['models'] == recordings._recorded_by(recorded)
        assert RECORDINGS[name]['classes'] == DATASETS[name]['content']['train']['classes']


def test_tickets_always_work(monkeypatch):
    monkeypatch.delenv('AUTOGETS_DATA', raising=False)
    corpus, generator = load_recording('tickets', seed=3)
    assert [len(corpus.train), len(corpus.validation), len(corpus.test)] == [1130, 282, 353]
    assert len(pooled(corpus, generator)) == 2260
    assert list_recordings().set_index('name')['where']['tickets'] == 'shipped'


def test_the_cuts_hold_for_a_shipped_recording():
    few, whole = (load_recording('tickets', **kw)[0] for kw in ({'test_rows': 100, 'min_size': 50}, {}))
    assert len(few.test) == 100 and set(few.test.id) < set(whole.test.id)
    assert set(few.classes) == set(few.validation.label) == set(whole.classes) - set(few.info['left_out'])
    assert len(few.info['left_out']) == 5


def test_the_rows_of_a_recording_are_those_of_its_split(zoo):
    rows, (corpus, generator) = recorded_rows(zoo, 'm1'), load_recording(zoo, model='m1')
    assert rows.examples.id.tolist() == [*corpus.train.id, *corpus.validation.id]
    assert rows.test.id.tolist() == corpus.test.id.tolist()
    assert rows.stored.text.tolist() == generator.stored.text.tolist() and rows.further.empty
    (zoo / 'train.csv').write_text('text,label\none more cat,cat\n')
    assert recorded_rows(zoo).further.text.tolist() == ['one more cat']
    (zoo / 'train.csv').write_text('text,label\none more cat,cat\none more dog,dog\n')
    assert recorded_rows(zoo).further.text.tolist() == ['one more cat', 'one more dog']


# the real ones: train, validation, test rows, classes, texts of a pool of 5 per training example (seed 0, default
# model)
SIZES = {
    'tickets': (1130, 282, 353, 15, 2260),
    'trec6': (3489, 873, 1090, 6, 6805),
    'top_navigation': (280, 70, 2000, 7, 1398),
    'news_category': (480, 120, 597, 6, 2399),
    'sst5': (400, 100, 2000, 5, 1999),
    'yelp5': (400, 100, 2000, 5, 2000),
    'parrot_crowdflower_emotion': (396, 99, 1995, 11, 1133),
    'parrot_social_dimensions': (396, 100, 1468, 8, 1170),
    'parrot_tweet_sentiment': (400, 100, 2000, 3, 1590),
    'parrot_hyperbole': (232, 58, 323, 2, 845),
    'parrot_question_intimacy': (162, 40, 225, 6, 620),
    'parrot_politeness': (22, 6, 32, 2, 90),
    'parrot_empathy': (134, 33, 186, 2, 540),
    'trec6_paraphrase': (219, 55, 410, 4, 1069),
    'tweet_sentiment_fewshot': (144, 36, 2000, 3, 303),
}


@with_data
@pytest.mark.parametrize('name', RECORDINGS)
@pytest.mark.filterwarnings('ignore:trec6. rows that repeat')
def test_the_real_recording(name):
    corpus, generator = load_recording(name)
    pool = pooled(corpus, generator)
    sizes = (len(corpus.train), len(corpus.validation), len(corpus.test), len(corpus.classes), len(pool))
    print(name, *sizes, corpus.info['dropped'] if name in FOLDERS else '', corpus.info['left_out'])
    assert pool.texts.label.value_counts().reindex(corpus.classes, fill_value=0).min() > 0
    assert set(pool.sources) <= set(corpus.train.id)
    if name in FOLDERS:
        own = {text_id(t) for part in (corpus.train, corpus.validation) for t in part.text}
        assert not own & set(corpus.test.id)
        assert corpus.test.id.is_unique
        assert set(corpus.test.label) <= set(corpus.classes)
    assert sizes == SIZES[name]


@with_data
@pytest.mark.parametrize('name', FOLDERS)
def test_the_registry_agrees_with_the_real_files(name):
    files = RECORDINGS[name]['files']
    rows = {p: read_part(name, p) for p in files if p != 'llm'}
    recorded = Recorded(recording_file(name, 'llm'))
    assert {p: len(f) for p, f in rows.items()} | {'llm': len(recorded.stored)} == {
        p: f['rows'] for p, f in files.items()
    }
    assert RECORDINGS[name]['models'] == recordings._recorded_by(recorded)
    assert RECORDINGS[name]['classes'] == rows['seeds'].label.value_counts().to_dict()


@with_data
@pytest.mark.parametrize('name', FOLDERS)
def test_listed_models_can_be_loaded_on_the_same_rows(name):
    models = recording_models(name)
    some = models[:: max(1, len(models) // 2)]  # the first, one between, the last or one near it
    same = {load_recording(name, seed=5, model=m, method=k)[0].fingerprint for m, k, _ in some}
    assert len(same) == 1 and len(some) >= 2
