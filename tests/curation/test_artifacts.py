"""What gives the class of a synthetic text away: found where planted, not found where nothing is, and taken out"""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from autogets.curation.annotation_artifacts import artifacts, rephrased, without_giveaways
from autogets.curation.word_giveaways import Pair, class_counts, corrected, giveaway_words, log_odds, pair_up, terms
from autogets.curation.text_form import auc_against_rest, form_artifacts, form_matrix, form_of, form_only
from autogets.replication.prompting.label_bias import planted_table, planted_trial
from autogets.replication.prompting.label_repair import bias_findings, repair_table
from autogets.core import UserError
from autogets.generators.base import Generator

TOPICS = {
    'tea': 'kettle leaf cup steam pot brew mug pour'.split(),
    'sea': 'wave boat salt gull tide sail wind deck'.split(),
    'ski': 'snow lift pole slope ice boot ridge pass'.split(),
}
COMMON = (
    'the a we saw it and then by for with long good some day time one more over said took went came near very old '
    'new small blue'
).split()


def people(n=150, classes=('tea', 'sea'), seed=0, words=12):
    "Texts of invented classes: common words, and two words of the topic"
    rng = np.random.default_rng(seed)
    rows = [(' '.join([*rng.choice(COMMON, words), *rng.choice(TOPICS[c], 2)]), c) for c in classes for _ in range(n)]
    return pd.DataFrame(rows, columns=['text', 'label'])


def with_word(rows, label, share, word='frankly', seed=1):
    rng = np.random.default_rng(seed)
    return rows.assign(
        text=[f'{t} {word}' if c == label and rng.random() < share else t for t, c in zip(rows.text, rows.label)]
    )


@pytest.fixture(scope='module')
def real():
    return people(seed=0)


@pytest.fixture(scope='module')
def new():
    return people(seed=5)


# --- the numbers


def test_log_odds_by_hand():
    "Odds (8+1)/(2+1) and (1+1)/(9+1): their ratio is 15"
    delta, variance = log_odds(8, 10, 1, 10, 0.5, 2)
    assert delta == pytest.approx(np.log(15)) and variance == pytest.approx(1 / 9 + 1 / 3 + 1 / 2 + 1 / 10)
    assert delta / variance**0.5 == pytest.approx(2.6493, abs=1e-3)
    back = log_odds(1, 10, 8, 10, 0.5, 2)
    assert back[0] == pytest.approx(-delta) and back[1] == pytest.approx(variance)


def test_a_stronger_prior_shrinks():
    found = [log_odds(30, 100, 2, 100, 0.16, a)[0] for a in (1, 10, 100, 1000)]
    assert found == sorted(found, reverse=True) and found[-1] > 0


def test_z_of_a_whole_table_is_that_of_the_formula():
    a, b = ['apple rest here'] * 30 + ['plain rest here'] * 10, ['apple rest here'] * 5 + ['plain rest here'] * 35
    d = pd.DataFrame({'text': [f'{t} u{k}' for k, t in enumerate(a + b)], 'label': ['A'] * 40 + ['B'] * 40})
    row = giveaway_words(pair_up(d, d), prior=20).set_index('word').loc['apple']
    delta, v = log_odds(30, 40, 5, 40, 35 / 80, 20)
    assert row['class'] == 'A' and row.log_odds == pytest.approx(delta) and row.z == pytest.approx(delta / v**0.5)
    assert row.difference == pytest.approx(0) and row.p == 1 and not row.give_away


def test_texts_of_one_source_count_as_few():
    X = np.array([[1.0]] * 15 + [[0.0]] * 15 + [[1.0]] * 10 + [[0.0]] * 20)
    codes = np.repeat([0, 1], 30)
    p, n = class_counts(X, codes, 2, np.arange(60))
    assert np.allclose(p, [[0.5], [1 / 3]]) and np.allclose(n, 30)
    q, m = class_counts(X, codes, 2, np.repeat(np.arange(12), 5))
    assert np.allclose(p, q) and (m < 30 / 4).all(), 'five equal texts of a source are about one'
    mixed = class_counts(np.tile([[1.0], [0.0]], (30, 1)), codes, 2, np.repeat(np.arange(30), 2))
    assert np.allclose(mixed[1], 30), 'a source never counts for more than its texts'


