"Searching for an expensive classifier: who goes up the ladder, what a resumed climb trains, and figures that say how well a screen predicts"
import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from autogets.classifiers import linear as classifiers
from autogets.search import evaluator as evaluation
from autogets.search import halving as fidelity
from autogets.replication.ours import proxy
from autogets.classifiers.linear import Classifier, LinearClassifier
from autogets.core import UserError, text_id
from autogets.data.corpus import split_corpus
from autogets.search.candidates import Budget, Weight, as_candidate
from autogets.search.evaluator import Evaluator
from autogets.search.halving import Climb, Listed, Rung, amounts, check_ladder, climb, ladder, likeness, promote, rungs_table
from autogets.search.candidates import Candidate
from autogets.search.strategy import Random, search
from autogets.search.trace import Trace

# --- a small world ------------------------------------------------------------------------------------------------------------------

TRAINED = [] # (effort, number of texts) of every training of the fake

class Costly(Classifier):
    "An expensive classifier that counts its trainings; with little effort it drops texts"
    name, file = 'costly', 'weights.npz'
    def __init__(self, seed=0, effort=4): self.params = dict(seed=seed, effort=effort)
    def fit(self, texts, labels, sample_weight=None, features=None, validation=None):
        TRAINED.append((self.params['effort'], len(texts)))
        keep = [i for i in range(len(texts)) if i % 4 < self.params['effort']]
        self.inner = LinearClassifier().fit([texts[i] for i in keep], [labels[i] for i in keep])
        self.classes_ = self.inner.classes_
        return self
    def predict_proba(self, texts, features=None): return self.inner.predict_proba(texts)

@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    TRAINED.clear()
    monkeypatch.setitem(fidelity.EFFORTS, 'costly', ('effort', 4))
    yield

@pytest.fixture(autouse=True, scope='module')
def gone():
    yield
    classifiers.CLASSIFIERS.pop('costly', None)

def words(rng, k, own=.3): return ' '.join(f'own{k}{rng.choice(list("abcdefgh"))}' if rng.random() < own else f'word{rng.integers(40)}' for _ in range(9))

def world(n=36, seed=0):
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame([(words(rng, k), f'class {k}') for k in range(3) for _ in range(n-6*k)], columns=['text', 'label'])
    corpus = split_corpus(rows.assign(id=rows.text.map(text_id))[['id', 'text', 'label']], 'three classes', 'stratified')
    made = [(words(rng, int(e.label[-1]), rng.choice([.1, .6]))+f' new{s}', e.label, [e.id], s) for e in corpus.train.itertuples() for s in range(2)]
    pool = pd.DataFrame(made, columns=['text', 'label', 'source_ids', 'sample'])
    return corpus, pool.assign(id=pool.text.map(text_id), generator='test', model='', prompt='', parameters=[{}]*len(pool))

def up(folder=None, budget=20, rungs=None, strategy='random', seed=4, **how):
    corpus, pool = world(seed=seed)
    rungs = rungs or ladder('costly', finalists=9)
    return climb(corpus, pool, rungs, Budget(evaluations=budget), strategy=strategy, objective='macro-f1', folder=folder, progress=False, **how)

SEEN = ['rung', 'members', 'texts', 'macro-f1', 'f1', 'gain', 'sent']

# --- the ladder ---------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('finalists, eta, full, judged', [
    (9, 3, 4, [(1, 9), (4, 3)]), (27, 3, 9, [(1, 27), (3, 9), (9, 3)]), (3, 3, 4, [(4, 3)]), (1, 3, 4, [(4, 1)]), (8, 2, 4, [(1, 8), (2, 4), (4, 2)]),
    (27, 3, 2, [(1, 27), (2, 3)]), (9, 3, 1, [(1, 9)])])
def test_counts_halve_and_efforts_grow_to_the_full_one(finalists, eta, full, judged):
    screen, *rungs = ladder('costly', 'linear', finalists, eta, effort=full)
    assert screen == Rung('linear', {}, finalists)
    assert [(r.params['effort'], below.keep) for below, r in zip([screen, *rungs], rungs)] == judged
    assert rungs[-1].keep == 1

def test_a_classifier_without_an_effort_has_one_rung():
    assert ladder('frozen:offline', 'linear', 9) == [Rung('linear', {}, 9), Rung('frozen:offline', {}, 1)]

