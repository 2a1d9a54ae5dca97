"""Check the forecasts of `autogets forecast` against the truth: forecast from half of the texts of recorded corpora
(AUTOGETS_DATA), train on all of them, and compare on test how far off it was and how often the 95 % band held.

AUTOGETS_DATA=... .venv/bin/python tools/forecasts.py [CORPORA, with commas between] [CLASSIFIER] [DRAWS] [FILE.csv]
"""

import sys
import warnings

import numpy as np
import pandas as pd

from autogets.classifiers.ridge import best_ridge
from autogets.data.corpus import Corpus
from autogets.generators.recordings import recording_pool
from autogets.metrics import confusion, scores
from autogets.search.evaluator import Evaluator
from autogets.search.sub_samples import nested_ranks, score_parts

OTHERS = 'tickets,top_navigation,news_category,sst5,yelp5,parrot_tweet_sentiment'  # none that settled the band
SIZES = (100, 250, 600)  # real texts that are forecast from
OBJECTIVES = ('macro-f1', 'accuracy')
WEIGHT = 0.3


def draw(corpus, pool, size, rng):
    "A corpus of `size` training texts, as many further ones, and the pool of both; None where there are too few"
    rows = pd.concat([corpus.train, corpus.validation, corpus.test]).drop_duplicates('id').reset_index(drop=True)
    if 2.25 * size + 300 > len(rows):
        return None
    counts = np.floor(rows.label.map(rows.label.value_counts(normalize=True)) * size + rng.random()).astype(int)
    rows, counts = rows[counts >= 3].reset_index(drop=True), counts[counts >= 3].reset_index(drop=True)
    has_texts = rows.id.isin({i for ids in pool.source_ids for i in ids})
    order = rows.assign(first=~has_texts, at=rng.random(len(rows))).sort_values(['first', 'at']).index
    place = pd.Series(rows.label[order]).groupby(rows.label[order]).cumcount()
    chosen = [i for i in order if place[i] < 2 * counts[i]]  # sources first, so that there is a pool
    half = nested_ranks(rows.label[chosen], rng) < 0.5
    first, more = rows.loc[np.array(chosen)[half]], rows.loc[np.array(chosen)[~half]]
    rest = rows.drop(index=chosen).sample(frac=1, random_state=int(rng.integers(2**31)))
    held, test = rest[: size // 4], rest[size // 4 :][:3000]
    return Corpus(corpus.name, first, held, test), more.reset_index(drop=True)


def truths(corpus, more, pool, later, classifier):
    "(kind, class) -> objective -> (score now, score with the further texts) on test"
    both = Corpus(corpus.name, pd.concat([corpus.train, more]), corpus.validation, corpus.test)
    ev = Evaluator(both, pd.concat([pool, later]), classifier=classifier)
    system, vectors = ev.both.system, ev.both.splits['test']
    n, real, label = len(corpus.train), len(both.train), both.train.label.to_numpy()
    now, texts = np.arange(real) < n, ev.pool.id.isin(pool.id).to_numpy()

    def score(kept, added):
        solution, alpha, *_ = best_ridge(system, np.concatenate([kept, added * WEIGHT]))
        said = np.array(ev.classes, object)[solution.scores(vectors, alpha).argmax(1)]
        return scores(confusion(list(corpus.test.label), said, ev.classes))

    none, start = 0.0 * texts, score(now, 0.0 * texts)
    out = {('real', ''): (start, score(np.full(real, True), none))}
    out['synthetic', ''] = score(now, texts), score(now, np.full(len(texts), True))
    for c in corpus.classes[:: max(1, len(corpus.classes) // 4)]:
        out['class', c] = start, score(now | (label == c), none)
    return out, int((~texts).sum())


def check(name, size, seed, classifier):
    "What was forecast and what came, a row for each curve and objective"
    corpus, pool = recording_pool(name, n=10)
    rng = np.random.default_rng([seed, size])
    drawn = draw(corpus, pool, size, rng)
    if drawn is None:
        return
    corpus, more = drawn
    own = set(corpus.train.id)
    pool = pool[[own.issuperset(ids) for ids in pool.source_ids]]
    pool = pool[~pool.id.isin({*corpus.validation.id, *corpus.test.id, *more.id, *own})].reset_index(drop=True)
    first = nested_ranks(pool.label, rng) < 0.5
    if first.sum() < 8:
        return
    true, later = truths(corpus, more, pool[first], pool[~first], classifier)
    ev = Evaluator(corpus, pool[first], classifier=classifier)
    parts = score_parts(ev, WEIGHT, tuple(c for kind, c in true if kind == 'class'), most=0, seed=seed)
    for objective in OBJECTIVES:
        curves = parts.curves(objective, seed)
        for (kind, c), (before, after) in true.items():
            curve = curves.classes[c] if kind == 'class' else getattr(curves, kind)
            added = {'synthetic': later, 'real': len(more), 'class': int((more.label == c).sum())}[kind]
            gain, came = curve.gain(min(added, curve.now)), after[objective] - before[objective]
            yield dict(
                corpus=name,
                texts=len(corpus.train),
                seed=seed,
                curve=kind,
                label=c,
                objective=objective,
                forecast=gain.estimate,
                low=gain.low,
                high=gain.high,
                came=came,
                held=gain.low <= came <= gain.high,
            )


def summary(t):
    "How far off, beside saying that nothing changes, and how often the band held"
    t = t.assign(error=(t.forecast - t.came).abs(), no_change=t.came.abs(), width=t.high - t.low)
    t = t.assign(bias=t.forecast - t.came)
    return t.groupby(['objective', 'curve']).agg(
        checks=('held', 'size'),
        held=('held', 'mean'),
        error=('error', 'mean'),
        bias=('bias', 'mean'),
        no_change=('no_change', 'mean'),
        width=('width', 'median'),
    )


if __name__ == '__main__':
    warnings.simplefilter('ignore')
    names, classifier, draws, file = [*sys.argv[1:], *[OTHERS, 'encoder:offline', 3, ''][len(sys.argv) - 1 :]]
    found = [r for n in names.split(',') for s in SIZES for d in range(int(draws)) for r in check(n, s, d, classifier)]
    if file:
        pd.DataFrame(found).to_csv(file, index=False)
    print(summary(pd.DataFrame(found)).round(4).to_string())
