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
from autogets.classifiers import free_baselines as free_module
from autogets.classifiers.free_baselines import (
    FreeBaselines,
    FreeWays,
    free_baselines,
    stronger_encoder,
    tuned_offsets,
)
from autogets.classifiers.linear import load_classifier
from autogets.data.corpus import Corpus
from autogets.job import Job, run_job
from autogets.paired import Change
from autogets.search.candidates import Budget
from autogets.search.halving import halving_rungs, run_halving
from autogets.search.selection import guard, keeps
from autogets.verdict import (
    CASES,
    Check,
    Tried,
    Weighed,
    beyond,
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
    'it fails within noise': (Check('accuracy>=0.52', 0.5, 0.52, high=0.01),),
    'it fails': (Check('accuracy>=0.9', 0.5, 0.9, high=-0.3),),
    'an upper one fails': (Check('accuracy<=0.4', 0.5, 0.4, high=-0.05, sense='<='),),
}


def change(figure, how):
    error = 0.0 if how == 'none' else 0.02
    return Change(figure, 0.5, **GAINS[how], error=error)


def class_table(harmed):
    "Four classes; the named ones fell significantly"
    t = pd.DataFrame({'class': list('abcd'), 'size': 25, 'f1_before': 0.6, 'recall_before': 0.6})
    fell = t['class'].isin(list(harmed))
    t['f1_change'] = [0.1, -0.01, 0.0, 0.02] - 0.3 * fell
    after = {'f1_after': t.f1_before + t.f1_change, 'recall_after': t.recall_before + t.f1_change}
    return t.assign(**after, fell=fell)


def weighed(gain='up', accuracy='flat', harmed='', checks='no constraint', added=True, protocol='honest'):
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
    )


TABLE = [
    (dict(gain='up'), 'better', 'use', 'good'),
    (dict(gain='up', accuracy='up', checks='it holds'), 'better', 'use', 'good'),
    (dict(gain='up', harmed='b'), 'paid', 'use', 'paid'),
    (dict(gain='up', checks='it fails within noise'), 'paid', 'use', 'paid'),
    (dict(gain='up', accuracy='down'), 'dear', 'keep', 'paid'),
    (dict(gain='up', checks='it fails'), 'dear', 'keep', 'paid'),
    (dict(gain='up', checks='an upper one fails'), 'dear', 'keep', 'paid'),
    (dict(gain='down'), 'worse', 'keep', 'bad'),
    (dict(gain='down', accuracy='up'), 'worse', 'keep', 'bad'),
    (dict(gain='flat', accuracy='down'), 'loss', 'keep', 'bad'),
    (dict(gain='flat', harmed='bd'), 'loss', 'keep', 'bad'),
    (dict(gain='none', checks='it fails'), 'loss', 'keep', 'bad'),
    (dict(gain='flat'), 'open', 'inconclusive', 'note'),
    (dict(gain='flat', checks='it fails within noise'), 'open', 'inconclusive', 'note'),
    (dict(gain='none'), 'open', 'inconclusive', 'note'),
    (dict(gain='none', added=False), 'nothing', 'keep', 'note'),
    (dict(gain='up', protocol='paper'), 'paper', 'inconclusive', 'note'),
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
    *itertools.product(GAINS, ('up', 'down', 'flat'), ('', 'b', 'abcd'), CHECKS, (True,), ('honest',)),
    *itertools.product(GAINS, ('down',), ('', 'b'), CHECKS, (True, False), ('paper',)),
    *itertools.product(('none',), ('none',), ('',), CHECKS, (False,), ('honest',)),
]


def test_every_sentence_is_true_in_every_branch():
    for gain, accuracy, harmed, checks, added, protocol in EVERY:
        w = weighed(gain, accuracy, harmed, checks, added, protocol)
        v = decide(w)
        said = str(v)
        fell = accuracy == 'down' or harmed or any(c.clear for c in w.checks)
        measured = added and protocol == 'honest'
        assert (v.recommendation == 'use') <= (measured and gain == 'up' and accuracy != 'down'), said
        assert ('nothing else fell' in said) <= (not fell and not w.broken), said
        assert ('a significant gain' in said) == (measured and gain == 'up'), said
        assert ('a significant loss' in said) == (measured and gain == 'down'), said
        assert ('would settle it' in said) == (measured and gain in ('flat', 'none') and not fell), said
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
        evaluator=SimpleNamespace(classes=['a', 'b'], folds=folds),
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
    assert 'accuracy fell significantly' in s['verdict'] and 'class="good"' not in page and s['guard'] is None
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
def test_the_guard_holds_on_every_rung():
    c = worlds.corpus(n=36, step=6, seed=4)
    pool, rungs = worlds.texts(c, labels=[c.classes[0]], seed=4), halving_rungs('costly', finalists=4)
    how = dict(target=c.classes[0], strategy='random', objective='recall', seed=4, progress=False)
    free, kept = (run_halving(c, pool, rungs, Budget(12), guarded=g, **how) for g in (False, True))
    results = kept.trace.results()
    rule = guard('recall', results[0], kept.evaluator.truth('validation'))
    assert keeps([rule], results[kept.row], results[0], classes=c.classes)
    assert free.row != kept.row or keeps([rule], results[free.row], results[0], classes=c.classes)


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
    assert 4 <= len(o.rescored) <= 4 + 2 and f'{len(o.rescored)} candidates were scored again, out of fold' in repr(o)
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