@pytest.mark.parametrize('make, said', [
    (lambda: ladder('linear', 'linear'), 'costs as much'), (lambda: ladder('linear', 'frozen:offline'), 'costs as much'), (lambda: ladder('frozen:a', 'frozen:b'), 'costs as much'),
    (lambda: ladder('costly', 'catboost'), 'unknown screen'), (lambda: ladder('costly', 'nonsense'), 'unknown'), (lambda: ladder('nonsense'), 'unknown'),
    (lambda: ladder('costly', finalists=0), 'finalists'), (lambda: ladder('costly', eta=1), 'shrink'), (lambda: Rung('costly', keep=0), 'keeps 0'),
    (lambda: check_ladder([Rung('linear')]), 'at least one rung'), (lambda: check_ladder([Rung('linear', keep=3), Rung('costly', keep=3), Rung('costly')]), 'shrink'),
    (lambda: check_ladder([Rung('linear', keep=3), Rung('costly', keep=5), Rung('costly')]), 'shrink'),
    (lambda: check_ladder([Rung('linear', keep=3), Rung('costly', keep=2)]), 'keeps 1'), (lambda: check_ladder(ladder('costly'), 'paper'), 'honest'),
    (lambda: up(protocol='paper'), 'honest')])
def test_a_ladder_that_cannot_work_is_refused_before_anything_is_trained(make, said):
    with pytest.raises(UserError, match=said) as e: make()
    assert '\n' not in str(e.value) and not TRAINED

# --- who goes on --------------------------------------------------------------------------------------------------------------------

def traced(values, sets):
    "A trace of the small world with given candidates and values on validation"
    corpus, pool = world(); ev = Evaluator(corpus, pool)
    ids = lambda part: as_candidate(ev.sources[part] if isinstance(part, slice) else part)
    cs = [Candidate((), 'M0'), *(Candidate(ids(s)) for s in sets)]
    t = Trace(ev.sources)
    t.add('made', [(c, r, 0.) for c, r in zip(cs, ev.evaluate([c.ids for c in cs]))])
    for row, v in zip(t.rows, [.5, *values]): row['macro-f1'] = v
    return t, ev

def test_near_copies_are_passed_over():
    t, ev = traced([.9, .8, .7, .6, .4], [slice(0, 40), slice(0, 39), slice(0, 30), slice(40, 60), slice(20, 25)])
    assert likeness(amounts(ev, t.ids(1)), amounts(ev, t.ids(2))) == pytest.approx(39/40)
    assert promote(t, ev, 'macro-f1', 3) == [1, 3, 4]
    assert promote(t, ev, 'macro-f1', 3, overlap=1.) == [1, 2, 3]
    assert promote(t, ev, 'macro-f1', 9) == [1, 3, 4, 5], 'one below M0 goes up if there is nothing better'

def test_exactly_nine_tenths_is_different_enough():
    t, ev = traced([.9, .8], [slice(0, 10), slice(0, 9)])
    assert likeness(amounts(ev, t.ids(1)), amounts(ev, t.ids(2))) == .9 and promote(t, ev, 'macro-f1', 2) == [1, 2]

def test_everything_and_its_near_copies_take_no_place():
    t, ev = traced([.9, .8, .7], [slice(None), slice(1, None), slice(0, 20)])
    assert promote(t, ev, 'macro-f1', 2) == [3]

def test_ties_go_to_fewer_texts():
    t, ev = traced([.8, .8], [slice(0, 30), slice(30, 40)])
    assert promote(t, ev, 'macro-f1', 1) == [2]

def test_weights_make_candidates_different():
    corpus, pool = world(); ev = Evaluator(corpus, pool)
    some = ev.sources[:20]
    light = as_candidate(some, dict.fromkeys(corpus.classes, .3))
    assert likeness(amounts(ev, as_candidate(some)), amounts(ev, light)) == pytest.approx(.3)

def test_a_choice_of_the_strategys_own_and_constraints_come_first():
    from autogets.search.selection import read_constraints
    t, ev = traced([.9, .8, .7], [slice(0, 30), slice(30, 50), slice(50, 60)])
    assert promote(t, ev, 'macro-f1', 1, choice=t.ids(3)) == [3]
    rule = read_constraints(['f1>=baseline+0.1'], ev.classes)
    for row, v in zip(t.rows, [.5, .5, .7, .4]): row['f1'] = v
    assert promote(t, ev, 'macro-f1', 2, constraints=rule) == [2, 1]

