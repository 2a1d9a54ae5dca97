"""The winner's curse: what is chosen, what is cached, and that no rule of choice sees test"""

import numpy as np
import pandas as pd
import pytest

from autogets.core import UserError
from autogets.replication.ours import winners_curse as h
from autogets.search.loop import choose


@pytest.fixture(scope='module')
def corpus(tmp_path_factory):
    "Three ticket topics with recorded and EDA texts"
    return h.demo_recording(tmp_path_factory.mktemp('corpora') / 'topics', classes=3, rows=20)


HOW = dict(strategies=['random', 'genetic'], objectives=['accuracy', 'macro-f1'], evaluations=8, finalists=3, folds=3)


@pytest.fixture(scope='module')
def runs(corpus):
    return h.honest_runs([corpus], [0, 1], **HOW)


# -- the curse


def world(n, best, seed, validation=100, test=1000):
    "M0 and `n` candidates of accuracy .6, the last of them better by `best`: measured accuracies"
    rng, truth = np.random.default_rng(seed), np.full(n + 1, 0.6)
    truth[-1] += best
    return rng.binomial(validation, truth) / validation, rng.binomial(test, truth) / test, np.ones(n + 1)


def mean_gaps(best, sizes=(1, 10, 100)):
    return (
        pd.DataFrame([g for s in range(150) for g in h.gaps(*world(100, best, s), sizes)]).groupby('evaluations').mean()
    )


def test_where_all_are_equal_the_best_on_test_grows_and_the_honest_gain_stays_at_zero():
    g = mean_gaps(0)
    assert g.published[1] < g.published[10] < g.published[100] and g.published[100] > 0.03
    assert (g.honest.abs() < 0.006).all()
    assert g.promised[100] > g.published[100], 'the smaller split is the noisier one'
    assert np.allclose(g.gap, g.published - g.honest)


def test_where_one_is_truly_better_both_find_it_once_it_was_tried():
    g = mean_gaps(0.35)
    assert abs(g.honest[100] - 0.35) < 0.01 and g.gap[100] < 0.01
    assert abs(g.honest[10]) < 0.01


def test_ties_go_to_fewer_texts_then_to_the_earlier():
    assert h.top([0.5, 0.7, 0.7, 0.7], [0, 9, 4, 4]) == 2
    assert h.top([0.7, 0.7], [0, 4]) == 0, 'baseline is kept where nothing is better'
    assert h.gaps([0.5, 0.6, 0.6], [0.5, 0.4, 0.8], [0, 5, 5], [1, 2])[1] == pytest.approx(
        dict(evaluations=2, published=0.3, honest=-0.1, promised=0.1, gap=0.4)
    )


def test_a_search_that_ended_early_stays_where_it_ended():
    short = dict(
        corpus='a',
        seed=0,
        target='all',
        strategy='hierarchical',
        objective='accuracy',
        validation=[0.5, 0.6],
        test=[0.5, 0.7],
        texts=[0, 1],
        rules=[],
    )
    long = dict(short, strategy='random', validation=[0.5] * 12, test=[0.5] * 12, texts=[0] * 12)
    c = h.honest_curves([short, long])
    assert c.evaluations.unique().tolist() == [1, 2, 5, 10, 11]
    assert c[(c.strategy == 'hierarchical')].published.round(6).unique().tolist() == [0.2]


# -- a study


def test_the_figures_are_those_of_an_ordinary_search(corpus, runs):
    from autogets.replication.ours.comparison import ComparisonSetting
    from autogets.search.candidates import Budget
    from autogets.search.loop import run_search
    from autogets.search.registry import make_strategy

    s = ComparisonSetting(corpus, 1, n=2)
    trace = run_search(
        make_strategy('genetic', s.plain, 'macro-f1', 1, s.xy),
        s.plain,
        'macro-f1',
        Budget(evaluations=8),
        progress=False,
    )
    (run,) = (r for r in runs if (r['seed'], r['strategy'], r['objective']) == (1, 'genetic', 'macro-f1'))
    assert (
        run['validation'] == pytest.approx(trace.frame['macro-f1'].tolist())
        and run['texts'] == trace.frame.texts.tolist()
    )
    gain = (
        s.plain.score(trace.ids(choose(trace, 'macro-f1')))['test']['macro-f1'] - s.plain.score(())['test']['macro-f1']
    )
    assert h.gaps(run['validation'], run['test'], run['texts'], [8])[0]['honest'] == pytest.approx(gain)


