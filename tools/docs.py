"""Build the documentation site from the notebooks and the Markdown files of the project, without a network.

    python tools/docs.py            writes _docs/index.html and what it leads to (`make docs` installs what it needs)

Every notebook and every Markdown file is a page, with its Markdown beside it (page.md) for tools that read text, and
llms.txt lists them. Nothing is executed: the outputs are those that the notebooks hold.
"""

import ast
import base64
import inspect
import json
import os
import re
import shutil
import sys
from dataclasses import dataclass, field
from html import unescape
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
STAGE, SITE = ROOT / 'build' / 'docs', ROOT / '_docs'
ROOMS = ('data', 'llm', 'classifiers', 'generators', 'curation', 'search', 'closed_loop')
PROJECT = ('CHANGELOG', 'CONTRIBUTING', 'DEPENDENCIES')
NAMED = {
    'nbs/index': 'A tour',
    'nbs/replication/00_replication': 'Code of the replication',
    'REPRODUCING': 'Scoreboard',
}
BEFORE_ROOMS = 'nbs/04a'  # the notebooks that the rooms build on; the others build on the rooms
LARGEST = 1_000_000  # bytes of a linked file that is copied
FENCE = re.compile(r'(^[ ]*(`{3,}|~{3,}).*?^[ ]*\2`*[ ]*$|`[^`\n]+`)', re.M | re.S)
LINK = re.compile(r'(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)')

NAMED_LINK = re.compile(r'^(\[[^\]\n]+\]: +)(\S+)', re.M)


@dataclass
class Page:
    "A page: where it stands, below the site, without suffix; what people and what tools read of it"

    name: str
    title: str
    text: str
    plain: str = ''  # what differs for tools: outputs as text
    summary: str = ''
    source: str = ''  # the file it comes from
    files: dict = field(default_factory=dict)  # name below the site -> bytes
    module: str = ''  # that the notebook exports
    below: list = field(default_factory=list)  # (caption, names) in the navigation


# --- notebooks and Markdown files ---


def notebooks(root=ROOT):
    "Every notebook that is not hidden"
    found = (p for p in (root / 'nbs').rglob('*.ipynb') if not re.search(r'/[._]', p.relative_to(root).as_posix()))
    return sorted(found)


def markdown_files(root=ROOT):
    "Every Markdown file of the project"
    return sorted([*root.glob('*.md'), *(p for p in (root / 'data').rglob('*.md') if 'raw' not in p.parts)])


def fenced(text, language=''):
    marks = '`' * max([3, *(len(m) + 1 for m in re.findall('`+', text))])
    return f'{marks}{language}\n{text.rstrip()}\n{marks}'


def joined(value):
    return value if isinstance(value, str) else ''.join(value)


def output(out, name, page):
    "One output, as people and as tools read it"
    data = out.get('data', {})
    if 'image/png' in data:
        page.files[name] = base64.b64decode(joined(data['image/png']))
        image = f'![The figure that the cell above draws]({Path(page.name).name}_files/{Path(name).name})'
        return image, image
    said = joined(out.get('text') or data.get('text/plain') or '').rstrip()
    plain = fenced(said, 'text') if said else ''
    if 'text/html' in data:
        table = re.sub(r'<style.*?</style>\s*', '', joined(data['text/html']), flags=re.S)
        table = re.sub(r' (border="1"|style="text-align: right;")', '', table)
        return fenced(f'<div class="output" tabindex="0">{table}</div>', '{raw} html'), plain or table
    return plain, plain


def notebook_page(path, root=ROOT):
    "The page of a notebook: prose, code and the outputs it holds"
    name = path.relative_to(root).with_suffix('').as_posix()
    page = Page(name, '', '', source=f'{name}.ipynb')
    shown, plain = [], []

    def neighbor(m):
        "A notebook of the same folder by its name, as a link"
        return f'[{m[0]}]({m[1]}.ipynb)' if path.with_name(f'{m[1]}.ipynb').exists() else m[0]

    for cell in json.loads(path.read_text())['cells']:
        text = joined(cell['source'])
        directives = re.findall(r'^#\|\s*(\S+)\s*(\S*)', text, re.M)
        page.module = next((value for word, value in directives if word == 'default_exp'), page.module)
        if cell['cell_type'] == 'markdown':
            parts = [(re.sub(r'(?<!\[)`(\d\w+)`', neighbor, text),) * 2]
        elif cell['cell_type'] != 'code' or any(word in ('hide', 'default_exp') for word, _ in directives):
            continue
        else:
            code = re.sub(r'^#\|.*\n?', '', text, flags=re.M).strip()
            parts = [(fenced(code, 'python'),) * 2] if code else []
            where = f'{name}_files/{len(shown)}'
            parts += [output(o, f'{where}-{i}.png', page) for i, o in enumerate(cell['outputs'])]
        shown += [a for a, _ in parts if a]
        plain += [b for _, b in parts if b]
    head = re.match(r'# (.+)\n\n> (.+(?:\n>.+)*)', shown[0])
    page.title, page.summary = head[1], ' '.join(head[2].split())
    page.text, page.plain = '\n\n'.join(shown) + '\n', '\n\n'.join(plain) + '\n'
    return page


