"One model at several addresses: shared out by load, one cache and one bill, and an address that dies is left out"

import json
import socket
import time
from contextlib import ExitStack

import pytest
from llm.common import ask_all, requests
from servers import serving

from autogets.core import UserError
from autogets.llm import pace
from autogets.llm.batch import BatchedChat
from autogets.llm.cache import Meter, Price, RecordedChat, Replies, find_price
from autogets.llm.chat import Failure, Reply, SeveralChats, make_chat
from autogets.llm.pace import Limits


@pytest.fixture
def several():
    "Starts endpoints, each with settings of its own"
    with ExitStack() as opened:
        yield lambda *settings: [opened.enter_context(serving(**s)) for s in settings]


@pytest.fixture
def hasty(monkeypatch):
    "No long waits for an endpoint that is down"
    monkeypatch.setattr(pace, 'WAITS', (0.05, 0.05, 0.1))
    monkeypatch.setattr(pace, 'REST', 0.2)


def chat_at(servers, model='openai:m'):
    return make_chat(model, base_url=tuple(s.url for s in servers))


def nowhere():
    "An address where nobody listens"
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return f'http://127.0.0.1:{s.getsockname()[1]}/v1'


def test_two_addresses_share_the_requests_in_turn(several, tmp_path):
    a, b = servers = several({'delay': 0.02}, {'delay': 0.02})
    with Replies(tmp_path / 'r.jsonl') as store:
        got = ask_all(chat_at(servers), requests(40), store, limits=Limits(in_flight=4))
        assert store.owners == {(a.url, 'm')} and store.lost.replies == 0
    assert all(isinstance(r, Reply) for r in got.values()) and len(got) == 40
    served = [s.stats()['served'] for s in servers]
    assert sum(served) == 40 and min(served) >= 15, served
    assert max(s.stats()['peak'] for s in servers) <= 4
    few = ask_all(chat_at(servers), requests(10, 'few '), limits=Limits(in_flight=64))
    assert len(few) == 10 and [s.stats()['served'] - n for s, n in zip(servers, served)] == [5, 5]


def test_who_is_slow_gets_less(several):
    slow, quick = servers = several({'delay': 0.5}, {'delay': 0.005})
    got = ask_all(chat_at(servers), requests(60), limits=Limits(in_flight=4))
    assert len(got) == 60 and slow.stats()['served'] < 0.4 * quick.stats()['served']


def test_the_key_is_that_of_the_first_address_whoever_answers(several, tmp_path):
    "A run goes on with more addresses, and with fewer, and nothing is sent twice"
    a, b = servers = several({}, {})
    one = make_chat('openai:m', base_url=a.url)
    asked = requests(30)
    with Replies(tmp_path / 'r.jsonl') as store:
        ask_all(one, asked[:10], store)
        ask_all(chat_at(servers), asked[:20], store)
        ask_all(chat_at([a, b, b]), asked, store)
        assert len(store) == 30 and b.stats()['served'] > 0
        sent = [s.stats()['requests'] for s in servers]
        assert sum(sent) == 30
        assert all(r.cached for r in ask_all(one, asked, store).values())
    assert [s.stats()['requests'] for s in servers] == sent
    lines = [json.loads(l) for l in (tmp_path / 'r.jsonl').read_text().splitlines()]
    assert {l['endpoint'] for l in lines} == {a.url} and {l['key'] for l in lines} == {one.key(r) for r in asked}
    replay = RecordedChat(tmp_path / 'r.jsonl')
    assert all(isinstance(r, Reply) for r in replay.complete_many(asked))


def test_one_that_dies_is_left_out_and_comes_back(several, hasty):
    "Requests go on until it has answered again for a while"
    a, b = servers = several({'delay': 0.02}, {'delay': 0.02})
    told = lambda words: sum(words in str(w.message) and b.url in str(w.message) for w in said)

    def asked():
        yield from requests(60)
        b.set(dead=True)
        for k in range(20_000):
            if told('left out for now, the run goes on at 1 other address:'):
                break
            yield requests(1, f'dead {k} ')[0]
        b.set(dead=False)
        for k in range(20_000):
            if told('answers again'):
                break
            yield requests(1, f'again {k} ')[0]
        served.append(b.stats()['served'])
        yield from requests(60, 'end ')

    served = []
    with pytest.warns(UserWarning) as said:
        got = ask_all(chat_at(servers), asked(), limits=Limits(in_flight=4, tries=30, backoff=0.02))
    assert len(got) > 120 and all(isinstance(r, Reply) for r in got.values())
    assert told('left out for now') == told('answers again') == 1
    assert b.stats()['served'] > served[0] + 10


def test_one_where_nobody_listens_holds_up_nobody(several, hasty, tmp_path):
    "The others end the list; the one that is left out does not keep a request for its probe"
    (a,) = several({'delay': 0.03})
    chat = make_chat('openai:m', base_url=(nowhere(), a.url))
    with pytest.warns(UserWarning, match='left out for now.*no connection'), Replies(tmp_path / 'r.jsonl') as store:
        got = ask_all(chat, requests(150), store, limits=Limits(in_flight=4, tries=30, backoff=0.01))
        assert store.lost.replies == 0
    assert all(isinstance(r, Reply) for r in got.values()) and a.stats()['served'] == 150


