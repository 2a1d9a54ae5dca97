"""The bill of `autogets generate`: what is unaccounted is said, and nothing useless is paid for in full"""

import pandas as pd
import pytest
from servers import serving

from autogets.core import UserError, read_json, text_id
from autogets.data.corpus import split_corpus
from autogets.generators.run import GenerationSettings, RequestSettings, run_generation, say_run
from autogets.llm.pace import Limits

FAST = Limits(in_flight=32, timeout=0.3, tries=20, backoff=0.02)


def corpus(n=60):
    texts = [f'the {i} printer on floor {i + 1} of house {i * 7} jams{s}' for i in range(n) for s in ('', ' loudly')]
    rows = pd.DataFrame({'id': [text_id(t) for t in texts], 'text': texts, 'label': ['X', 'Y'] * n})
    return split_corpus(rows, 'own', 'stratified', 0)


def requests(server, **more):
    return RequestSettings(base_url=server.url, **{'limits': FAST, 'price': (10.0, 10.0)} | more)


def test_what_did_not_come_back_is_said_with_the_most_it_can_have_cost(tmp_path):
    with serving(faults={'late': 0.2}, slow=1.0, seed=3) as s:
        made = run_generation(corpus(20), GenerationSettings('openai:m', n=1), tmp_path / 'p', requests(s))
        told = s.stats()
    missing = (told['prompt_tokens'] + told['completion_tokens']) * 10 / 1e6 - made.cost
    assert 0 < missing <= made.lost_cost and made.lost.replies == made.troubles['timeout']
    assert f'unaccounted: {made.lost.replies} requests that did not come back, at most $' in say_run(made)
    assert read_json(tmp_path / 'p/run.json')['unaccounted']['requests'] == made.lost.replies


def test_the_limit_counts_what_did_not_come_back(tmp_path):
    with serving(faults={'late': 0.5}, slow=1.0, seed=3) as s:
        with pytest.raises(UserError, match=r'stopped at the limit of \$0.10 .*spent, at most .* unaccounted requests'):
            run_generation(corpus(), GenerationSettings('openai:m', n=1), tmp_path / 'p', requests(s, max_cost=0.1))
        told = s.stats()
    assert (told['prompt_tokens'] + told['completion_tokens']) * 10 / 1e6 <= 0.1
