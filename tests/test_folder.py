"One process at a time writes into a folder: the second is refused in one line, and a dead one is no obstacle"

import json
import os
import signal
import subprocess
import sys

import pytest
import worlds

from autogets.core import UserError
from autogets.generators.build import build_pool
from autogets.generators.registry import make_generator
from autogets.job import improve
from autogets.search.candidates import Budget
from autogets.search.halving import halving_rungs, run_halving
from autogets.search.loop import run_search
from autogets.search.registry import make_strategy

HOLD = '''import sys, time
from autogets.core import folder_lock
with folder_lock(sys.argv[1]):
    print(1, flush=True)
    time.sleep(60)'''


@pytest.fixture
def other(tmp_path):
    "Another process that works in the folder `out`"
    process = subprocess.Popen([sys.executable, '-c', HOLD, str(tmp_path / 'out')], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def command(in_process, tmp_path):
    "Runs a command line in this process: exit code and the lines of standard error that are no notes"
    rows = [{'text': f'{w} paint number {i}', 'label': w} for i in range(10) for w in ('red', 'blue')]
    (tmp_path / 't.jsonl').write_text(''.join(json.dumps(r) + '\n' for r in rows))

    def run(*words):
        code, _, err = in_process(*words)
        return code, [line for line in err.splitlines() if not line.startswith('autogets: note: ')]

    return run


COMMANDS = {
    'improve': ['improve', 't.jsonl', '--strategy', 'random', '--budget', '2', '--n', '1'],
    'generate': ['generate', 't.jsonl', '--model', 'eda', '--n', '1', '--replies', 'elsewhere.jsonl'],
    'replicate': ['replicate', '--only', 'autogets/baseline'],
}


@pytest.mark.parametrize('name', COMMANDS)
def test_the_second_is_refused(name, other, command, tmp_path):
    before = {p: p.read_bytes() for p in (tmp_path / 'out').rglob('*') if p.is_file()}
    code, err = command(*COMMANDS[name], '--out', 'out')
    assert code == 2 and len(err) == 1 and f'in use by process {other.pid}' in err[0], err
    assert 'wait for it, or choose another folder' in err[0]
    assert {p: p.read_bytes() for p in (tmp_path / 'out').rglob('*') if p.is_file()} == before


@pytest.mark.parametrize('name', ['improve', 'generate'])
def test_a_dead_process_is_no_obstacle(name, other, command, tmp_path):
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    assert command(*COMMANDS[name], '--out', 'out') == (0, [])
    assert command(*COMMANDS[name], '--out', 'out') == (0, [])
    assert list((tmp_path / 'out').rglob('.lock')) == []


def test_from_python(other, small, tmp_path):
    with pytest.raises(UserError, match=f'in use by process {other.pid}'):
        improve(small, 'eda', out=tmp_path / 'out', strategy='random', budget=2, progress=False)
    with pytest.raises(UserError, match=f'in use by process {other.pid}'):
        build_pool(make_generator('eda'), small.train, tmp_path / 'out', n=1, progress=False)


def test_a_search_from_python(other, small, small_pool, costly, tmp_path):
    ev = worlds.evaluator()
    strategy, budget, out = make_strategy('random', ev, 'recall'), Budget(evaluations=3), tmp_path / 'out'
    with pytest.raises(UserError, match=f'in use by process {other.pid}'):
        run_search(strategy, ev, 'recall', budget=budget, folder=out, progress=False)
    rungs = halving_rungs('costly', finalists=3)
    with pytest.raises(UserError, match=f'in use by process {other.pid}'):
        run_halving(small, small_pool, rungs, budget=budget, folder=out, progress=False)
    assert [p.name for p in out.iterdir()] == ['.lock']
    other.kill()
    other.wait()
    assert len(run_search(strategy, ev, 'recall', budget=budget, folder=out, progress=False)) > 1
    assert sorted(p.name for p in out.iterdir()) == ['run.json', 'trace.csv']


def test_a_refused_job_leaves_no_folder(small, tmp_path):
    with pytest.raises(UserError, match='unknown target class'):
        improve(small, 'eda', target='no such class', out=tmp_path / 'a' / 'b', budget=2)
    assert list(tmp_path.iterdir()) == []


def test_pools_do_not_double(tmp_path):
    "Two runs of `generate` with two files of replies, started together: one pool, each text once"
    code = (
        'import sys, time, warnings; sys.path.insert(0, sys.argv[1]); warnings.simplefilter("ignore")\n'
        'import worlds\nfrom autogets.generators import build, run\nfrom autogets.core import UserError\n'
        's, r = run.GenerationSettings("eda", n=2), run.RequestSettings(replies=sys.argv[3])\n'
        'write = build.append_lines\nbuild.append_lines = lambda *given: (time.sleep(0.5), write(*given))\n'
        'c = worlds.corpus()\nprint(1, flush=True)\nsys.stdin.readline()\n'
        'try: run.run_generation(c, s, sys.argv[2], requests=r, progress=False)\n'
        'except UserError as e: print(e)\n'
    )
    here, out = os.path.dirname(worlds.__file__), str(tmp_path / 'pool')
    how = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    two = [subprocess.Popen([sys.executable, '-c', code, here, out, str(tmp_path / f'{k}.jsonl')], **how) for k in 'ab']
    for p in two:
        assert p.stdout.readline()
    for p in two:
        p.stdin.write('go\n')
        p.stdin.flush()
    said = [p.communicate(timeout=60)[0] for p in two]
    assert all(s == '' or 'in use by' in s for s in said), said
    lines = (tmp_path / 'pool' / 'texts.jsonl').read_text().splitlines()
    sources = [json.loads(line)['source_id'] for line in lines]
    assert len(sources) == len(set(sources)) == len(worlds.corpus().train)
