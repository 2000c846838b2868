// What `threaded`, `prepacked`, `bf16` and `int8` have in common: the micro-kernel of the native
// linear layers (tile.h), and blocks for each level of the cache hierarchy around it.
//
//   registers  a tile of C: 6 rows × 64 columns are 24 sums (AVX-512; AVX2: 6 × 16 are 12)
//   L1         6 rows of A, a piece of K long: 6 · 768 · 4 = 18 KiB, read again for each panel
//   L2         a panel of B, 64 columns × 768 steps = 192 KiB, read again for each tile of rows,
//              and a block of rows of A, 192 · 768 · 4 = 576 KiB, read again for each panel
//   L3         all panels, read again for each block of rows
//
// A step is one 32-bit word of each column: one value in fp32, two in bf16, four in int8. Up to
// 1024 steps K is not cut, so that C is written once; a longer K is cut every 768 steps, and then a
// block is 96 rows × 8 panels, whose piece of C waits in the second-level cache.
//
// A thread has a fixed share of rows and columns: no queue, no lock, nobody waits before the end.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>

#include "gemm.h"
#include "huge_pages.h"
#include "shares.h"
#include "tile.h"

namespace blocked {

using topout::kLanes;
using topout::kMostRows;

#if defined(TOPOUT_GEMM_BF16)
using Product = topout::Bf16Product;
constexpr std::int64_t per_step = 2;
#elif defined(TOPOUT_GEMM_INT8)
using Product = topout::Int8Product;
constexpr std::int64_t per_step = 4;
#else
using Product = topout::Fp32Product;
constexpr std::int64_t per_step = 1;
#endif

constexpr int vectors = topout::kVectorBytes == 64 ? 4 : 16 / kLanes;
constexpr std::int64_t width = vectors * kLanes;  // columns of a panel
constexpr std::int64_t step_bytes = width * 4;    // of a panel
constexpr std::int64_t block_rows = 192, most_steps = 1024;
constexpr std::int64_t cut_rows = 96, cut_steps = 768, cut_panels = 8;

inline std::int64_t steps_of(std::int64_t k) { return (k + per_step - 1) / per_step; }
inline std::int64_t panels_of(std::int64_t n) { return (n + width - 1) / width; }

struct Release {
  void operator()(char* memory) const { topout::huge_pages().release(memory); }
};
using Memory = std::unique_ptr<char, Release>;

// Empty when there is no memory.
inline Memory allocate(std::int64_t bytes) {
  return Memory(static_cast<char*>(topout::huge_pages().allocate(static_cast<std::size_t>(bytes))));
}

// Memory that is kept from call to call, and grows.
class Scratch {
 public:
  // nullptr when there is no memory.
  char* of(std::int64_t bytes) {
    if (memory_ != nullptr && bytes <= bytes_) return memory_.get();
    memory_.reset();
    memory_ = allocate(bytes);
    bytes_ = memory_ == nullptr ? 0 : bytes;
    return memory_.get();
  }

 private:
  Memory memory_;
  std::int64_t bytes_ = 0;
};

// Columns of B in panels: word by word along K, `width` columns side by side; what is missing at
// the right and below is zero. int8: after the panels, −128 · Σ B[·][j] of each column, where its
// sums start, since the instruction wants one factor unsigned and gets A + 128.
struct Panels {
  std::int64_t n, k;
  char* data;

  static std::int64_t bytes(std::int64_t n, std::int64_t k) {
    return panels_of(n) * (steps_of(k) * step_bytes + (sizeof(Input) == 1 ? step_bytes : 0));
  }

  char* panel(std::int64_t index) const { return data + index * steps_of(k) * step_bytes; }
  Output* start(std::int64_t index) const {
    return reinterpret_cast<Output*>(panel(panels_of(n)) + index * step_bytes);
  }

