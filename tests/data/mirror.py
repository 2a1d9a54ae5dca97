"A local mirror of the homes of all sets, and sets whose files it serves"

import hashlib
import http.server
import threading
import types

import pytest

from autogets.data import download
from autogets.data.datasets import DATASETS, content
from autogets.data.raw_corpora import raw_rows
from autogets.data.raw_recordings import CONVERTERS
from autogets.data.recordings import RECORDINGS

COMMIT = download.pinned('me/mine', '0' * 40, '')


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A mirror that knows ranges; `cut` maps a path to how many bytes it sends before it hangs up, once, and `held` to
    an event that it waits for"""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            start = int((self.headers.get('Range') or 'bytes=0-')[6:-1])
            here.asked.append((self.path, start))
            if self.path in here.held:
                here.held[self.path].wait(60)
            if self.path not in here.files:
                return self.send_error(404)
            body = here.files[self.path]
            if start >= len(body) > 0:
                return self.send_error(416)
            self.send_response(206 if start else 200)
            self.send_header('Content-Length', str(len(body) - start))
            self.end_headers()
            self.wfile.write(body[start : here.cut.pop(self.path, None)])

        def log_message(self, *args):
            pass

    here = types.SimpleNamespace(files={}, asked=[], cut={}, held={})
    httpd = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    monkeypatch.setenv('AUTOGETS_MIRROR', f'http://127.0.0.1:{httpd.server_port}')
    monkeypatch.setenv('AUTOGETS_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setenv('AUTOGETS_DATA', '')
    yield here
    for event in here.held.values():
        event.set()
    httpd.shutdown()
    httpd.server_close()


def served_names(files):
    "Path -> what the file is called on a mirror"
    return {u.removeprefix(COMMIT): n for u, n in download.file_names([COMMIT + f for f in files]).items()}


def serve(server, name, home, files):
    "Put `files` on the server; `home` with their addresses, below one commit"
    home = home | {'base': COMMIT, 'urls': {n: len(f) for n, f in files.items()}}
    served = {called: files[n] for n, called in served_names(files).items()}
    server.files.update({f'/{name}/{n}': f for n, f in served.items()})
    return home, served


def register_corpus(monkeypatch, server, home, files, name='toy', **more):
    "The corpus `name` of `files` (path -> bytes) in the registry and on the server; its rows by split"
    home, served = serve(server, name, home, files)
    frames = raw_rows(served, home)
    facts = {k: k for k in ('title', 'license', 'citation', 'page', 'note', 'home_note')}
    entry = facts | {'default_split': 'given', 'features': [], 'home': [home]} | more
    monkeypatch.setitem(DATASETS, name, entry | {'content': {s: content(f) for s, f in frames.items()}})
    return frames


def register_recording(monkeypatch, server, home, files, name='toy', **more):
    "The recorded dataset `name` of `files` (path -> bytes) in the registry and on the server; its tables"
    home, served = serve(server, name, home, files)
    tables = CONVERTERS[home['format']](served.__getitem__, home)
    sums = {
        p: {'rows': len(t), 'sha256': hashlib.sha256(t.to_csv(index=False).encode()).hexdigest()}
        for p, t in tables.items()
    }
    facts = {k: k for k in ('title', 'license', 'citation', 'origin', 'note')}
    counts = tables['seeds'].label.value_counts().to_dict()
    entry = facts | {'home': home, 'files': sums, 'classes': counts, 'models': [], 'default': {}} | more
    monkeypatch.setitem(RECORDINGS, name, entry)
    return tables
