"""The documentation site: every notebook is on it, every link leads somewhere, and a browser can search it."""

import inspect
import os
import shutil
import subprocess
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import docs
import pytest
from checkout import NOTEBOOKS, ROOT, notebook_name

import autogets
from autogets.core import write_atomic, write_json

BROWSER = next((b for b in map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome')) if b), None)
builds = pytest.mark.skipif(not find_spec('sphinx') or not find_spec('furo'), reason='needs the extra docs')


@pytest.fixture(scope='module')
def pages():
    return docs.all_pages()


def reached(pages, name='index'):
    yield name
    for _, below in pages[name].below:
        for n in below:
            yield from reached(pages, n)


def test_every_page_is_in_the_navigation_once(pages):
    names = list(reached(pages))
    assert len(names) == len(set(names)) and set(names) == set(pages)
    assert {f'nbs/{notebook_name(p)}'.removesuffix('.ipynb') for p in NOTEBOOKS} <= set(names)
    assert {'REPRODUCING', 'REVIEWS', 'CHANGELOG', 'CONTRIBUTING', 'DEPENDENCIES', 'data/README'} <= set(names)
    assert pages['index'].below[0][1][:2] == ['nbs/index', 'nbs/tutorials/01_csv_to_report']


def test_every_relative_link_of_a_page_leads_somewhere(pages):
    lost = [link for page in pages.values() for link in docs.relinked(page.text, page, pages)[1]]
    assert not lost, f'links that lead nowhere: {lost}'


def test_llms_txt_lists_every_page(pages):
    said = docs.listing(pages)
    missing = [n for n in pages if n != 'index' and f']({n}.md)' not in said]
    assert not missing and said.startswith('# autogets\n\n> ')


@pytest.mark.parametrize('room', ['', *docs.ROOMS, 'replication'])
def test_the_reference_names_every_function_and_each_of_its_parameters(pages, room):
    text = pages[f'api/{room or "autogets"}'].text
    module = import_module(f'autogets.{room}'.strip('.'))
    for name in docs.facade(room):
        part = f'\n{text}'.partition(f'\n## {name}\n')[2].partition('\n## ')[0]
        assert part, f'{name} is missing'
        thing = getattr(module, name)
        if inspect.isfunction(thing):
            for p in inspect.signature(thing).parameters:
                assert f'| `{p}` |' in part, f'{name} does not name {p}'
            assert thing.__doc__.split('\n')[0] in part and 'Source: [nbs/' in part


def test_the_reference_tells_types_defaults_comments_and_errors(pages):
    part = pages['api/autogets'].text.partition('\n## weak_classes\n')[2].partition('\n## ')[0]
    rows = [l for l in part.splitlines() if l.startswith('| `')]
    assert rows and all(l.split(' | ')[3].strip('| ') for l in rows), 'a parameter without its comment'
    assert '| returns |' in part and '05b_weakness.ipynb' in part
    assert 'Raises `UserError`.' in pages['api/autogets'].text


# --- a small site, built ---


def notebook(path, *cells):
    made = [
        {'cell_type': kind, 'id': f'c{i}', 'metadata': {}, 'source': text, **({'outputs': o} if kind == 'code' else {})}
        for i, (kind, text, o) in enumerate(cells)
    ]
    write_json(path, {'cells': made, 'metadata': {}, 'nbformat': 4, 'nbformat_minor': 5})


def head(title):
    return 'markdown', f'# {title}\n\n> What {title} is about', None


PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII='
TABLE = {'data': {'text/html': '<table><tr>\n\n<td>cell &amp; 1</td></tr></table>', 'text/plain': 'cell & 1'}}


@pytest.fixture(scope='module')
def small(tmp_path_factory):
    "A project with a handful of pages"
    root = tmp_path_factory.mktemp('project')
    write_atomic(
        root / 'README.md', '# Small\n\nA [tutorial](nbs/tutorials/01_first.ipynb), [all](nbs), `[no](link)`.\n'
    )
    write_atomic(root / 'REPRODUCING.md', '# Board\n\nA [row][row].\n\n[row]: nbs/search/01_windows.ipynb\n')
    write_atomic(root / 'data' / 'a.csv', 'a,b\n')
    notebook(root / 'nbs' / 'index.ipynb', head('tour'))
    hidden = 'code', '#| hide\nsecret = 1', []
    shown = 'code', '#| export\nprint("zebra")', [TABLE, {'data': {'image/png': PNG}}, {'text': ['a ``` b\n']}]
    links = (
        'markdown',
        'Formula $x_i$, $\\Big(\\frac{1}{2}\\Big)$ and $2; [data](../../data/a.csv), [up](../search).',
        None,
    )
    notebook(root / 'nbs' / 'tutorials' / '01_first.ipynb', head('first'), hidden, shown, links)
    notebook(
        root / 'nbs' / 'search' / '00_search.ipynb', head('search'), ('code', '#| default_exp search.__init__', [])
    )
    notebook(root / 'nbs' / 'search' / '01_windows.ipynb', head('windows'))
    notebook(root / 'nbs' / 'weakness.ipynb', head('weakness'), ('code', '#| default_exp weakness', []))
    (root / 'nbs' / 'weakness.ipynb').rename(root / 'nbs' / '05_weakness.ipynb')
    return root


@pytest.fixture(scope='module')
def site(small):
    count = docs.build(small, small / 'build' / 'docs', small / '_docs', rooms=('',))
    assert count == len(list((small / '_docs').rglob('*.md'))) > 7
    return small / '_docs'


def test_a_notebook_becomes_prose_code_and_outputs(small):
    page = docs.notebook_page(small / 'nbs' / 'tutorials' / '01_first.ipynb', small)
    assert page.title == 'first' and page.summary == 'What first is about' and 'secret' not in page.text
    assert '```python\nprint("zebra")\n```' in page.plain and '#|' not in page.text
    assert '```text\ncell & 1\n```' in page.plain and '<td>' in page.text and '<td>' not in page.plain
    assert '````text\na ``` b\n````' in page.text and list(page.files) == ['nbs/tutorials/01_first_files/1-1.png']


def test_a_link_to_nothing_is_named(small):
    pages = docs.all_pages(small, rooms=())
    text, lost = docs.relinked(
        '[a](gone.md) `[b](x.md)` [c](https://a.b/c.md) [d](#part)', pages['index'], pages, small
    )
    assert lost == ['README.md: gone.md'] and '`[b](x.md)`' in text and '(https://a.b/c.md) [d](#part)' in text


@builds
def test_the_site_is_built_without_warnings_and_its_links_lead_somewhere(site):
    html = (site / 'nbs' / 'tutorials' / '01_first.html').read_text()
    assert '<math' in html and '<td>cell &amp; 1</td>' in html and 'and $2;' in html
    assert 'cdn' not in html and 'src="http' not in html
    assert 'href="../search/00_search.html"' in html and 'href="01_first.md"' in html
    assert (site / 'data' / 'a.csv').read_text() == 'a,b\n'
    md = (site / 'nbs' / 'tutorials' / '01_first.md').read_text()
    assert '(../../data/a.csv)' in md and '(../search/00_search.md)' in md and 'zebra' in md
    assert 'nbs/search/01_windows.html' in (site / 'REPRODUCING.html').read_text()
    assert 'zebra' in (site / 'llms-full.txt').read_text() and '## weak_classes' in (site / 'llms-full.txt').read_text()
    assert not docs.broken_links(site)
    write_atomic(site / 'x.html', '<a href="nbs/gone.html">a</a><a href="index.html#gone">b</a><a href="#">c</a>')
    assert docs.broken_links(site) == ['x.html: index.html#gone', 'x.html: nbs/gone.html']
    (site / 'x.html').unlink()


@builds
@pytest.mark.skipif(not BROWSER, reason='needs chromium')
def test_a_browser_finds_a_word_without_a_server(site, tmp_path):
    address = (site / 'search.html').as_uri() + '?q=zebra'
    options = [
        '--headless',
        '--no-sandbox',
        '--disable-gpu',
        '--virtual-time-budget=8000',
        f'--user-data-dir={tmp_path}',
    ]
    r = subprocess.run([BROWSER, *options, '--dump-dom', address], capture_output=True, text=True, timeout=120)
    assert 'nbs/tutorials/01_first.html' in r.stdout, r.stderr[-500:]


@pytest.mark.parametrize('name', ['DEPENDENCIES.md', 'CONTRIBUTING.md'])
def test_links_between_the_pages_about_the_project(name):
    assert {'DEPENDENCIES.md': 'pyproject.toml', 'CONTRIBUTING.md': 'DEPENDENCIES.md'}[name] in (
        ROOT / name
    ).read_text()
