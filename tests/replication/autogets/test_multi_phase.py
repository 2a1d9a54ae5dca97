"""The paper's chains of phases: the published orders, who may look at test, what a killed chain keeps, and findings
that follow their tables"""

from dataclasses import replace
import numpy as np
import pandas as pd
import pytest
from autogets.core import UserError, read_json, shipped
from autogets.replication.autogets import chains
from autogets.replication.autogets.chains import (
    MULTIOBJECTIVE,
    MULTIPHASE,
    Ground,
    multiobjective_rules,
    multiphase_rules,
    phases_of,
    run_plan,
)
from autogets.replication.autogets.knowledge_choice import advice_findings, assignment_findings, knowledge_study
from autogets.replication.autogets.multi_phase import (
    guided_steps,
    multiphase_study,
    phase_findings,
    phases_table,
    plan_differences,
)
from autogets.replication.results import make_finding
from autogets.search.evaluator import Evaluator
from autogets.search.phases import Goal, Phase

CBA, OBA = 'balanced-accuracy', 'overall-balanced-accuracy'
STEPS = (('T12', 'genetic', CBA), ('T12', 'random', None))


def published(name):
    return pd.read_csv(shipped(f'papers/{name}.csv'))


@pytest.fixture(scope='module')
def ground():
    return Ground('tickets', 11, n=2)


def relabeled(ground, seed=0):
    "The same split with the labels of its test rows shuffled"
    other, test = Ground('tickets', 11, n=2), ground.corpus.test
    other.corpus = replace(ground.corpus, test=test.assign(label=np.random.default_rng(seed).permutation(test.label)))
    return other


def chain(ground, protocol, steps=STEPS, evaluations=4, **kwargs):
    label = ground.codes[steps[0][0]]
    return run_plan(
        ground,
        phases_of(steps, ground.codes, evaluations),
        Goal(CBA, label),
        multiphase_rules(label),
        protocol,
        seed=11,
        **kwargs,
    )


def test_the_plans_are_in_the_published_order():
    def said(plan):
        return ' '.join(f'{s[:2]}-{t}' for t, s, _ in plan)

    assert said(MULTIPHASE['A']) == 'ge-T13 ge-T12 sl-T10 ge-T11 sl-T5'
    assert said(MULTIPHASE['C']) == 'sl-T5 ge-T14 hi-T4 ge-T7 sl-T1'
    assert [o for _, _, o in MULTIPHASE['C']] == [OBA, 'recall', OBA, CBA, CBA]
    assert [set(MULTIPHASE[b]) for b in ('B1', 'B2', 'B3')] == [
        {('T13', 'sliding-window', None)},
        {('T13', 'hierarchical', CBA)},
        {('T13', 'genetic', CBA)},
    ]
    assert said(MULTIOBJECTIVE['A']) == ' '.join(['hi-T12 ge-T12 sl-T12 sl-T7 hi-T7 ge-T7'] * 2)
    assert said(MULTIOBJECTIVE['B']) == ' '.join(['hi-T12'] * 3 + ['sl-T7'] * 3)


def test_recorded_facts_of_the_multi_phase_runs_fit_together():
    t = published('multiphase').set_index(['plan', 'split', 'figure', 'statistic']).published
    for split, n in (('validation', 6256), ('test', 7820)):
        v = t['baseline', split, 'accuracy', 'value']
        assert abs(round(v * n) / n - v) < 6e-7, 'an accuracy is a whole number of texts'
    recalls = t.loc[['B2', 'B3'], 'validation', 'recall'].drop('mean', level='statistic')
    assert ((recalls * 28 - (recalls * 28).round()).abs() < 1e-3).all()
    theirs = published('multiobjective').query('step == "m0" and `class` == "T13"').set_index('metric').published
    assert t['baseline', 'test', CBA, 'value'] == theirs[CBA]
    assert t['baseline', 'test', 'recall', 'value'] == theirs['recall']
    assert t['B3', 'validation', CBA, 'best'] < (t['B3', 'validation', 'recall', 'best'] + 1) / 2


def test_the_honest_chain_never_reads_test(ground):
    mine, other = chain(ground, 'honest'), chain(relabeled(ground), 'honest')
    looks = [k for k in mine['rows'][0] if ':' in k or k in ('accuracy', OBA)]
    assert [{k: v for k, v in r.items() if k not in looks} for r in mine['rows']] == [
        {k: v for k, v in r.items() if k not in looks} for r in other['rows']
    ]
    assert mine['rows'][0]['accuracy'] != other['rows'][0]['accuracy'], 'the labels did change'


