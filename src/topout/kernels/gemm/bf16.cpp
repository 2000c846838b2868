// `bf16`: `threaded` and `prepacked` with inputs of 16 bits and sums in fp32.
//
// A word of a panel holds two values of a column, B[2p][j] and B[2p+1][j], and the instruction
// vdpbf16ps (AVX512_BF16) adds both of their products to a sum: twice the multiply-adds in an
// instruction, and half the bytes. Its products are exact and its additions round in fp32; it takes
// numbers below 2^-126 for zeros. Where the CPU lacks it, both halves of a word are widened to fp32
// (a shift and a mask) and multiplied as in fp32: the bytes are still halved.
//
// To run it: topout gemm --shape 1024x1024x1024 --dtype bf16
// Reached, on a Zen 5 virtual machine, 2 threads: 952 GFLOP/s (1 thread: 482).
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
