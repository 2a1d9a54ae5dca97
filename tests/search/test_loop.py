"The promises of the search: exact refits, candidates as sets, budgets, a memo, an honest protocol, and one result whatever the pieces"
import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from autogets.search import evaluator as evaluation
from autogets.search import strategy as loop
from autogets.replication.ours.cost import random_candidates
from autogets.core import UserError, text_id
from autogets.data.corpus import Corpus, split_corpus
from autogets.search.candidates import Budget, as_candidate
from autogets.search.evaluator import Evaluator
from autogets.search.map import search_map
from autogets.generators.base import Generator
from autogets.search.genetic import Genetic
from autogets.job import Job, improve
from autogets.job_report import verdict
from autogets.search.registry import PAPER_STRATEGIES, make_strategy
from autogets.metrics import OBJECTIVES
from autogets.classifiers.refit import make_refit
from autogets.search.candidates import Candidate
from autogets.search.loop import choose
from autogets.search.strategy import Random, Strategy, search
from autogets.search.trace import Trace

# --- a small world ------------------------------------------------------------------------------------------------------------------

def frame(rows):
    "Rows of (text, label) as a frame with ids"
    return pd.DataFrame([(text_id(t), t, l) for t, l in rows], columns=['id', 'text', 'label'])

def sentence(rng, k, own=.35, words=9):
    "Words that all classes have, with some of class `k`"
    return ' '.join(f'own{k}{rng.choice(list("abcdefgh"))}' if rng.random() < own else f'word{rng.integers(40)}' for _ in range(words))

def corpus(classes=3, n=36, seed=0):
    rng = np.random.default_rng(seed)
    return split_corpus(frame([(sentence(rng, k), f'class {k}') for k in range(classes) for _ in range(n-8*k)]), f'{classes} classes', 'stratified')

def texts(examples, n=2, seed=1):
    "A pool: `n` new texts for each of `examples`, some of them in words of another class"
    rng, rows = np.random.default_rng(seed), []
    for e in examples.drop_duplicates('id').itertuples():
        for s in range(n): rows.append((sentence(rng, int(e.label[-1]), own=rng.choice([.2, .6])) + f' new{rng.integers(30)}', e.label, [e.id], s))
    return pool(rows)

def pool(rows):
    "A pool from (text, label, source ids, sample)"
    t = pd.DataFrame(rows, columns=['text', 'label', 'source_ids', 'sample'])
    return t.assign(id=t.text.map(text_id), generator='test', model='', prompt='', parameters=[{}]*len(t))

def evaluator(c=None, target='class 2', **how):
    c = c or corpus()
    return Evaluator(c, texts(c.examples(target)), target, **how)

SEEN = ['members', 'note', 'texts', *OBJECTIVES, 'recalls']
def digits(trace): return [[r[k] for k in SEEN] for r in trace.rows]

class Table:
    "Stands for a refit: answers at once, at random by the rows asked for, and remembers what it was asked"
    def __init__(self, ev, splits=('validation',)):
        self.sizes, self.k, self.asked = {s: len(getattr(ev.corpus, s)) for s in splits}, len(ev.classes), []
    def predict(self, rows):
        self.asked.append(rows.tobytes())
        rng = np.random.default_rng([len(rows), *rows])
        return {s: rng.integers(0, self.k, n) for s, n in self.sizes.items()}

def quick(monkeypatch=None, cost=None, **how):
    "An evaluator that trains nothing; each training is said to last `cost(number of the training)` seconds"
    ev = evaluator(**how)
    ev.refit = Table(ev, ('validation', 'test') if how.get('protocol') == 'paper' else ('validation',))
    if cost: monkeypatch.setattr(evaluation, '_train', lambda refit, rows, weights, folds: (refit.predict(rows), cost(len(refit.asked))))
    return ev

every_strategy = pytest.mark.parametrize('strategy', PAPER_STRATEGIES)

