"""Filters that synthetic texts must pass, and what is taken out of texts before they are sent"""

import random
import re
import sys

import numpy as np
import pandas as pd
import pytest
from work import spent, unit, work

from autogets.core import UserError, text_id
from autogets.data.datasets import load_corpus
from autogets.generators.base import Generator
from autogets.generators.build import build_pool
from autogets.generators.filters import (
    FILTERS,
    CopyOfExample,
    HeldOut,
    LabelLeak,
    Length,
    Near,
    NearDuplicate,
    bare,
    default_filters,
    jaccard,
    pieces,
    plain,
    word_count,
)
from autogets.generators.redaction import REDACTED, count_redacted, redact


def rows(texts, label='X', sources=('a',), parameters=None):
    texts = list(texts)
    return pd.DataFrame(
        {
            'id': [f'{i}:{t}' for i, t in enumerate(texts)],
            'text': texts,
            'label': label,
            'source_ids': [list(sources)] * len(texts),
            'parameters': [{} if parameters is None else parameters] * len(texts),
        }
    )


@pytest.fixture(scope='module')
def texts():
    return list(load_corpus('tickets').train.text)


@pytest.fixture(scope='module')
def many(texts):
    "New texts of 20 words from those of all tickets"
    rng, words = random.Random(0), [w for t in texts for w in t.split()]
    return [' '.join(rng.choice(words) for _ in range(20)) for _ in range(1500)]


def exchanged(text, rng, n=1):
    w = text.split()
    for k in rng.sample(range(len(w)), n):
        w[k] = rng.choice(['something', 'Berlin', 'xylophone', 'quickly'])
    return ' '.join(w)


# --- jaccard and the index


@pytest.mark.parametrize(
    'a, b, alike',
    [
        ('the printer on floor 2 jams', 'The  printer on floor 2 JAMS', True),
        ('принтер на втором этаже не печатает', 'Принтер на втором этаже не печатает!', True),
        ('打印机卡纸了请帮忙看看谢谢', '打印机卡纸了请帮忙看看谢谢。', True),
        ('打印机卡纸了请帮忙看看谢谢', '我的邮件从今天早上开始就收不到了', False),
        ('프린터가 종이를 자꾸 먹어요 도와주세요', '프린터가 종이를 자꾸 먹어요 도와주세요!', True),
        ('🙂🙂🙂🙂🙂🙂 great', '🙂🙂🙂🙂🙂🙂 great!', True),
        ('great 🙂', 'great 😡', False),
        ('yes', 'Yes!', True),
        ('yes', 'no', False),
        ('', '', True),
        ('...', '!!!', False),
        ('reset password', 'reset passwords', False),
        ('the printer jams', 'the scanner jams', False),
        ('please reset my password today, I cannot log in', 'please reset my passwords today, I cannot log in', True),
        ('cafe\u0301 on the second floor is closed', 'café on the second floor is closed', True),
        ('the prin\u200bter on the sec\u00adond floor jams', 'the printer on the second floor jams', True),
        ('ｔｈｅ ｐｒｉｎｔｅｒ on floor two jams', 'the printer on floor two jams', True),
        ('\ud800 is half a character, as JSON allows', '\ud800 is half a character, as JSON allows!', True),
    ],
)
def test_jaccard(a, b, alike):
    near = Near()
    near.add('k', a)
    assert (near.find(b) == 'k') == alike and (near.find(a) == 'k')
    other = Near()
    other.add('k', b)
    assert (other.find(a) == 'k') == alike


def test_the_likeliest_is_found_and_can_be_forgotten():
    near = Near()
    near.add('b', 'the printer on the second floor jams all day long')
    near.add('a', 'the printer on the second floor jams all day')
    near.add('c', 'thanks')
    near.add('d', 'Thanks!')
    assert near.find('the printer on the second floor jams all day!') == 'a'
    assert near.similar('thanks').keys() == {'c', 'd'}
    for k in 'abc':
        near.remove(k)
    assert near.find('the printer on the second floor jams all day!') is None
    assert near.find('thanks') == 'd'
    assert len(near) == 1


