"""Fine-tuned transformers and frozen encoders: same bits again, resumed or not; weights, soft labels, curricula;
models on disk; what cannot be used."""

from concurrent.futures import ThreadPoolExecutor
import numpy as np
import pandas as pd
import pytest
from work import spent, work

torch = pytest.importorskip('torch')
pytest.importorskip('transformers')
from autogets.classifiers import encoders
from autogets.classifiers.linear import load_classifier, make_classifier
from autogets.core import UserError
from autogets.data.corpus import split_corpus
from autogets.classifiers.encoders import Embedder, encoder_path, tiny_encoder, tokenized
from autogets.search.evaluator import Evaluator
from autogets.classifiers.finetune import FineTuned
from autogets.classifiers.stages import Stage, plan_stages, targets
from autogets.llm.models import bucketed, train_tokenizer

WORDS = {
    'lock': ['key', 'door', 'badge', 'gate', 'entry'],
    'mail': ['inbox', 'letter', 'sender', 'reply', 'draft'],
    'print': ['paper', 'toner', 'tray', 'scan', 'ink'],
}


def rows(n, seed, classes=('lock', 'mail', 'print')):
    rng = np.random.default_rng(seed)
    y = [classes[i] for i in rng.integers(0, len(classes), n)]
    y[: len(classes)] = classes
    return pd.DataFrame(
        {
            'text': [' '.join(rng.choice([*WORDS[c] * 2, 'the', 'my', 'is', 'lost'], rng.integers(3, 12))) for c in y],
            'label': y,
        }
    )


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp('encoder') / 'tiny', rows(200, 9).text)


@pytest.fixture(autouse=True)
def few_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def new(tiny, **more):
    return FineTuned(encoder=tiny, **{**dict(epochs=3, rate=3e-3, max_length=24, threads=1), **more})


def fit(tiny, data, **more):
    return new(tiny, **more).fit(data.text, data.label)


def same(a, b, texts):
    return np.array_equal(a.predict_proba(texts), b.predict_proba(texts))


# ---- learning


def test_it_learns_and_repeats_itself_bit_for_bit(tiny):
    data, held = rows(150, 0), rows(60, 1)
    a, b, other = fit(tiny, data, epochs=8), fit(tiny, data, epochs=8), fit(tiny, data, epochs=8, seed=1)
    assert (a.predict(held.text) == held.label).mean() > 0.9
    assert same(a, b, held.text) and not same(a, other, held.text)
    assert a.history.loss.iloc[-1] < a.history.loss.iloc[0] and a.history.validation_loss.isna().all()


def test_the_programs_own_random_numbers_are_left_alone(tiny):
    data = rows(40, 0)
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    fit(tiny, data, epochs=1)
    assert torch.equal(torch.rand(3), want)


def test_probabilities_do_not_depend_on_company_or_order(tiny):
    data, held = rows(60, 0), rows(70, 1)
    m = fit(tiny, data)
    p = m.predict_proba(held.text)
    assert np.allclose(p.sum(1), 1) and p.shape == (70, 3)
    assert np.allclose(m.predict_proba(held.text[::-1])[::-1], p, atol=1e-5)
    assert np.allclose(m.predict_proba(held.text[:1]), p[:1], atol=1e-5)
    assert m.predict_proba([]).shape == (0, 3)


def test_hard_labels_are_soft_ones(tiny):
    data = rows(60, 0)
    hard = new(tiny).fit_stages([Stage(list(data.text), list(data.label), 2)])
    soft = new(tiny).fit_stages(
        [Stage(list(data.text), targets(data.label, ['lock', 'mail', 'print']), 2)], classes=['lock', 'mail', 'print']
    )
    assert same(hard, soft, data.text)
    flat = new(tiny, epochs=20).fit_stages(
        [Stage(list(data.text), np.full((60, 3), 1 / 3), 20)], classes=['lock', 'mail', 'print']
    )
    assert flat.predict_proba(data.text).max() < 0.5  # it was told that all classes are as likely


