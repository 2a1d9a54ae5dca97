"""The scoreboard, and committed numbers in markdown."""

import pytest
from typer.testing import CliRunner

from autogets import cli
from autogets.core import UserError, write_atomic, write_json
from autogets.replication import scoreboard
from autogets.replication.results import make_finding
from autogets.replication.scoreboard import board_part, board_rows, counts_table, fill_markdown, row_cells


def test_markdown_is_filled_from_committed_results(tmp_path):
    write_atomic(
        tmp_path / 't.csv', 'class,protocol,ours,gain\nA,paper,0.8896,0.01\nB,paper,0.5,-0.0204\nB,honest,0.4,0\n'
    )
    value = '<!-- value: t.csv where class=B, protocol=paper columns ours -->x<!-- end -->'
    table = '<!-- table: t.csv where protocol=paper columns class, gain -->\nold\n<!-- end -->'
    s = f'OBA {value} and\n{table}\nlast'
    filled = fill_markdown(s, tmp_path)
    assert '-->0.500<!-- end --> and' in filled
    assert '| B | −0.020 |' in filled
    assert 'old' not in filled
    assert filled.endswith('-->\nlast')
    assert fill_markdown(filled, tmp_path) == filled
    for bad, said in (
        ('value: t.csv columns ours', 'not one number'),
        ('table: u.csv', 'publish'),
        ('table: t.csv where x=1', 'no column x'),
        ('table: nonsense', 'cannot read'),
    ):
        with pytest.raises(UserError, match=said):
            fill_markdown(f'<!-- {bad} --><!-- end -->', tmp_path)


def finding(claim, estimate, **more):
    return {**vars(make_finding(claim, estimate, **more)), 'id': 'mixing/ratio'}


CLAIMS = {'mixing': dict(name='Mixing', rows=[dict(row='Gains', where='Table 1', claims=['a gains', 'b gains'])])}


def test_findings_share_a_row_but_not_over_protocols():
    ci = dict(low=0.05, high=0.2)
    rows = board_rows(
        CLAIMS,
        [
            finding('a gains', 0.1, protocol='paper', published=0.3, n=4, **ci),
            finding('b gains', 0.002, protocol='paper', n=6),
            finding('a gains', -0.1, low=-0.2, high=-0.05, protocol='honest', n=4),
            finding('c|d', 1),
        ],
    )
    assert [row_cells(r) for r in rows] == [
        ['Gains', 'Table 1', '0.3', '0.002 to 0.1', '4–6', '1 ✓ 1 ?', '[ratio]'],
        ['Gains, honest', 'Table 1', '', '−0.1 [−0.2, −0.05]', '4', 'does not hold', '[ratio]'],
        ['c|d', '', '', '1', '', 'inconclusive', '[ratio]'],
    ]
    table = counts_table(CLAIMS, rows)
    assert '| Mixing | 1 | 1 | 2 | 4 |' in table and '| all | 1 | 1 | 2 | 4 |' in table


def test_the_committed_findings_make_a_board_and_unknown_parts_are_refused():
    counts, board = board_part('counts'), board_part('autogets')
    assert counts.splitlines()[-1].startswith('| all |') and '|[search]|' in board
    assert '[search]: nbs/experiments/autogets/02_search.ipynb' in board_part('notebooks')
    with pytest.raises(UserError, match='choose counts, notebooks'):
        board_part('autogetz')


def record(folder, id, *claims, holds=True):
    "A record of `id` in `folder`, its findings with an estimate of .3 that holds or not"
    low, high = (0.1, 0.5) if holds else (-0.5, -0.1)
    found = [vars(make_finding(c, 0.3, low=low, high=high)) for c in claims]
    write_json(folder / f'{id}.json', dict(id=id, findings=found))


def test_what_is_rerun_by_hand_is_on_the_scoreboard(tmp_path, monkeypatch):
    monkeypatch.setattr(scoreboard, 'project_root', lambda: tmp_path)
    monkeypatch.setattr(scoreboard, 'load_claims', dict)
    record(tmp_path / 'data/results', 'mixing/ratio', 'a gains')
    record(tmp_path / 'data/results', 'ours/joint', 'b gains')
    said = CliRunner().invoke(cli.app, ['scoreboard']).output
    assert '| all | 2 | 0 | 0 | 2 |' in said and 'nothing was rerun by hand' in said
    record(tmp_path / 'runs/jupyter/results', 'mixing/ratio', 'a gains', holds=False)
    said = CliRunner().invoke(cli.app, ['scoreboard']).output
    assert '| all | 1 | 1 | 0 | 2 |' in said
    (row,) = [line for line in said.splitlines() if 'a gains' in line]
    assert '0.3 [0.1, 0.5] holds' in row and row.endswith('does not hold') and 'ours/joint' not in said
