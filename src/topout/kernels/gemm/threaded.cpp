// Step 6, `threaded`: blocks for every level of the caches, and a share of C for every thread.
//
// Three things change against `simd` (blocked.h has the sizes):
// - K is not cut up to 1024 steps. C is then written once and never read, where blocks of 256 read
//   and wrote it three times at K = 768; and a tile runs 768 steps for each time it is stored.
// - The work is shared by tiles and panels, not by blocks of 48 rows. Whichever cut of C into
//   threads leaves the least to the busiest one is taken: by columns where there are many panels, by
//   rows where N is small. The threads wait for each other once, when B is packed.
// - Few rows do not pay for packing: up to 4 rows, B is read once and where it is, row by row, and
//   C waits in the first-level cache.
//
// What holds it back: B is packed again in each call. At 835 rows this costs about 1 part in 20;
// the weights of a model do not change between calls: `prepacked`.
//
// To run it: topout gemm --shape 1024x1024x1024
// Reached, on a Zen 5 virtual machine, 2 threads: 488 GFLOP/s (1 thread: 242).
#include "blocked.h"

namespace {

constexpr std::int64_t few_rows = 4, unrolled = 4, slice = 1024;

// c[0 … columns) ← a · b for one row, four rows of B at a time, so that C is loaded and stored once
// for four multiply-adds.
void multiply_row(const float* a, const float* b, float* c, std::int64_t columns, std::int64_t k,
                  std::int64_t ldb) {
  std::fill_n(c, columns, 0.0f);
  std::int64_t p = 0;
  for (; p + unrolled <= k; p += unrolled) {
    const float *b0 = b + p * ldb, *b1 = b0 + ldb, *b2 = b1 + ldb, *b3 = b2 + ldb;
    const float a0 = a[p], a1 = a[p + 1], a2 = a[p + 2], a3 = a[p + 3];
    for (std::int64_t j = 0; j < columns; ++j)
      c[j] = c[j] + a0 * b0[j] + a1 * b1[j] + a2 * b2[j] + a3 * b3[j];
  }
  for (; p < k; ++p)
    for (std::int64_t j = 0; j < columns; ++j) c[j] += a[p] * b[p * ldb + j];
}

void multiply_few_rows(const float* a, const float* b, float* c, std::int64_t m, std::int64_t n,
                       std::int64_t k, std::int64_t lda, std::int64_t ldb, std::int64_t ldc,
                       int threads) {
  const std::int64_t lines = (n + 15) / 16;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int part = 0; part < threads; ++part) {
    std::int64_t first, last;
    topout::share_of(lines, part, threads, &first, &last);
    for (std::int64_t j = first * 16; j < std::min(last * 16, n); j += slice) {
      const std::int64_t columns = std::min({slice, last * 16 - j, n - j});
      for (std::int64_t i = 0; i < m; ++i)
        multiply_row(a + i * lda, b + j, c + i * ldc + j, columns, k, ldb);
    }
  }
}

}  // namespace

void gemm(const Input* a, const Input* b, Output* c, std::int64_t m, std::int64_t n,
          std::int64_t k, std::int64_t lda, std::int64_t ldb, std::int64_t ldc, int threads) {
  if (m <= few_rows)
    return multiply_few_rows(a, b, c, m, n, k, lda, ldb, ldc,
                             blocked::threads_for(m, n, k, threads));
  blocked::multiply_unpacked(a, b, c, m, n, k, lda, ldb, ldc, threads);
}
