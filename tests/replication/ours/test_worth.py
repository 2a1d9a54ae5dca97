"""What synthetic texts are worth: arms hold what they should, planted rates are found, intervals cover, cells are kept"""
import numpy as np
import pandas as pd
import pytest

from autogets.replication.ours import worth
from autogets.core import UserError, text_id
from autogets.replication.ours.worth import BOTH, FURTHER, REAL, REPEATED, SYNTHETIC, WEIGHTED, with_interval, Design, Supply, WorthCell, arm_rows, cells_of, curve_sizes, draw_real, load_supply, over_draws, predict_cell, resampled_means, with_control, worth_cells, written_from
from autogets.replication.ours.worth_tables import (ARM_PAIRS, exchange_rates, moved_apart, needed_real, worth_differences,
    worth_figure, worth_findings, worth_table)


CLASSES = list('abcd')


# --- planted texts: words of a class among words of all classes

def frame(texts, labels):
    return pd.DataFrame({'id': [text_id(t) for t in texts], 'text': texts, 'label': labels})


def sentences(number, rng, own=True):
    "`number` texts of each class; without `own`, their words say nothing of the class"
    texts, labels = [], []
    for k, c in enumerate(CLASSES):
        for _ in range(number):
            mine = [f'{c if own else CLASSES[rng.integers(4)]}word{w}' for w in rng.integers(0, 40, 4)]
            texts.append(' '.join([*mine, *(f'common{w}' for w in rng.integers(0, 300, 8))]))
            labels.append(c)
    return frame(texts, labels)


def planted_supply(kind, number=40, test=60, seed=0):
    "Synthetic texts that are as good as real ones, or nonsense"
    rng = np.random.default_rng(seed)
    real, tested = sentences(number, rng), sentences(test, rng)
    made = pd.concat([sentences(number, rng, kind == 'real') for _ in range(2)], ignore_index=True)
    sources = [(i,) for _ in range(2) for i in real.id]
    return Supply(kind, real, made.assign(source_ids=sources), tested)


def rate_of(kind, draws=12):
    "Rates at the smaller size, whose curve goes on beyond its control, and differences"
    supply = planted_supply(kind)
    cells = worth_cells(supply, Design((4, 8), draws, drawn=('even',)))
    means = resampled_means(cells, supply, 300)
    return exchange_rates(cells, means).query('n == 4').set_index('arm'), worth_differences(cells, means)


def test_synthetic_texts_as_good_as_real_ones_have_rate_one():
    rates, differences = rate_of('real')
    assert rates.estimate[SYNTHETIC] == pytest.approx(1, abs=.25) and rates.low[SYNTHETIC] < 1
    against = differences[(differences.arm == SYNTHETIC) & (differences.n == 'all')].set_index('minus')
    assert against.low[FURTHER] < 0 < against.high[FURTHER]
    assert against.low[REAL] > 0 and against.reading[REAL] == 'significant'


def test_nonsense_is_worth_nothing():
    rates, differences = rate_of('nonsense')
    assert rates.estimate[SYNTHETIC] < .15
    against = differences[(differences.arm == SYNTHETIC) & (differences.n == 'all')].set_index('minus')
    assert against.high[FURTHER] < 0


# --- planted predictions: right with a probability that is known

def planted(rate, draws=8, sizes=(4, 8), test=200, seed=0):
    "Cells in which one synthetic text is worth `rate` real ones"
    rng, truth = np.random.default_rng(seed), np.arange(test) % 4
    hard, rows = rng.random((draws, test)), []
    for cell in cells_of(Design(sizes, draws, drawn=('even',))):
        if cell.arm not in (REAL, SYNTHETIC): continue
        real, added = cell.n*4, 8*cell.n*(cell.arm == SYNTHETIC)
        right = hard[cell.seed] < .1+.15*np.log(real+rate*added)
        rows.append(cell._asdict() | dict(real=real, added=added, short=0, predicted=np.where(right, truth, (truth+1) % 4).tolist()))
    tested = frame([f'text {i}' for i in range(test)], [CLASSES[t] for t in truth])
    return with_control(pd.DataFrame(rows), sizes), Supply('planted', tested, tested[:0], tested)


def planted_rates(rate, **how):
    cells, supply = planted(rate, **how)
    return exchange_rates(cells, resampled_means(cells, supply, 200), (SYNTHETIC,)).set_index('n')


@pytest.mark.parametrize('rate', [0., .3, 1.])
def test_a_planted_rate_is_found(rate):
    found = planted_rates(rate)
    assert found.estimable.all() and found.estimate['mean of 4, 8'] == pytest.approx(rate, abs=.08)


