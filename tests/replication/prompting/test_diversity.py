"""Diversity of texts, and rank correlations with the gain"""

from dataclasses import replace

import numpy as np
import pytest

from autogets.replication.prompting.diversity import (
    diversity_claims,
    diversity_table,
    gain_scatter_figure,
    mean_cosine,
    rank_correlations,
    rank_test,
    with_gains,
)
from autogets.replication.prompting.training import HOLDS, INCONCLUSIVE


def test_permutation_p_is_exact_for_few_and_honest_for_many():
    assert rank_test([([1, 2, 3, 4], [4, 3, 2, 1])]) == {
        'correlation': pytest.approx(-1),
        'p': pytest.approx(2 / 24),
        'pairs': 4,
    }
    rng = np.random.default_rng(0)
    p = [rank_test([(rng.random(9), rng.random(9)) for _ in range(3)], n=200, seed=k)['p'] for k in range(60)]
    assert 0.02 < np.mean(np.array(p) < 0.2) < 0.4
    assert np.isnan(rank_test([])['p']) and rank_test([([1, 1, 1], [1, 2, 3])])['p'] == 1


def test_between_tasks_nothing_is_compared():
    low, high = ([1, 2, 3, 4], [4, 3, 2, 1]), ([101, 102, 103, 104], [104, 103, 102, 101])
    assert rank_test([low, high])['correlation'] == pytest.approx(-1)


def test_mean_cosine_is_that_of_all_pairs():
    v = np.random.default_rng(0).normal(size=(12, 5))
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    pairs = [v[i] @ v[j] for i in range(12) for j in range(i)]
    assert mean_cosine(v, ['x'] * 12)[0] == pytest.approx(np.mean(pairs))


def test_copies_are_seen(case):
    real = case.real.set_index('id').text
    copied = replace(
        case, texts=case.texts.assign(text=[real.get(l, t) for t, l in zip(case.texts.text, case.texts.lead)])
    )
    t = diversity_table(copied, 30).set_index('prompt_method')
    assert t.copies['one-shot'] == pytest.approx(1)
    assert t.nearest['one-shot'] == pytest.approx(1)
    assert np.isnan(t.copies['topic'])
    assert t.cosine['one-shot'] == pytest.approx(1)
    found = diversity_claims(t.reset_index())
    assert found['one-shot-copies'].verdict == HOLDS
    without = t.reset_index().query('prompt_method != "one-shot"')
    assert diversity_claims(without)['one-shot-copies'].verdict == INCONCLUSIVE


def test_gains_join_by_way(case, cells):
    t = with_gains(diversity_table(case, 30), cells)
    assert t[t.prompt_method == 'real'].gain.isna().all()
    assert t[t.prompt_method != 'real'].gain.notna().all()
    assert len(rank_correlations(t, ['cosine', 'words'])) == 2


def test_every_method_with_a_gain_is_drawn_and_named(case, cells):
    t = with_gains(diversity_table(case, 30), cells)
    (ax,) = gain_scatter_figure(t, 'cosine', 'x').axes
    d = t[t.prompt_method != 'real']
    assert list(ax.lines[0].get_xdata()) == d.cosine.tolist() and list(ax.lines[0].get_ydata()) == d.gain.tolist()
    assert {a.get_text() for a in ax.texts} == set(d.prompt_method) and len(ax.collections[0].get_segments()) == len(d)
