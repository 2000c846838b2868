// Weights of a linear layer in the order in which the micro-kernel reads them.
//
// W [N×K] is cut into panels of 64 columns (32 or 16 where that shares the work out better); a
// panel holds, step by step along K, one 32-bit word per column: one fp32 value, two of bf16, four
// of int8 or eight of int4. So a panel is read once, front to back, in whole cache lines. Missing
// columns and the end of K are filled with zeros.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "huge_pages.h"
#include "products.h"
#include "shares.h"

namespace topout {

enum class Format : int { kFp32 = 0, kBf16 = 1, kInt8 = 2, kInt4 = 3 };

// What a caller hands over; `data` is [N×K] with the strides in elements.
struct WeightSource {
  Format format;
  std::int64_t n, k;
  const void* data;        // fp32, bf16: floats; int8: signed bytes; int4: bytes, two values each
  std::int64_t n_stride, k_stride;  // fp32 and bf16 alone: the others are contiguous
  const float* scales;              // int8: [N]
  const std::uint16_t* group_scales;   // int4: [N × K / group] bf16
  const std::uint16_t* group_offsets;  // int4: the same; w = scale · q + offset
  std::int64_t group;
  const float* bias;  // [N], or nullptr
  bool gated;         // rows 0 … N/2 are gates, the rest what they gate: y has N/2 columns
};

constexpr int values_per_word(Format format) {
  return format == Format::kFp32 ? 1 : format == Format::kBf16 ? 2 : format == Format::kInt8 ? 4 : 8;
}

struct PackedWeights {
  Format format;
  std::int64_t n, k, group = 0;
  bool gated = false;
  int panel_columns = 64;
  std::int64_t panels = 0;
  std::int64_t steps = 0;        // words of one column
  std::int64_t group_bytes = 0;  // int4: of one group in a panel
  std::int64_t panel_bytes = 0;
  char* data = nullptr;
  std::vector<float> bias, scales;       // by place in the panels
  std::vector<std::int32_t> sums_times_128;  // int8: 128·Σw of a column

  PackedWeights() = default;
  PackedWeights(const PackedWeights&) = delete;
  PackedWeights& operator=(const PackedWeights&) = delete;
  ~PackedWeights() { huge_pages().release(data); }

  std::int64_t places() const { return panels * panel_columns; }
  std::int64_t outputs() const { return gated ? n / 2 : n; }
  // Columns of y that a panel yields.
  int panel_outputs() const { return gated ? panel_columns / 2 : panel_columns; }

