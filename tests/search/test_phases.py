"What weights, folds, views, constraints, joint strategies and ensembles promise, on small invented corpora and planted worlds"
import itertools
import multiprocessing
import re
import time
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from autogets.search.selection import Constraint, figures, keeps, read_constraint, read_constraints, rescore
from autogets.stats import pareto
from autogets.core import UserError, text_id
from autogets.data.corpus import Corpus, split_corpus
from autogets.search.phases import Adaptive, Ensemble, Goal, Phase, fixed, read_plan
from autogets.search.candidates import Budget, Result, Weight, as_candidate, ids_of, standard_error, weights_of
from autogets.search.evaluator import Evaluator
from autogets.search.class_weights import LEVELS, ClassWeights, Merge
from autogets.metrics import OBJECTIVES, confusion, scores
from autogets.classifiers.refit import LinearRefit, PlainRefit
from autogets.search.candidates import Candidate
from autogets.search.loop import choose
from autogets.search.strategy import Strategy, search
from autogets.search.trace import decode, encode, read_trace, result_of
from autogets.search.registry import STRATEGIES, make_strategy

NAMES = ('ant', 'bee', 'cat')
ODD = ('a "quoted", name', "b's\nsecond line", 'ç 漢字 🦉', 'd:>=0.5')

# --- a small world ------------------------------------------------------------------------------------------------------------------

def sentence(rng, k, own=.35):
    return ' '.join(f'own{k}{rng.choice(list("abcdefgh"))}' if rng.random() < own else f'word{rng.integers(40)}' for _ in range(9))

def frame(rows): return pd.DataFrame([(text_id(t), t, l) for t, l in rows], columns=['id', 'text', 'label'])

def corpus(names=NAMES, n=20, seed=0):
    rng = np.random.default_rng(seed)
    return split_corpus(frame([(sentence(rng, k)+f' row{k}x{i}', c) for k, c in enumerate(names) for i in range(n)]), 'small', 'stratified')

def pool(rows):
    "A pool from (text, label, source ids)"
    t = pd.DataFrame(rows, columns=['text', 'label', 'source_ids'])
    return t.assign(id=t.text.map(text_id), sample=0, generator='test', model='', prompt='', parameters=[{}]*len(t))

def texts(c, n=2, seed=1, labels=None, several=0):
    "`n` texts of each example, and `several` with two or three sources of one class"
    rng, rows, number = np.random.default_rng(seed), [], {l: k for k, l in enumerate(c.classes)}
    e = c.train[c.train.label.isin(labels or c.classes)].drop_duplicates('id')
    for r in e.itertuples():
        rows += [(sentence(rng, number[r.label], rng.choice([.2, .6]))+f' new{r.Index}x{s}', r.label, [r.id]) for s in range(n)]
    for i in range(several):
        own = e.id[e.label == c.classes[i % len(c.classes)]]
        rows.append((f'several{i} '+sentence(rng, i % len(c.classes)), c.classes[i % len(c.classes)], rng.choice(own, 2+i % 2, replace=False).tolist()))
    return pool(rows)

class World:
    "Stands for a refit: a share `value(rows, weights)` of every split's texts is predicted right, always the same texts first"
    def __init__(self, ev, value, log=None, wait=0.):
        self.value, self.log, self.wait, self.asked, self.k = value, log, wait, [], len(ev.classes)
        self.true = {s: ev.truth(s) for s in ('train', 'validation')}
        self.rank = {s: np.random.default_rng([7, len(t)]).permutation(len(t)) for s, t in self.true.items()}
    def codes(self, split, rows, weights):
        q = self.value(rows, np.ones(len(rows)) if weights is None else weights)
        t = self.true[split]
        return np.where(self.rank[split] < round(q*len(t)), t, (t+1) % self.k)
    def predict(self, rows, weights=None):
        time.sleep(self.wait)
        self.asked.append(rows.tobytes()+b'*'+(b'' if weights is None or (weights == 1).all() else weights.tobytes()))
        return {'validation': self.codes('validation', rows, weights)}
    def out_of_fold(self, rows, weights, folds): return self.codes('train', rows, weights)

def world(worth, names=NAMES, n=60, folds=2, target='all', several=0, start=.5, **how):
    "An evaluator in which a text of a class is worth `worth[class]` of all right answers; a callable gets (label, number of the text, weight)"
    c = corpus(names, n)
    p = texts(c, 1, labels=[l for l in names if l in worth] if isinstance(worth, dict) else None, several=several)
    ev = Evaluator(c, p, target, folds=folds)
    labels, size = ev.pool.label.to_numpy(), ev.pool.label.value_counts()
    each = worth if callable(worth) else lambda l, i, w: worth[l]*w
    def value(rows, weights): return float(np.clip(start+sum(each(labels[r], r, w)/size[labels[r]] for r, w in zip(rows, weights)), 0, 1))
    ev.refit = World(ev, value, **how)
    return ev

def of(ev, *labels): return list(ev.corpus.train.id[ev.corpus.train.label.isin(labels)])

def raises(f, *said):
    "`f` must end in a `UserError` of one line that says `said`"
    with pytest.raises(UserError) as e: f()
    assert '\n' not in str(e.value) and str(e.value).strip(), str(e.value)
    for s in said: assert s in str(e.value), str(e.value)

SEEN = ['members', 'note', 'texts', *OBJECTIVES, 'recalls']
def digits(trace): return [[r.get(k) for k in (*SEEN, 'jackknife', 'goal')] for r in trace.rows]

# --- weights ------------------------------------------------------------------------------------------------------------------------

def test_a_candidate_has_one_form():
    w = as_candidate(['b', 'a', 'b'], {'y': 3, 'x': .5, 'z': 1})
    assert w == ('a', 'b', Weight('x', .5), Weight('y', 3.)) and as_candidate(w) == w == as_candidate(('b', 'a', *w[2:][::-1]))
    assert as_candidate(w, {'x': 1}) == ('a', 'b', Weight('y', 3.)) and as_candidate(w, {'y': 2})[-1] == Weight('y', 2.)
    assert ids_of(w) == ('a', 'b') and weights_of(w) == {'x': .5, 'y': 3.} and as_candidate(()) == ()
    assert as_candidate(i for i in 'ba') == ('a', 'b') and hash(w) == hash(as_candidate(w))

def test_a_list_that_holds_weights_keeps_them():
    w = as_candidate(['a', 'b'], {'x': .5})
    assert as_candidate(list(w)) == w

@pytest.mark.parametrize('bad', [0, -1, float('nan'), float('inf'), -float('inf')])
def test_weights_that_mean_nothing(bad):
    raises(lambda: as_candidate(['a'], {'x': bad}), 'x')
    raises(lambda: as_candidate(('a', Weight('x', bad))), 'x')

def test_a_weight_of_an_unknown_class_is_named():
    ev = world({'ant': .1, 'bee': .1, 'cat': .1}, folds=0)
    raises(lambda: ev.evaluate([as_candidate(ev.sources, {'dog': 2})]), 'dog', 'ant')

