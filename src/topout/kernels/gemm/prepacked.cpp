// Step 7, `prepacked`: what can be done once is done once. B, the constant weights, is packed ahead
// of time; a call multiplies and nothing else.
//
// - With many rows this saves the packing, about 1 part in 20 at 835 rows and more at fewer.
// - With one row, a matrix times a vector, it decides: each element of B is used once, so that the
//   speed is that at which memory delivers B. Packed, each thread reads one contiguous piece front to
//   back, in huge pages and a few lines ahead of itself, which is how memory is fastest.
// - One micro-kernel serves both, with 6 rows or with 1.
//
// What holds it back: the rate of the multiply-adds themselves with many rows, and the memory with
// few. From here on only fewer bytes or cheaper products help: `bf16` and `int8`, and fusing what
// follows into the same pass, as the native linear layers do.
//
// To run it: topout gemm --shape 1024x1024x1024
// Reached, on a Zen 5 virtual machine, 2 threads: 497 GFLOP/s (1 thread: 249).
#include "blocked.h"

void gemm(const Input* a, const Input* b, Output* c, std::int64_t m, std::int64_t n,
          std::int64_t k, std::int64_t lda, std::int64_t ldb, std::int64_t ldc, int threads) {
  blocked::multiply_unpacked(a, b, c, m, n, k, lda, ldb, ldc, threads);
}

void* gemm_pack(const Input* b, std::int64_t n, std::int64_t k, std::int64_t ldb, int threads) {
  return blocked::pack(b, n, k, ldb, threads);
}

void gemm_packed(const Input* a, const void* packed, Output* c, std::int64_t m, std::int64_t,
                 std::int64_t, std::int64_t lda, std::int64_t ldc, int threads) {
  blocked::multiply_packed(a, *static_cast<const blocked::Packed*>(packed), c, m, lda, ldc, threads);
}

void gemm_free(void* packed) { delete static_cast<blocked::Packed*>(packed); }
