"The knowledge map: what is written is what is read, bad files are named in one line, and no corpus advises itself"

import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from autogets.core import UserError, shipped, text_id
from autogets.data.corpus import Corpus
from autogets.search.knowledge import (
    BUDGETS,
    KEYS,
    KNOWLEDGE_COLUMNS,
    TRAITS,
    KnowledgeMap,
    cases,
    characteristics,
    load_knowledge,
    read_record,
    records,
    write_record,
)
from autogets.search.regret import best_strategies, knowledge_figure, leave_one_out, regret_table, regret_verdict
from autogets.metrics import OBJECTIVES
from autogets.search.trace import TRACE_COLUMNS, Trace

STRATEGIES = ('random', 'sliding-window', 'hierarchical', 'genetic')
FILES = ('classes.csv', 'searches.csv', 'knowledge.json')

# --- a made-up world ---


def by_size(strategy, traits):
    "Small classes gain from the genetic algorithm, large ones from sliding windows"
    return 0.03 * (strategy == ('genetic' if traits['size'] < 100 else 'sliding-window'))


def rows(
    rule=by_size,
    corpora=5,
    classes=4,
    strategies=STRATEGIES,
    budgets=(50,),
    splits=1,
    noise=0.002,
    seed=0,
    objective='accuracy',
):
    rng, out = np.random.default_rng(seed), []
    for c in range(corpora):
        for k in range(classes):
            traits = {t: round(float(rng.uniform()), 4) for t in TRAITS} | dict(size=float([20, 600, 30, 400][k % 4]))
            out += [
                dict(
                    corpus=f'corpus {c}',
                    fingerprint=f'f{c}-{r}',
                    **{'class': f'class {k}'},
                    generator='g',
                    classifier='linear',
                    strategy=s,
                    objective=objective,
                    seed=r,
                    budget=b,
                    gain=0.05,
                    honest=rule(s, traits) + rng.normal(0, noise),
                    **traits,
                )
                for s in strategies
                for b in budgets
                for r in range(splits)
            ]
    return pd.DataFrame(out)


def raises(f, *words):
    "`f` ends in a one-line `UserError` that says all of `words`"
    with pytest.raises(UserError) as e:
        f()
    assert '\n' not in str(e.value) and all(w in str(e.value) for w in words), str(e.value)


@pytest.fixture(scope='module')
def planted():
    return KnowledgeMap(rows())


# --- files ---


def test_what_is_saved_is_what_is_loaded_byte_for_byte(tmp_path):
    t = rows(splits=2, budgets=(10, 50))
    t.loc[t.budget == 10, 'honest'] = np.nan
    t['class'] = t['class'].replace(
        {'class 0': 'NA', 'class 1': 'a,"b"\nc', 'class 2': 'null', 'class 3': 'Überweisung é'}
    )
    m = KnowledgeMap(t)
    m.save(tmp_path / 'a')
    load_knowledge(tmp_path / 'a').save(tmp_path / 'b')
    pd.testing.assert_frame_equal(load_knowledge(tmp_path / 'a').table, m.table)
    assert all((tmp_path / 'a' / f).read_bytes() == (tmp_path / 'b' / f).read_bytes() for f in FILES)
    assert load_knowledge(tmp_path / 'a').version == m.version


def test_adding_again_changes_nothing_and_order_does_not_matter():
    t, m = rows(), KnowledgeMap(rows())
    assert m.add(t).version == m.version == m.add(t.sample(frac=1, random_state=1)).version
    parts = [d for _, d in t.groupby('corpus')]
    assert (
        KnowledgeMap(parts[0]).add(parts[1]).add(parts[2]).version
        == KnowledgeMap(parts[2]).add(parts[0]).add(parts[1]).version
    )


def test_a_run_measured_again_is_replaced_and_the_old_map_stays_as_it_was():
    t = rows()
    m = KnowledgeMap(t)
    again = t.iloc[[3]].assign(honest=0.5)
    new = m.add(again)
    assert len(new.table) == len(m.table) and (new.table.honest == 0.5).sum() == 1 and not (m.table.honest == 0.5).any()
    assert len(m.add(again.assign(seed=7)).table) == len(m.table) + 1