def test_equal_effect_equal_key():
    ev = world({'ant': .1, 'bee': .1, 'cat': .1}, folds=0)
    a, b = of(ev, 'ant'), of(ev, 'bee')
    same = [as_candidate(a), as_candidate(a, {'ant': 1}), as_candidate(a, {'bee': 3}), as_candidate(a, {'bee': 3, 'cat': .1})]
    assert len({ev.key(c) for c in same}) == 1
    assert len({r.scores['f1'] for r in ev.evaluate(same)}) == 1 and len(ev.refit.asked) == 1
    assert [r.candidate for r in ev.evaluate(same)] == same, 'each is told under its own name'
    differ = [as_candidate(a), as_candidate(a, {'ant': 2}), as_candidate(a, {'ant': .5}), as_candidate([*a, *b], {'ant': 2}), as_candidate([*a, *b], {'bee': 2}), as_candidate([*a, *b])]
    assert len({ev.key(c) for c in differ}) == len(differ)
    assert ev.key(as_candidate((), {'ant': 3})) == ev.key(())

@pytest.mark.parametrize('names', [NAMES[:2], NAMES])
def test_weighted_training_is_ordinary_training_with_sample_weights(names):
    c = corpus(names)
    ev = Evaluator(c, texts(c, several=6), seed=3)
    rng, changed = np.random.default_rng(0), 0
    for heavy in ({names[0]: 4.}, {names[1]: .1}, {names[0]: .2, names[1]: 5.}):
        cand = as_candidate(rng.choice(ev.sources, 20), heavy)
        rows = ev.rows(cand)
        sample = np.concatenate([np.ones(len(c.train)), ev.pool.label.iloc[rows].map(heavy).fillna(1.)])
        plain = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LinearSVC(C=1., tol=1e-3, dual=True, random_state=3))
        plain.fit([*c.train.text, *ev.pool.text.iloc[rows]], [*c.train.label, *ev.pool.label.iloc[rows]], linearsvc__sample_weight=sample)
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

def test_the_code_of_a_candidate_says_all_of_it():
    rng, ids = np.random.default_rng(0), [f'{i:016x}' for i in range(70)]
    for _ in range(50):
        heavy = {c: float(rng.choice([.1, 1/3, 1, 1e-9, 3e7])) for c in rng.permutation(ODD)[:rng.integers(5)]}
        c = as_candidate(rng.choice(ids, rng.integers(70)), heavy)
        assert decode(encode(c, ids), ids) == c and '\n' not in encode(c, ids)

class Given(Strategy):
    "Proposes what it is given"
    name = 'given'
    def __init__(self, *batches): self._batches = batches
    def plan(self):
        for b in self._batches: yield [Candidate(c, n) for c, n in b]

def test_a_trace_of_odd_names_comes_back(tmp_path):
    def run():
        ev = world(dict.fromkeys(ODD, .05), ODD, n=20)
        some = [(as_candidate(of(ev, *ODD[:k+1]), {ODD[k]: w}), f'{ODD[k]} at {w}') for k in range(4) for w in (.1, 3., 1/3)]
        return search(Given(some), ev, 'f1', Budget(50), tmp_path), ev
    (first, ev), (again, ev2) = run(), run()
    assert len(first) == 13 and digits(first) == digits(again) and not ev2.refit.asked
    assert [r['note'] for r in again.rows[1:4]] == [f'{ODD[0]} at {w}' for w in (.1, 3., 1/3)]
    rows = read_trace(tmp_path/'trace.csv')
    assert [result_of(r, first.sources) for r in rows] == [replace(ev.evaluate([c])[0], candidate=c) for c in map(first.ids, range(13))]

def test_a_trace_of_odd_names_is_cut_anywhere_and_completed(tmp_path):
    def run(folder):
        ev = world(dict.fromkeys(ODD, .05), ODD, n=20)
        return search(Given([(as_candidate(of(ev, c), {c: w}), f'{c} at {w}') for c in ODD for w in (.1, 3.)]), ev, 'f1', Budget(50), folder)
    whole = run(tmp_path/'whole')
    data, start = (tmp_path/'whole'/'trace.csv').read_bytes(), (tmp_path/'whole'/'trace.csv').read_bytes().index(b'\n')+1
    inside = [m.start() for m in re.finditer(b'second line', data)]
    for at in (*np.random.default_rng(1).integers(start, len(data), 4), *inside):
        d = tmp_path/f'cut{at}'; d.mkdir()
        (d/'run.json').write_bytes((tmp_path/'whole'/'run.json').read_bytes()); (d/'trace.csv').write_bytes(data[:at])
        assert digits(run(d)) == digits(whole), at

# --- folds --------------------------------------------------------------------------------------------------------------------------

def spied(monkeypatch, ev, candidate):
    "What the models of `candidate`'s folds were trained on: (training positions kept, pool rows)"
    seen, real = [], LinearRefit.model
    monkeypatch.setattr(LinearRefit, 'model', lambda self, rows, weights=None, kept=None: seen.append((kept, rows)) or real(self, rows, weights, kept))
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
        out = set(range(len(c.train)))-set(kept)
        ids = set(c.train.id.iloc[list(out)])
        assert not ids & set(c.train.id.iloc[kept]), 'repeats of a text are held out together'
        assert not ids & {i for r in rows for i in ev.pool.source_ids[r]}
        must = {r for r in range(len(ev.pool)) if not ids & set(ev.pool.source_ids[r])}
        assert set(rows) == must, 'and nothing else is left out'
        held += out
    assert sorted(held) == list(range(len(c.train)))
    assert max(np.bincount([len(set(range(len(c.train)))-set(k)) for k, _ in seen]).nonzero()[0]) <= len(c.train)/folds+len(c.classes)+4

def test_no_fold_is_trained_on_a_copy_of_its_rows(monkeypatch):
    "A synthetic text that says the same as another training row must not be there when that row is judged"
    c = corpus()
    a = c.examples('ant')
    copies = [(a.text.iloc[i+1].upper()+'!', 'ant', [a.id.iloc[i]]) for i in range(len(a)-1)]
    ev = Evaluator(c, pool(copies), folds=3)
    for kept, rows in spied(monkeypatch, ev, as_candidate(ev.sources)):
        held = set(c.train.id)-set(c.train.id.iloc[kept])
        assert not held & set(ev.pool.id.iloc[rows])

def by_hand(ev, candidate, target=None):
    "Confusion matrices of the judging rows, from plain pipelines: all rows, and the frame of single rows"
    c, rows, heavy = ev.corpus, ev.rows(candidate), weights_of(candidate)
    def plain(train, added):
        m = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LinearSVC(C=1., tol=1e-3, dual=True, random_state=ev.seed))
        sample = np.concatenate([np.ones(len(train)), added.label.map(heavy).fillna(1.)])
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
    cands, hand = [(), as_candidate(ev.sources[::2], {'bee': 3.}), as_candidate(ev.sources)], []
    for cand, r in zip(cands, ev.evaluate(cands)):
        true, codes = by_hand(ev, cand)
        assert r.scores == pytest.approx(scores(confusion(true, codes, range(3)), index))
        left = [scores(confusion(true[ev.tenth != k], codes[ev.tenth != k], range(3)), index) for k in range(10)]
        for o in OBJECTIVES: assert r.jackknife[o] == pytest.approx([v[o] for v in left])
        hand.append(left)
    a, b = ev.evaluate(cands[:2])
    for o in OBJECTIVES:
        d = [x[o]-y[o] for x, y in zip(hand[0], hand[1])]
        assert standard_error(a, b, o) == pytest.approx((.9*sum((x-sum(d)/10)**2 for x in d))**.5) and standard_error(a, a, o) == 0
    assert standard_error(a, b, 'f1') == standard_error(b, a, 'f1') > 0
    assert sorted(np.bincount(ev.tenth))[-1]-sorted(np.bincount(ev.tenth))[0] <= 2*len(c.classes)