def free_outcome(scores, chosen=('id',), notes=()):
    "Free baselines with the given scores, the first of them the baseline's; they and the chosen texts predict alike"
    truth = [0, 1] * 20
    rows = [dict(method=f'method {i}', score=s, test=[0] * (20 - i) + [1] * (20 + i)) for i, s in enumerate(scores)]
    ev = SimpleNamespace(
        classes=['a', 'b'], index=None, truth=lambda s: np.array(truth), predict=lambda c: {'test': np.array(truth)}
    )
    job = Job(objective='accuracy')
    final = SimpleNamespace(candidate=chosen)
    return SimpleNamespace(job=job, evaluator=ev, final=final, free=FreeBaselines(rows, tuple(notes)))


@pytest.mark.parametrize(
    'scores, chosen, says',
    [
        (
            [0.5, 0.6, 0.7],
            ('id',),
            'Beyond method 2, the best of these out of fold, the chosen texts change it by +0.5000',
        ),
        ([0.5, 0.7, 0.6], ('id',), 'Beyond method 1,'),
        ([0.5, 0.5, 0.4], ('id',), 'None of these is better than the baseline out of fold.'),
        ([0.5, 0.6, 0.7], (), 'Try method 2, the best of these out of fold.'),
        ([], ('id',), 'too slow'),
    ],
)
def test_what_the_texts_add_beyond_is_said(scores, chosen, says):
    o = free_outcome(scores, chosen, [] if scores else ['too slow'])
    said = ' '.join(free_lines(o))
    assert says in said and ('Without any synthetic text' in said) == bool(scores)
    assert (beyond(o) is not None) == ('Beyond' in said)


def test_without_the_free_baselines_nothing_is_said_of_them():
    o = free_outcome([0.5])
    o.free = None
    assert free_lines(o) == [] and beyond(o) is None and not len(free_table(o))


def test_what_needs_no_text_is_shown_first_and_measured_once(tickets, tmp_path, monkeypatch):
    how = dict(strategy='random', budget=3, finalists=0, progress=False, out=tmp_path)
    o = ag.improve(tickets, 'recorded:tickets', **how)
    s, page = json.loads((tmp_path / 'summary.json').read_text()), (tmp_path / 'report.html').read_text()
    found = {r['method']: r for r in s['free']}
    assert {'class weights', 'oversampling', 'decision offsets'} <= set(found)
    assert found['class weights']['low'] > 0, 'on these tickets weights alone bring a significant gain'
    assert s['best_free'] == max(found, key=lambda w: found[w]['score'])
    gap = s['gain']['test']['estimate'] - found[s['best_free']]['gain']
    assert s['beyond']['estimate'] == pytest.approx(gap)
    assert page.index('Without synthetic texts</h2>') < page.index('Result</h2>')
    assert repr(o).startswith('Without any synthetic text') and 'Without any synthetic text' in o._repr_html_()
    monkeypatch.setattr(FreeWays, 'measure', None)
    assert ag.improve(tickets, 'recorded:tickets', **how).summary()['free'] == s['free']


def test_free_baselines_are_chosen_without_test():
    c = worlds.uneven(n=60)
    mixed = Corpus(c.name, c.train, c.validation, c.test.assign(label=c.test.label.to_numpy()[::-1]))
    a, b = (free_baselines(x, 'linear', 'macro-f1') for x in (c, mixed))
    assert a == b


@pytest.mark.parametrize('classifier, seconds', [('transformer:offline', 0.0), ('catboost', 61.0)])
def test_a_slow_classifier_has_one_line_instead(classifier, seconds, small):
    found = free_baselines(small, classifier, 'accuracy', seconds=seconds)
    assert found.rows == [] and classifier in found.notes[0] and found.best is None


def test_offsets_that_do_not_pay_are_left_out(small):
    found = free_baselines(small, 'linear', 'accuracy')
    assert 'decision offsets' in {r['method'] for r in found.rows} or 'offsets did not pay' in ' '.join(found.notes)
    logs, true = np.log(np.full((30, 3), 1 / 3)) + 5 * np.eye(3)[np.arange(30) % 3], np.arange(30) % 3
    assert not tuned_offsets(logs, true, 'macro-f1').any()


def test_a_missing_encoder_is_one_line(monkeypatch):
    monkeypatch.setenv('AUTOGETS_ENCODER', 'offline')
    monkeypatch.setattr(free_module, 'find_spec', lambda name: None)
    assert stronger_encoder('linear') == (None, 'A stronger encoder was not tried: pip install "autogets[offline]".')
    assert stronger_encoder('frozen:offline') == (None, '')
