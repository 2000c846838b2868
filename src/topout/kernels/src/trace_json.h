// JSON as bytes in memory: where strings and values end. What strings hold is not looked at here.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace topout {

constexpr int deepest_nesting = 128;

inline bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

// Ends a number, true, false or null, and whatever else stands there without quotes.
inline bool ends_token(char c) {
  return is_blank(c) || c == ',' || c == ':' || c == '"' || c == '{' || c == '}' || c == '[' ||
         c == ']';
}

inline const char* skip_blanks(const char* at, const char* end) {
  while (at != end && is_blank(*at)) ++at;
  return at;
}

inline std::uint64_t bytes_equal_to(std::uint64_t word, unsigned char byte) {
  const std::uint64_t low = 0x0101010101010101u, high = 0x8080808080808080u;
  const std::uint64_t differing = word ^ (low * byte);
  return (differing - low) & ~differing & high;  // 0: none; may flag a byte after a true match
}

// The first quote or backslash from `at`, eight bytes at a time.
inline const char* find_quote_or_escape(const char* at, const char* end) {
  while (end - at >= 8) {
    std::uint64_t word;
    std::memcpy(&word, at, 8);
    if ((bytes_equal_to(word, '"') | bytes_equal_to(word, '\\')) != 0) break;
    at += 8;
  }
  while (at != end && *at != '"' && *at != '\\') ++at;
  return at;
}

// From behind an opening quote to the closing one; null where the bytes end before it.
inline const char* find_string_end(const char* at, const char* end) {
  for (;;) {
    at = find_quote_or_escape(at, end);
    if (at == end) return nullptr;
    if (*at == '"') return at;
    if (end - at < 2) return nullptr;
    at += 2;
  }
}

// Follows one value of any length through pieces of it.
class ValueSkipper {
 public:
  void begin(int depth = 0) {
    depth_ = first_depth_ = deepest_ = depth;
    state_ = State::start;
  }

  bool finished() const { return state_ == State::finished; }
  bool too_deep() const { return deepest_ > deepest_nesting; }

  // Behind the last byte that belongs to the value, or `end` where it goes on.
  const char* advance(const char* at, const char* end) {
    while (at != end && state_ != State::finished) {
      switch (state_) {
        case State::start:
          at = begin_value(at);
          break;
        case State::token:
          while (at != end && !ends_token(*at)) ++at;
          if (at != end) state_ = State::finished;
          break;
        case State::escaped:
          ++at;
          state_ = State::string;
          break;
        case State::string:
          at = find_quote_or_escape(at, end);
          if (at != end) leave_string(*at++);
          break;
        default:
          at = follow_structure(at, end);
      }
    }
    return at;
  }

 private:
  enum class State { start, token, string, escaped, structure, finished };

  const char* begin_value(const char* at) {
    if (*at == '"') {
      state_ = State::string;
      return at + 1;
    }
    state_ = *at == '{' || *at == '[' ? State::structure : State::token;
    return at;
  }

  void leave_string(char stopped_at) {
    if (stopped_at == '\\')
      state_ = State::escaped;
    else
      state_ = depth_ == first_depth_ ? State::finished : State::structure;
  }

  const char* follow_structure(const char* at, const char* end) {
    for (; at != end; ++at) {
      if (*at == '"') {
        state_ = State::string;
        return at + 1;
      }
      if (*at == '{' || *at == '[') {
        if (++depth_ > deepest_) deepest_ = depth_;
      } else if ((*at == '}' || *at == ']') && --depth_ == first_depth_) {
        state_ = State::finished;
        return at + 1;
      }
    }
    return at;
  }

  int first_depth_ = 0;
  int depth_ = 0;
  int deepest_ = 0;
  State state_ = State::finished;
};

inline int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// The character of \uXXXX where it is ASCII, else −1.
inline int ascii_of_hex(std::string_view digits) {
  if (digits.size() < 4) return -1;
  int value = 0;
  for (int at = 0; at < 4; ++at) {
    const int digit = hex_value(digits[static_cast<std::size_t>(at)]);
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value < 128 ? value : -1;
}

// A string without its escapes into `out`, for short ASCII words alone: false for any other.
inline bool unescape_ascii(std::string_view text, char* out, std::size_t room, std::size_t& size) {
  constexpr std::string_view escapes = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
  size = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (size == room) return false;
    int c = static_cast<unsigned char>(text[at]);
    if (c == '\\') {
      if (++at == text.size()) return false;
      if (text[at] == 'u') {
        c = ascii_of_hex(text.substr(at + 1));
        at += 4;
      } else {
        const std::size_t which = escapes.find(text[at]);
        c = which == std::string_view::npos ? -1 : meanings[which];
      }
    }
    if (c < 0 || c > 127) return false;
    out[size++] = static_cast<char>(c);
  }
  return true;
}

}  // namespace topout
