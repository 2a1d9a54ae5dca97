"""The bill of `autogets generate`: what is unaccounted is said, and nothing useless is paid for in full"""

import pandas as pd
import pytest
from servers import serving

from autogets.core import UserError, read_json, text_id
from autogets.data.corpus import split_corpus
from autogets.generators.run import GenerationSettings, RequestSettings, run_generation, say_run
from autogets.llm.pace import Limits

IMPATIENT = Limits(in_flight=32, timeout=0.3, tries=20, backoff=0.02)


def corpus(n=60):
    texts = [f'the {i} printer on floor {i + 1} of house {i * 7} jams{s}' for i in range(n) for s in ('', ' loudly')]
    rows = pd.DataFrame({'id': [text_id(t) for t in texts], 'text': texts, 'label': ['X', 'Y'] * n})
    return split_corpus(rows, 'own', 'stratified', 0)


def requests(server, **more):
    return RequestSettings(
        base_url=server.url, **{'limits': Limits(in_flight=16, backoff=0.02), 'price': (10.0, 10.0)} | more
    )


def test_what_did_not_come_back_is_said_with_the_most_it_can_have_cost(tmp_path):
    with serving(faults={'late': 0.2}, slow=1.0, seed=3) as s:
        made = run_generation(
            corpus(20), GenerationSettings('openai:m', n=1), tmp_path / 'p', requests(s, limits=IMPATIENT)
        )
        told = s.stats()
    missing = (told['prompt_tokens'] + told['completion_tokens']) * 10 / 1e6 - made.cost
    assert 0 < missing <= made.lost_cost and made.lost.replies == made.troubles['timeout']
    assert f'unaccounted: {made.lost.replies} requests that did not come back, at most $' in say_run(made)
    assert read_json(tmp_path / 'p/run.json')['unaccounted']['requests'] == made.lost.replies


def test_the_limit_counts_what_did_not_come_back(tmp_path):
    with serving(faults={'late': 0.5}, slow=1.0, seed=3) as s:
        with pytest.raises(UserError, match=r'stopped at the limit of \$0.10 .*spent, at most .* unaccounted requests'):
            run_generation(
                corpus(),
                GenerationSettings('openai:m', n=1),
                tmp_path / 'p',
                requests(s, max_cost=0.1, limits=IMPATIENT),
            )
        told = s.stats()
    assert (told['prompt_tokens'] + told['completion_tokens']) * 10 / 1e6 <= 0.1


# --- nothing of use


def order(**more):
    return GenerationSettings('openai:m', n=1, filtered=False, **more)


def test_a_pool_without_a_text_is_not_complete_and_says_how_to_go_on(tmp_path):
    c = corpus(4)
    with serving(faults={'refusal': 1.0}) as s:
        for _ in range(2):  # the same command asks nothing new, and says the same
            with pytest.raises(UserError, match='nothing was kept .12 unreadable reply.*--retry-failed') as e:
                run_generation(c, order(), tmp_path / 'p', requests(s))
            assert e.value.exit_code == 2
            assert not read_json(tmp_path / 'p/manifest.json')['complete']
            assert not read_json(tmp_path / 'p/run.json')['complete']
            asked = s.stats()['requests']
        s.set(faults={})
        with pytest.raises(UserError, match='nothing was kept'):
            run_generation(c, order(), tmp_path / 'p', requests(s))
        assert s.stats()['requests'] == asked
        made = run_generation(c, order(), tmp_path / 'p', requests(s, retry=True))
        assert made.manifest['complete'] and made.manifest['counts']['kept'] == len(c.train)


def test_a_server_that_is_down_leaves_no_complete_pool(tmp_path):
    with serving(faults={'500': 1.0}) as s, pytest.raises(UserError, match='--retry-failed'):
        run_generation(corpus(3), order(), tmp_path / 'p', requests(s, limits=Limits(tries=2, backoff=0.01)))


@pytest.mark.parametrize('fault', ['refusal', 'schema', 'empty'])
def test_useless_replies_stop_a_run_early(tmp_path, fault):
    "Eighty examples and no reply of use: before, 480 were paid for"
    with serving(faults={fault: 1.0}) as s:
        with pytest.raises(UserError):
            run_generation(corpus(63), order(), tmp_path / 'p', requests(s))
        assert 20 <= s.stats()['requests'] <= 2 * 80 + 10


def test_texts_that_a_judge_never_reads_stop_a_run_early(tmp_path):
    with serving() as s, serving(faults={'odd': 1.0}) as judge:
        odd = '{"choices": [{"message": {"content": "hm"}}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}'
        judge.set(bodies=[odd])
        words = dict(judge=3.0, judge_model='openai:j')
        with pytest.raises(UserError, match='none of the first 80 texts is of use .80 not judged.*'):
            run_generation(corpus(63), order(**words), tmp_path / 'p', requests(s, judge_base_url=judge.url))
        assert s.stats()['requests'] == 80 and judge.stats()['requests'] == 160


def test_exactly_so_many_useless_texts_stop_after_one_round(tmp_path):
    with serving(faults={'refusal': 1.0}) as s:
        with pytest.raises(UserError, match='fewer than 40 texts for X .0., Y .0.'):
            run_generation(corpus(63), order(exactly=40), tmp_path / 'p', requests(s))
        assert s.stats()['requests'] <= 2 * 2 * 40


def test_a_few_useless_replies_are_asked_again(tmp_path):
    with serving(faults={'refusal': 0.3}, seed=1) as s:
        made = run_generation(corpus(63), order(), tmp_path / 'p', requests(s))
        assert made.manifest['complete'] and made.manifest['counts']['kept'] >= 78
