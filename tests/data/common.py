"Small frames and files, and the one-line refusal, for the tests of this folder"

from pathlib import Path

import pandas as pd
import pytest

from autogets.core import UserError, text_id


def put(folder, name, content):
    p = Path(folder) / name
    p.parent.mkdir(parents=True, exist_ok=True)
    p.write_bytes(content if isinstance(content, bytes) else content.encode())
    return p


def refusal(f, *args, kind=UserError, **kwargs):
    "The message of the `UserError` that `f` must raise; one line"
    with pytest.raises(kind) as e:
        f(*args, **kwargs)
    assert '\n' not in str(e.value)
    return str(e.value)


def rows(n=30, labels='abc', word='text'):
    texts = [f'{word} number {i}' for i in range(n)]
    return pd.DataFrame(
        {'id': [text_id(t) for t in texts], 'text': texts, 'label': [labels[i % len(labels)] for i in range(n)]}
    )
