"What `improve` takes: every parameter of the wrong kind is one line, and what cannot work is refused before it begins"

from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from worlds import corpus, raises

import autogets as ag
from autogets import job, job_report
from autogets.classifiers.refit import EncoderRefit, LinearRefit
from autogets.job_settings import Job
from autogets.search.selection import guard

SMALL = corpus()

# every parameter of `improve`, and of `Job`, with values of the wrong kind and what is said of them
WRONG = [
    ('corpus', pd.DataFrame({'text': ['a']}), 'read_corpus'),
    ('corpus', 'tickets.csv', 'read_corpus'),
    ('texts', 3, 'give a pool'),
    ('texts', None, 'give a pool'),
    ('texts', 'nonsense', 'nonsense'),
    ('texts', pd.DataFrame({'words': ['a']}), 'no column text'),
    ('objective', 3, 'objective is 3: give a text'),
    ('objective', ['accuracy', 'recall'], 'give a text'),
    ('objective', np.arange(3), 'give a text'),
    ('objective', 'auc', 'choose one of'),
    ('strategy', 3, 'give a text'),
    ('strategy', 'luck', 'choose one of'),
    ('target', 3, 'give a class'),
    ('target', [], 'give a class'),
    ('target', [3], 'give a class'),
    ('target', None, 'give a class'),
    ('target', 'dog', 'choose one of'),
    ('budget', 'x', "budget is 'x': give a whole number"),
    ('budget', 2.5, 'give a whole number'),
    ('budget', True, 'give a whole number'),
    ('budget', 0, 'budget is 0'),
    ('classifier', 3, 'give a text'),
    ('classifier', 'oracle', 'choose one of'),
    ('out', 3, 'out is 3: name a folder'),
    ('constraints', 'accuracy>=baseline', 'give a list of texts'),
    ('constraints', [3], 'give a list of texts'),
    ('guard', 'no', 'give True or False'),
    ('free', 'no', 'give True or False'),
    ('plan', 3, 'give a text'),
    ('plan', 'plan.yml', 'for the strategy ensemble'),
    ('knowledge', 3, 'give a text'),
    ('model', 3, 'give a text'),
    ('method', 3, 'give a text'),
    ('n', 'x', 'give a whole number'),
    ('n', 0, 'give 1 or more'),
    ('screen', 3, 'give a text'),
    ('settings', 'C=2', 'give a list of texts'),
    ('settings', {3: 2}, 'give a list of texts'),
    ('settings', {'C': 'x'}, 'C is'),
    ('protocol', 3, 'give a text'),
    ('protocol', 'hopeful', 'choose one of'),
    ('evaluations', 3, 'budget'),
    ('generator', 'eda', 'option'),
    ('seconds', 'x', 'give a number'),
    ('seconds', float('nan'), 'give a number'),
    ('patience', 'x', 'give a whole number'),
    ('folds', 'x', 'give a whole number'),
    ('folds', -1, 'give 0 or more'),
    ('finalists', 'x', 'give a whole number'),
    ('finalists', -1, 'give 0 or more'),
    ('seed', 'x', 'give a whole number'),
    ('seed', -1, 'give one from 0'),
    ('seed', None, 'give a whole number'),
    ('workers', 'x', 'give a whole number'),
    ('workers', 0, 'give 1 or more'),
    ('cluster', 3, 'give a text'),
    ('track', 3, 'give a text'),
    ('track', 'tensorboard', 'choose one of'),
    ('cluster', 'somewhere', 'no address of a Dask scheduler'),
    ('stratgy', 'random', 'strategy'),
]


@pytest.mark.parametrize('name, value, says', WRONG)
def test_every_parameter_of_the_wrong_kind_is_refused_in_one_line(name, value, says, tmp_path):
    given = dict(corpus=SMALL, budget=2, progress=False, out=tmp_path / 'out') | {name: value}
    raises(lambda: ag.improve(**given), says)
    assert not list((tmp_path).glob('out/trace.csv'))


def test_no_parameter_is_left_out():
    "A new field of `Job` needs a line above"
    tried = {'evaluations' if name == 'budget' else name for name, *_ in WRONG}
    assert {f.name for f in fields(Job)} <= tried


@pytest.mark.parametrize(
    'given',
    [
        dict(budget=np.int64(3), seed=np.int64(1)),
        dict(seconds=1, budget=2),
        dict(target=list(SMALL.classes[:2])),
        dict(target=np.array(SMALL.classes[:1])),
        dict(settings={'C': 2.0}),
        dict(constraints=['accuracy>=baseline'], guard=np.bool_(False)),
    ],
)
def test_what_means_the_same_is_taken(given):
    ag.improve(SMALL, **(dict(strategy='random', budget=2, finalists=0, free=False, progress=False) | given))


# --- going on with a run that had no guard ---

WEAK = 'Account activation and access issues'


def test_an_ensemble_that_had_no_guard_is_resumed_without_it(tickets, tmp_path):
    job = dict(strategy='ensemble', objective='recall', target=WEAK, budget=12, folds=2, free=False, progress=False)
    plan = tmp_path / 'plan.yml'
    phases = [dict(strategy='random', target=WEAK, evaluations=n) for n in (10, 2)]
    plan.write_text(f'phases: {phases}'.replace("'", '"'))
    job |= dict(plan=plan, out=tmp_path / 'out')
    before = ag.improve(tickets, 'recorded:tickets', guard=False, **job)
    assert before.run.history[0]['accepted'], 'else there is nothing to tell'
    assert guard('recall', before.trace.results()[0], before.evaluator.truth('validation')).figure == 'accuracy'
    raises(
        lambda: ag.improve(tickets, 'recorded:tickets', **job),
        'phase-02 holds another run',
        'if that run had no guard, --no-guard goes on with it',
    )
    again = ag.improve(tickets, 'recorded:tickets', guard=False, **job)
    assert again.final.gain == before.final.gain


# --- defaults ---


def test_an_encoder_is_the_default_where_one_is_at_hand(monkeypatch):
    monkeypatch.setenv('AUTOGETS_ENCODER', 'some/encoder')
    assert (Job().classifier, Job().strategy) == ('encoder:some/encoder', 'common-weight')
    assert Job(objective='recall').strategy == 'class-weights'
    assert Job(protocol='paper', strategy='random').classifier == Job(classifier='linear').classifier == 'linear'
    monkeypatch.setenv('AUTOGETS_ENCODER', 'none')
    assert (Job().classifier, Job().strategy) == ('linear', 'class-weights')


@pytest.mark.parametrize('refit, said', [(LinearRefit, '(4 folds)'), (EncoderRefit, 'each without itself')])
def test_the_report_says_how_training_rows_were_scored(refit, said):
    outcome = SimpleNamespace(evaluator=SimpleNamespace(folds=4, refit=refit, directed=False), rescored=None)
    assert said in job_report._also(outcome)


@pytest.mark.parametrize(
    'classifier, seconds', [('encoder:offline', 0.5), ('linear', 0.1), ('transformer:offline', 0.1)]
)
def test_folds_in_closed_form_cost_no_trainings(classifier, seconds):
    evaluator, trace = SimpleNamespace(classifier=classifier, folds=4), SimpleNamespace(rows=[{'seconds': 0.5}])
    assert job._training_seconds(evaluator, trace) == seconds
