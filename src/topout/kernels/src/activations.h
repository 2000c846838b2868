// Rows of x in the form that a product multiplies: as they are, in bf16, or quantized row by row.
#pragma once

#include <cmath>
#include <limits>

#include "products.h"

namespace topout {

enum class Rows : int {
  kFloat = 0,  // fp32
  kBf16 = 1,   // bf16 in pairs, the last one filled with zero
  kSplit = 2,  // fp32 as pairs of bf16, high and low, for Int4SplitProduct
  kU8 = 3,     // round(x / scale) + 128, in fours
  kS8 = 4,     // round(x / scale), in eights in the order of int4_activation_place
};

enum class Type : int { kFp32 = 0, kBf16 = 1 };

inline std::int64_t size_of(Type type) { return type == Type::kFp32 ? 4 : 2; }

// Bytes of one prepared row; a whole number of lines, so that two threads never share one.
inline std::int64_t row_bytes(Rows rows, std::int64_t k) {
  const std::int64_t eights = (k + 7) / 8 * 8;
  const std::int64_t value = rows == Rows::kFloat || rows == Rows::kSplit ? 4
                             : rows == Rows::kBf16                        ? 2
                                                                          : 1;
  return (eights * value + 63) / 64 * 64;
}

// The row as floats: itself, or widened into `scratch`.
inline const float* float_row(const void* x, Type type, std::int64_t k, float* scratch) {
  if (type == Type::kFp32) return static_cast<const float*>(x);
  const auto* halves = static_cast<const std::uint16_t*>(x);
  for (std::int64_t i = 0; i < k; ++i) scratch[i] = bf16_to_float(halves[i]);
  return scratch;
}

// max|x| over 127, NaN when one of the values is NaN or infinite: then the whole row of y is.
inline float quantization_step(const float* x, std::int64_t k) {
  float largest = 0.0f, probe = 0.0f;
  std::int64_t i = 0;
  Floats most = {}, probes = {};
  for (; i + kLanes <= k; i += kLanes) {
    const auto values = load<Floats>(x + i);
    const Floats sizes = bits_as<Floats>(bits_as<Words>(values) & 0x7fffffffu);
    most = sizes > most ? sizes : most;
    probes = probes + values * 0.0f;
  }
  TOPOUT_UNROLLED for (int lane = 0; lane < kLanes; ++lane) {
    largest = std::max(largest, most[lane]);
    probe += probes[lane];
  }
  for (; i < k; ++i) {
    largest = std::max(largest, std::fabs(x[i]));
    probe += x[i] * 0.0f;
  }
  return largest / 127.0f + probe;
}

// 1 / step, or 0 where the row is zero or too small to be divided by: it then counts as zeros.
inline float inverse_step(float step) {
  return step >= std::numeric_limits<float>::min() ? 1.0f / step : 0.0f;
}

// x / step rounded to nearest, ties to even: the sum with 1.5 · 2^23 holds it in its low bits.
constexpr float kRounder = 12582912.0f;

inline std::int32_t quantized(float x, float inverse) {
  return bits_as<std::int32_t>(x * inverse + kRounder) - bits_as<std::int32_t>(kRounder);
}

inline float quantize_u8(const float* x, std::int64_t k, char* out) {
  const float step = quantization_step(x, k), inverse = inverse_step(step);
  auto* bytes = reinterpret_cast<std::uint8_t*>(out);
  for (std::int64_t i = 0; i < k; ++i)
    bytes[i] = static_cast<std::uint8_t>(quantized(x[i], inverse) + 128);
  for (std::int64_t i = k; i < (k + 3) / 4 * 4; ++i) bytes[i] = 128;
  return step;
}

// A vector of x / step rounded, as 32-bit values; of what is not a number it is any.
inline Words quantized(const Floats& x, float inverse) {
  const Words bits = bits_as<Words>(x * inverse + kRounder);
  return bits - bits_as<std::uint32_t>(kRounder);
}

// Bytes of a group in the order of x, and their sum.
inline std::uint32_t quantize_group(const float* x, std::int64_t count, float inverse,
                                   std::int8_t* bytes) {
  using Bytes = std::int8_t __attribute__((vector_size(kLanes)));
  Words sums = {};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Words values = quantized(load<Floats>(x + i), inverse);
    store(bytes + i, __builtin_convertvector(bits_as<Ints>(values), Bytes));
    sums += values;
  }
  std::uint32_t sum = 0;
  TOPOUT_UNROLLED for (int lane = 0; lane < kLanes; ++lane) sum += sums[lane];
  for (; i < count; ++i) {
    const std::int32_t value = quantized(x[i], inverse);
    bytes[i] = static_cast<std::int8_t>(value);
    sum += static_cast<std::uint32_t>(value);
  }
  return sum;
}

