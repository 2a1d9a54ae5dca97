"""Screens that new texts must pass, and what is taken out of texts before they are sent"""
import random
import sys
import time

import pandas as pd
import pytest

from autogets import screening
from autogets.core import UserError
from autogets.data import load_corpus
from autogets.generation import Generator, build_pool
from autogets.screening import CopyOfExample, HeldOut, LabelLeak, Near, NearDuplicate, count_redacted, default_screens, likeness, pieces, redact


def rows(texts, label='X', shown=('a',)):
    return pd.DataFrame({'id': [f'{t}{i}' for i, t in enumerate(texts)], 'text': list(texts), 'label': label, 'source_ids': [['a']]*len(texts),
                         'parameters': [{'demonstrations': list(shown)}]*len(texts)})

@pytest.fixture(scope='module')
def texts(): return list(load_corpus('tickets').train.text)

@pytest.mark.parametrize('a, b, alike', [
    ('the printer on floor 2 jams', 'The  printer on floor 2 JAMS', True), ('принтер на втором этаже не печатает', 'принтер на втором этаже не печатает!', True),
    ('打印机卡纸了请帮忙看看谢谢', '打印机卡纸了请帮忙看看谢谢', True), ('🙂🙂🙂🙂🙂🙂 great', '🙂🙂🙂🙂🙂🙂 great!', True), ('yes', 'Yes', True), ('yes', 'no', False), ('', '', True),
    ('the printer jams', 'the scanner jams', False)])
def test_likeness(a, b, alike):
    near = Near(.8)
    near.add(0, a)
    assert (near.find(b) == 0) == alike == (likeness(pieces(a), pieces(b)) >= .8)

def test_nothing_below_the_threshold_is_ever_dropped(texts):
    near = Near(.8)
    kept = []
    for i, t in enumerate(texts):
        k = near.find(t)
        if k is not None: assert likeness(pieces(t), pieces(texts[k])) >= .8
        else: kept.append(i); near.add(i, t)
    assert len(kept) > .95*len(texts)

def test_judging_at_once_and_in_parts_agree(texts):
    rng = random.Random(0)
    mixed = [t if rng.random() < .6 else rng.choice(texts[:i+1])+rng.choice(['!', '.', ' ok']) for i, t in enumerate(texts[:400])]
    whole = NearDuplicate().reasons(rows(mixed))
    parts, said = NearDuplicate(), []
    for k in range(0, 400, 37):
        part = rows(mixed[k:k+37])
        found = parts.reasons(part)
        parts.remember(part[[not r for r in found]])
        said += found
    assert said == whole and 50 < sum(map(bool, whole)) < 300

def test_what_was_dropped_by_others_is_not_remembered():
    screen = NearDuplicate()
    first = rows(['a text about the printer on floor two'])
    assert screen.reasons(first) == ['']
    assert screen.reasons(rows(['a text about the printer on floor two!'])) == ['']
    screen.remember(first)
    assert screen.reasons(rows(['a text about the printer on floor two!'])) == ['near-duplicate of a kept text']

def test_copies_of_shown_and_other_examples():
    screen = CopyOfExample()
    screen.prepare(pd.DataFrame({'id': ['a', 'b', 'c'], 'text': ['the printer on the second floor jams', 'no mail at all since this morning', 'the wifi is down in the lobby'], 'label': 'X'}))
    assert screen.reasons(rows(['the printer on the second floor jams.', 'no mail at all since this morning?', 'the wifi is down in the lobby!!', 'new'], shown=('a', 'b'))) == [
        'near copy of its example', 'near copy of its example', 'near copy of a training example', '']

