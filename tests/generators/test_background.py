"""Prompts that say more than their examples: rivals, errors, sub-topics, codebooks; all from training texts alone"""

import json
import re

import numpy as np
import pandas as pd
import pytest
import worlds
import yaml
from servers import serving

from autogets.core import UserError, text_id
from autogets.curation.loop_plans import S3
from autogets.curation.rounds import run_rounds
from autogets.data.corpus import Corpus
from autogets.generators.background import Background, make_background
from autogets.generators.base import turn_order
from autogets.generators.build import build_pool
from autogets.generators.codebook import LONGEST_MEANING, class_meaning, read_codebook, write_codebook
from autogets.generators.confusions import MOST_LISTED, NEAREST, find_confusions
from autogets.generators.llm_writer import Writer, estimate_requests
from autogets.generators.pool import load_pool
from autogets.generators.run import GenerationSettings, RequestSettings, forecast, generate, run_generation
from autogets.generators.subtopics import deal_turns, find_subtopics, squared_distances, subtopic_count
from autogets.generators.topic_tree import TreeWriter
from autogets.llm.cache import Replies
from autogets.llm.chat import Chat, Reply

MEANINGS = {'ant': 'notes on ants', 'bee': 'notes on bees', 'cat': 'notes on cats'}
INFORMED = ('contrastive', 'counterexample', 'subtopic')


class Author(Chat):
    "Writes a text or a line that depends on what it is asked; dies after so many requests"

    kind, model, endpoint, batch = 'pretended', 'author', 'here', 8

    def __init__(self, lives=10**9):
        self.lives, self.asked = lives, []

    def complete_many(self, requests):
        return [self.one(r) for r in requests]

    def one(self, request):
        if not self.lives:
            raise ConnectionError('gone')
        self.lives -= 1
        self.asked.append(request)
        rng = np.random.default_rng(int(self.key(request)[:8], 16))
        ((name, kind),) = request.parameters['schema']['properties'].items()
        made = [f'{worlds.sentence(rng, 0)} {rng.integers(10**9)}' for _ in range(kind.get('maxItems', 1))]
        return Reply(json.dumps({name: made if name != 'explanation' else made[0]}), 'stop', 50, completion_tokens=30)


def said(request):
    return ''.join(m['content'] for m in request.messages)


def shown(request, name):
    "The objects in a block"
    body = re.search(rf'(?ms)^<{name}>\n(.*?)^</{name}>$', request.messages[-1]['content'])
    return [json.loads(line) for line in body[1].splitlines()] if body else []


def write(corpus, prompt, chat=None, examples=None, n=1, folder=None, filters=(), exactly=None, **background):
    "A pool by `prompt` from five examples of each class unless given, and what was asked for it"
    about = Background(**{'train': corpus.train, 'classifier': 'linear'} | background)
    chat = chat or Author()
    writer = Writer(chat, prompt=prompt, classes=corpus.classes, task='notes', background=about)
    writer.batch, rows = 4, corpus.train.groupby('label').head(5) if examples is None else examples
    pool = build_pool(writer, rows, folder, n=n, filters=filters, exactly=exactly, progress=False)
    return pool, chat.asked


@pytest.fixture(scope='module')
def insects():
    "Three classes, which a linear classifier often confuses"
    rng = np.random.default_rng(3)
    rows = [(worlds.sentence(rng, k, own=0.15) + f' row{k}x{i}', c) for k, c in enumerate(MEANINGS) for i in range(15)]
    return worlds.split_corpus(worlds.frame(rows), 'insects', 'stratified')


@pytest.fixture(scope='module')
def confused(insects):
    return find_confusions(insects.train, 'linear')


# --- rivals


