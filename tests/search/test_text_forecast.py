"What more texts would bring: curves with known answers, honest bands, parts that leak nothing, and the command"

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import worlds

from autogets.classifiers.linear import LinearClassifier
from autogets.classifiers.word_ridge import WordRidge
from autogets.data.corpus import Corpus
from autogets.generators.pool import Pool, pool_frame
from autogets.job import improve
from autogets.metrics import confusion, scores
from autogets.search.evaluator import Evaluator
from autogets.search.learning_curve import ClassCurve, LearningCurve, PowerLaw, fit_curve, fit_curves, spread_of
from autogets.search.sub_samples import (
    BASELINE,
    ClosedTrainer,
    PlainTrainer,
    SubSamples,
    nested_ranks,
    pooled_rows,
    resampled_scores,
    score_parts,
    train_parts,
)
from autogets.search.text_forecast import (
    ForecastSettings,
    forecast_for,
    forecast_texts,
    forecast_words,
    is_affordable,
    likeliest_weight,
    round_texts,
    synthetic_worth,
    worth_words,
)
from autogets.stats import Estimate

SIZES = np.array([60, 85, 120, 170, 240, 340, 480])


@pytest.fixture(scope='module')
def corpus():
    return worlds.corpus(n=60, step=10)


@pytest.fixture(scope='module')
def pool(corpus):
    return worlds.texts(corpus, 2, several=6)


@pytest.fixture(scope='module')
def ev(corpus, pool):
    return Evaluator(corpus, pool, classifier='word-ridge', words=60)


@pytest.fixture(scope='module')
def forecast(ev):
    return forecast_for(ev, ForecastSettings(weight=0.5))


def curve(law, seed=0, shared=0.02, own=0.004, rows=200, **more):
    "A measured curve and its resamples: an error that all points share, and one of each point"
    rng = np.random.default_rng(seed)
    error = rng.normal(0, shared, (rows + 2, 1)) + rng.normal(0, own, (rows + 2, len(SIZES)))
    measured = law(SIZES) + error[0]
    rows = measured + np.vstack([0 * SIZES, error[2:]])
    return LearningCurve('real', SIZES, rows, fit_curves(SIZES, rows), now=480, seed=seed, **more)


# --- the curve ---


@pytest.mark.parametrize('c', (0.15, 0.5, 1, 1.8))
@pytest.mark.parametrize('lacking', (-0.3, -0.1, 0, 0.1, 0.3))
@pytest.mark.parametrize('a', (0.4, 0.9))
def test_a_planted_curve_is_recovered(a, lacking, c):
    law = PowerLaw(a, lacking * 60**c, c)
    found = fit_curve(SIZES, law(SIZES))
    assert found(np.array([60, 480, 960])) == pytest.approx(law(np.array([60, 480, 960])), abs=1e-5)
    if abs(lacking) > 0.05:
        assert (found.a, found.c) == pytest.approx((a, c), abs=0.02)


def test_the_grid_and_the_polished_fit_agree():
    s = np.random.default_rng(0).normal(0.7, 0.01, (20, 7)) + PowerLaw(0.1, 1, 0.5)(SIZES)
    many = fit_curves(SIZES, s)
    for k, row in enumerate(s):
        one = fit_curve(SIZES, row)

        def missed(law):
            return (SIZES * (law(SIZES) - row) ** 2).sum()

        at = PowerLaw(many.a[k], many.b[k], many.c[k])
        assert missed(one) <= missed(at) * 1.0001 and missed(at) <= missed(one) * 1.02
    assert fit_curves(SIZES, s, np.full(20, 0.5)).c.tolist() == [0.5] * 20


def test_two_points_are_no_curve():
    worlds.raises(lambda: fit_curve([10, 20], [0.5, 0.6]), '2 points are too few', 'three or more')


def test_reaching_a_gain_is_the_way_back():
    law = PowerLaw(np.array([0.9, 0.9, 0.9]), np.array([2.0, 2.0, -1.0]), np.array([0.5, 0.5, 0.5]))
    gain = law(300)[0] - law(100)[0]
    assert law.reach(np.array([gain, 0.5, gain]), 100).tolist() == pytest.approx([300, np.inf, np.inf])


