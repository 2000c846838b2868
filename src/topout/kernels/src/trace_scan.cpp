// A trace in JSON, fed in pieces of any size, to columns of whole numbers and a table of strings.
//
// The outermost value is an object whose "traceEvents" is an array of events, or such an array
// itself. Other members of the object are kept as text up to a size. An event that cannot be read
// is counted and stepped over. The C ABI is the whole interface; what fields there are, and under
// which keys, the caller says.

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trace_columns.h"
#include "trace_event.h"
#include "trace_fields.h"
#include "trace_json.h"
#include "trace_number.h"
#include "trace_strings.h"

namespace topout {
namespace {

// What the caller's fields must begin with.
enum FixedField { phase_field, category_field, start_field, duration_field, name_field };

enum Count { entries, unreadable, untimed, paired, unphased, too_long, trailing, count_kinds };

enum class Stage { start, members, member_value, events, entry, done, foreign, broken };

constexpr std::size_t longest_event = 16 << 20;
constexpr std::size_t longest_member = 1 << 20;  // longer ones are stepped over
constexpr std::size_t most_members = 1000;

class Scanner {
 public:
  FieldTable fields;
  bool keeps_names = false;  // of processes and threads: their metadata become rows too

  void feed(const char* data, std::size_t size) {
    if (stage_ == Stage::done) count_trailing(data, data + size);
    if (stage_ == Stage::done || stage_ == Stage::foreign || stage_ == Stage::broken) return;
    if (columns_.empty()) columns_.resize(static_cast<std::size_t>(fields.size()));
    pending_.append(data, size);
    // What was not complete is looked at again when twice as much has come: linear for any length.
    if (pending_.size() < look_again_at_) return;
    const char* const end = pending_.data() + pending_.size();
    const char* const rest = run(pending_.data(), end);
    read_bytes_ += static_cast<std::uint64_t>(rest - pending_.data());
    pending_.erase(0, static_cast<std::size_t>(rest - pending_.data()));
    look_again_at_ = 2 * pending_.size();
  }

  // No more will come.
  void finish() {
    look_again_at_ = 0;
    feed("", 0);
    pending_.clear();
    pending_.shrink_to_fit();
  }

  int stage() const { return static_cast<int>(stage_); }
  std::int64_t count(int which) const { return counts_[which]; }
  std::uint64_t read_bytes() const { return read_bytes_; }
  bool has_events() const { return has_events_; }
  const std::vector<std::pair<std::string, std::string>>& members() const { return members_; }
  const StringTable& strings() const { return strings_; }

  std::int64_t rows() const { return rows_; }

  std::int64_t present_in(int field) const {
    const auto number = static_cast<std::size_t>(field);
    return number < columns_.size() ? static_cast<std::int64_t>(columns_[number].count()) : 0;
  }

  // In the order of time; the column is given up.
  void take(int field, std::int64_t* values, std::uint8_t* present) {
    if (places_.size() != static_cast<std::size_t>(rows_))
      places_ = places_by_time(columns_[start_field]);
    Column& column = columns_[static_cast<std::size_t>(field)];
    column.fill(places_.data(), values, present);
    column.clear();
  }

 private:
  // Behind what is done with.
  const char* run(const char* at, const char* end) {
    for (;;) {
      const char* const before = at;
      const Stage stage = stage_;
      switch (stage_) {
        case Stage::start: at = read_start(at, end); break;
        case Stage::members: at = read_key(at, end); break;
        case Stage::member_value: at = read_member_value(at, end); break;
        case Stage::events: at = read_event(at, end); break;
        case Stage::entry: at = skip_entry(at, end); break;
        case Stage::done: count_trailing(at, end); return end;
        default: return end;
      }
      if (at == before && stage == stage_) return at;
    }
  }

  // Bytes behind the end of the JSON, but for blanks.
  void count_trailing(const char* at, const char* end) {
    for (; at != end; ++at) counts_[trailing] += !is_blank(*at);
  }

  const char* read_start(const char* at, const char* end) {
    at = skip_blanks(at, end);
    if (at == end) return at;
    if (*at == '[') begin_events(true);
    else stage_ = *at == '{' ? Stage::members : Stage::foreign;
    return at + 1;
  }

  void begin_events(bool bare) {
    bare_ = bare;
    has_events_ = true;
    stage_ = Stage::events;
  }

  static const char* skip_commas(const char* at, const char* end) {
    while (at != end && (is_blank(*at) || *at == ',')) ++at;
    return at;
  }

