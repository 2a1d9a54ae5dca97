"The promises of a corpus: sound when made, split by the seed alone, read from a file or a frame, and shown at a glance"

import pickle
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from data.common import put, refusal, rows

from autogets.data.corpus import SPLITS, Corpus, class_characteristics, describe, read_corpus, split_corpus

FINGERPRINT = '4aa05f31d83894fc'  # Made with version 0.4.0


def test_corpus_is_frozen_and_numbered_from_zero():
    c = split_corpus(rows(50), 'c')
    with pytest.raises(AttributeError):
        c.train = c.test
    for s in SPLITS:
        assert list(getattr(c, s).index) == list(range(len(getattr(c, s))))
    assert c.examples('b').label.unique().tolist() == ['b'] and c.examples('all') is c.train
    assert c.train.loc[c.examples('b').index[0], 'label'] == 'b'


def test_fingerprint_sees_rows_labels_and_splits_but_not_order():
    a, b, c = rows(20), rows(6, word='v'), rows(6, word='w')
    base = Corpus('x', a, b, c).fingerprint
    assert Corpus('y', a[::-1], b, c).fingerprint == base
    assert Corpus('x', a, c, b).fingerprint != base
    assert Corpus('x', a.assign(label=[*a.label[1:], 'a']), b, c).fingerprint != base


@pytest.mark.parametrize(
    'change,says',
    [
        (lambda f: f.iloc[:0], 'the train split of c has no rows'),
        (lambda f: f.drop(columns='id'), 'the train split of c lacks the columns id'),
        (lambda f: f.assign(label='a'), "single class, 'a'"),
        (lambda f: f.assign(label=f.label.replace('a', 'all')), "named 'all'"),
    ],
)
def test_unsound_corpora(change, says):
    assert says in refusal(Corpus, 'c', change(rows()), rows(6, word='v'), rows(6, word='w'))


def test_a_corpus_can_be_sent_to_another_process():
    c = split_corpus(rows(), 'c')
    assert pickle.loads(pickle.dumps(c)).fingerprint == c.fingerprint


def test_unknown_class_lists_the_classes():
    assert 'choose one of a, b, c' in refusal(split_corpus(rows(), 'c').examples, 'd')


def test_repeats_and_conflicts_are_counted_and_warned_in_one_line():
    train = rows(20)
    validation = pd.concat([rows(6, word='v'), train[:2]])
    test = pd.concat([rows(6, word='w'), train[2:5].assign(label='a'), validation[:1]])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        c = Corpus('c', train, validation, test)
    assert c.quality() == {'validation_repeats': 2, 'test_repeats': 4, 'conflicting_texts': 2, 'absent_classes': {}}
    assert len(caught) == 1
    assert '2 in validation, 4 in test; texts with conflicting labels: 2;' in str(caught[0].message)
    assert caught[0].filename == __file__


def test_a_clean_corpus_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        split_corpus(rows(50), 'c')


def test_classes_absent_from_training_are_warned():
    with pytest.warns(UserWarning, match="c: test has rows of 'z', absent from train"):
        Corpus('c', rows(), rows(6, word='v'), rows(6, labels='az', word='w'))


def test_paper_split_is_train_test_split_twice():
    from sklearn.model_selection import train_test_split

    f = rows(101)
    c = split_corpus(f, 'c', 'paper')
    rest, test = train_test_split(f, test_size=0.2, random_state=42)
    train, validation = train_test_split(rest, test_size=0.2, random_state=42)
    for got, want in ((c.train, train), (c.validation, validation), (c.test, test)):
        assert got.text.tolist() == want.text.tolist()
    assert c.info == {'split': 'paper', 'seed': 42}


@pytest.mark.parametrize('seed', range(5))
def test_stratified_split_is_a_partition_with_each_class_everywhere(seed):
    f = pd.concat([rows(100, 'a', 'p'), rows(10, 'b', 'q'), rows(3, 'c', 'r')], ignore_index=True)
    c = split_corpus(f, 'c', 'stratified', seed)
    assert sorted(c.train.id.tolist() + c.validation.id.tolist() + c.test.id.tolist()) == sorted(f.id)
    sizes = {s: getattr(c, s).label.value_counts().to_dict() for s in SPLITS}
    assert sizes == {
        'train': {'a': 64, 'b': 6, 'c': 1},
        'validation': {'a': 16, 'b': 2, 'c': 1},
        'test': {'a': 20, 'b': 2, 'c': 1},
    }


