"What is read: bodies to their limit, result files where they lie, and answers without a count at their most"

import contextlib
import gzip
import http.server
import json
import threading
from functools import partial
from types import SimpleNamespace

import pytest
from llm.common import ask_all, requests
from servers import serving

from autogets.core import UserError
from autogets.llm import batch, chat
from autogets.llm.batch import BatchedChat, batch_results
from autogets.llm.cache import Meter, Price, Replies
from autogets.llm.chat import Failure, Reply, make_chat
from autogets.llm.pace import Limits

pytest.importorskip('openai')
TEN = Price(10.0, 10.0)


@contextlib.contextmanager
def answering(handle):
    "A server whose every request goes to `handle(handler)`; its address"

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            with contextlib.suppress(ConnectionError):
                handle(self)

        do_POST = do_GET

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f'http://127.0.0.1:{server.server_port}'
    finally:
        server.shutdown()
        server.server_close()


def say(handler, data, status=200, **headers):
    handler.send_response(status)
    for k, v in ({'content-length': str(len(data))} | headers).items():
        handler.send_header(k.replace('_', '-'), v)
    handler.end_headers()
    handler.wfile.write(data)


def test_a_body_without_an_end_is_not_read(monkeypatch, tmp_path):
    sent = []

    def endless(handler):
        handler.rfile.read(int(handler.headers['content-length']))
        handler.send_response(200)
        handler.end_headers()
        for _ in range(400):
            handler.wfile.write(b' ' * 1_000_000)
            sent.append(1)

    monkeypatch.setattr(chat.OpenAIChat.connect, '__defaults__', ('AsyncOpenAI', 3_000_000))
    with answering(endless) as url, Replies(tmp_path / 'r.jsonl') as store:
        meter = Meter(TEN)
        model = make_chat('openai:m', base_url=f'{url}/v1')
        got = ask_all(model, requests(1), store, limits=Limits(tries=1, timeout=20), meter=meter)
    assert got == {0: Failure('endless reply', 'more than 3,000,000 bytes')} and len(sent) < 100
    assert meter.lost.replies == 1  # somebody wrote it, and may want to be paid


@pytest.mark.parametrize('zeros, reason', [(1000, None), (5_000_000, 'endless reply')])
def test_a_body_that_is_compressed_unasked_is_read_to_its_limit_unpacked(zeros, reason, monkeypatch):
    body = json.dumps({'choices': [{'message': {'content': 'a text'}}], 'usage': {}}).encode() + b' ' * zeros
    packed = gzip.compress(body)
    monkeypatch.setattr(chat.OpenAIChat.connect, '__defaults__', ('AsyncOpenAI', 3_000_000))
    with answering(partial(say, data=packed, content_encoding='gzip', content_type='application/json')) as url:
        got = ask_all(make_chat('openai:m', base_url=f'{url}/v1'), requests(1), limits=Limits(tries=1, timeout=20))
    assert len(packed) < 10_000 and (got[0].reason if reason else got[0].text) == (reason or 'a text')


def moved(storage, seen, status=302):
    "A provider with one finished batch, whose file lies at `storage`"

    def handle(handler):
        seen.append((handler.path, handler.headers.get('authorization')))
        say(handler, b'', status, location=f'{storage}/blob?signature=s3cret-signature')

    return handle


@pytest.mark.parametrize('status', [301, 302, 303, 307, 308])
def test_results_on_a_storage_host_are_fetched_without_the_key(status, monkeypatch):
    monkeypatch.setenv('A_KEY', 'a-key-of-some-length')
    provider, storage = [], []

    def blob(handler):
        storage.append((handler.command, handler.path, dict(handler.headers)))
        say(handler, b'{"custom_id": "a"}\n')

    with answering(blob) as there, answering(moved(there, provider, status)) as here:
        model = make_chat('openai:m', base_url=f'{here}/v1', key_env='A_KEY')
        assert batch._file(model.connect('OpenAI', max_retries=0), 'file-1') == '{"custom_id": "a"}\n'
    assert provider == [('/v1/files/file-1/content', 'Bearer a-key-of-some-length')]
    (method, path, headers) = storage[0]
    assert (method, path) == ('GET', '/blob?signature=s3cret-signature')
    assert 'a-key-of-some-length' not in str(headers) and 'authorization' not in map(str.lower, headers)


def test_a_storage_host_may_send_on_a_few_times():
    lines = b'{"custom_id": "a"}\n'
    with answering(partial(say, data=lines)) as last, answering(moved(last, [])) as there:
        with answering(moved(there, [])) as here:
            model = make_chat('openai:m', base_url=f'{here}/v1')
            assert batch._file(model.connect('OpenAI', max_retries=0), 'file-1') == lines.decode()

    def round_and_round(handler):
        say(handler, b'', 302, location='/again')

    with answering(round_and_round) as here:
        model = make_chat('openai:m', base_url=f'{here}/v1')
        with pytest.raises(UserError, match='/again, cannot be fetched .HTTP 302'):
            batch._file(model.connect('OpenAI', max_retries=0), 'file-1')


