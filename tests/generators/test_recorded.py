"Recordings: three kinds of file, read strictly, and their texts given to the examples they were written from"

import gzip
import json
import os
import re
import sys

import pytest

from autogets.cli import main
from autogets.core import UserError, shipped, text_id
from autogets.data.corpus import split_corpus
from autogets.data.datasets import load_corpus
from autogets.generators.build import build_pool
from autogets.generators.recorded import Recorded
from autogets.generators.registry import make_generator
from autogets.generators.run import generate
from autogets.job import improve
from generators.makers import frame


def write_csv(path, header, *rows):
    import csv

    with open(path, 'w', newline='') as f:
        csv.writer(f).writerows([header, *rows])
    return path


@pytest.fixture
def csv_recording(tmp_path):
    rows = [
        [f'new {m} {me} {k}', 'X', 'Real one !', m, me]
        for m in ('gpt', 'llama')
        for me in ('para', 'swap')
        for k in range(2)
    ]
    return write_csv(tmp_path / 'llm.csv', ['text', 'label', 'source_text', 'model', 'method'], *rows)


def test_csv_in_stored_order_found_through_the_normalized_source(csv_recording):
    made = Recorded(csv_recording, model='gpt').generate(frame(['real  ONE']), 4)
    assert made.text.tolist() == ['new gpt para 0', 'new gpt para 1', 'new gpt swap 0', 'new gpt swap 1']
    assert made['sample'].tolist() == [0, 1, 2, 3]
    assert made.model.tolist() == ['gpt'] * 4
    assert made.prompt.tolist() == ['para', 'para', 'swap', 'swap']
    assert Recorded(csv_recording).generate(frame(['real  ONE']), 8).model.tolist() == ['gpt'] * 4 + ['llama'] * 4


def test_csv_filters(csv_recording):
    made = make_generator(f'recorded:{csv_recording}', model='llama', method='swap').generate(frame(['Real one']), 9)
    assert made.text.tolist() == ['new llama swap 0', 'new llama swap 1']
    assert made.model[0] == 'llama' and made.prompt[0] == 'swap'
    with pytest.raises(UserError, match='gpt, llama'):
        Recorded(csv_recording, model='mistral')
    with pytest.raises(UserError, match='para, swap'):
        Recorded(csv_recording, method='ins')


def test_filter_where_there_is_nothing_to_filter():
    with pytest.raises(UserError, match='no model given'):
        Recorded('tickets', model='gpt')


def test_gzipped_csv(tmp_path, csv_recording):
    zipped = tmp_path / 'llm.csv.gz'
    zipped.write_bytes(gzip.compress(csv_recording.read_bytes()))
    assert len(Recorded(zipped).generate(frame(['Real one']), 9)) == 8


def test_shipped_recording():
    tickets = load_corpus('tickets')
    stored = {
        e['source_id']: e['texts'] for e in map(json.loads, gzip.open(shipped('banks/tickets/bank.jsonl.gz'), 'rt'))
    }
    made = make_generator('recorded:tickets').generate(tickets.train.drop_duplicates('id'), 2)
    for r in made.itertuples():
        assert stored[r.source_ids[0]][r.sample] == r.text
    assert len(made) == sum(len(stored.get(i, [])[:2]) for i in set(tickets.train.id)) > 2000


def test_lines_may_name_model_method_and_several_sources(tmp_path):
    a, b = text_id('a one'), text_id('b two')
    path = tmp_path / 'texts.jsonl'
    path.write_text(
        json.dumps({'source_ids': [a, b], 'texts': ['t1', 't2'], 'model': 'm', 'method': 'few-shot'}) + '\n\n'
    )
    made = Recorded(path, method='few-shot').generate(frame(['a one', 'b two']), 5)
    assert made.source_ids.tolist() == [[a, b], [b, a]] and made['sample'].tolist() == [0, 0]


def few_shot(tmp_path, *groups):
    rows = [[f'{" ".join(g)} {k}', 'X', json.dumps(g)] for g in groups for k in range(4)]
    return write_csv(tmp_path / 'few.csv', ['text', 'label', 'source_examples'], *rows)


def test_several_sources_are_all_named_and_share_the_texts(tmp_path):
    made = Recorded(few_shot(tmp_path, ['one', 'two'])).generate(frame(['one', 'two']), 5)
    assert {frozenset(s) for s in made.source_ids} == {frozenset([text_id('one'), text_id('two')])}
    assert [s[0] for s in made.source_ids] == [text_id('one')] * 2 + [text_id('two')] * 2


def test_no_text_with_a_source_outside_the_examples(tmp_path):
    pool = build_pool(Recorded(few_shot(tmp_path, ['one', 'two'], ['one', 'held out'])), frame(['one', 'two']), n=4)
    assert len(pool) == 4 and not pool.texts.text.str.contains('held').any()
    assert pool.manifest['counts']['missing'] == {'a source is not among the examples': 2, 'fewer recorded': 2}


