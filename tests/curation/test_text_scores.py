"""Methods that say which synthetic texts to trust: what was planted is found, and figures are those of the papers"""

import json
import sys
import zlib
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from datasketch import MinHash, MinHashLSH

import worlds
from autogets import curation
from autogets.classifiers.encoders import encoder_at_hand
from autogets.classifiers.fixed_ridge import FixedRidge
from autogets.core import UserError, text_id
from autogets.curation.confidence import data_map, label_margin, probe_rounds, sibling_agreement
from autogets.curation.coverage import cover_order, coverage_rank, greedy_cover
from autogets.curation.generation import generation_probability, judge_score
from autogets.curation.influential import loss_influence, ridge_state, robust_influence
from autogets.curation.neighbors import nearest_chances, nearest_rows, neighbor_values, originality, real_neighbors
from autogets.curation.planted_problems import PROBLEMS, plant, within_class_auc
from autogets.curation.pool_view import PoolView
from autogets.curation.text_scores import TEXT_SCORES, list_text_scores, score_texts, score_view
from autogets.data.corpus import split_corpus
from autogets.generators.filters import LLMJudge, Near, pieces
from autogets.generators.recordings import recording_pool
from autogets.llm.chat import Chat, Reply

TOPICS = {
    'tea': 'kettle leaf cup steam pot brew mug pour infuse teabag'.split(),
    'sea': 'wave boat salt gull tide sail wind deck harbor anchor'.split(),
    'ski': 'snow lift pole slope ice boot ridge pass glove descent'.split(),
}
COMMON = 'the a we saw it and then by for with long good some day time one more over said took'.split()
ELSEWHERE = 'invoice ledger audit payroll budget quarter fiscal revenue margin asset'.split()
LABELS = ('label-probability', 'label-margin', 'learned-confidence', 'neighbor-agreement', 'knn-shapley')
LABELS += ('calibrated-knn-shapley', 'robust-influence')
MADE_FOR = [(m, 'wrong label', 0.8) for m in LABELS] + [
    ('loss-influence', 'wrong label', 0.6),
    ('confident-learning', 'wrong label', 0.8),
    ('originality', 'copy', 0.95),
    ('coverage-rank', 'copy', 0.8),
    ('nearness', 'off topic', 0.9),
    ('label-probability', 'off topic', 0.8),
    ('nearness', 'strange style', 0.8),
]


def sentence(rng, label, words=9):
    "Common words and three of the topic, of which one may be another topic's"
    topics = [label, label, label if rng.random() < 0.4 else rng.choice(list(TOPICS))]
    return ' '.join(rng.permutation([*rng.choice(COMMON, words), *(rng.choice(TOPICS[t]) for t in topics)]))


def invented(n=60, seed=0):
    "A corpus of three classes and a pool of two texts of each training text"
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame([(sentence(rng, c), c) for c in TOPICS for _ in range(n)], columns=['text', 'label'])
    corpus = split_corpus(rows.assign(id=rows.text.map(text_id)), 'invented', 'stratified')
    made = [(sentence(rng, r.label), r.label, [r.id]) for r in corpus.train.itertuples() for _ in range(2)]
    return corpus, pd.DataFrame(made, columns=['text', 'label', 'source_ids'])


@pytest.fixture(scope='module')
def world():
    return invented()


@pytest.fixture(scope='module')
def strangers():
    rng = np.random.default_rng(5)
    return [' '.join([*rng.choice(ELSEWHERE, 9), *rng.choice(COMMON, 3)]) for _ in range(50)]


@pytest.fixture(scope='module')
def views(world, strangers):
    corpus, texts = world
    spoiled = {p: plant(texts, p, seed=1, strangers=strangers) for p in PROBLEMS}
    return {p: (PoolView(corpus, rows, 'linear'), rows.planted.to_numpy()) for p, rows in spoiled.items()}


@pytest.fixture(scope='module')
def view(world):
    return PoolView(*world, 'linear')


# --- what is planted is found


@pytest.mark.parametrize('method, problem, least', MADE_FOR)
def test_a_method_finds_what_it_is_made_for(views, method, problem, least):
    if method == 'confident-learning':
        pytest.importorskip('cleanlab')
    view, planted = views[problem]
    assert within_class_auc(score_view(view, method), planted, view.codes) > least


def test_with_an_encoder(monkeypatch):
    monkeypatch.delenv('AUTOGETS_ENCODER', raising=False)
    if not encoder_at_hand():
        pytest.skip('no encoder is at hand')
    tickets, texts = recording_pool('tickets')
    few = tickets.train[tickets.train.label.isin(tickets.classes[:6])].groupby('label').head(12)
    parts = {s: getattr(tickets, s)[getattr(tickets, s).label.isin(few.label)] for s in ('validation', 'test')}
    texts = texts[texts.source_ids.str[0].isin(few.id)]
    rows = plant(texts, 'wrong label', seed=1)
    view = PoolView(replace(tickets, train=few, **parts), rows, 'encoder:offline')
    found = {m: within_class_auc(score_view(view, m), rows.planted, view.codes) for m in LABELS}
    assert min(found.values()) > 0.7, sorted(found.items(), key=lambda x: x[1])


