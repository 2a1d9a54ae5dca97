"""Pin what pyproject.toml asks for to the versions installed here.

    .venv/bin/python tools/lock.py          writes the three files below
    .venv/bin/python tools/lock.py --check  only says whether they are what it would write

requirements-lock.txt               what `make` installs: the dependencies and every extra but transformers and offline
requirements-lock-transformers.txt  what these two need on top (torch is large, and most commands do not need it);
                                    left as it is where these packages are not installed
environment.yml                     both lists, for conda users

To move to newer versions: change a bound in pyproject.toml where needed, `.venv/bin/pip install --upgrade -e '.[...]'`,
run the tests, then `make lock`.
"""

import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
APART = ('transformers', 'offline')


def extras():
    "The runtime dependencies (under '') and each extra's, as lists of `Requirement`"
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
    asked = {'': project['dependencies'], **project['optional-dependencies']}
    asked = {name: [Requirement(r) for r in reqs] for name, reqs in asked.items()}
    return {
        name: [r for r in reqs if r.name != project['name']] for name, reqs in asked.items()
    }  # an extra that contains another adds nothing of its own


def installed(name):
    try:
        return bool(distribution(name))
    except PackageNotFoundError:
        return False


def closure(requirements):
    "Name -> version of everything that `requirements` pull in here; local parts such as +cpu are left out"
    pins, todo = {}, [(r, '') for r in requirements]
    seen = set()
    while todo:
        req, extra = todo.pop()
        name = canonicalize_name(req.name)
        if req.marker and not req.marker.evaluate({'extra': extra}):
            continue
        if not installed(name):
            sys.exit(f'{name} is asked for but not installed: install it, then lock again')
        dist = distribution(name)
        if not req.specifier.contains(dist.version, prereleases=True):
            sys.exit(f'{name} {dist.version} is installed, but {req} is asked for')
        pins[name] = dist.version.split('+')[0]
        for extra in ('', *req.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            todo += [(Requirement(r), extra) for r in dist.requires or []]
    return pins


def lines(pins):
    return [f'{n}=={v}' for n, v in sorted(pins.items())]


def render():
    "File name -> its text"
    asked = extras()
    common = closure([r for name, reqs in asked.items() if name not in APART for r in reqs])
    more = [r for name in APART for r in asked[name]]
    if all(installed(r.name) for r in more):
        apart = {n: v for n, v in closure(more).items() if n not in common}
    else:
        apart = dict(
            l.split('==')
            for l in (ROOT / 'requirements-lock-transformers.txt').read_text().splitlines()
            if l[:1] != '#'
        )
    head = '# Written by tools/lock.py (make lock) for Python 3.11; do not edit\n'
    about = '# for the extras `transformers` and `offline`, after requirements-lock.txt\n'
    environment = 'name: autogets\nchannels:\n  - conda-forge\n  - nodefaults\n'
    environment += 'dependencies:\n  - python=3.11\n  - pip\n  - pip:\n'
    lock = head + '\n'.join(lines(common)) + '\n'
    more = head + about + '\n'.join(lines(apart)) + '\n'
    env = head + environment + ''.join(f'      - {l}\n' for l in lines(common | apart)) + '      - -e .\n'
    return {'requirements-lock.txt': lock, 'requirements-lock-transformers.txt': more, 'environment.yml': env}


if __name__ == '__main__':
    files = render()
    stale = [n for n, s in files.items() if not (ROOT / n).exists() or (ROOT / n).read_text() != s]
    if '--check' in sys.argv:
        sys.exit(f'not up to date: {", ".join(stale)}; run make lock' if stale else 0)
    for n in stale:
        (ROOT / n).write_text(files[n])
    print(f'written: {", ".join(stale)}' if stale else 'nothing to write: the pins are what is installed')