def test_several_sources_split_over_batches(tmp_path):
    recorded = Recorded(few_shot(tmp_path, ['one', 'two']))
    recorded.batch = 1
    assert len(build_pool(recorded, frame(['one', 'two']), n=2)) == 4


def test_sources_without_texts_are_counted(csv_recording):
    pool = build_pool(Recorded(csv_recording), frame(['Real one', 'never seen']), n=2)
    counts = pool.manifest['counts']
    assert (counts['sources'], counts['sources_with_texts'], counts['missing']) == (2, 1, {'none recorded': 2})


def test_a_recording_of_another_corpus_is_refused(csv_recording):
    with pytest.raises(UserError, match='does not belong to this corpus'):
        build_pool(Recorded(csv_recording), frame(['other', 'texts']))


@pytest.mark.parametrize(
    'name, content', [('e.csv', 'text,source_text\n'), ('e.jsonl', '{"source_id": "a", "label": "X", "texts": []}\n')]
)
def test_an_empty_recording_is_refused_in_use(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match='none of its 0 sources'):
        build_pool(Recorded(tmp_path / name), frame(['a']))


def test_texts_of_another_label_are_not_used(csv_recording, tmp_path):
    with pytest.raises(UserError, match='recorded under another label'):
        build_pool(Recorded(csv_recording), frame(['Real one'], ['Y']))
    mixed = write_csv(tmp_path / 'mixed.csv', ['text', 'label', 'source_text'], ['t', 'X', 'a'], ['u', 'Y', 'a'])
    pool = build_pool(Recorded(mixed), frame(['a']), n=2)
    assert pool.texts.text.tolist() == ['t']
    assert pool.manifest['counts']['missing'] == {'recorded under another label': 1}


def test_without_a_label_column_that_of_the_source_is_taken(tmp_path):
    path = write_csv(tmp_path / 'l.csv', ['text', 'source_text'], ['new', 'old'])
    assert Recorded(path).generate(frame(['old'], ['Q']), 1).label.tolist() == ['Q']


@pytest.mark.parametrize(
    'line, says',
    [
        ('{"source_id": "a", "label": "X", "te', 'line 2 is not one JSON object'),
        ('[1, 2]', 'line 2 is not one JSON object'),
        ('{"source_id": "a", "label": "X"}', "line 2: no 'texts'"),
        ('{"label": "X", "texts": []}', "line 2: no 'source_id'"),
        ('{"source_id": "a", "label": "X", "texts": "one text"}', 'line 2: source ids and texts must be strings'),
        ('{"source_id": 3, "label": "X", "texts": ["t"]}', 'line 2: source ids and texts must be strings'),
        ('{"source_ids": [], "texts": ["t"]}', 'line 2: texts without a source need a label'),
        ('{"source_id": "a", "label": "X", "texts": ["\\ud800"]}', 'line 2'),
    ],
)
def test_malformed_line(tmp_path, line, says):
    path = tmp_path / 'texts.jsonl'
    path.write_text('{"source_id": "a", "label": "X", "texts": ["t"]}\n' + line + '\n')
    with pytest.raises(UserError, match=says) as e:
        Recorded(path)
    assert str(path) in str(e.value) and '\n' not in str(e.value)


@pytest.mark.parametrize(
    'content, says',
    [
        (b'text,source_text\na,b\nc\n', 'row 3 has 1 fields, the header 2'),
        (b'text,source_text\na,b,c\n', 'row 2 has 3 fields'),
        (b'text,source_text\n"a\nb",src\nc, \n', 'row 3: source_text is empty'),
        (b'text,source_examples\na,not json\n', 'row 2: source_examples'),
        (b'text,source_examples\na,"[""x"", 3]"\n', 'row 2: source_examples'),
        (b'text,source_text\n"a"b,c\n', 'line 2'),
        (b'text,source\na,b\n', 'has the columns text, source'),
        (b'', 'is empty'),
        (b'text,source_text\na,caf\xe9\n', 'not UTF-8: .* line 2'),
    ],
)
def test_malformed_csv(tmp_path, content, says):
    path = tmp_path / 'bad.csv'
    path.write_bytes(content)
    with pytest.raises(UserError, match=says) as e:
        Recorded(path)
    assert str(path) in str(e.value)


def test_damaged_gzip_and_missing_file(tmp_path):
    path = tmp_path / 'texts.jsonl.gz'
    whole = gzip.compress(os.urandom(5000))
    for data in (whole[:100], b'plain', whole[:50] + b'\0\0\0\0' + whole[54:]):
        path.write_bytes(data)
        with pytest.raises(UserError, match='damaged gzip file|not JSON lines|zero bytes'):
            Recorded(path)
    with pytest.raises(UserError, match='tickets, tickets_smollm2, trec6'):
        Recorded(tmp_path / 'none.jsonl')