def test_intervals_of_the_rate_cover_it():
    found = [planted_rates(.75, seed=s).loc['mean of 4, 8'] for s in range(16)]
    assert sum(f.low <= .75 <= f.high for f in found) >= 14
    assert all(f.high-f.low < .6 for f in found), 'intervals that cover because they are endless'
    assert np.mean([f.estimate for f in found]) == pytest.approx(.75, abs=.02)


@pytest.mark.parametrize('rate, sign', [(3., 1), (-.35, -1)])
def test_beyond_the_curve_nothing_is_estimated(rate, sign):
    found = planted_rates(rate, sizes=(4,))
    assert found.estimate[4] == sign*np.inf and not found.estimable.any() and found.outside[4] > .5


def test_intervals_cover_both_levels():
    "A score with an effect of each draw and of each test text: the interval of the mean covers, that over one level would not"
    rng, covered, alone = np.random.default_rng(0), 0, 0
    for _ in range(200):
        tests, draws = rng.normal(0, 1, 50), rng.normal(0, 1, 12)
        weights = np.random.default_rng(0).multinomial(50, np.full(50, 1/50), 300)/50
        over_tests = np.r_[tests.mean(), weights @ tests]
        found = with_interval(over_draws(draws[:, None]+over_tests[None]))
        covered += found['low'] <= 0 <= found['high']
        one = with_interval(draws.mean()+over_tests)
        alone += one['low'] <= 0 <= one['high']
    assert .88 <= covered/200 <= .99 and alone < .75*covered


def test_resamples_are_paired_on_both_levels():
    rng = np.random.default_rng(0)
    a = rng.random((10, 500))
    assert over_draws(a+.2)-over_draws(a) == pytest.approx(.2)


# --- what an arm holds

@pytest.fixture(scope='module')
def supply(): return load_supply()


def test_nothing_of_test_or_validation_is_trained_on(supply):
    held = set(supply.test.id)
    for draw in ('even', 'natural'):
        for arm in (REAL, WEIGHTED, REPEATED, SYNTHETIC, BOTH):
            assert not {text_id(t) for t in arm_rows(supply, arm, 60, draw).text} & held
    assert not held & set(supply.real.id)


@pytest.mark.parametrize('draw', ['even', 'natural'])
def test_draws_are_nested_and_follow_their_seed(supply, draw):
    few, more = draw_real(supply.real, 5, draw, 1), draw_real(supply.real, 15, draw, 1)
    assert set(few.id) < set(more.id) and few.equals(draw_real(supply.real, 5, draw, 1))
    assert set(few.id) != set(draw_real(supply.real, 5, draw, 2).id) and set(few.label) == set(supply.classes)


def test_a_class_with_too_few_gives_what_it_has(supply):
    cell = predict_cell(supply, WorthCell('linear', 'even', REAL, 30, 0))[0]
    assert cell['short'] == 2 and cell['real'] == 30*15-4-1
    natural = predict_cell(supply, WorthCell('linear', 'natural', REAL, 30, 0))[0]
    assert natural['short'] == 0 and natural['real'] == 450


def test_synthetic_texts_come_from_the_drawn_real_texts_alone(supply):
    real = draw_real(supply.real, 3, seed=4)
    texts = written_from(supply, real)
    assert {i for s in texts.source_ids for i in s} == set(real.id) and len(texts) == 2*len(real)
    two = supply.synthetic.head(1).assign(source_ids=[(real.id.iloc[0], 'another')])
    assert written_from(Supply('two', supply.real, two, supply.test), real).empty


def test_arms_of_one_draw_share_their_real_texts(supply):
    base = arm_rows(supply, REAL, 4, seed=2)
    for arm in (WEIGHTED, REPEATED, SYNTHETIC, BOTH):
        rows = arm_rows(supply, arm, 4, seed=2)
        assert list(rows.text[~rows.added]) == list(base.text)
    repeated = arm_rows(supply, REPEATED, 4, seed=2)
    assert set(repeated.text.value_counts()) == {3} and set(repeated.weight) == {1.}


def test_the_control_is_the_real_texts_at_three_times_the_size(supply):
    cells = worth_cells(supply, Design((3,), 1, drawn=('even',)))
    control, real = (cells[(cells.arm == arm) & (cells.n == n)].iloc[0] for arm, n in ((FURTHER, 3), (REAL, 9)))
    assert control.predicted == real.predicted and (control.real, control.added) == (45, 90)


