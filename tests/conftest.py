"""Fixtures that several test files share."""

import functools
import os
from pathlib import Path

import pytest

from benchmark.data.sets import phantom

# Drawing a phantom takes 20 ms, and dozens of tests prepare the same hundreds of them.
phantom.render = functools.cache(phantom.render.__wrapped__)


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real development data; tests that ask for it are skipped where it is absent."""
    beside = Path(__file__).parent.parent.parent / "shared" / "data"
    folder = Path(os.environ.get("BENCHMARK_SHARED_DATA", beside))
    if not (folder / "busi").is_dir():
        pytest.skip(f"no development data in {folder}; set BENCHMARK_SHARED_DATA")
    return folder


def pytest_collection_modifyitems(config, items):
    """Leave out the simulations, which take minutes, unless `-m` names them."""
    if "simulation" in config.option.markexpr:
        return
    long = [item for item in items if item.get_closest_marker("simulation")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]
