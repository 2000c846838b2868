// Step 5, `simd`: several rows at once. A tile of C, rows × vectors, stays in registers through a
// whole block of k, and each load serves more than one multiply-add.
//
// `packed` loads a vector of B for every multiply-add. Here, in each step of k, a tile of 6 rows ×
// 4 vectors loads 4 vectors of B and 6 elements of A (each copied to all lanes) for 24
// multiply-adds: 10 loads where there were 24. A core that can load two vectors and do two
// multiply-adds in a cycle needs 12 cycles for the arithmetic and only 5 for the loads. The sums
// are 24, more than the 2 · 4 that hide the latency of a multiply-add.
//
// The tile's size comes from the number of registers: sums + vectors of B + 1 element of A.
//   AVX-512  32 of 16 lanes: 6 × 4 + 4 + 1 = 29
//   AVX, AVX2  16 of 8 lanes: 6 × 2 + 2 + 1 = 15
//   Arm (NEON)  32 of 4 lanes: 6 × 4 + 4 + 1 = 29
//   others (SSE2)  16 of 4 lanes: 4 × 2 + 2 + 1 = 11, and the product, without a fused multiply-add
// One source for all of them: the vectors are those of GCC and Clang (`vector_size`), on which
// + and * work by lanes, and which become whatever instructions the target has.
//
// g++ 12 holds an array in registers for certain only when every loop over it is unrolled before it
// decides where the array lives: hence TOPOUT_UNROLL on each of them. Without it -O3 sends all 24
// sums through the stack before and after the innermost loop, with 144 references to it where there
// are 24 (store_part's), and small changes of the source decide whether it does so in that loop as
// well. A test disassembles this file and looks for them there.
//
// The blocks, of AVX-512: a panel of B, block_k · 64 · 4 = 64 KiB, comes from the second-level
// cache at 256 bytes per 12 cycles, which is well below the 32 to 64 bytes a cycle that it gives;
// so it need not fit the first level, where the tile's rows of A are, 6 · 256 · 4 = 6 KiB. A block
// of A, 48 · 256 · 4 = 48 KiB, is in the second level as well. block_j bounds the packed panels:
// 4 MiB.
//
// What holds it back: rows are dealt out to the threads 48 at a time, so that 64 rows occupy two
// threads badly and 8 rows only one; all threads wait for each other twice per block; and the
// panels are in one place for all. `threaded` is about that.
//
// To run it: topout gemm --shape 1024x1024x1024
// Reached, on a Zen 5 virtual machine, 2 threads: 444 GFLOP/s (1 thread: 224).
#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>

#include "gemm.h"

#if defined(__clang__)
#define TOPOUT_UNROLL _Pragma("clang loop unroll(full)")
#else
#define TOPOUT_UNROLL _Pragma("GCC unroll 16")
#endif