def test_any_classifier_is_folded_like_the_fast_one():
    c = corpus(n=12)
    ev = Evaluator(c, texts(c, several=6), folds=3)
    rows = ev.rows(as_candidate(ev.sources[::2])); w = np.where(ev.pool.label.iloc[rows] == 'bee', 3., 1.)
    slow = PlainRefit(c.train, ev.pool, {}, c.classes, classifier='linear')
    for weights in (None, w): assert (slow.out_of_fold(rows, weights, ev.masks) == ev.refit.out_of_fold(rows, weights, ev.masks)).all()

def test_folded_figures_do_not_depend_on_workers_or_company():
    c = corpus(n=12)
    cands = [as_candidate(x, {'bee': .3}) for x in np.random.default_rng(0).choice([*c.train.id], (5, 9))]
    runs = [[Evaluator(c, texts(c), folds=3, seed=s, workers=w).evaluate(x) for x in (cands,)][0] for w, s in ((1, 1), (2, 1))]
    alone = [Evaluator(c, texts(c), folds=3, seed=1).evaluate([x])[0] for x in cands[:2]]
    def told(rs): return [replace(r, seconds=0) for r in rs]
    assert told(runs[0]) == told(runs[1]) and told(alone) == told(runs[0][:2])

@pytest.mark.parametrize('names,folds', [(NAMES, 4), (NAMES, 30), (NAMES[:2], 4)], ids=['three classes', 'more folds than rows', 'two classes'])
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
    if how.get('protocol') is None: raises(lambda: Evaluator(c, texts(c)).judged(how['folds']).evaluate([()]), 'folds')

def test_a_screen_that_cannot_be_folded_says_so():
    c = corpus()
    raises(lambda: Evaluator(c, texts(c), classifier='ridge-screen', folds=3).evaluate([()]), 'fold')

def test_errors_need_folds():
    c = corpus()
    a, = Evaluator(c, texts(c)).evaluate([()])
    raises(lambda: standard_error(a, a, 'f1'), 'folds')

def test_other_folds_are_another_judge_and_the_old_one_stays():
    c = corpus()
    ev = Evaluator(c, texts(c), folds=2)
    cand = as_candidate(ev.sources[::3])
    two, = ev.evaluate([cand])
    three, none = ev.judged(3), ev.judged(0)
    assert three.evaluate([cand]) != [two] and not none.evaluate([cand])[0].jackknife and len(three.masks) == 3
    assert replace(three.evaluate([cand])[0], seconds=0) == replace(Evaluator(c, texts(c), folds=3).evaluate([cand])[0], seconds=0)
    assert replace(none.evaluate([cand])[0], seconds=0) == replace(Evaluator(c, texts(c)).evaluate([cand])[0], seconds=0)
    assert len(ev.masks) == 2 and ev.evaluate([cand]) == [two] and three.refit is ev.refit

def test_a_folded_trace_is_resumed_with_its_errors(tmp_path):
    worth = {'ant': .1, 'bee': -.1, 'cat': .05}
    def run(folder, n=60): ev = world(worth); return search(make_strategy('levels', ev, 'f1', 0), ev, 'f1', Budget(n), folder), ev
    whole, _ = run(tmp_path/'whole')
    data = (tmp_path/'whole'/'trace.csv').read_bytes(); head = data.index(b'\n')+1
    for at in np.random.default_rng(2).integers(head, len(data), 4):
        d = tmp_path/str(at); d.mkdir()
        (d/'run.json').write_bytes((tmp_path/'whole'/'run.json').read_bytes()); (d/'trace.csv').write_bytes(data[:at])
        again, ev = run(d)
        assert digits(again) == digits(whole) and len(ev.refit.asked) == len(whole)-(data[:at].count(b'\n')-1)
    assert all(len(result_of(r, whole.sources).jackknife['recall']) == 10 for r in whole.rows)
    ev = world(worth, folds=3)
    raises(lambda: search(make_strategy('levels', ev, 'f1', 0), ev, 'f1', Budget(9), tmp_path/'whole'), 'folds')

# --- views --------------------------------------------------------------------------------------------------------------------------

def test_a_view_adds_to_its_base_or_replaces_a_part_of_it():
    ev = world({'ant': .1, 'bee': .1, 'cat': .1})
    a, b = of(ev, 'ant'), of(ev, 'bee')
    base = as_candidate([*a[:4], *b[:4]], {'bee': .3})
    add, rep = ev.view('ant', base), ev.view('ant', base, 'replace')
    assert add.sources == rep.sources == a and add.whole(()) == base
    assert add.whole(tuple(a[2:6])) == as_candidate([*a[:6], *b[:4]], {'bee': .3})
    assert rep.whole(tuple(a[2:6])) == as_candidate([*a[2:6], *b[:4]], {'bee': .3}) and rep.whole(()) == as_candidate(b[:4], {'bee': .3})
    for v, c in itertools.product((add, rep), ((), tuple(a[2:6]), as_candidate(a[:2], {'ant': 3.}))):
        assert v.key(c) == ev.key(v.whole(c)) and (v.rows(c) == ev.rows(v.whole(c))).all()
        assert v.evaluate([c])[0].scores['f1'] == ev.evaluate([v.whole(c)])[0].scores['f1']
    every = ev.view('all', base, 'replace')
    assert every.whole(()) == () and every.whole(as_candidate(b[:1])) == (b[0],), 'what replaces everything takes no weight over'
    raises(lambda: ev.view('ant', base, 'join'), 'join')
    raises(lambda: ev.view('dog'), 'dog')

def test_a_class_can_be_put_back_to_a_weight_of_one():
    "Levels on a class whose texts the base counts .3 must be able to try 1"
    ev = world({'ant': .1, 'bee': .1, 'cat': .1})
    run = Ensemble(ev, Goal('f1'), fixed([Phase('ant', 'levels', None, 20, 'replace')]), Budget(20), progress=False)
    run.base = as_candidate(ev.sources, {'ant': .3, 'bee': .1})
    (_, v, t, _), = run.run().phases
    tried = {r['note']: weights_of(v.whole(t.ids(i))) for i, r in enumerate(t.rows)}
    assert tried.get('all at 1') == {'bee': .1} and tried['all at 3'] == {'ant': 3., 'bee': .1}

def test_views_share_what_was_trained_and_keep_their_own_measure():
    ev = world({'ant': .1, 'bee': -.1, 'cat': .05})
    a = of(ev, 'ant')
    whole, = ev.evaluate([as_candidate(a)])
    views = [ev.view('ant'), ev.view('ant', measure='bee'), ev.view(('ant', 'bee')), ev.view('ant', as_candidate(a[:3])), ev.view('ant', goal=('bee', 'cat')), ev.view('all')]
    told = [v.evaluate([as_candidate(a)])[0] for v in views]
    assert len(ev.refit.asked) == 1 and all(r.recalls == whole.recalls for r in told)
    R = dict(zip(ev.classes, whole.recalls))
    assert [r.scores['recall'] for r in told] == pytest.approx([R['ant'], R['bee'], (R['ant']+R['bee'])/2, R['ant'], R['ant'], sum(R.values())/3])
    assert told[4].goal['recall'] == pytest.approx((R['bee']+R['cat'])/2) and not told[0].goal
    assert told[1].scores['f1'] == whole.scores['f1'] and ev.evaluate([as_candidate(a)]) == [whole] and ev.base == ()
    assert views[1].target != views[0].target, 'a trace must tell them apart'
    new, = views[0].evaluate([as_candidate(a[:1])])
    assert ev.evaluate([as_candidate(a[:1])])[0].recalls == new.recalls and len(ev.refit.asked) == 2

