"What an evaluator promises: exact refits, weights, folds, views, a memo, and final gains"

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from worlds import (
    NAMES,
    Table,
    corpus,
    evaluator,
    every_strategy,
    of,
    of_target,
    pool,
    quick,
    raises,
    texts,
    uneven,
    world,
)

from autogets.classifiers.refit import LinearRefit, PlainRefit, make_refit
from autogets.data.corpus import Corpus
from autogets.metrics import OBJECTIVES, confusion, scores
from autogets.replication.ours.cost import random_candidates
from autogets.search.candidates import Budget, Candidate, as_candidate, ids_of, standard_error, weights_of
from autogets.search.evaluator import Evaluator
from autogets.search.loop import run_search
from autogets.search.registry import make_strategy
from autogets.search.strategy import Random, Strategy

# --- refits ---


@pytest.mark.parametrize('target', ['class 1', 'all'])
@pytest.mark.parametrize('classes', [2, 3])
def test_exact_refit_predicts_like_a_plain_pipeline(classes, target):
    c = uneven(classes, n=60, seed=5)
    ev = Evaluator(c, texts(c, labels=of_target(target)), target, protocol='paper', seed=7)
    changed, first = 0, None
    for candidate in [(), *random_candidates(ev.sources, 10, seed=2)]:
        rows = ev.rows(candidate)
        plain = make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
            LinearSVC(C=1.0, tol=1e-3, dual=True, random_state=7),
        )
        plain.fit([*c.train.text, *ev.pool.text.iloc[rows]], [*c.train.label, *ev.pool.label.iloc[rows]])
        got = ev.refit.predict(rows)
        for s in ('validation', 'test'):
            assert list(np.array(c.classes)[got[s]]) == list(plain.predict(getattr(c, s).text)), (candidate, s)
        first = first or got
        changed += any((got[s] != first[s]).any() for s in got)
    assert changed >= 5, 'the candidates must change predictions for this to mean anything'


def test_the_saved_classifier_is_the_one_that_was_scored():
    ev = evaluator(uneven(2, n=60, seed=5), 'class 1', protocol='paper')
    for candidate in random_candidates(ev.sources, 4):
        r = ev.evaluate([candidate])[0]
        right = ev.fit(candidate).predict(list(ev.corpus.test.text)) == ev.corpus.test.label.to_numpy()
        assert right.mean() == pytest.approx(r.test['accuracy'])


def dense_ridge(ev, rows, alpha=1.0):
    "The validation scores of the screen's model, solved directly with dense matrices"
    c, tfidf = (
        ev.corpus,
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit([*ev.corpus.train.text, *ev.pool.text]),
    )
    df = np.asarray((tfidf.transform(c.train.text) > 0).sum(0)).ravel()
    tfidf.idf_ = np.log((1 + len(c.train)) / (1 + df)) + 1
    x = tfidf.transform([*c.train.text, *ev.pool.text.iloc[rows]]).toarray()
    y = np.array([[1.0 if l == k else -1.0 for k in c.classes] for l in [*c.train.label, *ev.pool.label.iloc[rows]]])
    w = np.linalg.solve(x.T @ x + alpha * np.eye(x.shape[1]), x.T @ (y - y.mean(0)))
    return tfidf.transform(c.validation.text).toarray() @ w + y.mean(0)


@pytest.mark.parametrize('classes', [2, 3])
def test_ridge_screen_solves_its_equations(classes):
    c = uneven(classes, n=60, seed=5)
    ev = Evaluator(c, texts(c, n=3))
    tight, usual = (make_refit('ridge-screen', c, ev.pool, **how) for how in (dict(tol=1e-9), {}))
    for candidate in [(), ev.sources[:1], *random_candidates(ev.sources, 6, seed=1), ev.sources]:
        rows = ev.rows(candidate)
        want = dense_ridge(ev, rows)
        top = np.sort(want, 1)
        clear = top[:, -1] - top[:, -2] > 1e-6
        assert (tight.predict(rows)['validation'] == want.argmax(1))[clear].all()
        assert (usual.predict(rows)['validation'] == want.argmax(1)).mean() >= 0.95


