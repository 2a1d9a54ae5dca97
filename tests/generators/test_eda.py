"Random word edits: which words change, how many, and the same whatever stands beside a text"

import builtins
import types
import warnings
from collections import Counter

import numpy as np
import pytest

from autogets.core import UserError, text_id
from autogets.generators import eda
from autogets.generators.base import POOL_COLUMNS
from autogets.generators.eda import EDA
from generators.makers import frame, numbered


def test_eda_does_not_depend_on_order_or_company():
    examples, made_by = numbered(30), EDA(seed=4, synonyms='none')
    whole = {(r.source_ids[0], r.sample): r.text for r in made_by.generate(examples, 5).itertuples()}
    assert len(whole) == 150
    for part in (examples.iloc[::-1], examples.iloc[10:14], examples.sample(frac=1, random_state=0)):
        for r in EDA(seed=4, synonyms='none').generate(part, 3).itertuples():
            assert whole[r.source_ids[0], r.sample] == r.text


def test_eda_seeds_differ_and_parameters_are_recorded():
    a, b = (EDA(seed=s, synonyms='none').generate(numbered(20), 5) for s in (0, 1))
    assert len(set(a.id) & set(b.id)) < 20
    assert b.parameters[0] == {'seed': 1, 'alpha': 0.1, 'synonyms': 'none'}
    assert set(a.label) == {'X'} and set(a.generator) == {'eda'}


def test_eda_variants_differ_from_source_and_each_other():
    made = EDA(synonyms='none').generate(numbered(100), 5)
    assert not made.id.duplicated().any()
    assert not any(i in s for i, s in zip(made.id, made.source_ids))


def test_eda_draws_the_operations_evenly():
    long = frame([' '.join(f'w{i}x{j}' for j in range(60)) for i in range(400)])
    for synonyms, names in ((None, 3), (lambda w: ['other'], 4)):
        drawn = Counter(EDA(synonyms=synonyms or 'none').generate(long, 5).prompt)
        assert len(drawn) == names
        for count in drawn.values():
            assert abs(count - 2000 / names) < 4 * np.sqrt(2000 / names)


@pytest.mark.parametrize('k, changed', [(1, 1), (9, 1), (19, 1), (20, 2), (39, 3)])
def test_synonym_replacement_changes_a_tenth_of_the_words(k, changed):
    words = [f'w{i}' for i in range(k)]
    new = eda.synonym_replacement(words, np.random.default_rng(0), 0.1, lambda w: [w + 'syn'])
    assert sum(a != b for a, b in zip(words, new)) == changed and len(new) == k


@pytest.mark.parametrize('k, more', [(1, 1), (19, 1), (20, 2)])
@pytest.mark.parametrize('synonyms', [None, lambda w: [w + 'syn']])
def test_random_insertion_adds_a_tenth(k, more, synonyms):
    words = [f'w{i}' for i in range(k)]
    new = eda.random_insertion(words, np.random.default_rng(0), 0.1, synonyms)
    left = Counter(new) - Counter(words)
    assert left.total() == more
    assert all(w.endswith('syn') for w in left) if synonyms else set(left) <= set(words)


def test_random_insertion_leaves_the_full_stop_last():
    for s in range(50):
        assert eda.random_insertion('Where is it ?'.split(), np.random.default_rng(s), 0.1)[-1] == '?'


def test_random_insertion_tries_the_words_that_have_synonyms():
    only = lambda w: ['copier'] if w == 'printer' else []
    for s in range(20):
        assert 'copier' in eda.random_insertion('my old printer jams'.split(), np.random.default_rng(s), 0.1, only)


@pytest.mark.parametrize('k, moved', [(2, 2), (19, 2), (20, 4)])
def test_random_swap_moves_pairs(k, moved):
    words = [f'w{i}' for i in range(k)]
    seen = {
        sum(a != b for a, b in zip(words, eda.random_swap(words, np.random.default_rng(s), 0.1))) for s in range(200)
    }
    assert max(seen) == moved
    assert sorted(eda.random_swap(words, np.random.default_rng(3), 0.1)) == sorted(words)


