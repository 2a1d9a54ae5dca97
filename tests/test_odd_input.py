"Input that is valid to the letter, and hostile or odd: one clear line, never a traceback, nothing outside its folder"

import contextlib
import http.server
import json
import threading

import numpy as np
import pytest
from work import work

from autogets import core
from autogets.classifiers.linear import load_classifier, make_classifier
from autogets.core import UserError, read_json, write_json
from autogets.data.corpus import read_corpus
from autogets.generators import run
from autogets.generators.pool import Pooled, load_pool
from autogets.generators.prompts import get_method
from autogets.llm.cache import find_price
from autogets.llm.chat import Request, make_chat
from autogets.llm.client import ask
from autogets.llm.pace import Limits
from autogets.search.phases import read_plan

LONG = 'x' * 300
ROWS = ''.join(json.dumps({'text': f'paint number {i} of {c}', 'label': c}) + '\n' for i in range(10) for c in 'ab')


@pytest.fixture
def command(in_process, tmp_path):
    (tmp_path / 't.jsonl').write_text(ROWS)
    return in_process


def one_line(result, *says):
    code, out, err = result
    lines = [line for line in err.splitlines() if not line.startswith('autogets: note: ')]
    assert code == 2 and out == '' and len(lines) == 1 and lines[0].startswith('autogets: error: '), result
    for s in says:
        assert s in lines[0], (s, lines[0])


# --- tables ---

LINES = {
    'a lone surrogate': ('{"text": "x \\ud800 y", "label": "a"}', 'line 21', 'surrogate'),
    'a surrogate in a label': ('{"text": "x y", "label": "a\\udfff"}', 'line 21', 'surrogate'),
    'deep nesting': ('{"text":' + '[' * 100_000 + ']' * 100_000 + '}', 'line 21 is not one JSON object'),
    'a number of 5,000 digits': ('{"text":' + '9' * 5000 + '}', 'line 21 is not one JSON object'),
}


@pytest.mark.parametrize('case', LINES)
def test_json_lines(case, tmp_path):
    line, *says = LINES[case]
    (tmp_path / 't.jsonl').write_text(ROWS + line + '\n')
    with pytest.raises(UserError) as e:
        read_corpus(tmp_path / 't.jsonl')
    assert all(s in str(e.value) for s in says), e.value


METADATA = {
    'a list': b'[]',
    'not JSON': b'{no',
    'not UTF-8': b'\xff\xfe',
    'deep nesting': b'[' * 100_000,
    'an index that is not there': b'{"index_columns": ["nope"], "columns": [], "column_indexes": []}',
    'numbers for lists': b'{"index_columns": 5, "columns": 7}',
    'fields without names': b'{"index_columns": [{"kind": "range"}], "columns": [{"a": 1}], "column_indexes": [{}]}',
    'unknown types': b'{"index_columns": [], "columns": [{"name": "text", "field_name": "text", "pandas_type": "odd",'
    b' "numpy_type": "foo", "metadata": null}], "column_indexes": []}',
}


def parquet(path, table, **metadata):
    pa = pytest.importorskip('pyarrow.parquet')
    pa.write_table(table.replace_schema_metadata(metadata), path)
    return path


@pytest.mark.parametrize('case', METADATA)
def test_what_a_parquet_file_says_of_pandas_does_not_matter(case, tmp_path):
    pa = pytest.importorskip('pyarrow')
    table = pa.table({'text': [f'number {i}' for i in range(20)], 'label': ['a', 'b'] * 10})
    corpus = read_corpus(parquet(tmp_path / 't.parquet', table, pandas=METADATA[case]))
    assert len(corpus.train) + len(corpus.validation) + len(corpus.test) == 20


def test_parquet_values_that_cannot_be_read(tmp_path):
    pa = pytest.importorskip('pyarrow')
    broken = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(np.int32([0, 1])), pa.py_buffer(b'\x82')])
    table = pa.table({'text': pa.concat_arrays([broken] * 20), 'label': ['a', 'b'] * 10})
    with pytest.raises(UserError, match='not a Parquet table'):
        read_corpus(parquet(tmp_path / 't.parquet', table))