def test_a_contrastive_prompt_shows_its_class_and_the_one_it_is_confused_with(insects, confused):
    label, pool, asked = dict(zip(insects.train.text, insects.train.label)), *write(insects, 'contrastive')
    assert len(asked) == 15
    for p, own in zip(pool.texts.parameters, pool.texts.label):
        assert p['rival'] == confused.rivals(own)[0] and len(p['rivals']) == 3
    for request in asked:
        own, rival = ({label[t['text']] for t in shown(request, b)} for b in ('examples', 'rivals'))
        assert own != rival and {*rival} == {confused.rivals(*own)[0]}
        assert f'Class: {json.dumps(*own)}\n' in said(request) and f'confused with: {json.dumps(*rival)}' in said(
            request
        )
        assert all(json.dumps(c) in request.messages[0]['content'] for c in insects.classes)


def test_the_rival_is_what_most_texts_are_taken_for(confused):
    for c in MEANINGS:
        own = confused.rows.label == c
        counts = pd.Series(confused.predicted[own]).value_counts().drop(c, errors='ignore')
        assert confused.rivals(c)[0] in counts.index[counts == counts.max()]
        assert sorted(confused.rivals(c)) == sorted({*MEANINGS} - {c})


def test_a_given_rival_counts_and_the_others_are_found(insects, confused):
    other = confused.rivals('ant')[1]
    pool, _ = write(insects, 'contrastive', rivals={'ant': other})
    assert {p['rival'] for p in pool.of('ant').parameters} == {other}
    assert {p['rival'] for p in pool.of('bee').parameters} == {confused.rivals('bee')[0]}
    with pytest.raises(UserError, match="no training text has the class 'cow', the rival of 'ant'"):
        write(insects, 'contrastive', rivals={'ant': 'cow'})


def test_no_rival_for_a_class_that_is_alone(insects):
    own = insects.train[insects.train.label == 'ant']
    with pytest.raises(UserError, match='one class, which can be confused with no other') as e:
        write(insects, 'contrastive', examples=own, train=None)
    assert '\n' not in str(e.value)


# --- errors


def test_counterexamples_are_asked_for_errors_alone_and_say_what_they_were_taken_for(insects, confused):
    pool, asked = write(insects, 'counterexample', examples=insects.train)
    assert {s[0] for s in pool.texts.source_ids} == set(confused.taken_for) and len(asked) == len(confused.taken_for)
    ids = dict(zip(insects.train.text, insects.train.id))
    for request, p in zip(asked, pool.texts.parameters):
        lines = shown(request, 'examples')
        assert [confused.taken_for[ids[t['text']]] for t in lines] == [t['taken for'] for t in lines] == p['taken_for']
        assert all(json.dumps(c) in said(request).split('took the texts below for: ')[1] for c in p['taken_for'])


def test_classes_without_errors_get_none_and_no_errors_at_all_is_refused(insects, confused):
    i, c = next(iter(confused.taken_for.items()))
    pool, _ = write(insects, 'counterexample', taken_for={i: c}, exactly=3, examples=insects.train)
    assert set(pool.texts.source_ids.str[0]) == {i} and len(pool) == 3
    with pytest.raises(UserError, match='no training text of ant, bee, cat is misclassified'):
        write(insects, 'counterexample', taken_for={})


def test_in_rounds_errors_are_found_among_all_training_texts(insects):
    pool = run_rounds(
        insects,
        Writer(Author(), prompt='counterexample-1', background=Background(classifier='linear')),
        S3(classifier='linear'),
        rounds=1,
        n=1,
        filters=list,
        progress=False,
    )
    taken = find_confusions(insects.train, 'linear').taken_for
    assert all(p['taken_for'] == [taken[i] for i in p['demonstrations']] for p in pool.texts.parameters)


def test_errors_that_a_plan_has_found_are_shown_in_rounds(insects):
    chat, taken = Author(), find_confusions(insects.train, 'linear').taken_for
    about = Background(insects.train, taken_for=taken)
    writer = Writer(chat, prompt='counterexample-1', background=about)
    pool = run_rounds(insects, writer, S3(classifier='linear'), rounds=1, n=1, filters=list, progress=False)
    assert {s[0] for s in pool.texts.source_ids} <= set(taken) and len(chat.asked) == len(pool.texts)