def test_bands_hold_the_truth_where_the_world_is_as_assumed():
    law = PowerLaw(0.85, 3.0, 0.6)
    true = law(960) - law(480)
    gains = [curve(law, seed).gain(480) for seed in range(150)]
    held = np.mean([g.low <= true <= g.high for g in gains])
    assert 0.88 <= held <= 1, held
    assert np.median([g.high - g.low for g in gains]) < 0.05


def test_spread_between_training_sets_widens_the_band_and_moves_nothing():
    law = PowerLaw(0.85, 3.0, 0.6)
    narrow, wide = curve(law).gain(480), curve(law, spread=0.02).gain(480)
    assert wide.estimate == narrow.estimate and wide.high - wide.low > narrow.high - narrow.low + 0.02
    assert spread_of('macro-f1', [100, 5]) > 2 * spread_of('macro-f1', [100, 100])
    assert spread_of('accuracy', [100, 5], 1) < spread_of('accuracy', [100, 5], 0) < spread_of('accuracy', [100, 5])


def test_a_flat_curve_adds_less_than_little_or_cannot_be_said():
    sure, noisy = curve(PowerLaw(0.8, 0, 1)), curve(PowerLaw(0.8, 0, 1), own=0.05)
    assert 'will add less than 0.0' in forecast_words('480 more texts', sure.gain(480), 'macro F1')
    assert 'cannot be said' in forecast_words('480 more texts', noisy.gain(480), 'macro F1')


def test_more_texts_of_a_rising_curve_bring_more_and_never_more_than_the_limit():
    rising = curve(PowerLaw(0.85, 3.0, 0.6), shared=0, own=0)
    gains = [rising.gain(more).estimate for more in (1, 50, 200, 480)]
    assert gains == sorted(gains) and 0 < gains[0] and gains[-1] < 0.85 - rising.law(480)[0]
    levels = [rising.level(t).estimate for t in (60, 240, 480, 960)]
    assert levels == pytest.approx(PowerLaw(0.85, 3.0, 0.6)(np.array([60, 240, 480, 960])), abs=1e-3)


def test_a_falling_curve_lowers():
    falling = curve(PowerLaw(0.6, -3.0, 0.6), shared=0, own=0.001)
    assert 'will lower macro F1' in forecast_words('480 more texts', falling.gain(480), 'macro F1')


def test_no_curve_is_continued_to_more_than_as_many_again():
    worlds.raises(lambda: curve(PowerLaw(0.8, 1, 1)).gain(481), '481 more real texts cannot be forecast from 480')
    worlds.raises(lambda: curve(PowerLaw(0.8, 1, 1)).gain(0), 'cannot be forecast')


def test_further_labels_of_a_class_say_more_and_shift_the_balance():
    one = np.ones(50)
    informed = ClassCurve('a', 40, 0.6 * one, 0.7 * one, 0.7 * one, exponent=one)
    shifted = replace(informed, half=0.7 * one, twice=0.66 * one)
    assert informed.gain(40).estimate == pytest.approx(0.05) and shifted.gain(40).estimate == pytest.approx(-0.04)
    assert shifted.gain(10).estimate > shifted.gain(40).estimate
    worlds.raises(lambda: informed.gain(41), "real texts of 'a' cannot be forecast from 40")


def test_labels_in_synthetic_texts():
    one = np.ones(200)
    laws = PowerLaw(0.8 * one, 2 * one, 0.5 * one)
    written = LearningCurve('synthetic', np.array([0, 2000]), np.zeros((200, 2)), laws, now=2000, base=400, each=0.5)
    rare = ClassCurve('a', 25, 0.6 * one, 0.62 * one, 0.62 * one, exponent=0.5 * one)
    worth = synthetic_worth(rare, 25, written)
    assert written.gains(worth.estimate, start=0)[0] == pytest.approx(rare.gain(25).estimate)
    assert f'about {round_texts(worth.estimate)} synthetic' in worth_words('a', 25, rare.gain(25), worth, 4000)
    rich = replace(rare, half=0.3 * one)
    never = synthetic_worth(rich, 25, written)
    assert never.estimate == np.inf
    assert worth_words('a', 25, rich.gain(25), never, 4000).startswith('No number of synthetic texts like these')
    assert 'cannot be said' in worth_words('a', 25, Estimate(0.01, -0.01, 0.03), worth, 4000)