def markdown_page(path, root=ROOT):
    name = path.relative_to(root).with_suffix('').as_posix()
    text = path.read_text()
    title = re.search(r'^# (.+)', text, re.M)
    first = re.search(r'^(?![#<!|>`\s-])(.+)', text, re.M)
    summary = re.split(r'(?<=[.:])\s', re.sub(r'\[([^]]*)\]\([^)]*\)|\*\*', r'\1', first[1]))[0] if first else ''
    summary = summary if summary[-1:] in '.' else ''
    return Page('index' if name == 'README' else name, title[1] if title else name, text, '', summary, path.name)


# --- the reference ---


def facade(room):
    "The names that a room offers, from the table in its `__init__`"
    if not room:
        return list(import_module('autogets').__all__)
    tree = ast.parse((ROOT / 'autogets' / room / '__init__.py').read_text())
    return [k.value for n in ast.walk(tree) if isinstance(n, ast.Dict) for k in n.keys]


def parameters(thing):
    "Name -> (type, default, comment) of each parameter, and the same of what is returned"
    from fastcore.docments import docments

    try:
        said = docments(thing, full=True, returns=True)
    except (TypeError, OSError, ValueError, SyntaxError):
        said = {}
    for name, p in inspect.signature(thing).parameters.items():
        found = said.get(name, {})
        kind = '' if p.annotation is p.empty else inspect.formatannotation(p.annotation)
        default = '' if p.default is p.empty else repr(p.default)
        if default.startswith('<'):
            default = getattr(p.default, '__name__', '...')
        yield name, kind, default, ' '.join((found.get('docment') or '').split())
    back = said.get('return')
    annotation = inspect.signature(thing).return_annotation
    if annotation is not inspect.Signature.empty or back and back.get('docment'):
        kind = '' if annotation is inspect.Signature.empty else inspect.formatannotation(annotation)
        yield 'returns', kind.strip("'"), '', ' '.join((back and back.get('docment') or '').split())


def errors(thing):
    "The exceptions that the source of `thing` raises"
    try:
        tree = ast.parse(inspect.cleandoc('\n' + inspect.getsource(thing)))
    except (OSError, TypeError, SyntaxError):
        return []
    raised = (n.exc for n in ast.walk(tree) if isinstance(n, ast.Raise) and isinstance(n.exc, ast.Call))
    return sorted({ast.unparse(e.func) for e in raised})


def cell(text, code=False):
    text = text.replace('|', '\\|')
    return f'`{text}`' if code and text else text


def callable_lines(name, thing, level):
    "Heading, signature, docstring, parameters and errors of a function or class"
    try:
        rows = [r for r in parameters(thing) if r[0] != 'self']
    except (TypeError, ValueError):
        rows = []
    given = [f'{n}={d}' if d else n for n, _, d, _ in rows if n != 'returns']
    call = f'{name}({", ".join(given)})'
    if len(call) > 88:
        call = f'{name}(\n' + ''.join(f'    {g},\n' for g in given) + ')'
    yield f'{"#" * level} {name}'
    yield fenced(call, 'python')
    if doc := inspect.getdoc(thing):
        yield doc if inspect.isroutine(thing) or not doc.startswith(f'{name.split(".")[-1]}(') else ''
    if rows:
        lines = [
            f'| {cell(n, n != "returns")} | {cell(k, True)} | {cell(d, True)} | {cell(c)} |' for n, k, d, c in rows
        ]
        yield '\n'.join(['| parameter | type | default | |', '|---|---|---|---|', *lines])
    if inspect.isroutine(thing) and (raised := errors(thing)):
        yield 'Raises ' + ', '.join(f'`{e}`' for e in raised) + '.'


def methods(cls):
    "The public methods that the package gives to a class"
    for name in sorted(n for n in dir(cls) if n[0] != '_'):
        value = inspect.getattr_static(cls, name)
        work = getattr(value, '__func__', value)
        if inspect.isfunction(work) and work.__module__.startswith('autogets.'):
            yield name, work


