"""The seam to a matrix product in C++: building, loading, packing, one OpenMP for all."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from topout.errors import CompilerError, UnsupportedError
from topout.kernels.build import RefusedSourceError
from topout.kernels.gemm_ops import (
    GemmLibrary,
    build_gemm,
    declared_dtype,
    version_source,
)

SOURCE = """#include "gemm.h"
#include "tile.h"
void gemm(const Input* a, const Input* b, Output* c, std::int64_t m, std::int64_t n,
          std::int64_t k, std::int64_t lda, std::int64_t ldb, std::int64_t ldc, int) {
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      c[i * ldc + j] = 0;
      for (std::int64_t p = 0; p < k; ++p) c[i * ldc + j] += a[i * lda + p] * b[p * ldb + j];
    }
}
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "mine.cpp"
    file.write_text(SOURCE)
    return file


def product(library: GemmLibrary, a: np.ndarray, b: np.ndarray, packed: bool) -> np.ndarray:
    (m, k), n = a.shape, b.shape[1]
    c = np.full((m, n), np.nan, np.float32)
    places = a.ctypes.data, c.ctypes.data
    if packed:
        with library.pack(b.ctypes.data, n, k, n, 1) as ready:
            library.multiply_packed(places[0], ready, places[1], m, n, k, k, n, 1)
            assert (ready.n, ready.k) == (n, k)
        with pytest.raises(ValueError, match="closed"):
            _ = ready.handle
        ready.close()
    else:
        library.multiply(places[0], b.ctypes.data, places[1], m, n, k, k, n, n, 1)
    return c


@pytest.mark.parametrize(("name", "packed"), [("naive", False), ("prepacked", True)])
def test_versions_multiply(name: str, packed: bool) -> None:
    library = GemmLibrary(build_gemm(version_source(name), "fp32", name))
    assert library.offers_packing is packed
    random = np.random.default_rng(0)
    a, b = (random.standard_normal(shape).astype(np.float32) for shape in ((5, 7), (7, 9)))
    np.testing.assert_allclose(product(library, a, b, packed), a @ b, rtol=1e-4, atol=1e-5)


def test_a_source_of_ones_own_may_use_the_headers_of_the_kernels(source: Path) -> None:
    library = GemmLibrary(build_gemm(source, "fp32", "own"))
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(product(library, a, a.T.copy(), False), a @ a.T)
    assert not library.offers_packing
    with pytest.raises(UnsupportedError, match="packs nothing"):
        library.pack(0, 1, 1, 1, 1)


def test_the_data_type_is_part_of_the_build(source: Path) -> None:
    builds = [build_gemm(source, dtype, "own") for dtype in ("fp32", "int8")]
    assert builds[0].path != builds[1].path and builds[1].dtype == "int8"
    source.write_text("#define TOPOUT_GEMM_INT8\n" + SOURCE)
    assert declared_dtype(source) == "int8"
    assert build_gemm(source, "int8", "own").path.is_file()


def test_a_changed_source_is_built_anew(source: Path) -> None:
    before = build_gemm(source, "fp32", "own").path
    assert build_gemm(source, "fp32", "own").path == before
    source.write_text(SOURCE + "// changed\n")
    assert build_gemm(source, "fp32", "own").path != before


def test_a_refused_source_carries_all_messages(source: Path) -> None:
    source.write_text("int x = ;\nint y = ;\n")
    with pytest.raises(RefusedSourceError) as caught:
        build_gemm(source, "fp32", "own")
    assert "mine.cpp:1" in caught.value.messages and "mine.cpp:2" in caught.value.messages


def test_a_library_without_the_function_is_refused(source: Path) -> None:
    source.write_text("int nothing() { return 0; }\n")
    with pytest.raises(CompilerError, match="no function `gemm`"):
        GemmLibrary(build_gemm(source, "fp32", "own"))


def test_what_is_no_library_is_refused(source: Path) -> None:
    build = build_gemm(source, "fp32", "own")
    text = source.with_suffix(".so")
    text.write_text("no library")
    with pytest.raises(CompilerError, match="cannot be loaded"):
        GemmLibrary(build._replace(path=text))


def test_an_unknown_version_has_no_source() -> None:
    with pytest.raises(UnsupportedError, match="no_such"):
        version_source("no_such")


@pytest.mark.parametrize("first", ["torch", "ours"])
@pytest.mark.skipif(sys.platform != "linux", reason="/proc shows the libraries of a process")
def test_one_openmp_runtime_serves_pytorch_and_us(first: str) -> None:
    build = build_gemm(version_source("naive"), "fp32", "naive")  # compiled once
    steps = [
        "import torch",
        f"GemmLibrary(GemmBuild(Path({str(build.path)!r}), 'fp32', {build.openmp}))",
    ]
    code = [
        "from pathlib import Path",
        "from topout.kernels.gemm_ops import GemmBuild, GemmLibrary",
        *(steps if first == "torch" else steps[::-1]),
        "from topout.kernels.build import openmp_runtimes",
        "print(len({file for file in openmp_runtimes() if 'libgomp' in file}))",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    shown = subprocess.run(
        [sys.executable, "-c", "\n".join(code)], capture_output=True, text=True, env=environment
    )
    assert shown.stdout.strip() in ("0", "1"), shown.stdout + shown.stderr