def test_terms_count_once_and_know_the_opening():
    assert terms('Oh no, no!') == ['oh', 'no', 'no', 'oh no', 'no no', '^oh'] and terms('...') == []
    rows = pd.DataFrame(
        {
            'text': ['frankly ' * 50 + str(k) if k == 0 else f'nothing here {k}' for k in range(40)]
            + [f'some thing {k}' for k in range(40)],
            'label': ['A'] * 40 + ['B'] * 40,
        }
    )
    t = giveaway_words(pair_up(rows, rows), min_texts=1).set_index('word')
    assert t.loc['frankly'].share == pytest.approx(1 / 40)


@pytest.mark.parametrize('correction', ['bh', 'by', 'bonferroni'])
def test_corrections_are_monotone_and_never_lower(correction):
    p = np.sort(np.random.default_rng(0).random(200) ** 3)
    q = corrected(p, correction)
    assert (q >= p).all() and (np.diff(q) >= -1e-15).all() and q.max() <= 1
    one = corrected(np.r_[p[0], p[1:] / 2], correction)
    assert (one[1:] <= q[1:] + 1e-15).all()
    assert np.allclose(corrected(p[::-1], correction)[::-1], q)


def test_corrections_are_ordered():
    p = np.random.default_rng(1).random(50) ** 4
    assert (corrected(p, 'bh') <= corrected(p, 'by') + 1e-15).all() and (
        corrected(p, 'bh') <= corrected(p, 'bonferroni') + 1e-15
    ).all()
    assert corrected([0.01, 0.02, 0.03], 'bonferroni') == pytest.approx([0.03, 0.06, 0.09])
    assert len(corrected([])) == 0


@pytest.mark.parametrize('k', [2, 3])
def test_auc_and_its_error(k):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, k, 400)
    x = np.round(rng.normal(size=(400, 2)) + codes[:, None] * [0.5, 0], 1)
    auc, errors = auc_against_rest(x, codes, 1)
    pairs = [
        [roc_auc_score(codes[s] == 1, x[s, j]) for s in [(codes == 1) | (codes == o)]][0]
        for o in range(k)
        if o != 1
        for j in range(2)
    ]
    assert auc == pytest.approx(np.reshape(pairs, (-1, 2)).mean(0)) and np.allclose(errors.sum(0), 0)
    draws = []
    for i in range(300):
        take = np.concatenate([rng.choice(np.flatnonzero(codes == c), (codes == c).sum()) for c in range(k)])
        draws.append(auc_against_rest(x[take], codes[take], 1)[0])
    assert (errors**2).sum(0) ** 0.5 == pytest.approx(np.std(draws, axis=0), rel=0.15)


# --- planted, and not planted


@pytest.mark.parametrize('label, other', [('sea', 'tea'), ('tea', 'sea')])
def test_a_planted_word_is_found_with_its_class(real, new, label, other):
    found = artifacts(real, with_word(new, label, 0.3), folds=0)
    row = found.give_aways.set_index('word').loc['frankly']
    assert (
        row['class'] == label
        and row.log_odds > 0
        and row.z > 3
        and row.real_share == 0
        and row.rest == 0
        and 0.2 < row.share < 0.4
    )
    assert set(found.give_aways.word.str.contains('frankly')) == {True}, 'and nothing else is'
    assert "'frankly' for " + label in found.verdict and 0.05 < found.facts['carrying'] < 0.25