def reference_page(room, homes):
    "The reference of a room's façade, or of `autogets` itself"
    module = import_module('autogets.' + room if room else 'autogets')
    title = f'autogets.{room}' if room else 'autogets'
    parts = [f'# {title}', (inspect.getdoc(module) or '').split('\n\n')[0]]
    for name in facade(room):
        thing = getattr(module, name)
        home = getattr(thing, '__module__', '')
        if not callable(thing):
            held = ', '.join(f'`{k}`' for k in thing) if isinstance(thing, (dict, list, tuple)) else f'`{thing!r}`'
            parts += [f'## {name}', f'{type(thing).__name__}: {held}']
            continue
        parts += callable_lines(name, thing, 2)
        if page := homes.get(home.removeprefix('autogets.')):
            parts.append(f'Source: [{page.source}](../{page.name}.ipynb), exported as `{home}`.')
        if inspect.isclass(thing):
            parts += [p for n, work in methods(thing) for p in callable_lines(f'{name}.{n}', work, 3)]
    text = '\n\n'.join(p for p in parts if p) + '\n'
    summary = ' '.join(parts[1].split()) if room else 'The public face: what `import autogets` offers'
    return Page(f'api/{room or "autogets"}', title, text, summary=summary)


def reference(pages, rooms):
    "The pages of the reference, and the one that leads to them"
    homes = {p.module.removesuffix('.__init__'): p for p in pages.values() if p.module}
    made = [reference_page(room, homes) for room in rooms]
    lines = ''.join(f'- [{p.title}]({Path(p.name).name}.md): {p.summary}\n' for p in made)
    about = '# Reference\n\nTypes, defaults and what the comments in the code say of each parameter.\n\n'
    index = Page('api/index', 'Reference', about + lines, summary='Functions and classes, with their parameters')
    index.below = [('', [p.name for p in made])]
    return [index, *made]


# --- the whole ---


def folder_page(folder, pages):
    "The page that leads to those of a folder: its first notebook, or a list"
    inside = sorted(n for n in pages if n.rpartition('/')[0] == folder)
    first = next((n for n in inside if re.match(r'00_', Path(n).name)), None)
    if not first:
        last = folder.rpartition('/')[2]
        title = f'{last[0].upper()}{last[1:]}'
        first = f'{folder}/index'
        lines = ''.join(f'- [{pages[n].title}]({Path(n).name}.md): {pages[n].summary}\n' for n in inside)
        pages[first] = Page(first, title, f'# {title}\n\n{lines}', summary=f'Notebooks of {folder}')
    parts = sorted({n[len(folder) + 1 :].split('/')[0] for n in pages if n.startswith(f'{folder}/')})
    parts = [d for d in parts if f'{folder}/{d}' not in pages]
    deeper = [folder_page(f'{folder}/{d}', pages) for d in parts]
    pages[first].below.append(('', [n for n in inside if n != first] + deeper))
    return first


def all_pages(root=ROOT, rooms=('', *ROOMS, 'replication')):
    "Name -> page, with the navigation: the landing page leads to all others"
    made = [markdown_page(p, root) for p in markdown_files(root)] + [notebook_page(p, root) for p in notebooks(root)]
    pages = {p.name: p for p in made}
    pages |= {p.name: p for p in reference(pages, rooms)}
    for name in pages.keys() & NAMED.keys():
        pages[name].title = NAMED[name]
    tutorials = sorted(n for n in pages if n.startswith('nbs/tutorials/'))
    tops = sorted({n.split('/')[1] for n in pages if n.startswith('nbs/') and n.count('/') > 1} - {'tutorials'})
    leads = {d: folder_page(f'nbs/{d}', pages) for d in tops}
    replication = ['REPRODUCING', leads.pop('experiments', ''), leads.pop('replication', ''), 'REVIEWS']
    folders = [leads[d] for d in sorted(leads, key=lambda d: ROOMS.index(d) if d in ROOMS else len(ROOMS))]
    alone = sorted(n for n in pages if re.fullmatch(r'nbs/\d\w+', n))
    first = [n for n in alone if n < BEFORE_ROOMS]
    below = {
        'Tutorials': ['nbs/index', *tutorials],
        'Library': first + folders + alone[len(first) :],
        'Reference': ['api/index'],
        'Replication': replication,
        'Project': [*PROJECT, *sorted(n for n in pages if n.startswith('data/'))],
    }
    pages['index'].below = [(c, [n for n in names if n in pages]) for c, names in below.items()]
    return pages