def test_balanced_weights_change_only_natural_draws(supply):
    even, natural = ([predict_cell(supply, WorthCell('linear', d, arm, 5, 0))[0]['predicted'] for arm in (REAL, WEIGHTED)]
                     for d in ('even', 'natural'))
    assert even[0] == even[1] and natural[0] != natural[1]


# --- cells

def test_kept_cells_are_not_trained_again(supply, tmp_path, monkeypatch):
    design = Design((3,), 1, drawn=('even',), folder=tmp_path)
    first = worth_cells(supply, design)
    def refuse(*a, **k): raise AssertionError('trained again')
    monkeypatch.setattr(worth, 'make_classifier', refuse)
    assert worth_cells(supply, design).equals(first)
    with pytest.raises(AssertionError, match='again'): worth_cells(supply, Design((3,), 2, drawn=('even',), folder=tmp_path))


def test_processes_change_nothing(supply):
    one, two = (worth_cells(supply, Design((2,), 1, drawn=('even',), workers=w)) for w in (1, 2))
    assert one.equals(two)


@pytest.mark.parametrize('how, said', [(dict(draws=0), 'at least one draw'), (dict(sizes=()), 'at least one draw'),
                                       (dict(classifiers=('nosuch',)), 'unknown classifier'), (dict(drawn=('odd',)), 'unknown draw')])
def test_designs_that_cannot_be(how, said):
    with pytest.raises(UserError, match=said): Design(**how)


# --- tables, picture, words

@pytest.fixture(scope='module')
def study():
    supply = planted_supply('real', number=30, test=20)
    cells = worth_cells(supply, Design((3, 6), 2))
    return cells, resampled_means(cells, supply, 100)


def test_tables_have_every_arm_and_size(study):
    cells, means = study
    table, differences, rates = worth_table(*study), worth_differences(*study), exchange_rates(*study)
    assert len(table) == 2*(len(curve_sizes((3, 6)))+5*2) and table.draws.eq(2).all()
    assert ((table.low <= table['mean']) & (table['mean'] <= table.high)).all()
    assert len(differences) == 2*len(ARM_PAIRS)*3 and len(rates[rates.n.isin([3, 6])]) == 2*2*2
    one = differences[(differences.draw == 'even') & (differences.arm == SYNTHETIC) & (differences.minus == REAL)].set_index('n').estimate
    score = table[table.draw == 'even'].set_index(['arm', 'n'])['mean']
    assert one[3] == pytest.approx(score[SYNTHETIC, 3]-score[REAL, 3]) and one['all'] == pytest.approx((one[3]+one[6])/2)


def test_one_draw_gives_intervals_over_test_texts():
    supply = planted_supply('real', number=30, test=20)
    cells = worth_cells(supply, Design((3,), 1, drawn=('even',)))
    table = worth_table(cells, resampled_means(cells, supply, 100))
    assert (table.low < table.high).all()


def test_the_picture_shows_four_arms_with_intervals_and_names(study):
    table = worth_table(*study)
    ax = worth_figure(table, 'linear').axes[0]
    assert len(ax.containers) == 4 and len(ax.texts) == 4
    both = worth_figure(pd.concat([table, table.assign(classifier='other')]), 'other', reference='linear').axes[0]
    assert len(both.containers) == 6 and sum('linear' in t.get_text() for t in both.texts) == 2
    y = sorted(t.get_position()[1] for t in both.texts)
    assert np.diff(y).min() > .03, 'names lie on each other'


def test_names_are_moved_as_little_as_needed():
    assert moved_apart([1., 5., 3.], .5) == [1., 5., 3.]
    assert np.diff(sorted(moved_apart([.1, .1, .1, .11], .05))).min() > .049


def test_findings_say_what_the_tables_say(study):
    differences, rates = worth_differences(*study), exchange_rates(*study)
    found = worth_findings(differences, rates, 'linear', 'planted')
    d = differences[(differences.draw == 'even') & (differences.n == 'all')].iloc[0]
    assert found[0]['claim'] == f'Macro F1 {d.arm} is higher than {d.minus}'
    assert (found[0]['estimate'], found[0]['low'], found[0]['high']) == (d.estimate, d.low, d.high)


def test_needed_texts_on_a_curve_that_dips():
    texts = np.array([10., 20, 40])
    assert needed_real(np.array([.5, .3, .6]), texts, .4) == pytest.approx(20)
    assert needed_real(np.array([.2, .4, .6]), texts, .6) == pytest.approx(40)
