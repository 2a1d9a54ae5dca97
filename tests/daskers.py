"A Dask cluster in processes of this machine, whose workers find this checkout and the modules of the tests"

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager

from checkout import ROOT

PATH = f'{ROOT}{os.pathsep}{ROOT / "tests"}'
ENV = {**os.environ, 'PYTHONPATH': PATH, 'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1'}


def _started(log, kind, *words, host='127.0.0.1', inside=()):
    "A process of Dask at the address `host`; `inside` are the words of a command that runs another"
    code = f'from distributed.cli.dask_{kind} import main; main()'
    words = [*inside, sys.executable, '-c', code, *words, '--no-dashboard', '--host', host]
    with open(log, 'ab') as out:
        return subprocess.Popen(words, env=ENV, stdout=out, stderr=out)


class Cluster:
    "A scheduler, and workers of one thread each that nobody starts anew"

    def __init__(self, folder, **place):
        self.folder, self.file, self.workers = folder, folder / 'scheduler.json', []
        words = ['--port', '0', '--scheduler-file', str(self.file)]
        self.scheduler = _started(folder / 'log', 'scheduler', *words, **place)
        end = time.monotonic() + 60
        while not self.file.exists() or not self.file.read_text().strip():
            assert time.monotonic() < end and self.scheduler.poll() is None, (folder / 'log').read_text()
            time.sleep(0.05)
        self.address = json.loads(self.file.read_text())['address']

    def add(self, n=1, **place):
        for _ in range(n):
            own = ['--local-directory', str(self.folder / f'worker{len(self.workers)}')]
            words = [self.address, '--no-nanny', '--nthreads', '1', *own]
            self.workers.append(_started(self.folder / 'log', 'worker', *words, **place))
        return self

    def ready(self):
        "Wait until as many workers have come as there are processes"
        from distributed import Client

        if not self.alive():
            return self
        with Client(self.address, timeout=30, set_as_default=False) as client:
            client.wait_for_workers(len(self.alive()), timeout=60)
        return self

    def alive(self):
        return [w for w in self.workers if w.poll() is None]

    def end(self):
        for p in (*self.workers, self.scheduler):
            p.kill()
        for p in (*self.workers, self.scheduler):
            p.wait()


@contextmanager
def dask_cluster(folder, workers=2):
    cluster = Cluster(folder)
    try:
        yield cluster.add(workers).ready()
    finally:
        cluster.end()