def loss_at_start(tiny, data, weight=1.0, **more):
    "The loss of the first step, when all texts share it and dropout is off"
    m = new(tiny, batch=len(data), epochs=1, **more)
    found = []

    def step(self, *args, real=FineTuned.step):
        self.model_.eval()
        found.append(real(self, *args))
        return found[-1]

    old, FineTuned.step = FineTuned.step, step
    try:
        m.fit_stages([Stage(list(data.text), list(data.label), 1, weight)])
    finally:
        FineTuned.step = old
    fresh = new(tiny).begin(m.classes_)
    p = fresh._soft(fresh.tokens(list(data.text))[0])[
        np.arange(len(data)), pd.Index(m.classes_).get_indexer(data.label)
    ]
    return found[0], -np.log(p)


def test_the_loss_is_weighted_cross_entropy(tiny):
    data = rows(30, 0)
    got, each = loss_at_start(tiny, data)
    assert got == pytest.approx(each.mean(), rel=1e-4)
    w = np.linspace(0, 2, 30)
    got, each = loss_at_start(tiny, data, w)
    assert got == pytest.approx((w * each).mean(), rel=1e-4)


def test_balanced_classes_weigh_the_same(tiny):
    data = pd.concat([rows(20, 0, ('lock', 'mail')), rows(4, 1, ('print',))], ignore_index=True)
    got, each = loss_at_start(tiny, data, class_weights='balanced')
    n = data.label.map(data.label.value_counts())
    assert got == pytest.approx((each * 24 / (3 * n)).mean(), rel=1e-4)


def test_a_step_in_parts_is_the_same_step(tiny):
    data = rows(32, 0)

    def weights(parts):
        m = new(tiny, batch=16, epochs=1, accumulate=parts)
        real = FineTuned.epoch

        def still(self, k, e, data):
            for part in self.model_.modules():
                if isinstance(part, torch.nn.Dropout):
                    part.p = 0.0
            return real(self, k, e, data)

        FineTuned.epoch = still
        try:
            m.fit(data.text, data.label)
        finally:
            FineTuned.epoch = real
        return m.predict_proba(data.text), m.history.steps.tolist()

    (a, steps), (b, parts) = weights(1), weights(4)
    assert steps == parts == [2] and np.allclose(a, b, atol=1e-4)


def test_batches_hold_each_text_once_and_little_filling():
    lengths = np.random.default_rng(0).integers(2, 100, 333)
    batches = bucketed(lengths, 16, np.random.default_rng(1))
    assert sorted(np.concatenate(batches)) == list(range(333))
    assert sum(lengths[b].max() * len(b) for b in batches) < 1.15 * lengths.sum()


# ---- stages


def test_curricula_read_every_text_in_their_order():
    x, y, new_rows = [f't{i}' for i in range(110)], ['a', 'b'] * 55, np.arange(110) >= 50
    (one,) = plan_stages(x, y, new_rows, 'mixed', 4, synthetic_weight=0.25)
    assert one.texts == x and one.epochs == 4 and set(one.weight[:50]) == {1} and set(one.weight[50:]) == {0.25}
    first, then = plan_stages(x, y, new_rows, 'synthetic-first', 5, patience=2)
    assert (first.texts, first.epochs, first.patience) == (x[50:], 3, None)
    assert (then.texts, then.epochs, then.patience) == (x[:50], 5, 2)
    real, *steps = plan_stages(x, y, new_rows, 'stepwise', 4, seed=3)
    assert real.texts == x[:50] and [len(s.texts) for s in steps] == [25, 25, 10] and {s.epochs for s in steps} == {1}
    assert sorted(t for s in steps for t in s.texts) == sorted(x[50:]) and [t for s in steps for t in s.texts] != x[50:]
    assert [s.name for s in steps] == ['+25', '+50', '+60']
    assert all(y[x.index(t)] == l for s in steps for t, l in zip(s.texts, s.labels))
    with pytest.raises(UserError, match='mixed, synthetic-first, stepwise'):
        plan_stages(x, y, new_rows, 'backwards')


def test_stages_share_one_optimizer_and_after_is_told(tiny):
    a, b, seen = rows(48, 0), rows(32, 1), []
    m = new(tiny, schedule='constant', warmup=0.0)
    m.fit_stages(
        [Stage(list(a.text), list(a.label), 2, name='first'), Stage(list(b.text), list(b.label), 1, name='then')],
        after=lambda model, k: seen.append(
            (
                k,
                model.model_.training,
                float(model.adam_.state_dict()['state'][0]['step']),
                model.predict_proba(a.text[:1]).tolist(),
            )
        ),
    )
    assert [s[:3] for s in seen] == [(0, False, 6.0), (1, False, 8.0)] and seen[0][3] != seen[1][3]
    assert m.history.name.tolist() == ['first', 'first', 'then'] and m.history.steps.tolist() == [3, 3, 2]


