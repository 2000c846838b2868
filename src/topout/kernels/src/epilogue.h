// What follows the sums of a tile: scales, bias, activation, gate, residual, and the type of y.
#pragma once

#include "activations.h"
#include "packed_weights.h"

namespace topout {

enum class Activation : int { kNone = 0, kGelu = 1, kGeluTanh = 2, kRelu = 3, kSilu = 4 };

// e^x within 2 units in the last place for x in [−87, 88]; below it is e^−87, above 88.4 infinite;
// NaN stays.
// x = n·ln 2 + r with |r| ≤ ln 2 / 2, and e^r by its Taylor polynomial of degree 6 with the last
// coefficients adjusted to the interval.
inline Floats exponential(Floats x) {
  const Floats most = splat<Floats>(89.0f), least = splat<Floats>(-87.0f);
  x = x > most ? most : x;
  x = x < least ? least : x;
  const Floats rounded = x * 1.44269504f + kRounder;
  const Floats n = rounded - kRounder;
  const Floats r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  Floats p = r * 1.3888889e-3f + 8.3333333e-3f;
  p = p * r + 4.1666667e-2f;
  p = p * r + 1.6666667e-1f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const Ints exponent = bits_as<Ints>(rounded) - bits_as<std::int32_t>(kRounder);
  return p * bits_as<Floats>((exponent + 127) << 23);
}

// The error function within 1.5e-7 (Abramowitz and Stegun 7.1.26).
inline Floats error_function(const Floats& x) {
  const Words sign = bits_as<Words>(x) & 0x80000000u;
  const Floats size = bits_as<Floats>(bits_as<Words>(x) & 0x7fffffffu);
  const Floats t = 1.0f / (1.0f + 0.3275911f * size);
  Floats p = t * 1.061405429f - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  const Floats positive = 1.0f - p * t * exponential(-size * size);
  return bits_as<Floats>(bits_as<Words>(positive) | sign);
}

inline Floats activate(const Floats& x, Activation activation) {
  switch (activation) {
    case Activation::kGelu: return 0.5f * x * (1.0f + error_function(x * 0.70710678f));
    case Activation::kGeluTanh:
      // 0.5·(1 + tanh u) = 1 / (1 + e^(−2u))
      return x / (1.0f + exponential(x * (-1.59576912f - 0.07135481f * x * x)));
    case Activation::kRelu: return x < 0.0f ? Floats{} : x;
    case Activation::kSilu: return x / (1.0f + exponential(-x));
    case Activation::kNone: break;
  }
  return x;
}

// y and what goes into it beside the sums; strides in elements.
struct Output {
  void* y;
  std::int64_t y_stride;
  const void* residual;  // of y's type, or nullptr
  std::int64_t residual_stride;
  Type type;
  Activation activation;
};

inline Words bf16_words(const Floats& values) {
  const Words bits = bits_as<Words>(values);
  const Words rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return values != values ? (bits >> 16) | 0x40u : rounded;
}

// One vector of y at (row, column), of which `count` columns exist.
inline void put(const Output& out, std::int64_t row, std::int64_t column, std::int64_t count,
                Floats value) {
  using Halves = std::uint16_t __attribute__((vector_size(kVectorBytes / 2)));
  const std::int64_t size = size_of(out.type);
  char* y = static_cast<char*>(out.y) + (row * out.y_stride + column) * size;
  const auto bytes = static_cast<std::size_t>(std::min<std::int64_t>(count, kLanes) * size);
  const bool whole = count >= kLanes;
  if (out.residual != nullptr) {
    const char* from =
        static_cast<const char*>(out.residual) + (row * out.residual_stride + column) * size;
    alignas(64) char part[kVectorBytes] = {};
    if (!whole) from = static_cast<const char*>(std::memcpy(part, from, bytes));
    if (out.type == Type::kFp32)
      value = value + load<Floats>(from);
    else
      value = value +
              bits_as<Floats>(__builtin_convertvector(load<Halves>(from), Words) << 16);
  }
  if (out.type == Type::kFp32) {
    if (whole)
      store(y, value);
    else
      std::memcpy(y, &value, bytes);
    return;
  }
  const Halves halves = __builtin_convertvector(bf16_words(value), Halves);
  if (whole)
    store(y, halves);
  else
    std::memcpy(y, &halves, bytes);
}

// The sums of a vector of columns at `place`, as values of the product.
inline Floats scaled(const char* sums, const PackedWeights& weights, std::int64_t place, Rows rows,
                     float row_scale) {
  const float* bias = weights.bias.data() + place;
  Floats value;
  if (rows == Rows::kU8) {
    const Ints exact = load<Ints>(sums) - load<Ints>(weights.sums_times_128.data() + place);
    value = to_floats(exact) * (load<Floats>(weights.scales.data() + place) * row_scale);
  } else {
    value = load<Floats>(sums);
    if (weights.format == Format::kInt8)
      value = value * load<Floats>(weights.scales.data() + place);
    if (rows == Rows::kS8) value = value * row_scale;
  }
  return value + load<Floats>(bias);
}

// The sums of `rows` × one panel (`sums_stride` values from row to row) to rows of y from `row` on.
inline void finish(const PackedWeights& weights, std::int64_t panel, const char* sums,
                   std::int64_t sums_stride, std::int64_t row, int rows, Rows form,
                   const float* row_scales, const Output& out) {
  const std::int64_t first = panel * weights.panel_outputs();
  const int gate = weights.gated ? weights.panel_outputs() : 0;
  for (int r = 0; r < rows; ++r) {
    const float scale = row_scales == nullptr ? 1.0f : row_scales[r];
    for (int c = 0; c < weights.panel_outputs(); c += kLanes) {
      const std::int64_t count = weights.outputs() - first - c;
      if (count <= 0) break;
      const std::int64_t place = panel * weights.panel_columns + c;
      const char* at = sums + (r * sums_stride + c) * 4;
      Floats value = activate(scaled(at, weights, place, form, scale), out.activation);
      if (gate > 0) value = value * scaled(at + gate * 4, weights, place + gate, form, scale);
      put(out, row + r, first + c, count, value);
    }
  }
}

}  // namespace topout
