"Models in GGUF files: what their headers say, who runs them, what decides a reply, and that nothing is left running"

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from autogets.core import UserError
from autogets.llm import gguf, llama
from autogets.llm.cache import Meter, Replies, find_price
from autogets.llm.chat import Failure, Request, make_chat
from autogets.llm.client import ask
from autogets.llm.gguf import gguf_path, memory_free, new_gguf, read_gguf, write_gguf
from autogets.llm.llama import GGUFChat, LlamaPlan, LlamaServer, idle_cores, llama_plan
from autogets.llm.pace import Limits

SURE = {'type': 'object', 'properties': {'sure': {'type': 'boolean'}}, 'required': ['sure']}


@pytest.fixture(scope='session')
def new(tmp_path_factory):
    "A model that has learned nothing"
    return new_gguf(tmp_path_factory.mktemp('gguf') / 'new.gguf')


@pytest.fixture(scope='module', autouse=True)
def cache(tmp_path_factory):
    "A cache folder of these tests"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('AUTOGETS_CACHE', str(tmp_path_factory.mktemp('cache')))
        yield


@pytest.fixture(scope='module')
def served(new):
    "That model, run by llama.cpp"
    pytest.importorskip('xllamacpp', reason='xllamacpp is not installed: pip install "autogets[local]"')
    chat = make_chat(f'gguf:{new}', threads=1, slots=2, context=256)
    yield chat
    chat.stop()


def questions(*words, sample=0, **parameters):
    given = {'temperature': 1.0, 'max_tokens': 40, 'schema': SURE} | parameters
    return [Request(({'role': 'user', 'content': w},), given, sample) for w in words]


def texts(chat, asked, **how):
    found = {i: g for i, _, g in ask(chat, asked, **how)}
    return [getattr(found[i], 'text', found[i]) for i in range(len(asked))]


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(0.05)
    return found


def runs(pid):
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != 'Z'


def listens(address):
    try:
        socket.create_connection(('127.0.0.1', int(address.rsplit(':', 1)[1])), timeout=2).close()
    except OSError:
        return False
    return True


# --- headers ---


def test_what_was_written_is_read(tmp_path):
    said = {'general.architecture': 'x', 'a': 3, 'b': 0.5, 'c': True, 'd': [1, 2], 'e': ['p', 'qq'], 'x.size': 7}
    found = read_gguf(write_gguf(tmp_path / 'a.gguf', said, {}))
    assert found.metadata == said | {'e': 2}
    assert (found.setting('size'), found.setting('none', 5), found.name) == (7, 5, 'x')


@pytest.mark.parametrize('content', [b'', b'GG', b'GGUF', b'GGUF\x03\0\0\0', b'PK\x03\x04' + bytes(99), bytes(4096)])
def test_what_is_no_gguf_file_is_said_in_a_line(tmp_path, content):
    (tmp_path / 'a.gguf').write_bytes(content)
    with pytest.raises(UserError, match='a.gguf') as e:
        read_gguf(tmp_path / 'a.gguf')
    assert '\n' not in str(e.value)


def test_a_folder_and_a_missing_file_are_said_in_a_line(tmp_path):
    with pytest.raises(UserError, match='cannot read .*directory'):
        read_gguf(tmp_path)
    with pytest.raises(UserError, match='no file .*none.gguf'):
        make_chat(f'gguf:{tmp_path}/none.gguf')


def test_a_file_that_was_cut_anywhere_is_refused(new, tmp_path):
    data = new.read_bytes()
    for size in [*range(4, 6000, 97), 20_000, len(data) - 200]:
        (tmp_path / 'cut.gguf').write_bytes(data[:size])
        with pytest.raises(UserError, match='cut off'):
            read_gguf(tmp_path / 'cut.gguf')


def test_a_damaged_header_is_read_or_refused_and_nothing_else(new, tmp_path):
    whole, rng, refused = new.read_bytes(), np.random.default_rng(0), 0
    for at in rng.integers(4, 7000, 150):
        data = bytearray(whole)
        data[at : at + 8] = rng.integers(0, 256, 8, dtype=np.uint8).tobytes()
        (tmp_path / 'a.gguf').write_bytes(data)
        try:
            read_gguf(tmp_path / 'a.gguf')
        except UserError as e:
            assert 'a.gguf' in str(e) and '\n' not in str(e)
            refused += 1
    assert 20 < refused < 150


