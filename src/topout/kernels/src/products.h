// How a word of activations and a vector of packed weights are multiplied and added, for each
// pair of formats. All share one shape, so that one micro-kernel serves them: per step, a vector
// of 32-bit words (one column of W in each lane, holding one, two, four or eight values along K)
// is unfolded into `parts` operands, and each is multiplied by a broadcast of the row's value.
#pragma once

#include "vectors.h"

namespace topout {

#if TOPOUT_VECTOR_BYTES == 64 && defined(__AVX512F__)
#define TOPOUT_WIDE 1
#endif

template <class Value>
inline Value value_at(const char* row, std::int64_t index) {
  Value value;
  std::memcpy(&value, row + index * static_cast<std::int64_t>(sizeof(Value)), sizeof(Value));
  return value;
}

// W fp32, x fp32.
struct Fp32Product {
  using Sum = Floats;
  static constexpr int parts = 1;
  template <int part>
  static Floats unfold(const Words& words) {
    return bits_as<Floats>(words);
  }
  template <int part>
  static Floats broadcast(const char* row, std::int64_t step) {
    return splat<Floats>(value_at<float>(row, step));
  }
  static Floats add(const Floats& sum, const Floats& x, const Floats& w) { return sum + x * w; }
};

// W bf16 in pairs along K, x fp32: each half of a word is the upper half of a float.
struct Bf16WidenedProduct {
  using Sum = Floats;
  static constexpr int parts = 2;
  template <int part>
  static Floats unfold(const Words& words) {
    return bits_as<Floats>(part == 0 ? words << 16 : words & 0xffff0000u);
  }
  template <int part>
  static Floats broadcast(const char* row, std::int64_t step) {
    return splat<Floats>(value_at<float>(row, 2 * step + part));
  }
  static Floats add(const Floats& sum, const Floats& x, const Floats& w) { return sum + x * w; }
};

#if defined(TOPOUT_WIDE) && defined(__AVX512BF16__) && !defined(TOPOUT_WIDEN_BF16)
#define TOPOUT_BF16_DOT 1
// g++ 12 moves the sums of the intrinsics through the stack, here and for vpdpbusd below.
inline Floats dot_bf16(Floats sum, const Words& x, const Words& w) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w));
  return sum;
}

// W bf16 in pairs along K, x bf16 in pairs; denormals count as zeros, whatever MXCSR says.
struct Bf16DotProduct {
  using Sum = Floats;
  static constexpr int parts = 1;
  template <int part>
  static Words unfold(const Words& words) {
    return words;
  }
  template <int part>
  static Words broadcast(const char* row, std::int64_t step) {
    return splat<Words>(value_at<std::uint32_t>(row, step));
  }
  static Floats add(const Floats& sum, const Words& x, const Words& w) {
    return dot_bf16(sum, x, w);
  }
};
using Bf16Product = Bf16DotProduct;
#else
using Bf16Product = Bf16WidenedProduct;
#endif

// W int8 in fours along K, x fp32.
struct Int8WeightProduct {
  using Sum = Floats;
  static constexpr int parts = 4;
  template <int part>
  static Floats unfold(const Words& words) {
    return to_floats(bits_as<Ints>(words << (24 - 8 * part)) >> 24);
  }
  template <int part>
  static Floats broadcast(const char* row, std::int64_t step) {
    return splat<Floats>(value_at<float>(row, 4 * step + part));
  }
  static Floats add(const Floats& sum, const Floats& x, const Floats& w) { return sum + x * w; }
};

// u8 · s8 in fours, exact in int32 up to K of some 66,000.
#if defined(TOPOUT_WIDE) && defined(__AVX512VNNI__)
#define TOPOUT_DOT_INT8 1
inline Ints dot_int8(Ints sum, const Words& unsigned_bytes, const Words& signed_bytes) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(unsigned_bytes), "v"(signed_bytes));
  return sum;
}
#elif TOPOUT_VECTOR_BYTES == 32 && (defined(__AVXVNNI__) || defined(__AVX512VNNI__))
#define TOPOUT_DOT_INT8 1
#if defined(__AVXVNNI__)
#define TOPOUT_VPDPBUSD "%{vex%} vpdpbusd %2, %1, %0"
#else
#define TOPOUT_VPDPBUSD "vpdpbusd %2, %1, %0"
#endif
inline Ints dot_int8(Ints sum, const Words& unsigned_bytes, const Words& signed_bytes) {
  asm(TOPOUT_VPDPBUSD : "+x"(sum) : "x"(unsigned_bytes), "x"(signed_bytes));
  return sum;
}
#endif

