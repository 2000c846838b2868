// One version of the matrix product on small shapes, edge by edge, against plain sums in doubles:
// built with sanitizers by the test beside it, once for every version. Exit status 0: all is right.
//
// Whole numbers must come out exactly, random ones within γ_K·|A||B|. Every matrix has exactly the
// memory that the signature promises, so that the sanitizer sees an access one element beyond;
// what lies between two rows is NaN (int8: a number) in A and B, and must stay as it was in C.

#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gemm.h"

// A version may do without these; their address is null then.
extern "C" {
[[gnu::weak]] void* gemm_pack(const Input*, std::int64_t, std::int64_t, std::int64_t, int);
[[gnu::weak]] void gemm_packed(const Input*, const void*, Output*, std::int64_t, std::int64_t,
                               std::int64_t, std::int64_t, std::int64_t, int);
[[gnu::weak]] void gemm_free(void*);
}

namespace {

constexpr std::uint32_t poison_bits = 0xffc5a5a5;  // as a float not a number
constexpr int most_threads = 3;

int failures = 0;

void expect(bool holds, const std::string& what) {
  if (holds) return;
  std::printf("FAILED: %s\n", what.c_str());
  if (++failures == 20) std::exit(1);
}

std::string text(double value) {
  char written[32];
  std::snprintf(written, sizeof written, "%.9g", value);
  return written;
}

template <class To, class From>
To bits_as(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

// --- the data types ---------------------------------------------------------------------------

const Output poison = bits_as<Output>(poison_bits);

#if defined(TOPOUT_GEMM_BF16)
constexpr bool has_nan = true;
const Input input_poison = 0xffc5;
double value_of(Input bits) { return bits_as<float>(static_cast<std::uint32_t>(bits) << 16); }
// The values that the driver makes need no rounding, or it does not matter which way.
Input input_of(double value) {
  return static_cast<Input>(bits_as<std::uint32_t>(static_cast<float>(value)) >> 16);
}
// An instruction that adds pairs rounds once more, and takes what is below the normal numbers as 0.
double allowed(double magnitude, double k) {
  const double n = (k + 1) * std::ldexp(1, -24);
  return n / (1 - n) * magnitude + 2 * k * std::ldexp(1, -126);
}
#elif defined(TOPOUT_GEMM_INT8)
constexpr bool has_nan = false;
const Input input_poison = 91;
double value_of(Input value) { return value; }
Input input_of(double value) { return static_cast<Input>(value); }
double allowed(double, double) { return 0; }
#else
constexpr bool has_nan = true;
const Input input_poison = bits_as<Input>(poison_bits);
double value_of(Input value) { return value; }
Input input_of(double value) { return static_cast<Input>(value); }
double allowed(double magnitude, double k) {
  const double n = k * std::ldexp(1, -24);
  return n / (1 - n) * magnitude + k * std::ldexp(1, -150);
}
#endif

// --- matrices ---------------------------------------------------------------------------------

// How far rows lie apart beyond their length, and how far the first element from the start of its
// memory, both in elements.
struct Layout {
  std::int64_t padding, offset;
};

constexpr Layout dense{0, 0}, apart{3, 1}, wide{16, 0}, shifted{0, 3};

template <class Element>
class Matrix {
 public:
  Matrix(std::int64_t rows, std::int64_t columns, Layout layout, Element filling)
      : rows(rows), columns(columns), stride(columns + layout.padding), offset_(layout.offset) {
    elements_ = offset_ + (rows > 0 && columns > 0 ? (rows - 1) * stride + columns : 0);
    memory_.reset(new Element[static_cast<std::size_t>(elements_)]);
    for (std::int64_t i = 0; i < elements_; ++i) memory_[static_cast<std::size_t>(i)] = filling;
  }

  Element* data() { return memory_.get() + offset_; }
  const Element* data() const { return memory_.get() + offset_; }
  Element& at(std::int64_t i, std::int64_t j) { return data()[i * stride + j]; }
  Element at(std::int64_t i, std::int64_t j) const { return data()[i * stride + j]; }

  // Whether all that is no element of the matrix has still these bits.
  bool gaps_are(std::uint32_t bits) const {
    for (std::int64_t i = 0; i < elements_; ++i) {
      const std::int64_t place = i - offset_;
      const bool inside = place >= 0 && place % stride < columns;
      if (!inside && bits_as<std::uint32_t>(memory_[static_cast<std::size_t>(i)]) != bits)
        return false;
    }
    return true;
  }

  bool same_bits(const Matrix& other) const {
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < columns; ++j) {
        const Element mine = at(i, j), its = other.at(i, j);
        if (std::memcmp(&mine, &its, sizeof mine) != 0) return false;
      }
    return true;
  }

  std::int64_t rows, columns, stride;

 private:
  std::int64_t offset_, elements_ = 0;
  std::unique_ptr<Element[]> memory_;
};

enum class Numbers { whole, random };

void fill(Matrix<Input>& matrix, Numbers numbers, std::mt19937& generator) {
  for (std::int64_t i = 0; i < matrix.rows; ++i)
    for (std::int64_t j = 0; j < matrix.columns; ++j) {
      const auto byte = static_cast<std::int8_t>(generator() >> 24);  // −128 … 127
      // Never zero, so that an infinity meets no zero: 0.5 … 1.5 of either sign.
      const double real = (byte < 0 ? -1.0 : 1.0) * (0.5 + (generator() >> 8) * std::ldexp(1, -24));
      const double random = has_nan ? real : byte;
      matrix.at(i, j) = input_of(numbers == Numbers::whole ? byte % 8 : random);
    }
}

// --- the product in doubles -------------------------------------------------------------------

struct Exact {
  std::vector<double> product, magnitude;  // A·B and |A||B|

