// Step 3, `tiled`: the same loops over blocks, so that a block of B is still in a near cache when
// the next row of C wants it.
//
// The sizes, from the caches outwards:
// - block_j = 1024 columns: a piece of a row of C is 1024 · 4 = 4 KiB, and stays in the first-level
//   cache (32 to 48 KiB) with the piece of B's row that is read beside it, while block_k rows of B
//   go by. Shorter pieces enter and leave the innermost loop more often, and read B in shorter
//   runs: with 512 columns, 32 turns of AVX-512, one thread did 58 instead of 73 GFLOP/s here.
// - block_k = 64 rows: a block of B is 64 · 4 KiB = 256 KiB, and fits the second-level cache of one
//   core (1 MiB here, 512 KiB and more elsewhere) with room for A and C.
// - block_i = 64 rows: each block of B serves 64 rows of C before the next one comes. It is also
//   the piece of work that a thread takes, so it must not be much larger.
//
// From the third-level cache or memory come now, at 1024 × 1024 × 1024:
//   B  m/block_i · k · n · 4  = 16 · 4 MiB = 64 MiB  (`loop_order`: 4 GiB)
//   C  m · n · 8              = 8 MiB; but 16 · 8 MiB = 128 MiB, once per block of k, where the
//                               second-level cache cannot keep 64 rows of C (256 KiB) beside B
//   A  n/block_j · m · k · 4  = 4 MiB
// What stays as it was is the innermost loop: two loads and a store per multiply-add.
//
// To run it: topout gemm --shape 1024x1024x1024
// Reached, on a Zen 5 virtual machine, 2 threads: 143 GFLOP/s (1 thread: 72).
#include <algorithm>

#include "gemm.h"

namespace {

constexpr std::int64_t block_i = 64, block_j = 1024, block_k = 64;

// c[0 … n) += a[0 … k) · b, one row of C.
void add_row(const float* a, const float* b, std::int64_t ldb, float* c, std::int64_t n,
             std::int64_t k) {
  for (std::int64_t p = 0; p < k; ++p) {
    const float factor = a[p];
    for (std::int64_t j = 0; j < n; ++j) c[j] += factor * b[p * ldb + j];
  }
}

}  // namespace

void gemm(const Input* a, const Input* b, Output* c, std::int64_t m, std::int64_t n,
          std::int64_t k, std::int64_t lda, std::int64_t ldb, std::int64_t ldc, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::int64_t i0 = 0; i0 < m; i0 += block_i) {
    const std::int64_t i1 = std::min(i0 + block_i, m);
    for (std::int64_t i = i0; i < i1; ++i) std::fill_n(c + i * ldc, n, 0.0f);
    for (std::int64_t j0 = 0; j0 < n; j0 += block_j) {
      const std::int64_t columns = std::min(block_j, n - j0);
      for (std::int64_t p0 = 0; p0 < k; p0 += block_k) {
        const std::int64_t depth = std::min(block_k, k - p0);
        for (std::int64_t i = i0; i < i1; ++i)
          add_row(a + i * lda + p0, b + p0 * ldb + j0, ldb, c + i * ldc + j0, columns, depth);
      }
    }
  }
}
