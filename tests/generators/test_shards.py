"Shards: together they are the whole run, and joined they are one pool with one bill"

import json
import random
import shutil

import numpy as np
import pandas as pd
import pytest
from generators.makers import files, frame, numbered
from servers import serving

from autogets.core import UserError, digest, text_id
from autogets.data.corpus import split_corpus
from autogets.generators.base import Generator
from autogets.generators.build import build_pool, fill_pool
from autogets.generators.filters import NearDuplicate
from autogets.generators.llm_writer import Writer
from autogets.generators.merging import merge_pools, say_merged
from autogets.generators.pool import load_pool
from autogets.generators.run import GenerationSettings, RequestSettings, forecast, run_generation
from autogets.generators.shards import Shard, read_shard
from autogets.llm.cache import Replies
from autogets.llm.chat import Chat, Reply
from autogets.llm.pace import Limits

PARTS = 4


class Noting(Chat):
    "Answers by what it is asked, and notes that"

    kind, model, endpoint, batch = 'noting', 'm', 'here', 16

    def __init__(self):
        self.asked = []

    def complete_many(self, requests):
        self.asked += [self.key(r) for r in requests]
        return [self.one(r) for r in requests]

    def one(self, request):
        words = request.parameters['schema']['properties']
        n, rng = words['texts']['maxItems'], np.random.default_rng(int(self.key(request)[:12], 16))
        return Reply(json.dumps({'texts': [' '.join(map(str, rng.integers(0, 10**6, 8))) for _ in range(n)]}))


def examples(n=30):
    return pd.concat([frame([f'{c} case {i} of the printer' for i in range(n)], c) for c in ('X', 'Y')])


def build(chat, folder, rows, prompt, **how):
    return build_pool(Writer(chat, prompt=prompt), rows, folder, n=2, filters=[NearDuplicate()], **how)


@pytest.mark.parametrize('prompt', ['one-shot', 'few-shot-3', 'zero-shot'])
def test_shards_send_the_requests_of_the_whole_run_and_join_to_its_pool(tmp_path, prompt):
    rows, whole, parts = examples(), Noting(), [Noting() for _ in range(PARTS)]
    pool = build(whole, tmp_path / 'whole', rows, prompt)
    for k, chat in enumerate(parts, 1):
        build(chat, tmp_path / f's{k}', rows, prompt, shard=Shard(k, PARTS))
    sent = [key for chat in parts for key in chat.asked]
    assert sorted(sent) == sorted(whole.asked) and len(set(sent)) == len(sent) and all(c.asked for c in parts)
    made = merge_pools(tmp_path / 'all', [tmp_path / f's{k}' for k in (3, 1, 4, 2)])
    assert (tmp_path / 'all/texts.jsonl').read_bytes() == (tmp_path / 'whole/texts.jsonl').read_bytes()
    assert {k: v for k, v in made.manifest.items() if k != 'merged'} == pool.manifest
    assert load_pool(tmp_path / 'all').fingerprint == pool.fingerprint
    assert build(whole, tmp_path / 'all', rows, prompt).fingerprint == pool.fingerprint  # whose settings it has


def test_the_order_of_rows_and_new_rows_move_no_example():
    ids, rng = list(numbered(300).id), random.Random(0)
    shard = {i: next(k for k in range(1, 9) if Shard(k, 8).takes(i)) for i in ids}
    shuffled = rng.sample(ids, len(ids)) + [text_id('a new text')]
    assert all(Shard(shard[i], 8).takes(i) for i in shuffled[:-1])
    sizes = np.bincount(list(shard.values()))[1:]
    assert len(sizes) == 8 and sizes.min() > 15
    assert read_shard(' 2/8 ') == Shard(2, 8) and str(Shard(2, 8)) == '2/8' and read_shard(None) is None
    assert [Shard(k, 4).takes('0123456789abcdef') for k in (1, 2, 3, 4)] == [
        False,
        False,
        True,
        False,
    ]  # as in every version


class Twice(Generator):
    "Two examples in a row get nearly the same text"

    name, batch = 'twice', 8

    def generate(self, rows, n):
        number = [int(t.split()[1]) for t in rows.text]
        texts = [f'{digest(k // 2)} is what matters here {"!?"[k % 2]} {"ab"[k % 2]}' for k in number]
        return self.rows(texts, rows.label, [[i] for i in rows.id], samples=0)


