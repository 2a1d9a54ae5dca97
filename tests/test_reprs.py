"What notebooks show of objects: short, escaped, without colors of their own"

import re

import pandas as pd
import pytest
import worlds

from autogets.closed_loop.spending import LoopRun
from autogets.generators.pool import Pool
from autogets.generators.run import GenerationRun
from autogets.llm.cache import Usage
from autogets.search.knowledge import load_knowledge
from autogets.search.trace import Trace


def pool():
    corpus = worlds.corpus(names=('<b>ant', 'bee'))
    return Pool(worlds.texts(corpus), {'generator': '<i>'})


def trace():
    return Trace(list(worlds.corpus().train.id)[:3])


def run():
    counts = {'kept': 3, 'requested': 4, 'dropped': {'<too> short': 1}, 'missing': {}}
    return GenerationRun({'counts': counts}, 4, {}, Usage(), Usage(), 0.0, 1.0)


def loop():
    written = pd.DataFrame({'kind': ['<k>'], 'label': ['a'], 'price': [0.1]})
    rounds = pd.DataFrame({'spent': [0.1], 'gain': [0.02], 'error': [0.01]})
    arms = [type('Arm', (), dict(kind='<k>', label='a'))()]
    believed = type('Posterior', (), dict(mean=pd.Series([0.1]), error=pd.Series([0.05])))()
    return LoopRun(written, rounds, arms, believed, 'the money was spent')


CASES = {
    'pool': (pool, '&lt;b&gt;ant'),
    'trace': (trace, '0 evaluations'),
    'run': (run, '&lt;too&gt; short'),
    'loop': (loop, '&lt;k&gt;'),
    'knowledge': (load_knowledge, 'strategies'),
}


@pytest.mark.parametrize('name', CASES)
def test_it_shows_itself(name):
    make, says = CASES[name]
    html = make()._repr_html_()
    assert says in html and html.startswith('<p>') and len(html) < 20_000
    assert not re.search(r'<b>ant|<too>|<k>|<i>|#[0-9a-f]{6}|background|<style', html)
    assert len(re.findall('<tr>', html)) <= 9
