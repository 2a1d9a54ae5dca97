"""Make the knowledge map that ships in data/knowledge from the corpora that are here (AUTOGETS_DATA):
searches of every class, half an hour on two cores.

AUTOGETS_DATA=... .venv/bin/python tools/knowledge.py [FOLDER for finished classes, runs/knowledge unless given]
"""

import sys
import warnings
from pathlib import Path

import pandas as pd
from joblib import Parallel, delayed

ROOT = Path(__file__).resolve().parent.parent
LARGE = ('tickets', 'trec6')
SMALL = (
    'news_category',
    'parrot_crowdflower_emotion',
    'sst5',
    'yelp5',
    'parrot_social_dimensions',
    'parrot_tweet_sentiment',
    'top_navigation',
    'parrot_hyperbole',
    'parrot_question_intimacy',
)


def rows(bank, seed, folder):
    "Searches of 50 candidates for every class, strategy and objective of a split"
    from autogets.generators.recordings import recording_pool
    from autogets.search.candidates import Budget
    from autogets.replication.autogets.knowledge_runs import search_every_class

    warnings.simplefilter('ignore')
    corpus, pool = recording_pool(bank, seed)
    return search_every_class(
        corpus, pool, Budget(50), generator=corpus.info['model'] or bank, seed=seed, folder=folder
    )


if __name__ == '__main__':
    from autogets.search.knowledge import KnowledgeMap

    folder = Path(sys.argv[1]) if sys.argv[1:] else ROOT / 'runs' / 'knowledge'
    todo = [(b, 0) for b in LARGE] + [(b, s) for b in SMALL for s in (0, 1)]
    found = KnowledgeMap(pd.concat(Parallel(2)(delayed(rows)(*t, folder) for t in todo)))
    found.save(ROOT / 'data' / 'knowledge')
    print(found, found.version)
