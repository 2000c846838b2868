// Which keys of an event are read, and as what. The caller names them: nothing here knows a format.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "trace_json.h"

namespace topout {

enum class Place { event, arguments };
enum class Form { number, text, json, lane };  // lane: a number, or the one in "stream 7"

struct Key {
  std::string name;
  Place place;
  int field;
};

struct Field {
  Form form;
  int shift;  // numbers are kept times 10^shift
};

class FieldTable {
 public:
  static constexpr int most_fields = 64;
  static constexpr int arguments = most_fields;  // what "args" names: an object of more fields

  FieldTable() { add_key("args", Place::event, arguments); }

  void add(const char* name, Place place, int field, Form form, int shift) {
    const auto number = static_cast<std::size_t>(field);
    if (fields_.size() <= number) fields_.resize(number + 1, {Form::number, 0});
    fields_[number] = {form, shift};
    if (place == Place::event) event_fields_ |= std::uint64_t{1} << field;
    add_key(name, place, field);
  }

  std::uint64_t event_fields() const { return event_fields_; }  // a bit for each

  int size() const { return static_cast<int>(fields_.size()); }
  const Field& field(int number) const { return fields_[static_cast<std::size_t>(number)]; }

  // The field that a key names, written with or without escapes; −1: none that is read.
  int find(std::string_view name, Place place) const {
    if (name.find('\\') == std::string_view::npos) return find_plain(name, place);
    char plain[64];
    std::size_t size;
    if (!unescape_ascii(name, plain, sizeof plain, size)) return -1;
    return find_plain({plain, size}, place);
  }

 private:
  void add_key(const char* name, Place place, int field) {
    keys_.push_back({name, place, field});
    slots_[slot_of(name, place)].push_back(keys_.size() - 1);
    if (keys_.back().name.size() > longest_) longest_ = keys_.back().name.size();
  }

  static std::size_t slot_of(std::string_view name, Place place) {
    if (name.empty()) return 0;
    const auto first = static_cast<unsigned char>(name.front());
    const auto last = static_cast<unsigned char>(name.back());
    return (name.size() * 37 + first * 5u + last * 11u + (place == Place::event ? 64 : 0)) & 255;
  }

  int find_plain(std::string_view name, Place place) const {
    if (name.size() > longest_) return -1;
    for (const std::size_t at : slots_[slot_of(name, place)])
      if (keys_[at].place == place && keys_[at].name == name) return keys_[at].field;
    return -1;
  }

  std::vector<Field> fields_;
  std::vector<Key> keys_;
  std::array<std::vector<std::size_t>, 256> slots_;
  std::size_t longest_ = 0;
  std::uint64_t event_fields_ = 0;
};

}  // namespace topout
