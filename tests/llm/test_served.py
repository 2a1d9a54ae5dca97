"""Chat completions over HTTP from a server that others wrote: `transformers serve`, with a tiny model made here"""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

for name in ('torch', 'transformers', 'fastapi', 'uvicorn', 'openai'):
    pytest.importorskip(name)

import torch

torch.set_num_threads(1)

from llm.test_local import WORDS, asked, tiny_chat

from autogets.llm.client import ask
from autogets.llm.pace import Limits
from autogets.core import UserError
from autogets.llm.chat import Reply, Request, make_chat
from autogets.llm.local import TransformersChat
from autogets.llm.cache import RecordedChat, Replies

LIMITS = Limits(in_flight=4, timeout=60.0, tries=2)


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as r:
            return r.status == 200
    except OSError:
        return False


def wait_for(url, process, log, seconds=90):
    "Return once `url` answers; fail with the log when `process` ends before or takes too long"
    end = time.monotonic() + seconds
    while not answers(url):
        assert process.poll() is None and time.monotonic() < end, f'no server: {Path(log).read_text()[-2000:]}'
        time.sleep(0.2)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tiny_chat(tmp_path_factory.mktemp('served') / 'tiny')


@pytest.fixture(scope='module')
def base(folder, tmp_path_factory):
    "The address of a running server"
    port, log = free_port(), tmp_path_factory.mktemp('log') / 'server.txt'
    command = [
        str(Path(sys.executable).parent / 'transformers'),
        'serve',
        '--host',
        '127.0.0.1',
        '--port',
        str(port),
        '--device',
        'cpu',
        '--dtype',
        'float32',
    ]
    quiet = {'HF_HUB_OFFLINE': '1', 'OMP_NUM_THREADS': '1', 'TOKENIZERS_PARALLELISM': 'false'}
    with open(log, 'w') as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=os.environ | quiet)
    try:
        wait_for(f'http://127.0.0.1:{port}/health', process, log)
        yield f'http://127.0.0.1:{port}/v1'
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


@pytest.fixture(scope='module')
def here(folder):
    return TransformersChat(folder)


def everything(chat, requests, replies=None):
    return [got for _, _, got in sorted(ask(chat, requests, replies, LIMITS), key=lambda x: x[0])]


def test_the_official_client_is_answered(base, folder):
    import openai

    client = openai.OpenAI(base_url=base, api_key='none', timeout=60, max_retries=0)
    said = client.chat.completions.create(
        model=str(folder), messages=[{'role': 'user', 'content': WORDS[0]}], max_tokens=8, temperature=0
    )
    assert said.choices[0].message.role == 'assistant' and said.choices[0].message.content.strip()
    assert 0 < said.usage.completion_tokens <= 8


def test_the_same_model_says_the_same_here_and_over_http(base, folder, here):
    "Likeliest tokens: the same weights, template and prompt must give the same text and counts by both ways"
    chat, requests = (
        make_chat(f'openai:{folder}', base_url=base),
        [asked(w, temperature=0.0, max_tokens=8) for w in WORDS],
    )
    there, local = everything(chat, requests), here.complete_many(requests)
    assert all(isinstance(r, Reply) for r in there), there
    assert [r.text for r in there] == [r.text for r in local]
    assert [r.prompt_tokens for r in there] == [r.prompt_tokens for r in local]
    assert [r.finish for r in there] == [r.finish for r in local]
    assert len({r.text for r in there}) > 1
    assert chat.key(requests[0]) != here.key(requests[0])


def test_replies_are_cached_and_can_be_replayed_without_the_server(base, folder, tmp_path):
    requests = [asked(w, temperature=0.0, max_tokens=6) for w in WORDS]
    with Replies(tmp_path / 'r.jsonl') as store:
        first = everything(make_chat(f'openai:{folder}', base_url=base), requests[:3], store)
    with Replies(tmp_path / 'r.jsonl') as store:
        again = everything(make_chat(f'openai:{folder}', base_url=base), requests, store)
    assert [r.cached for r in again] == [True] * 3 + [False] and [r.text for r in again[:3]] == [r.text for r in first]
    assert [r.text for r in everything(RecordedChat(tmp_path / 'r.jsonl'), requests)] == [r.text for r in again]


def test_a_schema_that_the_server_does_not_enforce_is_no_obstacle(base, folder):
    "transformers serve takes a response_format without heeding it, or refuses it; either way there is a reply"
    got = everything(
        make_chat(f'openai:{folder}', base_url=base),
        [asked(WORDS[0], temperature=0.0, max_tokens=5, schema={'type': 'object'})],
    )
    assert isinstance(got[0], Reply)
    assert (
        got[0].text
        == everything(make_chat(f'openai:{folder}', base_url=base), [asked(WORDS[0], temperature=0.0, max_tokens=5)])[
            0
        ].text
    )


def test_a_model_that_the_server_does_not_have(base):
    chat = make_chat('openai:no-such-folder/no-such-model', base_url=base)
    try:
        got = everything(chat, [Request(({'role': 'user', 'content': 'x'},), {'max_tokens': 2})])
    except UserError as e:
        assert 'no-such-model' in str(e)
    else:
        assert not isinstance(got[0], Reply) and got[0].reason
