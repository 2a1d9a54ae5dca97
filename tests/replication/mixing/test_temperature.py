"""Texts of several temperatures: variance within and between runs, verdicts at their borders, new and balanced texts"""

import numpy as np
import pandas as pd
import pytest
from servers import serving

from autogets.core import UserError
from autogets.llm.live import Live
from autogets.replication.mixing import temperature as d
from autogets.replication.survey.generation_methods import distinct_2


@pytest.fixture
def table():
    "A calm source at .3 and a wild one at .7"
    curves = (('causal-lm@0.3', [0.6, 0.61, 0.62, 0.61]), ('causal-lm@0.7', [0.6, 0.5, 0.7, 0.55]))
    rows = [
        dict(
            corpus='c',
            classifier='l',
            training_mode='stepwise',
            texts=t,
            seed=k,
            auc=np.array(x),
            draws=np.tile(x, (10, 1)),
            points=[0, 25, 50, 75],
            available=75,
            distinct_2=0.5,
        )
        for t, x in curves
        for k in range(4)
    ]
    return d.temperature_table(pd.DataFrame(rows))


def test_variance_and_steps_below_the_real_texts(table):
    assert d.within_run_sd([0.5, 0.6, 0.8], [0, 25, 50]) == pytest.approx(np.std([0.6, 0.8], ddof=1))
    t = table.set_index('texts')
    assert list(t.share_below) == [0.0, pytest.approx(2 / 3)]
    assert t.sd_rise['causal-lm@0.3'] == 0 and t.sd_rise_low['causal-lm@0.7'] > 0.05
    assert t.gain['causal-lm@0.3'] == pytest.approx(np.mean([0.61, 0.62, 0.61]) - 0.6)


def test_findings_of_a_calm_and_a_wild_source(table):
    row = d.temperature_findings(table)
    assert len(row) == 1 and row.source.item() == 'causal-lm' and row.lowest.item() == 0.3
    assert row[['stable_limited_gain', 'more_variance']].iloc[0].tolist() == ['holds', 'holds']


class Row:
    def __init__(self, **k):
        row = dict(gain_low=0.01, gain_high=0.05, sd_rise_low=0.001, sd_rise_high=0.01, share_below=0.2)
        self.__dict__.update(row | k)


@pytest.mark.parametrize(
    'low, free, verdict',
    [
        (Row(), [Row()], 'holds'),
        (Row(gain_low=0.0), [Row()], 'inconclusive'),
        (Row(), [Row(), Row(sd_rise_low=0.0)], 'inconclusive'),
        (Row(), [], 'inconclusive'),
        (Row(gain_low=-0.1, gain_high=-0.001), [Row()], 'does not hold'),
        (Row(), [Row(sd_rise_low=-0.1, sd_rise_high=-0.01)], 'does not hold'),
        (Row(), [Row(sd_rise_low=np.nan, sd_rise_high=np.nan)], 'inconclusive'),
    ],
)
def test_the_verdict_on_low_temperatures(low, free, verdict):
    assert d.low_temperature_verdict(low, free) == verdict


@pytest.mark.parametrize(
    'free, verdict',
    [
        ([Row()], 'holds'),
        ([Row(share_below=0.0)], 'does not hold'),
        ([Row(sd_rise_low=0.0)], 'inconclusive'),
        ([Row(sd_rise_low=-0.1, sd_rise_high=-0.001)], 'does not hold'),
        ([], 'inconclusive'),
        ([Row(share_below=0.0), Row()], 'holds'),
        ([Row(share_below=0.0), Row(sd_rise_low=0.0)], 'inconclusive'),
    ],
)
def test_the_verdict_on_high_temperatures(free, verdict):
    assert d.high_temperature_verdict(free) == verdict


def test_written_texts_are_new_and_balanced(s, tmp_path):
    cool, hot = (d.write_texts(s, f'causal-lm@{t}', 40, folder=tmp_path) for t in (0.3, 1.3))
    real = {*s.human.id, *s.validation.id, *s.test.id, *s.extra_real.id}
    for rows in (cool, hot):
        assert rows.label.value_counts().nunique() == 1 and 0 < len(rows) <= 40
        assert not set(rows.id) & real and not rows.id.duplicated().any()
    assert distinct_2(hot.text) > distinct_2(cool.text)
    with pytest.raises(UserError, match='live model'):
        d.write_texts(s, 'few-shot-3@0.7', 4)


def test_a_live_model_writes(s, tmp_path):
    with serving() as served:
        rows = d.write_texts(s, 'zero-shot@0.7', 12, live=Live('openai:m', tmp_path, served.url))
    assert set(rows.label.value_counts()) == {6}


def test_the_figure_draws_gain_and_standard_deviations(table):
    left, right = d.temperature_figure(table).axes
    assert [t.get_text() for t in left.get_yticklabels()] == ['causal-lm@0.7', 'causal-lm@0.3']
    assert list(left.get_lines()[0].get_xdata()) == list(table.gain[::-1])
    assert [p.get_width() for p in right.patches] == list(table.within_run_sd[::-1])


def test_a_color_for_each_temperature():
    colors = d.temperature_colors(['causal-lm@1.0', 'causal-lm/pool@0.3', 'causal-lm@0.3', 'recorded'])
    assert colors['causal-lm@0.3'] == colors['causal-lm/pool@0.3'] == d.TEMPERATURE_COLORS[0]
    assert colors['causal-lm@1.0'] == d.TEMPERATURE_COLORS[1] and colors['recorded'] not in d.TEMPERATURE_COLORS
