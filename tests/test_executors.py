"Whoever trains, the results are the same; whoever dies, nothing is lost; whatever is wrong is one line"

import os
import socket
import sys
import threading
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from contextlib import ExitStack

import chores
import pytest
from daskers import dask_cluster
from worlds import corpus, digits, evaluator, raises, texts, uneven

import autogets as ag
from autogets import executors
from autogets.executors import ALIKE, ClusterWorkers, ExecutorWorkers, ProcessWorkers, Workers, make_workers
from autogets.search.candidates import Budget, as_candidate
from autogets.search.evaluator import Evaluator
from autogets.search.loop import run_search
from autogets.search.registry import make_strategy

NUMBERS = list(range(40))
SQUARES = [n * n for n in NUMBERS]


@pytest.fixture(scope='module')
def cluster(tmp_path_factory):
    "Two workers; a test that kills one brings another"
    pytest.importorskip('distributed', reason='distributed is not installed: pip install "autogets[cluster]"')
    with dask_cluster(tmp_path_factory.mktemp('dask')) as c:
        yield c


@pytest.fixture
def threads():
    with ThreadPoolExecutor(2) as pool:
        yield pool


def every_team(threads, cluster=None):
    yield from (Workers(), ProcessWorkers(2), ExecutorWorkers(threads))
    if cluster:
        with ClusterWorkers(cluster.address) as team:
            yield team


# --- results ---


def test_results_are_in_order_whoever_works(threads, cluster):
    for team in every_team(threads, cluster):
        for items in (NUMBERS, NUMBERS, [7], []):
            assert team.map(chores.squares, items, 3) == [3 + n * n for n in items], type(team)


def test_several_processes_work(cluster):
    with ClusterWorkers(cluster.address) as team:
        seen = {type(t): set(t.map(chores.where, NUMBERS, 0.02)) for t in (ProcessWorkers(2), team)}
    assert [len(s) for s in seen.values()] == [2, 2] and os.getpid() not in set().union(*seen.values())


def test_a_chunk_is_worth_a_second_or_a_fair_share(threads, tmp_path):
    team = ExecutorWorkers(threads)
    for pace, n, size in ((2.0, 100, 1), (0.3, 100, 3), (0.01, 1000, 100), (0.01, 60, 30), (0.01, 8, 10), (None, 9, 1)):
        team.pace = pace
        assert team.size(n) == size, (pace, n)
    team.pace, team.count = 0.1, 1000
    assert team.size(10**6) == 40, 'one scheduler cannot serve a thousand workers every second'
    log, team = tmp_path / 'sizes', ExecutorWorkers(threads)
    shared = str(log), 0.02
    assert team.map(chores.sizes, NUMBERS, *shared) == NUMBERS
    first = [int(s) for s in log.read_text().split()]
    log.unlink()
    assert team.map(chores.sizes, NUMBERS, *shared) == NUMBERS
    then = [int(s) for s in log.read_text().split()]
    assert first[0] == 1 and sum(first) == 40 and len(then) <= 4 and sum(then) == 40, (first, then)
    team.begin((str(log), 0.03))
    assert team.pace is None, 'other work has another pace'


def test_a_thread_pool_trains_one_at_a_time(threads):
    "liblinear and torch keep their random numbers in one place for all threads"
    inside, most = [], []

    def work(numbers):
        inside.append(1)
        most.append(len(inside))
        threading.Event().wait(0.01)
        inside.pop()
        return numbers

    assert ExecutorWorkers(threads).map(work, NUMBERS[:10]) == NUMBERS[:10] and set(most) == {1}


# --- searches ---


def searched(team, n=12):
    c = uneven(n=40, seed=5)
    ev = evaluator(c, workers=team)
    t = run_search(make_strategy('random', ev, 'accuracy', 2), ev, 'accuracy', Budget(n))
    return digits(t), ev.predict(t.ids(len(t) - 1))['test'].tolist()


def test_same_trace_whoever_trains(threads, cluster):
    found = [searched(team) for team in every_team(threads, cluster)]
    assert len(found) == 4 and all(f == found[0] for f in found) and len({r[2] for r in found[0][0]}) > 3


def test_folds_weights_and_views_travel_too(threads, cluster):
    c = corpus(n=10)
    told = []
    for team in every_team(threads, cluster):
        ev = Evaluator(c, texts(c), folds=3, seed=1, executor=team)
        wanted = [as_candidate(ev.sources[k::3], {'bee': 0.3}) for k in range(3)]
        told.append([r.jackknife for e in (ev, ev.with_folds(2)) for r in e.evaluate([(), *wanted[:2]])])
    assert len(told) == 4 and all(t == told[0] for t in told)


