"""A language model trained on the examples, and a local chat model through the whole command"""

import json

import pytest
from work import work
from llm.test_local import frame, tiny_chat

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')

from autogets.core import UserError, read_json, text_id
from autogets.data.datasets import load_corpus
from autogets.generators import causal_lm as causal
from autogets.generators.pool import load_pool
from autogets.generators.registry import make_generator
from autogets.generators.run import GenerationSettings, run_generation
from autogets.llm import local
from autogets.llm.models import identity


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tiny_chat(tmp_path_factory.mktemp('chat') / 'tiny')


@pytest.fixture(scope='module')
def tickets():
    corpus = load_corpus('tickets')
    return corpus.train[corpus.train.label.isin(corpus.classes[2:5])].head(60).reset_index(drop=True)


def small(**how):
    return make_generator('causal-lm', **({'epochs': 8, 'width': 64} | how))


@pytest.fixture(scope='module')
def learned(tickets):
    return small().prepare(tickets)


def test_it_learns_and_is_the_same_again_whatever_the_threads(tickets, learned):
    torch.set_num_threads(2)
    try:
        again = small().prepare(tickets)
    finally:
        torch.set_num_threads(1)
    assert learned.losses[-1] < 0.9 * learned.losses[0] and len(learned.losses) == 8 and learned.losses == again.losses
    assert all((p == q).all() for p, q in zip(learned.learner.parameters(), again.learner.parameters()))
    assert small(seed=1).prepare(tickets).losses != learned.losses


def test_it_leaves_the_random_numbers_of_others_alone(tickets):
    torch.manual_seed(5)
    before = torch.rand(3)
    torch.manual_seed(5)
    small(epochs=1, steps=2).prepare(tickets)
    assert (torch.rand(3) == before).all()


def test_a_text_does_not_depend_on_its_company(tickets, learned):
    made = learned.generate(tickets.head(8), 2)
    alone = learned.generate(tickets.iloc[3:4], 2)
    assert alone.text.tolist() == made[made.source_ids.str[0] == tickets.id[3]].text.tolist() and len(made) > 8
    more = learned.more(tickets.head(8), dict.fromkeys(tickets.id, 2), 1)
    assert not set(more.id) & set(made.id) and set(more['sample']) <= {1000, 1001}


def test_only_what_prepare_was_given_is_learned(tickets):
    corpus = load_corpus('tickets')
    g, mine = small(epochs=1, steps=1), tickets.assign(text=[t + ' zzqx' for t in tickets.text])
    g.prepare(tickets)
    assert 'zzqx' not in ''.join(g.tokenizer.get_vocab()) and g.known == set(tickets.id)
    g.prepare(mine)
    assert g.known == set(mine.text.map(text_id)) and not g.known & set(corpus.test.id)


def test_long_labels_and_texts_do_not_run_out_of_room():
    odd = frame(['a ' * 900, 'b', 'c c c'], ['a very long label ' * 5, 'y', 'y'])
    g = small(epochs=1).prepare(odd)
    assert len(g.generate(odd, 4)) + len(g.failures) > 0


def test_texts_that_are_none_are_left_out_with_a_reason(tickets, learned, monkeypatch):
    said = iter([('', 'stop'), ('cut', 'length'), (tickets.text[0], 'stop'), ('a new text', 'stop')])
    monkeypatch.setattr(
        causal, 'write', lambda model, tokenizer, prompts, draws: [local.Written(*next(said), 3) for _ in prompts]
    )
    assert learned.generate(tickets.head(4), 1).text.tolist() == ['a new text']
    assert [learned.failures.get(i) for i in tickets.id[:4]] == [
        'empty text',
        'not ended within its tokens',
        'a training text by heart',
        None,
    ]


