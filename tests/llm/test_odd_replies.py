"""Replies that are not as expected: each is a failed reply, none ends the run, none poisons the folder"""

import contextlib
import json

import pytest
from work import work
from llm.common import ask_all, one, requests
from llm.odd import DEEP, GOOD, SEEN, malformed, raw
from servers import serving

from autogets.generators.parsing import parse
from autogets.llm.batch import BatchedChat, batch_results
from autogets.llm.cache import Replies
from autogets.llm.chat import Failure, Reply, Trouble, make_chat, read_reply
from autogets.llm.pace import Limits


def whole(tokens):
    return all(t is None or type(t) is int and t >= 0 for t in tokens)


def read(body):
    "What `read_reply` makes of `body`: a `Reply` or a `Trouble`"
    try:
        return read_reply(body, 0.0)
    except Trouble as e:
        return e


@pytest.mark.parametrize('k', range(len(SEEN)))
def test_each_odd_reply_that_was_seen_is_a_failed_reply_or_has_sound_usage(k):
    got = read(SEEN[k])
    assert whole((got.prompt_tokens, got.completion_tokens) if isinstance(got, Reply) else got.usage)


def test_a_reply_of_megabytes_is_a_failed_reply():
    got = read(SEEN[5])
    assert isinstance(got, Trouble) and got.reason == 'endless reply' and got.usage == (9, 5)


def test_any_malformed_reply_is_read_and_written_down_like_another(tmp_path):
    "Two thousand bodies with up to three places spoiled: read, written, and read again from the file"
    with Replies(tmp_path / 'r.jsonl') as store:
        for k, body in enumerate(malformed(2000)):
            chat, request, _ = one(f'tag {k}')
            got = read(body)
            if isinstance(got, Reply):
                assert got.text.strip() and isinstance(got.finish, str)
                assert whole((got.prompt_tokens, got.completion_tokens))
                store.add(chat, request, got)
            else:
                assert whole(got.usage)
                store.put_aside(chat.key(request), got.reason, got.detail, tokens=got.usage)
        told = (vars(store.usage), vars(store.wasted))
    assert 100 < len(store) < 1900
    with Replies(tmp_path / 'r.jsonl') as again:
        assert (vars(again.usage), vars(again.wasted)) == told


def test_odd_replies_over_http_end_no_run(tmp_path):
    bodies = [raw(b) for b in [*SEEN, *malformed(80, seed=1)]]
    bodies += [DEEP, json.dumps(GOOD).replace('{"texts"', '{\\"a\\":' * 50_000)]
    with serving(faults={'odd': 1.0}) as s:
        s.set(bodies=bodies)
        chat = make_chat('openai:m', base_url=s.url)
        limits = Limits(in_flight=1, tries=1, timeout=20.0)
        with Replies(tmp_path / 'r.jsonl') as store:
            store.add(*one())
            got = ask_all(chat, requests(len(bodies)), store, limits=limits)
    assert len(got) == len(bodies) and {type(r) for r in got.values()} == {Reply, Failure}
    with Replies(tmp_path / 'r.jsonl') as again:
        assert len(again) == 1 + sum(isinstance(r, Reply) for r in got.values())


def test_an_odd_line_in_a_batch_loses_that_line_only():
    good = [{'custom_id': str(k), 'response': {'status_code': 200, 'body': GOOD}} for k in range(3)]
    odd = [{'custom_id': f'odd {k}', 'response': {'status_code': 200, 'body': b}} for k, b in enumerate(SEEN)]
    odd += [{'custom_id': 'x', 'response': r} for r in ('text', [1], 7, {'status_code': []}, {'status_code': 200})]
    odd += [7, None, 'text', [], {'custom_id': [1], 'response': {'status_code': 200, 'body': GOOD}}]
    odd += [{'custom_id': f'm {k}', 'response': {'status_code': 200, 'body': b}} for k, b in enumerate(malformed(500))]
    lines = [json.dumps(good[0]), *map(json.dumps, odd), DEEP, '{"torn', json.dumps(good[1])]
    split = json.dumps(good[2] | {'note': 'a\u2028b'}, ensure_ascii=False)
    found = batch_results('\n'.join([*lines, split]))
    assert [found[k].text for k in '012'] == ['{"texts": ["a text"]}'] * 3
    assert all(isinstance(r, (Reply, Failure)) for r in found.values())


def test_a_batch_with_odd_lines_is_used(tmp_path):
    with serving(faults={'odd': 0.5}, seed=1) as s:
        s.set(bodies=[raw(b) for b in SEEN])
        got = ask_all(BatchedChat(make_chat('openai:m', base_url=s.url), tmp_path, poll=0.01), requests(40))
    assert sum(isinstance(r, Reply) for r in got.values()) > 10 and len(got) == 40


@pytest.mark.parametrize('form', ['texts', 'items', 'score', 'explanation'])
@pytest.mark.parametrize('opening, closing', [('[', ']'), ('{"texts":', '}'), ('{"score":[', ']}'), ('[{"a":', '}]')])
def test_nesting_without_end_is_no_answer(form, opening, closing):
    for depth in (500, 2000, 100_000):
        with contextlib.suppress(ValueError):
            assert work(parse, form, opening * depth + '1' + closing * depth) < 150


def test_a_text_of_megabytes_is_no_text():
    long = 'word ' * 20_000
    assert parse('texts', json.dumps({'texts': [long, 'a text']}), n=2) == ['a text']
    with pytest.raises(ValueError):
        parse('texts', json.dumps({'texts': [long]}))


def test_a_folder_that_was_poisoned_is_read(tmp_path):
    "Earlier versions wrote such counts down, and then refused the file"
    path = tmp_path / 'r.jsonl'
    with Replies(path) as store:
        for k in range(4):
            store.add(*one(f'tag {k}'))
    lines = path.read_text().replace('"prompt_tokens": 1', '"prompt_tokens": %s').splitlines()
    path.write_text(''.join(line % odd + '\n' for line, odd in zip(lines, ('[1]', 'NaN', '-7', '"9"'))))
    (tmp_path / 'r.aside.jsonl').write_text('{"key": "a", "reason": "r", "prompt_tokens": [1]}\n[]\n7\n')
    with Replies(path) as store:
        assert len(store) == 4 and store.usage.prompt == 0 and store.usage.completion == 4
        assert store.get(*one('tag 0')[:2]).prompt_tokens is None