def test_nothing_is_trained_twice_whatever_the_view():
    ev = world({'ant': .1, 'bee': -.1, 'cat': .05})
    base = as_candidate(of(ev, 'bee'), {'bee': .3})
    for v in (ev.view('ant', base), ev.view('ant', base, 'replace'), ev.view(('ant', 'bee'), base, 'replace'), ev.view('all', base)):
        for s in ('random', 'levels', 'merge'): search(make_strategy(s, v, 'f1', 0), v, 'f1', Budget(15))
    assert len(ev.refit.asked) == len(set(ev.refit.asked)) > 60

def test_an_evaluator_of_some_classes_has_a_view_of_all_it_has():
    c = corpus()
    ev = Evaluator(c, texts(c), ('ant', 'cat'))
    v = ev.view('all')
    assert v.sources == ev.sources and set(v.pool.label) == {'ant', 'cat'} and v.labels == ['ant', 'cat']
    wide = ev.view('all', measure='all')
    r, = wide.evaluate([as_candidate(ev.sources)])
    assert r.scores['recall'] == pytest.approx(np.mean(r.recalls))
    assert ev.evaluate([as_candidate(ev.sources)])[0].scores['recall'] == pytest.approx((r.recalls[0]+r.recalls[2])/2)
    assert wide.score(())['test']['recall'] == pytest.approx(Evaluator(c, texts(c)).score(())['test']['recall'])
    raises(lambda: ev.rows((of(ev, 'bee')[0],)), 'not the id')

def test_a_class_may_be_measured_without_examples_to_choose_from():
    c = corpus(n=12)
    c = Corpus('rare', c.train[(c.train.label != 'cat') | ~c.train.label.duplicated()], c.validation, c.test)
    v = Evaluator(c, texts(c)).view('ant', measure='cat')
    assert v.evaluate([()])[0].scores['recall'] == v.evaluate([()])[0].recalls[2]

# --- constraints --------------------------------------------------------------------------------------------------------------------

def result(recalls=(.5, .5, .5), **values): return Result((), {**dict.fromkeys(OBJECTIVES, .5), **values}, recalls, 0, 0.)

@pytest.mark.parametrize('text,figure,sense,bound,relative', [
    ('f1>=baseline', 'f1', '>=', 0, True), (' macro-f1 >= baseline - 0.02 ', 'macro-f1', '>=', -.02, True), ('recall:cat<=.7', 'recall:cat', '<=', .7, False),
    ('balanced-accuracy<=baseline+.1', 'balanced-accuracy', '<=', .1, True), ('f1>=0', 'f1', '>=', 0, False), ('f1<=1', 'f1', '<=', 1, False)])
def test_constraints_that_can_be_read(text, figure, sense, bound, relative):
    c = read_constraint(text, NAMES)
    assert c == Constraint(figure, sense, bound, relative) and read_constraint(str(c), NAMES) == c

def test_constraints_on_classes_with_odd_names():
    for name in ('T:1', 'a>=b', '<=', 'x, y "z"', 'ç 漢字', 'd:>=0.5'):
        c = read_constraint(f'recall:{name}>=baseline-0.1', [*NAMES, name])
        assert c == Constraint(f'recall:{name}', '>=', -.1, True) and c.figure in figures(result((0, 0, 0, 0)), [*NAMES, name])

@pytest.mark.parametrize('text', ['', ' ', '>=', 'f1', 'f1>baseline', 'f1=0.5', 'f1==0.5', 'f1>=', '>=0.5', 'f1>=base', 'f1>=baseline-', 'f1>=baseline-.', 'f1>=baseline-1.2.3',
    'f1>=baseline0.1', 'f1>=1.5', 'f1<=-0.1', 'f1>=nan', 'f1>=inf', 'f1>=1e-3', 'f2>=0.5', 'recall:dog>=0.5', 'f1:cat>=0.5', 'recall:>=0.5', 'f1:>=baseline', ':cat>=0.5',
    'recall:cat', 'f1>=0.5 and recall>=0.5', 'f1>=0.5\nrecall>=0.5', 'F1>=0.5', '0.5<=f1'])
def test_constraints_that_mean_nothing(text): raises(lambda: read_constraint(text, NAMES))

def test_whatever_is_read_can_be_judged():
    "Pieces in the right order, now and then with a wrong one among them"
    rng, read = np.random.default_rng(0), 0
    slots = (['f1', 'recall', 'recall:cat', 'macro-f1', 'recall:', ':', 'f1:', 'cat', ''], ['>=', '<=', '>', '=', ' >= ', ''], ['baseline', '0.1', '.5', '1', '2', '-', ''], ['', '', '-.1', '+ 0.2', '.', ' ', '\n', '%', '-2'])
    for _ in range(3000):
        text = ''.join(rng.permutation([rng.choice(p) for p in slots]) if rng.random() < .2 else [rng.choice(p) for p in slots])
        try: c = read_constraint(text, NAMES)
        except UserError as e: assert '\n' not in str(e); continue
        assert keeps([c], result(), result(), NAMES) in (True, False); read += 1
    assert read > 100

@pytest.mark.parametrize('texts', [('f1>=0.6', 'f1<=0.5'), ('f1<=baseline-0.1', 'macro-f1>=0.1', 'f1>=baseline'), ('recall:cat>=0.51', 'recall:cat<=0.5'), ('f1>=baseline+1.5',), ('f1<=baseline-1.5',)])
def test_constraints_that_no_candidate_can_keep(texts): raises(lambda: read_constraints(texts, NAMES), 'constraint')

def test_constraints_that_can_be_kept_together():
    assert len(read_constraints(['f1>=0.5', 'f1<=0.5', 'f1>=baseline', 'f1<=baseline', 'recall:cat>=0.9', 'recall:bee<=0.1', 'f1>=baseline-0.1'], NAMES)) == 7
    assert read_constraints([], NAMES) == []

def test_a_bound_is_kept_at_the_bound():
    base = result(f1=.7, recalls=(.1+.2, .3, .5))
    def ok(text, **new): return keeps([read_constraint(text, NAMES)], result(**new), base, NAMES)
    assert ok('f1>=baseline+0.1', f1=.8) and ok('f1>=baseline-0.1', f1=.6) and ok('f1<=baseline+0.1', f1=.7+.1) and ok('f1>=0.3', f1=.1*3) and ok('f1<=0.3', f1=.1*3)
    assert ok('f1>=baseline', f1=.7) and not ok('f1>=baseline', f1=.7-1/5000) and not ok('f1<=0.7', f1=.7+1/5000)
    assert ok('recall:ant>=baseline', recalls=(.3, 0, 0)) and ok('recall:ant<=baseline', recalls=(.3, 0, 0)) and not ok('recall:ant>=0.31', recalls=(.3, 1, 1))
    assert keeps([], result(), base, NAMES) and not keeps(read_constraints(['f1>=0', 'recall:cat>=.6'], NAMES), result(), base, NAMES)

def test_constraints_speak_of_the_goal():
    r = replace(result(recall=.2), goal={**dict.fromkeys(OBJECTIVES, .5), 'recall': .9})
    assert keeps([read_constraint('recall>=0.8', NAMES)], r, result(recall=.9), NAMES)

