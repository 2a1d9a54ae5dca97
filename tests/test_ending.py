"However a run is ended, nothing of it goes on: SIGTERM is Ctrl-C, and what a run has started ends with it"

import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from projects import manifest, notebook, project

psutil = pytest.importorskip('psutil')
COMMAND = [sys.executable, '-c', 'from autogets.cli import main; main()']


def until(condition, seconds=90):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(0.05)
    return found


def family(pid):
    "All that the process `pid` has started"
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


@contextmanager
def started(folder, *words):
    "A command under way, with its standard error in the file `err`; whatever it leaves is ended"
    with open(folder / 'err', 'wb') as err:
        process = subprocess.Popen([*COMMAND, *words], cwd=folder, stdout=err, stderr=err, start_new_session=True)
        known = []
        process.known = known
        try:
            yield process
        finally:
            for p in (*known, *family(process.pid), process):
                try:
                    p.kill()
                except (psutil.NoSuchProcess, ProcessLookupError):
                    pass
            process.wait()


def rows(folder):
    path = folder / 'out' / 'trace.csv'
    return path.read_bytes().count(b'\n') - 1 if path.exists() else 0


def gone(processes):
    def alive(p):
        return p.is_running() and p.status() != psutil.STATUS_ZOMBIE

    def dead(p):
        try:
            return not alive(p)
        except psutil.NoSuchProcess:
            return True

    return all(map(dead, processes))


SEARCH = ['improve', 'tickets', '--strategy', 'random', '--budget', '20000', '--n', '1', '--out', 'out', '--workers']


@pytest.mark.parametrize('how', [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_run(how, tmp_path):
    with started(tmp_path, *SEARCH, '2') as process:
        until(lambda: rows(tmp_path) >= 3)
        process.known += family(process.pid)
        assert len(process.known) >= 2
        process.send_signal(how)
        assert process.wait(60) == (130 if how == signal.SIGTERM else -how)
        until(lambda: gone(process.known), 15)
    said = (tmp_path / 'err').read_text().splitlines()
    lost = 'autogets: interrupted: what was done is kept; the same command goes on from there'
    assert how == signal.SIGKILL or said[-1] == lost, said


@pytest.mark.parametrize('how', [signal.SIGTERM, signal.SIGKILL])
def test_notebooks_end_with_their_run(how, tmp_path, monkeypatch):
    root = project(tmp_path)
    child = 'import subprocess, sys, time\nsubprocess.Popen([sys.executable, "-c", "import time; time.sleep(900)"])'
    ready = f'open({str(root / "ready")!r}, "w").write("1")\ntime.sleep(900)'
    notebook(root, 'demo/02_slow.ipynb', 'n: int = 2 # rows', child, ready)
    manifest(root, dict(id='demo/slow', title='Slow'))
    monkeypatch.setenv('AUTOGETS_ROOT', str(root))
    with started(root, 'replicate', '--out', str(root / 'runs')) as process:
        until((root / 'ready').exists)
        process.known += family(process.pid)
        assert len(process.known) >= 3  # papermill, the kernel, and what the notebook started
        process.send_signal(how)
        assert process.wait(60) == (130 if how == signal.SIGTERM else -how)
        until(lambda: gone(process.known), 15)


def test_what_is_watched_ends_at_once():
    "`end_with` where the parent has gone before it begins"
    code = 'import time\nfrom autogets.core import end_with\nend_with(1 << 22)\ntime.sleep(60)'
    r = subprocess.run([sys.executable, '-c', code], timeout=50, capture_output=True)
    assert (r.returncode, r.stderr) == (1, b'')
