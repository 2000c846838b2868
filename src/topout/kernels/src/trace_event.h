// One event: the values of its fields, as they stand in the text.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "trace_fields.h"
#include "trace_json.h"

namespace topout {

struct EventValue {
  std::string_view text;  // of a string: what is between its quotes
  bool quoted = false;
};

enum class Outcome { whole, unreadable, needs_more };

class Event {
 public:
  explicit Event(const FieldTable& fields) : fields_(fields) {}

  bool has(int field) const { return (present_ >> field & 1) != 0; }
  const EventValue& value(int field) const { return values_[static_cast<std::size_t>(field)]; }

  // Reads the object that begins at `at`; `after` is then behind it.
  Outcome read(const char* at, const char* end, const char*& after) {
    present_ = 0;
    return read_members(at, end, Place::event, 1, after);
  }

 private:
  // Of an object of which `at` is the opening brace. The last of equal keys holds.
  Outcome read_members(const char* at, const char* end, Place place, int depth,
                       const char*& after) {
    at = skip_blanks(at + 1, end);
    if (at != end && *at == '}') {
      after = at + 1;
      return Outcome::whole;
    }
    for (;;) {
      const Outcome outcome = read_member(at, end, place, depth);
      if (outcome != Outcome::whole) return outcome;
      at = skip_blanks(at, end);
      if (at == end) return Outcome::needs_more;
      if (*at == '}') {
        after = at + 1;
        return Outcome::whole;
      }
      if (*at != ',') return Outcome::unreadable;
      at = skip_blanks(at + 1, end);
    }
  }

  // `"key": value`; `at` is moved behind it.
  Outcome read_member(const char*& at, const char* end, Place place, int depth) {
    if (at == end) return Outcome::needs_more;
    if (*at != '"') return Outcome::unreadable;
    const char* const key_end = find_string_end(at + 1, end);
    if (key_end == nullptr) return Outcome::needs_more;
    const std::string_view key(at + 1, static_cast<std::size_t>(key_end - at - 1));
    at = skip_blanks(key_end + 1, end);
    if (at == end) return Outcome::needs_more;
    if (*at != ':') return Outcome::unreadable;
    at = skip_blanks(at + 1, end);
    if (at == end) return Outcome::needs_more;
    const int field = fields_.find(key, place);
    if (field == FieldTable::arguments) return read_arguments(at, end, depth);
    return read_value(at, end, field, depth);
  }

  Outcome read_arguments(const char*& at, const char* end, int depth) {
    present_ &= fields_.event_fields();
    if (*at != '{') return read_value(at, end, -1, depth);
    const std::uint64_t outside = present_;
    present_ = 0;
    const Outcome outcome = read_members(at, end, Place::arguments, depth + 1, at);
    present_ |= outside;
    return outcome;
  }

  Outcome read_value(const char*& at, const char* end, int field, int depth) {
    EventValue value;
    const char* const begin = at;
    if (*at == '"') {
      at = find_string_end(at + 1, end);
      if (at == nullptr) return Outcome::needs_more;
      value = {{begin + 1, static_cast<std::size_t>(at - begin - 1)}, true};
      ++at;
    } else if (*at == '{' || *at == '[') {
      skipper_.begin(depth);
      at = skipper_.advance(at, end);
      if (skipper_.too_deep()) return Outcome::unreadable;
      if (!skipper_.finished()) return Outcome::needs_more;
      value.text = {begin, static_cast<std::size_t>(at - begin)};
    } else {
      while (at != end && !ends_token(*at)) ++at;
      if (at == end) return Outcome::needs_more;
      if (at == begin) return Outcome::unreadable;
      value.text = {begin, static_cast<std::size_t>(at - begin)};
    }
    if (field >= 0) keep(field, value);
    return Outcome::whole;
  }

  void keep(int field, const EventValue& value) {
    values_[static_cast<std::size_t>(field)] = value;
    present_ |= std::uint64_t{1} << field;
  }

  const FieldTable& fields_;
  std::array<EventValue, FieldTable::most_fields> values_;
  std::uint64_t present_ = 0;
  ValueSkipper skipper_;
};

}  // namespace topout
