"""Ways to write texts side by side: equal numbers, nothing of test in training, and a live model by its name"""

import numpy as np
import pandas as pd
import pytest
from servers import serving

from autogets.core import UserError
from autogets.llm.live import Live
from autogets.replication.survey.generation_methods import (
    Task,
    compare_writing,
    distinct_2,
    even,
    read_method,
    small_task,
    texts_by,
    writing_figure,
    writing_table,
    writing_findings,
)


@pytest.fixture(scope='module')
def task():
    return small_task('tickets', 5, seed=1)


def test_a_task_shares_no_text_between_real_and_test(task):
    assert set(task.real.label.value_counts()) == {5}
    assert not set(task.real.id) & set(task.test.id)
    assert set(task.test.label) <= set(task.classes)
    assert small_task('tickets', 5, seed=1).real.equals(task.real)
    assert not small_task('tickets', 5, seed=2).real.equals(task.real)
    assert len(small_task('tickets', 5, test_rows=50).test) == 50


@pytest.mark.parametrize('method', ['eda', 'recorded'])
def test_each_class_has_the_same_number(task, method):
    texts = texts_by(method, task, 6, 0)
    assert set(texts.label.value_counts()) == {6} and set(texts.label) == set(task.classes)
    assert texts.equals(texts_by(method, task, 6, 0)) and not texts.equals(texts_by(method, task, 6, 1))
    assert not set(texts.text) & set(task.test.text)


def test_only_texts_of_the_real_examples_are_taken_from_a_bank(task):
    from autogets.generators.recorded import Recorded

    stored = Recorded('tickets').stored
    mine = set(stored.text[stored.lead.isin(set(task.real.id))])
    assert set(texts_by('recorded', task, 99, 0).text) <= mine


def test_live_ways_against_a_server(task, tmp_path):
    with serving() as s:
        live = Live('openai:m', tmp_path, s.url)
        methods = ['zero-shot', 'few-shot-3/nearest', 'topic@1.0']
        cells = compare_writing(['tickets'], methods, [4], [0], 5, live, tmp_path / 'cells')
        assert list(cells.method) == methods and set(cells.texts) == {4 * len(task.classes)}
        asked = s.stats()['requests']
        again = compare_writing(['tickets'], methods, [4], [0], 5, live, tmp_path / 'cells')
        assert again.equals(cells) and s.stats()['requests'] == asked


@pytest.mark.parametrize(
    'method, said',
    [
        ('topic', 'needs a live model'),
        ('causal-lm@warm', 'no number'),
        ('recorded/nothing', 'holds no texts of method'),
    ],
)
def test_ways_that_cannot_be(task, method, said):
    with pytest.raises(UserError, match=said):
        texts_by(method, task, 3)


def test_few_texts_are_all_taken_and_shown():
    texts = pd.DataFrame({'text': list('abcde'), 'label': list('XXXYY')})
    assert even(texts, 3, np.random.default_rng(0)).label.value_counts().to_dict() == {'X': 3, 'Y': 2}


def test_variety_is_counted_over_equal_amounts():
    few, many = ['a b c d e f g h'] * 3, ['a b c d e f g h'] * 300
    assert distinct_2(many, 24) == distinct_2(few, 24) < 1 and distinct_2(['x y', 'z w']) == 1


def test_a_way_that_changes_nothing_gains_nothing():
    t = Task(
        't',
        pd.DataFrame({'id': ['1', '2'], 'text': ['red apple fruit', 'blue sky air'], 'label': ['a', 'b']}),
        pd.DataFrame({'id': ['3', '4', '5'], 'text': ['apple', 'sky', 'fruit'], 'label': ['a', 'b', 'a']}),
    )
    from autogets.replication.survey import generation_methods as survey

    cell = survey._cell(t, 'eda', 1, 0, None)
    table = writing_table(pd.DataFrame([cell, cell | {'seed': 1}]))
    assert table.real_only[0] == 1 and table.gain[0] <= 0 and table.low[0] <= table.gain[0] <= table.high[0]
    found, figure = writing_findings(table), writing_figure(table)
    assert found[0]['claim'].startswith('EDA texts raise') and len(figure.axes) >= table.corpus.nunique()


def test_names_of_ways():
    assert read_method('few-shot-3/nearest@0.7') == ('few-shot-3', 'nearest', 0.7)
