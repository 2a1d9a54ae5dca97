"Plans, and ensembles that accept what pays, keep to their budget, know nothing of test and survive kills"

import multiprocessing
import time
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from worlds import NAMES, corpus, digits, frame, of, raises, texts, world

from autogets.data.corpus import Corpus
from autogets.search.candidates import Budget, as_candidate, ids_of, standard_error, weights_of
from autogets.search.evaluator import Evaluator
from autogets.search.phases import Adaptive, Ensemble, Goal, Phase, fixed, read_plan
from autogets.search.registry import LIKELIHOOD, STRATEGIES
from autogets.search.selection import Constraint, keeps, read_constraints
from autogets.search.trace import read_trace, result_of

# --- plans ---

GOOD = '''
phases:
  - {target: cat, strategy: genetic, objective: balanced-accuracy, evaluations: 100, why: because}
  - {target: [ant, bee], strategy: random, how: replace}
  - {}
'''


def test_a_plan_is_read(tmp_path):
    (tmp_path / 'p.yaml').write_text(GOOD)
    a, b, c = read_plan(tmp_path / 'p.yaml', NAMES)
    assert a == Phase('cat', 'genetic', 'balanced-accuracy', 100, 'add', 'because')
    assert b.target == ['ant', 'bee']
    assert b.how == 'replace'
    assert c == Phase()
    assert read_plan({'phases': [{'target': 'cat'}]}, NAMES) == [Phase('cat')]


BAD = {
    'empty': b'',
    'blank': b'\n\n',
    'comment': b'# nothing',
    'no yaml': b'phases: [}',
    'tabs': b'phases:\n\t- {}',
    'scalar': b'hello',
    'list': b'- {}',
    'number': b'12',
    'no phases': b'phases:',
    'empty phases': b'phases: []',
    'phases a map': b'phases: {target: cat}',
    'more keys': b'phases: [{}]\nbudget: 12',
    'latin-1': 'phases: [{why: é}]'.encode('latin-1'),
    'utf-16': 'phases: [{}]'.encode('utf-16'),
    'nul': b'phases: [{why: "\x00"}]',
    'control': b'phases: [{why: \x07}]',
    'tag': b'phases: [!!python/object:os.system {}]',
    'alias': b'phases: *x',
    'two documents': b'phases: [{}]\n---\nphases: [{}]',
    'bad date': b'phases: [{why: 2020-13-45}]',
    'bad int': b'phases: [{evaluations: !!int x}]',
    'list key': b'phases: [{[a]: 1}]',
    'deep': b'phases: ' + b'[' * 3000,
    'text phase': b'phases: [cat]',
    'null phase': b'phases: [null]',
    'list phase': b'phases: [[cat]]',
    'field': b'phases: [{targets: cat}]',
    'number field': b'phases: [{1: cat}]',
    'class': b'phases: [{target: dog}]',
    'class of list': b'phases: [{target: [cat, dog]}]',
    'empty target': b'phases: [{target: []}]',
    'null target': b'phases: [{target: null}]',
    'number target': b'phases: [{target: 12}]',
    'bool target': b'phases: [{target: true}]',
    'map target': b'phases: [{target: {cat: 1}}]',
    'nested target': b'phases: [{target: [[cat]]}]',
    'all in a list': b'phases: [{target: [all, cat]}]',
    'strategy': b'phases: [{strategy: guess}]',
    'null strategy': b'phases: [{strategy: null}]',
    'list strategy': b'phases: [{strategy: [random]}]',
    'ensemble': b'phases: [{strategy: ensemble}]',
    'objective': b'phases: [{objective: nonsense}]',
    'list objective': b'phases: [{objective: [accuracy]}]',
    'how': b'phases: [{how: join}]',
    'list how': b'phases: [{how: [add]}]',
    'zero': b'phases: [{evaluations: 0}]',
    'negative': b'phases: [{evaluations: -5}]',
    'float': b'phases: [{evaluations: 5.0}]',
    'words': b'phases: [{evaluations: many}]',
    'bool': b'phases: [{evaluations: true}]',
    'null': b'phases: [{evaluations: null}]',
    'second': b'phases: [{}, {target: dog}]',
}


@pytest.mark.parametrize('name', BAD)
def test_a_plan_that_cannot_be_followed_is_one_line(name, tmp_path):
    p = tmp_path / 'plan.yaml'
    p.write_bytes(BAD[name])
    raises(lambda: read_plan(p, NAMES), 'plan', *(['phase 2'] if name == 'second' else []))