# --- sub-topics


def test_small_sub_topics_are_asked_for_as_often_as_large_ones():
    rng = np.random.default_rng(0)
    rare = [f'the plotter on floor {i} is out of blue ink' for i in range(5)]
    rows = [(t, 'print') for t in rare] + [(f'queue {i} hangs, spooler {rng.integers(99)}', 'print') for i in range(25)]
    rows += [(worlds.sentence(rng, 0), 'other') for _ in range(10)]
    corpus = worlds.split_corpus(worlds.frame(rows), 'own', 'stratified')
    own = corpus.train[corpus.train.label == 'print']
    pool, asked = write(corpus, 'subtopic', examples=own, subtopics=2)
    counts = pd.Series([p['subtopic'] for p in pool.texts.parameters]).value_counts()
    few = sum('plotter' in t for t in own.text)
    assert len(counts) == 2 and counts.max() - counts.min() <= 1 and few < len(own) / 4
    about = [all('plotter' in t['text'] for t in shown(r, 'examples')) for r in asked]
    assert abs(sum(about) - len(asked) / 2) <= 0.5
    assert len({(said(r), r.sample) for r in asked}) == len(asked), 'each turn is a request of its own'


def test_a_few_requests_cover_all_sub_topics(insects):
    pool, _ = write(insects, 'subtopic', subtopics=4, exactly=4)
    for c in insects.classes:
        assert {p['cluster'] for p in pool.of(c).parameters} == {0, 1, 2, 3}


@pytest.mark.parametrize('n', [1, 2, 7, 20, 41])
@pytest.mark.parametrize('k', [1, 2, 5, 7])
def test_every_round_of_turns_has_each_sub_topic_once(n, k):
    away, ids = np.random.default_rng(n).random((n, k)), [f'i{j}' for j in range(n)]
    turns = deal_turns(ids, away)
    assert list(turns) == ids
    for start in range(0, n, k):
        part = [turns[i] for i in ids[start : start + k]]
        assert len(set(part)) == len(part) and (len(part) < k or set(part) == set(range(k)))


def test_each_request_shows_what_is_nearest_to_one_center(insects):
    pool, asked = write(insects, 'subtopic', subtopics=3)
    own = insects.train[insects.train.label == 'ant'].sort_values('id').reset_index(drop=True)
    from autogets.generators.confusions import vectors_of

    vectors = vectors_of(own.text)
    found, text = find_subtopics(own, vectors, 3), dict(zip(own.id, own.text))
    for p in pool.of('ant').parameters:
        near = found.nearest(p['cluster'], 4)
        assert p['subtopic'] == found.name(p['cluster']) and set(p['demonstrations'][1:]) <= set(near)
    assert squared_distances(vectors, found.centers).argmin(1).tolist() == found.own.tolist()
    assert all(w in ' '.join(text.values()).lower() for k in range(3) for w in found.words[k])


def test_texts_without_labels_join_and_are_marked(insects):
    rng = np.random.default_rng(9)
    strange = [worlds.sentence(rng, 0, own=0.9) + f' new{i}' for i in range(12)]
    pool, asked = write(insects, 'subtopic', unlabeled=(*strange, insects.train.text.iloc[0]), subtopics=3)
    lines = [t for r in asked for t in shown(r, 'examples')]
    assert {t['text'] in strange for t in lines if 'unlabeled' in t} == {True}
    assert {t['text'] in strange for t in lines if 'unlabeled' not in t} == {False}
    assert {p['demonstrations'][0] for p in pool.texts.parameters} & {text_id(t) for t in strange}
    assert {s[0] for s in pool.texts.source_ids} <= set(insects.train.id), 'no text counts for one without a label'


