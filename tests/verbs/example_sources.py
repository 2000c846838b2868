"""Products as a user writes them: right, wrong, crashing, and no C++ at all."""

from pathlib import Path

_PLAIN = """
#include "gemm.h"
void gemm(const Input* a, const Input* b, Output* c, std::int64_t m, std::int64_t n,
          std::int64_t k, std::int64_t lda, std::int64_t ldb, std::int64_t ldc, int) {
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) c[i * ldc + j] = 0;
    for (std::int64_t p = 0; p < k; ++p)
      for (std::int64_t j = 0; j < n; ++j) c[i * ldc + j] += a[i * lda + p] * b[p * ldb + j];
  }
  FAULT
}
"""
_FAULTS = {
    "right": "",
    "wrong": "c[0] += 1;",
    "crashing": "*reinterpret_cast<volatile int*>(std::int64_t(8)) = 1;",
    "unreadable": "this is no C++",
}


def own_source(folder: Path, kind: str) -> Path:
    """A file with a product that is right but for one fault."""
    path = folder / f"{kind}.cpp"
    path.write_text(_PLAIN.replace("FAULT", _FAULTS[kind]))
    return path