def test_a_model_without_a_chat_template_is_refused(tmp_path):
    with pytest.raises(UserError, match='no chat template'):
        make_chat(f'gguf:{new_gguf(tmp_path / "base.gguf", template="")}')


# --- where files come from ---


def test_a_name_on_the_hub_is_fetched_and_trouble_said_in_a_line(monkeypatch, new):
    hub = type(sys)('huggingface_hub')
    hub.hf_hub_download = lambda repo, file: str(new) if (repo, file) == ('me/models', 'sub/new.gguf') else 1 / 0
    monkeypatch.setitem(sys.modules, 'huggingface_hub', hub)
    assert gguf_path('me/models/sub/new.gguf') == new
    with pytest.raises(UserError, match='me/models/other.gguf is no file here, .* \\(division by zero\\)'):
        make_chat('gguf:me/models/other.gguf')
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(UserError, match='pip install huggingface_hub'):
        make_chat('gguf:me/models/other.gguf')


# --- memory, threads, slots ---


def test_slots_are_fewer_where_memory_is_short_and_none_where_it_is_too_small(new, monkeypatch):
    model = read_gguf(new)
    base, slot = gguf.memory_needed(model, 0), 2048 * gguf.token_bytes(model)
    assert [llama_plan(model, free=base + k * slot).slots for k in (1, 2, 3, 4, 99)] == [1, 2, 2, 4, 4]
    monkeypatch.setattr(llama, 'memory_free', lambda: base)
    with pytest.raises(UserError, match=r'new.gguf needs about 0.2 GB of memory, and 0.2 GB are free'):
        llama_plan(model)
    with pytest.raises(UserError, match='needs about'):
        list(ask(make_chat(f'gguf:{new}'), questions('a')))


def test_a_context_is_never_larger_than_what_the_model_reads(new):
    assert llama_plan(read_gguf(new), context=9999).context == 2048
    assert llama_plan(read_gguf(new), context=100).context == 100


def test_threads_are_idle_cores_and_at_least_one():
    assert [idle_cores(4, load) for load in (0, 0.4, 1.6, 9)] == [4, 4, 2, 1]
    assert 1 <= idle_cores() <= os.cpu_count()


def test_a_container_has_no_more_memory_than_its_limit(tmp_path):
    assert memory_free(tmp_path) is None
    (tmp_path / 'proc').mkdir()
    (tmp_path / 'proc/meminfo').write_text('MemFree: 1 kB\nMemAvailable:  2000 kB\n')
    assert memory_free(tmp_path) == 2_048_000
    (tmp_path / 'sys/fs/cgroup').mkdir(parents=True)
    (tmp_path / 'sys/fs/cgroup/memory.max').write_text('max\n')
    (tmp_path / 'sys/fs/cgroup/memory.current').write_text('900\n')
    assert memory_free(tmp_path) == 2_048_000
    (tmp_path / 'sys/fs/cgroup/memory.max').write_text('1000\n')
    assert memory_free(tmp_path) == 100


# --- what decides a reply ---


def test_the_key_is_that_of_the_weights_wherever_they_are_and_however_they_run(new, tmp_path):
    chat, (asked,) = make_chat(f'gguf:{new}'), questions('a')
    (tmp_path / 'moved.gguf').write_bytes(new.read_bytes())
    moved = GGUFChat(tmp_path / 'moved.gguf', threads=3, slots=1, context=64, port=4711)
    assert (moved.key(asked), moved.spec, moved.endpoint) == (chat.key(asked), chat.spec, chat.endpoint)
    other = make_chat(f'gguf:{new_gguf(tmp_path / "moved.gguf", seed=1)}')
    assert other.key(asked) != chat.key(asked)


def test_each_request_has_a_seed_of_its_own_and_the_same_again(new):
    chat = make_chat(f'gguf:{new}')
    asked = [*questions('a', 'b'), *questions('a', sample=1), *questions('a', seed=5)]
    seeds = [chat.body(r)['seed'] for r in asked]
    assert len(set(seeds)) == 4 and seeds == [make_chat(f'gguf:{new}').body(r)['seed'] for r in asked]
    assert all(0 <= s < 2**32 - 1 for s in seeds)  # the last is the one that stands for a random one


