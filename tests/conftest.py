"Fixtures for all tests; the functions behind them are in worlds.py"

import gc
import os
import sys
import warnings

import pytest
import weights
import worlds

from autogets import cli
from autogets.classifiers import linear
from autogets.search import halving
from autogets.data.datasets import load_corpus

os.environ.setdefault('AUTOGETS_ENCODER', 'none')  # reading texts takes minutes; tests that want one say so


def pytest_collection_finish():
    "Thousands of tests and the libraries stay to the end: they need not be looked through for garbage again and again"
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(scope='session')
def tickets():
    "The shipped help-desk tickets"
    return load_corpus('tickets')


@pytest.fixture(scope='session')
def smollm2():
    "The weights of a small real chat model; the test is skipped where they cannot be had"
    return weights.smollm2()


@pytest.fixture
def small():
    "A corpus of three classes with 20 texts each"
    return worlds.corpus()


@pytest.fixture
def small_pool(small):
    "Two synthetic texts for each training example of `small`"
    return worlds.texts(small)


@pytest.fixture
def costly(monkeypatch):
    "The classifier `worlds.Costly`, four efforts long, with nothing trained yet"
    monkeypatch.setitem(halving.EFFORTS, 'costly', ('effort', 4))
    monkeypatch.setitem(linear.CLASSIFIERS, 'costly', worlds.Costly)
    worlds.TRAINED.clear()


@pytest.fixture
def in_process(capfd, monkeypatch, tmp_path):
    "Runs a command line in this process: exit code, standard output and error"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, 'showwarning', warnings.showwarning)

    def run(*words):
        monkeypatch.setattr(sys, 'argv', ['autogets', *words])
        code = 0
        try:
            cli.main()
        except SystemExit as e:
            code = e.code or 0
        return code, *capfd.readouterr()

    return run
