"Pickles of recorded texts: read without running anything, refused in one line when they would"

import os
import pickle
import re

import numpy as np
import pandas as pd
import pytest
from data.common import refusal
from data.mirror import register_recording, served_names, server
from data.test_fetching import similar_files

from autogets.core import UserError
from autogets.data import plain_pickle as module
from autogets.data.datasets import DATASETS, DataMissing
from autogets.data.plain_pickle import plain_pickle
from autogets.data.raw_recordings import SPEAKERS
from autogets.data.recordings import fetch_recording, list_recordings, recording_corpus
from autogets.replication.needs import missing, obtain


class Call:
    "Pickled as a call of `function`"

    def __init__(self, function, *words):
        self.call = function, words

    def __reduce__(self):
        return self.call


class Built:
    def __init__(self):
        self.state = 1


START, END = b'\x80\x04', b'.'
SYSTEM = b'cos\nsystem\n'
COMMAND = b'\x8c\x0ctouch harmed'
HARMFUL = {
    'GLOBAL': START + SYSTEM + COMMAND + b'\x85R' + END,
    'STACK_GLOBAL': START + b'\x8c\x02os\x8c\x06system\x93' + COMMAND + b'\x85R' + END,
    'REDUCE': START + b'\x8c\x01x)R' + END,
    'BUILD': START + b']}b' + END,
    'INST': START + b'(' + COMMAND + b'ios\nsystem\n' + END,
    'OBJ': START + b'(\x8c\x01xo' + END,
    'NEWOBJ': START + b'\x8c\x01x)\x81' + END,
    'NEWOBJ_EX': START + b'\x8c\x01x)}\x92' + END,
    'EXT1': START + b'\x82\x01' + END,
    'EXT2': START + b'\x83\x01\x00' + END,
    'EXT4': START + b'\x84\x01\x00\x00\x00' + END,
    'PERSID': START + b'Pharm\n' + END,
    'BINPERSID': START + b'\x8c\x04harmQ' + END,
    'LONG_BINPUT': START + b']r\xff\xff\xff\x7f' + END,
    'BYTEARRAY8': START + b'\x96' + bytes(8) + END,
    'NEXT_BUFFER': START + b'\x97' + END,
    'BINBYTES': START + b'B' + bytes(4) + END,
    'LONG4': START + b'\x8b' + bytes(4) + END,
    'BINFLOAT': START + b'G' + bytes(8) + END,
    'EMPTY_SET': START + b'\x8f' + END,
    'DUP': START + b']2' + END,
    'POP': START + b']]0' + END,
}


