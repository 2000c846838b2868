// y = epilogue(x · Wᵀ) over packed weights: which product, how it is blocked, and which thread does
// what.
//
// A thread takes its own panels (those that it packed) and, where there are more threads than
// panels to go round, its own rows. Rows go in blocks of 192, which at K = 768 in fp32 are 590 KB:
// they stay in a second-level cache of 1 MB while all panels pass by, each of which (196 KB) is then
// used for 32 tiles. A long K is cut at 768 steps, with the sums kept for a few panels at a time.
#pragma once

#include "epilogue.h"
#include "shares.h"
#include "unfold.h"

namespace topout {

constexpr std::int64_t kFewRows = 8;       // so many are multiplied straight from int8 and int4
constexpr std::int64_t kBlockRows = 192;   // a multiple of kMostRows
constexpr std::int64_t kMostSteps = 1024;  // a longer K is cut …
constexpr std::int64_t kCutSteps = 768;    // … into pieces of this, and then
constexpr std::int64_t kCutRows = 96;      // rows go in smaller blocks
constexpr std::int64_t kCutPanels = 8;     // whose sums are kept for so many panels at a time
constexpr std::size_t kAlignment = 64;

struct Request {
  const PackedWeights* weights;
  bool dynamic;  // quantize the activations
  const void* x;
  Type x_type;
  std::int64_t m, x_stride;  // elements from row to row
  Output out;
};

enum class Kernel { kFp32, kBf16, kInt8Weight, kInt8, kInt4Weight, kInt4Split, kInt4 };

// How a request is carried out.
struct Method {
  Kernel kernel;
  Rows rows;
  bool unfold;         // panels become fp32 or bf16 first
  std::int64_t steps;  // of the kernel along K

  static Method of(const Request& request) {
    const PackedWeights& w = *request.weights;
    const bool few = request.m <= kFewRows;
    switch (w.format) {
      case Format::kFp32: return {Kernel::kFp32, Rows::kFloat, false, w.steps};
      case Format::kBf16: return {Kernel::kBf16, bf16_rows(), false, w.steps};
      case Format::kInt8:
        if (request.dynamic) return {Kernel::kInt8, Rows::kU8, false, w.steps};
        if (few) return {Kernel::kInt8Weight, Rows::kFloat, false, w.steps};
        break;
      case Format::kInt4:
        if (request.dynamic) return {Kernel::kInt4, Rows::kS8, false, w.steps};
#if defined(TOPOUT_INT4_SPLIT)
        if (few) return {Kernel::kInt4Split, Rows::kSplit, false, w.steps};
#endif
        if (few) return {Kernel::kInt4Weight, Rows::kFloat, false, w.steps};
    }
    const std::int64_t k = (w.k + 7) / 8 * 8;
    if (request.x_type == Type::kBf16 && bf16_rows() == Rows::kBf16)
      return {Kernel::kBf16, Rows::kBf16, true, k / 2};
    return {Kernel::kFp32, Rows::kFloat, true, k};
  }

  static constexpr Rows bf16_rows() {
#if defined(TOPOUT_BF16_DOT)
    return Rows::kBf16;
#else
    return Rows::kFloat;
#endif
  }
};

// Memory of one thread that is kept from call to call.
class Scratch {
 public:
  ~Scratch() { std::free(data_); }

  char* of(std::size_t bytes) {
    if (data_ != nullptr && bytes <= bytes_) return data_;
    std::free(data_);
    bytes_ = (std::max<std::size_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
    data_ = static_cast<char*>(std::aligned_alloc(kAlignment, bytes_));
    if (data_ == nullptr) std::abort();  // some MiB: the process is at its end
    return data_;
  }

 private:
  char* data_ = nullptr;
  std::size_t bytes_ = 0;
};

// Rows of x as the kernel wants them.
struct Prepared {
  const char* x = nullptr;
  std::int64_t stride = 0;  // bytes
  float* scales = nullptr;  // per row: quantized rows alone
  float* sums = nullptr;    // per row and group: int4 alone
  std::int64_t groups = 0;

