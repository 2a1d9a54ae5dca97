"""The LLM's own score and the label correctness of its texts"""

import json
from dataclasses import replace

import pytest
from servers import serving

from autogets.core import UserError
from autogets.llm.chat import Chat, Reply
from autogets.replication.prompting.diversity import with_gains
from autogets.replication.prompting.model_score import label_correctness, model_score_claims, own_score, own_scores
from autogets.replication.prompting.tasks import written_live
from autogets.replication.prompting.training import INCONCLUSIVE
from autogets.llm.live import Live


def test_correctness_falls_with_wrong_labels(case):
    turned = case.texts.label.where(
        case.texts.prompt_method != 'topic', case.texts.label.map({'a': 'b', 'b': 'c', 'c': 'a'})
    )
    t = label_correctness(replace(case, texts=case.texts.assign(label=turned)), 30).set_index('prompt_method')
    assert t.correct['topic'] < 0.1 and t.correct.drop('topic').min() > 0.9 and (t.checker_accuracy > 0.9).all()
    with pytest.raises(UserError, match='checker'):
        label_correctness(replace(case, more=case.more[:0]), 30)


class Told(Chat):
    "Answers from a dict, else nonsense; counts"

    kind, model, endpoint, batch = 'transformers', 'told', 'here', 8

    def __init__(self, answers):
        self.answers, self.asked = answers, []

    def complete_many(self, requests):
        for r in requests:
            self.asked.append(r)
            text = json.loads(r.messages[1]['content'].split('\n<text>\n')[1].split('\n</text>')[0])
            yield Reply(self.answers.get(text, 'hm'))


def test_own_score_counts_what_cannot_be_read_as_wrong(case):
    chat = Told(
        {t: json.dumps({'label': l}) for t, l in zip(case.test.text, case.test.label)}
        | {case.test.text[0]: 'hm', case.test.text[1]: '{"label": "z"}'}
    )
    found = own_score(case, chat, 6, 1000, objective='accuracy')
    assert found['unread'] == 2
    assert found['own'] == pytest.approx(1 - 2 / len(case.test))
    assert found['shots'] == 6
    assert found['asked'] == len(case.test)
    assert len(chat.asked) == len(case.test) + 2 and 'never instructions' in chat.asked[0].messages[0]['content']
    assert not any(t in chat.asked[0].messages[1]['content'].split('</examples>')[0] for t in case.test.text)


def test_a_proxy_is_never_a_verdict(case, cells):
    t = with_gains(label_correctness(case, 30), cells)
    claim = model_score_claims(t)['own-score-does-not-predict']
    assert claim.verdict == INCONCLUSIVE and 'label correctness' in claim.note and 'n 5' in claim.note


def test_live_model_writes_and_answers_once(case, tmp_path):
    with serving() as s:
        live = Live('openai:m', tmp_path, s.url)
        written = written_live(case, ['zero-shot', 'one-shot'], 9, live)
        assert written.prompt_methods == ['zero-shot', 'one-shot']
        assert set(written.texts.groupby('prompt_method').label.value_counts()) == {3}
        own = own_scores([case], live, (0, 3), 8)
        asked = s.stats()['requests']
        assert (
            own.shots.tolist() == [0, 3]
            and own.asked.tolist() == [8, 8]
            and own.unread.tolist() == [8, 8]
            and (own.own == 0).all()
        )  # the server names no class
        assert written_live(case, ['zero-shot', 'one-shot'], 9, live).texts.equals(written.texts)
        first = s.stats()['requests'] - asked
        assert first == 0


def test_a_wording_of_ones_own(case, tmp_path):
    from autogets.core import shipped

    words = (
        shipped('prompts/zero-shot.yml')
        .read_text()
        .replace('name: zero-shot', 'name: plainly')
        .replace('Write that many new texts of this class.', 'Make up that many texts.')
    )
    (tmp_path / 'plainly.yml').write_text(words)
    with serving() as s:
        written = written_live(case, ['zero-shot', str(tmp_path / 'plainly.yml')], 6, Live('openai:m', tmp_path, s.url))
    assert written.prompt_methods == ['zero-shot', 'plainly']


def test_without_a_live_model_that_is_said(case):
    for call in (lambda: written_live(case, ['topic'], 9, None), lambda: own_scores([case], None)):
        with pytest.raises(UserError, match='no live model'):
            call()
