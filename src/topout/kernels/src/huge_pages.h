// Memory for packed weights, in huge pages where the system gives them: a matrix that is streamed
// once per token touches one page of 2 MiB where it would touch 512.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <mutex>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace topout {

// Hands out pieces of large blocks, so that small matrices share a huge page; a block goes back
// when its last piece does. Nothing is touched here: the thread that will read a page is to be the
// first to write it.
class HugePages {
 public:
  static constexpr std::size_t kPage = std::size_t{2} << 20;
  static constexpr std::size_t kBlock = 16 * kPage;
  static constexpr std::size_t kLine = 64;

  // nullptr when there is no memory.
  void* allocate(std::size_t bytes) {
    bytes = (std::max(bytes, kLine) + kLine - 1) / kLine * kLine;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (bytes > kBlock / 4) return piece_of(new_block((bytes + kPage - 1) / kPage * kPage), bytes);
    if (current_ == nullptr || blocks_[current_].used + bytes > blocks_[current_].bytes)
      current_ = new_block(kBlock);
    return piece_of(current_, bytes);
  }

  void release(void* piece) {
    if (piece == nullptr) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    auto block = blocks_.upper_bound(static_cast<char*>(piece));
    --block;
    if (--block->second.pieces > 0) return;
    if (current_ == block->first) current_ = nullptr;
    std::free(block->first);
    blocks_.erase(block);
  }

 private:
  struct Block {
    std::size_t bytes, used = 0, pieces = 0;
  };

  char* new_block(std::size_t bytes) {
    auto* block = static_cast<char*>(std::aligned_alloc(kPage, bytes));
    if (block == nullptr) return nullptr;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    madvise(block, bytes, MADV_HUGEPAGE);
#endif
    blocks_.emplace(block, Block{bytes});
    return block;
  }

  void* piece_of(char* block, std::size_t bytes) {
    if (block == nullptr) return nullptr;
    Block& found = blocks_[block];
    char* piece = block + found.used;
    found.used += bytes;
    ++found.pieces;
    return piece;
  }

  std::mutex mutex_;
  std::map<char*, Block> blocks_;
  char* current_ = nullptr;
};

inline HugePages& huge_pages() {
  static HugePages pages;
  return pages;
}

}  // namespace topout