def test_a_plan_that_is_not_there(tmp_path):
    raises(lambda: read_plan(tmp_path / 'none.yaml', NAMES), 'none.yaml')
    raises(lambda: read_plan(tmp_path, NAMES), str(tmp_path))


# --- ensembles ---

WORTH = {'ant': 0.2, 'bee': -0.3, 'cat': 0.05}


def ensemble(ev, phases, budget=60, goal=None, **how):
    return Ensemble(
        ev,
        goal or Goal('accuracy'),
        fixed(phases) if isinstance(phases, list) else phases,
        Budget(budget),
        progress=False,
        **how,
    ).run()


def told(run):
    return (
        [{k: v for k, v in h.items()} for h in run.history],
        run.base,
        run.spent,
        digits(run.joined()[0]),
        run.joined()[1],
    )


def consistent(run):
    "The chosen row of the joined trace is the base that the run ends with, and its figures are the scorer's"
    trace, at = run.joined()
    (ended,) = run.scorer.evaluate([run.base])
    assert run.scorer.key(trace.ids(at)) == run.scorer.key(run.base), (at, trace.rows[at]['note'])
    assert trace.rows[at][run.goal.objective] == pytest.approx(ended.scores[run.goal.objective])
    assert trace.rows[at]['texts'] == ended.n_texts
    assert run.spent == sum(h['evaluations'] for h in run.history) <= run.budget.evaluations
    f = run.front()
    assert len(f) == len(trace) and f.chosen.sum() == 1 and f.front.any()


def test_a_run_takes_what_pays_and_nothing_else():
    ev = world(WORTH, n=100)
    run = ensemble(
        ev,
        [
            Phase('bee', 'random', evaluations=10),
            Phase('ant', 'random', evaluations=10),
            Phase('cat', 'genetic', evaluations=8, objective='recall'),
        ],
    )
    assert [h['accepted'] for h in run.history][:2] == [False, True] and not set(ids_of(run.base)) & set(of(ev, 'bee'))
    assert run.history[0]['gain'] <= 0 and run.spent == 28
    consistent(run)


def test_rule_1_takes_the_best_that_keeps_the_constraints():
    ev = world({'ant': 0.3, 'bee': 0.1, 'cat': 0.0}, n=100, folds=0)
    real = ev.refit.codes
    cat = ev.classes.index('cat')

    def codes(split, rows, weights):
        out, t = real(split, rows, weights), ev.refit.true[split]
        many = (ev.pool.label.iloc[rows] == 'ant').sum() > 10
        return np.where(
            (t == cat) & many & (ev.refit.rank[split] > 0.3 * len(t)), 0, out
        )  # with many ants few cats are found

    ev.refit.codes = codes
    free, bound = (
        ensemble(
            ev,
            [Phase('all', 'merge', evaluations=30)],
            goal=Goal('accuracy', constraints=tuple(read_constraints(c, NAMES))),
        )
        for c in ([], ['recall:cat>=baseline'])
    )
    for run in (free, bound):
        results, h = run.phases[0][3], run.history[0]
        ok = [i for i, r in enumerate(results) if keeps(run.goal.constraints, r, run.baseline, NAMES)]
        best = max(results[i].scores['accuracy'] for i in ok)
        assert results[h['row']].scores['accuracy'] == best
        assert h['row'] in ok
        assert results[h['row']].n_texts == min(results[i].n_texts for i in ok if results[i].scores['accuracy'] == best)
        consistent(run)
    (r,) = bound.scorer.evaluate([bound.base])
    assert r.recalls[cat] >= bound.baseline.recalls[cat] > free.scorer.evaluate([free.base])[0].recalls[cat]


def test_nothing_feasible_leaves_the_base():
    run = ensemble(
        world({'ant': 0.03, 'bee': -0.03, 'cat': 0.01}, n=60),
        [Phase('ant', 'random', evaluations=5), Phase('all', 'class-weights', None, 30, 'replace')],
        goal=Goal('accuracy', constraints=(Constraint('accuracy', '>=', 0.999, False),)),
    )
    assert run.base == ()
    assert [h['row'] for h in run.history] == [None, None]
    assert not any(h['accepted'] for h in run.history)
    assert run.joined()[1] == 0
    assert not run.front().keeps.any()


