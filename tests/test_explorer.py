"A result looked at: its texts beside their sources, other weights, marks; with ipywidgets also the widget"

import sys
from dataclasses import replace

import numpy as np
import pytest
import worlds

import autogets as ag
from autogets import explorer
from autogets.curation.review import held_out_probabilities
from autogets.explorer import STATUSES, Explorer, explore
from autogets.generators.pool import Pool, load_pool
from autogets.search.candidates import as_candidate
from autogets.search.evaluator import train_one


@pytest.fixture(scope='module')
def outcome():
    corpus = worlds.corpus(names=('<ant>', 'bee', 'cat'))
    texts = worlds.texts(corpus)
    drops = [{'source_id': corpus.train.id[0], 'text': 'one more ant', 'sample': 0, 'reason': 'too short'}]
    pool = Pool(
        texts, {'generator': 'test', 'counts': {'kept': len(texts), 'dropped': {'too short': 1}}, 'drops': drops}
    )
    how = dict(classifier='word-ridge', strategy='random', budget=6, free=False, progress=False, guard=False)
    made = ag.improve(corpus, pool, **how)
    assert 0 < len(made.texts) < len(pool)
    return replace(made, manifest=pool.manifest)


@pytest.fixture
def seen(outcome):
    return Explorer(outcome)


def test_every_text_stands_beside_its_source(seen, outcome):
    t, real = seen.table(), dict(zip(outcome.evaluator.corpus.train.id, outcome.evaluator.corpus.train.text))
    assert sorted(t.status.unique()) == sorted(STATUSES) and len(t) == len(outcome.evaluator.pool) + 1
    assert (t.status == 'chosen').sum() == len(outcome.texts)
    for i, row in outcome.evaluator.pool.iterrows():
        assert t.text[i] == row.text and t.source[i] == '\n'.join(real[s] for s in row.source_ids)
    dropped = t[t.status == 'dropped'].iloc[0]
    assert (dropped.text, dropped.reason, dropped['class']) == ('one more ant', 'too short', '<ant>')


def test_filters_and_orders(seen):
    t = seen.table(status='left out', label='bee', sort='words', ascending=False)
    assert set(t.status) == {'left out'} and set(t['class']) == {'bee'} and t.words.is_monotonic_decreasing
    assert list(seen.table(contains='ONE MORE').status) == ['dropped']
    for word, f in (('status', dict(status='x')), ('class', dict(label='x')), ('order', dict(sort='x'))):
        with pytest.raises(ag.UserError, match=f"unknown {word} 'x'"):
            seen.table(**f)


def test_belief_is_that_of_a_model_without_the_sources(seen, outcome):
    ev = outcome.evaluator
    p = held_out_probabilities(ev.corpus, ev.pool, 'word-ridge')
    t = seen.table(sort='belief')
    own = [p[i, ev.classes.index(c)] for i, c in enumerate(ev.pool.label)]
    assert np.allclose(t.belief.sort_index()[: len(own)], own) and t.belief.dropna().is_monotonic_increasing


def test_the_score_is_that_of_the_evaluator(seen, outcome):
    ev, name = outcome.evaluator.with_folds(4), outcome.job.objective
    none, chosen = ev.evaluate([(), outcome.final.candidate])
    s = seen.score()
    assert (s['none'], s['chosen'], s['now']) == (none.scores[name], chosen.scores[name], chosen.scores[name])
    assert s['change'] == s['error'] == 0 and s['texts'] == len(outcome.texts)
    half = ev.evaluate([as_candidate(outcome.final.candidate, dict.fromkeys(ev.classes, 0.5))])[0]
    assert seen.score(0.5)['now'] == half.scores[name]
    assert seen.score(0)['now'] == none.scores[name]


def test_a_class_without_weight_leaves_and_others_stay(seen, outcome):
    s = seen.score({'bee': 0})
    assert s['texts'] == (outcome.texts.label != 'bee').sum() and s['error'] > 0
    with pytest.raises(ag.UserError, match='unknown class with texts'):
        seen.score({'dog': 1})


def test_marked_texts_count_no_more_and_can_be_unmarked(seen):
    row = int(seen.table(status='chosen').index[0])
    seen.mark(row)
    assert seen.score()['texts'] == seen.score(1)['texts'] and list(seen.marked.index) == [row]
    assert seen.table().verdict[row] == 'drop' and '1 marked' in repr(seen)
    left = seen.score()['texts']
    seen.mark([row], 'keep')
    assert seen.score()['texts'] == left + 1 and seen.marked.empty
    for wrong in (-1, 10**6, len(seen.texts) - 1):
        with pytest.raises(ag.UserError, match='there is no text'):
            seen.mark(wrong)


