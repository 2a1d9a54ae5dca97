"""How well a cheap classifier predicts an expensive one, on hand-made numbers"""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from autogets.replication.ours import proxy_tables as tables


def test_correlation_is_spearmans():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5, 12).astype(float), rng.normal(size=12)
    draws = np.vstack([np.arange(12), rng.integers(0, 12, (20, 12))])
    assert tables.correlation(x, y, draws) == pytest.approx([spearmanr(x[d], y[d]).statistic for d in draws])


def cells_of(gains, texts, seconds, corpus='a', split=0):
    "Cells from (classifier, seed) -> (gains on validation, on test), the baseline at .5 and .4"
    rows = []
    for (name, seed), (v, t) in gains.items():
        for i, (a, b) in enumerate(zip([0, *v], [0, *t])):
            rows.append(
                dict(
                    corpus=corpus,
                    split=split,
                    classifier=name,
                    seed=seed,
                    candidate=i,
                    note='',
                    texts=[0, *texts][i],
                    seconds=seconds[name],
                    setup=1.0,
                )
                | {'validation accuracy': 0.5 + a, 'test accuracy': 0.4 + b}
            )
    return pd.DataFrame(rows)


HAND = {
    ('E', 0): ([0.3, 0.1, 0.2, 0.0, -0.1], [0.1, 0.2, 0.3, 0.0, -0.1]),
    ('E', 1): ([0.1, 0.2, 0.3, 0.0, -0.1], [0.1, 0.3, 0.2, -0.1, 0.0]),
    ('c', 0): ([0.1, 0.3, 0.2, 0.0, -0.1], [0.0] * 5),
}


TEXTS = [50, 40, 30, 20, 10]


def test_agreement_on_hand_made_numbers():
    t = (
        tables.agreement(cells_of(HAND, TEXTS, {'E': 10.0, 'c': 1.0}), ['E'], 'accuracy', k=2, draws=50)
        .query("corpus == 'all'")
        .set_index('predictor')
    )
    assert list(t.index) == ['c', 'number of texts', 'itself', 'another seed', 'another seed, on test']

    def rho(*pairs):
        return np.mean([spearmanr(a, b).statistic for a, b in pairs])

    (v0, t0), (v1, t1), (c, _) = HAND['E', 0], HAND['E', 1], HAND['c', 0]
    assert t.correlation['c'] == pytest.approx(rho((c, t0), (c, t1)))
    assert t.correlation['number of texts'] == pytest.approx(rho((TEXTS, t0), (TEXTS, t1)))
    assert t.correlation['itself'] == pytest.approx(rho((v0, t0), (v1, t1)))
    assert t.correlation['another seed'] == pytest.approx(rho((v1, t0), (v0, t1)))
    assert t.correlation['another seed, on test'] == pytest.approx(rho((t1, t0)))
    assert (
        t.hit_rate['c'] == 1
        and t.hit_rate['itself'] == 1
        and t.hit_rate['number of texts'] == 0.5
        and t.by_chance['c'] == 0.4
    )
    assert t.kind['itself'] == 'ceiling' and t.kind['number of texts'] == 'control'


def test_with_one_seed_there_is_one_ceiling():
    one = {k: v for k, v in HAND.items() if k != ('E', 1)}
    t = tables.agreement(cells_of(one, TEXTS, {'E': 10.0, 'c': 1.0}), ['E'], 'accuracy', draws=20)
    assert list(t.predictor[t.kind == 'ceiling'].unique()) == ['itself']


def test_gain_and_cost_on_hand_made_numbers():
    t = (
        tables.gain_and_cost(cells_of(HAND, TEXTS, {'E': 10.0, 'c': 1.0}), ['E'], 'accuracy', k=2, draws=50)
        .query("corpus == 'all'")
        .set_index('procedure')
    )
    assert t.gain['full-pool'] == pytest.approx(0.1)
    assert t.gain['c'] == pytest.approx((0.2 + 0.3) / 2)  # its second candidate, of both seeds
    assert t.gain[tables.DIRECT] == pytest.approx((0.1 + 0.2) / 2)
    assert t.gain['best on test'] == pytest.approx(0.3) and t.of_best['c'] == pytest.approx(0.25 / 0.3)
    assert t.gain['c, then 2'] == pytest.approx(
        (0.1 + 0.2) / 2
    )  # of the full pool, 2 and 3 the first by E of seed 0, the third by seed 1
    assert t.difference['c'] == pytest.approx(0.1) and t.difference[tables.DIRECT] == 0
    assert (
        t.seconds['c'] == 1 + 6 * 1
        and t.seconds[tables.DIRECT] == 1 + 6 * 10
        and t.seconds['c, then 2'] == 7 + 1 + 4 * 10
        and t.cost['c'] == pytest.approx(7 / 61)
    )


def test_a_screen_that_finds_nothing_above_the_baseline_leaves_it():
    low = HAND | {('c', 0): ([-0.1, -0.2, -0.3, -0.4, -0.5], [0.0] * 5)}
    t = (
        tables.gain_and_cost(cells_of(low, TEXTS, {'E': 10.0, 'c': 1.0}), ['E'], 'accuracy', draws=20)
        .query("corpus == 'all'")
        .set_index('procedure')
    )
    assert t.gain['c'] == 0 and t.gain['c, then 3'] > 0


def test_corpora_count_the_same_whatever_their_splits():
    other = {k: ([-x for x in v], t) for k, (v, t) in HAND.items()}
    s = {'E': 10.0, 'c': 1.0}
    cells = pd.concat([cells_of(HAND, TEXTS, s), cells_of(HAND, TEXTS, s, split=1), cells_of(other, TEXTS, s, 'b')])
    t = tables.agreement(cells, ['E'], 'accuracy', draws=50).query("predictor == 'c'").set_index('corpus')
    assert (
        t.correlation['all'] == pytest.approx((t.correlation['a'] + t.correlation['b']) / 2) and t.correlation['b'] < 0
    )
    assert list(t.splits[['a', 'b', 'all']]) == [2, 1, 3] and t.low['all'] <= t.correlation['all'] <= t.high['all']


def test_ties_of_a_predictor_go_to_fewer_texts():
    x, texts = np.array([0.2, 0.2, 0.1]), np.array([9, 4, 1])
    assert tables.ranked(x, texts, np.array([[0, 1, 2], [2, 2, 0]])).tolist() == [[1, 0, 2], [0, 2, 2]]
    assert tables.chosen_gain(x, np.array([0.5, 0.3, 0.0]), texts, np.arange(3)[None])[0] == 0.3
