"""What the tests of rungs share: one thread, and a compiler that leaves nothing behind."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.one_thread import one_thread
from topout.errors import CompilerError
from topout.kernels.build import find_compiler

__all__ = ["inductor", "one_thread"]


@pytest.fixture
def inductor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """torch.compile in this process alone, its cache in the test's folder."""
    from torch._inductor import config

    try:
        find_compiler()
    except CompilerError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    with config.patch(compile_threads=1):
        torch.compiler.reset()
        yield
        torch.compiler.reset()
