"""What all tests share: the sources they test, their seeds, and a cache of their own."""

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).parent.parent
SOURCES = REPOSITORY / "src"

# Processes that tests start, and those that topout starts, import this checkout, never an installed
# copy, and find the modules of tests.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(SOURCES), str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
)

# No limit depends on the machine's load. Examples are the same in every run, so that a failure in
# one place is a failure in all; `pytest --hypothesis-profile explore` looks for new ones and prints
# the blob that reproduces what it finds.
_PATIENT = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("reproducible", _PATIENT, derandomize=True, database=None)
settings.register_profile("explore", _PATIENT, derandomize=False)
settings.load_profile("reproducible")


def _seed() -> None:
    """Each generator that is global starts anew, whatever ran before."""
    random.seed(0)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    _seed()


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> None:
    if fixturedef.scope != "function":
        _seed()


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
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "100",
    }
