"Progress on a terminal and off it; -v, -q and --json"

import json
import sys
import warnings

import pandas as pd
import pytest

from autogets import progress
from autogets.cli import main
from autogets.progress import Progress, duration, say, telling


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def spent(capsys, clock, done=0, total=500, step=20, seconds=1.0):
    with Progress(total, 'texts', 'examples', done=done, clock=clock) as p:
        for _ in range((total - done) // step):
            clock.now += seconds
            p.update(step, f'{step} new')
    return capsys.readouterr().err.splitlines()


def test_a_line_every_few_seconds_where_there_is_no_terminal(capsys):
    with telling():
        lines = spent(capsys, Clock())
    assert len(lines) == 5
    assert lines[0] == 'autogets: note: texts: 100 of 500 examples after 5 s, about 20 s to go (20 new)'
    assert lines[-1].startswith('autogets: note: texts: 500 of 500 examples after 25 s')


def test_what_was_done_before_is_said_and_does_not_count_for_the_pace(capsys):
    with telling():
        lines = spent(capsys, Clock(), done=340)
    assert lines[0] == 'autogets: note: texts: resumed at 340 of 500 examples'
    assert lines[1] == 'autogets: note: texts: 440 of 500 examples after 5 s, about 3 s to go (20 new)'


def test_a_short_run_says_nothing(capsys):
    with telling():
        assert spent(capsys, Clock(), seconds=0.1) == []
        assert spent(capsys, Clock(), total=20, done=20) == []


def test_only_the_command_tells_and_quiet_does_not(capsys):
    assert spent(capsys, Clock()) == []
    with telling(quiet=True):
        assert spent(capsys, Clock(), done=340) == []
        say('anything')
    say('anything')
    with telling(), telling(every=1.0):
        assert len(spent(capsys, Clock(), total=100)) == 5
        say('a\nb')
    assert capsys.readouterr().err == 'autogets: note: a b\n'


def test_a_total_that_is_not_known(capsys):
    with telling(), Progress(None, 'search', 'evaluations', clock=(c := Clock())) as p:
        c.now = 70
        p.update(3)
    assert capsys.readouterr().err == 'autogets: note: search: 3 evaluations after 1 min 10 s\n'


def test_on_a_terminal_there_is_a_bar_and_no_line(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True, raising=False)
    with telling(), Progress(500, 'texts', 'examples', clock=(clock := Clock())) as p:
        p.bar.delay = 0
        for _ in range(500):
            clock.now += 1
            p.update(1, 'best .7')
    err = capsys.readouterr().err
    assert 'autogets: note:' not in err
    assert 'texts: 100%' in err and '500/500' in err and 'best .7' in err


@pytest.mark.parametrize('seconds, said', [(0.2, '0 s'), (59, '59 s'), (61, '1 min 1 s'), (3700, '1 h 2 min')])
def test_durations(seconds, said):
    assert duration(seconds) == said


# --- the command ---


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    rows = [(f'{w} number {i} {c}', c) for i in range(30) for w, c in (('red', 'warm'), ('blue', 'cold'))]
    pd.DataFrame(rows, columns=['text', 'label']).to_csv(tmp_path / 't.csv', index=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, 'showwarning', warnings.showwarning)

    def run(*words):
        monkeypatch.setattr(sys, 'argv', ['autogets', *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        lines = [l for l in err.splitlines(True) if 'WordNet' not in l]  # it may or may not be installed
        return end.value.code or 0, out, ''.join(lines)

    return run


IMPROVE = ['improve', 't.csv', '--strategy', 'random', '--out', 'out', '--n', '1', '--budget']


def test_improve_as_json_and_in_silence(command, tmp_path):
    code, out, err = command(*IMPROVE, 5, '--json')
    assert (code, err) == (0, '') and json.loads(out)['evaluations'] == 5
    told, saved = json.loads(out), json.loads((tmp_path / 'out/summary.json').read_text())
    assert told == saved | {'out': 'out', 'report': 'out/report.html'}
    assert command(*IMPROVE, 5, '-q') == (0, '', '')
    code, out, err = command('improve', 'none.csv', '-q')
    assert code == 2 and 'none.csv does not exist' in err


def test_improve_says_where_it_went_on_and_with_v_what_it_does(command):
    command(*IMPROVE, 5)
    code, out, err = command(*IMPROVE, 8)
    assert code == 0 and 'autogets: note: random: resumed at 5 of 8 evaluations' in err.splitlines()
    code, out, err = command(*IMPROVE, 8, '-v')
    notes = [l.removeprefix('autogets: note: ') for l in err.splitlines()]
    assert notes[0].startswith('texts: ') and any(l.startswith('search: ') for l in notes)
    assert command('improve', 't.csv', '-v', '-q')[0] == 2


def test_generate_as_json_and_in_silence(command, tmp_path):
    words = ['generate', 't.csv', '--model', 'eda', '--n', '1', '--out', 'pool']
    code, out, err = command(*words, '--json')
    told = json.loads(out)
    assert (code, err) == (0, '') and told['counts']['kept'] > 0 and told['out'] == 'pool' and told['complete']
    assert told['sent'] == 0 and told['cost'] in (None, 0)
    assert command(*words, '-q') == (0, '', '')


def test_the_state_is_restored(command):
    command(*IMPROVE, 2, '-q')
    assert not progress.TELLING['lines'] and not progress.TELLING['quiet']
