"""What the tests of rungs share: torch.compile in this process alone."""

from collections.abc import Iterator

import pytest
import torch

from topout.errors import CompilerError
from topout.kernels.build import find_compiler


@pytest.fixture
def inductor() -> Iterator[None]:
    """torch.compile without processes of its own, and nothing compiled before or after."""
    from torch._inductor import config

    try:
        find_compiler()
    except CompilerError as error:
        pytest.skip(str(error))
    with config.patch(compile_threads=1):
        torch.compiler.reset()
        yield
        torch.compiler.reset()
