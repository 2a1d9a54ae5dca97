"The command line: bad input in one line, what `improve` leaves behind, and a killed run that ends like any other"

import csv
import gzip
import hashlib
import html
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from autogets.classifiers.linear import load_classifier
from autogets.core import shipped, text_id
from autogets.data.datasets import load_corpus
from autogets.generators.pool import load_pool
from autogets.metrics import OBJECTIVES

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, '-c', 'from autogets.cli import main; main()']
PRINTER, UKRAINE, EMAIL, NET = (
    'Printer issues and troubleshooting',
    'Humanitarian aid for Ukraine',
    'Email security and attachments',
    'Internet connectivity issues in offices',
)
SMALL = [PRINTER, UKRAINE, EMAIL, NET]
MORE = [
    'Account activation and access issues',
    'Access and login issues',
    'Employee documentation and errors',
    'IT support and communication',
]
FAST = ['--strategy', 'random', '--budget', '25', '--n', '2']

# --- starting the command ---

# Imports what the command needs once, then forks for each command line: a new process every time, without the imports.
FORKS = '''
import json, os, resource, signal, sys, traceback
import matplotlib.pyplot, scipy.stats, sklearn.decomposition
import autogets.job, autogets.plots, autogets.replication.ours.cost
from autogets.cli import main
children = {}
for line in sys.stdin:
    job = json.loads(line)
    if 'wait' in job:
        print(os.waitstatus_to_exitcode(os.waitpid(job['wait'], 0)[1]), flush=True)
        continue
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        continue
    os.chdir(job['cwd'])
    for fd, name in ((1, 'out'), (2, 'err')): os.dup2(os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), fd)
    if job['most']: resource.setrlimit(resource.RLIMIT_FSIZE, (job['most'], job['most']))
    signal.alarm(job['patience'])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts with Ctrl-C ignored
    sys.argv, code = ['autogets', *job['args']], 0
    try: main()
    except SystemExit as e: code = e.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
'''


@pytest.fixture(scope='module')
def env(tmp_path_factory):
    "No public sets, no user's cache"
    d = tmp_path_factory.mktemp('home')
    keep = {k: v for k, v in os.environ.items() if k not in ('AUTOGETS_DATA', 'AUTOGETS_ROOT')}
    return {
        **keep,
        'PYTHONPATH': str(ROOT),
        'OPENBLAS_NUM_THREADS': '1',
        'AUTOGETS_CACHE': str(d / 'cache'),
        'MPLBACKEND': 'agg',
    }