def test_a_pool_with_the_default_screens_accounts_for_all(texts):
    class Echo(Generator):
        name = 'echo'
        def generate(self, examples, n):
            made = [[t+'!', f'X: {t[::-1]}', t[::-1], t[::-1]+'!'] for t in examples.text]
            return self.rows(sum(made, []), sum([[l]*4 for l in examples.label], []), sum([[[i]]*4 for i in examples.id], []), list(range(4))*len(examples))
    examples = pd.DataFrame({'id': [f'{i:016}' for i in range(50)], 'text': texts[:50], 'label': 'X'})
    pool = build_pool(Echo(), examples, n=4, screens=default_screens(['X', 'Y'], [texts[60]]))
    counts = pool.manifest['counts']
    assert counts['requested'] == 200 == counts['kept']+sum(counts['dropped'].values())
    assert counts['dropped']['label leak'] == 50 and counts['kept'] == 50 and set(pool.manifest['screens']) == {'label-leak', 'held-out', 'copy-of-example', 'near-duplicate'}

LEAKS = ['Positive: what a film', 'positive - a great film', 'a great film (positive)', '[positive] great', 'great #positive', 'Label: positive', 'this text has the sentiment positive',
         'Class = positive\nA great film', 'category: "positive"', '<positive> great', 'POSITIVE | great', 'Sure! Here it is', "Here's another review: great", 'Text 2: great', 'Output: great',
         'As an AI language model, I think it is great', 'Here are some new examples: great film']
FINE = ['I am positive that it works', 'a positive surprise', 'the test came back positive', 'positive energy throughout', 'here is a film for you', 'text me when you are there',
        'it is positive, warm and funny', 'sure thing boss', 'an example of bad taste', 'output from the printer is blurred', 'of course it rained', 'as an airport it is fine', 'in a class of its own']

@pytest.mark.parametrize('text', LEAKS)
def test_label_leaks(text): assert LabelLeak(['positive', 'negative']).reasons(rows([text])) != ['']

@pytest.mark.parametrize('text', FINE)
def test_no_label_leaks(text): assert LabelLeak(['positive', 'negative']).reasons(rows([text])) == ['']

def test_real_tickets_have_no_leaks_and_are_found_when_held_out(texts):
    corpus = load_corpus('tickets')
    leaks = [t for t, r in zip(texts, LabelLeak(corpus.classes).reasons(rows(texts))) if r]
    assert len(leaks) <= .003*len(texts), leaks[:5]
    assert all(HeldOut(texts[:100]).reasons(rows([t+' ' for t in texts[:100]])))

def test_classes_with_odd_names():
    assert LabelLeak(['C++ (beta)', '', '*']).reasons(rows(['[C++ (beta)] crash', 'a * b'])) == ['label leak', '']

@pytest.mark.parametrize('threshold', [0, -1, 1.1])
def test_thresholds(threshold):
    with pytest.raises(UserError, match='no likeness'): NearDuplicate(threshold)

def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'datasketch', None)
    screening._blank.cache_clear()
    with pytest.raises(UserError, match='pip install datasketch'): NearDuplicate()

def test_speed(texts):
    start, screen = time.perf_counter(), NearDuplicate()
    found = screen.reasons(rows(texts))
    screen.remember(rows(texts)[[not r for r in found]])
    assert time.perf_counter()-start < 10


# --- redaction

