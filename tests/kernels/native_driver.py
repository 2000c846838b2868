"""Drivers that use OpenMP: built with sanitizers for one target, several at a time, and run.

The thread sanitizer is not among them: it does not know the barriers of GCC's OpenMP runtime, which
is not built with it, and reports every one of them as a race. Races are looked for by comparing the
bits of results on different numbers of threads.
"""

import os
import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest

from topout.errors import CompilerError
from topout.kernels.build import Toolchain, find_compiler, links_with, target_flags
from topout.machine.processor import parse_cpuinfo

OPENMP = "-fopenmp"
SANITIZED = (
    "-std=c++17",
    "-O1",
    "-g1",
    "-pthread",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
)
# Fresh memory is full of NaN, so that a sum shows what was read before it was written. Threads that
# wait do not spin: these run more of them than there are CPUs.
_ENVIRONMENT = {
    "ASAN_OPTIONS": f"max_malloc_fill_size={1 << 30}:malloc_fill_byte=255:malloc_context_size=3",
    "OMP_WAIT_POLICY": "passive",
    "OMP_DYNAMIC": "false",
}
_CPUINFO = Path("/proc/cpuinfo")
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Target(NamedTuple):
    """What instructions a build may use, and the flags of /proc/cpuinfo that running it takes."""

    name: str
    flags: tuple[str, ...]
    needs: frozenset[str] = frozenset()


NATIVE = Target("native", target_flags())
AVX2 = Target("avx2", ("-mavx2", "-mfma"), frozenset({"avx2", "fma"}))
PORTABLE = Target("portable", ())


class Outcome(NamedTuple):
    """How a driver ended, and all that it and its sanitizer said."""

    status: int
    output: str
    complaints: str

    @property
    def all_right(self) -> bool:
        return (self.status, self.output) == (0, "all right\n")


def compiler_with_openmp() -> Toolchain:
    """The compiler; skips the test where there is none, or none that knows OpenMP."""
    try:
        compiler = find_compiler()
    except CompilerError as error:
        pytest.skip(str(error))
    if not links_with(compiler, OPENMP):
        pytest.skip(f"{compiler.path} has no OpenMP")
    return compiler


def runs_here(target: Target) -> bool:
    """Whether this CPU has the instructions of a target."""
    blocks = parse_cpuinfo(_CPUINFO.read_text()) if _CPUINFO.exists() else []
    return target.needs <= set(blocks[0].get("flags", "").split() if blocks else ())


def build(sources: Sequence[Path], output: Path, *flags: str) -> Path:
    """Compile with sanitizers into `output`; skips where their runtime is missing."""
    command = [*find_compiler().command, *SANITIZED, OPENMP, *flags, *map(str, sources)]
    built = subprocess.run([*command, "-o", str(output)], capture_output=True, text=True)
    if built.returncode != 0 and re.search(r"cannot find .*san|lib\w*san", built.stderr):
        pytest.skip("the runtimes of the sanitizers are not installed")
    assert built.returncode == 0, built.stderr
    return output


def run(program: Path, mistake: str = "") -> Outcome:
    """Run a driver to its end; `mistake` is one that a broken library makes on demand."""
    done = subprocess.run(
        [str(program)],
        capture_output=True,
        text=True,
        timeout=1200,
        env={**os.environ, **_ENVIRONMENT, "BROKEN": mistake},
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def mistakes_in(source: Path) -> list[str]:
    """The mistakes that a broken library knows: what it asks `is_broken` for."""
    return sorted(set(re.findall(r'is_broken\("(\w+)"\)', source.read_text())))


def mistaken(program: Path, mistakes: Sequence[str]) -> dict[str, Outcome]:
    """How a driver ends with each of the mistakes of a broken library."""
    outcomes = side_by_side(lambda mistake: run(program, mistake), mistakes)
    return dict(zip(mistakes, outcomes, strict=True))


def side_by_side(work: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """`work` of each item, on as many threads as there are CPUs."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(work, items))
