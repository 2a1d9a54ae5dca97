"A search by successive halving on a cluster, one of whose two workers dies; and a cluster across two networks"

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from textwrap import dedent

import pytest
from daskers import ENV, Cluster, dask_cluster
from worlds import corpus, digits, texts

from autogets.classifiers.refit import PlainRefit
from autogets.executors import ClusterWorkers
from autogets.search.candidates import Budget
from autogets.search.halving import halving_rungs, run_halving

pytest.importorskip('distributed', reason='distributed is not installed: pip install "autogets[cluster]"')


# --- fine-tuning finalists ---


class KillingOne(ClusterWorkers):
    "Kills the process of a worker when the first finalist has been sent to be fine-tuned"

    def __init__(self, cluster):
        super().__init__(cluster.address)
        self.cluster, self.killed, self.tuned = cluster, None, 0

    def begin(self, shared):
        super().begin(shared)
        self.tuning = isinstance(shared[0], PlainRefit)

    def submit(self, *sent):
        future = super().submit(*sent)
        self.tuned += self.tuning
        if self.tuning and not self.killed:
            self.killed = self.cluster.alive()[0]
            self.killed.kill()
        return future


def halved(encoder, **where):
    c = corpus(n=12)
    rungs = halving_rungs(f'transformer:{encoder}', finalists=2, epochs=1, max_length=16, device='cpu')
    how = dict(strategy='random', objective='accuracy', progress=False, **where)
    return run_halving(c, texts(c, 1), rungs, Budget(evaluations=4), **how)


def test_finalists_are_fine_tuned_on_a_cluster_that_loses_a_worker(tmp_path):
    pytest.importorskip('transformers', reason='transformers is not installed: pip install "autogets[transformers]"')
    from autogets.classifiers.encoders import tiny_encoder

    encoder = tiny_encoder(tmp_path / 'tiny', corpus(n=12).train.text, width=16, layers=1)
    (tmp_path / 'dask').mkdir()
    with dask_cluster(tmp_path / 'dask') as cluster, KillingOne(cluster) as team:
        there = halved(encoder, executor=team)
        assert team.killed.wait(10) == -9 and team.tuned >= 4 and len(team.client.nthreads()) == 1
    here = halved(encoder)
    assert [digits(t) for t in there.traces] == [digits(t) for t in here.traces] and there.sent == here.sent


# --- two networks ---


@pytest.fixture
def networks():
    "Two network namespaces with a cable between them: their names and addresses"
    names, done = [f'autogets{os.getpid()}{k}' for k in 'ab'], ExitStack()

    def ip(*words):
        subprocess.run(['ip', *words], check=True, capture_output=True)

    with done:
        try:
            for n in names:
                ip('netns', 'add', n)
                done.callback(subprocess.run, ['ip', 'netns', 'del', n], capture_output=True)
            ends = [f'ag{os.getpid() % 100_000}{k}' for k in 'ab']
            ip('link', 'add', ends[0], 'netns', names[0], 'type', 'veth', 'peer', 'name', ends[1], 'netns', names[1])
            hosts = ['10.231.0.1', '10.231.0.2']
            for name, end, host in zip(names, ends, hosts):
                ip('-n', name, 'addr', 'add', f'{host}/24', 'dev', end)
                ip('-n', name, 'link', 'set', end, 'up')
                ip('-n', name, 'link', 'set', 'lo', 'up')
        except (OSError, subprocess.CalledProcessError) as e:
            pytest.skip(f'network namespaces are not permitted here: {getattr(e, "stderr", None) or e}')
        yield [dict(host=h, inside=('ip', 'netns', 'exec', n)) for n, h in zip(names, hosts)]


ACROSS = dedent("""
    import json, os, signal, sys
    from distributed import Client
    from worlds import digits, evaluator, uneven
    from autogets.executors import ClusterWorkers
    from autogets.search.candidates import Budget
    from autogets.search.loop import run_search
    from autogets.search.registry import make_strategy

    class Killing(ClusterWorkers):
        chunks = 0
        def submit(self, *sent):
            future = super().submit(*sent)
            self.chunks += 1
            if self.chunks == 2: os.kill(int(sys.argv[2]), signal.SIGKILL)
            return future

    def searched(team):
        ev = evaluator(uneven(n=40, seed=5), workers=team)
        return digits(run_search(make_strategy('random', ev, 'accuracy', 2), ev, 'accuracy', Budget(8)))

    with Client(sys.argv[1], timeout=30, set_as_default=False) as client: client.wait_for_workers(2, timeout=60)
    with Killing(sys.argv[1]) as team:
        team.check()
        hosts = sorted(a.split('//')[1].split(':')[0] for a in team.client.nthreads())
        there, left = searched(team), len(team.client.nthreads())
    print(json.dumps([hosts, left, there == searched(1)]))
""")


def test_a_worker_in_another_network_dies(networks, tmp_path):
    "Scheduler, client and a worker here, a worker there, which is killed while both train"
    here, there = networks
    cluster = Cluster(tmp_path, **here)
    try:
        cluster.add(**here).add(**there)
        far = cluster.workers[1].pid
        words = [*here['inside'], sys.executable, '-c', ACROSS, cluster.address, str(far)]
        done = subprocess.run(words, env=ENV, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1]) == [[here['host'], there['host']], 1, True]
    finally:
        cluster.end()
