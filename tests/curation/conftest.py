"Fixtures of several files of this room"

import pytest
import worlds

from autogets.curation.planted_problems import plant
from autogets.curation.pool_view import PoolView


@pytest.fixture(scope='module')
def world():
    "A corpus, and three synthetic texts for each training example"
    corpus = worlds.corpus(n=40)
    return corpus, worlds.texts(corpus, 3)


@pytest.fixture(scope='module')
def flipped(world):
    "The view of a pool with wrong labels, and which they are"
    corpus, texts = world
    rows = plant(texts, 'wrong label', seed=2)
    return PoolView(corpus, rows, 'linear'), rows.planted.to_numpy()
