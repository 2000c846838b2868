// Every function of the ceilings library once, on small inputs, against plain loops: built with
// sanitizers by the test beside it, and able to run on any CPU. Exit status 0: all is right.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

extern "C" {
struct Team;
struct Buffers;
int topout_empty();
Team* topout_team_create(int, const int*, int);
void topout_team_destroy(Team*);
int topout_team_pinned(const Team*);
double topout_barrier_time(Team*, int);
double topout_fork_join_time(Team*, int);
const char* topout_peak_name(int);
int topout_peak_shape(int, std::int64_t*);
int topout_accumulate(int, const void*, const void*, void*, std::int64_t);
int topout_compute_trial(Team*, int, double, double*, double*);
std::int64_t topout_sum(const char*, std::size_t, int, std::size_t);
Buffers* topout_buffers_create(Team*, std::size_t, int);
void topout_buffers_destroy(Buffers*);
int topout_buffers_fill(Buffers*, std::size_t, std::size_t);
const void* topout_buffers_data(const Buffers*, int);
int topout_read_trial(Buffers*, std::size_t, int, std::size_t, double, double*);
}

namespace {

int failures = 0;

void expect(bool holds, const std::string& what) {
  if (holds) return;
  std::printf("FAILED: %s\n", what.c_str());
  ++failures;
}

float widen(std::uint16_t bf16) {
  const std::uint32_t bits = static_cast<std::uint32_t>(bf16) << 16;
  float value = 0;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Element i of operands of a data type (fp32, bf16, int8), as a number.
double element(int dtype, const std::vector<char>& data, std::size_t i) {
  if (dtype == 0) {
    float value = 0;
    std::memcpy(&value, &data[4 * i], sizeof value);
    return value;
  }
  if (dtype == 1) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, &data[2 * i], sizeof bits);
    return widen(bits);
  }
  return static_cast<signed char>(data[i]);
}

// Operands of small whole numbers, in whose sums no order rounds.
std::vector<char> whole_numbers(int dtype, std::size_t bytes, unsigned seed) {
  std::vector<char> data(bytes);
  unsigned state = seed;
  for (std::size_t i = 0; i < bytes / (dtype == 0 ? 4 : dtype == 1 ? 2 : 1); ++i) {
    state = state * 1664525u + 1013904223u;
    const int number = static_cast<int>(state >> 28);  // 0 … 15
    const float value = static_cast<float>(number);
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    const std::uint16_t upper = static_cast<std::uint16_t>(bits >> 16);
    if (dtype == 0) std::memcpy(&data[4 * i], &value, 4);
    if (dtype == 1) std::memcpy(&data[2 * i], &upper, 2);
    if (dtype == 2) data[i] = static_cast<char>(number);
  }
  return data;
}

// What one step adds to lane `lane` of a sum: a dot product of neighbours, or one entry of a
// 2 × 2 matrix product for the instructions that multiply matrices.
double step(int dtype, const std::string& name, const std::vector<char>& x, std::size_t x_at,
            const std::vector<char>& y, std::size_t y_at, std::size_t lane, std::size_t lanes,
            std::size_t elements) {
  const bool matrix = name == "bfmmla" || name == "smmla";
  const std::size_t width = matrix ? elements / 2 : elements / lanes;
  const std::size_t row = matrix ? lane / 2 : lane, column = matrix ? lane % 2 : lane;
  double sum = 0;
  for (std::size_t i = 0; i < width; ++i)
    sum += element(dtype, x, x_at + row * width + i) * element(dtype, y, y_at + column * width + i);
  return sum;
}

