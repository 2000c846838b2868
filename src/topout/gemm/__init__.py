"""The matrix multiplication laboratory: versions, rivals, checks, and PyTorch's place.

Read `case` and `request` (what is compared), `matrices` (a product's memory), then how it is
compared: `laboratory` asks a process (`worker_process`, and in it `worker`) to check (`trial`
against `bounds`) and to time (`rounds`, `timing`) versions (`sources`) and `rivals`; `results` and
`findings` say what came of it. `explain` says why a version is as fast as it is, from its loops
(`blockings`, `loop_nest`, `source_constants`), its machine code (`instruction_mix`, `instructions`)
and a simulation (`cachegrind`), in `sentences`. `routing` puts a version in PyTorch's place.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from topout.gemm.routing import Routing
    from topout.records.gemm import GemmDtype

__all__ = ["use"]


def use(
    version: "str | Path | None" = None,
    *,
    source: "str | Path | None" = None,
    dtype: "GemmDtype | None" = None,
    threads: int | None = None,
    constant: "Iterable[Tensor]" = (),
) -> "Routing":
    """Put a version of the matrix product in the place of PyTorch's, inside a `with` block.

    `version` is a name of the ladder ("tiled"), `source` a C++ file of your own (a Path as
    `version` is one too) with the signature of gemm.h for `dtype` (fp32 unless it says bf16);
    `threads` are PyTorch's own number unless given. Inside the block `aten::mm`, `aten::addmm` and
    their `.out` forms on the CPU go through it, in every thread of the process, the products of
    nn.Linear, Conv1D and autograd included; what it cannot do stays PyTorch's. The object that
    `with ... as` gives counts both. `constant` are weights that will not change while the object
    is in use: they are packed, or laid out in rows, once instead of at every product.

    A file of your own is compiled and loaded into this very process and is not checked here: what
    it does wrong it does here, so let `topout gemm --source` check it first.

    Raises UnknownNameError for an unknown version, InputError for int8 (PyTorch's product has no
    such type), threads below 1 and a file that is not there, CompilerError.
    """
    from topout.gemm.routing import Routing
    from topout.gemm.sources import choose_library

    return Routing(*choose_library(version, source, dtype), threads, constant)
