"""The rules of the house: what may import what, where a name is defined, how long a notebook may be."""

import ast
import re
import subprocess
import sys
from importlib import import_module
from inspect import isclass, isfunction, unwrap

from checkout import HEAVY, NOTEBOOKS, ROOT, cells, exported, notebook_name, python, source
from positional import fixed_functions, long_calls

PACKAGE = ROOT / 'autogets'
ORDER = [
    'core',
    'progress',
    'executors',
    'tracking',
    'stats',
    'metrics',
    'paired',
    'plots',
    'report',
    'confusions',
    'data',
    'llm',
    'classifiers',
    'generators',
    'curation',
    'search',
    'closed_loop',
] + ['verdict', 'recommendation', 'report_classes', 'report_texts', 'report_pool', 'report_places', 'rerun']
ORDER += ['job_report', 'job_settings', 'weakness', 'job', 'options', 'augmenter', 'hub_data', 'hub_cards', 'hub']
ORDER += ['text_commands', 'job_files', 'command_help', 'explorer', 'cli', '__main__', 'replication']
PAPERS = ['survey', 'autogets', 'prompting', 'mixing', 'ours']  # the rooms of a paper, after those of replication
MOST_LINES = 350

# the commands that run the replication import it when they are called
REPLICATION_COMMANDS = {'replicate_command', 'scoreboard_command', 'bench_command'}


def module_name(path):
    return '.'.join(path.relative_to(PACKAGE).with_suffix('').parts)


MODULES = {module_name(p): ast.parse(p.read_text()) for p in sorted(PACKAGE.rglob('*.py')) if p.name != '_modidx.py'}
ROOMS = sorted(m for m in MODULES if not m.endswith('__init__'))
FOLDERS = {m.removesuffix('.__init__') for m in MODULES if m.endswith('.__init__')}


def refuse(found, rule):
    assert not found, f'{rule}: ' + '; '.join(sorted(set(found)))


def imports(tree, module=''):
    """(module of the package, name or None, node) of every import of the package in `tree`, in functions too; relative
    ones are read from `module`"""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((a.name, None, node) for a in node.names if a.name.split('.')[0] == 'autogets')
        if isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                parents = ['autogets', *module.split('.')][: -node.level]
                base = '.'.join(parents + ([node.module] if node.module else []))
            if base.split('.')[0] == 'autogets':
                yield from ((base, a.name, node) for a in node.names)


def room_of(base, name):
    "The room that an import is about; '' for the package itself"
    base = base.removeprefix('autogets').strip('.')
    inner = f'{base}.{name}'.strip('.')
    return inner if inner in ROOMS or inner in FOLDERS else base


# --- a: one direction ---


def test_the_library_does_not_import_the_replication():
    found = []
    for module, tree in MODULES.items():
        if module.startswith('replication'):
            continue
        commands = [f for f in tree.body if isinstance(f, ast.FunctionDef) and f.name in REPLICATION_COMMANDS]
        allowed = {n for f in commands for n in ast.walk(f)} if module == 'cli' else set()
        for base, name, node in imports(tree, module):
            if room_of(base, name).startswith('replication') and node not in allowed:
                found.append(f'{module}, line {node.lineno}: {ast.unparse(node)}')
    refuse(found, 'only replication may import replication')


# --- b: the order of the rooms ---


def room(path):
    "The module that a notebook exports; None for an experiment or a tutorial"
    found = re.search(r'^#\|\s*default_exp\s+(\S+)', '\n'.join(map(source, cells(path))), re.M)
    return found[1] if found else None


NOTEBOOK_OF = {room(p): p for p in NOTEBOOKS if room(p)}


def place(module):
    "Where a room stands: its folder, the folder of its paper, its number"
    first, *rest = module.split('.')
    paper = PAPERS.index(rest[0]) + 1 if first == 'replication' and len(rest) > 1 and rest[0] != '__init__' else 0
    return ORDER.index(first), paper, NOTEBOOK_OF[module].name


def test_every_module_has_a_notebook_and_a_place():
    assert set(MODULES) - set(NOTEBOOK_OF) <= {'__init__'} | {f'replication.{p}.__init__' for p in PAPERS}
    assert {m.split('.')[0] for m in NOTEBOOK_OF} == set(ORDER)
    assert {p.parent.name for p in NOTEBOOK_OF.values() if p.parent.parent.name == 'replication'} == set(PAPERS)


