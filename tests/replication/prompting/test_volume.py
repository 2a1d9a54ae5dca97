"""The curve over the number of texts"""

import numpy as np
import pytest

from autogets.replication.prompting.training import FAILS, HOLDS, INCONCLUSIVE, TrainingPlan
from autogets.replication.prompting.volume import flat_from, volume_cells, volume_claims, volume_table


@pytest.fixture(scope='module')
def volumes(case):
    return volume_cells([case], ['all'], [30, 60, 120, 240, 3000], TrainingPlan(seeds=(0, 1, 2)))


def at_volume(cells, curve, alone=0.5):
    score = [curve[n] if r else alone for n, r in zip(cells.number, cells.real)]
    rng = np.random.default_rng(3)
    score = np.array(score) + rng.normal(0, 0.0005, len(cells))
    return cells.assign(
        score=score, share=0.0, resampled=[s + np.random.default_rng(9).normal(0, 0.001, 200) for s in score]
    )


def test_volumes_that_are_not_there_are_left_out(volumes):
    assert sorted(set(volumes.number)) == [0, 30, 60, 120, 240]


def test_steps_and_gains_are_differences(volumes):
    t = volume_table(at_volume(volumes, {0: 0.6, 30: 0.7, 60: 0.75, 120: 0.76, 240: 0.761}))
    assert t.gain.round(2).tolist() == [0.1, 0.15, 0.16, 0.16]
    assert t.step.round(2).tolist() == [0.1, 0.05, 0.01, 0.0]
    assert t.synthetic.round(2).tolist() == [0.5] * 4


def test_where_the_curve_is_flat(volumes):
    flat = flat_from(at_volume(volumes, {0: 0.6, 30: 0.7, 60: 0.75, 120: 0.76, 240: 0.761}))
    assert flat.flat[0] == 120 and flat.largest[0] == 240 and flat.left_high[0] < 0.01
    assert flat_from(at_volume(volumes, {0: 0.6, 30: 0.7, 60: 0.75, 120: 0.8, 240: 0.85})).flat.isna().all()


@pytest.mark.parametrize(
    'last, alone, verdicts', [(0.76, 0.5, (HOLDS, HOLDS)), (0.9, 0.5, (FAILS, HOLDS)), (0.76, 0.8, (HOLDS, FAILS))]
)
def test_findings_about_volume(volumes, last, alone, verdicts):
    found = volume_claims(at_volume(volumes, {0: 0.6, 30: 0.7, 60: 0.7, 120: 0.76, 240: last}, alone), at=120)
    assert tuple(found[k].verdict for k in ('flattens-near-1000', 'hundred-real-improve-every-task')) == verdicts
    assert volume_claims(volumes, at=1000)['flattens-near-1000'].verdict == INCONCLUSIVE