def test_a_word_that_real_texts_have_as_well_is_no_give_away(real, new):
    found = artifacts(with_word(real, 'sea', 0.3), with_word(new, 'sea', 0.3, seed=2), folds=0)
    row = found.words.set_index('word').loc['frankly']
    assert row.z > 3 and row.real_z > 3 and not row.give_away
    assert found.give_aways.empty and 'none of' in found.verdict


def test_a_word_that_changes_sides_is_one(real, new):
    row = (
        giveaway_words(pair_up(with_word(real, 'tea', 0.3), with_word(new, 'sea', 0.3)))
        .set_index('word')
        .loc['frankly']
    )
    assert row.give_away and row['class'] == 'sea' and row.real_log_odds < 0


def test_the_larger_set_does_not_seem_to_separate_more():
    "A few real texts and many synthetic ones with the same habits"
    alarms = [
        giveaway_words(
            pair_up(
                with_word(people(20, seed=s), 'sea', 0.5, seed=s),
                with_word(people(600, seed=s + 50), 'sea', 0.5, seed=s + 9),
            )
        ).give_away.sum()
        for s in range(8)
    ]
    assert sum(a > 0 for a in alarms) <= 1


def test_three_classes(real):
    classes = ('tea', 'sea', 'ski')
    found = artifacts(people(classes=classes), with_word(people(classes=classes, seed=5), 'ski', 0.4), folds=0)
    assert (
        set(found.give_aways['class']) == {'ski'}
        and set(found.give_aways.word) >= {'frankly'}
        and len(found.form) == 3 * form_of(['x']).shape[1]
    )


def test_sizes_of_other_classes_alone_make_no_give_away():
    "Real texts of three classes in unlike numbers, and synthetic ones in equal numbers, all from one source of words"
    classes = ('tea', 'sea', 'ski')
    real = pd.concat([people(n, (c,), seed=k) for k, (n, c) in enumerate(zip((400, 40, 60), classes))])
    found = artifacts(real, people(200, classes, seed=9), folds=0)
    assert found.give_aways.empty and not found.form.artifact.any()


def test_false_alarms_are_rare():
    "Thirty cuts of real texts, half of them with shuffled classes"
    rows = people(200)
    trials = pd.DataFrame([planted_trial(rows, how, 0.0, s) for how in ('halves', 'shuffled') for s in range(15)])
    for column in ('words', 'form'):
        assert stats.binomtest(int((trials[column] > 0).sum()), len(trials), 0.05, alternative='greater').pvalue > 0.01


def test_the_trials_find_what_they_plant():
    rows = people(200)
    assert planted_trial(rows, 'word', 0.4, 0)['found'] == planted_trial(rows, 'length', 0.4, 0)['found'] == 1
    assert planted_trial(rows, 'word', 0.01, 0)['found'] == 0


def test_variants_of_one_example_prove_little(real):
    "One example with the word, fifty times: by source it is one text"
    new = people(150, seed=5)
    many = new.assign(text=[f'{t} frankly' if k < 30 else t for k, t in enumerate(new.text)])
    assert 'frankly' in set(artifacts(real, many, folds=0).give_aways.word)
    grouped = many.assign(source_ids=[['one'] if k < 30 else [f'e{k}'] for k in range(len(many))])
    assert 'frankly' not in set(artifacts(real, grouped, folds=0).give_aways.word)


def test_order_does_not_matter(real, new):
    rows = with_word(new, 'sea', 0.3).assign(lead=[f'e{k // 3}' for k in range(len(new))])
    a, b = (
        artifacts(real, rows, folds=0),
        artifacts(real.sample(frac=1, random_state=1), rows.sample(frac=1, random_state=2), folds=0),
    )
    pd.testing.assert_frame_equal(a.words, b.words)
    pd.testing.assert_frame_equal(
        a.form.sort_values(['feature', 'class'], ignore_index=True),
        b.form.sort_values(['feature', 'class'], ignore_index=True),
    )


