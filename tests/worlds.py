"""Small invented corpora, pools and refits for many test files: `from worlds import corpus, texts, raises`.

Class number `k` of a corpus has its own words `own{k}a` ... `own{k}h` among words that all classes share, so that
a linear classifier is right often but not always. Everything is drawn from the given seed."""

import time

import numpy as np
import pandas as pd
import pytest

from autogets.classifiers.linear import CLASSIFIERS, Classifier, LinearClassifier
from autogets.core import UserError, text_id
from autogets.data.corpus import split_corpus
from autogets.metrics import OBJECTIVES
from autogets.search import evaluator as evaluator_module
from autogets.search.candidates import Candidate, Result
from autogets.search.evaluator import Evaluator
from autogets.search.registry import PAPER_STRATEGIES
from autogets.search.strategy import Strategy

NAMES = ('ant', 'bee', 'cat')
ODD = ('a "quoted", name', "b's\nsecond line", 'ç 漢字 🦉', 'd:>=0.5')

# --- texts, corpora, pools ---


def sentence(rng, k, own=0.35, words=9):
    "Words that all classes have, with some of class number `k`"
    return ' '.join(
        f'own{k}{rng.choice(list("abcdefgh"))}' if rng.random() < own else f'word{rng.integers(40)}'
        for _ in range(words)
    )


def frame(rows):
    "Rows of (text, label) as a frame with ids"
    return pd.DataFrame([(text_id(t), t, l) for t, l in rows], columns=['id', 'text', 'label'])


def corpus(names=NAMES, n=20, step=0, seed=0, tag=True):
    """A corpus with `n` texts of the first class, `n - step` of the second, ... in a stratified split.
    `tag` gives each text a word of its own, so that no two are the same."""
    rng = np.random.default_rng(seed)
    rows = [(sentence(rng, k) + f' row{k}x{i}' * tag, c) for k, c in enumerate(names) for i in range(n - step * k)]
    return split_corpus(frame(rows), 'small', 'stratified')


def uneven(classes=3, n=36, seed=0):
    "A corpus of classes `class 0`, `class 1`, ... each with 8 texts fewer than the one before"
    return corpus([f'class {k}' for k in range(classes)], n, step=8, seed=seed, tag=False)


def pool(rows):
    "A pool from (text, label, source ids), perhaps with the number of the sample as a fourth"
    t = pd.DataFrame([(*r, 0)[:4] for r in rows], columns=['text', 'label', 'source_ids', 'sample'])
    return t.assign(id=t.text.map(text_id), generator='test', model='', prompt='', parameters=[{}] * len(t))


def texts(c, n=2, seed=1, labels=None, several=0, examples=None, shared=0):
    """`n` texts of each training example (of `labels`, or `examples`), and `several` with 2 or 3 sources of one class.
    The last word of a text is its own, or one of `shared` words that all texts draw from."""
    rng, rows, number = np.random.default_rng(seed), [], {l: k for k, l in enumerate(c.classes)}
    e = c.train[c.train.label.isin(labels or c.classes)] if examples is None else examples
    e = e.drop_duplicates('id')
    for r in e.itertuples():
        new = [
            sentence(rng, number[r.label], rng.choice([0.2, 0.6]))
            + f' new{rng.integers(shared) if shared else f"{r.Index}x{s}"}'
            for s in range(n)
        ]
        rows += [(t, r.label, [r.id], s) for s, t in enumerate(new)]
    for i in range(several):
        label = c.classes[i % len(c.classes)]
        sources = rng.choice(e.id[e.label == label], 2 + i % 2, replace=False).tolist()
        rows.append((f'several{i} ' + sentence(rng, i % len(c.classes)), label, sources, 0))
    return pool(rows)


# --- refits that train nothing ---


class Table:
    "Stands for a refit: answers at once, at random by the rows asked for, and remembers what it was asked"

    def __init__(self, ev, splits=('validation',)):
        self.sizes, self.k, self.asked = {s: len(getattr(ev.corpus, s)) for s in splits}, len(ev.classes), []

    def predict(self, rows):
        self.asked.append(rows.tobytes())
        rng = np.random.default_rng([len(rows), *rows])
        return {s: rng.integers(0, self.k, n) for s, n in self.sizes.items()}


