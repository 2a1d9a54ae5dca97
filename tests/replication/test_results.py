"""The batch as a whole: real kernels, several notebooks, failures, kills and stamps."""
import os
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from autogets.replication import results as rep
from autogets.core import UserError, read_json, write_atomic, write_json

HEAD = 'import os, time\nimport pandas as pd\nfrom autogets.replication.results import save_result'


def notebook(root, name, parameters, *sources):
    cells = [dict(cell_type='markdown', id='title', metadata={}, source='# A notebook')]
    for i, s in enumerate((parameters, *sources)):
        tags = ['parameters'] if i == 0 else []
        cells.append(dict(cell_type='code', id=f'c{i}', metadata={'tags': tags}, source=s, outputs=[], execution_count=None))
    spec = dict(kernelspec=dict(name='python3', language='python', display_name='python3'))
    return write_json(root/'nbs'/'experiments'/name, dict(cells=cells, metadata=spec, nbformat=4, nbformat_minor=5))


def manifest(root, *entries):
    write_atomic(root/'nbs'/'experiments'/'manifest.yml', 'experiments:\n' + ''.join(f'- {json.dumps(e)}\n' for e in entries))


def good(name='ag-good', **more):
    return dict(id=name, notebook='ag_good.ipynb', title='Squares', paper='Table 1', tables=['squares'], figures=['line'],
                profiles={'quick': {'n': 4}}, **more)


@pytest.fixture
def root(tmp_path):
    write_atomic(tmp_path/'settings.ini', '[DEFAULT]\n')
    body = '''t = pd.DataFrame({'i': range(n)}).assign(published=1.5, ours=lambda d: d.i**2, difference=lambda d: d.ours-d.published)
from matplotlib.figure import Figure
fig = Figure(figsize=(2, 2))
_ = fig.subplots().plot(t.i, t.ours)'''
    save = "save_result('ag-good', {'squares': t}, {'line': fig}, parameters=dict(n=n), seeds=(7,), verdict='The squares <grow>.')"
    notebook(tmp_path, 'ag_good.ipynb', 'n: int = 2 # rows', HEAD, body, save)
    manifest(tmp_path, good())
    return tmp_path


def test_a_run_leaves_tables_figures_provenance_and_a_page(root):
    frame = rep.replicate('quick', root=root)
    out = root/'runs'/'quick'
    assert frame.status.tolist() == ['done'] and rep.exit_code(frame) == 0
    assert pd.read_csv(out/'results'/'squares.csv').ours.tolist() == [0, 1, 4, 9]
    record = read_json(out/'results'/'ag-good.json')
    assert record['parameters'] == {'n': 4} and record['seeds'] == [7] and record['minutes'] > 0 and len(record['stamp']) == 64
    assert str(root) not in (out/'results'/'ag-good.json').read_text()
    assert (out/'figures'/'line.png').exists() and (out/'figures'/'line.pdf').read_bytes().startswith(b'%PDF')
    page = Path(frame.attrs['index']).read_text()
    for s in ('Table 1', 'The squares &lt;grow&gt;.', 'published', '+7.500', 'data:image/png;base64', 'seeds 7', 'n=4'): assert s in page, s
    for s in ('http://', 'https://', '<script', 'Not shown', str(root)): assert s not in page, s


def test_only_what_changed_runs_again(root):
    def run(**kw): return rep.replicate('quick', root=root, **kw).status.item()
    assert [run(), run(), run(force=True)] == ['done', 'unchanged', 'done']
    (root/'runs'/'quick'/'figures'/'line.png').unlink()
    assert [run(), run()] == ['done', 'unchanged']
    manifest(root, {**good(), 'profiles': {'quick': {'n': 5}}})
    assert [run(), run()] == ['done', 'unchanged']
    path = root/'nbs'/'experiments'/'ag_good.ipynb'
    path.write_text(path.read_text().replace('# A notebook', '# Another title'))
    assert run() == 'unchanged'
    path.write_text(path.read_text().replace('i**2', 'i**3'))
    assert run() == 'done'
    assert pd.read_csv(root/'runs'/'quick'/'results'/'squares.csv').ours.tolist() == [0, 1, 8, 27, 64]


def test_stamp_sees_modules_data_and_public_corpora(root, tmp_path):
    e = rep.load_manifest(root)[0]
    e = rep.Experiment(**{**e.__dict__, 'needs': ('trec6',)})
    sources = rep._sources()
    assert 'core.py' in sources['modules'] and sources['versions']['numpy'] and any('tickets' in k for k in sources['data']['corpora'])
    base = rep.stamp(e, {}, '', sources)
    assert rep.stamp(e, {}, '', sources) == base
    assert rep.stamp(e, {}, '', {**sources, 'modules': {**sources['modules'], 'core.py': 'x'}}) != base
    assert rep.stamp(e, {}, str(tmp_path), sources) == base
    write_atomic(tmp_path/'trec6'/'train.csv', 'text,label\n')
    assert rep.stamp(e, {}, str(tmp_path), sources) != base