def resaved(folder, file, data):
    "The map in `folder` with `data` in `file`, its checksum made right"
    (folder / file).write_bytes(data)
    head = json.loads((folder / 'knowledge.json').read_text())
    head['sha256'][file] = hashlib.sha256(data).hexdigest()
    (folder / 'knowledge.json').write_text(json.dumps(head))


@pytest.mark.parametrize('file', ['classes.csv', 'searches.csv'])
@pytest.mark.parametrize(
    'data',
    [b'', b'a,b\n1,2\n', b'\xff\xfe\x00\x81', b'number\n"never closed'],
    ids=['empty', 'foreign', 'no text', 'no table'],
)
def test_a_foreign_file_is_one_line_even_when_its_checksum_is_right(tmp_path, planted, file, data):
    planted.save(tmp_path)
    resaved(tmp_path, file, data)
    raises(lambda: load_knowledge(tmp_path), str(tmp_path))


@pytest.mark.parametrize('file', ['classes.csv', 'searches.csv'])
def test_a_changed_file_is_noticed(tmp_path, planted, file):
    planted.save(tmp_path)
    p = tmp_path / file
    p.write_bytes(p.read_bytes().replace(b'1', b'2', 1))
    raises(lambda: load_knowledge(tmp_path), file, 'checksum')


@pytest.mark.parametrize('file', FILES)
def test_a_missing_file_is_named(tmp_path, planted, file):
    planted.save(tmp_path)
    (tmp_path / file).unlink()
    raises(lambda: load_knowledge(tmp_path), str(tmp_path), 'no knowledge map')


@pytest.mark.parametrize('text', ['', '{', '[]', '{}', '{"format": 99}', '{"format": "1"}'])
def test_a_header_of_another_version_or_file_is_refused(tmp_path, planted, text):
    planted.save(tmp_path)
    (tmp_path / 'knowledge.json').write_text(text)
    raises(lambda: load_knowledge(tmp_path), 'knowledge.json')


def test_a_map_without_searches_or_with_an_unknown_objective_is_refused(tmp_path, planted):
    planted.save(tmp_path)
    data = (tmp_path / 'searches.csv').read_bytes()
    resaved(tmp_path, 'searches.csv', data.splitlines()[0] + b'\n')
    raises(lambda: load_knowledge(tmp_path), 'empty')
    resaved(tmp_path, 'searches.csv', data.replace(b',accuracy,', b',g7,'))
    raises(lambda: load_knowledge(tmp_path), 'objective', 'g7')
    resaved(tmp_path, 'searches.csv', data.replace(b',50,', b',many,'))
    raises(lambda: load_knowledge(tmp_path), str(tmp_path))


def test_a_folder_that_refuses_is_one_line(tmp_path, planted):
    (tmp_path / 'file').write_text('')
    raises(lambda: planted.save(tmp_path / 'file' / 'map'), 'cannot write')


# --- the record of a run ---


def test_a_run_folder_gives_its_rows(tmp_path):
    t = rows(corpora=1)
    write_record(tmp_path, t)
    assert KnowledgeMap(read_record(tmp_path)).version == KnowledgeMap(t).version
    (tmp_path / 'run.json').write_text(json.dumps(dict(settings=dict(corpus_fingerprint='f0-0'))))
    assert len(read_record(tmp_path)) == len(t)


def test_a_record_of_another_corpus_or_none_is_refused(tmp_path):
    raises(lambda: read_record(tmp_path), 'knowledge.csv', 'improve')
    write_record(tmp_path, rows(corpora=1))
    (tmp_path / 'run.json').write_text(json.dumps(dict(settings=dict(corpus_fingerprint='other'))))
    raises(lambda: read_record(tmp_path), 'another corpus')


@pytest.mark.parametrize(
    'data',
    [b'', b'a,b\n1,2\n', b'\xff\xfe\x00\x81', b'evaluation,strategy,note\n'],
    ids=['empty', 'foreign', 'no text', 'a trace'],
)
def test_a_record_that_is_no_table_is_refused(tmp_path, data):
    (tmp_path / 'knowledge.csv').write_bytes(data)
    raises(lambda: read_record(tmp_path), 'knowledge.csv')


# --- what goes in ---


def frame(texts):
    return pd.DataFrame([(text_id(t), t, l) for t, l in texts], columns=['id', 'text', 'label'])


