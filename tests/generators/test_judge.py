"""A judge that is another model than the writer: its own price, cache, limits and endpoint, under one limit of cost"""

import shutil

import pandas as pd
import pytest
import yaml
from servers import serving

from autogets.core import UserError, read_json, text_id
from autogets.data.corpus import split_corpus
from autogets.generators.run import (
    GenerationSettings,
    RequestSettings,
    forecast,
    run_generation,
    say_forecast,
)
from autogets.llm.pace import Limits

PRICES = {'m': 10.0, 'j': 1000.0}  # dollars per million tokens, in and out


def corpus(n=20):
    texts = [f'the {i} printer on floor {i + 1} of house {i * 7} jams{s}' for i in range(n) for s in ('', ' loudly')]
    rows = pd.DataFrame({'id': [text_id(t) for t in texts], 'text': texts, 'label': ['X', 'Y'] * n})
    return split_corpus(rows, 'own', 'stratified', 0)


def order(model='openai:m', **more):
    return GenerationSettings(model, **{'n': 1, 'filtered': False, 'judge': 2.0, 'judge_model': 'openai:j'} | more)


@pytest.fixture
def prices(tmp_path):
    path = tmp_path / 'prices.yml'
    path.write_text(yaml.safe_dump([{'model': m, 'input': p, 'output': p} for m, p in PRICES.items()]))
    return path


@pytest.fixture
def two():
    "The endpoint of the writer, and that of the judge"
    with serving() as writer, serving() as judge:
        yield writer, judge


def requests(two, prices, **more):
    writer, judge = two
    how = {'base_url': writer.url, 'judge_base_url': judge.url, 'prices': prices, 'limits': Limits(in_flight=8)}
    return RequestSettings(**how | more)


def charged(server, price):
    told = server.stats()
    return (told['prompt_tokens'] + told['completion_tokens']) * price / 1e6


def bill(two):
    return charged(two[0], PRICES['m']) + charged(two[1], PRICES['j'])


def test_each_model_is_billed_at_its_own_price(tmp_path, two, prices):
    made = run_generation(corpus(), order(), tmp_path / 'p', requests(two, prices))
    assert made.cost == pytest.approx(bill(two))
    assert made.sent == sum(s.stats()['requests'] for s in two)


def test_a_second_run_asks_the_judge_nothing(tmp_path, two, prices):
    first = run_generation(corpus(), order(), tmp_path / 'p', requests(two, prices))
    asked = [s.stats()['requests'] for s in two]
    (tmp_path / 'p/texts.jsonl').unlink()
    (tmp_path / 'p/manifest.json').unlink()
    again = run_generation(corpus(), order(), tmp_path / 'p', requests(two, prices))
    assert [s.stats()['requests'] for s in two] == asked and again.cost == pytest.approx(first.cost)
    assert again.manifest == first.manifest


@pytest.mark.parametrize('limit', [0.05, 1.0])
def test_one_limit_holds_for_both(tmp_path, two, prices, limit):
    with pytest.raises(UserError, match=rf'stopped at the limit of \${limit:.2f}'):
        run_generation(corpus(40), order(), tmp_path / 'p', requests(two, prices, max_cost=limit))
    assert bill(two) <= limit
    run_generation(corpus(40), order(), tmp_path / 'p', requests(two, prices, max_cost=100.0))
    assert [s.stats()['repeats'] for s in two] == [0, 0]


def test_the_limit_counts_what_the_judge_has_spent_in_earlier_runs(tmp_path, two, prices):
    spent = run_generation(corpus(), order(), tmp_path / 'p', requests(two, prices)).cost
    (tmp_path / 'p/texts.jsonl').unlink()
    (tmp_path / 'p/manifest.json').unlink()
    more = corpus(40)
    with pytest.raises(UserError, match='stopped at the limit'):
        run_generation(more, order(), tmp_path / 'p', requests(two, prices, max_cost=spent + 0.02))
    assert bill(two) <= spent + 0.02


@pytest.mark.parametrize('model', ['eda', 'openai:m'])
def test_a_judge_without_a_price_takes_no_limit(tmp_path, two, model):
    with pytest.raises(UserError, match='price of this model is not known.*--judge-price IN,OUT'):
        how = RequestSettings(two[0].url, judge_base_url=two[1].url, price=(1.0, 1.0), max_cost=1.0)
        run_generation(corpus(4), order(model), tmp_path / 'p', how)
    assert not any(s.stats()['requests'] for s in two)


