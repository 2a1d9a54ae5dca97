"""The share of synthetic texts: controls that match, the best share, verdicts at their borders, a true figure"""

import numpy as np
import pandas as pd
import pytest

from autogets.core import UserError
from autogets.replication.mixing import ratio as d
from autogets.replication.mixing.curves import add_auc
from autogets.stats import Estimate

SMALL = dict(human=20, validation=20)


# -- what is added


@pytest.mark.parametrize(
    'share, human, n', [(0.8, 50, 200), (0.95, 50, 950), (0.0, 50, 0), (0.5, 50, 50), (0.2, 50, 12), (0.8, 23, 92)]
)
def test_shares(share, human, n):
    assert d.number_for_share(share, human) == n


@pytest.mark.parametrize('share', [1.0, -0.1, 1.5])
def test_impossible_shares(share):
    with pytest.raises(UserError, match='cannot be'):
        d.number_for_share(share, 50)


def test_extra_real_texts_follow_the_classes_of_the_synthetic_ones(s):
    a, b = (d.ADDED_TEXTS[k](s, 40, 3) for k in ('synthetic', 'extra-real'))
    assert list(a.label) == list(b.label) and not b.id.duplicated().any() and set(b.id) <= set(s.extra_real.id)
    short = d.draw_like(['x', 'y', 'x'], pd.DataFrame({'id': [1, 2], 'label': ['x', 'y']}))
    assert list(short.label) == ['x', 'y']


def test_repeated_real_texts_come_round_after_round(s):
    rows = d.repeat_rounds(s.human, 50, 0)
    assert len(rows) == 50 and set(rows.id[:20]) == set(rows.id[20:40]) == set(s.human.id)
    assert list(rows.id[:20]) != list(rows.id[20:40])


def test_kinds_of_curves_of_a_plan():
    kinds = d.RatioPlan(['tickets'], stop_on=['validation', 'test']).kinds()
    assert len(kinds) == 8 and ('mixing', 'repeated-real', 'validation') not in kinds
    assert [k for k in kinds if k[2] == 'test'] == [('stepwise', 'synthetic', 'test')]
    with pytest.raises(UserError, match='kind of added texts'):
        d.RatioPlan(['tickets'], added=['other']).kinds()


def test_arms_begin_with_the_same_classifier():
    curves = d.compare_ratios(d.RatioPlan(['tickets'], splits=1, training_modes=['stepwise'], points=[0, 25], **SMALL))
    first, second = ([r.scores[i] for r in curves.itertuples() if len(r.scores) > 1] for i in (0, 1))
    assert all(x == first[0] for x in first) and len({tuple(x) for x in second}) == len(first) >= 3


# -- tables


def test_the_leak_reaches_the_result():
    plan = d.RatioPlan(['tickets'], points=[0, 25, 50], shares=[0.0, 0.5], stop_on=['validation', 'test'], **SMALL)
    curves = add_auc(d.compare_ratios(plan))
    leaked = curves[curves.stop_on == 'test']
    assert set(leaked.training_mode) == {'stepwise'} and set(leaked.texts) == {'synthetic'}
    table = d.leak_table(curves).set_index('reported')
    assert table.difference['human alone'] >= 0
    assert abs(table.on_test - table.on_validation - table.difference).max() < 1e-9
    assert set(d.ratio_table(curves).seeds) == {3}, 'curves that stopped on test are not mixed into the others'


def test_a_control_that_gains_more_shows_in_the_summary(cell):
    rng, truth = np.random.default_rng(0), np.arange(300) % 2

    def curve(kind, height, seed):
        return cell([list(h * truth + rng.normal(size=300)) for h in (0.3, height)], [0, 25], seed=seed, texts=kind)

    rows = [curve(k, h, seed) for seed in range(4) for k, h in (('synthetic', 1.0), ('extra-real', 3.0))]
    row = d.ratio_summary(add_auc(pd.DataFrame(rows), 300)).iloc[0]
    assert row.mean_gain_low > 0 and row.over_extra_real_high < 0 and np.isnan(row.over_repeated_real)


def peaked(cell, at, height, seed):
    "Curves whose AUC is highest at the point `at`"
    rng, points, truth = np.random.default_rng(seed), [0, 25, 50, 75, 100, 125, 200, 450], np.arange(400) % 2
    scores = [list((height if n == at else 0.3) * truth + rng.normal(size=400)) for n in points]
    return cell(scores, points, seed=seed)