def test_nothing_is_paid_and_limits_fit_the_slots(served):
    assert find_price(served).of(10**9, 10**9) == 0
    suited = served.suited(Limits(in_flight=64, timeout=60, tries=3))
    assert (suited.in_flight, suited.timeout, suited.tries) == (2, llama.SLOWEST, 3)
    assert served.body(questions('a')[0])['cache_prompt']
    assert served.suited(Limits(in_flight=1)).in_flight == 1
    assert not served.body(questions('a')[0])['cache_prompt']  # what is left in the slot would change the rounding


# --- the server ---


def test_replies_keep_to_the_schema_and_alone_the_same_request_gives_the_same_text(served):
    asked = [*questions('a', 'b', 'c'), *questions('a', sample=1)]
    alone = {'limits': Limits(in_flight=1)}
    first, again = texts(served, asked, **alone), texts(served, asked[::-1], **alone)[::-1]
    assert [type(json.loads(t)['sure']) for t in first] == [bool] * 4
    assert first == again and len(set(first)) > 1


def test_replies_are_cached_counted_and_replayed_without_a_server(served, tmp_path, new):
    asked, meter = questions('d', 'e'), Meter(find_price(served))
    with Replies(tmp_path / 'r.jsonl') as store:
        first = texts(served, asked, replies=store, meter=meter)
    assert meter.sent == 2 and meter.prompt > 20 and meter.completion > 4 and meter.spent == 0
    other = make_chat(f'gguf:{new}')
    other.open = None  # a server would be started here
    with Replies(tmp_path / 'r.jsonl') as store:
        assert [store.get(other, r).text for r in asked] == first
    assert texts(make_chat(f'recorded:{tmp_path}/r.jsonl'), asked) == first


def test_a_prompt_that_is_too_long_fails_alone(served):
    long, short = texts(served, questions('x' * 400, 'a'))
    assert isinstance(long, Failure) and long.reason == 'prompt too long' and json.loads(short)


def test_nobody_else_is_answered(served):
    texts(served, questions('a'))
    asked = urllib.request.Request(
        served.address + '/chat/completions',
        b'{"messages": [{"role": "user", "content": "a"}], "max_tokens": 1}',
        {'Content-Type': 'application/json'},
    )
    with pytest.raises(urllib.error.HTTPError, match='401'):
        urllib.request.urlopen(asked, timeout=10)


def test_a_port_that_is_taken_is_said_in_a_line(new):
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        s.listen()
        with pytest.raises(UserError, match=f'port {s.getsockname()[1]} cannot be used .*in use'):
            LlamaServer(new, LlamaPlan(1, 1, 64), s.getsockname()[1]).start()
    with pytest.raises(UserError, match='port 70000 cannot be used'):
        LlamaServer(new, LlamaPlan(1, 1, 64), 70_000).start()


def test_without_the_wheel_a_line_says_what_to_install(new, monkeypatch):
    monkeypatch.setattr(llama, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match=r'pip install "autogets\[local\]"'):
        list(ask(make_chat(f'gguf:{new}'), questions('a')))


def test_what_llama_cpp_cannot_run_is_said_with_its_reason(served, tmp_path):
    said = {'general.architecture': 'abacus', 'tokenizer.chat_template': 'x'}
    path = write_gguf(tmp_path / 'odd.gguf', said, {})
    with pytest.raises(UserError, match='cannot run .*odd.gguf: .*abacus') as e:
        list(ask(make_chat(f'gguf:{path}', threads=1), questions('a')))
    assert '\n' not in str(e.value)


# --- ends ---

RUN = """
import os, sys
from autogets.llm.llama import LlamaPlan, LlamaServer
server = LlamaServer(sys.argv[1], LlamaPlan(1, 1, 64))
print(server.start(), server.process.pid, server.log, flush=True)
if sys.argv[2] == 'fork' and os.fork(): os.kill(os.getpid(), 9)
if sys.argv[2] != 'exit': sys.stdin.read()
"""


