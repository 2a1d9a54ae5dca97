"""Back-translation with two tiny models made here"""

import json

import pytest
from llm.test_local import WORDS, Biased, frame

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')

from autogets.core import UserError, text_id
from autogets.generators.backtranslation import BackTranslation
from autogets.generators.build import build_pool
from autogets.generators.registry import make_generator
from autogets.llm import local
from autogets.llm.local import Draw, write
from autogets.llm.models import train_tokenizer


def translator(folder, seed, kind='marian'):
    "A translation model with random weights that tends to stop"
    tokenizer = train_tokenizer(WORDS * 5, 300)
    torch.manual_seed(seed)
    if kind == 'marian':
        sizes = {
            f'{part}_{k}': v
            for part in ('encoder', 'decoder')
            for k, v in {'layers': 1, 'attention_heads': 2, 'ffn_dim': 64}.items()
        }
        config = transformers.MarianConfig(
            vocab_size=len(tokenizer),
            d_model=32,
            max_position_embeddings=64,
            pad_token_id=0,
            eos_token_id=0,
            decoder_start_token_id=0,
            forced_eos_token_id=None,
            **sizes,
        )
        model = transformers.MarianMTModel(config)
        model.final_logits_bias[0, 0] = 3.0
    else:
        config = transformers.T5Config(
            vocab_size=len(tokenizer),
            d_model=32,
            d_kv=8,
            d_ff=64,
            num_layers=1,
            num_heads=4,
            pad_token_id=0,
            eos_token_id=0,
            decoder_start_token_id=1,
            tie_word_embeddings=False,
        )
        model = transformers.T5ForConditionalGeneration(config)
        model.lm_head.weight.data *= 0.01  # nearly undecided
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope='module')
def two(tmp_path_factory):
    return ','.join(
        str(translator(tmp_path_factory.mktemp('pair') / name, k)) for k, name in enumerate(('there', 'back'))
    )


def variants(spec, examples, n=2, **how):
    g = make_generator(f'back-translation:{spec}', **how)
    for model, _ in g.loaded:
        if model.config.model_type == 't5':
            model.lm_head = Biased(model.lm_head, 0, 2.5)  # it would seldom stop
    return {(r.source_ids[0], r.sample): r.text for r in g.generate(examples, n).itertuples()}


def test_back_translation_fills_a_pool(two):
    pool = build_pool(
        make_generator(f'back-translation:{two}', seed=3), frame(WORDS, list('AABB')), n=3, progress=False
    )
    counts = pool.manifest['counts']
    assert counts['requested'] == counts['kept'] + sum(counts['dropped'].values()) + sum(counts['missing'].values())
    assert counts['kept'] >= 10
    assert pool.texts.id.is_unique
    assert set(pool.texts.generator) == {'back-translation'}
    assert set(pool.texts.model) == {'there,back'}
    made = (
        pool.texts.explode('source_ids').groupby('source_ids').size().reindex([text_id(w) for w in WORDS], fill_value=0)
    )
    assert made.eq(3).all() and pool.texts.groupby('label').size().to_dict() == {'A': 6, 'B': 6}
    assert dict(zip(pool.texts.id, pool.texts.label)) == {
        r.id: dict(zip(map(text_id, WORDS), 'AABB'))[r.source_ids[0]] for r in pool.texts.itertuples()
    }
    assert json.loads(json.dumps(pool.manifest['parameters'])) == pool.manifest['parameters']


@pytest.mark.parametrize('kind', ['marian', 't5'])
def test_variants_do_not_depend_on_company_and_follow_the_seed(two, kind, tmp_path):
    spec = two if kind == 'marian' else ','.join(str(translator(tmp_path / str(k), k, 't5')) for k in range(2))
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
            if p.ndim > 1 and 'embed_positions' not in name:
                p *= 4  # so that places and words matter
    ids = [tokenizer(t).input_ids for t in ['a printer', ' '.join(WORDS)[:90], *WORDS]]
    draws = [Draw(20, str(k), 0.5) for k in range(len(ids))]
    assert write(model, tokenizer, ids, draws) == [write(model, tokenizer, [i], [d])[0] for i, d in zip(ids, draws)]


