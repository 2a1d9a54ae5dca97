"""OpenAI-compatible endpoints over real sockets: what is sent, which key, and which errors end a run"""

import json
import sys

import pytest
from llm.common import ask_all, requests
from servers import serving

from autogets.core import UserError
from autogets.llm.cache import Replies
from autogets.llm.chat import OpenAIChat, Reply, Request, Trouble, make_chat, read_reply, secret


@pytest.fixture(scope='module')
def server():
    with serving() as s:
        yield s


def test_a_reply_over_http(server):
    chat = make_chat('openai:m', base_url=server.url)
    got = ask_all(chat, requests(3))
    assert all(isinstance(r, Reply) and json.loads(r.text)['texts'] for r in got.values())
    assert all(r.prompt_tokens and r.completion_tokens and r.finish == 'stop' for r in got.values())
    assert chat.endpoint == server.url


def test_what_is_sent_is_what_the_protocol_wants():
    chat = OpenAIChat('m', base_url='http://localhost:1/v1')
    request = Request(
        ({'role': 'user', 'content': 'x'},),
        {'temperature': 0.0, 'top_p': 0.9, 'max_tokens': 7, 'stop': ['\n'], 'seed': None, 'schema': {'type': 'object'}},
    )
    sent = chat.body(request)
    assert sent['temperature'] == 0.0
    assert sent['top_p'] == 0.9
    assert sent['max_tokens'] == 7
    assert sent['stop'] == ['\n']
    assert 'seed' not in sent
    assert sent['response_format']['json_schema']['schema'] == {'type': 'object'}


def test_an_endpoint_without_structured_output_is_asked_in_words():
    with serving(structured=False) as s:
        chat = make_chat('openai:m', base_url=s.url)
        got = ask_all(chat, requests(40, schema={'type': 'object', 'properties': {'texts': {'minItems': 2}}}))
        assert all(isinstance(r, Reply) for r in got.values()) and chat.form == 'text'
        assert ask_all(chat, requests(2, 'later', schema={'type': 'object'})) and chat.form == 'text'


def test_a_wrong_key_ends_the_run_and_is_not_shown(server, monkeypatch):
    monkeypatch.setenv('MY_KEY', 'wrong')
    with pytest.raises(UserError, match='refuses m .401.*check MY_KEY') as e:
        ask_all(make_chat('openai:m', base_url=server.url, key_env='MY_KEY'), requests(50))
    assert 'provided: wrong' not in str(e.value)


def test_a_missing_key_is_named_before_anything_is_sent(server, monkeypatch):
    before = server.stats()['requests']
    monkeypatch.delenv('NO_SUCH_KEY', raising=False)
    with pytest.raises(UserError, match='set the environment variable NO_SUCH_KEY'):
        ask_all(make_chat('openai:m', base_url=server.url, key_env='NO_SUCH_KEY'), requests(2))
    assert server.stats()['requests'] == before


def test_nobody_gets_the_key_of_another(monkeypatch):
    monkeypatch.setenv('OPENAI_API_KEY', 'sk-mine')
    monkeypatch.delenv('OPENAI_BASE_URL', raising=False)
    with pytest.raises(UserError, match='--key-env'):
        make_chat('openai:m', base_url='https://llm.example.org/v1')
    assert make_chat('openai:m', base_url='http://127.0.0.1:9/v1').key_name == ''
    monkeypatch.setenv('OPENAI_BASE_URL', 'https://llm.example.org/v1')
    assert make_chat('openai:m').key_name == 'OPENAI_API_KEY'


def test_the_keyring_is_asked_where_there_is_one(monkeypatch):
    import types

    ring = types.ModuleType('keyring')
    ring.get_password, ring.errors = (
        (lambda service, name: f'{service}/{name}'),
        types.SimpleNamespace(KeyringError=RuntimeError),
    )
    monkeypatch.setitem(sys.modules, 'keyring', ring)
    monkeypatch.delenv('SOME_KEY', raising=False)
    assert secret('SOME_KEY') == 'autogets/SOME_KEY'
    monkeypatch.setenv('SOME_KEY', ' from the environment ')
    assert secret('SOME_KEY') == 'from the environment'


@pytest.mark.parametrize('url', ['localhost:8000', 'ftp://x/v1', 'http://', 'http://[1', 'nowhere'])
def test_addresses_that_are_none(url):
    with pytest.raises(UserError, match='no http address'):
        make_chat('openai:m', base_url=url)


def test_a_password_in_the_address_stays_there(server, tmp_path):
    url = server.url.replace('http://', 'http://me:hush@')
    chat = make_chat('openai:m', base_url=url)
    with Replies(tmp_path / 'r.jsonl') as store:
        assert isinstance(ask_all(chat, requests(1, 'pw'), store)[0], Reply)
    assert 'hush' not in repr(chat) + chat.endpoint + (tmp_path / 'r.jsonl').read_text()


def test_a_model_that_thinks_its_tokens_away_is_asked_once():
    body = {
        'choices': [{'message': {'content': ''}, 'finish_reason': 'length'}],
        'usage': {'prompt_tokens': 9, 'completion_tokens': 50},
    }
    with pytest.raises(Trouble) as e:
        read_reply(body, 0)
    assert not e.value.again and e.value.usage == (9, 50) and '--max-tokens' in e.value.reason
