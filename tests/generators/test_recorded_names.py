"""What `recorded:X` means is decided by what X is, never by its name; and numbers of texts that mean nothing"""

import json

import pytest
import worlds
from servers import serving

from autogets.core import UserError
from autogets.data.datasets import load_corpus
from autogets.generators.run import GenerationSettings, RequestSettings, forecast, generate, run_generation


@pytest.fixture(scope='module')
def corpus():
    return worlds.corpus(n=10)


@pytest.fixture(scope='module')
def replies(corpus, tmp_path_factory):
    "The pool that a model wrote, and its file of replies"
    folder = tmp_path_factory.mktemp('made')
    with serving() as s:
        pool = generate(corpus, 'openai:m', folder, n=1, base_url=s.url, progress=False)
    return pool, folder / 'replies.jsonl'


def lines(corpus):
    rows = corpus.train.itertuples()
    return ''.join(
        json.dumps({'source_id': r.id, 'label': r.label, 'texts': [f'{r.text} {k}' for k in range(3)]}) + '\n'
        for r in rows
    )


@pytest.mark.parametrize('name', ['mine.jsonl', 'mine.txt', 'replies.jsonl', 'mine#gpt.jsonl', 'mine'])
def test_texts_are_texts_whatever_the_file_is_called(corpus, tmp_path, name):
    (tmp_path / name).write_text(lines(corpus))
    pool = generate(corpus, f'recorded:{tmp_path / name}', tmp_path / 'pool', progress=False)
    assert len(pool) == 3 * len(corpus.train)
    made = run_generation(corpus, GenerationSettings(f'recorded:{tmp_path / name}'), tmp_path / 'q', progress=False)
    assert made.manifest['counts'] == pool.manifest['counts'] and made.sent == 0


@pytest.mark.parametrize('name', ['mine.jsonl', 'mine.txt', 'bank.jsonl', 'mine'])
@pytest.mark.parametrize('model', ['', '#m'])
def test_replies_are_replies_whatever_the_file_is_called(corpus, replies, tmp_path, name, model):
    pool, file = replies
    (tmp_path / name).write_bytes(file.read_bytes())
    again = generate(corpus, f'recorded:{tmp_path / name}{model}', tmp_path / 'pool', n=1, progress=False)
    assert again.texts.text.tolist() == pool.texts.text.tolist()


def test_shipped_names_work_in_python_and_on_the_command_line_alike(tmp_path, in_process):
    c = load_corpus('tickets')
    label = c.classes[0]
    pool = generate(c, 'recorded:tickets', tmp_path / 'a', target=label, progress=False)
    words = ['generate', 'tickets', '--model', 'recorded:tickets', '--target', label, '--out', str(tmp_path / 'b')]
    code, said, told = in_process(*words)
    assert code == 0 and f'{len(pool):,} of' in said, told
    assert (tmp_path / 'a/texts.jsonl').read_bytes() == (tmp_path / 'b/texts.jsonl').read_bytes()


# --- numbers of texts


@pytest.mark.parametrize('n', [0, -1, 1.5, '3', True])
@pytest.mark.parametrize('model', ['eda', 'openai:m', 'recorded:tickets'])
def test_no_number_of_texts_is_taken_for_another(corpus, tmp_path, n, model):
    with pytest.raises(UserError, match=f'cannot make {n!r} texts per example: give a whole number from 1'):
        generate(corpus, model, tmp_path / 'pool', n=n, progress=False)
    assert not (tmp_path / 'pool').exists()


@pytest.mark.parametrize('field', ['exactly', 'most'])
def test_other_numbers_of_texts(field):
    with pytest.raises(UserError, match='cannot make 0 texts per example: give a whole number from 1'):
        GenerationSettings('openai:m', **{field: 0})


def test_five_texts_unless_somebody_says_so(corpus, tmp_path):
    made = run_generation(corpus, GenerationSettings('eda', target='ant'), tmp_path / 'p', progress=False)
    assert made.manifest['n'] == 5
    plans = [forecast(corpus, GenerationSettings('openai:m', n=n), RequestSettings('vllm')) for n in (None, 5)]
    assert plans[0] == plans[1]


@pytest.mark.parametrize('more', [[], ['--dry-run']])
def test_no_text_on_the_command_line_is_one_line(tmp_path, in_process, more):
    code, _, told = in_process('generate', 'tickets', '--model', 'openai:m', '--base-url', 'vllm', '--n', '0', *more)
    assert code == 2 and told == 'autogets: error: cannot make 0 texts per example: give a whole number from 1\n'