void check_accumulate(int dtype) {
  const char* name = topout_peak_name(dtype);
  if (name == nullptr) {
    expect(topout_accumulate(dtype, nullptr, nullptr, nullptr, 1) == -1, "absent data type");
    return;
  }
  std::int64_t shape[5] = {};
  expect(topout_peak_shape(dtype, shape) == 0, "shape");
  const auto sums = static_cast<std::size_t>(shape[0]), operands = static_cast<std::size_t>(shape[1]);
  const auto sum_bytes = static_cast<std::size_t>(shape[3]);
  const auto operand_bytes = static_cast<std::size_t>(shape[4]);
  const std::size_t lanes = sum_bytes / 4;
  const std::size_t elements = operand_bytes / (dtype == 0 ? 4 : dtype == 1 ? 2 : 1);
  const std::vector<char> x = whole_numbers(dtype, operands * operand_bytes, 1);
  const std::vector<char> y = whole_numbers(dtype, operands * operand_bytes, 2);
  std::vector<char> found(sums * sum_bytes);
  const int iterations = 3;
  expect(topout_accumulate(dtype, x.data(), y.data(), found.data(), iterations) == 0, "accumulate");
  for (std::size_t i = 0; i < sums; ++i) {
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      double expected = 0;
      for (std::size_t k = 0; k < operands; ++k)
        expected += iterations * step(dtype, name, x, k * elements, y,
                                      (i + k) % operands * elements, lane, lanes, elements);
      float real = 0;
      std::int32_t whole = 0;
      std::memcpy(&real, &found[i * sum_bytes + 4 * lane], 4);
      std::memcpy(&whole, &real, 4);
      const double value = dtype == 2 ? whole : real;
      expect(value == expected, std::string(name) + ": sum " + std::to_string(i) + ", lane " +
                                    std::to_string(lane) + ": " + std::to_string(value) +
                                    " instead of " + std::to_string(expected));
    }
  }
  // Operations a step: a multiplication and an addition for every product.
  const bool matrix = std::string(name) == "bfmmla" || std::string(name) == "smmla";
  const std::size_t products = matrix ? lanes * elements / 2 : elements;
  expect(shape[2] == static_cast<std::int64_t>(2 * products), std::string(name) + ": operations");
}

std::uint32_t plain_sum(const char* data, std::size_t bytes) {
  std::uint32_t sum = 0;
  for (std::size_t at = 0; at < bytes; at += 4) {
    std::uint32_t word = 0;
    std::memcpy(&word, data + at, 4);
    sum += word;
  }
  return sum;
}

void check_reading(Team* team, int threads) {
  const std::size_t bytes = 5 * 4096;
  for (int huge_pages = 0; huge_pages < 2; ++huge_pages) {
    Buffers* buffers = topout_buffers_create(team, bytes, huge_pages);
    expect(buffers != nullptr, "buffers");
    expect(topout_buffers_fill(buffers, 0, 8192) == 0, "fill");
    expect(topout_buffers_fill(buffers, 8192, bytes - 8192) == 0, "fill the rest");
    expect(topout_buffers_fill(buffers, 8192, bytes) == -1, "fill beyond the end");
    for (int thread = 0; thread < threads; ++thread) {
      const char* data = static_cast<const char*>(topout_buffers_data(buffers, thread));
      for (int streams = 1; streams <= 8; streams *= 2)
        for (std::size_t distance : {0, 512})
          expect(topout_sum(data, bytes, streams, distance) == plain_sum(data, bytes), "sum");
      for (std::size_t at = 0; at < bytes; at += 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, data + at, 8);
        if (word == 0) expect(false, "a zero word");
      }
    }
    double rate = 0;
    expect(topout_read_trial(buffers, bytes, 4, 512, 0.01, &rate) == 0 && rate > 0, "read");
    expect(topout_read_trial(buffers, 4096, 1, 0, 0.01, &rate) == 0 && rate > 0, "read less");
    expect(topout_read_trial(buffers, bytes + 4096, 1, 0, 0.01, &rate) == -1, "read beyond");
    expect(topout_read_trial(buffers, bytes, 3, 0, 0.01, &rate) == -1, "three streams");
    expect(topout_read_trial(buffers, 100, 1, 0, 0.01, &rate) == -1, "part of a grain");
    topout_buffers_destroy(buffers);
  }
  expect(topout_buffers_create(team, 100, 0) == nullptr, "part of a grain");
}

}  // namespace

int main() {
  expect(topout_empty() == 0, "empty");
  for (int dtype = 0; dtype < 3; ++dtype) check_accumulate(dtype);
  const int cpus[] = {0};
  for (int threads = 1; threads <= 3; ++threads) {
    Team* team = topout_team_create(threads, cpus, threads % 2);
    expect(team != nullptr, "team");
    expect(topout_team_pinned(team) <= threads, "pinned");
    expect(topout_barrier_time(team, 10) >= 0, "barrier");
    expect(topout_fork_join_time(team, 10) > 0, "fork-join");
    for (int dtype = 0; dtype < 3; ++dtype) {
      double rate = 0, clock = 0;
      const int status = topout_compute_trial(team, dtype, 0.001, &rate, &clock);
      const bool there = topout_peak_name(dtype) != nullptr;
      expect(status == (there ? 0 : -1), "compute");
      expect(!there || (rate > 0 && clock > 0), "rate and clock");
    }
    check_reading(team, threads);
    topout_team_destroy(team);
  }
  expect(topout_team_create(0, nullptr, 0) == nullptr, "no threads");
  if (failures == 0) std::printf("all right\n");
  return failures == 0 ? 0 : 1;
}
