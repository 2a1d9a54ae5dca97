"""Chat models that run in this process (all tiny, all made here)"""

import sys
from collections import Counter

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')
torch.set_num_threads(1)

from autogets.llm import local
from autogets.llm.client import ask
from autogets.core import UserError, text_id
from autogets.llm.chat import Failure, Reply, Request, make_chat
from autogets.llm.local import Draw, TransformersChat, prompt_ids, write
from autogets.llm.models import in_batches, new_model, train_tokenizer
from autogets.llm.cache import Replies

WORDS = [
    'the printer on floor two jams',
    'my mail is slow today',
    'no wifi in the lobby since monday',
    'please reset my password',
]
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}> {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def tiny_chat(folder, seed=0, template=TEMPLATE, kind='gpt2', context=256):
    "A chat model with random weights in `folder`"
    tokenizer = train_tokenizer(WORDS * 5, 320)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    if kind == 'gpt2':
        model = new_model(tokenizer, width=32, context=context, seed=seed)
    else:
        torch.manual_seed(seed)
        model = transformers.LlamaForCausalLM(
            transformers.LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=context,
                bos_token_id=0,
                eos_token_id=0,
                pad_token_id=0,
            )
        )
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim > 1 and 'w' in name:
                p *= 6  # so that the likeliest token depends on the prompt
    model.save_pretrained(folder)
    return folder


def frame(texts, labels='X'):
    return pd.DataFrame({'text': list(texts), 'label': labels}).assign(id=lambda f: f.text.map(text_id))[
        ['id', 'text', 'label']
    ]


def asked(text, sample=0, **parameters):
    return Request(
        ({'role': 'system', 'content': 'You write.'}, {'role': 'user', 'content': text}),
        {'max_tokens': 10, 'temperature': 1.0} | parameters,
        sample,
    )


def texts(replies):
    return [r.text for r in replies]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tiny_chat(tmp_path_factory.mktemp('chat') / 'tiny')


@pytest.fixture(scope='module')
def chat(folder):
    return make_chat(f'transformers:{folder}', batch=4)


# --- what a chat model says


@pytest.mark.parametrize('kind', ['gpt2', 'llama'])
def test_a_reply_does_not_depend_on_its_company(kind, tmp_path):
    "Places counted from the start (GPT-2) and turned (Llama), both with filling on the left"
    chat = TransformersChat(tiny_chat(tmp_path, kind=kind), batch=16)
    requests = [
        asked(t, temperature=x, top_p=p)
        for t in [*WORDS, 'a', ' '.join(WORDS)]
        for x, p in ((0.0, 1.0), (0.7, 0.9), (1.2, 1.0))
    ]
    together = texts(chat.complete_many(requests))
    assert together == [chat.complete_many([r])[0].text for r in requests]
    assert together[::-1] == texts(chat.complete_many(requests[::-1]))
    chat.batch = 5
    assert texts(chat.complete_many(requests)) == together and len(set(together)) >= 15


def test_the_same_as_transformers_own_greedy_search(chat):
    model, tokenizer = chat.loaded
    requests = [asked(t, temperature=0.0, max_tokens=12) for t in WORDS]
    for request, reply in zip(requests, chat.complete_many(requests)):
        ids = torch.tensor([prompt_ids(tokenizer, request.messages)])
        own = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12)[
            0, ids.shape[1] :
        ]
        assert reply.text == tokenizer.decode(own, skip_special_tokens=True) and reply.completion_tokens == len(own)
        assert reply.prompt_tokens == ids.shape[1]


def test_samples_and_seeds_give_other_texts_and_temperature_0_does_not(chat):
    draw = lambda sample=0, **p: chat.complete_many([asked('a', sample, **p)])[0].text
    assert len({draw(k) for k in range(6)}) == 6 == len({draw(seed=k) for k in range(6)})
    assert draw(seed=1) == draw(seed=1) and len({draw(k, temperature=0.0, seed=k) for k in range(4)}) == 1


def test_tokens_come_as_often_as_the_model_says(chat):
    "The first token of many samples against the probabilities that the model itself gives"
    model, tokenizer = chat.loaded
    ids, t = prompt_ids(tokenizer, asked('x').messages), 0.15
    with torch.inference_mode():
        p = (model(torch.tensor([ids])).logits[0, -1].double() / t).softmax(-1).numpy()
    made = write(model, tokenizer, [ids] * 600, [Draw(1, f's{k}', t) for k in range(600)])
    counts = Counter(w.text for w in made)
    likely = np.argsort(-p)[:20]
    # bytes that are no character by themselves all look alike
    spoken = [k for k in likely if k and '\ufffd' not in tokenizer.decode([k])]
    for k in spoken:
        assert abs(counts[tokenizer.decode([k])] / 600 - p[k]) < 0.07
    assert p[spoken].sum() > 0.2 and max(p) < 0.9
    only = write(model, tokenizer, [ids] * 50, [Draw(1, f's{k}', t, top_k=2) for k in range(50)])
    assert {w.text for w in only} == {tokenizer.decode([k]) for k in likely[:2]} and len({w.text for w in only}) == 2