// Eights of bytes from the order of x to that in which Int4 products read them.
inline void order_for_int4(const std::int8_t* bytes, std::int64_t count, std::int8_t* out) {
  std::int64_t i = 0;
#if !defined(__clang__)  // which has no shuffle of this kind
  using Sixteen = std::int8_t __attribute__((vector_size(16)));
  constexpr auto at = [](int byte) {
    return static_cast<std::int8_t>(byte / 8 * 8 + int4_activation_place(byte % 8));
  };
  const Sixteen places = {at(0), at(1), at(2),  at(3),  at(4),  at(5),  at(6),  at(7),
                          at(8), at(9), at(10), at(11), at(12), at(13), at(14), at(15)};
  for (; i + 16 <= count; i += 16)
    store(out + i, __builtin_shuffle(load<Sixteen>(bytes + i), places));
#endif
  for (; i < count; ++i) out[i] = bytes[i / 8 * 8 + int4_activation_place(static_cast<int>(i % 8))];
}

// Also Σx of each group, in steps.
inline float quantize_s8(const float* x, std::int64_t k, std::int64_t group, char* out,
                         float* sums) {
  const float step = quantization_step(x, k), inverse = inverse_step(step);
  constexpr std::int64_t most = 256;  // of a group in one piece
  alignas(64) std::int8_t bytes[most];
  for (std::int64_t first = 0; first < k; first += group) {
    std::uint32_t sum = 0;  // of what is not a number it may wrap
    for (std::int64_t i = first; i < first + group; i += most) {
      const std::int64_t count = std::min(most, first + group - i);
      sum += quantize_group(x + i, count, inverse, bytes);
      order_for_int4(bytes, count, reinterpret_cast<std::int8_t*>(out) + i);
    }
    sums[first / group] = static_cast<float>(static_cast<std::int32_t>(sum));
  }
  return step;
}

inline void split_row(const float* x, std::int64_t k, char* out) {
  auto* pairs = reinterpret_cast<std::uint16_t*>(out);
  for (std::int64_t i = 0; i < k; ++i) {
    const std::uint16_t high = float_to_bf16(x[i]);
    const float rest = x[i] - bf16_to_float(high);
    const std::int64_t at = i / 2 * 4 + i % 2;
    pairs[at] = high;
    pairs[at + 2] = float_to_bf16(rest == rest ? rest : 0.0f);  // of an infinite x it is NaN
  }
}

inline void group_sums(const float* x, std::int64_t k, std::int64_t group, float* sums) {
  for (std::int64_t first = 0; first < k; first += group) {
    float sum = 0.0f;
    for (std::int64_t i = first; i < first + group; ++i) sum += x[i];
    sums[first / group] = sum;
  }
}

inline void bf16_row(const void* x, Type type, std::int64_t k, char* out) {
  auto* halves = reinterpret_cast<std::uint16_t*>(out);
  if (type == Type::kBf16) {
    std::memcpy(halves, x, static_cast<std::size_t>(k) * 2);
  } else {
    const auto* floats = static_cast<const float*>(x);
    for (std::int64_t i = 0; i < k; ++i) halves[i] = float_to_bf16(floats[i]);
  }
  if (k % 2 != 0) halves[k] = 0;
}

}  // namespace topout
