"A made-up recorded dataset in a folder, and entered in the registry: for the tests of data and generators"

import gzip
import hashlib
from pathlib import Path

import pandas as pd

from autogets.data.recordings import PARTS, RECORDINGS


def words(kind, i):
    return f'the {kind} number {i} is here'


def make(folder, seeds=None, test=None, llm=None, gz=True):
    """A recorded dataset in `folder`: classes of 20, 10 and 4 seeds unless given; two texts of model m1 and one of m2
    per seed"""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if seeds is None:
        seeds = [(words(k, i), k) for k, n in [('cat', 20), ('dog', 10), ('emu', 4)] for i in range(n)]
    if test is None:
        test = [(words(k, i), k) for k in ('cat', 'dog', 'emu') for i in range(50, 70)]
    if llm is None:
        llm = [(f'{m} {k} {t}', c, t, m, 'echo') for t, c in seeds for m, n in [('m1', 2), ('m2', 1)] for k in range(n)]
    for part, rows, columns in [
        ('seeds', seeds, ['text', 'label']),
        ('test', test, ['text', 'label']),
        ('llm', llm, ['text', 'label', 'source_text', 'model', 'method']),
    ]:
        data = pd.DataFrame(rows, columns=columns).to_csv(index=False).encode()
        (folder / f'{part}.csv{".gz" if gz else ""}').write_bytes(gzip.compress(data) if gz else data)
    return folder


def register(tmp_path, monkeypatch):
    "Enter a made-up recorded dataset in the registry, its folder below AUTOGETS_DATA; the folder"
    folder = make(tmp_path / 'llm_generated' / 'zoo')
    files = {
        p: {'rows': 0, 'sha256': hashlib.sha256(gzip.decompress((folder / f'{p}.csv.gz').read_bytes())).hexdigest()}
        for p in PARTS
    }
    models = [
        {'model': 'm1', 'method': 'echo', 'texts': 68, 'sources': 34},
        {'model': 'm2', 'method': 'echo', 'texts': 34, 'sources': 34},
    ]
    entry = {
        'title': 'Zoo',
        'license': 'none',
        'files': files,
        'classes': {'cat': 20, 'dog': 10, 'emu': 4},
        'models': models,
        'default': {'model': 'm1', 'method': 'echo'},
    }
    monkeypatch.setitem(RECORDINGS, 'zoo', entry)
    monkeypatch.setenv('AUTOGETS_DATA', str(tmp_path))
    return folder