# --- climbing -----------------------------------------------------------------------------------------------------------------------

def test_baseline_and_everything_stand_on_each_rung_and_counts_are_kept():
    found = up(); f = found.frame
    assert list(f.groupby('rung').size()) == [21, 11, 5] and list(rungs_table(found).judged) == [19, 9, 3]
    for k, part in f.groupby('rung'):
        assert list(part.note[:2]) == ['M0', 'everything'] and part.gain.iloc[0] == 0
        assert np.allclose(part.gain, part['macro-f1']-part['macro-f1'].iloc[0])
    assert [e for e, _ in TRAINED] == [1]*11+[4]*5
    for k in (1, 2): assert set(f.members[f.rung == k]) == set(f.members[(f.rung == k-1) & f.sent])
    assert found.seconds == pytest.approx(f.seconds.sum()) and f.sent[f.rung == 2].sum() == 1

def test_the_choice_is_the_best_on_validation_of_the_last_rung():
    found = up(); last = found.frame[found.frame.rung == 2]
    best = last[last['macro-f1'] == last['macro-f1'].max()]
    assert found.row == best.sort_values(['texts', 'evaluation']).evaluation.iloc[0]
    assert found.evaluator.classifier == 'costly' and found.evaluator.params == {'effort': 4}

def test_constraints_hold_for_the_choice():
    free, bound = up(), up(constraints=('macro-f1<=baseline',))
    assert free.row != 0 and free.frame.gain[free.frame.rung == 2].max() > 0
    assert bound.trace.rows[bound.row]['macro-f1'] <= bound.trace.rows[0]['macro-f1']

def test_nothing_looks_at_test_before_the_end(monkeypatch):
    looked, truth = [], Evaluator.truth
    monkeypatch.setattr(Evaluator, 'truth', lambda ev, split: (looked.append(split), truth(ev, split))[1])
    found = up()
    assert set(looked) == {'validation'} and not [c for c in found.frame if c.startswith('test')]
    assert found.final().candidate == found.candidate and 'test' in looked

def cut(path, rows):
    "Take the last `rows` lines off a trace, and half of the one before"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(''.join(lines[:-rows-1])+lines[-rows-1][:20])

@pytest.mark.parametrize('where, rows, trained', [('', 3, 0), ('rung-1-*', 3, 4), ('rung-2-*', 1, 2)])
def test_a_killed_climb_goes_on_and_trains_only_what_is_missing(tmp_path, where, rows, trained):
    first = up(tmp_path); before = len(TRAINED)
    path = next(tmp_path.glob(f'{where}/trace.csv' if where else 'trace.csv'))
    cut(path, rows)
    again = up(tmp_path)
    assert len(TRAINED)-before == trained
    assert again.frame[SEEN].equals(first.frame[SEEN]) and again.candidate == first.candidate

def test_a_climb_that_is_over_trains_nothing(tmp_path):
    first = up(tmp_path); before = len(TRAINED)
    again = up(tmp_path)
    assert len(TRAINED) == before and sum(e.evaluations for e in again.evaluators) == 0
    assert again.frame.equals(first.frame)
    saved = pd.read_csv(tmp_path/'rungs.csv')
    assert list(saved.columns) == list(first.frame.columns) and np.allclose(saved.gain, first.frame.gain) and len(saved) == len(first.frame)

def test_a_larger_budget_trains_only_the_newcomers(tmp_path):
    first = up(tmp_path, 12); before = len(TRAINED)
    more = up(tmp_path, 40)
    new = sum(len(set(more.frame.members[more.frame.rung == k])-set(first.frame.members[first.frame.rung == k])) for k in (1, 2))
    assert 0 < new < 16 and len(TRAINED)-before == new
    assert more.frame[SEEN].equals(up(budget=40).frame[SEEN])

def test_another_ladder_is_not_taken_for_this_one(tmp_path):
    up(tmp_path); before = len(TRAINED)
    found = up(tmp_path, rungs=ladder('costly', finalists=9, effort=3))
    assert [e for e, _ in TRAINED[before:]] == [1 for e, _ in TRAINED[before:] if e == 1]+[3]*5
    assert found.frame[SEEN].equals(up(rungs=ladder('costly', finalists=9, effort=3)).frame[SEEN])

