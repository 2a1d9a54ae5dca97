"""Write the committed results into the marked tables and numbers of README.md and REPRODUCING.md (see autogets.replication.results.fill_markdown)."""
from pathlib import Path

from autogets.replication.results import fill_markdown

for name in ('README.md', 'REPRODUCING.md'):
    path = Path(__file__).resolve().parent.parent/name
    old = path.read_text()
    new = fill_markdown(old)
    if new != old: path.write_text(new)
    print(f'{name}: {"rewritten" if new != old else "already right"}')
