// The native linear layers on small shapes against sums in doubles over the weights as they are
// stored: linked by the test beside it with builds for every kind of vectors, under sanitizers.
// Exit status 0: all is right.
//
// Also to the bit: a row of y depends on its row of x alone, not on how many rows there are (but
// beyond 8 it may have other bits where weights are unfolded for many rows), nor on the number of
// threads, nor on how the weights were shared out between them.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "packed_weights.h"

extern "C" {
void* topout_linear_pack(int, const void*, std::int64_t, std::int64_t, std::int64_t, std::int64_t,
                         const float*, const std::uint16_t*, const std::uint16_t*, std::int64_t,
                         const float*, int, int);
void topout_linear_free(void*);
std::int64_t topout_linear_bytes(const void*);
void topout_linear(const void*, int, const void*, int, std::int64_t, std::int64_t, int, const void*,
                   std::int64_t, void*, int, std::int64_t, int);
const char* topout_linear_instructions();
// The address sanitizer's, which this file itself is not built with: checking the checks is slow.
[[gnu::weak]] void __asan_poison_memory_region(const volatile void*, std::size_t);
[[gnu::weak]] void __asan_unpoison_memory_region(const volatile void*, std::size_t);
}

namespace {

constexpr double unit = 1.0 / (1 << 24), unit_bf16 = 1.0 / (1 << 8);
const double pi = std::acos(-1.0);
constexpr double smallest = std::numeric_limits<float>::min();
constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

int failures = 0;

void expect(bool holds, const std::string& what) {
  if (holds) return;
  std::printf("FAILED: %s\n", what.c_str());
  if (++failures == 20) std::exit(1);
}

std::string text(double value) {
  char written[32];
  std::snprintf(written, sizeof written, "%.9g", value);
  return written;
}

bool has(const char* instruction) {
  return std::string(topout_linear_instructions()).find(instruction) != std::string::npos;
}

float widened(std::uint16_t bits) {
  const std::uint32_t word = static_cast<std::uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}

// To nearest, ties to even; finite values alone.
std::uint16_t bf16_of(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if (std::isnan(value)) return 0x7fc0;
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

float rounded_to_bf16(float value) { return widened(bf16_of(value)); }

class Random {
 public:
  explicit Random(std::uint32_t seed) : generator_(seed) {}
  std::uint32_t below(std::uint32_t count) { return generator_() / 8 % count; }
  bool chance() { return below(2) == 1; }
  // −1 … 1, never 0.
  float real() {
    const float size = (static_cast<float>(generator_() >> 9) + 1.0f) / (1 << 23);
    return chance() ? size : -size;
  }

 private:
  std::mt19937 generator_;
};

// --- rows in memory ---------------------------------------------------------------------------

enum Type { fp32 = 0, bf16 = 1 };

// Rows of one type in exactly as much memory as they need; what lies between them is NaN. The first
// element lies `offset` elements into the memory, so that rows are not aligned.
class Rows {
 public:
  Rows(Type type, std::int64_t rows, std::int64_t columns, std::int64_t padding)
      : type(type), rows(rows), columns(columns), stride(columns + padding),
        offset_(padding % 3), size_(type == fp32 ? 4 : 2) {
    elements_ = offset_ + (rows > 0 && columns > 0 ? (rows - 1) * stride + columns : 0);
    bytes_.reset(new unsigned char[static_cast<std::size_t>(elements_ * size_)]);
    std::memset(bytes_.get(), 0xff, static_cast<std::size_t>(elements_ * size_));
  }

  unsigned char* at(std::int64_t row, std::int64_t column) const {
    return bytes_.get() + (offset_ + row * stride + column) * size_;
  }

  float get(std::int64_t row, std::int64_t column) const {
    if (type == bf16) {
      std::uint16_t bits;
      std::memcpy(&bits, at(row, column), 2);
      return widened(bits);
    }
    float value;
    std::memcpy(&value, at(row, column), 4);
    return value;
  }

  void set(std::int64_t row, std::int64_t column, float value) {
    const std::uint16_t bits = bf16_of(value);
    if (type == bf16)
      std::memcpy(at(row, column), &bits, 2);
    else
      std::memcpy(at(row, column), &value, 4);
  }

  std::string bits_of(std::int64_t row) const {
    return {reinterpret_cast<const char*>(at(row, 0)), static_cast<std::size_t>(columns * size_)};
  }

  // Whether nothing was written between the rows.
  bool gaps_are_untouched() const {
    for (std::int64_t i = 0; i < elements_ * size_; ++i) {
      const std::int64_t place = i / size_ - offset_;
      if ((place < 0 || place % stride >= columns) && bytes_[static_cast<std::size_t>(i)] != 0xff)
        return false;
    }
    return true;
  }

  Type type;
  std::int64_t rows, columns, stride;

 private:
  std::int64_t offset_, size_, elements_;
  std::unique_ptr<unsigned char[]> bytes_;
};

// --- weights ----------------------------------------------------------------------------------

// A way in which weights are stored and multiplied.
struct Kind {
  const char* name;
  int format;
  bool dynamic;
  std::int64_t group;

  bool in_groups() const { return format == 3; }
  // Whether many rows are multiplied in another way than a few.
  bool unfolds() const { return format >= 2 && !dynamic; }
};

struct Weights {
  Kind kind;
  std::int64_t n, k;
  bool gated, with_bias, transposed;
  std::vector<float> floats, scales, bias;
  std::vector<std::int8_t> bytes;
  std::vector<std::uint8_t> nibbles;
  std::vector<std::uint16_t> group_scales, group_offsets;

  Weights(const Kind& kind, std::int64_t n, std::int64_t k, Random& random)
      : kind(kind), n(n), k(k), gated(n % 2 == 0 && random.chance()), with_bias(random.chance()),
        transposed(random.chance()) {
    const auto size = static_cast<std::size_t>(n * k), rows = static_cast<std::size_t>(n);
    for (std::size_t i = 0; i < rows; ++i) {
      bias.push_back(random.real());
      scales.push_back(0.01f * random.real());
    }
    if (kind.format < 2)
      for (std::size_t i = 0; i < size; ++i) floats.push_back(random.real());
    if (kind.format == 2)
      for (std::size_t i = 0; i < size; ++i)
        bytes.push_back(static_cast<std::int8_t>(static_cast<int>(random.below(256)) - 128));
    if (!kind.in_groups()) return;
    for (std::size_t i = 0; i < size / 2; ++i)
      nibbles.push_back(static_cast<std::uint8_t>(random.below(256)));
    for (std::size_t i = 0; i < size / static_cast<std::size_t>(kind.group); ++i) {
      group_scales.push_back(bf16_of(0.1f * random.real()));
      group_offsets.push_back(bf16_of(random.real()));
    }
  }

  std::int64_t outputs() const { return gated ? n / 2 : n; }

  // A weight as the sum of two parts, the second of which int4 alone has.
  std::array<double, 2> parts(std::int64_t row, std::int64_t column) const {
    const auto at = static_cast<std::size_t>(row * k + column);
    if (kind.format == 0) return {floats[at], 0.0};
    if (kind.format == 1) return {rounded_to_bf16(floats[at]), 0.0};
    if (kind.format == 2)
      return {static_cast<double>(bytes[at]) * scales[static_cast<std::size_t>(row)], 0.0};
    const auto group = static_cast<std::size_t>((row * k + column) / kind.group);
    const int value = column % 2 == 0 ? nibbles[at / 2] & 15 : nibbles[at / 2] >> 4;
    return {static_cast<double>(value) * widened(group_scales[group]),
            widened(group_offsets[group])};
  }

  void* pack(int threads) const {
    std::vector<float> columns(floats.size());
    for (std::size_t i = 0; transposed && i < floats.size(); ++i) {
      const auto width = static_cast<std::size_t>(k), height = static_cast<std::size_t>(n);
      columns[i % width * height + i / width] = floats[i];
    }
    const void* data = nibbles.data();
    if (kind.format == 2) data = bytes.data();
    if (kind.format < 2) data = (transposed ? columns : floats).data();
    return topout_linear_pack(kind.format, data, n, k, transposed ? 1 : k, transposed ? n : 1,
                              scales.data(), group_scales.data(), group_offsets.data(), kind.group,
                              with_bias ? bias.data() : nullptr, gated, threads);
  }
};

// Packed weights. Many share a block of memory, where a sanitizer knows no borders: so what follows
// the last piece is out of bounds as long as it is in use. (A block is whole pages of 2 MiB.)
class Packed {
 public:
  Packed(const Weights& weights, int threads) : handle_(weights.pack(threads)) {
    const auto* packed = static_cast<const topout::PackedWeights*>(handle_);
    end_ = packed->data + packed->panels * packed->panel_bytes;
    const auto address = reinterpret_cast<std::uintptr_t>(end_);
    constexpr std::uintptr_t page = topout::HugePages::kPage;
    border_ = std::min<std::uintptr_t>(4096, (page - address % page) % page);
    if (__asan_poison_memory_region != nullptr) __asan_poison_memory_region(end_, border_);
  }
  ~Packed() {
    if (__asan_unpoison_memory_region != nullptr) __asan_unpoison_memory_region(end_, border_);
    topout_linear_free(handle_);
  }
  Packed(const Packed&) = delete;
  Packed& operator=(const Packed&) = delete;

  const void* handle() const { return handle_; }

 private:
  void* handle_;
  char* end_;
  std::size_t border_;
};

// --- what is right ----------------------------------------------------------------------------

// A value and how far from it another may lie.
struct Range {
  double value, error;

  bool holds(double found) const {
    if (std::isnan(value)) return std::isnan(found);
    if (std::isinf(value)) return found == value;
    return std::fabs(found - value) <= error;
  }
};

double activated(double x, int activation) {
  switch (activation) {
    case 1: return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case 2: return x / (1 + std::exp(-std::sqrt(8 / pi) * (x + 0.044715 * x * x * x)));
    case 3: return x < 0 ? 0 : x;
    case 4: return x / (1 + std::exp(-x));
    default: return x;
  }
}

// No activation is steeper than 1.13. erf and e^x are within some 3e-7 of their value, which
// reaches y times |x|, and no further than where they have become 0 or 1.
Range activated(const Range& x, int activation) {
  const double size = std::min(std::fabs(x.value) + x.error, 30.0);
  const bool exact = activation == 0 || activation == 3;
  const double value = activated(x.value, activation);
  return {value, 1.13 * x.error + (exact ? 0 : 5e-7 * size + 4 * unit * std::fabs(value))};
}

Range product(const Range& a, const Range& b) {
  const double value = a.value * b.value;
  return {value, std::fabs(a.value) * b.error + std::fabs(b.value) * a.error + a.error * b.error +
                     unit * std::fabs(value)};
}

// How the rows of x enter the product, and how far each value may be from that.
struct Activations {
  std::vector<double> values, errors;

  Activations(const Kind& kind, const Rows& x, std::int64_t row) {
    float largest = 0;
    bool finite = true;
    for (std::int64_t i = 0; i < x.columns; ++i) {
      largest = std::max(largest, std::fabs(x.get(row, i)));
      finite = finite && std::isfinite(x.get(row, i));
    }
    const double step = largest / 127.0f;
    for (std::int64_t i = 0; i < x.columns; ++i) {
      const float value = x.get(row, i);
      values.push_back(value);
      errors.push_back(0);
      if (kind.format == 1 && has("vdpbf16ps")) values.back() = rounded_to_bf16(value);
      if (!kind.dynamic) continue;
      const double steps = step < smallest ? 0 : value / step;
      values.back() = finite ? std::nearbyint(steps) * step : nan_value;
      // Half way between two steps it may become either of them.
      if (std::fabs(std::fabs(steps - std::floor(steps)) - 0.5) < 1e-4) errors.back() = step;
    }
  }
};

// The roundings of a sum, as a share of the sum of its terms' sizes.
double relative_error(const Kind& kind, std::int64_t k, bool few, Type x_type) {
  const auto terms = static_cast<double>(k);
  if (kind.dynamic && !kind.in_groups()) return 5 * unit;
  if (kind.dynamic) return (2 * terms / static_cast<double>(kind.group) + 6) * unit;
  if (!kind.in_groups()) return (terms + 4) * unit;
  const double split = few && has("vdpbf16ps") ? 1.0 / (1 << 17) : 0;
  const double unfolded = !few && x_type == bf16 && has("vdpbf16ps") ? unit_bf16 : 0;
  return (2 * terms + 8) * unit + split + unfolded;
}

Range sum_of(const Weights& weights, const Activations& x, std::int64_t row, bool few,
             Type x_type) {
  double sum = 0, size = 0, error = 0;
  for (std::int64_t i = 0; i < weights.k; ++i) {
    const auto [first, second] = weights.parts(row, i);
    const double value = x.values[static_cast<std::size_t>(i)];
    sum += value * (first + second);
    size += std::fabs(value) * (std::fabs(first) + std::fabs(second));
    error += x.errors[static_cast<std::size_t>(i)] * std::fabs(first + second);
  }
  const double bias = weights.with_bias ? weights.bias[static_cast<std::size_t>(row)] : 0.0;
  if (!std::isfinite(sum)) return {sum + bias, 0};
  const double share = relative_error(weights.kind, weights.k, few, x_type);
  return {sum + bias, share * (size + std::fabs(bias)) + error +
                          2 * smallest * static_cast<double>(weights.k + 1)};
}

// What a call does beside the product.
struct Options {
  Type x_type, y_type;
  int activation;
  bool residual;
  std::int64_t padding;  // of rows

  explicit Options(Random& random)
      : x_type(random.chance() ? bf16 : fp32), y_type(random.chance() ? bf16 : fp32),
        activation(static_cast<int>(random.below(5))), residual(random.chance()),
        padding(random.below(4) * 5 % 7) {}
};

Range right(const Weights& weights, const Options& options, const Activations& x,
            std::int64_t column, double residual, bool few) {
  Range y = activated(sum_of(weights, x, column, few, options.x_type), options.activation);
  if (weights.gated)
    y = product(y, sum_of(weights, x, weights.n / 2 + column, few, options.x_type));
  if (options.residual) y = {y.value + residual, y.error + unit * std::fabs(y.value + residual)};
  const double rounding = options.y_type == bf16 ? unit_bf16 : 0;
  return {y.value, y.error + rounding * (std::fabs(y.value) + y.error)};
}

// --- calls ------------------------------------------------------------------------------------

struct Call {
  const Weights& weights;
  const Options& options;
  const Rows& x;
  const Rows& residual;

  Rows operator()(const Packed& packed, std::int64_t m, int threads) const {
    Rows y(options.y_type, m, weights.outputs(), options.padding);
    topout_linear(packed.handle(), weights.kind.dynamic, x.at(0, 0), x.type, m, x.stride,
                  options.activation, options.residual ? residual.at(0, 0) : nullptr,
                  residual.stride, y.at(0, 0), y.type, y.stride, threads);
    return y;
  }

  std::string name() const {
    const auto number = [](std::int64_t value) { return std::to_string(value); };
    const Kind& kind = weights.kind;
    std::string name = kind.name;
    if (kind.in_groups()) name += "/" + number(kind.group);
    name += " n=" + number(weights.n) + " k=" + number(weights.k);
    if (weights.gated) name += " gated";
    if (weights.with_bias) name += " bias";
    if (options.residual) name += " residual";
    name += " activation=" + number(options.activation);
    name += options.x_type == bf16 ? " x=bf16" : " x=fp32";
    return name + (options.y_type == bf16 ? " y=bf16" : " y=fp32");
  }
};

void fill(Rows& rows, Random& random) {
  for (std::int64_t i = 0; i < rows.rows; ++i)
    for (std::int64_t j = 0; j < rows.columns; ++j) rows.set(i, j, random.real());
}

void expect_right(const Call& call, const Rows& y, const std::string& what) {
  const bool few = y.rows <= 8;
  for (std::int64_t i = 0; i < y.rows; ++i) {
    const Activations x(call.weights.kind, call.x, i);
    for (std::int64_t j = 0; j < y.columns; ++j) {
      const double residual = call.options.residual ? call.residual.get(i, j) : 0;
      const Range expected = right(call.weights, call.options, x, j, residual, few);
      if (expected.holds(y.get(i, j))) continue;
      return expect(false, what + ": y[" + std::to_string(i) + "][" + std::to_string(j) + "] is " +
                               text(y.get(i, j)) + " instead of " + text(expected.value) + " ± " +
                               text(expected.error));
    }
  }
}

// Every number of rows and threads, and every way to share out the weights: the first result of a
// row is compared with doubles, all others with its bits.
void check_layer(const Kind& kind, std::int64_t n, std::int64_t k,
                 const std::vector<std::int64_t>& row_counts, Random& random) {
  const Weights weights(kind, n, k, random);
  const Options options(random);
  Rows x(options.x_type, row_counts.back(), k, options.padding);
  Rows residual(options.y_type, row_counts.back(), weights.outputs(), 2 * options.padding);
  fill(x, random);
  fill(residual, random);
  const Call call{weights, options, x, residual};
  std::map<bool, std::map<std::int64_t, std::string>> bits;  // few rows, or many: by row
  for (int packing_threads = 1; packing_threads <= 3; ++packing_threads) {
    const Packed packed(weights, packing_threads);
    for (const std::int64_t m : row_counts)
      for (int threads = 1; threads <= 3; ++threads) {
        const bool telling = m == row_counts.front() || m == row_counts.back();
        if (packing_threads > 1 && (threads == packing_threads || !telling)) continue;
        const Rows y = call(packed, m, threads);
        const std::string what = call.name() + " m=" + std::to_string(m) +
                                 " threads=" + std::to_string(threads) + " packed on " +
                                 std::to_string(packing_threads);
        expect(y.gaps_are_untouched(), what + ": something beside y was written");
        auto& known = bits[!kind.unfolds() || m <= 8];
        const bool is_new = known.size() < static_cast<std::size_t>(m);
        for (std::int64_t i = 0; i < m; ++i) {
          const auto found = known.emplace(i, y.bits_of(i)).first;
          expect(found->second == y.bits_of(i), what + ": other bits in row " + std::to_string(i));
        }
        if (is_new) expect_right(call, y, what);
      }
  }
}

// What is no number, or infinite, in one row of x stays in that row; in a group of int4 and in a
// quantized row all of it may become NaN, elsewhere it is what the sum of doubles is.
void check_special(const Kind& kind, std::int64_t m, const std::vector<float>& specials,
                   Random& random) {
  const std::int64_t n = 70, k = kind.in_groups() ? 2 * kind.group : 67, row = m / 2;
  const Weights weights(kind, n, k, random);
  Options options(random);
  options.activation = options.activation == 3 ? 3 : 0;
  Rows x(options.x_type, m, k, options.padding);
  Rows residual(options.y_type, m, weights.outputs(), 0);
  fill(x, random);
  fill(residual, random);
  const Call call{weights, options, x, residual};
  const Packed packed(weights, 2);
  const Rows before = call(packed, m, 2);
  for (const std::int64_t first : {std::int64_t{0}, k / 2, k - 1}) {
    std::vector<float> kept;
    std::int64_t at = first;
    for (const float special : specials) {
      kept.push_back(x.get(row, at));
      x.set(row, at, special);
      at = (at + 1) % k;
    }
    const Rows y = call(packed, m, 2);
    const std::string what = call.name() + " m=" + std::to_string(m) + " with " +
                             text(specials[0]) + " at " + std::to_string(first);
    for (std::int64_t i = 0; i < m; ++i) {
      if (i != row) expect(y.bits_of(i) == before.bits_of(i), what + ": another row has changed");
    }
    const Activations values(kind, x, row);
    for (std::int64_t j = 0; j < y.columns; ++j) {
      const Range expected = right(weights, options, values, j, residual.get(row, j), m <= 8);
      const double found = y.get(row, j);
      const bool lost = kind.in_groups() && std::isnan(found);
      if (!lost && !expected.holds(found))
        expect(false, what + ": column " + std::to_string(j) + " is " + text(found) +
                          " instead of " + text(expected.value));
    }
    at = first;
    for (const float value : kept) {
      x.set(row, at, value);
      at = (at + 1) % k;
    }
  }
}

// A weight that is no number reaches its column of y alone.
void check_special_weight(const Kind& kind, Random& random) {
  Weights weights(kind, 67, 35, random);
  Options options(random);
  options.activation = 0;
  weights.floats[66 * 35 + 34] = nan_value;
  Rows x(options.x_type, 13, 35, 0);
  Rows residual(options.y_type, 13, 67, 0);
  fill(x, random);
  fill(residual, random);
  const Call call{weights, options, x, residual};
  const Packed packed(weights, 2);
  for (const std::int64_t m : {1, 6, 13}) {
    const Rows y = call(packed, m, 2);
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t j = 0; j < y.columns; ++j)
        expect(std::isnan(y.get(i, j)) == (j == 66), call.name() + ": the NaN of a weight");
  }
}

// Activations from end to end of fp32: the product is 0, and the bias what is activated.
void check_activations(Random& random) {
  Weights weights({"fp32", 0, false, 0}, 0, 1, random);
  for (double size = 1e-42; size < 3e38; size *= 1.7)
    for (const double sign : {1, -1}) weights.bias.push_back(static_cast<float>(sign * size));
  for (const float value :
       {0.0f, 3.4e38f, -3.4e38f, 87.5f, -87.5f, 88.5f, -88.5f, -104.0f, nan_value, infinity})
    weights.bias.push_back(value);
  weights.n = static_cast<std::int64_t>(weights.bias.size());
  weights.floats.assign(weights.bias.size(), 1.0f);
  weights.scales = weights.bias;
  weights.gated = false;
  weights.with_bias = true;
  const Packed packed(weights, 1);
  Options options(random);
  options.residual = false;
  options.x_type = options.y_type = fp32;
  Rows x(fp32, 1, 1, 0);
  x.set(0, 0, 0.0f);
  for (options.activation = 0; options.activation < 5; ++options.activation) {
    const Call call{weights, options, x, x};
    const Rows y = call(packed, 1, 1);
    for (std::int64_t j = 0; j < weights.n; ++j) {
      const double bias = weights.bias[static_cast<std::size_t>(j)];
      const Range expected = activated(Range{bias, 2 * smallest}, options.activation);
      expect(expected.holds(y.get(0, j)), "activation " + std::to_string(options.activation) +
                                              " of " + text(bias) + " is " + text(y.get(0, j)) +
                                              " instead of " + text(expected.value));
    }
  }
}

constexpr Kind kinds[] = {
    {"fp32", 0, false, 0},
    {"bf16", 1, false, 0},
    {"int8", 2, false, 0},
    {"int8 dynamic", 2, true, 0},
    {"int4", 3, false, 8},
    {"int4", 3, false, 32},
    {"int4", 3, false, 64},
    {"int4", 3, false, 128},
    {"int4 dynamic", 3, true, 8},
    {"int4 dynamic", 3, true, 32},
    {"int4 dynamic", 3, true, 64},
    {"int4 dynamic", 3, true, 128},
};

void check_shapes(const Kind& kind, Random& random) {
  const std::vector<std::int64_t> few = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13};
  const std::int64_t step = kind.in_groups() ? kind.group : 1;  // of K
  // Sums of nothing, and nothing to sum.
  check_layer(kind, 5, 0, {1, 9}, random);
  check_layer(kind, 0, 3 * step, {1, 9}, random);
  const std::vector<std::int64_t> ks = kind.in_groups()
                                           ? std::vector<std::int64_t>{step, 2 * step, 5 * step}
                                           : std::vector<std::int64_t>{1, 3, 4, 7, 33};
  for (const std::int64_t n : {1, 17, 64, 130})
    for (const std::int64_t k : ks) check_layer(kind, n, k, few, random);
  check_layer(kind, 70, kind.in_groups() ? 3 * kind.group : 67, {1, 8, 9, 50, 200}, random);
  // A K that is cut, for many rows: the sums wait for its next piece.
  check_layer(kind, 34, kind.in_groups() ? 1152 : 1061, {2, 13, 50}, random);
}

}  // namespace

int main() {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // what was said before an abort is not lost
  Random random(1);
  // A block of memory is given back with its last piece: this one keeps it.
  const Weights one(kinds[0], 1, 1, random);
  void* const keeper = one.pack(1);
  check_activations(random);
  for (const Kind& kind : kinds) {
    check_shapes(kind, random);
    for (const std::int64_t m : {3, 13})
      for (int round = 0; round < 3; ++round) {
        check_special(kind, m, {nan_value}, random);
        check_special(kind, m, {nan_value, nan_value, -nan_value}, random);
        check_special(kind, m, {infinity}, random);
        check_special(kind, m, {-infinity, infinity}, random);
      }
    if (kind.format < 2) check_special_weight(kind, random);
  }
  topout_linear_free(keeper);
  if (failures == 0) std::printf("all right\n");
  return failures == 0 ? 0 : 1;
}
