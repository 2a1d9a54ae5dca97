"""Models that run in this process: chat, back-translation, and a language model trained on the examples (all tiny, all made here)"""
import json
import sys
import time
from collections import Counter
from functools import cached_property

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')
torch.set_num_threads(1)

from autogets.generators import causal_lm as causal
from autogets.llm import local
from autogets.llm.client import ask
from autogets.generators.causal_lm import CausalLM
from autogets.core import UserError, digest, text_id
from autogets.data.datasets import load_corpus
from autogets.generators.run import Order, generate
from autogets.generators.base import build_pool, load_pool, make_generator
from autogets.llm.chat import Failure, Reply, Request, make_chat
from autogets.llm.local import Draw, TransformersChat, identity, in_batches, new_model, prompt_ids, train_tokenizer, write
from autogets.llm.cache import Replies
from autogets.generators.backtranslation import BackTranslation

WORDS = ['the printer on floor two jams', 'my mail is slow today', 'no wifi in the lobby since monday', 'please reset my password']
TEMPLATE = "{% for m in messages %}<{{ m.role }}> {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"


def tiny_chat(folder, seed=0, template=TEMPLATE, kind='gpt2', context=256):
    "A chat model with random weights in `folder`"
    tokenizer = train_tokenizer(WORDS*5, 320)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    if kind == 'gpt2': model = new_model(tokenizer, width=32, context=context, seed=seed)
    else:
        torch.manual_seed(seed)
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=context, bos_token_id=0, eos_token_id=0, pad_token_id=0))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim > 1 and 'w' in name: p *= 6 # so that the likeliest token depends on the prompt
    model.save_pretrained(folder)
    return folder

def frame(texts, labels='X'):
    return pd.DataFrame({'text': list(texts), 'label': labels}).assign(id=lambda f: f.text.map(text_id))[['id', 'text', 'label']]

def asked(text, sample=0, **parameters):
    return Request(({'role': 'system', 'content': 'You write.'}, {'role': 'user', 'content': text}), {'max_tokens': 10, 'temperature': 1.} | parameters, sample)

def texts(replies): return [r.text for r in replies]

@pytest.fixture(scope='module')
def folder(tmp_path_factory): return tiny_chat(tmp_path_factory.mktemp('chat')/'tiny')

@pytest.fixture(scope='module')
def chat(folder): return make_chat(f'transformers:{folder}', batch=4)


# --- what a chat model says

@pytest.mark.parametrize('kind', ['gpt2', 'llama'])
def test_a_reply_does_not_depend_on_its_company(kind, tmp_path):
    "Places counted from the start (GPT-2) and turned (Llama), both with filling on the left"
    chat = TransformersChat(tiny_chat(tmp_path, kind=kind), batch=16)
    requests = [asked(t, temperature=x, top_p=p) for t in [*WORDS, 'a', ' '.join(WORDS)] for x, p in ((0., 1.), (.7, .9), (1.2, 1.))]
    together = texts(chat.complete_many(requests))
    assert together == [chat.complete_many([r])[0].text for r in requests]
    assert together[::-1] == texts(chat.complete_many(requests[::-1]))
    chat.batch = 5
    assert texts(chat.complete_many(requests)) == together and len(set(together)) >= 15

def test_the_same_as_transformers_own_greedy_search(chat):
    model, tokenizer = chat.loaded
    requests = [asked(t, temperature=0., max_tokens=12) for t in WORDS]
    for request, reply in zip(requests, chat.complete_many(requests)):
        ids = torch.tensor([prompt_ids(tokenizer, request.messages)])
        own = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12)[0, ids.shape[1]:]
        assert reply.text == tokenizer.decode(own, skip_special_tokens=True) and reply.completion_tokens == len(own)
        assert reply.prompt_tokens == ids.shape[1]

