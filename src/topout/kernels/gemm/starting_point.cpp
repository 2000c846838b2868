// A matrix product of your own, to be compared with those of topout:
//
//   topout gemm --source THIS_FILE --shape 1024x1024x1024
//
// It compiles with -O3, all instructions of your CPU and OpenMP, is checked (between guard pages,
// against a product in double precision) and is then timed in turns with the others. Change what
// you like; what follows is right and simple, and slow.
//
// C[m×n] = A[m×k] · B[k×n]. All three are row-major: element (i, j) of A is a[i * lda + j].
//   lda, ldb, ldc  elements from one row to the next, at least as many as a row has; what lies
//                  between the rows belongs to somebody else: do not write there
//   m, n, k        any of them may be 0; with k = 0 the product is all zeros
//   threads        how many threads to use
// C is not set to anything before, and may hold what is not a number: write it, never read it first.
// No pointer need be aligned. Do not skip zeros: 0 · infinity is not a number.
//
// The data type. Without more it is fp32. One of these lines before the #include changes it:
//   #define TOPOUT_GEMM_BF16  // Input: the upper 16 bits of an fp32, in uint16_t; Output: float
//   #define TOPOUT_GEMM_INT8  // Input: int8_t; Output: int32_t, exact
#include <cstring>

#include "gemm.h"

// The number that an element of A or B stands for.
static inline Output value(Input element) {
#if defined(TOPOUT_GEMM_BF16)
  const std::uint32_t bits = static_cast<std::uint32_t>(element) << 16;
  float number;
  std::memcpy(&number, &bits, sizeof number);
  return number;
#else
  return element;
#endif
}

void gemm(const Input* a, const Input* b, Output* c, std::int64_t m, std::int64_t n,
          std::int64_t k, std::int64_t lda, std::int64_t ldb, std::int64_t ldc, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) c[i * ldc + j] = 0;
    for (std::int64_t p = 0; p < k; ++p)
      for (std::int64_t j = 0; j < n; ++j)
        c[i * ldc + j] += value(a[i * lda + p]) * value(b[p * ldb + j]);
  }
}

// B is the weights, and constant: you may lay them out once, ahead of time. When all three of the
// following are there, B is packed before the clock starts, and gemm_packed is timed, against
// rivals that pack ahead as well. gemm_pack may answer nullptr when there is no memory.
//
// void* gemm_pack(const Input* b, std::int64_t n, std::int64_t k, std::int64_t ldb, int threads) {…}
// void gemm_packed(const Input* a, const void* packed, Output* c, std::int64_t m, std::int64_t n,
//                  std::int64_t k, std::int64_t lda, std::int64_t ldc, int threads) {…}
// void gemm_free(void* packed) {…}
