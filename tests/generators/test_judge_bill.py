"""The judge has a price, an endpoint and a cache of its own, under the one limit; what is not on the bill is said"""

import json

import pytest
from servers import serving

from autogets.core import UserError, read_json
from autogets.data.datasets import load_corpus
from autogets.generators import run
from autogets.generators.run import GenerationSettings, RequestSettings, run_generation, say_run
from autogets.llm.cache import Replies
from autogets.llm.pace import Limits

LIMITS = Limits(in_flight=8, timeout=2.0, tries=3, backoff=0.01)


def judged(model='openai:w', **more):
    return GenerationSettings(model, n=1, filtered=False, judge=3.0, judge_model='openai:j', **more)


def cost(server, price):
    told = server.stats()
    return (told['prompt_tokens'] + told['completion_tokens']) * price / 1e6


def test_each_model_is_billed_at_its_own_price(small, tmp_path):
    with serving() as writer, serving() as judge:
        how = RequestSettings(
            writer.url, judge_base_url=judge.url, price=(1.0, 1.0), judge_price=(100.0, 100.0), limits=LIMITS
        )
        made = run_generation(small, judged(), tmp_path, how, progress=False)
        assert judge.stats()['requests'] >= made.manifest['counts']['kept'] > 0
        assert made.cost == pytest.approx(cost(writer, 1.0) + cost(judge, 100.0))
        assert made.sent == writer.stats()['requests'] + judge.stats()['requests']
    assert read_json(tmp_path / 'run.json')['cost'] == pytest.approx(made.cost)


def test_one_limit_holds_for_both(small, tmp_path):
    with serving() as writer, serving() as judge:
        how = RequestSettings(
            writer.url,
            judge_base_url=judge.url,
            price=(1.0, 1.0),
            judge_price=(100.0, 100.0),
            max_cost=0.2,
            limits=LIMITS,
        )
        with pytest.raises(UserError, match='stopped at the limit of .0.20'):
            run_generation(small, judged(), tmp_path, how, progress=False)
        assert 0 < cost(writer, 1.0) + cost(judge, 100.0) <= 0.2


def test_a_judge_beside_eda_has_a_cache_a_bill_and_a_limit(small, tmp_path):
    with serving() as judge:
        how = RequestSettings(judge.url, judge_price=(10.0, 10.0), max_cost=5.0, limits=LIMITS)
        made = run_generation(small, judged('eda'), tmp_path / 'a', how, progress=False)
        asked = judge.stats()['requests']
        assert made.sent == asked > 0 and made.cost == pytest.approx(cost(judge, 10.0))
        with Replies(tmp_path / 'a/replies.judge.jsonl') as store:
            assert len(store) == asked
        (tmp_path / 'a/texts.jsonl').unlink()
        (tmp_path / 'a/manifest.json').unlink()
        run_generation(small, judged('eda'), tmp_path / 'a', how, progress=False)
        assert judge.stats()['requests'] == asked  # all of it was cached
        small_limit = RequestSettings(judge.url, judge_price=(10.0, 10.0), max_cost=0.01, limits=LIMITS)
        with pytest.raises(UserError, match='limit of .0.01'):
            run_generation(small, judged('eda'), tmp_path / 'b', small_limit, progress=False)


def test_a_limit_needs_the_price_of_the_judge(small, tmp_path):
    how = RequestSettings('http://127.0.0.1:9/v1', price=(1.0, 1.0), max_cost=1.0)
    with pytest.raises(UserError, match='--judge-price IN,OUT'):
        run_generation(small, judged(), tmp_path, how, progress=False)


def test_the_key_of_the_writer_goes_to_no_other_endpoint(monkeypatch):
    monkeypatch.setenv('WRITER_KEY', 'one')
    with pytest.raises(UserError, match='no key is known for judge.example'):
        run._judge_chat(
            judged(),
            RequestSettings('http://writer.example/v1', 'WRITER_KEY', judge_base_url='http://judge.example/v1'),
        )
    same = run._judge_chat(judged(), RequestSettings('http://writer.example/v1', 'WRITER_KEY'))
    assert (same.endpoint, same.key_name) == ('http://writer.example/v1', 'WRITER_KEY')


