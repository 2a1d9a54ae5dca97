"""One rule for claims and one for differences."""

import numpy as np
import pytest

from autogets.core import UserError
from autogets.replication.verdicts import EXPECTS, VERDICTS, claim_verdict
from autogets.stats import significance


@pytest.mark.parametrize(
    'low, high, margin, said',
    [
        (0.01, 0.05, None, 'significant'),
        (-0.05, -0.01, 0.1, 'significant'),
        (-0.01, 0.01, 0.02, 'not significant'),
        (-0.01, 0.01, None, 'inconclusive'),
        (-0.01, 0.03, 0.02, 'inconclusive'),
        (0, 0.1, None, 'inconclusive'),
    ],
)
def test_a_difference(low, high, margin, said):
    assert significance(low, high, margin) == said


HOLDS, NOT, OPEN = VERDICTS


@pytest.mark.parametrize(
    'expects, low, high, margin, published, said',
    [
        ('more', 0.01, 0.05, None, None, HOLDS),
        ('more', -0.05, -0.01, None, None, NOT),
        ('more', -0.01, 0.05, None, None, OPEN),
        ('more', -0.01, 0.01, 0.02, None, NOT),
        ('more', 0.001, 0.01, 0.02, None, HOLDS),
        ('more', 0, 0.01, None, None, OPEN),
        ('less', -0.05, -0.01, None, None, HOLDS),
        ('less', 0.01, 0.05, None, None, NOT),
        ('less', -0.01, 0.01, 0.02, None, NOT),
        ('no more', -0.01, 0.01, 0.02, None, HOLDS),
        ('no more', 0.01, 0.05, 0.02, None, NOT),
        ('no more', -0.01, 0.05, 0.02, None, OPEN),
        ('no more', -0.05, -0.01, None, None, HOLDS),
        ('equal', -0.01, 0.01, 0.02, None, HOLDS),
        ('equal', -0.05, -0.01, 0.02, None, NOT),
        ('equal', -0.05, 0.01, 0.02, None, OPEN),
        ('at least', 0.5, 0.6, None, 0.4, HOLDS),
        ('at least', 0.2, 0.3, None, 0.4, NOT),
        ('at least', 0.35, 0.45, None, 0.4, OPEN),
        ('at least', 0.38, 0.45, 0.05, 0.4, HOLDS),
        ('published', 0.39, 0.41, 0.05, 0.4, HOLDS),
        ('published', 0.3, 0.39, 0.05, 0.4, NOT),
        ('published', 0.3, 0.5, 0.05, 0.4, OPEN),
        ('published', 0.3, 0.5, None, 0.4, OPEN),
    ],
)
def test_a_claim(expects, low, high, margin, published, said):
    assert claim_verdict(low, high, expects, margin, published) == said


@pytest.mark.parametrize('expects', EXPECTS)
def test_without_an_interval_nothing_is_said(expects):
    for low, high in ((None, None), (np.nan, 0.1)):
        assert claim_verdict(low, high, expects, 0.1, 0.5) == OPEN


def test_wrong_claims_are_refused():
    for args, said in (
        ((0, 1, 'bigger'), 'more, less'),
        ((0, 1, 'at least'), 'published number'),
        ((0, 1, 'published', 0.1, '0.3 to 0.5'), 'published number'),
        ((1, 0), 'upper end'),
    ):
        with pytest.raises(UserError, match=said):
            claim_verdict(*args)
