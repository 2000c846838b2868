"""The micro-benchmarks do what they count: sums and products compared with numpy's."""

import ctypes
import functools
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from topout.errors import InputError, UnsupportedError
from topout.kernels import ops
from topout.kernels.build import SOURCE_FOLDER, build_library, target_flags
from topout.kernels.ops import GRAIN_BYTES, ReadBuffers, ReadPattern, ThreadTeam

from .sanitized import SANITIZERS, check_sanitized

CEILINGS = SOURCE_FOLDER / "ceilings.cpp"
DRIVER = Path(__file__).with_name("ceilings_driver.cpp")
PATTERNS = [(streams, distance) for streams in (1, 2, 4, 8) for distance in (0, 1024)]


@pytest.fixture
def team() -> Iterator[ThreadTeam]:
    with ThreadTeam(2) as threads:
        yield threads


def flags_of_this_cpu() -> set[str]:
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    found = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return set(found[1].split()) if found else set()


def test_the_seam_names_every_native_function() -> None:
    exported = set(re.findall(r"(?<!~)\b(topout_[a-z_]+)\(", CEILINGS.read_text()))
    assert exported == set(ops._CEILINGS_ABI)


@pytest.mark.parametrize(("streams", "distance"), PATTERNS)
def test_all_of_memory_is_read(streams: int, distance: int) -> None:
    library = ops.ceilings_library()
    random = np.random.default_rng(streams)
    for grains in (1, 2, 7):
        words = np.zeros(grains * GRAIN_BYTES // 4 + 16, dtype=np.uint32)
        skip = (-words.ctypes.data % 64) // 4
        data = words[skip : skip + grains * GRAIN_BYTES // 4]
        data[:] = random.integers(0, 2**32, data.size, dtype=np.uint32)
        found = library.topout_sum(data.ctypes.data, data.nbytes, streams, distance)
        assert found == int(data.sum(dtype=np.uint64)) % 2**32


def test_buffers_hold_random_words_without_a_zero(team: ThreadTeam) -> None:
    size = 3 * GRAIN_BYTES
    with ReadBuffers(team, size + 5, huge_pages=True) as buffers:
        assert buffers.bytes_per_thread == size
        words = [
            np.frombuffer(ctypes.string_at(buffers.address(thread), size), dtype=np.uint64)
            for thread in range(2)
        ]
        assert all(part.all() for part in words)
        assert not np.array_equal(words[0], words[1])
        assert len(np.unique(words[0])) == words[0].size
        assert buffers.address(0) % (2 << 20) == 0
        for streams, distance in PATTERNS:
            assert buffers.read(GRAIN_BYTES, ReadPattern(streams, distance), 0.001) > 1e6


def widen(bits: np.ndarray) -> np.ndarray:
    """bf16 bit patterns as float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def step(instruction: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What one instruction adds to a sum, in double precision, which is exact for all of these."""
    group = {np.dtype(np.uint16): 2, np.dtype(np.int8): 4}.get(x.dtype, 1)
    a, b = (
        (widen(each) if each.dtype == np.uint16 else each).astype(np.float64) for each in (x, y)
    )
    if instruction in ("bfmmla", "smmla"):
        return np.asarray(a.reshape(2, -1) @ b.reshape(2, -1).T).reshape(-1)
    return np.asarray((a * b).reshape(-1, group).sum(axis=1))


def operands_of(dtype: str, count: int, random: np.random.Generator) -> np.ndarray:
    if dtype == "int8":
        # Up to 63: products of two neighbours fit the 16 bits that AVX2 has in between.
        return random.integers(0, 64, count).astype(np.int8)
    values = random.standard_normal(count).astype(np.float32)
    return values if dtype == "fp32" else (values.view(np.uint32) >> 16).astype(np.uint16)


def check_accumulate(library: ctypes.CDLL, dtype: str, code: int) -> None:
    """A small run of the timed loop against numpy."""
    name = library.topout_peak_name(code)
    if name is None:
        pytest.skip(f"this CPU has no {dtype} dot product")
    shape = (ctypes.c_int64 * 5)()
    library.topout_peak_shape(code, shape)
    sums, operands, _, sum_bytes, operand_bytes = list(shape)
    width = {"fp32": 4, "bf16": 2, "int8": 1}[dtype]
    random = np.random.default_rng(code)
    per_operand = operand_bytes // width
    x, y = (operands_of(dtype, operands * per_operand, random) for _ in range(2))
    kind = np.int32 if dtype == "int8" else np.float32
    start = random.integers(-100, 100, sums * sum_bytes // 4).astype(kind)
    found = start.copy()
    iterations = 5
    library.topout_accumulate(code, x.ctypes.data, y.ctypes.data, found.ctypes.data, iterations)
    parts = [a.reshape(operands, per_operand) for a in (x, y)]
    expected = start.astype(np.float64).reshape(sums, -1)
    for i in range(sums):
        for k in range(operands):
            added = step(name.decode(), parts[0][k], parts[1][(i + k) % operands])
            expected[i] += iterations * added
    if dtype == "int8":
        assert np.array_equal(found.reshape(sums, -1), expected)
    else:
        # 4 · 5 roundings of terms up to some 10 beside a sum up to some 200
        np.testing.assert_allclose(found.reshape(sums, -1), expected, rtol=0, atol=1e-3)
    assert not np.array_equal(found, start)


@pytest.mark.parametrize(("dtype", "code"), ops._DTYPE_CODES.items())
def test_the_arithmetic_is_done(dtype: str, code: int) -> None:
    check_accumulate(ops.ceilings_library(), dtype, code)


@functools.cache
def variant(target: tuple[str, ...]) -> ctypes.CDLL:
    library = ctypes.CDLL(str(build_library("ceilings", [CEILINGS], target=target)))
    for name, (result, arguments) in ops._CEILINGS_ABI.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


@pytest.mark.parametrize(
    ("target", "needs", "instructions"),
    [
        (("-march=x86-64",), {"sse2"}, ["sse mul+add", None, None]),
        (("-march=ivybridge",), {"avx", "f16c"}, ["avx mul+add", None, None]),
        (("-march=x86-64-v3",), {"avx2", "fma"}, ["avx2 fma", None, "avx2 vpmaddubsw"]),
        (
            ("-march=x86-64-v3", "-mavxvnni"),
            {"avx2", "fma", "avx_vnni"},
            ["avx2 fma", None, "avx vpdpbusd"],
        ),
    ],
)
def test_the_loops_of_lesser_cpus(
    target: tuple[str, ...], needs: set[str], instructions: list[str | None]
) -> None:
    if not needs <= flags_of_this_cpu():
        pytest.skip(f"this CPU lacks one of {sorted(needs)}")
    library = variant(target)
    names = [library.topout_peak_name(code) for code in range(3)]
    assert [name.decode() if name else None for name in names] == instructions
    for dtype, code in ops._DTYPE_CODES.items():
        if names[code]:
            check_accumulate(library, dtype, code)


def loop_of(listing: str, function: str) -> list[str]:
    """The instructions of the longest loop of a disassembled function."""
    body = re.search(rf"^[0-9a-f]+ <[^>]*{function}[^>\n]*>:\n(.*?)\n\n", listing, re.M | re.S)
    assert body is not None, function
    lines = re.findall(r"^\s*([0-9a-f]+):\s*(.*)$", body[1], re.M)
    loops = [
        (int(jump[1], 16), int(at, 16))
        for at, text in lines
        if (jump := re.match(r"(?:j\w+|b\.\w+)\s+([0-9a-f]+)", text))
        and int(jump[1], 16) <= int(at, 16)
    ]
    first, last = max(loops, key=lambda loop: loop[1] - loop[0])
    return [text for at, text in lines if first <= int(at, 16) <= last]


@pytest.mark.parametrize("target", [target_flags(), ("-march=x86-64-v3",)])
def test_sums_stay_in_registers(target: tuple[str, ...]) -> None:
    if shutil.which("objdump") is None:
        pytest.skip("objdump is not installed")
    if target != target_flags() and not {"avx2", "fma"} <= flags_of_this_cpu():
        pytest.skip("this CPU lacks AVX2")
    library = build_library("ceilings", [CEILINGS], target=target)
    listing = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", str(library)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    kernels = set(re.findall(r"<(\w*accumulateI\w*Peak\w*)>:", listing))
    assert kernels
    for kernel in kernels:
        loop = loop_of(listing, kernel)
        assert len(loop) > 10
        spills = [text for text in loop if re.search(r"%[re]sp|%[re]bp|\[sp", text)]
        assert spills == [], kernel


def test_rates_are_finite_and_positive(team: ThreadTeam) -> None:
    for dtype in ops._DTYPE_CODES:
        if ops.peak_instruction(dtype) is None:
            with pytest.raises(UnsupportedError):
                team.compute(dtype, 0.001)
            continue
        trial = team.compute(dtype, 0.005)
        assert 1e7 < trial.ops_per_s < 1e15
        assert 1e8 < trial.clock_hz < 1e10
    assert 0 < team.barrier_time(100) < 1
    assert 0 < team.fork_join_time(20) < 1
    assert 0 < ops.kernel_call_time(1000) < 1e-3


def test_what_is_closed_or_out_of_range_is_refused(team: ThreadTeam) -> None:
    buffers = ReadBuffers(team, GRAIN_BYTES, huge_pages=False)
    with pytest.raises(InputError, match="cannot read"):
        buffers.read(2 * GRAIN_BYTES, ReadPattern(1, 0), 0.001)
    with pytest.raises(InputError, match="cannot read"):
        buffers.read(GRAIN_BYTES, ReadPattern(3, 0), 0.001)
    with pytest.raises(InputError, match="thread 2"):
        buffers.address(2)
    buffers.close()
    buffers.close()
    with pytest.raises(InputError, match="closed"):
        buffers.read(GRAIN_BYTES, ReadPattern(1, 0), 0.001)
    with pytest.raises(InputError, match="threads"):
        ThreadTeam(0)
    with pytest.raises(UnsupportedError, match="memory"):
        ReadBuffers(team, 1 << 60, huge_pages=True)
    closed = ThreadTeam(1)
    closed.close()
    closed.close()
    with pytest.raises(InputError, match="closed"):
        closed.barrier_time()


def test_buffers_outlive_their_team_only_to_be_closed() -> None:
    team = ThreadTeam(1)
    buffers = ReadBuffers(team, GRAIN_BYTES, huge_pages=False)
    team.close()
    with pytest.raises(InputError, match="closed"):
        buffers.read(GRAIN_BYTES, ReadPattern(1, 0), 0.001)
    buffers.close()


def test_the_caller_is_not_pinned() -> None:
    if not hasattr(__import__("os"), "sched_getaffinity"):
        pytest.skip("no affinity masks on this system")
    import os

    before = os.sched_getaffinity(0)
    with ThreadTeam(2, sorted(before)[:1]) as team:
        assert team.pinned_threads == 2
        team.compute("fp32", 0.001)
    assert os.sched_getaffinity(0) == before


def test_no_call_is_long_and_an_interrupt_ends_the_next() -> None:
    code = (
        "from topout.kernels.ops import ThreadTeam\n"
        "with ThreadTeam(1) as team:\n"
        "    print('go', flush=True)\n"
        "    while True:\n"
        "        team.compute('fp32', 1e9)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "go\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    assert "KeyboardInterrupt" in errors


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_sanitizers_find_nothing(sanitizer: str, tmp_path: Path) -> None:
    check_sanitized([CEILINGS, DRIVER], sanitizer, tmp_path)
