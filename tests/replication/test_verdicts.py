"""One rule for claims and one for differences."""
import numpy as np
import pytest

from autogets.core import UserError
from autogets.replication.verdicts import EXPECTS, VERDICTS, claim_verdict
from autogets.stats import significance


@pytest.mark.parametrize('low, high, margin, said', [
    (.01, .05, None, 'significant'), (-.05, -.01, .1, 'significant'), (-.01, .01, .02, 'not significant'),
    (-.01, .01, None, 'inconclusive'), (-.01, .03, .02, 'inconclusive'), (0, .1, None, 'inconclusive')])
def test_a_difference(low, high, margin, said): assert significance(low, high, margin) == said


HOLDS, NOT, OPEN = VERDICTS

@pytest.mark.parametrize('expects, low, high, margin, published, said', [
    ('more', .01, .05, None, None, HOLDS), ('more', -.05, -.01, None, None, NOT), ('more', -.01, .05, None, None, OPEN),
    ('more', -.01, .01, .02, None, NOT), ('more', .001, .01, .02, None, HOLDS), ('more', 0, .01, None, None, OPEN),
    ('less', -.05, -.01, None, None, HOLDS), ('less', .01, .05, None, None, NOT), ('less', -.01, .01, .02, None, NOT),
    ('no more', -.01, .01, .02, None, HOLDS), ('no more', .01, .05, .02, None, NOT), ('no more', -.01, .05, .02, None, OPEN),
    ('no more', -.05, -.01, None, None, HOLDS), ('equal', -.01, .01, .02, None, HOLDS), ('equal', -.05, -.01, .02, None, NOT),
    ('equal', -.05, .01, .02, None, OPEN), ('at least', .5, .6, None, .4, HOLDS), ('at least', .2, .3, None, .4, NOT),
    ('at least', .35, .45, None, .4, OPEN), ('at least', .38, .45, .05, .4, HOLDS), ('published', .39, .41, .05, .4, HOLDS),
    ('published', .3, .39, .05, .4, NOT), ('published', .3, .5, .05, .4, OPEN), ('published', .3, .5, None, .4, OPEN)])
def test_a_claim(expects, low, high, margin, published, said): assert claim_verdict(low, high, expects, margin, published) == said


@pytest.mark.parametrize('expects', EXPECTS)
def test_without_an_interval_nothing_is_said(expects):
    for low, high in ((None, None), (np.nan, .1)): assert claim_verdict(low, high, expects, .1, .5) == OPEN


def test_wrong_claims_are_refused():
    for args, said in (((0, 1, 'bigger'), 'more, less'), ((0, 1, 'at least'), 'published number'),
                       ((0, 1, 'published', .1, '0.3 to 0.5'), 'published number'), ((1, 0), 'upper end')):
        with pytest.raises(UserError, match=said): claim_verdict(*args)
