"Small examples and generators for the tests of this room"

from pathlib import Path

import pandas as pd

from autogets.core import text_id
from autogets.generators.base import Generator
from autogets.generators.eda import EDA


def frame(texts, labels='X'):
    return pd.DataFrame({'text': list(texts), 'label': labels}).assign(id=lambda f: f.text.map(text_id))[
        ['id', 'text', 'label']
    ]


def numbered(k):
    return frame([f'the {i} printer on floor number {i + 1} jams and nobody knows why it does' for i in range(k)])


def files(folder):
    return {p.name: p.read_bytes() for p in sorted(Path(folder).iterdir())}


class Echo(Generator):
    "Gives back what its table says, so that a test decides each text."

    name, batch = 'echo', 2

    def __init__(self, table):
        super().__init__()
        self.table = table

    def generate(self, examples, n):
        self.failures = {i: 'timeout' for i, t in zip(examples.id, examples.text) if len(self.table.get(t, [])) < n}
        rows = [
            (new, l, [i], k)
            for i, t, l in examples[['id', 'text', 'label']].to_numpy()
            for k, new in enumerate(self.table.get(t, []))
        ]
        return self.rows(*map(list, zip(*rows))) if rows else self.rows([], [], [], [])


class Mortal(EDA):
    batch = 4

    def __init__(self, lives):
        super().__init__(synonyms='none')
        self.lives, self.asked = lives, []

    def generate(self, examples, n):
        if not self.lives:
            raise ConnectionError('gone')
        self.lives -= 1
        self.asked += examples.id.tolist()
        return super().generate(examples, n)
