"Before anything is sent: one filled prompt, and the names of models that are known"

import json
import sys
import warnings

import pandas as pd
import pytest

from autogets.cli import main


@pytest.fixture
def generate(tmp_path, monkeypatch, capsys):
    "Runs `autogets generate` on forty texts: exit code, stdout, stderr"
    rows = [(f'the {c} number {i} is broken, write to me{i}@example.com', c) for i in range(20) for c in ('fax', 'tap')]
    pd.DataFrame(rows, columns=['text', 'label']).to_csv(tmp_path / 't.csv', index=False)
    monkeypatch.setattr(warnings, 'showwarning', warnings.showwarning)
    monkeypatch.delenv('AUTOGETS_PRICES', raising=False)

    def run(*words):
        out = ['--out', tmp_path / 'pool']
        monkeypatch.setattr(sys, 'argv', ['autogets', 'generate', *map(str, [tmp_path / 't.csv', *out, *words])])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code or 0, *capsys.readouterr()

    return run


@pytest.mark.parametrize('prompt', ['autogets', 'zero-shot', 'few-shot-3', 'topic', 'attributed', 'chain-of-thought'])
def test_a_dry_run_shows_one_filled_prompt(prompt, generate):
    code, out, err = generate('--model', 'openai:gpt-4o-mini', '--prompt', prompt, '--target', 'fax', '--dry-run')
    assert (code, err) == (0, '')
    head, *_ = said = out.splitlines()
    assert head.startswith('One of the requests, for the class fax:') and 'Nothing was sent' in said[-1]
    assert any(l.strip() == 'user:' for l in said) and 'fax' in out and '{{' not in out
    assert ('is broken' in out) == (prompt not in ('zero-shot', 'topic', 'attributed'))


def test_the_prompt_is_shown_as_it_would_be_sent(generate):
    assert '@example.com' in generate('--model', 'openai:m', '--dry-run')[1]
    assert '@example.com' not in generate('--model', 'openai:m', '--redact', '--dry-run')[1]


def test_a_dry_run_answers_a_wrong_name_with_those_it_knows(generate):
    code, out, err = generate('--model', 'openai:gpt-4o-mni', '--dry-run')
    assert code == 0 and 'at a price that is not known' in out
    last = out.splitlines()[-1]
    assert last.startswith('gpt-4o-mni is in no price table: is it gpt-4o-mini? Known for api.openai.com: ')
    assert all(name in last for name in ('gpt-4o,', 'gpt-4.1-nano', 'gpt-5.5'))
    assert 'price table' not in generate('--model', 'openai:gpt-4o-mini', '--dry-run')[1]
    assert 'price table' not in generate('--model', 'openai:gpt-4o-mni', '--price', '1,2', '--dry-run')[1]
    assert 'price table' not in generate('--model', 'openai:mine', '--base-url', 'vllm', '--dry-run')[1]


@pytest.mark.parametrize('words', [['--dry-run'], []])
def test_a_name_without_its_kind_is_answered_with_the_whole_name(words, generate):
    code, out, err = generate('--model', 'gpt-4o-mini', *words)
    assert code == 2 and out == '' and err.count('\n') == 1
    assert 'openai:gpt-4o-mini' in err and "'gpt-4o-mini'" in err
    code, out, err = generate('--model', 'eda', '--dry-run')
    assert code == 2 and 'sends nothing' in err


def test_a_run_says_how_to_see_a_prompt_before_it_sends(generate, monkeypatch, tmp_path):
    monkeypatch.setenv('OPENAI_API_KEY', 'k')
    code, out, err = generate('--model', 'openai:m', '--base-url', 'http://127.0.0.1:9/v1', '--tries', '1')
    notes = [l for l in err.splitlines() if '--dry-run' in l]
    assert len(notes) == 1 and notes[0].startswith('autogets: note: ') and err.splitlines()[0] == notes[0]
    assert '--dry-run' not in generate('--model', 'openai:m', '--n', '0')[2]


def test_a_dry_run_as_json(generate):
    code, out, err = generate('--model', 'openai:gpt-4o-mini', '--dry-run', '--json')
    plan = json.loads(out)
    assert (code, err) == (0, '') and plan['requests'] == plan['examples'] > 0 and plan['cost'] > 0
    assert [m['role'] for m in plan['prompt']][-1] == 'user'
