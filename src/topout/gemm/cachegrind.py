"""Cache misses of a version, simulated by valgrind's cachegrind on one thread."""

import math
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec

from topout.errors import CompilerError, UnsupportedError
from topout.gemm.case import ELEMENT_BYTES, Case
from topout.gemm.loop_nest import CacheModel
from topout.kernels.build import SOURCE_FOLDER, build_library, find_compiler, links_with
from topout.kernels.gemm_ops import DTYPE_FLAGS, GEMM_FOLDER, version_source
from topout.programs import child_environment, find_program
from topout.records.gemm import LevelTraffic
from topout.records.machine import Machine

_DRIVER = GEMM_FOLDER / "cachegrind_driver.cpp"
_AVX2, _SSE2 = ("-mavx2", "-mfma"), ("-march=x86-64",)
_INSTALL = "Install it: `apt install valgrind`."
# Multiply-adds that take a few seconds: one by one, or in vectors.
_SCALAR_PRODUCTS, _VECTOR_PRODUCTS = 1 << 24, 1 << 26
_LEAST_ROWS, _LEAST_SIDE = 24, 128
_TIMEOUT_S = 40.0
_EVENTS = ("Dr", "D1mr", "DLmr", "Dw", "D1mw", "DLmw")


class CacheEvents(NamedTuple):
    """Data accesses and those that missed the first and the last simulated cache."""

    reads: int
    writes: int
    first_misses: int
    last_misses: int

    def since(self, before: "CacheEvents") -> "CacheEvents":
        """What came on top of another run; never negative."""
        return CacheEvents(*(max(0, now - then) for now, then in zip(self, before, strict=True)))


class Simulation(NamedTuple):
    """What a product did to the caches that were simulated, at a shape that is perhaps smaller."""

    case: Case  # on one thread
    events: CacheEvents
    caches: dict[str, CacheModel]  # "L1" and the one behind it
    traffic: list[LevelTraffic]


def simulate(
    version: str,
    case: Case,
    machine: Machine,
    caches: dict[str, CacheModel],
    *,
    packed_ahead: bool = False,
    source: Path | None = None,
    timeout_s: float = _TIMEOUT_S,
) -> Simulation:
    """Simulate one product of a version on one thread, built for AVX2 at most, as valgrind needs.

    `caches` are the machine's; the first and the second are simulated, since a shape that is
    simulated in seconds would not leave the third. A larger case is cut to `reduced_case`. Raises
    UnsupportedError where valgrind or a compiler is missing, or the time is over.
    """
    program = find_program("valgrind")
    if program is None:
        raise UnsupportedError("valgrind is not installed, which simulates caches.", _INSTALL)
    if len(caches) < 2 or case.is_empty:
        raise UnsupportedError("there are no two caches, or nothing to simulate.", "")
    small = reduced_case(case, scalar=version == "naive" or source is not None)
    simulated = dict(list(caches.items())[:2])
    last = list(simulated.values())[1]
    end = time.monotonic() + timeout_s
    with TemporaryDirectory(prefix="topout-cachegrind-") as scratch:
        folder = Path(scratch)
        library = _build(version, small, machine, source)
        driver = _build_driver(folder)
        words = [
            small.m,
            small.n,
            small.k,
            case.k,
            case.n,
            ELEMENT_BYTES[small.dtype],
            int(packed_ahead),
        ]
        command = [str(driver), str(library), *map(str, words), str(int(2 * last.size_bytes))]
        runs = [
            _run(program, [*command, products], simulated, folder, end - time.monotonic())
            for products in ("0", "1")
        ]
    events = runs[1].since(runs[0])
    return Simulation(small, events, simulated, _traffic(simulated, events))


def _traffic(caches: dict[str, CacheModel], events: CacheEvents) -> list[LevelTraffic]:
    misses = (events.first_misses, events.last_misses)
    return [
        LevelTraffic(level=level, bytes=float(missed * cache.line_bytes), source="cachegrind")
        for (level, cache), missed in zip(caches.items(), misses, strict=True)
    ]


