"""Settings, curves and classifiers that several tests of the mixing studies use"""

import pytest

from autogets.classifiers.stages import Stage
from autogets.replication.mixing import curves
from autogets.replication.mixing.settings import draw_setting


@pytest.fixture(scope='session')
def s():
    return draw_setting('tickets', 20, 20, seed=1)


@pytest.fixture
def spy(monkeypatch):
    "Every classifier records the stages it is trained with, or the texts it is fitted on"

    class Spy(curves.StagedLogistic):
        seen = []

        def __init__(self, *args, **kwargs):
            super().__init__('linear')

        def fit_stages(self, stages, validation=None, after=None, classes=None):
            Spy.seen.append((stages, validation))
            return super().fit_stages(stages, validation, after, classes)

        def fit(self, texts, labels, validation=None):
            return self.fit_stages([Stage(texts, labels, epochs=3)], validation)

    monkeypatch.setattr(curves, 'staged_classifier', Spy)
    monkeypatch.setattr(curves, 'make_classifier', Spy)
    return Spy


@pytest.fixture
def cell():
    "A curve with given scores; every second test text is positive"

    def make(scores, points, seed=0, **more):
        truth = [k % 2 for k in range(len(scores[0]))]
        return (
            dict(
                corpus='c',
                classifier='linear',
                training_mode='stepwise',
                texts='synthetic',
                seed=seed,
                stop_on='validation',
                human=50,
                available=max(points),
                points=points,
                own=[1.0] * len(points),
                scores=scores,
                truth=truth,
            )
            | more
        )

    return make
