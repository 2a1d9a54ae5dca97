"""Loops: what a plan chooses is what is shown, nothing of validation or test is, and a killed loop goes on"""

import json

import numpy as np
import pytest
import worlds
from curation.scribes import PLAIN, Says, Scribe

from autogets import curation
from autogets.core import UserError, text_id
from autogets.curation.loop_plans import ProGen
from autogets.curation.rounds import Plan, by_round, draw_examples, run_rounds
from autogets.generators.build import build_pool
from autogets.generators.eda import EDA
from autogets.generators.llm_writer import Writer
from autogets.generators.pool import load_pool
from autogets.llm.cache import Meter, Price, Replies
from autogets.llm.chat import Reply


class Same(Plan):
    "The same two examples of each class again and again"

    name, note = 'same', 'here is a note'

    def examples(self, corpus, written, rng):
        return corpus.train.groupby('label').head(2)


class Last(Plan):
    "Three texts of each class from the round before"

    name = 'last'

    def examples(self, corpus, written, rng):
        return draw_examples(
            written[written['round'] == written['round'].max()] if len(written) else corpus.train, 3, rng
        )


# --- the loop


def test_all_sources_are_real_and_of_the_class(small):
    texts = by_round(run_rounds(small, EDA(synonyms='none'), Last(), rounds=4, n=2, **PLAIN))
    label_of, round_of = dict(zip(small.train.id, small.train.label)), dict(zip(texts.id, texts['round']))
    assert texts['round'].nunique() == 4 and texts.id.is_unique
    assert all([label_of[i] for i in ids] == [c] for ids, c in zip(texts.source_ids, texts.label))
    wrote, sources = dict(zip(texts.id, texts.source_ids)), texts.parameters.str['written_from']
    for own, start, k in zip(texts.source_ids, sources.str[0], texts['round']):
        assert round_of.get(start, 0) == k - 1 and own == wrote.get(start, [start])


def test_the_first_round_is_what_build_pool_writes_and_the_generator_stays_as_it_was(small):
    writer = Writer(Scribe(), prompt='one-shot', classes=small.classes, task='notes; here is a note')
    plain = build_pool(writer, Same().examples(small, None, None), n=2, progress=False)
    mine = Writer(Scribe(), prompt='one-shot', task='notes')
    looped = run_rounds(small, mine, Same(), rounds=1, n=2, **PLAIN)
    assert looped.texts.text.tolist() == plain.texts.text.tolist()
    assert mine.parameters['task'] == 'notes' and 'classes' not in mine.parameters


def test_the_same_examples_give_new_texts_in_every_round_without_a_repeated_request(small):
    chat = Scribe()
    texts = by_round(run_rounds(small, Writer(chat, prompt='one-shot'), Same(), rounds=3, n=2, **PLAIN))
    assert texts.groupby('round').size().tolist() == [12, 12, 12] and texts.id.is_unique
    assert len({chat.key(r) for r in chat.asked}) == len(chat.asked) == 18
    assert all('here is a note' in r.messages[0]['content'] + r.messages[1]['content'] for r in chat.asked)


def test_a_generator_that_cannot_be_asked_again_goes_on_where_it_was(small):
    texts = by_round(run_rounds(small, EDA(synonyms='none'), Same(), rounds=3, n=2, **PLAIN))
    assert texts.groupby('round').size().tolist() == [12, 12, 12] and texts.id.is_unique


def test_a_method_that_shows_what_was_kept_sees_earlier_rounds(small):
    chat = Scribe()
    texts = by_round(run_rounds(small, Writer(chat, prompt='expand'), Same(), rounds=2, n=2, **PLAIN))
    first = texts.text[texts['round'] == 1]
    asked = [r.messages[-1]['content'] for r in chat.asked]
    seen = [any(t in said for t in first) for said in asked]
    assert seen == [False] * 6 + [True] * 6


