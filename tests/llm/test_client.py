"""Many requests at once: faults of every kind, limits, speed, and an account that agrees with the server's own"""

import json
import socket
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
from work import calls
from llm.common import ask_all, requests
from servers import serving

from autogets.core import UserError
from autogets.llm import pace
from autogets.llm.cache import Meter, Price, Replies
from autogets.llm.chat import Chat, Failure, Reply, Trouble, make_chat
from autogets.llm.client import ask, converse, repair_messages
from autogets.llm.pace import Limits

MIX = {k: 0.05 for k in ('429', '500', '503', 'drop', 'slow', 'truncated', 'schema', 'empty', 'html')}


def read(text, i):
    texts = json.loads(text).get('texts')
    if not texts:
        raise ValueError('no texts')
    return texts[0]


def again(messages, text, why):
    return (*messages, {'role': 'assistant', 'content': text}, {'role': 'user', 'content': f'{why}: write 1 text'})


def test_a_hundred_and_fifty_requests_through_every_fault(tmp_path):
    """Nearly half of all attempts fail, in nine ways; every text comes once, nothing that had come is asked again,
    and the bill is the server's"""
    with serving(delay=0.005, faults=MIX, seed=3, slow=0.5, retry_after=0.05) as s:
        chat, meter, asked = make_chat('openai:m', base_url=s.url), Meter(Price(1.0, 2.0)), requests(150)
        with Replies(tmp_path / 'r.jsonl') as store:
            got = {
                i: v
                for i, _, v in converse(
                    chat,
                    asked,
                    read,
                    again,
                    store,
                    limits=Limits(in_flight=64, timeout=120.0, tries=20, backoff=0.05),
                    meter=meter,
                )
            }
        told = s.stats()
        failed = {i: v for i, v in got.items() if isinstance(v, Failure)}
        assert len(got) == 150
        unreadable = [v for v in failed.values() if v.reason == 'unreadable reply']
        # a reply of the wrong form twice in a row is given up here, with its reason
        assert len(failed) == len(unreadable) <= 9
        texts = [v for i, v in got.items() if i not in failed]
        assert len(set(texts)) == len(texts) == 150 - len(failed)
        assert told['repeats'] == 0
        assert (store.usage.prompt + store.wasted.prompt, store.usage.completion + store.wasted.completion) == (
            told['prompt_tokens'],
            told['completion_tokens'],
        )
        assert (meter.prompt, meter.completion) == (told['prompt_tokens'], told['completion_tokens'])
        assert meter.sent == told['requests'] and abs(meter.held) < 1e-9
        aside = [json.loads(l) for l in (tmp_path / 'r.aside.jsonl').read_text().splitlines()]
        assert Counter(a['reason'].partition(':')[0] for a in aside)['unreadable'] == len(unreadable)
        with Replies(tmp_path / 'r.jsonl') as again_store:  # everything again, from the file alone
            s.set(dead=True)
            twice = {i: v for i, _, v in converse(chat, asked, read, again, again_store)}
            assert twice == got


def test_many_refusals_and_errors_lose_nothing_and_cost_few_requests():
    with serving(delay=0.02, faults={'429': 0.1, '500': 0.05}, seed=5) as s:
        got = ask_all(make_chat('openai:m', base_url=s.url), requests(500), limits=Limits(in_flight=32))
        told = s.stats()
        assert sum(isinstance(r, Reply) for r in got.values()) == 500 and told['repeats'] == 0
        assert told['requests'] < 1.2 * 500 / 0.85


def test_a_full_endpoint_is_given_room():
    "No more than eight at once are let in there; refusals stay few once that is learned"
    with serving(delay=0.01, limit=8, retry_after=0.05) as s:
        meter = Meter()
        got = ask_all(make_chat('openai:m', base_url=s.url), requests(400), limits=Limits(in_flight=64), meter=meter)
        assert all(isinstance(r, Reply) for r in got.values())
        assert meter.troubles['rate limit'] < 1200, meter.troubles


def test_a_dead_endpoint_ends_the_run_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(pace, 'WAITS', (0.05, 0.05))
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        url = f'http://127.0.0.1:{s.getsockname()[1]}/v1'
    with Replies(tmp_path / 'r.jsonl') as store, pytest.raises(UserError, match='does not answer .no connection'):
        ask_all(make_chat('openai:m', base_url=url), requests(5000), store)


def test_an_endpoint_that_comes_back_is_used_again(monkeypatch):
    monkeypatch.setattr(pace, 'WAITS', (0.2, 0.2, 0.4, 0.8, 1.6, 3.0))
    with serving(delay=0.005) as s:
        chat, got = make_chat('openai:m', base_url=s.url), {}
        for i, _, r in ask(chat, requests(600), None, Limits(in_flight=16)):
            got[i] = r
            if len(got) == 100:
                s.set(dead=True)
                threading.Timer(0.7, s.set, kwargs={'dead': False}).start()
        assert len(got) == 600 and all(isinstance(r, Reply) for r in got.values())


def test_an_answer_that_never_ends_is_cut_off():
    with serving(faults={'slow': 1.0}, slow=60.0) as s:
        start = time.perf_counter()
        got = ask_all(make_chat('openai:m', base_url=s.url), requests(3), limits=Limits(timeout=0.3, tries=2))
        assert {r.reason for r in got.values()} == {'timeout'} and time.perf_counter() - start < 60


def test_waiting_for_ones_turn_is_no_timeout():
    with serving(delay=0.05) as s:
        got = ask_all(make_chat('openai:m', base_url=s.url), requests(60), limits=Limits(in_flight=2, timeout=0.5))
        assert all(isinstance(r, Reply) for r in got.values())