def test_a_wrong_key_at_one_address_is_said_and_the_others_go_on(several, monkeypatch, tmp_path):
    a, b = servers = several({}, {})
    monkeypatch.setenv('KEY_OF_B', 'wrong')
    chat = SeveralChats(
        [make_chat('openai:m', base_url=a.url), make_chat('openai:m', base_url=b.url, key_env='KEY_OF_B')]
    )
    with pytest.warns(UserWarning, match='left out for now.*refuses m .401') as said:
        got = ask_all(chat, requests(80), limits=Limits(in_flight=4))
    assert all(isinstance(r, Reply) for r in got.values()) and len(got) == 80
    assert a.stats()['served'] == 80 and sum('left out' in str(w.message) for w in said) == 1


def test_when_all_are_dead_the_run_ends_in_one_line(hasty, tmp_path):
    urls = nowhere(), nowhere()
    chat = make_chat('openai:m', base_url=urls)
    with pytest.warns(UserWarning, match='left out'), pytest.raises(UserError) as end:
        with Replies(tmp_path / 'r.jsonl') as store:
            ask_all(chat, requests(5000), store, limits=Limits(in_flight=8, tries=50, backoff=0.01))
    said = str(end.value)
    assert said.startswith('none of the 2 addresses is of use') and all(f'{u} does not answer' in said for u in urls)
    assert '\n' not in said


def test_all_are_full_for_too_long(several):
    servers = several(*[{'faults': {'429': 1.0}, 'retry_after': 0}] * 2)
    with pytest.warns(UserWarning), pytest.raises(UserError, match='none of the 2 .*nothing but .too many requests'):
        ask_all(chat_at(servers), requests(20), limits=Limits(in_flight=2, patience=0.3, backoff=0.02))


def test_each_address_has_its_own_pace(several):
    servers = several({}, {}, {})
    start = time.perf_counter()
    ask_all(chat_at(servers), requests(30), limits=Limits(requests_per_minute=600))
    took = time.perf_counter() - start
    assert took > 0.85  # nine steps of a tenth of a second at each of three; at one address it would be 2.9 s
    served = [s.stats()['served'] for s in servers]
    assert sum(served) == 30 and min(served) >= 5 and took < 2.9


def test_one_limit_of_cost_for_all(several, tmp_path):
    servers = several({'delay': 0.01}, {'delay': 0.01})
    meter = Meter(Price(10.0, 10.0), limit=0.03)
    with Replies(tmp_path / 'r.jsonl') as store:
        got = ask_all(chat_at(servers), requests(300, max_tokens=60), store, limits=Limits(in_flight=8), meter=meter)
    told = [s.stats() for s in servers]
    real = sum(t['prompt_tokens'] + t['completion_tokens'] for t in told) * 10 / 1e6
    assert 0.015 < real <= 0.03 and meter.spent == pytest.approx(real) and all(t['served'] for t in told)
    assert {r.reason for r in got.values() if isinstance(r, Failure)} == {'over the cost limit'} and len(got) == 300


def test_nothing_is_lost_through_faults_at_all_of_them(several, tmp_path):
    mix = {k: 0.05 for k in ('429', '500', '503', 'drop', 'truncated', 'empty', 'html')}
    servers = several(*({'delay': 0.005, 'faults': mix, 'seed': k, 'retry_after': 0.05} for k in range(3)))
    meter = Meter(Price(1.0, 2.0))
    with Replies(tmp_path / 'r.jsonl') as store:
        got = ask_all(chat_at(servers), requests(150), store, Limits(in_flight=16, tries=30, backoff=0.02), meter)
        assert len(got) == len(store) == 150 and all(isinstance(r, Reply) for r in got.values())
        told = [s.stats() for s in servers]
        assert sum(t['served'] for t in told) == 150 and abs(meter.held) < 1e-9
        used = store.usage.prompt + store.wasted.prompt
        assert used == meter.prompt == sum(t['prompt_tokens'] for t in told)
        assert meter.sent == sum(t['requests'] for t in told)


def test_a_price_is_known_where_it_is_the_same_at_all(tmp_path):
    (tmp_path / 'prices.yml').write_text(
        '- {model: m, host: a.org, input: 1, output: 2}\n- {model: m, host: b.org, input: 1, output: 2}\n'
        '- {model: m, host: c.org, input: 3, output: 2}\n'
    )

    def price(*hosts):
        chat = make_chat('openai:m', base_url=tuple(f'https://{h}.org/v1' for h in hosts), key_env='K')
        return find_price(chat, tmp_path / 'prices.yml')

    assert price('a', 'b') == Price(1, 2) == price('a') and price('a', 'c') is None and price('a', 'd') is None


def test_the_batch_endpoint_takes_one_address(tmp_path):
    with pytest.raises(UserError, match='give --base-url once'):
        BatchedChat(make_chat('openai:m', base_url=('vllm', 'ollama')), tmp_path)
