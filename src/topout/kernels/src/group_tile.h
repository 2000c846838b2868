// The micro-kernel of weights that share a scale and an offset in groups along K:
// y = Σ_g scale_g · (Σ q·x) + offset_g · (Σ x), the inner sums over one group.
#pragma once

#include "tile.h"

namespace topout {

// A group in a panel: its steps, then a bf16 scale per column, then a bf16 offset per column.
struct GroupWork {
  TileWork tile;             // `panel` at the first group; `steps` of one group
  std::int64_t groups;
  std::int64_t group_bytes;  // from one group in the panel to the next
  const char* scales;        // of the first group; the offsets are `offsets_at` bytes behind
  std::int64_t offsets_at;
  const float* x_sums;       // Σx of each group; rows lie `x_sums_stride` apart
  std::int64_t x_sums_stride;
};

inline Floats load_bf16(const char* from) {
  using Halves = std::uint16_t __attribute__((vector_size(kVectorBytes / 2)));
  return bits_as<Floats>(__builtin_convertvector(load<Halves>(from), Words) << 16);
}

inline Floats floats_of(const Floats& sum) { return sum; }
inline Floats floats_of(const Ints& sum) { return to_floats(sum); }

template <class Product, int rows, int vectors>
__attribute__((noinline)) void group_tile(const GroupWork& given) {
  using Sum = typename Product::Sum;
  const GroupWork work = given;
  Floats totals[rows][vectors] = {};
  const char* weights = work.tile.panel;
  const char* scales = work.scales;
  for (std::int64_t group = 0; group < work.groups; ++group) {
    Sum sums[rows][vectors] = {};
    const char* step_weights = weights;
    const std::int64_t first = group * work.tile.steps;
    for (std::int64_t step = first; step < first + work.tile.steps; ++step) {
      if constexpr (rows == 1)
        TOPOUT_UNROLLED for (int v = 0; v < vectors * kVectorBytes / 64; ++v)
          __builtin_prefetch(step_weights + kPrefetchBytes + v * 64);
      take_step<Product, rows, vectors>(sums, work.tile, step_weights, step,
                                        std::make_integer_sequence<int, Product::parts>{});
      step_weights += work.tile.panel_bytes;
    }
    TOPOUT_UNROLLED for (int v = 0; v < vectors; ++v) {
      const char* column = scales + v * (kVectorBytes / 2);
      const Floats scale = load_bf16(column), offset = load_bf16(column + work.offsets_at);
      TOPOUT_UNROLLED for (int r = 0; r < rows; ++r) {
        const Floats x_sum = splat<Floats>(work.x_sums[r * work.x_sums_stride + group]);
        totals[r][v] = totals[r][v] + floats_of(sums[r][v]) * scale;
        totals[r][v] = totals[r][v] + offset * x_sum;
      }
    }
    weights += work.group_bytes;
    scales += work.group_bytes;
  }
  TOPOUT_UNROLLED for (int r = 0; r < rows; ++r)
    TOPOUT_UNROLLED for (int v = 0; v < vectors; ++v)
      store(work.tile.sums + (r * work.tile.sums_stride + v * kLanes) * 4, totals[r][v]);
}

using GroupTile = void (*)(const GroupWork&);

// The tile of so many rows, 1 to kMostRows.
template <class Product, int vectors>
inline GroupTile group_tile_of(int rows) {
  static constexpr GroupTile tiles[kMostRows] = {
      group_tile<Product, 1, vectors>, group_tile<Product, 2, vectors>,
      group_tile<Product, 3, vectors>, group_tile<Product, 4, vectors>,
      group_tile<Product, 5, vectors>, group_tile<Product, 6, vectors>,
  };
  return tiles[rows - 1];
}

}  // namespace topout