def test_a_failure_is_reported_and_the_rest_goes_on(root):
    notebook(root, 'ag_bad.ipynb', 'n: int = 2 # rows', HEAD, "raise ValueError('no\\nluck')")
    notebook(root, 'ag_far.ipynb', 'n: int = 2 # rows', 'class DataMissing(Exception): pass', "raise DataMissing('trec6 is not here: set AUTOGETS_DATA')")
    notebook(root, 'ag_mute.ipynb', 'n: int = 2 # rows', HEAD)
    other = [dict(id=f'ag-{n}', notebook=f'ag_{n}.ipynb', title=n) for n in ('bad', 'far', 'mute')]
    manifest(root, *other, good())
    frame = rep.replicate('smoke', root=root, workers=2).set_index('id')
    assert frame.status.to_dict() == {'ag-bad': 'failed', 'ag-far': 'no data', 'ag-mute': 'failed', 'ag-good': 'done'}
    assert frame.message['ag-bad'] == 'cell 4: ValueError: no luck'
    assert frame.message['ag-far'] == 'trec6 is not here: set AUTOGETS_DATA'
    assert 'save_result' in frame.message['ag-mute']
    assert rep.exit_code(frame) == 1 and rep.exit_code(frame.loc[['ag-far', 'ag-good']]) == 0
    page = (root/'runs'/'smoke'/'index.html').read_text()
    assert page.index('ValueError: no luck') < page.index('The squares')
    assert (root/'runs'/'smoke'/'notebooks'/'ag-bad.ipynb').exists()


def test_results_that_the_manifest_promises_must_be_there(root):
    manifest(root, {**good(), 'tables': ['squares', 'cubes']})
    row = rep.replicate('smoke', root=root).iloc[0]
    assert row.status == 'failed' and 'cubes' in row.message
    assert rep.replicate('smoke', root=root).status.item() == 'failed'


def test_what_was_left_out_is_shown_and_tried_again(root):
    notebook(root, 'ag_part.ipynb', 'n: int = 2 # rows', HEAD, "save_result('ag-part', {'a': pd.DataFrame({'i': [1]})}, skipped={'trec6': 'set AUTOGETS_DATA'})")
    manifest(root, dict(id='ag-part', notebook='ag_part.ipynb', title='Part', tables=['a', 'b']))
    for _ in range(2):
        row = rep.replicate('smoke', root=root).iloc[0]
        assert (row.status, row.message) == ('done', 'trec6: set AUTOGETS_DATA')
    assert 'Left out, trec6: set AUTOGETS_DATA' in (root/'runs'/'smoke'/'index.html').read_text()


@pytest.mark.parametrize('parameters, said', [({'m': 1}, "no parameter 'm'"), ({'n': '3'}, 'declares n: int'), ({'n': True}, 'declares n: int')])
def test_wrong_parameters_are_refused_before_anything_runs(root, parameters, said):
    notebook(root, 'ag_two.ipynb', 'n: int = 2 # rows', HEAD)
    manifest(root, good(), dict(id='ag-two', notebook='ag_two.ipynb', title='Two', profiles={'quick': parameters}))
    with pytest.raises(UserError, match=said): rep.replicate('quick', root=root)
    assert not (root/'runs').exists()


@pytest.mark.parametrize('text, said', [('experiments: [', 'not valid YAML'), ('a: 1', 'no list'), ('experiments: [{id: x}]', 'has no notebook'),
    ('experiments: [{id: X, notebook: ag_good.ipynb, title: t}]', 'lower-case'), ('experiments: [{id: x, notebook: no.ipynb, title: t}]', 'is not there')])
def test_a_broken_manifest_is_one_line(root, text, said):
    write_atomic(root/'nbs'/'experiments'/'manifest.yml', text)
    with pytest.raises(UserError, match=said) as e: rep.load_manifest(root)
    assert '\n' not in str(e.value)


def test_unknown_profile_id_and_workers(root):
    for kw, said in (({'profile': 'fast'}, 'smoke, quick, full'), ({'only': ['x']}, 'ag-good'), ({'workers': 0}, 'at least 1')):
        with pytest.raises(UserError, match=said): rep.replicate(**{'root': root, **kw})


def children(pid):
    import psutil
    return psutil.Process(pid).children(recursive=True)


def gone(pids, seconds=10):
    "Whether all `pids` have ended (a zombie has)"
    import psutil
    def alive(pid):
        try: return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess: return False
    for _ in range(10*seconds):
        if not any(map(alive, pids)): return True
        time.sleep(.1)
    return False