# --- parts ---


@pytest.mark.parametrize('seed', range(20))
def test_draws_are_nested_and_stratified(seed):
    labels = np.random.default_rng(seed).choice(list('abc'), 1 + 2 * seed)
    ranks = nested_ranks(labels, seed)
    assert (ranks >= 0).all() and (ranks < 1).all()
    for c in set(labels):
        for share in (0.125, 0.5, 0.7):
            assert abs((ranks[labels == c] < share).sum() - share * (labels == c).sum()) < 1


def test_nothing_is_scored_by_what_saw_it_or_was_written_from_it(ev, corpus):
    parts = SubSamples(ev, 0.5)
    for draw in range(parts.draws):
        left_out = set(corpus.train.id[parts.fold == draw])
        for point in (BASELINE, ('synthetic', 1.0), (('class', 'ant'), 2.0)):
            kept, added = parts.part(point, draw)
            assert not left_out & set(corpus.train.id[kept > 0])
            assert not left_out & {i for ids in ev.pool.source_ids[added > 0] for i in ids}
    assert set(parts.fold) == set(range(8))


def test_half_of_a_class_counting_twice_keeps_its_weight(ev, corpus):
    parts, own = SubSamples(ev, 0.5), (corpus.train.label == 'cat').to_numpy()
    whole, half = parts.part(BASELINE, 3)[0], parts.part((('class', 'cat'), 0.5), 3)[0]
    assert (half[~own] == whole[~own]).all() and set(half[own]) == {0, 2}
    assert abs(half[own].sum() - whole[own].sum()) <= 4


def test_closed_form_trains_what_the_classifier_trains(ev, corpus):
    parts = SubSamples(ev, 0.5)
    kept, _ = parts.part(('real', 0.5), 1)
    trainer = ClosedTrainer(ev.refit, parts.fold)
    own, held = trainer.codes(kept, np.zeros(len(ev.pool)), 1, alpha=1.0)
    rows = np.flatnonzero(kept)
    direct = trainer.solved(kept, np.zeros(len(ev.pool)), 1.0)
    x = ev.refit.system.vectors
    alone = np.concatenate([kept, np.zeros(len(ev.pool))])
    assert (direct.weights > 0).sum() == len(rows) == (alone > 0).sum()
    assert (own == direct.scores(x[np.flatnonzero(parts.fold == 1)]).argmax(1)).all()
    words = WordRidge(words=60).fit(list(corpus.train.text.iloc[rows]), list(corpus.train.label.iloc[rows]))
    agree = np.mean(np.array(ev.classes)[held] == words.predict(list(corpus.validation.text)))
    assert agree > 0.7, agree


def test_plain_training_repeats_what_counts_twice(corpus, pool):
    ev = Evaluator(corpus, pool, classifier='linear')
    parts = SubSamples(ev, 1.0)
    kept, added = parts.part((('class', 'bee'), 2.0), 0)
    own, held = PlainTrainer(ev.refit, parts.fold).codes(kept, added, 0)
    rows = np.repeat(np.arange(len(kept)), kept.astype(int))
    direct = LinearClassifier().fit(list(corpus.train.text.iloc[rows]), list(corpus.train.label.iloc[rows]))
    assert (np.array(ev.classes)[held] == direct.predict(list(corpus.validation.text))).all()
    assert (np.array(ev.classes)[own] == direct.predict(list(corpus.train.text[parts.fold == 0]))).all()


def test_scores_and_resamples_are_those_of_the_definition(ev, corpus):
    parts = SubSamples(ev, 0.5)
    rows, trainer = pooled_rows(parts), ClosedTrainer(ev.refit, parts.fold)
    answers = np.concatenate(train_parts(trainer, [(*parts.part(BASELINE, d), d, 1.0) for d in range(8)]))
    found = resampled_scores(rows, np.stack([answers, rows.true]), ev, 'macro-f1', resamples=300)
    cm = sum(
        w * confusion([ev.classes[t]], [ev.classes[a]], ev.classes) for t, a, w in zip(rows.true, answers, rows.counts)
    )
    assert found[0, 0] == pytest.approx(scores(cm)['macro-f1']) and (found[:, 1] == 1).all()
    assert cm.sum() == pytest.approx(len(corpus.train) + len(corpus.validation))
    assert abs(found[1:, 0].mean() - found[0, 0]) < 0.03 and 0.01 < found[1:, 0].std() < 0.1