def test_the_variants_of_a_call_differ(two):
    made = variants(two, frame(WORDS), 6)
    assert all(
        len({text_id(t) for (i, _), t in made.items() if i == e}) == sum(i == e for i, _ in made)
        for e in map(text_id, WORDS)
    )
    once = variants(two, frame(WORDS), 4, temperature=0)
    assert len(once) <= 4 and all(k == 0 for _, k in once)


class Echo(BackTranslation):
    "Gives back what it gets, or what `said` says instead"

    said = {}

    def translated(self, texts, seeds, back):
        return [self.said.get(t, t) for t in texts]


def test_the_reasons_why_an_example_has_fewer(two):
    g = Echo(two)
    g.said = {WORDS[0]: None, WORDS[1]: '', WORDS[2]: WORDS[2].upper() + '!', WORDS[3]: 'something else'}
    made = g.generate(frame(WORDS), 2)
    assert made.text.tolist() == ['something else'] and made['sample'].tolist() == [0]
    assert list(g.failures.values()) == ['nothing came back'] * 2 + [
        'the text itself came back',
        'the same translation again',
    ]


def test_a_text_that_does_not_fit_is_not_cut(two):
    g = make_generator(f'back-translation:{two}')
    assert g.translated(['word ' * 200, WORDS[0]], ['a', 'b'], 0)[0] is None
    assert not len(g.generate(frame(['word ' * 200]), 2))


def test_the_spec_of_back_translation_is_checked(two):
    for bad in ('a,b,c', 'a,'):
        with pytest.raises(UserError, match='two models'):
            make_generator(f'back-translation:{bad}')
    with pytest.raises(UserError, match='both languages'):
        make_generator(f'back-translation:{two}', pivot='de')
    with pytest.raises(UserError, match='know no language codes'):
        make_generator(f'back-translation:{two}', pivot='de', language='en').generate(frame(WORDS), 1)


def nllb(folder):
    "A model for many languages in `folder`, and its tokenizer"
    from transformers import NllbTokenizer

    letters = {c: k for k, c in enumerate(['<s>', '<pad>', '</s>', '<unk>', '▁', *'abcdefghijklmnopqrstuvwxyz'])}
    tokenizer = NllbTokenizer(vocab=letters, merges=[], extra_special_tokens=['eng_Latn', 'deu_Latn', 'fra_Latn'])
    torch.manual_seed(0)
    config = transformers.M2M100Config(
        vocab_size=len(tokenizer),
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=128,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
    )
    transformers.M2M100ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_model_for_many_languages_is_told_both(tmp_path, monkeypatch):
    folder, seen = nllb(tmp_path / 'nllb'), []
    real = local.write

    def watched(model, tokenizer, prompts, draws, **more):
        seen.append(
            (
                tokenizer.convert_ids_to_tokens(prompts[0])[0],
                tokenizer.convert_ids_to_tokens(more['forced_bos_token_id']),
            )
        )
        return [local.Written('abc', 'stop', 3) for _ in real(model, tokenizer, prompts, draws, **more)]

    monkeypatch.setattr('autogets.generators.backtranslation.write', watched)
    g = make_generator(f'back-translation:{folder}', pivot='deu_Latn', language='eng_Latn')
    assert g.generate(frame(['hello']), 1).text.tolist() == ['abc'] and g.loaded[0] is g.loaded[1]
    assert seen == [('eng_Latn', 'deu_Latn'), ('deu_Latn', 'eng_Latn')]
    with pytest.raises(UserError, match="knows no language 'xx'"):
        make_generator(f'back-translation:{folder}', pivot='xx', language='eng_Latn').generate(frame(['a']), 1)
    with pytest.raises(UserError, match='knows many languages'):
        make_generator(f'back-translation:{folder}').generate(frame(['a']), 1)


def test_the_first_token_of_a_translation_is_the_mark_of_its_language(tmp_path):
    model, tokenizer = local.load_model('AutoModelForSeq2SeqLM', nllb(tmp_path / 'nllb'))
    mark = tokenizer.convert_tokens_to_ids('fra_Latn')
    made = write(
        model,
        tokenizer,
        [tokenizer('hello').input_ids] * 2,
        [Draw(1, 'a', 1.0), Draw(6, 'b', 1.0)],
        forced_bos_token_id=mark,
    )
    assert made[0].tokens == 1 and made[0].text == '' and made[1].tokens > 1