def test_any_number_of_workers_gives_the_same():
    rungs = [Rung('ridge-screen', {}, 4), Rung('linear', {}, 1)]
    one, two = (up(rungs=rungs, strategy='hierarchical', workers=w) for w in (1, 2))
    assert one.frame[SEEN].equals(two.frame[SEEN])

def test_a_pool_with_one_idea_still_climbs():
    found = up(budget=1)
    assert list(found.frame.groupby('rung').size()) == [2, 2, 2] and found.row in (0, 1)

def test_a_strategy_may_be_given_as_a_function():
    found = up(strategy=lambda ev: Random(ev.sources, 5))
    assert found.frame[SEEN].equals(up(strategy=lambda ev: Random(ev.sources, 5)).frame[SEEN])
    assert set(found.frame.members) != set(up().frame.members)

def test_a_list_is_judged_in_its_order():
    corpus, pool = world(); ev = Evaluator(corpus, pool)
    cs = [Candidate(as_candidate(ev.sources[i:i+9]), str(i)) for i in (20, 0, 10)]
    t = search(Listed(cs), ev, 'f1', Budget(evaluations=9), progress=False)
    assert [r['note'] for r in t.rows] == ['M0', '20', '0', '10']
    assert Listed(cs).candidates != Listed(cs[::-1]).candidates

# --- the proxy's figures ------------------------------------------------------------------------------------------------------------

def test_correlation_is_spearmans():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5, 12).astype(float), rng.normal(size=12)
    draws = np.vstack([np.arange(12), rng.integers(0, 12, (20, 12))])
    assert proxy.correlation(x, y, draws) == pytest.approx([spearmanr(x[d], y[d]).statistic for d in draws])

def cells_of(gains, texts, seconds, bank='a', split=0):
    "Cells from (end, seed) -> (gains on validation, on test), M0 at .5 and .4"
    rows = []
    for (end, seed), (v, t) in gains.items():
        for i, (a, b) in enumerate(zip([0, *v], [0, *t])):
            rows.append(dict(bank=bank, split=split, end=end, seed=seed, candidate=i, note='', texts=[0, *texts][i], seconds=seconds[end], setup=1.) | {'validation f1': .5+a, 'test f1': .4+b})
    return pd.DataFrame(rows)

HAND = {('E', 0): ([.3, .1, .2, 0., -.1], [.1, .2, .3, 0., -.1]), ('E', 1): ([.1, .2, .3, .0, -.1], [.1, .3, .2, -.1, 0.]), ('c', 0): ([.1, .3, .2, .0, -.1], [0.]*5)}
TEXTS = [50, 40, 30, 20, 10]

def test_agreement_on_hand_made_numbers():
    t = proxy.agreement(cells_of(HAND, TEXTS, {'E': 10., 'c': 1.}), ['E'], 'f1', k=2, draws=50).query("bank == 'all'").set_index('predictor')
    assert list(t.index) == ['c', 'number of texts', 'itself', 'another seed', 'another seed, on test']
    def rho(*pairs): return np.mean([spearmanr(a, b).statistic for a, b in pairs])
    (v0, t0), (v1, t1), (c, _) = HAND['E', 0], HAND['E', 1], HAND['c', 0]
    assert t.correlation['c'] == pytest.approx(rho((c, t0), (c, t1)))
    assert t.correlation['number of texts'] == pytest.approx(rho((TEXTS, t0), (TEXTS, t1)))
    assert t.correlation['itself'] == pytest.approx(rho((v0, t0), (v1, t1)))
    assert t.correlation['another seed'] == pytest.approx(rho((v1, t0), (v0, t1)))
    assert t.correlation['another seed, on test'] == pytest.approx(rho((t1, t0)))
    assert t.hit_rate['c'] == 1 and t.hit_rate['itself'] == 1 and t.hit_rate['number of texts'] == .5 and t.by_chance['c'] == .4
    assert t.kind['itself'] == 'ceiling' and t.kind['number of texts'] == 'control'

def test_with_one_seed_there_is_one_ceiling():
    one = {k: v for k, v in HAND.items() if k != ('E', 1)}
    t = proxy.agreement(cells_of(one, TEXTS, {'E': 10., 'c': 1.}), ['E'], 'f1', draws=20)
    assert list(t.predictor[t.kind == 'ceiling'].unique()) == ['itself']