def test_the_screen_sees_large_candidates_as_the_exact_refit_does():
    "A warm start that stops at once would score every candidate like the baseline"
    c = uneven(3, n=60, seed=5)
    exact, screen = (Evaluator(c, texts(c, n=3, shared=30), classifier=k) for k in ('linear', 'ridge-screen'))
    large = [x for x in random_candidates(exact.sources, 30, seed=4) if len(x) > len(exact.sources) / 2]
    a, b = ([r.scores['macro-f1'] for r in e.evaluate([(), *large])] for e in (exact, screen))
    assert len(large) > 8 and np.mean(np.array(b[1:]) != b[0]) > 0.7 and np.corrcoef(a, b)[0, 1] > 0.3


# --- the memo ---


@every_strategy
def test_no_set_of_rows_is_trained_twice(strategy):
    ev = quick()
    for o in ('accuracy', 'recall'):
        run_search(make_strategy(strategy, ev, o, 3), ev, o, Budget(150))
    assert len(ev.refit.asked) == len(set(ev.refit.asked)) == ev.evaluations > 100


def test_sources_without_texts_are_no_news():
    c = uneven()
    ids = list(c.examples('class 2').id)
    ev = Evaluator(c, pool([('only text', 'class 2', [ids[0]], 0), ('and this', 'class 2', [ids[1]], 0)]), 'class 2')
    ev.refit = Table(ev)
    t = run_search(Random(ev.sources, 0), ev, 'accuracy', Budget(1000))
    assert len(ev.refit.asked) == 4 and sorted(r['texts'] for r in t.rows) == [0, 1, 1, 2]


def test_a_budget_counts_what_is_new():
    "Proposing the same again costs nothing"

    class Stutter(Strategy):
        def plan(self):
            for i in ids:
                yield [Candidate((i,))] * 3

    ev = quick()
    ids = ev.sources
    t = run_search(Stutter(), ev, 'accuracy', Budget(9))
    assert len(t) == 10 and [t.ids(k) for k in range(1, 10)] == [(i,) for i in ids[:9]]


# --- weights ---


def test_a_weight_of_an_unknown_class_is_named():
    ev = world({'ant': 0.1, 'bee': 0.1, 'cat': 0.1}, folds=0)
    raises(lambda: ev.evaluate([as_candidate(ev.sources, {'dog': 2})]), 'dog', 'ant')


def test_equal_effect_equal_key():
    ev = world({'ant': 0.1, 'bee': 0.1, 'cat': 0.1}, folds=0)
    a, b = of(ev, 'ant'), of(ev, 'bee')
    same = [
        as_candidate(a),
        as_candidate(a, {'ant': 1}),
        as_candidate(a, {'bee': 3}),
        as_candidate(a, {'bee': 3, 'cat': 0.1}),
    ]
    assert len({ev.key(c) for c in same}) == 1
    assert len({r.scores['accuracy'] for r in ev.evaluate(same)}) == 1 and len(ev.refit.asked) == 1
    assert [r.candidate for r in ev.evaluate(same)] == same, 'each is told under its own name'
    differ = [
        as_candidate(a),
        as_candidate(a, {'ant': 2}),
        as_candidate(a, {'ant': 0.5}),
        as_candidate([*a, *b], {'ant': 2}),
        as_candidate([*a, *b], {'bee': 2}),
        as_candidate([*a, *b]),
    ]
    assert len({ev.key(c) for c in differ}) == len(differ)
    assert ev.key(as_candidate((), {'ant': 3})) == ev.key(())