def test_near_duplicates_of_another_shard_are_dropped_in_the_join(tmp_path):
    def built(name, **how):
        return build_pool(Twice(), numbered(80), tmp_path / name, n=1, filters=[NearDuplicate()], **how)

    whole, alone = built('whole'), [built(f's{k}', shard=Shard(k, 3)) for k in (1, 2, 3)]
    made = merge_pools(tmp_path / 'all', [tmp_path / f's{k}' for k in (1, 2, 3)])
    counts = made.manifest['counts']
    assert sum(map(len, alone)) > len(whole) == 40 == counts['kept'] and counts == whole.manifest['counts']
    assert (tmp_path / 'all/texts.jsonl').read_bytes() == (tmp_path / 'whole/texts.jsonl').read_bytes()
    assert sorted(d['text'] for d in made.manifest['drops']) == sorted(d['text'] for d in whole.manifest['drops'])
    assert '40 near-duplicate of another text' in say_merged(made)


def corpus(n=40):
    return split_corpus(examples(n).reset_index(drop=True), 'own', 'stratified', 0)


ORDER = dict(prompt='one-shot', n=2)


@pytest.fixture(scope='module')
def shards(tmp_path_factory):
    "Three shards of a run, each with its own server, and what the servers billed"
    folder, told = tmp_path_factory.mktemp('shards'), []
    for k in (1, 2, 3):
        with serving(faults={'500': 0.1, 'empty': 0.05}, seed=k) as s:
            how = RequestSettings(base_url=s.url, price=(1.0, 2.0), limits=Limits(backoff=0.02))
            run_generation(corpus(), GenerationSettings('openai:m', **ORDER, shard=f'{k}/3'), folder / f's{k}', how)
            told.append(s.stats())
    return [folder / f's{k}' for k in (1, 2, 3)], told


def test_counts_tokens_and_dollars_add_up(shards, tmp_path):
    folders, told = shards
    before = [files(f) for f in folders]
    made = merge_pools(tmp_path / 'all', folders)
    assert [files(f) for f in folders] == before
    manifests = [json.loads((f / 'manifest.json').read_text()) for f in folders]
    abouts = [json.loads((f / 'run.json').read_text()) for f in folders]
    for k in ('sources', 'requested', 'kept'):
        assert made.manifest['counts'][k] == sum(m['counts'][k] for m in manifests)
    assert made.manifest['counts']['sources'] == len(corpus().train)
    assert made.usage.prompt + made.wasted.prompt == sum(t['prompt_tokens'] for t in told)
    assert made.usage.completion + made.wasted.completion == sum(t['completion_tokens'] for t in told)
    assert made.usage.replies == sum(a['replies']['replies'] for a in abouts)
    assert made.cost == pytest.approx(sum(a['cost'] for a in abouts)) and made.cost > 0
    about = json.loads((tmp_path / 'all/run.json').read_text())
    assert about['settings']['shard'] is None and [r['shard'] for r in about['runs']] == ['1/3', '2/3', '3/3']
    assert sum(r['sent'] for r in about['runs']) == sum(t['requests'] for t in told)
    assert merge_pools(tmp_path / 'all', folders) == made  # again: nothing to do


def test_a_shard_given_twice_counts_once(shards, tmp_path):
    folders, _ = shards
    once = merge_pools(tmp_path / 'once', folders)
    shutil.copytree(folders[1], tmp_path / 'copy')
    twice = merge_pools(tmp_path / 'twice', [*folders, folders[0], tmp_path / 'copy'])
    assert twice == once and files(tmp_path / 'twice') == files(tmp_path / 'once')


def test_another_reply_to_the_same_request_is_paid_once_more_and_a_copy_is_not(shards, tmp_path):
    "A cache that was copied into another shard's folder before it began, and a question that two shards asked"
    folders = [shutil.copytree(f, tmp_path / f.name) for f in shards[0]]
    once = merge_pools(tmp_path / 'once', folders)
    first, second = ((f / 'replies.jsonl').read_bytes() for f in folders[:2])
    (folders[1] / 'replies.jsonl').write_bytes(first + second)
    assert merge_pools(tmp_path / 'copied', folders).usage == once.usage
    line = json.loads(first.splitlines()[0])
    again = (json.dumps(line | {'reply': 'another', 'seconds': 9.0}) + '\n').encode()
    (folders[1] / 'replies.jsonl').write_bytes(again + second)
    made = merge_pools(tmp_path / 'again', folders)
    assert made.usage == once.usage and made.wasted.replies == once.wasted.replies + 1
    assert made.wasted.prompt == once.wasted.prompt + line['prompt_tokens']
    assert made.cost == pytest.approx(once.cost + (line['prompt_tokens'] + 2 * line['completion_tokens']) / 1e6)
    with Replies(tmp_path / 'again/replies.jsonl') as store:
        assert len(store) == once.usage.replies


