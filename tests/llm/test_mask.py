"A key that a server sends back is on no disk and in no message, wherever it stands and however it is escaped"

import contextlib
import html
import http.server
import json
import logging
import threading
import urllib.parse

import pytest
import worlds

from autogets.core import UserError
from autogets.data import datasets
from autogets.generators import run
from autogets.llm import batch, chat
from autogets.llm.chat import make_chat
from autogets.llm.pace import Limits

pytest.importorskip('openai')
KEY = 'Zq9/w+8"AbcdEfgh12'
SPELLED = {
    'as it is': KEY,
    'in a URL': urllib.parse.quote(KEY, safe=''),
    'in JSON': json.dumps(KEY)[1:-1].replace('/', '\\/'),
    'in numbers': ''.join(f'\\u{ord(c):04x}' for c in KEY),
    'in HTML': html.escape(KEY),
    'in small letters': KEY.lower(),
}


def completion(content='', finish='stop', **message):
    message = {'role': 'assistant', 'content': content} | message
    return 200, {'choices': [{'index': 0, 'finish_reason': finish, 'message': message}], 'usage': {'prompt_tokens': 5}}


KINDS = {
    'the reply': lambda k: completion(json.dumps({'texts': [f'paint with {k} in it {i}' for i in range(2)]})),
    'an unreadable reply': lambda k: completion(f'I cannot do that, {k}'),
    'a refusal': lambda k: completion(None, refusal=f'not with {k}'),
    'why it ended': lambda k: completion('', finish=f'{k}'),
    'a page': lambda k: (200, f'<html><body>{k}</body></html>'),
    'a page, cut': lambda k: (200, f'<html>{"x" * 66}{k}</html>'),
    'an error': lambda k: (400, {'error': {'message': f'bad {k}'}}),
    'an error, cut': lambda k: (422, {'error': {'message': 'x' * 290 + k}}),
    'an end': lambda k: (403, {'error': {'message': f'no {k}'}}),
    'no form at all': lambda k: (500, f'trouble with {k}'),
}