def test_samples_and_seeds_give_other_texts_and_temperature_0_does_not(chat):
    draw = lambda sample=0, **p: chat.complete_many([asked('a', sample, **p)])[0].text
    assert len({draw(k) for k in range(6)}) == 6 == len({draw(seed=k) for k in range(6)})
    assert draw(seed=1) == draw(seed=1) and len({draw(k, temperature=0., seed=k) for k in range(4)}) == 1

def test_tokens_come_as_often_as_the_model_says(chat):
    "The first token of many samples against the probabilities that the model itself gives"
    model, tokenizer = chat.loaded
    ids, t = prompt_ids(tokenizer, asked('x').messages), .15
    with torch.inference_mode(): p = (model(torch.tensor([ids])).logits[0, -1].double()/t).softmax(-1).numpy()
    made = write(model, tokenizer, [ids]*600, [Draw(1, f's{k}', t) for k in range(600)])
    counts = Counter(w.text for w in made)
    likely = np.argsort(-p)[:20]
    spoken = [k for k in likely if k and '\ufffd' not in tokenizer.decode([k])] # bytes that are no character by themselves all look alike
    for k in spoken: assert abs(counts[tokenizer.decode([k])]/600-p[k]) < .07
    assert p[spoken].sum() > .2 and max(p) < .9
    only = write(model, tokenizer, [ids]*50, [Draw(1, f's{k}', t, top_k=2) for k in range(50)])
    assert {w.text for w in only} == {tokenizer.decode([k]) for k in likely[:2]} and len({w.text for w in only}) == 2

def test_a_text_ends_at_its_limit_or_before_a_stop_string(chat, monkeypatch):
    long = chat.complete_many([asked('x', max_tokens=40, seed=2)])[0]
    assert (long.finish, long.completion_tokens) == ('length', 40)
    assert chat.complete_many([Request(asked('x').messages, {'max_tokens': 3})])[0].completion_tokens == 3
    plan = lambda **more: write(*chat.loaded, [chat.plan(asked('x'))[0]], [Draw(40, 'q', 1., **more)])[0]
    text = plan().text
    stop = text[10:13]
    cut = plan(stop=(stop,))
    assert cut.finish == 'stop' and cut.text == text[:text.index(stop)] and cut.tokens < 40
    steps, real = [], local._Sampler.__call__
    monkeypatch.setattr(local._Sampler, '__call__', lambda self, ids, scores: steps.append(1) or real(self, ids, scores))
    assert plan(stop=(stop,)) == cut and len(steps) == cut.tokens # and nothing is written after it

def test_the_end_mark_ends_a_text_and_is_counted(folder):
    chat = TransformersChat(folder)
    model, tokenizer = chat.loaded
    model.lm_head = Biased(model.lm_head, tokenizer.eos_token_id, at=1e4)
    got = chat.complete_many([asked('x'), asked('y', temperature=0.)])
    assert [(r.text, r.finish, r.completion_tokens) for r in got] == [('', 'stop', 1)]*2

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
    got = chat.complete_many([asked('short'), asked('word '*300), asked('x '*105, max_tokens=200), asked('short too', max_tokens=120)])
    assert isinstance(got[1], Failure) and got[1].reason == 'prompt too long' and '256' in got[1].detail
    assert got[2].finish == 'length' and got[2].prompt_tokens+got[2].completion_tokens == 256
    assert got[3].completion_tokens == 120 and got[0].completion_tokens == 10
    assert got[2].text == chat.complete_many([asked('x '*105, max_tokens=200)])[0].text

def test_a_smaller_room_can_be_asked_for(folder):
    chat = TransformersChat(folder, context=30)
    assert isinstance(chat.complete_many([asked(' '.join(WORDS))])[0], Failure)

@pytest.mark.parametrize('bad, why', [({'temperature': -1.}, 'below 0'), ({'top_p': 0.}, 'top_p'), ({'max_tokens': -2}, 'limit')])
def test_parameters_without_sense_are_named(chat, bad, why):
    with pytest.raises(UserError, match=why): chat.complete_many([asked('x', **bad)])


# --- templates

