import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real development data; tests that need it skip where it is absent."""
    default = Path(__file__).parent.parent.parent / "shared" / "data"
    folder = Path(os.environ.get("BENCHMARK_SHARED_DATA", default))
    if not (folder / "busi" / "manifest.csv").exists():
        pytest.skip("no real development data; name its folder in BENCHMARK_SHARED_DATA")
    return folder
