"""The batch endpoint of a provider: the same replies, sent once"""

from collections import Counter

from llm.common import ask_all, requests
from servers import serving

from autogets.llm.batch import BatchedChat
from autogets.llm.cache import Replies
from autogets.llm.chat import Failure, make_chat


def test_batches_give_the_same_replies_and_are_sent_once(tmp_path):
    with serving() as s:
        plain = make_chat('openai:m', base_url=s.url)
        one_by_one = ask_all(plain, requests(30))
        batched = BatchedChat(make_chat('openai:m', base_url=s.url), tmp_path, poll=0.01)
        with Replies(tmp_path / 'r.jsonl') as store:
            got = ask_all(batched, requests(30), store)
        assert {i: r.text for i, r in got.items()} == {i: r.text for i, r in one_by_one.items()}
        assert s.stats()['outcomes']['jobs'] == 1
        assert {i: r.text for i, r in ask_all(BatchedChat(plain, tmp_path, poll=0.01), requests(30)).items()} == {
            i: r.text for i, r in got.items()
        }
        assert s.stats()['outcomes']['jobs'] == 1  # the note found the finished batch
        with Replies(tmp_path / 'r.jsonl') as store:
            assert all(r.cached for r in ask_all(plain, requests(30), store).values())


def test_a_batch_with_errors_says_which(tmp_path):
    with serving(faults={'500': 0.3, 'empty': 0.1}, seed=2) as s:
        got = ask_all(BatchedChat(make_chat('openai:m', base_url=s.url), tmp_path, poll=0.01), requests(60))
        kinds = Counter(r.reason if isinstance(r, Failure) else 'reply' for r in got.values())
        assert len(got) == 60
        assert kinds['reply'] > 20
        assert kinds['server error 500'] > 5
        assert kinds['no choice in the reply'] > 0
