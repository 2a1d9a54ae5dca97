"Influence learned on other corpora: what it may know, what a choice may see, what it finds in made-up worlds"

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from autogets.classifiers.fixed_ridge import FixedRidge
from autogets.replication.ours import leaving_out as out
from autogets.replication.ours import learned_influence as learned
from autogets.replication.ours.strategies import CellSettings
from autogets.replication.ours.winners_curse import demo_recording


@pytest.fixture(scope='module')
def cell(tmp_path_factory):
    "Three ticket topics with recorded and EDA texts"
    folder = demo_recording(tmp_path_factory.mktemp('corpora') / 'topics', classes=3, rows=24)
    return learned.SourceCell(CellSettings(str(folder), each=5, classifier='encoder:words', texts=2))


def test_every_source_has_texts_and_one_class(cell):
    assert {i for ids in cell.evaluator.pool.source_ids for i in ids} == set(cell.ids)
    label = cell.corpus.train.set_index('id').label
    assert all((label[ids] == c).all() for c, ids in cell.own.items())
    assert cell.held.shape == (len(cell.corpus.train) + len(cell.corpus.validation), len(cell.ids))
    assert cell.on_test.shape == (len(cell.corpus.test), len(cell.ids))


def test_the_baseline_of_a_text_has_not_seen_its_sources(cell):
    refit, home = cell.evaluator.refit, learned.home_rows(cell.evaluator)
    said = learned.unseen_scores(refit, home)
    assert said.shape == (len(cell.evaluator.pool), 3) and np.isfinite(said).all()
    for real in np.flatnonzero(home[0]):
        refit.system.vectors[real] *= -1
    try:
        refit.system.__dict__.pop('kept', None)
        np.testing.assert_allclose(learned.unseen_scores(refit, home)[0], said[0], atol=1e-6)
    finally:
        for real in np.flatnonzero(home[0]):
            refit.system.vectors[real] *= -1
        refit.system.__dict__.pop('kept', None)
    assert np.abs(FixedRidge(refit.system, alpha=refit.alpha).scores(refit.system.vectors[-1:]) - said[-1]).max() > 0


def test_traits_need_no_label_of_validation_or_test(cell, monkeypatch):
    before = learned.text_traits(cell.evaluator)

    def turned(rows):
        return rows.assign(label=rows.label.to_numpy()[::-1])

    held = {split: turned(getattr(cell.corpus, split)) for split in ('validation', 'test')}
    monkeypatch.setattr(cell.evaluator, 'corpus', replace(cell.corpus, **held))
    pd.testing.assert_frame_equal(learned.text_traits(cell.evaluator), before)
    assert list(before) == list(learned.SOURCE_TRAITS)


def made(seed=0, corpora='abcd', slopes=None):
    "Sources whose influence is their margin, in each corpus times a slope"
    rng, n = np.random.default_rng(seed), 120
    d = pd.DataFrame(rng.normal(size=(n * len(corpora), len(learned.SOURCE_TRAITS))), columns=learned.SOURCE_TRAITS)
    d = d.assign(corpus=np.repeat(list(corpora), n), each=20, seed=0, label=np.arange(len(d)) % 3, size=4.0)
    slope = d.corpus.map(slopes or dict.fromkeys(corpora, 1.0))
    d['test'] = slope * d.margin + 0.3 * rng.normal(size=len(d))
    d['own'] = d.test + rng.normal(size=len(d))
    d['half a'] = d['half b'] = d.test
    return d


def test_nothing_of_a_corpus_teaches_its_own_prior():
    table = made()
    first = learned.learned_influence(table)
    changed = table.assign(own=np.where(table.corpus == 'a', -9 * table.own, table.own))
    again = learned.learned_influence(changed)
    here = (table.corpus == 'a').to_numpy()
    np.testing.assert_array_equal(first[here], again[here])
    assert np.abs(first[~here] - again[~here]).max() > 0.1


def test_labels_of_test_teach_nothing():
    table = made()
    shuffled = table.assign(test=table.test.to_numpy()[::-1])
    np.testing.assert_array_equal(learned.learned_influence(table), learned.learned_influence(shuffled))