def small(test=(('x y', 'a'),)):
    train = frame(
        [('a one', 'a'), ('a two', 'a'), ('a three', 'a'), ('b one', 'b'), ('b two', 'b'), ('c one two three', 'c')]
    )
    return Corpus(
        'small', train, frame([('v one', 'a'), ('v two', 'a'), ('v three', 'b'), ('v four', 'c')]), frame(test)
    )


def test_characteristics_are_those_counted_by_hand():
    c = small()
    pool = pd.DataFrame({'label': ['a'] * 6 + ['b']})
    xy = c.train[['id', 'label']].assign(c0=[0, 2, 1, 10, 10, 1.0], c1=[0, 0, 0, 0, 2, 7.0])
    t = characteristics(c, np.array(['a', 'b', 'b', 'a'], dtype=object), pool, xy).set_index('class')
    assert t['size'].tolist() == [3, 2, 1] and t.classes.tolist() == [3, 3, 3] and t.texts.tolist() == [6, 1, 0]
    assert t.texts_per_example.tolist() == [2, 0.5, 0] and t.recall.tolist() == [0.5, 1, 0]
    assert t.spread.tolist() == pytest.approx([2 / 3, 1, 0]) and t.distance.tolist() == pytest.approx([7, 82**0.5, 7])
    assert t.separation['a'] == pytest.approx(10.5) and np.isnan(t.separation['c'])  # one example has no spread


def test_characteristics_do_not_know_the_test_split():
    predicted = np.array(['a', 'b', 'b', 'a'], dtype=object)
    one, other = (
        characteristics(small(test), predicted) for test in ([('x y', 'a')], [('p q r', 'b'), ('s t u v', 'c')])
    )
    pd.testing.assert_frame_equal(one, other)
    assert one[['spread', 'distance', 'separation']].isna().all(axis=None) and (one.texts == 0).all()


def trace(values, texts):
    "A trace whose candidate `i` is source `i`, row 0 M0"
    t = Trace([f's{i}' for i in range(1, len(values))])
    for i, (v, n) in enumerate(zip(values, texts)):
        t.rows.append(
            dict.fromkeys(TRACE_COLUMNS[:-1], 0)
            | dict(
                evaluation=i,
                members=hex(1 << i - 1) if i else '0x0',
                texts=n,
                seconds=1.0,
                **{o: v for o in OBJECTIVES},
            )
        )
    return t


class Judge:
    """Stands for an evaluator: test is .4 for the baseline and grows by .01 a source number; remembers what it was
    asked, and was asked for `looked` before"""

    def __init__(self, looked=()):
        self.asked, self.predictions = [], dict.fromkeys(looked)
        self.target, self.classifier, self.corpus = 'a', 'linear', SimpleNamespace(name='small', fingerprint='f' * 16)

    def key(self, candidate):
        return candidate

    def score(self, candidate):
        self.asked.append(candidate)
        self.predictions[candidate] = None
        return {'test': dict.fromkeys(OBJECTIVES, 0.4 + 0.01 * int(candidate[0][1:]) if candidate else 0.4)}


TRAITS_OF_A = dict.fromkeys(TRAITS, 1.0) | {'class': 'a', 'neighbor': 'b'}


def test_records_take_the_best_so_far_and_give_ties_to_fewer_texts_then_to_the_earlier():
    values, texts = [0.5] * 22, [0] + [9] * 21
    values[3] = values[5] = values[7] = 0.6
    texts[3], texts[5], texts[7] = 8, 4, 4  # 5 wins: fewer texts than 3, earlier than 7
    values[15] = 0.7
    values[21] = 0.9  # 21 is beyond the last budget reached
    t = records(trace(values, texts), TRAITS_OF_A, Judge(), 'random', 'accuracy', 'g', 3).set_index('budget')
    assert t.index.tolist() == [b for b in BUDGETS if b <= 21]
    assert t.gain[10] == pytest.approx(0.1)
    assert t.gain[20] == pytest.approx(0.2)
    assert t.honest[10] == pytest.approx(0.05)
    assert t.honest[20] == pytest.approx(0.15)
    assert set(t.seed) == {3}
    assert set(t.corpus) == {'small'}


