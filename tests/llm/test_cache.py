"""Replies on disk: kills, full disks, odd texts, recordings, prices, and the files of version 0.4.0"""

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from llm.common import ask_all, one

from autogets.core import UserError
from autogets.llm import client
from autogets.llm.cache import Meter, Price, RecordedChat, Replies, dollars, find_price
from autogets.llm.chat import OpenAIChat, Reply, Request, make_chat

OLD = Path(__file__).resolve().parents[1] / 'fixtures/v0.4.0/replies.jsonl'


def test_cached_replies_survive_a_cut_at_any_byte(tmp_path):
    path = tmp_path / 'r.jsonl'
    with Replies(path) as store:
        for k in range(12):
            store.add(*one(f'tag {k}', f'reply "ü" \u2028 {k}'))
    whole = path.read_bytes()
    ends = [0] + [i + 1 for i, c in enumerate(whole) if c == 10]
    for cut in random.Random(0).sample(range(len(whole) + 1), 60):
        path.write_bytes(whole[:cut])
        with Replies(path) as store:
            assert len(store) == sum(e <= cut for e in ends) - 1
        assert path.read_bytes() == whole[: max(e for e in ends if e <= cut)]


@pytest.mark.parametrize('where', ['a closer', 'the journal', 'the disk'])
def test_the_lock_is_given_back_whatever_goes_wrong_at_the_end(tmp_path, monkeypatch, where):
    path, stopped = tmp_path / 'r.jsonl', []

    def fail(*_):
        raise UserError('no')

    with pytest.raises(UserError, match='^no$'), Replies(path) as store:
        store.add(*one('a', 'b'))
        store.closers |= {lambda: stopped.append(1), lambda: stopped.append(2)}
        if where == 'a closer':
            store.closers.add(fail)
        monkeypatch.setattr(store.sent, 'close', fail if where == 'the journal' else store.sent.close)
        monkeypatch.setattr(os, 'fsync', fail if where == 'the disk' else os.fsync)
    monkeypatch.undo()
    assert sorted(stopped) == [1, 2]
    with Replies(path) as again:
        assert len(again) == 1


def test_odd_texts_come_back_as_they_were(tmp_path):
    odd = ['line\u2028sep\r\n', '"}{', '\x00', '', 'ünïcødé 漢字 🙂']
    with Replies(tmp_path / 'r.jsonl') as store:
        for t in odd:
            store.add(*one(t, t or 'x'))
        for t in odd:
            assert store.get(*one(t)[:2]).text == (t or 'x')
    assert Reply('\ud800 alone').text == '? alone'


@pytest.mark.parametrize('line', ['{"key": 1}', 'nonsense', '[]', '{"key": "00", "reply": "x"}'])
def test_a_broken_line_in_the_middle_is_named(tmp_path, line):
    path = tmp_path / 'r.jsonl'
    with Replies(path) as store:
        store.add(*one())
    path.write_text(line + '\n' + path.read_text())
    with pytest.raises(UserError, match='line 1'):
        Replies(path).start()


def test_nothing_in_a_cache_can_run_code(tmp_path):
    import pickle

    path = tmp_path / 'r.jsonl'
    path.write_bytes(pickle.dumps(os.system) + b'\n')
    with pytest.raises(UserError):
        Replies(path).start()
    source = ''.join(p.read_text() for p in Path(client.__file__).parents[1].rglob('*.py'))
    assert not re.search(
        r'^\s*(?:import|from) '
        r'(?:pickle\b|dill|marshal|shelve|joblib\.)|yaml\.load\(|(?<![\w.])(?:eval|exec)\(',
        source,
        re.M,
    )


def test_a_recording_of_two_models_must_be_told_which(tmp_path):
    with Replies(tmp_path / 'r.jsonl') as store:
        store.add(*one())
        store.add(OpenAIChat('n', base_url='http://localhost:1/v1'), one()[1], Reply('other'))
    with pytest.raises(UserError, match='m, n'):
        RecordedChat(tmp_path / 'r.jsonl')
    assert RecordedChat(f'{tmp_path}/r.jsonl#n').complete_many([one()[1]])[0].text == 'other'


