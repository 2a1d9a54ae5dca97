"""How good synthetic texts are: figures with known answers, faults that are planted and found, pages that hold"""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import autogets as ag
from autogets.cli import app
from autogets.core import UserError
from autogets.curation.closeness import (
    coverage_density,
    expected_coverage,
    near_copies,
    neighbor_changes,
    repeats,
    source_distances,
    topic_coverage,
    two_sample_auc,
)
from autogets.curation.diversity import (
    distinct_n,
    equal_draw,
    pairwise_cosine,
    nearest,
    self_bleu,
    shared_ngrams,
    vendi,
    word_lists,
)
from autogets.curation.quality import pool_provenance, quality, synthetic_texts, write_quality
from autogets.curation.quality_card import card_markdown, card_table, quality_verdict, text_samples
from autogets.curation.quality_figures import LIGHT_RULES, SAYS, QualitySettings, Rule
from autogets.data.corpus import read_corpus
from autogets.generators.pool import Pool

TOPICS = {
    'tea': 'kettle leaf cup steam pot brew mug pour jug spoon'.split(),
    'sea': 'wave boat salt gull tide sail wind deck mast foam'.split(),
    'ski': 'snow lift pole slope ice boot ridge pass hut trail'.split(),
}
COMMON = 'the a we saw it and then by for with long good some day time one more over said took went came near'.split()
WORDS = {'encoder': 'words'}


def written(n, seed, classes=tuple(TOPICS), odd=()):
    "Texts of invented classes: common words and three of the topic; `odd` words take the place of some"
    rng = np.random.default_rng(seed)
    rows = [
        (' '.join([*rng.choice(COMMON, 8), *rng.choice(TOPICS[c], 3), *rng.choice([*odd, 'so'], 1)]), c)
        for c in classes
        for _ in range(n)
    ]
    return pd.DataFrame(rows, columns=['text', 'label'])


def unit(rows):
    rows = np.asarray(rows, float)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope='module')
def corpus():
    return read_corpus(written(32, 0), name='topics')


@pytest.fixture(scope='module')
def pool(corpus):
    "A fresh text of its class for each training text"
    rows = pd.concat([written(1, 100 + k, (c,)) for k, c in enumerate(corpus.train.label)], ignore_index=True)
    return rows.assign(source_ids=[[i] for i in corpus.train.id])


@pytest.fixture(scope='module')
def good(corpus, pool):
    return quality(corpus, pool, **WORDS)


def bad(found):
    t = found.table.set_index('figure')
    return set(t.index[t.light == 'bad'])


# --- diversity ---


def bleu(lists, i, n=4):
    "Sentence BLEU of text i with all others as references, by the definition"
    own, others, logs = lists[i], [ws for k, ws in enumerate(lists) if k != i], []
    for k in range(1, min(n, len(own)) + 1):
        grams = Counter(zip(*(own[j:] for j in range(k))))
        refs = [Counter(zip(*(ws[j:] for j in range(k)))) for ws in others]
        hits = sum(min(c, max(r[g] for r in refs)) for g, c in grams.items())
        logs.append(np.log((hits or 0.1) / grams.total()))
    closest = min((abs(len(ws) - len(own)), len(ws)) for ws in others)[1]
    return np.exp(np.mean(logs)) * min(1, np.exp(1 - closest / len(own)))


def test_self_bleu_is_that_of_the_definition():
    rng = np.random.default_rng(3)
    lists = [list(rng.choice(COMMON[:8], rng.integers(1, 12))) for _ in range(25)]
    assert self_bleu(lists) == pytest.approx(np.mean([bleu(lists, i) for i in range(25)]))
    assert self_bleu([*lists, []]) == pytest.approx(self_bleu(lists))
    assert self_bleu([['a']]) == self_bleu([]) == 0


