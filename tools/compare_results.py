"""Compare every numeric cell of the committed result tables with those of an earlier commit.

    python tools/compare_results.py REVISION

Tables and columns may have other names than they had, and tables may have gained columns; a number may not change.
Exits with 1 when a column of numbers of the earlier commit is in no table of today."""

import csv
import io
import subprocess
import sys
from pathlib import Path


def is_number(cell):
    try:
        float(cell)
    except ValueError:
        return False
    return True


def columns(text):
    "The columns of a CSV table that hold numbers, each as a tuple of its cells; a cell without a number is empty"
    rows = list(csv.reader(io.StringIO(text)))
    found = zip(*([c if is_number(c) else '' for c in r] for r in rows[1:]), strict=False)
    return [c for c in found if any(c)]


def git(root, *words):
    return subprocess.run(['git', *words], capture_output=True, text=True, cwd=root, check=True).stdout


def main(revision):
    root = Path(__file__).resolve().parents[1]
    listed = git(root, 'ls-tree', '-r', '--name-only', revision, 'data/results').splitlines()
    before = {p: columns(git(root, 'show', f'{revision}:{p}')) for p in listed if p.endswith('.csv')}
    after = {p: set(columns(p.read_text())) for p in sorted((root / 'data' / 'results').rglob('*.csv'))}
    lost = [p for p, old in before.items() if not any(set(old) <= new for new in after.values())]
    cells = sum(sum(map(bool, c)) for p, old in before.items() if p not in lost for c in old)
    whole = len(before) - len(lost)
    print(f'{len(before)} tables in {revision}; {whole} have every number ({cells} cells) in a table of today')
    for p in lost:
        print(f'changed or lost: {p}')
    return bool(lost)


if __name__ == '__main__':
    if len(sys.argv) != 2:
        sys.exit('give the revision to compare with: python tools/compare_results.py REVISION')
    sys.exit(main(sys.argv[1]))