def test_a_marked_form_is_found(real, new):
    shouting = new.assign(
        text=[t + '!!' if c == 'tea' and k % 2 else t for k, (t, c) in enumerate(zip(new.text, new.label))]
    )
    top = form_artifacts(pair_up(real, shouting)).set_index('feature')
    assert (
        top.loc['exclamation marks'].artifact
        and top.loc['exclamation marks', 'class'] == 'tea'
        and top.loc['exclamation marks'].auc > 0.7
    )
    assert not top.loc['commas'].artifact and (top.low <= top.auc).all() and (top.auc <= top.high).all()


# --- the form alone


def test_the_form_holds_no_content():
    a, b = form_matrix(['The kettle is hot.', 'The mountains is old.'])
    assert a.shape == b.shape and not np.array_equal(a, b), 'letters are counted'
    c, d = form_matrix(['The kettle is hot.', 'The saddle is hot.'])
    assert np.array_equal(c, d)


def test_a_short_cut_is_seen_and_its_absence():
    real, new = people(80), people(80, seed=5)
    short = new.assign(text=[' '.join(t.split()[:7]) if c == 'tea' else t for t, c in zip(new.text, new.label)])
    told = form_only(pair_up(real, short), draws=1).set_index('told')
    assert (
        told.auc['class, synthetic'] > 0.95
        and told.low['class, difference'] > 0.2
        and abs(told.auc['class, real'] - 0.5) < 0.15
    )
    plain = form_only(pair_up(real, new), draws=1).set_index('told')
    assert (
        plain.low['class, difference'] < 0 < plain.high['class, difference']
        and plain.low['synthetic or real'] < 0.5 < plain.high['synthetic or real']
    )


def test_the_same_seed_gives_the_same():
    pair = pair_up(people(25, seed=0), people(25, seed=5))
    a, b, c = (form_only(pair, draws=1, seed=s) for s in (3, 3, 4))
    assert a.equals(b) and not a.equals(c)


def test_the_texts_of_a_source_stay_in_one_fold():
    "Labels that only the source tells cannot be told"
    rng = np.random.default_rng(0)
    rows = [
        (f'{"we " * int(w)}{k}', c, f's{s}')
        for s in range(60)
        for c, w in [(('A', 'B')[s % 2], rng.integers(1, 30))]
        for k in range(6)
    ]
    d = pd.DataFrame(rows, columns=['text', 'label', 'lead'])
    told = form_only(pair_up(d, d), draws=1).set_index('told')
    assert told.low['class, synthetic'] < 0.5 < told.high['class, synthetic']


# --- taking it out


@pytest.fixture(scope='module')
def marked(real, new):
    rows = with_word(new, 'sea', 0.4)
    return rows, artifacts(real, rows, folds=0)


def test_dropping_takes_the_give_away_out(real, marked):
    rows, found = marked
    left = without_giveaways(rows, found, proportions=False)
    has = rows.text.str.contains('frankly')
    assert has.sum() > 40 and left.text.str.contains('frankly').sum() <= 2 and len(left) >= (~has).sum()
    assert set(left.index) <= set(rows.index) and (left.label == 'tea').sum() == (rows.label == 'tea').sum()
    assert artifacts(real, left, folds=0).give_aways.empty
    even = without_giveaways(rows, found)
    assert set(even.index) < set(left.index) and set(even.label.value_counts()) == {(left.label == 'sea').sum()}, (
        'the other class loses as many, by lot'
    )


def test_no_class_loses_more_than_it_may(marked):
    rows, found = marked
    left = without_giveaways(rows, found, keep=0.9)
    assert (left.label == 'sea').sum() == np.ceil(0.9 * (rows.label == 'sea').sum())
    assert len(without_giveaways(rows, found, keep=1.0)) == len(rows)


