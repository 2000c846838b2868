// Reading memory and nothing else: the sum of all 32-bit words of a block, taken in one or more
// streams at a time, with or without software prefetch.
#pragma once

#include <cstddef>
#include <cstdint>

namespace topout {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif
using Words = std::uint32_t __attribute__((vector_size(kVectorBytes), may_alias));

constexpr int kLineBytes = 64;
constexpr std::size_t kGrainBytes = 4096;  // every size is a multiple of it

// The sum, modulo 2^32, of `bytes` (a multiple of kGrainBytes) at `data` (aligned to a line).
template <int streams, bool prefetch>
__attribute__((noinline)) std::uint32_t sum_block(const char* data, std::size_t bytes,
                                                  std::size_t distance_bytes) {
  constexpr int lines = streams >= 8 ? 1 : 8 / streams;
  constexpr int vectors = lines * kLineBytes / kVectorBytes;  // of one stream in one step
  constexpr int step_bytes = lines * kLineBytes;
  constexpr int sums = 8;
  const std::size_t stream_bytes = bytes / streams;
  Words total[sums] = {};
  for (std::size_t at = 0; at < stream_bytes; at += step_bytes) {
#pragma GCC unroll 8
    for (int s = 0; s < streams; ++s) {
      const char* here = data + static_cast<std::size_t>(s) * stream_bytes + at;
      if constexpr (prefetch) {
#pragma GCC unroll 8
        for (int line = 0; line < lines; ++line)
          __builtin_prefetch(here + distance_bytes + line * kLineBytes);
      }
      const Words* vector = reinterpret_cast<const Words*>(here);
#pragma GCC unroll 32
      for (int v = 0; v < vectors; ++v) total[(s * vectors + v) % sums] += vector[v];
    }
  }
  std::uint32_t sum = 0;
  for (const Words& part : total)
    for (int lane = 0; lane < kVectorBytes / 4; ++lane) sum += part[lane];
  return sum;
}

using SumBlock = std::uint32_t (*)(const char*, std::size_t, std::size_t);

// The function for 1, 2, 4 or 8 streams, else nullptr.
inline SumBlock sum_block_for(int streams, bool prefetch) {
  switch (streams) {
    case 1: return prefetch ? sum_block<1, true> : sum_block<1, false>;
    case 2: return prefetch ? sum_block<2, true> : sum_block<2, false>;
    case 4: return prefetch ? sum_block<4, true> : sum_block<4, false>;
    case 8: return prefetch ? sum_block<8, true> : sum_block<8, false>;
    default: return nullptr;
  }
}

}  // namespace topout
