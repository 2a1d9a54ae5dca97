"""The batch as a whole: real kernels, several notebooks, failures, kills and stamps."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from autogets.core import UserError, read_json, write_atomic
from autogets.replication import runner, stamps
from autogets.replication.manifest import load_manifest, plan
from autogets.replication.page import experiment_section
from projects import HEAD, good, manifest, notebook, project


@pytest.fixture
def root(tmp_path):
    return project(tmp_path)


def test_a_run_leaves_tables_figures_provenance_and_a_page(root):
    frame = runner.replicate('quick', root=root)
    out = root / 'runs' / 'quick'
    assert frame.status.tolist() == ['done'] and runner.exit_code(frame) == 0
    assert pd.read_csv(out / 'results' / 'demo' / 'good-squares.csv').ours.tolist() == [0, 1, 4, 9]
    record = read_json(out / 'results' / 'demo' / 'good.json')
    assert record['parameters'] == {'n': 4}
    assert record['seeds'] == [7]
    assert record['minutes'] > 0
    assert len(record['stamp']) == 64
    assert record['findings'][0]['verdict'] == 'holds' and record['paper'] == 'Table 1'
    assert str(root) not in (out / 'results' / 'demo' / 'good.json').read_text()
    line = out / 'figures' / 'demo' / 'good-line'
    assert line.with_suffix('.png').exists() and line.with_suffix('.pdf').read_bytes().startswith(b'%PDF')
    page = Path(frame.attrs['index']).read_text()
    shown = (
        'Table 1',
        'The squares &lt;grow&gt;',
        '1 to 5',
        'published',
        '+7.500',
        'data:image/png;base64',
        'seeds 7',
        'n=4',
    )
    for s in shown:
        assert s in page, s
    for s in ('http://', 'https://', '<script', 'Not shown', str(root)):
        assert s not in page, s


def test_only_what_changed_runs_again(root, without_kernels):
    def run(**kw):
        return runner.replicate('quick', root=root, **kw).status.item()

    assert [run(), run(), run(force=True)] == ['done', 'unchanged', 'done']
    (root / 'runs' / 'quick' / 'figures' / 'demo' / 'good-line.png').unlink()
    assert [run(), run()] == ['done', 'unchanged']
    manifest(root, {**good(), 'profiles': {'quick': {'n': 5}}})
    assert [run(), run()] == ['done', 'unchanged']
    path = root / 'nbs' / 'experiments' / 'demo' / '01_good.ipynb'
    path.write_text(
        path.read_text().replace('# A notebook', '# Another title').replace('n: int = 2 # rows', 'n: int = 2 # lines')
    )
    assert run() == 'unchanged'
    path.write_text(path.read_text().replace('i**2', 'i**3'))
    assert run() == 'done'
    assert pd.read_csv(root / 'runs' / 'quick' / 'results' / 'demo' / 'good-squares.csv').ours.tolist() == [
        0,
        1,
        8,
        27,
        64,
    ]


@pytest.fixture
def package(tmp_path):
    "A small package: draws imports plots in a function; sums imports nothing; the face offers both"
    write_atomic(
        tmp_path / 'pack' / '__init__.py',
        "from .base import lazy\n__getattr__, __dir__ = lazy(__name__, {'add': 'sums', 'draw': 'draws'})\n",
    )
    write_atomic(tmp_path / 'pack' / 'base.py', 'def lazy(*a): return None, None\n')
    write_atomic(tmp_path / 'pack' / 'sums.py', 'def add(a, b): return a+b\n')
    write_atomic(tmp_path / 'pack' / 'plots.py', "color = 'red'\n")
    write_atomic(tmp_path / 'pack' / 'draws.py', 'def draw():\n    from .plots import color\n    return color\n')
    return tmp_path / 'pack'


@pytest.mark.parametrize(
    'code, used',
    [
        ('from pack.sums import add', ['sums']),
        ('from pack.draws import draw', ['draws', 'plots']),
        ('from pack import add', ['sums']),
        ('import pack as p\np.draw()', ['draws', 'plots']),
        ('import pack.plots', ['plots']),
        ('import pandas', []),
        ("def f():\n    from pack import draws", ['draws', 'plots']),
        ("import_module('pack.plots')", ['plots']),
    ],
)
def test_a_notebook_uses_what_it_imports_and_what_that_imports(package, code, used):
    assert stamps.Closure(package).of(code) == [f'pack.{u}' for u in used]


def test_a_change_of_plots_reruns_only_who_draws(root, package):
    notebook(root, 'demo/02_sums.ipynb', 'n: int = 2 # rows', 'from pack import add')
    notebook(root, 'demo/03_draws.ipynb', 'n: int = 2 # rows', 'from pack.draws import draw')
    manifest(root, dict(id='demo/sums', title='Sums'), dict(id='demo/draws', title='Draws'))

    def marks():
        return {e.id: stamps.stamp(e, {}, modules=stamps.Closure(package)) for e in load_manifest(root)}

    def changed(name, text):
        before = marks()
        (package / name).write_text((package / name).read_text() + text)
        after = marks()
        return [i for i in before if before[i] != after[i]]

    assert changed('plots.py', "width = 2\n") == ['demo/draws']
    assert changed('base.py', 'x = 1\n') == []
    assert changed('sums.py', '# a comment\n') == []
    assert changed('sums.py', 'y = 1\n') == ['demo/sums']


def test_stamp_sees_parameters_versions_and_public_corpora(root, tmp_path, monkeypatch):
    (e,) = load_manifest(root)
    modules = stamps.Closure()

    def mark(parameters=None, data=''):
        return stamps.stamp(e, {'corpus': 'trec6', **(parameters or {})}, data, modules)

    base = mark()
    assert mark() == base and mark({'n': 3}) != base and mark(data=str(tmp_path)) == base
    write_atomic(tmp_path / 'trec6' / 'train.csv', 'text,label\n')
    assert mark(data=str(tmp_path)) != base
    monkeypatch.setattr(stamps, 'numeric_versions', lambda: dict(numpy='9', autogets='1'))
    nine = mark()
    monkeypatch.setattr(stamps, 'numeric_versions', lambda: dict(numpy='9', autogets='2'))
    assert nine != base and mark() == nine


def test_stamp_sees_the_shipped_data_that_is_named(root):
    notebook(
        root,
        'demo/02_table.ipynb',
        'n: int = 2',
        "from autogets.replication.published import compare\ncompare(t, 'table9', on=['class'])",
    )
    manifest(root, dict(id='demo/table', title='Table'))
    found = stamps.stamp_parts(load_manifest(root)[0], {}, modules=stamps.Closure())
    assert [Path(f).name for f in found['data']] == ['table9.csv']
    assert 'autogets.replication.published' in found['modules'] and 'autogets.plots' not in found['modules']


def test_a_failure_is_reported_and_the_rest_goes_on(root, capsys):
    notebook(root, 'demo/02_bad.ipynb', 'n: int = 2 # rows', HEAD, "raise ValueError('no\\nluck')")
    missing = ('class DataMissing(Exception): pass', "raise DataMissing('trec6 is not here: set AUTOGETS_DATA')")
    notebook(root, 'demo/03_far.ipynb', 'n: int = 2 # rows', *missing)
    notebook(root, 'demo/04_mute.ipynb', 'n: int = 2 # rows', HEAD)
    manifest(root, *(dict(id=f'demo/{n}', title=n) for n in ('bad', 'far', 'mute')), good())
    frame = runner.replicate('smoke', root=root, workers=2).set_index('id')
    assert frame.status.to_dict() == {
        'demo/bad': 'failed',
        'demo/far': 'no data',
        'demo/mute': 'failed',
        'demo/good': 'done',
    }
    assert frame.message['demo/bad'] == 'cell 4: ValueError: no luck'
    assert frame.message['demo/far'] == 'trec6 is not here: set AUTOGETS_DATA'
    told = capsys.readouterr().out
    assert 'demo/good: starts, takes about 30 s' in told and '[4/4] demo/' in told and ' left\n' in told
    end = told[told.index('1 done, 1 skipped, 2 failed') :].splitlines()
    assert end[1:] == [
        '  failed: demo/bad, cell 4: ValueError: no luck',
        '  skipped: demo/far, trec6 is not here: set AUTOGETS_DATA',
        f'  failed: demo/mute, {frame.message["demo/mute"]}',
    ]
    assert "Experiment('demo/mute').save()" in frame.message['demo/mute']
    assert runner.exit_code(frame) == 1 and runner.exit_code(frame.loc[['demo/far', 'demo/good']]) == 0
    page = (root / 'runs' / 'smoke' / 'index.html').read_text()
    assert page.index('ValueError: no luck') < page.index('The squares') < page.index('trec6 is not here')
    assert (root / 'runs' / 'smoke' / 'notebooks' / 'demo' / 'bad.ipynb').exists()


def test_what_was_left_out_is_shown_and_tried_again(root, without_kernels):
    part = "exp = Experiment('demo/part')\nexp.table('a', pd.DataFrame({'i': [1]}))"
    save = "exp.skip('trec6', 'set AUTOGETS_DATA')\nexp.save()"
    notebook(root, 'demo/02_part.ipynb', 'n: int = 2 # rows', HEAD, part, save)
    manifest(root, dict(id='demo/part', title='Part'))
    for _ in range(2):
        row = runner.replicate('smoke', root=root).iloc[0]
        assert (row.status, row.message) == ('done', 'trec6: set AUTOGETS_DATA')
    assert 'Left out, trec6: set AUTOGETS_DATA' in (root / 'runs' / 'smoke' / 'index.html').read_text()


@pytest.mark.parametrize(
    'parameters, said',
    [({'m': 1}, "no parameter 'm'"), ({'n': '3'}, 'declares n: int'), ({'n': True}, 'declares n: int')],
)
def test_wrong_parameters_are_refused_before_anything_runs(root, parameters, said):
    notebook(root, 'demo/02_two.ipynb', 'n: int = 2 # rows', HEAD)
    manifest(root, good(), dict(id='demo/two', title='Two', profiles={'quick': parameters}))
    with pytest.raises(UserError, match=said):
        runner.replicate('quick', root=root)
    assert not (root / 'runs').exists()


@pytest.mark.parametrize(
    'text, said',
    [
        ('experiments: [', 'not YAML'),
        ('a: 1', 'no list'),
        ('experiments: [{id: a/x}]', 'has no title'),
        ('experiments: [{id: X, title: t}]', 'lower-case'),
        ('experiments: [{id: a/x, title: t}]', 'is not there'),
        ('experiments: [{id: a/x, notebook: no.ipynb, title: t}]', 'no.ipynb of experiment a/x is not there'),
        (
            'experiments: [{id: a/x, title: t, tables: [b]}]',
            "unknown key in experiment a/x of experiments/manifest.yml: 'tables'",
        ),
    ],
)
def test_a_broken_manifest_is_one_line(root, text, said):
    write_atomic(root / 'nbs' / 'experiments' / 'manifest.yml', text)
    with pytest.raises(UserError, match=said) as e:
        load_manifest(root)
    assert '\n' not in str(e.value)


def test_unknown_profile_id_and_workers(root):
    for kw, said in (
        ({'profile': 'fast'}, 'smoke, quick, full'),
        ({'only': ['x']}, 'demo/good'),
        ({'workers': 0}, 'at least 1'),
    ):
        with pytest.raises(UserError, match=said):
            runner.replicate(**{'root': root, **kw})


def test_an_old_id_is_understood_and_the_new_one_named(root, capsys):
    manifest(root, good(), renamed={'ag-good': 'demo/good'})
    assert [e.id for e, _ in plan('quick', ['ag-good'], root)] == ['demo/good']
    assert capsys.readouterr().out == 'ag-good is now demo/good\n'
    plan('quick', ['demo/good'], root)
    assert capsys.readouterr().out == ''


def children(pid):
    import psutil

    return psutil.Process(pid).children(recursive=True)


def gone(pids, seconds=10):
    "Whether all `pids` have ended (a zombie has)"
    import psutil

    def alive(pid):
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    for _ in range(10 * seconds):
        if not any(map(alive, pids)):
            return True
        time.sleep(0.1)
    return False


def test_a_notebook_that_hangs_is_ended_with_its_kernel(root):
    import threading

    notebook(
        root,
        'demo/02_slow.ipynb',
        'n: int = 2 # rows',
        "import os, time\nopen('pid', 'w').write(str(os.getpid()))",
        'time.sleep(600)',
    )
    manifest(root, dict(id='demo/slow', title='Slow'))
    batch = runner.Batch('smoke', root, root / 'out', stop=threading.Event())
    (e,) = load_manifest(root)
    task = runner.Planned(e, {})
    assert runner._papermill(task, root / 'x.ipynb', batch, 1)[0] is None

    def stop_when_running():
        while not (root / 'pid').exists() or not (root / 'pid').read_text():
            time.sleep(0.2)
        batch.stop.set()

    threading.Thread(target=stop_when_running, daemon=True).start()
    rc, _ = runner._papermill(task, root / 'x.ipynb', batch, 300)
    assert rc is None
    assert gone([int((root / 'pid').read_text())])
    status, message = runner._outcome(rc, '', root / 'x.ipynb', 480)
    assert status == 'failed' and message.startswith('not finished after 8 minutes, in cell 4: ')


def test_what_a_stopped_notebook_had_computed_is_kept(root, monkeypatch):
    work = """exp = Experiment('demo/slow')