def test_recall_and_precision_against_comparing_all(texts, many):
    "Pairs from barely to very alike; what is found is compared with the exact jaccard of all pairs"
    rng, some = random.Random(1), texts[:150]
    near, known = Near(), [pieces(t) for t in some]
    for i, t in enumerate(some):
        near.add(i, t)
    right = missed = wrong = 0
    for t in some:
        for n in (1, 2, 3):
            q = exchanged(t, rng, n)
            own = pieces(q)
            truth, got = {i for i, p in enumerate(known) if jaccard(own, p) >= 0.8}, set(near.similar(q))
            right, missed, wrong = right + len(got & truth), missed + len(truth - got), wrong + len(got - truth)
    assert right > 150 and wrong == 0 and missed <= 0.01 * (right + missed)
    assert not any(near.similar(t) for t in many)


@pytest.mark.parametrize('threshold', [0.5, 0.7, 0.9])
def test_other_thresholds_find_what_is_just_above_them(texts, threshold):
    rng, near, just = random.Random(0), Near(threshold), []
    for i, t in enumerate(texts[:700]):
        near.add(i, t)
    for i, t in enumerate(texts[:700]):
        for n in range(1, len(t.split())):
            q = exchanged(t, rng, n)
            alike = jaccard(pieces(t), pieces(q))
            if alike < threshold:
                break
            if alike < threshold + 0.1:
                just.append(i in near.similar(q))
    assert len(just) > 100 and np.mean(just) > 0.98


@pytest.mark.parametrize(
    'options', [dict(threshold=0), dict(threshold=-1), dict(threshold=1.1), dict(shingle=0), dict(permutations=0)]
)
def test_settings_that_make_no_sense(options):
    with pytest.raises(UserError, match='give'):
        NearDuplicate(**options)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'datasketch', None)
    for f in (NearDuplicate, CopyOfExample, lambda: HeldOut(['a text of the test set'])):
        with pytest.raises(UserError, match='pip install datasketch'):
            f()
    assert LabelLeak(['joy']).reasons(rows(['Joy: yes'])) == ['label leak'] and redact('a@b.org') == '[EMAIL]'


# --- near-duplicates


def mixture(texts, n, seed):
    rng, out = random.Random(seed), []
    for t in texts[:n]:
        out.append(t if rng.random() < 0.6 or not out else rng.choice(out) + rng.choice(['!', '.', ' ok', '']))
    return out


@pytest.mark.parametrize('step', [1, 37, 199])
def test_judging_at_once_and_in_parts_agree(texts, step):
    mixed = rows(mixture(texts, 400, 0) + ['thanks', 'Thanks!', 'ok', 'thanks'])
    at_once, parts, said, of = NearDuplicate(), NearDuplicate(), [], {}
    whole = at_once.reasons(mixed)
    for k in range(0, len(mixed), step):
        part = mixed[k : k + step]
        new = parts.reasons(part)
        parts.remember(part[[not r for r in new]])
        said, of = said + new, of | parts.of
    assert said == whole and of == at_once.of and 50 < sum(map(bool, whole)) < 300
    assert whole[-4:] == ['', 'near-duplicate of another text', '', 'near-duplicate of another text']


def test_a_run_that_starts_again_judges_alike(texts):
    mixed = rows(mixture(texts, 200, 3))
    one, again = NearDuplicate(), NearDuplicate()
    kept = mixed[:100][[not r for r in one.reasons(mixed[:100])]]
    one.remember(kept)
    again.remember(kept)
    assert one.reasons(mixed[100:]) == again.reasons(mixed[100:]) and one.of == again.of


def test_judging_twice_without_remembering_is_the_same(texts):
    f, mixed = NearDuplicate(), rows(mixture(texts, 100, 5))
    assert f.reasons(mixed) == f.reasons(mixed) == NearDuplicate().reasons(mixed)


def test_what_was_dropped_by_others_is_not_remembered():
    f = NearDuplicate()
    first, second = rows(['a text about the printer on floor two']), rows(['a text about the printer on floor two!'])
    assert f.reasons(first) == [''] and f.reasons(second) == ['']
    f.remember(first)
    assert f.reasons(second) == ['near-duplicate of another text'] and f.of == {second.id[0]: first.id[0]}


