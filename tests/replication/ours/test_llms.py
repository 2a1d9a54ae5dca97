"""Two LLMs: how alike they rank the strategies, and whose texts gain more"""

import json

import numpy as np
import pandas as pd
import pytest

from autogets.core import UserError
from autogets.replication.ours import llms as h
from autogets.replication.ours.winners_curse import demo_recording


@pytest.fixture(scope='module')
def corpus(tmp_path_factory):
    "Three ticket topics with recorded and EDA texts"
    return demo_recording(tmp_path_factory.mktemp('corpora') / 'topics', classes=3, rows=20)


def made_cells(skills, noise=0.005, splits=8, shift=0.0):
    "Cells of one corpus: true gains of four strategies for each of two LLMs"
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        [
            dict(corpus='corpus', model=m, seed=s, strategy=w, gain=x + shift * (m == 'one') + rng.normal(0, noise))
            for s in range(splits)
            for m, own in zip(('one', 'two'), skills)
            for w, x in zip('abcd', own)
        ]
    )


UP = [0, 0.02, 0.04, 0.06]


def test_llms_that_agree_are_not_said_to_differ():
    c = made_cells([UP, UP])
    r = h.rank_table(c, 300)
    assert (
        r.tau[0] > 0.9
        and r.across[0] > 0.8
        and r.p[0] > 0.05
        and r['best of first'][0] == r['best of second'][0] == 'd'
    )
    assert h.llm_findings(r, h.llm_differences(c))[0]['verdict'] == 'inconclusive'


def test_where_strategies_are_equal_llms_agree_as_little_as_one_with_itself():
    r = [h.ranking_agreement(np.random.default_rng(s).normal(0, 0.01, (10, 2, 5)), 200) for s in range(20)]
    assert abs(np.mean([x['within'] for x in r])) < 0.15 and abs(np.mean([x['across'] for x in r])) < 0.15
    assert 1 <= sum((x['swapped'] >= x['size']).mean() < 0.25 for x in r) <= 10, 'p is spread evenly'


def test_llms_that_reverse_the_ranking_are_noticed():
    c = made_cells([UP, UP[::-1]])
    r = h.rank_table(c, 300)
    assert r.tau[0] < -0.9 and r.within[0] > 0.9 and r.across[0] < -0.9 and r.p[0] < 0.02 and r.high[0] < 0
    assert h.llm_findings(r, h.llm_differences(c))[0]['verdict'] == 'holds'


def test_one_split_is_too_few_to_rank_llms():
    with pytest.raises(UserError, match='two splits'):
        h.rank_table(made_cells([UP, UP], splits=1))


def test_an_llm_that_helps_all_strategies_more_changes_no_ranking():
    c = made_cells([UP, UP], shift=0.03)
    r, w = h.rank_table(c, 300), h.llm_differences(c).set_index('strategy')
    assert r.p[0] > 0.05 and abs(w.difference['mean'] - 0.03) < 0.004 and w.low['mean'] > 0
    assert (w.better == 8).all()


def test_each_llm_has_its_own_pool_and_cells_resume(corpus, tmp_path, monkeypatch):
    how = dict(trainings=10, n=2, folds=2, folder=tmp_path)
    first = h.llm_cells([corpus], [0, 1], ['random', 'full-pool'], **how)
    assert h.llm_cells([corpus], [0, 1], ['random', 'full-pool'], workers=2, **how | dict(folder=None)).equals(first)
    monkeypatch.setattr(h, 'ComparisonSetting', lambda *a, **k: pytest.fail('trained again'))
    assert h.llm_cells([corpus], [0, 1], ['random', 'full-pool'], **how).equals(first)
    assert first[first.strategy == 'full-pool'].groupby('model').gain.mean().nunique() == 2
    assert len(list(tmp_path.iterdir())) == 8 and (first[first.strategy == 'random'].trainings == 10).all()
    stored = json.loads(next(tmp_path.iterdir()).read_text())
    assert set(stored) == {'key', 'rows'}


def test_a_corpus_of_one_llm_is_refused():
    with pytest.raises(UserError, match='takes two'):
        h.recorded_llms('tickets')


def test_an_unknown_strategy_is_refused_before_any_work(corpus):
    with pytest.raises(UserError, match='strategy'):
        h.llm_cells([corpus], [0], ['annealing'])
