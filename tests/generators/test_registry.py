"Generators by name"

import pytest

from autogets.core import UserError
from autogets.generators import registry
from autogets.generators.registry import make_generator
from generators.makers import Echo


@pytest.mark.parametrize(
    'spec, options, says',
    [
        ('gpt', {}, 'eda, recorded'),
        ('recorded', {}, 'needs a path'),
        ('eda:x', {}, 'takes nothing'),
        ('eda', {'model': 'x'}, 'alpha, synonyms'),
        ('recorded:tickets', {'alpha': 0.1}, 'path, model, method'),
    ],
)
def test_make_generator_refuses(spec, options, says):
    with pytest.raises(UserError, match=says):
        make_generator(spec, **options)


def test_make_generator_ignores_options_not_given():
    assert make_generator('eda', seed=7, model=None, method=None, synonyms='none').parameters['seed'] == 7


def test_a_new_kind_is_one_registry_line(monkeypatch):
    monkeypatch.setitem(registry.GENERATORS, 'echo', Echo)
    assert make_generator('echo:abc').table == 'abc'