def test_records_of_a_search_that_found_nothing_choose_the_model_as_it_was():
    t = records(trace([0.5] + [0.4] * 12, [0] + [5] * 12), TRAITS_OF_A, Judge(), 'genetic', 'recall')
    assert (t.gain == 0).all() and (t.honest == 0).all() and list(t.columns) == list(KNOWLEDGE_COLUMNS)


def looked_before(*looked):
    "A search of 60 whose best at 50 is s50, recorded without a look at test; what was asked"
    judge = Judge(looked)
    return records(
        trace([0.5] + list(np.linspace(0.5, 0.6, 60)), [0] + [5] * 60),
        TRAITS_OF_A,
        judge,
        'random',
        'accuracy',
        honest=False,
    ), set(judge.asked)


def test_a_run_that_looked_at_its_last_choice_keeps_that_figure_and_no_other():
    t, asked = looked_before((), ('s50',), ('s10',))
    assert t.honest.notna().tolist() == [False] * (len(t) - 1) + [True]
    assert asked == {(), ('s50',)}
    assert t.honest.iloc[-1] == pytest.approx(0.5)


@pytest.mark.parametrize(
    'looked', [[], [()], [(), ('s57',)], [('s50',)]], ids=['nothing', 'M0', 'another choice', 'not M0']
)
def test_no_second_look_at_test_is_taken_for_the_record(looked, tmp_path):
    t, asked = looked_before(*looked)
    assert t.honest.isna().all() and not asked and t.gain.notna().all()
    write_record(tmp_path, t)
    pd.testing.assert_frame_equal(read_record(tmp_path), KnowledgeMap(t).table)


def test_the_record_of_a_run_says_what_the_final_measurement_said():
    "With a real evaluator: the last budget's choice is what `final` looked at, or it is not"
    from autogets.search.candidates import Budget
    from autogets.search.evaluator import Evaluator
    from autogets.search.loop import choose, run_search
    from autogets.search.strategy import Random

    words = {'a': 'red ant', 'b': 'blue bee'}

    def texts(part, n):
        return frame([(f'{words[c]} {part} {i}', c) for c in words for i in range(n)])

    corpus = Corpus('toy', texts('train', 6), texts('check', 4), texts('late', 4))
    pool = texts('new', 6).assign(source_ids=[[i] for i in corpus.train.id])
    ev = Evaluator(corpus, pool, 'a')
    t = run_search(Random(ev.sources, 0), ev, 'accuracy', Budget(12), progress=False)

    def rows():
        return records(t, dict.fromkeys(TRAITS, 1.0), ev, 'random', 'accuracy', honest=False)

    last = choose(t, 'accuracy', allowed=list(range(11)))
    other = next(i for i in range(len(t)) if ev.key(t.ids(i)) not in (ev.key(t.ids(last)), ev.key(())))
    ev.final(t.ids(other), 'accuracy', n=10)
    assert last == 0 or rows().honest.isna().all()
    looks = len(ev.predictions)
    said = ev.final(t.ids(last), 'accuracy', n=10).gain['test']['estimate']
    assert rows().honest.tolist() == pytest.approx([said]) and len(ev.predictions) <= looks + 1


# --- advice ---


def test_advice_finds_what_was_planted_and_says_why(planted):
    small, large = (planted.recommend(dict(size=n), 'accuracy', 50) for n in (25, 500))
    assert (small.strategy[0], large.strategy[0]) == ('genetic', 'sliding-window')
    assert small.expected.is_monotonic_decreasing and (small.error > 0).all() and set(small.strategy) == set(STRATEGIES)
    assert all('(corpus ' in w and '\n' not in w for w in small.why)


def test_advice_is_the_same_whatever_the_order_of_rows_and_questions():
    t, asked = rows(), dict(size=25.0)
    first = KnowledgeMap(t).recommend(asked, 'accuracy', 50)
    m = KnowledgeMap(t.sample(frac=1, random_state=3))
    m.recommend(dict(size=500.0), 'accuracy', 50, exclude='corpus 1')
    pd.testing.assert_frame_equal(first, m.recommend(asked, 'accuracy', 50))