#if defined(TOPOUT_DOT_INT8)
// W int8 in fours along K, x u8 in fours (x + 128; the packed weights know 128·Σw).
struct Int8DotProduct {
  using Sum = Ints;
  static constexpr int parts = 1;
  template <int part>
  static Words unfold(const Words& words) {
    return words;
  }
  template <int part>
  static Words broadcast(const char* row, std::int64_t step) {
    return splat<Words>(value_at<std::uint32_t>(row, step));
  }
  static Ints add(const Ints& sum, const Words& x, const Words& w) { return dot_int8(sum, x, w); }
};
using Int8Product = Int8DotProduct;
#elif TOPOUT_VECTOR_BYTES == 32 && defined(__AVX2__)
// The same without the instruction: vpmaddubsw would saturate, so bytes become 16-bit pairs.
struct Int8PairsProduct {
  using Sum = Ints;
  static constexpr int parts = 2;
  template <int part>
  static Words unfold(const Words& words) {
    const __m256i bytes = bits_as<__m256i>(words);
    const __m256i odd = part == 0 ? _mm256_slli_epi16(bytes, 8) : bytes;
    return bits_as<Words>(_mm256_srai_epi16(odd, 8));
  }
  template <int part>
  static Words broadcast(const char* row, std::int64_t step) {
    return splat<Words>((value_at<std::uint32_t>(row, step) >> (8 * part)) & 0x00ff00ffu);
  }
  static Ints add(const Ints& sum, const Words& x, const Words& w) {
    return sum + bits_as<Ints>(_mm256_madd_epi16(bits_as<__m256i>(x), bits_as<__m256i>(w)));
  }
};
using Int8Product = Int8PairsProduct;
#else
struct Int8BytesProduct {
  using Sum = Ints;
  static constexpr int parts = 4;
  template <int part>
  static Ints unfold(const Words& words) {
    return bits_as<Ints>(words << (24 - 8 * part)) >> 24;
  }
  template <int part>
  static Ints broadcast(const char* row, std::int64_t step) {
    return splat<Ints>(static_cast<std::int32_t>(value_at<std::uint8_t>(row, 4 * step + part)));
  }
  static Ints add(const Ints& sum, const Ints& x, const Ints& w) { return sum + x * w; }
};
using Int8Product = Int8BytesProduct;
#endif

// W int4 (0 to 15) in eights along K. Bits 4t of a word hold k = 2t for t < 4, and 2(t − 4) + 1
// from then on: so a shift by 4t leaves a pair of neighbours, one in each half of the word.
constexpr int int4_place(int nibble) { return nibble < 4 ? 2 * nibble : 2 * (nibble - 4) + 1; }

