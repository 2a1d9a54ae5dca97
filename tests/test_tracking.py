"What a job tells callbacks and trackers, with stand-ins for MLflow and Weights & Biases, and with the real ones"

import math
import sys
import warnings
from types import SimpleNamespace

import pytest
from worlds import corpus, raises, texts

import autogets as ag
from autogets.search.candidates import Budget
from autogets.search.evaluator import Evaluator
from autogets.search.loop import run_search
from autogets.search.registry import make_strategy
from autogets.tracking import LISTENERS, Callback, MLflowTracker, WandbTracker, listening, make_tracker

QUICK = dict(strategy='random', budget=4, classifier='linear', progress=False, free=False)


def improved(**how):
    c = corpus(n=12)
    return ag.improve(c, texts(c), **{**QUICK, **how})


class Heard(Callback):
    def __init__(self):
        self.told = []

    def on_start(self, settings):
        self.told.append(('start', settings))

    def on_evaluation(self, row):
        self.told.append(('evaluation', row))

    def on_end(self, outcome):
        self.told.append(('end', outcome))

    def on_failure(self, error):
        self.told.append(('failure', error))


def kinds(heard):
    return [kind for kind, _ in heard.told]


# --- the protocol ---


@pytest.fixture(scope='module')
def once():
    "(callback, outcome) of a job"
    heard = Heard()
    return heard, improved(callbacks=[heard])


def test_a_job_tells_settings_every_evaluation_and_its_outcome(once):
    heard, outcome = once
    assert kinds(heard) == ['start', *['evaluation'] * len(outcome.trace), 'end']
    settings = heard.told[0][1]
    assert (settings['corpus'], settings['strategy'], settings['evaluations']) == ('small', 'random', 4)
    rows = [row for kind, row in heard.told if kind == 'evaluation']
    assert rows == outcome.trace.rows and heard.told[-1][1] is outcome


def test_evaluations_never_tell_test(once):
    rows = [row for kind, row in once[0].told if kind == 'evaluation']
    assert all(v is None for row in rows for k, v in row.items() if k.startswith('test'))


def test_nobody_listens_after_it_and_nothing_is_told_without_callbacks(once):
    before = len(once[0].told)
    improved()
    assert len(once[0].told) == before and LISTENERS.get() == ()


def test_a_callback_that_raises_is_warned_of_once_and_changes_nothing(once):
    class Broken(Heard):
        closed = 0

        def on_evaluation(self, row):
            row.clear()
            raise RuntimeError('no\nconnection')

        def close(self):
            self.closed += 1
            raise OSError

    broken, heard = Broken(), Heard()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        outcome = improved(callbacks=[broken, heard])
    said = [str(w.message) for w in caught if 'Broken' in str(w.message)]
    assert len(said) == 1 and 'RuntimeError: no connection' in said[0] and '\n' not in said[0]
    assert kinds(broken) == ['start'] and broken.closed == 1
    assert kinds(heard)[-1] == 'end' and outcome.final.gain == once[1].final.gain


def test_a_job_that_ends_by_an_error_tells_it():
    heard = Heard()

    class Stop(Callback):
        def on_evaluation(self, row):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        improved(callbacks=[heard, Stop()])
    assert kinds(heard)[-1] == 'failure' and LISTENERS.get() == ()


def test_a_resumed_search_tells_the_rows_of_before_again(tmp_path):
    c = corpus(n=12)

    def search():
        ev = Evaluator(c, texts(c), classifier='linear')
        return run_search(make_strategy('random', ev, 'accuracy'), ev, 'accuracy', Budget(4), folder=tmp_path)

    first, heard = search(), Heard()
    with listening(heard):
        search()
    assert [row['members'] for _, row in heard.told] == [row['members'] for row in first.rows]


def test_what_is_no_callback_or_tracker_is_refused():
    raises(lambda: improved(callbacks=[Heard]), 'is none: give an object with a method on_start')
    raises(lambda: improved(callbacks=3), 'is none')
    raises(lambda: improved(track='tensorboard'), 'choose one of mlflow, wandb')