def test_weights_balance(marked):
    rows, found = marked
    even = without_giveaways(rows, found, 'weight')
    assert even.groupby('label').weight.mean().tolist() == pytest.approx([1, 1])
    w = without_giveaways(rows, found, 'weight', proportions=False)
    sea = w[w.label == 'sea']
    has = sea.text.str.contains('frankly')
    assert (w[w.label == 'tea'].weight == 1).all() and w.weight.between(0, 1).all() and (sea.weight[~has] == 1).all()
    assert (sea.weight * has).sum() / sea.weight.sum() < 0.02 and len(w) == len(rows)


def test_nothing_found_nothing_dropped(real, new):
    found = artifacts(real, new, folds=0)
    assert (
        without_giveaways(new, found).equals(new)
        and (without_giveaways(new, found, 'weight').weight == 1).all()
        and rephrased(new, found, None) is new
    )


class Sayer(Generator):
    "Says it without the word; every tenth text not at all"

    name = 'sayer'

    def generate(self, examples, n):
        self.asked = [*getattr(self, 'asked', []), *examples.text]
        some = examples.iloc[[k for k in range(len(examples)) if k % 10]]
        return self.rows(
            [t.replace('frankly', 'so') for t in some.text], list(some.label), [[i] for i in some.id], [0] * len(some)
        )


