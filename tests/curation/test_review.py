"A person in the loop: which synthetic texts are shown, what the page gives back, and what a sheet may do"

import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from autogets.classifiers.linear import Classifier
from autogets.classifiers.ridge import RidgeRows, best_ridge, class_factors, family, with_intercept
from autogets.cli import app, main
from autogets.core import UserError, text_id
from autogets.curation import review as module
from autogets.curation.corrections import apply_review, corrected_pool, decisions, review_effect
from autogets.curation.review import as_pool, held_out_probabilities, load_review, review
from autogets.curation.review_page import SHEET_COLUMNS, embedded, review_page
from autogets.data.corpus import read_corpus
from autogets.generators.pool import Pool, load_pool, pool_frame
from autogets.job import improve

TOPICS = {
    'tea': 'kettle leaf cup steam pot brew mug pour'.split(),
    'sea': 'wave boat salt gull tide sail wind deck'.split(),
    'ski': 'snow lift pole slope ice boot ridge pass'.split(),
}


def words(rng, topic, n=6):
    return ' '.join([*rng.choice(TOPICS[topic], n - 3), *rng.choice('the a we saw it and then by'.split(), 3)])


@pytest.fixture(scope='module')
def corpus():
    rng = np.random.default_rng(0)
    rows = [(f'{words(rng, c)} {k}', c) for c in TOPICS for k in range(40)]
    return read_corpus(pd.DataFrame(rows, columns=['text', 'label']), name='days')


@pytest.fixture(scope='module')
def pool(corpus):
    "Two texts of each example; of the first in each class one is about another topic"
    rng, rows = np.random.default_rng(1), []
    for c, own in corpus.train.groupby('label'):
        for k, i in enumerate(own.id):
            for n in range(2):
                about = 'sea' if c == 'tea' and k < 4 and n == 0 else c
                rows.append({'text': f'{words(rng, about)} {c}{k}.{n}', 'label': c, 'source_ids': [i], 'sample': n})
    full = {'generator': 'test', 'model': '', 'prompt': '', 'parameters': {}}
    frame = pool_frame([r | full | {'id': text_id(r['text'])} for r in rows])
    counts = {'requested': len(frame), 'kept': len(frame), 'dropped': {}, 'missing': {}}
    return Pool(frame, {'generator': 'test', 'counts': counts, 'drops': []})


@pytest.fixture(scope='module')
def made(corpus, pool):
    return review(corpus, pool, each=6, check=2, classifier='linear')


def sheet_of(made, **first):
    "The sheet with `first` in its first row"
    sheet = made.sheet.copy()
    for c, v in first.items():
        sheet.loc[0, c] = v
    return sheet


# --- what is shown ---


def test_texts_about_something_else_are_shown(made):
    tea = made.rows[(made.rows.label == 'tea') & (made.rows.kind == 'doubtful')]
    assert (tea.classifier_says == 'sea').sum() == 4
    assert made.rows.groupby(['label', 'kind']).size().to_dict() == {
        (c, k): n for c in TOPICS for k, n in (('doubtful', 6), ('check', 2))
    }
    assert list(made.sheet) == SHEET_COLUMNS and (made.sheet.verdict == '').all()


def test_the_same_seed_gives_the_same_sheet_and_the_sheet_hides_what_is_a_check(corpus, pool, made):
    again = review(corpus, pool, each=6, check=2, classifier='linear')
    assert again.sheet.equals(made.sheet) and 'kind' not in made.sheet
    kinds = made.rows.groupby('label').kind.agg(list)
    assert len(set(map(tuple, kinds))) > 1, 'checks are mixed among the others'


def test_equal_doubts_keep_the_order_of_the_pool(corpus, pool, monkeypatch):
    even = lambda corpus, texts, *_, **more: np.full((len(texts), 3), 1 / 3)
    monkeypatch.setattr(module, 'held_out_probabilities', even)
    shown = review(corpus, pool, each=5, check=0, classifier='linear').rows
    for c in TOPICS:
        assert set(shown.id[shown.label == c]) == set(pool.of(c).id[:5])


def test_the_source_is_left_out_of_the_folds(corpus, pool, monkeypatch):
    "The classifier that scores a text has not seen its sources, also where there are several"
    seen = []

    class Watching(Classifier):
        name, params = 'watching', {}

        def __init__(self, seed=0):
            pass

        def fit(self, texts, labels, *_):
            self.classes_, self.texts = np.unique(labels), set(texts)
            return self

        def raw_proba(self, texts, features=None):
            seen.append((self.texts, list(texts)))
            return np.full((len(texts), 3), 1 / 3)

    two = pool.texts.assign(source_ids=[[i[0], corpus.train.id[k % 70]] for k, i in enumerate(pool.texts.source_ids)])
    p = held_out_probabilities(corpus, two, 'watching')
    text = dict(zip(corpus.train.id, corpus.train.text))
    sources = {t: {text[i] for i in ids} for t, ids in zip(two.text, two.source_ids)}
    assert np.isfinite(p).all() and sum(len(t) for _, t in seen) == len(two)
    assert all(not (sources[t] & known) for known, texts in seen for t in texts)