def test_the_template_of_the_tokenizer_is_used(chat):
    _, tokenizer = chat.loaded
    assert tokenizer.decode(prompt_ids(tokenizer, asked('hello').messages)) == '<system> You write.\n<user> hello\n<assistant>'

def test_a_model_without_a_template_gets_a_script(tmp_path):
    chat = TransformersChat(tiny_chat(tmp_path, template=None))
    assert chat.loaded[1].decode(chat.plan(asked('hello'))[0]) == 'System: You write.\n\nUser: hello\n\nAssistant:'
    assert isinstance(chat.complete_many([asked('hello')])[0], Reply)

def test_a_template_without_system_role(tmp_path):
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"+TEMPLATE
    chat = TransformersChat(tiny_chat(tmp_path, template=template))
    assert chat.loaded[1].decode(chat.plan(asked('hello'))[0]) == '<user> You write.\n\nhello\n<assistant>'

def test_a_model_is_asked_not_to_think_aloud(tmp_path):
    chat = TransformersChat(tiny_chat(tmp_path, template=TEMPLATE+"{% if enable_thinking is defined and not enable_thinking %}now{% endif %}"))
    assert chat.loaded[1].decode(chat.plan(asked('hello'))[0]).endswith('<assistant>now')


# --- which model it is, and what is wrong with it

def test_models_in_one_folder_do_not_share_replies(tmp_path):
    first = TransformersChat(tiny_chat(tmp_path)).endpoint
    assert TransformersChat(tiny_chat(tmp_path)).endpoint == first
    assert TransformersChat(tiny_chat(tmp_path, seed=1)).endpoint != first
    assert TransformersChat(tiny_chat(tmp_path, template=TEMPLATE+' ')).endpoint != first
    assert TransformersChat(tiny_chat(tmp_path), dtype='bfloat16').endpoint != first

def test_making_one_does_not_load_it(folder, monkeypatch):
    monkeypatch.setattr(local, 'load_model', lambda *a: pytest.fail('loaded'))
    assert make_chat(f'transformers:{folder}').spec == 'transformers:tiny'

@pytest.mark.parametrize('path', ['no/such/folder', 'nobody/no-such-model', '/no/such/folder'])
def test_a_model_that_is_not_there(path, monkeypatch):
    import huggingface_hub
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', True)
    with pytest.raises(UserError, match=f'there is no model {path}') as e: make_chat(f'transformers:{path}')
    assert '\n' not in str(e.value)

def test_a_damaged_model_is_named_in_one_line(tmp_path):
    tiny_chat(tmp_path)
    weights = tmp_path/'model.safetensors'
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match='holds no model that transformers can load') as e: TransformersChat(tmp_path).complete_many([asked('x')])
    assert '\n' not in str(e.value)
    (tmp_path/'config.json').write_text('{}')
    with pytest.raises(UserError, match='holds no model'): TransformersChat(tmp_path)

class Evil:
    def __reduce__(self): return exec, ("raise SystemExit('code ran')",)

def test_weights_that_carry_code_are_not_run(tmp_path):
    tiny_chat(tmp_path)
    (tmp_path/'model.safetensors').unlink()
    torch.save({'transformer.wte.weight': Evil()}, tmp_path/'pytorch_model.bin')
    with pytest.raises(UserError, match='holds no model'): TransformersChat(tmp_path).complete_many([asked('x')])

@pytest.mark.parametrize('library', ['torch', 'transformers'])
def test_missing_libraries_are_named(folder, library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UserError, match=rf"needs {library}: pip install 'autogets\[transformers\]'"): make_chat(f'transformers:{folder}')

def test_a_device_that_is_not_there(folder):
    if torch.cuda.is_available(): pytest.skip('there is a GPU')
    with pytest.raises(UserError, match='no GPU'): TransformersChat(folder, device='cuda')

def test_half_precision_writes_too(folder):
    chat = TransformersChat(folder, dtype='bfloat16')
    assert chat.complete_many([asked('x', temperature=0.)])[0].completion_tokens == 10 and chat.loaded[0].dtype == torch.bfloat16

