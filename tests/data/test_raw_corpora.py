"Corpora from raw files as others keep them: samples joined from dozens of files, and rows that are pairs"

import json

import pandas as pd
import pytest
from data.common import refusal
from data.mirror import register_corpus, served_names, server

from autogets.data.datasets import DataMissing, describe_dataset, fetch_dataset, load_corpus
from autogets.data.datasets import official_rows
from autogets.data.raw_corpora import folded, raw_rows
from autogets.data.sources import list_sources
from autogets.replication.needs import fetch_missing, missing, needs_of
from autogets.replication.prompting.label_bias import real_texts

REVIEWS = dict(splits=['train', 'test'], format='reviews', rows=3)
BOOLQ = dict(splits=['train', 'test'], format='boolq', test=dict(yes=5, no=3))
RTE = dict(splits=['train', 'test'], format='rte')


def reviews(rows):
    return pd.DataFrame(rows).to_csv(index=False, header=False).encode()


def review_files():
    "Few-shot files with overlap, repeats, conflicts and a text of test; seven good reviews of each rating"
    good = [(10 * stars + k, f'Review {k}, with {stars} stars', stars) for stars in range(1, 6) for k in range(7)]
    odd = [(900, 'review 1,  with 1 STARS', 1), (901, 'torn', 2), (902, 'Torn', 3), (903, 'HELD  out 4', 4)]
    return {
        'few/16-13/dev.csv': reviews(good[20:]),
        'few/4-21/train.csv': reviews(odd),
        'few/4-13/dev.csv': reviews(good[:3]),
        'few/4-13/train.csv': reviews(good[:25]),
        'few/16-13/test.csv': reviews([(k, f'held out {k}', 1 + k % 5) for k in range(10)]),
    }


def question_files():
    "Questions on seven passages, some with two answers"
    asked = [(f'Page {k} -- passage {k}', f'is it {k} or {n}', str(n % 2 == 0)) for k in range(7) for n in range(3)]
    asked += [('PAGE 1 --  Passage 1', 'is it the same passage', 'True')]
    rows = [
        {'prompt': f'passage: {p}\nquestion: {{}}', 'subject': q, 'target_new': {'str': answer}}
        for p, q, answer in asked
    ]
    return {'data/questions.jsonl': ''.join(json.dumps(r) + '\n' for r in rows).encode()}


def pair_files():
    "Premises with two hypotheses each, and a lone quote"
    head = 'index\tsentence1\tsentence2\tlabel\n'
    rows = [
        f'{n}\tPremise "{k} holds. \tHypothesis {n} holds.\t{label}\n'
        for k in range(12)
        for n, label in enumerate(('entailment', 'not_entailment'), 2 * k)
    ]
    return {'RTE/train.tsv': (head + ''.join(rows[:16])).encode(), 'RTE/dev.tsv': (head + ''.join(rows[16:])).encode()}


ALL = [(REVIEWS, review_files), (BOOLQ, question_files), (RTE, pair_files)]


@pytest.mark.parametrize('home, make', ALL, ids=['reviews', 'boolq', 'rte'])
@pytest.mark.filterwarnings('ignore:toy. rows that repeat')
def test_a_corpus_is_fetched_converted_and_kept(home, make, server, monkeypatch, tmp_path):
    files, pairs = make(), home['format'] in ('boolq', 'rte')
    frames = register_corpus(monkeypatch, server, home, files, pairs=pairs)
    assert fetch_dataset('toy') == tmp_path / 'cache/toy' and len(server.asked) == len(files)
    assert not (tmp_path / 'cache/downloads/toy').exists()
    server.files.clear()
    columns = ['text', 'text_pair', 'label'] if pairs else ['text', 'label']
    for split, frame in frames.items():
        cached = pd.read_csv(tmp_path / f'cache/toy/{split}.csv.gz', dtype=str, keep_default_na=False)
        assert cached.columns.tolist() == columns and cached.equals(frame[columns])
        assert official_rows('toy', split).equals(frame)
    corpus = load_corpus('toy')
    assert ('text_pair' in corpus.train) == ('text_pair' in corpus.test) == pairs
    assert len(corpus.train) + len(corpus.validation) == len(frames['train'])
    if pairs:
        assert set(zip(corpus.test.text, corpus.test.text_pair)) == set(
            zip(frames['test'].text, frames['test'].text_pair)
        )


def rows_of(home, files):
    return raw_rows({served_names(files)[n]: f for n, f in files.items()}, home)


def test_which_reviews_are_drawn():
    frames = rows_of(REVIEWS, review_files())
    assert frames['test'].label.value_counts().to_dict() == {f'{k} star{"s" * (k > 1)}': 2 for k in range(1, 6)}
    train = frames['train']
    assert train.label.value_counts().to_dict() == {f'{k} star{"s" * (k > 1)}': 3 for k in range(1, 6)}
    texts = [folded(t) for t in train.text]
    assert len(set(texts)) == 15 and not {'torn', 'held out 4'} & set(texts)
    assert 'review 1,  with 1 STARS' not in set(train.text), 'of two that are equal the first stays'
    assert train.label.tolist() != sorted(train.label)
    everything = rows_of(REVIEWS | {'rows': 99}, review_files())['train']
    assert len(everything) == 35 and everything.text.str.startswith('Review').all()