def test_classes_do_not_matter_and_the_first_one_stays():
    both = pd.concat(
        [rows(['the mail server is down since nine'], 'X'), rows(['The mail server is down since nine!'], 'Y')]
    )
    assert NearDuplicate().reasons(both) == ['', 'near-duplicate of another text']
    assert NearDuplicate().reasons(both[::-1]) == ['', 'near-duplicate of another text']


def test_the_same_id_twice():
    twice = rows(['the mail server is down since nine'] * 2).assign(id='same')
    f = NearDuplicate()
    assert f.reasons(twice) == ['', 'near-duplicate of another text']
    f.remember(twice[:1])
    assert f.reasons(twice) == ['near-duplicate of another text'] * 2


def test_no_rows():
    for f in default_filters(['a'], ['b']):
        assert f.reasons(rows([])) == []


# --- copies

REAL = pd.DataFrame(
    {
        'id': ['a', 'b', 'c'],
        'text': [
            'the printer on the second floor jams',
            'no mail at all since this morning',
            'the wifi is down in the lobby',
        ],
        'label': 'X',
    }
)
COPIES = [
    'the printer on the second floor jams.',
    'no mail at all since this morning?',
    'the wifi is down in the lobby!!',
    'new',
]


@pytest.mark.parametrize(
    'parameters, shown',
    [
        ({'demonstrations': ['a', 'b']}, 'ab'),
        ({}, 'a'),
        ({'demonstrations': []}, ''),
        (None, 'a'),
        ({'demonstrations': ['c', 'gone']}, 'c'),
    ],
)
def test_copies_of_shown_and_other_examples(parameters, shown):
    f = CopyOfExample()
    f.prepare(REAL)
    said = f.reasons(rows(COPIES, parameters=parameters))
    assert said == [f'near copy of {"its" if i in shown else "a training"} example' for i in 'abc'] + ['']
    assert list(f.of.values()) == list('abc')


def test_a_copy_of_two_examples_is_one_of_its_own():
    f = CopyOfExample()
    f.prepare(
        pd.DataFrame(
            {
                'id': ['a', 'b'],
                'text': ['the printer on the second floor jams', 'the printer on the second floor jams!'],
                'label': 'X',
            }
        )
    )
    assert f.reasons(rows(['the printer on the second floor jams!'], sources=['a'])) == ['near copy of its example']


def test_held_out(texts):
    f = HeldOut([*texts[:100], 'Thanks!'])
    copies = rows([t + ' ' for t in texts[:100]] + ['thanks', 'thanks a lot'])
    assert f.reasons(copies) == ['near copy of a held-out text'] * 101 + ['']
    assert f.of[copies.id[0]] == text_id(texts[0])
    assert HeldOut([]).reasons(rows(['any'])) == ['']


# --- label leaks

LEAKS = [
    'Positive: what a film',
    'positive - a great film',
    'a great film (positive)',
    '[positive] great',
    'great #positive',
    'Label: positive',
    'this text has the sentiment positive',
    'Class = positive\nA great film',
    'category: "positive"',
    '<positive> great',
    'POSITIVE | great',
    '**Positive:** great',
    '1. Positive: great',
    'great film → positive',
    'great film | positive',
    'positive\na great film',
    'a great film\n(Positive)',
    'great [/positive]',
    'This is a positive review: great',
    'great #positive #film',
    '#positive great film',
    'The label is positive.',
    '"positive" sentiment',
    'ｐｏｓｉｔｉｖｅ： great',
    'Posi\u200btive: great',
    '【positive】great',
    'positive',
]
TALK = [
    'Sure! Here it is',
    "Here's another review: great",
    'Text 2: great',
    'Output: great',
    'As an AI language model, I think it is great',
    'Here are some new examples: great film',
    'Certainly! Here is a review: great',
    "I'm sorry, but I can't fulfill that",
    'Great film. Let me know if you would like more examples!',
    'Review 3: great',
    'great, as the given label says',
    "I'm just an AI",
]
FINE = [
    'I am positive that it works',
    'a positive surprise',
    'the test came back positive',
    'positive energy throughout',
    'here is a film for you',
    'text me when you are there',
    'HIV-positive',
    'the verdict — positive',
    'it is positive, warm and funny',
    'sure thing boss',
    'an example of bad taste',
    'output from the printer is blurred',
    'of course it rained',
    'as an airport it is fine',
    'in a class of its own',
    'I have rarely read a more positive review of such a film',
    'Sure, it is long, but it is fun',
    'Okay, that was fun',
    'let me know if you need a ride',
    'hope this helps',
    'I feel one thing: positive about it',
    'my test (negative) came back yesterday',
    'she works as an AI researcher',
    'I trained a language model and my card died',
    'here is the thing: it is fun',
    'review it again please',
    'the positive:negative ratio',
    'a class act',
    'category five storm',
    'https://example.org/#positively',
    'the sentiment in the room was warm',
    'Positively: great',
    'non-positive',
]


