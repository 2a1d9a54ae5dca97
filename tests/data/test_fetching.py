"Downloads that break off, lie or change, several homes, and recordings from raw files as their authors have them"

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import CancelledError
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd
import pytest
from data.mirror import register_corpus, register_recording, server

from autogets.core import UserError
from autogets.data import download, recordings
from autogets.data.datasets import DATASETS, DataMissing, content, fetch_dataset, load_corpus
from autogets.data.raw_recordings import CONVERTERS, CHANGES, MODELS, WRITERS
from autogets.data.recordings import RECORDINGS, fetch_recording, further_rows, list_recordings, recording_corpus
from autogets.data.sources import fetch_source, lacking, list_sources
from autogets.data.tables import tidy

RAW = os.environ.get('AUTOGETS_RAW')  # a folder with files at OWNER/REPOSITORY/COMMIT/PATH
KNOWN = os.environ.get('AUTOGETS_DATA')  # the tables that they must give, text by text


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
    assert [p.stat().st_size for p in (tmp_path / 'cache/downloads/toy').iterdir()] == [100]
    assert not (tmp_path / 'cache/toy').exists()
    fetch_dataset('toy')
    assert server.asked == [('/toy/a.csv', 0), ('/toy/a.csv', 100)]
    assert list((tmp_path / 'cache/downloads').iterdir()) == []


def test_what_is_already_whole_is_asked_for_anew(server, monkeypatch, tmp_path):
    data = toy_set(monkeypatch, 'https://home.invalid/a.csv')
    server.files['/toy/a.csv'] = data
    (address,) = download.mirrors('toy', 'https://home.invalid/a.csv')
    part = tmp_path / 'cache/downloads/toy' / (hashlib.sha256(address.encode()).hexdigest()[:16] + '.part')
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
    for name in {*DATASETS, *RECORDINGS} - {'tickets'}:
        home = DATASETS[name]['home'][0] if name in DATASETS else RECORDINGS[name]['home']
        for first, size in download.addresses(home).items():
            commit = first.removeprefix(download.RAW).split('/')[2]
            assert first.startswith(download.RAW) and len(commit) == 40 and size > 0, first
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
    home = dict(format='paraphrases', prefix='toy', test='test.csv', names=['even', 'odd'], further=further)
    return {n: f.encode() for n, f in files.items()}, home


def similar_files():
    "Raw files of a set of similar examples"
    base = [dict(text=f'source {k} of {k % 2}', target=f'c{k % 2}') for k in range(12)]
    files = {'base': base, 'test': [dict(text=f'held out {k}', target=f'c{k % 2}') for k in range(8)]}
    files['train'] = [*base[:2], dict(text='HELD out  3', target='c1'), dict(text='further', target='c0')]
    for file, model in WRITERS.items():
        files[f'balanced_{file}_augmented'] = [r | dict(augmented_text=f' {model} on {r["text"]}\n') for r in base]
    home = dict(format='similar examples', text='text')
    return {f'{n}.json': json.dumps(rows).encode() for n, rows in files.items()}, home


@pytest.mark.parametrize('make', [paraphrase_files, similar_files])
def test_a_recording_is_fetched_converted_and_kept(make, server, monkeypatch, tmp_path):
    files, home = make()
    tables = register_recording(monkeypatch, server, home, files)
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
    tables = CONVERTERS['paraphrases'](files.__getitem__, home)
    assert len(tables['llm']) == 12 * len(CHANGES) * len(MODELS) and set(tables['llm'].label) == {'even', 'odd'}
    assert tables['train'].values.tolist() == [['more', 'even'], ['again', 'odd']]
    files, home = similar_files()
    tables = CONVERTERS['similar examples'](files.__getitem__, home)
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
    register_recording(monkeypatch, server, home, files)
    server.files[f'/toy/{file}'] = change(files[file].decode()).encode()
    with pytest.raises(DataMissing) as e:
        fetch_recording('toy')
    assert says in str(e.value) and 'autogets data fetch toy' in str(e.value)
    assert not (tmp_path / 'cache/llm_generated/toy').exists()


def many_files():
    "Twenty-one files in seven folders; their names collide"
    rows = [(k, f'review {k}', 1 + k % 5) for k in range(120)]
    parts = {f'few/{2**n}-13/{p}.csv': rows[6 * n : 6 * n + 40] for n in range(7) for p in ('train', 'dev')}
    files = parts | {f'few/{2**n}-21/train.csv': rows[70 + 6 * n :] for n in range(6)} | {'few/1-13/test.csv': rows[:5]}
    return {n: pd.DataFrame(r).to_csv(index=False, header=False).encode() for n, r in files.items()}


REVIEWS = dict(splits=['train', 'test'], format='reviews', rows=8)


def test_files_that_share_a_name_have_their_path_on_a_mirror(server, monkeypatch):
    register_corpus(monkeypatch, server, REVIEWS, many_files())
    fetch_dataset('toy')
    assert sorted(p for p, _ in server.asked) == sorted(f'/toy/{n}' for n in many_files())


def test_what_has_come_of_many_files_is_kept_and_a_failure_says_which(server, monkeypatch, tmp_path):
    register_corpus(monkeypatch, server, REVIEWS, many_files())
    gone = server.files.pop('/toy/few/16-13/dev.csv')
    with pytest.raises(DataMissing) as e:
        fetch_dataset('toy')
    said, kept = str(e.value), len(list((tmp_path / 'cache/downloads/toy').glob('?' * 16)))
    assert 'few/16-13/dev.csv is not served by' in said and 'HTTP 404' in said and ' of 21 files have come' in said
    assert '\n' not in said and kept >= 1 and not (tmp_path / 'cache/toy').exists()
    server.files['/toy/few/16-13/dev.csv'] = gone
    server.asked.clear()
    fetch_dataset('toy')
    assert len(server.asked) == 21 - kept and not (tmp_path / 'cache/downloads/toy').exists()