def test_an_excluded_corpus_has_no_say_in_advice():
    t = rows(splits=2)
    bent = t.copy()
    own = bent.corpus == 'corpus 2'
    bent.loc[own, ['honest', 'gain', *TRAITS]] = 9.0
    one, other = (KnowledgeMap(x).recommend(dict(size=25), 'accuracy', 50, exclude='corpus 2') for x in (t, bent))
    pd.testing.assert_frame_equal(one, other)
    assert not one.why.str.contains('corpus 2').any()
    loud = t.assign(honest=t.honest.mask(own, 9.0))  # it would have had one
    assert KnowledgeMap(loud).recommend(dict(size=25), 'accuracy', 50).expected[0] > one.expected[0] + 0.1


def test_a_map_of_the_excluded_corpus_alone_cannot_advise():
    raises(lambda: KnowledgeMap(rows(corpora=1)).recommend({}, 'accuracy', 50, exclude='corpus 0'), 'corpus 0')


@pytest.mark.parametrize(
    'traits',
    [{}, dict(size=25), dict.fromkeys(TRAITS), dict.fromkeys(TRAITS, np.nan), dict(size=25, neighbor='x', color='red')],
    ids=['none', 'one', 'None', 'nan', 'foreign'],
)
def test_traits_may_be_missing(planted, traits):
    t = planted.recommend(traits, 'accuracy', 50)
    assert len(t) == 4 and np.isfinite(t[['expected', 'error']]).all(axis=None)


def test_traits_may_be_missing_from_the_whole_map():
    m = KnowledgeMap(rows().assign(spread=np.nan, distance=np.nan, separation=np.nan))
    assert m.recommend(dict(size=25, spread=0.3), 'accuracy', 50).strategy[0] == 'genetic'


def test_one_strategy_and_few_classes_are_enough(planted):
    assert KnowledgeMap(rows(strategies=('genetic',))).recommend({}, 'accuracy', 50).strategy.tolist() == ['genetic']
    one = KnowledgeMap(rows(corpora=1, classes=1)).recommend(dict(size=20), 'accuracy', 50, k=50)
    assert one.strategy[0] == 'genetic' and np.isfinite(one.error).all()


def test_an_unknown_objective_is_named_with_those_known(planted):
    for ask in (
        planted.recommend,
        lambda _, o, b: best_strategies(planted, o, b),
        lambda _, o, b: leave_one_out(planted, o, b),
    ):
        raises(lambda: ask({}, 'recal', 50), 'recal', 'accuracy')


def test_a_budget_between_those_known_takes_the_one_below():
    t = rows(budgets=(10, 50, 200))
    t['honest'] = t.budget / 1000
    for asked, used in ((5, 0.01), (10, 0.01), (49, 0.01), (50, 0.05), (199, 0.05), (10**6, 0.2)):
        assert cases(KnowledgeMap(t), 'accuracy', asked).value.tolist() == pytest.approx([used] * 80)


def test_gains_on_validation_count_by_what_is_left_of_them_on_test():
    t = rows(budgets=(10, 50)).assign(gain=0.04, honest=0.01)
    t.loc[t.budget == 10, 'honest'] = np.nan
    assert cases(KnowledgeMap(t), 'accuracy', 10).value.tolist() == pytest.approx([0.01] * 80)
    assert (
        cases(
            KnowledgeMap(
                t.assign(honest=-0.01 * t.honest.notna()).assign(honest=lambda d: d.honest.where(d.budget == 50))
            ),
            'accuracy',
            10,
        )
        .value.abs()
        .max()
        == 0
    )


# --- how good the advice is ---


def test_advice_beats_every_constant_choice_where_traits_decide():
    m = KnowledgeMap(rows(corpora=12))
    t = regret_table(m, ['accuracy'], 50).set_index('choice')
    others = t.drop(index='recommended')
    assert t.regret['recommended'] < 0.5 * others.regret.min() and (others.low > 0).all()
    assert 'better' in regret_verdict(m, 'accuracy', 50)


def test_advice_costs_little_where_traits_say_nothing():
    m = KnowledgeMap(rows(lambda s, t: 0.02 * (s == 'hierarchical'), corpora=8, noise=0.01))
    t = regret_table(m, ['accuracy'], 50).set_index('choice')
    assert t.regret['recommended'] < t.regret['hierarchical'] + 0.004 < t.regret['any']