def test_a_storage_host_that_refuses_is_one_line_without_its_signature():
    with answering(partial(say, data=b'no', status=403)) as there, answering(moved(there, [])) as here:
        model = make_chat('openai:m', base_url=f'{here}/v1')
        with pytest.raises(UserError, match=r'/blob, cannot be fetched .HTTP 403') as e:
            batch._file(model.connect('OpenAI', max_retries=0), 'file-1')
    assert 's3cret' not in str(e.value)


def test_a_file_without_an_end_is_not_read(monkeypatch):
    monkeypatch.setattr(batch, 'FILE_MOST', 1000)
    with answering(partial(say, data=b'x' * 100_000)) as there, answering(moved(there, [])) as here:
        model = make_chat('openai:m', base_url=f'{here}/v1')
        with pytest.raises(UserError, match='EndlessBody'):
            batch._file(model.connect('OpenAI', max_retries=0), 'file-1')


@pytest.mark.parametrize('status', [408, 504, 524])
def test_a_result_that_came_too_late_may_be_on_the_bill(status):
    line = json.dumps({'custom_id': 'a', 'response': {'status_code': status}})
    assert batch_results(line)['a'].usage == (None, None)


def test_batch_replies_without_a_count_count_at_their_most_with_or_without_a_limit(tmp_path):
    body = json.dumps({'choices': [{'message': {'content': 'a text'}, 'finish_reason': 'stop'}]})
    for k, limit in enumerate((None, 5.0)):
        with serving(faults={'odd': 1.0}) as s, Replies(tmp_path / f'{k}.jsonl') as store:
            s.set(bodies=[body])
            meter = Meter(TEN, limit=limit, before=store)
            model = BatchedChat(make_chat('openai:m', base_url=s.url), tmp_path / str(k), poll=0.01)
            got = ask_all(model, requests(8, max_tokens=50), store, meter=meter)
            assert all(isinstance(r, Reply) for r in got.values())
            assert meter.lost.replies == 8 and meter.most_spent > 8 * 50 * 10 / 1e6
        with Replies(tmp_path / f'{k}.jsonl') as store:
            assert vars(store.lost) == vars(meter.lost)


def test_a_failure_without_a_count_is_counted_once_when_a_batch_is_read_again(tmp_path):
    class Late:
        kind, model, endpoint, batch = 'late', 'm', 'here', 8

        def key(self, request):
            return 'ab' * 32

        def complete_many(self, asked):
            return [Failure('server error 504', usage=(None, None), batch='b') for _ in asked]

    for _ in range(2):
        with Replies(tmp_path / 'r.jsonl') as store:
            meter = Meter(TEN, before=store)
            ask_all(Late(), requests(1), store, meter=meter)
            assert meter.lost.replies == store.lost.replies == 1


FINISHED = {'completed': 2, 'expired': 0, 'failed': 0, 'cancelled': 0}


@pytest.mark.parametrize('status', FINISHED)
def test_what_a_batch_says_nothing_about_is_on_the_bill_only_if_it_was_done(status, tmp_path, monkeypatch):
    "One line cannot be read and one is missing; the third request has its reply, with a count"
    asked = requests(3, max_tokens=60)
    chat_ = make_chat('openai:m', base_url='http://127.0.0.1:9/v1')
    body = {'choices': [{'message': {'content': 'a text'}}], 'usage': {'prompt_tokens': 5, 'completion_tokens': 2}}
    line = json.dumps({'custom_id': chat_.key(asked[0]), 'response': {'status_code': 200, 'body': body}})
    job = SimpleNamespace(id='b', status=status, output_file_id='f', error_file_id=None)
    monkeypatch.setattr(batch, '_file', lambda client, id: line + '\n{"custom_id": "' + chat_.key(asked[1])[:9])
    monkeypatch.setattr(BatchedChat, 'started', lambda *_: 'b')
    monkeypatch.setattr(BatchedChat, 'waited', lambda *_: job)
    for _ in range(2):  # read again after a kill: counted once
        with Replies(tmp_path / 'r.jsonl') as store:
            meter = Meter(TEN, before=store)
            got = ask_all(BatchedChat(chat_, tmp_path), asked, store, meter=meter)
            assert [type(got[i]) for i in range(3)] == [Reply, Failure, Failure]
            assert meter.lost.replies == store.lost.replies == FINISHED[status]
