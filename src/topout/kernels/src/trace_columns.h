// Columns that grow row by row and keep only what is there: a field that every row has costs its
// values, one that few rows have costs those rows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

namespace topout {

// A growing array in blocks: growing never copies, so that the peak is what is held.
template <class T>
class Blocks {
 public:
  std::size_t size() const { return size_; }

  void push_back(T value) {
    if (size_ % per_block == 0) blocks_.push_back(std::make_unique<T[]>(per_block));
    blocks_.back()[size_ % per_block] = value;
    ++size_;
  }

  T operator[](std::size_t at) const { return blocks_[at / per_block][at % per_block]; }

  void clear() {
    blocks_.clear();
    blocks_.shrink_to_fit();
    size_ = 0;
  }

 private:
  static constexpr std::size_t per_block = 1 << 15;
  std::vector<std::unique_ptr<T[]>> blocks_;
  std::size_t size_ = 0;
};

class Column {
 public:
  std::size_t count() const { return values_.size(); }

  void append(std::uint32_t row, std::int64_t value) {
    if (rows_.size() == 0 && row != values_.size()) name_rows();
    if (named_) rows_.push_back(row);
    values_.push_back(value);
  }

  std::int64_t value(std::size_t at) const { return values_[at]; }

  // values[place[row]] and present[place[row]] of each row that has a value; others stay.
  void fill(const std::uint32_t* place, std::int64_t* values, std::uint8_t* present) const {
    for (std::size_t at = 0; at < values_.size(); ++at) {
      const std::uint32_t row = named_ ? rows_[at] : static_cast<std::uint32_t>(at);
      values[place[row]] = values_[at];
      present[place[row]] = 1;
    }
  }

  void clear() {
    values_.clear();
    rows_.clear();
  }

 private:
  // Up to now every row had a value, and its number went without saying.
  void name_rows() {
    for (std::size_t row = 0; row < values_.size(); ++row)
      rows_.push_back(static_cast<std::uint32_t>(row));
    named_ = true;
  }

  Blocks<std::int64_t> values_;
  Blocks<std::uint32_t> rows_;
  bool named_ = false;
};

// Where each row stands in the order of `starts`; rows of one time keep their order.
inline std::vector<std::uint32_t> places_by_time(const Column& starts) {
  const std::size_t rows = starts.count();
  std::vector<std::uint32_t> order(rows);
  std::vector<std::int64_t> times(rows);
  for (std::size_t row = 0; row < rows; ++row) {
    order[row] = static_cast<std::uint32_t>(row);
    times[row] = starts.value(row);
  }
  if (!std::is_sorted(times.begin(), times.end()))
    std::stable_sort(order.begin(), order.end(), [&](std::uint32_t left, std::uint32_t right) {
      return times[left] < times[right];
    });
  std::vector<std::uint32_t> place(rows);
  for (std::size_t at = 0; at < rows; ++at) place[order[at]] = static_cast<std::uint32_t>(at);
  return place;
}

}  // namespace topout