def test_finalists_of_a_screen_train_there(costly, small, small_pool, threads):
    how = dict(screen='linear', finalists=3, classifier='costly', strategy='random', budget=8, free=False)
    one, other = (ag.improve(small, small_pool, progress=False, executor=x, **how) for x in (None, threads))
    assert isinstance(other.evaluator.team, ExecutorWorkers)
    assert [digits(t) for t in one.halving.traces] == [digits(t) for t in other.halving.traces]


def test_improve_on_a_cluster(small, small_pool, cluster, tmp_path):
    from distributed import Client

    how = dict(strategy='random', budget=6, progress=False, free=False)
    with Client(cluster.address, set_as_default=False) as client:
        runs = [
            ag.improve(small, small_pool, **how, **more)
            for more in ({}, dict(cluster=cluster.address), dict(executor=cluster.address), dict(executor=client))
        ]
        assert client.status == 'running', 'a client that was given stays open'
    assert all(digits(r.trace) == digits(runs[0].trace) and r.final.gain == runs[0].final.gain for r in runs)
    assert [type(r.evaluator.team) for r in runs] == [Workers] + 3 * [ClusterWorkers]
    assert runs[1].evaluator.team.client is None and runs[1].evaluator.evaluate([()])[0].scores


def test_the_command_goes_to_the_cluster(small, cluster, in_process, tmp_path):
    parts = [p[['text', 'label']].assign(split=s) for s, p in zip('abc', (small.train, small.validation, small.test))]
    for s, p in zip('abc', parts):
        p.to_csv(tmp_path / f'{s}.csv', index=False)
    words = 'improve a.csv --validation b.csv --test c.csv --strategy random --budget 4 --n 1 --no-free'.split()
    for out, more in (('one', []), ('two', ['--cluster', cluster.address])):
        code, said, err = in_process(*words, '--out', out, *more)
        assert code == 0, err
    one, two = ((tmp_path / out / 'synthetic.csv').read_bytes() for out in ('one', 'two'))
    assert one == two


# --- workers that die ---


def test_a_process_that_dies_costs_time(tmp_path):
    team, mark = ProcessWorkers(2), tmp_path / 'mark'
    assert team.map(chores.fatal_once, NUMBERS, str(mark)) == SQUARES and mark.exists()
    assert team.map(chores.squares, NUMBERS, 0) == SQUARES, 'and the next pool is a good one'


def test_work_that_always_kills_is_given_up():
    raises(lambda: ProcessWorkers(2).map(chores.fatal, NUMBERS), 'a process died 4 times', 'use fewer workers')


class Killing(ClusterWorkers):
    "Kills the process of a worker when the second chunk goes out"

    def __init__(self, address, process):
        super().__init__(address)
        self.process, self.chunks = process, 0

    def submit(self, *sent):
        self.chunks += 1
        future = super().submit(*sent)
        if self.chunks == 2:
            self.process.kill()
        return future


def test_a_search_survives_one_of_two_workers(cluster):
    with Killing(cluster.address, cluster.alive()[0]) as team:
        found = searched(team)
        assert team.process.wait(10) == -9 and team.chunks > 2 and len(team.client.nthreads()) == 1
    assert found == searched(Workers())
    cluster.add().ready()


def test_the_last_worker_takes_what_was_scattered_with_it(cluster, tmp_path):
    "Then it is scattered again, to whoever comes"
    cluster.alive()[0].kill()
    later = threading.Timer(0.5, cluster.add, [2])
    with ExitStack() as stack:
        team = stack.enter_context(ClusterWorkers(cluster.address))
        later.start()
        stack.callback(later.join)
        assert team.map(chores.fatal_once, NUMBERS, str(tmp_path / 'mark')) == SQUARES
    cluster.ready()


class Breaking:
    "An executor whose workers die"

    _max_workers = 2

    def submit(self, *sent):
        future = Future()
        future.set_exception(BrokenExecutor('gone'))
        return future


def test_an_executor_that_is_broken_or_shut_down_is_one_line(threads):
    threads.shutdown()
    for executor in (Breaking(), threads):
        raises(lambda: ExecutorWorkers(executor).map(chores.squares, NUMBERS, 0), 'make a new one')


# --- errors of the work ---


