"Paired comparisons: one bootstrap for every figure, and memory that does not grow with the texts"

import tracemalloc

import numpy as np
import pytest

from autogets import paired
from autogets.metrics import OBJECTIVES, confusion, scores
from autogets.paired import PairedTest, gain_interval
from autogets.stats import resample

NAMES = ['a', 'b', 'c', 'd']


def answers(n=90, seed=0):
    "True classes, and two predictions"
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 4, n)
    return true, *(np.where(rng.random(n) < p, true, rng.integers(0, 4, n)) for p in (0.6, 0.75))


@pytest.mark.parametrize('objective', OBJECTIVES)
@pytest.mark.parametrize('target', [None, 2, [0, 3]])
def test_the_interval_is_that_of_every_draw_scored_by_itself(objective, target):
    true, before, after = answers()
    drawn = []
    for rows in resample(90, 200, 5):
        cm = [confusion(true[rows], y[rows], range(4)) for y in (before, after)]
        drawn.append(np.subtract(*(scores(c, target)[objective] for c in cm[::-1])))
    names = (np.array(NAMES)[y] for y in (true, before, after))
    found = gain_interval(*names, classes=NAMES, objective=objective, target=target, n=200, seed=5)
    assert [found['low'], found['high']] == pytest.approx(np.quantile(drawn, [0.025, 0.975]))
    pair = PairedTest(true, before, after, NAMES, target=target, draws=200, seed=5)
    assert pair.change(objective).interval == found


def test_the_size_of_a_chunk_changes_nothing(monkeypatch):
    whole = PairedTest(*answers(), NAMES, draws=300).table
    monkeypatch.setattr(PairedTest, 'chunks', lambda self, draws, n: [7] * (draws // 7) + [draws % 7])
    assert PairedTest(*answers(), NAMES, draws=300).table.equals(whole)


def test_many_texts_need_little_memory():
    "2,000 exchanges of 20,000 differing answers would be 320 MB at once"
    true = np.zeros(20_000, int)
    pair = PairedTest(true, true + 1, true + 2, NAMES)
    texts = np.array([20_000, 0, 0, 0])
    seen = [(texts, 0 * texts, np.array([0, 20_000, 0, 0])), (texts, 0 * texts, np.array([0, 0, 20_000, 0]))]
    tracemalloc.start()
    pair._swapped('f1', *seen)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150e6
    assert paired.MOST_TEXTS >= 20_000