  Exact(const Matrix<Input>& a, const Matrix<Input>& b) {
    const auto size = static_cast<std::size_t>(a.rows * b.columns);
    product.assign(size, 0.0);
    magnitude.assign(size, 0.0);
    for (std::int64_t i = 0; i < a.rows; ++i)
      for (std::int64_t p = 0; p < a.columns; ++p) {
        const double factor = value_of(a.at(i, p));
        for (std::int64_t j = 0; j < b.columns; ++j) {
          const double term = factor * value_of(b.at(p, j));
          const auto at = static_cast<std::size_t>(i * b.columns + j);
          product[at] += term;
          magnitude[at] += std::fabs(term);
        }
      }
  }
};

bool matches(double found, double exact, double bound) {
  if (std::isnan(exact)) return std::isnan(found);
  if (std::isinf(exact)) return found == exact;
  return std::fabs(found - exact) <= bound;
}

void expect_product(const Matrix<Output>& c, const Exact& exact, std::int64_t k, Numbers numbers,
                    const std::string& what) {
  for (std::int64_t i = 0; i < c.rows; ++i)
    for (std::int64_t j = 0; j < c.columns; ++j) {
      const auto at = static_cast<std::size_t>(i * c.columns + j);
      const double bound =
          numbers == Numbers::whole ? 0 : allowed(exact.magnitude[at], static_cast<double>(k));
      const double found = static_cast<double>(c.at(i, j));
      if (matches(found, exact.product[at], bound)) continue;
      return expect(false, what + ": C[" + std::to_string(i) + "][" + std::to_string(j) + "] is " +
                               text(found) + " instead of " + text(exact.product[at]) + " ± " +
                               text(bound));
    }
  expect(c.gaps_are(poison_bits), what + ": something outside of C was written");
}

// --- the checks -------------------------------------------------------------------------------

struct Shape {
  std::int64_t m, n, k;
  Layout a, b, c;

  std::string name() const {
    std::string name = std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k);
    for (const Layout& layout : {a, b, c}) name += ", ld + " + std::to_string(layout.padding);
    return name;
  }
};

// One product on one thread and on several: right, and the same bits.
void check_gemm(const Shape& shape, const Matrix<Input>& a, const Matrix<Input>& b,
                const Exact& exact, Numbers numbers) {
  std::unique_ptr<Matrix<Output>> first;
  for (int threads = 1; threads <= most_threads; ++threads) {
    auto c = std::make_unique<Matrix<Output>>(shape.m, shape.n, shape.c, poison);
    gemm(a.data(), b.data(), c->data(), shape.m, shape.n, shape.k, a.stride, b.stride, c->stride,
         threads);
    const std::string what = "gemm " + shape.name() + ", threads " + std::to_string(threads);
    expect_product(*c, exact, shape.k, numbers, what);
    if (first == nullptr)
      first = std::move(c);
    else
      expect(first->same_bits(*c), what + ": other bits than with one thread");
  }
}