@pytest.mark.parametrize('names', [NAMES[:2], NAMES])
def test_weighted_training_is_ordinary_training_with_sample_weights(names):
    c = corpus(names)
    ev = Evaluator(c, texts(c, several=6), seed=3)
    rng, changed = np.random.default_rng(0), 0
    for given in ({names[0]: 4.0}, {names[1]: 0.1}, {names[0]: 0.2, names[1]: 5.0}):
        cand = as_candidate(rng.choice(ev.sources, 20), given)
        rows = ev.rows(cand)
        sample = np.concatenate([np.ones(len(c.train)), ev.pool.label.iloc[rows].map(given).fillna(1.0)])
        plain = make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
            LinearSVC(C=1.0, tol=1e-3, dual=True, random_state=3),
        )
        plain.fit(
            [*c.train.text, *ev.pool.text.iloc[rows]],
            [*c.train.label, *ev.pool.label.iloc[rows]],
            linearsvc__sample_weight=sample,
        )
        got = ev.predict(cand)
        for s in ('validation', 'test'):
            assert list(np.array(c.classes)[got[s]]) == list(plain.predict(getattr(c, s).text))
            assert list(ev.fit(cand).predict(list(getattr(c, s).text))) == list(plain.predict(getattr(c, s).text))
        assert ev.evaluate([cand])[0].scores == scores(ev.counts('validation', got['validation']))
        changed += any((got[s] != ev.predict(as_candidate(ids_of(cand)))[s]).any() for s in got)
    assert changed, 'the weights must change predictions for this to mean anything'


def test_a_screen_without_weights_says_so_only_where_they_matter():
    c = corpus()
    ev = Evaluator(c, texts(c), classifier='ridge-screen')
    raises(lambda: ev.evaluate([as_candidate(ev.sources, {'ant': 2})]), 'weights')
    a = as_candidate(of(ev, 'ant'), {'bee': 2})
    assert ev.evaluate([a])[0].scores == ev.evaluate([as_candidate(of(ev, 'ant'))])[0].scores


# --- folds ---


def spied(monkeypatch, ev, candidate):
    "What the models of `candidate`'s folds were trained on: (training positions kept, pool rows)"
    seen, real = [], LinearRefit.model
    monkeypatch.setattr(
        LinearRefit,
        'model',
        lambda self, rows, weights=None, kept=None: seen.append((kept, rows)) or real(self, rows, weights, kept),
    )
    ev.evaluate([candidate])
    return [(k, r) for k, r in seen if k is not None]


@pytest.mark.parametrize('folds', [2, 3, 7])
def test_no_fold_is_trained_on_anything_written_from_its_rows(folds, monkeypatch):
    c = corpus()
    twice = pd.concat([c.train, c.train.iloc[:4].assign(text=lambda d: d.text.str.upper())], ignore_index=True)
    c = Corpus('repeats', twice, c.validation, c.test)
    ev = Evaluator(c, texts(c, several=30), folds=folds)
    seen, held = spied(monkeypatch, ev, as_candidate(ev.sources)), []
    assert len(seen) == folds
    for kept, rows in seen:
        out = set(range(len(c.train))) - set(kept)
        ids = set(c.train.id.iloc[list(out)])
        assert not ids & set(c.train.id.iloc[kept]), 'repeats of a text are held out together'
        assert not ids & {i for r in rows for i in ev.pool.source_ids[r]}
        must = {r for r in range(len(ev.pool)) if not ids & set(ev.pool.source_ids[r])}
        assert set(rows) == must, 'and nothing else is left out'
        held += out
    assert sorted(held) == list(range(len(c.train)))
    assert (
        max(np.bincount([len(set(range(len(c.train))) - set(k)) for k, _ in seen]).nonzero()[0])
        <= len(c.train) / folds + len(c.classes) + 4
    )


def test_no_fold_is_trained_on_a_copy_of_its_rows(monkeypatch):
    "A synthetic text that says the same as another training row must not be there when that row is predicted"
    c = corpus()
    a = c.examples('ant')
    copies = [(a.text.iloc[i + 1].upper() + '!', 'ant', [a.id.iloc[i]]) for i in range(len(a) - 1)]
    ev = Evaluator(c, pool(copies), folds=3)
    for kept, rows in spied(monkeypatch, ev, as_candidate(ev.sources)):
        held = set(c.train.id) - set(c.train.id.iloc[kept])
        assert not held & set(ev.pool.id.iloc[rows])


