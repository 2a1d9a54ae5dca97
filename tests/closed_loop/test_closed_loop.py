"""A loop buys where texts pay, stays within its money, ends when nothing is promised, and goes on after a kill"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from autogets.closed_loop.arms import Arm, RecordedArms, spread_out, text_prices
from autogets.closed_loop.posterior import Posterior, first_round, posterior, share_out
from autogets.closed_loop.spending import LoopSettings, run_loop
from autogets.closed_loop.worth import ArmEffects, Worth, closed_form
from autogets.core import UserError, text_id
from autogets.data.corpus import split_corpus
from autogets.generators.base import POOL_COLUMNS
from autogets.job import improve
from autogets.generators.given import GivenTexts

WORDS = {
    'mail': 'inbox sender attachment spam outlook message folder draft'.split(),
    'net': 'router cable wifi signal slow outage tower modem'.split(),
    'bill': 'invoice refund charge euro payment price receipt debit'.split(),
}


def sentence(rng, label, noise=3):
    other = [w for c, ws in WORDS.items() if c != label for w in ws]
    return ' '.join([*rng.choice(WORDS[label], 2), *rng.choice(other, noise), str(rng.integers(10**6))])


@pytest.fixture(scope='module')
def corpus():
    rng = np.random.default_rng(0)
    rows = [(sentence(rng, c), c) for c in WORDS for _ in range(60)]
    frame = pd.DataFrame(rows, columns=['text', 'label'])
    frame = frame.assign(id=[text_id(t) for t in frame.text])
    return split_corpus(frame, 'words', 'stratified', seed=0)


def pool(corpus, good='good', poor='poor', each=3):
    "Texts of two kinds: one like the class, one of the other classes' words"
    rng, rows = np.random.default_rng(1), []
    for e in corpus.train.itertuples():
        wrong = next(c for c in WORDS if c != e.label)
        for kind, label in ((good, e.label), (poor, wrong)):
            for k in range(each):
                text = sentence(rng, label, noise=0)
                rows.append((text_id(text), text, e.label, [e.id], 'test', kind, '', {}, k))
    return pd.DataFrame(rows, columns=POOL_COLUMNS).drop_duplicates('id', ignore_index=True)


@pytest.fixture(scope='module')
def arms(corpus):
    return RecordedArms(corpus, pool(corpus))


# --- arms ---


def test_a_price_is_what_its_tokens_cost(corpus):
    rows = pool(corpus).head(6)
    one, two = (text_prices(rows, corpus.train, price) for price in ((0.0, 1.0), (1.0, 0.0)))
    assert (one > 0).all() and (two > 0).all()
    assert np.allclose(text_prices(rows, corpus.train, (2.0, 3.0)), 2 * two + 3 * one)


def test_one_text_of_each_source_before_a_second():
    sources = list('aaaabbbccd')
    order = spread_out(sources, np.random.default_rng(0))
    assert sorted(order) == list(range(10))
    taken = [sources[k] for k in order]
    assert sorted(taken[:4]) == list('abcd') and sorted(taken[4:7]) == list('abc')


def test_an_arm_runs_out(arms):
    nothing = arms.rows[:0]
    everything = arms.write(1, np.full(6, 10**6), nothing)
    assert len(everything) == len(arms.rows) and not everything.id.duplicated().any()
    assert not arms.left(everything).any()
    assert len(arms.write(2, np.full(6, 5), everything)) == 0


# --- what texts are worth ---


def test_wrong_texts_are_worth_less(corpus, arms):
    written = arms.write(1, np.full(6, 8), arms.rows[:0])
    found = Worth(corpus, written, 'word-ridge').effects(arms.arms)
    kind = np.array([a.kind for a in arms.arms])
    assert found.mean[kind == 'good'].min() > found.mean[kind == 'poor'].max()
    assert (found.counts == 8).all() and found.told.shape == (len(corpus.train), 6)


def test_effects_are_derivatives_of_training_loss_alone(corpus, arms):
    "Validation is not read: other validation texts, the same effects"
    written = arms.write(1, np.full(6, 8), arms.rows[:0])
    other = replace(corpus, validation=corpus.validation.assign(label=corpus.validation.label.iloc[::-1].to_numpy()))
    one, two = (Worth(c, written, 'word-ridge').effects(arms.arms) for c in (corpus, other))
    assert np.allclose(one.told, two.told)


def test_an_arm_with_one_text_borrows_its_spread(corpus, arms):
    counts = np.array([1, 8, 8, 8, 8, 8])
    found = Worth(corpus, arms.write(1, counts, arms.rows[:0]), 'word-ridge').effects(arms.arms)
    assert np.isclose(found.spread[0], found.spread[1:].mean())


@pytest.mark.parametrize(
    'classifier, said',
    [
        ('linear', 'word-ridge'),
        ('catboost', 'word-ridge'),
        ('frozen:offline', 'encoder:offline'),
        ('frozen', 'word-ridge'),
    ],
)
def test_what_directs_a_loop(classifier, said):
    assert closed_form(classifier) == said


# --- what is believed ---


def planted(seed, arms, truth, asked, noise=1.0, rows=300):
    rng = np.random.default_rng(seed)
    told = np.zeros((rows, len(arms)))
    told[:, asked] = truth[asked] + rng.normal(0, noise, (rows, len(asked)))
    return ArmEffects(told, np.isin(range(len(arms)), asked) * 5, np.full(len(arms), 0.01))


GRID = [Arm(k, c) for k in 'abc' for c in 'uvwxyz']


def test_errors_of_the_posterior_are_right():
    "Over many worlds, 95 % of true worths lie within 1.96 errors, for arms that were asked and those that were not"
    asked, held = [k for k in range(18) if k % 3 != 1], []
    for seed in range(40):
        rng = np.random.default_rng([seed, 1])
        kind, label = (dict(zip(names, rng.normal(0, 0.1, len(names)))) for names in ('abc', 'uvwxyz'))
        truth = np.array([kind[a.kind] + label[a.label] + rng.normal(0, 0.05) for a in GRID])
        found = posterior(planted(seed, GRID, truth, asked), GRID)
        held.append(np.abs(found.mean - truth) < 1.96 * found.error)
    share = np.mean(held, axis=0)
    unasked = [k for k in range(18) if k not in asked]
    assert 0.85 < share[asked].mean() <= 1 and 0.8 < share[unasked].mean() <= 1


def test_what_is_unlikely_is_pulled_to_the_prior():
    truth = np.zeros(18)
    prior = np.linspace(-1, 1, 18)
    found = posterior(planted(0, GRID, prior + truth, [0, 5]), GRID, prior)
    assert np.abs(found.mean - prior).max() < 0.3


def test_a_round_stays_within_its_money():
    believed = Posterior(np.linspace(0, 1, 18), np.eye(18) * 0.01, {})
    price = np.linspace(1, 3, 18)
    for money in (0.5, 10, 57.3):
        counts = share_out(believed, price, np.full(18, 9), money, np.random.default_rng(0))
        assert counts @ price <= money and (counts <= 9).all()
    assert counts @ price > 57.3 - 15


def test_dear_arms_must_be_worth_it():
    believed = Posterior(np.array([1.0, 1.0]), np.eye(2) * 1e-6, {})
    counts = share_out(believed, np.array([1.0, 3.0]), np.full(2, 100), 60, np.random.default_rng(0))
    assert counts.tolist() == [60, 0]


def test_a_first_round_that_cannot_try_all_tries_each_kind_and_class():
    counts = first_round(GRID, np.ones(18), np.full(18, 50), 12, np.random.default_rng(0), batch=2)
    asked = [a for a, n in zip(GRID, counts) if n]
    assert len(asked) == 6 and len({a.kind for a in asked}) == 3 and len({a.label for a in asked}) == 6


# --- the loop ---


def test_money_goes_where_it_pays(corpus, arms):
    run = run_loop(corpus, arms, arms.rows.price.sum() / 2, 'word-ridge', LoopSettings(rounds=8))
    spent = run.written.groupby('model').price.sum()
    assert spent['good'] > 3 * spent['poor']
    assert run.spent <= arms.rows.price.sum() / 2
    assert run.rounds.texts.is_monotonic_increasing and run.stopped


def test_a_loop_ends_when_nothing_is_promised(corpus):
    "All texts are of the wrong class: after the probe and one more round nothing is bought"
    bad = pool(corpus)
    bad = bad[bad.model == 'poor']
    run = run_loop(corpus, RecordedArms(corpus, bad), 1.0, 'word-ridge', LoopSettings(probe=0.001, share=0.001))
    assert run.stopped == 'more texts are not expected to help'
    assert len(run.rounds) <= 4 and len(run.written) < len(bad)


@pytest.mark.parametrize('killed', [1, 3])
def test_a_killed_loop_goes_on(corpus, arms, tmp_path, killed):
    budget, settings = arms.rows.price.sum() / 2, LoopSettings(rounds=5)
    whole = run_loop(corpus, arms, budget, 'word-ridge', settings)
    run_loop(corpus, arms, budget, 'word-ridge', replace(settings, rounds=killed), tmp_path)
    again = run_loop(corpus, arms, budget, 'word-ridge', settings, tmp_path)
    assert list(again.written.id) == list(whole.written.id)
    assert again.rounds.drop(columns='counts').equals(whole.rounds.drop(columns='counts'))


def test_a_loop_in_the_folder_of_another(corpus, arms, tmp_path):
    run_loop(corpus, arms, 0.01, 'word-ridge', LoopSettings(rounds=1), tmp_path)
    for change in (dict(seed=1), dict(share=0.2)):
        with pytest.raises(UserError, match='other texts, arms or settings'):
            run_loop(corpus, arms, 0.01, 'word-ridge', LoopSettings(rounds=1, **change), tmp_path)


@pytest.mark.parametrize('budget', [0, -1, float('nan')])
def test_a_budget_that_buys_nothing(corpus, arms, budget):
    with pytest.raises(UserError, match='buys nothing'):
        run_loop(corpus, arms, budget, 'word-ridge')


# --- the choice afterwards ---


def test_training_rows_that_directed_do_not_choose(corpus, arms):
    "The same pool is chosen from by validation alone"
    run = run_loop(corpus, arms, arms.rows.price.sum() / 3, 'word-ridge', LoopSettings(rounds=3))
    given = GivenTexts(run.written, directed=True)
    out = improve(corpus, given, objective='accuracy', classifier='word-ridge', progress=False, free=False)
    assert out.evaluator.directed and (out.evaluator.judges[: len(corpus.train)] == -1).all()
    assert 'validation alone' in ' '.join(out.verdict.details)
    plain = improve(corpus, run.written, objective='accuracy', classifier='word-ridge', progress=False, free=False)
    assert not plain.evaluator.directed and 'out of fold' in ' '.join(plain.verdict.details)


class Moody(RecordedArms):
    "Gives nothing in the rounds `silent`"

    def __init__(self, *args, silent, **how):
        super().__init__(*args, **how)
        self.silent = silent

    def write(self, number, counts, written, folder=None):
        return super().write(number, counts if number not in self.silent else 0 * counts, written, folder)


def test_a_round_of_nothing_does_not_end_a_loop(corpus):
    texts = pool(corpus)
    run = run_loop(corpus, Moody(corpus, texts, silent=(1, 3)), 0.01, 'word-ridge', LoopSettings(rounds=5, errors=-1e9))
    assert run.rounds.number.tolist() == [2, 4, 5] and run.stopped == '5 rounds are done'
    with pytest.raises(UserError, match='no text of 3 rounds'):
        run_loop(corpus, Moody(corpus, texts, silent=(1, 2, 3)), 0.01, 'word-ridge', LoopSettings(rounds=3))


def test_a_share_below_a_batch_still_buys_one(corpus, arms):
    small = run_loop(corpus, arms, 22 * arms.prices().max(), 'word-ridge', settings=LoopSettings(errors=-1e9))
    assert len(small.written) >= 17 and small.spent <= 22 * arms.prices().max()
