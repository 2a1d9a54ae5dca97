"Requests by the dozen, and one way to ask them all: used by the tests of this folder"

from autogets.llm.chat import OpenAIChat, Reply, Request
from autogets.llm.client import ask
from autogets.llm.pace import Limits

QUICK = Limits(in_flight=32, timeout=1.0, tries=12)


def requests(n, tag='', **parameters):
    return [
        Request(({'role': 'user', 'content': f'write 1 text about {tag}{i}'},), {'seed': 1} | parameters)
        for i in range(n)
    ]


def ask_all(chat, asked, replies=None, limits=QUICK, meter=None):
    "The outcome of each of `asked`, by its number"
    return {i: r for i, _, r in ask(chat, asked, replies, limits=limits, meter=meter)}


def one(tag='a', reply='r'):
    "A model that is never called, a request to it and a reply"
    request = Request(({'role': 'user', 'content': tag},))
    return OpenAIChat('m', base_url='http://localhost:1/v1'), request, Reply(reply, 'stop', 1, completion_tokens=1)
