// The scanner of traces on whole, damaged and cut-off text in pieces of all sizes, in several
// threads: built with sanitizers by the test beside it. Exit status 0: all is right.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

extern "C" {
struct Scanner;
Scanner* topout_trace_create();
void topout_trace_destroy(Scanner*);
int topout_trace_field(Scanner*, const char*, int, int, int, int);
int topout_trace_feed(Scanner*, const char*, std::size_t);
int topout_trace_finish(Scanner*);
int topout_trace_stage(const Scanner*);
int topout_trace_has_events(const Scanner*);
std::int64_t topout_trace_count(const Scanner*, int);
std::uint64_t topout_trace_read_bytes(const Scanner*);
std::int64_t topout_trace_rows(const Scanner*);
std::int64_t topout_trace_present(const Scanner*, int);
int topout_trace_take(Scanner*, int, std::int64_t*, std::uint8_t*);
std::int64_t topout_trace_strings(const Scanner*);
const char* topout_trace_string(const Scanner*, std::int64_t, std::size_t*);
std::int64_t topout_trace_members(const Scanner*);
const char* topout_trace_member(const Scanner*, std::int64_t, int, std::size_t*);
}

namespace {

constexpr int fields = 8;
std::atomic<int> failures{0};

void expect(bool holds, const char* what) {
  if (holds) return;
  std::printf("FAILED: %s\n", what);
  ++failures;
}

struct Found {
  std::vector<std::int64_t> numbers;
  std::string text;

  bool operator==(const Found& other) const {
    return numbers == other.numbers && text == other.text;
  }
};

void add_fields(Scanner* scanner) {
  struct Key {
    const char* name;
    int place, field, form, shift;
  };
  const Key keys[] = {{"ph", 0, 0, 1, 0},     {"cat", 0, 1, 1, 0},    {"ts", 0, 2, 0, 3},
                      {"dur", 0, 3, 0, 3},    {"name", 0, 4, 1, 0},   {"tid", 0, 5, 3, 0},
                      {"device", 1, 6, 0, 0}, {"shapes", 1, 7, 2, 0}, {"dims", 1, 7, 2, 0}};
  for (const Key& key : keys)
    expect(topout_trace_field(scanner, key.name, key.place, key.field, key.form, key.shift) == 0,
           "a field");
}

// Each piece lies alone in memory of its own size, so that reading beyond it shows.
void feed(Scanner* scanner, const std::string& text, std::size_t piece) {
  for (std::size_t at = 0; at < text.size(); at += piece) {
    const std::size_t size = std::min(piece, text.size() - at);
    const auto copy = std::make_unique<char[]>(size);
    std::memcpy(copy.get(), text.data() + at, size);
    expect(topout_trace_feed(scanner, copy.get(), size) == 0, "feeding");
  }
  expect(topout_trace_finish(scanner) == 0, "the end");
}

void collect_columns(Scanner* scanner, Found& found) {
  const std::int64_t rows = topout_trace_rows(scanner);
  found.numbers.push_back(rows);
  for (int field = 0; field < fields; ++field) {
    const auto count = static_cast<std::size_t>(rows);
    std::vector<std::int64_t> values(count);
    std::vector<std::uint8_t> present(count);
    const std::int64_t expected = topout_trace_present(scanner, field);
    if (expected != 0)
      expect(topout_trace_take(scanner, field, values.data(), present.data()) == 0, "a column");
    std::int64_t filled = 0;
    for (std::size_t row = 0; row < count; ++row) filled += present[row];
    expect(filled == expected, "as many values as were counted");
    found.numbers.insert(found.numbers.end(), values.begin(), values.end());
    found.numbers.insert(found.numbers.end(), present.begin(), present.end());
    if (field == 2)
      for (std::size_t row = 1; row < count; ++row)
        expect(values[row - 1] <= values[row], "the order of time");
  }
}

Found scan(const std::string& text, std::size_t piece) {
  Scanner* const scanner = topout_trace_create();
  add_fields(scanner);
  feed(scanner, text, piece);
  Found found;
  for (int which = 0; which < 6; ++which)
    found.numbers.push_back(topout_trace_count(scanner, which));
  found.numbers.push_back(topout_trace_stage(scanner));
  found.numbers.push_back(topout_trace_has_events(scanner));
  expect(topout_trace_read_bytes(scanner) <= text.size(), "bytes that were read");
  collect_columns(scanner, found);
  std::size_t size;
  for (std::int64_t at = 0; at < topout_trace_strings(scanner); ++at) {
    const char* const string = topout_trace_string(scanner, at, &size);
    found.text.append(string == nullptr ? "" : string, size);
    found.text += '\0';
  }
  for (std::int64_t at = 0; at < topout_trace_members(scanner); ++at)
    for (const int part : {0, 1}) {
      const char* const member = topout_trace_member(scanner, at, part, &size);
      found.text.append(member, size);
      found.text += '\0';
    }
  topout_trace_destroy(scanner);
  return found;
}

std::string trace_of(int events) {
  std::string text = "{\"note\": \"\\\"}]\", \"deviceProperties\": [{\"id\": 0}], \"traceEvents\": [";
  for (int at = 0; at < events; ++at) {
    text += at == 0 ? "" : ",";
    text += "\n{\"ph\": \"X\", \"cat\": \"kernel\", \"name\": \"gemm \\\"" + std::to_string(at % 7);
    text += "\\u00e9\", \"ts\": " + std::to_string(1000 - at) + ".125, \"dur\": \"2.5\", ";
    text += "\"tid\": \"stream 7\", \"args\": {\"device\": " + std::to_string(at % 3);
    if (at % 5 == 0) text += ", \"sha\\u0070es\": [[1, 2], [\"]\", {}]]";
    text += "}}";
  }
  return text + "\n], \"traceName\": \"a\"}\n";
}

void check_whole() {
  const Found found = scan(trace_of(20), 1 << 20);
  expect(found.numbers[0] == 20 && found.numbers[8] == 20, "all events");
  for (int which = 1; which < 6; ++which) expect(found.numbers[which] == 0, "nothing left out");
}

void check_damaged(unsigned seed) {
  std::mt19937 random(seed);
  const std::string whole = trace_of(6);
  const std::string damage = "\"\\{}[],: 0aeE.-\xff";
  for (int round = 0; round < 16; ++round) {
    std::string text = whole.substr(0, random() % 3 == 0 ? random() % whole.size() : whole.size());
    for (unsigned times = random() % 4; times != 0 && !text.empty(); --times)
      text[random() % text.size()] = damage[random() % damage.size()];
    const Found at_once = scan(text, text.size() + 1);
    for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, std::size_t{64}})
      expect(scan(text, piece) == at_once, "the same in any pieces");
  }
}

void check_growth() {
  std::string text = "[";
  for (int at = 0; at < 70'000; ++at)  // beyond two blocks of a column, with a late first value
    text += "{\"ph\":\"X\",\"ts\":" + std::to_string(at % 1000) + ",\"name\":\"" +
            std::to_string(at) + (at == 60'000 ? "\",\"dur\":1},\n" : "\"},\n");
  text += "{\"ph\": \"X\", \"ts\": 1, \"a\": " + std::string(100'000, '[') + "}]";
  const Found found = scan(text, 1 << 16);
  expect(found.numbers[8] == 70'000, "as many rows as events");
}

}  // namespace

int main() {
  check_whole();
  check_growth();
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < 2; ++seed) threads.emplace_back(check_damaged, seed);
  for (std::thread& thread : threads) thread.join();
  if (failures == 0) std::printf("all right\n");
  return failures == 0 ? 0 : 1;
}