def test_repeated_writings_find_the_one_that_went_astray():
    corpus, _ = invented(30)
    rng = np.random.default_rng(2)
    rows = [
        (sentence(rng, r.label if k else 'tea'), r.label, [r.id], r.label != 'tea' and not k)
        for r in corpus.train.itertuples()
        for k in range(4)
    ]
    texts = pd.DataFrame(rows, columns=['text', 'label', 'source_ids', 'astray'])
    view = PoolView(corpus, texts, 'linear')
    assert within_class_auc(sibling_agreement(view), texts.astray, view.codes) > 0.75
    assert np.isnan(sibling_agreement(PoolView(corpus, texts.iloc[::4], 'linear'))).all()
    assert np.isnan(sibling_agreement(PoolView(corpus, texts[['text', 'label']], 'linear'))).all()


# --- by hand


def test_the_margin_is_above_zero_where_the_prediction_is_the_label(view):
    agrees = view.proba.argmax(1) == view.codes
    assert ((label_margin(view) > 0) == agrees).all() and 0.5 < agrees.mean() < 1


def test_a_data_map_is_the_mean_and_spread_of_the_rounds(view):
    found = data_map(view, rounds=4)
    real, new = view.vectors
    kept, own = view.fold != 0, view.home == 0
    p = probe_rounds(real[kept], view.real_codes[kept], new[own], classes=3, rounds=4)
    p = p[:, np.arange(own.sum()), view.codes[own]]
    assert np.allclose(found.confidence[own], p.mean(0)) and np.allclose(found.variability[own], p.std(0))
    assert set(found.group) <= {'easy', 'ambiguous', 'hard'}
    with pytest.raises(UserError, match='give 1 or more'):
        data_map(view, rounds=0)


def test_a_class_that_training_lacks_without_the_source_is_not_judged(world):
    corpus, texts = world
    one = corpus.train[corpus.train.label == 'tea'].head(1)
    rare = replace(corpus, train=pd.concat([one, corpus.train[corpus.train.label != 'tea']]))
    texts = texts[[set(i) <= set(rare.train.id) for i in texts.source_ids]]
    view = PoolView(rare, texts, 'linear')
    for method in ('label-probability', 'label-margin', 'learned-confidence', 'sibling-agreement'):
        assert (np.isnan(score_view(view, method)) == (view.pool.label == 'tea').to_numpy()).all(), method
    for method in ('neighbor-agreement', 'nearness', 'originality', 'knn-shapley', 'robust-influence', 'coverage-rank'):
        assert np.isfinite(score_view(view, method)).all(), method


def test_neighbors_are_real_and_no_source(world):
    corpus, texts = world
    both = texts.assign(
        source_ids=[[a, b] for a, b in zip(texts.source_ids.str[0], corpus.train.id.iloc[:1].repeat(len(texts)))]
    )
    view = PoolView(corpus, both, 'linear')
    at, cosine = real_neighbors(view, 5)
    assert all(not set(own) & set(found) for own, found in zip(view.sources, at)) and (np.diff(cosine) <= 1e-6).all()
    real, new = view.near_vectors
    like = (new @ real.T).toarray()
    like[view.kin.toarray()] = -1
    assert np.allclose(np.sort(like)[:, ::-1][:, :5], cosine, atol=1e-6)


def test_fewer_neighbors_than_asked_for():
    x = np.eye(3)
    at, cosine = nearest_rows(x[:1], x, 3, absent=sp.csr_matrix([[1, 0, 0]]))
    assert at[0, 2] == -1 and np.isnan(cosine[0, 2]) and set(at[0, :2]) == {1, 2}
    with pytest.raises(UserError, match='give 1 or more'):
        nearest_rows(x, x, 0)


@pytest.mark.parametrize('k', [1, 2, 4])
def test_values_are_shapley_values(k):
    "Over all orders in which the others may come, for several held-out texts together"
    rng, n = np.random.default_rng(k), 6
    x, codes, held, truth = (
        rng.normal(size=(n, 3)),
        rng.integers(2, size=n),
        rng.normal(size=(4, 3)),
        rng.integers(2, size=4),
    )
    absent = sp.csr_matrix((rng.random((4, n)) < 0.2).astype(float))
    values = np.zeros(n)
    for h in range(4):
        there = [i for i in range(n) if not absent[h, i]]
        like = x @ held[h]

        def worth(s):
            return sum(codes[i] == truth[h] for i in sorted(s, key=lambda i: -like[i])[:k]) / k

        for i in there:
            rest = [j for j in there if j != i]
            for size in range(len(rest) + 1):
                subsets = list(combinations(rest, size))
                values[i] += np.mean([worth((*s, i)) - worth(s) for s in subsets]) / len(there) / 4
    assert np.allclose(neighbor_values((held, truth), (x, codes), absent, k=k, block=3), values)


