"Annotation simulated: what is revealed, what is shared, what is recommended"

import numpy as np
import pandas as pd
import pytest

from autogets.core import UserError
from autogets.curation.annotation import ANNOTATION_METHODS, NEED_CLASSIFIER, TARGETED
from autogets.data.datasets import DataMissing
from autogets.replication.survey import annotation as s
from autogets.replication.survey.annotation_tables import (
    annotation_findings,
    best_methods,
    gain_rows,
    mean_gains,
    rare_findings,
    rare_table,
    recommendation_table,
)

SMALL = dict(budgets=(10, 25), rows=400)


@pytest.fixture(scope='module')
def texts():
    return s.some_rows('tickets', 400)


@pytest.fixture(scope='module')
def words(texts):
    return s.Words(texts.text)


def drawn(texts, words, **how):
    return s.LabelDraw(s.Simulation('tickets', **{**SMALL, **how}), texts, words)


# --- the simulation ---


def test_a_draw_divides_the_texts(texts, words):
    draw = drawn(texts, words, start=2)
    assert not set(draw.pool) & set(draw.test) and len(draw.pool) + len(draw.test) == len(texts)
    assert set(np.bincount(draw.codes[draw.first])) == {2} and set(draw.first) <= set(draw.pool)
    assert np.bincount(draw.codes[draw.pool])[draw.rare] == np.bincount(draw.codes[draw.pool]).min()
    other = drawn(texts, words, start=2, seed=1)
    assert set(other.test) != set(draw.test)


@pytest.mark.parametrize('method', [*ANNOTATION_METHODS, *TARGETED])
def test_labels_are_revealed_for_what_was_asked_for_alone(method, texts, words, monkeypatch):
    draw, seen = drawn(texts, words, start=2), []
    rank = s.rank

    def watched(name, u, n):
        seen.append(len(u.vectors))
        return rank(name, u, n)

    monkeypatch.setattr(s, 'rank', watched)
    work = s.Labeling(draw, method)
    work.grow(10)
    work.grow(15)
    assert seen == [len(draw.pool) - len(draw.first), len(draw.pool) - len(draw.first) - 10]
    assert len(set(work.labeled)) == len(draw.first) + 25 and set(work.labeled) <= set(draw.pool)


def test_other_labels_change_nothing_that_a_method_chooses(texts, words):
    "The labels of unlabeled texts and of test are not read: with others, the same texts are asked for"
    draw = drawn(texts, words, start=2)
    for method in ('margin', 'vote-k', 'likely'):
        asked = []
        for codes in (draw.codes, np.where(np.isin(np.arange(len(texts)), draw.first), draw.codes, 0)):
            other = drawn(texts, words, start=2)
            other.first, other.codes = draw.first, codes
            other.__dict__['rare'] = draw.rare
            work = s.Labeling(other, method)
            work.grow(10)
            asked.append(work.labeled.tolist())
        assert asked[0] == asked[1], method


@pytest.mark.parametrize('method', [m for m in NEED_CLASSIFIER if m not in TARGETED])
def test_without_labels_they_begin_by_chance_or_votes(method, texts, words):
    work = s.Labeling(drawn(texts, words, start=0), method)
    assert work.believed is None
    work.grow(15)
    assert len(set(work.labeled)) == 15 and work.believed is not None
    by_chance = s.Labeling(drawn(texts, words, start=0), 'random')
    by_chance.grow(15)
    assert (work.labeled.tolist() == by_chance.labeled.tolist()) == (method != 'vote-k')


def test_figures_of_a_known_case(texts, words):
    draw = drawn(texts, words, start=2)
    work = s.Labeling(draw, 'random')
    work.believed = np.eye(len(draw.classes))[draw.codes]
    work.labeled = draw.pool
    m = work.measured()
    assert m['accuracy'] == m['found'] == 1 and m['rare_f1'] in (0.0, 1.0)


