"""Block sizes as the C++ sources have them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gemm.example_machine import machine
from topout.errors import UnsupportedError
from topout.gemm.source_constants import (
    evaluate,
    macros_of,
    parse_constants,
    read_constants,
    up_to_avx2,
)
from topout.kernels.build import SOURCE_FOLDER
from topout.kernels.gemm_ops import GEMM_FOLDER, version_source

TEXT = """
#include "other.h"
#if defined(__AVX512F__)
constexpr int lanes = 16, rows = 6;
#elif defined(__AVX2__) && !defined(NARROW)
constexpr int lanes = 8, rows = 6;  // constexpr int rows = 99;
#else
constexpr int lanes = 4, rows = 4;
#endif
/* constexpr int lanes = 1; */
#define BYTES 64
#if BYTES == 64
constexpr std::int64_t width = 2 * lanes, bytes = width * sizeof(float), block = 1 << 10;
#endif
constexpr std::align_val_t cache_line{64};
constexpr float ratio = 0.5f;
constexpr int unknown = size_of(width), chosen = name::width == 16 ? 3'000 : 7;
constexpr unsigned long many = 10UL;
"""


def test_arithmetic_on_what_came_before() -> None:
    constants = parse_constants(TEXT, {"__AVX2__": 1})
    assert (constants["lanes"], constants["rows"]) == (8, 6)
    assert (constants["width"], constants["bytes"], constants["block"]) == (16, 64, 1024)
    assert (constants["chosen"], constants["many"]) == (3000, 10)
    assert not {"unknown", "ratio", "cache_line"} & constants.keys()


@pytest.mark.parametrize(
    ("macros", "lanes"), [({"__AVX512F__": 1}, 16), ({}, 4), ({"__AVX2__": 1, "NARROW": 1}, 4)]
)
def test_branches_of_the_preprocessor(macros: dict[str, int], lanes: int) -> None:
    assert parse_constants(TEXT, macros)["lanes"] == lanes


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("16 << 20", 16 << 20),
        ("a == 64 ? 4 : 16 / 8", 4),
        ("a != 64 && 1", 0),
        ("!a", 0),
        ("std::size_t", None),
        ("f(3)", None),
        ("1 / 0", None),
        ("__import__('os')", None),
        ("", None),
    ],
)
def test_expressions(expression: str, value: int | None) -> None:
    assert evaluate(expression, {"a": 64}) == value


@given(st.text(max_size=60))
def test_no_expression_makes_it_fail(text: str) -> None:
    result = evaluate(text, {"a": 3})
    assert result is None or isinstance(result, int)


@given(st.text(alphabet="#ifdendlse()constexpr int a=1;,{}&|!\n ", max_size=200))
def test_no_text_makes_it_fail(text: str) -> None:
    parse_constants(text, {})


def test_includes_come_in_the_place_where_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inner.h").write_text("constexpr int inner = 5;\n")
    (tmp_path / "z.h").write_text('#include "inner.h"\nconstexpr int middle = inner * 2;\n')
    source = tmp_path / "a.cpp"
    source.write_text(
        '#include "z.h"\n#include "z.h"\n#include "gone.h"\nconstexpr int outer = middle + 1;\n'
    )
    assert read_constants(source, {}, [tmp_path / "folder"])["outer"] == 11


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"gone\.cpp"):
        read_constants(tmp_path / "gone.cpp", {})


def test_what_a_machine_defines() -> None:
    assert "__AVX2__" in macros_of(machine())
    assert "__AVX512F__" not in macros_of(machine())
    assert "TOPOUT_GEMM_INT8" in macros_of(machine(), "int8")
    assert "__aarch64__" in macros_of(machine(architecture="aarch64"))


def test_a_build_for_avx2_at_most() -> None:
    wide = machine(isa=("avx", "fma", "avx2", "avx512f", "avx512_vnni"))
    assert "__AVX512F__" in macros_of(wide)
    assert macros_of(up_to_avx2(wide)) == macros_of(machine())
    assert "__AVX__" not in macros_of(up_to_avx2(machine(isa=("avx",))))


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("tiled", {"block_i", "block_j", "block_k"}),
        ("packed", {"block_i", "block_j", "block_k", "width"}),
        ("simd", {"block_i", "block_j", "block_k", "width", "tile_rows"}),
        ("threaded", {"few_rows", "unrolled", "slice", "block_rows", "width", "kMostRows"}),
        ("prepacked", {"cut_rows", "cut_steps", "cut_panels", "most_steps", "per_step"}),
        ("bf16", {"worth_sharing", "chunk_bytes", "step_bytes", "per_step"}),
        ("int8", {"per_step", "width"}),
    ],
)
def test_the_sources_say_what_the_model_needs(version: str, expected: set[str]) -> None:
    folders = [GEMM_FOLDER, SOURCE_FOLDER]
    constants = read_constants(version_source(version), macros_of(machine()), folders)
    assert expected <= constants.keys()
    assert all(constants[name] > 0 for name in expected)


def test_the_micro_kernel_follows_the_vectors_of_the_build() -> None:
    folders, source = [GEMM_FOLDER, SOURCE_FOLDER], version_source("threaded")
    assert read_constants(source, macros_of(machine()), folders)["width"] == 16
    wide = {**macros_of(machine()), "__AVX512F__": 1}
    assert read_constants(source, wide, folders)["width"] == 64
    int8 = read_constants(version_source("int8"), macros_of(machine(), "int8"), folders)
    assert int8["per_step"] == 4