def test_blocks_and_the_nearest_few_change_nothing():
    rng = np.random.default_rng(0)
    x, codes, held, truth = (
        rng.normal(size=(300, 8)),
        rng.integers(3, size=300),
        rng.normal(size=(50, 8)),
        rng.integers(3, size=50),
    )
    none = sp.csr_matrix((50, 300))
    few = neighbor_values((held, truth), (x, codes), none, k=5, least=0.5, block=7)
    c = nearest_chances(5, 300, 0.5)
    order = np.argsort(-(held @ x.T), axis=1)
    right, slow = codes[order] == truth[:, None], np.zeros(300)
    for o, r in zip(order, right):
        slow[o] += [r[i] * c[i] - (r[i + 1 :] * (c[i:-1] - c[i + 1 :])).sum() for i in range(300)]
    assert np.allclose(few, slow / 5 / 50, atol=1e-9) and (c > 1e-9).sum() < 60
    with pytest.raises(UserError, match='from 0 to below 1'):
        nearest_chances(5, 10, 1)


@pytest.mark.parametrize('method', [loss_influence, robust_influence])
def test_influence_is_the_fall_of_the_loss_for_a_small_step(view, method):
    found, k = method(view, weight=0.5), 11
    solution, weights, left_out = ridge_state(view, 0.5)
    y, real = view.real_codes, len(view.train)
    alpha = next(
        a
        for a in (0.1, 0.3, 1.0, 3.0, 10.0)
        if np.allclose(FixedRidge(solution.system, weights, a).left_out(), left_out)
    )

    def loss(step, scale):
        w = weights.copy()
        w[real + k] += step
        z = scale * FixedRidge(solution.system, w, alpha).left_out()
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        own = p[np.arange(real), y]
        return np.mean(-np.log(own) if method is loss_influence else 1 - own)

    scales = np.linspace(-7, 5, 4001)
    scale = np.exp(min(scales, key=lambda s: log_loss(np.exp(s) * left_out, y)))
    slope = (loss(1e-4, scale) - loss(-1e-4, scale)) / 2e-4
    assert -slope == pytest.approx(found[k], rel=0.02, abs=1e-8)
    with pytest.raises(UserError, match='above 0'):
        method(view, weight=0)


def log_loss(z, y):
    z = z - z.max(1, keepdims=True)
    return (np.log(np.exp(z).sum(1)) - z[np.arange(len(y)), y]).mean()


def test_the_first_of_several_copies_is_original(world):
    corpus, texts = world
    rows = pd.concat([texts.head(3), texts.head(3), texts.head(1).assign(text=corpus.train.text.iloc[0])])
    assert originality(PoolView(corpus, rows, 'linear')).tolist() == [1, 1, 1, 0, 0, 0, 0]


def test_a_cover_takes_the_center_first_and_then_what_is_left():
    edges = np.eye(6, dtype=bool)
    edges[0, 1:4] = edges[1:4, 0] = edges[4, 5] = edges[5, 4] = True
    chosen, covered = greedy_cover(sp.csr_matrix(edges), 2)
    assert chosen.tolist() == [0, 4] and covered.all()
    chosen, covered = greedy_cover(sp.csr_matrix(edges), 1)
    assert chosen.tolist() == [0] and covered.tolist() == [True] * 4 + [False] * 2