@pytest.mark.parametrize('text', LEAKS)
def test_label_leaks(text):
    assert LabelLeak(['positive', 'negative']).reasons(rows([text])) == ['label leak']


@pytest.mark.parametrize('text', TALK)
def test_talk_about_the_task(text):
    assert LabelLeak(['positive', 'negative']).reasons(rows([text])) == ['talk about the task']


@pytest.mark.parametrize('text', FINE)
def test_no_label_leaks(text):
    assert LabelLeak(['positive', 'negative']).reasons(rows([text])) == ['']


@pytest.mark.parametrize(
    'classes, leak, fine',
    [
        (
            ['Printer issues'],
            ['Printer issues: it jams', 'printer_issues - it jams', 'jams #PrinterIssues', '[Printer-Issues] jams'],
            ['the printer is broken', 'printer issues a warning'],
        ),
        (
            ['1', '2'],
            ['label: 1 great', 'class = 2'],
            ['[1] great', 'we are #1', '1: great', 'in class 1 of the school', 'it is - 2', '1'],
        ),
        (['A'], ['label: A'], ['A: yes', 'vitamin - A']),
        (['喜'], ['喜: 今日', '【喜】'], ['喜んで']),
        (
            ['C++ (beta)', '', '*', '...'],
            ['[C++ (beta)] crash', 'C++ (beta): crash'],
            ['a * b', 'C++ crashes', '[*]', ''],
        ),
        (
            ['радость', '喜び'],
            ['Радость: какой день', 'какой день #радость', '【喜び】今日', '喜び: 今日'],
            ['какая радость видеть вас', '喜びの歌', 'радостью: так'],
        ),
        (
            ['access', 'access rights'],
            ['Access rights: please', 'access: please'],
            ['access rights for the share please', 'please give me access'],
        ),
        (['a|b', 'x{3}', '(?:', '['], ['a|b: yes', '[x{3}] no'], ['a is not b', 'xxx: no', '(?: [']),
        ([], ['Sure! Here it is'], ['Positive: yes']),
        (
            ['card_arrival', 'visa_or_mastercard'],
            ['card arrival: where is it'],
            ['Visa or Mastercard?', 'my card arrival is late'],
        ),
    ],
)
def test_classes_with_odd_names(classes, leak, fine):
    assert all(LabelLeak(classes).reasons(rows(leak))) and LabelLeak(classes).reasons(rows(fine)) == [''] * len(fine)


@pytest.mark.parametrize('name', ['tickets', 'trec6'])
def test_real_texts_have_no_leaks(name):
    try:
        corpus = load_corpus(name)
    except UserError:
        pytest.skip('not here')
    said = LabelLeak(corpus.classes).reasons(rows(corpus.train.text))
    assert [t for t, r in zip(corpus.train.text, said) if r] == []


# --- length, and all together


def test_length():
    f = Length()
    f.prepare(REAL)
    assert f.reasons(rows(['word ' * 21, 'word ' * 22, '?!', '字' * 21, '字' * 22])) == [
        '',
        'too long',
        'too short',
        '',
        'too long',
    ]
    assert f.parameters == {'words': None, 'factor': 3}
    assert Length(words=(2, 3)).reasons(rows(['one', 'one two', 'one two three four'])) == ['too short', '', 'too long']
    for wrong in ((5, 2), (-1, 2)):
        with pytest.raises(UserError, match='give'):
            Length(wrong)