def test_what_did_not_come_back_adds_up(shards, tmp_path):
    folders = [shutil.copytree(f, tmp_path / f.name) for f in shards[0]]
    for k in (0, 2):
        lost = {'unaccounted': 1 + k, 'prompt': 100, 'completion': 1000}
        (folders[k] / 'replies.sent.jsonl').write_text(json.dumps(lost) + '\n')
    made = merge_pools(tmp_path / 'all', folders)
    assert (made.lost.replies, made.lost.prompt, made.lost.completion) == (4, 200, 2000)
    assert made.lost_cost == pytest.approx(4200 / 1e6)
    assert '4 requests that did not come back' in say_merged(made)
    assert [(f / 'replies.sent.jsonl').exists() for f in folders] == [True, False, True]
    with Replies(tmp_path / 'all/replies.jsonl') as store:
        assert store.lost.replies == 4


def test_the_joined_pool_is_replayed_and_gone_on_with(shards, tmp_path):
    folders, _ = shards
    merge_pools(tmp_path / 'all', folders)
    with serving() as s:
        address = json.loads((tmp_path / 'all/manifest.json').read_text())['parameters']['endpoint']
        again = run_generation(
            corpus(), GenerationSettings(f'recorded:{folders[0]}/replies.jsonl', **ORDER, shard='1/3'), tmp_path / 'r'
        )
        assert again.manifest['counts']['kept'] == len(load_pool(folders[0])) and address
        own = GenerationSettings('openai:m', **ORDER)
        done = run_generation(corpus(), own, tmp_path / 'all', RequestSettings(base_url=address))
        assert done.sent == 0 and s.stats()['requests'] == 0


def test_a_judge_has_its_own_cache_and_bill(tmp_path):
    with serving() as s:
        how = RequestSettings(base_url=s.url, price=(1.0, 1.0), judge_price=(10.0, 10.0))
        for k in (1, 2):
            order = GenerationSettings('openai:m', **ORDER, judge=2.0, judge_model='openai:j', shard=f'{k}/2')
            run_generation(corpus(10), order, tmp_path / f's{k}', how)
        told = s.stats()
    made = merge_pools(tmp_path / 'all', [tmp_path / 's1', tmp_path / 's2'])
    assert made.usage.prompt == told['prompt_tokens'] and (tmp_path / 'all/replies.judge.jsonl').exists()
    costs = [json.loads((tmp_path / f's{k}/run.json').read_text())['cost'] for k in (1, 2)]
    assert made.cost == pytest.approx(sum(costs))


def changed(folder, **values):
    path = folder / 'manifest.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def unfinished(folders):
    changed(folders[1], complete=False)


def gone(folders):
    shutil.rmtree(folders[1])


def left_out(folders):
    folders.pop(1)


def other_number(folders):
    changed(folders[1], n=3)


def other_prompt(folders):
    path = folders[1] / 'manifest.json'
    manifest = json.loads(path.read_text())
    changed(folders[1], parameters=manifest['parameters'] | {'temperature': 0.1})


def other_examples(folders):
    changed(folders[1], examples_digest='0' * 64)


def another_of_the_same(folders):
    changed(folders[1], shard='1/3')


def edited(folders):
    path = folders[1] / 'texts.jsonl'
    path.write_text(path.read_text().replace('"sample": 0', '"sample": 7', 1))


def of_another_number(folders):
    changed(folders[1], shard='2/5')


def whole(folders):
    path = folders[1] / 'manifest.json'
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != 'shard'}))


def broken_cache(folders):
    with open(folders[1] / 'replies.jsonl', 'a') as f:
        f.write('{"key": "00"}\n')


def nothing(folders):
    folders.clear()


@pytest.mark.parametrize(
    'spoil, said',
    [
        (unfinished, 'shard 2/3 in .*s2 is not finished: run its command again'),
        (gone, 's2 has no manifest.json'),
        (left_out, 'of 3 shards number 2 is missing'),
        (other_number, r'shards of different runs \(n 2 and 3\)'),
        (other_prompt, r'shards of different runs \(temperature .* and 0.1\)'),
        (other_examples, r'shards of different runs \(other examples texts\)'),
        (another_of_the_same, 'are both shard 1/3, and they differ'),
        (edited, 's2/texts.jsonl was changed after it was finished'),
        (of_another_number, 'is shard 1/3 and .* is 2/5'),
        (whole, 's2 is no shard'),
        (broken_cache, 'replies.jsonl, line .*not a reply; delete that line'),
        (nothing, 'there are no shards'),
    ],
)
def test_what_does_not_belong_together_is_told_in_one_line(shards, tmp_path, spoil, said):
    folders = [shutil.copytree(f, tmp_path / f.name) for f in shards[0]]
    spoil(folders)
    before = [files(f) for f in folders if f.exists()]
    with pytest.raises(UserError, match=said) as e:
        merge_pools(tmp_path / 'all', folders)
    assert '\n' not in str(e.value) and not (tmp_path / 'all').exists()
    assert [files(f) for f in folders if f.exists()] == before


