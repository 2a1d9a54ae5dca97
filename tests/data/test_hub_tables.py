"Data sets of the library `datasets` in: tables, splits, class names, and what is refused"

import warnings

import numpy as np
import pandas as pd
import pytest
from worlds import raises

from autogets.data.corpus import read_corpus
from autogets.data.hub_tables import hub_kind
from autogets.generators.given import as_generator

datasets = pytest.importorskip('datasets')
CLASSES = ['bill', 'parcel']


def features(label='label', **more):
    return datasets.Features(text=datasets.Value('string'), **{label: datasets.ClassLabel(names=CLASSES)}, **more)


def part(k, n=10, codes=None):
    codes = [i % 2 for i in range(n)] if codes is None else codes
    texts = [f'text {k} number {i}' for i in range(len(codes))]
    return datasets.Dataset.from_dict({'text': texts, 'label': codes}, features())


def test_a_data_set_with_three_splits_is_a_corpus_with_class_names():
    c = read_corpus(datasets.DatasetDict(train=part(0), dev=part(1, 4), test=part(2, 6)))
    assert [len(s) for s in (c.train, c.validation, c.test)] == [10, 4, 6]
    assert c.classes == CLASSES and c.train.label.tolist() == CLASSES * 5 and c.name == 'corpus'


def test_a_frame_with_the_same_rows_is_the_same_corpus():
    frame = pd.DataFrame({'text': part(0)['text'], 'label': CLASSES * 5})
    assert read_corpus(part(0)).fingerprint == read_corpus(frame).fingerprint


def test_without_test_rows_train_is_split_and_unused_validation_rows_are_named():
    sets = datasets.DatasetDict(train=part(0, 20), validation=part(1, 4))
    with pytest.warns(UserWarning, match=r'test=data\["validation"\]'):
        c = read_corpus(sets)
    assert not c.test.text.str.startswith('text 1').any() and c.info['split'] == 'stratified'
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        own = read_corpus(sets, test=part(2, 6))
    assert len(own.test) == 6 and len(own.validation) == 4


def test_a_split_that_is_asked_for_takes_the_training_rows_alone():
    sets = datasets.DatasetDict(train=part(0, 20), test=part(2, 6))
    c = read_corpus(sets, split='stratified')
    assert sum(len(s) for s in (c.train, c.validation, c.test)) == 20


def test_license_and_citation_go_into_the_info():
    rows = part(0)
    rows.info.license, rows.info.citation = 'cc-by-4.0', 'Somebody 2020'
    info = read_corpus(rows).info
    assert (info['license'], info['citation'], info['source']) == ('cc-by-4.0', 'Somebody 2020', 'datasets')


def test_hidden_labels_are_refused_with_their_row():
    raises(
        lambda: read_corpus(part(0, codes=[0, 1, -1, 0, 1, 1])), "rows without a label (column 'label'): 1, at row 3"
    )


def test_several_classes_of_a_text_are_refused_with_a_hint():
    rows = datasets.Dataset.from_dict({'text': ['a', 'b'], 'label': [['x'], ['x', 'y']]})
    raises(lambda: read_corpus(rows), 'a text has one here: make a table for each class')


def test_streams_and_splits_in_the_wrong_place_are_refused():
    raises(lambda: read_corpus(part(0).to_iterable_dataset()), 'streaming=False')
    raises(lambda: read_corpus(part(0), test=datasets.DatasetDict(test=part(1))), 'name one, such as data["train"]')
    raises(lambda: read_corpus(datasets.DatasetDict(test=part(1))), 'has no split train: its splits are test')
    assert hub_kind({'train': 1}) is hub_kind(pd.DataFrame()) is None


def test_synthetic_texts_may_come_as_a_data_set():
    rows = part(0).add_column('source_ids', [[f'id{i}'] for i in range(10)])
    generator = as_generator(rows)
    assert set(generator.stored.label) == set(CLASSES)
    assert generator.stored.source_ids.tolist() == [[f'id{i}'] for i in range(10)]


def test_lists_stay_lists():
    rows = part(0, 2).add_column('source_ids', [['a', 'b'], []])
    ids = as_generator(rows).stored.source_ids
    assert ids.tolist() == [['a', 'b'], []] and not any(isinstance(i, np.ndarray) for i in ids)