def test_words_and_plain_texts():
    assert [word_count(t) for t in ("don't stop", '漢字 and kana', 'สวัสดี', 'два слова', '🙂')] == [3, 4, 6, 2, 0]
    assert plain('  A\n\tB\u00a0 c ') == 'a b c' and bare('¡Hola, señor!') == 'hola señor' and bare('!?') == '!?'


class Echo(Generator):
    name = 'echo'

    def generate(self, examples, n):
        made = [[t + ' ok', f'Mail: {t[::-1]}', t[::-1], t[::-1] + ' ok'] for t in examples.text]
        return self.rows(
            sum(made, []),
            sum([[l] * 4 for l in examples.label], []),
            sum([[[i]] * 4 for i in examples.id], []),
            list(range(4)) * len(examples),
        )


def test_a_pool_with_the_default_filters_accounts_for_all(texts):
    examples = pd.DataFrame({'id': [text_id(t) for t in texts[:50]], 'text': texts[:50], 'label': 'X'})
    pool = build_pool(Echo(), examples, n=4, filters=default_filters(['Mail', 'Y'], [texts[60]]))
    counts = pool.manifest['counts']
    assert counts['requested'] == 200 == counts['kept'] + sum(counts['dropped'].values())
    assert counts['dropped'] == {'near copy of its example': 50, 'near-duplicate of another text': 50, 'label leak': 50}
    assert counts['kept'] == 50
    assert pool.manifest['filters']['near-duplicate'] == {'threshold': 0.8, 'shingle': 5, 'permutations': 64, 'seed': 1}
    assert set(pool.manifest['filters']) < set(FILTERS)


def test_a_pool_that_was_interrupted_is_the_same(texts, tmp_path):
    examples = pd.DataFrame({'id': [text_id(t) for t in texts[:30]], 'text': texts[:30], 'label': 'X'})

    class Dying(Echo):
        batch, left_to_do = 7, 99

        def generate(self, some, n):
            self.left_to_do -= 1
            if self.left_to_do < 0:
                raise KeyboardInterrupt
            return super().generate(some, n)

    def build(folder, alive):
        generator = Dying()
        generator.left_to_do = alive
        return build_pool(generator, examples, folder, n=4, filters=default_filters(['Mail'], []), progress=False)

    whole = build(tmp_path / 'whole', 99)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            build(tmp_path / 'parts', 1)
    assert build(tmp_path / 'parts', 99).fingerprint == whole.fingerprint


def test_speed(texts, many):
    filters = default_filters(load_corpus('tickets').classes, texts)
    filters[2].prepare(pd.DataFrame({'id': range(len(texts)), 'text': texts}))
    assert sum(work(s.reasons, rows(many)) for s in filters) < 200


# --- redaction

