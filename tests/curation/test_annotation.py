"Which texts to label next: known answers, what methods may see, memory, sheets, and an LLM that fills one in"

import json
import tracemalloc
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from autogets.cli import app, main
from autogets.core import UserError
from autogets.curation import annotation as a
from autogets.curation.annotation import ANNOTATION_METHODS, TARGETED, NEED_CLASSIFIER, Unlabeled, neighbor_graph, rank
from autogets.curation.annotation_sheet import (
    FIRST_METHOD,
    NEXT_METHOD,
    RARE_METHOD,
    AnnotationSettings,
    annotate,
    annotation_method,
    examples_shown,
)
from autogets.data.corpus import read_corpus
from autogets.llm.cache import Replies
from autogets.llm.chat import Chat, OpenAIChat, Reply
from autogets.llm.classify import class_requests


def unit(x):
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def clouds(sizes=(120, 60, 12), noise=0.25, seed=0):
    "Vectors around as many directions, probabilities of a fair classifier, and the direction of each"
    rng, truth = np.random.default_rng(seed), np.repeat(range(len(sizes)), sizes)
    x = unit(np.eye(8)[truth] + noise * rng.normal(size=(len(truth), 8)))
    z = np.exp(6 * x[:, : len(sizes)])
    return x, z / z.sum(1, keepdims=True), truth


@pytest.fixture(scope='module')
def view():
    x, p, truth = clouds()
    return Unlabeled(x, p, x[[0, 120, 180]], examples=x[[180]], target=2, seed=3), truth


# --- every method ---


@pytest.mark.parametrize('method', [*ANNOTATION_METHODS, *TARGETED])
def test_a_ranking_names_rows_once_and_is_the_same_again(method, view):
    u, _ = view
    rows = rank(method, u, 25)
    assert len(set(rows.tolist())) == len(rows) == 25 and rows.min() >= 0 and rows.max() < len(u)
    again = Unlabeled(u.vectors, u.probabilities, u.labeled, examples=u.examples, target=2, seed=3)
    assert rank(method, again, 25).tolist() == rows.tolist()
    assert sorted(rank(method, u, 500)) == list(range(len(u))), 'all of them, where more are wanted'


@pytest.mark.parametrize('method', sorted(set(ANNOTATION_METHODS) - set(NEED_CLASSIFIER)))
def test_without_a_classifier(method, view):
    assert len(rank(method, Unlabeled(view[0].vectors), 9)) == 9


def test_what_a_method_needs_is_said(view):
    bare = Unlabeled(view[0].vectors)
    for method in NEED_CLASSIFIER:
        with pytest.raises(UserError, match='nothing is labeled yet'):
            rank(method, bare, 5)
    with pytest.raises(UserError, match='cannot choose 0 texts'):
        rank('random', bare, 0)
    with pytest.raises(UserError, match='unknown method of annotation'):
        rank('luck', bare, 5)


# --- known answers ---


def test_doubts_by_hand():
    p = np.array([[0.5, 0.5, 0], [0.4, 0.3, 0.3], [0.6, 0.39, 0.01], [0.9, 0.1, 0]])
    u = Unlabeled(np.eye(4), p)
    assert rank('margin', u, 4).tolist() == [0, 1, 2, 3]
    assert rank('least-confidence', u, 4).tolist() == [1, 0, 2, 3]
    h = -(p * np.log(np.maximum(p, 1e-12))).sum(1)
    assert rank('entropy', u, 4).tolist() == np.argsort(-h).tolist()
    even = Unlabeled(np.eye(4), np.full((4, 2), 0.5))
    assert all(rank(m, even, 4).tolist() == [0, 1, 2, 3] for m in ('margin', 'entropy', 'least-confidence'))


def test_k_center_greedy_covers_what_is_far(view):
    u, truth = view
    far = rank('diversity', Unlabeled(u.vectors), 3)
    assert len(set(truth[far])) == 3
    x = unit(np.array([[1, 0], [0.9, 0.1], [0, 1], [0.5, 0.5]]))
    assert rank('diversity', Unlabeled(x, labeled=x[[0]]), 2).tolist() == [2, 3]


def test_k_means_takes_one_text_of_each_cloud_large_ones_first(view):
    u, truth = view
    assert truth[rank('k-means', Unlabeled(u.vectors), 3)].tolist() == [0, 1, 2]


def slow_vote(x, k, n):
    "Fast vote-k by its definition: a vote counts ten to minus the chosen neighbors of the voter"
    like = x @ x.T
    np.fill_diagonal(like, -9)
    graph = [set(np.argsort(-row)[:k]) for row in like]
    chosen = []
    for _ in range(n):
        score = Counter()
        for v in set(range(len(x))) - set(chosen):
            for i in graph[v] - set(chosen):
                score[i] += 10.0 ** -len(graph[v] & set(chosen))
        chosen.append(max(sorted(score), key=lambda i: round(score[i], 9)))
    return chosen


