"""ProGen, S3 and Self-Instruct as plans: what each shows is what its paper says, by hand"""

import numpy as np
import pandas as pd
import pytest
import worlds
from curation.scribes import PLAIN, Says, Scribe

from autogets.classifiers.linear import make_classifier
from autogets.core import UserError
from autogets.curation.influential import robust_influence
from autogets.curation.loop_plans import S3, ProGen, SelfInstruct, best_texts, fold_errors
from autogets.curation.planted_problems import plant
from autogets.curation.pool_view import PoolView
from autogets.curation.rounds import by_round, run_rounds
from autogets.data.corpus import text_folds
from autogets.generators.eda import EDA
from autogets.generators.filters import rouge_l
from autogets.generators.llm_writer import Writer
from autogets.generators.topic_tree import TreeWriter


# --- ProGen


@pytest.fixture(scope='module')
def world():
    corpus = worlds.corpus(n=40)
    return corpus, worlds.texts(corpus, 2).assign(round=1)


def test_progen_shows_the_texts_with_the_best_influence(world):
    corpus, texts = world
    shown = ProGen(top=7, classifier='linear').examples(corpus, texts, np.random.default_rng(0))
    influence = robust_influence(PoolView(corpus, texts, 'linear'))
    for c in corpus.classes:
        own = np.flatnonzero(texts.label == c)
        best = own[np.argsort(-influence[own])[:7]]
        assert set(shown.id[shown.label == c]) == set(texts.id.iloc[best])


def test_progen_does_not_show_wrong_labels(world):
    corpus, texts = world
    noisy = plant(texts, 'wrong label', seed=3)
    shown = ProGen(top=20, classifier='linear').examples(corpus, noisy, np.random.default_rng(0))
    assert shown.planted.mean() < noisy.planted.mean() / 3
    other = ProGen(top=20, score='originality', classifier='linear').examples(corpus, noisy, np.random.default_rng(0))
    assert other.planted.mean() > noisy.planted.mean() / 2


def test_progen_shows_real_texts_where_there_are_no_others(world):
    corpus, texts = world
    some = texts[texts.label != 'bee'].reset_index(drop=True)
    shown = ProGen(top=4, classifier='linear').examples(corpus, some, np.random.default_rng(0))
    assert set(shown.id[shown.label == 'bee']) <= set(corpus.train.id) and (shown.label == 'bee').sum() == 4
    assert set(shown.id[shown.label != 'bee']) <= set(some.id)
    first = ProGen(top=4, classifier='linear').examples(corpus, texts.head(0), np.random.default_rng(0))
    assert set(first.id) <= set(corpus.train.id) and len(first) == 12


def test_the_demonstrations_of_the_second_round_are_the_influential_ones(small):
    pool = run_rounds(small, Writer(Scribe(), prompt='few-shot-3'), ProGen(3, classifier='linear'), 2, n=3, **PLAIN)
    texts = by_round(pool)
    before = texts[texts['round'] == 1].reset_index(drop=True)
    best = best_texts(before, robust_influence(PoolView(small, before, 'linear')), 3)
    shown = {i for p in texts.parameters[texts['round'] == 2] for i in p['demonstrations']}
    assert shown == set(best.id) and len(shown) == 9


def test_the_best_are_those_without_nan_and_of_equals_the_first():
    rows = pd.DataFrame({'label': list('aabbb'), 'id': range(5)})
    assert best_texts(rows, [1, 1, np.nan, 2, 3], 1).id.tolist() == [4, 0]
    with pytest.raises(UserError, match='the best 0 texts'):
        best_texts(rows, np.ones(5), 0)
    with pytest.raises(UserError, match='choose one of|did you mean'):
        ProGen(score='influence', classifier='linear').examples(worlds.corpus(), worlds.texts(worlds.corpus()), None)


# --- S3