SECRET = {
    'EMAIL': [
        'jane.doe@example.org',
        'x+tag@mail.co.uk',
        'a_b-c@sub.domain.com',
        'UPPER@CASE.DE',
        'müller@bücher.de',
        'first.last@company.travel',
        'q@x.io',
        'иван@почта.рф',
        'a' * 80 + '@example.org',
        'o\'neil@example.ie',
    ],
    'PHONE': [
        '+49 170 1234567',
        '+1 (415) 555-2671',
        '+44 20 7946 0958',
        '0049 89 123456',
        '(030) 1234567',
        '(415) 555-2671',
        '415-555-2671',
        '415.555.2671',
        '0171 2345678',
        '089/123456',
        '+44 (0)20 7946 0958',
        '+33 1 23 45 67 89',
        '01 23 45 67 89',
        '+86 138 0013 8000',
        '+41 44 668 18 00',
        '+39 06 698 1',
        '0221 4710 123',
        '+34 912 345 678',
        '+1-800-555-0199',
        '1-800-555-0199',
        '+4917012345678',
        '004917012345678',
        '020 7946 0958',
        '07700 900123',
        '07700900123',
        '0612345678',
        '03-1234-5678',
        '02 9876 5432',
        '138 0013 8000',
        '+49\u00a0170\u202f1234567',
        '+49 170\u20111234567',
        '030 - 1234567',
        '+49 (0) 9279 - 80 - 121',
        '0845 8 505 505',
        '+48(61)7767671',
    ],
    'IBAN': [
        'DE89 3704 0044 0532 0130 00',
        'GB29NWBK60161331926819',
        'FR14 2004 1010 0505 0001 3M02 606',
        'CH9300762011623852957',
        'NL91ABNA0417164300',
        'AT611904300234573201',
        'de89370400440532013000',
        'DE89-3704-0044-0532-0130-00',
        'NO93 8601 1117 947',
        'MT84 MALT 0110 0001 2345 MTLC AST0 01S',
    ],
    'CARD': [
        '4111 1111 1111 1111',
        '5500-0000-0000-0004',
        '378282246310005',
        '6011000990139424',
        '4222222222222',
        '3530111333300000',
        '3782 822463 10005',
        '2223003122003222',
        '30569309025904',
    ],
    'IP': [
        '10.0.0.12',
        '192.168.1.255',
        '8.8.8.8',
        '2001:0db8:85a3:0000:0000:8a2e:0370:7334',
        'fe80::1ff:fe23:4567:890a',
        '2001:db8::1',
        'fe80::1',
    ],
    'SSN': ['078-05-1120', '219-09-9999', '899-12-3456'],
    'KEY': [
        'sk-abcdefghijklmnop1234',
        'sk-proj-AbCdEfGhIjKlMnOpQr',
        'sk_live_4eC39HqLyjWDarjtT1zdp7dc',
        'ghp_abcdefghijklmnopqrstuvwxyz0123456789',
        'github_pat_11ABCDEFG0abcdefghijkl_mnop',
        'AKIAIOSFODNN7EXAMPLE',
        'xoxb-123456789012-abcdef',
        'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3.SflKxwRJSM',
        'AIzaSyA-1234567890abcdefghijklmnopqrstuv',
        'glpat-abcdefghij0123456789',
        'hf_abcdefghijklmnopqrstuvwxyz012345',
        '-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc=\n-----END RSA PRIVATE KEY-----',
    ],
    'URL': [
        'https://user:pass@host.example.org/x',
        'https://example.org/a?token=abc123',
        'ftp://me:secret@files.example.com',
        'postgres://app:pw@db.local:5432/main',
        'https://api.example.org/v1?x=1&api_key=zzz',
        'https://h.org/#access_token=a.b',
        'https://s3.example.org/f?X-Amz-Signature=abc&x=1',
        'https://h.org/?a=b&auth-token=x',
        'https://ghp0123456789abcdef@github.com/x',
        'HTTPS://H.ORG/?sid=1',
    ],
}
HARMLESS = [
    '2026-11-21',
    '21.11.2026',
    '11/21/2026',
    '10:30',
    '10:30:15',
    '3.11.7',
    'v2.0.1',
    '1,299.00',
    '$1299',
    '1 000 000',
    '2019-2024',
    'room 12-34',
    'ticket 4711-0815',
    'INC0012345',
    '+10 000 000',
    '+100',
    '#123456',
    'order 1234567890123456',
    'ISBN 978-3-16-148410-0',
    'pages 100-200',
    '12345',
    'A4',
    '10%',
    'floor 3',
    'KB5005565',
    'error 0x80070005',
    '1.5 GB',
    '100 000',
    '5 x 5',
    '3:2',
    'version 10.0.0.1',
    '90210',
    'D-80331',
    'MS-2021',
    'RFC 2616',
    'Q3 2026',
    '24/7',
    '9-5',
    '2 + 2 = 4',
    'user@host',
    '@handle',
    'a@b',
    'https://example.org/help',
    'http://intranet/page?id=5',
    'C::method',
    'v1.2.3.4',
    '0815-4711',
    'std::vector',
    '12::30',
    'sk-ill',
    'skill-based',
    'DE89',
    'version 10.0',
    '1.2.3',
    '999.999.999.999',
    '1.1.1',
    '07.11.',
    'half past 8',
    '0 to 100',
    '1st',
    '40 hours',
    '000-00-0000',
    '1700000000',
    '1700000000000',
    '2024/12/31',
    '1234-5678',
    'SN 12-345-6789',
    'No 17',
    '01.02.2026 10:30',
    '2026-11-21 10:30',
    '01/02/2026 1015',
    '(2019) 2020',
    '0012345678',
    'INC-0812345678',
    'ticket 0612345678',
    'DE88 3704 0044 0532 0130 00',
    '4111 1111 1111 1112',
    '1234 5678 9012 3456',
    'XX89 3704 0044 0532 0130 00',
    'sk-learn-compatible-estimators',
    'task-force-of-the-city-council',
    'git@host',
    'https://example.org/?keyword=abc',
    'https://example.org/?monkey=1',
    '00:1A:2B:3C:4D:5E',
    'a::b',
    '100-200-3000',
    '256.1.1.1',
    '1.2.3.4.5',
    '08:30-17:00',
    '09.30-17.00',
    '1 234 567,89',
    'EUR 12.345.678,00',
    '2 000 000 000',
    '666-12-3456',
    '3.14159265358979',
    '1e-10',
    '-0.123456789012',
    '4242',
    'ab12cd34ef56ab12cd34ef56ab12cd34ef56ab12',
    '550e8400-e29b-41d4-a716-446655440000',
    'AB123456',
    '٢٠٢٦-١١-٢١',
    '第3回 2026年',
    'GL2026',
    '7/8/2026',
    'call 911',
    '20261121',
    '1/2',
    'www.example.org',
]


