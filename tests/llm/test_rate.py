"""An endpoint that only says "too many requests": what it says of the wait, and when a run ends"""

import itertools
import warnings

import pytest
from llm.common import ask_all, requests
from servers import serving

from autogets.core import UserError
from autogets.llm import pace
from autogets.llm.chat import Chat, Reply, Trouble, make_chat
from autogets.llm.pace import Limits

DAY = 'Wed, 21 Oct 2015'
HEADERS = {
    'a date by its own clock': [('date', f'{DAY} 07:28:00 GMT'), ('retry-after', f'{DAY} 08:28:00 GMT')],
    'requests used up': [('x-ratelimit-remaining-requests', '0'), ('x-ratelimit-reset-requests', '1h0m0s')],
    'the longer of two': [
        *(('x-ratelimit-remaining-' + k, '0') for k in ('requests', 'tokens')),
        ('x-ratelimit-reset-requests', '20ms'),
        ('x-ratelimit-reset-tokens', '3600s'),
    ],
    'a moment': [('date', f'{DAY} 07:28:00 GMT'), ('x-ratelimit-reset', '1445416080')],
    'a moment in milliseconds': [('date', f'{DAY} 07:28:00 GMT'), ('x-ratelimit-reset', '1445416080000')],
}


@pytest.mark.parametrize('said', HEADERS)
def test_what_the_endpoint_says_of_the_wait_is_read(said):
    with serving(faults={'429': 1.0}, retry_after=0) as s:
        s.set(headers=HEADERS[said])
        with pytest.raises(UserError, match='come back in 3600 s'):
            ask_all(make_chat('openai:m', base_url=s.url), requests(2), limits=Limits(in_flight=1, patience=2.0))


@pytest.mark.parametrize(
    'headers',
    [
        [('x-ratelimit-remaining-requests', '7'), ('x-ratelimit-reset-requests', '1h')],
        [('x-ratelimit-remaining-requests', '0'), ('x-ratelimit-reset-requests', 'soon')],
        [('x-ratelimit-reset', ''), ('retry-after', 'Never, 99 Xyz')],
    ],
)
def test_what_says_nothing_is_no_wait(headers):
    with serving(faults={'429': 1.0}, retry_after=0) as s:
        s.set(headers=headers)
        with pytest.raises(UserError, match='nothing but .too many requests'):
            limits = Limits(in_flight=1, patience=0.2, backoff=0.05)
            ask_all(make_chat('openai:m', base_url=s.url), requests(2), limits=limits)


class Full(Chat):
    "Says that it is full, but for the calls in `open`"

    kind, model, endpoint, calls = 'full', 'm', 'here', 0

    def __init__(self, opened=()):
        self.opened = opened

    async def complete(self, request):
        self.calls += 1
        if self.calls in self.opened:
            return Reply('{}')
        raise Trouble('rate limit', 'slow down', busy=True, wait=0.0)


@pytest.fixture
def clock(monkeypatch):
    "Ten seconds pass between two answers"
    monkeypatch.setattr(pace.Pacing, 'clock', staticmethod(itertools.count(0, 10).__next__))


def test_a_permanent_429_is_said_and_ends_the_run_after_some_minutes(clock):
    full = Full()
    with pytest.warns(
        UserWarning, match='nothing but .too many requests. .slow down.*waits, and ends after 300 s'
    ) as said:
        with pytest.raises(UserError, match='nothing but .too many requests. .slow down. for 300 s.*the same command'):
            ask_all(full, requests(5), limits=Limits(in_flight=1))
    assert 28 <= full.calls <= 33
    assert sum('too many' in str(w.message) for w in said) == 1


def test_an_answer_now_and_then_is_enough(clock):
    full = Full(opened=range(20, 10**6, 20))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        got = ask_all(full, requests(8), limits=Limits(in_flight=1))
    assert all(isinstance(r, Reply) for r in got.values()) and full.calls == 160


def test_a_little_waiting_is_not_worth_a_line(clock, recwarn):
    ask_all(Full(opened=range(3, 10**6, 3)), requests(8), limits=Limits(in_flight=1))
    assert not [w for w in recwarn if 'too many' in str(w.message)]