def code_trees(path):
    plain = (re.sub(r'^\s*[%!].*$', '', source(c), flags=re.M) for c in cells(path))
    return [ast.parse(s) for s in plain]


def test_notebooks_import_only_rooms_that_stand_before_them():
    "A folder's first notebook shows its rooms, and may import them; so may the commands of the replication"
    found = []
    for module, path in NOTEBOOK_OF.items():
        own = module.removesuffix('__init__')
        for base, name, _ in (i for tree in code_trees(path) for i in imports(tree)):
            there = room_of(base, name)
            if not there or module == 'cli' and there.startswith('replication'):
                continue
            if module.endswith('__init__') and f'{there}.'.startswith(own):
                continue
            target = f'{there}.__init__' if there in FOLDERS else there
            assert target in NOTEBOOK_OF, f'{notebook_name(path)} imports {there}, which is no room'
            if not place(target) < place(module):
                found.append(f'{notebook_name(path)} imports {there}')
    assert not found, '; '.join(found)


# --- c, d: names ---


def public_names(tree):
    "The names of `__all__`"
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == '__all__':
            return ast.literal_eval(node.value) if isinstance(node.value, ast.List) else []
    return []


def defined_names(tree):
    "What the module itself defines, and does not import"
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
            yield node.name
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name))


def test_no_public_name_is_defined_in_two_modules():
    homes = {}
    for module, tree in MODULES.items():
        for name in set(public_names(tree)) & set(defined_names(tree)):
            homes.setdefault(name, []).append(module)
    assert homes
    found = [f'{name} ({", ".join(modules)})' for name, modules in homes.items() if len(modules) > 1]
    refuse(found, 'a public name has one home')


def test_no_name_of_a_room_is_one_of_its_modules():
    # `room.name` would be the module as soon as anything had imported it
    rooms = {m.removesuffix('__init__').strip('.'): tree for m, tree in MODULES.items() if m.endswith('__init__')}
    names = {
        room: {
            k.value for n in ast.walk(tree) if isinstance(n, ast.Dict) for k in n.keys if isinstance(k, ast.Constant)
        }
        for room, tree in rooms.items()
    }
    assert 'giveaway_words' in names['curation'] and 'improve' in names['']
    modules = {*ROOMS, *FOLDERS}
    refuse(
        [f'{room}.{n}' for room in names for n in names[room] if f'{room}.{n}'.strip('.') in modules], 'two meanings'
    )


def private(name):
    return name.startswith('_') and not name.startswith('__')


def private_uses(module, tree):
    "Imports of another module's private names, and attributes of modules that are private"
    held = set()
    for base, name, node in imports(tree, module):
        if name and private(name):
            yield f'{module}, line {node.lineno}: {ast.unparse(node)}'
        names = {a.name: a.asname or a.name for a in node.names}
        if name and room_of(base, name) != room_of(base, None):
            held.add(names[name])
        if name is None:
            held.add(names[base])
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr) and ast.unparse(node.value) in held:
            yield f'{module}, line {node.lineno}: {ast.unparse(node)}'


def test_no_module_uses_another_ones_private_names():
    used = [u for module, tree in MODULES.items() if module != '__init__' for u in private_uses(module, tree)]
    refuse(used, "a module's private names are its own")


def test_private_uses_are_seen():
    code = 'from ..core import _a\nfrom .. import core as c\nimport autogets.stats\nc._b, autogets.stats._c, self._d'
    assert len(list(private_uses('search.loop', ast.parse(code)))) == 3


# --- e, f: sizes ---


def exported_lines(path):
    return sum(not l.startswith('#|') for s in exported(path) for l in s.splitlines())


def test_no_notebook_exports_more_than_a_reader_can_hold():
    sizes = {notebook_name(p): exported_lines(p) for p in NOTEBOOKS}
    assert max(sizes.values()) > 100
    assert not (long := [n for n, k in sizes.items() if k > MOST_LINES]), f'more than {MOST_LINES} lines: {long}'


def ruff(*words):
    return subprocess.run([sys.executable, '-m', 'ruff', *words], cwd=ROOT, capture_output=True, text=True)


