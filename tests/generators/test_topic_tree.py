"""A tree of topics: no branch twice, leaves at every depth, one batch of requests a level, cached and counted"""

import json
import re

import pytest

from autogets.core import UserError
from autogets.generators.build import build_pool
from autogets.generators.filters import rouge_l
from autogets.generators.llm_writer import estimate_requests
from autogets.generators.topic_tree import TreeWriter, grow_topics, new_topics
from autogets.llm.cache import Replies
from autogets.llm.chat import Chat, Reply

TREE = {
    (): ['printer jams', 'toner orders'],
    ('printer jams',): ['printer jams on Mondays', 'Printer jams', 'toner orders now'],
    ('toner orders',): ['toner orders'],
}


class Namer(Chat):
    "Names topics after the node it is asked about, and writes the topic it is given"

    kind, model, endpoint, batch = 'pretended', 'namer', 'here', 64

    def __init__(self):
        self.asked = []

    def complete_many(self, requests):
        return [self.one(r) for r in requests]

    def one(self, request):
        said, shape = ' '.join(m['content'] for m in request.messages), request.parameters['schema']['properties']
        self.asked.append(said)
        (name, listed), node = next(iter(shape.items())), re.search(r'texts are: notes(?: on (.*?))?\.\n', said)[1]
        topic = re.search(r'Topic: "(.*)"', said)
        made = [f'{(node or "top").split()[-1]}{k}' for k in range(listed['maxItems'])]
        made = [f'{topic[1]} {request.sample} {k}' for k in range(listed['maxItems'])] if topic else made
        return Reply(json.dumps({name: made}), 'stop', 50, completion_tokens=30)


def examples(tickets):
    return tickets.train[tickets.train.label.isin(tickets.classes[:2])].groupby('label').head(3)


def test_a_topic_may_be_named_after_its_own_ancestors_and_after_no_other():
    asked = []

    def ask(nodes):
        asked.append(nodes)
        return [TREE[path] for _, path in nodes]

    leaves = grow_topics(ask, ['a'], depth=2)
    assert leaves == {'a': [('toner orders',), ('printer jams', 'printer jams on Mondays')]}
    assert asked == [[('a', ())], [('a', ('printer jams',)), ('a', ('toner orders',))]]


def test_no_two_topics_of_a_list_are_alike():
    names = ['vpn drops at night', 'VPN drops at noon', 'vpn drops at night again', ' ', 'new laptop']
    kept = new_topics(names, ['new phone'])
    assert kept == ['vpn drops at night', 'new laptop'] and new_topics(names, ['new laptop']) == kept[:1]
    assert rouge_l(names[0].split(), names[1].lower().split()) > 0.7


def test_texts_are_on_the_leaves_of_their_class(tickets):
    writer = TreeWriter(Namer(), task='notes', width=2)
    pool = build_pool(writer, examples(tickets), n=2, progress=False)
    paths = {('top0', 'top00'), ('top0', 'top01'), ('top1', 'top10'), ('top1', 'top11')}
    assert {c: set(p) for c, p in writer.tree.items()} == dict.fromkeys(tickets.classes[:2], paths)
    topics = {p['topic'] for p in pool.texts.parameters}
    assert topics <= {': '.join(p) for p in paths} and len(topics) > 1 and len(pool) == 12
    assert pool.manifest['parameters']['depth'] == 2


@pytest.mark.parametrize('depth, questions', [(1, 1), (2, 4), (3, 13)])
def test_questions_are_counted_before_and_paid_once(tickets, tmp_path, depth, questions):
    forecast = estimate_requests(TreeWriter(Namer(), depth=depth, width=3), examples(tickets), 1)
    assert forecast['requests'] == 6 + 2 * questions
    with Replies(tmp_path / 'replies.jsonl') as kept:
        sent = []
        for _ in range(2):
            writer = TreeWriter(Namer(), task='notes', depth=depth, width=3, replies=kept).prepare(examples(tickets))
            sent.append(writer.meter.sent)
    assert sent == [2 * questions, 0]


@pytest.mark.parametrize(
    'given, says',
    [
        (dict(prompt='one-shot'), 'one-shot asks for no topics'),
        (dict(depth=0), 'depth from 1 to 3'),
        (dict(depth=4), 'depth from 1 to 3'),
        (dict(width=0), 'width from 1'),
    ],
)
def test_trees_that_cannot_be_are_refused(given, says):
    with pytest.raises(UserError, match=says):
        TreeWriter(Namer(), **given)