// x fp32.
struct Int4WeightProduct {
  using Sum = Floats;
  static constexpr int parts = 8;
  template <int part>
  static Floats unfold(const Words& words) {
#if defined(TOPOUT_WIDE)
    // The permutation looks at the lowest four bits of its index alone. (The plain intrinsic makes
    // g++ 12 warn of an uninitialized vector.)
    const __m512 values = _mm512_set_ps(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    return bits_as<Floats>(_mm512_maskz_permutexvar_ps(
        0xffff, bits_as<__m512i>(words >> (4 * part)), values));
#else
    return to_floats(bits_as<Ints>((words >> (4 * part)) & 15u));
#endif
  }
  template <int part>
  static Floats broadcast(const char* row, std::int64_t step) {
    return splat<Floats>(value_at<float>(row, 8 * step + int4_place(part)));
  }
  static Floats add(const Floats& sum, const Floats& x, const Floats& w) { return sum + x * w; }
};

#if defined(TOPOUT_BF16_DOT)
#define TOPOUT_INT4_SPLIT 1
// x fp32 as the sum of two bf16: what the first rounds off, the second holds, which leaves an error
// of 2^-17. Twice as fast as one float at a time, since a table of pairs is looked up at once.
struct Int4SplitProduct {
  struct Pairs {
    Words high, low;
  };
  using Sum = Floats;
  static constexpr int parts = 4;
  template <int part>
  static Words unfold(const Words& words) {
    // Each half of a word looks at its lowest five bits; the fifth belongs to a neighbour, so the
    // table holds the values of 0 to 15 twice.
    alignas(64) static constexpr std::uint16_t values[32] = {
        0x0000, 0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0, 0x40e0, 0x4100, 0x4110, 0x4120,
        0x4130, 0x4140, 0x4150, 0x4160, 0x4170, 0x0000, 0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0,
        0x40c0, 0x40e0, 0x4100, 0x4110, 0x4120, 0x4130, 0x4140, 0x4150, 0x4160, 0x4170};
    return bits_as<Words>(_mm512_maskz_permutexvar_epi16(
        ~0u, bits_as<__m512i>(words >> (4 * part)), load<__m512i>(values)));
  }
  template <int part>
  static Pairs broadcast(const char* row, std::int64_t step) {
    return {splat<Words>(value_at<std::uint32_t>(row, 8 * step + 2 * part)),
            splat<Words>(value_at<std::uint32_t>(row, 8 * step + 2 * part + 1))};
  }
  static Floats add(const Floats& sum, const Pairs& x, const Words& w) {
    return dot_bf16(dot_bf16(sum, x.high, w), x.low, w);
  }
};
#endif

// x int8 (signed), eight at a time in the order of `int4_activation_place`: first the four that
// meet the low nibbles of the word's bytes, then those that meet the high ones.
constexpr int int4_activation_place(int byte) {
  return int4_place(byte < 4 ? 2 * byte : 2 * (byte - 4) + 1);
}

#if defined(TOPOUT_DOT_INT8)
struct Int4DotProduct {
  using Sum = Ints;
  static constexpr int parts = 2;
  template <int part>
  static Words unfold(const Words& words) {
    return (part == 0 ? words : words >> 4) & 0x0f0f0f0fu;
  }
  template <int part>
  static Words broadcast(const char* row, std::int64_t step) {
    return splat<Words>(value_at<std::uint32_t>(row, 2 * step + part));
  }
  static Ints add(const Ints& sum, const Words& x, const Words& w) { return dot_int8(sum, w, x); }
};
using Int4Product = Int4DotProduct;
#elif TOPOUT_VECTOR_BYTES == 32 && defined(__AVX2__)
struct Int4PairsProduct {
  using Sum = Ints;
  static constexpr int parts = 2;
  template <int part>
  static Words unfold(const Words& words) {
    return (part == 0 ? words : words >> 4) & 0x0f0f0f0fu;
  }
  template <int part>
  static Words broadcast(const char* row, std::int64_t step) {
    return splat<Words>(value_at<std::uint32_t>(row, 2 * step + part));
  }
  static Ints add(const Ints& sum, const Words& x, const Words& w) {
    // 2 · 15 · 128 fits 16 bits: nothing saturates here.
    const __m256i pairs = _mm256_maddubs_epi16(bits_as<__m256i>(w), bits_as<__m256i>(x));
    return sum + bits_as<Ints>(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
};
using Int4Product = Int4PairsProduct;
#else
struct Int4BytesProduct {
  using Sum = Ints;
  static constexpr int parts = 8;
  template <int part>
  static Ints unfold(const Words& words) {
    return bits_as<Ints>((words >> (4 * part)) & 15u);
  }
  template <int part>
  static Ints broadcast(const char* row, std::int64_t step) {
    const int byte = 4 * (part % 2) + part / 2;
    return splat<Ints>(static_cast<std::int32_t>(value_at<std::int8_t>(row, 8 * step + byte)));
  }
  static Ints add(const Ints& sum, const Ints& x, const Ints& w) { return sum + x * w; }
};
using Int4Product = Int4BytesProduct;
#endif

}  // namespace topout
