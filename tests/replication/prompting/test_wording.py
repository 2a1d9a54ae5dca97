"""The spread between wordings"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from autogets.core import UserError
from autogets.replication.prompting.training import INCONCLUSIVE, TrainingPlan
from autogets.replication.prompting.wording import (
    variance_components,
    wording_cells,
    wording_claims,
    wording_figure,
    wording_summary,
    wording_table,
)


def test_components_find_the_wording_and_nothing_where_there_is_none():
    rng = np.random.default_rng(2)
    there, none = rng.normal(0, 0.03, (30, 1)) + rng.normal(0, 0.01, (30, 8)), rng.normal(0, 0.01, (30, 8))
    a, b = variance_components(there), variance_components(none)
    assert a['sd_wording'] == pytest.approx(0.03, rel=0.3)
    assert a['sd_draw'] == pytest.approx(0.01, rel=0.2)
    assert a['part_low'] > 0.5
    assert a['p'] < 1e-6
    assert b['part'] < 0.2 and b['part_low'] == 0 and b['p'] > 0.01


def test_draws_of_one_bank_are_not_taken_for_wordings():
    """Each wording has a bank of 50 texts of random worth, and no wording is better: sums over 40 of the 50 differ
    between wordings all the same"""
    rng, wrong, right = np.random.default_rng(4), 0, 0
    for _ in range(60):
        banks = rng.normal(0, 1, (6, 50))
        gains = np.array([[rng.permutation(b)[:40].mean() for _ in range(5)] for b in banks])
        wrong += variance_components(gains)['p'] < 0.05
        right += variance_components(gains, 0.8)['p'] < 0.05
    assert wrong > 50 and right < 15


def test_one_wording_has_no_spread():
    with pytest.raises(UserError, match='no spread'):
        variance_components(np.zeros((1, 5)))


def test_wordings_are_compared_within_a_model(case):
    two = replace(
        case,
        texts=pd.concat(
            [case.texts.assign(model=m, prompt_method=m + ', ' + case.texts.prompt_method) for m in ('m', 'n')],
            ignore_index=True,
        ),
    )
    cells = wording_cells([two], [30], TrainingPlan(seeds=(0, 1, 2)), ['topic', 'one-shot'])
    a, b = wording_table(cells), wording_table(cells, 'method')
    assert a.model.tolist() == ['m', 'n']
    assert b.method.tolist() == ['topic', 'one-shot']
    assert set(a.wordings) == set(b.wordings) == {2}
    assert wording_claims(cells)['label-condition-better'].verdict == INCONCLUSIVE
    assert wording_summary(a).groups.tolist() == [2]
    assert wording_summary(a.assign(p=[1e-6, 0.9])).significant.tolist() == [1]
    (ax,) = wording_figure(a).axes
    assert [t.get_text() for t in ax.get_yticklabels()] == ['made: m', 'made: n']
    assert [list(l.get_xdata()) for l in ax.lines] == [a.sd_wording.tolist(), a.sd_draw.tolist()]
    with pytest.raises(UserError, match='unknown grouping'):
        wording_table(cells, 'color')