# --- refits -------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('target', ['class 1', 'all'])
@pytest.mark.parametrize('classes', [2, 3])
def test_exact_refit_predicts_like_a_plain_pipeline(classes, target):
    c = corpus(classes, n=60, seed=5)
    ev = Evaluator(c, texts(c.examples(target)), target, protocol='paper', seed=7)
    changed, first = 0, None
    for candidate in [(), *random_candidates(ev.sources, 10, seed=2)]:
        rows = ev.rows(candidate)
        plain = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LinearSVC(C=1., tol=1e-3, dual=True, random_state=7))
        plain.fit([*c.train.text, *ev.pool.text.iloc[rows]], [*c.train.label, *ev.pool.label.iloc[rows]])
        got = ev.refit.predict(rows)
        for s in ('validation', 'test'): assert list(np.array(c.classes)[got[s]]) == list(plain.predict(getattr(c, s).text)), (candidate, s)
        first = first or got
        changed += any((got[s] != first[s]).any() for s in got)
    assert changed >= 5, 'the candidates must change predictions for this to mean anything'

def test_the_saved_classifier_is_the_one_that_was_judged():
    ev = evaluator(corpus(2, n=60, seed=5), 'class 1', protocol='paper')
    for candidate in random_candidates(ev.sources, 4):
        r = ev.evaluate([candidate])[0]
        right = ev.fit(candidate).predict(list(ev.corpus.test.text)) == ev.corpus.test.label.to_numpy()
        assert right.mean() == pytest.approx(r.test['f1'])

def dense_ridge(ev, rows, alpha=1.):
    "The validation scores of the screen's model, solved directly with dense matrices"
    c, tfidf = ev.corpus, TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit([*ev.corpus.train.text, *ev.pool.text])
    df = np.asarray((tfidf.transform(c.train.text) > 0).sum(0)).ravel()
    tfidf.idf_ = np.log((1+len(c.train))/(1+df))+1
    x = tfidf.transform([*c.train.text, *ev.pool.text.iloc[rows]]).toarray()
    y = np.array([[1. if l == k else -1. for k in c.classes] for l in [*c.train.label, *ev.pool.label.iloc[rows]]])
    w = np.linalg.solve(x.T@x+alpha*np.eye(x.shape[1]), x.T@(y-y.mean(0)))
    return tfidf.transform(c.validation.text).toarray()@w+y.mean(0)

@pytest.mark.parametrize('classes', [2, 3])
def test_ridge_screen_solves_its_equations(classes):
    c = corpus(classes, n=60, seed=5)
    ev = Evaluator(c, texts(c.train, n=3))
    tight, usual = (make_refit('ridge-screen', c, ev.pool, **how) for how in (dict(tol=1e-9), {}))
    for candidate in [(), ev.sources[:1], *random_candidates(ev.sources, 6, seed=1), ev.sources]:
        rows = ev.rows(candidate); want = dense_ridge(ev, rows)
        top = np.sort(want, 1)
        clear = top[:, -1]-top[:, -2] > 1e-6
        assert (tight.predict(rows)['validation'] == want.argmax(1))[clear].all()
        assert (usual.predict(rows)['validation'] == want.argmax(1)).mean() >= .95

def test_the_screen_sees_large_candidates_as_the_exact_refit_does():
    "A warm start that stops at once would score every candidate like the baseline"
    c = corpus(3, n=60, seed=5)
    exact, screen = (Evaluator(c, texts(c.train, n=3), classifier=k) for k in ('linear', 'ridge-screen'))
    large = [x for x in random_candidates(exact.sources, 30, seed=4) if len(x) > len(exact.sources)/2]
    a, b = ([r.scores['macro-f1'] for r in e.evaluate([(), *large])] for e in (exact, screen))
    assert len(large) > 8 and np.mean(np.array(b[1:]) != b[0]) > .7 and np.corrcoef(a, b)[0, 1] > .3

# --- candidates ---------------------------------------------------------------------------------------------------------------------