def test_the_honest_choices_are_the_same_whatever_test_says(ground):
    args = phases_of(STEPS, ground.codes, 4), Goal(CBA, ground.codes['T12']), None, None, 11
    mine, other = (chains._honest(g, *args)[0] for g in (ground, relabeled(ground)))
    assert [s[:3] for s in mine] == [s[:3] for s in other] and mine[-1][2], 'nothing was chosen: the comparison is void'


def test_the_published_chain_does_read_test(ground):
    label = ground.codes['T12']
    args = phases_of(STEPS, ground.codes, 4), Goal(CBA, label), multiphase_rules(label), None, 11
    assert len({chains._published(g, *args)[0][-1][2] for g in (ground, relabeled(ground), relabeled(ground, 1))}) > 1


def test_a_published_chain_climbs_on_test_and_takes_the_best_of_each_phase(ground):
    rows = chain(ground, 'paper')['rows']
    kept = [r[f'{CBA}:T12'] for r in rows]
    assert kept == sorted(kept) and kept[-1] > kept[0]
    ev = ground.evaluator('paper')
    label = ground.codes['T12']
    seen = [s.test for s in ev.tallies.values()]
    best = max(chains._figures(cm, ev.classes)[f'{CBA}:{label}'] for cm in seen)
    assert kept[-1] == best, 'everything that was evaluated here belongs to this chain'


def test_plan_c_chooses_by_the_objective_of_its_phase():
    phase = Phase('b', 'genetic', 'recall', 1)
    f = {f'{CBA}:a': 0.7, 'recall:b': 0.2, OBA: 0.9}
    assert multiphase_rules('a', own=True).value(f, phase) == (0.2,) and multiphase_rules('a').value(f, phase) == (0.7,)
    assert multiphase_rules('a', own=True).value(f, replace(phase, objective=OBA)) == (0.9,)
    assert multiphase_rules('a', own=True).keep({f'{CBA}:a': 0.7}, {f'{CBA}:a': 0.7})
    assert not multiphase_rules('a', own=True).keep({f'{CBA}:a': 0.69}, {f'{CBA}:a': 0.7})


def test_the_bounds_of_two_classes():
    rules, start = (
        multiobjective_rules(('a', 'b')),
        {'recall:a': 0.5, 'recall:b': 0.5, f'{CBA}:a': 0.7, f'{CBA}:b': 0.7, 'accuracy': 0.8, OBA: 0.9},
    )
    assert rules.allowed(start, start)
    assert not any(rules.allowed({**start, k: 0.49}, start) for k in ('recall:a', 'recall:b', 'accuracy'))
    phase = Phase('b', 'genetic', 'recall', 1)
    more_a, more_b = {**start, 'recall:a': 0.6}, {**start, 'recall:b': 0.6}
    assert rules.value(more_b, phase) > rules.value(more_a, phase), 'of equal means the one of the phase\'s own class'
    assert multiobjective_rules(('a', 'b'), own=False).value(more_b, phase) == multiobjective_rules(
        ('a', 'b'), own=False
    ).value(more_a, phase)
    assert rules.keep({**start, f'{CBA}:a': 0.71}, start)
    assert not rules.keep(start, start)
    assert not rules.keep({**start, 'recall:a': 0.4, 'accuracy': 0.9}, start)


@pytest.mark.parametrize('protocol', ['paper', 'honest'])
def test_a_chain_killed_in_a_phase_goes_on(tmp_path, monkeypatch, protocol):
    whole = chain(Ground('tickets', 11, n=2), protocol)
    calls, real = [], Evaluator.evaluate

    def dying(self, candidates):
        calls.append(1)
        if len(calls) > 10:
            raise KeyboardInterrupt
        return real(self, candidates)

    monkeypatch.setattr(Evaluator, 'evaluate', dying)
    with pytest.raises(KeyboardInterrupt):
        chain(Ground('tickets', 11, n=2), protocol, folder=tmp_path)
    assert list(tmp_path.rglob('phase-02/trace.csv')) and not list(tmp_path.rglob('chain.json'))
    monkeypatch.setattr(Evaluator, 'evaluate', real)
    again = Ground('tickets', 11, n=2)
    assert chain(again, protocol, folder=tmp_path)['rows'] == whole['rows']
    assert len(list(tmp_path.rglob('phase-*/trace.csv'))) == 2
    monkeypatch.setattr(Evaluator, 'evaluate', dying)
    (kept,) = tmp_path.rglob('chain.json')
    assert (
        read_json(kept)['rows'] == whole['rows'] == chain(Ground('tickets', 11, n=2), protocol, folder=tmp_path)['rows']
    ), 'a finished chain is read, not run'


def test_another_plan_or_split_is_another_chain(tmp_path, ground):
    for steps in (STEPS[:1], STEPS[1:]):
        chain(ground, 'honest', steps, 1, folder=tmp_path)
    chain(Ground('tickets', 12, n=2), 'honest', STEPS[:1], 1, folder=tmp_path)
    assert len(list(tmp_path.rglob('chain.json'))) == 3