def test_a_merge_that_was_killed_is_begun_again_and_other_folders_are_left_alone(shards, tmp_path):
    folders, _ = shards
    half = tmp_path / '.all.merging'
    half.mkdir()
    (half / 'texts.jsonl').write_text('torn')
    (half / 'replies.jsonl').write_text('torn')
    made = merge_pools(tmp_path / 'all', folders)
    assert not half.exists() and len(load_pool(tmp_path / 'all')) == made.manifest['counts']['kept']
    mine = tmp_path / 'mine'
    mine.mkdir()
    (mine / 'notes.txt').write_text('mine')
    with pytest.raises(UserError, match='holds something else already'):
        merge_pools(mine, folders)
    assert files(mine) == {'notes.txt': b'mine'}


def test_missing_texts_that_were_asked_for_again_keep_their_place(tmp_path):
    rows, how = examples(20), dict(n=1, progress=False)

    class Patchy(Noting):
        fails = True

        def one(self, request):
            bad = self.fails and int(self.key(request)[:2], 16) < 64
            return Reply('no json') if bad else super().one(request)

    for k in (1, 2):
        chat = Patchy()
        for retry in (False, True):
            chat.fails = not retry
            with Replies(tmp_path / f'r{k}{retry}.jsonl') as store:
                writer = Writer(chat, prompt='one-shot', replies=store)
                writer.attempts = 1
                fill_pool(writer, rows, tmp_path / f's{k}', shard=Shard(k, 2), retry=retry, **how)
    merge_pools(tmp_path / 'all', [tmp_path / 's1', tmp_path / 's2'])
    lines = [json.loads(l) for l in (tmp_path / 'all/texts.jsonl').read_text().splitlines()]
    assert [l['source_id'] for l in lines] == list(rows.id) and all(l['texts'] for l in lines)


def test_more_shards_than_examples(tmp_path):
    rows = examples(2)
    folders = [tmp_path / f's{k}' for k in range(1, 9)]
    for k, folder in enumerate(folders, 1):
        build(Noting(), folder, rows, 'one-shot', shard=Shard(k, 8))
    assert len(build(Noting(), folders[0], rows, 'one-shot', shard=Shard(1, 8))) >= 0  # a finished one, maybe empty
    assert merge_pools(tmp_path / 'all', folders).manifest['counts']['kept'] == 8


def test_a_shard_is_continued_as_that_shard_only(tmp_path):
    rows = examples(10)
    build(Noting(), tmp_path / 's', rows, 'one-shot', shard=Shard(1, 2))
    for other in (None, Shard(2, 2), Shard(1, 3)):
        with pytest.raises(UserError, match='was begun with shard'):
            build(Noting(), tmp_path / 's', rows, 'one-shot', shard=other)
    with pytest.raises(UserError, match='leave out --shard or --exactly'):
        build(Noting(), tmp_path / 't', rows, 'one-shot', shard=Shard(1, 2), exactly=3)


def test_the_forecast_of_a_shard_is_its_part():
    rows, how = corpus(), RequestSettings('vllm')
    plans = [forecast(rows, GenerationSettings('openai:m', **ORDER, shard=f'{k}/3'), how) for k in (1, 2, 3)]
    whole = forecast(rows, GenerationSettings('openai:m', **ORDER), how)
    for k in ('requests', 'examples'):
        assert sum(p[k] for p in plans) == whole[k]
    assert sum(p['prompt_tokens'] for p in plans) == pytest.approx(whole['prompt_tokens'], abs=3)


def test_the_command(shards, tmp_path, in_process):
    folders = [str(f) for f in shards[0]]
    code, out, err = in_process('merge-pools', str(tmp_path / 'all'), *folders)
    assert code == 0 and out.startswith('3 shards joined: ') and not err, err
    code, out, err = in_process('merge-pools', str(tmp_path / 'two'), *folders[:2])
    assert code == 2 and err.count('\n') == 1 and 'number 3 is missing' in err
    code, out, err = in_process('merge-pools', str(tmp_path / 'j'), *folders, '--json')
    assert code == 0 and json.loads(out)['complete'] is True