# --- all of a recording, and what limits it ---

VOICES = [(m, k) for m in ('gpt', 'llama') for k in ('ins', 'para', 'swap')]


@pytest.fixture
def voices(tmp_path):
    "Forty examples of two classes with four texts of each of two models and three methods, in blocks, as files have it"
    rows = [
        [f'{m} {k} {t} of text{i} number{i}', 'XY'[i % 2], f'example{i}', m, k]
        for m, k in VOICES
        for i in range(40)
        for t in range(4)
    ]
    return write_csv(tmp_path / 'voices.csv', ['text', 'label', 'source_text', 'model', 'method'], *rows)


def forty():
    return frame([f'example{i}' for i in range(40)], ['XY'[i % 2] for i in range(40)])


def test_all_texts_are_used_unless_something_limits_them(voices):
    c = split_corpus(forty(), 'forty', 'stratified')
    o = improve(c, f'recorded:{voices}', strategy='random', budget=2, progress=False)
    assert len(o.evaluator.pool) == 24 * len(c.train)
    assert o.summary()['texts_left_out'] == {'a source is not among the examples': 960 - 24 * len(c.train)}


@pytest.mark.parametrize('n', [1, 2, 5, 7])
def test_models_and_methods_are_drawn_evenly_when_n_limits(n, voices):
    pool = build_pool(Recorded(voices), forty(), n=n)
    counts = pool.texts.groupby(['model', 'prompt']).size()
    assert len(counts) == 6 and counts.sum() == 40 * n and counts.max() - counts.min() <= max(2, n)
    assert pool.texts.groupby(pool.texts.source_ids.str[0]).size().eq(n).all()
    g = Recorded(voices)
    g.batch = 7
    assert build_pool(g, forty(), n=n).texts.text.tolist() == pool.texts.text.tolist()


def test_what_limits_a_recording_is_counted_in_the_manifest(voices, tmp_path):
    examples = forty()[lambda d: d.label == 'X']
    for folder in (tmp_path / 'p', None, tmp_path / 'p'):
        pool = build_pool(Recorded(voices, model='gpt', method='para'), examples, folder, n=3)
        left = pool.manifest['left_out']
        assert left == {
            'of another model': 480,
            'of another method': 320,
            'a source is not among the examples': 80,
            'more than 3 of an example': 20,
        }
        counts = pool.manifest['counts']
        assert sum(left.values()) + counts['kept'] + sum(counts['dropped'].values()) == 960
    assert 'left_out' not in build_pool(Recorded(voices), forty(), n=24).manifest


def test_a_run_that_was_begun_with_five_of_each_goes_on_with_five(voices, tmp_path):
    c = split_corpus(forty(), 'forty', 'stratified')
    how = dict(strategy='random', progress=False)
    old = improve(c, f'recorded:{voices}', budget=2, n=5, out=tmp_path / 'out', **how)
    new = improve(c, f'recorded:{voices}', budget=4, out=tmp_path / 'out', **how)
    assert len(new.evaluator.pool) == len(old.evaluator.pool) == 5 * len(c.train)


def test_generate_takes_all_of_a_recording(voices, tmp_path):
    c = split_corpus(forty(), 'forty', 'stratified')
    assert len(generate(c, f'recorded:{voices}', tmp_path / 'pool', progress=False)) == 24 * len(c.train)


def test_what_was_left_out_is_printed(voices, tmp_path, monkeypatch, capsys):
    forty()[['text', 'label']].to_csv(tmp_path / 'train.csv', index=False)
    words = ['improve', tmp_path / 'train.csv', '--generator', f'recorded:{voices}', '--model', 'gpt', '--n', '2']
    words += ['--strategy', 'random', '--budget', '2', '--out', tmp_path / 'out']
    monkeypatch.setattr(sys, 'argv', ['autogets', *map(str, words)])
    with pytest.raises(SystemExit, match='^0$'):
        main()
    said = capsys.readouterr().out
    assert re.search(r'52 of 960 texts are in the pool; left out: ', said), said
    assert '480 of another model, ' in said and ' more than 2 of an example' in said


def test_the_bank_of_a_weak_model_was_written_from_training_tickets():
    train = load_corpus('tickets').train
    texts = build_pool(Recorded('tickets_smollm2'), train, progress=False).texts
    label = dict(zip(train.id, train.label))
    assert len(texts) == 201 and texts.label.nunique() == 15
    assert all(label[i] == c for ids, c in zip(texts.source_ids, texts.label) for i in ids)