class Vectors:
    "An embedder that counts the words of the topics"

    def embed(self, texts):
        known = sorted(sum(TOPICS.values(), []))
        x = np.array([[t.split().count(w) for w in known] for t in texts], float) + 0.01
        return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_the_closed_form_is_a_ridge_without_the_sources(corpus, pool, monkeypatch):
    model = type('Model', (), {'embedder': Vectors()})()
    monkeypatch.setattr(module, 'make_classifier', lambda spec, seed: model)
    some = pool.texts.iloc[[0, 30, 90]].reset_index(drop=True)
    some['source_ids'] = [[*s, corpus.train.id[3]] for s in some.source_ids]
    p = held_out_probabilities(corpus, some, 'encoder:any')
    train, embed = corpus.train, Vectors().embed
    x, y = with_intercept(embed(train.text)), pd.Index(corpus.classes).get_indexer(train.label)
    plain = RidgeRows(embed(train.text), y, 3, members=family(list(train.id), []))
    _, alpha, _, _, scale = best_ridge(plain)
    w = class_factors(np.ones(len(y)), y, 3)[y]
    for k, ids in enumerate(some.source_ids):
        own = w * ~train.id.isin(ids).to_numpy()
        b = np.linalg.solve((x.T * own) @ x + alpha * np.eye(x.shape[1]), (x.T * own) @ np.eye(3)[y])
        z = scale * (with_intercept(embed(some.text[k : k + 1])) @ b)[0]
        assert p[k] == pytest.approx(np.exp(z) / np.exp(z).sum(), rel=1e-6)
    assert not np.allclose(p, 1 / 3, atol=0.01)


def test_what_cannot_be_reviewed_is_said(corpus, pool):
    with pytest.raises(UserError, match="texts of 'golf'"):
        review(corpus, pool.texts.assign(label='golf'), classifier='linear')
    with pytest.raises(UserError, match='no column source_ids'):
        review(corpus, pool.texts[['text', 'label']])
    parts = ('train', 'validation', 'test')
    named = replace(corpus, **{s: getattr(corpus, s).replace({'label': {'tea': 'Keep'}}) for s in parts})
    with pytest.raises(UserError, match='a class is named keep'):
        review(named, pool)
    some = pool.texts.assign(source_ids=[['away'] if k < 5 else i for k, i in enumerate(pool.texts.source_ids)])
    assert review(corpus, some, classifier='linear').facts['left_out'] == {'a source is no training row': 5}


# --- the page ---


def test_the_page_needs_no_network_and_obeys_no_text(made):
    bad = made.sheet.assign(text='</script><script>alert(1)</script>').to_dict('records')
    page = review_page(bad, made.classes, 'A <review>')
    assert page.count('<script') == 2 and 'alert(1)' in page and 'A &lt;review&gt;' in page
    assert not re.search(r'https?:|<link|@import|url\(| src=', page)
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert data['rows'][0]['text'] == bad[0]['text'] and data['classes'] == made.classes
    assert json.loads(embedded('\u2028<&>')) == '\u2028<&>'


CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
PRESS = """<script>
const press = k => document.dispatchEvent(new KeyboardEvent('keydown', {key: k}))
for (const k of ['k', 'd', '2', 'ArrowLeft', 'u']) press(k)
$('edit').value = 'She said "no",\\nthen left'
$('edit').dispatchEvent(new Event('input'))
document.body.textContent = sheet()
</script></body>"""


@pytest.mark.skipif(not CHROMIUM, reason='needs a browser')
def test_a_browser_gives_back_the_sheet(made, corpus, tmp_path):
    page = review_page(made.rows.to_dict('records'), made.classes, 'Review')
    (tmp_path / 'page.html').write_text(page.replace('</body>', PRESS))
    flags = ['--headless', '--no-sandbox', '--disable-gpu', f'--user-data-dir={tmp_path}/profile', '--dump-dom']
    r = subprocess.run([CHROMIUM, *flags, f'file://{tmp_path}/page.html'], capture_output=True, text=True, timeout=100)
    body = re.search(r'<body>(.*)</body>', r.stdout, re.S)[1]
    (tmp_path / 'review.csv').write_text(body.replace('&amp;', '&').replace('&lt;', '<').replace('&gt;', '>'))
    said = decisions(made, corpus, tmp_path / 'review.csv')
    assert said.verdict[:3].tolist() == ['keep', 'drop', ''] and len(said) == len(made.rows)
    assert said.edited[2] == 'She said "no",\nthen left'


