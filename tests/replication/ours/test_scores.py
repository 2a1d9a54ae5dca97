"Scores that choose: known values, candidates, choices and what test may not do"

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from autogets.replication.ours import scores as s
from autogets.replication.ours.learned_influence import SourceCell
from autogets.replication.ours.strategies import CellSettings
from autogets.replication.ours.winners_curse import demo_recording
from autogets.search.candidates import ids_of, weights_of


@pytest.fixture(scope='module')
def settings(tmp_path_factory):
    "Three ticket topics with recorded and EDA texts"
    folder = demo_recording(tmp_path_factory.mktemp('corpora') / 'topics', classes=3, rows=24)
    return CellSettings(str(folder), each=4, classifier='encoder:words', texts=2)


def test_scores_are_those_of_their_definitions():
    rng = np.random.default_rng(0)
    truth, said = rng.integers(0, 4, 200), rng.normal(size=(200, 4))
    said[np.arange(200), truth] += 1
    found = s.row_scores(said, truth)
    assert found['accuracy'] == (said.argmax(1) == truth).mean()
    assert found['macro F1'] == pytest.approx(f1_score(truth, said.argmax(1), average='macro'))
    one = truth == truth[0]
    alone = s.row_scores(np.vstack([said, said[one]]), np.append(truth, truth[one]))
    assert alone['balanced log likelihood'] != pytest.approx(alone['log likelihood'], abs=1e-4)


def test_smoothed_scores_approach_counts(monkeypatch):
    rng = np.random.default_rng(1)
    truth, said = rng.integers(0, 3, 300), rng.normal(size=(300, 3))
    said[np.arange(300), truth] += 0.5
    monkeypatch.setattr(s, 'SHARPNESS', 1e6)
    found = s.row_scores(said, truth)
    assert found['smoothed accuracy'] == pytest.approx(found['accuracy'], abs=1e-3)
    assert found['smoothed macro F1'] == pytest.approx(found['macro F1'], abs=1e-3)


def test_candidates_are_drawn_once_and_of_all_kinds(settings):
    own = SourceCell(settings).own
    found = s.candidate_sets(own, seed=3)
    assert found == s.candidate_sets(own, seed=3) != s.candidate_sets(own, seed=4)
    kinds = pd.Series([k for k, _ in found]).value_counts().to_dict()
    assert kinds == {'common weight': 8, 'class weights': 16, 'random set': 16}
    assert all(set(weights_of(c)) <= set(own) and set(ids_of(c)) <= set(sum(own.values(), [])) for _, c in found)


def test_a_score_takes_what_it_likes_best_and_test_only_judges(settings):
    rows = pd.DataFrame(s.scored_rows(settings))
    assert len(rows) == 40
    choices = s.score_choices(rows)
    best = rows.loc[rows['held out: log likelihood'].idxmax()]
    row = choices[(choices.classifier == 'held out') & (choices.strategy == 'log likelihood')].iloc[0]
    assert row.gain == pytest.approx(best['test accuracy'] - rows['test accuracy'][0])
    assert row.regret == pytest.approx(rows['test accuracy'].max() - best['test accuracy'])
    worse = rows.assign(**{'test accuracy': rows['test accuracy'].to_numpy()[::-1]})
    taken = s.score_choices(worse).merge(choices, on=['classifier', 'strategy'])
    assert len(taken) == len(choices) and (taken.gain_x != taken.gain_y).any()


def test_kinds_narrow_the_choice(settings):
    rows = pd.DataFrame(s.scored_rows(settings))
    few = s.score_choices(rows, kinds=('common weight',))
    top = rows[rows.kind == 'common weight']['test accuracy'].max()
    assert ((few.gain + few.regret) - (top - rows['test accuracy'][0])).abs().max() < 1e-12


def made():
    "A world in which counts choose worse than the likelihood, and validation alone worse than all rows"
    rng = np.random.default_rng(0)
    worth = {'held out': 0.03, 'validation': 0.01}
    return pd.DataFrame(
        [
            dict(corpus=b, each=5, seed=n, classifier=r, strategy=c, gain=g - 0.01 * (c == 'accuracy') + e, regret=0.01)
            for b in 'abcdef'
            for n in (0, 1)
            for r, g in worth.items()
            for c, e in zip(s.ROW_SCORES, 0.001 * rng.normal(size=len(s.ROW_SCORES)))
        ]
    )


def test_differences_are_found_in_pairs():
    found = {f['claim']: f for f in s.score_findings(made(), 'accuracy', 'judged')}
    assert len(found) == 4 and all(f['setting'] == '5 real texts a class, judged' for f in found.values())
    assert found['More accuracy when chosen by log likelihood than by accuracy']['low'] > 0.005
    assert abs(found['More accuracy when chosen by log likelihood than by Brier score']['estimate']) < 0.003
    rows = found['More accuracy when chosen by log likelihood of all rows held out than of validation']
    assert rows['low'] > 0.01