@pytest.mark.parametrize(
    'texts, count, says', [(3, 5, '3 different texts, too few for 5'), (1, 2, '1 different text,')]
)
def test_more_sub_topics_than_texts(insects, texts, count, says):
    few = insects.train[insects.train.label != 'ant']
    few = pd.concat([few, insects.train[insects.train.label == 'ant'].head(texts)])
    with pytest.raises(UserError, match=f"the class 'ant' has {says}") as e:
        write(insects, 'subtopic', examples=few, train=few, subtopics=count)
    assert '\n' not in str(e.value)


@pytest.mark.parametrize('prompt', INFORMED)
def test_a_class_with_one_text(insects, prompt):
    lone = pd.concat([insects.train, worlds.frame([('something else altogether', 'dog')])])
    pool, asked = write(insects, prompt, examples=lone, train=lone)
    assert len(pool.of('dog')) == 1 and any('something else altogether' in said(r) for r in asked)


def test_a_class_has_no_more_sub_topics_than_texts():
    assert all(1 <= subtopic_count(n) <= min(n, 10) for n in range(1, 500))


# --- codebooks


def test_every_prompt_says_what_the_classes_mean(insects):
    few = insects.train.groupby('label').head(3)
    for prompt in ('few-shot-3', 'topic', 'different', *INFORMED):
        _, asked = write(insects, prompt, examples=few, taken_for=dict.fromkeys(few.id, 'cow'), codebook=MEANINGS)
        assert asked and all(line in r.messages[0]['content'] for r in asked for line in MEANINGS.values()), prompt
    chat = Author()
    writer = TreeWriter(chat, width=2, background=Background(codebook=MEANINGS))
    build_pool(writer, insects.train.groupby('label').head(1), n=1, progress=False)
    assert all(line in said(r) for r in chat.asked for line in MEANINGS.values())


def test_a_text_knows_the_definitions_that_it_was_written_with(insects):
    few = insects.train.groupby('label').head(2)
    first, _ = write(insects, 'one-shot', examples=few, codebook=MEANINGS)
    other, _ = write(insects, 'one-shot', examples=few, codebook=MEANINGS | {'cat': 'notes on dogs'})
    told = [{p['definitions'] for p in pool.texts.parameters} for pool in (first, other)]
    assert [len(t) for t in told] == [1, 1] and told[0] != told[1]
    assert 'definitions' not in write(insects, 'one-shot', examples=few)[0].texts.parameters[0]


def test_of_many_classes_the_nearest_are_listed():
    names = [f'class {k}' for k in range(MOST_LISTED + 10)]
    corpus = worlds.corpus(names, n=4)
    pool, asked = write(
        corpus, 'contrastive-1', examples=corpus.examples(names[0]), codebook={c: f'about {c}.' for c in names}
    )
    rival = pool.texts.parameters[0]['rival']
    for r in asked:
        listed = json.loads(re.search(r'All classes: (\{.*?\}) and 19 more that are less like it\.', said(r))[1])
        assert len(listed) == 1 + NEAREST and {names[0], rival} <= set(listed)
    plain = write(corpus, 'one-shot', examples=corpus.examples(names[0]))[1]
    assert all(json.dumps(sorted(names)) in said(r) for r in plain)


def test_the_model_is_asked_once_for_each_class_whatever_the_prompt(insects, tmp_path):
    few, sent = insects.train.groupby('label').head(3), []
    with Replies(tmp_path / 'replies.jsonl') as kept:
        for prompt in ('few-shot-3', 'few-shot-3', 'one-shot', 'contrastive'):
            chat, about = Author(), Background(insects.train, define=True, classifier='linear')
            writer = Writer(chat, prompt=prompt, replies=kept, background=about, temperature=1.5)
            forecast_ = estimate_requests(writer, few, 1)['requests']
            build_pool(writer, few, n=1, progress=False)
            sent.append(
                (len(chat.asked), sum('<examples>' in said(r) and 'Describe the class' in said(r) for r in chat.asked))
            )
            assert forecast_ == 9 + 3
    assert sent == [(12, 3), (0, 0), (9, 0), (9, 0)]