# --- sheets ---

BAD = {
    'a verdict': (dict(verdict='sae'), "row 1: the verdict 'sae' is neither keep, drop nor a class; is sea meant"),
    'an id': (dict(id='0'), "row 1: the id '0' is not in this review"),
    'a text': (dict(text='other words'), 'row 1: the text was changed; restore it, and write the new text into edited'),
    'a label': (dict(label='ski '), 'row 1: the label was changed; restore it, and write the right class into verdict'),
    'both': (dict(verdict='DROP', edited_text='x y'), 'row 1: the text is dropped and edited'),
}


@pytest.mark.parametrize('case', BAD)
def test_bad_rows_are_named(case, made, corpus):
    changes, said = BAD[case]
    with pytest.raises(UserError, match=re.escape(said)):
        decisions(made, corpus, sheet_of(made, **changes))


def test_an_edit_may_not_repeat_a_text(made, corpus, pool):
    for text in (corpus.test.text[0], corpus.train.text[0], pool.texts.text[9].upper()):
        with pytest.raises(UserError, match='row 1: the edited text equals another text'):
            decisions(made, corpus, sheet_of(made, edited_text=text))
    twice = made.sheet.assign(edited_text=['new words'] * 2 + [''] * (len(made.rows) - 2))
    with pytest.raises(UserError, match='row 2: the edited text equals'):
        decisions(made, corpus, twice)


def test_bad_files_are_named(made, corpus, tmp_path):
    sheet = sheet_of(made, verdict='keep')
    path = tmp_path / 's.csv'

    def refused(frame, said):
        frame.to_csv(path, index=False)
        with pytest.raises(UserError, match=said):
            decisions(made, corpus, path)

    refused(sheet.drop(columns='edited_text'), "s.csv has no column 'edited_text'")
    refused(sheet[:0], 's.csv has a header but no rows')
    refused(sheet.assign(id='9'), 's.csv belongs to another review')
    refused(pd.concat([sheet, sheet[3:5]]), r'row \d+: its text is in the sheet twice \(rows like this: 2\)')
    refused(made.sheet, 's.csv decides nothing')
    with pytest.raises(UserError, match='does not exist'):
        decisions(made, corpus, tmp_path / 'no.csv')


def test_reordered_half_filled_and_reformatted_sheets_are_read(made, corpus, tmp_path):
    sheet = sheet_of(made, verdict=' Keep ')[:12].sample(frac=1, random_state=0)
    sheet = sheet.assign(text=sheet.text.str.replace(' ', '\r\n', n=1), mine='note')[['mine', *made.sheet]]
    (tmp_path / 's.csv').write_bytes(b'\xef\xbb\xbf' + sheet.to_csv(index=False).encode())
    said = decisions(made, corpus, tmp_path / 's.csv')
    first = (said.id == made.rows.id[0]).to_numpy()
    assert len(said) == 12 and said.verdict[first].tolist() == ['keep'] and (said.verdict == '').sum() == 11


# --- what a review does ---


def test_the_corrected_pool_remembers(made, corpus, pool):
    sheet = made.sheet.copy()
    sheet.loc[:2, 'verdict'] = ['drop', 'ski', 'ski']
    sheet.loc[3, 'edited_text'] = 'quite new words'
    said = decisions(made, corpus, sheet)
    new = corrected_pool(pool, corpus, said)
    by_id = new.texts.set_index('id')
    assert len(new) == len(pool) - 1 and sheet.id[0] not in by_id.index
    relabeled = by_id.loc[sheet.id[1]]
    assert relabeled.label == 'ski' and relabeled.parameters['review']['label'] == sheet.label[1]
    assert relabeled.source_ids[1:] == pool.texts.set_index('id').source_ids[sheet.id[1]]
    label_of = dict(zip(corpus.train.id, corpus.train.label))
    assert {label_of[by_id.loc[i].source_ids[0]] for i in sheet.id[1:3]} == {'ski'}
    assert by_id.loc[sheet.id[1]].source_ids[0] != by_id.loc[sheet.id[2]].source_ids[0]
    assert by_id.loc[text_id('quite new words')].parameters['review']['text'] == sheet.text[3]
    counts = new.manifest['counts']
    assert counts['kept'] + sum(counts['dropped'].values()) == counts['requested'] and len(new.manifest['drops']) == 1
    assert len(pool.texts) == len(pool) and 'review' not in pool.manifest, 'the pool itself is left alone'


def test_a_search_takes_every_text_of_a_corrected_pool(made, corpus, pool, tmp_path):
    sheet = made.sheet.assign(verdict=['sea' if c != 'sea' else 'ski' for c in made.rows.label])
    new = corrected_pool(pool, corpus, decisions(made, corpus, sheet))
    new.save(tmp_path / 'pool')
    how = dict(classifier='linear', strategy='random', budget=1, progress=False, free=False)
    result = improve(corpus, tmp_path / 'pool', **how)
    assert len(result.evaluator.pool) == len(new) == len(pool)