FETCH = """import json, sys
from autogets.data.datasets import DATASETS, fetch_dataset
DATASETS['toy'] = json.loads(sys.stdin.read())
print(fetch_dataset('toy'))
"""


def test_a_killed_process_has_kept_what_came(server, monkeypatch, tmp_path):
    register_corpus(monkeypatch, server, REVIEWS, many_files())
    slow = [f'/toy/{n}' for n in many_files() if n.startswith('few/1')]
    server.held |= {n: threading.Event() for n in slow}

    def start():
        p = subprocess.Popen([sys.executable, '-c', FETCH], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        p.stdin.write(json.dumps(DATASETS['toy']))
        p.stdin.close()
        return p

    first, kept, end = start(), tmp_path / 'cache/downloads/toy', time.monotonic() + 60
    while time.monotonic() < end and len([p for p in kept.glob('*') if len(p.name) == 16]) < 21 - len(slow):
        time.sleep(0.05)
    first.kill()
    first.wait()
    for event in server.held.values():
        event.set()
    server.asked.clear()
    second = start()
    assert second.stdout.read().strip() == str(tmp_path / 'cache/toy') and second.wait() == 0
    assert sorted(p for p, _ in server.asked) == sorted(slow)


def test_many_files_are_asked_for_at_once(server, monkeypatch, tmp_path):
    "Eight requests wait at the same time"
    register_corpus(monkeypatch, server, REVIEWS, many_files())
    together = threading.Barrier(8, action=lambda: [e.set() for e in server.held.values()])

    class Meeting(threading.Event):
        def wait(self, seconds):
            return self.is_set() or together.wait(seconds)

    server.held |= {f'/toy/{n}': Meeting() for n in many_files()}
    fetch_dataset('toy')
    assert not together.broken and len(server.asked) == 21


def test_ended_by_hand_no_further_file_is_asked_for(server, monkeypatch):
    register_corpus(monkeypatch, server, REVIEWS, many_files())
    answer = threading.Event()
    server.held |= {f'/toy/{n}': answer for n in many_files()}

    def interrupted(coming):
        threading.Timer(1, answer.set).start()
        raise KeyboardInterrupt

    monkeypatch.setattr(download, '_gathered', interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch_dataset('toy')
    assert len(server.asked) <= 8


def test_a_download_that_is_ended_stops_and_keeps_what_it_has(server, tmp_path):
    server.files['/toy/a.csv'], end = b'0123456789' * 100_000, threading.Event()
    end.set()
    with pytest.raises(CancelledError):
        download.download('toy', 'https://home.invalid/a.csv', tmp_path, end=end)
    (part,) = tmp_path.iterdir()
    assert part.suffix == '.part' and 0 < part.stat().st_size < 1_000_000
    assert download.download('toy', 'https://home.invalid/a.csv', tmp_path) == server.files['/toy/a.csv']
    assert [start > 0 for _, start in server.asked] == [False, True]


def test_downloads_side_by_side_leave_the_warning_filters_alone(server, tmp_path):
    files = {f'https://home.invalid/{k}.csv': b'x' for k in range(30)}
    server.files |= {f'/toy/{k}.csv': b'x' for k in range(30)}
    before = list(warnings.filters)
    assert len(download.download_all('toy', files, tmp_path / 'kept')) == 30 and warnings.filters == before


def test_a_part_that_a_set_has_not_is_not_fetched(server):
    assert len(further_rows('sst5')) == 0 and not server.asked


def test_everything_with_its_size(server):
    rows = list_sources().set_index('name')
    assert not rows.index.has_duplicates and (rows.MB[list(lacking().name)] > 0).all()
    assert set(lacking().name) == set(rows.index) - {'tickets'}
    with pytest.raises(UserError, match='unknown data set'):
        fetch_source('sst9')


@pytest.mark.skipif(not RAW, reason='AUTOGETS_RAW is not set')
@pytest.mark.parametrize('name', [n for n in list_sources().name if n != 'tickets'])
def test_the_real_files_give_the_registered_tables(name, server, recwarn):
    homes = DATASETS[name]['home'] if name in DATASETS else [RECORDINGS[name]['home']]
    for home in homes:
        for url, file in download.file_names(download.addresses(home)).items():
            path = Path(RAW) / urlsplit(url).path.lstrip('/').replace('%23', '#')
            if path.is_file():
                server.files[f'/{name}/{file}'] = path.read_bytes()
    folder = fetch_source(name)
    if name in DATASETS:
        assert load_corpus(name).info['source'] == 'cache'
        assert not [w for w in recwarn if 'another order' in str(w.message)]
    else:
        assert recordings.list_recordings().set_index('name').loc[name, 'where'] == 'cache'
    for part in Path(KNOWN, '' if name in DATASETS else 'llm_generated', name).glob('*.csv.gz') if KNOWN else []:
        ours, known = (pd.read_csv(p, dtype=str, keep_default_na=False) for p in (folder / part.name, part))
        ours['text'], known['text'] = ours.text.str.strip(), known.text.str.strip()
        assert ours.equals(known[list(ours)]), part.name
