"""The committed findings of the AutoGeTS paper are what its committed tables give"""

from dataclasses import asdict
import pandas as pd
import pytest
from autogets.core import project_root, read_json
from autogets.replication.autogets.gain_findings import (
    CORPUS_NAMES,
    GainCells,
    highest_findings,
    order_findings,
    raised_findings,
    random_findings,
    reached_findings,
    review_findings,
)
from autogets.replication.autogets.knowledge_choice import advice_findings, assignment_findings, size_findings
from autogets.replication.autogets.multi_objective import objective_findings
from autogets.replication.autogets.multi_phase import phase_findings
from autogets.replication.autogets.training_findings import baseline_findings, cost_findings
from autogets.replication.results import make_finding
from autogets.replication.scoreboard import load_claims
from autogets.search.knowledge import KnowledgeMap

CBA, OBA = 'balanced-accuracy', 'overall-balanced-accuracy'
FOLDER = project_root() / 'data' / 'results' / 'autogets'


def table(name):
    return pd.read_csv(FOLDER / f'{name}.csv')


def record(name):
    return read_json(FOLDER / f'{name}.json')


def baseline(name):
    return baseline_findings(table(name), table(f'{name}-runs'), record(name)['parameters']['corpus'])


def search(name):
    out = []
    for t, objective in (('table10', OBA), ('table11', CBA)):
        cells = GainCells(table(f'{name}-{t}'), objective, CORPUS_NAMES['trec6'])
        out += [*reached_findings(cells), *order_findings(cells), *highest_findings(cells)]
    return out


def tickets(name):
    cells = GainCells(table(f'{name}-figure15'), OBA, CORPUS_NAMES['tickets'])
    return [
        *order_findings(cells),
        *raised_findings(table(f'{name}-gains')),
        *random_findings(table(f'{name}-figure16')),
    ]


def cost(name):
    return cost_findings(table(name), table(f'{name}-agreement'))


def knowledge(name):
    known, lost = KnowledgeMap(table(f'{name}-map')), table(f'{name}-regret')
    budget, n = record(name)['parameters']['evaluations'], known.table[lost.left_out[0]].nunique()
    return [*assignment_findings(table(name)), *size_findings(known, budget), *advice_findings(lost, n)]


def multiphase(name):
    return phase_findings(table(f'{name}-runs'), table(f'{name}-differences'))


def multiobjective(name):
    return objective_findings(table(f'{name}-runs'), table(f'{name}-differences'))


def amazon(name):
    return review_findings(table(name), CORPUS_NAMES['amazon_reviews'], record(name)['parameters']['split'])


MADE_BY = {
    'baseline': baseline,
    'baseline-tickets': baseline,
    'search': search,
    'tickets': tickets,
    'evaluation-cost': cost,
    'knowledge-map': knowledge,
    'multiphase': multiphase,
    'multiobjective': multiobjective,
    'amazon': amazon,
}
COUNTS = {'search': 34, 'tickets': 14, 'knowledge-map': 13, 'multiphase': 13, 'multiobjective': 6}


def recorded(finding):
    "A finding as a record says it"
    given = dict(finding)
    return asdict(make_finding(given.pop('claim'), verdict_given=given.pop('verdict', None), **given))


def test_every_experiment_of_the_paper_is_here():
    assert set(MADE_BY) == {p.stem for p in FOLDER.glob('*.json')}


@pytest.mark.parametrize('name', MADE_BY)
def test_the_tables_give_the_committed_findings(name):
    found, committed = [recorded(f) for f in MADE_BY[name](name)], record(name)['findings']
    assert [(f['claim'], f['protocol']) for f in found] == [(f['claim'], f['protocol']) for f in committed]
    assert len(found) == COUNTS.get(name, len(found))
    for ours, theirs in zip(found, committed):
        words = {k: v for k, v in ours.items() if not isinstance(v, float)}
        assert words == {k: theirs[k] for k in words}, ours['claim']
        numbers = {k: v for k, v in ours.items() if isinstance(v, float)}
        # tables keep six digits of scores, so differences of scores are good to some 1e-8
        assert numbers == pytest.approx({k: theirs[k] for k in numbers}, rel=1e-5, abs=1e-7), ours['claim']


def test_the_rows_of_the_scoreboard_find_their_claims():
    rows = [r for r in load_claims()['autogets']['rows'] if 'ensemble' not in r['row']]
    claims = {f['claim'] for name in MADE_BY for f in record(name)['findings']}
    assert {c for r in rows for c in r['claims']} <= claims


def test_few_classes_give_no_verdict():
    cells = GainCells(table('search-table11').query('`class` in ["LOC", "NUM"]'), CBA, 'TREC-6')
    found = [recorded(f) for f in reached_findings(cells)]
    assert {f['verdict'] for f in found} == {'inconclusive'}
    assert all(f['low'] is None for f in found)


def test_without_published_numbers_nothing_is_claimed_about_them():
    cells = GainCells(table('search-table11').assign(published=float('nan')), CBA, 'TREC-6')
    assert highest_findings(cells) == []
    assert {f['protocol'] for f in reached_findings(cells)} == {'honest'}
    assert baseline_findings(table('baseline-tickets'), table('baseline-tickets-runs'), 'tickets') == []