def test_a_killed_study_goes_on_and_finds_the_same(corpus, runs, tmp_path, monkeypatch):
    assert h.honest_runs([corpus], [0], folder=tmp_path, **HOW) + [] == [r for r in runs if r['seed'] == 0]
    searches = []
    run_search = h.run_search
    monkeypatch.setattr(h, 'run_search', lambda *a, **k: searches.append(1) or run_search(*a, **k))
    assert h.honest_runs([corpus], [0, 1], folder=tmp_path, **HOW) == runs
    assert len(searches) == 4, 'only the second split was searched'
    h.honest_runs([corpus], [0], folder=tmp_path, **HOW | dict(evaluations=3))
    assert len(searches) == 8, 'another budget is another cell'


def test_a_changed_recording_is_not_taken_for_the_old_one(tmp_path):
    corpus = h.demo_recording(tmp_path / 'topics', classes=2, rows=12)
    first = h.honest_runs([corpus], [0], evaluations=3, folder=tmp_path / 'cells')
    h.demo_recording(tmp_path / 'topics', classes=3, rows=12)
    assert h.honest_runs([corpus], [0], evaluations=3, folder=tmp_path / 'cells') != first


def test_processes_change_nothing(corpus, runs):
    assert h.honest_runs([corpus], [0, 1], workers=2, **HOW) == runs


def test_rules_do_not_see_test(corpus, runs, tmp_path):
    for part in ('seeds', 'test', 'llm'):
        d = pd.read_csv(f'{corpus}/{part}.csv', keep_default_na=False)
        if part == 'test':
            d['label'] = np.random.default_rng(0).permutation(d.label.to_numpy())
        (tmp_path / 'topics').mkdir(exist_ok=True)
        d.to_csv(tmp_path / 'topics' / f'{part}.csv', index=False)
    blind = h.honest_runs([str(tmp_path / 'topics')], [0, 1], **HOW)
    a, b = h.honest_choices(runs), h.honest_choices(blind)
    assert (a.chosen == b.chosen).all() and np.allclose(a.promised, b.promised)
    assert not np.allclose(a.gain, b.gain)
    assert [r['validation'] for r in runs] == [r['validation'] for r in blind]


def test_the_weakest_class_is_found_on_validation(corpus):
    (run,) = h.honest_runs([corpus], [0], evaluations=2, target='weakest', rules=['best'])
    from autogets.replication.ours.comparison import ComparisonSetting

    s = ComparisonSetting(corpus, 0, n=2)
    recalls = dict(zip(s.corpus.classes, s.plain.evaluate([()])[0].recalls))
    assert recalls[run['target']] == min(recalls.values())
    assert max(run['texts']) <= (s.plain.pool.label == run['target']).sum()


# -- rules of choice


class Told:
    "A case with given figures: the values on the whole of validation, and on its halves"

    finalists = 2
    objective = 'accuracy'
    tenth = np.arange(100) % 10

    def __init__(self, hits, texts):
        self.hits, self.texts = np.asarray(hits, float), texts

    def values(self, split='validation', keep=True):
        return self.hits[:, np.broadcast_to(keep, 100)].mean(1)


def hits(*shares):
    "One row of 100 zeros and ones for each (share of the even places, share of the odd ones)"
    out = np.zeros((len(shares), 100))
    for row, (even, odd) in zip(out, shares):
        row[0 : 2 * even : 2] = 1
        row[1 : 2 * odd : 2] = 1
    return out


def test_a_gain_within_one_error_is_refused():
    lucky = hits((25, 25), (20, 31))
    clear = hits((25, 25), (45, 45))
    assert h._best(Told(lucky, [0, 5])) == 1 and h._one_error(Told(lucky, [0, 5])) == 0
    assert h._one_error(Told(clear, [0, 5])) == 1


def test_the_reserved_half_decides_among_the_finalists_of_the_other():
    case = Told(hits((20, 20), (40, 21), (39, 30), (10, 50)), [0, 1, 1, 1])
    assert h._best(case) == 2
    assert h._reserved(case) == 2, 'row 3 shines only where it is not ranked'
    case = Told(hits((20, 20), (40, 1), (39, 2)), [0, 1, 1])
    assert h._reserved(case) == 0, 'the baseline is always a finalist'


def test_unknown_names_are_refused_before_any_work(corpus):
    for bad, said in (
        (dict(strategies=['annealing']), 'genetic'),
        (dict(objectives=['auc']), 'macro-f1'),
        (dict(rules=['fate']), 'one-se'),
    ):
        with pytest.raises(UserError, match=said):
            h.honest_runs([corpus], [0], **bad)
