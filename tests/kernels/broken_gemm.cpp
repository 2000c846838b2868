// A matrix product with one mistake, which the environment names in BROKEN: the driver must refuse
// every one. Without a name the product is right, and the driver must take it.

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "gemm.h"

namespace {

bool is_broken(const char* mistake) {
  static const char* const named = std::getenv("BROKEN");
  return named != nullptr && std::strcmp(named, mistake) == 0;
}

Output dot(const Input* a, const Input* b, std::int64_t ldb, std::int64_t k, Output sum) {
  const std::int64_t end = is_broken("LAST_OF_K") && k > 4 ? k - 1 : k;
  const bool skips_zeros = is_broken("SKIPS_ZEROS");  // which hides what is no number in B
  for (std::int64_t p = 0; p < end; ++p) {
    if (skips_zeros && a[p] == 0) continue;
    sum += a[p] * b[p * ldb];
  }
  if (is_broken("READS_BEYOND_A")) sum += 0 * a[k];
  if (is_broken("IS_IMPRECISE")) sum += sum * 1e-5f;
  return sum;
}

// The columns of C that are written; one too many is what follows the row.
std::int64_t columns_of(std::int64_t n) {
  if (is_broken("LAST_COLUMN") && n % 16 == 1) return n - 1;
  return is_broken("WRITES_BEYOND_C") && n > 0 ? n + 1 : n;
}

struct Packed {
  std::vector<Input> copy;
  const Input* b;
  std::int64_t ldb;
};

}  // namespace

void gemm(const Input* a, const Input* b, Output* c, std::int64_t m, std::int64_t n,
          std::int64_t k, std::int64_t lda, std::int64_t ldb, std::int64_t ldc, int threads) {
  if (is_broken("IGNORES_LDA")) lda = k;
  if (is_broken("IGNORES_LDB")) ldb = n;
  if (is_broken("IGNORES_LDC")) ldc = n;
  if (is_broken("DROPS_ROWS")) m = m / threads * threads;
  if (is_broken("WITHOUT_K") && k == 0) return;
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < columns_of(n); ++j) {
      Output& place = c[i * ldc + j];
      place = dot(a + i * lda, b + j % n, ldb, k, is_broken("READS_C") ? place : Output{0});
    }
    if (is_broken("BESIDE") && 0 < n && n < ldc && i + 1 < m) c[i * ldc + n] = 0;
  }
}

void* gemm_pack(const Input* b, std::int64_t n, std::int64_t k, std::int64_t ldb, int) {
  auto* const packed = new Packed{std::vector<Input>(static_cast<std::size_t>(n * k)), b, ldb};
  for (std::int64_t p = 0; p < k; ++p) std::copy_n(b + p * ldb, n, packed->copy.data() + p * n);
  return packed;
}

void gemm_packed(const Input* a, const void* packed, Output* c, std::int64_t m, std::int64_t n,
                 std::int64_t k, std::int64_t lda, std::int64_t ldc, int threads) {
  const auto* const made = static_cast<const Packed*>(packed);
  if (is_broken("PACKS_NOTHING"))  // B is gone by now
    return gemm(a, made->b, c, m, n, k, lda, made->ldb, ldc, threads);
  gemm(a, made->copy.data(), c, m, n, k, lda, n, ldc, threads);
}

void gemm_free(void* packed) {
  if (!is_broken("LEAKS")) delete static_cast<Packed*>(packed);
}