def test_a_study_refuses_what_it_does_not_know(tmp_path):
    with pytest.raises(UserError, match="'Z'"):
        multiphase_study('tickets', [10], ['A', 'Z'], 1)
    with pytest.raises(UserError, match="'T99'"):
        multiphase_study('tickets', [10], ['A'], 1, topic='T99')


def test_corpora_that_are_not_here_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv('AUTOGETS_DATA', str(tmp_path))
    with pytest.raises(UserError, match='top_navigation'):
        knowledge_study(['top_navigation'], [10], 2, [CBA])
    known, missing = knowledge_study(['tickets', 'top_navigation'], [10], 2, [CBA], dict(tickets=['T12']), ('random',))
    assert known.classes == 1 and list(missing) == ['top_navigation'] and 'AUTOGETS_DATA' in missing['top_navigation']


# --- findings follow the tables ---


def made_up(gains):
    "Runs with the final gain of each plan on each of six splits: mean, and a little noise"
    rng = np.random.default_rng(0)
    rows = [
        dict(
            plan=p,
            protocol=k,
            seed=s,
            phase=i,
            evaluations=2,
            accepted=True,
            gain=i * (m + rng.normal(0, 0.001)),
            figure=0.5 + i * m,
        )
        for (p, k), m in gains.items()
        for s in range(6)
        for i in (0, 1)
    ]
    return pd.DataFrame(rows)


def verdicts(findings):
    made = [make_finding(f.pop('claim'), verdict_given=f.pop('verdict', None), **f) for f in map(dict, findings)]
    return {(f.claim, f.protocol): f.verdict for f in made}


GAINS = {('A', 'paper'): 0.2, ('C', 'paper'): 0.1, ('A', 'honest'): 0.02, ('C', 'honest'): 0.05}


def test_the_findings_say_what_the_differences_say():
    runs = made_up(GAINS)
    apart = plan_differences(runs)
    d = apart.set_index('protocol')
    assert d.low['paper'] > 0.09 and d.high['honest'] < -0.02
    assert d.better['paper'] == 6 and d.worse['honest'] == 6
    found, claim = phase_findings(runs, apart), 'The guided plan (A) beats an order without a reason (C) on T13'
    said = verdicts(found)
    assert (said[claim, 'paper'], said[claim, 'honest']) == ('holds', 'does not hold')
    assert said['Choosing on test inflates the multi-phase gain', ''] == 'holds'
    assert found[0]['estimate'] == d.difference['paper']


def test_few_splits_give_no_interval():
    runs = made_up(GAINS).query('seed < 2')
    assert phases_table(runs, 'figure').low.isna().all()
    assert set(verdicts(phase_findings(runs, plan_differences(runs))).values()) == {'inconclusive'}


def test_the_guided_plan_takes_what_helped_most():
    t = pd.DataFrame(
        [
            ('T1', 'genetic', 0.1, 0.0),
            ('T1', 'random', 0.3, 0.0),
            ('T2', 'sliding-window', 0.2, 0.0),
            ('T3', 'hierarchical', 0.2, 0.1),
        ],
        columns=['topic', 'strategy', 'gain', 'own'],
    )
    assert guided_steps(t, 3) == (('T1', 'random', None), ('T3', 'hierarchical', CBA), ('T2', 'sliding-window', None))


def test_agreement_with_the_published_map_stands_beside_chance():
    pairs = ['genetic', 'random', 'hierarchical', 'sliding-window'] * 4
    same = pd.DataFrame(dict(best=pairs, published=pairs, agrees=True))
    other = same.assign(best=pairs[1:] + pairs[:1], agrees=False)
    assert [assignment_findings(t)[0]['verdict'] for t in (same, other)] == ['holds', 'does not hold']
    assert assignment_findings(same.assign(published=None)) == []


def test_advice_is_compared_with_the_best_constant():
    rows = [
        ('class', CBA, 'recommended', 0.02, 0, 0, 0),
        ('class', CBA, 'genetic', 0.05, 0.03, 0.01, 0.05),
        ('class', CBA, 'random', 0.09, 0.07, 0.05, 0.09),
        ('class', CBA, 'any', 0.06, 0.04, 0.02, 0.06),
    ]
    lost = pd.DataFrame(rows, columns=['left_out', 'objective', 'choice', 'regret', 'more', 'low', 'high'])
    found = advice_findings(lost, 3)
    assert [f['estimate'] for f in found] == [0.03, 0.04]
    assert set(verdicts(found).values()) == {'holds'}
    worse = lost.assign(low=-lost.high, high=-lost.low, more=-lost.more)
    assert set(verdicts(advice_findings(worse, 3)).values()) == {'does not hold'}