class World:
    "Stands for a refit: of every split a share `value(rows, weights)` is predicted right, always the same texts first"

    def __init__(self, ev, value, log=None, wait=0.0):
        self.value, self.log, self.wait, self.asked, self.k = value, log, wait, [], len(ev.classes)
        self.true = {s: ev.truth(s) for s in ('train', 'validation')}
        self.rank = {s: np.random.default_rng([7, len(t)]).permutation(len(t)) for s, t in self.true.items()}

    def codes(self, split, rows, weights):
        q = self.value(rows, np.ones(len(rows)) if weights is None else weights)
        t = self.true[split]
        return np.where(self.rank[split] < round(q * len(t)), t, (t + 1) % self.k)

    def predict(self, rows, weights=None):
        time.sleep(self.wait)
        self.asked.append(
            rows.tobytes() + b'*' + (b'' if weights is None or (weights == 1).all() else weights.tobytes())
        )
        return {'validation': self.codes('validation', rows, weights)}

    def out_of_fold(self, rows, weights, folds):
        return self.codes('train', rows, weights)


def world(worth, names=NAMES, n=60, folds=2, target='all', several=0, start=0.5, **how):
    """An evaluator in which the texts of a class add `worth[class]` to the share of right answers.
    A callable `worth` gets (label, number of the text, weight)."""
    c = corpus(names, n)
    labels = [l for l in names if l in worth] if isinstance(worth, dict) else None
    ev = Evaluator(c, texts(c, 1, labels=labels, several=several), target, folds=folds)
    labels, size = ev.pool.label.to_numpy(), ev.pool.label.value_counts()
    each = worth if callable(worth) else lambda l, i, w: worth[l] * w

    def value(rows, weights):
        return float(np.clip(start + sum(each(labels[r], r, w) / size[labels[r]] for r, w in zip(rows, weights)), 0, 1))

    ev.refit = World(ev, value, **how)
    return ev


def of(ev, *labels):
    "Ids of the training examples of `labels`"
    return list(ev.corpus.train.id[ev.corpus.train.label.isin(labels)])


# --- an expensive classifier (fixture `costly` makes it known) ---

TRAINED = []  # (effort, number of texts) of every training of the fake


class Costly(Classifier):
    "An expensive classifier that counts its trainings; with little effort it drops texts"

    name, file = 'costly', 'weights.npz'

    def __init__(self, seed=0, effort=4):
        self.seed, self.effort = seed, effort

    def fit(self, X, y, sample_weight=None, features=None, validation=None):
        TRAINED.append((self.effort, len(X)))
        keep = [i for i in range(len(X)) if i % 4 < self.effort]
        self.inner = LinearClassifier().fit([X[i] for i in keep], [y[i] for i in keep])
        self.classes_ = self.inner.classes_
        return self

    def raw_proba(self, texts, features=None):
        return self.inner.predict_proba(texts)


CLASSIFIERS.pop('costly')  # a subclass makes itself known

# --- evaluators and strategies ---

every_strategy = pytest.mark.parametrize('strategy', PAPER_STRATEGIES)


def of_target(target):
    "`target` as `texts` wants its labels"
    return None if target == 'all' else [target]


def evaluator(c=None, target='class 2', **how):
    "An ordinary evaluator on an uneven corpus"
    c = c or uneven()
    return Evaluator(c, texts(c, labels=of_target(target)), target, **how)


def quick(monkeypatch=None, cost=None, **how):
    "An evaluator that trains nothing; each training is said to last `cost(number of the training)` seconds"
    ev = evaluator(**how)
    ev.refit = Table(ev, ('validation', 'test') if how.get('protocol') == 'paper' else ('validation',))

    def train_one(refit, rows, weights, folds):
        return refit.predict(rows), cost(len(refit.asked))

    if cost:
        monkeypatch.setattr(evaluator_module, 'train_one', train_one)
    return ev


class Given(Strategy):
    "Proposes what it is given: batches of (candidate, note)"

    name = 'given'

    def __init__(self, *batches):
        self._batches = batches

    def plan(self):
        for b in self._batches:
            yield [Candidate(c, n) for c, n in b]


def result(recalls=(0.5, 0.5, 0.5), **values):
    "A made-up result, .5 in all that is not given"
    return Result((), {**dict.fromkeys(OBJECTIVES, 0.5), **values}, recalls, 0, 0.0)


# --- checks ---


def raises(f, *said):
    "`f` must end in a `UserError` of one line that holds all of `said`"
    with pytest.raises(UserError) as e:
        f()
    assert '\n' not in str(e.value) and str(e.value).strip(), str(e.value)
    for s in said:
        assert s in str(e.value), str(e.value)


def digits(trace):
    "What must be the same in two traces of one run: all but the seconds"
    seen = ('members', 'note', 'texts', *OBJECTIVES, 'recalls', 'jackknife', 'goal')
    return [[r.get(k) for k in seen] for r in trace.rows]
