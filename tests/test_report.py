"The page that a job ends with: what it says first, its parts, its structure, and how it looks in a browser"

import re
import shutil
import subprocess
from dataclasses import fields
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
import worlds

import autogets as ag
from autogets import report
from autogets.cli import improve_options
from autogets.job_files import job_field
from autogets.job_settings import Job
from autogets.rerun import FLAGS
from autogets.job_report import report_page
from autogets.paired import PairedTest
from autogets.data.corpus import split_corpus
from autogets.generators.build import build_pool
from autogets.generators.given import GivenTexts
from autogets.plots import grid
from autogets.confusions import CONFUSION_STYLE, confusion_parts, confusions_table
from autogets.report_classes import classes_parts
from autogets.report_places import class_places, leanings
from autogets.report_pool import LIGHT_STYLE, losses_table, pool_classes
from autogets.report_texts import changed_texts

VOID = {'meta', 'img', 'br', 'hr', 'link', 'input'}


class Elements(HTMLParser):
    "Every element of a page with its attributes; `open` is what was never closed"

    def __init__(self, page):
        super().__init__()
        self.found, self.open = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f'</{tag}> closes {self.open[-3:]}'
        self.open.pop()

    def all(self, tag):
        return [a for t, a in self.found if t == tag]


def improved(names=worlds.NAMES, n=24, forecast=False, **how):
    rng = np.random.default_rng(0)
    rows = [(f'{worlds.sentence(rng, k, 0.15)} row{k}x{i}', c) for k, c in enumerate(names) for i in range(n)]
    c = split_corpus(worlds.frame(rows), 'small', 'stratified')
    usual = dict(strategy='random', budget=2, finalists=0, classifier='linear', free=False, progress=False)
    o = ag.improve(c, worlds.texts(c, 2), **usual | how)
    if not forecast:
        vars(o).update(text_forecast=None, pool_quality=SimpleNamespace(table=None, note='Not measured.'))
    return o


@pytest.fixture(scope='module')
def outcome():
    return improved([f'class {k}' for k in range(8)], forecast=True, free=True, guard=False, objective='accuracy')


@pytest.fixture(scope='module')
def page(outcome):
    return report_page(outcome, outcome.model)


@pytest.fixture(scope='module')
def odd():
    "Two classes with names that are markup, one of them the target"
    o = improved(('<b>"ä" & co', '</table>'), target='</table>', objective='recall')
    return report_page(o, o.model)


# --- structure ---


@pytest.mark.parametrize('which', ['page', 'odd'])
def test_the_structure_is_sound(which, request):
    e = Elements(request.getfixturevalue(which))
    assert not e.open
    ids = [a['id'] for _, a in e.found if 'id' in a]
    assert len(ids) > 8 and len(ids) == len(set(ids))
    assert all(len(e.all(tag)) == 1 for tag in ('h1', 'main', 'header', 'nav', 'title'))
    assert e.all('img') and all(a.get('alt', '').strip() for a in e.all('img'))
    assert e.all('th') and all(a.get('scope') in ('col', 'row') for a in e.all('th'))
    assert {a['href'][1:] for a in e.all('a')} == {a['id'] for a in e.all('section')}


@pytest.mark.parametrize('which', ['page', 'odd'])
def test_nothing_is_loaded_from_anywhere(which, request):
    e = Elements(request.getfixturevalue(which))
    links = [v for _, a in e.found for k, v in a.items() if k in ('src', 'href', 'srcset', 'data', 'action')]
    assert links and all(v.startswith(('data:image/png;base64,', '#')) for v in links)
    assert not e.all('link') and not e.all('iframe') and len(e.all('script')) == 1


def test_headings_go_down_one_step_at_a_time(page):
    levels = [int(t[1]) for t, _ in Elements(page).found if re.fullmatch('h[1-6]', t)]
    assert levels[0] == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:]))


# --- contrast ---


def colors(css):
    return dict(re.findall(r'--(\w+):(#[0-9a-f]{6}|\d+ \d+ \d+)', css))


def rgb(color):
    parts = [int(color[k : k + 2], 16) for k in (1, 3, 5)] if color[0] == '#' else map(int, color.split())
    return np.array(list(parts)) / 255