def test_there_are_enough_of_both():
    assert sum(map(len, SECRET.values())) >= 60 and len(HARMLESS) >= 60 and set(SECRET) == set(REDACTED)


@pytest.mark.parametrize('kind, text', [(k, t) for k, ts in SECRET.items() for t in ts])
def test_what_is_taken_out(kind, text):
    assert redact(f'please see {text} about it') == f'please see [{kind}] about it'
    assert count_redacted(text) == {kind: 1}
    assert redact(text) == f'[{kind}]'
    assert redact(f'({text}).') == f'([{kind}]).'
    assert redact(f'it: {text}, ok?\n{text}') == f'it: [{kind}], ok?\n[{kind}]'


@pytest.mark.parametrize('text', HARMLESS)
def test_what_stays(text):
    for around in ('please see {} about it', '{}', '({}).', 'it: {}, ok?'):
        assert redact(around.format(text)) == around.format(text)
    assert count_redacted(text) == {}


@pytest.mark.parametrize(
    'text, wanted',
    [
        ('AT61 1904 3002 3457 3201 CALL ME NOW', '[IBAN] CALL ME NOW'),
        ('card 4111 1111 1111 1111 12/27', 'card [CARD] 12/27'),
        ('tel: 612 345 678', 'tel: [PHONE]'),
        ('Call me at 555-0199 now', 'Call me at [PHONE] now'),
        ('phone 4155552671', 'phone [PHONE]'),
        ('fax.: 0649737471', 'fax.: [PHONE]'),
        ('Mobile 2026-11-21', 'Mobile 2026-11-21'),
        ('call09050000327.', 'call[PHONE].'),
        ('<jane@example.org>', '<[EMAIL]>'),
        ('mailto:jane@example.org', 'mailto:[EMAIL]'),
        ('from 10.0.0.1:8080 to 10.0.0.2/24', 'from [IP]:8080 to [IP]/24'),
        ('a@b.org,c@d.org;e@f.org', '[EMAIL],[EMAIL];[EMAIL]'),
        ('12 4111 1111 1111 1111', '12 [CARD]'),
        ('AB12 DE89 3704 0044 0532 0130 00', 'AB12 [IBAN]'),
        ('Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3.SflKxwRJSM', 'Bearer [KEY]'),
        ('key=sk-abcdefghijklmnop1234', 'key=[KEY]'),
        ('[EMAIL] and [PHONE]', '[EMAIL] and [PHONE]'),
        ('', ''),
        ('🙂 a@b.org 🙂', '🙂 [EMAIL] 🙂'),
        ('请看 https://h.org/?sid=1。', '请看 [URL]。'),
        ('(+49) 170 1234567', '[PHONE]'),
        ('звоните: +7 912 345-67-89!', 'звоните: [PHONE]!'),
        ('::ffff:10.0.0.1', '::ffff:[IP]'),
        ('(0171 2345678)', '([PHONE])'),
        ('see https://u:p@h.org/x.', 'see [URL].'),
        ('-----BEGIN PRIVATE KEY-----\nMIIabc', '[KEY]'),
    ],
)
def test_in_their_places(text, wanted):
    assert redact(text) == wanted