@pytest.mark.parametrize('error', [torch.OutOfMemoryError('CUDA out of memory'), RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError()])
def test_memory_that_runs_out_halves_the_batch_once(folder, error, monkeypatch):
    real, sizes = local.write, []
    def tight(model, tokenizer, prompts, draws, **more):
        sizes.append(len(prompts))
        if len(prompts) > room: raise error
        return real(model, tokenizer, prompts, draws, **more)
    monkeypatch.setattr(local, 'write', tight)
    requests, chat, room = [asked(f'{t} {k}') for t in WORDS for k in 'ab'], TransformersChat(folder, batch=6), 3
    assert texts(chat.complete_many(requests)) == texts(TransformersChat(folder, batch=3).complete_many(requests))
    assert sizes[:4] == [6, 3, 3, 2] and chat.batch == 3
    room = 1
    with pytest.raises(UserError, match='memory runs out with 2 texts at once'): chat.complete_many(requests)

def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def broken(items): raise RuntimeError('index out of range')
    with pytest.raises(RuntimeError, match='out of range'): in_batches(broken, [1, 2], 2)


# --- a local model in the rest of the program

def test_local_replies_are_kept_and_resumed(chat, tmp_path):
    requests = [asked(f'{t} {i}') for t in WORDS for i in range(3)]
    with Replies(tmp_path/'r.jsonl') as kept: first = {i: r.text for i, _, r in ask(chat, requests[:5], kept)}
    with Replies(tmp_path/'r.jsonl') as kept: whole = {i: r for i, _, r in ask(chat, requests, kept)}
    assert sum(r.cached for r in whole.values()) == 5 and all(whole[i].text == t for i, t in first.items())
    assert [whole[i].text for i in range(12)] == texts(chat.complete_many(requests))

def test_a_local_model_through_the_whole_command(folder, tmp_path):
    "It babbles, so nothing it says can be read: every request is accounted for, and costs nothing"
    corpus = load_corpus('tickets')
    made = generate(corpus, Order(f'transformers:{folder}', 'zero-shot', corpus.classes[2], n=1, max_tokens=4), tmp_path/'p', progress=False)
    counts = made.manifest['counts']
    assert counts['kept'] == 0 and counts['requested'] == sum(counts['missing'].values()) > 0
    assert set(counts['missing']) <= {'unreadable reply', 'prompt too long'} and made.cost == 0
    assert made.manifest['model'] == 'transformers:tiny' and identity(folder) in made.manifest['parameters']['endpoint']


# --- back-translation

def translator(folder, seed, kind='marian'):
    "A translation model with random weights that tends to stop"
    tokenizer = train_tokenizer(WORDS*5, 300)
    torch.manual_seed(seed)
    if kind == 'marian':
        sizes = {f'{part}_{k}': v for part in ('encoder', 'decoder') for k, v in {'layers': 1, 'attention_heads': 2, 'ffn_dim': 64}.items()}
        config = transformers.MarianConfig(vocab_size=len(tokenizer), d_model=32, max_position_embeddings=64, pad_token_id=0, eos_token_id=0,
                                           decoder_start_token_id=0, forced_eos_token_id=None, **sizes)
        model = transformers.MarianMTModel(config)
        model.final_logits_bias[0, 0] = 3.
    else:
        config = transformers.T5Config(vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, pad_token_id=0, eos_token_id=0,
                                       decoder_start_token_id=1, tie_word_embeddings=False)
        model = transformers.T5ForConditionalGeneration(config)
        model.lm_head.weight.data *= .01 # nearly undecided
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder

@pytest.fixture(scope='module')
def two(tmp_path_factory): return ','.join(str(translator(tmp_path_factory.mktemp('pair')/name, k)) for k, name in enumerate(('there', 'back')))

def variants(spec, examples, n=2, **how):
    g = make_generator(f'back-translation:{spec}', **how)
    for model, _ in g.loaded:
        if model.config.model_type == 't5': model.lm_head = Biased(model.lm_head, 0, 2.5) # it would seldom stop
    return {(r.source_ids[0], r.sample): r.text for r in g.generate(examples, n).itertuples()}