def test_fast_vote_k_is_what_its_definition_says(view):
    x = view[0].vectors
    assert rank('fast-vote-k', Unlabeled(x), 8).tolist() == slow_vote(x, a.votes_each(len(x)), 8)


def test_labeled_texts_count_as_chosen(view):
    x = view[0].vectors
    first = int(rank('fast-vote-k', Unlabeled(x), 1)[0])
    beside = Unlabeled(np.delete(x, first, axis=0), labeled=x[[first]])
    whole, rest = rank('fast-vote-k', Unlabeled(x), 4)[1:], np.delete(np.arange(len(x)), first)
    assert rest[rank('fast-vote-k', beside, 3)].tolist() == whole.tolist()


def test_vote_k_asks_from_doubtful_to_confident(view):
    u, _ = view
    rows = rank('vote-k', u, 40)
    assert rows[: a.FIRST_VOTES].tolist() == rank('fast-vote-k', u, a.FIRST_VOTES).tolist()
    sure = u.probabilities.max(1)[rows[a.FIRST_VOTES :]]
    slices = sure.reshape(-1, 5).mean(1)
    assert (np.diff(slices) > -0.02).all() and sure.max() <= np.quantile(u.probabilities.max(1), 0.96)


def test_a_rare_class_is_found(view):
    u, truth = view
    by_chance = 25 * 12 / 192
    for method in TARGETED:
        assert (truth[rank(method, u, 25)] == 2).sum() > 4 * by_chance, method


def test_methods_see_no_label():
    assert set(Unlabeled.__dataclass_fields__) == {
        'vectors',
        'probabilities',
        'labeled',
        'examples',
        'target',
        'seed',
    }


# --- many texts ---


def test_neighbors_in_cells_are_nearly_those_of_all_pairs():
    x = clouds((900, 500, 100), seed=1)[0]
    whole, cells = neighbor_graph(x, 15, exact=True), neighbor_graph(x, 15, exact=False)
    assert whole.multiply(cells).sum() / whole.sum() > 0.85
    assert cells.diagonal().sum() == 0 and cells.sum(1).max() == 15


def test_memory_grows_with_the_texts_and_not_with_their_square():
    rng, peaks = np.random.default_rng(0), []
    for n in (1500, 3000):
        x = unit(rng.normal(size=(n, 8)))
        tracemalloc.start()
        neighbor_graph(x, 20, exact=False)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2.8 * peaks[0]


def test_texts_without_words_have_no_neighbors():
    x = a.word_vectors(['...', '!!', 'red paint', 'red gloss', 'blue paint'])
    assert (x[:2] == 0).all() and np.isfinite(x).all()
    assert len(rank('fast-vote-k', Unlabeled(x), 3)) == 3
    with pytest.raises(UserError, match='no training text has a word'):
        a.word_vectors(['...', '!'])


# --- sheets ---

LABELED = pd.DataFrame({'text': ['so slow', 'it is gone', 'slow again', 'where is it'], 'label': ['late', 'lost'] * 2})
NEW = pd.DataFrame({'text': ['slow post', 'gone for good', 'so slow!', 'no parcel', 'slow, slow', 'nothing came']})
PLAIN = dict(classifier='linear', vectors='words')


def test_defaults_depend_on_what_is_labeled():
    s = AnnotationSettings()
    assert annotation_method(s, False, []) == FIRST_METHOD not in NEED_CLASSIFIER
    assert annotation_method(s, True, ['a']) == NEXT_METHOD in ANNOTATION_METHODS
    assert annotation_method(AnnotationSettings(target='a'), True, ['a']) == RARE_METHOD in TARGETED
    for bad, labeled, said in (
        (AnnotationSettings('both'), True, 'looks for one class'),
        (AnnotationSettings(target='a'), False, 'needs examples of it'),
        (AnnotationSettings(target='b'), True, "unknown class 'b'"),
        (AnnotationSettings('margin'), False, 'nothing is labeled yet'),
    ):
        with pytest.raises(UserError, match=said):
            annotation_method(bad, labeled, ['a'])


def test_a_sheet_leaves_out_what_need_not_be_labeled(tmp_path):
    more = pd.concat([NEW, pd.DataFrame({'text': ['', 'SLOW post', 'so slow']})], ignore_index=True)
    sheet = annotate(more, real=LABELED, n=50, **PLAIN)
    assert sorted(sheet['row']) == [1, 2, 4, 5, 6] and set(sheet.suggestion) <= {'late', 'lost'}
    assert (sheet.label == '').all() and sheet.probability.between(0, 1).all()