def test_every_text_has_its_place_in_the_cover(view):
    rank = coverage_rank(view, share=0.3)
    for c in range(3):
        own = np.sort(rank[view.codes == c])
        assert np.allclose(own, np.arange(1, len(own) + 1) / len(own))
    lone = np.eye(1)
    assert cover_order(lone)[0].tolist() == [0]
    for wrong in ({'share': 0}, {'coverage': 1.5}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            coverage_rank(view, **wrong)


def test_a_smaller_share_needs_a_lower_threshold(view):
    new = view.near_vectors[1]
    assert cover_order(new, 0.1)[1] < cover_order(new, 0.5)[1]


# --- what language models say


class Grader(Chat):
    "Scores by the first letter; fails at a `b`"

    kind, model, endpoint, batch = 'pretended', 'grader', 'here', 64

    def complete_many(self, requests):
        return [self.one(r) for r in requests]

    def one(self, request):
        asked = next(m['content'] for m in request.messages if '</text>' in m['content'])
        text = json.loads(asked.split('<text>')[1].split('</text>')[0])['text']
        said = json.dumps({'score': 4 if text[0] == 'a' else 1, 'reason': 'x'})
        return Reply('no score' if text[0] == 'b' else said, 'stop', 5, completion_tokens=5)


def test_the_judge_gives_scores_and_nan_where_none_came(world):
    corpus, texts = world
    rows = texts.head(3).assign(text=['a text', 'better text', 'c text'])
    view = PoolView(corpus, rows, 'linear')
    assert np.array_equal(judge_score(view, Grader()), [4, np.nan, 1], equal_nan=True)
    judge = LLMJudge(Grader(), threshold=3)
    assert np.array_equal(judge_score(view, judge), [4, np.nan, 1], equal_nan=True)
    why = judge.reasons(rows)
    assert why[0] == '' and why[1].startswith('not judged') and why[2] == 'judged too low'
    with pytest.raises(UserError, match='needs a chat model'):
        judge_score(view)


def test_generation_probability_needs_log_probabilities(world):
    corpus, texts = world
    rows = texts.head(3).assign(parameters=[{'logprobs': [-1, -3]}, {'mean_logprob': -0.5}, {}])
    found = generation_probability(PoolView(corpus, rows, 'linear'))
    assert found[:2] == pytest.approx(np.exp([-2, -0.5])) and np.isnan(found[2])
    with pytest.raises(UserError, match='no log probability is recorded'):
        generation_probability(PoolView(corpus, texts.head(3), 'linear'))
    with pytest.raises(UserError, match='text 1 has a mean log probability above 0'):
        generation_probability(PoolView(corpus, rows.assign(parameters=[{}, {'mean_logprob': 0.5}, {}]), 'linear'))


def test_without_cleanlab_one_line_says_what_to_install(view, monkeypatch):
    monkeypatch.setitem(sys.modules, 'cleanlab.rank', None)
    with pytest.raises(UserError, match=r'autogets\[cleanlab\]'):
        score_view(view, 'confident-learning')


# --- by name


def test_every_method_is_listed_with_its_source():
    t = list_text_scores()
    assert t.name.tolist() == list(TEXT_SCORES) and (t[['what', 'reads', 'source']] != '').all(axis=None)


def test_the_index_of_the_pool_is_kept(world):
    corpus, texts = world
    rows = texts.set_index(pd.Index([f't{i}' for i in range(len(texts))]))
    found = score_texts(corpus, rows, 'nearness', 'linear', k=3)
    assert found.index.equals(rows.index) and found.name == 'nearness'
    assert curation.score_texts is score_texts


def test_an_unknown_method_or_setting_is_named(world):
    corpus, texts = world
    with pytest.raises(UserError, match='nearness'):
        score_texts(corpus, texts, 'nearnes', 'linear')
    with pytest.raises(UserError, match='setting of nearness: .*j'):
        score_texts(corpus, texts, 'nearness', 'linear', j=3)


def test_the_same_seed_gives_the_same_figures(world):
    corpus, texts = world
    for method in ('learned-confidence', 'knn-shapley', 'robust-influence'):
        a, b = (score_texts(corpus, texts, method, 'linear', seed=3) for _ in range(2))
        assert (a == b).all(), method


def test_a_plant_changes_what_it_says_and_nothing_else(world, strangers):
    _, texts = world
    for problem in PROBLEMS:
        rows = plant(texts, problem, seed=1, strangers=strangers)
        sound = rows[~rows.planted].reset_index(drop=True)
        where = (~rows.planted).to_numpy()[: len(texts)]
        assert (sound.text == texts.text[where].reset_index(drop=True)).all() and 0 < rows.planted.sum() < len(texts)
    wrong = plant(texts, 'wrong label')
    assert ((wrong.label != texts.label) == wrong.planted).all() and (wrong.text == texts.text).all()
    with pytest.raises(UserError, match='give strangers'):
        plant(texts, 'off topic')


# --- near-duplicates in less memory


def test_the_band_index_finds_what_that_of_datasketch_finds():
    corpus = worlds.corpus(n=60, tag=False)
    texts = [*corpus.train.text, *(t + ' again' for t in corpus.train.text)]
    near, lsh, signed = Near(0.7), MinHashLSH(num_perm=64, params=(21, 3)), []
    for k, t in enumerate(texts):
        signed.append(MinHash(64, seed=1, hashfunc=zlib.crc32))
        signed[-1].update_batch([p.encode() for p in sorted(pieces(t))])
        near.add(k, t)
        lsh.insert(k, signed[-1])
    for signature in signed:
        assert near._index.query(signature.hashvalues) == set(lsh.query(signature))
    for k in range(len(texts)):
        near.remove(k)
    assert not any(near._index.tables)