def test_back_translation_fills_a_pool(two):
    pool = build_pool(make_generator(f'back-translation:{two}', seed=3), frame(WORDS, list('AABB')), n=3, progress=False)
    counts = pool.manifest['counts']
    assert counts['requested'] == counts['kept']+sum(counts['dropped'].values())+sum(counts['missing'].values()) and counts['kept'] >= 10
    assert pool.texts.id.is_unique and set(pool.texts.generator) == {'back-translation'} and set(pool.texts.model) == {'there,back'}
    assert pool.texts.groupby('label').size().to_dict() == {'A': 6, 'B': 6} or counts['missing']
    assert json.loads(json.dumps(pool.manifest['parameters'])) == pool.manifest['parameters']

@pytest.mark.parametrize('kind', ['marian', 't5'])
def test_variants_do_not_depend_on_company_and_follow_the_seed(two, kind, tmp_path):
    spec = two if kind == 'marian' else ','.join(str(translator(tmp_path/str(k), k, 't5')) for k in range(2))
    how = lambda examples, seed=0: variants(spec, examples, 4, seed=seed)
    whole, part = how(frame(WORDS)), how(frame(WORDS[2:3]))
    own = text_id(WORDS[2])
    assert part == {k: t for k, t in whole.items() if k[0] == own} and 0 < len(part) < len(whole)
    assert how(frame(WORDS)) == whole != how(frame(WORDS), 1)

@pytest.mark.parametrize('kind', ['marian', 't5'])
def test_a_translation_does_not_depend_on_longer_neighbors(kind, tmp_path):
    "The reading half counts places from the left, so the filling must be on the right"
    model, tokenizer = local.load_model('AutoModelForSeq2SeqLM', translator(tmp_path, 0, kind))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim > 1 and 'embed_positions' not in name: p *= 4 # so that places and words matter
    ids = [tokenizer(t).input_ids for t in ['a printer', ' '.join(WORDS)[:90], *WORDS]]
    draws = [Draw(20, str(k), .5) for k in range(len(ids))]
    assert write(model, tokenizer, ids, draws) == [write(model, tokenizer, [i], [d])[0] for i, d in zip(ids, draws)]

def test_the_variants_of_a_call_differ(two):
    made = variants(two, frame(WORDS), 6)
    assert all(len({text_id(t) for (i, _), t in made.items() if i == e}) == sum(i == e for i, _ in made) for e in map(text_id, WORDS))
    once = variants(two, frame(WORDS), 4, temperature=0)
    assert len(once) <= 4 and all(k == 0 for _, k in once)

class Echo(BackTranslation):
    "Gives back what it gets, or what `said` says instead"
    said = {}
    def translated(self, texts, seeds, back): return [self.said.get(t, t) for t in texts]

def test_the_reasons_why_an_example_has_fewer(two):
    g = Echo(two)
    g.said = {WORDS[0]: None, WORDS[1]: '', WORDS[2]: WORDS[2].upper()+'!', WORDS[3]: 'something else'}
    made = g.generate(frame(WORDS), 2)
    assert made.text.tolist() == ['something else'] and made['sample'].tolist() == [0]
    assert list(g.failures.values()) == ['nothing came back']*2+['the text itself came back', 'the same translation again']

def test_a_text_that_does_not_fit_is_not_cut(two):
    g = make_generator(f'back-translation:{two}')
    assert g.translated(['word '*200, WORDS[0]], ['a', 'b'], 0)[0] is None and not len(g.generate(frame(['word '*200]), 2))

def test_the_spec_of_back_translation_is_checked(two):
    for bad in ('a,b,c', 'a,'):
        with pytest.raises(UserError, match='two models'): make_generator(f'back-translation:{bad}')
    with pytest.raises(UserError, match='both languages'): make_generator(f'back-translation:{two}', pivot='de')
    with pytest.raises(UserError, match='know no language codes'): make_generator(f'back-translation:{two}', pivot='de', language='en').generate(frame(WORDS), 1)