def test_early_stopping_goes_back_to_the_best(tiny, monkeypatch):
    data, held = rows(60, 0), rows(40, 1)
    scores, kept = iter([0.5, 0.7, 0.6, 0.65, 0.9]), []

    def validate(self, validation):
        kept.append(self.predict_proba(held.text))
        return 1.0, next(scores)

    monkeypatch.setattr(FineTuned, 'validate', validate)
    m = new(tiny, epochs=9, patience=2).fit(data.text, data.label, validation=(held.text, held.label, None))
    assert m.history.validation_score.tolist() == [0.5, 0.7, 0.6, 0.65]
    assert np.array_equal(m.predict_proba(held.text), kept[1])


def test_validation_is_not_looked_at_without_patience(tiny, monkeypatch):
    monkeypatch.setattr(FineTuned, 'validate', lambda *a: pytest.fail('looked'))
    data = rows(40, 0)
    new(tiny, epochs=1).fit(data.text, data.label, validation=(data.text, data.label))


@pytest.mark.parametrize('stop', ['auc', 'accuracy', 'macro-f1', 'loss'])
def test_measures_to_stop_by(tiny, stop):
    data, held = rows(150, 0), rows(60, 1)
    m = new(tiny, epochs=8, patience=8, stop=stop).fit(data.text, data.label, validation=(held.text, held.label))
    loss, score = m.validate(m._known((held.text, held.label)))
    p = m.predict_proba(held.text)
    true = pd.Index(m.classes_).get_indexer(held.label)
    assert loss == pytest.approx(-np.log(p[np.arange(60), true]).mean(), rel=1e-5)
    assert score == pytest.approx(-loss if stop == 'loss' else m.history.validation_score.max(), rel=1e-5)
    if stop == 'accuracy':
        assert score == pytest.approx((p.argmax(1) == true).mean())
    if stop == 'auc':
        assert 0.9 < score <= 1


def test_validation_classes_that_training_lacks_are_left_out(tiny):
    data, held = rows(60, 0, ('lock', 'mail')), rows(60, 1)
    m = new(tiny, epochs=1, patience=1).fit(data.text, data.label, validation=(held.text, held.label))
    assert len(m._known((held.text, held.label))[1]) == (held.label != 'print').sum()
    only = held[held.label == 'print']
    with pytest.raises(UserError, match='no text of the validation set'):
        new(tiny, epochs=1, patience=1).fit(data.text, data.label, validation=(only.text, only.label))
    one = held[held.label == 'lock']
    with pytest.raises(UserError, match='one class only'):
        new(tiny, epochs=1, patience=1, stop='auc').fit(data.text, data.label, validation=(one.text, one.label))


# ---- killed and resumed


class Killed(Exception):
    pass


def plan():
    a, b = rows(48, 0), rows(40, 1)
    return [
        Stage(list(a.text), list(a.label), 3, patience=2, name='real'),
        Stage(list(b.text), list(b.label), 2, 0.5, name='new'),
    ]


def killed_at(n, monkeypatch):
    calls, real = [], FineTuned.epoch

    def epoch(self, k, e, data):
        if len(calls) == n:
            raise Killed
        calls.append((k, e))
        return real(self, k, e, data)

    monkeypatch.setattr(FineTuned, 'epoch', epoch)


@pytest.mark.parametrize('n', range(5))
def test_a_killed_training_ends_like_an_undisturbed_one(tiny, tmp_path, monkeypatch, n):
    held = rows(40, 2)
    whole = new(tiny).fit_stages(plan(), (held.text, held.label))
    with monkeypatch.context() as m:
        killed_at(n, m)
        with pytest.raises(Killed):
            new(tiny, folder=tmp_path).fit_stages(plan(), (held.text, held.label))
    done, real = [], FineTuned.epoch
    monkeypatch.setattr(FineTuned, 'epoch', lambda self, k, e, data: (done.append((k, e)), real(self, k, e, data))[1])
    again = new(tiny, folder=tmp_path).fit_stages(plan(), (held.text, held.label))
    assert same(whole, again, held.text) and len(done) == 5 - n
    assert again.history.drop(columns='seconds').equals(whole.history.drop(columns='seconds'))
    assert not (tmp_path / 'checkpoint').exists()


