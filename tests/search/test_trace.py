"A trace says all of a candidate, and a run that was cut anywhere is completed from it"

import re
from dataclasses import replace

import numpy as np
import pytest
from worlds import Given, ODD, digits, evaluator, every_strategy, of, quick, raises, texts, uneven, world

from autogets.core import UserError
from autogets.search.candidates import Budget, as_candidate
from autogets.search.evaluator import Evaluator
from autogets.search.genetic import Genetic
from autogets.search.loop import run_search
from autogets.search.registry import make_strategy
from autogets.search.strategy import Random
from autogets.search.trace import decode, encode, read_trace, result_of

# --- odd names ---


def test_the_code_of_a_candidate_says_all_of_it():
    rng, ids = np.random.default_rng(0), [f'{i:016x}' for i in range(70)]
    for _ in range(50):
        given = {c: float(rng.choice([0.1, 1 / 3, 1, 1e-9, 3e7])) for c in rng.permutation(ODD)[: rng.integers(5)]}
        c = as_candidate(rng.choice(ids, rng.integers(70)), given)
        assert decode(encode(c, ids), ids) == c and '\n' not in encode(c, ids)


def test_a_trace_of_odd_names_comes_back(tmp_path):
    def run():
        ev = world(dict.fromkeys(ODD, 0.05), ODD, n=20)
        some = [
            (as_candidate(of(ev, *ODD[: k + 1]), {ODD[k]: w}), f'{ODD[k]} at {w}')
            for k in range(4)
            for w in (0.1, 3.0, 1 / 3)
        ]
        return run_search(Given(some), ev, 'accuracy', Budget(50), tmp_path), ev

    (first, ev), (again, ev2) = run(), run()
    assert len(first) == 13 and digits(first) == digits(again) and not ev2.refit.asked
    assert [r['note'] for r in again.rows[1:4]] == [f'{ODD[0]} at {w}' for w in (0.1, 3.0, 1 / 3)]
    rows = read_trace(tmp_path / 'trace.csv')
    assert [result_of(r, first.sources) for r in rows] == [
        replace(ev.evaluate([c])[0], candidate=c) for c in map(first.ids, range(13))
    ]


def test_a_trace_of_odd_names_is_cut_anywhere_and_completed(tmp_path):
    def run(folder):
        ev = world(dict.fromkeys(ODD, 0.05), ODD, n=20)
        return run_search(
            Given([(as_candidate(of(ev, c), {c: w}), f'{c} at {w}') for c in ODD for w in (0.1, 3.0)]),
            ev,
            'accuracy',
            Budget(50),
            folder,
        )

    whole = run(tmp_path / 'whole')
    data, start = (
        (tmp_path / 'whole' / 'trace.csv').read_bytes(),
        (tmp_path / 'whole' / 'trace.csv').read_bytes().index(b'\n') + 1,
    )
    inside = [m.start() for m in re.finditer(b'second line', data)]
    for at in (*np.random.default_rng(1).integers(start, len(data), 4), *inside):
        d = tmp_path / f'cut{at}'
        d.mkdir()
        (d / 'run.json').write_bytes((tmp_path / 'whole' / 'run.json').read_bytes())
        (d / 'trace.csv').write_bytes(data[:at])
        assert digits(run(d)) == digits(whole), at


# --- resuming ---


def test_a_folded_trace_is_resumed_with_its_errors(tmp_path):
    worth = {'ant': 0.1, 'bee': -0.1, 'cat': 0.05}

    def run(folder, n=60):
        ev = world(worth)
        return run_search(make_strategy('class-weights', ev, 'accuracy', 0), ev, 'accuracy', Budget(n), folder), ev

    whole, _ = run(tmp_path / 'whole')
    data = (tmp_path / 'whole' / 'trace.csv').read_bytes()
    head = data.index(b'\n') + 1
    for at in np.random.default_rng(2).integers(head, len(data), 4):
        d = tmp_path / str(at)
        d.mkdir()
        (d / 'run.json').write_bytes((tmp_path / 'whole' / 'run.json').read_bytes())
        (d / 'trace.csv').write_bytes(data[:at])
        again, ev = run(d)
        assert digits(again) == digits(whole) and len(ev.refit.asked) == len(whole) - (data[:at].count(b'\n') - 1)
    assert all(len(result_of(r, whole.sources).jackknife['recall']) == 10 for r in whole.rows)
    ev = world(worth, folds=3)
    raises(
        lambda: run_search(
            make_strategy('class-weights', ev, 'accuracy', 0), ev, 'accuracy', Budget(9), tmp_path / 'whole'
        ),
        'folds',
    )


