// Which part of the rows and of the columns of y each thread computes: always the same part for
// the same sizes, so that the weights a thread streamed into its cache are those it wants again.
#pragma once

#include <cstdint>

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace topout {

inline int team_size() {
#if defined(_OPENMP)
  return omp_get_num_threads();
#else
  return 1;
#endif
}

inline int team_member() {
#if defined(_OPENMP)
  return omp_get_thread_num();
#else
  return 0;
#endif
}

// The contiguous share [first, last) that part number `part` of `parts` has of `count` items.
inline void share_of(std::int64_t count, int part, int parts, std::int64_t* first,
                     std::int64_t* last) {
  *first = count * part / parts;
  *last = count * (part + 1) / parts;
}

// How many parts the rows, in tiles, are cut into, so that the largest share of tiles × panels is
// smallest; the panels are cut into threads / parts.
inline int row_parts(std::int64_t tiles, std::int64_t panels, int threads) {
  int best = 1;
  std::int64_t least = 0;
  for (int parts = 1; parts <= threads; ++parts) {
    if (threads % parts != 0) continue;
    const std::int64_t columns = threads / parts;
    const std::int64_t share = ((panels + columns - 1) / columns) * ((tiles + parts - 1) / parts);
    if (parts == 1 || share * 20 < least * 19) {
      best = parts;
      least = share;
    }
  }
  return best;
}

}  // namespace topout
