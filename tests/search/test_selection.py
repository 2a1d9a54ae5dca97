"Constraints, Pareto fronts and out-of-fold rescoring"

from dataclasses import replace

import numpy as np
import pytest
from worlds import Given, NAMES, of, raises, result, world

from autogets.core import UserError
from autogets.metrics import OBJECTIVES
from autogets.search.candidates import Budget, as_candidate, standard_error
from autogets.search.loop import choose, run_search
from autogets.search.selection import Constraint, figures, keeps, read_constraint, read_constraints, rescore
from autogets.stats import pareto

# --- constraints ---


@pytest.mark.parametrize(
    'text,figure,sense,bound,relative',
    [
        ('accuracy>=baseline', 'accuracy', '>=', 0, True),
        (' macro-f1 >= baseline - 0.02 ', 'macro-f1', '>=', -0.02, True),
        ('recall:cat<=.7', 'recall:cat', '<=', 0.7, False),
        ('balanced-accuracy<=baseline+.1', 'balanced-accuracy', '<=', 0.1, True),
        ('accuracy>=0', 'accuracy', '>=', 0, False),
        ('accuracy<=1', 'accuracy', '<=', 1, False),
    ],
)
def test_constraints_that_can_be_read(text, figure, sense, bound, relative):
    c = read_constraint(text, NAMES)
    assert c == Constraint(figure, sense, bound, relative) and read_constraint(str(c), NAMES) == c


def test_constraints_on_classes_with_odd_names():
    for name in ('T:1', 'a>=b', '<=', 'x, y "z"', 'ç 漢字', 'd:>=0.5'):
        c = read_constraint(f'recall:{name}>=baseline-0.1', [*NAMES, name])
        assert c == Constraint(f'recall:{name}', '>=', -0.1, True)
        assert c.figure in figures(result((0, 0, 0, 0)), [*NAMES, name])


@pytest.mark.parametrize(
    'text',
    [
        '',
        ' ',
        '>=',
        'accuracy',
        'accuracy>baseline',
        'accuracy=0.5',
        'accuracy==0.5',
        'accuracy>=',
        '>=0.5',
        'accuracy>=base',
        'accuracy>=baseline-',
        'accuracy>=baseline-.',
        'accuracy>=baseline-1.2.3',
        'accuracy>=baseline0.1',
        'accuracy>=1.5',
        'accuracy<=-0.1',
        'accuracy>=nan',
        'accuracy>=inf',
        'accuracy>=1e-3',
        'f2>=0.5',
        'recall:dog>=0.5',
        'accuracy:cat>=0.5',
        'recall:>=0.5',
        'accuracy:>=baseline',
        ':cat>=0.5',
        'recall:cat',
        'accuracy>=0.5 and recall>=0.5',
        'accuracy>=0.5\nrecall>=0.5',
        'F1>=0.5',
        '0.5<=accuracy',
    ],
)
def test_constraints_that_mean_nothing(text):
    raises(lambda: read_constraint(text, NAMES))


def test_whatever_is_read_can_be_checked():
    "Pieces in the right order, now and then with a wrong one among them"
    rng, read = np.random.default_rng(0), 0
    slots = (
        ['accuracy', 'recall', 'recall:cat', 'macro-f1', 'recall:', ':', 'accuracy:', 'cat', ''],
        ['>=', '<=', '>', '=', ' >= ', ''],
        ['baseline', '0.1', '.5', '1', '2', '-', ''],
        ['', '', '-.1', '+ 0.2', '.', ' ', '\n', '%', '-2'],
    )
    for _ in range(3000):
        text = ''.join(
            rng.permutation([rng.choice(p) for p in slots]) if rng.random() < 0.2 else [rng.choice(p) for p in slots]
        )
        try:
            c = read_constraint(text, NAMES)
        except UserError as e:
            assert '\n' not in str(e)
            continue
        assert keeps([c], result(), result(), NAMES) in (True, False)
        read += 1
    assert read > 100


@pytest.mark.parametrize(
    'texts',
    [
        ('accuracy>=0.6', 'accuracy<=0.5'),
        ('accuracy<=baseline-0.1', 'macro-f1>=0.1', 'accuracy>=baseline'),
        ('recall:cat>=0.51', 'recall:cat<=0.5'),
        ('accuracy>=baseline+1.5',),
        ('accuracy<=baseline-1.5',),
    ],
)
def test_constraints_that_no_candidate_can_keep(texts):
    raises(lambda: read_constraints(texts, NAMES), 'constraint')


def test_constraints_that_can_be_kept_together():
    assert (
        len(
            read_constraints(
                [
                    'accuracy>=0.5',
                    'accuracy<=0.5',
                    'accuracy>=baseline',
                    'accuracy<=baseline',
                    'recall:cat>=0.9',
                    'recall:bee<=0.1',
                    'accuracy>=baseline-0.1',
                ],
                NAMES,
            )
        )
        == 7
    )
    assert read_constraints([], NAMES) == []