  // Whether x can be read where it is.
  bool in_place(const Request& request, const Method& method) {
    const PackedWeights& w = *request.weights;
    const bool fits = w.k % values_per_word(w.format) == 0;
    const bool floats = method.rows == Rows::kFloat && request.x_type == Type::kFp32;
    const bool halves = method.rows == Rows::kBf16 && request.x_type == Type::kBf16;
    const bool sums = w.format == Format::kInt4 && !method.unfold;
    if (sums || !(floats ? fits && (!method.unfold || w.k % 8 == 0)
                         : halves && w.k % (method.unfold ? 8 : 2) == 0))
      return false;
    x = static_cast<const char*>(request.x);
    stride = request.x_stride * size_of(request.x_type);
    return true;
  }

  static std::size_t bytes(const Request& request, const Method& method) {
    const std::int64_t row = row_bytes(method.rows, request.weights->k);
    return static_cast<std::size_t>(request.m * (row + 64 + sums_bytes(request)));
  }

  static std::int64_t sums_bytes(const Request& request) {
    const PackedWeights& w = *request.weights;
    return w.format == Format::kInt4 ? (w.k / w.group * 4 + 63) / 64 * 64 : 0;
  }

  void place(const Request& request, const Method& method, char* memory) {
    const PackedWeights& w = *request.weights;
    stride = row_bytes(method.rows, w.k);
    groups = sums_bytes(request) / 4;
    x = memory;
    sums = reinterpret_cast<float*>(memory + request.m * stride);
    scales = sums + request.m * groups;
  }

  void fill(const Request& request, const Method& method, std::int64_t row, Scratch& widened) {
    const PackedWeights& w = *request.weights;
    const void* from = static_cast<const char*>(request.x) +
                       row * request.x_stride * size_of(request.x_type);
    char* to = const_cast<char*>(x) + row * stride;
    if (method.rows == Rows::kBf16) {
      bf16_row(from, request.x_type, w.k, to);
      std::memset(to + w.k * 2, 0, static_cast<std::size_t>(stride - w.k * 2));
      return;
    }
    auto* scratch = reinterpret_cast<float*>(widened.of(static_cast<std::size_t>(w.k) * 4));
    const float* floats = float_row(from, request.x_type, w.k, scratch);
    if (method.rows == Rows::kU8) {
      scales[row] = quantize_u8(floats, w.k, to);
    } else if (method.rows == Rows::kS8) {
      scales[row] = quantize_s8(floats, w.k, w.group, to, sums + row * groups);
    } else {
      if (w.format == Format::kInt4) group_sums(floats, w.k, w.group, sums + row * groups);
      if (method.rows == Rows::kSplit) return split_row(floats, w.k, to);
      std::memcpy(to, floats, static_cast<std::size_t>(w.k) * 4);
      std::memset(to + w.k * 4, 0, static_cast<std::size_t>(stride - w.k * 4));
    }
  }
};

template <class Product>
inline Tile tile_for(int rows, std::int64_t columns) {
#if TOPOUT_VECTOR_BYTES == 64
  if (columns == 64) return tile_of<Product, 4>(rows);
  if (columns == 32) return tile_of<Product, 2>(rows);
#endif
  (void)columns;
  return tile_of<Product, 16 / kLanes>(rows);
}

inline Tile tile_for(Kernel kernel, int rows, std::int64_t columns) {
  switch (kernel) {
    case Kernel::kFp32: return tile_for<Fp32Product>(rows, columns);
    case Kernel::kBf16: return tile_for<Bf16Product>(rows, columns);
    case Kernel::kInt8: return tile_for<Int8Product>(rows, columns);
    default: return tile_for<Int8WeightProduct>(rows, columns);
  }
}

// The same for weights in groups. Four vectors of sums and four of totals leave no registers for a
// third row: then a panel is taken in two halves.
template <class Product>
inline void multiply_groups(int rows, std::int64_t columns, GroupWork work) {
#if TOPOUT_VECTOR_BYTES == 64
  if (columns == 64 && rows <= 2) return group_tile_of<Product, 4>(rows)(work);
  if (columns >= 32) {
    for (std::int64_t c = 0; c < columns; c += 32) {
      group_tile_of<Product, 2>(rows)(work);
      work.tile.panel += 32 * 4;
      work.tile.sums += 32 * 4;
      work.scales += 32 * 2;
    }
    return;
  }
#endif
  (void)columns;
  group_tile_of<Product, 16 / kLanes>(rows)(work);
}

// One thread's part of a request.
class Worker {
 public:
  Worker(const Request& request, const Method& method, const Prepared& x, Scratch& scratch)
      : request_(request), w_(*request.weights), method_(method), x_(x), scratch_(scratch) {}