def test_repeated_texts_share_their_synthetic_texts():
    c = corpus()
    twice = frame([('A text, seen twice!', 'class 0'), ('a text seen twice', 'class 0'), ('a third text', 'class 0')])
    c = Corpus('repeats', pd.concat([c.train, twice]), c.validation, c.test)
    i, j = text_id('a text seen twice'), text_id('a third text')
    ev = Evaluator(c, pool([('new one', 'class 0', [i], 0), ('new two', 'class 0', [i], 1), ('new three', 'class 0', [j], 0)]), 'class 0')
    assert ev.sources.count(i) == 1 and len(ev.sources) == len(c.examples('class 0'))-1
    assert list(ev.rows((i,))) == [0, 1] and list(ev.rows((j,))) == [2]

def test_a_text_with_several_sources_needs_all_of_them():
    c = corpus()
    a, b, d = c.examples('class 1').id[:3]
    ev = Evaluator(c, pool([('from two', 'class 1', [a, b], 0), ('from three', 'class 1', [b, d, a], 0), ('from one', 'class 1', [b], 0)]), 'class 1')
    want = {(a,): [], (b,): [2], (a, b): [0, 2], (a, d): [], (b, d): [2], (a, b, d): [0, 1, 2]}
    assert {k: list(ev.rows(k)) for k in want} == want

def test_texts_of_other_classes_held_out_texts_and_foreign_sources_are_left_out():
    c = corpus()
    mine, other = c.examples('class 1').id.iloc[0], c.examples('class 0').id.iloc[0]
    rows = [('good', 'class 1', [mine], 0), ('of another class', 'class 0', [other], 0), ('half mine', 'class 1', [mine, other], 0), ('no source', 'class 1', [], 0),
            (c.test.text[0].upper()+'!', 'class 1', [mine], 1), (c.validation.text[3], 'class 1', [mine], 2), ('strange', 'class 1', [text_id('strange')], 0)]
    assert list(Evaluator(c, pool(rows), 'class 1').pool.text) == ['good']
    assert list(Evaluator(c, pool(rows)).pool.text) == ['good', 'of another class', 'half mine']
    with pytest.raises(UserError, match='no synthetic text of the pool'): Evaluator(c, pool(rows[4:]), 'class 1')

def test_order_and_repeats_in_a_candidate_do_not_matter():
    ev = quick()
    some = list(ev.sources[:5])
    forms = [tuple(some), tuple(some[::-1]), (*some, some[0], some[0])]
    results = ev.evaluate(forms)
    assert len({tuple(r.scores.values()) for r in results}) == 1 and len(ev.refit.asked) == ev.evaluations == 1
    assert all((ev.rows(f) == ev.rows(forms[0])).all() for f in forms) and as_candidate(forms[2]) == as_candidate(forms[0])

def test_a_pool_in_another_order_gives_the_same_scores():
    c = corpus()
    p = texts(c.examples('class 2'))
    a, b = Evaluator(c, p, 'class 2'), Evaluator(c, p.sample(frac=1, random_state=3), 'class 2')
    for candidate in random_candidates(a.sources, 5): assert sorted(a.pool.text[a.rows(candidate)]) == sorted(b.pool.text[b.rows(candidate)])

# --- the memo -----------------------------------------------------------------------------------------------------------------------

@every_strategy
def test_no_set_of_rows_is_trained_twice(strategy):
    ev = quick()
    for o in ('f1', 'recall'): search(make_strategy(strategy, ev, o, 3), ev, o, Budget(150))
    assert len(ev.refit.asked) == len(set(ev.refit.asked)) == ev.evaluations > 100

def test_sources_without_texts_are_no_news():
    c = corpus()
    ids = list(c.examples('class 2').id)
    ev = Evaluator(c, pool([('only text', 'class 2', [ids[0]], 0), ('and this', 'class 2', [ids[1]], 0)]), 'class 2')
    ev.refit = Table(ev)
    t = search(Random(ev.sources, 0), ev, 'f1', Budget(1000))
    assert len(ev.refit.asked) == 4 and sorted(r['texts'] for r in t.rows) == [0, 1, 1, 2]