def test_a_kept_model_is_read_and_not_trained_again(tickets, tmp_path, monkeypatch):
    first = small(epochs=1, folder=tmp_path / 'kept').prepare(tickets)
    monkeypatch.setattr(causal, 'train_lm', lambda *a, **k: pytest.fail('trained again'))
    again = small(epochs=1, folder=tmp_path / 'kept', temperature=0.5).prepare(tickets)
    again.parameters['temperature'] = first.parameters['temperature']
    assert again.losses == first.losses
    assert again.generate(tickets.head(4), 1).equals(first.generate(tickets.head(4), 1))
    assert [p.name for p in (tmp_path / 'kept').iterdir()] == [f'causal-{first.key}']
    with pytest.raises(pytest.fail.Exception, match='trained again'):
        small(epochs=1, seed=9, folder=tmp_path / 'kept').prepare(tickets)


@pytest.mark.parametrize('harm', ['cut', 'gone', 'about'])
def test_a_damaged_kept_model_is_refused(tickets, tmp_path, harm):
    kept = tmp_path / f'causal-{small(epochs=1, steps=1, folder=tmp_path).prepare(tickets).key}'
    if harm == 'cut':
        (kept / 'model.safetensors').write_bytes((kept / 'model.safetensors').read_bytes()[:-5])
    if harm == 'gone':
        (kept / 'tokenizer.json').unlink()
    if harm == 'about':
        (kept / 'training.json').write_text('{')
    with pytest.raises(UserError, match='damaged or was changed .*delete that folder'):
        small(epochs=1, steps=1, folder=tmp_path).prepare(tickets)


def test_a_kill_leaves_no_half_of_a_model(tickets, tmp_path, monkeypatch):
    def killed(*a):
        raise KeyboardInterrupt

    monkeypatch.setattr(causal.os, 'replace', killed)
    with pytest.raises(KeyboardInterrupt):
        small(epochs=1, steps=1, folder=tmp_path).prepare(tickets)
    assert not list(tmp_path.iterdir())


def test_a_given_model_is_tuned(folder, tickets):
    g = make_generator(f'causal-lm:{folder}', epochs=2, rate=1e-3, max_tokens=20)
    assert g.model == 'tiny' and g.parameters['base'] == identity(folder)
    g.prepare(tickets)
    assert len(g.losses) == 2 and g.losses[1] < g.losses[0] and len(g.tokenizer) == 320
    assert len(g.generate(tickets.head(4), 3)) + len(g.failures) > 0
    with pytest.raises(UserError, match='there is no model /no/such'):
        make_generator('causal-lm:/no/such')


def test_exactly_so_many_from_a_language_model(tmp_path):
    corpus = load_corpus('tickets')
    order = GenerationSettings('causal-lm', target=corpus.classes[2], n=2, exactly=12, most=12, temperature=1.0)
    made = run_generation(corpus, order, tmp_path / 'p', progress=False)
    assert made.manifest['counts']['kept'] == 12 == len(load_pool(tmp_path / 'p'))
    assert all(p['demonstrations'] == [] for p in load_pool(tmp_path / 'p').texts.parameters)


def test_a_step_is_quick_enough_for_a_laptop():
    "A thousand short texts for 12 epochs are 756 steps: under a minute of one core"
    assert work(make_generator('causal-lm', steps=40).prepare, load_corpus('tickets').train.head(1000)) < 300


def test_a_local_model_through_the_whole_command(folder, tmp_path):
    "It babbles, so nothing it says can be read: the run stops early, keeps its account, and costs nothing"
    corpus = load_corpus('tickets')
    settings = GenerationSettings(f'transformers:{folder}', 'zero-shot', corpus.classes[2], n=1, max_tokens=4)
    with pytest.raises(UserError, match='none of the first .* is of use .*(unreadable reply|prompt too long)'):
        run_generation(corpus, settings, tmp_path / 'p', progress=False)
    account, manifest = read_json(tmp_path / 'p/run.json'), read_json(tmp_path / 'p/manifest.json')
    assert account['cost'] == 0 and not account['complete'] and not manifest['complete']
    lines = [json.loads(line) for line in (tmp_path / 'p/texts.jsonl').read_text().splitlines()]
    assert {r for line in lines for r in line['missing']} <= {'unreadable reply', 'prompt too long'}
    assert manifest['model'] == 'transformers:tiny' and identity(folder) in manifest['parameters']['endpoint']