def test_what_the_model_says_of_a_class_is_in_the_prompts(insects):
    pool, asked = write(insects, 'one-shot', define=True)
    first, rest = asked[:3], asked[3:]
    label = dict(zip(insects.train.text, insects.train.label))
    for c, r in zip(insects.classes, first):
        assert {label[t['text']] for t in shown(r, 'examples')} == {c} and len(shown(r, 'examples')) == 5
        assert r.parameters['temperature'] == 0
        line = json.loads(Author().one(r).text)['explanation']
        assert all(json.dumps(line) in x.messages[0]['content'] for x in rest)


def test_no_more_classes_are_defined_than_prompts_list():
    names = [f'class {k}' for k in range(MOST_LISTED + 10)]
    corpus = worlds.corpus(names, n=4)
    _, asked = write(corpus, 'one-shot', examples=corpus.examples(names[0]), define=True)
    assert sum('Describe the class' in said(r) for r in asked) == 1 + NEAREST


@pytest.mark.parametrize(
    'content, says',
    [
        ('', 'is empty'),
        ('# nothing', 'is empty'),
        ('{}', 'is empty'),
        ('- ant', 'is no map'),
        ('just words', 'is no map'),
        ('ant: x', "lacks the class 'bee', 'cat'"),
        ('ant: x\nbee: y\ncat: z\ncow: m', "no class 'cow'; its classes are 'ant', 'bee', 'cat'"),
        ('dog: x\ncow: y', "no class 'cow', 'dog'"),
        ('ant: x\nbee: y\ncat:', "class 'cat': say what it means in one line"),
        ('ant: x\nbee: y\ncat: 3', "class 'cat': say what it means in one line"),
        ('ant: x\nbee: y\ncat: " "', "class 'cat': it has no definition"),
        ('ant: x\nbee: y\ncat: {not: dogs}', "class 'cat': it has no definition"),
        ('ant: x\nbee: y\ncat: {definition: z, color: red}', "class 'cat': there is no field 'color'"),
        ('ant: x\nbee: y\ncat: {definition: z, examples: purr}', "class 'cat': examples is not a list"),
        ('ant: x\nbee: y\ncat: {definition: z, examples: [1]}', "class 'cat': one of its examples is no text"),
        (f'ant: x\nbee: y\ncat: {"z" * (LONGEST_MEANING + 1)}', "class 'cat': 601 characters are no line"),
        ('ant: x\nant: y', 'field ant: it is there twice'),
        ('no: x', "no class 'False'.*put the names no, yes, on and off in quotes"),
        ('ant: [', 'is not YAML'),
    ],
)
def test_a_codebook_that_cannot_be_used(tmp_path, content, says):
    path = tmp_path / 'codebook.yml'
    path.write_text(content)
    with pytest.raises(UserError, match=says) as e:
        read_codebook(path, MEANINGS)
    assert str(path) in str(e.value) and '\n' not in str(e.value)


def test_an_entry_with_all_its_fields_is_one_line(tmp_path):
    entry = {'definition': 'notes\non ants', 'not': 'on termites.', 'examples': ['An ant!', 'two  ants']}
    assert class_meaning(entry) == 'notes on ants. Not: on termites. For example: An ant! / two ants.'
    write_codebook(MEANINGS, tmp_path / 'c.yml')
    assert read_codebook(tmp_path / 'c.yml', MEANINGS) == MEANINGS == read_codebook(MEANINGS, reversed(MEANINGS))


def test_a_codebook_and_one_to_be_written_contradict():
    with pytest.raises(UserError, match='leave one of both out'):
        Background(codebook=MEANINGS, define=True)


# --- what may never be in a prompt


