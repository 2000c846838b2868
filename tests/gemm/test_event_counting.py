"""Counting the events of a product in another process."""

from pathlib import Path

import pytest

from topout.errors import CompilerError, UnsupportedError
from topout.gemm.case import Case
from topout.gemm.event_counting import count_product
from topout.kernels.gemm_ops import build_gemm, version_source


def test_a_product_is_counted_or_a_reason_given() -> None:
    try:
        build = build_gemm(version_source("naive"), "fp32", "naive")
    except CompilerError as missing:
        pytest.skip(str(missing))
    counts = count_product(build.path, Case(64, 64, 64, "fp32", 2))
    assert counts.events or counts.reasons
    if "instructions" in counts.events:  # a multiply-add is no less than one instruction here
        assert counts.events["instructions"] > 64**3 / 16


def test_a_library_that_ends_its_process_ends_no_other(tmp_path: Path) -> None:
    source = tmp_path / "crash.cpp"
    source.write_text(
        '#include <cstdlib>\n#include "gemm.h"\n'
        "void gemm(const Input*, const Input*, Output*, std::int64_t, std::int64_t,\n"
        "          std::int64_t, std::int64_t, std::int64_t, std::int64_t, int) {\n"
        "  std::abort();\n}\n"
    )
    try:
        build = build_gemm(source, "fp32", "own")
    except CompilerError as missing:
        pytest.skip(str(missing))
    with pytest.raises(UnsupportedError, match="did not get through"):
        count_product(build.path, Case(4, 4, 4, "fp32", 1))


def test_a_library_that_is_none_is_a_reason(tmp_path: Path) -> None:
    file = tmp_path / "text.so"
    file.write_text("no library")
    counts = count_product(file, Case(4, 4, 4, "fp32", 1))
    assert "cannot be loaded" in counts.reasons["events"]