  // `"key":` and the first byte of what follows, all at once.
  const char* read_key(const char* at, const char* end) {
    at = skip_commas(at, end);
    if (at == end) return at;
    if (*at == '}') {
      stage_ = Stage::done;
      return at + 1;
    }
    if (*at != '"') {
      stage_ = Stage::broken;
      return at;
    }
    const char* const key_end = find_string_end(at + 1, end);
    if (key_end == nullptr) return at;
    const char* value = skip_blanks(key_end + 1, end);
    if (value == end) return at;
    if (*value == ':') value = skip_blanks(value + 1, end);
    else stage_ = Stage::broken;
    if (value == end || stage_ == Stage::broken) return at;
    key_.assign(at + 1, static_cast<std::size_t>(key_end - at - 1));
    return begin_member(value);
  }

  const char* begin_member(const char* value) {
    if (key_ == "traceEvents" && *value == '[') {
      begin_events(false);
      return value + 1;
    }
    if (ends_token(*value) && *value != '"' && *value != '{' && *value != '[') {
      stage_ = Stage::broken;
      return value;
    }
    text_.clear();
    skipper_.begin();
    stage_ = Stage::member_value;
    return value;
  }

  const char* read_member_value(const char* at, const char* end) {
    const char* const behind = skipper_.advance(at, end);
    if (text_.size() <= longest_member) text_.append(at, static_cast<std::size_t>(behind - at));
    if (skipper_.finished()) {
      stage_ = Stage::members;
      if (text_.size() <= longest_member && members_.size() < most_members)
        members_.emplace_back(std::move(key_), std::move(text_));
      text_ = std::string();
    }
    return behind;
  }

  const char* read_event(const char* at, const char* end) {
    at = skip_commas(at, end);
    if (at == end) return at;
    if (*at == ']') {
      stage_ = bare_ ? Stage::done : Stage::members;
      return at + 1;
    }
    if (*at == '}' || *at == ':') {
      stage_ = Stage::broken;
      return at;
    }
    const char* after = at;
    const Outcome outcome = *at == '{' ? event_.read(at, end, after) : Outcome::unreadable;
    const char* const so_far = outcome == Outcome::whole ? after : end;
    const bool is_long = static_cast<std::size_t>(so_far - at) > longest_event;
    if (outcome == Outcome::needs_more && !is_long) return at;
    if (outcome == Outcome::whole && !is_long) {
      ++counts_[entries];
      keep_event();
      return after;
    }
    stage_ = Stage::entry;
    entry_bytes_ = 0;
    skipper_.begin();
    return at;
  }

  // Steps over what cannot be read, or is too long to be an event.
  const char* skip_entry(const char* at, const char* end) {
    const char* const behind = skipper_.advance(at, end);
    entry_bytes_ += static_cast<std::size_t>(behind - at);
    if (skipper_.finished()) {
      stage_ = Stage::events;
      ++counts_[entries];
      ++counts_[entry_bytes_ > longest_event ? too_long : unreadable];
    }
    return behind;
  }

  // Complete events, and instants of a category; flows, counters and, unless they are asked for,
  // names of processes are not events of the table.
  void keep_event() {
    char kind = 0;
    std::size_t size = 0;
    if (!event_.has(phase_field) ||
        !unescape_ascii(event_.value(phase_field).text, &kind, 1, size) || size != 1) {
      ++counts_[unphased];
      return;
    }
    if (kind == 'B' || kind == 'E' || kind == 'b' || kind == 'e') ++counts_[paired];
    const bool instant = (kind == 'i' || kind == 'I') && event_.has(category_field);
    const bool name = kind == 'M' && keeps_names;
    if (kind != 'X' && !instant && !name) return;
    std::int64_t start;
    if (!name && !number_of(start_field, start)) {
      ++counts_[untimed];
      return;
    }
    append_row(name);
  }

  // Every row has a start: that of a name is 0.
  void append_row(bool name) {
    const auto row = static_cast<std::uint32_t>(rows_);
    for (int field = keeps_names ? phase_field : category_field; field < fields.size(); ++field) {
      std::int64_t value = 0;
      const bool given = name && field == start_field;
      if (given || (event_.has(field) && value_of(field, value)))
        columns_[static_cast<std::size_t>(field)].append(row, value);
    }
    ++rows_;
  }

  bool value_of(int field, std::int64_t& value) {
    const Form form = fields.field(field).form;
    if (form == Form::number || form == Form::lane) return number_of(field, value);
    const EventValue& found = event_.value(field);
    if (!found.quoted && found.text == "null") return false;
    std::string_view text = found.text;
    if (form == Form::json && found.quoted) text = {text.data() - 1, text.size() + 2};
    value = strings_.number_of(text);
    return true;
  }