SECRET = {
    'EMAIL': ['jane.doe@example.org', 'x+tag@mail.co.uk', 'a_b-c@sub.domain.com', 'UPPER@CASE.DE', 'me@münchen-mail.de'.replace('ü', 'ue'), 'first.last@company.travel', 'q@x.io'],
    'PHONE': ['+49 170 1234567', '+1 (415) 555-2671', '+44 20 7946 0958', '0049 89 123456', '(030) 1234567', '(415) 555-2671', '415-555-2671', '415.555.2671', '0171 2345678', '089/123456',
              '+33 1 23 45 67 89', '01 23 45 67 89', '+86 138 0013 8000', '+41 44 668 18 00', '+39 06 698 1', '0221 4710 123', '+34 912 345 678', '+1-800-555-0199'],
    'IBAN': ['DE89 3704 0044 0532 0130 00', 'GB29NWBK60161331926819', 'FR14 2004 1010 0505 0001 3M02 606', 'CH9300762011623852957', 'NL91ABNA0417164300', 'AT611904300234573201'],
    'CARD': ['4111 1111 1111 1111', '5500-0000-0000-0004', '378282246310005', '6011000990139424', '4222222222222', '3530111333300000'],
    'IP': ['10.0.0.12', '192.168.1.255', '8.8.8.8', '2001:0db8:85a3:0000:0000:8a2e:0370:7334', 'fe80::1ff:fe23:4567:890a'],
    'SSN': ['078-05-1120', '219-09-9999'],
    'KEY': ['sk-abcdefghijklmnop1234', 'sk-proj-aaaabbbbccccdddd', 'ghp_abcdefghijklmnopqrstuvwxyz0123456789', 'AKIAIOSFODNN7EXAMPLE', 'xoxb-123456789012-abcdef', 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3.SflKxwRJSM'],
    'URL': ['https://user:pass@host.example.org/x', 'https://example.org/a?token=abc123', 'ftp://me:secret@files.example.com', 'postgres://app:pw@db.local:5432/main', 'https://api.example.org/v1?x=1&api_key=zzz']}
HARMLESS = ['2026-11-21', '21.11.2026', '11/21/2026', '10:30', '10:30:15', '3.11.7', 'v2.0.1', '1,299.00', '$1299', '1 000 000', '2019-2024', 'room 12-34', 'ticket 4711-0815', 'INC0012345',
            '#123456', 'order 1234567890123456', 'ISBN 978-3-16-148410-0', 'pages 100-200', '12345', 'A4', '10%', 'floor 3', 'KB5005565', 'error 0x80070005', '1.5 GB', '100 000', '5 x 5', '3:2',
            '90210', 'D-80331', 'MS-2021', 'RFC 2616', 'Q3 2026', '24/7', '9-5', '2 + 2 = 4', 'user@host', '@handle', 'a@b', 'https://example.org/help', 'http://intranet/page?id=5', 'C::method',
            'std::vector', '12::30', 'sk-ill', 'skill-based', 'DE89', 'version 10.0', '1.2.3', '999.999.999.999', '1.1.1', '07.11.', 'half past 8', '0 to 100', '1st', '40 hours', '000-00-0000',
            '2024/12/31', '1234-5678', 'SN 12-345-6789', 'No 17']

@pytest.mark.parametrize('kind, text', [(k, t) for k, ts in SECRET.items() for t in ts])
def test_what_is_taken_out(kind, text):
    assert redact(f'please see {text} about it') == f'please see [{kind}] about it'
    assert redact(f'{text}') == f'[{kind}]' and redact(f'({text}).').count(f'[{kind}]') == 1

@pytest.mark.parametrize('text', HARMLESS)
def test_what_stays(text): assert redact(f'please see {text} about it') == f'please see {text} about it' and count_redacted(text) == {}

def test_real_tickets_keep_their_numbers(texts):
    changed = [t for t in texts if redact(t) != t]
    assert len(changed) <= .01*len(texts), changed[:5]

def test_redaction_twice_is_redaction_once():
    text = ' and '.join(t for ts in SECRET.values() for t in ts)
    assert redact(redact(text)) == redact(text) and sum(count_redacted(text).values()) >= .95*sum(map(len, SECRET.values()))

def test_only_what_is_asked_for_is_taken_out(): assert redact('a@b.org +49 170 1234567', ('EMAIL',)) == '[EMAIL] +49 170 1234567'

def test_hostile_texts_take_no_time():
    rng = random.Random(0)
    for alphabet in ('0123456789 ', '+ ()-./0', 'a.@', ':0f', 'AB12 ', 'sk-_', '=?&http://', 'eyJ.'):
        text = ''.join(rng.choice(alphabet) for _ in range(100_000))
        start = time.perf_counter()
        redact(text)
        assert time.perf_counter()-start < 4, alphabet
