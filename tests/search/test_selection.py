"Constraints, Pareto fronts and out-of-fold rescoring"
from dataclasses import replace

import numpy as np
import pytest
from worlds import Given, NAMES, of, pool, raises, result, texts, world

from autogets.core import UserError
from autogets.metrics import OBJECTIVES
from autogets.search.candidates import Budget, Result, as_candidate, standard_error
from autogets.search.loop import choose, run_search
from autogets.search.selection import Constraint, figures, keeps, read_constraint, read_constraints, rescore
from autogets.stats import pareto

# --- constraints ---



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

def test_whatever_is_read_can_be_checked():
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

# --- fronts and rescoring ---

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
    return ev, run_search(Given(cands), ev, 'f1', Budget(50), full_pool=True)

def test_rescoring_is_not_fooled_by_luck():
    ev, t = lucky()
    names = [r['note'] for r in t.rows]
    first = len(ev.refit.asked)
    assert names[choose(t, 'f1')] == 'lucky'
    row, rescored = rescore(ev, t, 'f1', finalists=2, folds=3)
    assert names[row] in ('good', 'full pool') and {names[i] for i in rescored.row} == {'baseline', 'full pool', 'lucky'} | set(names[i] for i in rescored.row)
    assert len(rescored) <= 4 and (rescored['validation'] == [t.rows[i]['f1'] for i in rescored.row]).all() and len(ev.refit.asked) == first+len(rescored)
    want = ev.with_folds(3).evaluate([t.ids(i) for i in rescored.row])
    best = max(want, key=lambda r: r.scores['f1'])
    assert rescored.rescored.tolist() == [r.scores['f1'] for r in want] and rescored.error.tolist() == pytest.approx([standard_error(best, r, 'f1') for r in want])
    assert not ev.folds and not ev.memo[ev.key(())].jackknife

def test_one_standard_error_prefers_fewer_texts_that_are_not_worse():
    ev, t = lucky()
    row, rescored = rescore(ev, t, 'f1', finalists=9, folds=3, rule='one-se')
    best = rescored.rescored.max()
    close = rescored[rescored.rescored >= best-rescored.error]
    assert row == close.sort_values(['texts', 'row']).row.iloc[0] and t.rows[row]['texts'] == close.texts.min()
    raises(lambda: rescore(ev, t, 'f1', rule='two-se'), 'two-se')

def test_only_what_is_allowed_is_chosen():
    ev, t = lucky()
    ranks = sorted(range(len(t)), key=lambda i: (-t.rows[i]['f1'], t.rows[i]['texts'], i))
    for allowed in ([3], [2, 4], ranks[1:], [0], list(range(len(t)))):
        assert choose(t, 'f1', allowed=allowed) == next(i for i in ranks if i in allowed)
        row, rescored = rescore(ev, t, 'f1', finalists=2, allowed=allowed)
        assert row in allowed and set(rescored.row) <= set(allowed)
    assert choose(t, 'f1', allowed=[]) == 0 and rescore(ev, t, 'f1', allowed=[])[0] == 0