def test_a_text_ends_at_its_limit_or_before_a_stop_string(chat, monkeypatch):
    long = chat.complete_many([asked('x', max_tokens=40, seed=2)])[0]
    assert (long.finish, long.completion_tokens) == ('length', 40)
    assert chat.complete_many([Request(asked('x').messages, {'max_tokens': 3})])[0].completion_tokens == 3
    plan = lambda **more: write(*chat.loaded, [chat.draw_for(asked('x'))[0]], [Draw(40, 'q', 1.0, **more)])[0]
    text = plan().text
    stop = text[10:13]
    cut = plan(stop=(stop,))
    assert cut.finish == 'stop' and cut.text == text[: text.index(stop)] and cut.tokens < 40
    steps, real = [], local._Sampler.__call__
    monkeypatch.setattr(
        local._Sampler, '__call__', lambda self, ids, scores: steps.append(1) or real(self, ids, scores)
    )
    assert plan(stop=(stop,)) == cut and len(steps) == cut.tokens  # and nothing is written after it


def test_the_end_mark_ends_a_text_and_is_counted(folder):
    chat = TransformersChat(folder)
    model, tokenizer = chat.loaded
    model.lm_head = Biased(model.lm_head, tokenizer.eos_token_id, at=1e4)
    got = chat.complete_many([asked('x'), asked('y', temperature=0.0)])
    assert [(r.text, r.finish, r.completion_tokens) for r in got] == [('', 'stop', 1)] * 2


class Biased(torch.nn.Module):
    "`head` with `at` added to the score of one token"

    def __init__(self, head, token, at):
        super().__init__()
        self.head, self.token, self.at = head, token, at

    def forward(self, x):
        out = self.head(x)
        out[..., self.token] += self.at
        return out


def test_what_does_not_fit_is_a_failure_of_its_own_and_what_nearly_fits_is_cut(chat):
    got = chat.complete_many(
        [asked('short'), asked('word ' * 300), asked('x ' * 105, max_tokens=200), asked('short too', max_tokens=120)]
    )
    assert isinstance(got[1], Failure) and got[1].reason == 'prompt too long' and '256' in got[1].detail
    assert got[2].finish == 'length' and got[2].prompt_tokens + got[2].completion_tokens == 256
    assert got[3].completion_tokens == 120 and got[0].completion_tokens == 10
    assert got[2].text == chat.complete_many([asked('x ' * 105, max_tokens=200)])[0].text


def test_a_smaller_room_can_be_asked_for(folder):
    chat = TransformersChat(folder, context=30)
    assert isinstance(chat.complete_many([asked(' '.join(WORDS))])[0], Failure)


@pytest.mark.parametrize(
    'bad, why', [({'temperature': -1.0}, 'below 0'), ({'top_p': 0.0}, 'top_p'), ({'max_tokens': -2}, 'limit')]
)
def test_parameters_without_sense_are_named(chat, bad, why):
    with pytest.raises(UserError, match=why):
        chat.complete_many([asked('x', **bad)])


# --- templates


def test_the_template_of_the_tokenizer_is_used(chat):
    _, tokenizer = chat.loaded
    assert (
        tokenizer.decode(prompt_ids(tokenizer, asked('hello').messages))
        == '<system> You write.\n<user> hello\n<assistant>'
    )


def test_a_model_without_a_template_gets_a_script(tmp_path):
    chat = TransformersChat(tiny_chat(tmp_path, template=None))
    assert chat.loaded[1].decode(chat.draw_for(asked('hello'))[0]) == 'System: You write.\n\nUser: hello\n\nAssistant:'
    assert isinstance(chat.complete_many([asked('hello')])[0], Reply)


def test_a_template_without_system_role(tmp_path):
    template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TEMPLATE
    )
    chat = TransformersChat(tiny_chat(tmp_path, template=template))
    assert chat.loaded[1].decode(chat.draw_for(asked('hello'))[0]) == '<user> You write.\n\nhello\n<assistant>'


def test_a_model_is_asked_not_to_think_aloud(tmp_path):
    chat = TransformersChat(
        tiny_chat(
            tmp_path, template=TEMPLATE + "{% if enable_thinking is defined and not enable_thinking %}now{% endif %}"
        )
    )
    assert chat.loaded[1].decode(chat.draw_for(asked('hello'))[0]).endswith('<assistant>now')


