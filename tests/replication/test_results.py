"""What an experiment records, where it goes, and our numbers beside the published ones."""

import numpy as np
import pandas as pd
import pytest

from autogets.core import UserError, project_root, read_json, shipped, write_atomic
from autogets.replication.published import compare
from autogets.replication.results import Experiment, make_finding
from autogets.stats import Estimate
from projects import notebook


def test_an_experiment_chooses_its_folder(tmp_path, monkeypatch):
    monkeypatch.setenv('AUTOGETS_OUT', str(tmp_path / 'env'))
    monkeypatch.setenv('IN_TEST', '1')
    assert Experiment('x').folder == tmp_path / 'env'
    assert Experiment('x', out=str(tmp_path / 'arg')).folder == tmp_path / 'arg'
    monkeypatch.delenv('AUTOGETS_OUT')
    temporary = Experiment('x').folder
    assert tmp_path not in temporary.parents and not temporary.is_relative_to(project_root())
    monkeypatch.delenv('IN_TEST')
    monkeypatch.setenv('AUTOGETS_ROOT', str(tmp_path))
    exp = Experiment('demo/x')
    assert exp.folder == tmp_path / 'runs' / 'jupyter' and exp.work('traces') == exp.folder / 'traces' / 'demo' / 'x'


def test_all_parameters_are_recorded_as_they_were_given(tmp_path, monkeypatch):
    write_atomic(tmp_path / 'settings.ini', '[DEFAULT]\n')
    notebook(
        tmp_path,
        'demo/01_toy.ipynb',
        'n: int = 2\nnames: list[str] = ["a"]\nseeds: int = 3\nid: str = "demo/toy-big"\nout: str = ""',
    )
    monkeypatch.setenv('AUTOGETS_ROOT', str(tmp_path))
    given = dict(n=np.int64(5), names=['b'], seeds=3, id='demo/toy-big', out=str(tmp_path / 'here'), other=1)
    body = "exp = Experiment(id)\nnames.append('c')\nn = 7\nexp.save()"
    exec(f'from autogets.replication.results import Experiment\n{body}', given)
    record = read_json(tmp_path / 'here' / 'results' / 'demo' / 'toy-big.json')
    assert record['parameters'] == {'n': 5, 'names': ['b'], 'seeds': 3} and record['seeds'] == [0, 1, 2]
    assert record['id'] == 'demo/toy-big'


def test_tables_and_figures_return_what_they_are_given(tmp_path):
    from matplotlib.figure import Figure

    exp, df, fig = Experiment('demo/x', tmp_path), pd.DataFrame({'i': [1]}), Figure()
    assert exp.table('means', df, 'Means') is df and exp.figure('', fig) is fig
    exp.save()
    record = read_json(tmp_path / 'results' / 'demo' / 'x.json')
    assert (record['tables'], record['figures']) == (['demo/x-means'], ['demo/x'])
    assert record['captions'] == {'demo/x-means': 'Means'}
    assert sorted(p.name for p in (tmp_path / 'figures' / 'demo').iterdir()) == ['x.pdf', 'x.png']


def test_figures_have_the_same_bytes_each_time(tmp_path):
    from matplotlib.figure import Figure

    made = []
    for i in range(2):
        fig = Figure(figsize=(3, 2))
        fig.subplots().plot([0, 1], [0, 1], label='a')
        Experiment('x', out=tmp_path / str(i)).figure('f', fig)
        made.append([(tmp_path / str(i) / 'figures' / f'x-f.{x}').read_bytes() for x in ('png', 'pdf')])
    assert made[0] == made[1]


def test_a_record_takes_numpy_and_names_refuse_paths(tmp_path):
    exp = Experiment('x', out=tmp_path)
    exp.parameters = {'n': np.int64(3), 'shares': (np.float64(0.5),)}
    exp.finding('a', np.float64(1) / 3, low=np.float64('nan'), n=np.int64(2))
    exp.save(seeds=(np.int64(1),))
    record = read_json(tmp_path / 'results' / 'x.json')
    assert record['parameters'] == {'n': 3, 'shares': [0.5]} and record['seeds'] == [1]
    f = record['findings'][0]
    assert (f['estimate'], f['low'], f['n'], f['verdict']) == (0.333333, None, 2, 'inconclusive')
    for bad in ('../x', 'A b', '/x'):
        with pytest.raises(UserError, match='file name'):
            exp.table(bad, pd.DataFrame())
        with pytest.raises(UserError, match='file name'):
            Experiment(bad, tmp_path)


def test_a_finding_takes_an_estimate_and_is_recorded_once(tmp_path):
    exp = Experiment('x', tmp_path)
    f = exp.finding('A beats B', Estimate(0.1, 0.05, 0.2, 'classes (6)', 6), protocol='paper')
    assert (f.low, f.high, f.n, f.resampled, f.verdict, f.expects) == (0.05, 0.2, 6, 'classes (6)', 'holds', 'more')
    exp.finding('A beats B', -0.1, low=-0.2, high=-0.05, protocol='honest')
    with pytest.raises(UserError, match='two findings'):
        exp.finding('A beats B', 0.1, protocol='paper')
    assert exp.save().verdict.tolist() == ['holds', 'does not hold']


def test_a_verdict_of_another_rule_is_kept_and_checked():
    f = make_finding('All bounds hold', 0.5, 'does not hold', low=0.2, high=0.8)
    assert (f.verdict, f.expects) == ('does not hold', '')
    with pytest.raises(UserError, match='inconclusive'):
        make_finding('a', 0.5, 'maybe')


def test_compare_keeps_what_only_one_side_has():
    ours = pd.DataFrame(
        {
            'class': ['ABBR', 'NEW', 'ABBR'],
            'metric': ['recall', 'recall', 'recall'],
            'protocol': ['paper', 'paper', 'honest'],
            'got': [0.5, 0.6, 0.4],
        }
    )
    both = compare(ours, 'table9', on=['class', 'metric'], value='got')
    published = pd.read_csv(shipped('papers/table9.csv')).set_index(['class', 'metric']).published
    assert list(both.columns) == ['class', 'metric', 'protocol', 'published', 'ours', 'difference']
    abbr = both[both.protocol.notna() & (both['class'] == 'ABBR')]
    assert abbr.published.tolist() == [published['ABBR', 'recall']] * 2
    assert abbr.difference.tolist() == pytest.approx(
        [0.5 - published['ABBR', 'recall'], 0.4 - published['ABBR', 'recall']]
    )
    assert both[both['class'] == 'NEW'].published.isna().all() and len(both) == len(published) + 2
    assert len(compare(ours, 'table9', on=['class', 'metric'], value='got', how='left')) == 3
    with pytest.raises(UserError, match='several rows'):
        compare(ours, 'table9', on=['class'], value='got')
    with pytest.raises(UserError, match='no column ours'):
        compare(ours, 'table9', on=['class', 'metric'])