# --- fronts and second hearings -----------------------------------------------------------------------------------------------------

def test_the_front_is_what_nothing_dominates():
    rng = np.random.default_rng(0)
    for n, k in [(0, 2), (1, 1), (1, 3), *zip(rng.integers(2, 40, 40), rng.integers(1, 4, 40))]:
        v = rng.integers(0, 5, (n, k))/4
        want = [not any(all(w >= x for w, x in zip(v[j], v[i])) and any(w > x for w, x in zip(v[j], v[i])) for j in range(n)) for i in range(n)]
        got = pareto(v)
        assert got.tolist() == want and (n == 0 or got.any())

def lucky():
    "A world in which one small candidate is best on validation and bad out of fold"
    ev = world({'ant': .2, 'bee': .02, 'cat': 0.}, folds=0)
    own, real = of(ev, 'cat')[0], ev.refit.codes
    row = ev.rows((own,)).tobytes()
    def codes(split, rows, weights): return ev.refit.true[split] if split == 'validation' and rows.tobytes() == row else real(split, rows, weights)
    ev.refit.codes = codes
    cands = [((own,), 'lucky'), (as_candidate(of(ev, 'ant')), 'good'), (as_candidate(of(ev, 'ant')[:5]), 'less'), (as_candidate(of(ev, 'bee')), 'little')]
    return ev, search(Given(cands), ev, 'f1', Budget(50), everything=True)

def test_the_second_hearing_is_not_fooled_by_luck():
    ev, t = lucky()
    names = [r['note'] for r in t.rows]
    first = len(ev.refit.asked)
    assert names[choose(t, 'f1')] == 'lucky'
    row, heard = rescore(ev, t, 'f1', finalists=2, folds=3)
    assert names[row] in ('good', 'everything') and {names[i] for i in heard.row} == {'M0', 'everything', 'lucky'} | set(names[i] for i in heard.row)
    assert len(heard) <= 4 and (heard['first'] == [t.rows[i]['f1'] for i in heard.row]).all() and len(ev.refit.asked) == first+len(heard)
    want = ev.judged(3).evaluate([t.ids(i) for i in heard.row])
    best = max(want, key=lambda r: r.scores['f1'])
    assert heard.second.tolist() == [r.scores['f1'] for r in want] and heard.error.tolist() == pytest.approx([standard_error(best, r, 'f1') for r in want])
    assert not ev.folds and not ev.memo[ev.key(())].jackknife

def test_one_standard_error_prefers_fewer_texts_that_are_not_worse():
    ev, t = lucky()
    row, heard = rescore(ev, t, 'f1', finalists=9, folds=3, rule='one-se')
    best = heard.second.max()
    close = heard[heard.second >= best-heard.error]
    assert row == close.sort_values(['texts', 'row']).row.iloc[0] and t.rows[row]['texts'] == close.texts.min()
    raises(lambda: rescore(ev, t, 'f1', rule='two-se'), 'two-se')

def test_only_what_is_allowed_is_chosen():
    ev, t = lucky()
    ranks = sorted(range(len(t)), key=lambda i: (-t.rows[i]['f1'], t.rows[i]['texts'], i))
    for allowed in ([3], [2, 4], ranks[1:], [0], list(range(len(t)))):
        assert choose(t, 'f1', allowed=allowed) == next(i for i in ranks if i in allowed)
        row, heard = rescore(ev, t, 'f1', finalists=2, allowed=allowed)
        assert row in allowed and set(heard.row) <= set(allowed)
    assert choose(t, 'f1', allowed=[]) == 0 and rescore(ev, t, 'f1', allowed=[])[0] == 0

# --- levels and merge ---------------------------------------------------------------------------------------------------------------

def levels(ev, objective='f1', seed=0, budget=200, **how):
    s = make_strategy('levels', ev, objective, seed)
    return s, search(s, ev, objective, Budget(budget), **how)

def everything(ev): return as_candidate(ev.sources)

def test_levels_without_a_reason_stay_at_everything():
    s, t = levels(world(lambda l, i, w: 0.))
    assert s.choice == as_candidate(t.sources) and len(t) > 10
    rng = np.random.default_rng(3)
    noisy = {}
    ev = world({'ant': 0., 'bee': 0., 'cat': 0.})
    def codes(split, rows, weights):
        r = noisy.setdefault((split, rows.tobytes(), None if weights is None else weights.tobytes()), np.random.default_rng(rng.integers(2**32)).random(len(ev.refit.true[split])) < .6)
        return np.where(r, ev.refit.true[split], (ev.refit.true[split]+1) % 3)
    left = 0
    for k in range(6):
        noisy.clear(); ev.memo.clear(); ev.tallies.clear(); ev.refit.codes = codes
        s = ClassWeights({c: of(ev, c) for c in NAMES}, 'f1', k, errors=3., step_errors=3.)
        search(s, ev, 'f1', Budget(60)); left += s.choice != everything(ev)
    assert left <= 1, 'three standard errors are rarely a matter of luck'

@pytest.mark.parametrize('best', [0., .1, .3, 1., 3.])
def test_levels_find_what_was_planted(best):
    def worth(label, i, w):
        if label == 'ant': return .3*(1-abs(np.log(w/best))/6) if best else -.3*w
        return {'bee': -.25*min(w, 1), 'cat': 0.}[label]
    ev = world(worth, n=150)
    s, t = levels(ev)
    heavy, ids = weights_of(s.choice), set(ids_of(s.choice))
    assert not ids & set(of(ev, 'bee')), 'harmful texts are left out'
    if best: assert set(of(ev, 'ant')) <= ids and heavy.get('ant', 1.) == best
    else: assert not ids & set(of(ev, 'ant'))

@pytest.mark.parametrize('start', range(3))
def test_the_choice_of_levels_stands_in_the_trace(start):
    worth = [{'ant': .1, 'bee': -.1, 'cat': 0.}, {'ant': -.3, 'bee': -.1, 'cat': -.1}, {'ant': .2}][start]
    s, t = levels(world(worth, n=120))
    assert s.choice in [t.ids(i) for i in range(len(t))]
    assert all(set(weights_of(t.ids(i)).values()) <= set(LEVELS)-{0., 1.} for i in range(len(t)))

def test_levels_that_cannot_help_choose_nothing_at_all():
    s, t = levels(world(lambda l, i, w: -.1*w, n=150))
    assert s.choice == () and choose(t, 'f1') == 0

def test_levels_do_not_depend_on_the_size_of_pieces():
    def drive(sizes):
        ev, out = world({'ant': .2, 'bee': -.2, 'cat': .01}, n=100), []
        s = make_strategy('levels', ev, 'f1', 4)
        for n in itertools.cycle(sizes):
            if not (batch := s.ask(n)): return out, s.choice
            assert len(batch) <= n
            out += [(c.ids, c.note) for c in batch]; s.tell(ev.evaluate([c.ids for c in batch]))
    runs = [drive(sizes) for sizes in ([1], [3], [1000], [2, 1, 7])]
    assert all(r == runs[0] for r in runs) and len(runs[0][0]) > 15

@pytest.mark.parametrize('n', range(1, 8))
def test_levels_cut_in_the_middle_of_a_batch(n):
    "The first batch has five candidates, one of them free"
    ev = world({'ant': .2, 'bee': -.2, 'cat': .01}, n=100)
    s, t = levels(ev, budget=n)
    assert len(t) == n+1 and (s.choice is None or s.choice in [t.ids(i) for i in range(len(t))])
    assert 0 <= choose(t, 'f1') <= n

