"A pretended model and a table as generators for loops"

import json
import re

import numpy as np

from autogets.core import digest
from autogets.generators.base import Generator
from autogets.llm.chat import Chat, Reply

PLAIN = dict(filters=list, progress=False)


class Scribe(Chat):
    "Draws words of what it is shown; dies, if it has so many lives, after as many requests"

    kind, model, endpoint, batch = 'pretended', 'scribe', 'here', 8

    def __init__(self, lives=10**9):
        self.lives, self.asked = lives, []

    def complete_many(self, requests):
        return [self.one(r) for r in requests]

    def one(self, request):
        if not self.lives:
            raise ConnectionError('gone')
        self.lives -= 1
        self.asked.append(request)
        rng = np.random.default_rng(int(digest(request.messages, request.sample)[:8], 16))
        said, shape = request.messages[-1]['content'], request.parameters['schema']['properties']
        (name, listed), words = (
            next(iter(shape.items())),
            re.findall(r'own\d[a-h]|word\d+', said) or [f'w{k}' for k in range(60)],
        )
        size = 9 if name == 'texts' else 3
        made = [' '.join(rng.choice(words, size)) + f' {rng.integers(10**6)}' for _ in range(listed['maxItems'])]
        return Reply(json.dumps({name: made}), 'stop', 50, completion_tokens=30)


class Says(Generator):
    "Writes for every example what the table has for it"

    name = 'says'

    def __init__(self, table):
        super().__init__()
        self.table = table

    def generate(self, examples, n):
        made = [(t, l, [i], k) for i, l in zip(examples.id, examples.label) for k, t in enumerate(self.table(i)[:n])]
        return self.rows(*map(list, zip(*made))) if made else self.rows([], [], [], [])