namespace {

#if defined(__AVX512F__)
constexpr int lanes = 16, tile_rows = 6, tile_vectors = 4;
#elif defined(__AVX__)
constexpr int lanes = 8, tile_rows = 6, tile_vectors = 2;
#elif defined(__aarch64__)
constexpr int lanes = 4, tile_rows = 6, tile_vectors = 4;
#else
constexpr int lanes = 4, tile_rows = 4, tile_vectors = 2;
#endif
constexpr std::int64_t width = lanes * tile_vectors;
constexpr std::int64_t block_i = 48, block_j = 4096, block_k = 256;
static_assert(block_i % tile_rows == 0 && block_j % width == 0, "blocks of whole tiles");

constexpr std::align_val_t cache_line{64};

using Vector = float __attribute__((vector_size(4 * lanes), may_alias));
// The same anywhere in memory, as in C.
using VectorInC = float __attribute__((vector_size(4 * lanes), may_alias, aligned(4)));

struct Release {
  void operator()(float* memory) const { ::operator delete(memory, cache_line); }
};
using Buffer = std::unique_ptr<float[], Release>;

// Empty when there is no memory.
Buffer allocate(std::int64_t elements) {
  const std::size_t bytes = static_cast<std::size_t>(elements) * sizeof(float);
  return Buffer(static_cast<float*>(::operator new(bytes, cache_line, std::nothrow)));
}

std::int64_t panels_of(std::int64_t columns) { return (columns + width - 1) / width; }

// `depth` rows of B and up to `width` columns; the columns that are missing become zeros.
void pack_panel(const float* b, std::int64_t ldb, std::int64_t depth, std::int64_t columns,
                float* panel) {
  for (std::int64_t p = 0; p < depth; ++p) {
    std::copy_n(b + p * ldb, columns, panel + p * width);
    std::fill(panel + p * width + columns, panel + (p + 1) * width, 0.0f);
  }
}

// A block of A in slices of tile_rows rows (the last one of fewer), each in the order in which its
// tile reads it: one column of the slice after the other.
void pack_rows(const float* a, std::int64_t lda, std::int64_t rows, std::int64_t depth,
               float* block) {
  for (std::int64_t i = 0; i < rows; i += tile_rows) {
    const std::int64_t height = std::min<std::int64_t>(tile_rows, rows - i);
    float* const slice = block + i * depth;
    for (std::int64_t r = 0; r < height; ++r)
      for (std::int64_t p = 0; p < depth; ++p) slice[p * height + r] = a[(i + r) * lda + p];
  }
}

// The place of a tile in C, and how much of it is inside.
struct Place {
  float* c;
  std::int64_t ldc, columns;
  bool first;  // the first block of k: C is not to be added to
};

template <int Rows>
using Tile = Vector[Rows][tile_vectors];

template <int Rows>
inline void store_whole(const Tile<Rows>& sum, const Place& place) {
  TOPOUT_UNROLL
  for (int r = 0; r < Rows; ++r) {
    TOPOUT_UNROLL
    for (int v = 0; v < tile_vectors; ++v) {
      auto* const to = reinterpret_cast<VectorInC*>(place.c + r * place.ldc + v * lanes);
      *to = place.first ? sum[r][v] : *to + sum[r][v];
    }
  }
}

// At the right edge of C: by way of the stack, and of that only what is inside.
template <int Rows>
inline void store_part(const Tile<Rows>& sum, const Place& place) {
  alignas(64) float tile[Rows][width];
  TOPOUT_UNROLL
  for (int r = 0; r < Rows; ++r) {
    TOPOUT_UNROLL
    for (int v = 0; v < tile_vectors; ++v)
      *reinterpret_cast<Vector*>(&tile[r][v * lanes]) = sum[r][v];
  }
  for (int r = 0; r < Rows; ++r) {
    float* const row = place.c + r * place.ldc;
    for (std::int64_t j = 0; j < place.columns; ++j)
      row[j] = place.first ? tile[r][j] : row[j] + tile[r][j];
  }
}

// The micro-kernel. A function of its own, so that a disassembly shows it under its name.
template <int Rows>
[[gnu::noinline]] void multiply_tile(const float* a, const float* panel, std::int64_t depth,
                                     Place place) {
  Tile<Rows> sum;
  TOPOUT_UNROLL
  for (int r = 0; r < Rows; ++r) {
    TOPOUT_UNROLL
    for (int v = 0; v < tile_vectors; ++v) sum[r][v] = Vector{};
  }
  for (std::int64_t p = 0; p < depth; ++p, a += Rows, panel += width) {
    Vector b[tile_vectors];
    TOPOUT_UNROLL
    for (int v = 0; v < tile_vectors; ++v)
      b[v] = *reinterpret_cast<const Vector*>(panel + v * lanes);
    TOPOUT_UNROLL
    for (int r = 0; r < Rows; ++r) {
      TOPOUT_UNROLL
      for (int v = 0; v < tile_vectors; ++v) sum[r][v] += a[r] * b[v];
    }
  }
  if (place.columns == width)
    store_whole<Rows>(sum, place);
  else
    store_part<Rows>(sum, place);
}

// The micro-kernel for `rows` rows, 1 … tile_rows.
template <int Rows = tile_rows>
void multiply_slice(std::int64_t rows, const float* a, const float* panel, std::int64_t depth,
                    const Place& place) {
  if constexpr (Rows > 1) {
    if (rows < Rows) return multiply_slice<Rows - 1>(rows, a, panel, depth, place);
  }
  multiply_tile<Rows>(a, panel, depth, place);
}

// A block of rows of A, packed first, times all panels. The block is on the stack of its thread,
// where there is always room for 48 KiB.
void multiply_rows(const float* a, std::int64_t lda, const float* panels, std::int64_t depth,
                   float* c, std::int64_t ldc, std::int64_t rows, std::int64_t columns,
                   bool first) {
  alignas(64) float block[block_i * block_k];
  pack_rows(a, lda, rows, depth, block);
  for (std::int64_t j = 0; j < columns; j += width)
    for (std::int64_t i = 0; i < rows; i += tile_rows)
      multiply_slice(std::min<std::int64_t>(tile_rows, rows - i), block + i * depth,
                     panels + j * block_k, depth,
                     {c + i * ldc + j, ldc, std::min(width, columns - j), first});
}

// Without a buffer, or with nothing to sum: the loops of `loop_order`.
void multiply_in_place(const float* a, const float* b, float* c, std::int64_t m, std::int64_t n,
                       std::int64_t k, std::int64_t lda, std::int64_t ldb, std::int64_t ldc,
                       int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::int64_t i = 0; i < m; ++i) {
    std::fill_n(c + i * ldc, n, 0.0f);
    for (std::int64_t p = 0; p < k; ++p)
      for (std::int64_t j = 0; j < n; ++j) c[i * ldc + j] += a[i * lda + p] * b[p * ldb + j];
  }
}

}  // namespace

void gemm(const Input* a, const Input* b, Output* c, std::int64_t m, std::int64_t n,
          std::int64_t k, std::int64_t lda, std::int64_t ldb, std::int64_t ldc, int threads) {
  const Buffer panels = allocate(panels_of(std::min(n, block_j)) * width * block_k);
  if (panels == nullptr || k == 0)
    return multiply_in_place(a, b, c, m, n, k, lda, ldb, ldc, threads);
  for (std::int64_t j0 = 0; j0 < n; j0 += block_j) {
    const std::int64_t columns = std::min(block_j, n - j0);
    for (std::int64_t p0 = 0; p0 < k; p0 += block_k) {
      const std::int64_t depth = std::min(block_k, k - p0);
#pragma omp parallel num_threads(threads)
      {
#pragma omp for schedule(static)
        for (std::int64_t j = 0; j < columns; j += width)
          pack_panel(b + p0 * ldb + j0 + j, ldb, depth, std::min(width, columns - j),
                     panels.get() + j * block_k);
#pragma omp for schedule(static)
        for (std::int64_t i = 0; i < m; i += block_i)
          multiply_rows(a + i * lda + p0, lda, panels.get(), depth, c + i * ldc + j0, ldc,
                        std::min(block_i, m - i), columns, p0 == 0);
      }
    }
  }
}