  void fill(std::int64_t index, const Input* b, std::int64_t ldb) const {
    const std::int64_t first = index * width, columns = std::min(width, n - first);
    auto* to = reinterpret_cast<Input*>(panel(index));
    for (std::int64_t p = 0; p < steps_of(k) * per_step; p += per_step, to += width * per_step)
      for (std::int64_t i = 0; i < per_step; ++i) {
        const Input* const row = b + (p + i) * ldb + first;
        const std::int64_t present = p + i < k ? columns : 0;
        for (std::int64_t j = 0; j < present; ++j) to[j * per_step + i] = row[j];
        for (std::int64_t j = present; j < width; ++j) to[j * per_step + i] = 0;
      }
    if (sizeof(Input) == 1) sum_columns(index);
  }

 private:
  void sum_columns(std::int64_t index) const {
    const auto* values = reinterpret_cast<const Input*>(panel(index));
    Output* const sums = start(index);
    std::fill_n(sums, width, Output{});
    for (std::int64_t p = 0; p < steps_of(k); ++p, values += width * per_step)
      for (std::int64_t j = 0; j < width * per_step; ++j)
        sums[j / per_step] -= static_cast<Output>(128 * values[j]);
  }
};

// Rows of A as the product reads them. fp32: where they are. bf16 and int8: copied, so that the
// last word of a row is whole, and (int8) with 128 added to each value.
struct Rows {
  const Input* a;
  std::int64_t lda, k;
  char* copy;

#if defined(TOPOUT_GEMM_BF16) && !defined(TOPOUT_BF16_DOT)
  using Value = float;  // what the widened product wants
#else
  using Value = std::conditional_t<sizeof(Input) == 1, std::uint8_t, Input>;
#endif

  static constexpr bool in_place = sizeof(Input) == 4;

  static std::int64_t stride(std::int64_t k) {
    return (steps_of(k) * per_step * static_cast<std::int64_t>(sizeof(Value)) + 63) / 64 * 64;
  }

  std::int64_t stride() const { return in_place ? lda * 4 : stride(k); }

  // Where step number `step` of a row begins.
  const char* at(std::int64_t row, std::int64_t step) const {
    const char* const first = in_place ? reinterpret_cast<const char*>(a) : copy;
    return first + row * stride() + step * per_step * static_cast<std::int64_t>(sizeof(Value));
  }

  void fill(std::int64_t row) const {
    const Input* const from = a + row * lda;
    auto* const to = reinterpret_cast<Value*>(copy + row * stride());
    for (std::int64_t p = 0; p < k; ++p) {
#if defined(TOPOUT_GEMM_INT8)
      to[p] = static_cast<Value>(from[p] + 128);
#elif defined(TOPOUT_GEMM_BF16) && !defined(TOPOUT_BF16_DOT)
      to[p] = topout::bf16_to_float(from[p]);
#else
      to[p] = static_cast<Value>(from[p]);
#endif
    }
    std::fill(to + k, to + steps_of(k) * per_step, Value{});
  }
};

// What one thread computes: [row, last_row) of C, and panels [panel, last_panel) of its columns.
struct Share {
  std::int64_t row, last_row, panel, last_panel;
};

class Multiplication {
 public:
  Multiplication(const Rows& a, const Panels& b, Output* c, std::int64_t ldc)
      : a_(a), b_(b), c_(c), ldc_(ldc), steps_(steps_of(b.k)) {}

  void run(const Share& share) const {
    const bool cut = steps_ > most_steps;
    const std::int64_t rows = cut ? cut_rows : block_rows, panels = cut ? cut_panels : 1;
    const std::int64_t piece = cut ? cut_steps : std::max<std::int64_t>(steps_, 1);
    for (std::int64_t row = share.row; row < share.last_row; row += rows)
      for (std::int64_t panel = share.panel; panel < share.last_panel; panel += panels)
        for (std::int64_t step = 0; step < std::max<std::int64_t>(steps_, 1); step += piece)
          for (std::int64_t p = panel; p < std::min(panel + panels, share.last_panel); ++p)
            run_rows(row, std::min(row + rows, share.last_row), p, step,
                     std::min(piece, steps_ - step));
  }

