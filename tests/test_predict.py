"Before and after a search: weak classes; predict, load_model and what they refuse"

import io
import json
import shutil
import sys
from types import SimpleNamespace

import pandas as pd
import pytest

import autogets as ag
from autogets.classifiers.boosted import CatBoostText
from autogets.classifiers.linear import LinearClassifier
from autogets.cli import main
from autogets.core import UserError


@pytest.fixture
def command(monkeypatch, capfdbinary):
    "Runs a command line here: exit code, what it printed"

    def run(*args, stdin=b''):
        monkeypatch.setattr(sys, 'argv', ['autogets', *map(str, args)])
        monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(stdin), 'utf-8'))
        try:
            main()
            code = 0
        except SystemExit as e:
            code = e.code or 0
        out, err = capfdbinary.readouterr()
        return SimpleNamespace(code=code, out=out.decode(), err=err.decode())

    return run


@pytest.fixture(scope='module')
def model():
    texts = [f'the printer prints {w}' for w in 'abcdefgh'] + [f'my password fails {w}' for w in 'abcdefgh']
    return LinearClassifier().fit(texts, ['printer'] * 8 + ['login'] * 8)


@pytest.fixture
def run_folder(model, tmp_path):
    "A folder such as improve writes"
    model.save(tmp_path / 'out' / 'model')
    return tmp_path / 'out'


NEW = 'number,text\n007,"the printer, again"\n8,which password\n'


# --- predict ---


@pytest.mark.parametrize('name', ['out', 'out/model'])
def test_predict_adds_a_label_and_its_probability_to_each_row(name, command, run_folder, model, tmp_path):
    (tmp_path / 'new.csv').write_text(NEW)
    r = command('predict', tmp_path / name, tmp_path / 'new.csv')
    assert (r.code, r.err) == (0, '')
    t = pd.read_csv(io.StringIO(r.out), dtype=str)
    assert list(t.columns) == ['number', 'text', 'label', 'probability']
    assert list(t.number) == ['007', '8'] and list(t.label) == ['printer', 'login']
    p = model.predict_proba(list(t.text)).max(1)
    assert t.probability.astype(float).to_numpy() == pytest.approx(p, abs=1e-4)


def test_predict_reads_standard_input_and_writes_a_file(command, run_folder, tmp_path):
    (tmp_path / 'new.csv').write_text(NEW)
    said = command('predict', run_folder, tmp_path / 'new.csv').out
    r = command('predict', run_folder, '-', '--out', tmp_path / 'x' / 'y.csv', stdin=NEW.encode())
    assert (r.code, r.out) == (0, '') and (tmp_path / 'x' / 'y.csv').read_text() == said


def test_predict_takes_the_column_that_is_named_and_keeps_a_label_that_is_there(command, run_folder, tmp_path):
    (tmp_path / 'new.csv').write_text('message,label\nthe printer,x\n')
    r = command('predict', run_folder, tmp_path / 'new.csv', '--text', 'message')
    assert r.out.splitlines()[0] == 'message,label,predicted_label,probability'
    assert r.out.splitlines()[1].startswith('the printer,x,printer,')


@pytest.mark.parametrize('taken', ['label', 'probability'])
def test_predict_writes_over_no_column(taken, command, run_folder, tmp_path):
    (tmp_path / 'new.csv').write_text(f'text,{taken},predicted_{taken}\nthe printer,x,y\n')
    before = (tmp_path / 'new.csv').read_text()
    r = command('predict', run_folder, tmp_path / 'new.csv', '--out', tmp_path / 'new.csv')
    assert r.code == 2 and r.err.count('\n') == 1 and (tmp_path / 'new.csv').read_text() == before
    assert f'has the columns {taken} and predicted_{taken} already: rename or drop one of them' in r.err


def test_predict_leaves_rows_without_a_text_empty_and_says_so(command, run_folder):
    r = command('predict', run_folder, '-', stdin='text,n\nthe printer,1\n  ,2\n'.encode())
    assert r.code == 0 and r.out.splitlines()[2] == '  ,2,,'
    assert r.err == 'autogets: note: standard input: rows without a text: 1; their label is left empty\n'


def test_predict_takes_the_features_of_the_model_from_the_file(command, tmp_path):
    pytest.importorskip('catboost')
    texts, f = [f'word{i % 2} again' for i in range(40)], pd.DataFrame({'area': [f'a{i % 2}' for i in range(40)]})
    m = CatBoostText(iterations=5, depth=2, device='cpu', threads=1)
    m.fit(texts, [f'class {i % 2}' for i in range(40)], features=f).save(tmp_path / 'model')
    r = command('predict', tmp_path, '-', stdin=b'area,text\na0,word0 again\na1,word1 again\n')
    assert [l.split(',')[2] for l in r.out.splitlines()] == ['label', 'class 0', 'class 1']
    r = command('predict', tmp_path, '-', stdin=b'text\nword0 again\n')
    assert r.code == 2 and r.err == "autogets: error: standard input has no column 'area': its columns are text\n"