# --- the forecast ---


def test_a_forecast_says_what_it_measured(forecast, ev):
    assert len(forecast.sentences) >= 4 and all(s in repr(forecast) for s in forecast.sentences)
    assert forecast.table.forecast.sum() == 8
    assert all(forecast.table[c].between(0, 1).all() for c in ('low', 'score', 'high'))
    assert set(forecast.classes['class']) == set(ev.classes) and forecast.classes.best.sum() == pytest.approx(1)
    assert (forecast.classes.low <= forecast.classes.gain).all() and 'each counts 0.5' in forecast.how
    told = json.loads(json.dumps(forecast.json()))
    assert told['sentences'] == forecast.sentences and len(told['laws']['real']) == 3
    assert forecast._repr_html_().count('data:image/png') == 1 and len(forecast.figure().axes) == 3


def test_the_same_seed_gives_the_same_forecast_and_another_does_not(ev, forecast):
    assert forecast_for(ev, ForecastSettings(weight=0.5)).json() == forecast.json()
    assert forecast_for(ev, ForecastSettings(weight=0.5, seed=1)).json()['points'] != forecast.json()['points']


def test_workers_change_nothing(corpus, pool):
    def answers(executor=None):
        ev = Evaluator(corpus, pool, classifier='linear', executor=executor)
        return score_parts(ev, 1.0, most=1, draws=2).answers

    with ThreadPoolExecutor(3) as three:
        assert (answers(three) == answers()).all()


def test_test_rows_are_not_looked_at(corpus, pool, forecast):
    test = corpus.test.assign(label=corpus.test.label[::-1].to_list(), text='nothing')
    other = Corpus(corpus.name, corpus.train, corpus.validation, test)
    ev = Evaluator(other, pool, classifier='word-ridge', words=60)
    assert forecast_for(ev, ForecastSettings(weight=0.5)).sentences == forecast.sentences


def test_texts_that_help_raise_the_curve_and_texts_that_mislead_lower_it(corpus):
    def gain(labels):
        pool = worlds.texts(corpus, 4)
        ev = Evaluator(corpus, pool.assign(label=labels(pool.label)), classifier='word-ridge', words=60)
        c = score_parts(ev, 1.0, most=0).curves().synthetic
        return c.gains(c.now, start=0)[0]

    turned = {'ant': 'bee', 'bee': 'cat', 'cat': 'ant'}
    assert gain(lambda l: l) > 0.01 and gain(lambda l: l.map(turned)) < -0.05


def test_the_weight_is_that_under_which_the_texts_are_likeliest(corpus, pool, ev):
    bad = pool.assign(label=pool.label.map({'ant': 'bee', 'bee': 'cat', 'cat': 'ant'}))
    assert likeliest_weight(Evaluator(corpus, bad, classifier='word-ridge', words=60)) == 0.1
    assert likeliest_weight(ev) > 0.1 and likeliest_weight(Evaluator(corpus, pool)) == 1


def test_a_slow_classifier_gets_fewer_points_on_validation_alone(corpus, pool, costly):
    parts = score_parts(Evaluator(corpus, pool, classifier='costly'), 1.0)
    assert parts.names == [] and parts.trainings == 3 * len(parts.points) <= 24
    assert set(parts.rows.text) == set(len(corpus.train) + np.arange(len(corpus.validation)))
    assert len(parts.curves().real.texts) >= 3


def test_a_class_that_is_asked_for_is_spoken_of(ev):
    found = forecast_for(ev, ForecastSettings(weight=0.5, of='bee', labels=5), most=1)
    assert any("5 more real texts of 'bee'" in s for s in found.sentences) and 'bee' in set(found.classes['class'])


# --- bad input ---