@every_strategy
def test_a_trace_cut_anywhere_is_completed_to_the_same(strategy, tmp_path):
    def run(folder):
        ev = quick()
        return run_search(make_strategy(strategy, ev, 'recall', 6), ev, 'recall', Budget(60), folder), ev

    whole, _ = run(tmp_path / 'whole')
    data, run_json = ((tmp_path / 'whole' / f).read_bytes() for f in ('trace.csv', 'run.json'))
    start = data.index(b'\n') + 1
    for at in [start, *np.random.default_rng(0).integers(start, len(data), 4), len(data) - 1, len(data)]:
        d = tmp_path / f'cut{at}'
        d.mkdir()
        (d / 'run.json').write_bytes(run_json)
        (d / 'trace.csv').write_bytes(data[:at])
        resumed, ev = run(d)
        kept = data[:at].rfind(b'\n') + 1
        assert digits(resumed) == digits(whole) and (d / 'trace.csv').read_bytes()[:kept] == data[:kept]
        assert ev.evaluations == data.count(b'\n') - data[:kept].count(b'\n'), 'only what is missing is trained'


def test_patience_and_seconds_outlive_a_kill(monkeypatch, tmp_path):
    def run(folder, **how):
        ev = quick(monkeypatch, lambda n: 0.25)
        return run_search(Random(ev.sources, 2), ev, 'accuracy', **how, folder=folder)

    for k, how in enumerate((dict(budget=Budget(500), patience=9), dict(budget=Budget(seconds=8.0)))):
        whole = run(tmp_path / f'{k}whole', **how)
        run(tmp_path / f'{k}cut', budget=Budget(len(whole) // 2))
        assert digits(run(tmp_path / f'{k}cut', **how)) == digits(whole) and len(whole) > 9


def test_a_trace_of_other_figures_is_refused(tmp_path):
    ev = quick()
    run_search(Random(ev.sources, 0), ev, 'accuracy', Budget(5), tmp_path)
    lines = (tmp_path / 'trace.csv').read_text().splitlines(keepends=True)
    lines[2], lines[3] = lines[3], lines[2]
    (tmp_path / 'trace.csv').write_text(''.join(lines))
    with pytest.raises(UserError, match='row 1 is not what this run would have evaluated'):
        run_search(Random(ev.sources, 0), quick(), 'accuracy', Budget(5), tmp_path)


@pytest.mark.parametrize(
    'change', ['corpus', 'pool', 'target', 'classifier', 'protocol', 'seed', 'objective', 'strategy', 'strategy seed']
)
def test_a_folder_belongs_to_one_run(change, tmp_path):
    c = uneven()
    how = dict(c=c, target='class 2', classifier='linear', protocol='honest', seed=0)
    ev = evaluator(**how)
    run_search(Random(ev.sources, 0), ev, 'accuracy', Budget(3), tmp_path)
    how |= {
        'corpus': dict(c=uneven(seed=9)),
        'target': dict(target='class 1'),
        'classifier': dict(classifier='ridge-screen'),
        'protocol': dict(protocol='paper'),
        'seed': dict(seed=1),
    }.get(change, {})
    new = evaluator(**how)
    if change == 'pool':
        new = Evaluator(c, texts(c, labels=['class 2'], seed=8), 'class 2')
    strategy = {'strategy': Genetic(new.sources, [3, 2, 1]), 'strategy seed': Random(new.sources, 1)}.get(
        change, Random(new.sources, 0)
    )
    with pytest.raises(UserError, match='holds another run'):
        run_search(strategy, new, 'recall' if change == 'objective' else 'accuracy', Budget(3), tmp_path)