 private:
  // Tiles of equal height or one less: 32 rows are 6, 6, 5, 5, 5, 5.
  void run_rows(std::int64_t row, std::int64_t last_row, std::int64_t panel, std::int64_t step,
                std::int64_t steps) const {
    const std::int64_t count = last_row - row, tiles = (count + kMostRows - 1) / kMostRows;
    for (std::int64_t t = 0; t < tiles; ++t) {
      const std::int64_t first = count * t / tiles;
      const auto rows = static_cast<int>(count * (t + 1) / tiles - first);
      run_tile(row + first, rows, panel, step, steps);
    }
  }

  // Straight into C where the panel is whole; the last one by way of a buffer.
  void run_tile(std::int64_t row, int rows, std::int64_t panel, std::int64_t step,
                std::int64_t steps) const {
    Output* const c = c_ + row * ldc_ + panel * width;
    const std::int64_t columns = std::min(width, b_.n - panel * width);
    if (columns == width) return add(row, rows, panel, step, steps, c, ldc_);
    alignas(64) Output sums[kMostRows * width];
    if (step > 0)
      for (int r = 0; r < rows; ++r) std::copy_n(c + r * ldc_, columns, sums + r * width);
    add(row, rows, panel, step, steps, sums, width);
    for (int r = 0; r < rows; ++r) std::copy_n(sums + r * width, columns, c + r * ldc_);
  }

  void add(std::int64_t row, int rows, std::int64_t panel, std::int64_t step, std::int64_t steps,
           Output* sums, std::int64_t stride) const {
    if (sizeof(Input) == 1 && step == 0)
      for (int r = 0; r < rows; ++r) std::copy_n(b_.start(panel), width, sums + r * stride);
    topout::tile_of<Product, vectors>(rows)({a_.at(row, step), a_.stride(),
                                             b_.panel(panel) + step * step_bytes, step_bytes,
                                             steps, reinterpret_cast<char*>(sums), stride,
                                             sizeof(Input) == 1 || step > 0});
  }