def contrast(a, b):
    "As WCAG 2 has it"

    def light(c):
        return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    high, low = sorted([light(a), light(b)], reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize('dark', [False, True])
def test_text_can_be_read_in_both_modes(page, dark):
    style = page[page.index('<style>') : page.index('</style>')]
    modes = re.split(r'@media screen and \(prefers-color-scheme:dark\)', style)
    c = {}
    for k, part in enumerate(modes):
        light = part if k == 0 else part[part.index('}}') :] if '}}' in part else ''
        c |= colors(light) | (colors(part) if dark else {})
    grounds = [rgb(c[k]) for k in ('paper', 'panel', 'good', 'paid', 'bad')]
    grounds += [0.45 * rgb(c[k]) + 0.55 * rgb(c['paper']) for k in ('right', 'wrong')]
    assert (grounds[0].mean() < 0.5) == dark
    low = [(i, k) for k, g in enumerate(grounds) for i in ('ink',) if contrast(rgb(c[i]), g) < 4.5]
    low += [(i, k) for k, g in enumerate(grounds[:5]) for i in ('soft', 'link') if contrast(rgb(c[i]), g) < 4.5]
    assert not low


def test_lights_can_be_read():
    found = re.findall(r'background:(#[0-9a-f]{6})', LIGHT_STYLE)
    assert len(found) == 4 and all(contrast(rgb('#ffffff'), rgb(c)) >= 4.5 for c in found)


def test_contrast_is_that_of_the_standard():
    assert contrast(rgb('#000000'), rgb('#ffffff')) == pytest.approx(21)
    assert contrast(rgb('#777777'), rgb('#ffffff')) == pytest.approx(4.48, abs=0.01)


# --- what it says ---


def test_it_opens_with_the_recommendation_in_errors(outcome, page):
    p, head = outcome.on_test, page[page.index('<h1>') : page.index('<nav')]
    old, new = ((y != p.true).sum() for y in (p.before, p.after))
    assert f'{new} instead of {old} errors on {len(p.true)} test texts' in head
    assert outcome.verdict.headline.split(':')[0] in head and '<b>Paid:</b>' in head and '<b>Free:</b>' in head


def test_changed_texts_are_those_that_one_classifier_alone_gets_right(outcome):
    t, test = changed_texts(outcome), outcome.evaluator.corpus.test.set_index('text').label
    p = outcome.on_test
    assert len(t) == ((p.before == p.true) != (p.after == p.true)).sum() > 0
    assert (test[t.text].to_numpy() == t.true).all() and ((t.after == t.true) == t.fixed).all()
    near = t[t.nearest >= 0]
    assert len(near) and (outcome.texts.label.to_numpy()[near.nearest] == near.after.to_numpy()).all()
    assert (np.diff(t.cosine) <= 0).all()


def test_nothing_chosen_is_said_and_nothing_is_shown_as_changed():
    o = improved(constraints=('accuracy>=1.0',))
    said = report_page(o, o.model)
    assert not o.final.candidate and 'on 15 test texts, and nothing is added' in said
    assert 'Test texts fixed and broken' not in said and 'nothing changes' in said
    Elements(said)


# --- the pool ---


def section(page, name):
    start = page.index(f'<section id="{name}">')
    return page[start : page.index('</section>', start)]


def test_texts_of_each_class_before_and_after_add_up(outcome, page):
    t, c = pool_classes(outcome), outcome.evaluator.corpus
    assert t.before.sum() == len(c.train) and t['in the pool'].sum() == len(outcome.evaluator.pool)
    assert (t.after - t.before == t.chosen).all() and t.chosen.sum() == len(outcome.texts) > 0
    assert t.before.is_monotonic_increasing and set(t['class']) == set(c.classes)
    assert f'after: {len(c.train) + len(outcome.texts)}' in section(page, 'the-pool')


def test_every_light_has_a_word_and_a_sentence(outcome, page):
    said = section(page, 'the-pool')
    lights = re.findall(r'<li class="([glb]?)"><i>(.*?)</i><b>(.*?)</b>: (.*?)</li>', said)
    table = outcome.pool_quality.table
    assert len(lights) == len(table) > 10 and said.count('<ul class="lights">') == 2
    words = {'g': 'good', 'l': 'look', 'b': 'bad', '': '–'}
    assert all(words[kind] == word and sentence.endswith('.') for kind, word, _, sentence in lights)
    shown = said.split('<summary>')[0]
    assert all(f'<b>{f}</b>' in shown for f in table.figure[table.light.isin(['bad', 'look'])])


def test_texts_that_were_dropped_are_shown_by_reason_with_an_example(tmp_path):
    c = worlds.corpus()
    t = worlds.texts(c, 2)
    t.loc[0, 'text'] = c.test.text[0]
    pool = build_pool(GivenTexts(t), c.train, held_out=list(c.test.text), folder=tmp_path / 'pool')
    there = SimpleNamespace(generator=f'pool:{tmp_path}/pool')
    found = losses_table(SimpleNamespace(job=there, manifest=dict(left_out={'of no class': 3}))).to_dict('records')
    assert [(r['when'], r['what'], r['texts']) for r in found] == [
        ('written', 'dropped', 1),
        ('read for this job', 'left out', 3),
    ]
    assert found[0]['reason'] == 'equal to a held-out text' and found[0]['for example'] == c.test.text[0]
    assert pool.manifest['counts']['dropped'] == {'equal to a held-out text': 1}


def test_what_was_dropped_from_given_texts_is_not_known(page, outcome):
    assert outcome.job.generator == 'given'
    assert 'dropped when these texts were written is not known here' in section(page, 'the-pool')


# --- where chosen texts lie ---


def test_each_panel_is_said_in_words(outcome, page):
    drawn = [a for t, a in Elements(section(page, 'where-chosen-texts-lie')).found if t == 'svg']
    assert 0 < len(drawn) <= 6
    assert all(a['role'] == 'img' and '% of the chosen texts' in a['aria-label'] for a in drawn)


def test_a_panel_has_every_text_of_its_class_once(outcome):
    name = outcome.texts.label.iloc[0]
    t = class_places(outcome, outcome.on_test.classes.index(name))
    counts, pool = t.kind.value_counts(), outcome.evaluator.pool
    assert counts['real'] == (outcome.evaluator.corpus.train.label == name).sum()
    assert counts['chosen'] + counts.get('not chosen', 0) == (pool.label == name).sum()
    assert counts['chosen'] == (outcome.texts.label == name).sum() and t.attrs['rival'] != name


def test_a_text_without_its_source_is_no_nearer_to_its_class_than_another_one():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 40))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    own, rival = x[:30], x[30:60]
    copies = leanings(own, rival, own, [(k, k) for k in range(30)])
    assert copies[2] == pytest.approx(copies[0])
    assert leanings(own, rival, own)[2].mean() > copies[2].mean() + 0.02
    assert leanings(rival, own, x[60:])[2] == pytest.approx(-leanings(own, rival, x[60:])[2])