def test_a_bound_is_kept_at_the_bound():
    base = result(accuracy=0.7, recalls=(0.1 + 0.2, 0.3, 0.5))

    def ok(text, **new):
        return keeps([read_constraint(text, NAMES)], result(**new), base, NAMES)

    assert ok('accuracy>=baseline+0.1', accuracy=0.8)
    assert ok('accuracy>=baseline-0.1', accuracy=0.6)
    assert ok('accuracy<=baseline+0.1', accuracy=0.7 + 0.1)
    assert ok('accuracy>=0.3', accuracy=0.1 * 3)
    assert ok('accuracy<=0.3', accuracy=0.1 * 3)
    assert ok('accuracy>=baseline', accuracy=0.7)
    assert not ok('accuracy>=baseline', accuracy=0.7 - 1 / 5000)
    assert not ok('accuracy<=0.7', accuracy=0.7 + 1 / 5000)
    assert ok('recall:ant>=baseline', recalls=(0.3, 0, 0))
    assert ok('recall:ant<=baseline', recalls=(0.3, 0, 0))
    assert not ok('recall:ant>=0.31', recalls=(0.3, 1, 1))
    assert keeps([], result(), base, NAMES)
    assert not keeps(read_constraints(['accuracy>=0', 'recall:cat>=.6'], NAMES), result(), base, NAMES)


def test_constraints_speak_of_the_goal():
    r = replace(result(recall=0.2), goal={**dict.fromkeys(OBJECTIVES, 0.5), 'recall': 0.9})
    assert keeps([read_constraint('recall>=0.8', NAMES)], r, result(recall=0.9), NAMES)


# --- fronts and rescoring ---


def test_the_front_is_what_nothing_dominates():
    rng = np.random.default_rng(0)
    for n, k in [(0, 2), (1, 1), (1, 3), *zip(rng.integers(2, 40, 40), rng.integers(1, 4, 40))]:
        v = rng.integers(0, 5, (n, k)) / 4
        want = [
            not any(
                all(w >= x for w, x in zip(v[j], v[i])) and any(w > x for w, x in zip(v[j], v[i])) for j in range(n)
            )
            for i in range(n)
        ]
        got = pareto(v)
        assert got.tolist() == want and (n == 0 or got.any())


def lucky():
    "A world in which one small candidate is best on validation and bad out of fold"
    ev = world({'ant': 0.2, 'bee': 0.02, 'cat': 0.0}, folds=0)
    own, real = of(ev, 'cat')[0], ev.refit.codes
    row = ev.rows((own,)).tobytes()

    def codes(split, rows, weights):
        return ev.refit.true[split] if split == 'validation' and rows.tobytes() == row else real(split, rows, weights)

    ev.refit.codes = codes
    cands = [
        ((own,), 'lucky'),
        (as_candidate(of(ev, 'ant')), 'good'),
        (as_candidate(of(ev, 'ant')[:5]), 'less'),
        (as_candidate(of(ev, 'bee')), 'little'),
    ]
    return ev, run_search(Given(cands), ev, 'accuracy', Budget(50), full_pool=True)


def test_rescoring_is_not_fooled_by_luck():
    ev, t = lucky()
    names = [r['note'] for r in t.rows]
    first = len(ev.refit.asked)
    assert names[choose(t, 'accuracy')] == 'lucky'
    row, rescored = rescore(ev, t, 'accuracy', finalists=2, folds=3)
    assert names[row] in ('good', 'full pool')
    assert {names[i] for i in rescored.row} == {'baseline', 'full pool', 'lucky'} | set(names[i] for i in rescored.row)
    assert len(rescored) <= 4
    assert (rescored['validation'] == [t.rows[i]['accuracy'] for i in rescored.row]).all()
    assert len(ev.refit.asked) == first + len(rescored)
    want = ev.with_folds(3).evaluate([t.ids(i) for i in rescored.row])
    best = max(want, key=lambda r: r.scores['accuracy'])
    assert rescored.rescored.tolist() == [r.scores['accuracy'] for r in want]
    assert rescored.error.tolist() == pytest.approx([standard_error(best, r, 'accuracy') for r in want])
    assert not ev.folds and not ev.memo[ev.key(())].jackknife


def test_one_standard_error_prefers_fewer_texts_that_are_not_worse():
    ev, t = lucky()
    row, rescored = rescore(ev, t, 'accuracy', finalists=9, folds=3, rule='one-se')
    best = rescored.rescored.max()
    close = rescored[rescored.rescored >= best - rescored.error]
    assert row == close.sort_values(['texts', 'row']).row.iloc[0] and t.rows[row]['texts'] == close.texts.min()
    raises(lambda: rescore(ev, t, 'accuracy', rule='two-se'), 'two-se')


def test_only_what_is_allowed_is_chosen():
    ev, t = lucky()
    ranks = sorted(range(len(t)), key=lambda i: (-t.rows[i]['accuracy'], t.rows[i]['texts'], i))
    for allowed in ([3], [2, 4], ranks[1:], [0], list(range(len(t)))):
        assert choose(t, 'accuracy', allowed=allowed) == next(i for i in ranks if i in allowed)
        row, rescored = rescore(ev, t, 'accuracy', finalists=2, allowed=allowed)
        assert row in allowed and set(rescored.row) <= set(allowed)
    assert choose(t, 'accuracy', allowed=[]) == 0 and rescore(ev, t, 'accuracy', allowed=[])[0] == 0
