"""Candidates have one form, class weights mean something, budgets are positive, and texts join a candidate only with
all their sources"""

import pandas as pd
import pytest
from worlds import frame, pool, quick, raises, texts, uneven

from autogets.core import UserError, text_id
from autogets.data.corpus import Corpus
from autogets.replication.ours.cost import random_candidates
from autogets.search.candidates import Weight, as_candidate, ids_of, weights_of
from autogets.search.evaluator import Evaluator

# --- form ---


def test_a_candidate_has_one_form():
    w = as_candidate(['b', 'a', 'b'], {'y': 3, 'x': 0.5, 'z': 1})
    assert w == ('a', 'b', Weight('x', 0.5), Weight('y', 3.0))
    assert as_candidate(w) == w == as_candidate(('b', 'a', *w[2:][::-1]))
    assert as_candidate(w, {'x': 1}) == ('a', 'b', Weight('y', 3.0))
    assert as_candidate(w, {'y': 2})[-1] == Weight('y', 2.0)
    assert ids_of(w) == ('a', 'b') and weights_of(w) == {'x': 0.5, 'y': 3.0} and as_candidate(()) == ()
    assert as_candidate(i for i in 'ba') == ('a', 'b') and hash(w) == hash(as_candidate(w))


def test_a_list_that_holds_weights_keeps_them():
    w = as_candidate(['a', 'b'], {'x': 0.5})
    assert as_candidate(list(w)) == w


@pytest.mark.parametrize('bad', [0, -1, float('nan'), float('inf'), -float('inf')])
def test_weights_that_mean_nothing(bad):
    raises(lambda: as_candidate(['a'], {'x': bad}), 'x')
    raises(lambda: as_candidate(('a', Weight('x', bad))), 'x')


# --- texts ---


def test_repeated_texts_share_their_synthetic_texts():
    c = uneven()
    twice = frame([('A text, seen twice!', 'class 0'), ('a text seen twice', 'class 0'), ('a third text', 'class 0')])
    c = Corpus('repeats', pd.concat([c.train, twice]), c.validation, c.test)
    i, j = text_id('a text seen twice'), text_id('a third text')
    ev = Evaluator(
        c,
        pool([('new one', 'class 0', [i], 0), ('new two', 'class 0', [i], 1), ('new three', 'class 0', [j], 0)]),
        'class 0',
    )
    assert ev.sources.count(i) == 1 and len(ev.sources) == len(c.examples('class 0')) - 1
    assert list(ev.rows((i,))) == [0, 1] and list(ev.rows((j,))) == [2]


def test_a_text_with_several_sources_needs_all_of_them():
    c = uneven()
    a, b, d = c.examples('class 1').id[:3]
    ev = Evaluator(
        c,
        pool(
            [
                ('from two', 'class 1', [a, b], 0),
                ('from three', 'class 1', [b, d, a], 0),
                ('from one', 'class 1', [b], 0),
            ]
        ),
        'class 1',
    )
    want = {(a,): [], (b,): [2], (a, b): [0, 2], (a, d): [], (b, d): [2], (a, b, d): [0, 1, 2]}
    assert {k: list(ev.rows(k)) for k in want} == want


def test_texts_of_other_classes_held_out_texts_and_foreign_sources_are_left_out():
    c = uneven()
    mine, other = c.examples('class 1').id.iloc[0], c.examples('class 0').id.iloc[0]
    rows = [
        ('good', 'class 1', [mine], 0),
        ('of another class', 'class 0', [other], 0),
        ('half mine', 'class 1', [mine, other], 0),
        ('no source', 'class 1', [], 0),
        (c.test.text[0].upper() + '!', 'class 1', [mine], 1),
        (c.validation.text[3], 'class 1', [mine], 2),
        ('strange', 'class 1', [text_id('strange')], 0),
    ]
    assert list(Evaluator(c, pool(rows), 'class 1').pool.text) == ['good']
    assert list(Evaluator(c, pool(rows)).pool.text) == ['good', 'of another class', 'half mine']
    with pytest.raises(UserError, match='no synthetic text of the pool'):
        Evaluator(c, pool(rows[4:]), 'class 1')


def test_order_and_repeats_in_a_candidate_do_not_matter():
    ev = quick()
    some = list(ev.sources[:5])
    forms = [tuple(some), tuple(some[::-1]), (*some, some[0], some[0])]
    results = ev.evaluate(forms)
    assert len({tuple(r.scores.values()) for r in results}) == 1 and len(ev.refit.asked) == ev.evaluations == 1
    assert all((ev.rows(f) == ev.rows(forms[0])).all() for f in forms)
    assert as_candidate(forms[2]) == as_candidate(forms[0])


def test_a_pool_in_another_order_gives_the_same_scores():
    c = uneven()
    p = texts(c, labels=['class 2'])
    a, b = Evaluator(c, p, 'class 2'), Evaluator(c, p.sample(frac=1, random_state=3), 'class 2')
    for candidate in random_candidates(a.sources, 5):
        assert sorted(a.pool.text[a.rows(candidate)]) == sorted(b.pool.text[b.rows(candidate)])