@pytest.mark.parametrize(
    'at, height, verdict', [(200, 2.0, 'holds'), (450, 2.0, 'does not hold'), (200, 0.3, 'inconclusive')]
)
def test_the_best_share_is_found(cell, at, height, verdict):
    row = d.best_share_table(add_auc(pd.DataFrame([peaked(cell, at, height, k) for k in range(4)]), 300)).iloc[0]
    assert row.verdict == verdict and row.share == pytest.approx(0.8)
    if height > 1:
        assert row.best_share == pytest.approx(at / (at + 50)) and (row.peak > 0.9) == (at == 200)


def test_the_point_nearest_to_a_share():
    assert d.nearest_point([0, 125, 175, 200, 225, 450], 50, 0.8) == 200
    assert d.nearest_point([0, 125, 200, 450], 50, 0.7) == 125 and d.nearest_point([0, 75, 100], 23, 0.8) == 100


def test_too_few_points_are_refused(cell):
    curves = add_auc(pd.DataFrame([cell([[0.1, 0.2, 0.3, 0.4]], [0])]))
    with pytest.raises(UserError, match='two steps'):
        d.best_share_table(curves)
    assert 'difference' in d.leak_table(curves) and not len(d.leak_table(curves))


# -- verdicts


def b(low, high):
    return Estimate(0.0, low, high)


@pytest.mark.parametrize(
    'neighbors, rivals, verdict',
    [
        ([b(0.001, 0.1)] * 2, [b(0, 0.1)], 'holds'),
        ([b(0.0, 0.1)] * 2, [b(0, 0.1)], 'inconclusive'),
        ([b(0.001, 0.1), b(-0.01, 0.1)], [b(0, 0.1)], 'inconclusive'),
        ([b(0.001, 0.1)] * 2, [b(-0.1, 0.0)], 'holds'),
        ([b(0.001, 0.1)] * 2, [b(-0.1, -0.001)], 'does not hold'),
        ([], [b(0, 1)], 'inconclusive'),
        ([b(0.001, 0.1)], [b(0, 0.1)], 'inconclusive'),
    ],
)
def test_the_verdict_on_80_percent(neighbors, rivals, verdict):
    assert d.share_verdict(neighbors, rivals) == verdict


def test_findings_count_the_verdicts():
    best = pd.DataFrame({'verdict': ['holds', 'inconclusive', 'inconclusive']})
    names = ['mean_gain', 'over_extra_real', 'over_repeated_real']
    ends = {f'{n}_{e}': v for n in names for e, v in (('low', [0.1, -0.2]), ('high', [0.2, -0.1]))}
    leak = pd.DataFrame({'reported': ['human alone', 'mean gain'], 'low': [0.1, -2.0], 'high': [0.2, -1.0]})
    found = d.ratio_findings(best, pd.DataFrame(ends), leak).set_index('claim')
    assert found.iloc[0].tolist() == [3, 1, 0, 2] and (found.iloc[1:4] == [2, 1, 1, 0]).all(axis=None)
    assert found.iloc[4].tolist() == [1, 1, 0, 0]


# -- figure


def test_the_figure_draws_each_kind_of_text():
    row = dict(corpus='parrot_x', classifier='linear', human=50, seeds=3)
    kinds = [('synthetic', 0.7), ('extra-real', 0.8)]
    table = pd.DataFrame(
        [
            row
            | dict(
                training_mode=mode,
                texts=k,
                share=share,
                added=200 * (share > 0),
                auc=auc,
                low=auc - 0.1,
                high=auc + 0.1,
            )
            for mode in ('stepwise', 'mixing')
            for k, auc in kinds
            for share in (0.0, 0.8)
        ]
    )
    axes = d.curves_figure(table).axes
    lines = {line.get_label(): line for line in axes[0].get_lines()}
    assert len(axes) == 2 and axes[0].get_title() == 'x\nlinear, stepwise'
    for k, auc in kinds:
        assert list(lines[k].get_xdata()) == [0, 80] and list(lines[k].get_ydata()) == [auc] * 2
        assert lines[k].get_color() == d.TEXT_COLORS[k]
