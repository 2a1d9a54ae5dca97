"Fixtures for all tests; the functions behind them are in worlds.py"
import pytest
import worlds

from autogets.data.datasets import load_corpus

@pytest.fixture(scope='session')
def tickets():
    "The shipped help-desk tickets"
    return load_corpus('tickets')

@pytest.fixture
def small():
    "A corpus of three classes with 20 texts each"
    return worlds.corpus()

@pytest.fixture
def small_pool(small):
    "Two synthetic texts for each training example of `small`"
    return worlds.texts(small)
