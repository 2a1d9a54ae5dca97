"A bank that tools/bank.py makes of a pool replays the texts of the pool"

import gzip
import json
from itertools import count

import bank
import pytest

from autogets.generators.build import fill_pool
from autogets.generators.llm_writer import Writer
from autogets.generators.pool import load_pool
from autogets.generators.recorded import Recorded
from autogets.llm.chat import Chat, Reply


class Scribe(Chat):
    "Writes two texts that nobody else writes; asked for items, it lists two"

    kind, model, endpoint, batch, number = 'scribe', 'S 1', 'here', 8, count()

    def complete_many(self, requests):
        for r in requests:
            (field, shape), *_ = r.parameters['schema']['properties'].items()
            yield Reply(json.dumps({field: [f'{field} {next(self.number)}' for _ in range(shape['minItems'])]}))


@pytest.mark.parametrize('prompt', ['few-shot-3', 'attributed'])
def test_a_bank_replays_its_pool(small, tmp_path, prompt, capsys):
    fill_pool(Writer(Scribe(), prompt=prompt), small.train, tmp_path / 'pool', n=2, progress=False)
    bank.main(tmp_path / 'bank', tmp_path / 'pool')
    pool, made = load_pool(tmp_path / 'pool').texts, Recorded(tmp_path / 'bank/bank.jsonl.gz')
    assert (
        sorted(made.stored.text) == sorted(pool.text) and f'S 1, {prompt}: {len(pool)} texts' in capsys.readouterr().out
    )
    assert set(made.stored.model) == {'S 1'} and set(made.stored.method) == {prompt}
    lines = [json.loads(l) for l in gzip.open(tmp_path / 'bank/bank.jsonl.gz')]
    assert {len(l['texts']) for l in lines} == {2}
    assert (
        all(len(l['source_ids']) == 3 for l in lines) if prompt == 'few-shot-3' else all(l['attributes'] for l in lines)
    )
    again = Recorded(tmp_path / 'bank/bank.jsonl.gz').generate(small.train, 2)
    assert set(again.label) == set(small.train.label) and set(again.text) <= set(pool.text)
    before = (tmp_path / 'bank/bank.jsonl.gz').read_bytes()
    bank.main(tmp_path / 'bank', tmp_path / 'pool')
    assert (tmp_path / 'bank/bank.jsonl.gz').read_bytes() == before