def test_a_judge_beside_eda_has_a_cache_a_bill_and_limits(tmp_path, two, prices):
    made = run_generation(corpus(), order('eda'), tmp_path / 'p', requests(two, prices))
    asked = two[1].stats()['requests']
    assert asked and made.sent == asked and made.cost == pytest.approx(bill(two)) and made.cost > 0
    (tmp_path / 'p/texts.jsonl').unlink()
    (tmp_path / 'p/manifest.json').unlink()
    run_generation(corpus(), order('eda'), tmp_path / 'p', requests(two, prices))
    assert two[1].stats()['requests'] == asked
    with pytest.raises(UserError, match='stopped at the limit of .* while texts were judged'):
        run_generation(corpus(), order('eda'), tmp_path / 'q', requests(two, prices, max_cost=0.2))
    assert charged(two[1], PRICES['j']) - made.cost <= 0.2


def test_the_pace_is_that_of_the_run_beside_eda_too(tmp_path, prices):
    with serving(delay=0.05) as judge:
        how = requests((judge, judge), prices, limits=Limits(in_flight=2))
        run_generation(corpus(10), order('eda'), tmp_path / 'p', how)
        assert judge.stats()['peak'] <= 2


@pytest.mark.parametrize('model', ['eda', 'openai:m'])
def test_address_and_key_reach_the_judge(tmp_path, monkeypatch, model):
    monkeypatch.setenv('MINE', 'wrong')  # the server refuses this key
    with serving() as s:
        how = RequestSettings(base_url=s.url, key_env='MINE', limits=Limits(tries=1))
        with pytest.raises(UserError, match='check MINE') as e:
            run_generation(corpus(4), order(model), tmp_path / 'p', how)
        assert s.url in str(e.value)
        monkeypatch.setenv('MINE', 'right')
        run_generation(corpus(4), order(model), tmp_path / 'p', how)
        assert s.stats()['requests']


def test_a_judge_with_its_own_address_does_not_get_the_key_of_the_writer(tmp_path, monkeypatch, two):
    monkeypatch.setenv('MINE', 'wrong')
    how = RequestSettings(two[0].url, judge_base_url=two[1].url, key_env='MINE', limits=Limits(tries=1))
    run_generation(corpus(4), order('eda'), tmp_path / 'p', how)
    assert two[1].stats()['requests']
    how = RequestSettings(two[0].url, judge_base_url=two[1].url, judge_key_env='MINE', limits=Limits(tries=1))
    with pytest.raises(UserError, match='check MINE'):
        run_generation(corpus(4), order(), tmp_path / 'q', how)


def test_what_a_judge_said_to_an_earlier_version_is_found_among_the_replies_of_the_writer(tmp_path, two, prices):
    run_generation(corpus(), order(), tmp_path / 'p', requests(two, prices))
    (tmp_path / 'q').mkdir()
    both = b''.join((tmp_path / 'p' / f).read_bytes() for f in ('replies.jsonl', 'replies.judge.jsonl'))
    (tmp_path / 'q/replies.jsonl').write_bytes(both)
    asked = [s.stats()['requests'] for s in two]
    made = run_generation(corpus(), order(), tmp_path / 'q', requests(two, prices))
    assert made.sent == 0 and [s.stats()['requests'] for s in two] == asked


def test_the_forecast_counts_the_judge_at_its_price(prices, two):
    c, how = corpus(), requests(two, prices)
    alone, both = (forecast(c, order(judge=j), how) for j in (None, 2.0))
    assert both['requests'] == 2 * alone['requests'] and both['cost'] > 10 * alone['cost']
    assert 'at a price that is not known' in say_forecast(forecast(c, order(), requests(two, None, price=(1.0, 1.0))))
    assert sum(s.stats()['requests'] for s in two) == 0


# --- what a refused run leaves


def test_a_refused_run_leaves_the_account_of_the_folder(tmp_path, two, prices):
    how = requests(two, prices)
    run_generation(corpus(), order(), tmp_path / 'p', how)
    before = {p.name: p.read_bytes() for p in (tmp_path / 'p').iterdir()}
    for other in (order(n=2), order('eda'), order(judge=4.0), order(target=('nobody',))):
        with pytest.raises(UserError):
            run_generation(corpus(), other, tmp_path / 'p', how)
        assert {p.name: p.read_bytes() for p in (tmp_path / 'p').iterdir()} == before
    run_generation(corpus(), order(), tmp_path / 'p', how)
    assert len(read_json(tmp_path / 'p/run.json')['runs']) == 2


def test_a_run_that_stops_on_the_way_is_in_the_account(tmp_path, two, prices):
    with pytest.raises(UserError, match='stopped at the limit'):
        run_generation(corpus(40), order(judge=None), tmp_path / 'p', requests(two, prices, max_cost=0.05))
    told = read_json(tmp_path / 'p/run.json')
    assert not told['complete'] and told['cost'] == pytest.approx(bill(two)) and len(told['runs']) == 1
    shutil.rmtree(tmp_path / 'p')
