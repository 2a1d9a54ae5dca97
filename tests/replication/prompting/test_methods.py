"""The findings about prompt methods in made-up worlds"""

import numpy as np
import pandas as pd
import pytest

from autogets.replication.prompting.methods import (
    method_claims,
    methods_by_classifier,
    methods_cells,
    methods_figure,
    methods_table,
    training_setting,
)
from autogets.replication.prompting.tasks import PAPER_METHODS, prompting_facts
from autogets.replication.prompting.training import (
    FAILS,
    HOLDS,
    INCONCLUSIVE,
    NOT_RECORDED,
    TrainingPlan,
    by_setting,
    claim_table,
)


def test_the_table_of_verdicts_has_every_finding(cells):
    table = claim_table('methods', by_setting(cells, method_claims))
    assert table.finding.tolist() == prompting_facts('methods').finding.tolist()
    assert set(table.verdict) <= {HOLDS, FAILS, INCONCLUSIVE}
    assert set(table.setting) == {"linear, the paper's methods"} and table.set_index('finding').tasks.to_dict() == {
        k: int(k != 'many-real-gain-below-5-percent') for k in table.finding
    }  # fewer than 500 real texts


def test_what_is_not_recorded_is_said(cells):
    table = claim_table('methods', by_setting(cells[cells.prompt_method != 'topic'], method_claims)).set_index(
        'finding'
    )
    assert table.ours['topic-prompt-best'] == NOT_RECORDED and table.tasks['topic-prompt-best'] == 0
    assert table.verdict['topic-prompt-best'] == INCONCLUSIVE and np.isnan(table.estimate['topic-prompt-best'])


def with_scores(cells, give):
    "`cells` with made-up scores: `give(setting, prompt method)`, and a little noise over seeds"
    rng, kinds = np.random.default_rng(5), training_setting(cells)
    score = [give(k, w) + rng.normal(0, 0.001) for k, w in zip(kinds, cells.prompt_method)]
    return cells.assign(
        score=score,
        share=0.0,
        n_real=np.where(kinds.str.endswith('high-resource'), 1000, cells.n_real),
        resampled=[s + np.random.default_rng(7).normal(0, 0.002, 200) for s in score],
    )


def published_world(kind, method):
    base = {
        'synthetic': 0.6,
        'real low-resource': 0.6,
        'mixed low-resource': 0.7,
        'real high-resource': 0.9,
        'mixed high-resource': 0.92,
    }[kind]
    return base + 0.03 * (method == 'topic') * (kind == 'mixed low-resource')


def test_a_world_like_the_published_one_gets_it_confirmed(cells):
    found = method_claims(with_scores(cells, published_world))
    assert {k: c.verdict for k, c in found.items()} == {
        'synthetic-alone-worse': HOLDS,
        'few-real-gain-3-to-26-percent': HOLDS,
        'many-real-gain-below-5-percent': HOLDS,
        'helps-more-where-real-are-few': HOLDS,
        'topic-prompt-best': HOLDS,
        'more-examples-do-not-help': HOLDS,
    }


def test_the_opposite_world_gets_it_refuted(cells):
    def world(kind, method):
        base = {
            'synthetic': 0.95,
            'real low-resource': 0.6,
            'mixed low-resource': 0.55,
            'real high-resource': 0.7,
            'mixed high-resource': 0.8,
        }[kind]
        return (
            base
            - 0.005 * (method == 'topic')
            + 0.1 * (kind == 'mixed low-resource') * (method == 'few-shot-5')
            - 0.02 * (kind == 'mixed low-resource') * (method == 'one-shot')
        )

    found = method_claims(with_scores(cells, world))
    assert {k: c.verdict for k, c in found.items()} == dict.fromkeys(
        [
            'synthetic-alone-worse',
            'few-real-gain-3-to-26-percent',
            'many-real-gain-below-5-percent',
            'helps-more-where-real-are-few',
            'topic-prompt-best',
            'more-examples-do-not-help',
        ],
        FAILS,
    )


def test_without_the_method_nothing_is_said_of_it(cells):
    found = method_claims(cells[~cells.prompt_method.isin(['topic', 'few-shot-5'])])
    for name in ('topic-prompt-best', 'more-examples-do-not-help'):
        assert found[name].verdict == INCONCLUSIVE and not found[name].tasks


def test_a_small_high_resource_setting_does_not_count(cells):
    found = method_claims(with_scores(cells, published_world).assign(n_real=120))
    assert found['many-real-gain-below-5-percent'].verdict == INCONCLUSIVE


def test_the_high_resource_setting_can_be_left_out(case):
    cells = methods_cells([case], [15], 120, TrainingPlan(seeds=(0, 1)), ['topic'], ('linear',))
    assert set(training_setting(cells)) == {'real low-resource', 'synthetic', 'mixed low-resource'}
    found = method_claims(cells)
    assert found['synthetic-alone-worse'].verdict == found['helps-more-where-real-are-few'].verdict == INCONCLUSIVE
    assert np.isfinite(methods_table(cells).gain.dropna()).all()


def test_gains_are_over_the_same_real_rows(cells):
    t = methods_table(cells).set_index(['prompt_method', 'setting'])
    for size in ('low-resource', 'high-resource'):
        assert t.gain['topic', f'mixed {size}'] == pytest.approx(
            t.score['topic', f'mixed {size}'] - t.score['none', f'real {size}']
        )
    assert t.gain.drop(index=[i for i in t.index if i[1].startswith('mixed')]).isna().all()
    assert ((t.low <= t.score) & (t.score <= t.high)).all()
    assert set(methods_by_classifier(t.reset_index())) == {
        'task',
        'prompt_method',
        'setting',
        'real',
        'texts',
        'linear',
    }


def test_the_figure_has_a_row_a_method_and_no_empty_ones(cells):
    two = pd.concat(
        [methods_table(cells), methods_table(cells[cells.prompt_method.isin(['', 'topic'])]).assign(task='small')]
    )
    fig = methods_figure(two)
    large, small = fig.axes
    assert [t.get_text() for t in large.get_yticklabels()] == PAPER_METHODS[::-1]
    assert [t.get_text() for t in small.get_yticklabels()] == ['topic']
    assert [a.get_title() for a in fig.axes] == ['made', 'small']
    shown = {l.get_label(): l for l in large.lines}
    assert set(shown) == {
        'real low-resource',
        'real high-resource',
        'synthetic',
        'mixed low-resource',
        'mixed high-resource',
    }
    d = two[(two.task == 'made') & (two.setting == 'synthetic')].set_index('prompt_method')
    assert list(shown['synthetic'].get_xdata()) == d.score[PAPER_METHODS[::-1]].tolist()
    assert {t.get_text() for t in fig.legends[0].get_texts()} == set(shown)
    assert fig.get_size_inches()[1] < 5
