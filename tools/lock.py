"""Lock what pyproject.toml asks for: each version, with the sha256 of every file that PyPI has of it.

    python tools/lock.py            keeps the locked versions, adds what is new, leaves out what is idle
    python tools/lock.py --upgrade  moves to newer versions (`--upgrade-package NAME` for one)

requirements-lock.txt               what `make` installs: the dependencies and every extra but transformers, offline
                                    and local
requirements-lock-transformers.txt  what these need on top (most commands do not need it) but torch, whose wheels
                                    differ by platform and accelerator: CPU builds come from other places than PyPI
environment.yml                     both lists and torch, for conda users; without hashes, which `-e .` cannot have

They hold for Python 3.11.5 and newer on every platform. It needs uv (`pip install uv`) and the network.
"""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
APART = ('transformers', 'offline', 'local')
OF_TORCH = re.compile(r'torch$|triton$|nvidia-|cuda-')
FIRST, SECOND = 'requirements-lock.txt', 'requirements-lock-transformers.txt'
HEAD = '# Written by tools/lock.py (make lock) for Python 3.11.5 and newer; do not edit\n'


def extras():
    "Each extra that pyproject.toml offers -> its requirements"
    return tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']['optional-dependencies']


def locked(text):
    "Name -> its requirement with the hashes, as a lock has it"
    return {b.split('==')[0]: b for b in re.split(r'\n(?=\w)', text.strip()) if '==' in b and b[0] != '#'}


def compiled(name, given, *options):
    "The lock `name` anew: what the extras `given` need"
    command = f'uv pip compile pyproject.toml --no-config --quiet --universal --python-version 3.11.5 -o {name}'
    command += ' --generate-hashes --no-annotate --no-header'
    chosen = [word for extra in given for word in ('--extra', extra)]
    if subprocess.run([*command.split(), *chosen, *options], cwd=ROOT).returncode:
        sys.exit('error: uv found no lock (see above)')
    return locked((ROOT / name).read_text())


def write_locks(options):
    common = compiled(FIRST, [e for e in extras() if e not in APART], *options)
    more = compiled(SECOND, APART, '-c', FIRST, *options)
    more = {n: r for n, r in more.items() if n not in common and not OF_TORCH.match(n)}
    about = '# for the extras `transformers`, `offline` and `local`, after requirements-lock.txt and without torch\n'
    (ROOT / FIRST).write_text(HEAD + '\n'.join(common.values()) + '\n')
    (ROOT / SECOND).write_text(HEAD + about + '\n'.join(more.values()) + '\n')
    torch = next(r for r in extras()['transformers'] if r.startswith('torch=='))
    pins = sorted(r.split(' \\\n')[0] for r in (common | more).values()) + [torch, '-e .']
    environment = 'name: autogets\nchannels:\n  - conda-forge\n  - nodefaults\n'
    environment += 'dependencies:\n  - python=3.11\n  - pip\n  - pip:\n'
    (ROOT / 'environment.yml').write_text(HEAD + environment + ''.join(f'      - {p}\n' for p in pins))


if __name__ == '__main__':
    if not shutil.which('uv'):
        sys.exit('error: uv is not installed: pip install uv, then lock again')
    write_locks(sys.argv[1:])