def test_a_full_disk_loses_nothing(tmp_path):
    code = f'''
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from autogets.llm.client import ask
from autogets.llm.pace import Limits
from autogets.core import UserError
from autogets.llm.chat import Chat, Reply, Request
from autogets.llm.cache import Replies
class Echo(Chat):
    kind, model, endpoint = 'echo', 'm', 'here'
    async def complete(self, request): return Reply('x'*500, 'stop', 1, 1)
try:
    with Replies({str(tmp_path / 'r.jsonl')!r}) as store:
        asked = (Request(({{'role': 'user', 'content': str(i)}},)) for i in range(200))
        list(ask(Echo(), asked, store, Limits(in_flight=4)))
except UserError as e: print(e)
'''
    said = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert 'free some space' in said.stdout and not said.stderr, said
    with Replies(tmp_path / 'r.jsonl') as store:
        assert 10 < len(store) < 60


def test_prices(tmp_path, monkeypatch):
    mine = tmp_path / 'prices.yml'
    mine.write_text(
        yaml.safe_dump(
            [
                {'model': 'gpt-4o-mini', 'input': 1, 'output': 2},
                {'model': 'own', 'host': 'localhost', 'input': 0, 'output': 0},
            ]
        )
    )
    mini = make_chat('openai:gpt-4o-mini', base_url='openai')
    assert find_price(mini) == Price(0.15, 0.6, 0.5) and find_price(mini, mine) == Price(1, 2)
    monkeypatch.setenv('AUTOGETS_PRICES', str(mine))
    assert find_price(make_chat('openai:own', base_url='vllm')) == Price(0, 0)
    assert find_price(make_chat('openai:own', base_url='openai')) is None
    for bad in (
        '- {model: x}',
        'model: x',
        '- {model: x, input: -1, output: 1}',
        '- {model: x, input: one, output: 1}',
        '{',
    ):
        mine.write_text(bad)
        with pytest.raises(UserError, match='prices.yml'):
            find_price(mini)
    assert dollars(None) == 'unknown cost'


def test_an_unknown_price_is_no_price():
    assert Meter().spent is None
    with pytest.raises(UserError, match='not known'):
        Meter(None, limit=1.0)
    with pytest.raises(UserError, match='allows nothing'):
        Meter(Price(1, 1), limit=0)


# --- the cache of version 0.4.0


def old_requests():
    "What version 0.4.0 asked, and what it was told"
    lines = [json.loads(line) for line in OLD.read_text().splitlines()]
    return [(Request(tuple(d['messages']), d['parameters'], d['sample']), d) for d in lines]


def test_a_cache_of_0_4_0_answers_the_same_requests_without_a_server(tmp_path):
    (tmp_path / 'r.jsonl').write_bytes(OLD.read_bytes())
    asked = [r for r, _ in old_requests()]
    chat = OpenAIChat('gpt-4o-mini', base_url=json.loads(OLD.read_text().splitlines()[0])['endpoint'])
    with Replies(tmp_path / 'r.jsonl') as store:
        got = ask_all(chat, asked, store)
    assert len(asked) >= 5
    assert all(got[i].cached and got[i].text == d['reply'] for i, (_, d) in enumerate(old_requests()))
    assert (tmp_path / 'r.jsonl').read_bytes() == OLD.read_bytes(), 'nothing is added'


def test_a_recording_of_0_4_0_can_be_replayed():
    replay = make_chat(f'recorded:{OLD}')
    assert [r.text for r in replay.complete_many([r for r, _ in old_requests()])] == [
        d['reply'] for _, d in old_requests()
    ]
    assert replay.replies.usage.prompt == sum(d['prompt_tokens'] for _, d in old_requests()) > 0
