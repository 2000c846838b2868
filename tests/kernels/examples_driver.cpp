// Every function of the examples library on small inputs against plain loops: built with
// sanitizers by the test beside it, together with the ceilings library, which makes the threads.
// Exit status 0: all is right.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <vector>

extern "C" {
struct Team;
Team* topout_team_create(int, const int*, int);
void topout_team_destroy(Team*);
void topout_fill_doubles(Team*, double*, std::int64_t, std::int64_t, std::uint64_t);
double topout_axpy(Team*, double, const double*, double*, std::int64_t, std::int64_t);
double topout_stencil(Team*, const double*, double*, std::int64_t, std::int64_t);
}

namespace {

int failures = 0;

void expect(bool holds, const char* what) {
  if (holds) return;
  std::printf("FAILED: %s\n", what);
  ++failures;
}

bool near(double found, double expected) { return std::fabs(found - expected) <= 1e-14; }

void check_axpy(Team* team, std::int64_t n) {
  const auto size = static_cast<std::size_t>(n);
  std::vector<double> x(size), y(size);
  topout_fill_doubles(team, x.data(), n, 1, 1);
  topout_fill_doubles(team, y.data(), n, 1, 2);
  const std::vector<double> before = y;
  for (double value : x) expect(value >= 0.5 && value < 1.5, "the range of the data");
  expect(topout_axpy(team, 0.75, x.data(), y.data(), n, 1) >= 0, "the time of axpy");
  for (std::size_t i = 0; i < size; ++i) expect(near(y[i], before[i] + 0.75 * x[i]), "axpy");
  topout_axpy(team, 0.75, x.data(), y.data(), n, 2);  // + and −
  for (std::size_t i = 0; i < size; ++i) expect(near(y[i], before[i] + 0.75 * x[i]), "signs");
}

void check_stencil(Team* team, std::int64_t n) {
  const std::int64_t row = n + 2, plane = row * row;
  const auto size = static_cast<std::size_t>(plane * row);
  std::vector<double> in(size), out(size, -1.0);
  topout_fill_doubles(team, in.data(), row, plane, 3);
  expect(topout_stencil(team, in.data(), out.data(), n, 2) >= 0, "the time of the stencil");
  for (std::int64_t i = 0; i < row; ++i)
    for (std::int64_t j = 0; j < row; ++j)
      for (std::int64_t k = 0; k < row; ++k) {
        const std::int64_t at = i * plane + j * row + k;
        const auto value = [&](std::int64_t step) { return in[static_cast<std::size_t>(at + step)]; };
        const bool inner = i > 0 && i <= n && j > 0 && j <= n && k > 0 && k <= n;
        const double expected =
            inner ? (value(0) + value(-1) + value(1) + value(-row) + value(row) + value(-plane) +
                     value(plane)) / 7
                  : -1.0;
        expect(near(out[static_cast<std::size_t>(at)], expected), "stencil");
      }
}

}  // namespace

int main() {
  for (int threads = 1; threads <= 3; ++threads) {
    Team* team = topout_team_create(threads, nullptr, 0);
    for (std::int64_t n : {1, 2, 7, 33}) {
      check_axpy(team, n);
      check_stencil(team, n);
    }
    check_axpy(team, 4097);
    topout_team_destroy(team);
  }
  if (failures == 0) std::printf("all right\n");
  return failures == 0 ? 0 : 1;
}