def test_levels_need_errors_and_a_known_objective():
    raises(lambda: levels(world({'ant': .1, 'bee': .1, 'cat': .1}, folds=0)), 'folds')
    raises(lambda: ClassWeights({'ant': ['a']}, 'accuracy'), 'accuracy')

def test_levels_pass_over_classes_without_texts():
    s, t = levels(world({'ant': .2}, n=100))
    assert set(of(world({'ant': .2}, n=100), 'ant')) <= set(ids_of(s.choice))
    assert len({(r['texts'], r['f1']) for r in t.rows}) == len(t) <= 6, 'what changes nothing is not evaluated'

def test_merge_keeps_what_pays_and_prunes_what_does_not():
    "Bees pay alone but not beside ants"
    c = corpus(n=60)
    ev = Evaluator(c, texts(c, 1))
    labels = ev.pool.label.to_numpy()
    def value(rows, weights):
        n = {l: (labels[rows] == l).sum()/(labels == l).sum() for l in NAMES}
        return .5+.3*n['ant']+(.1 if n['ant'] < .1 else -.1)*n['bee']-.2*n['cat']
    ev.refit = World(ev, value)
    t = search(make_strategy('merge', ev, 'f1', 0), ev, 'f1', Budget(100))
    notes = [r['note'] for r in t.rows]
    assert t.ids(choose(t, 'f1')) == as_candidate(of(ev, 'ant')) and 'merged' in notes and notes[0] == 'M0'
    merged = t.ids(notes.index('merged'))
    assert set(merged) & set(of(ev, 'bee')) and not set(merged) & set(of(ev, 'cat'))
    assert len(t) <= 1+3*5+1+3

def test_merge_where_nothing_pays_and_where_classes_are_tiny():
    t = search(make_strategy('merge', ev := world(lambda l, i, w: -.1), 'f1', 0), ev, 'f1', Budget(100))
    assert choose(t, 'f1') == 0
    s = Merge({'x': ['1'], 'y': [], 'z': ['2', '3']}, 'f1')
    seen = []
    while batch := s.ask(2):
        seen += batch; s.tell([replace(result(f1=len(c.ids)/3), candidate=c.ids) for c in batch])
    assert max((c.ids for c in seen), key=len) == ('1', '2', '3') and seen[-1].note.startswith('without')

# --- plans --------------------------------------------------------------------------------------------------------------------------

GOOD = '''
phases:
  - {target: cat, strategy: genetic, objective: balanced-accuracy, evaluations: 100, why: because}
  - {target: [ant, bee], strategy: random, how: replace}
  - {}
'''

def test_a_plan_is_read(tmp_path):
    (tmp_path/'p.yaml').write_text(GOOD)
    a, b, c = read_plan(tmp_path/'p.yaml', NAMES)
    assert a == Phase('cat', 'genetic', 'balanced-accuracy', 100, 'add', 'because') and b.target == ['ant', 'bee'] and b.how == 'replace' and c == Phase()
    assert read_plan({'phases': [{'target': 'cat'}]}, NAMES) == [Phase('cat')]

BAD = {'empty': b'', 'blank': b'\n\n', 'comment': b'# nothing', 'no yaml': b'phases: [}', 'tabs': b'phases:\n\t- {}', 'scalar': b'hello', 'list': b'- {}', 'number': b'12',
    'no phases': b'phases:', 'empty phases': b'phases: []', 'phases a map': b'phases: {target: cat}', 'more keys': b'phases: [{}]\nbudget: 12', 'latin-1': 'phases: [{why: é}]'.encode('latin-1'),
    'utf-16': 'phases: [{}]'.encode('utf-16'), 'nul': b'phases: [{why: "\x00"}]', 'control': b'phases: [{why: \x07}]', 'tag': b'phases: [!!python/object:os.system {}]', 'alias': b'phases: *x',
    'two documents': b'phases: [{}]\n---\nphases: [{}]', 'bad date': b'phases: [{why: 2020-13-45}]', 'bad int': b'phases: [{evaluations: !!int x}]', 'list key': b'phases: [{[a]: 1}]',
    'deep': b'phases: '+b'['*3000,
    'text phase': b'phases: [cat]', 'null phase': b'phases: [null]', 'list phase': b'phases: [[cat]]', 'field': b'phases: [{targets: cat}]', 'number field': b'phases: [{1: cat}]',
    'class': b'phases: [{target: dog}]', 'class of list': b'phases: [{target: [cat, dog]}]', 'empty target': b'phases: [{target: []}]', 'null target': b'phases: [{target: null}]',
    'number target': b'phases: [{target: 12}]', 'bool target': b'phases: [{target: true}]', 'map target': b'phases: [{target: {cat: 1}}]', 'nested target': b'phases: [{target: [[cat]]}]',
    'all in a list': b'phases: [{target: [all, cat]}]',
    'strategy': b'phases: [{strategy: guess}]', 'null strategy': b'phases: [{strategy: null}]', 'list strategy': b'phases: [{strategy: [random]}]', 'ensemble': b'phases: [{strategy: ensemble}]',
    'objective': b'phases: [{objective: accuracy}]', 'list objective': b'phases: [{objective: [f1]}]', 'how': b'phases: [{how: join}]', 'list how': b'phases: [{how: [add]}]',
    'zero': b'phases: [{evaluations: 0}]', 'negative': b'phases: [{evaluations: -5}]', 'float': b'phases: [{evaluations: 5.0}]', 'words': b'phases: [{evaluations: many}]',
    'bool': b'phases: [{evaluations: true}]', 'null': b'phases: [{evaluations: null}]', 'second': b'phases: [{}, {target: dog}]'}

@pytest.mark.parametrize('name', BAD)
def test_a_plan_that_cannot_be_followed_is_one_line(name, tmp_path):
    p = tmp_path/'plan.yaml'; p.write_bytes(BAD[name])
    raises(lambda: read_plan(p, NAMES), 'plan', *(['phase 2'] if name == 'second' else []))

def test_a_plan_that_is_not_there(tmp_path):
    raises(lambda: read_plan(tmp_path/'none.yaml', NAMES), 'none.yaml')
    raises(lambda: read_plan(tmp_path, NAMES), str(tmp_path))

# --- ensembles ----------------------------------------------------------------------------------------------------------------------

WORTH = {'ant': .2, 'bee': -.3, 'cat': .05}

def ensemble(ev, phases, budget=60, goal=None, **how):
    return Ensemble(ev, goal or Goal('f1'), fixed(phases) if isinstance(phases, list) else phases, Budget(budget), progress=False, **how).run()

def told(run): return [{k: v for k, v in h.items()} for h in run.history], run.base, run.spent, digits(run.joined()[0]), run.joined()[1]

def consistent(run):
    "The chosen row of the joined trace is the base that the run ends with, and its figures are the judge's"
    trace, at = run.joined()
    ended, = run.judge.evaluate([run.base])
    assert run.judge.key(trace.ids(at)) == run.judge.key(run.base), (at, trace.rows[at]['note'])
    assert trace.rows[at][run.goal.objective] == pytest.approx(ended.scores[run.goal.objective]) and trace.rows[at]['texts'] == ended.n_texts
    assert run.spent == sum(h['evaluations'] for h in run.history) <= run.budget.evaluations
    f = run.front()
    assert len(f) == len(trace) and f.chosen.sum() == 1 and f.front.any()

