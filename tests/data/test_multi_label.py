"Labels that are several in one row are refused, whatever the table; names with separators are not"

import json

import numpy as np
import pandas as pd
import pytest
from data.common import put, refusal

from autogets.core import UserError
from autogets.data.corpus import read_corpus
from autogets.data.multi_label import refuse_multi_label
from autogets.data.tables import tidy

JOINED = ['a', 'b', 'c', 'a;b', 'b; c', 'a']
LISTS = [['a'], ['b'], ['a', 'b'], [], ['c'], ['a']]


def texts(labels):
    return pd.DataFrame({'text': [f'text {k}' for k in range(len(labels))], 'label': labels})


def tables(folder, labels):
    "The same rows as CSV, JSON lines, Parquet and a frame"
    frame = texts(labels)
    lines = '\n'.join(json.dumps(r) for r in frame.to_dict('records'))
    frame.to_parquet(folder / 'a.parquet')
    csv = put(folder, 'a.csv', frame.to_csv(index=False).encode())
    return [csv, put(folder, 'a.jsonl', lines.encode()), folder / 'a.parquet', frame]


@pytest.mark.parametrize('labels, what', [(JOINED, "labels joined by ';'"), (LISTS, 'lists')])
def test_every_kind_of_table_is_refused_in_a_line(tmp_path, labels, what):
    for table in tables(tmp_path, labels):
        said = refusal(read_corpus, table)
        assert f"column 'label' holds {what}" in said and 'yes and no for each class' in said
        assert "first at row 4: 'a;b'" in said or "first at row 5: 'a;b'" in said or what == 'lists'


def test_a_test_file_is_refused_too(tmp_path):
    train = texts(['a', 'b', 'c'] * 4)
    assert 'the test frame' in refusal(read_corpus, train, test=texts(JOINED))


def test_lists_of_a_data_set_are_arrays():
    frame = pd.DataFrame({'text': ['x', 'y'], 'label': [np.array([1, 2]), np.array([1])]})
    assert 'holds lists' in refusal(tidy, frame, 'datasets:some/one, split train')


@pytest.mark.parametrize(
    'labels',
    [
        ['Email, security', 'Email', 'Printers'] * 9,
        ['comp|sys', 'comp|os', 'rec'] * 9,
        ['a', 'b'] * 50 + ['a;b'],
        ['[a]', '[b]'] * 3,
        ['a;a', 'a', 'b'] * 3,
        [1.5, None, 2.5] * 3,
        ['(none)', '{x}', '[1'] * 3,
    ],
)
def test_names_with_separators_pass(labels):
    assert refuse_multi_label(pd.Series(labels, name='label'), 'a.csv') is None


def test_a_label_passes_unless_its_parts_are_labels_themselves():
    rng = np.random.default_rng(0)
    for _ in range(60):
        labels = [''.join(rng.choice(list('ab;|, '), 3)) for _ in range(6)] * 2
        known = {n.strip() for n in labels}
        parts = [{p.strip() for p in n.split(s)} for n in labels for s in ';|,']
        joined = any(len(p) > 1 and p <= known for p in parts)
        try:
            refuse_multi_label(pd.Series(labels, name='label'), 'a.csv')
        except UserError:
            assert joined
        else:
            assert not joined