def test_an_error_is_the_one_that_one_process_would_meet(threads, cluster):
    for team in every_team(threads, cluster):
        with pytest.raises(ValueError, match='not 5') as e:
            team.map(chores.picky, NUMBERS)
        assert type(team) is Workers or any('chores.py' in n for n in e.value.__notes__)
        assert team.map(chores.squares, NUMBERS, 0) == SQUARES


def test_an_error_that_cannot_be_made_again_is_told(cluster):
    with ClusterWorkers(cluster.address) as team:
        for t in (ProcessWorkers(2), team):
            with pytest.raises(RuntimeError, match='^Odd: 1 and 2'):
                t.map(chores.odd, NUMBERS)


def test_a_classifier_that_refuses_says_the_same_everywhere(small, small_pool, threads):
    for executor in (None, threads):
        ev = Evaluator(small, small_pool, classifier='ridge-screen', executor=executor)
        raises(lambda: ev.evaluate([(), as_candidate(ev.sources, {'ant': 2})]), 'knows no weights')


# --- clusters that cannot be used ---


def test_an_address_without_a_scheduler_is_one_line():
    pytest.importorskip('distributed', reason='distributed is not installed: pip install "autogets[cluster]"')
    for address in ('10.0.0.5:8786', 'tcp://10.0.0.5', 'http://10.0.0.5:80', 'tcp://a b:1', ''):
        raises(lambda: executors.dask_client(address), repr(address), 'tcp://10.0.0.5:8786')
    with socket.create_server(('127.0.0.1', 0)) as silent:
        port = silent.getsockname()[1]
        for address in ('tcp://127.0.0.1:9', f'tcp://127.0.0.1:{port}'):
            raises(lambda: executors.dask_client(address, timeout=0.5), f'no Dask scheduler answers at {address}')


def test_an_address_that_does_not_answer_ends_the_command_at_once(in_process, small, monkeypatch, tmp_path):
    pytest.importorskip('distributed', reason='distributed is not installed: pip install "autogets[cluster]"')
    small.train[['text', 'label']].to_csv(tmp_path / 'a.csv', index=False)
    monkeypatch.setattr(executors.dask_client, '__defaults__', (0.5,))
    code, said, err = in_process('improve', 'a.csv', '--cluster', 'tcp://127.0.0.1:9', '--out', 'out')
    assert code == 2 and err.count('\n') == 1 and 'no Dask scheduler answers at tcp://127.0.0.1:9' in err, err
    assert not (tmp_path / 'out' / 'pool').exists(), 'said before anything is generated'


def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'distributed', None)
    raises(make_workers(executor='tcp://127.0.0.1:9').check, 'pip install "autogets[cluster]"')


def test_a_cluster_without_workers_is_one_line(tmp_path):
    pytest.importorskip('distributed', reason='distributed is not installed: pip install "autogets[cluster]"')
    with dask_cluster(tmp_path, workers=0) as empty:
        raises(ClusterWorkers(empty.address).check, f'{empty.address} has no workers', 'dask worker')


def told(python='3.11.7.final.0', **packages):
    return {'host': {'python': python}, 'packages': {**dict.fromkeys(ALIKE, '1'), **packages}}


@pytest.mark.parametrize(
    'worker, said',
    [
        (told(autogets='0'), 'autogets 0 (here 1)'),
        (told(autogets=None), 'autogets missing (here 1)'),
        (told('3.12.1.final.0'), 'python 3.12 (here 3.11)'),
        (told(numpy='2', scipy='3'), 'numpy 2 (here 1), scipy 3 (here 1)'),
    ],
)
def test_versions_that_differ_are_one_line(worker, said):
    found = {'client': told(), 'workers': {'tcp://a:1': told('3.11.9.final.0'), 'tcp://b:2': worker}}
    raises(lambda: executors.check_versions(found, 'tcp://s:8786'), 'the worker tcp://b:2 of tcp://s:8786 has ' + said)
    found['workers'].popitem()
    executors.check_versions(found, 'tcp://s:8786')


def test_versions_are_asked_for_before_anything_is_sent(cluster, monkeypatch):
    monkeypatch.setattr(executors, '_versions', lambda found: {n: str(id(found)) for n in ALIKE})
    team = ClusterWorkers(cluster.address)
    raises(lambda: team.map(chores.squares, NUMBERS, 0), 'install the same versions')
    assert team.client is None


def test_what_is_no_executor_is_named():
    raises(lambda: make_workers(executor=3), 'the executor is 3', 'tcp://10.0.0.5:8786')
    raises(lambda: ag.improve(corpus(), workers=2, cluster='tcp://127.0.0.1:9'), 'not both')