def test_the_state_on_disk_is_of_this_training_and_whole(tiny, tmp_path, monkeypatch):
    data = rows(40, 0)
    with monkeypatch.context() as m:
        killed_at(1, m)
        with pytest.raises(Killed):
            fit(tiny, data, folder=tmp_path)
    there = sorted(p.name for p in (tmp_path / 'checkpoint').iterdir())
    assert there == ['best.safetensors', 'optimizer.safetensors', 'state.json', 'weights.safetensors']
    with pytest.raises(UserError, match='another training'):
        fit(tiny, data, folder=tmp_path, rate=1e-3)
    with pytest.raises(UserError, match='another training'):
        fit(tiny, rows(40, 3), folder=tmp_path)
    path = tmp_path / 'checkpoint/optimizer.safetensors'
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(UserError, match='is damaged .* delete it'):
        fit(tiny, data, folder=tmp_path)


def test_a_kill_between_two_states_loses_one_epoch_at_most(tiny, tmp_path, monkeypatch):
    data = rows(40, 0)
    with monkeypatch.context() as m:
        killed_at(2, m)
        with pytest.raises(Killed):
            fit(tiny, data, folder=tmp_path)
    (tmp_path / 'checkpoint').rename(
        tmp_path / 'checkpoint.new'
    )  # killed after the old one went and before the new one took its place
    assert same(fit(tiny, data, folder=tmp_path), fit(tiny, data), data.text)


# ---- on disk


def test_saved_and_loaded_predict_the_same_and_hold_no_pickle(tiny, tmp_path):
    data, held = rows(60, 0), rows(40, 1)
    m = fit(tiny, data)
    m.save(tmp_path / 'm')
    again = load_classifier(tmp_path / 'm')
    assert same(m, again, held.text) and list(again.classes_) == ['lock', 'mail', 'print'] and again.params == m.params
    assert {p.suffix for p in (tmp_path / 'm').iterdir()} <= {'.json', '.safetensors', '.md', '.txt', '.jinja'}
    card = (tmp_path / 'm/README.md').read_text()
    assert '3 classes' in card and '60 texts' in card and 'lock, mail, print' in card and str(tmp_path) not in card
    again.save(tmp_path / 'n')
    assert same(load_classifier(tmp_path / 'n'), m, held.text)


@pytest.mark.parametrize('name', ['model.safetensors', 'config.json', 'tokenizer.json'])
def test_a_damaged_model_is_refused(tiny, tmp_path, name):
    fit(tiny, rows(40, 0), epochs=1).save(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2])
    with pytest.raises(UserError):
        load_classifier(tmp_path)


def test_frozen_saved_and_loaded(tiny, tmp_path):
    data, held = rows(90, 0), rows(40, 1)
    m = make_classifier(f'frozen:{tiny}', folder=tmp_path / 'kept').fit(data.text, data.label)
    m.save(tmp_path / 'm')
    assert (load_classifier(tmp_path / 'm').predict(held.text) == m.predict(held.text)).all()
    assert str(tmp_path / 'kept') not in (tmp_path / 'm/model.json').read_text()


# ---- what cannot be used


def test_a_name_that_cannot_be_had_is_told_at_once(monkeypatch):
    monkeypatch.setattr(encoders, '_reachable', lambda: False)

    def ask():
        with pytest.raises(UserError, match=r'cannot be reached.*autogets\[offline\]'):
            fit('no-such/encoder', rows(20, 0))

    assert work(ask) < 150
    monkeypatch.setattr(encoders, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match=r'autogets\[offline\]'):
        encoder_path('offline')


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(UserError, match='holds no model'):
        fit(str(tmp_path), rows(20, 0))


def test_long_texts_are_cut_counted_and_told(tiny):
    data = rows(40, 0)
    data.loc[:4, 'text'] = 'key door badge ' * 40
    with pytest.warns(UserWarning, match='5 of 40 training texts are longer than 24 tokens'):
        m = fit(tiny, data, epochs=1)
    assert m.truncated_ == 5
    ids, cut = tokenized(m.tokenizer_, ['key ' * 100, 'key', ''], 8)
    assert [len(r) <= 8 for r in ids] == [True] * 3 and cut == 1