# --- many classes ---


def many(k=150, n=3000):
    rng = np.random.default_rng(0)
    true = rng.integers(0, k, n)
    before, after = (np.where(rng.random(n) < p, true, rng.integers(0, k, n)) for p in (0.6, 0.7))
    return PairedTest(true, before, after, [f'class number {i} with a long name' for i in range(k)], draws=50)


@pytest.fixture(scope='module')
def crowd():
    "The parts of 150 classes"
    import pandas as pd

    pair = many()
    corpus = SimpleNamespace(train=pd.DataFrame({'label': pair.classes}))
    o = SimpleNamespace(
        on_test=pair, evaluator=SimpleNamespace(corpus=corpus), texts=pd.DataFrame({'label': pair.classes[:5]})
    )
    parts = [report.section('Classes', *classes_parts(o)), report.section('Confusions', *confusion_parts(pair))]
    return report.page('Many', parts, style=CONFUSION_STYLE, sortable=True)


def test_150_classes_are_shown_by_what_changed_most(crowd):
    e = Elements(crowd)
    assert 'class="matrix"' not in crowd and '30 of ' in crowd and len(e.all('details')) == 1
    assert sum(a.get('scope') == 'row' for a in e.all('th')) == 150 + 30


def test_confusions_add_up_to_the_errors():
    pair = many(5, 200)
    counts = [np.bincount(pair.true * 5 + y, minlength=25).reshape(5, 5) for y in (pair.before, pair.after)]
    t = confusions_table(*counts, pair.classes)
    assert t.before.sum() == (pair.before != pair.true).sum() and t.after.sum() == (pair.after != pair.true).sum()
    assert (t['true class'] != t['taken for']).all() and (t.difference == t.after - t.before).all()


