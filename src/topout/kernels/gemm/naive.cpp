// Step 1, `naive`: the definition of the matrix product, and nothing else.
//
// Each element of C is the dot product of a row of A and a column of B. The rows of C are
// independent, and so OpenMP deals them out to the threads.
//
// Why it is slow, with 1024 × 1024 × 1024 as the example:
// - The columns of B. From B[p][j] to B[p+1][j] lie ldb · 4 = 4096 bytes: each step opens another
//   cache line of 64 bytes and uses 4 of them, 64 GiB of lines for a matrix of 4 MiB. And 4096
//   bytes is the worst of strides: a first-level cache of 64 sets puts the whole column into one
//   set, which keeps 8 to 12 lines, so that nothing is left when column j + 1 wants them again.
// - One sum at a time. Floating-point addition is not associative, and without -ffast-math (which
//   none of the versions is given) the compiler may not split the sum over the lanes of a vector.
//   Each addition waits for the one before, 2 to 4 cycles: at 4 GHz at most 2 to 4 GFLOP/s, of
//   the 265 that one core here can do.
//
// To run it: topout gemm --shape 1024x1024x1024
// Reached, on a Zen 5 virtual machine, 2 threads: 1.0 GFLOP/s (1 thread: 0.5).
#include "gemm.h"

void gemm(const Input* a, const Input* b, Output* c, std::int64_t m, std::int64_t n,
          std::int64_t k, std::int64_t lda, std::int64_t ldb, std::int64_t ldc, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      Output sum = 0;
      for (std::int64_t p = 0; p < k; ++p) sum += a[i * lda + p] * b[p * ldb + j];
      c[i * ldc + j] = sum;
    }
  }
}
