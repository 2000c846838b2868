// The signature that every version of the ladder has, and a source of your own as well.
//
// C[m×n] = A[m×k] · B[k×n], all row-major; lda, ldb, ldc: elements from one row to the next.
// C is written and never read; A, B and C do not overlap; no pointer need be aligned. Any of m, n
// and k may be 0: with k = 0 the product is all zeros. `threads` is how many threads to use.
#pragma once

#include <cstdint>

#if defined(TOPOUT_GEMM_BF16)
using Input = std::uint16_t;  // the bits of a bfloat16
using Output = float;
#elif defined(TOPOUT_GEMM_INT8)
using Input = std::int8_t;
using Output = std::int32_t;
#else
using Input = float;
using Output = float;
#endif

extern "C" {
void gemm(const Input* a, const Input* b, Output* c, std::int64_t m, std::int64_t n,
          std::int64_t k, std::int64_t lda, std::int64_t ldb, std::int64_t ldc, int threads);

// A version may offer these as well: B is constant (the weights), and is packed once, ahead of
// time. gemm_pack answers nullptr when there is no memory.
void* gemm_pack(const Input* b, std::int64_t n, std::int64_t k, std::int64_t ldb, int threads);
void gemm_packed(const Input* a, const void* packed, Output* c, std::int64_t m, std::int64_t n,
                 std::int64_t k, std::int64_t lda, std::int64_t ldc, int threads);
void gemm_free(void* packed);
}