@pytest.mark.parametrize('folds', [0, 2])
def test_rule_2_wants_more_than_chance(folds):
    ev = world({'ant': 0.006, 'bee': 0.006, 'cat': 0.2}, n=100, folds=folds)
    run = ensemble(ev, [Phase('ant', 'random', evaluations=6), Phase('cat', 'random', evaluations=6)])
    for h in run.history:
        assert h['accepted'] == (h['gain'] > 2 * (h['error'] or 0)), h
    assert run.history[1]['accepted'] and (run.history[0]['error'] is None) == (folds == 0)
    bold = ensemble(ev, [Phase('ant', 'random', evaluations=6)], goal=Goal('accuracy', errors=0.0))
    assert bold.history[0]['accepted'] == (bold.history[0]['gain'] > 0)


def test_rule_3_takes_the_choice_of_class_weights_as_it_is():
    ev = world({'ant': 0.0, 'bee': 0.0, 'cat': 0.001}, n=60)
    run = ensemble(ev, [Phase('all', 'class-weights', None, 40, 'replace')])
    (h,) = run.history
    assert h['accepted'] and run.base == as_candidate(ev.sources) and h['gain'] <= 2 * h['error']
    consistent(run)


def test_the_base_never_gets_worse():
    "Some ants help, some harm: who has chosen the right ones does not go back to all of them"
    ev = world(lambda l, i, w: (1.2 if i % 2 else -1.2) * w if l == 'ant' else 0.0, n=100)
    good = [
        i for k, i in enumerate(ev.sources) if len(r := ev.rows((i,))) and ev.pool.label[r[0]] == 'ant' and r[0] % 2
    ]
    run = Ensemble(
        ev, Goal('accuracy'), fixed([Phase('ant', 'class-weights', None, 30, 'replace')]), Budget(30), progress=False
    )
    run.base = as_candidate(good)
    (before,) = run.scorer.evaluate([run.base])
    run.run()
    (after,) = run.scorer.evaluate([run.base])
    assert before.scores['accuracy'] > run.baseline.scores['accuracy'] + 0.2
    assert after.scores['accuracy'] >= before.scores['accuracy'] - 2 * standard_error(after, before, 'accuracy'), (
        run.history
    )


def test_a_phase_that_drops_a_class_is_told_as_it_was():
    "With replace, the candidate of nothing takes the class out: it may be the best"
    ev = world({'ant': 0.3, 'bee': -0.2, 'cat': 0.0}, n=100, folds=0)
    run = Ensemble(
        ev,
        Goal('accuracy'),
        fixed([Phase(('ant', 'bee'), 'random', None, 5, 'replace'), Phase('bee', 'random', None, 4, 'replace')]),
        Budget(60),
        progress=False,
    ).run()
    assert run.history[0]['accepted'] and run.history[1]['accepted'] and run.history[1]['row'] == 0
    assert not set(ids_of(run.base)) & set(of(ev, 'bee'))
    consistent(run)


def test_phases_are_accepted_by_the_goal_whatever_they_maximize():
    ev = world(WORTH, n=100)
    for phase in (
        Phase('ant', 'random', 'recall', 8),
        Phase('cat', 'genetic', 'balanced-accuracy', 8),
        Phase(('ant', 'cat'), 'random', None, 8),
        Phase('all', 'class-weights', 'macro-f1', 30, 'replace'),
    ):
        run = ensemble(ev, [phase], goal=Goal('recall', ('bee', 'cat')))
        want, h = (lambda c: np.mean(run.scorer.evaluate([c])[0].recalls[1:])), run.history[0]
        assert h['gain'] == pytest.approx(want(run.phases[0][1].whole(run.phases[0][3][h['row']].candidate)) - want(()))
        rows = run.joined()[0].rows
        assert [r['recall'] for r in rows] == pytest.approx(
            [np.mean(result_of(r, ev.sources).recalls[1:]) for r in rows]
        )
        consistent(run)


@pytest.mark.parametrize('budget', [1, 4, 5, 17, 60])
def test_a_budget_is_never_exceeded(budget):
    for planner in (
        [
            Phase('all', 'class-weights', None, 40, 'replace'),
            *[Phase(c, s, None, 7) for c in NAMES for s in ('random', 'genetic', 'merge')],
        ],
        Adaptive(NAMES, chunk=5),
    ):
        ev = world(WORTH, n=30)
        run = ensemble(ev, planner, budget)
        assert run.spent <= budget and sum(len(t) - 1 for _, _, t, _ in run.phases) == run.spent and run.left >= 0
        consistent(run)


def test_impossible_budgets():
    raises(lambda: Ensemble(world(WORTH), Goal(), fixed([]), Budget(seconds=5)), 'budget')


def test_no_phase_at_all():
    run = ensemble(world(WORTH), lambda run: None)
    assert run.history == []
    assert run.base == ()
    assert run.spent == 0
    assert run.joined()[1] == 0
    assert len(run.joined()[0]) == 1
    consistent(run)