def reduced_case(case: Case, *, scalar: bool = False) -> Case:
    """The case on one thread, cut to what is simulated in a few seconds: rows first, then the rest.

    `simulate` leaves its rows as far apart as they were.
    """
    most = _SCALAR_PRODUCTS if scalar else _VECTOR_PRODUCTS
    m, n, k = case.m, case.n, case.k
    m = min(m, max(_LEAST_ROWS, most // (n * k)))
    n = min(n, max(_LEAST_SIDE, most // (m * k)))
    k = min(k, max(_LEAST_SIDE, most // (m * n)))
    return msgspec.structs.replace(case, m=m, n=n, k=k, threads=1)


def _build(version: str, case: Case, machine: Machine, source: Path | None) -> Path:
    """The version for AVX2 at most, with OpenMP where there is one, from the cache or made now."""
    x86 = machine.architecture in ("x86_64", "AMD64")
    target = (_AVX2 if "avx2" in machine.vector_isa else _SSE2) if x86 else None
    openmp = links_with(find_compiler(), "-fopenmp")
    flags = [*DTYPE_FLAGS[case.dtype]]
    flags += ["-fopenmp"] if openmp else ["-Wno-unknown-pragmas"]
    file = version_source(version) if source is None else source
    return build_library(
        f"gemm-{version}-{case.dtype}-simulated",
        [file],
        flags,
        target,
        include_folders=[GEMM_FOLDER, SOURCE_FOLDER],
    )


def _build_driver(folder: Path) -> Path:
    toolchain = find_compiler()
    output = folder / "driver"
    command = [*toolchain.command, "-std=c++17", "-O1", str(_DRIVER), "-o", str(output), "-ldl"]
    try:
        subprocess.run(
            command, capture_output=True, timeout=60, check=True, env=child_environment()
        )
    except (OSError, subprocess.SubprocessError):
        raise CompilerError(
            f"{toolchain.path} refused the program that runs a product under valgrind.",
            "Name another compiler in CXX.",
        ) from None
    return output


def _run(
    program: str,
    command: Sequence[str],
    caches: dict[str, CacheModel],
    folder: Path,
    timeout_s: float,
) -> CacheEvents:
    first, last = caches.values()
    events = folder / "events"
    options = [
        "--tool=cachegrind",
        "--cache-sim=yes",
        f"--D1={cache_option(first)}",
        f"--LL={cache_option(last)}",
        f"--cachegrind-out-file={events}",
    ]
    try:
        done = subprocess.run(
            [program, *options, *command],
            capture_output=True,
            timeout=max(1.0, timeout_s),
            env=child_environment(),
            cwd=folder,  # valgrind reads options from a file of the current one
        )
    except subprocess.TimeoutExpired:
        raise UnsupportedError(
            "the simulation of the caches took too long.", "Give a smaller shape."
        ) from None
    if done.returncode != 0 or not events.is_file():
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise UnsupportedError(
            f"valgrind did not get through ({said[-1] if said else 'it said nothing'}).",
            "Try a newer valgrind.",
        )
    return parse_events(events.read_text(errors="replace"))


def cache_option(cache: CacheModel) -> str:
    """Size, associativity and line as cachegrind wants them: with a power of two as many sets.

    The ways of a cache beyond the first are not known: the fewest from eight on that fit the size.
    """
    lines = max(1, int(cache.size_bytes // cache.line_bytes))
    ways = cache.ways if cache.way_bytes else 8
    odd = lines // (lines & -lines)
    if cache.way_bytes is None or (lines // ways).bit_count() != 1:
        ways = odd * 2 ** max(0, math.ceil(math.log2(8 / odd))) if odd < 8 else odd
    ways = min(ways, lines)
    return f"{lines * cache.line_bytes},{ways},{cache.line_bytes}"


def parse_events(text: str) -> CacheEvents:
    """The totals in a file that cachegrind wrote.

    Raises UnsupportedError where it has no totals of data accesses.
    """
    names: list[str] = []
    totals: list[str] = []
    for line in text.splitlines():
        if line.startswith("events:"):
            names = line.split()[1:]
        elif line.startswith("summary:"):
            totals = line.split()[1:]
    found = dict(zip(names, totals, strict=False))
    try:
        dr, d1mr, dlmr, dw, d1mw, dlmw = (int(found[name].replace(",", "")) for name in _EVENTS)
    except (KeyError, ValueError):
        raise UnsupportedError(
            "valgrind wrote no totals of data accesses.", "Use valgrind 3.13 or newer."
        ) from None
    return CacheEvents(dr, dw, d1mr + d1mw, dlmr + dlmw)