@pytest.mark.parametrize('name', HARMFUL)
def test_an_instruction_that_plain_values_do_not_need_is_refused_by_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert f'it is a pickle with {name}, and only plain' in refusal(plain_pickle, HARMFUL[name])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize('what', [Call(os.system, 'touch harmed'), Call(eval, 'open("harmed", "w")'), Built()])
def test_no_object_is_made_wherever_it_stands(what, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for value in (what, [({'generated_text': what}, 0)], {'x': [1, what]}, ('x', (what,))):
        assert 'it is a pickle with ' in refusal(plain_pickle, pickle.dumps(value, protocol))
    assert list(tmp_path.iterdir()) == []


def test_the_refusal_comes_before_any_value_is_made(monkeypatch):
    monkeypatch.setattr(module, 'Values', None)
    assert 'STACK_GLOBAL' in refusal(plain_pickle, HARMFUL['STACK_GLOBAL'])


def some_value(rng, depth=4):
    kind = rng.integers(6 if depth else 2)
    n = int(rng.integers(5))
    if kind == 0:
        return int(rng.integers(-(2**31), 2**31)) >> int(rng.integers(31))
    if kind == 1:
        return ''.join(map(chr, rng.integers(32, 0xD7FF, n * int(rng.choice([1, 100])))))
    values = [some_value(rng, depth - 1) for _ in range(n)]
    keys = [some_value(rng, 0) for _ in range(n)]
    return [values, tuple(values[:3]), dict(zip(keys, values)), [values, values]][kind - 2]


def test_plain_values_come_as_they_were():
    rng = np.random.default_rng(0)
    for _ in range(300):
        value = some_value(rng)
        assert plain_pickle(pickle.dumps(value, 4)) == value
    many = [({'generated_text': f'text {k}'}, k) for k in range(70_000)]
    assert plain_pickle(pickle.dumps(many, 4)) == many


def test_damaged_bytes_are_refused_or_give_plain_values():
    rng, kinds = np.random.default_rng(1), set()
    whole = pickle.dumps([({'generated_text': 'a text', 'n': 70_000}, k, ('é', [])) for k in range(5)], 4)
    cut = [whole[:k] for k in range(len(whole))]
    flipped = [bytearray(whole) for _ in range(3000)]
    for data in flipped:
        data[int(rng.integers(len(data)))] = int(rng.integers(256))
    for data in cut + flipped:
        try:
            kinds.add(type(plain_pickle(bytes(data))))
        except UserError as e:
            assert '\n' not in str(e)
            kinds.add(re.sub(' with .*', '', str(e)))
    assert kinds <= {list, tuple, dict, str, int, 'it is a pickle', 'it is no pickle of plain values, or a damaged one'}
    assert {list, 'it is a pickle'} <= kinds


@pytest.mark.parametrize(
    'data',
    [
        b'',
        b'<html>',
        START + END,
        START + b'h\x00' + END,
        START + b'a' + END,
        START + b']]' + END,
        START + b'}\x8c\x01xs' + END,
        START + b'](\x8c\x01xu' + END,
        START + b'}((K\x01K\x02s.',
        START + b'}]K\x01s' + END,
        START + b'}(\x8c\x01xu' + END,
        START + b'X\xff\xff\xff\x7fx' + END,
        START + b')' + b'\x85' * 100_000 + b'}\x86K\x01s' + END,
    ],
)
def test_what_is_no_pickle_of_plain_values_is_refused(data):
    assert 'no pickle of plain values' in refusal(plain_pickle, data)


def test_deep_and_long_pickles_do_no_harm():
    assert isinstance(plain_pickle(START + b']' * 100_000 + b'a' * 99_999 + END), list)
    assert 'at most 4 are read' in refusal(plain_pickle, START + b']' * module.MOST + END)
    deep = START + b'}' + b')' + b'\x85' * 100_000 + b'K\x01s' + END
    assert 'no pickle of plain values' in refusal(plain_pickle, deep), 'no key is hashed that is no text or number'


# --- the two sets ---

QUESTIONS = {f'How far is town {k} ?': 'NUM:dist' for k in range(6)} | {
    f'Who is in town {k} ?': 'HUM:ind' for k in range(6)
}
TRAIN = ''.join(f'{fine} {q}\n' for q, fine in QUESTIONS.items())


def pickled(folder, exchanges):
    "The answers of one model, its turn marked in its own way"
    mark = SPEAKERS[folder][1]
    turns = [f'<s>{prompt}{"<|eot_id|>" if "llama" in folder else ""}{mark}{answer}' for prompt, answer in exchanges]
    return pickle.dumps([({'generated_text': t}, k) for k, t in enumerate(turns)], 4)


def question_files():
    "Paraphrases of twelve questions and of one of the test set, with lines that must be left out"

    def asked(q, end, model):
        answer = (
            f'Sure.\n\n1. **{model} {end} on {q}**\n2. "{model} in the category of {q}"\n3) short\n4. a => b, no text'
        )
        return f"Paraphrase. The quesion: '{q}'\nExamples:\nx => y", answer

    files = {'data/train.label': TRAIN.encode(), 'data/test.label': b'LOC:city Where is it all ?\n'}
    for folder, (model, _) in SPEAKERS.items():
        for how in ('random', 'baseline') if 'gemma' not in folder else ('random',):
            talk = [asked(q, how, model) for q in [*QUESTIONS, 'Where is it all ?']]
            files[f'trec/{folder}/0/{how}/only_para.pkl'] = pickled(
                folder, talk + [asked(next(iter(QUESTIONS)), how, model)]
            )
    return files, dict(format='paraphrased questions', train='data/train.label', test='data/test.label')


def tweet_files():
    "New texts in the manner of the sources of `similar_files`"
    files = {}
    for folder in SPEAKERS:
        for k in range(2):
            shown = '\n'.join(f'source {n} of {k} => c{k}' for n in range(k, 12, 2))
            prompt = f"Generate 5 new texts that fit the 'c{k}' category.\nExamples:\n{shown}\n\n"
            answer = f' 1. "A new text of {k}."\n\n2. Another text of {k}.\n'
            files[f'tweets/{folder}/{k}/cos_sim/only_gen.pkl'] = pickled(folder, [(prompt, answer)])
    return files, dict(format='texts from examples')


def test_paraphrased_questions_are_fetched_and_converted(server, monkeypatch, tmp_path):
    files, home = question_files()
    tables = register_recording(monkeypatch, server, home, files, real='trec6')
    assert fetch_recording('toy') == tmp_path / 'cache/llm_generated/toy'
    assert sorted(p for p, _ in server.asked) == sorted(f'/toy/{n}' for n in files)
    llm, seeds = tables['llm'], tables['seeds']
    assert seeds.text.tolist() == sorted(QUESTIONS) and set(seeds.label) == {'NUM', 'HUM'}
    assert seeds.fine.tolist() == [QUESTIONS[q] for q in sorted(QUESTIONS)]
    assert len(llm) == 12 * 3 * 2 + 12 * 2 and set(llm.source_text) == set(QUESTIONS)
    assert llm.method.value_counts().to_dict() == {'few-shot random': 72, 'zero-shot baseline': 24}
    assert llm.text.str.contains('^(?:mistral|gemma|llama)').all() and llm.topic_words.sum() == 36
    kept = pd.read_csv(tmp_path / 'cache/llm_generated/toy/llm.csv.gz', keep_default_na=False)
    assert kept.shape == llm.shape and not (tmp_path / 'cache/downloads/toy').exists()


def test_texts_from_examples_are_fetched_and_tested_on_the_rows_of_the_real_set(server, monkeypatch):
    similar, other = similar_files()
    register_recording(monkeypatch, server, other, similar, name='toy_real')
    files, home = tweet_files()
    tables = register_recording(monkeypatch, server, home, files, real='toy_real')
    assert missing(['toy', 'toy_real']) == ['toy', 'toy_real']
    obtain('toy')
    assert missing(['toy', 'toy_real']) == ['toy_real']
    assert list_recordings().set_index('name').loc['toy', 'where'] == 'cache'
    corpus = recording_corpus('toy')
    assert len(corpus.train) + len(corpus.validation) == 12 and corpus.test.text.str.startswith('held out').all()
    llm = tables['llm']
    assert set(llm.text) == {f'{t} text of {k}.' for t in ('A new', 'Another') for k in (0, 1)} and len(llm) == 12
    assert set(llm.label) == {'c0', 'c1'} and llm.split.tolist() == ['0', '0', '1', '1'] * 3


def spoil(text, by):
    return lambda data: pickle.dumps(
        [({'generated_text': t['generated_text'].replace(text, by)}, k) for t, k in pickle.loads(data)], 4
    )


@pytest.mark.parametrize(
    'make, change, says',
    [
        (
            question_files,
            lambda f: pickle.dumps([Call(os.system, 'touch harmed')], 4),
            'it is a pickle with STACK_GLOBAL',
        ),
        (tweet_files, lambda f: HARMFUL['GLOBAL'], 'it is a pickle with GLOBAL'),
        (question_files, lambda f: f[:-7], 'a damaged one'),
        (question_files, lambda f: pickle.dumps({'generated_text': 'x'}, 4), 'not a list of generated texts'),
        (question_files, lambda f: pickle.dumps([({'generated_text': 1}, 0)], 4), 'that is no text'),
        (question_files, spoil('[/INST]', ''), 'holds a text without an answer'),
        (question_files, spoil('The quesion', 'An answer'), 'a prompt is not of the expected form'),
        (question_files, spoil('town 3', 'town 9'), "TREC has no question 'How far is town 9 ?'"),
        (question_files, spoil('town 3', 'town 4'), 'not the llm expected here: 90 rows instead of 96'),
        (tweet_files, spoil('=> c0', '=> c1'), 'shows texts of another class'),
        (tweet_files, lambda f: pickle.dumps([], 4), 'not the seeds expected here: 0 rows instead of 12'),
        (tweet_files, spoil('Another', 'A further'), 'not the llm expected here: other texts or labels'),
    ],
)
def test_what_has_changed_is_said_and_nothing_is_kept(make, change, says, server, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    files, home = make()
    register_recording(monkeypatch, server, home, files, real='trec6')
    for n in (n for n in files if n.startswith(('trec/collected_data/', 'tweets/collected_data'))):
        server.files[f'/toy/{served_names(files)[n]}'] = change(files[n])
    message = refusal(fetch_recording, 'toy', kind=DataMissing)
    assert says in message and 'autogets data fetch toy' in message
    assert not (tmp_path / 'cache/llm_generated/toy').exists() and not (tmp_path / 'harmed').exists()


def test_the_two_sets_are_registered_with_what_they_belong_to():
    listed = list_recordings().set_index('name')
    assert listed.loc['trec6_paraphrase', ['rows', 'texts']].tolist() == [276, 45677] and 'trec6' in DATASETS
    assert listed.loc['tweet_sentiment_fewshot', ['rows', 'texts']].tolist() == [180, 19898]
