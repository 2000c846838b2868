// Many native linear layers one after the other without Python in between, timed.
#include <chrono>
#include <cstdint>

using Linear = void (*)(const void*, int, const void*, int, std::int64_t, std::int64_t, int,
                        const void*, std::int64_t, void*, int, std::int64_t, int);

// Seconds for `count` layers of one shape, each of which reads x [m×k] and writes y [m×n], fp32.
extern "C" double run_layers(Linear linear, void* const* packed, std::int64_t count, int dynamic,
                             const float* x, std::int64_t m, std::int64_t k, float* y,
                             std::int64_t n, int threads) {
  const auto began = std::chrono::steady_clock::now();
  for (std::int64_t layer = 0; layer < count; ++layer)
    linear(packed[layer], dynamic, x, 0, m, k, 0, nullptr, 0, y, 0, n, threads);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}