def test_a_run_takes_what_pays_and_nothing_else():
    ev = world(WORTH, n=100)
    run = ensemble(ev, [Phase('bee', 'random', evaluations=10), Phase('ant', 'random', evaluations=10), Phase('cat', 'genetic', evaluations=8, objective='recall')])
    assert [h['accepted'] for h in run.history][:2] == [False, True] and not set(ids_of(run.base)) & set(of(ev, 'bee'))
    assert run.history[0]['gain'] <= 0 and run.spent == 28
    consistent(run)

def test_rule_1_takes_the_best_that_keeps_the_constraints():
    ev = world({'ant': .3, 'bee': .1, 'cat': 0.}, n=100, folds=0)
    real = ev.refit.codes
    cat = ev.classes.index('cat')
    def codes(split, rows, weights):
        out, t = real(split, rows, weights), ev.refit.true[split]
        many = (ev.pool.label.iloc[rows] == 'ant').sum() > 10
        return np.where((t == cat) & many & (ev.refit.rank[split] > .3*len(t)), 0, out) # with many ants few cats are found
    ev.refit.codes = codes
    free, bound = (ensemble(ev, [Phase('all', 'merge', evaluations=30)], goal=Goal('f1', constraints=tuple(read_constraints(c, NAMES)))) for c in ([], ['recall:cat>=baseline']))
    for run in (free, bound):
        results, h = run.phases[0][3], run.history[0]
        ok = [i for i, r in enumerate(results) if keeps(run.goal.constraints, r, run.m0, NAMES)]
        best = max(results[i].scores['f1'] for i in ok)
        assert results[h['row']].scores['f1'] == best and h['row'] in ok and results[h['row']].n_texts == min(results[i].n_texts for i in ok if results[i].scores['f1'] == best)
        consistent(run)
    r, = bound.judge.evaluate([bound.base])
    assert r.recalls[cat] >= bound.m0.recalls[cat] > free.judge.evaluate([free.base])[0].recalls[cat]

def test_nothing_feasible_leaves_the_base():
    run = ensemble(world({'ant': .03, 'bee': -.03, 'cat': .01}, n=60), [Phase('ant', 'random', evaluations=5), Phase('all', 'levels', None, 30, 'replace')], goal=Goal('f1', constraints=(Constraint('f1', '>=', .999, False),)))
    assert run.base == () and [h['row'] for h in run.history] == [None, None] and not any(h['accepted'] for h in run.history) and run.joined()[1] == 0
    assert not run.front().keeps.any()

@pytest.mark.parametrize('folds', [0, 2])
def test_rule_2_wants_more_than_chance(folds):
    ev = world({'ant': .006, 'bee': .006, 'cat': .2}, n=100, folds=folds)
    run = ensemble(ev, [Phase('ant', 'random', evaluations=6), Phase('cat', 'random', evaluations=6)])
    for h in run.history: assert h['accepted'] == (h['gain'] > 2*(h['error'] or 0)), h
    assert run.history[1]['accepted'] and (run.history[0]['error'] is None) == (folds == 0)
    bold = ensemble(ev, [Phase('ant', 'random', evaluations=6)], goal=Goal('f1', errors=0.))
    assert bold.history[0]['accepted'] == (bold.history[0]['gain'] > 0)

def test_rule_3_takes_the_choice_of_levels_as_it_is():
    ev = world({'ant': 0., 'bee': 0., 'cat': .001}, n=60)
    run = ensemble(ev, [Phase('all', 'levels', None, 40, 'replace')])
    h, = run.history
    assert h['accepted'] and run.base == everything(ev) and h['gain'] <= 2*h['error']
    consistent(run)

def test_the_base_never_gets_worse():
    "Some ants help, some harm: who has chosen the right ones does not go back to all of them"
    ev = world(lambda l, i, w: (1.2 if i % 2 else -1.2)*w if l == 'ant' else 0., n=100)
    good = [i for k, i in enumerate(ev.sources) if len(r := ev.rows((i,))) and ev.pool.label[r[0]] == 'ant' and r[0] % 2]
    run = Ensemble(ev, Goal('f1'), fixed([Phase('ant', 'levels', None, 30, 'replace')]), Budget(30), progress=False)
    run.base = as_candidate(good)
    before, = run.judge.evaluate([run.base])
    run.run()
    after, = run.judge.evaluate([run.base])
    assert before.scores['f1'] > run.m0.scores['f1']+.2
    assert after.scores['f1'] >= before.scores['f1']-2*standard_error(after, before, 'f1'), run.history

def test_a_phase_that_drops_a_class_is_told_as_it_was():
    "With replace, the candidate of nothing takes the class out: it may be the best"
    ev = world({'ant': .3, 'bee': -.2, 'cat': .0}, n=100, folds=0)
    run = Ensemble(ev, Goal('f1'), fixed([Phase(('ant', 'bee'), 'random', None, 5, 'replace'), Phase('bee', 'random', None, 4, 'replace')]), Budget(60), progress=False).run()
    assert run.history[0]['accepted'] and run.history[1]['accepted'] and run.history[1]['row'] == 0
    assert not set(ids_of(run.base)) & set(of(ev, 'bee'))
    consistent(run)

def test_phases_are_judged_by_the_goal_whatever_they_are_told():
    ev = world(WORTH, n=100)
    for phase in (Phase('ant', 'random', 'recall', 8), Phase('cat', 'genetic', 'balanced-accuracy', 8), Phase(('ant', 'cat'), 'random', None, 8), Phase('all', 'levels', 'macro-f1', 30, 'replace')):
        run = ensemble(ev, [phase], goal=Goal('recall', ('bee', 'cat')))
        want, h = (lambda c: np.mean(run.judge.evaluate([c])[0].recalls[1:])), run.history[0]
        assert h['gain'] == pytest.approx(want(run.phases[0][1].whole(run.phases[0][3][h['row']].candidate))-want(()))
        rows = run.joined()[0].rows
        assert [r['recall'] for r in rows] == pytest.approx([np.mean(result_of(r, ev.sources).recalls[1:]) for r in rows])
        consistent(run)

@pytest.mark.parametrize('budget', [1, 4, 5, 17, 60])
def test_a_budget_is_never_exceeded(budget):
    for planner in ([Phase('all', 'levels', None, 40, 'replace'), *[Phase(c, s, None, 7) for c in NAMES for s in ('random', 'genetic', 'merge')]], Adaptive(NAMES, chunk=5)):
        ev = world(WORTH, n=30)
        run = ensemble(ev, planner, budget)
        assert run.spent <= budget and sum(len(t)-1 for _, _, t, _ in run.phases) == run.spent and run.left >= 0
        consistent(run)

def test_impossible_budgets(): raises(lambda: Ensemble(world(WORTH), Goal(), fixed([]), Budget(seconds=5)), 'budget')

def test_no_phase_at_all():
    run = ensemble(world(WORTH), lambda run: None)
    assert run.history == [] and run.base == () and run.spent == 0 and run.joined()[1] == 0 and len(run.joined()[0]) == 1
    consistent(run)

