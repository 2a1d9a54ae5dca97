"The published numbers in data/papers: complete, and consistent with what the papers say about them in words"

import pandas as pd
import pytest
from autogets.core import project_root, shipped
from autogets.metrics import OBJECTIVES

FOLDER = shipped('papers/sources.csv').parent
TABLES = {p.stem: pd.read_csv(p) for p in sorted(FOLDER.glob('*.csv'))}
STRATEGIES, GENERATORS = {'random', 'sliding-window', 'hierarchical', 'genetic'}, {'eda', 'llm'}
CELLS = {
    'table9': 28,
    'table10': 48,
    'table11': 48,
    'figure15': 57,
    'figure33': 56,
    'figure16': 8,
    'multiobjective': 255,
}


def test_every_table_has_a_source_and_the_other_way_round():
    assert set(TABLES['sources']['table']) == set(TABLES) - {'sources'}
    assert set(TABLES['sources']['read']) <= {'printed', 'digitised'}
    assert TABLES['sources'][['paper', 'where', 'content']].notna().all(axis=None)


@pytest.mark.parametrize('name', CELLS)
def test_tables_are_tidy(name):
    t = TABLES[name]
    keys = [c for c in t if c not in ('published', 'note')]
    assert len(t) == CELLS[name]
    assert not t.duplicated(keys).any()
    assert t[keys].notna().all(axis=None)
    assert t['published'].dtype.kind in 'if'
    if 'generator' in t:
        assert set(t['strategy']) - {'none'} == STRATEGIES and set(t['generator']) - {'none'} <= GENERATORS
    if 'objective' in t:
        assert set(t['objective']) <= set(OBJECTIVES)


def test_table_9_obeys_the_identity_of_the_objectives():
    t = TABLES['table9'].pivot(index='class', columns='metric', values='published')
    acc = t.loc['all', 'recall']
    assert t.loc['all', 'f1'] == acc
    assert abs((acc + 1 - (1 - acc) / 5) / 2 - t.loc['all', 'overall-balanced-accuracy']) < 0.001
    assert t['size'].drop('all').sum() == 5452 and t.loc['all', 'size'] == 5542  # the paper's slip, kept as printed
    assert (t['balanced-accuracy'].drop('all') > t['recall'].drop('all')).all()


def test_table_9_was_measured_on_the_split_with_seed_42():
    """Every printed recall is a whole number of the class's texts in that split's test part, and together they give the
    printed accuracy"""
    sizes = {'ABBR': 23, 'DESC': 227, 'ENTY': 246, 'HUM': 240, 'LOC': 166, 'NUM': 189}
    recall = TABLES['table9'].query('metric == "recall"').set_index('class')['published']
    found = {c: round(recall[c] * n) for c, n in sizes.items()}
    assert all(abs(found[c] / n - recall[c]) <= 0.0005 for c, n in sizes.items())
    assert abs(sum(found.values()) / sum(sizes.values()) - recall['all']) <= 0.0005


@pytest.mark.parametrize(
    'name, over_random, over_eda',
    [
        (
            'table10',
            {
                'sliding-window': 0.50,
                'genetic': 0.24,
            },  # the text's .23 for hierarchical is a slip: its own table gives .285, and .21 over EDA fits
            {'random': 0.06, 'sliding-window': 0.28, 'hierarchical': 0.21, 'genetic': 0.37},
        ),
        (
            'table11',
            {'sliding-window': 2.24, 'hierarchical': 1.98, 'genetic': 1.32},
            {'random': 0.19, 'sliding-window': 1.50, 'hierarchical': 0.75, 'genetic': 0.97},
        ),
    ],
)
def test_class_means_are_those_of_the_papers_text(name, over_random, over_eda):
    mean = 100 * TABLES[name].groupby(['generator', 'strategy'])['published'].mean()
    assert {s: mean['llm', s] - mean['llm', 'random'] for s in over_random} == pytest.approx(over_random, abs=0.006)
    assert {s: mean['llm', s] - mean['eda', s] for s in over_eda} == pytest.approx(over_eda, abs=0.006)


def test_figures_agree_with_what_is_said_of_their_best_gains():
    t = TABLES['figure15']
    m0 = t.loc[t['class'] == 'all', 'published'].item()
    best = t[t['strategy'] != 'none'].groupby('class')['published'].max() - m0
    assert best.idxmin() == 'T1'
    assert best.idxmax() == 'T10'
    assert 0.0028 < best.min() < 0.0030
    assert 0.0043 < best.max() < 0.0045
    below = t[(t['published'] < m0)]
    assert below[['class', 'strategy']].values.tolist() == [['T10', 'random']]
    assert 'T4' not in set(t['class']) | set(TABLES['figure33']['class']) and t['class'].nunique() == 15


def test_the_multi_objective_steps_form_a_chain():
    t = TABLES['multiobjective']
    wide = t.pivot(index=['step', 'class'], columns='metric', values='published')
    for step in set(t['step']) - {'m0', 'itr3'}:
        row = wide.loc[step, 'all']
        assert (row['accuracy'] + 1 - (1 - row['accuracy']) / 14) / 2 == pytest.approx(
            row['overall-balanced-accuracy'], abs=2e-6
        ), step
    chain = ['m0', 'itr7', 'itr8', 'itr9', 'itr4', 'itr5']
    for before, after in zip(chain, chain[1:]):
        for c in ('T12', 'T7'):
            assert wide.loc[(after, c), 'recall'] - wide.loc[(before, c), 'recall'] == pytest.approx(
                wide.loc[(after, c), 'recall change'], abs=6e-5
            ), (after, c)
    sizes = wide.loc['m0', 'size'].drop(['all', 'macro', 'weighted'])
    assert sizes.sum() == wide.loc[('m0', 'all'), 'size']
    for step in chain:
        recalls = wide.loc[step, 'recall'].reindex(sizes.index)
        assert (recalls * sizes).sum() / sizes.sum() == pytest.approx(wide.loc[(step, 'all'), 'recall'], abs=1e-4), step
        assert recalls.mean() == pytest.approx(wide.loc[(step, 'macro'), 'recall'], abs=1e-4), step


def test_table_9_is_reproduced_within_tolerance_by_one_of_the_authors_seeds():
    ours = (
        pd.read_csv(project_root() / 'data' / 'results' / 'autogets' / 'baseline-runs.csv')
        .query('seed == 10 and protocol == "paper"')
        .iloc[0]
    )
    published = TABLES['table9'].query('`class` == "all"').set_index('metric').published
    assert abs(ours['overall-balanced-accuracy'] - published['overall-balanced-accuracy']) <= 0.005
    assert abs(ours['f1'] - published['f1']) <= 0.01
