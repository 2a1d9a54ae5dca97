"Around the commands: job files, help, completion, JSON, exit codes, python -m"

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml

from autogets import cli
from autogets.command_help import EXAMPLES
from autogets.core import UserError
from autogets.job_files import job_field, job_text, read_job

COMMANDS = [*cli.BUILT, 'predict', 'replicate', 'scoreboard', 'bench']
COMMANDS += ['data list', 'data describe', 'data fetch', 'knowledge show', 'knowledge add']
IMPROVE = cli.improve_options()


@pytest.fixture
def command(in_process):
    "As `in_process`; a command that worked gives its standard output"

    def run(*words, code=0):
        found, out, err = in_process(*words)
        assert found == code, (words, found, out, err)
        return err if code else out

    return run


@pytest.fixture
def file(tmp_path):
    "Writes a small table, and a job about it"
    rows = [f'the {w} {k},{w}' for w in ('printer', 'mail', 'door') for k in range(10)]
    (tmp_path / 'a.csv').write_text('text,label\n' + '\n'.join(rows) + '\n')

    def job(said):
        (tmp_path / 'job.yml').write_text(said)
        return 'job.yml'

    return job


# --- job files ---


@pytest.fixture
def improved(monkeypatch):
    "What improve was called with, instead of the work"
    seen = []
    monkeypatch.setitem(cli.BUILT, 'improve', (lambda **words: seen.append(words), cli.improve_options))
    return seen


def test_a_saved_job_repeats_the_run(command, improved, tmp_path):
    words = ('--strategy', 'random', '--budget', '3', '--no-free', '--target', 'a', '--target', 'b', '--max-cost', '2')
    command('improve', 'a.csv', *words, '--out', 'one', '--save-job', 'job.yml', '--json')
    command('improve', '--job', 'job.yml', '--out', 'two', '--save-job', 'new.yml', '--json')
    first, again = improved
    assert first | {'out': again['out']} == again and [str(w['out']) for w in improved] == ['one', 'two']
    assert first['target'] == ['a', 'b'] and first['free'] is False and first['max_cost'] == 2
    old, new = ((tmp_path / f).read_text() for f in ('job.yml', 'new.yml'))
    assert old.replace('out: one', 'out: two') == new and '\nbudget: 3\n' in old and '\nfree: false\n' in old
    assert '\n# Candidates to evaluate; 100 for' in old


def test_a_saved_job_of_generate_repeats_it(command, file, tmp_path):
    file('')
    command('generate', 'a.csv', '--model', 'eda', '--n', '1', '--seed', '3', '--save-job', 'job.yml', '--out', 'one')
    command('generate', '--job', 'job.yml', '--out', 'two')
    assert (tmp_path / 'one/texts.jsonl').read_bytes() == (tmp_path / 'two/texts.jsonl').read_bytes() != b''


def test_a_job_file_has_all_options_in_the_order_of_the_help(command):
    said = command('improve', '--help')
    shown = [f for f in re.findall(r'^  (?:-\w, )?--([\w-]+)', said, re.M)]
    shown = [f for f in shown if f not in ('verbose', 'quiet', 'json', 'job', 'save-job', 'dry-run', 'help')]
    written = list(yaml.safe_load(job_text('improve', IMPROVE, {'train': 'a.csv'})))
    assert written == ['command', 'train', *shown] and len(shown) > 50


def test_flags_win_over_the_file(command, file):
    job = file('command: weak\ntrain: a.csv\nclassifier: linear\ntop: 1\n')
    assert [len(json.loads(command('weak', '--job', job, '--json', *more))) for more in ([], ['--top', '2'])] == [1, 2]


def test_a_required_option_may_stand_in_the_file(command, file):
    said = command('quality', '--job', file('pool: nothing\nreal: a.csv\n'), code=2)
    assert said.startswith('autogets: error: ') and 'nothing' in said