def test_a_notebook_that_hangs_is_ended_with_its_kernel(root):
    import threading
    notebook(root, 'ag_slow.ipynb', 'n: int = 2 # rows', "import os, time\nopen('pid', 'w').write(str(os.getpid()))", 'time.sleep(600)')
    manifest(root, dict(id='ag-slow', notebook='ag_slow.ipynb', title='Slow'))
    e = rep.load_manifest(root)[0]
    rc, _ = rep._papermill(e, {}, root/'x.ipynb', dict(os.environ), root, 8, threading.Event())
    assert rc is None
    assert gone([int((root/'pid').read_text())])
    assert rep._outcome(rc, '', root/'x.ipynb', 480, e.id) == ('failed', 'not finished after 8 minutes')


def test_a_kernel_that_never_started_is_tried_once_more(root, monkeypatch):
    real, calls = rep._papermill, []
    def flaky(*args):
        calls.append(1)
        return (1, 'zmq.error.ZMQError: Address already in use') if len(calls) == 1 else real(*args)
    monkeypatch.setattr(rep, '_papermill', flaky)
    assert rep.replicate('smoke', root=root).status.item() == 'done' and len(calls) == 2
    calls.clear()
    monkeypatch.setattr(rep, '_papermill', lambda *a: calls.append(1) or (1, 'Kernel died before replying to kernel_info'))
    row = rep.replicate('smoke', root=root, force=True).iloc[0]
    assert row.status == 'failed' and 'Kernel died' in row.message and len(calls) == 2


