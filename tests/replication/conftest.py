"Fixtures for the tests of the batch"

import projects
import pytest

from autogets.replication import runner


@pytest.fixture
def without_kernels(monkeypatch):
    "Notebooks run in this process: for what is decided before and after them (test_runner has real kernels too)"
    monkeypatch.setattr(runner, '_papermill', projects.run_here)
