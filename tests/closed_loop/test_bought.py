"""`improve --model` against a server: within its money, nothing paid twice, the bill in the report"""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from servers import serving

from autogets.closed_loop.purchase import Purchase, buy_texts
from autogets.data.corpus import read_corpus
from autogets.generators.settings import RequestSettings

COMMAND = [sys.executable, '-c', 'from autogets.cli import main; main()']


@pytest.fixture
def train(tmp_path):
    rng = np.random.default_rng(0)
    words = {
        'mail': 'inbox sender attachment spam outlook message'.split(),
        'net': 'router cable wifi signal slow outage'.split(),
    }
    rows = [(f'{" ".join(rng.choice(words[c], 4))} case {i}', c) for i in range(40) for c in words]
    pd.DataFrame(rows, columns=['text', 'label']).to_csv(tmp_path / 'train.csv', index=False)
    return tmp_path / 'train.csv'


def command(train, out, url, *more):
    words = ['improve', train, '--model', 'openai:m', '--base-url', url, '--price', '1,2', '--classifier', 'word-ridge']
    return [*COMMAND, *map(str, [*words, '--prompt', 'autogets', '--prompt', 'errors+one-shot', '--out', out, *more])]


ENV = os.environ | {'OPENAI_API_KEY': 'sk-not-a-key'}


def run(*words):
    return subprocess.run(command(*words), capture_output=True, text=True, timeout=120, env=ENV)


def test_from_a_file_to_a_verdict(train, tmp_path, in_process, monkeypatch):
    monkeypatch.setenv('OPENAI_API_KEY', 'sk-not-a-key')
    with serving() as s:
        words = command(train, tmp_path / 'out', s.url, '--max-cost', '0.02', '--rounds', '4')[3:]
        code, dry, _ = in_process(*words, '--dry-run')
        assert code == 0 and 'Nothing was sent' in dry and s.stats()['requests'] == 0
        code, done, said = in_process(*words, '--json')
        assert code == 0, said
        first = s.stats()
        _, again, _ = in_process(*words, '--json')
        assert s.stats()['requests'] == first['requests']
    told, again = json.loads(done), json.loads(again)
    bought = told['bought']
    assert bought['unit'] == 'dollars' and 0 < bought['spent'] <= 0.02 and bought['rounds'] >= 2
    assert {k['kind'] for k in bought['kinds']} == {'autogets', 'errors+one-shot'}
    assert np.isclose(bought['spent'], (first['prompt_tokens'] + 2 * first['completion_tokens']) / 1e6)
    assert again['bought'] == bought and again['gain'] == told['gain']
    page = (tmp_path / 'out' / 'report.html').read_text()
    assert 'What was bought' in page and 'validation alone' in page
    everything = ''.join(p.read_text() for p in (tmp_path / 'out').rglob('*.json*')) + page + said
    assert 'sk-not-a-key' not in everything


def test_a_kill_pays_for_nothing_twice(train, tmp_path):
    with serving(delay=0.05) as s:
        going = subprocess.Popen(
            command(train, tmp_path / 'out', s.url, '--max-cost', '0.02', '--no-free', '--rounds', '3'), env=ENV
        )
        until = time.time() + 60
        while s.stats()['requests'] < 12 and time.time() < until:
            time.sleep(0.05)
        going.send_signal(signal.SIGKILL)
        going.wait()
        done = run(train, tmp_path / 'out', s.url, '--max-cost', '0.02', '--no-free', '--rounds', '3', '--json')
        assert done.returncode == 0, done.stderr
        stats = s.stats()
    replies = (tmp_path / 'out' / 'loop' / 'replies.jsonl').read_text().splitlines()
    assert len({json.loads(r)['key'] for r in replies}) == len(replies)
    assert stats['requests'] <= len(replies) + 64  # what was in flight when it was killed


@pytest.fixture(scope='module')
def server():
    with serving() as s:
        yield s


@pytest.mark.parametrize(
    'more, said',
    [
        ([], '--max-cost'),
        (['--max-cost', '0.00001'], 'too small'),
        (['--max-cost', '1', '--prompt', 'luck+autogets'], 'luck'),
        (['--max-cost', '1', '--share', '3'], 'share'),
        (['--max-cost', '1', '--target', 'post'], 'post'),
    ],
)
def test_what_cannot_be_bought(train, tmp_path, more, said, server, in_process, monkeypatch):
    monkeypatch.setenv('OPENAI_API_KEY', 'sk-not-a-key')
    before = server.stats()['requests']
    code, _, told = in_process(*command(train, tmp_path / 'out', server.url, *more)[3:])
    assert server.stats()['requests'] == before
    assert code == 2 and said in told and told.count('\n') == 1, told


def test_a_limit_without_a_model(train, tmp_path, in_process):
    code, _, told = in_process('improve', str(train), '--max-cost', '1', '--out', str(tmp_path / 'out'))
    assert code == 2 and 'needs a model' in told


def test_rounds_travel_as_batches_of_the_provider_at_half_price(train, tmp_path, monkeypatch):
    monkeypatch.setenv('OPENAI_API_KEY', 'sk-not-a-key')
    corpus, purchase = read_corpus(train), Purchase(prompt=('autogets', 'one-shot'), rounds=3)
    with serving() as s:
        how = RequestSettings((s.url,), price=(1.0, 2.0), max_cost=0.01, batch=True, poll=0.02)
        bought = buy_texts(corpus, 'openai:m', purchase, how, classifier='word-ridge', folder=tmp_path / 'loop')
        jobs = s.stats()['outcomes']['jobs']
        again = buy_texts(corpus, 'openai:m', purchase, how, classifier='word-ridge', folder=tmp_path / 'loop')
        assert s.stats()['outcomes']['jobs'] == jobs
    assert bought.written.id.tolist() == again.written.id.tolist()
    assert 2 <= jobs <= 2 * len(bought.rounds)


def test_confused_classes_are_those_of_the_classifier_that_directs(train, monkeypatch):
    def never():
        raise AssertionError('another classifier was asked')

    monkeypatch.setenv('OPENAI_API_KEY', 'sk-not-a-key')
    monkeypatch.setattr('autogets.generators.confusions.default_classifier', never)
    monkeypatch.setattr('autogets.generators.background.default_classifier', never)
    with serving() as s:
        how = RequestSettings(base_url=s.url, max_cost=0.02, price=(1.0, 2.0))
        bought = buy_texts(read_corpus(train), 'openai:m', Purchase(('contrastive',), rounds=1), how, 'word-ridge')
    assert set(bought.written.kind) == {'contrastive'}