@pytest.mark.parametrize('prompt', INFORMED)
def test_nothing_of_validation_or_test_decides_or_is_shown(insects, prompt):
    scrambled = [d.assign(label=np.roll(d.label, 5), text=d.text + ' z') for d in (insects.validation, insects.test)]
    other = Corpus('other', insects.train, *scrambled)
    asked = []
    for corpus in (insects, other):
        settings = GenerationSettings('openai:m', prompt, classifier='linear', codebook=MEANINGS)
        chat = Author()
        writer = Writer(chat, prompt=prompt, classes=corpus.classes, background=make_background(corpus, settings))
        build_pool(writer, corpus.train.groupby('label').head(6), n=1, progress=False)
        asked.append([said(r) for r in chat.asked])
    assert asked[0] == asked[1]
    assert not any(t in s for t in [*insects.validation.text, *insects.test.text] for s in asked[0])


def test_held_out_texts_in_the_unlabeled_file_are_left_out(insects, tmp_path):
    near = insects.test.text.iloc[0] + ' and'
    texts = [*insects.validation.text, *insects.test.text, near, *insects.train.text, '', 'a note nobody has labeled']
    pd.DataFrame({'note': texts}).to_csv(tmp_path / 'all.csv', index=False)
    how = dict(prompt='subtopic', unlabeled=tmp_path / 'all.csv', unlabeled_text='note')
    found = make_background(insects, GenerationSettings('openai:m', **how))
    assert found.unlabeled == ('a note nobody has labeled',)


@pytest.mark.parametrize('prompt', INFORMED)
def test_redaction_reaches_all_that_is_shown(insects, prompt):
    rows = insects.train.assign(text=[f'{t}, write to me{i}@example.com' for i, t in enumerate(insects.train.text)])
    rows = rows.assign(id=rows.text.map(text_id))
    about = Background(rows, define=True, classifier='linear', unlabeled=('own0a own0b own0c, ask x@example.com',))
    chat = Author()
    build_pool(Writer(chat, prompt=prompt, redact=True, background=about), rows, n=1, progress=False)
    assert chat.asked and not any('@example.com' in said(r) for r in chat.asked)


# --- runs


@pytest.mark.parametrize('prompt, define', [(p, p == 'contrastive') for p in (*INFORMED, 'different')])
def test_a_killed_run_goes_on_with_the_same_requests(insects, tmp_path, prompt, define):
    about = dict(define=define, unlabeled=('own0a own1a word3', 'own2b own2c word7') if prompt == 'subtopic' else ())
    whole, asked = write(insects, prompt, n=2, **about)
    first, then = Author(lives=7 + 3 * define), Author()
    with pytest.raises(ConnectionError):
        write(insects, prompt, chat=first, n=2, folder=tmp_path / 'p', **about)
    assert (tmp_path / 'p/texts.jsonl').read_text().count('\n') == 4
    again, _ = write(insects, prompt, chat=then, n=2, folder=tmp_path / 'p', **about)
    assert again.fingerprint == whole.fingerprint
    assert {said(r) for r in [*first.asked, *then.asked]} == {said(r) for r in asked}


@pytest.mark.parametrize('prompt', INFORMED)
def test_the_order_of_the_rows_does_not_matter(insects, prompt):
    rows = insects.train.groupby('label').head(8)
    one, mixed = (write(insects, prompt, examples=e, train=e)[1] for e in (rows, rows.sample(frac=1)))
    assert {(said(r), r.sample) for r in one} == {(said(r), r.sample) for r in mixed}


def test_another_seed_draws_other_rivals(insects):
    asked = []
    for seed in (0, 0, 1):
        chat = Author()
        writer = Writer(chat, seed, prompt='contrastive-1', background=Background(insects.train, classifier='linear'))
        build_pool(writer, insects.train.head(9), n=1, progress=False)
        asked.append([shown(r, 'rivals') for r in chat.asked])
    assert asked[0] == asked[1] != asked[2]


