"Recorded datasets without their generators: files, corpora, further rows"

import gzip
import subprocess
import sys

import pytest
from data.common import refusal
from data.recorded import make, register

from autogets.data.datasets import DataMissing
from autogets.data.recordings import (
    RECORDINGS,
    chosen_texts,
    further_rows,
    list_recordings,
    recording_corpus,
    recording_source,
    third_party_folder,
)


@pytest.fixture
def zoo(tmp_path):
    return make(tmp_path / 'zoo')


@pytest.fixture
def registered(tmp_path, monkeypatch):
    return register(tmp_path, monkeypatch)


def test_data_needs_no_generator():
    "A user of corpora alone loads nothing that writes texts"
    code = (
        'import sys, autogets.data.recordings; print([m for m in sys.modules if m.startswith("autogets.generators")])'
    )
    assert (
        subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == '[]'
    )


def test_a_corpus_comes_without_the_texts(zoo):
    (zoo / 'llm.csv.gz').unlink()
    corpus = recording_corpus(zoo, seed=3)
    assert corpus.classes == ['cat', 'dog'] and len(corpus.test) == 40
    assert recording_corpus(zoo, seed=3).fingerprint == corpus.fingerprint != recording_corpus(zoo).fingerprint
    assert 'has no llm.csv.gz' in refusal(recording_source, zoo, kind=DataMissing)


def test_the_source_of_the_texts_is_checked(registered):
    assert recording_source('zoo') == str(registered / 'llm.csv.gz') and recording_source('tickets') == 'tickets'
    (registered / 'llm.csv.gz').write_bytes(gzip.compress(b'text,label\n'))
    assert 'is not the llm file of zoo expected here' in refusal(recording_source, 'zoo')


def test_defaults_are_those_of_the_registry(registered):
    assert chosen_texts('zoo') == {'model': 'm1', 'method': 'echo'}
    assert chosen_texts('zoo', 'all', 'shout') == {'model': None, 'method': 'shout'}
    assert chosen_texts(registered) == {'model': None, 'method': None}


def test_further_rows(zoo):
    assert further_rows(zoo).columns.tolist() == ['id', 'text', 'label']
    assert further_rows(zoo).empty
    assert further_rows('tickets').empty
    (zoo / 'train.csv.gz').write_bytes(gzip.compress(b'text,label\na,cat\nb,dog\n'))
    assert further_rows(zoo).text.tolist() == ['a', 'b']
    assert 'unknown recorded dataset' in refusal(further_rows, 'nowhere')


def test_folders_of_others_need_no_registration(registered, monkeypatch):
    (registered.parent / 'other').mkdir()
    assert 'are not here: set AUTOGETS_DATA' in refusal(third_party_folder, 'other', kind=DataMissing)
    (registered.parent / 'other/llm.csv.gz').write_bytes(b'')
    assert third_party_folder('other') == registered.parent / 'other'
    monkeypatch.delenv('AUTOGETS_DATA')
    assert 'are not here' in refusal(third_party_folder, 'other', kind=DataMissing)


def test_the_list_opens_no_file(registered):
    for p in registered.iterdir():
        p.write_bytes(b'not gzip')
    listed = list_recordings().set_index('name')
    assert listed.loc['zoo', 'where'] == 'AUTOGETS_DATA'
    assert listed.loc['tickets', 'where'] == 'shipped'
    assert len(listed) == len(RECORDINGS)