class Commands:
    "Starts command lines, waits for them"

    def __init__(self, env, folder):
        self.server = subprocess.Popen(
            [sys.executable, '-c', FORKS], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.folder, self.n = folder, 0

    def _ask(self, **job):
        self.server.stdin.write(json.dumps(job) + '\n')
        self.server.stdin.flush()
        return int(self.server.stdout.readline())

    def start(self, *args, most=0, patience=100):
        "A command under way: no file of it may be longer than `most` bytes, and after `patience` seconds it is killed"
        self.n += 1
        out, err = (str(self.folder / f'{k}{self.n}') for k in ('out', 'err'))
        job = dict(args=[str(a) for a in args], cwd=str(self.folder), out=out, err=err, most=most, patience=patience)
        return SimpleNamespace(pid=self._ask(**job), **job)

    def wait(self, job):
        code = self._ask(wait=job.pid)
        return SimpleNamespace(code=code, out=Path(job.out).read_text(), err=Path(job.err).read_text())

    def __call__(self, *args, **how):
        return self.wait(self.start(*args, **how))


@pytest.fixture(scope='module')
def autogets(env, tmp_path_factory):
    commands = Commands(env, tmp_path_factory.mktemp('commands'))
    yield commands
    commands.server.stdin.close()
    commands.server.wait(10)


def refused(r, *says):
    "The one line with which the command must have ended; `says` are fragments of it"
    assert 'Traceback' not in r.err, r.err
    errors = [l for l in r.err.splitlines() if not l.startswith('autogets: note: ')]
    assert r.code == 2 and len(errors) == 1 and errors[0].startswith('autogets: error: ') and r.out == '', (
        r.code,
        r.err,
        r.out,
    )
    for s in says:
        assert s in errors[0], (s, errors[0])
    return errors[0]


def done(r):
    "Standard output of a command that must have worked without a word on stderr, notes excepted"
    assert r.code == 0 and all(l.startswith('autogets: note: ') for l in r.err.splitlines()), (r.code, r.err)
    return r.out


# --- tables ---


def put(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def table(path, rows, header=('text', 'label')):
    f = io.StringIO()
    csv.writer(f, lineterminator='\n').writerows([header, *rows])
    return put(path, f.getvalue())


def toy(n=10, labels=('red', 'blue')):
    "`n` rows a class"
    return [
        (f'{l} paint number {i} with {w} gloss', l)
        for l in labels
        for i, w in zip(range(n), 'much some less more thin thick wet dry old new'.split() * 9)
    ]


def rows_of(frame):
    return list(zip(frame.text, frame.label))


def lines(path):
    return path.read_bytes().splitlines(keepends=True)


def same(a, b, but=('seconds', 'wall', 'check')):
    "Whether the traces in folders `a` and `b` agree in all columns that do not measure time"
    a, b = (pd.read_csv(d / 'trace.csv', dtype=str).drop(columns=list(but)) for d in (a, b))
    return a.equals(b)


def summary(folder, but=('seconds', 'wall_seconds')):
    return {k: v for k, v in json.loads((folder / 'summary.json').read_text()).items() if k not in but}


def files(d, classes):
    "Some classes of the tickets as files of one's own: train.csv and test.csv"
    c = load_corpus('tickets', split='stratified')
    for name, frame in (('train', pd.concat([c.train, c.validation])), ('test', c.test)):
        table(d / f'{name}.csv', rows_of(frame[frame.label.isin(classes)]))
    return d


@pytest.fixture(scope='module')
def tickets(tmp_path_factory):
    return files(tmp_path_factory.mktemp('tickets'), SMALL)


@pytest.fixture(scope='module')
def middling(tmp_path_factory):
    return files(tmp_path_factory.mktemp('middling'), [*SMALL, *MORE])


# --- bad tables ---

GOOD = 'text,label\n' + ''.join(f'"{t}",{l}\n' for t, l in toy())
TABLES = {
    'missing': ('t.csv', None, ('t.csv does not exist', 'check the name')),
    'binary': (
        't.csv',
        b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0',
        ('t.csv is not a text table', 'zero bytes', 'save it as CSV'),
    ),
    'quotes': (
        't.csv',
        GOOD + '"so "far" so good",red\n',
        ('t.csv is not a CSV table', 'line 22', 'double the quotes'),
    ),
    'ragged': (
        't.csv',
        GOOD + 'one, two,red\n',
        ('t.csv is not a CSV table', 'row 22 has 3 fields, the header 2', 'in quotes'),
    ),
    'spreadsheet': ('t.xlsx', b'PK\3\4', ('t.xlsx is not a table', 'use .csv, .tsv, .jsonl, .parquet')),
    'not JSON': ('t.jsonl', GOOD, ('t.jsonl is not JSON lines', 'line 1')),
    'not Parquet': ('t.parquet', GOOD, ('t.parquet is not a Parquet table', 'write it again')),
    'damaged gzip': (
        't.csv.gz',
        gzip.compress(GOOD.encode())[:60],
        ('t.csv.gz is a damaged gzip file', 'get it again'),
    ),
    'empty': ('t.csv', '', ('t.csv is empty', 'a header and rows are needed')),
    'header only': ('t.csv', 'text,label\n', ('t.csv has a header but no rows',)),
    'no text column': (
        't.csv',
        GOOD.replace('text,', 'body,', 1),
        ("t.csv has no column 'text'", 'its columns are body, label'),
    ),
    'no label column': (
        't.csv',
        GOOD.replace('label', 'class', 1),
        ("t.csv has no column 'label'", 'its columns are text, class'),
    ),
    'semicolons': (
        't.csv',
        GOOD.replace('"', '').replace(',', ';'),
        ("t.csv has no column 'text'", 'another separator', 'save it with commas'),
    ),
    'empty text': (
        't.csv',
        GOOD + ',red\n  ,blue\n',
        ("t.csv: rows without a text (column 'text'): 2, at row 22, 23", 'fill or drop them'),
    ),
    'NaN text': (
        't.csv',
        GOOD + 'NaN,red\n',
        ("rows without a text (column 'text'): 1, at row 22", 'fill or drop them'),
    ),
    'null text': (
        't.jsonl',
        '{"text": "good", "label": "red"}\n{"text": null, "label": "blue"}\n',
        ("without a text (column 'text'): 1, at row 2", 'fill or drop'),
    ),
    'empty label': (
        't.csv',
        GOOD + 'thin paint,\n',
        ("t.csv: rows without a label (column 'label'): 1, at row 22", 'fill or drop them'),
    ),
    'single class': (
        't.csv',
        GOOD.replace(',blue', ',red'),
        ("t.csv has a single class, 'red', in column 'label'", 'at least two'),
    ),
    'rare class': (
        't.csv',
        GOOD + 'a rare one,green\n',
        ("too few rows to split by class: 'green' (1)", 'join rare classes, add rows'),
    ),
    'not UTF-8': (
        't.csv',
        GOOD.encode() + b'the old caf\xe9,red\n',
        ('t.csv is not UTF-8: byte 0xe9 at offset', 'line 22', 'save it again as UTF-8'),
    ),
    'UTF-16': ('t.csv', GOOD.encode('utf-16'), ('t.csv is not a text table', 'UTF-16', 'save it as CSV in UTF-8')),
    "class 'all'": ('t.csv', GOOD.replace(',blue', ',all'), ("a class named 'all'", 'rename it')),
}


@pytest.mark.parametrize('case', TABLES)
def test_bad_training_tables(case, autogets, tmp_path):
    name, content, says = TABLES[case]
    if content is not None:
        put(tmp_path / name, content)
    refused(autogets('improve', tmp_path / name, '--out', tmp_path / 'out', *FAST), *says)
    assert not (tmp_path / 'out').exists()


def test_columns_are_named_by_the_user(autogets, tmp_path):
    train = table(tmp_path / 't.csv', toy(), header=('body', 'class'))
    refused(
        autogets('improve', train, '--text', 'body', '--label', 'topic', *FAST),
        "has no column 'topic'",
        'its columns are body, class',
    )
    refused(
        autogets('improve', train, '--text', 'body', '--label', 'class', '--feature', 'site', *FAST),
        "has no column 'site'",
    )
    done(
        autogets(
            'improve',
            train,
            '--text',
            'body',
            '--label',
            'class',
            '--strategy',
            'random',
            '--budget',
            3,
            '--out',
            tmp_path / 'out',
        )
    )


def test_a_folder_or_an_unknown_name_for_a_table(autogets, tmp_path):
    (tmp_path / 't.csv').mkdir()
    refused(autogets('improve', tmp_path / 't.csv'), 't.csv', 'Is a directory')
    refused(autogets('improve', 'ticket'), "unknown corpus 'ticket'", 'tickets')


def test_texts_without_any_word(autogets, tmp_path):
    train = table(tmp_path / 't.csv', [(f'{c} !', l) for c, l in zip('abcdefghijklmnopqrst', ['red', 'blue'] * 10)])
    for strategy in ('random', 'hierarchical'):
        refused(autogets('improve', train, '--strategy', strategy, '--budget', 3, '--out', tmp_path / strategy))


@pytest.mark.parametrize(
    'content,says',
    [
        (None, 'does not exist'),
        ('', 'is empty'),
        ('text,label\n', 'no rows'),
        (GOOD.encode() + b'caf\xe9,red\n', 'not UTF-8'),
    ],
    ids=['missing', 'empty', 'header', 'latin-1'],
)
def test_bad_test_tables(content, says, autogets, tmp_path):
    train, test = table(tmp_path / 'train.csv', toy()), tmp_path / 'test.csv'
    if content is not None:
        put(test, content)
    refused(autogets('improve', train, '--test', test, '--out', tmp_path / 'out', *FAST), 'test.csv', says)


def test_a_test_file_may_hold_one_class(autogets, tmp_path):
    train, test = (
        table(tmp_path / 'train.csv', toy()),
        table(tmp_path / 'test.csv', [('red varnish', 'red'), ('some red paint', 'red')]),
    )
    done(autogets('improve', train, '--test', test, '--strategy', 'random', '--budget', 3, '--out', tmp_path / 'out'))


def test_a_class_that_only_the_test_file_has_is_noted(autogets, tmp_path):
    train, test = (
        table(tmp_path / 'train.csv', toy()),
        table(tmp_path / 'test.csv', [*toy(4), ('green paint', 'green'), ('more green paint', 'green')]),
    )
    r = autogets('improve', train, '--test', test, '--strategy', 'random', '--budget', 3, '--out', tmp_path / 'out')
    done(r)
    assert "autogets: note: train: test has rows of 'green', absent from train" in r.err


# --- the target class ---


def test_target_class_absent(autogets, tmp_path):
    train = table(tmp_path / 't.csv', toy())
    refused(
        autogets('improve', train, '--target', 'green', '--out', tmp_path / 'out', *FAST),
        "unknown target class 'green'",
        'choose one of blue, red',
    )


def test_target_class_with_one_example(autogets, tmp_path):
    train = table(tmp_path / 'train.csv', [*toy(), ('a green thing', 'green')])
    other = [table(tmp_path / f'{s}.csv', [*toy(3), (f'{s} of green', 'green')]) for s in ('test', 'validation')]
    r = autogets(
        'improve',
        train,
        '--test',
        other[0],
        '--validation',
        other[1],
        '--target',
        'green',
        '--out',
        tmp_path / 'out',
        *FAST,
    )
    refused(r, "class 'green' has 1 example in the training split of train", 'at least 2')


# --- rows in several splits ---


def test_duplicates_across_splits_are_counted(autogets, tmp_path):
    rows = toy()
    train, test = (
        table(tmp_path / 'train.csv', rows),
        table(
            tmp_path / 'test.csv', [*rows[:3], ('Red paint, number 4 with THIN gloss!', 'blue'), ('fine blue', 'blue')]
        ),
    )
    r = autogets('improve', train, '--test', test, '--strategy', 'random', '--budget', 3, '--out', tmp_path / 'out')
    done(r)
    notes = [l for l in r.err.splitlines() if 'repeat a text' in l]
    assert len(notes) == 1 and '0 in validation, 4 in test' in notes[0] and 'conflicting labels: 1' in notes[0], r.err


# --- options ---

OPTIONS = {
    'strategy': (
        '--strategy annealing',
        ("unknown strategy 'annealing'", 'choose one of random, sliding-window, hierarchical, genetic'),
    ),
    'objective': (
        '--objective precision',
        ("unknown objective 'precision'", 'choose one of recall, balanced-accuracy', 'macro-f1'),
    ),
    'classifier': ('--classifier perceptron', ("unknown classifier 'perceptron'", 'linear, catboost')),
    'generator': ('--generator gpt', ("unknown generator 'gpt'", 'choose one of eda, recorded')),
    'generator without file': ('--generator recorded', ("the generator 'recorded' needs a path",)),
    'generator with too much': ('--generator eda:7', ("the generator 'eda:7' takes nothing after a colon",)),
    'protocol': ('--protocol lenient', ("unknown protocol 'lenient'", 'choose one of honest, paper')),
    'split': ('--split thirds', ("unknown split 'thirds'", 'choose one of paper, stratified, given')),
    'given split without a test file': (
        '--split given',
        ('no test rows of its own', 'name some, or choose the split paper or stratified'),
    ),
    'budget 0': ('--budget 0', ('the budget is 0', 'give a positive one')),
    'negative budget': ('--budget -3', ('the budget is -3', 'give a positive one')),
    'seconds 0': ('--seconds 0', ('the budget is 0', 'give a positive one')),
    'negative seconds': ('--seconds -1.5', ('the budget is -1.5', 'give a positive one')),
    'seconds not a number': ('--seconds nan', ('seconds is nan',)),
    'workers': ('--workers 0', ('workers is 0', 'give 1 or more')),
    'address of a cluster': ('--cluster 10.0.0.5:8786', ("'10.0.0.5:8786' is no address", 'tcp://10.0.0.5:8786')),
    'workers twice': ('--workers 2 --cluster tcp://10.0.0.5:8786', ('give --cluster or --workers, not both',)),
    'texts per example': ('--n 0', ('texts per example is 0', 'give 1 or more')),
    'patience': ('--patience 0', ('patience is 0', 'give 1 or more')),
    'seed': ('--seed -1', ('seed',)),
    'seed of the split': ('--split-seed -1', ('seed',)),
}


@pytest.mark.parametrize('case', OPTIONS)
def test_bad_options(case, autogets, tmp_path):
    words, says = OPTIONS[case]
    few = [] if '--seconds' in words or '--budget' in words else ['--budget', 3]
    kind = [] if '--strategy' in words else ['--strategy', 'random']
    r = autogets(
        'improve', table(tmp_path / 't.csv', toy()), *few, *kind, *words.split(), '--out', tmp_path / 'out', patience=20
    )
    assert r.code != -signal.SIGALRM, 'it never ended'
    refused(r, *says)


@pytest.mark.parametrize('words', ['--budget many', '--nonsense', '--seconds'])
def test_words_that_are_no_options_end_without_a_traceback(words, autogets, tmp_path):
    r = autogets('improve', table(tmp_path / 't.csv', toy()), *words.split())
    assert r.code == 2 and 'Traceback' not in r.err and words.split()[0] in r.err


# --- recorded texts ---

SOURCE = toy()[0][0]
RECORDED = {
    'missing': (
        'r.csv',
        None,
        ('no file', 'r.csv', 'shipped recordings emotion, sst2, tickets, tickets_smollm2, trec6'),
    ),
    'without source_text': (
        'r.csv',
        'text,label\nred paint,red\n',
        ('r.csv has the columns text, label', 'need text and source_text'),
    ),
    'ragged': (
        'r.csv',
        f'source_text,text\n{SOURCE},fine\n{SOURCE},fine,red\n',
        ('r.csv is not a CSV table: row 3 has 3 fields, the header 2',),
    ),
    'not UTF-8': (
        'r.csv',
        f'source_text,text\n{SOURCE},caf'.encode() + b'\xe9\n',
        ('r.csv is not UTF-8', 'line 2', 'save it again as UTF-8'),
    ),
    'empty': ('r.csv', '', ('r.csv is empty', 'a header and rows are needed')),
    'of another corpus': (
        'r.csv',
        'source_text,text\nwho knows,someone\n',
        ('r.csv does not belong to this corpus', 'give the recording made from these texts'),
    ),
    'not JSON': (
        'r.jsonl',
        '{"source_id": "a", "label": "red", "texts": ["b"]}\n{"source_id": \n',
        ('r.jsonl is not JSON lines', 'line 2 is not one JSON object'),
    ),
    'without texts': (
        'r.jsonl',
        '{"source_id": "a", "label": "red"}\n',
        ('r.jsonl, line 1', "no 'texts'", 'a line of a recording has'),
    ),
    'damaged gzip': (
        'r.jsonl.gz',
        b'\x1f\x8b\x08\0\0\0',
        ('r.jsonl.gz is a damaged gzip file', 'get it again'),
    ),
}


@pytest.mark.parametrize('case', RECORDED)
def test_bad_recordings(case, autogets, tmp_path):
    name, content, says = RECORDED[case]
    if content is not None:
        put(tmp_path / name, content)
    refused(
        autogets(
            'improve',
            table(tmp_path / 't.csv', toy()),
            '--generator',
            f'recorded:{tmp_path / name}',
            '--out',
            tmp_path / 'out',
            *FAST,
        ),
        *says,
    )


# --- what improve leaves behind ---


def words(tickets, out, **other):
    "The command line that all tests below vary; an underscore in a name stands for a hyphen, None leaves an option out"
    how = {
        'test': tickets / 'test.csv',
        'target': NET,
        'objective': 'accuracy',
        'strategy': 'random',
        'generator': 'recorded:tickets',
        'n': 2,
        'budget': 25,
        'seed': 0,
        'out': out,
    } | other
    return [
        'improve',
        tickets / 'train.csv',
        *(x for k, v in how.items() if v is not None for x in (f'--{k.replace("_", "-")}', v)),
        '--no-free',
    ]


@pytest.fixture(scope='module')
def finished(autogets, tickets, tmp_path_factory):
    "The folder of a finished run, with what the command printed as `said`"
    out = tmp_path_factory.mktemp('finished') / 'out'
    return SimpleNamespace(out=out, said=done(autogets(*words(tickets, out))))


@pytest.fixture
def copy(finished, tmp_path):
    return Path(shutil.copytree(finished.out, tmp_path / 'copy'))


def test_summary_says_what_was_found(finished, tickets):
    s = json.loads((finished.out / 'summary.json').read_text())
    assert {
        'corpus',
        'objective',
        'protocol',
        'seed',
        'evaluations',
        'seconds',
        'versions',
        'chosen_ids',
        'baseline',
        'improved',
        'gain',
    } <= set(s)
    assert (s['corpus'], s['objective'], s['protocol'], s['seed'], s['evaluations']) == (
        'train',
        'accuracy',
        'honest',
        0,
        25,
    )
    assert s['seconds'] > 0 and {'python', 'autogets', 'numpy', 'scipy', 'sklearn'} <= set(s['versions'])
    test = pd.read_csv(tickets / 'test.csv')
    assert s['rows']['test'] == len(test)
    assert s['rows']['train'] + s['rows']['validation'] == len(pd.read_csv(tickets / 'train.csv'))
    for split in ('validation', 'test'):
        for k in ('baseline', 'improved'):
            assert set(s[k][split]) == set(OBJECTIVES) and all(0 <= v <= 1 for v in s[k][split].values())
        g = s['gain'][split]
        assert g['estimate'] == pytest.approx(s['improved'][split]['accuracy'] - s['baseline'][split]['accuracy'])
        assert g['low'] <= g['estimate'] <= g['high']
    assert s['gain']['validation']['estimate'] > 0 and s['gain']['test']['low'] < s['gain']['test']['high']
    assert finished.said.splitlines()[0] == s['verdict'] and str(finished.out / 'report.html') in finished.said


def test_trace_has_a_row_for_each_evaluation_and_the_best_was_chosen(finished):
    t, s = (
        pd.read_csv(finished.out / 'trace.csv', keep_default_na=False),
        json.loads((finished.out / 'summary.json').read_text()),
    )
    assert len(t) == s['evaluations'] + 1 and list(t.evaluation) == list(range(len(t))) and t.members.is_unique
    assert t.accuracy.max() == s['improved']['validation']['accuracy']
    assert t.accuracy[0] == s['baseline']['validation']['accuracy']
    best = t[t.accuracy == t.accuracy.max()].sort_values(['texts', 'evaluation']).iloc[0]
    assert (best.sources, best.texts) == (len(s['chosen_ids']), s['chosen_texts'])
    assert (t['test accuracy'] == '').all()
    assert s['seconds'] == pytest.approx(t.seconds[1:].sum(), abs=1e-3)


def test_synthetic_texts_are_those_of_the_chosen_examples_with_provenance(finished, tickets):
    s, t = (
        json.loads((finished.out / 'summary.json').read_text()),
        pd.read_csv(finished.out / 'synthetic.csv', keep_default_na=False),
    )
    pool = load_pool(finished.out / 'pool')
    assert set(t.text) == set(pool.select(s['chosen_ids'], NET).text) and len(t) == s['chosen_texts'] > 10
    assert list(t.id) == [text_id(x) for x in t.text] and set(t.label) == {NET} and set(t.generator) == {'recorded'}
    assert set(t.source_ids) <= set(s['chosen_ids']) <= {text_id(x) for x in pd.read_csv(tickets / 'train.csv').text}
    bank = {
        e['source_id']: e['texts'] for e in map(json.loads, gzip.open(shipped('banks/tickets/bank.jsonl.gz'), 'rt'))
    }
    assert all(x in bank[i] for x, i in zip(t.text, t.source_ids))
    sha = hashlib.sha256(shipped('banks/tickets/bank.jsonl.gz').read_bytes()).hexdigest()
    assert {json.loads(p)['sha256'] for p in t.parameters} == {sha}


def test_the_saved_models_give_the_figures(finished, tickets):
    s, test = json.loads((finished.out / 'summary.json').read_text()), pd.read_csv(tickets / 'test.csv')
    new, old = ('model', 'baseline') if s['recommendation'] == 'use' else ('augmented', 'model')
    for name, figures in ((new, 'improved'), (old, 'baseline')):
        right = load_classifier(finished.out / name).predict(list(test.text)) == test.label.to_numpy()
        assert right.mean() == pytest.approx(s[figures]['test']['accuracy'])


def test_the_report_needs_no_network(finished):
    page, s = (finished.out / 'report.html').read_text(), json.loads((finished.out / 'summary.json').read_text())
    links = re.findall(r'''(?:src|href|srcset|data|action)\s*=\s*["']?([^"'\s>]*)''', page)
    assert links and all(l.startswith(('data:', '#')) for l in links)
    assert not re.search(r'<(script\s|link|iframe|object)|@import|url\(|fetch\(|import\(', page)
    assert sum(l.startswith('data:image/png;base64,') for l in links) >= 2
    assert html.escape(s['verdict']) in page and NET in page
    assert sum(html.escape(x) in page for x in pd.read_csv(finished.out / 'synthetic.csv').text) >= 6


def test_the_same_command_again_trains_nothing(finished, autogets, tickets, copy):
    before = (copy / 'trace.csv').read_bytes()
    assert done(autogets(*words(tickets, copy))).splitlines()[0] == finished.said.splitlines()[0]
    assert (copy / 'trace.csv').read_bytes() == before
    assert summary(copy, ['wall_seconds']) == summary(finished.out, ['wall_seconds'])
    for name in ('synthetic.csv', 'model/weights.npz', 'pool/texts.jsonl'):
        assert (copy / name).read_bytes() == (finished.out / name).read_bytes()


def test_a_larger_budget_goes_on(autogets, tickets, finished, copy, tmp_path):
    done(autogets(*words(tickets, copy, budget=40)))
    done(autogets(*words(tickets, tmp_path / 'new', budget=40)))
    assert lines(copy / 'trace.csv')[:27] == lines(finished.out / 'trace.csv')
    assert same(copy, tmp_path / 'new') and summary(copy) == summary(tmp_path / 'new')


def test_a_smaller_budget_leaves_summary_and_trace_in_agreement(autogets, tickets, copy):
    done(autogets(*words(tickets, copy, budget=10)))
    assert len(pd.read_csv(copy / 'trace.csv')) == summary(copy)['evaluations'] + 1


def test_two_workers_find_what_one_finds(env, tickets, finished, tmp_path):
    r = subprocess.run(
        [*COMMAND, *map(str, words(tickets, tmp_path / 'out', workers=2))], env=env, capture_output=True, text=True
    )
    done(SimpleNamespace(code=r.returncode, out=r.stdout, err=r.stderr))
    assert same(tmp_path / 'out', finished.out) and summary(tmp_path / 'out') == summary(finished.out)


def test_all_classes(autogets, tickets, tmp_path):
    done(autogets(*words(tickets, tmp_path / 'out', target='all', budget=12, strategy='hierarchical')))
    s, t = summary(tmp_path / 'out'), pd.read_csv(tmp_path / 'out/synthetic.csv')
    assert s['target'] == 'all' and s['evaluations'] == 12 and s['pool_texts'] > 200
    assert t.label.nunique() > 1 and len(t) == s['chosen_texts']


def test_a_budget_in_seconds(autogets, tickets, tmp_path):
    done(autogets(*words(tickets, tmp_path / 'out', budget=None, seconds=0.3)))
    t, s = pd.read_csv(tmp_path / 'out/trace.csv'), json.loads((tmp_path / 'out/summary.json').read_text())
    spent = t.seconds[1:].cumsum()
    assert spent.iloc[-1] >= 0.3 and len(t) == s['evaluations'] + 1
    assert (spent.iloc[:-1] < 0.3).all(), f'{(spent >= 0.3).sum() - 1} evaluations after the one that spent the budget'


def test_the_paper_protocol_is_labeled(autogets, tickets, tmp_path):
    said = done(autogets(*words(tickets, tmp_path / 'out', protocol='paper', budget=10)))
    t, s = pd.read_csv(tmp_path / 'out/trace.csv'), summary(tmp_path / 'out')
    assert s['protocol'] == 'paper'
    assert 'optimistic' in said
    assert 'PAPER PROTOCOL' in (tmp_path / 'out/report.html').read_text()
    assert t['test accuracy'].notna().all() and s['improved']['test']['accuracy'] == t['test accuracy'].max()


def test_a_named_set_has_its_own_splits(autogets, tickets):
    refused(
        autogets('improve', 'tickets', '--test', tickets / 'test.csv'),
        'tickets is a named data set',
        'leave out --test',
    )


# --- folders that cannot be used ---


def test_unwritable_folder(autogets, tickets, tmp_path):
    put(tmp_path / 'file', 'precious')
    for out in (tmp_path / 'file', tmp_path / 'file/out'):
        refused(autogets(*words(tickets, out)), f'cannot write into {out}', 'choose another')
    assert (tmp_path / 'file').read_text() == 'precious'


def flip(path, at, to):
    "Overwrite what is at `at`, some bytes of the file or a number, with `to`"
    b = bytearray(path.read_bytes())
    i = at if isinstance(at, int) else b.find(at)
    assert 0 <= i < len(b)
    b[i : i + len(to)] = to
    path.write_bytes(b)


def line12(path):
    return sum(map(len, lines(path)[:12]))


DAMAGE = {
    'pool, a letter': (
        lambda d: flip(d / 'pool/texts.jsonl', b'internet', b'interNet'),
        ('texts.jsonl was changed after it was finished', 'restore it, or delete'),
    ),
    'pool, a bit': (
        lambda d: flip(d / 'pool/texts.jsonl', b'internet', b'\xf0'),
        ('texts.jsonl, line', 'restore the file, or delete its folder'),
    ),
    'pool, cut': (
        lambda d: os.truncate(d / 'pool/texts.jsonl', 3000),
        ('texts.jsonl', 'restore the file, or delete its folder'),
    ),
    'pool, texts gone': (
        lambda d: (d / 'pool/texts.jsonl').unlink(),
        ('cannot read', 'texts.jsonl', 'restore it, or delete the folder'),
    ),
    'pool, manifest gone': (lambda d: (d / 'pool/manifest.json').unlink(), ('no manifest.json', 'give another folder')),
    'pool, manifest cut': (
        lambda d: os.truncate(d / 'pool/manifest.json', 100),
        ('manifest.json is not valid JSON', 'delete it'),
    ),
    'trace, a middle line': (
        lambda d: flip(d / 'trace.csv', line12(d / 'trace.csv'), b'#!#!#!'),
        ('trace.csv line 13', 'the file is damaged', 'delete it'),
    ),
    'trace, two lines joined': (
        lambda d: flip(d / 'trace.csv', line12(d / 'trace.csv') - 1, b' '),
        ('trace.csv line 12', 'the file is damaged', 'delete it'),
    ),
    'trace, a line gone': (
        lambda d: put(d / 'trace.csv', b''.join(x for i, x in enumerate(lines(d / 'trace.csv')) if i != 12)),
        ('trace.csv row', 'delete it to start afresh'),
    ),
    'trace, not text': (
        lambda d: flip(d / 'trace.csv', line12(d / 'trace.csv') + 4, b'\xff'),
        ('trace.csv: byte', 'the trace is damaged', 'delete it'),
    ),
    'trace, header gone': (
        lambda d: put(d / 'trace.csv', b''.join(lines(d / 'trace.csv')[1:])),
        ('trace.csv is not a trace', 'first line'),
    ),
    'run.json cut': (lambda d: os.truncate(d / 'run.json', 50), ('run.json is not valid JSON', 'delete it')),
    'run.json of something else': (
        lambda d: put(d / 'run.json', '{"settings": 3}'),
        ('run.json is not a run of this program', 'choose another folder'),
    ),
    'run.json gone': (
        lambda d: (d / 'run.json').unlink(),
        ('trace.csv has no run.json beside it', 'choose another folder, or delete it'),
    ),
}


@pytest.mark.parametrize('case', DAMAGE)
def test_damaged_folders(case, autogets, tickets, copy):
    damage, says = DAMAGE[case]
    damage(copy)
    left = {p: p.read_bytes() for p in copy.rglob('*') if p.is_file()}
    refused(autogets(*words(tickets, copy)), *says)
    assert {p: p.read_bytes() for p in copy.rglob('*') if p.is_file()} == left


OTHER = {
    'seed': (dict(seed=1), ('seed is 0 there and 1 here',)),
    'strategy': (dict(strategy='genetic'), ("strategy is 'random' there and 'genetic' here",)),
    'objective': (dict(objective='recall'), ("objective is 'accuracy' there and 'recall' here",)),
    'protocol': (dict(protocol='paper'), ('protocol is',)),
    'n': (dict(n=1), ('the pool in', 'n 2, not 1')),
    'target': (dict(target=EMAIL), ('the pool in',)),
    'generator': (dict(generator='eda'), ('the pool in',)),
    'test': (dict(test=None), ('the pool in',)),
}


@pytest.mark.parametrize('case', OTHER)
def test_a_folder_that_holds_another_run(case, autogets, tickets, copy):
    change, says = OTHER[case]
    before = (copy / 'trace.csv').read_bytes()
    refused(autogets(*words(tickets, copy, **change)), *says, 'choose another folder')
    assert (copy / 'trace.csv').read_bytes() == before


@pytest.fixture(scope='module')
def calm(autogets, tickets, tmp_path_factory):
    out = tmp_path_factory.mktemp('calm') / 'out'
    done(autogets(*words(tickets, out, target=EMAIL, objective='balanced-accuracy', n=1, budget=120)))
    return out


@pytest.mark.parametrize(
    'most,stops', [(3_000, 'pool/texts.jsonl'), (20_000, 'trace.csv'), (30_000, 'model/weights.npz')]
)
def test_a_full_disk_loses_nothing(most, stops, autogets, tickets, calm, tmp_path):
    "A limit on the length of files stands for the disk: it lets a write begin, then refuses"
    out = tmp_path / 'out'
    command = words(tickets, out, target=EMAIL, objective='balanced-accuracy', n=1, budget=120)
    refused(autogets(*command, most=most), 'cannot write', stops)
    assert not list(out.rglob('*.tmp')) and not (out / 'summary.json').exists()
    kept = b''.join(l for l in lines(out / 'trace.csv') if l.endswith(b'\n')) if stops != 'pool/texts.jsonl' else b''
    assert kept.count(b'\n') == {'pool/texts.jsonl': 0, 'model/weights.npz': 122}.get(stops, kept.count(b'\n'))
    done(autogets(*command))
    assert (out / 'trace.csv').read_bytes().startswith(kept)
    assert same(out, calm) and summary(out) == summary(calm)
    for name in ('synthetic.csv', 'model/model.json', 'pool/texts.jsonl'):
        assert (out / name).read_bytes() == (calm / name).read_bytes()


# --- killed in the middle ---


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(0.004)


def written(folder):
    path = folder / 'trace.csv'
    return path.read_bytes().count(b'\n') - 1 if path.exists() else 0


@pytest.mark.parametrize('strategy', ['random', 'sliding-window', 'hierarchical', 'genetic'])
def test_a_killed_search_ends_like_one_that_was_not(strategy, autogets, middling, tmp_path):
    def search(out):
        return words(middling, out, target=PRINTER, objective='balanced-accuracy', strategy=strategy, budget=130)

    calm, out = autogets.start(*search(tmp_path / 'calm')), tmp_path / 'out'
    victim = autogets.start(*search(out))
    until(lambda: written(out) >= 20)
    os.kill(victim.pid, signal.SIGKILL)
    assert autogets.wait(victim).code == -signal.SIGKILL and not (out / 'summary.json').exists()
    kept = (out / 'trace.csv').read_bytes()
    assert 20 <= kept.count(b'\n') - 1 < 131
    with open(out / 'trace.csv', 'ab') as f:
        f.write(f'{kept.count(10) - 1},{strategy},half a li'.encode())
    done(autogets(*search(out)))
    done(autogets.wait(calm))
    whole = kept[: kept.rfind(b'\n') + 1]
    assert (out / 'trace.csv').read_bytes().startswith(whole), 'what was in the trace was trained again'
    assert written(out) == 131 and same(out, tmp_path / 'calm') and summary(out) == summary(tmp_path / 'calm')


def test_ctrl_c_says_that_nothing_is_lost(autogets, tickets, tmp_path):
    out = tmp_path / 'out'
    job = autogets.start(*words(tickets, out, budget=20_000))
    until(lambda: written(out) >= 2)
    os.kill(job.pid, signal.SIGINT)
    r = autogets.wait(job)
    assert r.code == 130 and [l for l in r.err.splitlines() if not l.startswith('autogets: note: ')] == [
        'autogets: interrupted: what was done is kept; the same command goes on from there'
    ], (r.code, r.err)
    done(autogets(*words(tickets, out, budget=written(out) + 5)))


# --- the rest of the command ---


def test_as_a_stranger_starts_it(env, tmp_path):
    "Through a fresh interpreter, in another folder, without a terminal"

    def run(*args):
        return subprocess.run([*COMMAND, *args], env=env, cwd=tmp_path, capture_output=True, text=True)

    r = run('improve', 'nothing.csv')
    refused(SimpleNamespace(code=r.returncode, out=r.stdout, err=r.stderr), 'nothing.csv does not exist')
    r = run('--version')
    assert r.returncode == 0 and re.fullmatch(r'autogets \d+\.\d+\S*\n', r.stdout)


def test_help_lists_every_option(autogets):
    said = done(autogets('improve', '--help'))
    options = 'text label test target objective strategy generator classifier budget seconds seed workers out'.split()
    assert [o for o in options if not re.search(rf'--{o}\b', said)] == []
    assert not re.search(r'--\S+( TEXT| NUMBER|) +\.', said), 'an option without a word about it'
    flat = re.sub(r'-\s+', '-', ' '.join(said.split()))  # a narrow column breaks words at hyphens
    for w in [
        *OBJECTIVES,
        'random',
        'sliding-window',
        'hierarchical',
        'genetic',
        'eda',
        'recorded:FILE',
        'linear',
        'catboost',
    ]:
        assert w in flat, w
    said = done(autogets('--help'))
    assert all(re.search(rf'^\s*{c}\s', said, re.M) for c in ('improve', 'replicate', 'bench', 'data', 'knowledge'))
    said = done(autogets('replicate', '--help'))
    assert all(o in said for o in ('--profile', 'smoke', 'quick', 'full', '--only', '--workers'))
    assert 'Traceback' not in done(autogets('bench', '--help'))


def test_data_commands(autogets):
    said = done(autogets('data', 'list'))
    row = next(l for l in said.splitlines() if l.split()[:1] == ['tickets'])
    assert '1765' in row and 'shipped' in row and {'trec6', 'banking77', 'sms_spam'} <= set(said.split())
    said = done(autogets('data', 'describe', 'tickets'))
    assert 'shipped with autogets' in said and 'license' in said and all(c in said for c in SMALL) and '1765' in said
    for what in ('describe', 'fetch'):
        refused(autogets('data', what, 'ticket'), "unknown data set 'ticket'", 'choose one of', 'tickets')


def test_a_public_set_that_is_not_here(autogets, env):
    r = subprocess.run(
        [*COMMAND, 'improve', 'trec6'],
        env=env | {'AUTOGETS_MIRROR': 'http://127.0.0.1:9'},
        capture_output=True,
        text=True,
    )
    refused(
        SimpleNamespace(code=r.returncode, out=r.stdout, err=r.stderr),
        'trec6 is not in AUTOGETS_DATA',
        'set AUTOGETS_DATA',
        'autogets data fetch trec6',
    )


def test_unknown_profile_and_experiment(autogets):
    refused(autogets('replicate', '--profile', 'huge'), "'huge'", 'smoke, quick, full')
    refused(autogets('replicate', '--only', 'autogets/nothing'), "'autogets/nothing'", 'autogets/baseline')
    refused(autogets('bench', '--corpus', 'tickets', '--target', 'green'), "'green'")


@pytest.mark.parametrize(
    'words',
    [['improve', ''], ['bench', '--corpus', 'tickets', '--n', '0', '--no-catboost']],
    ids=['no name', 'bench of nothing'],
)
def test_empty_handed(words, autogets):
    refused(autogets(*words))
