// Decimal text to whole numbers, exactly: times in microseconds with any number of decimals become
// nanoseconds without a floating-point number in between.
#pragma once

#include <cstdint>
#include <string_view>

namespace topout {

inline bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The value of `-?digits[.digits][e±digits]`, split so that value = ± digits · 10^scale.
struct Decimal {
  static constexpr int kept_digits = 19;  // the most that always fit 64 bits
  std::uint64_t digits = 0;
  std::int64_t scale = 0;
  int count = 0;            // of significant digits in `digits`
  int first_dropped = 0;    // the digit after the last kept one: it decides the rounding
  bool dropped_any = false;
  bool negative = false;

  void append(int digit, bool fraction) {
    if (count < kept_digits) {
      digits = digits * 10 + static_cast<unsigned>(digit);
      if (digits != 0) ++count;
      if (fraction) --scale;
      return;
    }
    if (!dropped_any) first_dropped = digit;
    dropped_any = true;
    if (!fraction) ++scale;
  }
};

inline const char* parse_exponent(const char* at, const char* end, std::int64_t& scale) {
  ++at;
  const bool negative = at != end && *at == '-';
  if (at != end && (*at == '-' || *at == '+')) ++at;
  if (at == end || !is_digit(*at)) return nullptr;
  std::int64_t exponent = 0;
  for (; at != end && is_digit(*at); ++at)
    if (exponent < 100'000) exponent = exponent * 10 + (*at - '0');
  scale += negative ? -exponent : exponent;
  return at;
}

inline bool parse_decimal(std::string_view text, Decimal& decimal) {
  const char* at = text.data();
  const char* const end = at + text.size();
  if (at != end && *at == '-') {
    decimal.negative = true;
    ++at;
  }
  if (at == end || !is_digit(*at)) return false;
  for (; at != end && is_digit(*at); ++at) decimal.append(*at - '0', false);
  if (at != end && *at == '.')
    for (++at; at != end && is_digit(*at); ++at) decimal.append(*at - '0', true);
  if (at != end && (*at == 'e' || *at == 'E')) at = parse_exponent(at, end, decimal.scale);
  return at == end;
}

// The number in `text` times 10^shift, halves rounded away from zero. False where it is no number
// or its magnitude needs more than 63 bits.
inline bool parse_scaled(std::string_view text, int shift, std::int64_t& result) {
  constexpr std::uint64_t limit = INT64_MAX;
  Decimal decimal;
  if (!parse_decimal(text, decimal)) return false;
  std::uint64_t value = decimal.digits;
  std::int64_t scale = decimal.scale + shift;
  for (; scale > 0 && value != 0; --scale) {
    if (value > limit / 10) return false;
    value *= 10;
  }
  int rounding_digit = decimal.first_dropped;
  for (; scale < 0 && (value != 0 || rounding_digit != 0); ++scale) {
    rounding_digit = static_cast<int>(value % 10);
    value /= 10;
  }
  if (rounding_digit >= 5) ++value;
  if (value > limit) return false;
  result = decimal.negative ? -static_cast<std::int64_t>(value) : static_cast<std::int64_t>(value);
  return true;
}

}  // namespace topout
