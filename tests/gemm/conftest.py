"""What these tests build stays out of the user's cache; they share one of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def gemm_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gemm-cache")


@pytest.fixture
def own_cache(gemm_cache: Path) -> Iterator[None]:
    """TOPOUT_CACHE is one folder for all tests that compile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOPOUT_CACHE", str(gemm_cache))
        yield