def target_of(target, page, pages, root=ROOT):
    """Where a relative link of a page leads: ('page', name), ('file', path) or ('folder', path); None if to nothing"""
    place = root / (page.name if page.name != 'index' else 'README')
    path = Path(os.path.normpath(place.parent / unquote(target)))
    if not path.is_relative_to(root):
        return None
    name = path.relative_to(root).as_posix()
    bare = re.sub(r'\.(md|ipynb)$', '', name)
    bare = 'index' if bare == 'README' else bare
    if bare in pages and (bare != name or not path.is_dir()):
        return 'page', bare
    if path.is_dir():
        inside = (n for n in (f'{name}/index', f'{name}/README', *sorted(pages)) if n in pages)
        found = next((n for n in inside if re.fullmatch(re.escape(name) + '/(index|README|00_[^/]*)', n)), None)
        return ('page', found) if found else ('folder', name)
    if name in page.files or path.is_file():
        return 'file', name
    return None


def relinked(text, page, pages, root=ROOT):
    "The Markdown `text` with links as the site has them; the files they lead to join the page, and what leads nowhere"
    lost, codes = [], []

    def leads(target):
        "(kind, where to) of a link"
        path, mark, part = target.partition('#')
        if not path or urlsplit(target).scheme or target.startswith('//'):
            return 'elsewhere', target
        kind, name = target_of(path, page, pages, root) or ('', path)
        if not kind:
            lost.append(f'{page.source or page.name}: {target}')
        if kind == 'file' and name not in page.files and (root / name).stat().st_size <= LARGEST:
            page.files[name] = (root / name).read_bytes()
        if kind == 'page' or name in page.files:
            to = f'{name}.md{mark}{part}' if kind == 'page' else name
            return kind, os.path.relpath(to, Path(page.name).parent)
        return '', name

    def link(m):
        image, words, target = m.groups()
        kind, to = leads(target)
        return f'{image}[{words}]({to})' if kind else f'{words} (`{to}`)'

    def named(m):
        return f'{m[1]}{leads(m[2])[1]}'

    def code(m):
        codes.append(m[0])
        return f'\0{len(codes) - 1}\0'

    text = NAMED_LINK.sub(named, LINK.sub(link, FENCE.sub(code, text)))
    return re.sub('\0(\\d+)\0', lambda m: codes[int(m[1])], text), lost


def about(page, text):
    "The line below a page: where it comes from, and its Markdown"
    said = f'<a href="{Path(page.name).name}.md">This page as Markdown</a>'
    if page.source.endswith('.ipynb'):
        outputs = '' if page.files or '```text' in text else ', which holds no outputs'
        module = f'; it exports <code>autogets.{page.module}</code>' if page.module else ''
        module = module.replace('.__init__', '')
        said = f'The notebook <code>{page.source}</code>{outputs}{module}. Outputs are those of its last run. {said}'
    return fenced(f'<p class="about">{said}</p>', '{raw} html')


def toctrees(page, pages):
    "The navigation below a page"
    for caption, names in page.below:
        options = [':hidden:', *([f':caption: {caption}'] if caption else []), '']
        yield fenced('\n'.join([*options, *(f'{pages[n].title} </{n}>' for n in names)]), '{toctree}')


def listing(pages):
    "llms.txt: every page, with its summary, in the order of the navigation"
    lines = [f'# {pages["index"].title}', '', f'> {pages["index"].summary}', '']
    lines += ['The tutorials and the reference of `autogets` in one file: [llms-full.txt](llms-full.txt).', '']

    def walk(name):
        page = pages[name]
        yield f'- [{page.title}]({name}.md)' + (f': {page.summary}' if page.summary else '')
        yield from (line for _, names in page.below for n in names for line in walk(n))

    for caption, names in pages['index'].below:
        lines += [f'## {caption}', '', *(line for n in names for line in walk(n)), '']
    return '\n'.join(lines)


def tutorial_names(pages):
    return pages['index'].below[0][1]


def put(path, data):
    "Write what has changed"
    data = data.encode() if isinstance(data, str) else data
    if not path.exists() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


STYLE = """
.output { overflow-x: auto; margin: .8rem 0 }
.output table { border-collapse: collapse; font-size: .85em }
.output th, .output td { padding: .2rem .6rem; text-align: right }
.output tr { border-bottom: 1px solid var(--color-background-border) }
.about { color: var(--color-foreground-secondary); font-size: .85em; margin-top: 3rem }
article table.docutils td { white-space: normal }
"""


