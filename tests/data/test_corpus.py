"The promises of autogets.data.corpus: bad input in one line, splits, the content check, and fetching, against a server on this machine"
import gzip
import http.server
import io
import json
import os
import pickle
import re
import sys
import threading
import types
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from autogets.data import corpus as D
from autogets.core import UserError, shipped, text_id

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get('AUTOGETS_DATA') or '../shared/data')
SHARED = SHARED if SHARED.is_absolute() else ROOT/SHARED
needs_sets = pytest.mark.skipif(not (SHARED/'trec6/train.csv.gz').exists(), reason='no public sets here: set AUTOGETS_DATA')

@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    "Neither the user's cache nor the net: an empty cache, and a mirror nobody listens at"
    for k in ('AUTOGETS_DATA', 'HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'all_proxy'): monkeypatch.delenv(k, raising=False)
    monkeypatch.setenv('AUTOGETS_CACHE', str(tmp_path/'cache'))
    monkeypatch.setenv('AUTOGETS_MIRROR', 'http://127.0.0.1:9')

def put(folder, name, content):
    p = Path(folder)/name
    p.parent.mkdir(parents=True, exist_ok=True)
    p.write_bytes(content if isinstance(content, bytes) else content.encode())
    return p

def refusal(f, *args, kind=UserError, **kwargs):
    "The message of the `UserError` that `f` must raise; one line"
    with pytest.raises(kind) as e: f(*args, **kwargs)
    assert '\n' not in str(e.value)
    return str(e.value)

def rows(n=30, labels='abc', word='text'):
    texts = [f'{word} number {i}' for i in range(n)]
    return pd.DataFrame({'id': [text_id(t) for t in texts], 'text': texts, 'label': [labels[i % len(labels)] for i in range(n)]})

# --- tables ---------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('name', ['t.csv', 't.tsv', 't.jsonl', 't.parquet', 't.csv.gz', 't.tsv.gz', 't.jsonl.gz', 't.parquet.gz'])
def test_formats_agree(tmp_path, name):
    frame = pd.DataFrame({'q': ['Où est "le, chat" ?', 'two\nlines', 'null'], 'y': [1, 2, 1], 'site': ['Vigo', None, 'NA']})
    b = io.BytesIO()
    if 'parquet' in name: frame.to_parquet(b)
    elif 'jsonl' in name: b.write('\n'.join(json.dumps(r, ensure_ascii=False) for r in frame.astype(object).where(frame.notna(), None).to_dict('records')).encode())
    else: b.write(frame.to_csv(index=False, sep='\t' if 'tsv' in name else ',').encode())
    p = put(tmp_path, name, gzip.compress(b.getvalue()) if name.endswith('.gz') else b.getvalue())
    got = D.read_table(p, text='q', label='y', features=('site',))
    assert got.columns.tolist() == ['id', 'text', 'label', 'site']
    assert got.text.tolist() == frame.q.tolist() and got.label.tolist() == ['1', '2', '1'] and got.site.tolist() == ['Vigo', '', 'NA']
    assert got.id.tolist() == [text_id(t) for t in frame.q]

def test_byte_order_mark_and_outer_spaces_of_labels(tmp_path):
    got = D.read_table(put(tmp_path, 'a.csv', b'\xef\xbb\xbftext,label\n a ,x \nb,NA\n'))
    assert got.text.tolist() == [' a ', 'b'] and got.label.tolist() == ['x', 'NA']

@pytest.mark.parametrize('name,content,says', [
    ('a.csv', '', 'a.csv is empty'),
    ('a.jsonl', '\n', 'a.jsonl is empty'),
    ('a.parquet', b'', 'a.parquet is empty'),
    ('a.csv', 'text,label\n', 'a header but no rows'),
    ('a.csv', 'subject,queue\na,x\n', "no column 'text': its columns are subject, queue"),
    ('a.csv', 'text;label\na;x\n', 'save it with commas'),
    ('a.csv', 'text,label,text\na,x,b\n', "2 columns named 'text'"),
    ('a.csv', 'text,label\na,x\n\n"  ",y\nNaN,x\n,y\n', "rows without a text (column 'text'): 3, at row 4, 5, 6;"),
    ('a.csv', 'text,label\n'+'a,x\n'*3+',x\n'*9, '9, first at row 5, 6, 7, 8, 9;'),
    ('a.csv', 'text,label\na,x\nb,\n', "rows without a label (column 'label'): 1, at row 3;"),
    ('a.csv', 'text,label\na,x\nb,x\n', "single class, 'x'"),
    ('a.csv', 'text,label\na,x\nb, c,y\nd,e,f,g\n', 'row 3 has 3 fields, the header 2 (rows like this: 2)'),
    ('a.csv', 'text,label\na,x\n"b,y\nc,z\n', 'not a CSV table: unexpected end of data'),
    ('a.csv', b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR', 'not a text table'),
    ('a.csv', 'text,label\na,x\n'.encode('utf-16'), 'not a text table'),
    ('a.csv', 'text,label\na,x\ncafé,y\n'.encode('latin-1'), 'not UTF-8: byte 0xe9 at offset 18, line 3'),
    ('a.jsonl', '{"text": "a", "label": "x"}\n{"text": "b"\n', 'line 2 is not one JSON object'),
    ('a.jsonl', '{"text": "a", "label": "x"}\n{"text": null, "label": "y"}\n', 'at row 2'),
    ('a.parquet', b'PAR1 broken PAR1', 'not a Parquet table'),
    ('a.csv.gz', gzip.compress(b'text,label\na,x\nb,y\n'*50)[:-12], 'damaged gzip'),
    ('a.xlsx', b'PK', 'use .csv, .tsv, .jsonl, .parquet'),
])
def test_bad_tables(tmp_path, name, content, says):
    message = refusal(D.read_table, put(tmp_path, name, content))
    assert says in message and name in message

def test_gzip_is_known_by_its_content(tmp_path):
    assert len(D.read_table(put(tmp_path, 'a.csv', gzip.compress(b'text,label\na,x\nb,y\n')))) == 2

def test_file_missing_or_a_folder(tmp_path):
    assert 'does not exist' in refusal(D.read_table, tmp_path/'no.csv')
    (tmp_path/'dir.csv').mkdir()
    assert 'cannot read' in refusal(D.read_table, tmp_path/'dir.csv')

def test_nan_text_in_parquet(tmp_path):
    pd.DataFrame({'text': ['a', None, 'c'], 'label': [1., 2., np.nan]}).to_parquet(tmp_path/'a.parquet')
    assert 'at row 2;' in refusal(D.read_table, tmp_path/'a.parquet')

def test_columns_that_cannot_be(tmp_path):
    p = put(tmp_path, 'a.csv', 'text,label,id\na,x,1\nb,y,2\n')
    assert 'both' in refusal(D.read_table, p, label='text')
    assert 'feature' in refusal(D.read_table, p, features=('id',))
    assert "no column 'area'" in refusal(D.read_table, p, features=('area',))

def test_a_file_of_test_rows_may_have_one_class(tmp_path):
    assert len(D.read_table(put(tmp_path, 'a.csv', 'text,label\na,x\nb,x\n'), min_classes=1)) == 2

# --- corpora and splits ---------------------------------------------------------------------------------------------------------------

def test_corpus_is_frozen_and_numbered_from_zero():
    c = D.split_corpus(rows(50), 'c')
    with pytest.raises(AttributeError): c.train = c.test
    for s in D.SPLITS: assert list(getattr(c, s).index) == list(range(len(getattr(c, s))))
    assert c.examples('b').label.unique().tolist() == ['b'] and c.examples('all') is c.train
    assert c.train.loc[c.examples('b').index[0], 'label'] == 'b'

def test_fingerprint_sees_rows_labels_and_splits_but_not_order():
    a, b, c = rows(20), rows(6, word='v'), rows(6, word='w')
    base = D.Corpus('x', a, b, c).fingerprint
    assert D.Corpus('y', a[::-1], b, c).fingerprint == base
    assert D.Corpus('x', a, c, b).fingerprint != base
    assert D.Corpus('x', a.assign(label=[*a.label[1:], 'a']), b, c).fingerprint != base

@pytest.mark.parametrize('change,says', [
    (lambda f: f.iloc[:0], 'the train split of c has no rows'),
    (lambda f: f.drop(columns='id'), 'the train split of c lacks the columns id'),
    (lambda f: f.assign(label='a'), "single class, 'a'"),
    (lambda f: f.assign(label=f.label.replace('a', 'all')), "named 'all'"),
])
def test_unsound_corpora(change, says):
    assert says in refusal(D.Corpus, 'c', change(rows()), rows(6, word='v'), rows(6, word='w'))

def test_a_corpus_can_be_sent_to_another_process():
    c = D.split_corpus(rows(), 'c')
    assert pickle.loads(pickle.dumps(c)).fingerprint == c.fingerprint

def test_unknown_class_lists_the_classes():
    assert 'choose one of a, b, c' in refusal(D.split_corpus(rows(), 'c').examples, 'd')

def test_repeats_and_conflicts_are_counted_and_warned_in_one_line():
    train = rows(20)
    validation = pd.concat([rows(6, word='v'), train[:2]])
    test = pd.concat([rows(6, word='w'), train[2:5].assign(label='a'), validation[:1]])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        c = D.Corpus('c', train, validation, test)
    assert c.quality() == {'validation_repeats': 2, 'test_repeats': 4, 'conflicting_texts': 2, 'absent_classes': {}}
    assert len(caught) == 1 and '2 in validation, 4 in test; texts with conflicting labels: 2;' in str(caught[0].message)
    assert caught[0].filename == __file__

def test_a_clean_corpus_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        D.split_corpus(rows(50), 'c')

def test_classes_absent_from_training_are_warned():
    with pytest.warns(UserWarning, match="c: test has rows of 'z', absent from train"):
        D.Corpus('c', rows(), rows(6, word='v'), rows(6, labels='az', word='w'))

def test_paper_split_is_train_test_split_twice():
    from sklearn.model_selection import train_test_split
    f = rows(101)
    c = D.split_corpus(f, 'c', 'paper')
    rest, test = train_test_split(f, test_size=.2, random_state=42)
    train, validation = train_test_split(rest, test_size=.2, random_state=42)
    for got, want in ((c.train, train), (c.validation, validation), (c.test, test)): assert got.text.tolist() == want.text.tolist()
    assert c.info == {'split': 'paper', 'seed': 42}

@pytest.mark.parametrize('seed', range(5))
def test_stratified_split_is_a_partition_with_each_class_everywhere(seed):
    f = pd.concat([rows(100, 'a', 'p'), rows(10, 'b', 'q'), rows(3, 'c', 'r')], ignore_index=True)
    c = D.split_corpus(f, 'c', 'stratified', seed)
    assert sorted(c.train.id.tolist()+c.validation.id.tolist()+c.test.id.tolist()) == sorted(f.id)
    sizes = {s: getattr(c, s).label.value_counts().to_dict() for s in D.SPLITS}
    assert sizes == {'train': {'a': 64, 'b': 6, 'c': 1}, 'validation': {'a': 16, 'b': 2, 'c': 1}, 'test': {'a': 20, 'b': 2, 'c': 1}}

def test_stratified_split_needs_three_rows_of_a_class():
    f = pd.concat([rows(20), rows(2, 'z', 'rare')])
    assert "'z' (2); a class needs at least 3 rows" in refusal(D.split_corpus, f, 'c')

def test_given_split():
    c = D.split_corpus(rows(50, 'ab'), 'c', 'given', test=rows(9, 'ab', 'w'))
    assert [len(c.train), len(c.validation), len(c.test)] == [40, 10, 9]
    c = D.split_corpus(rows(50), 'c', 'given', test=rows(9, word='w'), validation=rows(7, word='v'))
    assert [len(c.train), len(c.validation), len(c.test)] == [50, 7, 9]
    lone = pd.concat([rows(50), rows(1, 'z', 'lone')])
    assert "'z' (1); a class needs at least 2 rows" in refusal(D.split_corpus, lone, 'c', 'given', test=rows(9, word='w'))

def test_impossible_splits():
    assert 'no test rows' in refusal(D.split_corpus, rows(), 'c', 'given')
    assert 'need the split given' in refusal(D.split_corpus, rows(), 'c', 'paper', test=rows())
    assert 'choose one of paper, stratified, given' in refusal(D.split_corpus, rows(), 'c', 'temporal')
    assert 'too few' in refusal(D.split_corpus, rows(4), 'c', 'paper')

def test_features_come_along():
    f = rows(50).assign(area='it', other='x')
    assert D.split_corpus(f, 'c', features=('area',)).test.columns.tolist() == ['id', 'text', 'label', 'area']
    assert 'lacks the columns site' in refusal(D.split_corpus, f, 'c', features=('site',))

# --- shipped --------------------------------------------------------------------------------------------------------------------------

def test_tickets():
    c = D.load_corpus('tickets')
    every = pd.concat([c.train, c.validation, c.test])
    assert len(every) == 1765 and len(c.classes) == 15 and every.id.nunique() == 1765
    assert every.label.value_counts().to_dict() == D.DATASETS['tickets']['content']['train']['classes']
    assert list(c.info['codes']) == [f'T{i}' for i in range(1, 16)] and sorted(c.info['codes'].values()) == c.classes
    assert c.features == ('area',) and every.area.ne('').all()
    assert c.info['split'] == 'stratified' and c.info['source'] == 'shipped'
    assert c.fingerprint == D.load_corpus('tickets').fingerprint != D.load_corpus('tickets', seed=1).fingerprint
    assert 'no test rows' in refusal(D.load_corpus, 'tickets', 'given')

@pytest.mark.parametrize('name', ['trec6', 'tickets'])
def test_shipped_banks(name):
    lines = [json.loads(l) for l in gzip.decompress(shipped(f'banks/{name}/bank.jsonl.gz').read_bytes()).decode().splitlines()]
    sources, texts = {l['source_id'] for l in lines}, sum(len(l['texts']) for l in lines)
    assert (len(sources), texts) == {'trec6': (5376, 10582), 'tickets': (1765, 3530)}[name]
    assert {l['label'] for l in lines} == set(D.DATASETS[name]['content']['train']['classes'])
    if name == 'tickets': assert sources == set(D.read_table(shipped('corpora/tickets/tickets.csv.gz')).id)

def test_links_in_the_readmes_of_the_data_folder_lead_somewhere():
    for readme in (ROOT/'data').rglob('README.md'):
        for path in re.findall(r'`(\.{1,2}/[^`]+|(?:corpora|banks|papers)/[^`]*)`', readme.read_text()):
            assert (readme.parent/path).exists(), f'{readme}: {path}'

# --- the registry, the content check and fetching -------------------------------------------------------------------------------------

@pytest.fixture
def toy(monkeypatch):
    "A registered set with two files in the formats of TREC and CSV"
    train, test = rows(40, ['LOC', 'HUM']), rows(10, ['LOC', 'HUM'], 'other')
    home = [{'split': 'train', 'format': 'trec', 'url': 'https://home.invalid/toy/train.label'},
            {'split': 'test', 'format': 'csv', 'url': 'https://home.invalid/toy/test.csv', 'text': 'q', 'label': 'y'}]
    entry = {**{k: k for k in ('title', 'license', 'citation', 'page', 'note', 'home_note')}, 'default_split': 'given', 'features': [], 'home': home,
             'content': {'train': D.content(train), 'test': D.content(test)}}
    monkeypatch.setitem(D.DATASETS, 'toy', entry)
    return types.SimpleNamespace(train=train, test=test, label=''.join(f'{r.label}:x {r.text} ?\n' for r in train.itertuples()),
                                 csv=test.rename(columns={'text': 'q', 'label': 'y'})[['q', 'y']].to_csv(index=False))

@pytest.fixture
def server(monkeypatch):
    "A local mirror: `files` maps a path to its bytes, or to bytes and a content length that lies; `asked` lists the requests"
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            here.asked.append(self.path)
            if self.path not in here.files: return self.send_error(404)
            body = here.files[self.path]
            body, length = body if isinstance(body, tuple) else (body, len(body))
            self.send_response(200); self.send_header('Content-Length', str(length)); self.end_headers()
            self.wfile.write(body)
        def log_message(self, *args): pass
    here = types.SimpleNamespace(files={}, asked=[])
    httpd = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    monkeypatch.setenv('AUTOGETS_MIRROR', f'http://127.0.0.1:{httpd.server_port}/')
    yield here
    httpd.shutdown(); httpd.server_close()

def serve(server, toy): server.files.update({'/toy/train.label': toy.label.encode('latin-1'), '/toy/test.csv': toy.csv.encode()})

def copy_to(folder, toy):
    for s in ('train', 'test'): put(folder, f'toy/{s}.csv.gz', gzip.compress(getattr(toy, s)[['text', 'label']].to_csv(index=False).encode()))

def test_fetched_once_then_from_the_cache(server, toy, tmp_path):
    serve(server, toy)
    assert 'not here' in D.list_datasets().set_index('name').loc['toy', 'where']
    assert D.fetch_dataset('toy') == tmp_path/'cache/toy'
    c = D.load_corpus('toy')
    assert server.asked == ['/toy/train.label', '/toy/test.csv']
    assert [len(c.train), len(c.validation), len(c.test)] == [32, 8, 10] and c.info['source'] == 'cache'
    assert D.list_datasets().set_index('name').loc['toy', 'where'] == 'cache'
    assert sorted(p.name for p in (tmp_path/'cache/toy').iterdir()) == ['test.csv.gz', 'train.csv.gz']
    D.fetch_dataset('toy', force=True)
    assert len(server.asked) == 4

def test_loading_fetches(server, toy):
    serve(server, toy)
    assert len(D.load_corpus('toy', 'paper').test) == 8

def test_autogets_data_comes_first(server, toy, tmp_path, monkeypatch):
    copy_to(tmp_path/'mine', toy)
    monkeypatch.setenv('AUTOGETS_DATA', str(tmp_path/'mine'))
    assert D.load_corpus('toy').info['source'] == 'AUTOGETS_DATA' and server.asked == []
    assert D.fetch_dataset('toy') == tmp_path/'mine/toy'

def test_a_relative_data_folder_counts_from_the_checkout(toy, tmp_path, monkeypatch):
    copy_to(tmp_path/'data', toy)
    put(tmp_path, 'clone/settings.ini', '[DEFAULT]\n')
    monkeypatch.setenv('AUTOGETS_ROOT', str(tmp_path/'clone'))
    monkeypatch.setenv('AUTOGETS_DATA', '../data')
    (tmp_path/'clone/nbs/deep/er').mkdir(parents=True)
    monkeypatch.chdir(tmp_path/'clone/nbs/deep/er')
    assert len(D.load_corpus('toy').test) == 10

@pytest.mark.parametrize('length', ['honest', 'lying'])
def test_a_truncated_download_is_refused_and_leaves_nothing(server, toy, tmp_path, length):
    serve(server, toy)
    body = toy.label.encode()
    server.files['/toy/train.label'] = body[:300] if length == 'honest' else (body[:300], len(body))
    message = refusal(D.load_corpus, 'toy', kind=D.DataMissing)
    assert 'did not serve it' in message and not (tmp_path/'cache/toy').exists()
    if length == 'honest': assert 'instead of 40' in message

def test_wrong_content_is_refused_with_what_differs(server, toy, tmp_path):
    serve(server, toy)
    server.files['/toy/train.label'] = toy.label.replace('HUM:x', 'ENTY:x', 3).encode()
    message = refusal(D.fetch_dataset, 'toy', kind=D.DataMissing)
    assert "class 'ENTY' 3 instead of 0" in message and "class 'HUM' 17 instead of 20" in message
    server.files['/toy/train.label'] = b'<html>log in</html>'
    assert 'COARSE:fine' in refusal(D.fetch_dataset, 'toy', kind=D.DataMissing)
    assert not (tmp_path/'cache/toy').exists()

def test_dead_or_empty_server(server, toy, monkeypatch):
    assert 'HTTP 404' in refusal(D.load_corpus, 'toy', kind=D.DataMissing)
    monkeypatch.setenv('AUTOGETS_MIRROR', 'http://127.0.0.1:9')
    message = refusal(D.load_corpus, 'toy', kind=D.DataMissing)
    for part in ('toy is not in AUTOGETS_DATA (not set)', 'http://127.0.0.1:9/toy/train.label', 'ConnectionError', 'set AUTOGETS_DATA', 'autogets data fetch toy'): assert part in message

def test_nothing_is_fetched_when_told_so(server, toy):
    serve(server, toy)
    assert 'nothing was fetched' in refusal(D.load_corpus, 'toy', fetch=False, kind=D.DataMissing)
    assert server.asked == []

@pytest.mark.parametrize('damage', [lambda b: b[:len(b)//2], lambda b: b'', lambda b: gzip.compress(gzip.decompress(b)[:-40])])
def test_a_damaged_cache_is_fetched_again(server, toy, tmp_path, monkeypatch, damage):
    serve(server, toy)
    p = D.fetch_dataset('toy')/'train.csv.gz'
    whole = p.read_bytes()
    p.write_bytes(damage(whole))
    with pytest.warns(UserWarning, match='fetching toy again'): D.load_corpus('toy')
    assert p.read_bytes() == whole
    p.write_bytes(damage(whole))
    monkeypatch.setenv('AUTOGETS_MIRROR', 'http://127.0.0.1:9')
    with pytest.warns(UserWarning, match='fetching toy again'): refusal(D.load_corpus, 'toy', kind=D.DataMissing)

def test_unwritable_cache(server, toy, tmp_path, monkeypatch):
    serve(server, toy)
    monkeypatch.setenv('AUTOGETS_CACHE', str(put(tmp_path, 'a_file', 'x')))
    assert 'cannot write' in refusal(D.fetch_dataset, 'toy')

def test_copies_that_differ_in_tokenization_pass(toy, tmp_path, monkeypatch):
    toy.train['text'] = toy.train.text.str.upper().str.replace(' ', '  ')+" '' ?"
    copy_to(tmp_path, toy)
    monkeypatch.setenv('AUTOGETS_DATA', str(tmp_path))
    assert len(D.load_corpus('toy').train) == 32

@pytest.mark.parametrize('change,says', [
    (lambda f: f[:-1], "rows 39 instead of 40, ids 39 instead of 40, class 'HUM' 19 instead of 20"),
    (lambda f: f.assign(label=f.label[::-1].tolist()), 'the same counts, but other texts or labels'),
    (lambda f: f.assign(text=[f.text[1], *f.text[1:]]), 'ids 39 instead of 40'),
    (lambda f: f.assign(label=f.label.str.lower()), "class 'hum' 20 instead of 0"),
])
def test_other_content_under_autogets_data_is_refused_and_left_alone(server, toy, tmp_path, monkeypatch, change, says):
    toy.train = change(toy.train)
    copy_to(tmp_path, toy)
    monkeypatch.setenv('AUTOGETS_DATA', str(tmp_path))
    before = (tmp_path/'toy/train.csv.gz').read_bytes()
    with pytest.raises(UserError, match='is not the toy expected here') as e: D.load_corpus('toy')
    assert says in str(e.value) and not isinstance(e.value, D.DataMissing)
    assert (tmp_path/'toy/train.csv.gz').read_bytes() == before and server.asked == []

def test_another_order_of_rows_is_accepted_with_a_warning(toy, tmp_path, monkeypatch):
    toy.train = toy.train[::-1]
    copy_to(tmp_path, toy)
    monkeypatch.setenv('AUTOGETS_DATA', str(tmp_path))
    with pytest.warns(UserWarning, match='another order'): D.load_corpus('toy')

def test_a_set_without_a_home_says_so():
    message = refusal(D.fetch_dataset, 'amazon_reviews', kind=D.DataMissing)
    assert 'only a copy under AUTOGETS_DATA' in message and 'data fetch' not in message

def test_unknown_names():
    assert 'choose one of tickets, trec6' in refusal(D.load_corpus, 'trec7')
    assert 'choose one of tickets, trec6' in refusal(D.describe_dataset, 'trec7')
    assert 'choose one of paper' in refusal(D.load_corpus, 'tickets', 'random')
    for wrong in ({'text': 'body'}, {'features': ('topic',)}, {'revision': 'x'}): assert 'fixed columns' in refusal(D.load_corpus, 'tickets', **wrong)

def test_registry_is_complete_and_holds_no_text():
    for name, e in D.DATASETS.items():
        for k in ('title', 'license', 'citation', 'page', 'home_note'): assert e[k], (name, k)
        assert e['default_split'] in D.SPLIT_KINDS
        for c in e['content'].values(): assert sum(c['classes'].values()) == c['rows'] >= c['ids'] and len(c['fingerprint']) == 64
        if e['home']: assert {h['split'] for h in e['home']} == set(e['content'])
        shown = D.describe_dataset(name)
        assert e['license'] in shown and str(e['content']['train']['rows']) in shown
    listed = D.list_datasets().set_index('name')
    assert listed.loc['trec6', ['rows', 'classes']].tolist() == [5952, 6] and listed.loc['banking77', 'classes'] == 77 and listed.loc['tickets', 'where'] == 'shipped'
    assert all(len(line) == 8 for line in shipped('sms_spam_test.txt').read_text().split())

def test_trec_files_are_latin_1():
    got = D._parse('HUM:ind Who is Zoë : the : one ?\n\nABBR:exp What is AT&T ?\r\n'.encode('latin-1'), {'format': 'trec'})
    assert got.text.tolist() == ['Who is Zoë : the : one ?', 'What is AT&T ?'] and got.label.tolist() == ['HUM', 'ABBR']

def test_sms_rows_are_split_by_a_list_of_hashes(tmp_path, monkeypatch):
    listed = put(tmp_path, 'list.txt', '\n'.join(map(D._text_hash, ['win a prize', 'see you'])))
    monkeypatch.setattr(D, 'shipped', lambda name: listed)
    b = io.BytesIO()
    with zipfile.ZipFile(b, 'w') as z: z.writestr('SMSSpamCollection', 'spam\tWIN  a prize\nham\tSay "hi\nspam\twin a PRIZE \nham\tSee you\nham\tsay "hi\n')
    got = {s: D._parse(b.getvalue(), {'format': 'sms', 'split': s}) for s in ('train', 'test')}
    assert got['train'].text.tolist() == ['Say "hi'] and got['test'].text.tolist() == ['WIN  a prize', 'See you']
    assert 'BadZipFile' in refusal(D._parse, b'<html>', {'format': 'sms', 'split': 'test'})

# --- the public sets, where a copy is at hand ------------------------------------------------------------------------------------------

@needs_sets
def test_trec6_of_the_paper(monkeypatch):
    monkeypatch.setenv('AUTOGETS_DATA', str(SHARED))
    with pytest.warns(UserWarning, match='trec6: .* 17 in validation, 20 in test'): c = D.load_corpus('trec6')
    assert [len(c.train), len(c.validation), len(c.test)] == [3488, 873, 1091] and c.classes == ['ABBR', 'DESC', 'ENTY', 'HUM', 'LOC', 'NUM']
    with pytest.warns(UserWarning, match='trec6'): assert len(D.load_corpus('trec6', 'given').test) == 500

@needs_sets
@pytest.mark.parametrize('name', ['amazon_reviews', 'sst2', 'emotion', 'banking77', 'sms_spam'])
def test_public_sets_load(name, monkeypatch):
    monkeypatch.setenv('AUTOGETS_DATA', str(SHARED))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        c = D.load_corpus(name)
    want = D.DATASETS[name]['content']
    assert len(c.test) == want['test']['rows'] and set(c.classes) == set(want['train']['classes'])
    assert len(c.train)+len(c.validation) == want['train']['rows']+want.get('dev', {'rows': 0})['rows']

def home_file(spec, frame, others):
    "The bytes a home serves for `frame`, in its own format; `others` are the further rows of a home without splits"
    frame = frame.assign(label=frame.label.map({n: i for i, n in enumerate(spec['names'])})) if 'names' in spec else frame
    frame = frame.rename(columns={'text': spec.get('text', 'text'), 'label': spec.get('label', 'label')}).drop(columns='id')
    if spec['format'] == 'trec': return ''.join(f'{r.label}:fine {r.text}\n' for r in frame.itertuples()).encode('latin-1')
    if spec['format'] == 'csv': return frame.to_csv(index=False).encode()
    if spec['format'] == 'jsonl': return frame.to_json(orient='records', lines=True).encode()
    b = io.BytesIO()
    if spec['format'] == 'parquet': frame.to_parquet(b)
    else:
        every = pd.concat([others['train'], others['test']])
        every = pd.concat([every, every[:200].assign(text=every.text[:200].str.upper()+' ')])
        with zipfile.ZipFile(b, 'w') as z: z.writestr('SMSSpamCollection', ''.join(f'{r.label}\t{r.text}\n' for r in every.itertuples()))
    return b.getvalue()

@needs_sets
@pytest.mark.parametrize('name', ['trec6', 'sst2', 'emotion', 'banking77', 'sms_spam'])
def test_each_home_format_gives_the_expected_content(name, server, tmp_path):
    frames = {s: D.read_table(SHARED/name/f'{s}.csv.gz') for s in D.DATASETS[name]['content']}
    for spec in D.DATASETS[name]['home']: server.files[f'/{name}/{Path(spec["url"]).name}'] = home_file(spec, frames[spec['split']], frames)
    with warnings.catch_warnings():
        warnings.filterwarnings('error', message='.*fetching')
        assert D.fetch_dataset(name) == tmp_path/'cache'/name
        assert D.load_corpus(name).info['source'] == 'cache'

# --- Hugging Face data sets -----------------------------------------------------------------------------------------------------------

@pytest.fixture
def hub(monkeypatch):
    "`datasets` whose `load_dataset` gives what the test puts into `sets`, and records how it was called"
    datasets = pytest.importorskip('datasets')
    here = types.SimpleNamespace(sets={}, calls=[], lib=datasets)
    def load(id, **options):
        here.calls.append((id, options))
        if isinstance(here.sets, Exception): raise here.sets
        return here.sets
    monkeypatch.setattr(datasets, 'load_dataset', load)
    return here

def hub_set(lib, n, word, hidden=False):
    features = lib.Features({'sentence': lib.Value('string'), 'label': lib.ClassLabel(names=['bad', 'good'])})
    return lib.Dataset.from_dict({'sentence': [f'{word} {i}' for i in range(n)], 'label': [-1 if hidden else i % 2 for i in range(n)]}, features=features)

def test_hub_set_with_test_split(hub):
    hub.sets = hub.lib.DatasetDict(train=hub_set(hub.lib, 40, 'u'), validation=hub_set(hub.lib, 6, 'v'), test=hub_set(hub.lib, 8, 'w'))
    c = D.load_corpus('datasets:some/one', text='sentence', revision='abc')
    assert hub.calls == [('some/one', {'revision': 'abc'})]
    assert [len(c.train), len(c.validation), len(c.test)] == [40, 6, 8] and c.classes == ['bad', 'good'] and c.info['split'] == 'given'
    assert len(D.load_corpus('datasets:some/one', 'stratified', text='sentence').train) == 26

def test_hub_set_without_test_split_or_with_hidden_labels(hub):
    hub.sets = hub_set(hub.lib, 40, 'u')
    assert D.load_corpus('datasets:some/one', text='sentence').info['split'] == 'stratified'
    hub.sets = hub.lib.DatasetDict(train=hub_set(hub.lib, 40, 'u'), test=hub_set(hub.lib, 8, 'w', hidden=True))
    assert 'split test: rows without a label (column \'label\'): 8, first' in refusal(D.load_corpus, 'datasets:some/one', text='sentence')
    assert len(D.load_corpus('datasets:some/one', 'paper', text='sentence').test) == 8

def test_hub_labels_may_be_null(hub):
    data = hub_set(hub.lib, 6, 'u').to_dict()
    features = hub.lib.Features({'sentence': hub.lib.Value('string'), 'label': hub.lib.ClassLabel(names=['bad', 'good'])})
    hub.sets = hub.lib.Dataset.from_dict({**data, 'label': [1, 0, None, 1, 0, 1]}, features=features)
    assert "rows without a label (column 'label'): 1, at row 3" in refusal(D.load_corpus, 'datasets:some/one', text='sentence')

def test_hub_refusals(hub, monkeypatch):
    hub.sets = hub.lib.DatasetDict(test=hub_set(hub.lib, 8, 'w'))
    assert 'no split train: its splits are test' in refusal(D.load_corpus, 'datasets:some/one')
    hub.sets = hub.lib.DatasetDict(train=hub_set(hub.lib, 8, 'w'))
    assert "no column 'text': its columns are sentence, label" in refusal(D.load_corpus, 'datasets:some/one')
    hub.sets = ConnectionError('cannot reach the hub\nfor whatever reason')
    assert 'ConnectionError: cannot reach the hub for' in refusal(D.load_corpus, 'datasets:some/one', kind=D.DataMissing)
    monkeypatch.setitem(sys.modules, 'datasets', None)
    assert 'pip install datasets' in refusal(D.load_corpus, 'datasets:some/one')

def test_datasets_reads_a_local_folder(tmp_path):
    pytest.importorskip('datasets')
    for s, n in (('train', 30), ('test', 6)): put(tmp_path, f'mine/{s}.csv', rows(n, word=s)[['text', 'label']].to_csv(index=False))
    c = D.load_corpus(f'datasets:{tmp_path}/mine', cache_dir=str(tmp_path/'hf'))
    assert [len(c.train), len(c.validation), len(c.test)] == [24, 6, 6] and c.classes == ['a', 'b', 'c']

# --- descriptions ---------------------------------------------------------------------------------------------------------------------

def test_describe():
    t = D.describe(D.split_corpus(pd.concat([rows(100, 'a'), rows(50, 'b', 'a longer')]), 'c')).set_index('class')
    assert t.loc['a', list(D.SPLITS)].tolist() == [64, 16, 20] and t.median_words.tolist() == [3, 4]
    assert np.allclose(t[[f'{s}_share' for s in D.SPLITS]].sum(), 1)

def test_characteristics_agree_with_scikit_learn():
    from sklearn.metrics import balanced_accuracy_score, precision_recall_fscore_support
    c, rng = D.split_corpus(rows(400), 'c'), np.random.default_rng(0)
    guess = np.where(rng.random(len(c.validation)) < .7, c.validation.label, rng.choice(list('abc'), len(c.validation)))
    t = D.class_characteristics(c, guess)
    precision, recall, *_ = precision_recall_fscore_support(c.validation.label, guess, labels=c.classes)
    assert np.allclose(t.precision, precision) and np.allclose(t.recall, recall)
    for k, b in zip(t['class'], t.balanced_accuracy): assert np.isclose(b, balanced_accuracy_score(c.validation.label == k, guess == k))
    assert t['size'].sum() == len(c.train) and 'recall' not in D.class_characteristics(c)

def test_characteristics_at_the_edges():
    c = D.Corpus('c', rows(30), rows(8, 'ab', 'v'), rows(9, word='w'))
    t = D.class_characteristics(c, ['a']*8).set_index('class')
    assert t.recall[['a', 'b']].tolist() == [1, 0] and t.precision['b'] == 0 and t.neighbor.to_dict() == {'a': '', 'b': 'a', 'c': ''}
    assert t.confusion_entropy[['a', 'b']].tolist() == [0, 0] and t.loc['c', ['recall', 'precision', 'balanced_accuracy', 'confusion_entropy']].isna().all()
    scattered = D.class_characteristics(c, list('aaaabbbb')).set_index('class')
    assert np.isclose(scattered.confusion_entropy['a'], 1)
    assert '3 predicted labels for 8' in refusal(D.class_characteristics, c, ['a']*3)