def test_regret_is_against_the_best_strategy_of_each_class(planted):
    t = leave_one_out(planted, 'accuracy', 50)
    ways = list(STRATEGIES)
    assert len(t) == 20 and (t[ways].min(axis=1).abs() < 1e-12).all() and (t.recommended >= 0).all()
    assert t['any'].tolist() == pytest.approx(t[ways].mean(axis=1).tolist())


def test_a_corpus_is_held_out_with_all_its_splits():
    "Its classes obey the opposite of the rule elsewhere: who is advised well there was advised by the corpus itself"
    t = rows(corpora=6, splits=2, noise=0.0005)
    own = t.corpus == 'corpus 5'
    t.loc[own, 'honest'] = (
        t[own]
        .assign(strategy=t.strategy.replace({'genetic': 'sliding-window', 'sliding-window': 'genetic'}))
        .apply(lambda r: by_size(r.strategy, r), axis=1)
    )
    advice = leave_one_out(KnowledgeMap(t), 'accuracy', 50).groupby('corpus').recommended.mean()
    assert len(advice) == 6 and advice['corpus 5'] > 0.015 and advice.drop('corpus 5').mean() < 0.01


def test_one_corpus_cannot_be_left_out():
    m = KnowledgeMap(rows(corpora=1))
    raises(lambda: leave_one_out(m, 'accuracy', 50), 'one corpus')
    assert 'cannot be tested' in regret_verdict(m, 'accuracy', 50)


# --- what is shown ---


def test_the_best_strategy_leads_over_another_strategy_not_over_another_split():
    t = best_strategies(KnowledgeMap(rows(splits=3)), 'accuracy', 50)
    assert len(t) == 20 and (t.margin > 0.02).all() and (t.runs == 3).all() and (t.error < 0.003).all()
    assert set(t.best[t['class'].isin(['class 0', 'class 2'])]) == {'genetic'}
    alone = best_strategies(KnowledgeMap(rows(strategies=('random',))), 'accuracy', 50)
    assert set(alone.best) == {'random'} and alone.margin.isna().all()


def test_the_figure_has_a_cell_for_each_class_and_objective():
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    m = KnowledgeMap(pd.concat([rows(corpora=2), rows(corpora=2, objective='recall')]))
    fig = knowledge_figure(m, budget=50)
    shown = [[t.get_text() for t in ax.texts] for ax in fig.axes if ax.texts]
    assert [len(s) for s in shown] == [8, 8] and {t for s in shown for t in s} == {'GA', 'SW'}
    plt.close('all')


def test_the_published_assignment_is_complete():
    paper = pd.read_csv(shipped('papers/assignment.csv')).set_index('class')
    assert paper.published.value_counts().to_dict() == {'hierarchical': 7, 'sliding-window': 6, 'genetic': 2}
    assert set(paper.index) == {f'T{i}' for i in range(1, 16)}


def test_the_shipped_map_can_be_read_and_knows_more_than_one_corpus():
    m = load_knowledge()
    assert m.corpora > 1 and m.table[list(KEYS)].notna().all(axis=None) and not m.table.duplicated(list(KEYS)).any()


# --- awkward maps ---


def test_one_long_run_does_not_silence_the_map():
    t = rows()
    own = rows(corpora=1, classes=1, strategies=('random',), budgets=(100,)).assign(corpus='mine', fingerprint='mine')
    m = KnowledgeMap(t).add(own)
    assert set(m.recommend(dict(size=25), 'accuracy', 100).strategy) == set(STRATEGIES)
    pd.testing.assert_frame_equal(
        m.recommend(dict(size=25), 'accuracy', 100, exclude='mine'),
        KnowledgeMap(t).recommend(dict(size=25), 'accuracy', 100),
    )


def test_an_excluded_corpus_has_no_say_in_what_is_left_of_gains():
    t = rows()
    own = t.corpus == 'corpus 2'
    t['gain'] = np.linspace(0, 0.1, len(t))
    t.loc[t.index % 2 == 0, 'honest'] = np.nan
    bent = t.assign(honest=t.honest.mask(own, 9.0))
    one, other = (KnowledgeMap(x).recommend(dict(size=25), 'accuracy', 50, exclude='corpus 2') for x in (t, bent))
    pd.testing.assert_frame_equal(one, other)