@pytest.mark.parametrize(
    'prompt, change',
    [
        ('contrastive', {'rivals': {'ant': 'cat'}}),
        ('subtopic', {'subtopics': 2}),
        ('subtopic', {'unlabeled': ('a note',)}),
        ('one-shot', {'codebook': MEANINGS}),
        ('one-shot', {'define': True}),
        ('counterexample', {'taken_for': {}}),
    ],
)
def test_a_pool_is_not_continued_on_another_background(insects, tmp_path, prompt, change):
    few = insects.train.groupby('label').head(9)
    write(insects, prompt, folder=tmp_path / 'p', examples=few)
    with pytest.raises(UserError, match='was begun with|nothing to write'):
        write(insects, prompt, folder=tmp_path / 'p', examples=few, **change)


def test_without_a_background_a_pool_says_nothing_of_one(insects):
    for prompt in ('autogets', 'few-shot-3', 'different'):
        pool, _ = write(insects, prompt, examples=insects.train.head(3))
        assert 'background' not in pool.manifest['parameters'] and set(pool.texts.parameters[0]) == {
            'demonstrations',
            'reply',
        }
    assert pool.manifest['parameters']['classes'] == insects.classes


def test_the_order_of_turns_is_that_of_exactly_so_many_texts(insects):
    pool, asked = write(insects, 'one-shot', exactly=2, examples=insects.examples('ant'))
    assert [s[0] for s in pool.texts.source_ids] == turn_order(insects.examples('ant').id)[:2]


# --- the command


@pytest.fixture(scope='module')
def server():
    with serving() as s:
        yield s


def settings(prompt, **more):
    return GenerationSettings('openai:m', prompt, n=1, classifier='linear', **more)


def test_a_run_writes_its_codebook_and_another_can_use_it(insects, server, tmp_path):
    requests = RequestSettings(server.url, replies=tmp_path / 'replies.jsonl')
    plan = forecast(insects, settings('contrastive', define=True), requests)
    made = run_generation(insects, settings('contrastive', define=True), tmp_path / 'a', requests, progress=False)
    assert plan['requests'] == made.sent == len(insects.train) + 3
    book = read_codebook(tmp_path / 'a/codebook.yml', insects.classes)
    again = run_generation(
        insects, settings('contrastive', codebook=tmp_path / 'a/codebook.yml'), tmp_path / 'b', requests, progress=False
    )
    assert again.sent == 0, 'the same lines make the same prompts'
    a, b = (load_pool(tmp_path / x).texts for x in 'ab')
    assert a.text.tolist() == b.text.tolist() and len({p['definitions'] for p in a.parameters}) == 1
    assert all(line == ' '.join(line.split()) for line in book.values())


def test_near_copies_of_what_is_shown_beside_the_examples_are_dropped(insects, monkeypatch, tmp_path):
    rival = {}

    class Copycat(Author):
        def one(self, request):
            if not rival:
                rival.update(shown(request, 'rivals')[0])
            return Reply(json.dumps({'texts': [rival['text'] + '!']}), 'stop', 50, completion_tokens=30)

    from autogets.generators import run

    monkeypatch.setattr(run, 'make_chat', lambda *a, **k: Copycat())
    with pytest.raises(UserError, match='near copy of a training example'):
        generate(insects, 'openai:m', tmp_path / 'p', 'ant', 'contrastive', 1, classifier='linear', progress=False)


