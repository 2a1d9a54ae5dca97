"""The public face: the ten lines run as they stand, every name explains itself, and importing costs nothing."""

import ast
import inspect
import json
import re
import textwrap
from dataclasses import fields, is_dataclass

import pandas as pd
import pytest
from checkout import HEAVY, ROOT, python

import autogets as ag
from autogets.core import docments, text_id
from autogets.generators.recorded import read_recording
from autogets.llm.chat import OpenAIChat, Reply

FACE = textwrap.dedent(ag.__doc__.split('\n\n')[1])  # the help of the package shows them
FAMILIAR = 'HP Dock connectivity issues'


def readme_block():
    "The Python block of README.md"
    (block,) = re.findall(r'```python\n(.*?)```', (ROOT / 'README.md').read_text(), re.S)
    return block


def run(code, folder):
    "The names that `code` leaves, run in `folder`"
    names = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(code, 'the ten lines', 'exec'), names)
    return names


def write_tickets(path):
    "The shipped tickets as a CSV of one's own, with a queue for billing"
    corpus = ag.load_corpus('tickets')
    rows = pd.concat([corpus.train, corpus.validation, corpus.test]).replace({'label': {FAMILIAR: 'billing'}})
    rows.rename(columns={'text': 'message', 'label': 'queue'})[['message', 'queue']].to_csv(path, index=False)


def recorded_replies():
    "A chat model's `complete` that answers with the shipped texts of the ticket it is shown"
    rows = read_recording('tickets')
    texts = rows.groupby(rows.source_ids.str[0]).text.agg(list)

    async def complete(self, request):
        (shown,) = re.findall(r'<examples>\n(.*)\n</examples>', request.messages[-1]['content'])
        return Reply(json.dumps({'texts': texts[text_id(json.loads(shown)['text'])]}), 'stop', 400, 100)

    return complete


async def without_client(self):
    "Nothing to open: no key, no connection"


@pytest.fixture(scope='module')
def face(tmp_path_factory):
    "(names, folder) after the ten lines of the documentation, the live model answering with recorded texts"
    folder = tmp_path_factory.mktemp('face')
    write_tickets(folder / 'tickets.csv')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OpenAIChat, 'open', without_client)
        patch.setattr(OpenAIChat, 'complete', recorded_replies())
        return run(FACE, folder), folder


# --- the ten lines ---


def test_the_package_shows_the_ten_lines():
    assert FACE.strip() in inspect.cleandoc(ag.__doc__).replace('\n    ', '\n')


def test_the_ten_lines_run(face):
    names, folder = face
    texts, result = names['texts'].texts, names['result']
    assert set(texts.label) == {'billing'} and set(texts.generator) == {'llm'}
    assert len(texts) > 50 and set(result.texts.label) <= {'billing'}
    assert '95 % CI' in (folder / 'report.html').read_text()
    assert list(ag.load_classifier(folder / 'model').predict(['the dock is not recognized']))


def test_generating_again_sends_nothing(face, monkeypatch):
    names, folder = face
    monkeypatch.chdir(folder)
    again = ag.generate(names['corpus'], 'openai:gpt-4o-mini', target='billing', max_cost=2)
    pd.testing.assert_frame_equal(again.texts, names['texts'].texts)


def test_readme_runs_as_it_stands(tmp_path):
    names = run(readme_block(), tmp_path)
    result = names['result']
    assert (tmp_path / 'report.html').exists() and (tmp_path / 'model').is_dir()
    assert result.summary()['gain']['test']['low'] > 0, 'the README promises an example in which the texts help'
    assert len(readme_block().splitlines()) <= 10


# --- the result ---


def test_a_result_has_what_it_promises(face):
    result = face[0]['result']
    assert {'text', 'label', 'source_ids'} <= set(result.texts)
    assert json.loads(json.dumps(result.summary()))['objective'] == 'macro-f1'
    assert len(result.trace) >= 2 and 'macro-f1' in result.trace.frame
    assert len(result.model.predict(['some text'])) == 1
    assert result.report(face[1] / 'again.html').read_text().startswith('<!')


def test_a_result_shows_its_gain_with_its_ci_beside_the_full_pool(face):
    result = face[0]['result']
    shown, gains = result._repr_html_(), result.gains().query('split == "test"')
    assert list(gains.added) == ['chosen', 'full-pool']
    g = result.summary()['gain']['test']
    said = f'{g["estimate"]:+.4f} (95 % CI {g["low"]:+.4f} to {g["high"]:+.4f}'
    assert said in shown or 'nothing is added' in shown
    for row in gains.itertuples():
        (cells,) = re.findall(rf'<tr><td>{row.added}</td>(.*?)</tr>', shown)
        numbers = [float(x.replace('−', '-')) for x in re.findall(r'>([-+−]?\d\.\d+)<', cells)]
        assert numbers[-3:] == pytest.approx([row.gain, row.low, row.high], abs=6e-4)


# --- names ---


def said_of_parameters(f):
    "Parameter -> the comment behind it"
    code = inspect.getsource(f)
    first = ast.parse(code).body[0].body[0].lineno
    head = code.splitlines()[1 : first - 1]
    found = (re.match(r'\s*\**(\w+)\b[^#]*#\s*(\S.*)', line) for line in head)
    return {m[1]: m[2] for m in found if m}


def test_the_names_are_few_and_listed():
    names = [n for n in dir(ag) if not n.startswith('_')]
    assert names == sorted(ag.__all__) and 10 <= len(names) <= 24
    assert {'read_corpus', 'load_corpus', 'weak_classes', 'generate', 'improve'} <= set(names)


@pytest.mark.parametrize('name', ag.__all__)
def test_every_name_explains_itself(name):
    value = getattr(ag, name)
    assert value.__doc__ and len(value.__doc__) > 15
    if is_dataclass(value):
        said, needed = docments(value), [f.name for f in fields(value)]
    elif inspect.isfunction(value):
        said, needed = said_of_parameters(value), list(inspect.signature(value).parameters)
    else:
        said, needed = {}, []
    assert not set(needed) - said.keys(), f'{name} does not say what {sorted(set(needed) - said.keys())} are'


def test_sub_packages_are_nouns_that_leave_the_verbs_free():
    folders = {p.parent.name for p in (ROOT / 'autogets').glob('*/__init__.py')}
    assert folders == {'data', 'llm', 'classifiers', 'generators', 'curation', 'search', 'closed_loop', 'replication'}
    assert not folders & set(ag.__all__)


# --- importing ---


def test_import_is_light():
    code = f'''import sys
before = len(sys.modules)
import autogets
print(len(sys.modules) - before, *sys.modules.keys() & {HEAVY | {'sklearn', 'scipy', 'pandas', 'matplotlib'}})'''
    modules, *heavy = python(code).split()
    assert int(modules) < 80 and heavy == []