def test_requests_and_tokens_per_minute_are_kept():
    with serving() as s:
        chat = make_chat('openai:m', base_url=s.url)
        for limits in (Limits(requests_per_minute=1200), Limits(tokens_per_minute=1200 * (11 + 40))):
            start = time.perf_counter()
            ask_all(chat, requests(21, str(limits), max_tokens=40), limits=limits)
            assert time.perf_counter() - start > 0.9


def test_refusals_for_long_are_said():
    with serving(faults={'429': 1.0}, retry_after=3600) as s, pytest.raises(UserError, match='come back in 3600 s'):
        ask_all(make_chat('openai:m', base_url=s.url), requests(5))


def test_an_endpoint_that_refuses_everything_is_not_asked_thousands_of_times():
    class Strict(Chat):
        kind, model, endpoint, calls = 'strict', 'm', 'here', 0

        async def complete(self, request):
            self.calls += 1
            raise Trouble('refused (400)', 'temperature is not supported', again=False)

    strict = Strict()
    with pytest.raises(UserError, match='none of the first 20.*temperature is not supported'):
        ask_all(strict, requests(3000), limits=Limits(in_flight=8))
    assert strict.calls < 60


def test_one_bad_request_does_not_end_the_others():
    class Picky(Chat):
        kind, model, endpoint = 'picky', 'm', 'here'

        async def complete(self, request):
            if '7' in request.messages[0]['content']:
                raise Trouble('refused (400)', 'too long', again=False)
            return Reply('{}')

    got = ask_all(Picky(), requests(20))
    assert {i for i, r in got.items() if isinstance(r, Failure)} == {7, 17}
    assert got[7] == Failure('refused (400)', 'too long')


@pytest.mark.parametrize(
    'content,sent',
    [
        ('<think>{"a"}</think> {"b"', '{"b"'),
        ('', '(nothing)'),
        ('<think>no end', '(nothing)'),
        ('x' * 3000, 'x' * 2000),
    ],
)
def test_a_repair_sends_back_the_answer_without_thoughts_and_not_all_of_it(content, sent):
    *before, said, again = repair_messages(({'role': 'user', 'content': 'q'},), content, 'no {reason} given')
    assert before == [{'role': 'user', 'content': 'q'}] and said == {'role': 'assistant', 'content': sent}
    assert 'could not be used: no {reason} given.' in again['content']


# --- speed, memory and money


def test_it_is_little_more_work_than_the_client_itself(tmp_path):
    """Beside the bare client, which looks through its connections more often: a tenth fewer calls of functions, which
    unlike seconds do not depend on what else the machine does"""
    import asyncio
    import openai

    async def bare(url, n):
        client, source = openai.AsyncOpenAI(base_url=url, api_key='x', max_retries=0), iter(range(n))

        async def work():
            for i in source:
                await client.chat.completions.create(
                    model='m', messages=[{'role': 'user', 'content': f'write 1 text about b{i}'}]
                )

        await asyncio.gather(*(work() for _ in range(64)))
        await client.close()

    with serving(delay=0.05) as s:
        best = calls(lambda: asyncio.run(bare(s.url, 300)))

        def ours(k):
            with Replies(tmp_path / f'{k}.jsonl') as store:
                assert len(ask_all(make_chat('openai:m', base_url=s.url), requests(300, k), store, Limits())) == 300

        mine = calls(ours, 'a')
        assert mine < 0.9 * best, (mine, best)


def test_memory_stays_flat():
    """A list four times as long takes no more room: requests are made when there is a place for them, and replies go
    when they are read"""
    code = '''
import resource, sys
from autogets.llm.client import ask
from autogets.llm.pace import Limits
from autogets.llm.chat import Chat, Reply, Request
class Echo(Chat):
    kind, model, endpoint = 'echo', 'm', 'here'
    async def complete(self, request): return Reply('x'*2000)
stream = (Request(({'role': 'user', 'content': 'y'*2000+str(i)},)) for i in range(int(sys.argv[1])))
print(sum(1 for _ in ask(Echo(), stream, None, Limits(in_flight=16))))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss//1024)
'''

    def run(n):
        command = [sys.executable, '-c', code, str(n)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return [int(x) for x in said.split()]

    (a, small), (b, large) = run(3000), run(12000)
    assert (a, b) == (3000, 12000) and large - small < 25, (small, large)


def test_the_limit_holds_with_many_in_flight(tmp_path):
    with serving(delay=0.01) as s:
        chat, meter = make_chat('openai:m', base_url=s.url), Meter(Price(10.0, 10.0), limit=0.05)
        with Replies(tmp_path / 'r.jsonl') as store:
            got = ask_all(chat, requests(400, max_tokens=60), store, limits=Limits(), meter=meter)
        told = s.stats()
        real = (told['prompt_tokens'] + told['completion_tokens']) * 10 / 1e6
        left = sum(isinstance(r, Failure) and r.reason == 'over the cost limit' for r in got.values())
        assert 0.03 < real <= 0.05 and meter.spent == pytest.approx(real) and 0 < left < 400 and len(got) == 400
        more = Meter(Price(10.0, 10.0), limit=10.0, before=store.usage)
        with Replies(tmp_path / 'r.jsonl') as store:
            got = ask_all(chat, requests(400, max_tokens=60), store, limits=Limits(), meter=more)
        assert all(isinstance(r, Reply) for r in got.values()) and s.stats()['repeats'] == 0
        told = s.stats()
        assert more.spent == pytest.approx((told['prompt_tokens'] + told['completion_tokens']) * 10 / 1e6)
