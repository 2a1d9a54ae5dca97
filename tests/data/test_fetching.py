"Downloads that break off, lie or change, several homes, and recordings from raw files as their authors have them"

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import types
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd
import pytest

from autogets.core import UserError
from autogets.data import download, recordings
from autogets.data.datasets import DATASETS, DataMissing, content, fetch_dataset, load_corpus
from autogets.data.raw_recordings import CONVERTERS, CHANGES, MODELS, WRITERS
from autogets.data.recordings import RECORDINGS, fetch_recording, further_rows, list_recordings, recording_corpus
from autogets.data.sources import fetch_source, lacking, list_sources
from autogets.data.tables import tidy

RAW = os.environ.get('AUTOGETS_RAW')  # a folder with files at OWNER/REPOSITORY/COMMIT/PATH


@pytest.fixture
def server(tmp_path, monkeypatch):
    "A local mirror that knows ranges; `cut` maps a path to how many bytes it sends before it hangs up, once"

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            start = int((self.headers.get('Range') or 'bytes=0-')[6:-1])
            here.asked.append((self.path, start))
            if self.path not in here.files:
                return self.send_error(404)
            body = here.files[self.path]
            if start >= len(body) > 0:
                return self.send_error(416)
            self.send_response(206 if start else 200)
            self.send_header('Content-Length', str(len(body) - start))
            self.end_headers()
            self.wfile.write(body[start : here.cut.pop(self.path, None)])

        def log_message(self, *args):
            pass

    here = types.SimpleNamespace(files={}, asked=[], cut={})
    httpd = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    monkeypatch.setenv('AUTOGETS_MIRROR', f'http://127.0.0.1:{httpd.server_port}')
    monkeypatch.setenv('AUTOGETS_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setenv('AUTOGETS_DATA', '')
    yield here
    httpd.shutdown()
    httpd.server_close()


def toy_set(monkeypatch, *homes):
    "A registered set of forty rows whose one split has `homes`; its rows as CSV"
    frame = pd.DataFrame({'text': [f'number {k}' for k in range(40)], 'label': ['odd', 'even'] * 20})
    facts = {k: k for k in ('title', 'license', 'citation', 'page', 'note', 'home_note')}
    home = [{'split': 'train', 'format': 'csv', 'url': u} for u in homes]
    rows = content(tidy(frame, 'it'))
    entry = facts | {'default_split': 'stratified', 'features': [], 'home': home, 'content': {'train': rows}}
    monkeypatch.setitem(DATASETS, 'toy', entry)
    return frame.to_csv(index=False).encode()


def test_a_download_goes_on_where_it_broke_off(server, monkeypatch, tmp_path):
    data = toy_set(monkeypatch, 'https://home.invalid/a.csv')
    monkeypatch.setattr(download.Resumed, 'chunk', 10)
    server.files['/toy/a.csv'], server.cut['/toy/a.csv'] = data, 100
    with pytest.raises(DataMissing, match='did not serve it'):
        fetch_dataset('toy')
    assert [p.stat().st_size for p in (tmp_path / 'cache/downloads').iterdir()] == [100]
    assert not (tmp_path / 'cache/toy').exists()
    fetch_dataset('toy')
    assert server.asked == [('/toy/a.csv', 0), ('/toy/a.csv', 100)]
    assert list((tmp_path / 'cache/downloads').iterdir()) == []


def test_what_is_already_whole_is_asked_for_anew(server, monkeypatch, tmp_path):
    data = toy_set(monkeypatch, 'https://home.invalid/a.csv')
    server.files['/toy/a.csv'] = data
    (address,) = download.mirrors('toy', 'https://home.invalid/a.csv')
    part = tmp_path / 'cache/downloads' / (hashlib.sha256(address.encode()).hexdigest()[:16] + '.part')
    part.parent.mkdir(parents=True)
    part.write_bytes(b'?' * len(data))
    fetch_dataset('toy')
    assert server.asked == [('/toy/a.csv', len(data)), ('/toy/a.csv', 0)]


def test_homes_are_tried_in_turn(server, monkeypatch, capfd):
    data = toy_set(monkeypatch, 'https://first.invalid/gone.csv', 'https://second.invalid/b.csv')
    server.files['/toy/b.csv'] = data
    assert len(load_corpus('toy').train) > 0
    assert [p for p, _ in server.asked] == ['/toy/gone.csv', '/toy/b.csv']
    err = capfd.readouterr().err
    assert err.count('fetched title (license: license); please cite citation') == 1
    load_corpus('toy')
    assert len(server.asked) == 2 and capfd.readouterr().err == ''


def test_every_home_that_failed_is_named(server, monkeypatch):
    data = toy_set(monkeypatch, 'https://first.invalid/gone.csv', 'https://second.invalid/b.csv')
    server.files['/toy/b.csv'] = data.replace(b'number 3,even', b'number 3,odd')
    with pytest.raises(DataMissing) as e:
        load_corpus('toy')
    said = str(e.value)
    assert '/toy/gone.csv (HTTP 404)' in said and "class 'even' 19 instead of 20" in said and 'b.csv gave' in said


def test_pinned_files_have_a_second_host(monkeypatch):
    monkeypatch.delenv('AUTOGETS_MIRROR', raising=False)
    for name in {*DATASETS, *RECORDINGS} - {'tickets', 'amazon_reviews'}:
        homes = DATASETS[name]['home'] if name in DATASETS else RECORDINGS[name]['home']['urls']
        first = homes[0]['url'] if name in DATASETS else next(iter(homes))
        commit = first.removeprefix(download.RAW).split('/')[2]
        assert first.startswith(download.RAW) and len(commit) == 40, name
        assert download.mirrors(name, first)[1].startswith('https://cdn.jsdelivr.net/gh/')


def test_no_space_is_said_and_nothing_stays(server, monkeypatch, tmp_path):
    data = toy_set(monkeypatch, 'https://home.invalid/a.csv')
    server.files['/toy/a.csv'] = data

    def full(self, url, have):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(download.Resumed, '_get', full)
    with pytest.raises(DataMissing, match='No space left on device'):
        fetch_dataset('toy')
    assert not (tmp_path / 'cache/toy').exists()


PROCESS = """import sys
from autogets.data.datasets import DATASETS, content, fetch_dataset
from autogets.data.tables import tidy
import pandas as pd
frame = pd.DataFrame({'text': [f'number {k}' for k in range(40)], 'label': ['odd', 'even'] * 20})
facts = {k: k for k in ('title', 'license', 'citation', 'page', 'note', 'home_note')}
DATASETS['toy'] = facts | {'default_split': 'stratified', 'features': [],
    'content': {'train': content(tidy(frame, 'it'))},
    'home': [{'split': 'train', 'format': 'csv', 'url': 'https://home.invalid/a.csv'}]}
print(fetch_dataset('toy'))
"""


def test_two_processes_fetch_once(server, monkeypatch, tmp_path):
    server.files['/toy/a.csv'] = toy_set(monkeypatch, 'https://home.invalid/a.csv')
    both = [subprocess.Popen([sys.executable, '-c', PROCESS], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [p.communicate(timeout=120)[0].strip() for p in both]
    assert [p.returncode for p in both] == [0, 0] and set(said) == {str(tmp_path / 'cache/toy')}
    assert len(server.asked) == 1


def paraphrase_files():
    "Raw files of a set of paraphrases, by name: two classes, 12 sources, and rows that the converter must leave out"
    seeds = [(f'source {k} of {k % 2}', k % 2) for k in range(12)]
    files = {'toy_seeds_train.csv': pd.DataFrame(seeds, columns=['text', 'label']).to_csv(index=False)}
    files['test.csv'] = pd.DataFrame([(f'held out {k}', float(k % 2)) for k in range(8)], columns=['text', 'label'])
    files['test.csv'] = files['test.csv'].to_csv(index=False)
    for way in CHANGES:
        for model, form in MODELS.items():
            rows = [(label, f' {model} {way} "{text}", ', text) for text, label in seeds]
            rows += [(0, 'of nobody', 'not a seed'), (1, ' ', seeds[1][0])]
            files[f'toy_{form.format(way)}'] = pd.DataFrame(rows, columns=['label', 'text', 'seed']).to_csv(index=False)
    more = [('Held  OUT 1', 9), ('more', 8), ('MORE ', 8), ('torn', 8), ('Torn', 9), ('unknown', 7), ('again', 9)]
    files['all.csv'] = pd.DataFrame(more, columns=['text', 'label']).to_csv(index=False)
    further = dict(file='all.csv', names={'8': 'even', '9': 'odd'})
    return files, dict(format='paraphrases', prefix='toy', test='test.csv', names=['even', 'odd'], further=further)


def similar_files():
    "Raw files of a set of similar examples"
    base = [dict(text=f'source {k} of {k % 2}', target=f'c{k % 2}') for k in range(12)]
    files = {'base': base, 'test': [dict(text=f'held out {k}', target=f'c{k % 2}') for k in range(8)]}
    files['train'] = [*base[:2], dict(text='HELD out  3', target='c1'), dict(text='further', target='c0')]
    for file, model in WRITERS.items():
        files[f'balanced_{file}_augmented'] = [r | dict(augmented_text=f' {model} on {r["text"]}\n') for r in base]
    return {f'{n}.json': json.dumps(rows) for n, rows in files.items()}, dict(format='similar examples', text='text')


def registered(monkeypatch, server, files, home, name='toy'):
    "The set `name` of `files` in the registry and on the server"
    urls = {f'{download.RAW}me/mine/{"0" * 40}/{n}': len(f) for n, f in files.items()}
    tables = CONVERTERS[home['format']](lambda n: files[n].encode(), home)
    sums = {
        p: {'rows': len(t), 'sha256': hashlib.sha256(t.to_csv(index=False).encode()).hexdigest()}
        for p, t in tables.items()
    }
    facts = {k: k for k in ('title', 'license', 'citation', 'origin', 'note')}
    counts = tables['seeds'].label.value_counts().to_dict()
    entry = facts | {'home': home | {'urls': urls}, 'files': sums, 'classes': counts, 'models': [], 'default': {}}
    monkeypatch.setitem(RECORDINGS, name, entry)
    server.files.update({f'/{name}/{n}': f.encode() for n, f in files.items()})
    return tables


@pytest.mark.parametrize('make', [paraphrase_files, similar_files])
def test_a_recording_is_fetched_converted_and_kept(make, server, monkeypatch, tmp_path):
    files, home = make()
    tables = registered(monkeypatch, server, files, home)
    assert list_recordings().set_index('name').loc['toy', 'where'] == 'not here' and not server.asked
    corpus = recording_corpus('toy')
    assert len(corpus.train) + len(corpus.validation) == 12 and len(corpus.test) == 8
    assert len(server.asked) == len(files)
    server.files.clear()
    assert fetch_recording('toy') == tmp_path / 'cache/llm_generated/toy'
    assert list_recordings().set_index('name').loc['toy', 'where'] == 'cache'
    kept = {p.name.split('.')[0]: pd.read_csv(p, keep_default_na=False) for p in fetch_source('toy').glob('*.csv.gz')}
    assert {p: t.shape for p, t in kept.items()} == {p: t.shape for p, t in tables.items()}
    assert list(further_rows('toy').text) == list(tables['train'].text)


def test_what_the_converters_leave_out():
    files, home = paraphrase_files()
    tables = CONVERTERS['paraphrases'](lambda n: files[n].encode(), home)
    assert len(tables['llm']) == 12 * len(CHANGES) * len(MODELS) and set(tables['llm'].label) == {'even', 'odd'}
    assert tables['train'].values.tolist() == [['more', 'even'], ['again', 'odd']]
    files, home = similar_files()
    tables = CONVERTERS['similar examples'](lambda n: files[n].encode(), home)
    assert tables['train'].text.tolist() == ['further'] and len(tables['llm']) == 24


@pytest.mark.parametrize(
    'file, change, says',
    [
        ('test.csv', lambda f: f.replace('held out 5,1.0\n', ''), 'not the test expected here: 7 rows instead of 8'),
        ('test.csv', lambda f: f.replace('held out 5,1.0', 'held out 5,0.0'), 'other texts or labels'),
        ('toy_gpt_para.csv', lambda f: f.replace('seed', 'source', 1), "has no column 'seed'"),
        ('toy_gpt_ins.csv', lambda f: '<!doctype html><p>sign in', 'it is a web page'),
        ('test.csv', lambda f: f.replace('0.0', 'zero'), 'its classes are not numbered'),
    ],
)
def test_what_has_changed_is_said_and_nothing_is_kept(file, change, says, server, monkeypatch, tmp_path):
    files, home = paraphrase_files()
    registered(monkeypatch, server, files, home)
    server.files[f'/toy/{file}'] = change(files[file]).encode()
    with pytest.raises(DataMissing) as e:
        fetch_recording('toy')
    assert says in str(e.value) and 'autogets data fetch toy' in str(e.value)
    assert not (tmp_path / 'cache/llm_generated/toy').exists()


def test_a_part_that_a_set_has_not_is_not_fetched(server):
    assert len(further_rows('sst5')) == 0 and not server.asked


def test_everything_with_its_size(server):
    rows = list_sources().set_index('name')
    assert not rows.index.has_duplicates and (rows.MB[list(lacking().name)] > 0).all()
    assert {'trec6', 'sst2', 'sst5', 'parrot_empathy'} <= set(lacking().name) and 'tickets' not in set(lacking().name)
    with pytest.raises(UserError, match='unknown data set'):
        fetch_source('sst9')


@pytest.mark.skipif(not RAW, reason='AUTOGETS_RAW is not set')
@pytest.mark.parametrize('name', [n for n in list_sources().name if n not in ('tickets', 'amazon_reviews')])
def test_the_real_files_give_the_registered_tables(name, server, recwarn):
    homes = DATASETS[name]['home'] if name in DATASETS else [{'url': u} for u in RECORDINGS[name]['home']['urls']]
    for spec in homes:
        path = Path(RAW) / urlsplit(spec['url']).path.lstrip('/').replace('%23', '#')
        if path.is_file():
            server.files[f'/{name}/{Path(spec["url"]).name}'] = path.read_bytes()
    fetch_source(name)
    if name in DATASETS:
        assert load_corpus(name).info['source'] == 'cache'
        assert not [w for w in recwarn if 'another order' in str(w.message)]
    else:
        assert recordings.list_recordings().set_index('name').loc[name, 'where'] == 'cache'