def by_hand(ev, candidate, target=None):
    "Confusion matrices of the scored rows, from plain pipelines: all rows, and the frame of single rows"
    c, rows, given = ev.corpus, ev.rows(candidate), weights_of(candidate)

    def plain(train, added):
        m = make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
            LinearSVC(C=1.0, tol=1e-3, dual=True, random_state=ev.seed),
        )
        sample = np.concatenate([np.ones(len(train)), added.label.map(given).fillna(1.0)])
        return m.fit([*train.text, *added.text], [*train.label, *added.label], linearsvc__sample_weight=sample)

    code = {l: k for k, l in enumerate(c.classes)}
    train, added = c.train.copy(), ev.pool.iloc[rows]
    train['predicted'] = ''
    for kept, _ in ev.masks:
        gone = set(c.train.id[~kept])
        use = added[np.array([not gone & set(s) for s in added.source_ids], bool)]
        train.loc[~kept, 'predicted'] = plain(c.train[kept], use).predict(c.train.text[~kept])
    val = c.validation.assign(predicted=plain(c.train, added).predict(c.validation.text))
    both = pd.concat([train, val])
    return both.label.map(code).to_numpy(), both.predicted.map(code).to_numpy()


@pytest.mark.parametrize('target', ['all', 'bee', ('ant', 'cat')])
def test_pooled_figures_and_their_jackknife_are_those_of_the_definition(target):
    c = corpus()
    ev = Evaluator(c, texts(c, several=9), target, folds=3, seed=5)
    index = None if target == 'all' else [c.classes.index(t) for t in ([target] if isinstance(target, str) else target)]
    cands, hand = [(), as_candidate(ev.sources[::2], {'bee': 3.0}), as_candidate(ev.sources)], []
    for cand, r in zip(cands, ev.evaluate(cands)):
        true, codes = by_hand(ev, cand)
        assert r.scores == pytest.approx(scores(confusion(true, codes, range(3)), index))
        left = [scores(confusion(true[ev.tenth != k], codes[ev.tenth != k], range(3)), index) for k in range(10)]
        for o in OBJECTIVES:
            assert r.jackknife[o] == pytest.approx([v[o] for v in left])
        hand.append(left)
    a, b = ev.evaluate(cands[:2])
    for o in OBJECTIVES:
        d = [x[o] - y[o] for x, y in zip(hand[0], hand[1])]
        assert standard_error(a, b, o) == pytest.approx((0.9 * sum((x - sum(d) / 10) ** 2 for x in d)) ** 0.5)
        assert standard_error(a, a, o) == 0
    assert standard_error(a, b, 'accuracy') == standard_error(b, a, 'accuracy') > 0
    assert sorted(np.bincount(ev.tenth))[-1] - sorted(np.bincount(ev.tenth))[0] <= 2 * len(c.classes)


def test_any_classifier_is_folded_like_the_fast_one():
    c = corpus(n=12)
    ev = Evaluator(c, texts(c, several=6), folds=3)
    rows = ev.rows(as_candidate(ev.sources[::2]))
    w = np.where(ev.pool.label.iloc[rows] == 'bee', 3.0, 1.0)
    slow = PlainRefit(c.train, ev.pool, {}, c.classes, classifier='linear')
    for weights in (None, w):
        assert (slow.out_of_fold(rows, weights, ev.masks) == ev.refit.out_of_fold(rows, weights, ev.masks)).all()


def test_folded_figures_do_not_depend_on_workers_or_company():
    c = corpus(n=12)
    cands = [as_candidate(x, {'bee': 0.3}) for x in np.random.default_rng(0).choice([*c.train.id], (5, 9))]
    runs = [
        [Evaluator(c, texts(c), folds=3, seed=s, workers=w).evaluate(x) for x in (cands,)][0]
        for w, s in ((1, 1), (2, 1))
    ]
    alone = [Evaluator(c, texts(c), folds=3, seed=1).evaluate([x])[0] for x in cands[:2]]

    def told(rs):
        return [replace(r, seconds=0) for r in rs]

    assert told(runs[0]) == told(runs[1]) and told(alone) == told(runs[0][:2])


