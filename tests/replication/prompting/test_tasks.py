"""Which texts of a task count, and which prompt method they stand for"""

import pandas as pd
import pytest

from autogets.core import UserError, text_id
from autogets.data.datasets import DataMissing
from autogets.replication.prompting.tasks import (
    PAPER_METHODS,
    load_prompt_task,
    prompting_facts,
    stands_for,
    task_table,
    texts_from,
)


def test_a_case_holds_only_texts_of_its_real_examples():
    c = load_prompt_task('tickets', 40, test_rows=100)
    assert len(c.real) == 40
    assert c.real.label.value_counts().max() - c.real.label.value_counts().min() <= 1
    assert len(c.test) <= 100
    assert set(c.texts.lead) <= set(c.real.id) and set(c.texts.method) == {'kept', 'left'}
    assert not {text_id(t) for t in c.texts.text} & (set(c.test.id) | set(c.real.id))
    assert not set(c.more.id) & (set(c.test.id) | set(c.real.id))
    assert load_prompt_task('tickets', 40, test_rows=100).real.equals(c.real)
    assert not load_prompt_task('tickets', 40, seed=1).real.equals(c.real)


def test_texts_with_any_source_outside_are_left_out():
    real = pd.DataFrame({'id': ['x', 'y'], 'text': ['one', 'two'], 'label': ['a', 'b']})
    test = pd.DataFrame({'id': [text_id('held out')], 'text': ['held out'], 'label': ['a']})
    stored = pd.DataFrame(
        {
            'text': ['new one', 'Held out!', 'foreign', 'new one', 'of none'],
            'label': [None, None, None, None, 'b'],
            'model': 'm',
            'method': 'k',
            'source_ids': [['x'], ['x'], ['x', 'z'], ['x'], []],
            'lead': ['x', 'x', 'x', 'x', ''],
        }
    )
    found = texts_from(stored, real, test)
    assert found[['text', 'label']].values.tolist() == [['new one', 'a'], ['of none', 'b']]


def test_missing_data_and_names(monkeypatch, tmp_path):
    monkeypatch.delenv('AUTOGETS_DATA', raising=False)
    monkeypatch.setenv('AUTOGETS_MIRROR', 'http://127.0.0.1:9')
    monkeypatch.setenv('AUTOGETS_CACHE', str(tmp_path))
    for name in ('tweet_sentiment_fewshot', 'trec6_paraphrase', 'sst5'):
        with pytest.raises(DataMissing, match=f'connect and run: autogets data fetch {name}'):
            load_prompt_task(name)
    with pytest.raises(UserError, match='unknown task'):
        load_prompt_task('boolean')


def test_stand_ins_are_named(case):
    table = task_table([case])
    assert table['stands for'].tolist() == PAPER_METHODS and table.fewest.tolist() == [20] * 5
    assert stands_for('paraphrase')[0] == stands_for('similar example, balanced')[0] == 'one-shot'
    assert stands_for('magic')[0] == 'unknown'


def test_every_published_fact_has_a_part_and_a_source():
    t = pd.concat([prompting_facts(), prompting_facts(kind='setting')])
    assert t.finding.is_unique and t[['finding', 'kind', 'part', 'statement', 'source']].notna().all(axis=None)
    assert set(t.part) == {'methods', 'volume', 'diversity', 'model-score', 'wording', 'bias'}