def test_copies_have_no_diversity():
    same = word_lists(['my badge is lost again'] * 5)
    assert self_bleu(same) == 1 and shared_ngrams(same) == 1 and distinct_n(same) == 4 / 20
    V = unit(np.ones((5, 3)))
    assert pairwise_cosine(V) == pytest.approx(1) and vendi(V) == pytest.approx(1) and nearest(V)[0].max() < 1e-6


def test_vectors_at_right_angles_are_all_different():
    assert pairwise_cosine(np.eye(6)) == 0 and vendi(np.eye(6)) == pytest.approx(6)
    assert nearest(np.eye(6))[0] == pytest.approx(np.ones((6, 1)))


def test_few_texts_have_no_neighbors():
    assert np.isnan(nearest(np.eye(1))[0]).all() and np.isnan(pairwise_cosine(np.eye(1)))
    assert nearest(np.eye(2), k=5)[0].shape == (2, 1)


def test_words_without_an_end_are_cut():
    assert word_lists(['a b', 'c d e'], 3) == [['a', 'b'], ['c']]
    assert distinct_n(word_lists([], 3)) == 0 and shared_ngrams([]) == 0


def test_as_many_of_each_class_are_drawn():
    one, two = np.array(list('aaaabbc')), np.array(list('abbbbd'))
    i, j = equal_draw(one, two, np.random.default_rng(0))
    assert sorted(one[i]) == sorted(two[j]) == ['a', 'b', 'b']
    i, j = equal_draw(['a'] * 50, ['a'] * 70, np.random.default_rng(0), most=10)
    assert len(set(i)) == len(set(j)) == 10
    assert not len(equal_draw(['a'], ['b'], np.random.default_rng(0))[0])


# --- closeness ---


def test_near_copies():
    real = ['the printer on the second floor is out of paper', 'no']
    texts = ['The printer on the second floor is out of  paper!', 'no', 'something else entirely, thank you']
    assert near_copies(texts, real).tolist() == [True, True, False]
    assert repeats([*texts, texts[2]]).tolist() == [False, False, False, True]
    assert not near_copies(texts, []).any()


def test_coverage_of_one_spot_is_low_and_of_the_same_distribution_as_expected():
    rng = np.random.default_rng(1)
    real, new = unit(rng.standard_normal((800, 5))), unit(rng.standard_normal((800, 5)))
    coverage, density = coverage_density(real, new)
    assert coverage == pytest.approx(expected_coverage(800, 800), abs=0.02) and density == pytest.approx(1, abs=0.15)
    assert coverage_density(real, np.repeat(new[:1], 800, 0))[0] < 0.05
    assert coverage_density(real, -np.abs(new))[0] < 0.5
    assert np.isnan(coverage_density(real[:3], new)).all()


def test_two_samples():
    rng = np.random.default_rng(2)
    real, new = rng.standard_normal((150, 4)), rng.standard_normal((150, 4))
    assert two_sample_auc(real, new, range(300))[0] == pytest.approx(0.5, abs=0.1)
    assert two_sample_auc(real, new + 3, range(300))[0] > 0.95
    assert np.isnan(two_sample_auc(real[:5], new, range(155))[0])


def test_a_copy_of_its_source_is_not_told_by_its_source():
    "Each synthetic text equals its source: together in a fold, the two cannot be told apart"
    X = np.random.default_rng(4).standard_normal((100, 60))
    assert two_sample_auc(X, X, [*range(100), *range(100)])[0] == pytest.approx(0.5, abs=0.02)


def test_topics_that_are_missing():
    groups = unit(np.repeat(np.eye(3), 10, 0) + np.random.default_rng(0).normal(0, 0.01, (30, 3)))
    assert topic_coverage(groups, groups[:10])[0] == pytest.approx(1 / 3)
    assert topic_coverage(groups, groups)[0] == 1
    assert np.isnan(topic_coverage(groups[:5], groups)[0]) and topic_coverage(groups, groups[:0]) == (0, 0)