def test_predict_of_no_rows_is_a_header(command, run_folder):
    r = command('predict', run_folder, '-', stdin=b'text\n')
    assert (r.code, r.out) == (0, 'text,label,probability\n')


@pytest.mark.parametrize(
    'stdin, says', [(b'', 'standard input is empty'), (b'a,b\n1,2\n', "standard input has no column 'text'")]
)
def test_predict_refuses_in_one_line(stdin, says, command, run_folder):
    r = command('predict', run_folder, '-', stdin=stdin)
    assert r.code == 2 and r.out == '' and r.err.count('\n') == 1 and says in r.err


def test_predict_without_a_model(command, tmp_path):
    (tmp_path / 'new.csv').write_text(NEW)
    r = command('predict', tmp_path, tmp_path / 'new.csv')
    assert r.code == 2 and r.err.count('\n') == 1 and 'model.json does not exist' in r.err


# --- from Python ---


def test_load_model_takes_the_folder_of_a_run_or_of_its_model(run_folder, model):
    for folder in (run_folder, str(run_folder / 'model')):
        found = ag.load_model(folder)
        assert list(found.predict(['the printer'])) == ['printer']
        assert (found.predict_proba(['the printer']) == model.predict_proba(['the printer'])).all()
    shutil.rmtree(run_folder / 'model')
    with pytest.raises(UserError, match='does not exist'):
        ag.load_model(run_folder)


@pytest.mark.parametrize(
    'given, says',
    [
        ('the printer', 'one string'),
        (b'the printer', 'one string'),
        (pd.DataFrame({'text': ['the printer']}), 'table'),
        (['the printer', None], 'text 2 is NoneType'),
        (7, 'int'),
    ],
)
def test_what_is_no_list_of_texts_is_refused(given, says, model):
    for ask in (model.predict, model.predict_proba):
        with pytest.raises(UserError, match=says):
            ask(given)


# --- weak ---


@pytest.mark.filterwarnings('ignore:.*absent from train')
def test_a_class_that_training_lacks_is_the_weakest(command, tmp_path):
    rows = [(f'{w} number {i} {c}', c) for i in range(12) for w, c in (('red', 'warm'), ('blue', 'cold'))]
    pd.DataFrame(rows, columns=['text', 'label']).to_csv(tmp_path / 'train.csv', index=False)
    pd.DataFrame([*rows[:6], ('a green number', 'fresh')], columns=['text', 'label']).to_csv(
        tmp_path / 'validation.csv', index=False
    )
    held = tmp_path / 'validation.csv'
    corpus = ag.read_corpus(tmp_path / 'train.csv', validation=held, test=held)
    t = ag.weak_classes(corpus)
    weakest = t.iloc[0]
    assert list(t['class'])[0] == 'fresh' and len(t) == 3 and t.train.dtype == int
    assert (weakest.train, weakest.validation, weakest.recall, weakest.f1) == (0, 1, 0, 0)
    assert weakest.taken_for in ('warm (1)', 'cold (1)')
    r = command('weak', tmp_path / 'train.csv', '--validation', held, '--test', held)
    assert r.code == 0 and 'Traceback' not in r.err and 'fresh' in r.out.splitlines()[1]


def test_weak_shows_the_ten_weakest(command):
    lines = command('weak', 'tickets').out.splitlines()
    assert len(lines) == 12 and lines[-1] == 'the 10 weakest of 15 classes; --top 15 shows all'
    every = command('weak', 'tickets', '--top', '15').out.splitlines()
    assert len(every) == 16 and [l.split() for l in every[1:11]] == [l.split() for l in lines[1:11]]
    assert len(command('weak', 'tickets', '--top', '3').out.splitlines()) == 5
    r = command('weak', 'tickets', '--top', '0')
    assert r.code == 2 and 'Traceback' not in r.err


def test_weak_as_json_and_in_silence(command):
    told = json.loads(command('weak', 'tickets', '--top', '3', '--json').out)
    shown = command('weak', 'tickets', '--top', '3').out
    assert len(told) == 3 and all(row['class'] in shown for row in told)
    assert told == ag.weak_classes(ag.load_corpus('tickets')).head(3).to_dict('records')
    r = command('weak', 'tickets', '-q')
    assert (r.code, r.out, r.err) == (0, '', '')
