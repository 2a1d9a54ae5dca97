"""Write the committed results into the marked tables, numbers and scoreboards of README.md and REPRODUCING.md
(see autogets.replication.scoreboard.fill_markdown)."""

from pathlib import Path

from autogets.replication.scoreboard import fill_markdown

for name in ('README.md', 'REVIEWS.md', 'REPRODUCING.md'):
    path = Path(__file__).resolve().parent.parent / name
    old = path.read_text()
    new = fill_markdown(old)
    if new != old:
        path.write_text(new)
    print(f'{name}: {"rewritten" if new != old else "already right"}')