def test_a_budget_counts_what_is_new():
    "Proposing the same again costs nothing"
    class Stutter(Strategy):
        def plan(self):
            for i in ids: yield [Candidate((i,))]*3
    ev = quick(); ids = ev.sources
    t = search(Stutter(), ev, 'f1', Budget(9))
    assert len(t) == 10 and [t.ids(k) for k in range(1, 10)] == [(i,) for i in ids[:9]]

# --- strategies ---------------------------------------------------------------------------------------------------------------------

def drive(strategy, ev, sizes, n):
    "The first `n` proposals of `strategy` when asked for pieces of `sizes`, in turn"
    out = []
    for size in itertools.cycle(sizes):
        batch = strategy.ask(size)
        assert len(batch) <= size
        if not batch or len(out) >= n: return [(c.ids, c.note) for c in out[:n]]
        out += batch
        strategy.tell(ev.evaluate([c.ids for c in batch]))

@every_strategy
def test_proposals_do_not_depend_on_the_size_of_pieces(strategy):
    c = corpus(n=50)
    ev = quick(c=c); xy = search_map(c)
    runs = [drive(make_strategy(strategy, ev, 'f1', 5, xy), ev, sizes, 500) for sizes in ([1], [7], [1000], [3, 1, 50])]
    assert len(runs[0]) == 500 and all(r == runs[0] for r in runs)
    assert all(ids == as_candidate(ids) and set(ids) <= set(ev.sources) and ids for ids, _ in runs[0])

def test_random_gives_every_worker_something_to_do():
    assert len(Random([str(i) for i in range(50)], 0).ask(8)) == 8

@every_strategy
def test_a_trace_does_not_depend_on_the_speed_of_the_machine(strategy, monkeypatch):
    runs = []
    for cost in (lambda n: 1e-4, lambda n: 3., lambda n: .2*(n % 5)):
        ev = quick(monkeypatch, cost, workers=1)
        runs.append(digits(search(make_strategy(strategy, ev, 'macro-f1', 1), ev, 'macro-f1', Budget(90))))
    assert len(runs[0]) == 91 and runs[1] == runs[0] and runs[2] == runs[0]

@every_strategy
def test_same_seed_same_trace(strategy):
    def run(seed, o='balanced-accuracy'): ev = quick(); return digits(search(make_strategy(strategy, ev, o, seed), ev, o, Budget(80)))
    assert run(4) == run(4)
    assert (run(5) == run(4)) == (strategy in ('sliding-window', 'hierarchical')), 'windows do not draw, the others must'

def test_windows_stay_within_the_target_class():
    c = corpus()
    for strategy in ('sliding-window', 'hierarchical'):
        ev = quick(c=c)
        asked = drive(make_strategy(strategy, ev, 'f1', 0, search_map(c)), ev, [10], 60)
        assert set().union(*(ids for ids, _ in asked)) <= set(c.examples('class 2').id)

# --- budgets ------------------------------------------------------------------------------------------------------------------------

@every_strategy
def test_a_budget_of_evaluations_is_kept_to_the_letter(strategy):
    for n in (1, 2, 37):
        ev = quick()
        assert len(search(make_strategy(strategy, ev, 'f1', 0), ev, 'f1', Budget(n))) == n+1

@every_strategy
@pytest.mark.parametrize('cost', [.01, .3])
def test_a_budget_of_seconds_ends_with_the_evaluation_that_spends_it(strategy, cost, monkeypatch):
    ev = quick(monkeypatch, lambda n: cost)
    t = search(make_strategy(strategy, ev, 'f1', 0), ev, 'f1', Budget(seconds=cost*20.5))
    assert len(t)-1 == 21, f'{len(t)-22} evaluations beyond the budget'

def test_the_baseline_is_free(monkeypatch):
    ev = quick(monkeypatch, lambda n: 100. if n == 1 else .1)
    assert len(search(Random(ev.sources, 0), ev, 'f1', Budget(seconds=.95))) == 11