# --- which model it is, and what is wrong with it


def test_models_in_one_folder_do_not_share_replies(tmp_path):
    first = TransformersChat(tiny_chat(tmp_path)).endpoint
    assert TransformersChat(tiny_chat(tmp_path)).endpoint == first
    assert TransformersChat(tiny_chat(tmp_path, seed=1)).endpoint != first
    assert TransformersChat(tiny_chat(tmp_path, template=TEMPLATE + ' ')).endpoint != first
    assert TransformersChat(tiny_chat(tmp_path), dtype='bfloat16').endpoint != first


def test_making_one_does_not_load_it(folder, monkeypatch):
    monkeypatch.setattr(local, 'load_model', lambda *a: pytest.fail('loaded'))
    assert make_chat(f'transformers:{folder}').spec == 'transformers:tiny'


@pytest.mark.parametrize('path', ['no/such/folder', 'nobody/no-such-model', '/no/such/folder'])
def test_a_model_that_is_not_there(path, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', True)
    with pytest.raises(UserError, match=f'there is no model {path}') as e:
        make_chat(f'transformers:{path}')
    assert '\n' not in str(e.value)


def test_a_damaged_model_is_named_in_one_line(tmp_path):
    tiny_chat(tmp_path)
    weights = tmp_path / 'model.safetensors'
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match='holds no model that transformers can load') as e:
        TransformersChat(tmp_path).complete_many([asked('x')])
    assert '\n' not in str(e.value)
    (tmp_path / 'config.json').write_text('{}')
    with pytest.raises(UserError, match='holds no model'):
        TransformersChat(tmp_path)


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('code ran')",)


def test_weights_that_carry_code_are_not_run(tmp_path):
    tiny_chat(tmp_path)
    (tmp_path / 'model.safetensors').unlink()
    torch.save({'transformer.wte.weight': Evil()}, tmp_path / 'pytorch_model.bin')
    with pytest.raises(UserError, match='holds no model'):
        TransformersChat(tmp_path).complete_many([asked('x')])


@pytest.mark.parametrize('library', ['torch', 'transformers'])
def test_missing_libraries_are_named(folder, library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UserError, match=rf'needs the package {library}, .*"autogets\[transformers\]"'):
        make_chat(f'transformers:{folder}')


def test_a_device_that_is_not_there(folder):
    if torch.cuda.is_available():
        pytest.skip('there is a GPU')
    with pytest.raises(UserError, match='no GPU'):
        TransformersChat(folder, device='cuda')


def test_half_precision_writes_too(folder):
    chat = TransformersChat(folder, dtype='bfloat16')
    assert chat.complete_many([asked('x', temperature=0.0)])[0].completion_tokens == 10
    assert chat.loaded[0].dtype == torch.bfloat16


@pytest.mark.parametrize(
    'error',
    [
        torch.OutOfMemoryError('CUDA out of memory'),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_memory_that_runs_out_halves_the_batch_once(folder, error, monkeypatch):
    real, sizes = local.write, []

    def tight(model, tokenizer, prompts, draws, **more):
        sizes.append(len(prompts))
        if len(prompts) > room:
            raise error
        return real(model, tokenizer, prompts, draws, **more)

    monkeypatch.setattr(local, 'write', tight)
    requests, chat, room = [asked(f'{t} {k}') for t in WORDS for k in 'ab'], TransformersChat(folder, batch=6), 3
    assert texts(chat.complete_many(requests)) == texts(TransformersChat(folder, batch=3).complete_many(requests))
    assert sizes[:4] == [6, 3, 3, 2] and chat.batch == 3
    room = 1
    with pytest.raises(UserError, match='memory runs out with 2 texts at once'):
        chat.complete_many(requests)


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def broken(items):
        raise RuntimeError('index out of range')

    with pytest.raises(RuntimeError, match='out of range'):
        in_batches(broken, [1, 2], 2)


# --- cached


def test_local_replies_are_cached_and_resumed(chat, tmp_path):
    requests = [asked(f'{t} {i}') for t in WORDS for i in range(3)]
    with Replies(tmp_path / 'r.jsonl') as store:
        first = {i: r.text for i, _, r in ask(chat, requests[:5], store)}
    with Replies(tmp_path / 'r.jsonl') as store:
        whole = {i: r for i, _, r in ask(chat, requests, store)}
    assert sum(r.cached for r in whole.values()) == 5 and all(whole[i].text == t for i, t in first.items())
    assert [whole[i].text for i in range(12)] == texts(chat.complete_many(requests))