def test_gain_and_cost_on_hand_made_numbers():
    t = proxy.gain_and_cost(cells_of(HAND, TEXTS, {'E': 10., 'c': 1.}), ['E'], 'f1', k=2, draws=50).query("bank == 'all'").set_index('way')
    assert t.gain['everything'] == pytest.approx(.1)
    assert t.gain['c'] == pytest.approx((.2+.3)/2) # its second candidate, of both seeds
    assert t.gain['E on all'] == pytest.approx((.1+.2)/2)
    assert t.gain['best on test'] == pytest.approx(.3) and t.of_best['c'] == pytest.approx(.25/.3)
    assert t.gain['c, then 2'] == pytest.approx((.1+.2)/2) # of everything, 2 and 3 the first by E of seed 0, the third by seed 1
    assert t.beside_E['c'] == pytest.approx(.1) and t.beside_E['E on all'] == 0
    assert t.seconds['c'] == 1+6*1 and t.seconds['E on all'] == 1+6*10 and t.seconds['c, then 2'] == 7+1+4*10 and t.cost['c'] == pytest.approx(7/61)

def test_a_screen_that_finds_nothing_above_m0_leaves_m0():
    low = HAND | {('c', 0): ([-.1, -.2, -.3, -.4, -.5], [0.]*5)}
    t = proxy.gain_and_cost(cells_of(low, TEXTS, {'E': 10., 'c': 1.}), ['E'], 'f1', draws=20).query("bank == 'all'").set_index('way')
    assert t.gain['c'] == 0 and t.gain['c, then 3'] > 0

def test_corpora_count_the_same_whatever_their_splits():
    other = {k: ([-x for x in v], t) for k, (v, t) in HAND.items()}
    s = {'E': 10., 'c': 1.}
    cells = pd.concat([cells_of(HAND, TEXTS, s), cells_of(HAND, TEXTS, s, split=1), cells_of(other, TEXTS, s, 'b')])
    t = proxy.agreement(cells, ['E'], 'f1', draws=50).query("predictor == 'c'").set_index('bank')
    assert t.correlation['all'] == pytest.approx((t.correlation['a']+t.correlation['b'])/2) and t.correlation['b'] < 0
    assert list(t.splits[['a', 'b', 'all']]) == [2, 1, 3] and t.low['all'] <= t.correlation['all'] <= t.high['all']

def test_the_spread_is_different_reproducible_and_complete():
    corpus, pool = world(); ev = Evaluator(corpus, pool)
    a, b, c = proxy.spread(ev, 12, 3), proxy.spread(ev, 12, 3), proxy.spread(ev, 12, 4)
    assert a == b != c and len({x.ids for x in a}) == 12 and a[0].ids == as_candidate(ev.sources)
    v = [amounts(ev, x.ids) for x in a]
    assert max(likeness(v[i], v[j]) for i in range(12) for j in range(i)) <= .9
    assert {x.note.split()[0] for x in a} >= {'everything', 'random', 'window'} and any('classes' in x.note for x in a)

def test_kept_cells_depend_on_the_classifier_and_its_seed(tmp_path):
    corpus, pool = world(); ev = Evaluator(corpus, pool)
    w = proxy.World('w', 0, corpus, ev.pool, [Candidate((), 'M0'), *proxy.spread(ev, 4)])
    rows = proxy.measure_end(w, 'costly effort:2', 0, tmp_path); n = len(TRAINED)
    assert n == 5 and proxy.measure_end(w, 'costly effort:2', 0, tmp_path) == rows and len(TRAINED) == n
    proxy.measure_end(w, 'costly effort:2', 1, tmp_path); proxy.measure_end(w, 'costly effort:3', 0, tmp_path)
    assert len(TRAINED) == 3*n and {e for e, _ in TRAINED} == {2, 3}

def test_ties_of_a_predictor_go_to_fewer_texts():
    x, texts = np.array([.2, .2, .1]), np.array([9, 4, 1])
    assert proxy.ranked(x, texts, np.array([[0, 1, 2], [2, 2, 0]])).tolist() == [[1, 0, 2], [0, 2, 2]]
    assert proxy.chosen_gain(x, np.array([.5, .3, 0.]), texts, np.arange(3)[None])[0] == .3
