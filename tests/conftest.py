"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest


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