def test_a_filled_in_sheet_is_read_by_the_usual_reader(tmp_path):
    NEW.to_csv(tmp_path / 'new.csv', index=False)
    sheet = annotate(tmp_path / 'new.csv', real=LABELED, n=4, out=tmp_path / 's.csv', **PLAIN)
    with pytest.raises(UserError, match='rows without a label'):
        read_corpus(tmp_path / 's.csv', test=LABELED)
    sheet.assign(label=['late', 'lost'] * 2).to_csv(tmp_path / 's.csv', index=False)
    assert read_corpus(tmp_path / 's.csv', test=LABELED).classes == ['late', 'lost']
    with pytest.raises(UserError, match='holds labels already'):
        annotate(tmp_path / 'new.csv', real=LABELED, n=4, out=tmp_path / 's.csv', **PLAIN)


def test_bad_input_is_one_line(tmp_path):
    for changes, said in (
        (dict(text='body'), "has no column 'body'"),
        (dict(n=0), 'the sheet has 0 texts'),
        (dict(unlabeled=NEW[:0]), 'has no text to label'),
        (dict(unlabeled=LABELED, real=LABELED), 'has no text to label'),
        (dict(real=LABELED.assign(label='late')), 'a single class'),
        (dict(model='openai:gpt-4o-mini'), 'an LLM costs money: name a file'),
        (dict(model='openai:gpt-4o-mini', real=None, out=tmp_path / 'x.csv'), 'needs to know the classes'),
        (dict(target=('late', 'lost')), 'give one, or all'),
        (dict(real=LABELED.rename(columns={'label': 'row'}), real_label='row'), 'has a column row of its own'),
    ):
        with pytest.raises(UserError, match=said):
            annotate(**dict(unlabeled=NEW, real=LABELED, **PLAIN) | changes)


def test_an_llm_fills_a_sheet_in_and_is_paid_once(tmp_path, monkeypatch):
    asked = []

    async def nothing(self):
        pass

    async def complete(self, request):
        asked.append(request)
        text = request.messages[-1]['content'].split('<text>')[-1]
        label = 'late' if 'slow' in text else 'lost' if 'gone' in text else 'neither'
        return Reply(json.dumps({'label': label}), 'stop', 100, 5)

    monkeypatch.setattr(OpenAIChat, 'open', nothing)
    monkeypatch.setattr(OpenAIChat, 'complete', complete)
    how = dict(real=LABELED, n=6, model='openai:gpt-4o-mini', max_cost=1, **PLAIN)
    sheet = annotate(NEW, **how, out=tmp_path / 's.csv')
    want = ['late' if 'slow' in t else 'lost' if 'gone' in t else '' for t in sheet.text]
    assert sheet.label.tolist() == want and sheet.attrs['cost'] > 0
    assert (sheet.labeled_by[sheet.label != ''] == 'openai:gpt-4o-mini').all() and '' in want
    first = len(asked)
    (tmp_path / 's.csv').unlink()
    again = annotate(NEW, **how, out=tmp_path / 's.csv')
    assert again.label.tolist() == want and len(asked) - first <= 2, 'only what could not be read is asked again'


def test_examples_are_shown_evenly():
    rows = pd.DataFrame({'text': list('abcdef'), 'label': ['x'] * 4 + ['y'] * 2})
    assert examples_shown(rows, 3) == [('a', 'x'), ('e', 'y'), ('b', 'x')]


def test_recorded_replies_stand_in_for_a_model(tmp_path):
    shown = examples_shown(LABELED, 10)
    with Replies(tmp_path / 'said.jsonl') as store:
        for t, r in zip(NEW.text, class_requests(list(NEW.text), ['late', 'lost'], shown)):
            store.add(Chat(), r, Reply('{"label": "lost"}', 'stop', 9, 3))
    sheet = annotate(NEW, real=LABELED, n=3, out=tmp_path / 's.csv', model=f'recorded:{tmp_path}/said.jsonl', **PLAIN)
    assert (sheet.label == 'lost').all()


# --- from the command line ---


def test_annotate_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    NEW.rename(columns={'text': 'message'}).to_csv('new.csv', index=False)
    LABELED.rename(columns={'text': 'body', 'label': 'topic'}).to_csv('train.csv', index=False)
    real = ['--text', 'message', '--real', 'train.csv', '--real-text', 'body', '--real-label', 'topic']
    how = ['--classifier', 'linear', '--vectors', 'words']
    r = CliRunner().invoke(app, ['annotate', 'new.csv', *real, *how, '-q', '--n', '3', '--out', 's.csv'])
    assert r.exit_code == 0, r.output
    assert list(pd.read_csv('s.csv')) == ['row', 'body', 'topic', 'suggestion', 'probability', 'method']
    r = CliRunner().invoke(app, ['annotate', 'new.csv', *real, *how, '--target', 'late', '--json', '--out', 't.csv'])
    assert json.loads(r.stdout)['method'] == RARE_METHOD
    monkeypatch.setattr('sys.argv', ['autogets', 'annotate', 'no.csv', *real])
    with pytest.raises(SystemExit) as e:
        main()
    said = capsys.readouterr().err
    assert e.value.code == 2 and 'no.csv does not exist' in said and len(said.splitlines()) == 1
