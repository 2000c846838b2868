// Step 4, `packed`: blocks of A and B are copied, in the order in which they will be read, into
// buffers of our own; and a piece of C waits in registers until its block of k is done.
//
// B is cut into panels: `width` columns, row after row without a gap, aligned to cache lines.
// - A panel is contiguous. In place its 64 rows of 512 bytes would lie 4096 bytes apart: as many
//   memory pages and, at such strides, the same few sets of the cache. Packed it is 32 KiB in 8
//   pages, and no load crosses the end of a cache line.
// - A panel has the same width everywhere, since the last one is filled up with zeros. So the
//   compiler knows the length of the innermost loop, unrolls it whole, and keeps the sums in
//   registers: a multiply-add comes with one load of B; the loads and stores of C are gone from
//   the loop.
// - The copies cost k · n elements for m · n · k multiply-adds: one copied element in m.
//
// The sizes: width is 8 vectors, because a core that starts two multiply-adds a cycle, each of
// which takes 4 cycles, is busy with 8 independent sums, and not with fewer. At 8 · 16 = 128
// columns (AVX-512), block_k = 64 makes a panel of 128 · 64 · 4 = 32 KiB (AVX2: 16 KiB): it
// stays in a first-level cache of 48 KiB while the block_i rows of A go over it. The block of A,
// 64 · 64 · 4 = 16 KiB, stays in the second-level one. block_j bounds the memory of the packed
// panels: 1 MiB.
//
// What holds it back: a load of B for each multiply-add, and A's elements besides. A core that
// loads two vectors a cycle could just keep up with two multiply-adds a cycle, if each panel were
// in the first-level cache whenever it is wanted. Several rows at once would use each load several
// times: the next step.
//
// To run it: topout gemm --shape 1024x1024x1024
// Reached, on a Zen 5 virtual machine, 2 threads: 357 GFLOP/s (1 thread: 181).
#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>

#include "gemm.h"

namespace {

#if defined(__AVX512F__)
constexpr std::int64_t lanes = 16;
#elif defined(__AVX__)
constexpr std::int64_t lanes = 8;
#else
constexpr std::int64_t lanes = 4;
#endif
constexpr std::int64_t width = 8 * lanes, block_i = 64, block_j = 4096, block_k = 64;
constexpr std::align_val_t cache_line{64};

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

// One row of a block of A times one panel, into C or, from the second block of k on, added to it.
void multiply_row(const float* a, const float* panel, std::int64_t depth, float* c,
                  std::int64_t columns, bool first) {
  float sum[width] = {};
  for (std::int64_t p = 0; p < depth; ++p)
    for (std::int64_t j = 0; j < width; ++j) sum[j] += a[p] * panel[p * width + j];
  for (std::int64_t j = 0; j < columns; ++j) c[j] = first ? sum[j] : c[j] + sum[j];
}

// A block of rows of A, packed first, times all panels. The block is on the stack of its thread,
// where there is always room for 16 KiB.
void multiply_rows(const float* a, std::int64_t lda, const float* panels, std::int64_t depth,
                   float* c, std::int64_t ldc, std::int64_t rows, std::int64_t columns,
                   bool first) {
  alignas(64) float block[block_i * block_k];
  for (std::int64_t i = 0; i < rows; ++i) std::copy_n(a + i * lda, depth, block + i * depth);
  for (std::int64_t j = 0; j < columns; j += width)
    for (std::int64_t i = 0; i < rows; ++i)
      multiply_row(block + i * depth, panels + j * block_k, depth, c + i * ldc + j,
                   std::min(width, columns - j), first);
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