def test_excluding_one_split_excludes_all_splits_of_its_corpus():
    m = KnowledgeMap(rows(splits=2))
    pd.testing.assert_frame_equal(
        m.recommend(dict(size=25), 'accuracy', 50, exclude='f2-0'),
        m.recommend(dict(size=25), 'accuracy', 50, exclude='corpus 2'),
    )


def test_a_strategy_that_few_classes_know_does_not_silence_the_others():
    t = rows()
    m = KnowledgeMap(t).add(rows(corpora=1, classes=1, strategies=('class-weights',)))
    assert len(leave_one_out(m, 'accuracy', 50)) == 20 and 'class-weights' not in leave_one_out(m, 'accuracy', 50)


def test_traits_that_differ_between_runs_survive_saving(tmp_path):
    t = rows(corpora=1)
    m = KnowledgeMap(t).add(t.assign(seed=5, texts=t.texts + 3))
    m.save(tmp_path)
    assert load_knowledge(tmp_path).version == m.version


def test_a_generator_without_a_name_is_added_once(tmp_path):
    t = rows().assign(generator=None)
    KnowledgeMap(t).save(tmp_path)
    assert len(load_knowledge(tmp_path).add(t).table) == len(t)


def test_rows_that_lack_a_column_are_refused(planted):
    raises(lambda: planted.add(rows().drop(columns='honest')), 'honest')


def test_an_empty_map_says_so():
    raises(lambda: KnowledgeMap(rows().iloc[:0]).recommend({}, 'accuracy'), 'empty')


@pytest.mark.parametrize('text', ['{}', '[1]', '{"settings": 3}'])
def test_a_record_beside_a_foreign_run_is_refused(tmp_path, text):
    write_record(tmp_path, rows(corpora=1))
    (tmp_path / 'run.json').write_text(text)
    raises(lambda: read_record(tmp_path), 'run.json')


@pytest.mark.parametrize(
    'old, new', [('0.05,', 'inf,'), ('0.05,', ','), (',50,', ',-50,')], ids=['infinite', 'no gain', 'negative budget']
)
def test_a_record_with_impossible_numbers_is_refused(tmp_path, old, new):
    write_record(tmp_path, rows(corpora=1))
    p = tmp_path / 'knowledge.csv'
    p.write_text(p.read_text().replace(old, new, 1))
    raises(lambda: read_record(tmp_path), 'damaged')


def test_a_record_that_is_cut_off_is_refused(tmp_path):
    write_record(tmp_path, rows(corpora=1))
    p = tmp_path / 'knowledge.csv'
    p.write_bytes(p.read_bytes()[:-60])
    raises(lambda: read_record(tmp_path), 'cut off')


def test_a_strategy_without_a_color_can_be_drawn():
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    m = KnowledgeMap(
        rows(lambda s, t: 0.03 * (s == 'class-weights'), corpora=2, strategies=('class-weights', 'random'))
    )
    assert 'class weights' in {t.get_text() for ax in knowledge_figure(m, budget=50).axes for t in ax.texts}
    plt.close('all')


@pytest.mark.parametrize(
    'target, same', [('Humanitarian aid for Ukraine', True), ('Email security and attachments', False)]
)
def test_a_run_of_improve_measures_test_for_its_choice_and_no_more(tmp_path, target, same):
    "Rescoring leaves the best on validation in the first run, and takes another in the second"
    from autogets.data.datasets import load_corpus
    from autogets.job import Job, run_job

    job = Job(
        target=target,
        strategy='random',
        objective='balanced-accuracy',
        generator='recorded:tickets',
        n=1,
        evaluations=12,
    )
    o = run_job(load_corpus('tickets'), job, tmp_path, progress=False)
    ev, t = o.evaluator, read_record(tmp_path)
    best = min(range(11), key=lambda i: (-o.trace.rows[i][job.objective], o.trace.rows[i]['texts'], i))
    assert best and (ev.key(o.trace.ids(best)) == ev.key(o.final.candidate)) == same
    assert set(ev.predictions) == {ev.key(()), ev.key(o.final.candidate)} and t.budget.tolist() == [10]
    assert t.honest.tolist() == pytest.approx(
        [o.final.gain['test']['estimate'] if same else np.nan], abs=1e-5, nan_ok=True
    )
