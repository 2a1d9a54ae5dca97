"""A made-up task of three classes and the five prompt methods of the paper"""

import numpy as np
import pandas as pd
import pytest

from autogets.core import text_id
from autogets.replication.prompting.methods import methods_cells
from autogets.replication.prompting.tasks import PAPER_METHODS, PromptTask
from autogets.replication.prompting.training import TrainingPlan

WORDS = {
    'a': 'red apple fruit tree sweet'.split(),
    'b': 'blue sky air cloud rain'.split(),
    'c': 'wood stone house roof door'.split(),
}


def texts_of(label, n, seed, start=0):
    rng = np.random.default_rng([seed, ord(label)])
    return [f'{" ".join(rng.choice(WORDS[label], 4))} {label}{start + i}' for i in range(n)]


def frame(n, seed):
    rows = pd.DataFrame([(t, l) for l in WORDS for t in texts_of(l, n, seed, 1000 * seed)], columns=['text', 'label'])
    return rows.assign(id=[text_id(t) for t in rows.text])[['id', 'text', 'label']]


@pytest.fixture(scope='module')
def case():
    real, parts = frame(6, 1), []
    for k, name in enumerate(PAPER_METHODS):
        made = frame(20, 10 + k)
        shown = (
            [real.id[real.label == l].iloc[0] for l in made.label]
            if 'shot' in name and name != 'zero-shot'
            else [''] * len(made)
        )
        parts.append(made[['text', 'label']].assign(model='m', method=name, prompt_method=name, lead=shown))
    return PromptTask('made', real, frame(60, 2), frame(30, 3), pd.concat(parts, ignore_index=True))


@pytest.fixture(scope='module')
def cells(case):
    return methods_cells([case], [30], 120, TrainingPlan(seeds=(0, 1, 2)))
