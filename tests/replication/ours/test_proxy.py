"""The proxy's candidates and cells, on a small world"""

import pytest
import worlds
from worlds import TRAINED

from autogets.replication.ours import proxy
from autogets.search.candidates import Candidate, as_candidate
from autogets.search.evaluator import Evaluator
from autogets.search.halving import text_weights, weighted_jaccard

pytestmark = pytest.mark.usefixtures('costly')


def test_the_spread_is_different_reproducible_and_complete():
    c = worlds.corpus(n=36, step=6)
    ev = Evaluator(c, worlds.texts(c, seed=0))
    a, b, c = proxy.spread(ev, 12, 3), proxy.spread(ev, 12, 3), proxy.spread(ev, 12, 4)
    assert a == b != c and len({x.ids for x in a}) == 12 and a[0].ids == as_candidate(ev.sources)
    v = [text_weights(ev, x.ids) for x in a]
    assert max(weighted_jaccard(v[i], v[j]) for i in range(12) for j in range(i)) <= 0.9
    assert {x.note.split()[0] for x in a} >= {'full', 'random', 'window'} and any('classes' in x.note for x in a)


def test_cached_cells_depend_on_the_classifier_and_its_seed(tmp_path):
    c = worlds.corpus(n=36, step=6)
    ev = Evaluator(c, worlds.texts(c, seed=0))
    w = proxy.ProxySetting('w', 0, c, ev.pool, [Candidate((), 'baseline'), *proxy.spread(ev, 4)])
    rows = proxy.measure_classifier(w, 'costly effort:2', 0, tmp_path)
    n = len(TRAINED)
    assert n == 5 and proxy.measure_classifier(w, 'costly effort:2', 0, tmp_path) == rows and len(TRAINED) == n
    proxy.measure_classifier(w, 'costly effort:2', 1, tmp_path)
    proxy.measure_classifier(w, 'costly effort:3', 0, tmp_path)
    assert len(TRAINED) == 3 * n and {e for e, _ in TRAINED} == {2, 3}