def test_rephrasing_asks_only_for_texts_that_need_it(real, marked):
    rows, found = marked
    sayer = Sayer()
    said = rephrased(rows, found, sayer)
    has = rows.text.str.contains('frankly')
    assert sorted(sayer.asked) == sorted(rows.text[has]) and not said.text.str.contains('frankly').any()
    assert (
        len(rows) - len(said) == -(-has.sum() // 10)
        and said.text[~has].equals(rows.text[~has])
        and (said.label == rows.label[said.index]).all()
    )
    assert artifacts(real, said, folds=0).give_aways.word.tolist() in ([], ['so'])


# --- what cannot be used


@pytest.mark.parametrize(
    'change, said',
    [
        (lambda d: d[d.label == 'tea'], 'two classes'),
        (lambda d: d.head(0), 'two classes'),
        (lambda d: d.groupby('label').head(9), 'at least 10'),
        (lambda d: d.assign(label=[f'c{k}' for k in range(len(d))]), 'two classes'),
        (lambda d: d.drop(columns='label'), "'label'"),
        (lambda d: d.drop(columns='text'), "'text'"),
        (lambda d: d.assign(text=[None, *d.text[1:]]), 'row 0'),
        (lambda d: list(d.text), "'text'"),
        (lambda d: d.assign(text=['kettle', *d.text[1:]]).assign(label='x'), 'two classes'),
    ],
)
def test_unfit_texts_are_refused_in_one_line(real, new, change, said):
    for a, b in ((real, change(new)), (change(real), new)):
        with pytest.raises(UserError, match=said) as e:
            artifacts(a, b)
        assert len(str(e.value).splitlines()) == 1


@pytest.mark.parametrize(
    'how, said',
    [
        (dict(correction='holm'), 'correction'),
        (dict(column='text_pair'), 'text_pair'),
        (dict(min_texts=10_000), 'min_texts'),
    ],
)
def test_unfit_settings_are_refused(real, new, how, said):
    with pytest.raises(UserError, match=said):
        artifacts(real, new, **how)


def test_too_few_sources_for_the_folds(real, new):
    with pytest.raises(UserError, match='folds'):
        artifacts(real, new.assign(lead=[f'e{k % 3}' for k in range(len(new))]))


def test_unfit_repairs_are_refused(marked):
    for args, said in ((('burn',), 'way'), (('drop', 1.5), 'share')):
        with pytest.raises(UserError, match=said):
            without_giveaways(*marked, *args)


def test_pair_tasks_and_classes_of_one_set(real, new):
    hidden = lambda d: d.assign(text_pair=d.text, text='same everywhere ' + pd.Series(map(str, range(len(d)))))
    assert 'frankly' in set(
        artifacts(hidden(real), hidden(with_word(new, 'sea', 0.4)), 'text_pair', folds=0).give_aways.word
    )
    assert artifacts(hidden(real), hidden(with_word(new, 'sea', 0.4)), folds=0).give_aways.empty
    found = artifacts(real, pd.concat([new, people(50, ('ski',))]), folds=0)
    assert found.facts['left_out'] == ('ski',) and found.facts['classes'] == ['sea', 'tea']


def test_the_figure_has_its_panels(real, marked):
    rows, found = marked
    fig = found.figure(5)
    assert len(fig.axes) == 2 and len(fig.axes[0].get_yticks()) == 5
    whole = artifacts(people(40), with_word(people(40, seed=5), 'sea', 0.4), draws=1)
    assert (
        len(whole.figure().axes) == 3 and 'From form alone' in whole.verdict and 'From form alone' not in found.verdict
    )


def test_repeats_count_once(real, new):
    pair = pair_up(real, pd.concat([new] * 3))
    assert isinstance(pair, Pair) and len(pair.synthetic) == len(new)


# --- the study


def test_gains_are_paired_by_seed():
    rows = [
        dict(
            corpus='x',
            prompt_method='w',
            classifier='linear',
            arm=a,
            seed=s,
            real=10,
            texts=20,
            found=1,
            carrying=0.1,
            score=0.5 + 0.1 * s + (0.02 if a == 'drop' else 0),
            error=0.0 if a == 'all' else 0.01,
        )
        for s in range(5)
        for a in ('all', 'drop')
    ]
    t = repair_table(pd.DataFrame(rows)).set_index('arm')
    assert t.gain.tolist() == pytest.approx([0, 0.02]) and t.loc['drop', 'high'] - t.loc[
        'drop', 'low'
    ] == pytest.approx(2 * 0.01 * stats.t.ppf(0.975, 4))


def test_shares_of_trials_have_exact_intervals():
    cells = pd.DataFrame(
        [
            dict(corpus='x', how=h, strength=s, seed=k, of_class=50, found=int(k < 9), words=int(k == 0), form=0)
            for h, s in (('halves', 0.0), ('word', 0.2))
            for k in range(10)
        ]
    )
    t = planted_table(cells).set_index('how')
    assert (
        t.loc['word', 'power'] == 0.9
        and t.loc['word', 'low'] == pytest.approx(stats.beta.ppf(0.025, 9, 2))
        and np.isnan(t.loc['halves', 'power'])
    )
    assert (
        t.loc['halves', 'false_words'] == 0.1
        and t.loc['halves', 'false_form'] == 0
        and np.isnan(t.loc['word', 'false_words'])
    )


@pytest.mark.parametrize(
    'low, high, verdict',
    [
        ((0.01, 0.02), (0.1, 0.1), 'holds'),
        ((-0.1, 0.02), (0.1, 0.1), 'inconclusive'),
        ((-0.1, -0.1), (0.1, 0.1), 'inconclusive'),
        ((-0.2, -0.2), (-0.1, -0.1), 'does not hold'),
    ],
)
def test_findings_follow_the_intervals(low, high, verdict):
    table = pd.DataFrame(dict(words=[0, 2], low=low, high=high))
    repaired = pd.DataFrame(
        [dict(arm=a, found=1.0, low=l, high=h) for l, h in zip(low, high) for a in ('all', 'drop', 'random')]
    )
    planted = pd.DataFrame(
        [
            dict(
                corpus='x',
                how='halves',
                trials=200,
                false_words=0.0,
                false_words_low=0.0,
                false_words_high=0.02,
                false_form=0.5,
                false_form_low=0.4,
                false_form_high=0.6,
            )
        ]
    )
    found = {f['claim']: f['verdict'] for f in bias_findings(table, repaired, planted)}
    assert found['Dropping texts with give-away words improves the classifier'] == verdict
    assert found['Words of generated yes/no questions give the answer away'] == 'inconclusive'
    assert found['The artifact detector raises false alarms in at most 10 % of trials'] == 'does not hold'
