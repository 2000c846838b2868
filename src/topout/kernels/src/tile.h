// The micro-kernel: `rows` × `vectors` sums held in registers while K is walked once.
//
// AVX-512 has 32 registers: 6 rows × 4 vectors are 24 sums, 4 hold weights, and the activations are
// broadcast by the multiply-add itself. Per step 24 multiply-adds meet 10 loads, where the CPU can
// do one load per multiply-add; 24 sums are three times what hides a latency of 4 at 2 a cycle.
// One chain of additions per sum, in the order of K: the bits do not depend on rows, on how K is
// cut into blocks, or on the number of threads.
#pragma once

#include <utility>

#include "products.h"

namespace topout {

constexpr int kMostRows = 6;
// Sums that a group of weights adds up before it is scaled, beside those that it is scaled into,
// leave room for fewer columns at a time.
#if TOPOUT_VECTOR_BYTES == 64
constexpr int kPrefetchBytes = 4096;
#else
constexpr int kPrefetchBytes = 1024;
#endif

// What a tile reads and writes. A row of the panel holds `panel_bytes` per step; rows of x lie
// `x_stride` bytes apart; `sums` takes `sums_stride` 32-bit values per row.
struct TileWork {
  const char* x;
  std::int64_t x_stride;
  const char* panel;
  std::int64_t panel_bytes;
  std::int64_t steps;
  char* sums;
  std::int64_t sums_stride;
  bool accumulate;  // add to what is in `sums`
};

template <class Product, int rows, int vectors, int... parts>
inline __attribute__((always_inline)) void take_step(
    typename Product::Sum (&sums)[rows][vectors], const TileWork& work, const char* weights,
    std::int64_t step, std::integer_sequence<int, parts...>) {
  Words words[vectors];
  TOPOUT_UNROLLED for (int v = 0; v < vectors; ++v)
    words[v] = load<Words>(weights + v * kVectorBytes);
  (
      [&] {
        using Operand = decltype(Product::template unfold<parts>(words[0]));
        Operand w[vectors];
        TOPOUT_UNROLLED for (int v = 0; v < vectors; ++v)
          w[v] = Product::template unfold<parts>(words[v]);
        TOPOUT_UNROLLED for (int r = 0; r < rows; ++r) {
          const auto x = Product::template broadcast<parts>(work.x + r * work.x_stride, step);
          TOPOUT_UNROLLED for (int v = 0; v < vectors; ++v)
            sums[r][v] = Product::add(sums[r][v], x, w[v]);
        }
      }(),
      ...);
}

template <class Product, int rows, int vectors>
__attribute__((noinline)) void tile(const TileWork& given) {
  using Sum = typename Product::Sum;
  const TileWork work = given;
  Sum sums[rows][vectors];
  TOPOUT_UNROLLED for (int r = 0; r < rows; ++r)
    TOPOUT_UNROLLED for (int v = 0; v < vectors; ++v)
      sums[r][v] = work.accumulate
                       ? load<Sum>(work.sums + (r * work.sums_stride + v * kLanes) * 4)
                       : Sum{};
  const char* weights = work.panel;
  for (std::int64_t step = 0; step < work.steps; ++step) {
    if constexpr (rows == 1)
      TOPOUT_UNROLLED for (int v = 0; v < vectors * kVectorBytes / 64; ++v)
        __builtin_prefetch(weights + kPrefetchBytes + v * 64);
    take_step<Product, rows, vectors>(sums, work, weights, step,
                                      std::make_integer_sequence<int, Product::parts>{});
    weights += work.panel_bytes;
  }
  TOPOUT_UNROLLED for (int r = 0; r < rows; ++r)
    TOPOUT_UNROLLED for (int v = 0; v < vectors; ++v)
      store(work.sums + (r * work.sums_stride + v * kLanes) * 4, sums[r][v]);
}

using Tile = void (*)(const TileWork&);

// The tile of so many rows, 1 to kMostRows.
template <class Product, int vectors>
inline Tile tile_of(int rows) {
  static constexpr Tile tiles[kMostRows] = {
      tile<Product, 1, vectors>, tile<Product, 2, vectors>, tile<Product, 3, vectors>,
      tile<Product, 4, vectors>, tile<Product, 5, vectors>, tile<Product, 6, vectors>,
  };
  return tiles[rows - 1];
}

}  // namespace topout
