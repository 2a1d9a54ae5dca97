"""Requests that are always refused, and limits that leave no money: every run comes to its end"""

import threading

import pytest
from llm.common import ask_all, requests
from servers import serving

from autogets.core import UserError
from autogets.llm import pace
from autogets.llm.cache import Meter, Price, Replies
from autogets.llm.chat import Chat, Failure, Reply, Request, Trouble, make_chat
from autogets.llm.pace import Limits

ONE = Limits(in_flight=1)


@pytest.mark.parametrize('status', [403, 404])
def test_one_request_that_is_always_refused_is_missing(tmp_path, status):
    "Also when it is the first, or the only one, that a later run sends"
    with serving() as s, Replies(tmp_path / 'r.jsonl') as store:
        s.set(refused={'about 7': status})
        chat, asked = make_chat('openai:m', base_url=s.url), requests(12)
        got = ask_all(chat, asked, store, limits=ONE)
        assert {i for i, r in got.items() if isinstance(r, Failure)} == {7}
        assert got[7] == Failure(f'refused ({status})', 'flagged by moderation')
        again = ask_all(chat, asked[7:] + requests(3, 'later '), store, limits=ONE)
        assert [i for i, r in again.items() if isinstance(r, Failure)] == [0]


@pytest.mark.parametrize('status, hint', [(403, 'check the key'), (404, 'check the model and the base URL')])
def test_who_is_refused_before_any_success_is_told_at_once(status, hint):
    with serving() as s:
        s.set(refused={'about': status})
        with pytest.raises(UserError, match=f'refuses m .{status}: flagged by moderation.: {hint}'):
            ask_all(make_chat('openai:m', base_url=s.url), requests(50), limits=ONE)
        assert s.stats()['requests'] == 1


class Closing(Chat):
    "A model whose door shuts after `open` answers"

    kind, model, endpoint, calls = 'closing', 'm', 'here', 0

    def __init__(self, opened):
        self.opened = opened

    async def complete(self, request):
        self.calls += 1
        if self.calls <= self.opened:
            return Reply('{}', 'stop', 1, completion_tokens=1)
        raise Trouble('refused (403)', 'account closed', again=False)


def test_a_door_that_shuts_half_way_ends_the_run():
    "Nobody pays for that, but a list of thousands would end as missing"
    chat = Closing(30)
    with pytest.raises(UserError, match='nothing of use in 100 answers in a row .refused .403. account closed'):
        ask_all(chat, requests(3000), limits=ONE)
    assert chat.calls < 150


def test_many_refused_requests_do_not_stop_the_next_run_again(tmp_path):
    "What a run ended with is no news to the next: 150 requests refused for good are missing then"
    asked = requests(151)
    with Replies(tmp_path / 'r.jsonl') as store, pytest.raises(UserError):
        ask_all(Closing(1), asked, store, limits=ONE)
    with Replies(tmp_path / 'r.jsonl') as store:
        got = ask_all(Closing(0), asked, store, limits=ONE)
    assert [i for i, r in got.items() if isinstance(r, Reply)] == [0] and len(got) == 151


def test_a_probe_that_does_not_fit_the_limit_ends_the_run(monkeypatch):
    "The endpoint seems down, everybody waits for the probe, and there is no money for it"
    monkeypatch.setattr(pace, 'WAITS', (0.05,) * 5)

    class Dead(Chat):
        kind, model, endpoint = 'dead', 'm', 'here'

        async def complete(self, request):
            raise Trouble('no connection')

    big = Request(({'role': 'user', 'content': 'all'},), {'max_tokens': 10**6})
    meter, ended = Meter(Price(1.0, 1.0), limit=0.1), []

    def run():
        try:
            got = ask_all(Dead(), [*requests(10, max_tokens=5), big], limits=Limits(in_flight=4), meter=meter)
            ended.append({r.reason for r in got.values()})
        except UserError as e:
            ended.append(str(e))

    worker = threading.Thread(target=run, daemon=True)
    worker.start()
    worker.join(8)
    assert ended == [{'over the cost limit'}], ended
