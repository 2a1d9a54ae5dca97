"""Make a bank of recorded texts from pools that `autogets generate` wrote.

    python tools/bank.py data/banks/NAME POOL [POOL ...]

writes data/banks/NAME/bank.jsonl.gz, one line for each reply: the prompt method, the class, the examples that were
shown (the one whose turn it was first; none where the method shows none), what was drawn for the request, the model
and the texts, in the order of model, method, class and request. It prints how many texts of each there are.

A run that was stopped has its replies in POOL/replies.jsonl and perhaps no pool yet. The same command of `autogets
generate` with `--model recorded:POOL/replies.jsonl` makes the pool of what came.
"""

import gzip
import json
import sys
from collections import Counter
from pathlib import Path

from autogets.core import write_atomic
from autogets.generators.pool import load_pool

DRAWN = ('topic', 'attributes')  # What a method may draw for a request


def lines(folder):
    "The lines of the pool in `folder`"
    found = {}
    for row in load_pool(folder).texts.to_dict('records'):
        about = row['parameters']
        shown = about.get('demonstrations') or []
        line = {'method': row['prompt'], 'label': row['label'], 'source_ids': list(shown)}
        line |= {k: about[k] for k in DRAWN if k in about}
        line |= {'model': row['model'].partition(':')[2], 'texts': []}
        found.setdefault(about['reply'], line)['texts'].append(row['text'])
    return list(found.values())


def main(bank, *pools):
    rows = sorted((line for p in pools for line in lines(p)), key=lambda x: (x['model'], x['method'], x['label']))
    data = ''.join(json.dumps(r, ensure_ascii=False) + '\n' for r in rows).encode()
    Path(bank).mkdir(parents=True, exist_ok=True)
    write_atomic(Path(bank) / 'bank.jsonl.gz', gzip.compress(data, 9, mtime=0))
    texts = Counter()
    for r in rows:
        texts[r['model'], r['method']] += len(r['texts'])
    for (model, method), n in texts.items():
        print(f'{model}, {method}: {n} texts')


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