# --- names and numbers of a command line ---

IMPROVE = ['improve', 't.jsonl', '--strategy', 'random', '--budget', '2', '--n', '1', '--out', 'o']
GENERATE = ['generate', 't.jsonl', '--model', 'openai:m', '--base-url', 'http://127.0.0.1:9/v1', '--out', 'o']
WORDS = {
    'a long corpus': (['improve', LONG, *IMPROVE[2:]], 'name too long'),
    'a long pool': ([*IMPROVE, '--generator', f'pool:{LONG}'], 'name too long'),
    'a long recording': ([*IMPROVE, '--generator', f'recorded:{LONG}'], 'name too long'),
    'a long encoder': ([*IMPROVE, '--classifier', f'frozen:{LONG}'], ''),
    'a long map': (['knowledge', 'show', '--map', LONG], 'name too long'),
    'a long run': (['knowledge', 'add', LONG], 'name too long'),
    'a file name that is not UTF-8': (['improve', 'a\udcff.csv', *IMPROVE[2:]], 'not UTF-8'),
    'a task that is not UTF-8': ([*GENERATE, '--task', 'x\udcff'], 'not UTF-8'),
    'a zero byte': (['improve', 'a\0.csv', *IMPROVE[2:]], 'zero byte'),
    'seconds': ([*IMPROVE, '--seconds', 'nan'], '--seconds', 'nan'),
    'endless seconds': ([*IMPROVE, '--seconds', 'inf'], '--seconds', 'inf'),
    'a limit': ([*GENERATE, '--price', '1,1', '--max-cost', 'nan', '--dry-run'], '--max-cost', 'nan'),
    'an endless limit': ([*GENERATE, '--price', '1,1', '--max-cost', 'inf', '--dry-run'], '--max-cost', 'inf'),
    'a temperature': ([*GENERATE, '--temperature', 'nan', '--dry-run'], '--temperature', 'nan'),
    'a pace': ([*GENERATE, '--rpm', 'inf', '--dry-run'], '--rpm', 'inf'),
    'a price': ([*GENERATE, '--price', '1,nan', '--dry-run'], '--price', 'nan'),
    'an endless price': ([*GENERATE, '--price', 'inf,inf', '--dry-run'], '--price', 'inf'),
    'a setting': ([*IMPROVE, '--set', 'C=1e999'], 'C is inf'),
    'a setting in words': ([*IMPROVE, '--set', 'C=nan'], "C is 'nan'"),
    'a figure of another kind': (['knowledge', 'show', '--figure', 'x.foo'], '.png or .pdf'),
}


@pytest.mark.parametrize('case', WORDS)
def test_words_of_a_command_line(case, command):
    words, *says = WORDS[case]
    one_line(command(*words), *says)


def test_numbers_that_are_none_are_not_written(tmp_path):
    with pytest.raises(UserError, match='no finite number'):
        write_json(tmp_path / 'a.json', {'a': float('nan')})
    with pytest.raises(UserError, match='not UTF-8'):
        write_json(tmp_path / 'a.json', {'a': '\udcff'})
    assert list(tmp_path.iterdir()) == []


def test_state_that_nests_deeply(tmp_path):
    (tmp_path / 'a.json').write_text('[' * 100_000)
    with pytest.raises(UserError, match='not valid JSON'):
        read_json(tmp_path / 'a.json')
    with pytest.raises(UserError, match='cannot read'):
        read_json(tmp_path)


# --- YAML ---

