"""The bill: what may have been paid counts until it is known, across timeouts, kills and batches"""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from llm.common import ask_all, requests
from servers import serving

from autogets.llm import batch
from autogets.llm.batch import BatchedChat
from autogets.llm.cache import Meter, Price, Replies
from autogets.llm.chat import Chat, Failure, Reply, Trouble, make_chat
from autogets.llm.pace import Limits

TEN = Price(10.0, 10.0)


def billed(server):
    told = server.stats()
    return (told['prompt_tokens'] + told['completion_tokens']) * 10 / 1e6


def test_an_attempt_that_timed_out_counts_at_its_most(tmp_path):
    "Half of the answers are billed and never come: the limit holds all the same, in this run and the next"
    with serving(faults={'late': 0.5}, slow=3.0, seed=1) as s, Replies(tmp_path / 'r.jsonl') as store:
        chat, limits = make_chat('openai:m', base_url=s.url), Limits(in_flight=16, timeout=0.3, backoff=0.01)
        meter = Meter(TEN, limit=0.03)
        got = ask_all(chat, requests(200, max_tokens=60), store, limits=limits, meter=meter)
        assert {r.reason for r in got.values() if isinstance(r, Failure)} >= {'over the cost limit'}
        assert 0.01 < billed(s) <= 0.03
        assert meter.lost.replies == meter.troubles['timeout'] > 0
        assert meter.spent < billed(s) <= meter.most_spent <= 0.03
        lost = vars(meter.lost)
    with Replies(tmp_path / 'r.jsonl') as store:
        assert vars(store.lost) == lost
        assert Meter(TEN, before=store).most_spent == pytest.approx(meter.most_spent)


def test_a_reply_without_a_count_counts_at_its_most(tmp_path):
    class Silent(Chat):
        kind, model, endpoint = 'silent', 'm', 'here'

        async def complete(self, request):
            if '3' in request.messages[0]['content']:
                raise Trouble('empty reply', again=False, usage=(None, None))
            return Reply('{}')

    meter = Meter(TEN, limit=0.01)
    with Replies(tmp_path / 'r.jsonl') as store:
        got = ask_all(Silent(), requests(100, max_tokens=60), store, meter=meter)
    assert sum(isinstance(r, Reply) for r in got.values()) < 20 and 0.008 < meter.most_spent <= 0.01


def test_what_was_not_sent_is_not_counted():
    class Closed(Chat):
        kind, model, endpoint = 'closed', 'm', 'here'

        async def complete(self, request):
            raise Trouble('rate limit', busy=True, wait=0.0)

    meter = Meter(TEN, limit=1.0)
    ask_all(Closed(), requests(3), limits=Limits(in_flight=2), meter=meter)
    assert meter.lost.replies == 0 and meter.most_spent == 0


CHILD = '''
import sys
from llm.common import ask_all, requests
from autogets.llm.cache import Meter, Price, Replies
from autogets.llm.chat import make_chat
from autogets.llm.pace import Limits
url, path, limit = sys.argv[1:]
with Replies(path) as store:
    meter = Meter(Price(10.0, 10.0), before=store)
    meter.limited(float(limit))
    ask_all(make_chat('openai:m', base_url=url), requests(400, max_tokens=60), store, Limits(in_flight=32), meter=meter)
'''


def child(*words):
    tests = os.path.dirname(os.path.dirname(__file__))
    path = os.pathsep.join([tests, *sys.path])
    return subprocess.Popen([sys.executable, '-c', CHILD, *map(str, words)], env=os.environ | {'PYTHONPATH': path})


def test_kills_do_not_lift_the_limit(tmp_path):
    "Each kill loses what is in flight; that was noted before it went out, and counts at its most"
    path = tmp_path / 'r.jsonl'
    with serving(delay=0.1) as s:
        for stop in (30,):
            process = child(s.url, path, 0.03)
            while s.stats()['requests'] < stop and process.poll() is None:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert child(s.url, path, 0.03).wait() == 0
        told = s.stats()
        assert 0.01 < billed(s) <= 0.03
        with Replies(path) as store:
            assert told['repeats'] <= store.lost.replies <= 32
            assert len(store) + store.lost.replies >= told['requests']


def test_nothing_unaccounted_leaves_no_journal(tmp_path):
    with serving(faults={'500': 0.2, '429': 0.2}, retry_after=0) as s, Replies(tmp_path / 'r.jsonl') as store:
        ask_all(make_chat('openai:m', base_url=s.url), requests(40), store, limits=Limits(backoff=0.01))
    assert [p.name for p in tmp_path.iterdir()] == ['r.jsonl']


def test_a_torn_journal_is_read(tmp_path):
    (tmp_path / 'r.sent.jsonl').write_text(
        '{"sent": "aa", "prompt": 5, "completion": 7}\n[]\n{"back"\n{"lost": "bb"}\n{"sent": 7}\n{"se'
    )
    for _ in range(2):  # what was open is kept for every later run
        with Replies(tmp_path / 'r.jsonl') as store:
            assert (store.lost.replies, store.lost.prompt, store.lost.completion) == (1, 5, 7)


# --- batches


def batched(server, folder):
    return BatchedChat(make_chat('openai:m', base_url=server.url), folder, poll=0.01)


def test_replies_of_no_use_in_a_batch_are_on_the_bill_once(tmp_path):
    "Also when the finished batch is read again, because a kill lost its replies"
    with serving(faults={'empty': 0.4}, seed=2) as s:
        for _ in range(2):
            with Replies(tmp_path / 'r.jsonl') as store:
                meter = Meter(TEN, before=store)
                got = ask_all(batched(s, tmp_path), requests(60), store, meter=meter)
                assert sum(isinstance(r, Failure) for r in got.values()) == store.wasted.replies > 5
                assert (store.usage.prompt + store.wasted.prompt) == s.stats()['prompt_tokens']
                assert (store.usage.completion + store.wasted.completion) == s.stats()['completion_tokens']
            (tmp_path / 'r.jsonl').unlink()
        assert s.stats()['outcomes']['jobs'] == 1


def test_a_batch_that_was_killed_before_its_note_is_found_again(tmp_path, monkeypatch):
    with serving() as s:
        write = batch.write_json

        def killed(path, content):
            if s.stats()['outcomes'].get('jobs'):
                raise KeyboardInterrupt
            write(path, content)

        monkeypatch.setattr(batch, 'write_json', killed)
        with pytest.raises(KeyboardInterrupt):
            ask_all(batched(s, tmp_path), requests(5))
        monkeypatch.undo()
        ask_all(batched(s, tmp_path / 'other'), requests(3, 'other '))
        got = ask_all(batched(s, tmp_path), requests(5))
        assert all(isinstance(r, Reply) for r in got.values())
        assert s.stats()['outcomes']['jobs'] == 2
        assert len(json.loads((tmp_path / 'batches.json').read_text())) == 1