@contextlib.contextmanager
def saying(status, body, seen=None):
    "A server that answers everything so"
    data = (body if isinstance(body, str) else json.dumps(body)).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'

        def do_POST(self):
            self.rfile.read(int(self.headers['content-length']))
            if seen is None:
                assert self.headers['authorization'] == f'Bearer {KEY}'
            else:
                seen.append((self.path, self.headers['authorization']))
            self.send_response(status)
            self.send_header('content-type', 'text/html' if isinstance(body, str) else 'application/json')
            self.send_header('content-length', str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f'http://127.0.0.1:{server.server_port}/v1'
    finally:
        server.shutdown()
        server.server_close()


def parts(spelled):
    "What no file may hold: any eight characters of the key as it was sent"
    return [spelled[i : i + 8].lower() for i in range(len(spelled) - 7)]


NEVER_SHOWN = {'no form at all', 'why it ended', 'an error, cut', 'a page, cut'}  # what is shown is cut before the key

CASES = [
    *((kind, 'as it is') for kind in KINDS),
    *(('the reply', s) for s in SPELLED if s != 'as it is'),
    ('an end', 'in JSON'),
]


@pytest.mark.parametrize('kind, spelling', CASES)
def test_a_key_that_comes_back(kind, spelling, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv('A_KEY', KEY)
    corpus, said = worlds.corpus(), []
    settings = run.GenerationSettings('openai:m', n=2, target=corpus.classes[0], filtered=False)
    with saying(*KINDS[kind](SPELLED[spelling])) as url:
        asked = run.RequestSettings(base_url=url, key_env='A_KEY', limits=Limits(tries=1, in_flight=4, backoff=0.001))
        try:
            said.append(run.say_run(run.run_generation(corpus, settings, tmp_path, requests=asked, progress=False)))
        except UserError as e:
            said.append(str(e))
    said += [*capfd.readouterr(), *(p.read_text() for p in tmp_path.rglob('*') if p.is_file())]
    everything = '\n'.join(said).lower()
    assert '[key]' in everything or kind in NEVER_SHOWN, everything
    assert [p for p in parts(SPELLED[spelling]) if p in everything] == []


@pytest.mark.parametrize('spelling', SPELLED)
def test_spellings(spelling):
    said = f'x{SPELLED[spelling]}y'
    assert chat.mask({said: [said, None, 5, {'a': said}]}, [KEY]) == {'x[key]y': ['x[key]y', None, 5, {'a': 'x[key]y'}]}


def test_results_of_a_batch(monkeypatch):
    monkeypatch.setenv('A_KEY', KEY)
    model = make_chat('openai:m', base_url='http://127.0.0.1:9/v1', key_env='A_KEY')
    model.connect()
    lines = [
        {'custom_id': 'a', 'response': {'status_code': 200, 'body': completion(f'texts {KEY}')[1]}},
        {'custom_id': 'b', 'response': {'status_code': 500}, 'error': {'message': 'x' * 190 + KEY}},
    ]
    found = batch.batch_results(model.masked('\n'.join(map(json.dumps, lines))))
    assert set(found) == {'a', 'b'} and found['a'].text == 'texts [key]'
    assert not any(p in str(found).lower() for p in parts(KEY))


ADDRESS = 'http://me:a%20long%2Fpassword@127.0.0.1:9/v1?version=1&token=abcdefgh12'
HELD = ['a%20long%2Fpassword', 'a long/password', 'bWU6YSBsb25nL3Bhc3N3b3Jk', 'abcdefgh12', 'me:a long/password']


@pytest.mark.parametrize('held', HELD)
def test_a_password_or_a_token_in_the_address(held):
    model = make_chat('openai:m', base_url=ADDRESS)
    model.connect()
    assert model.masked({'error': [f'x {held} y']}) == {'error': ['x [key] y']}


@pytest.mark.parametrize(
    'address', ['me:a-password@host/v1', 'ftp://me:a-password@host', 'http://me:a-password@host:x/']
)
def test_an_address_of_another_form_is_not_repeated(address):
    with pytest.raises(UserError, match='is no http address') as e:
        make_chat('openai:m', base_url=address)
    assert 'a-password' not in str(e.value)


def test_what_an_address_holds_is_sent_and_shown_nowhere(tmp_path, capfd, caplog):
    "Neither in a message, nor in a file, nor in the log of the client: from the command line's own function"
    corpus, said = worlds.corpus(), []
    settings = run.GenerationSettings('openai:m', n=2, target=corpus.classes[0], filtered=False)
    caplog.set_level(logging.DEBUG, 'root')
    seen = []
    with saying(*completion(json.dumps({'texts': ['a paint', 'b paint']})), seen=seen) as url:
        address = url.replace('//', '//me:a%20long%2Fpassword@') + '?version=1&token=abcdefgh12'
        asked = run.RequestSettings(base_url=address, limits=Limits(tries=1, in_flight=4))
        said.append(run.say_run(run.run_generation(corpus, settings, tmp_path, requests=asked, progress=False)))
    assert {path for path, _ in seen} == {'/v1/chat/completions?version=1&token=abcdefgh12'}
    assert {key for _, key in seen} == {'Basic bWU6YSBsb25nL3Bhc3N3b3Jk'}
    said += [*capfd.readouterr(), *(p.read_text() for p in tmp_path.rglob('*') if p.is_file()), caplog.text]
    assert [h for h in HELD if h in '\n'.join(said)] == []


def test_the_password_of_a_mirror_is_not_repeated(tmp_path, monkeypatch):
    pytest.importorskip('pooch')
    monkeypatch.setenv('AUTOGETS_MIRROR', 'http://me:a-password@127.0.0.1:9/sets')
    monkeypatch.setenv('AUTOGETS_CACHE', str(tmp_path))
    monkeypatch.delenv('AUTOGETS_DATA', raising=False)
    with pytest.raises(UserError, match='http://127.0.0.1:9/sets') as e:
        datasets.load_corpus('trec6')
    assert 'a-password' not in str(e.value)


def test_short_keys_are_words(monkeypatch):
    "Servers of one's own take any key, such as EMPTY"
    monkeypatch.setenv('A_KEY', 'EMPTY')
    model = make_chat('openai:m', base_url='http://127.0.0.1:9/v1', key_env='A_KEY')
    model.connect()
    assert model.masked('an empty room') == 'an empty room'
