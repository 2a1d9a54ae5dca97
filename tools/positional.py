"""List the calls of autogets functions with more than three positional arguments, for people who tidy up.

    .venv/bin/python tools/positional.py [PART OF A PATH]

Functions are told apart by their names alone. Those that take any number of arguments (`*args`) are left out, and
`*values` in a call does not count.
"""

import ast
import sys
from collections import Counter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / 'autogets'
MOST = 3


def trees():
    return {p: ast.parse(p.read_text()) for p in sorted(PACKAGE.rglob('*.py')) if p.name != '_modidx.py'}


def fixed_functions(parsed):
    "Names of classes and functions of the package that take a fixed number of arguments"
    nodes = [n for tree in parsed.values() for n in ast.walk(tree)]
    functions = [n for n in nodes if isinstance(n, ast.FunctionDef)]
    open_ended = {f.name for f in functions if f.args.vararg}
    return {n.name for n in [*functions, *(n for n in nodes if isinstance(n, ast.ClassDef))]} - open_ended


def long_calls(parsed):
    "(path, line, call) of every call with too many positional arguments"
    known = fixed_functions(parsed)
    for path, tree in parsed.items():
        for n in (n for n in ast.walk(tree) if isinstance(n, ast.Call)):
            given = [a for a in n.args if not isinstance(a, ast.Starred)]
            name = getattr(n.func, 'id', getattr(n.func, 'attr', ''))
            if len(given) > MOST and name in known:
                yield path.relative_to(PACKAGE.parent), n.lineno, ast.unparse(n)


def main(part=''):
    found = [f for f in long_calls(trees()) if part in str(f[0])]
    for path, line, call in found:
        print(f'{path}:{line}: {call[:90]}')
    for path, n in Counter(path for path, _, _ in found).most_common():
        print(f'{n:4} {path}')
    print(f'{len(found)} calls with more than {MOST} positional arguments')


if __name__ == '__main__':
    main(*sys.argv[1:2])
