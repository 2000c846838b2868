// `int8`: `threaded` and `prepacked` with inputs of 8 bits and exact sums of 32.
//
// A word of a panel holds four values of a column, and the instruction vpdpbusd (AVX512_VNNI,
// AVX_VNNI) adds all four products to a sum: four times the multiply-adds, a quarter of the bytes.
// Its one factor is unsigned; A gets 128 added, and the sums of column j start at −128 · Σ B[·][j].
// Where the CPU lacks it, AVX2 multiplies pairs of 16 bits (vpmaddwd; the shorter vpmaddubsw would
// saturate), and any other CPU single values.
//
// The sums are exact as long as they fit: k · 255 · 128 < 2^31 holds up to k = 65,793.
//
// To run it: topout gemm --shape 1024x1024x1024 --dtype int8
// Reached, on a Zen 5 virtual machine, 2 threads: 1631 GOP/s (1 thread: 855).
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