# --- in a browser ---

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
ASK = """<script>
const table = document.querySelector('table:not(.matrix)'), last = table.tHead.rows[0].cells.length - 1
const column = [...table.tHead.rows[0].cells].findIndex(h => h.textContent === 'HEAD')
const button = table.tHead.rows[0].cells[column].querySelector('button'), seen = [innerWidth]
const take = () => seen.push([...table.tBodies[0].rows].map(r => r.cells[column].textContent).join(' '))
seen.push(document.documentElement.scrollWidth)
button.focus()
seen.push(document.activeElement === button && button.tabIndex === 0)
for (const k of [1, 2]) { button.click(); take() }
seen.push(table.tHead.rows[0].cells[column].getAttribute('aria-sort'))
document.body.textContent = seen.join('|')
</script></body>"""


def browser(tmp_path, page, width, *flags):
    (tmp_path / 'page.html').write_text(page)
    usual = ['--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', f'--user-data-dir={tmp_path}/profile']
    words = [CHROMIUM, *usual, f'--window-size={width},1500', *flags, f'file://{tmp_path}/page.html']
    return subprocess.run(words, capture_output=True, text=True, timeout=100).stdout


def framed(page, width):
    "`page` in a frame as wide as a phone, since a window is never narrower than 500 pixels; it tells what it found"
    inner = page.replace('&', '&amp;').replace('"', '&quot;')
    return (
        f'<!DOCTYPE html><body><iframe width="{width}" height="900" srcdoc="{inner}"></iframe><script>'
        "onload = () => document.body.textContent = document.querySelector('iframe').contentDocument.body.textContent"
        '</script></body>'
    )


@pytest.mark.skipif(not CHROMIUM, reason='needs a browser')
@pytest.mark.parametrize('which, head, width', [('page', 'errors', 390), ('crowd', 'difference', 390)])
def test_it_fits_a_phone_and_sorts_without_a_network(which, head, width, request, tmp_path):
    page = request.getfixturevalue(which).replace('</body>', ASK.replace('HEAD', head))
    said = re.search(r'<body>(.*?)</body>', browser(tmp_path, framed(page, width), 1200, '--dump-dom'), re.S)[1]
    window, wide, focus, first, second, order = said.strip().split('|')
    assert int(window) == width >= int(wide) and focus == 'true' and order == 'ascending'
    numbers = [[float(x.replace('−', '-')) for x in s.split() if x != '–'] for s in (first, second)]
    assert len(numbers[0]) > 2 and numbers[0] == sorted(numbers[0], reverse=True) and numbers[1] == sorted(numbers[1])


@pytest.mark.skipif(not CHROMIUM, reason='needs a browser')
def test_a_screenshot_is_light_or_dark_as_the_reader_has_it(page, tmp_path):
    from matplotlib.pyplot import imread

    shades = []
    for scheme in (1, 0):
        path = tmp_path / f'{scheme}.png'
        browser(tmp_path, page, 1200, f'--blink-settings=preferredColorScheme={scheme}', f'--screenshot={path}')
        image = imread(path)
        assert image.shape[:2] == (1500, 1200)
        shades.append(np.median(image[..., :3]))
    assert shades[0] > 0.9 and shades[1] < 0.2


@pytest.mark.skipif(not CHROMIUM, reason='needs a browser')
def test_a_figure_has_a_dark_ground_in_dark_mode(tmp_path):
    from matplotlib.pyplot import imread

    fig, (ax,) = grid(1, 1, (6, 3))
    ax.plot([0, 1], [0, 1])
    page = report.page('Figure', [report.section('A', report.figure(fig, alt='a line'))])
    browser(tmp_path, page, 900, '--blink-settings=preferredColorScheme=0', f'--screenshot={tmp_path}/dark.png')
    image = imread(tmp_path / 'dark.png')[200:400, 100:600, :3].mean(2)
    assert np.median(image) < 0.2 and 0.001 < (image > 0.3).mean() and (image > 0.8).mean() < 0.02


def test_the_command_of_a_report_has_options_that_improve_has():
    known = {job_field(p) for p in improve_options()}
    lacking = {FLAGS.get(f.name, f.name).replace('_', '-') for f in fields(Job)} - known
    assert not lacking, lacking