  // The row of W that stands at a place, −1 where there is none. A gate stands half a panel before
  // what it gates, so that one tile holds both.
  std::int64_t row_at(std::int64_t place) const {
    if (!gated) return place < n ? place : -1;
    const std::int64_t panel = place / panel_columns, column = place % panel_columns;
    const std::int64_t half = panel_columns / 2;
    const std::int64_t output = panel * half + column % half;
    if (output >= n / 2) return -1;
    return column < half ? output : n / 2 + output;
  }
};

// How many columns a panel shall have, so that the threads get about equal shares: the widest
// whose largest share is within an eighth of the mean.
inline int panel_columns_for(std::int64_t places, int threads, bool gated) {
  const int narrowest = gated ? std::max(16, 2 * kLanes) : std::max(16, kLanes);
#if TOPOUT_VECTOR_BYTES == 64
  for (const int columns : {64, 32}) {
    if (columns < narrowest) break;
    const std::int64_t panels = (places + columns - 1) / columns;
    const std::int64_t most = (panels + threads - 1) / threads;
    if (most * threads * 8 <= panels * 9) return columns;
  }
#endif
  (void)places;
  (void)threads;
  return narrowest;
}

inline std::uint32_t word_of(const WeightSource& from, std::int64_t row, std::int64_t step) {
  const std::int64_t per = values_per_word(from.format);
  std::uint32_t word = 0;
  for (std::int64_t i = 0; i < per && step * per + i < from.k; ++i) {
    const std::int64_t k = step * per + i;
    if (from.format == Format::kInt8) {
      const auto byte = static_cast<const std::uint8_t*>(from.data)[row * from.k + k];
      word |= static_cast<std::uint32_t>(byte) << (8 * i);
    } else if (from.format == Format::kInt4) {
      const auto pair = static_cast<const std::uint8_t*>(from.data)[(row * from.k + k) / 2];
      const std::uint32_t value = (k % 2 == 0 ? pair : pair >> 4) & 15u;
      const std::int64_t nibble = i % 2 == 0 ? i / 2 : 4 + i / 2;
      word |= value << (4 * nibble);
    } else {
      const float value =
          static_cast<const float*>(from.data)[row * from.n_stride + k * from.k_stride];
      if (from.format == Format::kFp32) return bits_as<std::uint32_t>(value);
      word |= static_cast<std::uint32_t>(float_to_bf16(value)) << (16 * i);
    }
  }
  return word;
}

inline void pack_panel(const WeightSource& from, const PackedWeights& into, std::int64_t panel) {
  char* out = into.data + panel * into.panel_bytes;
  const int columns = into.panel_columns;
  const std::int64_t group_steps = into.group > 0 ? into.group / 8 : into.steps;
  for (int column = 0; column < columns; ++column) {
    const std::int64_t row = into.row_at(panel * columns + column);
    for (std::int64_t step = 0; step < into.steps; ++step) {
      const std::int64_t group = step / group_steps;
      const std::int64_t at = group * into.group_bytes +
                              ((step - group * group_steps) * columns + column) * 4;
      const std::uint32_t word = row < 0 ? 0u : word_of(from, row, step);
      std::memcpy(out + at, &word, sizeof(word));
    }
    if (from.format != Format::kInt4) continue;
    const std::int64_t groups = into.k / into.group;
    for (std::int64_t group = 0; group < groups; ++group) {
      char* scales = out + group * into.group_bytes + group_steps * columns * 4;
      const std::uint16_t scale = row < 0 ? 0 : from.group_scales[row * groups + group];
      const std::uint16_t offset = row < 0 ? 0 : from.group_offsets[row * groups + group];
      std::memcpy(scales + column * 2, &scale, 2);
      std::memcpy(scales + (columns + column) * 2, &offset, 2);
    }
  }
}

inline void fill_column_facts(const WeightSource& from, PackedWeights* into) {
  const auto places = static_cast<std::size_t>(into->places());
  into->bias.assign(places, 0.0f);
  if (from.format == Format::kInt8) {
    into->scales.assign(places, 0.0f);
    into->sums_times_128.assign(places, 0);
  }
  for (std::size_t place = 0; place < places; ++place) {
    const std::int64_t row = into->row_at(static_cast<std::int64_t>(place));
    if (row < 0) continue;
    if (from.bias != nullptr) into->bias[place] = from.bias[row];
    if (from.format != Format::kInt8) continue;
    into->scales[place] = from.scales[row];
    const auto* values = static_cast<const std::int8_t*>(from.data) + row * from.k;
    std::int32_t sum = 0;
    for (std::int64_t k = 0; k < from.k; ++k) sum += values[k];
    into->sums_times_128[place] = 128 * sum;
  }
}

// Packs on `threads` threads, each of which fills the panels that it will read; nullptr when there
// is no memory.
inline std::unique_ptr<PackedWeights> pack(const WeightSource& from, int threads) {
  auto packed = std::make_unique<PackedWeights>();
  packed->format = from.format;
  packed->n = from.n;
  packed->k = from.k;
  packed->gated = from.gated;
  packed->panel_columns = panel_columns_for(from.n, threads, from.gated);
  const std::int64_t columns = packed->panel_columns;
  const std::int64_t panel_outputs = packed->panel_outputs();
  packed->panels = (packed->outputs() + panel_outputs - 1) / panel_outputs;
  const std::int64_t per = values_per_word(from.format);
  packed->steps = (from.k + per - 1) / per;
  packed->group_bytes = packed->panel_bytes = packed->steps * columns * 4;
  if (from.format == Format::kInt4) {
    packed->group = from.group;
    packed->group_bytes = from.group / 8 * columns * 4 + 2 * columns * 2;
    packed->panel_bytes = from.k / from.group * packed->group_bytes;
  }
  const std::int64_t bytes = packed->panels * packed->panel_bytes;
  packed->data = static_cast<char*>(huge_pages().allocate(static_cast<std::size_t>(bytes)));
  if (packed->data == nullptr) return nullptr;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int part = 0; part < threads; ++part) {
    std::int64_t first, last;
    share_of(packed->panels, part, threads, &first, &last);
    for (std::int64_t panel = first; panel < last; ++panel) pack_panel(from, *packed, panel);
  }
  fill_column_facts(from, packed.get());
  return packed;
}

}  // namespace topout