@pytest.mark.parametrize(
    'names,folds',
    [(NAMES, 4), (NAMES, 30), (NAMES[:2], 4)],
    ids=['three classes', 'more folds than rows', 'two classes'],
)
def test_a_class_with_one_example_breaks_no_fold(names, folds):
    c = corpus(names, 12)
    c = Corpus('rare', c.train[(c.train.label != names[-1]) | ~c.train.label.duplicated()], c.validation, c.test)
    ev = Evaluator(c, texts(c), folds=folds)
    a, b = ev.evaluate([(), as_candidate(ev.sources, {names[-1]: 3})])
    assert np.isfinite([*b.scores.values()]).all() and all(len(v) == 10 for v in b.jackknife.values())


@pytest.mark.parametrize('how', [dict(folds=1), dict(folds=-2), dict(folds=3, protocol='paper')])
def test_folds_that_cannot_be(how):
    c = corpus()
    raises(lambda: Evaluator(c, texts(c), **how), 'folds')
    if how.get('protocol') is None:
        raises(lambda: Evaluator(c, texts(c)).with_folds(how['folds']).evaluate([()]), 'folds')


def test_a_screen_that_cannot_be_folded_says_so():
    c = corpus()
    raises(lambda: Evaluator(c, texts(c), classifier='ridge-screen', folds=3).evaluate([()]), 'fold')


def test_errors_need_folds():
    c = corpus()
    (a,) = Evaluator(c, texts(c)).evaluate([()])
    raises(lambda: standard_error(a, a, 'accuracy'), 'folds')


def test_other_folds_make_another_evaluator_and_the_old_one_stays():
    c = corpus()
    ev = Evaluator(c, texts(c), folds=2)
    cand = as_candidate(ev.sources[::3])
    (two,) = ev.evaluate([cand])
    three, none = ev.with_folds(3), ev.with_folds(0)
    assert three.evaluate([cand]) != [two] and not none.evaluate([cand])[0].jackknife and len(three.masks) == 3
    assert replace(three.evaluate([cand])[0], seconds=0) == replace(
        Evaluator(c, texts(c), folds=3).evaluate([cand])[0], seconds=0
    )
    assert replace(none.evaluate([cand])[0], seconds=0) == replace(
        Evaluator(c, texts(c)).evaluate([cand])[0], seconds=0
    )
    assert len(ev.masks) == 2 and ev.evaluate([cand]) == [two] and three.refit is ev.refit


# --- views ---


def test_a_view_adds_to_its_base_or_replaces_a_part_of_it():
    ev = world({'ant': 0.1, 'bee': 0.1, 'cat': 0.1})
    a, b = of(ev, 'ant'), of(ev, 'bee')
    base = as_candidate([*a[:4], *b[:4]], {'bee': 0.3})
    add, rep = ev.view('ant', base), ev.view('ant', base, 'replace')
    assert add.sources == rep.sources == a and add.whole(()) == base
    assert add.whole(tuple(a[2:6])) == as_candidate([*a[:6], *b[:4]], {'bee': 0.3})
    assert rep.whole(tuple(a[2:6])) == as_candidate([*a[2:6], *b[:4]], {'bee': 0.3})
    assert rep.whole(()) == as_candidate(b[:4], {'bee': 0.3})
    for v, c in itertools.product((add, rep), ((), tuple(a[2:6]), as_candidate(a[:2], {'ant': 3.0}))):
        assert v.key(c) == ev.key(v.whole(c)) and (v.rows(c) == ev.rows(v.whole(c))).all()
        assert v.evaluate([c])[0].scores['accuracy'] == ev.evaluate([v.whole(c)])[0].scores['accuracy']
    every = ev.view('all', base, 'replace')
    assert every.whole(()) == () and every.whole(as_candidate(b[:1])) == (b[0],), (
        'what replaces all classes takes no weight over'
    )
    raises(lambda: ev.view('ant', base, 'join'), 'join')
    raises(lambda: ev.view('dog'), 'dog')