def test_bad_input_is_one_line(corpus, pool, ev):
    few, lone = worlds.corpus(n=5), corpus.train[~((corpus.train.label == 'cat') & corpus.train.duplicated('label'))]
    worlds.raises(lambda: forecast_texts(few, worlds.texts(few), 'linear'), 'too few for three points', 'or more')
    single = Corpus('single', lone, corpus.validation, corpus.test)
    own = pool[[set(ids) <= set(lone.id) for ids in pool.source_ids]]
    worlds.raises(lambda: forecast_texts(single, own, 'linear'), "the class 'cat' has one training text")
    worlds.raises(lambda: forecast_texts(corpus, pool[:5], 'linear'), '5 synthetic texts are too few')
    strange = pool.assign(source_ids=[['x']] * len(pool))
    worlds.raises(lambda: forecast_texts(corpus, strange, 'linear'), 'belongs to this corpus')
    worlds.raises(lambda: forecast_for(ev, ForecastSettings(more=9999)), 'at most as many again')
    worlds.raises(lambda: forecast_for(ev, ForecastSettings(of='dog')), 'class')
    worlds.raises(lambda: forecast_texts(corpus, pool, 'linear', stretch=2), 'option')
    for wrong in (dict(labels=0), dict(margin=0.0), dict(weight=-1.0), dict(workers=0), dict(objective='loss')):
        worlds.raises(lambda: forecast_texts(corpus, pool, 'linear', **wrong))


# --- the command, and the report ---


@pytest.fixture
def files(corpus, pool, tmp_path):
    "train.csv as the corpus was split, and its pool in the folder pool"
    for split in ('train', 'validation', 'test'):
        getattr(corpus, split).to_csv(tmp_path / f'{split}.csv', index=False)
    Pool(pool_frame(pool.to_dict('records')), {'generator': 'test', 'counts': {}, 'drops': []}).save(tmp_path / 'pool')
    return tmp_path


FORECAST = '--real', 'train.csv', '--test', 'test.csv', '--validation', 'validation.csv'


def test_the_command_writes_a_page_and_json(in_process, files):
    words = (*FORECAST, '--classifier', 'word-ridge', '--weight', '.5', '--labels', '7')
    code, out, error = in_process('forecast', 'pool', *words, '--json', '--quiet')
    told = json.loads(out)
    assert (code, error) == (0, '') and told['settings']['labels'] == 7 and told['weight'] == 'each counts 0.5'
    assert json.loads((files / 'forecast' / 'forecast.json').read_text())['sentences'] == told['sentences']
    assert told['sentences'][0] in (files / 'forecast' / 'forecast.html').read_text().replace('&#x27;', "'")


def test_the_command_says_in_one_line_what_is_wrong(in_process, files, corpus):
    def told(pool, *words, said):
        code, out, error = in_process('forecast', pool, *FORECAST, *words)
        assert code == 2 and said in error and error.count('\n') == 1, error

    told('pool:nowhere', said='there is no nowhere')
    told('recorded:tickets', said='does not belong to this corpus')
    told('pool', '--more', '9999', said='at most as many again')
    told('pool', '--objective', 'loss', said='objective')


def test_a_report_shows_a_forecast_where_it_takes_seconds(corpus, pool, tmp_path):
    how = dict(classifier='word-ridge', settings=('words=60',), budget=3, progress=False, free=False)
    result = improve(corpus, pool, out=tmp_path, **how)
    told = json.loads((tmp_path / 'summary.json').read_text())['forecast']
    assert told['sentences'] == result.text_forecast.sentences
    assert 'What more texts would bring' in (tmp_path / 'report.html').read_text()


def test_a_report_leaves_out_a_forecast_that_takes_longer(corpus, pool, ev, monkeypatch):
    slow = improve(corpus, pool, classifier='linear', strategy='random', budget=2, progress=False, free=False)
    assert slow.text_forecast is None and slow.summary()['forecast'] is None
    assert is_affordable(ev) and not is_affordable(ev, trainings=10**9)


def test_a_report_of_too_few_texts_has_no_forecast():
    few = worlds.corpus(n=6)
    how = dict(classifier='word-ridge', settings=('words=60',), budget=2, progress=False, free=False)
    result = improve(few, worlds.texts(few), **how)
    assert result.text_forecast is None


def test_equal_texts_share_a_fold(corpus, pool):
    twice = Corpus('twice', pd.concat([corpus.train, corpus.train[:10]]), corpus.validation, corpus.test)
    parts = SubSamples(Evaluator(twice, pool, classifier='word-ridge'), 1.0)
    assert (parts.fold[-10:] == parts.fold[:10]).all()