  void run(std::int64_t row, std::int64_t last_row, std::int64_t panel, std::int64_t last_panel) {
    const bool cut = method_.steps > kMostSteps && last_row - row > kFewRows && !in_groups();
    const std::int64_t block = cut ? kCutRows : kBlockRows, panels = cut ? kCutPanels : 1;
    piece_ = cut ? kCutSteps : method_.steps;
    reserve(cut ? panels : 1);
    for (; row < last_row; row += block) {
      const std::int64_t end = std::min(row + block, last_row);
      for (std::int64_t p = panel; p < last_panel; p += panels)
        run_panels(row, end, p, std::min(p + panels, last_panel));
    }
  }

 private:
  bool in_groups() const {
    return method_.kernel == Kernel::kInt4 || method_.kernel == Kernel::kInt4Weight ||
           method_.kernel == Kernel::kInt4Split;
  }

  void reserve(std::int64_t panels) {
    const std::int64_t tile_bytes = w_.panel_columns * 4;
    sums_bytes_ = panels * kBlockRows * tile_bytes;
    const std::int64_t unfolded = method_.unfold ? piece_ * tile_bytes : 0;
    sums_ = scratch_.of(static_cast<std::size_t>(sums_bytes_ + unfolded));
  }

  void run_panels(std::int64_t row, std::int64_t last_row, std::int64_t panel,
                  std::int64_t last_panel) {
    for (std::int64_t step = 0; step < method_.steps || step == 0; step += piece_) {
      const std::int64_t steps = std::min(piece_, method_.steps - step);
      for (std::int64_t p = panel; p < last_panel; ++p) {
        const char* weights = panel_at(p, step, steps);
        run_rows(row, last_row, p, p - panel, weights, step, steps);
      }
      if (steps <= 0) break;
    }
  }

  const char* panel_at(std::int64_t panel, std::int64_t step, std::int64_t steps) {
    if (!method_.unfold)
      return w_.data + panel * w_.panel_bytes + step * w_.panel_columns * 4;
    const std::int64_t per = method_.rows == Rows::kBf16 ? 2 : 1;
    char* out = sums_ + sums_bytes_;
    unfold_panel(w_, panel, step * per, steps * per, per == 2, out);
    return out;
  }

  // Rows in tiles of equal height or one less: 32 are 6, 6, 5, 5, 5, 5.
  void run_rows(std::int64_t row, std::int64_t last_row, std::int64_t panel, std::int64_t slot,
                const char* weights, std::int64_t step, std::int64_t steps) {
    const std::int64_t count = last_row - row;
    const std::int64_t tiles = (count + kMostRows - 1) / kMostRows;
    const bool whole = steps == method_.steps;
    for (std::int64_t t = 0; t < tiles; ++t) {
      const std::int64_t first = count * t / tiles, rows = count * (t + 1) / tiles - first;
      const std::int64_t at = whole ? 0 : slot * kBlockRows + first;
      char* sums = sums_ + at * w_.panel_columns * 4;
      multiply(row + first, static_cast<int>(rows), panel, weights, step, steps, sums);
      if (step + steps < method_.steps) continue;
      const float* scales = x_.scales == nullptr ? nullptr : x_.scales + row + first;
      finish(w_, panel, sums, w_.panel_columns, row + first, static_cast<int>(rows), method_.rows,
             is_quantized() ? scales : nullptr, request_.out);
    }
  }