def test_distances_to_sources():
    real = unit([[1, 0], [1, 0.1], [0, 1]])
    d = source_distances(real, [0, 0, 1], real[[0, 2, 1]], [np.array([0]), np.array([], int), np.array([0, 2])])
    assert d.text.tolist() == [0, 2] and d.distance[0] == pytest.approx(0, abs=1e-9)
    assert d.distance[1] == pytest.approx(1 - real[1] @ real[0]) and d.gap[0] == pytest.approx(1 - real[0] @ real[1])


def test_a_text_is_not_helped_by_what_was_written_from_it_or_its_copy():
    real = unit([[1, 0], [1, 0], [0, 1]])
    new = unit([[1, 0.05]])
    own = neighbor_changes(real, [0, 0, 1], ['a', 'a', 'b'], new, [1], [np.array([0])])
    assert own.synthetic.tolist() == [False, False, True] and own.before.tolist()[:2] == [1, 1]
    free = neighbor_changes(real, [0, 0, 1], ['a', 'a', 'b'], new, [1], [np.array([], int)])
    assert free.synthetic.tolist() == [True, True, True] and free.after.tolist() == [1, 1, 1]


# --- all figures ---


def test_every_figure_has_words_and_every_rule_a_figure(good):
    t = good.table.set_index('figure')
    assert set(t.index) <= set(SAYS) and set(LIGHT_RULES) <= set(SAYS)
    assert set(t.light) <= {'good', 'look', 'bad', ''} and t.reading.str.len().min() > 10


def test_good_texts_have_no_bad_light(good):
    assert not bad(good)