def test_what_holds_everywhere_is_learned_and_what_others_contradict_misleads():
    everywhere = made().assign(prior=lambda d: learned.learned_influence(d))
    found = learned.agreement_table(everywhere)
    assert found.prior.min() > 0.8 > found.own.max() and np.allclose(found.halves, 1)
    mixed = made(slopes=dict(a=1.0, b=-1.0, c=1.0, d=-1.0))
    found = learned.agreement_table(mixed.assign(prior=learned.learned_influence(mixed)))
    assert found.prior.max() < 0


def test_equal_values_correlate_with_nothing():
    table = made(corpora='a').assign(flat=1.0)
    assert learned.rank_agreement_within(table, 'flat', 'test') == 0
    assert learned.rank_agreement_within(table, 'test', 'half a') == pytest.approx(1)


def test_a_prior_without_truth_is_hardly_believed():
    rng = np.random.default_rng(1)
    groups, truth = np.arange(80) % 2, rng.normal(size=80)
    rows = truth + rng.normal(size=(100, 80))
    plain, misled = (out.towards(rows, groups, p) for p in (np.zeros(80), rng.normal(size=80)))
    assert np.corrcoef(plain, misled)[0, 1] > 0.95
    none = out.towards(rng.normal(size=(100, 80)), groups, np.zeros(80))
    assert np.abs(none).max() < 0.1


def test_sources_are_left_out_class_by_class():
    harm, groups = np.arange(30.0), np.repeat([0, 1], [10, 20])
    kept = out.kept_sources(harm, groups, 0.25)
    assert (~kept[:10]).sum() == 3 and (~kept[10:]).sum() == 5
    assert kept[:7].all() and not kept[-5:].any()


def test_the_rows_that_judge_do_not_propose(cell):
    way, asked = out.LeavingOut(cell), []

    def harm(rows):
        asked.append(rows)
        return cell.held[rows].mean(0)

    choice = way.choice(harm)
    assert all((rows == (way.part != k)).all() for k, rows in enumerate(asked[: out.JUDGED_PARTS]))
    assert all(rows.all() for rows in asked[out.JUDGED_PARTS :])
    assert set(out.rule_choices(cell, np.zeros(len(cell.ids)))) == set(out.INFLUENCE_RULES)
    assert choice == () or set(i for i in choice if isinstance(i, str)) <= set(cell.ids)


def test_a_placebo_has_the_values_of_the_prior_in_each_class(cell):
    prior = np.random.default_rng(0).normal(size=len(cell.ids))
    how, home = out.harms(cell, prior), cell.slopes.home
    mixed = how['placebo'](None)
    for g in np.unique(home):
        assert sorted(mixed[home == g]) == sorted(prior[home == g])
    assert (mixed != prior).any() and (how['prior'](None) == prior).all()


def test_finished_cells_are_not_made_again(cell, tmp_path, monkeypatch):
    prior = np.zeros(len(cell.ids)).tolist()
    first = out.choice_rows(cell.settings, prior, tmp_path)
    monkeypatch.setattr(out, 'SourceCell', None)
    assert out.choice_rows(cell.settings, prior, tmp_path) == first
    with pytest.raises(TypeError):
        out.choice_rows(cell.settings, [1.0, *prior[1:]], tmp_path)


def test_findings_name_their_corpora_and_what_was_resampled():
    rng = np.random.default_rng(0)
    gains = pd.DataFrame(
        [
            dict(corpus=b, each=n, seed=s, classifier='x', strategy=r, accuracy=0.02 * (r == 'prior') + 0.001 * noise)
            for b in 'abcd'
            for n in (5, 0)
            for s in (0, 1)
            for r, noise in zip(out.INFLUENCE_RULES, rng.normal(size=len(out.INFLUENCE_RULES)))
        ]
    )
    table = made().assign(prior=lambda d: learned.learned_influence(d))
    found = out.learned_findings(learned.agreement_table(table), gains, 'judged')
    assert len(found) == 2 + 2 * 6 and len({(f['claim'], f['setting']) for f in found}) == len(found)
    assert all('corpora and splits (4 x' in f['resampled'] and f['setting'].endswith('judged') for f in found)
    better = [f for f in found if f['claim'].startswith('Sources left out by learned influence')]
    assert len(better) == 4 and all(f['low'] > 0.01 for f in better)