BOMB = 'a0: &a0 [x, x, x, x, x, x, x, x, x]\n' + ''.join(
    f'a{i}: &a{i} [{", ".join([f"*a{i - 1}"] * 9)}]\n' for i in range(1, 9)
)
YAMLS = {
    'aliases of aliases': (BOMB, 'aliases'),
    'an alias of itself': ('phases: &a [*a]\n', 'of itself'),
    'deep nesting': ('[' * 5000, 'levels'),
    'size': ('# ' + 'x' * 2_000_000, 'too large'),
    'no such day': ('a: 2020-99-99\n', 'not YAML'),
    'no timestamp': ('a: !!timestamp x\n', 'not YAML'),
    'no truth': ('a: !!bool x\n', 'not YAML'),
    'no number': ('a: !!int x\n', 'not YAML'),
    'a call': ('a: !!python/object/apply:os.system [exit]\n', 'not YAML'),
    'bytes': ('a: "\udcff"\n', 'not YAML'),
}
READERS = {
    'plan': lambda path: read_plan(path, ['a', 'b']),
    'prompt': get_method,
    'prices': lambda path: find_price(make_chat('openai:m', base_url='http://127.0.0.1:9/v1'), path),
    'any': lambda path: core.read_yaml(path),
}


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize('case', YAMLS)
def test_yaml(case, reader, tmp_path):
    path, (content, says) = tmp_path / 'a.yml', YAMLS[case]
    path.write_bytes(content.encode(errors='surrogateescape'))

    def read():
        with pytest.raises(UserError, match=says):
            READERS[reader](str(path))

    assert work(read) < 150


PRICES = {
    'nan': '- {model: m, input: .nan, output: 1}',
    'inf': '- {model: m, input: 1, output: .inf}',
    'truth': '- {model: m, input: true, output: 1}',
    'a list for a model': '- {model: [m], input: 1, output: 1}',
    'a list for a host': '- {model: m, input: 1, output: 1, host: [x]}',
    'one entry': '{model: m, input: 1, output: 1}',
    'an empty entry': '- ',
    'words': '- {model: m, input: one, output: two}',
}


@pytest.mark.parametrize('case', PRICES)
def test_price_tables_of_another_form(case, tmp_path):
    (tmp_path / 'p.yml').write_text(PRICES[case] + '\n')
    with pytest.raises(UserError, match='p.yml, entry 1: '):
        READERS['prices'](tmp_path / 'p.yml')


# --- pools ---

ODD = [None, 5, 1.5, 'x', [], {}, [1], {'a': 1}, True]


@pytest.fixture
def pool(small, tmp_path):
    "A finished pool: its folder, and a call that goes on with it"
    settings = run.GenerationSettings('eda', n=2)
    run.run_generation(small, settings, tmp_path / 'pool', progress=False)
    return tmp_path / 'pool', lambda: run.say_run(
        run.run_generation(small, settings, tmp_path / 'pool', progress=False)
    )


def is_refused(work):
    try:
        work()
    except UserError:
        return True
    return False


def known(manifest):
    "What decides whether a pool goes on: all but the list of dropped texts"
    return {k: v for k, v in manifest.items() if k != 'drops'} if isinstance(manifest, dict) else {}


@pytest.mark.parametrize('name', ['manifest.json', 'run.json'])
def test_manifests_of_another_form(name, pool):
    folder, go_on = pool
    sound = json.loads((folder / name).read_text())
    texts = (folder / 'texts.jsonl').read_bytes()
    works = [go_on] if name == 'run.json' else [lambda: load_pool(folder), lambda: Pooled(folder), go_on]
    wholes = [*ODD, *({k: v for k, v in sound.items() if k != gone} for gone in sound)]
    for changed in [*wholes, *(sound | {k: odd} for k in sound for odd in ODD[::3])]:
        (folder / name).write_text(json.dumps(changed))
        refused = [is_refused(work) for work in works]
        if name == 'run.json':
            assert not any(refused), changed
        else:
            assert refused[-1] == (known(changed) != known(sound)), changed
            assert all(refused) or {'format', 'complete', 'sha256'} <= known(changed).keys(), changed
        assert (folder / 'texts.jsonl').read_bytes() == texts, changed
        (folder / name).write_text(json.dumps(sound))


def test_pool_files_of_another_form(pool, tmp_path):
    folder, _ = pool
    file = load_pool(folder).save(tmp_path / 'p.jsonl')
    first, second, *rest = file.read_text().splitlines()
    for line in [{}, {'autogets_pool': 5}, {'autogets_pool': {'screens': 1}, 'fingerprint': []}]:
        file.write_text('\n'.join([json.dumps(line), second, *rest]) + '\n')
        with pytest.raises(UserError):
            load_pool(file)
    for column in json.loads(second):
        for odd in ODD:
            file.write_text('\n'.join([first, json.dumps(json.loads(second) | {column: odd}), *rest]) + '\n')
            with pytest.raises(UserError):
                load_pool(file)


