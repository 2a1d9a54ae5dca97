"""Pack runs of a closed loop, so that they can be followed again without the model.

    python tools/replies.py data/replies/NAME.zip RUN [RUN ...]

Of each folder RUN the archive holds, below the folder's name, the replies and the plans (`RUN_FILES`).
"""

import io
import sys
import zipfile
from pathlib import Path

from autogets.core import write_atomic
from autogets.replication.ours.local_model import RUN_FILES

DATE = (2026, 1, 1, 0, 0, 0)  # So that the same runs give the same archive


def main(archive, *runs):
    held = io.BytesIO()
    with zipfile.ZipFile(held, 'w') as z:
        for run in sorted(map(Path, runs)):
            for path in sorted(p for pattern in RUN_FILES for p in run.glob(pattern)):
                entry = zipfile.ZipInfo(f'{run.name}/{path.relative_to(run).as_posix()}', DATE)
                z.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED, 9)
    write_atomic(archive, held.getvalue())


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