@pytest.mark.parametrize(
    'said, hint',
    [
        ('trian: a.csv', 'field trian: weak has no such option; is train meant?'),
        ('split_seed: 1', 'field split_seed: weak has no such option; is split-seed meant?'),
        ('top: many', "field top: 'many' is not a whole number"),
        ('top: true', "field top: 'True' is not a whole number"),
        ('label: yes', "field label: 'True' is not a text, in quotes"),
        ('command: improve', 'field command: the job is for improve, not for weak'),
        ('top: 1\ntop: 2', 'field top: it is there twice'),
        ('- train', 'is no job'),
        ('a: [', 'is not YAML'),
    ],
)
def test_a_wrong_job_is_refused_in_a_line(command, file, said, hint):
    err = command('weak', 'a.csv', '--job', file(said), code=2)
    assert err.count('\n') == 1 and err.startswith('autogets: error: job.yml') and hint in err


def test_no_job_file(command):
    assert 'cannot read the job nothing.yml' in command('weak', '--job', 'nothing.yml', code=2)


def test_secrets_stay_out_of_a_job_file(command, improved, tmp_path):
    words = ('a.csv', '--model', 'openai:tiny', '--base-url', 'http://me:hush@127.0.0.1:9/v1?key=hush')
    words += ('--max-texts', '5', '--price', '1,1', '--dry-run', '--save-job', 'job.yml', '--classifier', 'linear')
    command('improve', *words)
    said = (tmp_path / 'job.yml').read_text()
    assert 'hush' not in said and 'http://127.0.0.1:9/v1' in said and 'dry-run' not in said


ODD = [
    '',
    ' ',
    'yes',
    'null',
    '7',
    '1e3',
    '2020-01-01',
    'a: b',
    '- a',
    '#',
    "'",
    '"',
    'a\nb',
    '\t',
    '{',
    '@',
    'ö',
    '🙂',
    '!x',
]
KINDS = {
    str: lambda rng: str(rng.choice(ODD)),
    list[str]: lambda rng: [str(v) for v in rng.choice(ODD, rng.integers(4))],
    int: lambda rng: int(rng.integers(-(10**9), 10**9)),
    float: lambda rng: float(rng.normal() * 10.0 ** rng.integers(-20, 20)),
    bool: lambda rng: bool(rng.integers(2)),
}


@pytest.mark.parametrize('seed', range(8))
def test_what_is_written_is_read_back(tmp_path, seed):
    rng = np.random.default_rng(seed)
    saved = [p for p in IMPROVE if p.annotation in KINDS and p.name not in ('verbose', 'quiet', 'as_json', 'dry_run')]
    words = {p.name: KINDS[p.annotation](rng) for p in saved if rng.integers(4)}
    (tmp_path / 'any.yml').write_text(job_text('improve', IMPROVE, words))
    assert read_job(tmp_path / 'any.yml', 'improve', IMPROVE) == words and len(words) > 30


def test_fields_are_called_as_options():
    assert {'max-cost', 'guard', 'set', 'budget', 'train', 'out'} <= {job_field(p) for p in IMPROVE}


# --- help ---


def test_every_command_has_examples():
    assert sorted(EXAMPLES) == sorted(COMMANDS)


@pytest.mark.parametrize('name', COMMANDS)
def test_help_ends_with_examples_and_is_narrow(command, monkeypatch, name):
    monkeypatch.setenv('COLUMNS', '80')
    said = command(*name.split(), '--help')
    lines = said.rstrip().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-len(EXAMPLES[name]) - 1 :] == ['Examples:', *(f'  {line}' for line in EXAMPLES[name])]


def test_examples_name_options_that_exist(command):
    for name, lines in EXAMPLES.items():
        said = command(*name.split(), '--help')
        used = {o for line in lines for o in re.findall(r'--[\w-]+', line)}
        assert [o for o in used if not re.search(rf'{o}\b', said)] == [], name


def test_options_stand_in_panels(command):
    said = command('improve', '--help')
    panels = [l[:-1] for l in said.splitlines() if re.fullmatch(r'\S.*:', l)]
    wanted = ['Arguments', 'Data', 'What to improve', 'Texts bought from a model', 'What is said', 'Job file']
    assert panels == [*wanted, 'Options', 'Examples']


def test_exit_codes_are_documented_and_kept(command, monkeypatch):
    said = ' '.join(command('--help').split())
    assert all(
        f'{code} {word}' in said for code, word in ((0, 'done'), (1, 'some'), (2, 'input'), (130, 'interrupted'))
    )
    command('weak', 'nothing.csv', code=2)
    command('weak', '--nothing', code=2)

    def stop(*words, **more):
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.BUILT, 'weak', (stop, cli.weak_options))
    assert 'interrupted' in command('weak', 'a.csv', code=130)