def test_files_are_joined_by_seed_and_size():
    "The text of a row number is that of the first file"
    files = {f'few/{f}.csv': reviews([(1, f'from {f}', 1), (f, 'other', 5)]) for f in ('4-21/train', '16-13/dev')}
    files |= {'few/4-13/dev.csv': reviews([(1, 'from 4-13/dev', 1)]), 'few/16-13/test.csv': reviews([(0, 'none', 2)])}
    assert 'from 4-13/dev' in set(rows_of(REVIEWS, files)['train'].text)
    files['few/4-13/train.csv'] = reviews([(1, 'from 4-13/train', 1)])
    texts = set(rows_of(REVIEWS, files)['train'].text)
    assert 'from 4-13/train' in texts and not {'from 4-13/dev', 'from 16-13/dev', 'from 4-21/train'} & texts


def test_no_passage_is_in_both_parts():
    train, test = (rows_of(BOOLQ, question_files())[s] for s in ('train', 'test'))
    assert not set(train.text_pair.map(folded)) & set(test.text_pair.map(folded))
    assert len(train) + len(test) == 22 and test.label.value_counts().to_dict() == {'yes': 5, 'no': 2}
    assert train.text_pair.str.startswith(('Page', 'PAGE')).all() and not train.text_pair.str.contains('question').any()


def test_quotes_mean_nothing_in_pairs():
    frames = rows_of(RTE, pair_files())
    assert len(frames['train']) == 16 and len(frames['test']) == 8
    assert frames['train'].iloc[0, 1:].tolist() == ['Premise "0 holds.', 'entailment', 'Hypothesis 0 holds.']


@pytest.mark.parametrize(
    'home, make, file, change, says',
    [
        (REVIEWS, review_files, 'few/16-13/test.csv', lambda f: f.replace(b',5\n', b',4\n', 1), "'5 stars' 1 instead"),
        (
            REVIEWS,
            review_files,
            'few/4-13/dev.csv',
            lambda f: f.replace(b'10,', b'', 1),
            'row number, review and stars',
        ),
        (REVIEWS, review_files, 'few/4-13/dev.csv', lambda f: f.replace(b'"', b'', 1), 'row number, review and stars'),
        (RTE, pair_files, 'RTE/dev.tsv', lambda f: f.replace(b'20 holds', b'20 fails'), 'the same counts, but other'),
        (RTE, pair_files, 'RTE/dev.tsv', lambda f: f.replace(b' \tHyp', b' Hyp', 1), 'number, premise, hypothesis'),
        (BOOLQ, question_files, 'data/questions.jsonl', lambda f: f[:-1000], 'not JSON lines'),
        (BOOLQ, question_files, 'data/questions.jsonl', lambda f: f.replace(b'subject', b'q'), 'no questions with a'),
        (BOOLQ, question_files, 'data/questions.jsonl', lambda f: f.replace(b'"True"', b'1', 1), 'and True or False'),
        (BOOLQ, question_files, 'data/questions.jsonl', lambda f: f.replace(b'"is it 3 or 0"', b'3'), 'are no text'),
        (
            BOOLQ,
            question_files,
            'data/questions.jsonl',
            lambda f: f.replace(b'is it 3', b'was it 3', 1),
            'the same counts, but other',
        ),
    ],
)
def test_what_has_changed_is_said_and_nothing_is_kept(home, make, file, change, says, server, monkeypatch, tmp_path):
    files = make()
    register_corpus(monkeypatch, server, home, files, pairs=home['format'] != 'reviews')
    changed = change(files[file])
    assert changed != files[file]
    server.files[f'/toy/{served_names(files)[file]}'] = changed
    message = refusal(fetch_dataset, 'toy', kind=DataMissing)
    assert says in message and 'autogets data fetch toy' in message
    assert not (tmp_path / 'cache/toy').exists() and not (tmp_path / 'cache/downloads/toy').exists()


def test_the_second_text_of_a_pair_is_checked_where_the_data_folder_holds_it(server, monkeypatch, tmp_path):
    frames = register_corpus(monkeypatch, server, RTE, pair_files(), pairs=True)
    monkeypatch.setenv('AUTOGETS_DATA', str(tmp_path / 'mine'))
    (tmp_path / 'mine/toy').mkdir(parents=True)
    for split, frame in frames.items():
        frame[['text', 'text_pair', 'label']].to_csv(tmp_path / f'mine/toy/{split}.csv.gz', index=False)
    assert official_rows('toy').equals(frames['train'])
    path = tmp_path / 'mine/toy/train.csv.gz'
    other = frames['train'].assign(text_pair=frames['train'].text_pair.str.replace('holds', 'fails'))
    other.to_csv(path, index=False)
    assert 'other texts or labels' in refusal(official_rows, 'toy')
    frames['train'][['text', 'label']].to_csv(path, index=False)
    assert "no column 'text_pair'" in refusal(official_rows, 'toy')


def test_real_texts_of_pairs_come_from_the_cache_too(server, monkeypatch):
    frames = register_corpus(monkeypatch, server, RTE, pair_files(), pairs=True)
    assert missing(needs_of({'humans': ['toy/text_pair']})) == ['toy']
    rows, column = real_texts('toy/text_pair')
    assert rows.equals(frames['train']) and column == 'text_pair' and missing(['toy']) == []


def test_registered_sets_have_a_size_and_a_home(server):
    names = ['boolq', 'rte', 'amazon_reviews']
    rows = list_sources().set_index('name').loc[names]
    assert (rows.MB > 0.5).all() and set(rows['where']) == {'not here'}
    for name in names:
        shown = describe_dataset(name)
        assert 'raw.githubusercontent.com' in shown and len(shown.splitlines()) < 25
    assert fetch_missing(names) == names and len(server.asked) > 2