def test_stratified_split_needs_three_rows_of_a_class():
    f = pd.concat([rows(20), rows(2, 'z', 'rare')])
    assert "'z' (2); a class needs at least 3 rows" in refusal(split_corpus, f, 'c')


def test_given_split():
    c = split_corpus(rows(50, 'ab'), 'c', 'given', test=rows(9, 'ab', 'w'))
    assert [len(c.train), len(c.validation), len(c.test)] == [40, 10, 9]
    c = split_corpus(rows(50), 'c', 'given', test=rows(9, word='w'), validation=rows(7, word='v'))
    assert [len(c.train), len(c.validation), len(c.test)] == [50, 7, 9]
    lone = pd.concat([rows(50), rows(1, 'z', 'lone')])
    assert "'z' (1); a class needs at least 2 rows" in refusal(split_corpus, lone, 'c', 'given', test=rows(9, word='w'))


def test_impossible_splits():
    assert 'no test rows' in refusal(split_corpus, rows(), 'c', 'given')
    assert 'need the split given' in refusal(split_corpus, rows(), 'c', 'paper', test=rows())
    assert 'choose one of paper, stratified, given' in refusal(split_corpus, rows(), 'c', 'temporal')
    assert 'too few' in refusal(split_corpus, rows(4), 'c', 'paper')


def test_features_come_along():
    f = rows(50).assign(area='it', other='x')
    assert split_corpus(f, 'c', features=('area',)).test.columns.tolist() == ['id', 'text', 'label', 'area']
    assert 'lacks the columns site' in refusal(split_corpus, f, 'c', features=('site',))


def test_the_stratified_split_is_that_of_0_4_0():
    c = split_corpus(pd.concat([rows(40, 'ab'), rows(7, 'c', 'w')], ignore_index=True), 'c')
    assert c.fingerprint == FINGERPRINT


# --- from a file or a frame


def write(tmp_path, frame, name='mine.csv'):
    return put(tmp_path, name, frame.rename(columns={'text': 'message', 'label': 'queue'}).to_csv(index=False))


def test_a_file_is_split_as_its_rows_are(tmp_path):
    p = write(tmp_path, rows(50))
    got, want = read_corpus(p, text='message', label='queue'), split_corpus(rows(50), 'mine')
    assert got.name == 'mine' and got.info == {'split': 'stratified', 'seed': 42} == want.info
    for s in SPLITS:
        pd.testing.assert_frame_equal(getattr(got, s), getattr(want, s))
    assert read_corpus(str(p), 'message', 'queue', seed=1).fingerprint != got.fingerprint
    assert read_corpus(p, 'message', 'queue', split='paper').info['split'] == 'paper'


def test_own_test_and_validation_rows(tmp_path):
    p, t, v = (write(tmp_path, rows(n, word=w), f'{w}.csv') for n, w in ((50, 'u'), (9, 'v'), (6, 'w')))
    how = dict(text='message', label='queue')
    assert [len(getattr(read_corpus(p, **how, test=t), s)) for s in SPLITS] == [41, 9, 9]
    both = read_corpus(p, **how, test=t, validation=v)
    assert [len(getattr(both, s)) for s in SPLITS] == [50, 6, 9] and both.info['split'] == 'given'
    assert 'need the split given' in refusal(read_corpus, p, **how, validation=v)
    assert 'no test rows' in refusal(read_corpus, p, **how, split='given')


def test_a_frame_is_as_good_as_a_file_and_is_left_alone(tmp_path):
    frame = (
        rows(50)
        .rename(columns={'text': 'message', 'label': 'queue'})[['queue', 'message']]
        .set_index(pd.Index(range(50), name='n')[::-1])
    )
    before = frame.copy()
    got = read_corpus(frame, 'message', 'queue', name='mine', features=())
    assert got.fingerprint == read_corpus(write(tmp_path, rows(50)), 'message', 'queue').fingerprint
    assert got.name == 'mine'
    pd.testing.assert_frame_equal(frame, before)
    assert read_corpus(frame.assign(queue=[i % 2 for i in range(50)]), 'message', 'queue').classes == ['0', '1']