def test_wrong_labels_are_found(corpus, pool):
    wrong = pool.assign(label=np.roll(pool.label, len(pool) // 3))
    found = quality(corpus, wrong, **WORDS)
    assert {'recognized as their class', 'out-of-fold accuracy', 'neighbors of another class'} <= bad(found)
    for label, (doubtful, typical) in text_samples(found.texts, 4).items():
        assert 0 < len(doubtful) <= 4 and len(typical) <= 4 and not set(doubtful.text) & set(typical.text)
        assert (doubtful.taken_for != label).all() and doubtful.probability.is_monotonic_increasing


def test_copies_and_leaks_are_found(corpus, pool):
    copies = corpus.train[['text', 'label']].assign(source_ids=[[i] for i in corpus.train.id])
    leak = corpus.test[['text', 'label']].assign(source_ids=[[i] for i in corpus.test.id])
    kinds = {'near copies of training texts', 'near copies of validation or test texts', 'distance to the source'}
    found = quality(corpus, pd.concat([copies, leak]), **WORDS)
    assert kinds | {'written from validation or test texts'} <= bad(found)


def test_the_same_text_again_and_again_is_found(corpus, pool):
    one = pool.groupby('label').text.transform('first')
    found = quality(corpus, pool.assign(text=one), **WORDS)
    assert {'vocabulary', 'self-BLEU', 'near copies of each other', 'Vendi score'} <= bad(found)


def test_a_class_that_the_writer_misses_is_named(corpus, pool):
    sea = list(pool.text[pool.label == 'sea'])
    text = [sea[k % len(sea)] if c == 'ski' else t for k, (t, c) in enumerate(zip(pool.text, pool.label))]
    found = quality(corpus, pool.assign(text=text), **WORDS)
    assert 'ski' in found.table.set_index('figure').reading['recognized in the worst class']


def test_the_same_seed_gives_the_same_figures(corpus, pool):
    a, b = (quality(corpus, pool, **WORDS, most=30, seed=3) for _ in range(2))
    pd.testing.assert_frame_equal(a.table, b.table)
    assert 'drawn at random' in ' '.join(a.notes)


def test_one_class_alone(corpus, pool):
    found = quality(corpus, pool[pool.label == 'tea'], **WORDS)
    notes = ' '.join(found.notes)
    assert '2 of 3 classes have no synthetic text' in notes and 'Artifacts were not measured' in notes
    assert found.table.set_index('figure').light['out-of-fold accuracy']


def test_one_text(corpus, pool):
    found = quality(corpus, pool.head(1), **WORDS)
    assert len(found.texts) == 1 and found.verdict in repr(found) and '<ul' in found._repr_html_()


def test_texts_without_a_source(corpus, pool):
    found = quality(corpus, pool[['text', 'label']], **WORDS)
    assert 'name no training text' in found.notes[0] and 'distance to the source' not in set(found.table.figure)


def test_rules():
    assert Rule(0.1, 0.2).light(0.85, 1) == 'look' and Rule(0.1, 0.2).spared(0.1).light(0.85, 1) == 'good'
    assert Rule(0.0, 0.0, more=False).light(0.001, 0) == 'bad' and Rule(0.1, 0.2).light(np.nan, 1) == ''
    assert Rule(0.1, 0.2, ratio=True).light(5, 0) == 'good'


# --- bad input ---


@pytest.mark.parametrize(
    'change, said',
    [
        (lambda p: p.assign(source_ids=[['x']] * len(p)), 'pool of another corpus'),
        (lambda p: p.assign(label='tee'), "the class 'tee'"),
        (lambda p: p[:0], 'there are no synthetic texts'),
        (lambda p: p.drop(columns='label'), 'label'),
        (lambda p: p.assign(text=None), 'without a text'),
        (lambda p: 7, 'are int'),
        (lambda p: 'nowhere', 'there is no nowhere'),
        (lambda p: '', 'is empty'),
        (lambda p: 'recorded:nothing', 'no file nothing'),
    ],
)
def test_bad_texts_end_with_one_line(corpus, pool, change, said):
    with pytest.raises(UserError, match=said) as e:
        quality(corpus, change(pool), **WORDS)
    assert '\n' not in str(e.value)


@pytest.mark.parametrize('more', [{'folds': 1}, {'most': 3}, {'seed': -1}, {'colour': 1}, {'encoder': 'no/such-one'}])
def test_bad_settings_end_with_one_line(corpus, pool, more):
    with pytest.raises(UserError) as e:
        quality(corpus, pool, **WORDS | more)
    assert '\n' not in str(e.value)


@pytest.mark.parametrize(
    'name, content',
    [('a.csv', b'text,label\n'), ('b.jsonl', b'{"text": '), ('c.csv', b'\xff\xfe\x00'), ('d.bin', b'x')],
)
def test_unreadable_files_end_with_one_line(corpus, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as e:
        synthetic_texts(corpus, tmp_path / name)
    assert '\n' not in str(e.value)


def test_files_folders_and_tables_give_the_same_texts(corpus, pool, tmp_path):
    text = dict(zip(corpus.train.id, corpus.train.text))
    own = pool[['text', 'label']].assign(source_text=[text[s[0]] for s in pool.source_ids])
    own.to_csv(tmp_path / 'own.csv', index=False)
    own.to_json(tmp_path / 'own.jsonl', orient='records', lines=True)
    extra = dict(id='', generator='g', model='m', prompt='p', sample=0)
    full = Pool(pool.assign(**extra, parameters=[{}] * len(pool)), {'generator': 'g'})
    full.save(tmp_path / 'folder'), full.save(tmp_path / 'pool.jsonl')
    for where in ('own.csv', 'own.jsonl', 'folder', 'pool.jsonl'):
        rows = synthetic_texts(corpus, str(tmp_path / where))
        rows = getattr(rows, 'texts', rows)
        assert sorted(zip(rows.text, map(tuple, rows.source_ids))) == sorted(
            zip(pool.text, map(tuple, pool.source_ids))
        )


# --- reports ---


@pytest.fixture(scope='module')
def nasty(corpus, pool):
    "Texts, classes and a model that want to be HTML or Markdown"
    name = {'tea': '<b>tea</b> | `x`', 'sea': 'sea', 'ski': 'ski'}
    parts = {s: getattr(corpus, s).assign(label=lambda d: d.label.map(name)) for s in ('train', 'validation', 'test')}
    texts = pool.assign(label=pool.label.map(name), text='<script>alert(1)</script> ' + pool.text, model='a\n|b')
    texts.loc[::2, 'model'] = 'c'
    return quality(replace(corpus, **parts), texts, **WORDS)


def test_what_a_model_wrote_is_never_html(nasty, tmp_path):
    page = nasty.report(tmp_path / 'q.html').read_text()
    assert '<script' not in page and '<b>tea' not in page and '&lt;script&gt;' in page
    assert '<script' not in nasty._repr_html_() and 'src="http' not in page and 'href="http' not in page
    assert page.count('<details>') == 3 and 'prefers-color-scheme:dark' in page and 'width=device-width' in page


def test_the_card_keeps_its_tables(nasty):
    card = card_markdown(nasty)
    head, _, rest = card[4:].partition('\n---\n')
    assert 'size_categories: ["n<1K"]' in head and '<b>' not in rest and '<script' not in rest
    tables = [l for l in rest.splitlines() if l.startswith('|')]
    assert all(l.endswith('|') for l in tables) and {'## Limits', '## Classes'} <= set(rest.splitlines())
    (made,) = [l for l in tables if l.startswith('| model')]
    assert made.count('|') - made.count('\\|') == 3


def test_markdown_of_numbers_and_gaps():
    t = card_table(pd.DataFrame({'a': ['x'], 'n': [np.nan], 'm': [2]})).splitlines()
    assert t == ['| a | n | m |', '| --- | ---: | ---: |', '| x | – | 2 |']


def test_json_holds_no_nan_and_all_figures(good, tmp_path):
    found, page = good, write_quality(good, tmp_path / 'new')
    assert page.exists() and (tmp_path / 'new/quality.md').exists()

    def refuse(word):
        raise AssertionError(word)

    told = json.loads((tmp_path / 'new/quality.json').read_text(), parse_constant=refuse)
    assert len(told['figures']) == len(found.table) and told['settings']['encoder'] == 'words'
    assert told['verdict'] == quality_verdict(found.table)


def test_provenance_of_several_writers(pool):
    rows = pool.assign(model=['m1', 'm2'] * (len(pool) // 2) + ['m1'] * (len(pool) % 2))
    assert pool_provenance(rows)['model'].startswith('m1 (') and 'm2' in pool_provenance(rows)['model']


# --- the face and the command ---


def test_the_face_offers_it(corpus, pool):
    assert ag.quality is quality and QualitySettings('words').reader == 'words'


def test_the_command_writes_three_files(tmp_path):
    rows = written(24, 0).rename(columns={'text': 'message', 'label': 'queue'})
    rows.to_csv(tmp_path / 'train.csv', index=False)
    written(12, 9).to_csv(tmp_path / 'new.csv', index=False)
    words = ['quality', str(tmp_path / 'new.csv'), '--real', str(tmp_path / 'train.csv'), '--text', 'message']
    words += ['--label', 'queue', '--encoder', 'words', '--out', str(tmp_path / 'out')]
    r = CliRunner().invoke(app, words)
    assert r.exit_code == 0 and 'recognized as their class' in r.output and 'quality.html' in r.output
    assert {p.name for p in (tmp_path / 'out').iterdir()} == {'quality.html', 'quality.md', 'quality.json'}
    assert json.loads((tmp_path / 'out/quality.json').read_text())['texts'] == 36
    r = CliRunner().invoke(app, ['quality', 'nowhere', *words[2:]])
    assert isinstance(r.exception, UserError) and 'there is no nowhere' in str(r.exception)


def test_help_says_what_each_option_is():
    said = CliRunner().invoke(app, ['quality', '--help']).output
    assert all(o in said for o in ('--real', '--encoder', '--folds', '--most', '--out', '--json', 'POOL'))