def test_finished_simulations_are_not_run_again(tmp_path, monkeypatch):
    ran, real = [], s.method_rows
    monkeypatch.setattr(s, 'method_rows', lambda draw, m: ran.append(m) or real(draw, m))
    how = dict(folder=tmp_path, **SMALL)
    first = s.simulate(['tickets'], ['linear'], [0], [2], ['random', 'margin'], **how)
    again = s.simulate(['tickets'], ['linear'], [0], [2, 0], ['random', 'margin', 'likely'], **how)
    assert ran == ['random', 'margin', 'likely', 'random', 'margin']
    both = again[(again.start == 2) & (again.method != 'likely')].reset_index(drop=True)
    pd.testing.assert_frame_equal(first, both)
    alone = s.simulate(['tickets'], ['linear', 'encoder:none'], [0], [2], ['random'], linear_only=['tickets'], **how)
    assert set(alone.classifier) == {'linear'}


def test_what_cannot_be_simulated_is_said():
    with pytest.raises(UserError, match='unknown method of annotation'):
        s.simulate(['tickets'], ['linear'], [0], [2], ['luck'])
    with pytest.raises(DataMissing, match='set AUTOGETS_DATA'):
        s.corpus_rows('no_such_corpus')
    assert list(s.absent_corpora(['tickets', 'no_such_corpus'])) == ['no_such_corpus']


# --- tables ---


def cells(gains, corpora='abcdef', rare=0.1):
    "Cells in which each method gains what `gains` says, with noise shared by all methods of a draw"
    rng, rows = np.random.default_rng(0), []
    for c in corpora:
        for seed in range(5):
            noise = 0.05 * rng.normal()
            for start in (5, 0):
                for n in (50, 100):
                    for m, g in gains.items():
                        if m in TARGETED and not start:
                            continue
                        own = dict(corpus=c, seed=seed, start=start, classifier='linear', budget=n, method=m)
                        score = 0.5 + noise + g + 0.004 * rng.normal()
                        rows.append(
                            own | {'accuracy': score, 'macro-f1': score, 'found': rare + 2 * g, 'rare_f1': score}
                        )
    return pd.DataFrame(rows)


def test_gains_are_paired_and_averaged_over_corpora():
    d = cells({'random': 0.0, 'margin': 0.03, 'entropy': 0.0, 'likely': 0.05})
    t = mean_gains(gain_rows(d), ['classifier', 'start']).set_index(['start', 'method'])
    assert t.loc[(5, 'margin'), 'macro-f1'] == pytest.approx(0.03, abs=0.002)
    assert t.loc[(0, 'margin'), 'macro-f1 low'] > 0.025, 'the noise of a draw cancels'
    assert t.loc[(5, 'entropy'), 'macro-f1 low'] < 0 < t.loc[(5, 'entropy'), 'macro-f1 high']
    more = pd.concat([d, cells({'random': 0.0, 'margin': 0.0}, 'g')])
    of_seven = mean_gains(gain_rows(more), ['classifier', 'start']).set_index(['start', 'method'])
    assert of_seven.loc[(5, 'margin'), 'macro-f1'] == pytest.approx(0.03 * 6 / 7, abs=0.002)


def test_only_settled_corpora_recommend():
    settled, judged = (
        cells({'random': 0.0, 'margin': 0.03, 'k-means': 0.01}),
        cells({'random': 0.0, 'margin': -0.02, 'k-means': 0.04}, 'xyz'),
    )
    t = recommendation_table(settled, judged)
    assert set(t.recommended) == {'margin'} and (t['judged high'] < 0).all()
    assert set(best_methods(cells({'random': 0.0, 'margin': -0.01})).recommended) == {'random'}
    found = annotation_findings(settled, judged)
    best = [f for f in found if f['claim'].startswith('The best method of the settled')]
    assert len(best) == 2 and all(f['high'] < 0 and 'margin' in f['setting'] for f in best)


def test_methods_for_one_class_are_judged_by_what_they_find():
    d = cells({'random': 0.0, 'margin': 0.0, 'likely': 0.1})
    t = rare_table(d).set_index(['method', 'budget'])
    assert t.loc[('likely', 50), 'found'] == pytest.approx(0.2, abs=0.01)
    assert t.loc[('likely', 50), 'share'] == pytest.approx(0.3) and (t['share at random'] == 0.1).all()
    claims = {(f['claim'], f['setting']) for f in rare_findings(d)}
    assert len(claims) == len(rare_findings(d)) == 3
