"""Corpora by name: the shipped tickets, the content check, fetching from a server on this machine, Hugging Face data
sets"""

import gzip
import http.server
import io
import json
import os
import re
import sys
import threading
import types
import warnings
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from data.common import put, refusal, rows

from autogets.core import UserError, shipped
from autogets.data.corpus import SPLIT_KINDS
from autogets.data.datasets import (
    DATASETS,
    DataMissing,
    content,
    describe_dataset,
    fetch_dataset,
    list_datasets,
    load_corpus,
)
from autogets.data.raw_corpora import raw_rows, splits_of
from autogets.data.tables import read_table

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get('AUTOGETS_DATA') or '../shared/data')
SHARED = SHARED if SHARED.is_absolute() else ROOT / SHARED
needs_sets = pytest.mark.skipif(
    not (SHARED / 'trec6/train.csv.gz').exists(), reason='no public sets here: set AUTOGETS_DATA'
)


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    "Neither the user's cache nor the net: an empty cache, and a mirror nobody listens at"
    for k in ('AUTOGETS_DATA', 'HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'all_proxy'):
        monkeypatch.delenv(k, raising=False)
    monkeypatch.setenv('AUTOGETS_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setenv('AUTOGETS_MIRROR', 'http://127.0.0.1:9')


@pytest.mark.parametrize('name', ['trec6', 'tickets'])
def test_shipped_recordings(name):
    lines = [
        json.loads(l)
        for l in gzip.decompress(shipped(f'banks/{name}/bank.jsonl.gz').read_bytes()).decode().splitlines()
    ]
    sources, texts = {l['source_id'] for l in lines}, sum(len(l['texts']) for l in lines)
    assert (len(sources), texts) == {'trec6': (5376, 10582), 'tickets': (1765, 3530)}[name]
    assert {l['label'] for l in lines} == set(DATASETS[name]['content']['train']['classes'])
    if name == 'tickets':
        assert sources == set(read_table(shipped('corpora/tickets/tickets.csv.gz')).id)


def test_tickets():
    c = load_corpus('tickets')
    every = pd.concat([c.train, c.validation, c.test])
    assert len(every) == 1765 and len(c.classes) == 15 and every.id.nunique() == 1765
    assert every.label.value_counts().to_dict() == DATASETS['tickets']['content']['train']['classes']
    assert list(c.info['codes']) == [f'T{i}' for i in range(1, 16)] and sorted(c.info['codes'].values()) == c.classes
    assert c.features == ('area',) and every.area.ne('').all()
    assert c.info['split'] == 'stratified' and c.info['source'] == 'shipped'
    assert c.fingerprint == load_corpus('tickets').fingerprint != load_corpus('tickets', seed=1).fingerprint
    assert 'no test rows' in refusal(load_corpus, 'tickets', 'given')


def test_links_in_the_readmes_of_the_data_folder_lead_somewhere():
    for readme in (ROOT / 'data').rglob('README.md'):
        for path in re.findall(r'`(\.{1,2}/[^`]+|(?:corpora|banks|papers)/[^`]*)`', readme.read_text()):
            assert (readme.parent / path).exists(), f'{readme}: {path}'


@pytest.fixture
def toy(monkeypatch):
    "A registered set with two files in the formats of TREC and CSV"
    train, test = rows(40, ['LOC', 'HUM']), rows(10, ['LOC', 'HUM'], 'other')
    home = [
        {'split': 'train', 'format': 'trec', 'url': 'https://home.invalid/toy/train.label'},
        {'split': 'test', 'format': 'csv', 'url': 'https://home.invalid/toy/test.csv', 'text': 'q', 'label': 'y'},
    ]
    entry = {
        **{k: k for k in ('title', 'license', 'citation', 'page', 'note', 'home_note')},
        'default_split': 'given',
        'features': [],
        'home': home,
        'content': {'train': content(train), 'test': content(test)},
    }
    monkeypatch.setitem(DATASETS, 'toy', entry)
    return types.SimpleNamespace(
        train=train,
        test=test,
        label=''.join(f'{r.label}:x {r.text} ?\n' for r in train.itertuples()),
        csv=test.rename(columns={'text': 'q', 'label': 'y'})[['q', 'y']].to_csv(index=False),
    )


@pytest.fixture
def server(monkeypatch):
    """A local mirror: `files` maps a path to its bytes, or to bytes and a content length that lies; `asked` lists the
    requests"""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            here.asked.append(self.path)
            if self.path not in here.files:
                return self.send_error(404)
            body = here.files[self.path]
            body, length = body if isinstance(body, tuple) else (body, len(body))
            self.send_response(200)
            self.send_header('Content-Length', str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    here = types.SimpleNamespace(files={}, asked=[])
    httpd = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    monkeypatch.setenv('AUTOGETS_MIRROR', f'http://127.0.0.1:{httpd.server_port}/')
    yield here
    httpd.shutdown()
    httpd.server_close()


def serve(server, toy):
    server.files.update({'/toy/train.label': toy.label.encode('latin-1'), '/toy/test.csv': toy.csv.encode()})


def copy_to(folder, toy):
    for s in ('train', 'test'):
        put(folder, f'toy/{s}.csv.gz', gzip.compress(getattr(toy, s)[['text', 'label']].to_csv(index=False).encode()))


def test_fetched_once_then_from_the_cache(server, toy, tmp_path):
    serve(server, toy)
    assert 'not here' in list_datasets().set_index('name').loc['toy', 'where']
    assert fetch_dataset('toy') == tmp_path / 'cache/toy'
    c = load_corpus('toy')
    assert server.asked == ['/toy/train.label', '/toy/test.csv']
    assert [len(c.train), len(c.validation), len(c.test)] == [32, 8, 10] and c.info['source'] == 'cache'
    assert list_datasets().set_index('name').loc['toy', 'where'] == 'cache'
    assert sorted(p.name for p in (tmp_path / 'cache/toy').iterdir()) == ['test.csv.gz', 'train.csv.gz']
    fetch_dataset('toy', force=True)
    assert len(server.asked) == 4


def test_loading_fetches(server, toy):
    serve(server, toy)
    assert len(load_corpus('toy', 'paper').test) == 8


def test_autogets_data_comes_first(server, toy, tmp_path, monkeypatch):
    copy_to(tmp_path / 'mine', toy)
    monkeypatch.setenv('AUTOGETS_DATA', str(tmp_path / 'mine'))
    assert load_corpus('toy').info['source'] == 'AUTOGETS_DATA' and server.asked == []
    assert fetch_dataset('toy') == tmp_path / 'mine/toy'


def test_a_relative_data_folder_counts_from_the_checkout(toy, tmp_path, monkeypatch):
    copy_to(tmp_path / 'data', toy)
    put(tmp_path, 'clone/settings.ini', '[DEFAULT]\n')
    monkeypatch.setenv('AUTOGETS_ROOT', str(tmp_path / 'clone'))
    monkeypatch.setenv('AUTOGETS_DATA', '../data')
    (tmp_path / 'clone/nbs/deep/er').mkdir(parents=True)
    monkeypatch.chdir(tmp_path / 'clone/nbs/deep/er')
    assert len(load_corpus('toy').test) == 10


@pytest.mark.parametrize('length', ['honest', 'lying'])
def test_a_truncated_download_is_refused_and_leaves_nothing(server, toy, tmp_path, length):
    serve(server, toy)
    body = toy.label.encode()
    server.files['/toy/train.label'] = body[:300] if length == 'honest' else (body[:300], len(body))
    message = refusal(load_corpus, 'toy', kind=DataMissing)
    assert 'did not serve it' in message and not (tmp_path / 'cache/toy').exists()
    if length == 'honest':
        assert 'instead of 40' in message


def test_wrong_content_is_refused_with_what_differs(server, toy, tmp_path):
    serve(server, toy)
    server.files['/toy/train.label'] = toy.label.replace('HUM:x', 'ENTY:x', 3).encode()
    message = refusal(fetch_dataset, 'toy', kind=DataMissing)
    assert "class 'ENTY' 3 instead of 0" in message and "class 'HUM' 17 instead of 20" in message
    server.files['/toy/train.label'] = b'<html>log in</html>'
    assert 'it is a web page' in refusal(fetch_dataset, 'toy', kind=DataMissing)
    server.files['/toy/train.label'] = b'no class here'
    assert 'COARSE:fine' in refusal(fetch_dataset, 'toy', kind=DataMissing)
    assert not (tmp_path / 'cache/toy').exists()


def test_dead_or_empty_server(server, toy, monkeypatch):
    assert 'HTTP 404' in refusal(load_corpus, 'toy', kind=DataMissing)
    monkeypatch.setenv('AUTOGETS_MIRROR', 'http://127.0.0.1:9')
    message = refusal(load_corpus, 'toy', kind=DataMissing)
    for part in (
        'toy is not in AUTOGETS_DATA (not set)',
        'http://127.0.0.1:9/toy/train.label',
        'ConnectionError',
        'set AUTOGETS_DATA',
        'autogets data fetch toy',
    ):
        assert part in message


def test_nothing_is_fetched_when_told_so(server, toy):
    serve(server, toy)
    assert 'nothing was fetched' in refusal(load_corpus, 'toy', fetch=False, kind=DataMissing)
    assert server.asked == []


@pytest.mark.parametrize(
    'damage', [lambda b: b[: len(b) // 2], lambda b: b'', lambda b: gzip.compress(gzip.decompress(b)[:-40])]
)
def test_a_damaged_cache_is_fetched_again(server, toy, tmp_path, monkeypatch, damage):
    serve(server, toy)
    p = fetch_dataset('toy') / 'train.csv.gz'
    whole = p.read_bytes()
    p.write_bytes(damage(whole))
    with pytest.warns(UserWarning, match='fetching toy again'):
        load_corpus('toy')
    assert p.read_bytes() == whole
    p.write_bytes(damage(whole))
    monkeypatch.setenv('AUTOGETS_MIRROR', 'http://127.0.0.1:9')
    with pytest.warns(UserWarning, match='fetching toy again'):
        refusal(load_corpus, 'toy', kind=DataMissing)


def test_unwritable_cache(server, toy, tmp_path, monkeypatch):
    serve(server, toy)
    monkeypatch.setenv('AUTOGETS_CACHE', str(put(tmp_path, 'a_file', 'x')))
    assert 'cannot write' in refusal(fetch_dataset, 'toy')


def test_copies_that_differ_in_tokenization_pass(toy, tmp_path, monkeypatch):
    toy.train['text'] = toy.train.text.str.upper().str.replace(' ', '  ') + " '' ?"
    copy_to(tmp_path, toy)
    monkeypatch.setenv('AUTOGETS_DATA', str(tmp_path))
    assert len(load_corpus('toy').train) == 32


@pytest.mark.parametrize(
    'change,says',
    [
        (lambda f: f[:-1], "rows 39 instead of 40, ids 39 instead of 40, class 'HUM' 19 instead of 20"),
        (lambda f: f.assign(label=f.label[::-1].tolist()), 'the same counts, but other texts or labels'),
        (lambda f: f.assign(text=[f.text[1], *f.text[1:]]), 'ids 39 instead of 40'),
        (lambda f: f.assign(label=f.label.str.lower()), "class 'hum' 20 instead of 0"),
    ],
)
def test_other_content_under_autogets_data_is_refused_and_left_alone(server, toy, tmp_path, monkeypatch, change, says):
    toy.train = change(toy.train)
    copy_to(tmp_path, toy)
    monkeypatch.setenv('AUTOGETS_DATA', str(tmp_path))
    before = (tmp_path / 'toy/train.csv.gz').read_bytes()
    with pytest.raises(UserError, match='is not the toy expected here') as e:
        load_corpus('toy')
    assert says in str(e.value) and not isinstance(e.value, DataMissing)
    assert (tmp_path / 'toy/train.csv.gz').read_bytes() == before and server.asked == []


def test_another_order_of_rows_is_accepted_with_a_warning(toy, tmp_path, monkeypatch):
    toy.train = toy.train[::-1]
    copy_to(tmp_path, toy)
    monkeypatch.setenv('AUTOGETS_DATA', str(tmp_path))
    with pytest.warns(UserWarning, match='another order'):
        load_corpus('toy')


def test_a_set_without_a_home_says_so(toy, monkeypatch):
    monkeypatch.setitem(DATASETS, 'toy', DATASETS['toy'] | {'home': [], 'home_note': 'nobody serves it'})
    message = refusal(fetch_dataset, 'toy', kind=DataMissing)
    assert 'nobody serves it' in message and 'data fetch' not in message


def test_unknown_names():
    assert 'choose one of tickets, trec6' in refusal(load_corpus, 'trec7')
    assert 'choose one of tickets, trec6' in refusal(describe_dataset, 'trec7')
    assert 'choose one of paper' in refusal(load_corpus, 'tickets', 'random')
    for wrong in ({'text': 'body'}, {'features': ('topic',)}, {'revision': 'x'}):
        assert 'fixed columns' in refusal(load_corpus, 'tickets', **wrong)


def test_registry_is_complete_and_holds_no_text():
    for name, e in DATASETS.items():
        for k in ('title', 'license', 'citation', 'page', 'home_note'):
            assert e[k], (name, k)
        assert e['default_split'] in SPLIT_KINDS
        for c in e['content'].values():
            assert sum(c['classes'].values()) == c['rows'] >= c['ids'] and len(c['fingerprint']) == 64
        if e['home']:
            assert {s for h in e['home'] for s in splits_of(h)} == set(e['content'])
        shown = describe_dataset(name)
        assert e['license'] in shown and str(e['content']['train']['rows']) in shown
    listed = list_datasets().set_index('name')
    assert listed.loc['trec6', ['rows', 'classes']].tolist() == [5952, 6]
    assert listed.loc['banking77', 'classes'] == 77
    assert listed.loc['tickets', 'where'] == 'shipped'


def test_trec_files_are_latin_1():
    data = 'HUM:ind Who is Zoë : the : one ?\n\nABBR:exp What is AT&T ?\r\n'.encode('latin-1')
    got = raw_rows({'it': data}, {'format': 'trec', 'split': 'train'})['train']
    assert got.text.tolist() == ['Who is Zoë : the : one ?', 'What is AT&T ?'] and got.label.tolist() == ['HUM', 'ABBR']


def sms(rows):
    "The bytes of a file of the SMS collection"
    return ''.join(f'{label}\t{text}\n' for label, text in rows).encode()


@pytest.mark.parametrize('packed', [True, False])
def test_sms_rows_are_drawn_once_repeats_are_gone(packed):
    rows = [('ham', f'see you at {k}') for k in range(20)] + [('spam', f'win {k} "prizes') for k in range(10)]
    data, b = sms([*rows, ('ham', 'SEE  you at 3 '), ('spam', ' win 4 "PRIZES')]), io.BytesIO()
    if packed:
        with zipfile.ZipFile(b, 'w') as z:
            z.writestr('SMSSpamCollection', data)
        data = b.getvalue()
    got = raw_rows({'it': data}, {'format': 'sms'})
    both = pd.concat(got.values())
    assert sorted(zip(both.label, both.text)) == sorted(rows)
    assert got['test'].label.value_counts().to_dict() == {'ham': 4, 'spam': 2}


@needs_sets
def test_trec6_of_the_paper(monkeypatch):
    monkeypatch.setenv('AUTOGETS_DATA', str(SHARED))
    with pytest.warns(UserWarning, match='trec6: .* 17 in validation, 20 in test'):
        c = load_corpus('trec6')
    assert [len(c.train), len(c.validation), len(c.test)] == [3488, 873, 1091]
    assert c.classes == ['ABBR', 'DESC', 'ENTY', 'HUM', 'LOC', 'NUM']
    with pytest.warns(UserWarning, match='trec6'):
        assert len(load_corpus('trec6', 'given').test) == 500


@needs_sets
@pytest.mark.parametrize('name', ['amazon_reviews', 'sst2', 'emotion', 'banking77', 'sms_spam', 'boolq', 'rte'])
def test_public_sets_load(name, monkeypatch):
    monkeypatch.setenv('AUTOGETS_DATA', str(SHARED))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        c = load_corpus(name)
    want = DATASETS[name]['content']
    assert len(c.test) == want['test']['rows'] and set(c.classes) == set(want['train']['classes'])
    assert len(c.train) + len(c.validation) == want['train']['rows'] + want.get('dev', {'rows': 0})['rows']


def home_file(spec, frame):
    "The bytes a home serves for `frame`, in its own format"
    frame = (
        frame.assign(label=frame.label.map({n: i for i, n in enumerate(spec['names'])})) if 'names' in spec else frame
    )
    frame = frame.rename(columns={'text': spec.get('text', 'text'), 'label': spec.get('label', 'label')}).drop(
        columns='id'
    )
    if spec['format'] == 'trec':
        return ''.join(f'{r.label}:fine {r.text}\n' for r in frame.itertuples()).encode('latin-1')
    if spec['format'] == 'csv':
        return frame.to_csv(index=False).encode()
    if spec['format'] == 'jsonl':
        return frame.to_json(orient='records', lines=True).encode()
    if spec['format'] == 'lines':
        columns = ['label', 'text'] if spec['first'] == 'label' else ['text', 'label']
        lines = [spec['sep'].join(map(str, row)) for row in frame[columns].itertuples(index=False)]
        return '\n'.join([*['a header'] * spec.get('header', 0), *lines]).encode()
    b = io.BytesIO()
    frame.to_parquet(b)
    return b.getvalue()


@needs_sets
@pytest.mark.parametrize('name', ['trec6', 'sst2', 'emotion', 'banking77'])
def test_each_home_format_gives_the_expected_content(name, server, tmp_path):
    frames = {s: read_table(SHARED / name / f'{s}.csv.gz') for s in DATASETS[name]['content']}
    for spec in DATASETS[name]['home']:
        server.files[f'/{name}/{Path(spec["url"]).name}'] = home_file(spec, frames[spec['split']])
    with warnings.catch_warnings():
        warnings.filterwarnings('error', message='.*fetching')
        assert fetch_dataset(name) == tmp_path / 'cache' / name
        assert load_corpus(name).info['source'] == 'cache'


@pytest.fixture
def hub(monkeypatch):
    "`datasets` whose `load_dataset` gives what the test puts into `sets`, and records how it was called"
    datasets = pytest.importorskip('datasets')
    here = types.SimpleNamespace(sets={}, calls=[], lib=datasets)

    def load(id, **options):
        here.calls.append((id, options))
        if isinstance(here.sets, Exception):
            raise here.sets
        return here.sets

    monkeypatch.setattr(datasets, 'load_dataset', load)
    return here


def hub_set(lib, n, word, hidden=False):
    features = lib.Features({'sentence': lib.Value('string'), 'label': lib.ClassLabel(names=['bad', 'good'])})
    return lib.Dataset.from_dict(
        {'sentence': [f'{word} {i}' for i in range(n)], 'label': [-1 if hidden else i % 2 for i in range(n)]},
        features=features,
    )


def test_hub_set_with_test_split(hub):
    hub.sets = hub.lib.DatasetDict(
        train=hub_set(hub.lib, 40, 'u'), validation=hub_set(hub.lib, 6, 'v'), test=hub_set(hub.lib, 8, 'w')
    )
    c = load_corpus('datasets:some/one', text='sentence', revision='abc')
    assert hub.calls == [('some/one', {'revision': 'abc'})]
    assert [len(c.train), len(c.validation), len(c.test)] == [40, 6, 8]
    assert c.classes == ['bad', 'good']
    assert c.info['split'] == 'given'
    assert len(load_corpus('datasets:some/one', 'stratified', text='sentence').train) == 26


def test_hub_set_without_test_split_or_with_hidden_labels(hub):
    hub.sets = hub_set(hub.lib, 40, 'u')
    assert load_corpus('datasets:some/one', text='sentence').info['split'] == 'stratified'
    hub.sets = hub.lib.DatasetDict(train=hub_set(hub.lib, 40, 'u'), test=hub_set(hub.lib, 8, 'w', hidden=True))
    assert 'split test: rows without a label (column \'label\'): 8, first' in refusal(
        load_corpus, 'datasets:some/one', text='sentence'
    )
    assert len(load_corpus('datasets:some/one', 'paper', text='sentence').test) == 8


def test_hub_labels_may_be_null(hub):
    data = hub_set(hub.lib, 6, 'u').to_dict()
    features = hub.lib.Features(
        {'sentence': hub.lib.Value('string'), 'label': hub.lib.ClassLabel(names=['bad', 'good'])}
    )
    hub.sets = hub.lib.Dataset.from_dict({**data, 'label': [1, 0, None, 1, 0, 1]}, features=features)
    assert "rows without a label (column 'label'): 1, at row 3" in refusal(
        load_corpus, 'datasets:some/one', text='sentence'
    )


def test_hub_refusals(hub, monkeypatch):
    hub.sets = hub.lib.DatasetDict(test=hub_set(hub.lib, 8, 'w'))
    assert 'no split train: its splits are test' in refusal(load_corpus, 'datasets:some/one')
    hub.sets = hub.lib.DatasetDict(train=hub_set(hub.lib, 8, 'w'))
    assert "no column 'text': its columns are sentence, label" in refusal(load_corpus, 'datasets:some/one')
    hub.sets = ConnectionError('cannot reach the hub\nfor whatever reason')
    assert 'ConnectionError: cannot reach the hub for' in refusal(load_corpus, 'datasets:some/one', kind=DataMissing)
    monkeypatch.setitem(sys.modules, 'datasets', None)
    assert 'pip install "autogets[datasets]"' in refusal(load_corpus, 'datasets:some/one')


def test_datasets_reads_a_local_folder(tmp_path):
    pytest.importorskip('datasets')
    for s, n in (('train', 30), ('test', 6)):
        put(tmp_path, f'mine/{s}.csv', rows(n, word=s)[['text', 'label']].to_csv(index=False))
    c = load_corpus(f'datasets:{tmp_path}/mine', cache_dir=str(tmp_path / 'hf'))
    assert [len(c.train), len(c.validation), len(c.test)] == [24, 6, 6] and c.classes == ['a', 'b', 'c']