@pytest.mark.parametrize('name', ['mlflow', 'wandb'])
def test_a_missing_package_is_named_before_anything_is_done(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    heard = Heard()
    raises(lambda: improved(track=name, callbacks=heard), f'pip install "autogets[{name}]"')
    assert heard.told == []


# --- stand-ins ---


class FakeMLflow(SimpleNamespace):
    "As much of MLflow as is used: keeps what it is told"

    def __init__(self, active=None, broken=None):
        self.calls, self.active, self.broken = [], active, broken
        self.active_run = lambda: self.active

    def __getattr__(self, name):
        def call(*args, **more):
            self.calls.append((name, args, more))
            if name == self.broken:
                raise ConnectionError('refused')

        return call

    def of(self, name):
        return [(args, more) for called, args, more in self.calls if called == name]


@pytest.fixture
def mlflow(monkeypatch):
    fake = FakeMLflow()
    monkeypatch.setitem(sys.modules, 'mlflow', fake)
    return fake


def test_mlflow_gets_parameters_steps_gain_and_recommendation(mlflow):
    outcome = improved(track='mlflow')
    assert mlflow.of('set_experiment') == [(('autogets',), {})]
    ((_, how),) = mlflow.of('start_run')
    assert how == {'run_name': 'small: all, macro-f1', 'nested': False}
    (((params,), _),) = mlflow.of('log_params')
    assert params['strategy'] == 'random' and not {'workers', 'cluster', 'track'} & set(params)
    *steps, ((end,), _) = mlflow.of('log_metrics')
    assert [more['step'] for _, more in steps] == list(range(len(outcome.trace)))
    assert [m['macro_f1'] for (m,), _ in steps] == [r['macro-f1'] for r in outcome.trace.rows]
    assert end['test_gain'] == outcome.final.gain['test']['estimate'] and end['test_gain_ci_low'] <= end['test_gain']
    assert mlflow.of('set_tags')[0][0][0]['recommendation'] == outcome.verdict.recommendation
    assert mlflow.calls[-1][:2] == ('end_run', ('FINISHED',))


def test_every_metric_is_a_number_with_a_name_that_trackers_take(mlflow):
    improved(track='mlflow')
    for (metrics,), _ in mlflow.of('log_metrics'):
        assert all(k.replace('_', '').isalnum() and math.isfinite(v) for k, v in metrics.items()), metrics


def test_within_a_run_of_mlflow_the_job_is_a_nested_one(mlflow):
    mlflow.active = object()
    improved(callbacks=MLflowTracker('other', run='mine'))
    assert mlflow.of('set_experiment') == [] and mlflow.of('start_run')[0][1] == {'run_name': 'mine', 'nested': True}


def test_a_server_that_fails_leaves_no_open_run_and_a_result(mlflow):
    mlflow.broken = 'log_metrics'
    with pytest.warns(UserWarning, match='MLflowTracker failed in on_evaluation.*ConnectionError: refused'):
        outcome = improved(track='mlflow')
    assert mlflow.calls[-1][:2] == ('end_run', ('FAILED',)) and len(outcome.trace) > 1


def fake_wandb(monkeypatch):
    run = SimpleNamespace(logged=[], summary={}, ended=[])
    run.log = lambda figures, step: run.logged.append((step, figures))
    run.finish = lambda exit_code: run.ended.append(exit_code)
    made = []
    module = SimpleNamespace(init=lambda **how: made.append(how) or run)
    monkeypatch.setitem(sys.modules, 'wandb', module)
    return run, made


def test_wandb_stays_offline_unless_told_otherwise(monkeypatch):
    for name in ('WANDB_MODE', 'WANDB_API_KEY'):
        monkeypatch.delenv(name, raising=False)
    run, made = fake_wandb(monkeypatch)
    outcome = improved(track='wandb')
    assert made[0]['mode'] == 'offline' and made[0]['config']['objective'] == 'macro-f1'
    assert [step for step, _ in run.logged] == list(range(len(outcome.trace)))
    assert run.summary['recommendation'] == outcome.verdict.recommendation and run.ended == [0]
    monkeypatch.setenv('WANDB_MODE', 'disabled')
    assert make_tracker('wandb').mode == 'disabled' and WandbTracker(mode='online').mode == 'online'


def test_a_run_of_wandb_that_is_interrupted_is_marked_as_failed(monkeypatch):
    run, _ = fake_wandb(monkeypatch)

    class Stop(Callback):
        def on_evaluation(self, row):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        improved(track='wandb', callbacks=Stop())
    assert run.ended == [1]


# --- the real packages, where they are installed ---


def test_the_real_mlflow_keeps_a_run(tmp_path, monkeypatch):
    mlflow = pytest.importorskip('mlflow')
    pytest.importorskip('sqlalchemy')
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f'sqlite:///{tmp_path}/runs.db')
    outcome = improved(track='mlflow')
    (run,) = mlflow.search_runs(experiment_names=['autogets'], output_format='list')
    assert run.info.status == 'FINISHED' and run.data.params['strategy'] == 'random'
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, 'macro_f1')
    assert [m.value for m in sorted(history, key=lambda m: m.step)] == [r['macro-f1'] for r in outcome.trace.rows]


def test_the_real_wandb_keeps_a_run_offline(tmp_path, monkeypatch):
    pytest.importorskip('wandb')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('WANDB_MODE', 'offline')
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        improved(callbacks=WandbTracker(run='mine'))
    assert list((tmp_path / 'wandb').glob('offline-run-*/*.wandb'))
