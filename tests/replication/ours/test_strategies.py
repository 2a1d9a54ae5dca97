"Choices in cells: what is drawn, what is cached, what is counted"

import pandas as pd
import pytest

from autogets.core import UserError
from autogets.replication.ours import strategies as s
from autogets.replication.ours.winners_curse import demo_recording


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "Three ticket topics with recorded and EDA texts"
    return str(demo_recording(tmp_path_factory.mktemp('corpora') / 'topics', classes=3, rows=24))


def test_few_real_texts_bring_only_the_texts_written_from_them(folder):
    cell = s.Cell(s.CellSettings(folder, each=4, texts=2))
    own = set(cell.corpus.train.id)
    assert set(cell.corpus.train.label.value_counts()) == {4}
    assert set(cell.corpus.validation.label.value_counts()) == {1}
    assert len(cell.evaluator.pool) and {i for ids in cell.evaluator.pool.source_ids for i in ids} <= own
    assert own.isdisjoint(cell.corpus.test.id) and own.isdisjoint(cell.corpus.validation.id)


def test_a_finished_choice_is_not_made_again(folder, tmp_path, monkeypatch):
    settings, asked = s.CellSettings(folder, each=4, evaluations=3, texts=2, folds=2), []
    real = s.choice_row
    monkeypatch.setattr(s, 'choice_row', lambda cell, choice: asked.append(choice) or real(cell, choice))
    first = s.cell_rows(settings, ['full-pool', 'random'], tmp_path)
    more = s.cell_rows(settings, ['full-pool', 'random', 'decision offsets'], tmp_path)
    assert asked == ['none', 'full-pool', 'random', 'decision offsets'] and more[:3] == first
    s.cell_rows(s.CellSettings(folder, each=4, evaluations=4, texts=2, folds=2), ['random'], tmp_path)
    assert asked[4:] == ['none', 'random']


def test_choices_spend_what_they_may_and_gains_are_over_none(folder):
    settings = s.CellSettings(folder, each=4, evaluations=5, texts=2, folds=2)
    rows = pd.DataFrame(s.cell_rows(settings, ['full-pool', 'class-weights', 'genetic'])).set_index('strategy')
    assert rows.evaluations.to_dict() == {'none': 0, 'full-pool': 0, 'class-weights': 5, 'genetic': 5}
    assert (rows['accuracy'].none, rows['macro-f1'].none) == (0, 0)
    assert rows.weight['full-pool'] == 1 and rows.weight.none == 0


def test_unknown_choices_are_refused():
    with pytest.raises(UserError, match="unknown choice 'levels'"):
        s.measure_cells(['tickets'], [5], [0], {'linear': ['levels']})


def made(skills, corpora=6):
    "Cells whose best choice depends on the number of real texts alone"
    rows = [
        dict(corpus=f'c{b}', each=n, seed=0, classifier='linear', strategy=w, accuracy=g + 0.001 * b)
        | dict.fromkeys(s.CELL_TRAITS, float(n))
        for b in range(corpora)
        for n, gains in skills.items()
        for w, g in gains.items()
    ]
    return pd.DataFrame(rows)


def test_rules_that_know_the_size_beat_every_constant_choice():
    lost = s.regret(made({5: {'none': 0.0, 'full-pool': 0.05}, 50: {'none': 0.0, 'full-pool': -0.05}}))
    t = s.regret_summary(lost).set_index('choice')
    assert t.regret['by size'] == 0 and t.regret['by traits'] == 0
    assert t.regret['none'] == pytest.approx(0.025) and t.low['none'] > 0 and t.low['full-pool'] > 0