  const Rows& a_;
  const Panels& b_;
  Output* c_;
  std::int64_t ldc_, steps_;
};

// The part of C that part number `part` of `threads` computes, the rows being cut into `parts`.
inline Share share_of(std::int64_t m, std::int64_t panels, int part, int parts, int threads) {
  Share share{};
  topout::share_of(m, part % parts, parts, &share.row, &share.last_row);
  topout::share_of(panels, part / parts, threads / parts, &share.panel, &share.last_panel);
  return share;
}

// For fewer multiply-adds than this, waking the other threads takes longer.
constexpr std::int64_t worth_sharing = 1 << 16;

inline int threads_for(std::int64_t m, std::int64_t n, std::int64_t k, int threads) {
  return m * n < worth_sharing && m * n * k < worth_sharing ? 1 : std::max(threads, 1);
}

// C ← A · B for packed B, after `pack(panel)` for each panel that was not packed ahead.
template <class Pack>
void multiply(const Rows& a, const Panels& b, Output* c, std::int64_t m, std::int64_t ldc,
              int threads, const Pack& pack) {
  const std::int64_t panels = panels_of(b.n);
  const int parts = topout::row_parts((m + kMostRows - 1) / kMostRows, panels, threads);
#pragma omp parallel num_threads(threads)
  {
    // The system may give fewer threads than were asked for: then one takes several parts.
    for (int part = topout::team_member(); part < threads; part += topout::team_size()) {
      std::int64_t first, last;
      topout::share_of(panels, part, threads, &first, &last);
      for (std::int64_t panel = first; panel < last; ++panel) pack(panel);
      topout::share_of(Rows::in_place ? 0 : m, part, threads, &first, &last);
      for (std::int64_t row = first; row < last; ++row) a.fill(row);
    }
#pragma omp barrier
    for (int part = topout::team_member(); part < threads; part += topout::team_size())
      Multiplication(a, b, c, ldc).run(share_of(m, panels, part, parts, threads));
  }
}

// Without memory for panels: the definition.
inline void multiply_in_place(const Input* a, const Input* b, Output* c, std::int64_t m,
                              std::int64_t n, std::int64_t k, std::int64_t lda, std::int64_t ldb,
                              std::int64_t ldc) {
  const auto value = [](Input input) {
#if defined(TOPOUT_GEMM_BF16)
    return topout::bf16_to_float(input);
#else
    return static_cast<Output>(input);
#endif
  };
  for (std::int64_t i = 0; i < m; ++i) {
    std::fill_n(c + i * ldc, n, Output{});
    for (std::int64_t p = 0; p < k; ++p)
      for (std::int64_t j = 0; j < n; ++j)
        c[i * ldc + j] += value(a[i * lda + p]) * value(b[p * ldb + j]);
  }
}

// C ← A · B, B being packed on the way, so many columns at a time that their panels stay in the
// third-level cache.
inline void multiply_unpacked(const Input* a, const Input* b, Output* c, std::int64_t m,
                              std::int64_t n, std::int64_t k, std::int64_t lda, std::int64_t ldb,
                              std::int64_t ldc, int threads) {
  static thread_local Scratch panels, copies;
  constexpr std::int64_t chunk_bytes = 16 << 20;
  const std::int64_t at_once = chunk_bytes / (std::max<std::int64_t>(steps_of(k), 1) * step_bytes);
  const std::int64_t chunk = std::max<std::int64_t>(at_once / threads, 1) * threads * width;
  char* const copy = Rows::in_place ? nullptr : copies.of(m * Rows::stride(k));
  char* const memory = panels.of(Panels::bytes(std::min(n, chunk), k));
  if (memory == nullptr || (copy == nullptr && !Rows::in_place))
    return multiply_in_place(a, b, c, m, n, k, lda, ldb, ldc);
  const Rows rows{a, lda, k, copy};
  for (std::int64_t j = 0; j < n; j += chunk) {
    const Panels part{std::min(chunk, n - j), k, memory};
    multiply(rows, part, c + j, m, ldc, threads_for(m, n, k, threads),
             [&](std::int64_t panel) { part.fill(panel, b + j, ldb); });
  }
}

// B packed ahead, with the memory it is in.
struct Packed {
  Panels panels;
  Memory memory;
};

// nullptr when there is no memory. Each thread packs, and so touches first, what it will read.
inline Packed* pack(const Input* b, std::int64_t n, std::int64_t k, std::int64_t ldb, int threads) {
  Memory memory = allocate(Panels::bytes(n, k));
  if (memory == nullptr) return nullptr;
  const Panels panels{n, k, memory.get()};
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int part = 0; part < threads; ++part) {
    std::int64_t first, last;
    topout::share_of(panels_of(n), part, threads, &first, &last);
    for (std::int64_t panel = first; panel < last; ++panel) panels.fill(panel, b, ldb);
  }
  return new (std::nothrow) Packed{panels, std::move(memory)};
}

// C ← A · B for a B that `pack` packed.
inline void multiply_packed(const Input* a, const Packed& b, Output* c, std::int64_t m,
                            std::int64_t lda, std::int64_t ldc, int threads) {
  static thread_local Scratch copies;
  const std::int64_t n = b.panels.n, k = b.panels.k;
  char* const copy = Rows::in_place ? nullptr : copies.of(m * Rows::stride(k));
  if (copy == nullptr && !Rows::in_place) std::abort();  // gemm_packed cannot say so
  multiply(Rows{a, lda, k, copy}, b.panels, c, m, ldc, threads_for(m, n, k, threads),
           [](std::int64_t) {});
}

}  // namespace blocked