def test_a_class_with_one_example_and_bad_labels(tiny):
    data = pd.concat([rows(20, 0, ('lock', 'mail')), rows(1, 1, ('print',))], ignore_index=True)
    assert list(fit(tiny, data, epochs=1).classes_) == ['lock', 'mail', 'print']
    for labels, says in ((['a'] * 21, 'needs two or more'), (['a'] * 3, '21 texts but 3 labels')):
        with pytest.raises(UserError, match=says):
            new(tiny).fit(data.text, labels)
    with pytest.raises(UserError, match='need the names'):
        new(tiny).fit_stages([Stage(['a'], [[1.0]])])
    with pytest.raises(UserError, match='2 columns for 3 classes'):
        new(tiny).fit_stages([Stage(['a'], [[0.5, 0.5]])], classes=['x', 'y', 'z'])


def test_a_runaway_training_is_told(tiny):
    with pytest.raises(UserError, match='ran away .* lower rate than 1e'):
        fit(tiny, rows(40, 0), rate=1e30)


def no_room(monkeypatch, most):
    sizes, real = [], FineTuned.logits

    def logits(self, rows):
        sizes.append(len(rows))
        if self.model_.training and len(rows) > most:
            raise torch.OutOfMemoryError('CUDA out of memory.')
        return real(self, rows)

    monkeypatch.setattr(FineTuned, 'logits', logits)
    return sizes


def test_memory_that_runs_out_halves_the_batch_once(tiny, monkeypatch):
    data = rows(48, 0)
    sizes = no_room(monkeypatch, 8)
    with pytest.warns(UserWarning, match='with 16 texts at once'):
        m = fit(tiny, data, epochs=2)
    assert m.history.steps.tolist() == [3, 3] and max(sizes[1:7]) == 8
    no_room(monkeypatch, 4)
    with pytest.warns(UserWarning), pytest.raises(UserError, match='memory runs out with 8 texts of 24 tokens'):
        fit(tiny, data, epochs=2)


@pytest.mark.parametrize(
    'more, says',
    [
        (dict(stop='luck'), 'measure to stop by'),
        (dict(curriculum='x'), 'mixed'),
        (dict(precision='int8'), 'fp32'),
        (dict(epochs=0), 'epochs is 0'),
        (dict(class_weights='heavy'), 'class weights'),
        (dict(depth=3), "'depth'"),
    ],
)
def test_settings_that_mean_nothing(more, says):
    with pytest.raises(UserError, match=says):
        make_classifier('transformer', **more)


FAMILIES = {
    'roberta': (
        'RobertaConfig',
        dict(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, max_position_embeddings=34
        ),
        33,
    ),
    'distilbert': (
        'DistilBertConfig',
        dict(dim=16, n_layers=1, n_heads=2, hidden_dim=16, max_position_embeddings=32),
        32,
    ),
    'gpt2': ('GPT2Config', dict(n_embd=16, n_layer=1, n_head=2, n_positions=32, bos_token_id=0, eos_token_id=0), 32),
}


@pytest.mark.parametrize('family', list(FAMILIES))
def test_other_families_read_as_far_as_they_can(family, tmp_path):
    import transformers

    kind, shape, longest = FAMILIES[family]
    data = rows(30, 0)
    data.loc[0, 'text'] = 'key door badge ' * 40
    tokenizer = train_tokenizer(data.text, 300)
    config = getattr(transformers, kind)(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **shape)
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match=f'are longer than {longest} tokens'):
        m = fit(str(tmp_path), data, epochs=1, max_length=500)
    assert m.longest_ == longest and Embedder(str(tmp_path), tmp_path / 'kept').embed(list(data.text)).shape == (30, 16)


# ---- embeddings


def test_vectors_are_computed_once(tiny, tmp_path, monkeypatch):
    a = Embedder(tiny, tmp_path)
    calls, real = [], Embedder.compute
    monkeypatch.setattr(Embedder, 'compute', lambda self, texts: (calls.append(len(texts)), real(self, texts))[1])
    texts = list(rows(30, 0).text)
    first = a.embed([*texts, *texts[:5]])
    assert calls == [len(set(texts))] and np.array_equal(first[30:], first[:5])
    more = Embedder(tiny, tmp_path).embed([*texts, 'something else'])
    assert calls[1:] == [1] and np.array_equal(more[:30], first[:30])


