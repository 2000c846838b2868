// The instruction that sets the arithmetic peak of each data type on this CPU, and a loop of
// nothing else: as many independent sums as hide its latency, all of them in registers.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define TOPOUT_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define TOPOUT_UNROLL(n) _Pragma("clang loop unroll(full)")
#else
// Without it g++ at -O3 may keep a register array in memory.
#define TOPOUT_UNROLL(n) TOPOUT_PRAGMA(GCC unroll n)
#endif

namespace topout {

// Each instruction: Sum and Operand vectors, the operations one step does, and how many sums
// and operands fit its register file (16 registers before AVX-512, 32 from then on and on Arm).

#if defined(__AVX512F__)
struct Fp32Peak {
  static constexpr const char* name = "avx512 fma";
  using Sum = __m512;
  using Operand = __m512;
  static constexpr int sums = 20, operands = 4, operations = 2 * 16;
  static Sum step(Sum c, Operand x, Operand y) { return _mm512_fmadd_ps(x, y, c); }
};
#elif defined(__FMA__)
struct Fp32Peak {
  static constexpr const char* name = "avx2 fma";
  using Sum = __m256;
  using Operand = __m256;
  static constexpr int sums = 10, operands = 2, operations = 2 * 8;
  static Sum step(Sum c, Operand x, Operand y) { return _mm256_fmadd_ps(x, y, c); }
};
#elif defined(__aarch64__)
struct Fp32Peak {
  static constexpr const char* name = "neon fma";
  using Sum = float32x4_t;
  using Operand = float32x4_t;
  static constexpr int sums = 20, operands = 4, operations = 2 * 4;
  static Sum step(Sum c, Operand x, Operand y) { return vfmaq_f32(c, x, y); }
};
#else
#if defined(__AVX__)
#define TOPOUT_MULTIPLY_ADD "avx mul+add"
using PortableVector = float __attribute__((vector_size(32)));
#elif defined(__SSE2__)
#define TOPOUT_MULTIPLY_ADD "sse mul+add"
using PortableVector = float __attribute__((vector_size(16)));
#else
#define TOPOUT_MULTIPLY_ADD "vector mul+add"
using PortableVector = float __attribute__((vector_size(16)));
#endif
struct Fp32Peak {
  static constexpr const char* name = TOPOUT_MULTIPLY_ADD;
  using Sum = PortableVector;
  using Operand = PortableVector;
  static constexpr int sums = 10, operands = 2, operations = 2 * sizeof(Sum) / sizeof(float);
  static Sum step(Sum c, Operand x, Operand y) { return c + x * y; }
};
#endif

#if defined(__AVX512BF16__)
#define TOPOUT_HAS_BF16 1
struct Bf16Peak {
  static constexpr const char* name = "vdpbf16ps";
  using Sum = __m512;
  using Operand = __m512i;
  static constexpr int sums = 20, operands = 4, operations = 2 * 32;
  static Sum step(Sum c, Operand x, Operand y) {
    return _mm512_dpbf16_ps(c, (__m512bh)x, (__m512bh)y);
  }
};
#elif defined(__aarch64__) && defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
#define TOPOUT_HAS_BF16 1
struct Bf16Peak {
  static constexpr const char* name = "bfmmla";
  using Sum = float32x4_t;
  using Operand = uint16x8_t;
  static constexpr int sums = 20, operands = 4, operations = 2 * 16;
  static Sum step(Sum c, Operand x, Operand y) {
    return vbfmmlaq_f32(c, vreinterpretq_bf16_u16(x), vreinterpretq_bf16_u16(y));
  }
};
#endif

#if defined(__AVX512VNNI__)
#define TOPOUT_HAS_INT8 1
struct Int8Peak {
  static constexpr const char* name = "avx512 vpdpbusd";
  using Sum = __m512i;
  using Operand = __m512i;
  static constexpr int sums = 20, operands = 4, operations = 2 * 64;
  static Sum step(Sum c, Operand x, Operand y) {
    // g++ 12 moves the sums of the intrinsic through the stack.
    asm("vpdpbusd %2, %1, %0" : "+v"(c) : "v"(x), "v"(y));
    return c;
  }
};
#elif defined(__AVXVNNI__)
#define TOPOUT_HAS_INT8 1
struct Int8Peak {
  static constexpr const char* name = "avx vpdpbusd";
  using Sum = __m256i;
  using Operand = __m256i;
  static constexpr int sums = 10, operands = 2, operations = 2 * 32;
  static Sum step(Sum c, Operand x, Operand y) {
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(c) : "x"(x), "x"(y));
    return c;
  }
};
#elif defined(__AVX2__)
#define TOPOUT_HAS_INT8 1
struct Int8Peak {
  static constexpr const char* name = "avx2 vpmaddubsw";
  using Sum = __m256i;
  using Operand = __m256i;
  static constexpr int sums = 6, operands = 2, operations = 2 * 32;
  static Sum step(Sum c, Operand x, Operand y) {
    __m256i pairs;
    asm("vpmaddubsw %3, %2, %1\n\tvpmaddwd %4, %1, %1\n\tvpaddd %1, %0, %0"
        : "+x"(c), "=&x"(pairs)
        : "x"(x), "x"(y), "x"(_mm256_set1_epi16(1)));
    return c;
  }
};
#elif defined(__aarch64__) && defined(__ARM_FEATURE_MATMUL_INT8)
#define TOPOUT_HAS_INT8 1
struct Int8Peak {
  static constexpr const char* name = "smmla";
  using Sum = int32x4_t;
  using Operand = int8x16_t;
  static constexpr int sums = 20, operands = 4, operations = 2 * 32;
  static Sum step(Sum c, Operand x, Operand y) { return vmmlaq_s32(c, x, y); }
};
#elif defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD)
#define TOPOUT_HAS_INT8 1
struct Int8Peak {
  static constexpr const char* name = "sdot";
  using Sum = int32x4_t;
  using Operand = int8x16_t;
  static constexpr int sums = 20, operands = 4, operations = 2 * 16;
  static Sum step(Sum c, Operand x, Operand y) { return vdotq_s32(c, x, y); }
};
#endif

