// Panels of int8 or int4 weights as fp32 or bf16 panels, for many rows of x: then the unfolding is
// done once per block of rows, and the multiply-adds are those of the wider type.
#pragma once

#include "group_tile.h"
#include "packed_weights.h"

namespace topout {

inline Words paired_bf16(const Floats& even, const Floats& odd) {
  const auto rounded = [](const Floats& values) {
    const Words bits = bits_as<Words>(values);
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  };
  return rounded(even) | (rounded(odd) << 16);
}

template <int per, class Values>
inline void put_unfolded(const Values& values, bool as_bf16, int columns, char* out) {
  const std::int64_t row = columns * 4;
  if (as_bf16) {
    TOPOUT_UNROLLED for (int pair = 0; pair < per / 2; ++pair)
      store(out + pair * row, paired_bf16(values[2 * pair], values[2 * pair + 1]));
  } else {
    TOPOUT_UNROLLED for (int i = 0; i < per; ++i) store(out + i * row, values[i]);
  }
}

template <int... parts>
inline void unfold_int8(const Words& words, Floats (&values)[4],
                        std::integer_sequence<int, parts...>) {
  ((values[parts] = Int8WeightProduct::unfold<parts>(words)), ...);
}

// The values of k in [first, first + count) of a panel; int8 without its scales, which the epilogue
// knows. `out`: count (as_bf16: count / 2) rows of words; first and count are multiples of 8.
inline void unfold_panel(const PackedWeights& weights, std::int64_t panel, std::int64_t first,
                         std::int64_t count, bool as_bf16, char* out) {
  const int columns = weights.panel_columns;
  const std::int64_t row = columns * 4, value_rows = as_bf16 ? 1 : 2;  // per two values of k
  const char* from = weights.data + panel * weights.panel_bytes;
  if (weights.format == Format::kInt8) {
    const std::int64_t last = std::min((first + count) / 4, weights.steps);
    for (std::int64_t step = first / 4; step < last; ++step)
      for (int c = 0; c < columns; c += kLanes) {
        Floats values[4];
        unfold_int8(load<Words>(from + step * row + c * 4), values,
                    std::make_integer_sequence<int, 4>{});
        put_unfolded<4>(values, as_bf16, columns,
                        out + (step * 4 - first) / 2 * value_rows * row + c * 4);
      }
    // The end of K: x is zero there, and what it meets must be a number.
    const std::int64_t filled = (last * 4 - first) / 2 * value_rows * row;
    std::memset(out + filled, 0, static_cast<std::size_t>(count / 2 * value_rows * row - filled));
    return;
  }
  const std::int64_t group_steps = weights.group / 8;
  for (std::int64_t step = first / 8; step < (first + count) / 8; ++step) {
    const char* group = from + step / group_steps * weights.group_bytes;
    const char* scales = group + group_steps * row;
    for (int c = 0; c < columns; c += kLanes) {
      const Floats scale = load_bf16(scales + c * 2), offset = load_bf16(scales + (columns + c) * 2);
      const auto words = load<Words>(group + step % group_steps * row + c * 4);
      Floats values[8];
      TOPOUT_UNROLLED for (int nibble = 0; nibble < 8; ++nibble)
        values[int4_place(nibble)] =
            to_floats(bits_as<Ints>((words >> (4 * nibble)) & 15u)) * scale + offset;
      put_unfolded<8>(values, as_bf16, columns,
                      out + (step * 8 - first) / 2 * value_rows * row + c * 4);
    }
  }
}

}  // namespace topout
