"""Small products for the laboratory: a right one, and one for each way to be wrong."""

from pathlib import Path

_SIGNATURE = """
#include "gemm.h"
#include <cstdlib>
#include <cmath>
#include <limits>
void gemm(const Input* a, const Input* b, Output* c, std::int64_t m, std::int64_t n,
          std::int64_t k, std::int64_t lda, std::int64_t ldb, std::int64_t ldc, int threads) {
  (void)threads;
  (void)lda;
  BEFORE
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      Output sum = 0;
      for (std::int64_t p = 0; p < k; ++p) sum += TERM;
      c[i * ldc + j] = sum;
    }
  AFTER
}
"""
_TERM = "Output(a[i * lda + p]) * Output(b[p * ldb + j])"


def source(before: str = "", term: str = _TERM, after: str = "", top: str = "") -> str:
    """A product that is right but for what is put into it."""
    body = _SIGNATURE.replace("BEFORE", before).replace("TERM", term).replace("AFTER", after)
    return top + body


_SYSTEM = "#include <unistd.h>\n#include <cstdio>\n"
RIGHT = source()
TALKATIVE = source(
    'std::printf("{\\"number\\":1}\\n"); std::fflush(stdout); std::fprintf(stderr, "\\x1b[2J\\n");',
    top=_SYSTEM,
)
INT8 = source(top="#define TOPOUT_GEMM_INT8\n")
PACKING = (
    RIGHT
    + """
struct Packed { const Input* b; std::int64_t ldb; };
void* gemm_pack(const Input* b, std::int64_t, std::int64_t, std::int64_t ldb, int) {
  return new Packed{b, ldb};
}
void gemm_packed(const Input* a, const void* packed, Output* c, std::int64_t m, std::int64_t n,
                 std::int64_t k, std::int64_t lda, std::int64_t ldc, int threads) {
  const auto* const p = static_cast<const Packed*>(packed);
  gemm(a, p->b, c, m, n, k, lda, p->ldb, ldc, threads);
}
void gemm_free(void* packed) { delete static_cast<Packed*>(packed); }
"""
)
# name: (source, what the reason must say)
WRONG: dict[str, tuple[str, str]] = {
    "loops": (
        source("volatile bool stop = false; while (!stop) {}"),
        r"did not end within .* s and was ended, at 1x1x1",
    ),
    "writes_behind": (
        source(after="if (m > 1 && n > 1) c[(m - 1) * ldc + n] = 1;"),
        r"SIGSEGV; it \w+ 1 byte past the end of C",
    ),
    "writes_before": (
        source(after="c[-1] = 1;"),
        r"SIGSEGV; it \w+ 4 bytes before the start of C",
    ),
    "reads_behind": (
        source(before="volatile Input last = b[k * ldb]; (void)last;"),
        r"SIGSEGV; it \w+ 1 byte past the end of B",
    ),
    "garbage": (
        source(term="Output(i + 7 * j + p)"),
        r"first C\[0\]\[0\] = ",
    ),
    "nan": (
        source(after="if (m > 2 && n) c[2 * ldc] = std::numeric_limits<Output>::quiet_NaN();"),
        r"C\[2\]\[0\] = nan where",
    ),
    "last_column": (
        source(after="if (n == 33 && m && k) c[n - 1] += 1;"),
        r"1 of 33 elements is wrong, first C\[0\]\[32\] = ",
    ),
    "aborts": (source(before="if (k > 100) std::abort();"), r"SIGABRT.*at 33x65x129"),
    "exits": (source(before="std::_Exit(3);"), r"exit status 3"),
    "adds_to_c": (
        _SIGNATURE.replace("BEFORE", "")
        .replace("TERM", _TERM)
        .replace("AFTER", "")
        .replace("c[i * ldc + j] = sum", "c[i * ldc + j] += sum"),
        r"C\[0\]\[0\] = nan",
    ),
    "skips_zeros": (
        source(term="a[i * lda + p] == 0 ? Output(0) : " + _TERM),
        r"NaN and Inf.*where nan is right",
    ),
    "writes_gaps": (
        source(after="for (std::int64_t j = n; j < ldc && m > 1; ++j) c[j] = 0;"),
        r"between the rows of C",
    ),
    "ignores_lda": (source(term="a[i * k + p] * b[p * ldb + j]"), r"lda, ldb, ldc = "),
    "ignores_empty_k": (source(before="if (k == 0) return;"), r"at 5x3x0"),
    "writes_a": (
        source(after="if (m && k) const_cast<Input*>(a)[0] += 1;"),
        r"it wrote to A or B",
    ),
    "overflows_stack": (
        "static int deep(int x) { volatile char room[4096]; room[x % 4096] = 1; "
        "return x < 0 ? 0 : deep(x + 1) + room[7]; }\n"
        + source(before="if (m > 50) { volatile int depth = deep(1); (void)depth; }"),
        r"SIGSEGV",
    ),
    "writes_into_pipes": (
        source('for (int f = 3; f < 4096; ++f) (void)!write(f, "hello\\n", 6);', top=_SYSTEM),
        r"wrote something else into the pipe of its answers and was ended",
    ),
    "writes_answers": (
        source(
            r'for (int f = 3; f < 4096; ++f) dprintf(f, "{\"number\":1,\"result\":[]}\n");',
            top=_SYSTEM,
        ),
        r"wrote something else into the pipe of its answers and was ended",
    ),
    "closes_pipes": (
        source("for (int f = 3; f < 4096; ++f) close(f);", top=_SYSTEM),
        r"exit status 1: OSError: .* Bad file descriptor; it was at 1x1x1",
    ),
    "wrong_when_large": (
        source(after="if (m == 64 && n == 48) c[40 * ldc + 17] += 1;"),
        r"at 64x48x40: 1 of 64 rows are wrong; in the first of them 1 of 48 elements is wrong, "
        r"first C\[40\]\[17\]",
    ),
}


def write_source(folder: Path, text: str, name: str = "my_gemm.cpp") -> Path:
    """The text as a file."""
    file = folder / name
    file.write_text(text)
    return file