def test_an_interrupt_ends_the_running_notebook(root):
    notebook(root, 'ag_slow.ipynb', 'n: int = 2 # rows', "import time\nopen('started', 'w').close()", 'time.sleep(600)')
    manifest(root, dict(id='ag-slow', notebook='ag_slow.ipynb', title='Slow'), good())
    heed = 'import signal; signal.signal(signal.SIGINT, signal.default_int_handler)'  # a background job starts with Ctrl-C ignored
    code = f"{heed}\nfrom autogets.replication.results import replicate; replicate('smoke', root={str(root)!r})"
    env = {**os.environ, 'PYTHONPATH': str(Path(rep.__file__).parents[2])}
    p = subprocess.Popen([sys.executable, '-c', code], env=env, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            if (root/'started').exists(): break
            time.sleep(.1)
        family = [c.pid for c in children(p.pid)]
        assert len(family) >= 2
        p.send_signal(signal.SIGINT)
        assert p.wait(15) != 0
        assert gone(family)
        assert not (root/'runs'/'smoke'/'results'/'ag-good.json').exists()
    finally:
        if p.poll() is None: p.kill()


def test_save_result_chooses_its_folder(tmp_path, monkeypatch):
    t = {'a': pd.DataFrame({'i': [1]})}
    monkeypatch.setenv('AUTOGETS_OUT', str(tmp_path/'env'))
    monkeypatch.setenv('IN_TEST', '1')
    assert rep.save_result('x', t) == tmp_path/'env'/'results'/'x.json'
    assert rep.save_result('x', t, out=str(tmp_path/'arg')) == tmp_path/'arg'/'results'/'x.json'
    monkeypatch.delenv('AUTOGETS_OUT')
    temporary = rep.save_result('x', t)
    assert tmp_path not in temporary.parents and not temporary.is_relative_to(rep.project_root())
    monkeypatch.delenv('IN_TEST')
    monkeypatch.setenv('AUTOGETS_ROOT', str(tmp_path))
    assert rep.save_result('x', t) == tmp_path/'runs'/'jupyter'/'results'/'x.json'


def test_figures_have_the_same_bytes_each_time(tmp_path):
    from matplotlib.figure import Figure
    made = []
    for i in range(2):
        fig = Figure(figsize=(3, 2))
        fig.subplots().plot([0, 1], [0, 1], label='a')
        rep.save_result('x', figures={'f': fig}, out=tmp_path/str(i))
        made.append([(tmp_path/str(i)/'figures'/f'f.{x}').read_bytes() for x in ('png', 'pdf')])
    assert made[0] == made[1]


def test_save_result_takes_numpy_and_refuses_paths(tmp_path):
    import numpy as np
    p = rep.save_result('x', parameters={'n': np.int64(3), 'shares': (np.float64(.5),), 'out': str(tmp_path)}, seeds=(np.int64(1),), out=tmp_path)
    assert read_json(p)['parameters'] == {'n': 3, 'shares': [.5]} and read_json(p)['seeds'] == [1]
    for bad in ('../x', 'A b', ''):
        with pytest.raises(UserError, match='file name'): rep.save_result('x', {bad: pd.DataFrame()}, out=tmp_path)


def test_compare_keeps_what_only_one_side_has():
    ours = pd.DataFrame({'class': ['ABBR', 'NEW', 'ABBR'], 'metric': ['recall', 'recall', 'recall'], 'protocol': ['paper', 'paper', 'honest'], 'got': [.5, .6, .4]})
    both = rep.compare(ours, 'table9', on=['class', 'metric'], value='got')
    published = pd.read_csv(rep.shipped('papers/table9.csv')).set_index(['class', 'metric']).published
    assert list(both.columns) == ['class', 'metric', 'protocol', 'published', 'ours', 'difference']
    abbr = both[both.protocol.notna() & (both['class'] == 'ABBR')]
    assert abbr.published.tolist() == [published['ABBR', 'recall']]*2
    assert abbr.difference.tolist() == pytest.approx([.5-published['ABBR', 'recall'], .4-published['ABBR', 'recall']])
    assert both[both['class'] == 'NEW'].published.isna().all() and len(both) == len(published)+2
    assert len(rep.compare(ours, 'table9', on=['class', 'metric'], value='got', how='left')) == 3
    with pytest.raises(UserError, match='several rows'): rep.compare(ours, 'table9', on=['class'], value='got')
    with pytest.raises(UserError, match='no column ours'): rep.compare(ours, 'table9', on=['class', 'metric'])


def test_publish_copies_and_removes_what_is_no_longer_written(root):
    rep.replicate('quick', root=root)
    rep.publish('quick', root=root)
    assert (root/'data'/'results'/'squares.csv').exists() and (root/'figures'/'line.png').exists() and not (root/'figures'/'line.pdf').exists()
    assert read_json(root/'data'/'results'/'ag-good.json')['profile'] == 'quick'
    path = root/'nbs'/'experiments'/'ag_good.ipynb'
    path.write_text(path.read_text().replace("'squares'", "'cubes'"))
    manifest(root, {**good(), 'tables': ['cubes']})
    rep.replicate('quick', root=root)
    rep.publish('quick', root=root)
    assert sorted(p.name for p in (root/'data'/'results').iterdir()) == ['ag-good.json', 'cubes.csv']


def test_markdown_is_filled_from_committed_results(tmp_path):
    write_atomic(tmp_path/'t.csv', 'class,protocol,ours,gain\nA,paper,0.8896,0.01\nB,paper,0.5,-0.0204\nB,honest,0.4,0\n')
    s = 'OBA <!-- value: t.csv where class=B, protocol=paper columns ours -->x<!-- end --> and\n<!-- table: t.csv where protocol=paper columns class, gain -->\nold\n<!-- end -->\nlast'
    filled = rep.fill_markdown(s, tmp_path)
    assert '-->0.500<!-- end --> and' in filled and '| B | −0.020 |' in filled and 'old' not in filled and filled.endswith('-->\nlast')
    assert rep.fill_markdown(filled, tmp_path) == filled
    for bad, said in (('value: t.csv columns ours', 'not one number'), ('table: u.csv', 'publish'), ('table: t.csv where x=1', 'no column x'), ('table: nonsense', 'cannot read')):
        with pytest.raises(UserError, match=said): rep.fill_markdown(f'<!-- {bad} --><!-- end -->', tmp_path)


def test_a_notebook_is_run_by_this_python_in_the_project_folder(root):
    body = "import sys, autogets\nt = pd.DataFrame({'k': ['exe', 'cwd', 'pkg', 'test'], 'v': [sys.prefix, os.getcwd(), autogets.__file__, str(os.environ.get('IN_TEST'))]})"
    notebook(root, 'ag_good.ipynb', 'n: int = 2 # rows', HEAD, body, "save_result('ag-good', {'t': t})")
    manifest(root, dict(id='ag-good', notebook='ag_good.ipynb', title='Where'))
    import autogets
    old = os.environ.get('IN_TEST')
    os.environ['IN_TEST'] = '1'
    try: rep.replicate('smoke', root=root)
    finally: os.environ.pop('IN_TEST') if old is None else os.environ.__setitem__('IN_TEST', old)
    got = pd.read_csv(root/'runs'/'smoke'/'results'/'t.csv', keep_default_na=False).set_index('k').v
    assert got.to_dict() == {'exe': sys.prefix, 'cwd': str(root.resolve()), 'pkg': autogets.__file__, 'test': 'None'}

def test_a_table_that_came_out_empty_is_on_the_page(tmp_path):
    from autogets.replication.page import experiment_section
    (tmp_path/'results').mkdir()
    (tmp_path/'results/t.csv').write_text('\n')
    record = dict(verdict='', skipped={}, tables=['t'], figures=[], captions={'t': 'Nothing to compare'}, minutes=1, cores=2, commit=None, dirty=False, seeds=[], parameters={}, versions={})
    assert 'Nothing to compare' in str(experiment_section('e', '', record, tmp_path))