@pytest.mark.parametrize('strategy', STRATEGIES)
def test_classes_without_texts_end_their_phase_at_once(strategy):
    ev = world({'ant': .2}, n=30)
    run = ensemble(ev, [Phase('cat', strategy, None, 10, how) for how in ('add', 'replace')]+[Phase('ant', 'random', None, 10)])
    assert [h['evaluations'] for h in run.history] == [0, 0, 10] and [h['accepted'] for h in run.history[:2]] == [False, False] and run.searchable == ['ant']
    consistent(run)

def test_adapting_ends_and_goes_where_it_pays():
    def advise(run): return pd.DataFrame([(c, s, .05 if (c, s) == ('ant', 'random') else 0., .001, 'because') for c in NAMES for s in ('random', 'genetic')], columns=['class', 'strategy', 'expected', 'error', 'why'])
    ev = world({'ant': .2, 'bee': -.2}, n=40)
    run = ensemble(ev, Adaptive(NAMES, advise, chunk=5, first=.1), 200)
    assert run.history[0]['strategy'] == 'levels' and (run.history[1]['label'], run.history[1]['strategy'], run.history[1]['why']) == ('ant', 'random', 'because')
    assert 'cat' not in [h['label'] for h in run.history], 'it has no texts'
    assert len(run.history) >= 4 and not any(h['accepted'] for h in run.history[-3:]) and run.left > 0
    consistent(run)

def test_adapting_without_a_prospect_ends():
    "No advice for a class that has texts, or no texts for a class that there is advice for"
    for planner in (Adaptive(['cat'], chunk=5), Adaptive(NAMES, lambda run: pd.DataFrame([('ant', 'levels', .1, .01, '')], columns=['class', 'strategy', 'expected', 'error', 'why']), chunk=5)):
        run = ensemble(world({'ant': .2}, n=40), planner, 100)
        assert len(run.history) == 1
        consistent(run)

# --- honesty ------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('planner', ['plan', 'adaptive'])
def test_an_ensemble_does_not_know_the_test_split(planner):
    c = corpus(n=14)
    rng = np.random.default_rng(5)
    shuffled = c.test.assign(label=rng.permutation(c.test.label.to_numpy()))
    other = frame([(f'quite another text {i}', NAMES[i % 2]) for i in range(30)])
    runs = []
    for test in (c.test, shuffled, other):
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            d = Corpus(c.name, c.train, c.validation, test)
        ev = Evaluator(d, texts(c), folds=2)
        plan = [Phase('all', 'levels', None, 6, 'replace'), Phase('ant', 'sliding-window', None, 3, 'replace'), Phase('bee', 'random', 'recall', 3)] if planner == 'plan' else Adaptive(NAMES, first=.5, chunk=3, strategies=('random', 'genetic'))
        runs.append(ensemble(ev, plan, 12, Goal('macro-f1', errors=0.)))
    assert told(runs[0]) == told(runs[1]) == told(runs[2]) and len(runs[0].history) >= 2
    assert set(runs[0].evaluator.refit.predict(np.array([], int))) == {'validation'}
    tests = [r.judge.score(())['test']['macro-f1'] for r in runs]
    assert len(set(tests)) > 1, 'the tests differ'

# --- killing and resuming -----------------------------------------------------------------------------------------------------------

PLAN = [Phase('all', 'levels', None, 25, 'replace'), Phase('ant', 'random', 'recall', 12), Phase('bee', 'genetic', None, 12, 'replace'), Phase(('ant', 'cat'), 'random', None, 12, 'replace'), Phase('cat', 'merge', None, 10)]

def planned(folder, wait=0., goal=None, plan=PLAN, budget=65):
    ev = world({'ant': .15, 'bee': -.05, 'cat': .05}, n=30, wait=wait)
    return Ensemble(ev, goal or Goal('macro-f1', errors=.5), fixed(plan), Budget(budget), folder, progress=False), ev

def lines(folder): return {p.parent.name: p.read_bytes().count(b'\n')-1 for p in sorted(folder.glob('phase-*/trace.csv'))}

def live(folder): planned(folder, wait=.01)[0].run()

@pytest.mark.filterwarnings('ignore:This process')
def test_a_run_killed_again_and_again_ends_as_if_it_never_was(tmp_path):
    whole = planned(tmp_path/'whole')[0].run()
    rng, killed, folder = np.random.default_rng(0), 0, tmp_path/'cut'
    for _ in range(12):
        before = lines(folder)
        p = multiprocessing.get_context('fork').Process(target=live, args=(folder,)); p.start()
        t = time.perf_counter(); wait = rng.uniform(.02, .2)
        while lines(folder) == before and p.is_alive() and time.perf_counter()-t < 10: time.sleep(.005)
        time.sleep(wait); p.kill(); p.join(); killed += p.exitcode == -9
        assert all(lines(folder).get(k, 0) >= n for k, n in before.items()), 'nothing that was written is lost'
        if p.exitcode == 0: break
    done = lines(folder)
    run, ev = planned(folder); run.run()
    assert killed >= 1 and told(run) == told(whole) and lines(folder) == lines(tmp_path/'whole')
    for f in folder.glob('phase-*/trace.csv'):
        members = [r['members'] for r in read_trace(f)]
        assert len(set(members)) == len(members)
    missing = sum(lines(folder).values())-sum(done.values())
    assert len(ev.refit.asked) <= missing+1+2*len(PLAN)

@pytest.mark.parametrize('seed', range(4))
def test_files_cut_at_any_byte_are_completed(seed, tmp_path):
    folder = tmp_path/'run'
    whole = planned(folder)[0].run()
    files = sorted(folder.glob('phase-*/trace.csv')); rng = np.random.default_rng(seed)
    at = rng.integers(len(files)); data = files[at].read_bytes()
    files[at].write_bytes(data[:rng.integers(data.index(b'\n')+1, len(data))])
    for f in files[at+1:]:
        for x in f.parent.iterdir(): x.unlink()
        f.parent.rmdir()
    assert told(planned(folder)[0].run()) == told(whole)

def test_a_finished_run_trains_nothing_but_the_baseline(tmp_path):
    "What a phase found stands in its trace"
    plan = [replace(p, objective=None) for p in PLAN]
    planned(tmp_path, plan=plan)[0].run()
    run, ev = planned(tmp_path, plan=plan); run.run()
    assert len(ev.refit.asked) <= 1

@pytest.mark.parametrize('goal', [Goal('f1', errors=.5), Goal('macro-f1', 'ant', errors=.5), Goal('recall', ('ant', 'bee'))])
def test_a_folder_of_another_goal_is_refused(goal, tmp_path):
    planned(tmp_path)[0].run(); before = {p: p.read_bytes() for p in tmp_path.glob('*/*')}
    raises(lambda: planned(tmp_path, goal=goal)[0].run(), 'another run')
    assert {p: p.read_bytes() for p in tmp_path.glob('*/*')} == before

def test_a_folder_of_another_plan_is_refused(tmp_path):
    planned(tmp_path)[0].run()
    for k, change in ((0, dict(target='ant')), (1, dict(strategy='genetic')), (1, dict(objective='f1')), (2, dict(how='add')), (3, dict(target=('ant', 'bee')))):
        plan = [*PLAN]; plan[k] = replace(plan[k], **change)
        raises(lambda: planned(tmp_path, plan=plan)[0].run(), 'another run')

def test_a_larger_budget_goes_on_where_a_smaller_one_ended(tmp_path):
    small, large = planned(tmp_path/'a', budget=30)[0].run(), planned(tmp_path/'b')[0].run()
    assert small.spent == 30
    assert told(planned(tmp_path/'a')[0].run()) == told(large)