  bool is_quantized() const { return method_.rows == Rows::kU8 || method_.rows == Rows::kS8; }

  void multiply(std::int64_t row, int rows, std::int64_t panel, const char* weights,
                std::int64_t step, std::int64_t steps, char* sums) const {
    const std::int64_t step_bytes = x_step_bytes();
    const char* x = x_.x + row * x_.stride + step * step_bytes;
    const std::int64_t columns = w_.panel_columns;
    TileWork work{x, x_.stride, weights, columns * 4, steps, sums, columns, step > 0};
    if (!in_groups()) return tile_for(method_.kernel, rows, columns)(work);
    (void)panel;
    work.steps = w_.group / 8;
    const GroupWork groups{work,
                           w_.k / w_.group,
                           w_.group_bytes,
                           weights + work.steps * columns * 4,
                           columns * 2,
                           x_.sums + row * x_.groups,
                           x_.groups};
    switch (method_.kernel) {
      case Kernel::kInt4: return multiply_groups<Int4Product>(rows, columns, groups);
#if defined(TOPOUT_INT4_SPLIT)
      case Kernel::kInt4Split: return multiply_groups<Int4SplitProduct>(rows, columns, groups);
#endif
      default: return multiply_groups<Int4WeightProduct>(rows, columns, groups);
    }
  }

  // Bytes of x that one step of the kernel takes.
  std::int64_t x_step_bytes() const {
    const std::int64_t per = method_.unfold ? (method_.rows == Rows::kBf16 ? 2 : 1)
                                            : values_per_word(w_.format);
    const bool wide = method_.rows == Rows::kFloat || method_.rows == Rows::kSplit;
    return per * (wide ? 4 : method_.rows == Rows::kBf16 ? 2 : 1);
  }

  const Request& request_;
  const PackedWeights& w_;
  const Method& method_;
  const Prepared& x_;
  Scratch& scratch_;
  char* sums_ = nullptr;
  std::int64_t sums_bytes_ = 0;
  std::int64_t piece_ = 0;
};

inline void multiply(const Request& request, int threads) {
  static thread_local Scratch shared;
  const Method method = Method::of(request);
  Prepared prepared;
  const bool in_place = prepared.in_place(request, method);
  const bool few = request.m <= kFewRows;
  if (!in_place && !few)
    prepared.place(request, method, shared.of(Prepared::bytes(request, method)));
  const std::int64_t tiles = few ? 1 : (request.m + kMostRows - 1) / kMostRows;
  const int parts = row_parts(tiles, request.weights->panels, threads);
#pragma omp parallel num_threads(threads)
  {
    static thread_local Scratch own, scratch, widened;
    Prepared mine = prepared;
    if (!in_place && few) {
      // A few rows are sooner prepared by every thread than waited for.
      mine.place(request, method, own.of(Prepared::bytes(request, method)));
      for (std::int64_t row = 0; row < request.m; ++row) mine.fill(request, method, row, widened);
    } else if (!in_place) {
#pragma omp for schedule(static)
      for (std::int64_t row = 0; row < request.m; ++row) mine.fill(request, method, row, widened);
    }
    Worker worker(request, method, mine, scratch);
    // The system may give fewer threads than were asked for.
    for (int part = team_member(); part < threads; part += team_size()) {
      std::int64_t row, last_row, panel, last_panel;
      share_of(request.m, part % parts, parts, &row, &last_row);
      share_of(request.weights->panels, part / parts, threads / parts, &panel, &last_panel);
      worker.run(row, last_row, panel, last_panel);
    }
  }
}

}  // namespace topout