# --- what is not on the bill


def silent(n):
    said = {
        'choices': [{'message': {'content': json.dumps({'texts': ['a text about paint']})}, 'finish_reason': 'stop'}]
    }
    return [json.dumps(said)] * n


def test_replies_without_a_count_are_said(small, tmp_path):
    with serving(faults={'odd': 1.0}) as s:
        s.set(bodies=silent(1))
        settings = GenerationSettings('openai:w', n=1, filtered=False)
        how = RequestSettings(s.url, price=(1.0, 1.0), limits=LIMITS)
        made = run_generation(small, settings, tmp_path, how, progress=False)
    assert f'unaccounted: {made.lost.replies} requests whose cost is not known' in say_run(made)
    with pytest.warns(UserWarning, match=f'earlier runs left unaccounted: {made.lost.replies} requests'):
        run_generation(small, settings, tmp_path, how, progress=False)


def test_a_run_that_ends_in_an_error_says_what_is_unaccounted(small, tmp_path):
    with serving(faults={'late': 1.0}, slow=1.0) as s:
        how = RequestSettings(s.url, price=(1.0, 1.0), limits=Limits(in_flight=4, timeout=0.2, tries=1))
        with pytest.warns(UserWarning, match=r'unaccounted: \d+ requests that did not come back, at most \$'):
            with pytest.raises(UserError):
                run_generation(small, GenerationSettings('openai:w', n=1), tmp_path, how, progress=False)


def test_a_refused_run_changes_nothing(small, tmp_path):
    run_generation(small, GenerationSettings('eda', n=2), tmp_path, progress=False)
    before = (tmp_path / 'run.json').read_bytes()
    for other in (GenerationSettings('eda', n=3), GenerationSettings('eda', n=2, target=('nobody',))):
        with pytest.raises(UserError):
            run_generation(small, other, tmp_path, progress=False)
    assert (tmp_path / 'run.json').read_bytes() == before


LINES = ['{"source_id": 1', '[]', '{"source_id": "a", "texts": []}']


@pytest.mark.parametrize('line', LINES)
def test_a_bad_line_and_retry(line, small, tmp_path):
    run_generation(small, GenerationSettings('eda', n=2), tmp_path, progress=False)
    manifest = read_json(tmp_path / 'manifest.json') | {'complete': False}
    (tmp_path / 'manifest.json').write_text(json.dumps(manifest))
    with open(tmp_path / 'texts.jsonl', 'a') as f:
        f.write(line + '\n')
    with pytest.raises(UserError, match=r'texts.jsonl, line \d+: not a line of a pool'):
        run_generation(small, GenerationSettings('eda', n=2), tmp_path, RequestSettings(retry=True), progress=False)


def test_no_texts_at_all(small, tmp_path):
    from autogets import generate

    for model in ('eda', 'recorded:tickets'):
        with pytest.raises(UserError, match='cannot make 0 texts'):
            generate(small, model, tmp_path / 'p', n=0)
    assert not (tmp_path / 'p/manifest.json').exists()


# --- what a recording is


def test_a_recording_is_what_it_holds_whatever_its_name(tmp_path):
    (tmp_path / 'texts.jsonl').write_text('{"source_id": "a", "texts": ["b"]}\n')
    (tmp_path / 'replies.txt').write_text('{"key": "a", "reply": "b"}\n')
    assert not run.is_chat_model(f'recorded:{tmp_path}/texts.jsonl')
    assert run.is_chat_model(f'recorded:{tmp_path}/replies.txt#m')
    with pytest.raises(UserError, match='is a folder'):
        run.is_chat_model(f'recorded:{tmp_path}')


def test_the_command_takes_a_shipped_recording(tmp_path):
    made = run_generation(load_corpus('tickets'), GenerationSettings('recorded:tickets', n=2), tmp_path, progress=False)
    assert made.manifest['counts']['kept'] > 2000