@pytest.mark.parametrize(
    'options,says',
    [
        ({'text': 'body'}, "no column 'body': its columns are id, message, queue"),
        ({'features': ('area',)}, "no column 'area'"),
        ({'test': 'no.csv'}, 'no.csv does not exist'),
        ({'test': ''}, 'the test file has no name'),
        ({'split': 'random'}, 'choose one of paper, stratified, given'),
        ({'seed': -1}, 'the seed of the split is -1'),
        ({'encoding': 'utf-16'}, 'mine.csv is not utf-16'),
    ],
)
def test_bad_input_is_one_line(tmp_path, options, says):
    assert says in refusal(read_corpus, write(tmp_path, rows(51)), **{'text': 'message', 'label': 'queue'} | options)


def test_bad_frames_are_named_and_counted_from_one():
    assert "the training frame: rows without a text (column 'text'): 1, at row 3" in refusal(
        read_corpus, rows(9).assign(text=lambda f: f.text.where(f.index != 2))
    )
    assert 'the test frame has no column' in refusal(read_corpus, rows(30), test=rows(9)[['text']])


# --- shown at a glance


def test_a_corpus_shows_its_sizes(tmp_path):
    c = split_corpus(
        pd.concat([rows(40, ['<b>', 'b']), *(rows(3, [f'rare {k}'], f'w{k}') for k in range(9))]), 'sh<o>w'
    )
    assert repr(c) == 'Corpus(sh<o>w: 11 classes, 35/15/17 rows)'
    shown = re.findall(r'<tr>\s*<th>(.*?)</th>\s*<td>(\d+)</td>\s*<td>(\d+)</td>\s*<td>(\d+)</td>', c._repr_html_())
    assert shown[0] == ('all', '35', '15', '17') and shown[-1] == ('3 more classes', '3', '3', '3') and len(shown) == 10
    assert {shown[1][0], shown[2][0]} == {'&lt;b&gt;', 'b'}
    assert '<b>\n' not in c._repr_html_() and 'sh&lt;o&gt;w' in c._repr_html_()


# --- descriptions


def test_describe():
    t = describe(split_corpus(pd.concat([rows(100, 'a'), rows(50, 'b', 'a longer')]), 'c')).set_index('class')
    assert t.loc['a', list(SPLITS)].tolist() == [64, 16, 20] and t.median_words.tolist() == [3, 4]
    assert np.allclose(t[[f'{s}_share' for s in SPLITS]].sum(), 1)


def test_characteristics_agree_with_scikit_learn():
    from sklearn.metrics import balanced_accuracy_score, precision_recall_fscore_support

    c, rng = split_corpus(rows(400), 'c'), np.random.default_rng(0)
    guess = np.where(
        rng.random(len(c.validation)) < 0.7, c.validation.label, rng.choice(list('abc'), len(c.validation))
    )
    t = class_characteristics(c, guess)
    precision, recall, *_ = precision_recall_fscore_support(c.validation.label, guess, labels=c.classes)
    assert np.allclose(t.precision, precision) and np.allclose(t.recall, recall)
    for k, b in zip(t['class'], t.balanced_accuracy):
        assert np.isclose(b, balanced_accuracy_score(c.validation.label == k, guess == k))
    assert t['size'].sum() == len(c.train) and 'recall' not in class_characteristics(c)


def test_characteristics_at_the_edges():
    c = Corpus('c', rows(30), rows(8, 'ab', 'v'), rows(9, word='w'))
    t = class_characteristics(c, ['a'] * 8).set_index('class')
    assert t.recall[['a', 'b']].tolist() == [1, 0]
    assert t.precision['b'] == 0
    assert t.neighbor.to_dict() == {'a': '', 'b': 'a', 'c': ''}
    assert t.confusion_entropy[['a', 'b']].tolist() == [0, 0]
    assert t.loc['c', ['recall', 'precision', 'balanced_accuracy', 'confusion_entropy']].isna().all()
    scattered = class_characteristics(c, list('aaaabbbb')).set_index('class')
    assert np.isclose(scattered.confusion_entropy['a'], 1)
    assert '3 predicted labels for 8' in refusal(class_characteristics, c, ['a'] * 3)