BAD = [
    (['--prompt', 'subtopic', '--unlabeled', 'more.csv', '--unlabeled-text', 'x'], "more.csv has no column 'x'"),
    (['--prompt', 'subtopic', '--unlabeled', 'none.csv'], 'none.csv'),
    (['--prompt', 'subtopic', '--unlabeled', 'same.csv'], 'same.csv has no text that could be used'),
    (['--prompt', 'subtopic', '--subtopics', '99'], 'too few for 99 sub-topics'),
    (['--prompt', 'subtopic', '--subtopics', '0'], 'give a whole number from 1'),
    (['--prompt', 'contrastive', '--rival', 'ant=cow'], 'give CLASS=OTHER'),
    (['--prompt', 'contrastive', '--rival', 'ant'], 'give CLASS=OTHER'),
    (['--prompt', 'contrastive', '--classifier', 'tree'], 'unknown classifier'),
    (['--rival', 'ant=bee'], '--rival has no effect on the prompt method autogets'),
    (['--unlabeled', 'more.csv'], '--unlabeled has no effect'),
    (['--subtopics', '3'], '--subtopics has no effect'),
    (['--classifier', 'linear'], '--classifier has no effect'),
    (['--codebook', 'other.yml'], "other.yml: the corpus has no class 'cow'"),
    (['--codebook', 'none.yml'], 'none.yml'),
    (['--codebook', 'good.yml', '--define'], 'leave one of both out'),
    (['--prompt', 'definition'], 'does not ask for texts'),
]


@pytest.fixture
def folder(insects, tmp_path):
    pd.concat([insects.train, insects.validation, insects.test]).to_csv(tmp_path / 't.csv', index=False)
    pd.DataFrame({'text': ['own0a own0b word1', 'own0c own0d word2']}).to_csv(tmp_path / 'more.csv', index=False)
    insects.train.head(9).to_csv(tmp_path / 'same.csv', index=False)
    (tmp_path / 'good.yml').write_text(yaml.safe_dump(MEANINGS))
    (tmp_path / 'other.yml').write_text('cow: notes on cows')


@pytest.mark.parametrize('words, says', BAD, ids=[' '.join(w) for w, _ in BAD])
def test_what_cannot_be_is_said_in_one_line(in_process, folder, words, says):
    given = ['--classifier', 'linear'] if {'subtopic', 'contrastive'} & {*words} and '--classifier' not in words else []
    code, out, err = in_process('generate', 't.csv', '--model', 'openai:m', '--dry-run', *words, *given)
    assert code == 2 and out == '' and says in err and err.count('\n') == 1, err


@pytest.mark.parametrize(
    'words, holds',
    [
        (['contrastive', '--define'], '<rivals>'),
        (['contrastive', '--codebook', 'good.yml', '--rival', 'ant=cat'], 'What that one means: "notes on cats"'),
        (['counterexample'], '"taken for": '),
        (['subtopic', '--unlabeled', 'more.csv'], 'frequent on the sub-topic: "'),
        (['different'], 'differ from all of them'),
    ],
)
def test_a_dry_run_shows_the_prompt(in_process, folder, words, holds):
    more = ['--classifier', 'linear'] if words != ['different'] else []
    told = ['generate', 't.csv', '--model', 'openai:m', '--target', 'ant', '--dry-run', '--prompt']
    code, out, err = in_process(*told, *words, *more)
    assert code == 0 and holds in out and 'Nothing was sent' in out, err


def test_the_command_writes_with_texts_without_labels(in_process, folder, server, tmp_path):
    words = ['generate', 't.csv', '--model', 'openai:m', '--base-url', server.url, '--n', '1', '--classifier', 'linear']
    code, out, err = in_process(*words, '--prompt', 'subtopic', '--unlabeled', 'more.csv', '--out', 'pool', '-q')
    assert (code, err) == (0, '')
    pool = load_pool(tmp_path / 'pool')
    told = pool.manifest['parameters']['background']
    assert told['unlabeled'] == 2 and told['vectors'] == 'words' and all('subtopic' in p for p in pool.texts.parameters)


def test_the_judge_is_told_what_the_classes_mean(insects, server, tmp_path):
    requests = RequestSettings(server.url)
    run_generation(
        insects,
        settings('one-shot', codebook=MEANINGS, judge=3.0, target=('ant',)),
        tmp_path / 'p',
        requests,
        progress=False,
    )
    manifest = load_pool(tmp_path / 'p').manifest
    assert manifest['filters']['judge']['definitions'] and manifest['counts']['kept']
