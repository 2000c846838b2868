"""Simulated caches: reading what valgrind writes, and the model of the blocking against it."""

import shutil
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gemm.example_machine import machine
from topout.errors import CompilerError, UnsupportedError
from topout.gemm.blockings import blocking_of
from topout.gemm.cachegrind import (
    CacheEvents,
    cache_option,
    parse_events,
    reduced_case,
    simulate,
)
from topout.gemm.case import Case
from topout.gemm.loop_nest import CacheModel, blocking_traffic, cache_models
from topout.gemm.source_constants import macros_of, read_constants
from topout.kernels.build import SOURCE_FOLDER
from topout.kernels.gemm_ops import GEMM_FOLDER, version_source

KIB = 1024
WRITTEN = """desc: I1 cache:         32768 B, 64 B, 8-way associative
desc: D1 cache:         49152 B, 64 B, 12-way associative
desc: LL cache:         1048576 B, 64 B, 8-way associative
cmd: ./driver
events: Ir I1mr ILmr Dr D1mr DLmr Dw D1mw DLmw
fl=???
fn=gemm
0 10 0 0 5 1 1 2 1 0
summary: 2281461 1528 1452 577,030 14067 8391 214321 1894 1205
"""


def test_totals_of_a_file() -> None:
    assert parse_events(WRITTEN) == CacheEvents(577030, 214321, 14067 + 1894, 8391 + 1205)


@pytest.mark.parametrize(
    "text",
    ["", "events: Ir\nsummary: 5\n", WRITTEN.replace("14067", "many"), "summary: 1 2 3\n"],
)
def test_a_file_without_totals_is_refused(text: str) -> None:
    with pytest.raises(UnsupportedError, match="no totals"):
        parse_events(text)


@given(st.text(max_size=300))
def test_no_file_makes_it_fail_otherwise(text: str) -> None:
    with pytest.raises(UnsupportedError):
        parse_events(text)


def test_what_came_on_top_is_never_negative() -> None:
    after, before = CacheEvents(10, 10, 10, 10), CacheEvents(4, 20, 0, 10)
    assert after.since(before) == CacheEvents(6, 0, 10, 0)


@pytest.mark.parametrize(
    ("size", "way_bytes", "option"),
    [
        (32 * KIB, 4096, "32768,8,64"),
        (48 * KIB, 4096, "49152,12,64"),
        (1024 * KIB, None, "1048576,8,64"),
        (1280 * KIB, None, "1310720,10,64"),
        (2048 * KIB, None, "2097152,8,64"),
        (192 * KIB, None, "196608,12,64"),
        (256, None, "256,4,64"),
    ],
)
def test_options_have_a_power_of_two_as_many_sets(
    size: int, way_bytes: int | None, option: str
) -> None:
    assert cache_option(CacheModel(size, 64, way_bytes)) == option
    total, ways, line = map(int, option.split(","))
    assert (total // line // ways).bit_count() == 1


def test_a_small_case_is_simulated_as_it_is() -> None:
    assert reduced_case(Case(64, 64, 64, "fp32", 2)) == Case(64, 64, 64, "fp32", 1)


@given(st.integers(1, 5000), st.integers(1, 60000), st.integers(1, 12000), st.booleans())
def test_a_large_case_is_cut(m: int, n: int, k: int, scalar: bool) -> None:
    small = reduced_case(Case(m, n, k, "fp32", 4), scalar=scalar)
    assert (small.m, small.n, small.k) <= (m, n, k)
    assert 1 <= small.m <= m
    assert 1 <= small.n <= n
    assert 1 <= small.k <= k
    most = 1 << (24 if scalar else 26)
    assert small.m * small.n * small.k <= max(most, 24 * 128 * 128)


def test_rows_are_cut_first() -> None:
    small = reduced_case(Case(835, 2304, 768, "fp32", 1))
    assert (small.n, small.k) == (2304, 768)
    assert 24 <= small.m < 835


def test_without_valgrind_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedError, match="apt install valgrind"):
        simulate("naive", Case(4, 4, 4, "fp32", 1), machine(), cache_models(machine(), 1))


def test_an_empty_product_is_refused() -> None:
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is not installed")
    with pytest.raises(UnsupportedError, match="nothing to simulate"):
        simulate("naive", Case(0, 4, 4, "fp32", 1), machine(), cache_models(machine(), 1))


@pytest.mark.parametrize(
    ("script", "said"), [("exit 3", "it said nothing"), ("sleep 3600", "too long")]
)
def test_a_valgrind_that_fails_or_hangs_is_given_up(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    said: str,
) -> None:
    program = tmp_path / "valgrind"
    program.write_text(f"#!/bin/sh\nexec /bin/sh -c '{script}'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    found = {"valgrind": str(program)}
    monkeypatch.setattr(shutil, "which", lambda name, **_: found.get(name, name))
    caches = cache_models(machine(), 1)
    try:
        with pytest.raises(UnsupportedError, match=said):
            simulate("naive", Case(4, 4, 4, "fp32", 1), machine(), caches, timeout_s=1.0)
    except CompilerError as missing:
        pytest.skip(str(missing))


# Where a working set is near the size of a cache the model is off by more: it knows no sets.
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
@pytest.mark.parametrize(
    ("version", "shape"),
    [
        ("naive", (32, 256, 256)),
        ("loop_order", (48, 256, 256)),
        ("tiled", (70, 256, 192)),
        ("simd", (100, 256, 256)),
        ("prepacked", (100, 256, 256)),
    ],
)
def test_the_model_agrees_with_the_simulation_within_a_third(
    version: str, shape: tuple[int, int, int]
) -> None:
    here = machine(l1=32 * KIB, l2=512 * KIB, l3=None)
    case, caches = Case(*shape, "fp32", 1), cache_models(here, 1)
    ahead = version == "prepacked"
    try:
        simulation = simulate(version, case, here, caches, packed_ahead=ahead)
    except CompilerError as missing:
        pytest.skip(str(missing))
    assert simulation.case == case
    folders = [GEMM_FOLDER, SOURCE_FOLDER]
    constants = read_constants(version_source(version), macros_of(machine()), folders)
    blocking = blocking_of(version, case, constants, packed_ahead=ahead)
    modelled = {each.level: each.bytes for each in blocking_traffic(blocking, caches)}
    for each in simulation.traffic:
        assert each.source == "cachegrind"
        assert modelled[each.level] == pytest.approx(each.bytes, rel=1 / 3), each.level
