// Runs one product under a simulator of caches:
// LIBRARY M N K LDA LDB ELEMENT_BYTES PACKED FLUSH PRODUCTS
//
// The library has the functions of gemm.h; rows of C are as far apart as those of B. With PACKED 1,
// B is packed ahead. Before the product FLUSH bytes go by, so that it begins with caches that hold
// nothing of its matrices. With PRODUCTS 0 all is done but the product: the difference of two runs
// is the product alone.
#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

namespace {

using Gemm = void (*)(const void*, const void*, void*, std::int64_t, std::int64_t, std::int64_t,
                      std::int64_t, std::int64_t, std::int64_t, int);
using Pack = void* (*)(const void*, std::int64_t, std::int64_t, std::int64_t, int);
using Packed = void (*)(const void*, const void*, void*, std::int64_t, std::int64_t, std::int64_t,
                        std::int64_t, std::int64_t, int);
using Free = void (*)(void*);

constexpr std::size_t kPage = 4096;

[[noreturn]] void fail(const char* why) {
  std::fprintf(stderr, "%s\n", why);
  std::exit(2);
}

template <class Function>
Function find(void* library, const char* name) {
  void* const symbol = dlsym(library, name);
  if (symbol == nullptr) fail(dlerror());
  return reinterpret_cast<Function>(symbol);
}

// A matrix that begins on a page, as large ones do. Its values do not matter to the caches, and a
// simulator knows no page that stands for many; so nothing is written.
class Matrix {
 public:
  explicit Matrix(std::size_t bytes)
      : memory_(std::aligned_alloc(kPage, (bytes + kPage) / kPage * kPage), std::free) {
    if (memory_ == nullptr) fail("no memory for the matrices");
  }

  void* data() const { return memory_.get(); }

 private:
  std::unique_ptr<void, void (*)(void*)> memory_;
};

int flush(std::size_t bytes) {
  std::vector<int> others(bytes / sizeof(int), 1);
  int sum = 0;
  for (const int value : others) sum += value;
  return sum;
}

}  // namespace

int main(int count, char** words) {
  if (count != 11) fail("LIBRARY M N K LDA LDB ELEMENT_BYTES PACKED FLUSH PRODUCTS");
  std::int64_t numbers[9];
  for (int i = 0; i < 9; ++i) numbers[i] = std::atoll(words[i + 2]);
  const auto [m, n, k, lda, ldb, element, packed, flushed, products] = numbers;
  void* const library = dlopen(words[1], RTLD_NOW);
  if (library == nullptr) fail(dlerror());
  const auto bytes = [](std::int64_t elements, std::int64_t size) {
    return static_cast<std::size_t>(elements * size);
  };
  const Matrix a(bytes(m * lda, element)), b(bytes(k * ldb, element)), c(bytes(m * ldb, 4));
  void* weights = nullptr;
  if (packed != 0) {
    weights = find<Pack>(library, "gemm_pack")(b.data(), n, k, ldb, 1);
    if (weights == nullptr) fail("no memory to pack B");
  }
  const int sum = flush(static_cast<std::size_t>(flushed));
  if (products != 0) {
    if (packed != 0)
      find<Packed>(library, "gemm_packed")(a.data(), weights, c.data(), m, n, k, lda, ldb, 1);
    else
      find<Gemm>(library, "gemm")(a.data(), b.data(), c.data(), m, n, k, lda, ldb, ldb, 1);
  }
  if (weights != nullptr) find<Free>(library, "gemm_free")(weights);
  std::printf("%d\n", sum);
  return 0;
}