@pytest.mark.parametrize('strategy', [s for s in STRATEGIES if s not in LIKELIHOOD])
def test_classes_without_texts_end_their_phase_at_once(strategy):
    ev = world({'ant': 0.2}, n=30)
    run = ensemble(
        ev, [Phase('cat', strategy, None, 10, how) for how in ('add', 'replace')] + [Phase('ant', 'random', None, 10)]
    )
    assert [h['evaluations'] for h in run.history] == [0, 0, 10]
    assert [h['accepted'] for h in run.history[:2]] == [False, False]
    assert run.searchable == ['ant']
    consistent(run)


def test_adapting_ends_and_goes_where_it_pays():
    def advise(run):
        return pd.DataFrame(
            [
                (c, s, 0.05 if (c, s) == ('ant', 'random') else 0.0, 0.001, 'because')
                for c in NAMES
                for s in ('random', 'genetic')
            ],
            columns=['class', 'strategy', 'expected', 'error', 'why'],
        )

    ev = world({'ant': 0.2, 'bee': -0.2}, n=40)
    run = ensemble(ev, Adaptive(NAMES, advise, chunk=5, first=0.1), 200)
    assert run.history[0]['strategy'] == 'class-weights'
    assert (run.history[1]['label'], run.history[1]['strategy'], run.history[1]['why']) == ('ant', 'random', 'because')
    assert 'cat' not in [h['label'] for h in run.history], 'it has no texts'
    assert len(run.history) >= 4 and not any(h['accepted'] for h in run.history[-3:]) and run.left > 0
    consistent(run)


def test_adapting_without_a_prospect_ends():
    "No advice for a class that has texts, or no texts for a class that there is advice for"
    for planner in (
        Adaptive(['cat'], chunk=5),
        Adaptive(
            NAMES,
            lambda run: pd.DataFrame(
                [('ant', 'class-weights', 0.1, 0.01, '')], columns=['class', 'strategy', 'expected', 'error', 'why']
            ),
            chunk=5,
        ),
    ):
        run = ensemble(world({'ant': 0.2}, n=40), planner, 100)
        assert len(run.history) == 1
        consistent(run)


def test_a_class_can_be_put_back_to_a_weight_of_one():
    "Class weights on a class whose texts the base counts .3 must be able to try 1"
    ev = world({'ant': 0.1, 'bee': 0.1, 'cat': 0.1})
    run = Ensemble(
        ev, Goal('accuracy'), fixed([Phase('ant', 'class-weights', None, 20, 'replace')]), Budget(20), progress=False
    )
    run.base = as_candidate(ev.sources, {'ant': 0.3, 'bee': 0.1})
    ((_, v, t, _),) = run.run().phases
    tried = {r['note']: weights_of(v.whole(t.ids(i))) for i, r in enumerate(t.rows)}
    assert tried.get('all at 1') == {'bee': 0.1} and tried['all at 3'] == {'ant': 3.0, 'bee': 0.1}


# --- protocol ---


@pytest.mark.parametrize('planner', ['plan', 'adaptive'])
def test_an_ensemble_does_not_know_the_test_split(planner):
    c = corpus(n=14)
    rng = np.random.default_rng(5)
    shuffled = c.test.assign(label=rng.permutation(c.test.label.to_numpy()))
    other = frame([(f'quite another text {i}', NAMES[i % 2]) for i in range(30)])
    runs = []
    for test in (c.test, shuffled, other):
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            d = Corpus(c.name, c.train, c.validation, test)
        ev = Evaluator(d, texts(c), folds=2)
        plan = (
            [
                Phase('all', 'class-weights', None, 6, 'replace'),
                Phase('ant', 'sliding-window', None, 3, 'replace'),
                Phase('bee', 'random', 'recall', 3),
            ]
            if planner == 'plan'
            else Adaptive(NAMES, first=0.5, chunk=3, strategies=('random', 'genetic'))
        )
        runs.append(ensemble(ev, plan, 12, Goal('macro-f1', errors=0.0)))
    assert told(runs[0]) == told(runs[1]) == told(runs[2]) and len(runs[0].history) >= 2
    assert set(runs[0].evaluator.refit.predict(np.array([], int))) == {'validation'}
    tests = [r.scorer.score(())['test']['macro-f1'] for r in runs]
    assert len(set(tests)) > 1, 'the tests differ'


# --- killing and resuming ---