def test_a_prompt_names_all_classes_though_the_round_has_one(small):
    class One(Same):
        def examples(self, corpus, written, rng):
            return corpus.train[corpus.train.label == 'bee'].head(2)

    chat = Scribe()
    run_rounds(small, Writer(chat, prompt='one-shot'), One(), rounds=1, n=1, **PLAIN)
    assert all(c in chat.asked[0].messages[0]['content'] for c in ('ant', 'bee', 'cat'))


@pytest.mark.parametrize('prompt, lives', [('few-shot-3', 4), ('expand', 11), ('expand', 20)])
def test_a_killed_loop_ends_like_one_that_was_not(small, tmp_path, prompt, lives):
    "In the first, the second and the third round; `expand` shows what was kept, so it must remember that, too"
    whole = run_rounds(small, Writer(Scribe(), prompt=prompt), Last(), n=2, **PLAIN)
    with pytest.raises(ConnectionError):
        run_rounds(small, Writer(Scribe(lives), prompt=prompt), Last(), n=2, folder=tmp_path, **PLAIN)
    again = run_rounds(small, Writer(Scribe(), prompt=prompt), Last(), n=2, folder=tmp_path, **PLAIN)
    assert again.fingerprint == whole.fingerprint
    dead = run_rounds(small, Writer(Scribe(0), prompt=prompt), Last(), n=2, folder=tmp_path, **PLAIN)
    assert dead.fingerprint == whole.fingerprint


def test_replies_are_paid_once_and_seeds_decide(small, tmp_path):
    with Replies(tmp_path / 'replies.jsonl') as kept:
        pools, sent = [], []
        for seed in (0, 0, 1):
            writer = Writer(Scribe(), prompt='few-shot-3', replies=kept)
            pools.append(run_rounds(small, writer, Last(), n=2, seed=seed, **PLAIN).fingerprint)
            sent.append(writer.meter.sent)
    assert pools[0] == pools[1] != pools[2] and sent[0] == 27 and sent[1] == 0


def test_another_plan_or_seed_does_not_go_on_in_the_folder(small, tmp_path):
    how = dict(n=2, folder=tmp_path, **PLAIN)
    run_rounds(small, EDA(synonyms='none'), Last(), rounds=1, **how)
    with pytest.raises(UserError, match='begun with other examples'):
        run_rounds(small, EDA(synonyms='none'), Last(), seed=1, **how)


def test_what_an_earlier_round_wrote_and_what_is_held_out_is_dropped(small):
    test_text = small.test.text[0]
    said = Says(lambda i: [f'the first of {i}', test_text])
    pool = run_rounds(small, said, Same(), rounds=3, n=2, **PLAIN)
    assert by_round(pool)['round'].unique().tolist() == [1] and len(pool) == 6
    dropped = pool.manifest['counts']['dropped']
    assert dropped['equal to a held-out text'] == 12 and set(pool.texts.text) == {f'the first of {i}' for i in set(
        pool.texts.source_ids.str[0])}  # fmt: skip


def test_repeats_are_counted_by_their_own_reason(small):
    class Constant(Scribe):
        def one(self, request):
            return Reply(
                json.dumps({'texts': ['always this', f'sample {request.sample}']}), 'stop', 5, completion_tokens=5
            )

    class First(Plan):
        name = 'first'

        def examples(self, corpus, written, rng):
            return corpus.train.head(1)

    pool = run_rounds(small, Writer(Constant(), prompt='one-shot'), First(), rounds=3, n=2, **PLAIN)
    assert pool.manifest['counts']['dropped']['repeat of an earlier round'] > 0
    assert by_round(pool).groupby('round').size().tolist()[0] == 2 and pool.texts.id.is_unique


