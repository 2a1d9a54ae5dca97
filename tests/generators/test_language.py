"Which language a text is in, and texts in another than the real ones"

import pandas as pd
import pytest

from autogets.data.datasets import load_corpus
from autogets.generators.language import Language, language_of

SENTENCES = {
    'de': 'Seit dem Update gestern Abend lässt sich der Drucker im dritten Stock nicht mehr ansprechen.',
    'es': 'Desde la actualización de ayer no puedo imprimir en la impresora de la tercera planta.',
    'fr': "Depuis la mise à jour d'hier soir, je ne peux plus imprimer sur l'imprimante du troisième étage.",
    'it': "Dopo l'aggiornamento di ieri sera non riesco più a stampare con la stampante del terzo piano.",
    'pl': 'Od wczorajszej aktualizacji nie mogę drukować na drukarce na trzecim piętrze budynku.',
    'ru': 'После вчерашнего обновления я не могу печатать на принтере на третьем этаже.',
    'zh': '昨天晚上更新之后，三楼的打印机就不能用了，请你们尽快派人来看一下，我们今天下午还要打印合同。',
    'ja': '昨日の更新の後、三階のプリンターで印刷できなくなりました。早めに見ていただけますか。',
    'en': 'Since the update last night I cannot print on the printer on the third floor.',
}


def frame(texts):
    return pd.DataFrame({'text': list(texts)})


@pytest.mark.parametrize('code', SENTENCES)
def test_a_sentence_is_told(code):
    assert language_of(SENTENCES[code]) == code


@pytest.mark.parametrize('text', ['', '   ', 'Printer broken', '1234 5678 ' * 20, '\ud800' * 30, 'https://a.b/c?d=e'])
def test_what_says_too_little_is_in_no_language(text):
    assert language_of(text) == ''


def test_real_texts_in_english_are_not_taken_for_others():
    texts = load_corpus('tickets').train.text[:300]
    told = [language_of(t) for t in texts]
    assert sum(c == 'en' for c in told) > 280 and sum(c not in ('en', '') for c in told) <= 1


def test_texts_in_another_language_are_dropped_and_say_which():
    f = Language()
    f.prepare(load_corpus('tickets').train.head(200))
    assert f.reasons(frame(SENTENCES.values())) == [
        '' if c == 'en' else f'in another language ({c})' for c in SENTENCES
    ]
    assert f.reasons(frame(['Der Drucker geht nicht'])) == ['']  # too short to tell


def test_a_second_language_of_the_corpus_may_be_written():
    english = list(load_corpus('tickets').train.text[:97])
    few, some = Language(), Language()
    few.prepare(frame([SENTENCES['de'], *english]))
    some.prepare(frame([SENTENCES['de']] * 3 + english))
    assert few.reasons(frame([SENTENCES['de']])) == ['in another language (de)']
    assert some.reasons(frame([SENTENCES['de'], SENTENCES['fr']])) == ['', 'in another language (fr)']


def test_a_corpus_of_short_texts_lets_everything_pass():
    f = Language()
    f.prepare(frame(['who is it', 'what was that']))
    assert f.reasons(frame(SENTENCES.values())) == [''] * len(SENTENCES)