def nllb(folder):
    "A model for many languages in `folder`, and its tokenizer"
    from transformers import NllbTokenizer
    letters = {c: k for k, c in enumerate(['<s>', '<pad>', '</s>', '<unk>', '▁', *'abcdefghijklmnopqrstuvwxyz'])}
    tokenizer = NllbTokenizer(vocab=letters, merges=[], extra_special_tokens=['eng_Latn', 'deu_Latn', 'fra_Latn'])
    torch.manual_seed(0)
    config = transformers.M2M100Config(vocab_size=len(tokenizer), d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
                                       encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=128, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2)
    transformers.M2M100ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder

def test_a_model_for_many_languages_is_told_both(tmp_path, monkeypatch):
    folder, seen = nllb(tmp_path/'nllb'), []
    real = local.write
    def watched(model, tokenizer, prompts, draws, **more):
        seen.append((tokenizer.convert_ids_to_tokens(prompts[0])[0], tokenizer.convert_ids_to_tokens(more['forced_bos_token_id'])))
        return [local.Written('abc', 'stop', 3) for _ in real(model, tokenizer, prompts, draws, **more)]
    monkeypatch.setattr('autogets.generators.backtranslation.write', watched)
    g = make_generator(f'back-translation:{folder}', pivot='deu_Latn', language='eng_Latn')
    assert g.generate(frame(['hello']), 1).text.tolist() == ['abc'] and g.loaded[0] is g.loaded[1]
    assert seen == [('eng_Latn', 'deu_Latn'), ('deu_Latn', 'eng_Latn')]
    with pytest.raises(UserError, match="knows no language 'xx'"): make_generator(f'back-translation:{folder}', pivot='xx', language='eng_Latn').generate(frame(['a']), 1)
    with pytest.raises(UserError, match='knows many languages'): make_generator(f'back-translation:{folder}').generate(frame(['a']), 1)

def test_the_first_token_of_a_translation_is_the_mark_of_its_language(tmp_path):
    model, tokenizer = local.load_model('AutoModelForSeq2SeqLM', nllb(tmp_path/'nllb'))
    mark = tokenizer.convert_tokens_to_ids('fra_Latn')
    made = write(model, tokenizer, [tokenizer('hello').input_ids]*2, [Draw(1, 'a', 1.), Draw(6, 'b', 1.)], forced_bos_token_id=mark)
    assert made[0].tokens == 1 and made[0].text == '' and made[1].tokens > 1


# --- a language model of one's own

@pytest.fixture(scope='module')
def tickets():
    corpus = load_corpus('tickets')
    return corpus.train[corpus.train.label.isin(corpus.classes[2:5])].head(60).reset_index(drop=True)

def small(**how): return make_generator('causal-lm', **({'epochs': 8, 'width': 64} | how))

@pytest.fixture(scope='module')
def learned(tickets): return small().prepare(tickets)

def test_it_learns_and_is_the_same_again_whatever_the_threads(tickets, learned):
    torch.set_num_threads(2)
    try: again = small().prepare(tickets)
    finally: torch.set_num_threads(1)
    assert learned.losses[-1] < .9*learned.losses[0] and len(learned.losses) == 8 and learned.losses == again.losses
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
    g, mine = small(epochs=1, steps=1), tickets.assign(text=[t+' zzqx' for t in tickets.text])
    g.prepare(tickets)
    assert 'zzqx' not in ''.join(g.tokenizer.get_vocab()) and g.known == set(tickets.id)
    g.prepare(mine)
    assert g.known == set(mine.text.map(text_id)) and not g.known & set(corpus.test.id)

def test_long_labels_and_texts_do_not_run_out_of_room():
    odd = frame(['a '*900, 'b', 'c c c'], ['a very long label '*5, 'y', 'y'])
    g = small(epochs=1).prepare(odd)
    assert len(g.generate(odd, 4))+len(g.failures) > 0