def test_putting_wrong_labels_right_raises_the_held_out_score(corpus, pool):
    swapped = {'tea': 'sea', 'sea': 'ski', 'ski': 'tea'}
    wrong = pool.texts.assign(label=[swapped[c] if k % 2 else c for k, c in enumerate(pool.texts.label)])
    made = review(corpus, wrong, each=60, check=0, classifier='linear')
    truth = dict(zip(pool.texts.id, pool.texts.label))
    done = apply_review(corpus, made, made.sheet.assign(verdict=[truth[i] for i in made.rows.id]), classifier='linear')
    effect = done.effect.set_index('score')
    assert effect.low['accuracy'] > 0 and effect.said['accuracy'] == 'significant'
    assert done.counts['relabeled'] > 50 and '95 % CI over' in repr(done)


def test_the_effect_does_not_read_test(made, corpus, pool):
    blind = replace(corpus, test=corpus.test.assign(text='nothing', label='tea'))
    a, b = (review_effect(c, pool, made.pool, draws=20) for c in (corpus, blind))
    assert a.equals(b)


# --- from the command line ---


@pytest.fixture
def files(corpus, pool, tmp_path):
    rows = pd.concat([corpus.train, corpus.validation, corpus.test])[['text', 'label']]
    rows.rename(columns={'text': 'body', 'label': 'topic'}).to_csv(tmp_path / 'train.csv', index=False)
    return tmp_path


def test_review_from_the_command_line(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    corpus = read_corpus('train.csv', text='body', label='topic')
    rng = np.random.default_rng(3)
    rows = [
        {'text': f'{words(rng, c)} {k}', 'label': c, 'source_ids': [i]}
        for k, (i, c) in enumerate(zip(corpus.train.id, corpus.train.label))
    ]
    as_pool(pd.DataFrame(rows), corpus).save('pool')
    run = CliRunner()
    real = ['--real', 'train.csv', '--text', 'body', '--label', 'topic', '--classifier', 'linear', '--each', '3']
    r = run.invoke(app, ['review', 'pool', *real, '--out', 'out'])
    assert r.exit_code == 0 and '9 doubtful texts and 6 to check' in r.output, r.output
    sheet = pd.read_csv('out/review.csv', dtype=str, keep_default_na=False)
    sheet.loc[0, 'verdict'] = 'drop'
    sheet.to_csv('mine.csv', index=False)
    (tmp_path / 'elsewhere').mkdir()
    monkeypatch.chdir(tmp_path / 'elsewhere')
    r = run.invoke(app, ['review', '../out', '--done', '../mine.csv', '--json'])
    told = json.loads(r.output)
    assert (told['dropped'], told['undecided'], told['texts']) == (1, 14, len(rows) - 1)
    assert len(load_pool('../out/corrected')) == len(rows) - 1 and (tmp_path / 'mine.csv').exists()
    made, origin = load_review('../out')
    assert origin['real'] == str(tmp_path / 'train.csv') and len(made.rows) == 15


def test_one_line_for_what_the_command_cannot_do(files, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def refused(*words):
        monkeypatch.setattr('sys.argv', ['autogets', *words])
        with pytest.raises(SystemExit) as e:
            main()
        said = capsys.readouterr()
        assert e.value.code == 2 and said.out == '' and len(said.err.splitlines()) == 1, said.err
        return said.err

    assert 'give --real TRAIN' in refused('review', 'pool')
    real = ('--real', 'train.csv', '--text', 'body', '--label', 'topic')
    assert 'no pool and no run nothing' in refused('review', 'nothing', *real)
    assert 'holds no review.json' in refused('review', 'nothing', '--done', 'mine.csv')


def test_a_filled_in_sheet_is_not_written_over(made, tmp_path):
    made.save(tmp_path)
    sheet_of(made, verdict='keep').to_csv(tmp_path / 'review.csv', index=False)
    with pytest.raises(UserError, match='holds decisions'):
        made.save(tmp_path)


def test_a_changed_pool_or_corpus_is_noticed(made, corpus, pool, tmp_path):
    made.save(tmp_path)
    other = replace(corpus, train=corpus.train[:-1])
    with pytest.raises(UserError, match='is not the corpus of this review'):
        apply_review(other, tmp_path, made.sheet)
    Pool(pool.texts[:-1], pool.manifest).save(tmp_path / 'pool')
    with pytest.raises(UserError, match='is not the one that was reviewed|damaged'):
        load_review(tmp_path)
    (tmp_path / 'review.json').write_text('{"facts": 1}')
    with pytest.raises(UserError, match='review.json is damaged'):
        load_review(tmp_path)