from autogets.core import cached
def make(i):
    if i == 2 and not os.path.exists('again'): time.sleep(600)
    open(f'made-{i}', 'a').write('x')
    return i
found = [cached(exp.work('cells'), [i], lambda: make(i)) for i in range(3)]
exp.save()"""
    notebook(root, 'demo/02_slow.ipynb', 'n: int = 2 # rows', HEAD, work)
    manifest(root, dict(id='demo/slow', title='Slow', minutes={'smoke': 0.2}))
    real = runner._wait

    def until_it_hangs(process, seconds, stop):
        while process.poll() is None and not (root / 'made-1').exists():
            real(process, 1, stop)
        real(process, 1 if not (root / 'again').exists() else seconds, stop)

    monkeypatch.setattr(runner, '_wait', until_it_hangs)
    frame = runner.replicate('smoke', root=root).set_index('id')
    assert frame.status['demo/slow'] == 'failed'
    assert 'in cell 4: what it had computed is kept' in frame.message['demo/slow']
    (root / 'again').touch()
    frame = runner.replicate('smoke', root=root).set_index('id')
    assert frame.status['demo/slow'] == 'done'
    assert [(root / f'made-{i}').read_text() for i in range(3)] == ['x', 'x', 'x']


@pytest.fixture
def sleeper():
    p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
    yield p
    p.kill()
    p.wait()


def test_a_stopped_process_does_not_use_up_its_time(sleeper):
    import threading

    sleeper.send_signal(signal.SIGSTOP)
    waiting = threading.Thread(target=runner._wait, args=(sleeper, 1.5, threading.Event()), daemon=True)
    waiting.start()
    waiting.join(5)
    assert waiting.is_alive()
    sleeper.send_signal(signal.SIGCONT)
    waiting.join(6)
    assert not waiting.is_alive() and sleeper.poll() is None


def test_a_suspended_machine_does_not_use_up_the_time_of_a_notebook(sleeper, monkeypatch):
    import threading

    clock, stop, start = [0.0], threading.Event(), time.monotonic()
    hours = iter([0, 3600, 7200])  # a lid that was closed twice

    class Clock:
        def monotonic(self):
            clock[0] += next(hours, 1)
            return clock[0]

    monkeypatch.setattr(runner, 'time', Clock())
    runner._wait(sleeper, 10, stop)
    assert clock[0] > 10800 and time.monotonic() - start > 0.8


def test_a_kernel_that_never_started_is_tried_once_more(root, without_kernels, monkeypatch):
    real, calls = runner._papermill, []

    def flaky(*args, **how):
        calls.append(1)
        return (1, 'zmq.error.ZMQError: Address already in use') if len(calls) == 1 else real(*args, **how)

    monkeypatch.setattr(runner, '_papermill', flaky)
    assert runner.replicate('smoke', root=root).status.item() == 'done' and len(calls) == 2
    calls.clear()
    monkeypatch.setattr(
        runner, '_papermill', lambda *a, **k: calls.append(1) or (1, 'Kernel died before replying to kernel_info')
    )
    row = runner.replicate('smoke', root=root, force=True).iloc[0]
    assert row.status == 'failed' and 'Kernel died' in row.message and len(calls) == 2


def test_an_interrupt_ends_the_running_notebook(root):
    notebook(
        root, 'demo/02_slow.ipynb', 'n: int = 2 # rows', "import time\nopen('started', 'w').close()", 'time.sleep(600)'
    )
    manifest(root, dict(id='demo/slow', title='Slow'), good())
    # a background job starts with Ctrl-C ignored
    heed = 'import signal; signal.signal(signal.SIGINT, signal.default_int_handler)'
    code = f"{heed}\nfrom autogets.replication import replicate; replicate('smoke', root={str(root)!r})"
    env = {**os.environ, 'PYTHONPATH': str(Path(runner.__file__).parents[2])}
    p = subprocess.Popen(
        [sys.executable, '-c', code],
        env=env,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(1800):
            if (root / 'started').exists():
                break
            time.sleep(0.1)
        family = [c.pid for c in children(p.pid)]
        assert len(family) >= 2
        p.send_signal(signal.SIGINT)
        assert p.wait(15) != 0
        assert gone(family)
        assert not (root / 'runs' / 'smoke' / 'results' / 'demo' / 'good.json').exists()
    finally:
        if p.poll() is None:
            p.kill()


def test_publish_copies_and_removes_what_is_no_longer_written(root, without_kernels):
    runner.replicate('quick', root=root)
    runner.publish('quick', root=root)
    results, figures = root / 'data' / 'results' / 'demo', root / 'figures' / 'demo'
    assert sorted(p.name for p in figures.iterdir()) == ['good-line.png']
    assert read_json(results / 'good.json')['profile'] == 'quick'
    path = root / 'nbs' / 'experiments' / 'demo' / '01_good.ipynb'
    path.write_text(path.read_text().replace("'squares'", "'cubes'"))
    runner.replicate('quick', root=root)
    runner.publish('quick', root=root)
    assert sorted(p.name for p in results.iterdir()) == ['good-cubes.csv', 'good.json']
    assert 'profile quick: n = 4' in path.read_text()


def test_a_notebook_of_several_experiments_shows_the_first(root, without_kernels):
    path = root / 'nbs' / 'experiments' / 'demo' / '01_good.ipynb'
    path.write_text(path.read_text().replace("Experiment('demo/good')", "Experiment(f'demo/{name}')"))
    path.write_text(path.read_text().replace('n: int = 2 # rows', "n: int = 2 # rows\\nname: str = 'good'"))
    other = dict(id='demo/other', notebook='demo/01_good.ipynb', title='Others')
    manifest(root, good(), other | dict(profiles={'quick': {'n': 3, 'name': 'other'}}))
    before = path.read_text()
    runner.replicate('quick', root=root, only=['demo/other'])
    runner.publish('quick', root=root)
    assert path.read_text() == before and (root / 'data' / 'results' / 'demo' / 'other.json').exists()
    runner.replicate('quick', root=root)
    runner.publish('quick', root=root)
    assert 'n = 4' in path.read_text() and 'n = 3' not in path.read_text()


def test_a_notebook_is_run_by_this_python_in_the_project_folder(root):
    body = """import sys, autogets