def test_texts_that_are_none_are_left_out_with_a_reason(tickets, learned, monkeypatch):
    said = iter([('', 'stop'), ('cut', 'length'), (tickets.text[0], 'stop'), ('a new text', 'stop')])
    monkeypatch.setattr(causal, 'write', lambda model, tokenizer, prompts, draws: [local.Written(*next(said), 3) for _ in prompts])
    assert learned.generate(tickets.head(4), 1).text.tolist() == ['a new text']
    assert [learned.failures.get(i) for i in tickets.id[:4]] == ['empty text', 'not ended within its tokens', 'a training text by heart', None]

def test_a_kept_model_is_read_and_not_trained_again(tickets, tmp_path, monkeypatch):
    first = small(epochs=1, folder=tmp_path/'kept').prepare(tickets)
    monkeypatch.setattr(causal, 'train', lambda *a, **k: pytest.fail('trained again'))
    again = small(epochs=1, folder=tmp_path/'kept', temperature=.5).prepare(tickets)
    again.parameters['temperature'] = first.parameters['temperature']
    assert again.losses == first.losses and again.generate(tickets.head(4), 1).equals(first.generate(tickets.head(4), 1))
    assert [p.name for p in (tmp_path/'kept').iterdir()] == [f'causal-{first.key}']
    with pytest.raises(pytest.fail.Exception, match='trained again'): small(epochs=1, seed=9, folder=tmp_path/'kept').prepare(tickets)

@pytest.mark.parametrize('harm', ['cut', 'gone', 'about'])
def test_a_damaged_kept_model_is_refused(tickets, tmp_path, harm):
    kept = tmp_path/f'causal-{small(epochs=1, steps=1, folder=tmp_path).prepare(tickets).key}'
    if harm == 'cut': (kept/'model.safetensors').write_bytes((kept/'model.safetensors').read_bytes()[:-5])
    if harm == 'gone': (kept/'tokenizer.json').unlink()
    if harm == 'about': (kept/'training.json').write_text('{')
    with pytest.raises(UserError, match='damaged or was changed .*delete that folder'): small(epochs=1, steps=1, folder=tmp_path).prepare(tickets)

def test_a_kill_leaves_no_half_of_a_model(tickets, tmp_path, monkeypatch):
    def killed(*a): raise KeyboardInterrupt
    monkeypatch.setattr(causal.os, 'replace', killed)
    with pytest.raises(KeyboardInterrupt): small(epochs=1, steps=1, folder=tmp_path).prepare(tickets)
    assert not list(tmp_path.iterdir())

def test_a_given_model_is_tuned(folder, tickets):
    g = make_generator(f'causal-lm:{folder}', epochs=2, rate=1e-3, max_tokens=20)
    assert g.model == 'tiny' and g.parameters['base'] == identity(folder)
    g.prepare(tickets)
    assert len(g.losses) == 2 and g.losses[1] < g.losses[0] and len(g.tokenizer) == 320
    assert len(g.generate(tickets.head(4), 3))+len(g.failures) > 0
    with pytest.raises(UserError, match='there is no model /no/such'): make_generator('causal-lm:/no/such')

def test_exactly_so_many_from_a_language_model(tmp_path):
    corpus = load_corpus('tickets')
    order = Order('causal-lm', target=corpus.classes[2], n=2, exactly=12, most=12, temperature=1.)
    made = generate(corpus, order, tmp_path/'p', progress=False)
    assert made.manifest['counts']['kept'] == 12 == len(load_pool(tmp_path/'p'))
    assert all(p['demonstrations'] == [] for p in load_pool(tmp_path/'p').texts.parameters)

def test_a_step_is_quick_enough_for_a_laptop():
    "A thousand short texts for 12 epochs are 756 steps: under a minute of one core"
    start = time.process_time()
    make_generator('causal-lm', steps=40).prepare(load_corpus('tickets').train.head(1000))
    assert time.process_time()-start < 10
