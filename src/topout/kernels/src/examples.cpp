// The worked examples of the roofline that stream through memory, in doubles: axpy and a 7-point
// stencil. The team of threads is made by the ceilings library, from the same header. A trial
// returns the seconds from the first thread's beginning to the last one's end; the C ABI is the
// whole interface.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

#include "thread_team.h"

namespace {

using topout::ThreadTeam;
using Clock = std::chrono::steady_clock;

struct Share {
  std::int64_t from, to;
};

// Items from … to of `count` belong to one thread, in every pass and when memory is first touched.
Share share_of(std::int64_t count, int thread, int threads) {
  return {count * thread / threads, count * (thread + 1) / threads};
}

// No pass may be merged with the next: each has to go through memory again.
inline void finish_pass() { asm volatile("" ::: "memory"); }

// SplitMix64 of the index: 0.5 … 1.5, random, never zero, the same for any number of threads.
double random_double(std::uint64_t seed, std::int64_t index) {
  std::uint64_t bits = seed + 0x9E3779B97F4A7C15u * (static_cast<std::uint64_t>(index) + 1);
  bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9u;
  bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBu;
  bits ^= bits >> 31;
  return 0.5 + static_cast<double>(bits >> 11) * 0x1.0p-53;
}

void axpy(double a, const double* __restrict x, double* __restrict y, Share share) {
  for (std::int64_t i = share.from; i < share.to; ++i) y[i] += a * x[i];
}

void stencil_row(const double* __restrict in, double* __restrict out, std::int64_t n,
                 std::int64_t row, std::int64_t plane) {
  for (std::int64_t k = 1; k <= n; ++k) {
    const double* const at = in + k;
    out[k] = (at[0] + at[-1] + at[1] + at[-row] + at[row] + at[-plane] + at[plane]) * (1.0 / 7.0);
  }
}

// One plane after another: of `in` three planes are in use at a time, so that a cache which holds
// them serves all but one of the seven loads. (No gain on 2 cores with 1 MB of second cache each
// from blocks of rows that fit it, nor from prefetching rows ahead: 16 GFLOP/s all three.)
void stencil(const double* __restrict in, double* __restrict out, std::int64_t n, Share share) {
  const std::int64_t row = n + 2, plane = row * row;
  for (std::int64_t i = share.from + 1; i <= share.to; ++i)
    for (std::int64_t j = 1; j <= n; ++j)
      stencil_row(in + i * plane + j * row, out + i * plane + j * row, n, row, plane);
}

// Runs `pass(thread, number)` `passes` times on every thread of the team.
template <class Pass>
double seconds_of(ThreadTeam* team, std::int64_t passes, const Pass& pass) {
  struct Span {
    Clock::time_point begin, end;
  };
  std::vector<Span> spans(static_cast<std::size_t>(team->size()));
  team->run([&](int thread) {
    team->barrier().wait();
    Span span;
    span.begin = Clock::now();
    for (std::int64_t number = 0; number < passes; ++number) {
      pass(thread, number);
      finish_pass();
    }
    span.end = Clock::now();
    spans[static_cast<std::size_t>(thread)] = span;
  });
  Clock::time_point begin = spans.front().begin, end = spans.front().end;
  for (const Span& span : spans) {
    begin = std::min(begin, span.begin);
    end = std::max(end, span.end);
  }
  return std::chrono::duration<double>(end - begin).count();
}

}  // namespace

extern "C" {

// `items` of `item_doubles` each, first touched by the thread whose share of the items they are.
void topout_fill_doubles(ThreadTeam* team, double* data, std::int64_t items,
                         std::int64_t item_doubles, std::uint64_t seed) {
  team->run([&](int thread) {
    const Share share = share_of(items, thread, team->size());
    for (std::int64_t i = share.from * item_doubles; i < share.to * item_doubles; ++i)
      data[i] = random_double(seed, i);
  });
}

// y ← y ± a·x, n doubles, `passes` times: the sign changes, so that y stays as large as it is.
double topout_axpy(ThreadTeam* team, double a, const double* x, double* y, std::int64_t n,
                   std::int64_t passes) {
  return seconds_of(team, passes, [&](int thread, std::int64_t number) {
    axpy(number % 2 == 0 ? a : -a, x, y, share_of(n, thread, team->size()));
  });
}

// out ← the mean of each point of `in` and its six neighbours; grids of (n+2)³ doubles, of which
// the border is read and never written.
double topout_stencil(ThreadTeam* team, const double* in, double* out, std::int64_t n,
                      std::int64_t passes) {
  return seconds_of(team, passes, [&](int thread, std::int64_t) {
    stencil(in, out, n, share_of(n, thread, team->size()));
  });
}

}  // extern "C"
