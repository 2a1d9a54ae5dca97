"An extra that is not installed: one line, one wording, with the pip command, wherever it is met"

import re
import sys
import tomllib
from pathlib import Path

import pytest

from autogets.classifiers import encoders, static_vectors
from autogets.classifiers.linear import make_classifier
from autogets.core import UserError, lacking_extra
from autogets.curation.confidence import confident_learning
from autogets.data.datasets import load_corpus
from autogets.data.tables import from_parquet
from autogets.executors import dask_client
from autogets.generators.eda import INSTALL_WORDNET
from autogets.llm.chat import make_chat
from autogets.llm.gguf import gguf_path
from autogets.generators.language import _identifier, language_of
from autogets.llm.models import libraries
from autogets.replication.manifest import declared
from autogets.tracking import make_tracker

WORDS = r'.+ needs the package (\S+), which is not installed: pip install (?:"autogets\[(\w+)\]"|(\w+))'
ROOT = Path(__file__).resolve().parents[1]
EXTRAS = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']['optional-dependencies']


def chat():
    return make_chat('openai:tiny', base_url='http://127.0.0.1:9').connect()


CASES = {
    'openai': (chat, 'openai'),
    'torch': (libraries, 'transformers'),
    'catboost': (lambda: make_classifier('catboost').fit(['a', 'b'], ['x', 'y']), 'catboost'),
    'datasets': (lambda: load_corpus('datasets:some/one'), 'datasets'),
    'pyarrow.parquet': (lambda: from_parquet(b'PAR1', 'a.parquet'), 'parquet'),
    'distributed': (lambda: dask_client('tcp://127.0.0.1:9'), 'cluster'),
    'cleanlab.rank': (lambda: confident_learning(None), 'cleanlab'),
    'papermill': (lambda: declared('a.ipynb'), 'notebooks'),
    'huggingface_hub': (lambda: gguf_path('me/models/a.gguf'), None),
    'mlflow': (lambda: make_tracker('mlflow'), 'mlflow'),
    'wandb': (lambda: make_tracker('wandb'), 'wandb'),
    'py3langid.langid': (lambda: language_of('a text that is long enough to tell in which language it is'), None),
}


@pytest.mark.parametrize('package', CASES)
def test_a_missing_extra_is_named_with_its_command(monkeypatch, package):
    use, extra = CASES[package]
    _identifier.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError) as e:
        use()
    named, found, alone = re.fullmatch(WORDS, str(e.value)).groups()
    assert named == package.split('.')[0] and found == extra and (extra in EXTRAS if extra else alone == named)


def test_missing_encoders(monkeypatch):
    monkeypatch.setattr(encoders, 'find_spec', lambda name: None)
    monkeypatch.setattr(static_vectors, 'find_spec', lambda name: None)
    static_vectors._folder.cache_clear()
    for use, extra in ((lambda: encoders.encoder_path('offline'), 'offline'), (static_vectors._folder, 'light')):
        with pytest.raises(UserError, match=WORDS) as e:
            use()
        assert f'"autogets[{extra}]"' in str(e.value) and extra in EXTRAS


def test_a_hub_encoder_without_the_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(UserError, match=WORDS):
        encoders.encoder_path('some/encoder')


def test_wordnet_is_an_extra():
    assert re.match(r'pip install "autogets\[(\w+)\]"', INSTALL_WORDNET)[1] in EXTRAS


def test_every_extra_that_is_named_exists():
    named = set()
    for p in (ROOT / 'autogets').rglob('*.py'):
        named |= set(re.findall(r'autogets\[(\w+)\]', p.read_text()))
        named |= set(re.findall(r"lacking_extra\([^()]*, '(\w+)'\)", p.read_text())) - {'datasketch', 'py3langid'}
    assert {'openai', 'parquet', 'offline'} <= named <= set(EXTRAS)


def test_the_wording():
    assert re.fullmatch(WORDS, str(lacking_extra('x', 'y', 'z')))