// B is gone once it is packed; the product may run on another number of threads than the packing,
// and with any number of rows.
void check_packed(const Shape& shape, const Matrix<Input>& a, Matrix<Input> b, const Exact& exact,
                  Numbers numbers) {
  const std::string name = "packed " + shape.name();
  void* packed[] = {nullptr, nullptr};
  for (int i = 0; i < 2; ++i) packed[i] = gemm_pack(b.data(), shape.n, shape.k, b.stride, i + 1);
  b = Matrix<Input>(0, 0, dense, input_poison);
  for (int i = 0; i < 2; ++i) {
    expect(packed[i] != nullptr, name + ": nothing was packed");
    if (packed[i] == nullptr) continue;
    for (const std::int64_t m : {shape.m, shape.m / 2}) {
      Matrix<Output> c(m, shape.n, shape.c, poison);
      gemm_packed(a.data(), packed[i], c.data(), m, shape.n, shape.k, a.stride, c.stride, 3 - i);
      expect_product(c, exact, shape.k, numbers, name + ", rows " + std::to_string(m));
    }
    gemm_free(packed[i]);
  }
}

void check(const Shape& shape, Numbers numbers, std::uint32_t seed) {
  std::mt19937 generator(seed);
  Matrix<Input> a(shape.m, shape.k, shape.a, input_poison);
  Matrix<Input> b(shape.k, shape.n, shape.b, input_poison);
  fill(a, numbers, generator);
  fill(b, numbers, generator);
  const Exact exact(a, b);
  check_gemm(shape, a, b, exact, numbers);
  if (gemm_pack != nullptr) check_packed(shape, a, std::move(b), exact, numbers);
}

// One number that is none, or infinite, reaches its row or its column and nothing else.
void check_special(const Shape& shape, double special, std::uint32_t seed) {
  for (const bool in_a : {true, false})
    for (const bool at_the_end : {true, false}) {
      std::mt19937 generator(seed);
      Matrix<Input> a(shape.m, shape.k, shape.a, input_poison);
      Matrix<Input> b(shape.k, shape.n, shape.b, input_poison);
      fill(a, Numbers::random, generator);
      fill(b, Numbers::random, generator);
      Matrix<Input>& into = in_a ? a : b;
      const auto place = [&](std::int64_t size) { return at_the_end ? size - 1 : size / 3; };
      into.at(place(into.rows), place(into.columns)) = input_of(special);
      // The zeros of the other matrix do not hide it.
      Matrix<Input>& other = in_a ? b : a;
      if (std::isnan(special)) {
        for (std::int64_t i = 0; i < other.rows; ++i)
          for (std::int64_t j = 0; j < other.columns; ++j)
            if ((i + j) % 3 == 0) other.at(i, j) = input_of(0);
      }
      const Exact exact(a, b);
      check_gemm(shape, a, b, exact, Numbers::random);
      if (gemm_pack != nullptr) check_packed(shape, a, std::move(b), exact, Numbers::random);
    }
}

}  // namespace

int main() {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // what was said before an abort is not lost
  std::uint32_t seed = 1;
  const Layout layouts[] = {dense, apart, wide, shifted, apart};
  for (const std::int64_t m : {0, 1, 2, 6, 7, 13})
    for (const std::int64_t n : {0, 1, 15, 17, 33, 65})
      for (const std::int64_t k : {0, 1, 2, 3, 5, 67}) {
        ++seed;
        const Shape shape{m, n, k, layouts[seed % 5], layouts[seed / 2 % 5], layouts[seed / 3 % 5]};
        check(shape, seed % 2 == 0 ? Numbers::whole : Numbers::random, seed);
      }
  // Longer than the blocks of every version in one direction each, by a prime or by one.
  for (const auto& [m, n, k] : {std::array<std::int64_t, 3>{49, 65, 257}, {97, 130, 64},
                                {131, 16, 31}, {3, 4099, 5}, {2, 70, 3089}, {200, 40, 9},
                                {1, 769, 1031}, {50, 129, 300}}) {
    check({m, n, k, dense, dense, dense}, Numbers::whole, ++seed);
    check({m, n, k, apart, shifted, apart}, Numbers::random, ++seed);
  }
  if (has_nan) {
    for (const double special : {std::numeric_limits<double>::quiet_NaN(),
                                 std::numeric_limits<double>::infinity(),
                                 -std::numeric_limits<double>::infinity()}) {
      check_special({7, 33, 19, dense, dense, dense}, special, ++seed);
      check_special({13, 70, 300, apart, apart, apart}, special, ++seed);
    }
  }
  if (failures == 0) std::printf("all right\n");
  return failures == 0 ? 0 : 1;
}
