"""Ctrl-C, SIGTERM and errors: nothing more is sent, and what is under way is waited for and written down"""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
from llm.common import ask_all, requests
from servers import serving

from autogets.core import UserError, read_json
from autogets.llm import client
from autogets.llm.cache import Meter, Price, Replies
from autogets.llm.chat import Chat, Reply, Trouble
from autogets.llm.client import ask, converse
from autogets.llm.pace import Limits

COMMAND = [
    sys.executable,
    '-c',  # a background job starts with Ctrl-C ignored
    'import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from autogets.cli import main; main()',
]


def started(folder, server):
    "`autogets generate` once the first of its requests are answered and many are under way"
    rows = [(f'case {i} of the {c}', c) for i in range(150) for c in ('mail', 'net')]
    pd.DataFrame(rows, columns=['text', 'label']).to_csv(folder / 'own.csv', index=False)
    words = ['generate', folder / 'own.csv', '--model', 'openai:m', '--base-url', server.url, '--price', '1,1']
    words += ['--n', '1', '--in-flight', '64', '--unfiltered', '--out', folder / 'p']
    process = subprocess.Popen([*COMMAND, *map(str, words)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while server.stats()['requests'] < 65 and process.poll() is None:
        time.sleep(0.01)
    return process


@pytest.mark.parametrize('how', [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_loses_no_answer(tmp_path, how):
    with serving(delay=0.5) as s:
        process = started(tmp_path, s)
        process.send_signal(how)
        out, err = process.communicate(timeout=30)
        told = s.stats()
    assert process.returncode == 130 and 'Traceback' not in err, err
    assert 'under way' in err and 'the same command goes on from there' in err
    with Replies(tmp_path / 'p/replies.jsonl') as store:
        assert told['requests'] < 200  # nothing more was sent
        assert len(store) == told['served'] == told['requests'] and store.lost.replies == 0
        assert store.usage.prompt == told['prompt_tokens']


def test_a_second_interrupt_ends_at_once_and_says_what_is_unaccounted(tmp_path):
    with serving(delay=0.5) as s:
        process = started(tmp_path, s)
        s.set(delay=25.0)
        time.sleep(0.7)
        process.send_signal(signal.SIGINT)
        assert any('under way' in line for line in process.stderr) and process.poll() is None
        begun = time.perf_counter()
        process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=20)[1]
        assert time.perf_counter() - begun < 20  # the answers take 25 s
        assert process.returncode == 130 and 'Traceback' not in err, err
        sent = s.stats()['requests']
        with Replies(tmp_path / 'p/replies.jsonl') as store:
            lost = store.lost.replies
            assert 0 < lost == sent - len(store)
        line = rf'unaccounted: {lost} requests that did not come back, at most \$0\.\d+'
        assert re.search(f'note: {line}', err), err
        assert read_json(tmp_path / 'p/run.json')['unaccounted']['requests'] == lost
        s.set(delay=0.0)  # every later run says it again, at its start and at its end
        process = started(tmp_path, s)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and re.search(f'note: earlier runs left {line}', err), err
    assert re.search(f'^{line}$', out, re.M), out


class Failing(Chat):
    "Answers after a while; the 40th request brings an error that ends the run"

    kind, model, endpoint = 'failing', 'm', 'here'

    def __init__(self, error):
        self.error, self.calls, self.answered = error, 0, 0

    async def complete(self, request):
        self.calls += 1
        if self.calls == 40:
            raise self.error
        await asyncio.sleep(0.1 + 0.01 * (self.calls % 7))
        self.answered += 1
        return Reply('{}', 'stop', 3, completion_tokens=2)


@pytest.mark.parametrize(
    'error',
    [UserError('refuses m (401)'), Trouble('rate limit', busy=True, wait=3600.0), ValueError('a bug')],
    ids=['wrong key', 'come back in an hour', 'bug'],
)
def test_an_error_loses_no_answer(tmp_path, error):
    chat = Failing(error)
    with Replies(tmp_path / 'r.jsonl') as store:
        with pytest.raises((UserError, ValueError), match='401|3600|a bug'):
            ask_all(chat, requests(500), store, limits=Limits(in_flight=16))
        assert len(store) == chat.answered > 30 and chat.calls < 70
        assert (store.usage.prompt, store.lost.replies) == (3 * chat.answered, isinstance(error, ValueError))


def test_who_stops_reading_loses_no_answer(tmp_path):
    "An interrupt may come anywhere: also between two replies, in the code of whoever reads them"

    def read(text, i):
        raise KeyboardInterrupt

    chat = Failing(None)
    chat.calls = 100
    with Replies(tmp_path / 'r.jsonl') as store, pytest.raises(KeyboardInterrupt):
        for _ in converse(chat, requests(500), read, None, store, limits=Limits(in_flight=16)):
            pass
    assert len(store) == chat.answered == chat.calls - 100
    other, kept = Failing(None), []
    other.calls = 100
    with Replies(tmp_path / 's.jsonl') as store:
        kept.append(ask(other, requests(500), store, Limits(in_flight=16)))
        next(kept[0])  # left open: the file waits for it when it is closed
    assert len(store) == other.answered == other.calls - 100


def test_the_wait_has_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr(client, 'DRAIN', 0.3)

    class Hanging(Failing):
        async def complete(self, request):
            if request.messages[0]['content'].endswith('about 5'):
                await asyncio.sleep(60)
            return await super().complete(request)

    chat, meter, start = Hanging(UserError('the end')), Meter(Price(1.0, 1.0)), time.perf_counter()
    with Replies(tmp_path / 'r.jsonl') as store:
        with pytest.raises(UserError, match='the end'):
            ask_all(chat, requests(500), store, limits=Limits(in_flight=16), meter=meter)
        assert time.perf_counter() - start < 50 and store.lost.replies == meter.lost.replies == 1
    assert sorted(os.listdir(tmp_path)) == ['r.jsonl', 'r.sent.jsonl']
