"""What all tests share: the sources they test, their seeds, and a cache of their own."""

import os
import random
import shutil
import sys
import tempfile
from collections.abc import Generator
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
    if torch := sys.modules.get("torch"):
        # Tiny models gain nothing from a second thread; tests that need more ask for them.
        torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> None:
    if fixturedef.scope != "function":
        _seed()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Bytes of odd names that are no text are spelled: workers of pytest-xdist send text alone."""
    report = yield
    report.sections = [(name, _spelled(text)) for name, text in report.sections]
    if report.failed and not str(report.longrepr).isascii():
        report.longrepr = _spelled(str(report.longrepr))
    return report


def _spelled(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def pytest_configure(config: pytest.Config) -> None:
    """One cache for all processes of a run, and none of the user's: each kernel is built once."""
    config.option.randomly_reset_seed = False  # the order is random, what is tested is not
    if hasattr(config, "workerinput"):
        return  # a worker of pytest-xdist inherits the environment
    folder = tempfile.mkdtemp(prefix="topout-tests-")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    os.environ |= {
        "TOPOUT_CACHE": f"{folder}/cache",
        "TOPOUT_HOME": f"{folder}/runs",
        "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor",
        "HF_HUB_OFFLINE": "1",
        "OMP_WAIT_POLICY": "PASSIVE",  # threads that wait leave the CPU to the other tests
    }
    from tests.known_machine import fill_cache  # not before the cache is that of the tests

    fill_cache()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long begin first, so that no worker is left with one of them at the end."""

    def seconds(item: pytest.Item) -> float:
        mark = item.get_closest_marker("seconds")
        return float(mark.args[0]) if mark else 0.0

    items.sort(key=seconds, reverse=True)


@pytest.fixture
def climb_environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a command that climbs: its own output, no network."""
    return {**os.environ, "TOPOUT_HOME": str(tmp_path / "runs"), "COLUMNS": "100"}


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache in which nothing was measured, with the kernels that are built already."""
    cache, kernels = tmp_path / "fresh-cache", Path(os.environ["TOPOUT_CACHE"]) / "kernels"
    kernels.mkdir(mode=0o700, parents=True, exist_ok=True)
    cache.mkdir()
    (cache / "kernels").symlink_to(kernels)
    monkeypatch.setenv("TOPOUT_CACHE", str(cache))
    return cache
