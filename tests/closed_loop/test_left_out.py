"Arms that give nothing are left out in one line, and the loop goes on with the others"

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest

from autogets.closed_loop.model_arms import BARREN, ModelArms
from autogets.closed_loop.spending import LoopSettings, run_loop
from autogets.data.datasets import load_corpus
from autogets.generators.llm_writer import Writer
from autogets.llm.cache import Meter, Price
from autogets.llm.chat import Chat, Failure, Reply

GERMAN = 'Seit dem Update gestern Abend lässt sich der Drucker im Raum {} nicht mehr ansprechen.'
ENGLISH = 'Since the update last night nobody can print on the {} printer in room {} any more.'


class Model(Chat):
    "Writes two sentences in English; what a subclass says of a request comes instead"

    kind, model, endpoint, batch = 'pretended', 'm', 'here', 64

    def complete_many(self, requests):
        return [self.odd(r.messages[-1]['content']) or self.usual(r) for r in requests]

    def odd(self, said):
        return None

    def texts(self, request, template):
        rng = np.random.default_rng(int(self.key(request)[:8], 16))
        many = request.parameters['schema']['properties']['texts']['maxItems']
        nouns = [' '.join(rng.choice(['blue', 'old', 'new', 'small', 'loud', 'slow'], 3)) for _ in range(many)]
        texts = [template.format(n, rng.integers(10**6)) for n in nouns]
        return Reply(json.dumps({'texts': texts}), 'stop', 200, completion_tokens=100)

    def usual(self, request):
        return self.texts(request, ENGLISH)


class Foreign(Model):
    def usual(self, request):
        return self.texts(request, GERMAN.replace('{}', '{1} {0}', 1))


class Deaf(Model):
    def odd(self, said):
        return Reply('Sure! Here are some texts.', 'stop', 200, completion_tokens=5)


class Prude(Model):
    def odd(self, said):
        return Failure('the model refuses') if f'"{CORPUS.classes[0]}"' in said else None


FULL = load_corpus('tickets')
CORPUS = replace(FULL, train=FULL.train.groupby('label').head(6).reset_index(drop=True))


def loop(chat):
    "A run with a writer that works and one that uses `chat`, the warnings, and the arms"
    meter, how = Meter(price=Price(0.15, 0.6)), dict(task='tickets', classes=CORPUS.classes)
    writers = {'one-shot': Writer(Model(), prompt='one-shot', meter=meter, **how)}
    writers['autogets'] = Writer(chat, prompt='autogets', meter=meter, **how)
    arms = ModelArms(CORPUS, writers, classifier='word-ridge')
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        run = run_loop(CORPUS, arms, 0.03, 'word-ridge', settings=LoopSettings(rounds=3))
    return run, [str(t.message) for t in told if 'from here on' in str(t.message)], arms


@pytest.mark.parametrize('chat,said', [(Foreign(), 'in another language (de)'), (Deaf(), 'unreadable reply')])
def test_a_method_of_which_nothing_can_be_kept_is_left_out(chat, said):
    run, told, arms = loop(chat)
    assert set(run.written.kind) == {'one-shot'} and run.rounds.number.max() >= 2
    assert len(told) == 1 and told[0].startswith('autogets is left out') and said in told[0], told
    assert '\n' not in told[0]


def test_a_class_that_is_refused_is_not_asked_for_again():
    run, told, arms = loop(Prude())
    refused = run.written[run.written.label == CORPUS.classes[0]]
    assert set(refused.kind) <= {'one-shot'} and 'autogets' in set(run.written.kind)
    assert list(arms.closed) == [('autogets', CORPUS.classes[0])]
    assert len(told) == 1 and 'the model refuses' in told[0] and CORPUS.classes[0] in told[0]
    assert arms.tried['autogets', CORPUS.classes[0]][1].total() >= BARREN
    left = dict(zip(map(tuple, arms.arms), arms.left(run.written)))
    assert left['autogets', CORPUS.classes[0]] == 0 < left['one-shot', CORPUS.classes[0]]
