"Progress on a terminal, in a notebook and off them; -v, -q and --json"

import io
import json
import re
import sys
import warnings

import pandas as pd
import pytest

from autogets import progress
from autogets.cli import main
from autogets.progress import Progress, duration, notice, phase, say, showing, telling


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
        for _ in range(500):
            clock.now += 1
            p.update(1, 'best .7')
    err = capsys.readouterr().err
    assert 'autogets: note:' not in err
    assert 'texts: 100%' in err and '500/500' in err and 'best .7' in err


@pytest.fixture
def terminal(monkeypatch, capsys):
    "From where it is called on there is a terminal, which gives what it was sent so far, and the frames of that"
    heard = []

    def sent():
        heard.append(capsys.readouterr().err)
        said = ''.join(heard)
        return said, [f.rstrip() for f in re.split(r'[\r\n]', said) if f.strip()]

    def begin():
        monkeypatch.setattr(sys.stderr, 'isatty', lambda: True, raising=False)
        return sent

    return begin


def paid(done, total):
    return f'${done:.2f} of ${total:.2f} spent'


def test_one_bar_at_a_time_and_the_outer_one_says_what_goes_on_within_it(terminal):
    sent = terminal()
    with Progress(1.0, 'buying texts', 'dollars', clock=(clock := Clock()), amount=paid) as p:
        for i in range(3):
            with Progress(40, 'texts', 'examples', clock=clock) as inner:
                clock.now += 5
                inner.update(10)
            clock.now += 1
            p.update(0.25, f'round {i + 1}, {10 * (i + 1)} texts kept')
    said, frames = sent()
    assert all(f.startswith('buying texts: ') for f in frames)
    assert any('texts 10/40 examples' in f for f in frames)
    assert any('$0.25 of $1.00 spent, about 18 s left, round 1, 10 texts kept' in f for f in frames)
    assert frames[-1].endswith('$0.75 of $1.00 spent, 18 s, round 3, 30 texts kept')
    assert said.count('\n') == 1 and said.endswith('\n')


def test_what_is_hidden_within_shows_nothing_and_neither_does_what_it_calls(terminal):
    sent = terminal()
    with Progress(2, 'outer', 'parts', show=False, clock=(clock := Clock())) as p:
        with Progress(2, 'inner', 'parts', clock=clock) as q:
            clock.now += 5
            q.update(1)
        p.update(1)
    with showing(False), Progress(2, 'hidden', 'parts', clock=clock) as p:
        clock.now += 5
        p.update(1)
    assert sent() == ('', [])


def test_a_note_stands_above_the_bar(terminal):
    sent = terminal()
    with Progress(2, 'texts', 'examples', clock=(clock := Clock())) as p:
        clock.now += 5
        p.update(1)
        notice('note', 'a class is left out')
        p.update(1)
    lines = sent()[0].split('\n')
    assert lines[0].rpartition('\r')[2] == 'autogets: note: a class is left out'
    assert lines[1].rpartition('\r')[2].startswith('texts: 100%') and lines[2:] == ['']


def test_a_long_step_shows_itself_before_it_is_done_and_then_its_time(terminal):
    sent = terminal()
    with phase('writing the report') as p:
        p.start -= 65
        p.over.wait(0.9)
        seen = sent()[1]
    assert seen[0].startswith('writing the report: 1 min ')
    assert sent()[0].count('\n') == 1


def test_a_phase_is_a_note_with_v_alone(capsys):
    with telling(), phase('writing the report'):
        pass
    assert capsys.readouterr().err == ''
    with telling(verbose=True), phase('writing the report'):
        pass
    assert capsys.readouterr().err == 'autogets: note: writing the report\n'


def test_what_is_paid_is_asked_for_each_time(capsys):
    cost = iter(range(100))
    with telling(), Progress(30, 'texts', 'examples', clock=(c := Clock()), beside=lambda: f'${next(cost)}') as p:
        for _ in range(3):
            c.now += 10
            p.update(10)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and len({re.search(r'\((\$\d+)\)$', l)[1] for l in lines}) == 3


def test_what_moves_within_a_long_step_is_said_once_in_a_log(capsys):
    with telling(every=0.1), Progress(40, 'texts', 'examples', look=lambda: 7) as p:
        p.over.wait(1.2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith('autogets: note: texts: 7 of 40 examples after ')


SLOW = """from autogets.progress import Progress, notice
with Progress(3, 'texts', 'examples') as p:
    p.start -= 9
    p.drawn -= 9
    for i in range(3):
        p.update(1)
        p.drawn -= 9"""


@pytest.fixture(scope='module')
def kernel():
    manager = pytest.importorskip('jupyter_client.manager')
    running, client = manager.start_new_kernel(kernel_name='python3')

    def outputs(asks):
        "Outputs of the cell `SLOW` as a notebook would store them, and how often one was written anew"
        kept, again = [], 0

        def hear(message):
            nonlocal again
            kind, content = message['msg_type'], message['content']
            again += kind == 'update_display_data'
            if kind in ('stream', 'display_data', 'error', 'execute_result'):
                kept.append(content.get('data', content))
            if kind == 'update_display_data':
                kept[-1] = content['data']

        client.execute_interactive(SLOW, allow_stdin=asks, output_hook=hear, timeout=60)
        return kept, again

    yield outputs
    client.stop_channels()
    running.shutdown_kernel(now=True)


def test_a_notebook_keeps_one_line(kernel):
    kept, again = kernel(asks=True)
    assert len(kept) == 1 and again >= 2
    assert re.fullmatch(r'texts: 3/3 examples, \d+ s', kept[0]['text/plain'])
    assert '<progress' not in kept[0]['text/html']


def test_a_notebook_that_nobody_watches_keeps_nothing(kernel):
    assert kernel(asks=False) == ([], 0)


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
    assert (
        code == 0 and 'autogets: note: search with linear (random): resumed at 5 of 8 evaluations' in err.splitlines()
    )
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