def test_real_tickets_keep_their_numbers(texts):
    changed = [t for t in texts if redact(t) != t]
    assert len(changed) <= 0.01 * len(texts), changed[:5]


def test_redaction_twice_is_redaction_once_and_counts_agree():
    text = ' and '.join(t for ts in SECRET.values() for t in ts)
    assert redact(redact(text)) == redact(text) and count_redacted(text) == {k: len(ts) for k, ts in SECRET.items()}
    assert {k: redact(text).count(f'[{k}]') for k in REDACTED} == count_redacted(text)


def test_only_what_is_asked_for_is_taken_out():
    assert redact('a@b.org +49 170 1234567', ('EMAIL',)) == '[EMAIL] +49 170 1234567'
    assert count_redacted('a@b.org', ()) == {}
    with pytest.raises(UserError, match='EMIAL'):
        redact('a@b.org', ('EMIAL',))


HOSTILE = [
    '1 ',
    '+1 ',
    '+',
    'a@',
    'a',
    '0',
    '00 1',
    'http://',
    'http://a:',
    'http://a?',
    'http://a?token=1 ',
    'http://a?a_',
    'a://',
    '::',
    ':f',
    '(1',
    '((',
    'AB12 ',
    'DE89 3704 ',
    'a@b.co ',
    'a@b.',
    'a.',
    '10.0.0.1 ',
    '1.',
    '1-',
    '4 ',
    '4111 1111 1111 1111 ',
    'eyJ',
    'eyJ-',
    'eyJa.',
    'sk-',
    'sk-a ',
    '-----BEGIN PRIVATE KEY----- ',
    'call ',
    'call 1',
    'tel 1 1',
    '+' + '1' * 33 + '_',
    '0171 2 ',
    '\u00a0',
    '\n',
    'label',
    'label ',
    'label: ',
    '#joy ',
    '#joy!',
    '[ ',
    '[joy',
    '(joy) ',
    'joy ',
    'joy\n',
    'joy - ',
    '"joy" ',
    'here is a ',
    'here are some new ',
    'as an ai ',
    'language model ',
    '!',
    '"',
    '🙂',
    '字',
    '\u200b',
    '\u0301',
    'i am sorry ',
]


def test_hostile_texts_take_no_time():
    leak, slow = LabelLeak(['joy', 'two words', '1']), {}
    for piece in HOSTILE:
        text = (piece * 30_000)[:30_000]
        for t in (text, 'label' + text + 'x'):
            slow[piece] = max(slow.get(piece, 0), spent(redact, t), spent(leak.reasons, rows([t])))
    assert max(slow.values()) < 50 * spent(unit), sorted(slow.items(), key=lambda x: -x[1])[:5]


def test_hostile_mixtures_take_no_time():
    rng = random.Random(0)
    for alphabet in (
        '0123456789 ',
        '+ ()-./0',
        'a.@',
        ':0f',
        'AB12 ',
        'sk-_',
        '=?&http://',
        'eyJ.',
        'label:" joy',
        '#joy \n[(',
        'hereis a:',
    ):
        text = ''.join(rng.choice(alphabet) for _ in range(100_000))
        assert work(redact, text) < 33 and work(LabelLeak(['joy']).reasons, rows([text])) < 33, alphabet


def test_time_grows_with_the_length_and_no_faster():
    text = ' '.join(t for ts in SECRET.values() for t in ts) + ' '
    short, long = work(redact, text * 5, times=3), work(redact, text * 40, times=3)
    assert long < 8 * short * 4


def test_hostile_texts_are_compared_quickly():
    f = NearDuplicate()
    assert (
        work(f.reasons, rows([(p * 100_000)[:100_000] for p in ('a', '字', 'ab ', '🙂', '\u0301', '\u200b', '!')]))
        < 170
    )
    assert re.fullmatch('a+', bare('a' * 1000))
