"""Small projects with notebooks and a manifest, for the tests of the runner."""

import contextlib
import json
import os
from unittest import mock

from autogets.core import read_json, write_atomic, write_json

HEAD = 'import os, time\nimport pandas as pd\nfrom autogets.replication.results import Experiment'


def notebook(root, name, parameters, *sources):
    "Write nbs/experiments/NAME: a title, a cell of parameters, code cells"
    cells = [dict(cell_type='markdown', id='title', metadata={}, source='# A notebook')]
    for i, s in enumerate((parameters, *sources)):
        tags = ['parameters'] if i == 0 else []
        cells.append(
            dict(cell_type='code', id=f'c{i}', metadata={'tags': tags}, source=s, outputs=[], execution_count=None)
        )
    spec = dict(kernelspec=dict(name='python3', language='python', display_name='python3'))
    return write_json(
        root / 'nbs' / 'experiments' / name, dict(cells=cells, metadata=spec, nbformat=4, nbformat_minor=5)
    )


def manifest(root, *entries, renamed=None):
    lines = ''.join(f'- {json.dumps(e)}\n' for e in entries)
    write_atomic(
        root / 'nbs' / 'experiments' / 'manifest.yml', f'experiments:\n{lines}renamed: {json.dumps(renamed or {})}\n'
    )


def good(name='demo/good', **more):
    return dict(id=name, title='Squares', paper='Table 1', profiles={'quick': {'n': 4}}, **more)


def project(folder):
    "A project with one experiment, demo/good: a table, a figure, a finding"
    write_atomic(folder / 'settings.ini', '[DEFAULT]\n')
    body = '''exp = Experiment('demo/good')
t = pd.DataFrame({'i': range(n)}).assign(published=1.5, ours=lambda d: d.i**2, difference=lambda d: d.ours-d.published)
exp.table('squares', t)
from matplotlib.figure import Figure
fig = Figure(figsize=(2, 2))
_ = fig.subplots().plot(t.i, t.ours)
exp.figure('line', fig)'''
    save = "exp.finding('The squares <grow>', 3, low=1, high=5)\nexp.save(seeds=[7])"
    notebook(folder, 'demo/01_good.ipynb', 'n: int = 2 # rows', HEAD, body, save)
    manifest(folder, good())
    return folder


def run_here(task, target, batch, **limits):
    "Does what papermill does for a notebook that succeeds, without a kernel: its cells in this process"
    spec, names = read_json(task.experiment.path), {}
    with mock.patch.dict(os.environ, batch.environment(task), clear=True), contextlib.chdir(batch.root):
        for cell in spec['cells']:
            if cell['cell_type'] == 'code':
                exec(compile(cell['source'], cell['id'], 'exec'), names)
                names.update(task.parameters if cell['metadata']['tags'] else {})
    write_json(target, spec)
    return 0, ''