def staged(pages, root=ROOT, stage=STAGE, site=SITE):
    "Write what Sphinx reads into `stage`, and what tools read into `site`; the links that lead nowhere"
    lost, kept = [], set()
    plain = {}
    for page in pages.values():
        text, broken = relinked(page.text, page, pages, root)
        plain[page.name] = relinked(page.plain, page, pages, root)[0] if page.plain else text
        lost += broken
        kept |= {f'{page.name}.md', *page.files}
        put(stage / f'{page.name}.md', '\n\n'.join([text, about(page, page.plain), *toctrees(page, pages)]) + '\n')
        put(site / f'{page.name}.md', plain[page.name])
        for name, data in page.files.items():
            put(stage / name, data)
            put(site / name, data)
    put(stage / '_static' / 'site.css', STYLE)
    for old in (p for p in stage.rglob('*') if p.is_file()):
        if '_static' not in old.parts and old.relative_to(stage).as_posix() not in kept:
            old.unlink()
    put(site / 'llms.txt', listing(pages))
    full = ['index', *tutorial_names(pages), 'api/autogets']
    put(site / 'llms-full.txt', '\n\n'.join(plain[n] for n in full))
    return lost


def setup(app):
    "As an extension of Sphinx: formulas as MathML, which browsers show without a script from elsewhere"
    from docutils import nodes
    from docutils.utils.math.latex2mathml import tex2mathml

    def show(writer, node, block=False):
        formula = re.sub(r'\\[bB]igg?[lr]?(?![a-z])', '', node.astext())  # brackets grow by themselves
        writer.body.append(tex2mathml(formula, as_block=block))
        raise nodes.SkipNode

    def only_this_branch(app, name, template, context, tree):
        if whole := context.get('toctree'):
            context['toctree'] = lambda **options: whole(**{**options, 'collapse': True})

    app.connect(
        'html-page-context', only_this_branch, priority=100
    )  # the whole tree on every page takes half the build

    app.add_html_math_renderer('mathml', (show, None), (lambda writer, node: show(writer, node, True), None))
    return {'parallel_read_safe': True, 'parallel_write_safe': True}


def settings(version):
    "What Sphinx is told"
    return {
        'project': 'autogets',
        'release': version,
        'extensions': ['myst_parser', 'docs'],
        'html_theme': 'furo',
        'html_title': f'autogets {version}',
        'html_static_path': ['_static'],
        'html_css_files': ['site.css'],
        'html_math_renderer': 'mathml',
        'html_copy_source': False,
        'html_show_sphinx': False,
        'html_use_index': False,
        'myst_enable_extensions': ['dollarmath'],
        'myst_dmath_allow_digits': False,
        'myst_dmath_allow_space': False,
        'myst_heading_anchors': 4,
        # headings of notebooks skip levels; magics and half sentences in code are no Python; both read well
        'suppress_warnings': ['myst.header', 'misc.highlighting_failure'],
        'pygments_style': 'friendly',
    }


# --- what was built ---


def seen(path):
    "The links and the identifiers of a built page"
    text = re.sub(r'<(script|style)\b.*?</\1>', '', path.read_text(errors='replace'), flags=re.S)
    tags = re.findall(r'<[a-z][^<>]*>', text)
    given = [pair for tag in tags for pair in re.findall(r'\s(href|src|id)="([^"]*)"', tag)]
    return [unescape(v) for k, v in given if k != 'id' and v], {'', *(unescape(v) for k, v in given if k == 'id')}


def broken_links(site=SITE):
    "Links of the built pages that lead to no file or no part of a page of the site"
    pages = {p.resolve(): seen(p) for p in sorted(site.rglob('*.html'))}
    out = []
    for path, (links, _) in pages.items():
        for link in links:
            parts = urlsplit(link)
            if parts.scheme or link.startswith('//'):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists() or target in pages and unquote(parts.fragment) not in pages[target][1]:
                out.append(f'{path.relative_to(site.resolve())}: {link}')
    return sorted(set(out))


def build(root=ROOT, stage=STAGE, site=SITE, **which):
    "The whole site; how many pages it has. Raises SystemExit where Sphinx warns or a link leads nowhere"
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace

    import autogets

    pages = all_pages(root, **which)
    shutil.rmtree(site, ignore_errors=True)
    lost = staged(pages, root, stage, site)
    with docutils_namespace():
        app = Sphinx(
            srcdir=stage,
            confdir=None,
            outdir=site,
            doctreedir=stage.parent / 'docs-trees',
            buildername='html',
            confoverrides=settings(autogets.__version__),
            status=None,
            warningiserror=True,
        )
        app.build()
    put(site / '.nojekyll', '')
    if lost := [*lost, *broken_links(site)]:
        sys.exit('error: links that lead nowhere:\n' + '\n'.join(lost))
    return len(pages)


if __name__ == '__main__':
    sys.path.insert(0, str(ROOT))
    print(f'{build()} pages: {SITE / "index.html"}')
