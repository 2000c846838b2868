"""What all tests share: a cache of their own, so that a user's stays as it is."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def climb_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache folder for all climbs of the session: ceilings and rates are measured once."""
    return tmp_path_factory.mktemp("climb-cache")


@pytest.fixture
def climb_environment(climb_cache: Path, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a command that climbs: its own cache, its own output, no network."""
    yield {
        **os.environ,
        "TOPOUT_CACHE": str(climb_cache),
        "TOPOUT_HOME": str(tmp_path / "runs"),
        "PYTHONPATH": str(REPOSITORY),
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "100",
    }
