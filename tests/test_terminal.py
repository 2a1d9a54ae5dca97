"What servers, labels and texts say reaches the terminal as text, never as a command to it"

import http.server
import io
import json
import threading

import pytest

from autogets import core
from autogets.core import UserError

EVIL = 'a\x1b]0;owned\x07b\x1b[2J\x9b1mc\rd\x08e\u202ef\u2066g\x7f'
CONTROL = {*map(chr, range(32)), *map(chr, range(127, 160)), *'\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069'}


def plain(said):
    assert not CONTROL & set(said) - {'\n', '\t'}, ascii(said)
    return said


@pytest.fixture
def command(in_process):
    "Runs a command line in this process; all that it wrote to either stream"

    def run(*words):
        _, out, err = in_process(*words)
        return out + err

    return run


@pytest.fixture
def table(tmp_path):
    "Texts whose classes carry control characters"
    rows = [{'text': f'paint number {i} of {c}', 'label': c} for i in range(10) for c in (EVIL, 'b')]
    (tmp_path / 't.jsonl').write_text(''.join(json.dumps(r) + '\n' for r in rows))
    return 't.jsonl'


def test_labels(command, table):
    assert r'\x1b]0;owned' in plain(command('weak', table))
    said = command('improve', table, '--strategy', 'random', '--budget', '2', '--n', '1', '--target', 'no ' + EVIL)
    assert r'\x1b]0;owned' in plain(said)


def test_warnings_and_words(command, table):
    assert 'owned' in plain(command('improve', table, '--strategy', 'no ' + EVIL))
    assert 'owned' in plain(command('improve', 't' + EVIL + '.csv'))
    assert 'owned' in plain(command('no' + EVIL))
    assert 'owned' in plain(command('weak', table, '--no' + EVIL))


def test_what_a_server_says(command, table, monkeypatch):
    pytest.importorskip('openai')

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers['content-length']))
            body = json.dumps({'error': {'message': EVIL}}).encode()
            self.send_response(403)
            self.send_header('content-type', 'application/json')
            self.send_header('content-length', str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f'http://127.0.0.1:{server.server_port}/v1'
    said = command('generate', table, '--model', 'openai:m', '--base-url', url, '--n', '1', '--out', 'o')
    server.shutdown()
    server.server_close()
    assert 'owned' in plain(said)


def test_errors_of_the_library():
    assert plain(str(UserError(f'no class {EVIL}'))) == 'no class ' + core.for_terminal(EVIL)


def test_a_bar_still_moves_and_bytes_stay_bytes():
    inner = io.TextIOWrapper(io.BytesIO(), encoding='utf-8', write_through=True)
    stream = core.PlainStream(inner)
    print('\rtexts: 5', end='', file=stream)
    stream.buffer.write(b'raw \x1b')
    stream.flush()
    assert inner.buffer.getvalue() == b'\rtexts: 5raw \x1b'


def test_words_of_any_language_pass():
    said = 'naïve 日本語 العربية עברית 👩‍👩‍👧 é\n\ttab'
    assert core.for_terminal(said) == said
    assert core.for_terminal('\ud800') == r'\ud800'