def test_random_deletion_spares_punctuation_and_one_word():
    tokens = 'one two , three .'.split()
    for s in range(100):
        new = eda.random_deletion(tokens, np.random.default_rng(s), 1.0)
        assert len(new) == 3 and [t for t in new if not t.isalnum()] == [',', '.']
    kept = sum(len(eda.random_deletion(['w'] * 1000, np.random.default_rng(s), 0.1)) for s in range(20)) / 20_000
    assert abs(kept - 0.9) < 0.01


@pytest.mark.parametrize('text', ['', '?!', 'word', 'two words', '你好', ' \n '])
def test_eda_survives_texts_with_little_to_change(text):
    made_by = EDA(synonyms='none')
    made = made_by.generate(frame([text]), 5)
    assert len(made) < 5 and made_by.failures == {text_id(text): 'no new variant'}
    assert list(made.columns) == POOL_COLUMNS


def test_synonyms_keep_capitals_and_punctuation():
    new = eda.synonym_replacement(
        ['(Printer),', 'PDF', 'x'],
        np.random.default_rng(0),
        1.0,
        lambda w: {'printer': ['copier'], 'pdf': ['file']}.get(w, []),
    )
    assert new == ['(Copier),', 'FILE', 'x']


@pytest.mark.parametrize('alpha', [0, -1, 1.5])
def test_eda_refuses_an_impossible_alpha(alpha):
    with pytest.raises(UserError, match='alpha above 0'):
        EDA(alpha=alpha, synonyms='none')


class FakeWordNet:
    words = {'printer': [['printer', 'printing_machine'], ['Printer', 'pressman']], 'in': [['indium']]}

    def synsets(self, word):
        return [types.SimpleNamespace(lemma_names=lambda names=names: names) for names in self.words.get(word, [])]


@pytest.fixture
def fake_wordnet(monkeypatch):
    monkeypatch.setattr(eda, '_wordnet', lambda: FakeWordNet())
    eda.wordnet_synonyms.cache_clear()
    yield
    eda.wordnet_synonyms.cache_clear()


@pytest.fixture
def no_wordnet(monkeypatch):
    monkeypatch.setattr(eda, '_wordnet', lambda: None)
    eda._notice.cache_clear()
    eda.wordnet_synonyms.cache_clear()


def test_wordnet_synonyms(fake_wordnet):
    assert eda.wordnet_synonyms('printer') == ('pressman', 'printing machine')
    assert eda.wordnet_synonyms('in') == () and eda.wordnet_synonyms('qwx') == ()


@pytest.mark.parametrize('choice', ['auto', 'wordnet'])
def test_eda_uses_wordnet_where_it_is(fake_wordnet, choice):
    made = EDA(synonyms=choice).generate(frame([f'a printer {i}' for i in range(40)]), 5)
    assert made.parameters[0]['synonyms'] == 'wordnet'
    replaced = made[made.prompt == 'synonym replacement']
    assert len(replaced) and replaced.text.str.contains('pressman|printing machine').all()


def test_notice_once_and_the_other_operations_where_wordnet_is_not(no_wordnet):
    with pytest.warns(UserWarning, match='without synonyms.*nltk.downloader wordnet') as told:
        first = EDA()
    assert len(told) == 1 and '\n' not in str(told[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        EDA(seed=1)
    assert set(first.generate(numbered(50), 5).prompt) == {'random insertion', 'random swap', 'random deletion'}
    assert first.parameters['synonyms'] == 'none'


def test_wordnet_asked_for_but_absent(no_wordnet):
    with pytest.raises(UserError, match='nltk.downloader wordnet'):
        EDA(synonyms='wordnet')
    with pytest.raises(UserError, match='not installed'):
        eda.wordnet_synonyms('printer')


def test_wordnet_is_absent_without_nltk(monkeypatch):
    real = builtins.__import__

    def without(name, *a, **k):
        if name.startswith('nltk'):
            raise ImportError(name)
        return real(name, *a, **k)

    monkeypatch.setattr(builtins, '__import__', without)
    assert eda._wordnet.__wrapped__() is None