  bool number_of(int field, std::int64_t& value) const {
    constexpr std::string_view lane = "stream ";
    if (!event_.has(field)) return false;
    std::string_view text = event_.value(field).text;
    if (fields.field(field).form == Form::lane && event_.value(field).quoted &&
        text.substr(0, lane.size()) == lane)
      text.remove_prefix(lane.size());
    return parse_scaled(text, fields.field(field).shift, value);
  }

  Event event_{fields};
  std::string pending_;
  std::size_t look_again_at_ = 0;
  Stage stage_ = Stage::start;
  bool bare_ = false;
  bool has_events_ = false;
  std::size_t entry_bytes_ = 0;
  ValueSkipper skipper_;
  std::string key_, text_;  // of the member that is being read
  std::vector<std::pair<std::string, std::string>> members_;
  StringTable strings_;
  std::vector<Column> columns_;
  std::vector<std::uint32_t> places_;
  std::int64_t rows_ = 0;
  std::int64_t counts_[count_kinds] = {};
  std::uint64_t read_bytes_ = 0;
};

// No exception crosses the C ABI: running out of memory is the one that can come.
template <class Work>
int status_of(const Work& work) {
  try {
    work();
    return 0;
  } catch (const std::exception&) {
    return 1;
  }
}

}  // namespace
}  // namespace topout

using topout::Scanner;

extern "C" {

// Null where there is no memory.
Scanner* topout_trace_create() {
  Scanner* scanner = nullptr;
  topout::status_of([&] { scanner = new Scanner; });
  return scanner;
}

void topout_trace_destroy(Scanner* scanner) { delete scanner; }

// A key that is read into `field`, 0 to 63; place 0: of the event, 1: of its "args"; form 0: number,
// 1: text, 2: JSON, 3: a number or "stream N". Fields 0 to 4 are phase, category, start, duration
// and name.
int topout_trace_field(Scanner* scanner, const char* key, int place, int field, int form,
                       int shift) {
  return topout::status_of([&] {
    scanner->fields.add(key, static_cast<topout::Place>(place), field,
                        static_cast<topout::Form>(form), shift);
  });
}

// Metadata (phase M) become rows too, with a start of 0, and every row its phase.
int topout_trace_keep_names(Scanner* scanner) {
  scanner->keeps_names = true;
  return 0;
}

int topout_trace_feed(Scanner* scanner, const char* data, std::size_t size) {
  return topout::status_of([&] { scanner->feed(data, size); });
}

int topout_trace_finish(Scanner* scanner) {
  return topout::status_of([&] { scanner->finish(); });
}

int topout_trace_stage(const Scanner* scanner) { return scanner->stage(); }

int topout_trace_has_events(const Scanner* scanner) { return scanner->has_events() ? 1 : 0; }

std::int64_t topout_trace_count(const Scanner* scanner, int which) {
  return scanner->count(which);
}

std::uint64_t topout_trace_read_bytes(const Scanner* scanner) { return scanner->read_bytes(); }

std::int64_t topout_trace_rows(const Scanner* scanner) { return scanner->rows(); }

std::int64_t topout_trace_present(const Scanner* scanner, int field) {
  return scanner->present_in(field);
}

int topout_trace_take(Scanner* scanner, int field, std::int64_t* values, std::uint8_t* present) {
  return topout::status_of([&] { scanner->take(field, values, present); });
}

std::int64_t topout_trace_strings(const Scanner* scanner) {
  return static_cast<std::int64_t>(scanner->strings().size());
}

std::uint64_t topout_trace_string_bytes(const Scanner* scanner) {
  return scanner->strings().text_bytes();
}

const char* topout_trace_string(const Scanner* scanner, std::int64_t number, std::size_t* size) {
  const std::string_view text = scanner->strings().text(static_cast<std::size_t>(number));
  *size = text.size();
  return text.data();
}

std::int64_t topout_trace_members(const Scanner* scanner) {
  return static_cast<std::int64_t>(scanner->members().size());
}

const char* topout_trace_member(const Scanner* scanner, std::int64_t number, int part,
                                std::size_t* size) {
  const auto& [key, value] = scanner->members()[static_cast<std::size_t>(number)];
  *size = part == 0 ? key.size() : value.size();
  return part == 0 ? key.data() : value.data();
}

}  // extern "C"
