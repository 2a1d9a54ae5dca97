"""This checkout: where it is, its notebooks and their cells, and a fresh interpreter that finds it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {
    'nbdev',
    'fastcore',
    'execnb',
    'torch',
    'transformers',
    'catboost',
    'openai',
    'nltk',
    'datasets',
    'papermill',
    'dask',
}


def _hidden(path):
    return any(part.startswith(('.', '_')) for part in path.relative_to(ROOT).parts)


NOTEBOOKS = sorted(p for p in (ROOT / 'nbs').rglob('*.ipynb') if not _hidden(p))
EXPERIMENTS = [p for p in NOTEBOOKS if p.is_relative_to(ROOT / 'nbs' / 'experiments')]


def notebook_name(path):
    "As people say it: search/07_windows.ipynb"
    return path.relative_to(ROOT / 'nbs').as_posix()


def cells(path, kind='code'):
    return [c for c in json.loads(path.read_text())['cells'] if c['cell_type'] == kind]


def source(cell):
    return ''.join(cell['source'])


def exported(path):
    "The sources of the cells that go into the package"
    return [s for s in map(source, cells(path)) if re.search(r'^#\|\s*exporti?\b', s, re.M)]


def python(code, **env):
    "Run `code` in a fresh interpreter that finds this checkout; its standard output"
    env = {**os.environ, 'PYTHONPATH': str(ROOT), **env}
    r = subprocess.run([sys.executable, '-c', code], env=env, capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    return r.stdout
