"Malformed replies of a chat endpoint: those that were seen, and as many as one likes from a seeded generator"

import json
import random

NAN = float('nan')
GOOD = {
    'choices': [{'message': {'content': '{"texts": ["a text"]}'}, 'finish_reason': 'stop'}],
    'usage': {'prompt_tokens': 9, 'completion_tokens': 5},
}
JUNK = [None, True, 0, -1, 2.5, 10**400, NAN, float('-inf'), '', 'text', '\ud800', [], [None], [[]], {}, {'a': None}]
SEEN = [
    GOOD | {'choices': [None]},
    GOOD | {'choices': 'many'},
    GOOD | {'choices': {'0': {}}},
    GOOD | {'choices': [{'message': 'a string'}]},
    GOOD | {'choices': [{'message': {'content': [{'type': 'text', 'text': 'a part'}]}}]},
    GOOD | {'choices': [{'message': {'content': 'x' * 4_400_000}}]},
    GOOD | {'choices': [{'message': {'content': 'a'}, 'finish_reason': {'a': []}}]},
    GOOD | {'choices': [{'message': {'content': '', 'refusal': ['no']}, 'finish_reason': 7}]},
    *(GOOD | {'usage': u} for u in ([1, 2], 'much', 3, True)),
    *(GOOD | {'usage': {'prompt_tokens': u, 'completion_tokens': u}} for u in (-5, NAN, 1.5, '7', True, [1], 10**400)),
]
DEEP = '[' * 100_000


def paths(value, at=()):
    "Every place in `value`"
    yield at
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for k, v in inside:
        yield from paths(v, (*at, k))


def spoiled(value, at, junk):
    "`value` with `junk` in the place `at`"
    if not at:
        return junk
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[at[0]] = spoiled(copy[at[0]], at[1:], junk)
    return copy


def malformed(n, seed=0):
    "`n` bodies, each with one to three places that hold something else"
    rng = random.Random(seed)
    for _ in range(n):
        body = GOOD
        for _ in range(rng.randrange(1, 4)):
            body = spoiled(body, rng.choice(list(paths(body))), rng.choice(JUNK))
        yield body


def raw(body):
    return body if isinstance(body, str) else json.dumps(body)