@pytest.mark.parametrize('folder', [None, 'here'])
def test_a_later_round_of_no_use_ends_the_loop_and_loses_nothing(small, tmp_path, folder):
    said, how = Says(lambda i: ['only ' + i] if i in set(small.train.id) else []), dict(n=1, **PLAIN)
    for _ in range(2):
        pool = run_rounds(small, said, Last(), rounds=4, folder=folder and tmp_path / folder, **how)
        assert len(pool) == 9 and set(by_round(pool)['round']) == {1}


def test_a_first_round_of_no_use_says_why(small, tmp_path):
    with pytest.raises(UserError, match='the loop last wrote nothing'):
        run_rounds(small, Says(lambda i: []), Last(), **PLAIN)
    with pytest.raises(UserError, match='nothing was kept .*not generated'):
        run_rounds(small, Says(lambda i: []), Last(), folder=tmp_path, **PLAIN)


def test_a_limit_of_cost_is_not_taken_for_the_end(small, tmp_path):
    def run(limit):
        writer = Writer(Scribe(), prompt='one-shot', meter=Meter(Price(1.0, 1.0), limit=limit))
        return run_rounds(small, writer, Last(), n=1, folder=tmp_path, **PLAIN)

    with pytest.raises(UserError, match='stopped at the limit'):
        run(0.003)
    assert (tmp_path / 'round-1').exists() and by_round(run(1.0))['round'].nunique() == 3


def test_a_pool_of_rounds_is_saved_and_loaded(small, tmp_path):
    pool = run_rounds(small, EDA(synonyms='none'), Last(), rounds=2, n=2, **PLAIN)
    found = load_pool(pool.save(tmp_path / 'pool'))
    assert found.fingerprint == pool.fingerprint and found.manifest['plan']['name'] == 'last'
    counts = found.manifest['counts']
    assert counts['requested'] == counts['kept'] + sum(counts['dropped'].values()) + sum(counts['missing'].values())
    rounds = [dict(by_round(p)[['text', 'round']].to_numpy().tolist()) for p in (pool, found)]
    assert rounds[0] == rounds[1]


class Cheat(Plan):
    "Shows a validation text"

    name = 'cheat'

    def examples(self, corpus, written, rng):
        return corpus.validation.head(1)


class Poor(Plan):
    "Gives no labels"

    name = 'poor'

    def examples(self, corpus, written, rng):
        return corpus.train[['id', 'text']]


@pytest.mark.parametrize(
    'given, says',
    [
        (dict(plan=Cheat()), 'cheat chose a text in round 1 that is neither a training text nor written'),
        (dict(plan=Poor()), 'poor chose examples without label'),
        (dict(plan='progen'), "'progen' is no plan: give one such as"),
        (dict(rounds=0), '0 rounds write nothing'),
        (dict(rounds=1.5), '1.5 rounds write nothing'),
        (dict(n=0), 'cannot make 0 texts'),
    ],
)
def test_what_cannot_be_is_said(small, given, says):
    with pytest.raises(UserError, match=says):
        run_rounds(small, EDA(synonyms='none'), **({'plan': Last()} | given), **PLAIN)


def test_the_usual_filters_are_those_of_a_pool(small):
    leak = Says(lambda i: [f'label: ant and more words of {i}', f'quite another thing that says nothing of {i}'])
    pool = run_rounds(small, leak, Same(), rounds=1, n=2, progress=False)
    assert pool.manifest['counts']['dropped']['label leak'] == 6


# --- faces


def test_examples_are_drawn_by_class_and_names_are_found():
    rows = worlds.corpus().train
    some = draw_examples(rows, 2, np.random.default_rng(0))
    assert (some.groupby('label').size() == 2).all() and some.id.is_unique
    assert draw_examples(rows, 10**6, np.random.default_rng(0)).id.nunique() == rows.id.nunique()
    with pytest.raises(UserError, match='0 examples of a class'):
        draw_examples(rows, 0, np.random.default_rng(0))
    assert curation.run_rounds is run_rounds and curation.ProGen is ProGen and text_id('a') not in set(rows.id)