def test_views_share_what_was_trained_and_keep_their_own_measure():
    ev = world({'ant': 0.1, 'bee': -0.1, 'cat': 0.05})
    a = of(ev, 'ant')
    (whole,) = ev.evaluate([as_candidate(a)])
    views = [
        ev.view('ant'),
        ev.view('ant', measure='bee'),
        ev.view(('ant', 'bee')),
        ev.view('ant', as_candidate(a[:3])),
        ev.view('ant', goal=('bee', 'cat')),
        ev.view('all'),
    ]
    told = [v.evaluate([as_candidate(a)])[0] for v in views]
    assert len(ev.refit.asked) == 1 and all(r.recalls == whole.recalls for r in told)
    R = dict(zip(ev.classes, whole.recalls))
    assert [r.scores['recall'] for r in told] == pytest.approx(
        [R['ant'], R['bee'], (R['ant'] + R['bee']) / 2, R['ant'], R['ant'], sum(R.values()) / 3]
    )
    assert told[4].goal['recall'] == pytest.approx((R['bee'] + R['cat']) / 2) and not told[0].goal
    assert told[1].scores['accuracy'] == whole.scores['accuracy']
    assert ev.evaluate([as_candidate(a)]) == [whole]
    assert ev.base == ()
    assert views[1].target != views[0].target, 'a trace must tell them apart'
    (new,) = views[0].evaluate([as_candidate(a[:1])])
    assert ev.evaluate([as_candidate(a[:1])])[0].recalls == new.recalls and len(ev.refit.asked) == 2


def test_nothing_is_trained_twice_whatever_the_view():
    ev = world({'ant': 0.1, 'bee': -0.1, 'cat': 0.05})
    base = as_candidate(of(ev, 'bee'), {'bee': 0.3})
    for v in (
        ev.view('ant', base),
        ev.view('ant', base, 'replace'),
        ev.view(('ant', 'bee'), base, 'replace'),
        ev.view('all', base),
    ):
        for s in ('random', 'class-weights', 'merge'):
            run_search(make_strategy(s, v, 'accuracy', 0), v, 'accuracy', Budget(15))
    assert len(ev.refit.asked) == len(set(ev.refit.asked)) > 60


def test_an_evaluator_of_some_classes_has_a_view_of_all_it_has():
    c = corpus()
    ev = Evaluator(c, texts(c), ('ant', 'cat'))
    v = ev.view('all')
    assert v.sources == ev.sources and set(v.pool.label) == {'ant', 'cat'} and v.labels == ['ant', 'cat']
    wide = ev.view('all', measure='all')
    (r,) = wide.evaluate([as_candidate(ev.sources)])
    assert r.scores['recall'] == pytest.approx(np.mean(r.recalls))
    assert ev.evaluate([as_candidate(ev.sources)])[0].scores['recall'] == pytest.approx(
        (r.recalls[0] + r.recalls[2]) / 2
    )
    assert wide.score(())['test']['recall'] == pytest.approx(Evaluator(c, texts(c)).score(())['test']['recall'])
    raises(lambda: ev.rows((of(ev, 'bee')[0],)), 'not the id')


def test_a_class_may_be_measured_without_examples_to_choose_from():
    c = corpus(n=12)
    c = Corpus('rare', c.train[(c.train.label != 'cat') | ~c.train.label.duplicated()], c.validation, c.test)
    v = Evaluator(c, texts(c)).view('ant', measure='cat')
    assert v.evaluate([()])[0].scores['recall'] == v.evaluate([()])[0].recalls[2]


# --- scores ---


@pytest.mark.parametrize('classes', [2, 3, 5])
def test_overall_f1_is_accuracy_and_overall_balanced_accuracy_follows_from_it(classes):
    c = uneven(classes, n=60)
    for target in ('all', 'class 1'):
        ev = quick(c=c, target=target, protocol='paper')
        for r in ev.evaluate(random_candidates(ev.sources, 20)):
            codes = ev.refit.predict(ev.rows(r.candidate))
            for s, figures in (('validation', r.scores), ('test', r.test)):
                right = np.mean(np.array(c.classes)[codes[s]] == getattr(c, s).label.to_numpy())
                assert figures['accuracy'] == pytest.approx(right)
                assert figures['overall-balanced-accuracy'] == pytest.approx(
                    (right + 1 - (1 - right) / (classes - 1)) / 2
                )