def test_wall_time_ends_a_search_and_counts_on_after_a_kill(monkeypatch, tmp_path):
    clock = itertools.count()
    monkeypatch.setattr(loop, 'time', SimpleNamespace(perf_counter=lambda: float(next(clock))))
    def run(limit):
        ev = quick()
        return search(Random(ev.sources, 0), ev, 'f1', Budget(wall=limit), tmp_path)
    first = run(100)
    walls = [r['wall'] for r in first.rows]
    assert 10 < len(first) < 100 and walls == sorted(walls) and walls[-2] < 100
    assert len(run(100)) <= len(first)+1, 'the time before a kill is time'
    assert len(run(200)) > 1.5*len(first)

@every_strategy
@pytest.mark.parametrize('cost', [1e-3, .5])
def test_patience_ends_a_search_at_the_same_place_on_every_machine(strategy, cost, monkeypatch):
    ev = quick(monkeypatch, lambda n: cost)
    t = search(make_strategy(strategy, ev, 'f1', 2), ev, 'f1', Budget(5000), patience=12)
    values = [r['f1'] for r in t.rows]
    last = max(i for i in range(len(values)) if values[i] > max(values[:i], default=-1))
    assert len(t)-1-last == 12, f'{len(t)-1-last} evaluations without a better one'

def test_a_search_ends_when_nothing_is_left():
    ev = quick()
    few = Random(ev.sources[:3], 0)
    t = search(few, ev, 'f1', Budget(10_000))
    assert len(t) == 8

def test_impossible_budgets():
    for bad in (dict(), dict(evaluations=0), dict(seconds=-1.), dict(wall=0), dict(evaluations=5, seconds=0), dict(seconds=float('nan'))):
        with pytest.raises(UserError, match='budget'): Budget(**bad)

# --- resuming -----------------------------------------------------------------------------------------------------------------------

@every_strategy
def test_a_trace_cut_anywhere_is_completed_to_the_same(strategy, tmp_path):
    def run(folder): ev = quick(); return search(make_strategy(strategy, ev, 'recall', 6), ev, 'recall', Budget(60), folder), ev
    whole, _ = run(tmp_path/'whole')
    data, run_json = ((tmp_path/'whole'/f).read_bytes() for f in ('trace.csv', 'run.json'))
    start = data.index(b'\n')+1
    for at in [start, *np.random.default_rng(0).integers(start, len(data), 4), len(data)-1, len(data)]:
        d = tmp_path/f'cut{at}'; d.mkdir()
        (d/'run.json').write_bytes(run_json); (d/'trace.csv').write_bytes(data[:at])
        resumed, ev = run(d)
        kept = data[:at].rfind(b'\n')+1
        assert digits(resumed) == digits(whole) and (d/'trace.csv').read_bytes()[:kept] == data[:kept]
        assert ev.evaluations == data.count(b'\n')-data[:kept].count(b'\n'), 'only what is missing is trained'

