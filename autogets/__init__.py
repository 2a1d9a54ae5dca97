"""Search for the examples whose LLM-written texts make a text classifier better, and prove the gain on data the
search never saw

    import autogets as ag
    corpus = ag.read_corpus('tickets.csv', text='message', label='queue')
    ag.weak_classes(corpus)
    texts = ag.generate(corpus, 'openai:gpt-4o-mini', target='billing', max_cost=2)
    result = ag.improve(corpus, texts, objective='macro-f1', budget=100)
    result                       # the gain on test with its 95 % confidence interval, beside the full pool
    result.texts.head()
    result.report('report.html')
    result.model.save('model')

The names below are imported when they are first used; `help(ag.improve)` explains one.
"""
__version__ = "0.5.0"

from typing import TYPE_CHECKING

from .core import lazy as _lazy

_NAMES = {
    'read_corpus': 'data.corpus', 'Corpus': 'data.corpus',
    'load_corpus': 'data.datasets', 'list_datasets': 'data.datasets',
    'generate': 'generators.run', 'load_pool': 'generators.pool', 'list_generators': 'generators.registry',
    'quality': 'curation.quality', 'forecast_texts': 'search.text_forecast', 'weak_classes': 'weakness',
    'improve': 'job', 'Outcome': 'job', 'explore': 'explorer',
    'SyntheticAugmenter': 'augmenter', 'review': 'curation.review',
    'list_strategies': 'search.registry', 'list_objectives': 'metrics', 'list_classifiers': 'classifiers.linear',
    'load_classifier': 'classifiers.linear', 'load_model': 'classifiers.linear:load_classifier', 'UserError': 'core',
    'push': 'hub',
}
__all__ = [name for name in _NAMES if name != 'load_classifier'] # which is `load_model`, by its older name
__getattr__, _listed = _lazy(__name__, _NAMES)


def __dir__(): return sorted({*__all__, '__version__', '__doc__', '__all__'})


if TYPE_CHECKING: # what editors and type checkers read
    from .augmenter import SyntheticAugmenter
    from .classifiers.linear import list_classifiers, load_classifier, load_classifier as load_model
    from .core import UserError
    from .curation.quality import quality
    from .curation.review import review
    from .data.corpus import Corpus, read_corpus
    from .data.datasets import list_datasets, load_corpus
    from .explorer import explore
    from .generators.pool import load_pool
    from .generators.registry import list_generators
    from .generators.run import generate
    from .hub import push
    from .job import Outcome, improve
    from .metrics import list_objectives
    from .search.registry import list_strategies
    from .search.text_forecast import forecast_texts
    from .weakness import weak_classes
