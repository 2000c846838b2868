// The native linear layers with one mistake, which the environment names in BROKEN, behind them:
// the driver must refuse every one. Without a name they are as they are.

#include <cstdlib>
#include <cstring>
#include <string>

#define topout_linear right_linear
#include "linear.cpp"
#undef topout_linear

namespace {

bool is_broken(const char* mistake) {
  static const char* const named = std::getenv("BROKEN");
  return named != nullptr && std::strcmp(named, mistake) == 0;
}

struct Place {
  char* y;
  std::int64_t stride, size;

  char* at(std::int64_t row, std::int64_t column) const {
    return y + (row * stride + column) * size;
  }
};

}  // namespace

extern "C" void topout_linear(const void* packed, int dynamic, const void* x, int x_type,
                              std::int64_t m, std::int64_t x_stride, int activation,
                              const void* residual, std::int64_t residual_stride, void* y,
                              int y_type, std::int64_t y_stride, int threads) {
  const std::int64_t n = static_cast<const PackedWeights*>(packed)->outputs();
  const Place place{static_cast<char*>(y), y_stride, y_type == 0 ? 4 : 2};
  if (is_broken("ACTIVATION") && activation == 2) activation = 1;
  if (is_broken("RESIDUAL")) residual_stride = n;
  right_linear(packed, dynamic, x, x_type, m, x_stride, activation, residual, residual_stride, y,
               y_type, y_stride, threads);
  if (n == 0) return;
  const auto size = static_cast<std::size_t>(place.size);
  if (is_broken("LAST_COLUMN") && n > 1) std::memcpy(place.at(0, n - 1), place.at(0, n - 2), size);
  // The lowest bit of one value.
  if (is_broken("ROW_COUNT") && m == 7) place.at(2, 0)[0] ^= 1;
  if (is_broken("THREADS") && threads == 3) place.at(m - 1, n - 1)[0] ^= 1;
  if (is_broken("BESIDE") && y_stride > n && m > 1) std::memset(place.at(0, n), 0, size);
  if (is_broken("NAN_SPREADS") && m > 1) {
    float first = 0;
    std::memcpy(&first, place.at(m / 2, 0), 4);
    if (n > 1 && first != first) std::memcpy(place.at(0, 0), place.at(m / 2, 0), size);
  }
}