def test_lines_are_short_and_hold_one_statement():
    "Notebooks, tests and tools; the package is what the notebooks export"
    r = ruff('check', '--output-format=concise', 'nbs', 'tests', 'tools', 'autogets')
    assert r.returncode == 0, r.stdout + r.stderr


def test_tests_and_tools_are_formatted():
    r = ruff('format', '--check', 'tests', 'tools')
    assert r.returncode == 0, f'run ruff format\n{r.stdout}{r.stderr}'


# --- classes keep their methods ---


def names_in(body):
    "The names that the body of a class gives, as a reader sees them"
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name))
        elif isinstance(node, ast.If):
            yield from names_in([*node.body, *node.orelse])


def methods(cls):
    "The functions of a class that somebody wrote, properties included"
    for name, value in vars(cls).items():
        if any(vars(base).get(name) is value for base in cls.__mro__[1:]):
            continue  # a test has set an inherited one back
        f = getattr(value, 'fget', None) or getattr(value, 'func', None) or getattr(value, '__func__', value)
        f = unwrap(f) if isfunction(f) else None
        if f and f.__code__.co_filename.endswith('.py') and f.__module__.startswith('autogets.'):
            yield name


def test_the_methods_of_the_evaluator_are_found_without_running_it():
    classes = {n.name: n for n in MODULES['search.evaluator'].body if isinstance(n, ast.ClassDef)}
    found, todo = set(), ['Evaluator']
    while todo:
        node = classes[todo.pop()]
        found |= {f.name for f in node.body if isinstance(f, ast.FunctionDef)}
        todo += [b.id for b in node.bases if isinstance(b, ast.Name) and b.id in classes]
    assert {'evaluate', 'score', 'final', 'fit'} <= found


def test_classes_keep_their_methods():
    "No method is added from outside: whoever reads a class sees them all"
    found, seen = [], 0
    for module in ROOMS:
        loaded = import_module(f'autogets.{module}')
        for node in (n for n in ast.walk(MODULES[module]) if isinstance(n, ast.ClassDef)):
            cls = getattr(loaded, node.name, None)
            if isclass(cls) and cls.__module__ == loaded.__name__:
                written, seen = set(methods(cls)), seen + 1
                found += [f'{module}.{node.name}.{m}' for m in written - set(names_in(node.body))]
    assert seen > 50
    refuse(found, 'methods that were added from outside the class')


# --- calls ---


def test_calls_name_what_comes_after_three_arguments():
    parsed = {PACKAGE / f'{m.replace(".", "/")}.py': tree for m, tree in MODULES.items()}
    assert {'improve', 'Evaluator'} <= fixed_functions(parsed)
    found = [f'{p}, line {n}: {call[:80]}' for p, n, call in long_calls(parsed)]
    refuse(found, 'name the arguments after the third')


# --- modules alone ---


def test_every_module_is_imported_alone_and_stays_light():
    "Each in a process of its own, forked when the common packages are there"
    code = f'''import gc, importlib, os, sqlite3, sys
import matplotlib.pyplot, pandas, scipy.stats, seaborn, sklearn.decomposition, sklearn.feature_extraction.text
import sklearn.linear_model, sklearn.model_selection, sklearn.svm, joblib, typer, yaml
gc.disable()
gc.freeze()
for name in {ROOMS}:
    pid = os.fork()
    if not pid:
        importlib.import_module('autogets.' + name)
        print(name, *sys.modules.keys() & {HEAVY}, flush=True)
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        sys.exit(name + ' cannot be imported alone')
'''
    said = [line.split() for line in python(code).splitlines()]
    assert [name for name, *_ in said] == ROOMS
    heavy = [f'{name} imports {", ".join(found)}' for name, *found in said if found]
    assert not heavy, '; '.join(heavy)


def test_without_fcntl_all_is_imported_and_one_line_says_what_does_not_work(tmp_path):
    "As on Windows, which has no fcntl"
    code = f'''import importlib, sys
sys.modules['fcntl'] = None
for name in {ROOMS}:
    importlib.import_module('autogets.' + name)
from autogets.core import UserError
from autogets.llm.cache import Replies
try:
    Replies({str(tmp_path / "r.jsonl")!r}).__enter__()
except UserError as e:
    print(e)'''
    said = python(code).splitlines()
    assert len(said) == 1 and 'no fcntl' in said[0] and 'use WSL' in said[0]