def test_a_failed_experiment_ends_with_1(command, monkeypatch, tmp_path):
    import pandas as pd

    from autogets.replication import runner

    def failed(*words, **more):
        print('a line for people')
        rows = pd.DataFrame([dict(id='x', title='X', status='failed', minutes=0.1, message='no')])
        rows.attrs['index'] = 'page.html'
        return rows

    monkeypatch.setattr(runner, 'replicate', failed)
    err = command('replicate', '--json', code=1)
    assert 'a line for people' in err


# --- completion ---


def test_completion_offers_commands_and_options(command, monkeypatch):
    def completed(line):
        words = {'COMP_WORDS': line, 'COMP_CWORD': str(line.count(' '))}
        for k, v in ({'_AUTOGETS_COMPLETE': 'complete_bash'} | words).items():
            monkeypatch.setenv(k, v)
        return command().split()

    assert completed('autogets im') == ['improve']
    assert {'--budget', '--job', '--objective'} <= set(completed('autogets improve --'))


@pytest.mark.skipif(not shutil.which('bash'), reason='there is no bash here')
def test_bash_completes(tmp_path):
    (tmp_path / 'autogets').write_text(f'#!/bin/sh\nexec {sys.executable} -m autogets "$@"\n')
    (tmp_path / 'autogets').chmod(0o755)
    env = os.environ | {'PATH': f'{tmp_path}:{os.environ["PATH"]}'}
    script = subprocess.run(
        ['autogets'], env=env | {'_AUTOGETS_COMPLETE': 'source_bash'}, capture_output=True, text=True
    )
    ask = 'COMP_WORDS=(autogets data fe); COMP_CWORD=2; _autogets_completion autogets; echo "${COMPREPLY[@]}"'
    r = subprocess.run(['bash', '-c', script.stdout + ask], env=env, capture_output=True, text=True)
    assert r.stdout.strip() == 'fetch', r.stderr


# --- JSON ---


def test_json_is_one_document(command, monkeypatch):
    from autogets.data import sources

    monkeypatch.setattr(sources, 'fetch_source', lambda name: f'/there/{name}')
    assert 'tickets' in [d['name'] for d in json.loads(command('data', 'list', '--json'))]
    about = json.loads(command('data', 'describe', 'tickets', '--json'))
    assert sum(about['classes']['train'].values()) == 1765 and about['license']
    assert json.loads(command('data', 'fetch', 'tickets', '--json')) == {'tickets': '/there/tickets'}
    board = json.loads(command('scoreboard', '--json'))
    assert board['findings'] and board['rerun'] == [] == board['changed']


def test_json_of_the_knowledge_map(command, monkeypatch):
    from autogets.search import regret

    monkeypatch.setattr(regret, 'regret_verdict', lambda *words: 'Mean regret\n  none')
    known = json.loads(command('knowledge', 'show', '--budget', '20', '--json'))
    assert len(known['best']) > 5 and known['advice'] == 'Mean regret none' and known['figure'] is None


def test_json_of_predictions(command, file):
    from autogets.classifiers.linear import make_classifier

    texts = [f'{w} {k}' for w in ('printer', 'mail') for k in range(5)]
    make_classifier('linear').fit(texts, [t.split()[0] for t in texts]).save('model')
    rows = json.loads(command('predict', 'model', 'a.csv', '--json'))
    assert len(rows) == 30 and rows[0]['predicted_label'] == 'printer'
    told = json.loads(command('predict', 'model', 'a.csv', '--out', 'b.csv', '--json'))
    assert told == {'out': 'b.csv', 'texts': 30}


def test_an_empty_result_is_json_too(capsys):
    from autogets.progress import answer

    answer('nothing', [])
    assert json.loads(capsys.readouterr().out) == []


def test_a_job_without_the_command_is_read(tmp_path):
    (tmp_path / 'j.yml').write_text('max-cost: 1\n')
    assert read_job(tmp_path / 'j.yml', 'improve', IMPROVE) == {'max_cost': 1}
    (tmp_path / 'j.yml').write_text('max-cost: .inf\n')
    with pytest.raises(UserError, match='field max-cost: .* is not a number'):
        read_job(tmp_path / 'j.yml', 'improve', IMPROVE)