PLAN = [
    Phase('all', 'class-weights', None, 25, 'replace'),
    Phase('ant', 'random', 'recall', 12),
    Phase('bee', 'genetic', None, 12, 'replace'),
    Phase(('ant', 'cat'), 'random', None, 12, 'replace'),
    Phase('cat', 'merge', None, 10),
]


def planned(folder, wait=0.0, goal=None, plan=PLAN, budget=65):
    ev = world({'ant': 0.15, 'bee': -0.05, 'cat': 0.05}, n=30, wait=wait)
    return Ensemble(ev, goal or Goal('macro-f1', errors=0.5), fixed(plan), Budget(budget), folder, progress=False), ev


def lines(folder):
    return {p.parent.name: p.read_bytes().count(b'\n') - 1 for p in sorted(folder.glob('phase-*/trace.csv'))}


def live(folder):
    planned(folder, wait=0.01)[0].run()


@pytest.mark.filterwarnings('ignore:This process')
def test_a_run_killed_again_and_again_ends_as_if_it_never_was(tmp_path):
    whole = planned(tmp_path / 'whole')[0].run()
    rng, killed, folder = np.random.default_rng(0), 0, tmp_path / 'cut'
    for _ in range(12):
        before = lines(folder)
        p = multiprocessing.get_context('fork').Process(target=live, args=(folder,))
        p.start()
        t = time.perf_counter()
        wait = rng.uniform(0.02, 0.2)
        while lines(folder) == before and p.is_alive() and time.perf_counter() - t < 10:
            time.sleep(0.005)
        time.sleep(wait)
        p.kill()
        p.join()
        killed += p.exitcode == -9
        assert all(lines(folder).get(k, 0) >= n for k, n in before.items()), 'nothing that was written is lost'
        if p.exitcode == 0:
            break
    done = lines(folder)
    run, ev = planned(folder)
    run.run()
    assert killed >= 1 and told(run) == told(whole) and lines(folder) == lines(tmp_path / 'whole')
    for f in folder.glob('phase-*/trace.csv'):
        members = [r['members'] for r in read_trace(f)]
        assert len(set(members)) == len(members)
    missing = sum(lines(folder).values()) - sum(done.values())
    assert len(ev.refit.asked) <= missing + 1 + 2 * len(PLAN)


@pytest.mark.parametrize('seed', range(4))
def test_files_cut_at_any_byte_are_completed(seed, tmp_path):
    folder = tmp_path / 'run'
    whole = planned(folder)[0].run()
    files = sorted(folder.glob('phase-*/trace.csv'))
    rng = np.random.default_rng(seed)
    at = rng.integers(len(files))
    data = files[at].read_bytes()
    files[at].write_bytes(data[: rng.integers(data.index(b'\n') + 1, len(data))])
    for f in files[at + 1 :]:
        for x in f.parent.iterdir():
            x.unlink()
        f.parent.rmdir()
    assert told(planned(folder)[0].run()) == told(whole)


def test_a_finished_run_trains_nothing_but_the_baseline(tmp_path):
    "What a phase found stands in its trace"
    plan = [replace(p, objective=None) for p in PLAN]
    planned(tmp_path, plan=plan)[0].run()
    run, ev = planned(tmp_path, plan=plan)
    run.run()
    assert len(ev.refit.asked) <= 1


@pytest.mark.parametrize(
    'goal', [Goal('accuracy', errors=0.5), Goal('macro-f1', 'ant', errors=0.5), Goal('recall', ('ant', 'bee'))]
)
def test_a_folder_of_another_goal_is_refused(goal, tmp_path):
    planned(tmp_path)[0].run()
    before = {p: p.read_bytes() for p in tmp_path.glob('*/*')}
    raises(lambda: planned(tmp_path, goal=goal)[0].run(), 'another run')
    assert {p: p.read_bytes() for p in tmp_path.glob('*/*')} == before


def test_a_folder_of_another_plan_is_refused(tmp_path):
    planned(tmp_path)[0].run()
    for k, change in (
        (0, dict(target='ant')),
        (1, dict(strategy='genetic')),
        (1, dict(objective='accuracy')),
        (2, dict(how='add')),
        (3, dict(target=('ant', 'bee'))),
    ):
        plan = [*PLAN]
        plan[k] = replace(plan[k], **change)
        raises(lambda: planned(tmp_path, plan=plan)[0].run(), 'another run')


def test_a_larger_budget_goes_on_where_a_smaller_one_ended(tmp_path):
    small, large = planned(tmp_path / 'a', budget=30)[0].run(), planned(tmp_path / 'b')[0].run()
    assert small.spent == 30
    assert told(planned(tmp_path / 'a')[0].run()) == told(large)