@pytest.mark.parametrize('how', ['exit', 'kill', 'fork'])
def test_a_server_ends_with_its_parent_however_that_ends(served, new, how):
    started = subprocess.Popen(
        [sys.executable, '-c', RUN, str(new), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    address, pid, log = started.stdout.readline().split()
    if how == 'kill':
        assert listens(address) and runs(pid)
        started.send_signal(signal.SIGKILL)
    started.wait(60)
    until(lambda: not runs(pid) and not listens(address))
    assert how != 'exit' or not Path(log).exists()
    started.stdin.close()
    Path(log).unlink(missing_ok=True)


def test_stop_ends_the_server_and_a_killed_one_ends_the_run_with_a_line(served, new):
    chat = make_chat(f'gguf:{new}', threads=1, slots=1, context=256)
    texts(chat, questions('a'))
    os.kill(chat.server.process.pid, signal.SIGKILL)
    with pytest.raises(UserError, match=r'llama.cpp has ended: .*exit code -9.*goes on from there'):
        chat.server.process.wait()
        chat.server.start, chat.server.address = lambda: chat.server.address, chat.server.address
        list(ask(chat, questions('b'), limits=Limits(in_flight=1, tries=2)))
    chat.stop()
    assert not listens(chat.server.address) and not Path(chat.server.log).exists()


# --- the command ---

ROWS = 'text,label\n' + ''.join(
    f'"{w} number {k} is broken again",{w}\n' for w in ('printer', 'screen') for k in range(8)
)
GENERATE = ('generate', 'train.csv', '--out', 'pool', '--prompt', 'one-shot', '--exactly', '1', '--n', '1')


@pytest.fixture
def command(in_process):
    "Runs `autogets` beside a file train.csv"
    Path('train.csv').write_text(ROWS)
    return in_process


def test_a_forecast_starts_no_server_and_tells_minutes_where_the_speed_is_known(command, new, monkeypatch):
    monkeypatch.setattr(LlamaServer, 'start', None)
    code, said, _ = command(*GENERATE, '--model', f'gguf:{new}', '--dry-run')
    assert code == 0 and '2 requests' in said and '$0.00' in said and 'minutes' not in said
    gguf.note(f'speed {make_chat(f"gguf:{new}").endpoint}', 0.1)
    code, said, _ = command(*GENERATE, '--model', f'gguf:{new}', '--dry-run')
    minutes = int(said.split(' minutes')[0].split()[-1])
    assert code == 0 and 5 <= minutes <= 15  # about 50 tokens, six seconds each


def test_the_speed_is_measured_while_it_writes(served, monkeypatch):
    monkeypatch.setattr(llama, 'TIMED', 5)
    chat = make_chat(f'gguf:{served.file.path}', threads=1, slots=1, context=256)
    texts(chat, questions('p', 'q'))
    chat.stop()
    assert 1 < chat.speed < 1e5
    monkeypatch.setattr(llama, 'TIMED', 10**9)
    gguf.note(f'speed {chat.endpoint}', 7.0)
    texts(chat, questions('p'))
    chat.stop()
    assert chat.speed == 7.0


@pytest.mark.parametrize(
    'words, said',
    [
        (['--model', 'gguf:none.gguf'], 'there is no file none.gguf'),
        (['--model', 'gguf:train.csv'], 'train.csv is no GGUF file'),
        (['--model', 'gguf:'], "'gguf:' needs a name after a colon"),
        (['--model', 'gguf:new.gguf', '--batch'], 'leave out --batch'),
    ],
)
def test_what_is_wrong_is_said_in_a_line(command, new, words, said):
    Path('new.gguf').write_bytes(new.read_bytes())
    code, _, err = command(*GENERATE, *words)
    assert code and said in err and 'Traceback' not in err and err.strip().count('\n') == 0


def test_improve_asks_for_texts_that_are_written_first(command):
    code, _, err = command('improve', 'train.csv', '--generator', 'gguf:a.gguf')
    assert code and 'write its texts with autogets generate' in err


@pytest.mark.weights
def test_a_real_model_writes_texts_once_and_nothing_is_left(served, smollm2, command):
    words = (*GENERATE, '--model', f'gguf:{smollm2}', '--temperature', '1', '--max-tokens', '64', '--task', 'tickets')
    code, said, err = command(*words)
    assert code == 0 and '2 of ' in said and '$0.00' in said, err
    lines = [json.loads(line) for line in Path('pool/replies.jsonl').read_text().splitlines()]
    assert all(d['prompt_tokens'] > 100 and d['completion_tokens'] > 5 for d in lines)
    assert any(json.loads(d['reply'])['texts'][0].strip() for d in lines if d['finish'] == 'stop')
    assert not list(Path('pool').glob('*.sent.jsonl'))
    code, said, _ = command(*words)
    assert code == 0 and f'0 requests sent in this run; in all {len(lines)} replies' in said