v = [sys.prefix, os.getcwd(), autogets.__file__, str(os.environ.get('IN_TEST'))]
exp = Experiment('demo/good')
exp.table('t', pd.DataFrame({'k': ['exe', 'cwd', 'pkg', 'test'], 'v': v}))
exp.save()"""
    notebook(root, 'demo/01_good.ipynb', 'n: int = 2 # rows', HEAD, body)
    import autogets

    old = os.environ.get('IN_TEST')
    os.environ['IN_TEST'] = '1'
    try:
        runner.replicate('smoke', root=root)
    finally:
        os.environ.pop('IN_TEST') if old is None else os.environ.__setitem__('IN_TEST', old)
    got = (
        pd.read_csv(root / 'runs' / 'smoke' / 'results' / 'demo' / 'good-t.csv', keep_default_na=False).set_index('k').v
    )
    assert got.to_dict() == {'exe': sys.prefix, 'cwd': str(root.resolve()), 'pkg': autogets.__file__, 'test': 'None'}


def test_a_table_that_came_out_empty_is_on_the_page(tmp_path):
    (tmp_path / 'results').mkdir()
    (tmp_path / 'results/t.csv').write_text('\n')
    record = dict(
        skipped={},
        tables=['t'],
        figures=[],
        captions={'t': 'Nothing to compare'},
        minutes=1,
        cores=2,
        commit=None,
        dirty=False,
        seeds=[],
        parameters={},
        versions={},
    )
    assert 'Nothing to compare' in str(experiment_section('e', '', record, tmp_path))