def test_vectors_belong_to_the_weights_and_the_length(tiny, tmp_path):
    other = tiny_encoder(tmp_path / 'other', rows(200, 9).text, seed=1)
    keys = {
        Embedder(tiny, tmp_path / 'k').key,
        Embedder(other, tmp_path / 'k').key,
        Embedder(tiny, tmp_path / 'k', 8).key,
    }
    assert len(keys) == 3


def test_two_at_a_time_share_the_vectors(tiny, tmp_path):
    def fill(seed):
        Embedder(tiny, tmp_path).embed(list(rows(60, seed).text))

    with ThreadPoolExecutor(2) as both:
        list(both.map(fill, [0, 1]))
    e = Embedder(tiny, tmp_path)
    texts = [*rows(60, 0).text, *rows(60, 1).text]
    found = e.embed(texts)
    assert 'loaded' not in vars(e) and np.allclose(found, e.compute(texts), atol=1e-5)


def test_a_cache_that_cannot_be_used_is_told(tiny, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='AUTOGETS_CACHE'):
        Embedder(tiny, tmp_path / 'file' / 'below')


# ---- in a search


@pytest.fixture(scope='module')
def task():
    data = rows(160, 3)
    corpus = split_corpus(data.assign(id=[f'x{i}' for i in range(160)]), 'words', how='stratified')
    real = corpus.train.iloc[:20]
    pool = pd.DataFrame(
        dict(
            id=[f'p{i}' for i in range(20)],
            text=[f'{t} please' for t in real.text],
            label=real.label.to_numpy(),
            source_ids=[[i] for i in real.id],
            generator='g',
            model='',
            prompt='',
            parameters=[{}] * 20,
            sample=0,
        )
    )
    return corpus, pool


@pytest.mark.parametrize('kind, more', [('transformer', dict(epochs=1, rate=3e-3, max_length=16)), ('frozen', {})])
def test_a_search_gets_the_same_with_any_number_of_workers(tiny, task, tmp_path, kind, more):
    corpus, pool = task
    if kind == 'frozen':
        more = dict(folder=str(tmp_path))
    ids = list(dict.fromkeys(i for s in pool.source_ids for i in s))
    wanted = [(), tuple(sorted(ids[:5])), tuple(sorted(ids[5:]))]
    one, two = (Evaluator(corpus, pool, 'all', f'{kind}:{tiny}', workers=w, **more).evaluate(wanted) for w in (1, 2))
    assert [r.scores for r in one] == [r.scores for r in two] and [r.n_texts for r in one] == [0, 5, 15]


def test_the_kept_model_is_the_one_that_was_judged(tiny, task):
    corpus, pool = task
    ev = Evaluator(
        corpus, pool, 'all', f'transformer:{tiny}', epochs=1, rate=3e-3, max_length=16, curriculum='synthetic-first'
    )
    ids = tuple(sorted(pool.source_ids[0]))
    model = ev.fit(ids)
    assert [s['name'] for s in model.seen_['stages']] == ['synthetic', 'real']
    assert (
        ev.predict(ids)['test'] == pd.Index(corpus.classes).get_indexer(model.predict(list(corpus.test.text)))
    ).all()


# ---- speed


def bare(m, data, epochs):
    "The plainest loop over the same model and batches"
    texts, goal = m.tokens(list(data.text))[0], torch.from_numpy(targets(data.label, m.classes_))
    adam = torch.optim.AdamW(m.model_.parameters(), lr=1e-4, fused=True)
    m.model_.train()
    for e in range(epochs):
        for b in bucketed([len(r) for r in texts], 16, np.random.default_rng(e)):
            ids, real = encoders.padded([texts[i] for i in b], 0, 'cpu')
            loss = torch.nn.functional.cross_entropy(m.model_(input_ids=ids, attention_mask=real).logits, goal[b])
            loss.backward()
            adam.step()
            adam.zero_grad()


def test_training_is_nearly_as_fast_as_a_bare_loop(tmp_path):
    big = tiny_encoder(tmp_path / 'big', rows(300, 9).text, width=128, layers=4)
    data, ratios = rows(160, 0), []
    for _ in range(3):
        m = new(big, epochs=2, rate=1e-4)
        ours = spent(m.fit, data.text, data.label)
        ratios.append(ours / spent(lambda: bare(new(big).begin(m.classes_), data, 2)))
    assert min(ratios) < 1.35, ratios