def test_a_pool_line_that_nests_deeply(pool):
    folder, go_on = pool
    with open(folder / 'texts.jsonl', 'a') as f:
        f.write('[' * 100_000 + '\n')
    for work in (lambda: load_pool(folder), lambda: Pooled(folder)):
        with pytest.raises(UserError, match='not a line of a pool'):
            work()


@pytest.mark.parametrize('about', [b'{', b'[]', b'{"manifest": 5}', b'[' * 100_000, b'\xff'])
def test_parquet_pools_of_another_form(about, pool, tmp_path):
    pq = pytest.importorskip('pyarrow.parquet')
    file = load_pool(pool[0]).save(tmp_path / 'p.parquet')
    pq.write_table(pq.read_table(file).replace_schema_metadata({'autogets_pool': about}), file)
    with pytest.raises(UserError):
        load_pool(file)


# --- saved classifiers ---

HOSTILE = {
    'a folder of its own': {'folder': 'evil'},
    'a path for a number': {'longest': '/../../evil'},
    'a folder of CatBoost': {'train_dir': 'evil'},
    'an unknown setting': {'snapshot_file': 'evil/x'},
    'odd': 5,
    'a list': ['folder'],
}


@pytest.mark.parametrize('kind', ['linear', 'catboost', 'frozen', 'transformer'])
@pytest.mark.parametrize('case', HOSTILE)
def test_a_hostile_model_writes_nothing(case, kind, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved = make_classifier('linear').fit(list(small.train.text), list(small.train.label)).save(tmp_path / 'model')
    state = json.loads(saved.read_text()) | {'classifier': kind, 'params': HOSTILE[case]}
    saved.write_text(json.dumps(state))
    with pytest.raises(UserError, match='model.json lacks the params|has the parameter'):
        load_classifier(tmp_path / 'model')
    assert [p.name for p in tmp_path.iterdir()] == ['model']


EVERYTHING = [*ODD, ['a'], [['a'], 'b'], {'seed': [1]}, {'C': 'x'}]
HARMLESS = {'versions': EVERYTHING, 'params': [{}, {'seed': [1]}], 'format': [True]}  # what such a model may say
STATES = ['classes', 'vocabulary', 'weights', 'params', 'format', 'classifier', 'versions']


@pytest.mark.parametrize('field', STATES)
def test_a_model_of_another_form(field, small, tmp_path):
    saved = make_classifier('linear').fit(list(small.train.text), list(small.train.label)).save(tmp_path)
    sound = json.loads(saved.read_text())
    said = load_classifier(tmp_path).predict(list(small.test.text))
    for odd in EVERYTHING:
        saved.write_text(json.dumps(sound | {field: odd}))
        if odd in HARMLESS.get(field, []):
            assert list(load_classifier(tmp_path).predict(list(small.test.text))) == list(said)
            continue
        with pytest.raises(UserError, match=r'train it again|give a number|does not describe|does not save|do not use'):
            load_classifier(tmp_path)


# --- redirects ---


@contextlib.contextmanager
def redirecting(status):
    "A server that sends every request on to itself under another name; the paths that it saw"
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            seen.append(self.path)
            self.rfile.read(int(self.headers['content-length']))
            self.send_response(status)
            self.send_header('location', f'http://localhost:{server.server_port}/v1/other?key=sk-123456')
            self.send_header('content-length', '0')
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f'http://127.0.0.1:{server.server_port}/v1', seen
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize('status', [301, 302, 307, 308])
def test_a_redirect_to_another_host_carries_no_prompt(status):
    pytest.importorskip('openai')
    with redirecting(status) as (url, seen):
        chat, request = make_chat('openai:m', base_url=url), Request(({'role': 'user', 'content': 'a secret text'},))
        with pytest.raises(UserError, match=r'sends requests on to http://localhost:\d+/v1'):
            list(ask(chat, [request], limits=Limits(tries=2)))
    assert seen == ['/v1/chat/completions']