def test_the_corrected_pool(seen, outcome, tmp_path):
    pool = outcome.evaluator.pool
    right = next(c for c in ('bee', 'cat') if c != pool.label[1])
    seen.mark(0)
    seen.mark(1, right)
    made = seen.corrected()
    assert len(made) == len(pool) - 1 and pool.id[0] not in set(made.texts.id)
    assert made.texts.set_index('id').label[pool.id[1]] == right
    assert made.manifest['counts']['dropped']['dropped in review'] == 1
    made.save(tmp_path / 'pool')
    again = load_pool(tmp_path / 'pool').texts
    assert sorted(zip(again.text, again.label)) == sorted(zip(made.texts.text, made.texts.label))
    again = ag.improve(outcome.evaluator.corpus, made, classifier='word-ridge', strategy='common-weight', free=False)
    assert len(again.evaluator.pool) == len(pool) - 1


def test_test_rows_are_not_looked_at(outcome, monkeypatch):
    monkeypatch.setattr(type(outcome.evaluator), 'both', property(lambda self: 1 / 0))
    seen = Explorer(outcome)
    seen.mark(0)
    seen.table(sort='belief')
    seen.score(0.3)


def test_a_classifier_that_is_trained_has_no_sliders(outcome, monkeypatch):
    monkeypatch.setattr(outcome.evaluator, 'classifier', 'linear')
    seen = Explorer(outcome)
    assert not seen.movable
    with pytest.raises(ag.UserError, match='linear is not refitted at once'):
        seen.score(1)


def test_dropped_texts_of_another_pool(outcome):
    seen = Explorer(replace(outcome, manifest={}))
    assert seen.table(status='dropped').empty and len(seen.corrected()) == len(outcome.evaluator.pool)
    pool = Pool(outcome.evaluator.pool, outcome.manifest)
    assert list(Explorer(replace(outcome, manifest=None), pool).table(status='dropped').text) == ['one more ant']


def test_only_a_result_is_explored():
    with pytest.raises(ag.UserError, match='give what improve returned'):
        Explorer('run')


def test_without_ipywidgets_a_line_says_what_to_install(outcome, monkeypatch):
    monkeypatch.setitem(sys.modules, 'ipywidgets', None)
    with pytest.raises(ag.UserError, match=r'pip install "autogets\[widgets\]"'):
        explore(outcome)


# --- the widget ---


@pytest.fixture
def shown(outcome):
    pytest.importorskip('ipywidgets', reason='ipywidgets is not installed: pip install "autogets[widgets]"')
    return ag.explore(outcome)


def test_the_controls_filter(shown):
    assert len(shown.rows.children) == shown.page and shown.at.max > 1
    shown.controls['status'].value = 'dropped'
    assert len(shown.rows.children) == 1 and shown.rows.children[0].children[0].disabled
    assert (
        '&lt;ant&gt;' in shown.rows.children[0].children[1].value
        and '<ant>' not in shown.rows.children[0].children[1].value
    )


def test_sliders_score_at_once(shown):
    assert f'{shown.score()["chosen"]:.4f}' in shown.said.value
    shown.sliders['bee'].value = 0
    assert f'<b>{shown.score({"bee": 0})["now"]:.4f}</b> now' in shown.said.value
    shown.common.value = 0.4
    assert {s.value for s in shown.sliders.values()} == {0.4}
    assert f'<b>{shown.score(0.4)["now"]:.4f}</b> now' in shown.said.value


def test_a_move_is_one_training(shown, monkeypatch):
    trained = []
    monkeypatch.setattr(explorer, 'train_one', lambda *a, **k: trained.append(a) or train_one(*a, **k))
    shown.sliders['bee'].value = 0.55
    assert len(trained) == 1
    shown.common.value = 0.65
    assert len(trained) == 2


def test_a_tick_marks(shown):
    shown.controls['status'].value = 'chosen'
    shown.rows.children[0].children[0].value = True
    assert len(shown.marked) == 1 and '1 marked' in shown.count.value
    shown.rows.children[0].children[0].value = False
    assert shown.marked.empty


def test_without_closed_form_there_are_no_sliders(outcome, monkeypatch):
    pytest.importorskip('ipywidgets')
    monkeypatch.setattr(outcome.evaluator, 'classifier', 'linear')
    assert explore(outcome).sliders == {}