// Makes `value` unknown to the compiler at no cost, so that no product is taken out of the loop
// or shared between two sums.
template <class Vector>
inline void forget(Vector& value) {
#if defined(__x86_64__) || defined(__i386__)
  asm("" : "+v"(value));
#elif defined(__aarch64__)
  asm("" : "+w"(value));
#else
  asm("" : "+m"(value));
#endif
}

// For each iteration and operand k: sums[i] += x[k] · y[(i + k) % operands].
// x, y: `operands` vectors each; sums: `sums` vectors, read and written back.
template <class Peak>
__attribute__((noinline)) void accumulate(const void* x, const void* y, void* sums,
                                          std::int64_t iterations) {
  constexpr int n = Peak::sums, m = Peak::operands;
  typename Peak::Sum c[n];
  typename Peak::Operand a[m], b[m];
  TOPOUT_UNROLL(32) for (int k = 0; k < m; ++k) {
    std::memcpy(&a[k], static_cast<const char*>(x) + k * sizeof(a[k]), sizeof(a[k]));
    std::memcpy(&b[k], static_cast<const char*>(y) + k * sizeof(b[k]), sizeof(b[k]));
  }
  TOPOUT_UNROLL(32) for (int i = 0; i < n; ++i)
    std::memcpy(&c[i], static_cast<const char*>(sums) + i * sizeof(c[i]), sizeof(c[i]));
  for (std::int64_t step = 0; step < iterations; ++step) {
    TOPOUT_UNROLL(32) for (int k = 0; k < m; ++k) {
      TOPOUT_UNROLL(32) for (int i = 0; i < n; ++i) {
        forget(a[k]);
        c[i] = Peak::step(c[i], a[k], b[(i + k) % m]);
      }
    }
  }
  TOPOUT_UNROLL(32) for (int i = 0; i < n; ++i)
    std::memcpy(static_cast<char*>(sums) + i * sizeof(c[i]), &c[i], sizeof(c[i]));
}

}  // namespace topout
