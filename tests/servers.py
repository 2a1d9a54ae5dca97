"""A chat-completions endpoint for the tests: real sockets, a chosen delay, chosen faults, and a count of all it did.

    with serving(delay=.05, faults={'429': .05, 'drop': .05}) as server:
        ... server.url, server.stats() ...

Each attempt draws its fault from `seed`. A reply that was sent whole is counted in `tokens`, whatever it says; the
header Idempotency-Key tells one request from another, so `repeats` counts requests that came again
after an answer of use.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import random
import re
import subprocess
import sys
import urllib.request
from collections import Counter

FAULTS = (
    '429',
    '500',
    '503',
    'drop',
    'slow',
    'truncated',
    'schema',
    'empty',
    'duplicate',
    'refusal',
    'html',
    'odd',
    'late',
)
WORDS = [
    a + b + c
    for a in ('ba', 'ko', 'lu', 'mi', 'ra', 'se', 'ti', 'vo', 'na', 'pe')
    for b in ('ran', 'lim', 'tos', 'ved', 'kul', 'mar', 'sin', 'dor')
    for c in ('', 'a', 'er', 'ing', 'ed')
]


def sentence(*parts):
    "Twelve words that depend on `parts` alone"
    rng = random.Random(repr(parts))
    return ' '.join(rng.choice(WORDS) for _ in range(12))


def tokens(text):
    return max(1, len(text) // 4)


class Endpoint:
    def __init__(self, delay=0.0, faults=None, seed=0, retry_after=1, limit=0, slow=5.0, structured=True):
        self.delay, self.faults, self.rng, self.retry_after, self.slow = (
            delay,
            faults or {},
            random.Random(seed),
            retry_after,
            slow,
        )
        self.limit, self.structured = (
            limit,
            structured,
        )  # most requests in flight before 429; whether response_format is understood
        self.count, self.done, self.last, self.flying, self.peak = Counter(), Counter(), None, 0, 0
        self.usage, self.files, self.jobs, self.dead, self.headers = [0, 0], {}, {}, False, []
        self.refused = {}  # words of a request -> the status by which it is always refused
        self.bodies = []  # what the fault 'odd' sends, one after the other: JSON text

    def stats(self):
        return {
            'requests': self.count['requests'],
            'outcomes': {k: v for k, v in sorted(self.count.items()) if k != 'requests'},
            'repeats': sum(v - 1 for v in self.done.values()),
            'served': len(self.done),
            'prompt_tokens': self.usage[0],
            'completion_tokens': self.usage[1],
            'peak': self.peak,
        }

    def draw(self):
        if self.limit and self.flying > self.limit:
            return '429'
        x = self.rng.random()
        for name in FAULTS:
            x -= self.faults.get(name, 0)
            if x < 0:
                return name
        return 'ok'

    def texts(self, body):
        form = body.get('response_format') or {}
        shape = form.get('json_schema', {}).get('schema', {}).get('properties', {})
        many = next((p['minItems'] for p in shape.values() if p.get('minItems')), None)
        said = re.search(r'\b(\d+)\b', body['messages'][-1]['content'])
        n, again = many or (int(said[1]) if said and int(said[1]) < 100 else 1), body.get('seed')
        if 'score' in shape:
            return {'score': 4, 'reason': 'fits'}
        name = next(iter(shape), 'texts')
        if shape.get(name, {}).get('type') == 'string':
            return {name: sentence(json.dumps(body['messages']))}
        return {
            name: [
                sentence(json.dumps(body['messages']), again, i, self.rng.random() if again is None else 0)
                for i in range(n)
            ]
        }

    def answer(self, body, fault='ok'):
        "The completion for `body`, and whether it is of use"
        content, finish = json.dumps(self.texts(body)), 'stop'
        if fault == 'duplicate' and self.last:
            content = self.last
        if fault == 'schema':
            content = '{"reply": 7}'
        if fault == 'refusal':
            content = "I'm sorry, but I can't help with that."
        if fault == 'ok':
            self.last = content
        prompt = sum(tokens(m['content']) for m in body['messages'])
        usage = {
            'prompt_tokens': prompt,
            'completion_tokens': tokens(content),
            'total_tokens': prompt + tokens(content),
        }
        choices = (
            []
            if fault == 'empty'
            else [{'index': 0, 'finish_reason': finish, 'message': {'role': 'assistant', 'content': content}}]
        )
        return {
            'id': f'chat-{self.count["requests"]}',
            'object': 'chat.completion',
            'created': 0,
            'model': body['model'],
            'choices': choices,
            'usage': usage,
        }, fault in ('ok', 'duplicate')

    def odd(self):
        "The next of `bodies`"
        self.bodies.append(self.bodies.pop(0))
        return self.bodies[-1]

    def bill(self, reply):
        self.usage[0] += reply['usage']['prompt_tokens']
        self.usage[1] += reply['usage']['completion_tokens']


def response(status, body, headers=(), cut=0):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f'HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n' + ''.join(
        f'{k}: {v}\r\n' for k, v in headers
    )
    return head.encode() + b'\r\n' + (data[:-cut] if cut else data)


async def chat(end, body, key, writer):
    "Answer one completion; true if the connection may go on"
    fault = end.draw()
    end.count['requests'] += 1
    end.count[fault] += 1
    if end.delay:
        await asyncio.sleep(end.delay)
    if not end.structured and body.get('response_format'):
        writer.write(
            response(
                400,
                {'error': {'message': 'response_format is not supported by this model', 'param': 'response_format'}},
            )
        )
        return True
    asked = json.dumps(body['messages'])
    for words, status in end.refused.items():
        if words in asked:
            writer.write(response(status, {'error': {'message': 'flagged by moderation'}}))
            return True
    if fault == '429':
        writer.write(
            response(
                429,
                {'error': {'message': 'slow down', 'type': 'rate_limit'}},
                [*([('retry-after', end.retry_after)] if end.retry_after else []), *end.headers],
            )
        )
        return True
    if fault in ('500', '503'):
        writer.write(response(int(fault), {'error': {'message': 'trouble'}}))
        return True
    if fault == 'html':
        writer.write(response(502, b'<html><body>Bad gateway</body></html>'))
        return True
    if fault == 'drop':
        writer.close()
        return False
    if fault == 'odd':
        writer.write(response(200, end.odd().encode()))
        return True
    reply, useful = end.answer(body, fault)
    if fault == 'truncated':  # a whole HTTP reply whose JSON breaks off
        writer.write(response(200, json.dumps(reply).encode()[:-30]))
        return True
    if fault == 'late':  # billed, and answered when nobody waits any more
        end.bill(reply)
        await asyncio.sleep(end.slow)
        writer.close()
        return False
    if fault == 'slow':  # a byte now and then, never ending
        data = response(200, reply)
        for i in range(0, 40):
            writer.write(data[i : i + 1])
            await writer.drain()
            await asyncio.sleep(end.slow / 40)
        writer.close()
        return False
    writer.write(response(200, reply))
    await writer.drain()
    end.bill(reply)
    if useful:
        end.done[key] += 1
    return True


def batches(end, method, path, raw):
    "The files and batches of the provider's batch endpoint; a job is done at the second look"
    if path == '/v1/files':
        boundary = raw.split(b'\r\n', 1)[0]
        part = next(p for p in raw.split(boundary) if b'filename=' in p)
        name = f'file-{len(end.files)}'
        end.files[name] = part.split(b'\r\n\r\n', 1)[1].rsplit(b'\r\n', 1)[0]
        return {
            'id': name,
            'object': 'file',
            'bytes': len(end.files[name]),
            'created_at': 0,
            'filename': 'requests.jsonl',
            'purpose': 'batch',
            'status': 'processed',
        }
    if path.startswith('/v1/files/') and path.endswith('/content'):
        return end.files[path.split('/')[3]]
    if path.split('?')[0] == '/v1/batches' and method == 'GET':
        jobs = [{k: v for k, v in job.items() if k != 'looks'} for job in reversed(end.jobs.values())]
        return {'object': 'list', 'data': jobs, 'has_more': False}
    if path == '/v1/batches' and method == 'POST':
        asked, job = json.loads(raw), f'batch-{len(end.jobs)}'
        end.jobs[job] = {
            'id': job,
            'object': 'batch',
            'endpoint': asked['endpoint'],
            'input_file_id': asked['input_file_id'],
            'completion_window': '24h',
            'status': 'in_progress',
            'created_at': 0,
            'output_file_id': None,
            'error_file_id': None,
            'metadata': asked.get('metadata'),
            'looks': 0,
        }
        end.count['jobs'] += 1
        return {k: v for k, v in end.jobs[job].items() if k != 'looks'}
    job = end.jobs[path.split('/')[3]]
    job['looks'] += 1
    if job['looks'] > 1 and job['status'] == 'in_progress':
        finish(end, job)
    return {k: v for k, v in job.items() if k != 'looks'}


def finish(end, job):
    good, bad = [], []
    for line in end.files[job['input_file_id']].splitlines():
        asked = json.loads(line)
        fault = end.draw()
        if fault in ('500', '503', '429', 'drop'):
            bad.append(
                {
                    'id': 'x',
                    'custom_id': asked['custom_id'],
                    'response': {'status_code': 500, 'body': {'error': {'message': 'trouble'}}},
                    'error': None,
                }
            )
            continue
        if fault == 'odd':
            reply = json.loads(end.odd())
        else:
            reply, useful = end.answer(asked['body'], fault)
            end.bill(reply)
            if useful:
                end.done[asked['custom_id']] += 1
        good.append(
            {'id': 'x', 'custom_id': asked['custom_id'], 'response': {'status_code': 200, 'body': reply}, 'error': None}
        )
    for kind, lines in (('output_file_id', good), ('error_file_id', bad)):
        if lines:
            job[kind] = f'file-{len(end.files)}'
            end.files[job[kind]] = ''.join(json.dumps(x) + '\n' for x in lines).encode()
    job['status'] = 'completed'


async def connection(end, reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b'\r\n\r\n')).decode('latin-1')
            method, path, _ = head.split(' ', 2)
            fields = {
                k.strip().lower(): v.strip() for k, _, v in (line.partition(':') for line in head.split('\r\n')[1:])
            }
            raw = await reader.readexactly(int(fields.get('content-length', 0)))
            if path == '/stats':
                writer.write(response(200, end.stats()))
            elif path == '/set':
                for k, v in json.loads(raw).items():
                    setattr(end, k, v)
                writer.write(response(200, {}))
            elif end.dead:
                writer.write(response(503, {'error': {'message': 'down'}}))
            elif path.startswith('/v1/chat/completions'):
                if fields.get('authorization') == 'Bearer wrong':
                    writer.write(response(401, {'error': {'message': 'Incorrect API key provided: wrong'}}))
                    continue
                end.flying += 1
                end.peak = max(end.peak, end.flying)
                try:
                    go_on = await chat(
                        end, json.loads(raw), fields.get('idempotency-key') or hashlib.sha256(raw).hexdigest(), writer
                    )
                finally:
                    end.flying -= 1
                if not go_on:
                    return
            elif path.startswith(('/v1/files', '/v1/batches')):
                said = batches(end, method, path, raw)
                writer.write(response(200, said))
            else:
                writer.write(response(404, {'error': {'message': f'no {path}'}}))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def serve(end):
    server = await asyncio.start_server(lambda r, w: connection(end, r, w), '127.0.0.1', 0, backlog=2048, limit=2**24)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


class Server:
    def __init__(self, port):
        self.root, self.url = f'http://127.0.0.1:{port}', f'http://127.0.0.1:{port}/v1'

    def stats(self):
        return json.load(urllib.request.urlopen(f'{self.root}/stats', timeout=10))

    def set(self, **values):
        urllib.request.urlopen(f'{self.root}/set', json.dumps(values).encode(), timeout=10).read()


@contextlib.contextmanager
def serving(**settings):
    "A running endpoint in a process of its own"
    process = subprocess.Popen([sys.executable, __file__, json.dumps(settings)], stdout=subprocess.PIPE, text=True)
    try:
        yield Server(int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('settings', nargs='?', default='{}')
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(Endpoint(**json.loads(parser.parse_args().settings))))