def errors(corpus, written, seed=0):
    "By hand"
    train, wrong = corpus.train, []
    fold = text_folds(train, 5, seed)
    for k in range(5):
        out = set(train.id[fold == k])
        rest = [(t, l) for t, l, ids in zip(written.text, written.label, written.source_ids) if not out & set(ids)]
        rows = [*zip(train.text[fold != k], train.label[fold != k]), *rest]
        model = make_classifier('linear', seed=seed).fit(*map(list, zip(*rows)))
        said = model.predict(train.text[fold == k].tolist())
        wrong += train.id[fold == k][said != train.label[fold == k].to_numpy()].tolist()
    return set(wrong)


def test_s3_shows_exactly_the_out_of_fold_errors(small):
    pool = run_rounds(small, Writer(Scribe(), prompt='one-shot'), S3(classifier='linear'), rounds=3, n=2, **PLAIN)
    texts = by_round(pool)
    for k in (1, 2, 3):
        expected = errors(small, texts[texts['round'] < k])
        assert set(texts.source_ids[texts['round'] == k].str[0]) == expected and expected
    assert 'hard to tell' in pool.manifest['plan']['note']


def test_a_text_never_judges_its_source(world):
    corpus, _ = world
    right = corpus.train[~fold_errors(corpus, pd.DataFrame(columns=['text', 'label', 'source_ids']), 'linear')]
    one = right[right.label != 'cat'].head(1)
    lies = pd.concat([one.assign(label='cat', source_ids=[[one.id.iloc[0]]])] * 30)
    orphans = lies.assign(source_ids=[[]] * 30)
    at = (corpus.train.id == one.id.iloc[0]).to_numpy()
    assert not fold_errors(corpus, lies, 'linear')[at].any() and fold_errors(corpus, orphans, 'linear')[at].all()


def test_s3_with_a_limit_and_without_errors(world):
    corpus, texts = world
    wrong = fold_errors(corpus, texts, 'linear')
    few = S3(most=1, classifier='linear').examples(corpus, texts, np.random.default_rng(0))
    assert (few.groupby('label').size() == 1).all() and set(few.id) <= set(corpus.train.id[wrong]) and wrong.sum() > 0
    easy = worlds.split_corpus(
        worlds.frame([(f'{c} {c} {w}{k}', c) for c in ('ant', 'bee') for k in range(30) for w in 'x']),
        'easy',
        'stratified',
    )
    with pytest.raises(UserError, match='its plan had no example to show'):
        run_rounds(easy, EDA(synonyms='none'), S3(classifier='linear'), **PLAIN)
    with pytest.raises(UserError, match='1 folds leave no text out'):
        fold_errors(corpus, texts, 'linear', folds=1)


# --- Self-Instruct and topics


def test_self_instruct_shows_old_and_new_texts(small):
    pool = run_rounds(small, Writer(Scribe(), prompt='few-shot-8'), SelfInstruct(), rounds=3, n=1, **PLAIN)
    texts = by_round(pool)
    for p, k in zip(texts.parameters, texts['round']):
        new = set(p['demonstrations']) - set(small.train.id)
        assert len(p['demonstrations']) == (6 if k == 1 else 8) and len(new) == (0 if k == 1 else 2)


def test_what_is_not_new_is_refused(small):
    known = dict(zip(small.train.id, small.train.text))
    said = Says(lambda i: [known.get(i, 'x') + ' again', f'a b c d {i}', f'a b c d {i} e'])
    pool = run_rounds(small, said, SelfInstruct(), rounds=1, n=3, **PLAIN)
    for c in small.classes:
        old = [t.lower().split() for t in small.train.text[small.train.label == c]]
        for text in pool.of(c).text:
            assert all(rouge_l(text.split(), o) <= 0.7 for o in old)
            old.append(text.split())
    assert not pool.texts.text.str.contains('again').any()
    assert pool.manifest['counts']['dropped']['not new enough'] == 3 * 18 - len(pool)
    with pytest.raises(UserError, match='a ROUGE-L of 0'):
        SelfInstruct(novelty=0)


def test_a_tree_of_topics_goes_through_rounds(small):
    writer = TreeWriter(Scribe(), width=3)
    texts = by_round(run_rounds(small, writer, SelfInstruct(real=2, new=1), rounds=2, n=1, **PLAIN))
    assert set(texts['round']) == {1, 2} and all(': ' in p['topic'] for p in texts.parameters)
