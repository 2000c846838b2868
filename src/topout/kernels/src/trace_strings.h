// A table of strings, each kept once, known by its number: names repeat a thousandfold in a trace.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string_view>
#include <vector>

namespace topout {

class StringTable {
 public:
  StringTable() : slots_(1024, 0) {}

  std::uint32_t number_of(std::string_view text) {
    const std::uint64_t hash = hash_of(text);
    for (std::size_t slot = hash & (slots_.size() - 1);; slot = (slot + 1) & (slots_.size() - 1)) {
      if (slots_[slot] == 0) return insert(text, hash, slot);
      const Entry& entry = entries_[slots_[slot] - 1];
      if (entry.hash == hash && entry.text == text) return slots_[slot] - 1;
    }
  }

  std::size_t size() const { return entries_.size(); }
  std::string_view text(std::size_t number) const { return entries_[number].text; }
  std::size_t text_bytes() const { return text_bytes_; }

 private:
  struct Entry {
    std::uint64_t hash;
    std::string_view text;
  };
  static constexpr std::size_t block_bytes = 1 << 20;

  // Eight bytes at a time, by a key that is another in each process: names that were chosen to
  // collide would cost the square of their number.
  static std::uint64_t hash_of(std::string_view text) {
    static const std::uint64_t key = random_key();
    std::uint64_t hash = key ^ text.size();
    const char* at = text.data();
    std::size_t left = text.size();
    for (; left >= 8; left -= 8, at += 8) {
      std::uint64_t word;
      std::memcpy(&word, at, 8);
      hash = mix(hash ^ word, key);
    }
    std::uint64_t word = 0;
    if (left != 0) std::memcpy(&word, at, left);
    return mix(hash ^ word, key);
  }

  // Both halves of the product, so that every bit of the key and of the value has a say.
  static std::uint64_t mix(std::uint64_t value, std::uint64_t key) {
    const auto product = static_cast<unsigned __int128>(value ^ 0xBF58476D1CE4E5B9u) * (key | 1);
    const auto low = static_cast<std::uint64_t>(product);
    return low ^ static_cast<std::uint64_t>(product >> 64) ^ (value >> 29);
  }

  static std::uint64_t random_key() {
    std::random_device random;
    return (std::uint64_t{random()} << 32) ^ random();
  }

  std::uint32_t insert(std::string_view text, std::uint64_t hash, std::size_t slot) {
    entries_.push_back({hash, keep(text)});
    slots_[slot] = static_cast<std::uint32_t>(entries_.size());
    if (entries_.size() * 2 > slots_.size()) grow();
    return static_cast<std::uint32_t>(entries_.size() - 1);
  }

  std::string_view keep(std::string_view text) {
    if (text.empty()) return {};
    text_bytes_ += text.size();
    if (blocks_.empty() || text.size() > left_in_block_) {
      left_in_block_ = text.size() > block_bytes ? text.size() : block_bytes;
      blocks_.push_back(std::make_unique<char[]>(left_in_block_));
      next_ = blocks_.back().get();
    }
    char* const kept = next_;
    std::memcpy(kept, text.data(), text.size());
    next_ += text.size();
    left_in_block_ -= text.size();
    return {kept, text.size()};
  }

  void grow() {
    std::vector<std::uint32_t> wider(slots_.size() * 2, 0);
    for (std::size_t number = 0; number < entries_.size(); ++number) {
      std::size_t slot = entries_[number].hash & (wider.size() - 1);
      while (wider[slot] != 0) slot = (slot + 1) & (wider.size() - 1);
      wider[slot] = static_cast<std::uint32_t>(number + 1);
    }
    slots_.swap(wider);
  }

  std::vector<std::uint32_t> slots_;  // a number + 1; 0: empty
  std::vector<Entry> entries_;
  std::vector<std::unique_ptr<char[]>> blocks_;
  char* next_ = nullptr;
  std::size_t left_in_block_ = 0;
  std::size_t text_bytes_ = 0;
};

}  // namespace topout