def test_patience_and_seconds_outlive_a_kill(monkeypatch, tmp_path):
    def run(folder, **how):
        ev = quick(monkeypatch, lambda n: .25)
        return search(Random(ev.sources, 2), ev, 'f1', **how, folder=folder)
    for k, how in enumerate((dict(budget=Budget(500), patience=9), dict(budget=Budget(seconds=8.)))):
        whole = run(tmp_path/f'{k}whole', **how)
        run(tmp_path/f'{k}cut', budget=Budget(len(whole)//2))
        assert digits(run(tmp_path/f'{k}cut', **how)) == digits(whole) and len(whole) > 9

def test_a_trace_of_other_figures_is_refused(tmp_path):
    ev = quick()
    search(Random(ev.sources, 0), ev, 'f1', Budget(5), tmp_path)
    lines = (tmp_path/'trace.csv').read_text().splitlines(keepends=True)
    lines[2], lines[3] = lines[3], lines[2]
    (tmp_path/'trace.csv').write_text(''.join(lines))
    with pytest.raises(UserError, match='row 1 is not what this run would have evaluated'): search(Random(ev.sources, 0), quick(), 'f1', Budget(5), tmp_path)

@pytest.mark.parametrize('change', ['corpus', 'pool', 'target', 'classifier', 'protocol', 'seed', 'objective', 'strategy', 'strategy seed'])
def test_a_folder_belongs_to_one_run(change, tmp_path):
    c = corpus()
    how = dict(c=c, target='class 2', classifier='linear', protocol='honest', seed=0)
    ev = evaluator(**how)
    search(Random(ev.sources, 0), ev, 'f1', Budget(3), tmp_path)
    how |= {'corpus': dict(c=corpus(seed=9)), 'target': dict(target='class 1'), 'classifier': dict(classifier='ridge-screen'),
            'protocol': dict(protocol='paper'), 'seed': dict(seed=1)}.get(change, {})
    new = evaluator(**how)
    if change == 'pool': new = Evaluator(c, texts(c.examples('class 2'), seed=8), 'class 2')
    strategy = {'strategy': Genetic(new.sources, [3, 2, 1]), 'strategy seed': Random(new.sources, 1)}.get(change, Random(new.sources, 0))
    with pytest.raises(UserError, match='holds another run'): search(strategy, new, 'recall' if change == 'objective' else 'f1', Budget(3), tmp_path)

# --- protocols ----------------------------------------------------------------------------------------------------------------------

def other_test(c, seed=11):
    "The corpus `c` with test texts that were never seen and labels at random"
    rng = np.random.default_rng(seed)
    new = frame([(sentence(rng, rng.integers(3))+f' unseen{i}', f'class {rng.integers(3)}') for i in range(len(c.test))])
    return Corpus(c.name, c.train, c.validation, new)

@every_strategy
def test_an_honest_search_does_not_know_the_test_split(strategy):
    c = corpus(n=60, seed=5); d = other_test(c)
    out = {}
    for protocol in ('honest', 'paper'):
        job = Job('class 2', 'f1', strategy, protocol=protocol)
        out[protocol] = [improve(x, job, Budget(30), generator=Fixed(c)) for x in (c, d)]
    a, b = out['honest']
    assert digits(a.trace) == digits(b.trace) and a.row == b.row and a.final.candidate == b.final.candidate
    assert a.final.gain['validation'] == b.final.gain['validation'] and a.final.improved['test'] != b.final.improved['test']
    assert [r['test f1'] for r in a.trace.rows] == [None]*31 and set(a.evaluator.refit.predict(np.array([], int))) == {'validation'}
    a, b = out['paper']
    assert [r['test f1'] for r in a.trace.rows] != [r['test f1'] for r in b.trace.rows], 'the paper protocol looks at test'

class Fixed(Generator):
    "A generator that gives the texts of `texts`"
    name, batch = 'fixed', 10**6
    def __init__(self, c): self.c, self.parameters, self.failures = c, {}, {}
    def prepare(self, examples): return self
    def generate(self, examples, n):
        from autogets.replication.scoreboard import COLUMNS
        return texts(examples, n)[COLUMNS]

def test_test_labels_are_first_asked_for_after_the_choice():
    "The honest evaluator on a corpus whose test texts and labels raise, but for the ids that keep copies out of the pool"
    class Sealed:
        def __init__(self, c): self.c, self.open = c, False
        def __getattr__(self, k):
            if k == 'test' and not self.open: return SimpleNamespace(id=self.c.test.id)
            return getattr(self.c, k)
    c = Sealed(corpus(n=60, seed=5))
    ev = Evaluator(c, texts(c.examples('class 2')), 'class 2')
    t = search(make_strategy('random', ev, 'f1', 0), ev, 'f1', Budget(20))
    row = choose(t, 'f1')
    c.open = True
    assert set(ev.final(t.ids(row), 'f1').improved['test']) == set(OBJECTIVES)

def test_the_paper_protocol_chooses_on_test_and_says_so():
    c = corpus(n=60, seed=5)
    o = improve(c, Job('class 2', 'f1', 'random', protocol='paper'), Budget(40), generator=Fixed(c))
    tests = [r['test f1'] for r in o.trace.rows]
    assert o.final.improved['test']['f1'] == max(tests) == tests[o.row] and 'optimistic' in verdict(o)
    honest = improve(c, Job('class 2', 'f1', 'random'), Budget(40), generator=Fixed(c))
    assert 'optimistic' not in verdict(honest) and [r['f1'] for r in honest.trace.rows] == [r['f1'] for r in o.trace.rows]
    with pytest.raises(UserError, match='honest'): choose(honest.trace, 'f1', 'test')

@pytest.mark.parametrize('split', ['test', 'validation'])
def test_a_class_absent_from_training_is_warned_about_and_breaks_nothing(split):
    c = corpus(n=60, seed=5)
    strange = frame([(f'rows of a new kind {i}', 'class 9') for i in range(6)])
    parts = {s: pd.concat([getattr(c, s), strange]) if s == split else getattr(c, s) for s in ('train', 'validation', 'test')}
    with pytest.warns(UserWarning, match="'class 9', absent from train"): d = Corpus('strange', **parts)
    o, p = (improve(x, Job('class 2', 'f1', 'random'), Budget(10), generator=Fixed(c)) for x in (d, c))
    other = {'test': 'validation', 'validation': 'test'}[split]
    assert o.final.baseline[other] == p.final.baseline[other]
    assert o.final.baseline[split]['recall'] == pytest.approx(p.final.baseline[split]['recall'])
    assert o.final.baseline[split]['f1'] <= p.final.baseline[split]['f1']
    for s in ('validation', 'test'):
        g = o.final.gain[s]
        assert g['estimate'] == pytest.approx(o.final.improved[s]['f1']-o.final.baseline[s]['f1']) and g['low'] <= g['estimate'] <= g['high']

# --- figures ------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('classes', [2, 3, 5])
def test_overall_f1_is_accuracy_and_overall_balanced_accuracy_follows_from_it(classes):
    c = corpus(classes, n=60)
    for target in ('all', 'class 1'):
        ev = quick(c=c, target=target, protocol='paper')
        for r in ev.evaluate(random_candidates(ev.sources, 20)):
            codes = ev.refit.predict(ev.rows(r.candidate))
            for s, figures in (('validation', r.scores), ('test', r.test)):
                right = np.mean(np.array(c.classes)[codes[s]] == getattr(c, s).label.to_numpy())
                assert figures['f1'] == pytest.approx(right)
                assert figures['overall-balanced-accuracy'] == pytest.approx((right+1-(1-right)/(classes-1))/2)

@pytest.mark.parametrize('objective', OBJECTIVES)
@pytest.mark.parametrize('target', ['class 1', 'all'])
def test_a_gain_is_a_difference(objective, target):
    c = corpus(n=60, seed=5)
    ev = Evaluator(c, texts(c.examples(target)), target)
    for candidate in ((), *random_candidates(ev.sources, 2)):
        f = ev.final(candidate, objective, n=200)
        for s in ('validation', 'test'):
            assert f.gain[s]['estimate'] == pytest.approx(f.improved[s][objective]-f.baseline[s][objective])
            assert f.gain[s]['low'] <= f.gain[s]['estimate'] <= f.gain[s]['high']
        assert f.improved['validation'] == ev.evaluate([candidate])[0].scores and f.baseline['validation'] == ev.evaluate([()])[0].scores

def test_choice_prefers_fewer_texts_then_the_earlier():
    ev = quick()
    t = search(Random(ev.sources, 0), ev, 'f1', Budget(40))
    for r in t.rows: r['f1'] = .5
    assert choose(t, 'f1') == 0
    for i, n in ((7, 30), (9, 20), (11, 20)): t.rows[i] |= dict(f1=.8, texts=n)
    assert choose(t, 'f1') == 9
    assert len(Trace(ev.sources)) == 0

def test_one_worker_or_two():
    c = corpus(n=60, seed=5)
    runs = [digits(search(make_strategy('sliding-window', e, 'f1', 0), e, 'f1', Budget(24))) for w in (1, 2) for e in [evaluator(c, workers=w)]]
    assert runs[0] == runs[1] and len({r[2] for r in runs[0]}) > 3
