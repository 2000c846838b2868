// What this machine can reach: arithmetic per data type, read bandwidth per working set, and
// the price of a barrier. The C ABI is the whole interface; no call outlasts its `seconds` by
// much, so that the interpreter can be interrupted between two calls.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <vector>

#include <sys/mman.h>

#include "multiply_accumulate.h"
#include "read_streams.h"
#include "thread_team.h"

namespace {

using topout::ThreadTeam;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// --- arithmetic -------------------------------------------------------------------------------

enum Dtype { kFp32 = 0, kBf16 = 1, kInt8 = 2 };

struct Peak {
  const char* name;
  int sums, operands, operations;
  std::size_t sum_bytes, operand_bytes;
  void (*accumulate)(const void*, const void*, void*, std::int64_t);
};

template <class P>
const Peak* peak() {
  static const Peak found = {P::name,         P::sums,           P::operands, P::operations,
                             sizeof(typename P::Sum), sizeof(typename P::Operand),
                             topout::accumulate<P>};
  return &found;
}

// nullptr where the CPU has no instruction for the data type.
const Peak* peak_of(int dtype) {
  switch (dtype) {
    case kFp32: return peak<topout::Fp32Peak>();
#if defined(TOPOUT_HAS_BF16)
    case kBf16: return peak<topout::Bf16Peak>();
#endif
#if defined(TOPOUT_HAS_INT8)
    case kInt8: return peak<topout::Int8Peak>();
#endif
    default: return nullptr;
  }
}

// Random normal and finite, since the power that arithmetic draws, and with it the clock,
// depends on the bits that change.
std::vector<char> random_operands(int dtype, std::size_t bytes, std::uint32_t seed) {
  std::vector<char> data(bytes);
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  const std::size_t width = dtype == kFp32 ? 4 : dtype == kBf16 ? 2 : 1;
  for (std::size_t at = 0; at + width <= bytes; at += width) {
    const float value = normal(generator);
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    const std::uint16_t upper = static_cast<std::uint16_t>(bits >> 16);
    // 63: products of two neighbours stay inside the 16 bits that vpmaddubsw saturates at.
    const float scaled = std::clamp(std::fabs(value) * 24.0f, 0.0f, 63.0f);
    const std::int8_t small = static_cast<std::int8_t>(scaled);
    const void* source = dtype == kFp32   ? static_cast<const void*>(&bits)
                         : dtype == kBf16 ? static_cast<const void*>(&upper)
                                          : static_cast<const void*>(&small);
    std::memcpy(&data[at], source, width);
  }
  return data;
}

// One dependent add a cycle: adds over time is the clock. (Register operands: some CPUs fold
// chains of small immediates.)
std::uint64_t dependent_adds(std::int64_t rounds, std::uint64_t value) {
  std::uint64_t step = value | 1;
  for (std::int64_t round = 0; round < rounds; ++round) {
    TOPOUT_UNROLL(32) for (int i = 0; i < 32; ++i) {
      value += step;
      asm("" : "+r"(value), "+r"(step));
    }
  }
  return value;
}

// Results end here, so that no compiler may find them unneeded.
std::atomic<std::uint64_t> results_sink{0};

// What one thread did, and when: a thread that another program kept waiting starts late or ends
// late, and then the rate of all must fall.
struct Work {
  double amount = 0;  // operations or bytes
  Clock::time_point begin, end;
  double aside_s = 0;  // of that time, not spent on the work
  double clock_hz = 0;
  std::uint64_t live = 0;  // a digest of all results
};

// All the work over the time from the first thread's beginning to the last one's end.
double rate_of(const std::vector<Work>& works) {
  double amount = 0, aside_s = 0;
  Clock::time_point begin = works.front().begin, end = works.front().end;
  for (const Work& work : works) {
    amount += work.amount;
    aside_s += work.aside_s / static_cast<double>(works.size());
    begin = std::min(begin, work.begin);
    end = std::max(end, work.end);
    results_sink += work.live;
  }
  return amount / (std::chrono::duration<double>(end - begin).count() - aside_s);
}

struct Operands {
  std::vector<char> x, y, sums;

  Operands(const Peak& kernel, int dtype, int thread)
      : x(random_operands(dtype, operand_bytes(kernel), seed(thread))),
        y(random_operands(dtype, operand_bytes(kernel), seed(thread) + 1)),
        sums(kernel.sum_bytes * static_cast<std::size_t>(kernel.sums)) {}

  static std::size_t operand_bytes(const Peak& kernel) {
    return kernel.operand_bytes * static_cast<std::size_t>(kernel.operands);
  }
  static std::uint32_t seed(int thread) { return static_cast<std::uint32_t>(2 * thread + 1); }
};

// Arithmetic until `seconds` have passed; about 1 % of the time goes to the clock's chain, which
// runs in between so that it sees the clock that the arithmetic leaves.
void compute_until(const Peak& kernel, Operands& operands, double seconds, Work& work) {
  constexpr std::int64_t iterations = 4096, groups = 8, chain_rounds = 256;
  std::vector<double> clocks;
  work.begin = Clock::now();
  do {
    for (std::int64_t group = 0; group < groups; ++group) {
      // As every tile of a matrix product starts anew.
      std::fill(operands.sums.begin(), operands.sums.end(), 0);
      kernel.accumulate(operands.x.data(), operands.y.data(), operands.sums.data(), iterations);
      work.live += static_cast<unsigned char>(operands.sums[0]);
    }
    work.amount += static_cast<double>(groups * iterations) * kernel.operands * kernel.sums *
                   kernel.operations;
    const auto chain = Clock::now();
    work.live += dependent_adds(chain_rounds, work.live);
    const double chain_s = seconds_since(chain);
    work.aside_s += chain_s;
    clocks.push_back(32.0 * static_cast<double>(chain_rounds) / chain_s);
    work.end = Clock::now();
  } while (std::chrono::duration<double>(work.end - work.begin).count() < seconds);
  const auto middle = clocks.begin() + static_cast<std::ptrdiff_t>(clocks.size() / 2);
  std::nth_element(clocks.begin(), middle, clocks.end());
  work.clock_hz = *middle;
}

// --- memory -----------------------------------------------------------------------------------

constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;
constexpr std::size_t kBlockBytes = std::size_t{1} << 20;  // read between two looks at the clock

struct Mapping {
  char* base = nullptr;  // as mapped
  std::size_t mapped_bytes = 0;
  char* data = nullptr;  // aligned to a huge page
  std::size_t cursor = 0;
};

// Maps `bytes` without touching them: the thread that reads a page must be the first to touch it.
bool map_aligned(Mapping& mapping, std::size_t bytes, bool huge_pages) {
  mapping.mapped_bytes = bytes + kHugePageBytes;
  void* base = mmap(nullptr, mapping.mapped_bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return false;
  mapping.base = static_cast<char*>(base);
  const auto address = reinterpret_cast<std::uintptr_t>(base);
  mapping.data = mapping.base + (kHugePageBytes - address % kHugePageBytes) % kHugePageBytes;
#if defined(__linux__)
  madvise(base, mapping.mapped_bytes, huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
#else
  static_cast<void>(huge_pages);
#endif
  return true;
}

// Never zero, so that no page can be an alias of the kernel's zero page.
void fill_random(char* data, std::size_t bytes, std::uint64_t seed) {
  std::uint64_t state = seed;
  for (std::size_t at = 0; at + 8 <= bytes; at += 8) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    const std::uint64_t word = state | 1;
    std::memcpy(data + at, &word, sizeof word);
  }
}

}  // namespace

struct topout_buffers {
  ThreadTeam* team;
  std::size_t bytes;  // of one thread
  std::vector<Mapping> mappings;

  ~topout_buffers() {
    for (const Mapping& mapping : mappings)
      if (mapping.base != nullptr) munmap(mapping.base, mapping.mapped_bytes);
  }
};

namespace {

// Blocks one after another, round and round over the first `bytes`; a trial goes on where the
// last one stopped, so that a short trial over a large set finds no block in a cache.
void read_until(Mapping& mapping, topout::SumBlock sum, std::size_t bytes,
                std::size_t distance_bytes, double seconds, Work& work) {
  if (mapping.cursor >= bytes) mapping.cursor = 0;
  work.begin = Clock::now();
  do {
    for (std::size_t since_look = 0; since_look < kBlockBytes;) {
      const std::size_t block = std::min(kBlockBytes, bytes - mapping.cursor);
      work.live += sum(mapping.data + mapping.cursor, block, distance_bytes);
      mapping.cursor = mapping.cursor + block == bytes ? 0 : mapping.cursor + block;
      since_look += block;
      work.amount += static_cast<double>(block);
    }
    work.end = Clock::now();
  } while (std::chrono::duration<double>(work.end - work.begin).count() < seconds);
}

bool readable(const topout_buffers& buffers, std::size_t bytes) {
  return bytes > 0 && bytes <= buffers.bytes && bytes % topout::kGrainBytes == 0;
}

}  // namespace

extern "C" {

// An empty function: the price of calling a kernel.
int topout_empty() { return 0; }

// nullptr when the system refuses the threads.
ThreadTeam* topout_team_create(int threads, const int* cpus, int cpu_count) {
  if (threads < 1 || cpu_count < 0) return nullptr;
  try {
    return new ThreadTeam(threads, std::vector<int>(cpus, cpus + cpu_count));
  } catch (...) {
    return nullptr;
  }
}

void topout_team_destroy(ThreadTeam* team) { delete team; }

int topout_team_pinned(const ThreadTeam* team) { return team->pinned(); }

// Seconds of one barrier among all threads of the team, over `rounds` of them.
double topout_barrier_time(ThreadTeam* team, int rounds) {
  double elapsed_s = 0;
  team->run([&](int thread) {
    team->barrier().wait();
    const auto start = Clock::now();
    for (int round = 0; round < rounds; ++round) team->barrier().wait();
    if (thread == 0) elapsed_s = seconds_since(start);
  });
  return elapsed_s / rounds;
}

// Seconds to wake the sleeping team for an empty job and to see it finished.
double topout_fork_join_time(ThreadTeam* team, int rounds) {
  const auto start = Clock::now();
  for (int round = 0; round < rounds; ++round) team->run([](int) {});
  return seconds_since(start) / rounds;
}

// The instruction that the data type's peak is reached with; nullptr where there is none.
const char* topout_peak_name(int dtype) {
  const Peak* kernel = peak_of(dtype);
  return kernel == nullptr ? nullptr : kernel->name;
}

// shape: sums, operands, operations a step, bytes of a sum, bytes of an operand.
int topout_peak_shape(int dtype, std::int64_t* shape) {
  const Peak* kernel = peak_of(dtype);
  if (kernel == nullptr) return -1;
  shape[0] = kernel->sums;
  shape[1] = kernel->operands;
  shape[2] = kernel->operations;
  shape[3] = static_cast<std::int64_t>(kernel->sum_bytes);
  shape[4] = static_cast<std::int64_t>(kernel->operand_bytes);
  return 0;
}

// The loop that `topout_compute_trial` times, over operands of the caller.
int topout_accumulate(int dtype, const void* x, const void* y, void* sums,
                      std::int64_t iterations) {
  const Peak* kernel = peak_of(dtype);
  if (kernel == nullptr) return -1;
  kernel->accumulate(x, y, sums, iterations);
  return 0;
}

// Operations per second of all threads together, and the median of their clocks.
int topout_compute_trial(ThreadTeam* team, int dtype, double seconds, double* per_s,
                         double* clock_hz) {
  const Peak* kernel = peak_of(dtype);
  if (kernel == nullptr) return -1;
  std::vector<Work> works(static_cast<std::size_t>(team->size()));
  team->run([&](int thread) {
    Operands operands(*kernel, dtype, thread);
    team->barrier().wait();
    compute_until(*kernel, operands, seconds, works[static_cast<std::size_t>(thread)]);
  });
  *per_s = rate_of(works);
  std::sort(works.begin(), works.end(),
            [](const Work& one, const Work& other) { return one.clock_hz < other.clock_hz; });
  *clock_hz = works[works.size() / 2].clock_hz;
  return 0;
}

// The sum of the 32-bit words at `data` (aligned to 64), modulo 2^32, by the kernel that
// `topout_read_trial` times; -1 for sizes or stream counts it does not take.
std::int64_t topout_sum(const char* data, std::size_t bytes, int streams,
                        std::size_t distance_bytes) {
  const topout::SumBlock sum = topout::sum_block_for(streams, distance_bytes > 0);
  if (sum == nullptr || bytes % topout::kGrainBytes != 0) return -1;
  return sum(data, bytes, distance_bytes);
}

// One mapping of `bytes` per thread, untouched; nullptr when there is not enough memory.
topout_buffers* topout_buffers_create(ThreadTeam* team, std::size_t bytes, int huge_pages) {
  if (bytes == 0 || bytes % topout::kGrainBytes != 0) return nullptr;
  try {
    auto buffers = std::make_unique<topout_buffers>();
    buffers->team = team;
    buffers->bytes = bytes;
    buffers->mappings.resize(static_cast<std::size_t>(team->size()));
    for (Mapping& mapping : buffers->mappings)
      if (!map_aligned(mapping, bytes, huge_pages != 0)) return nullptr;
    return buffers.release();
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

void topout_buffers_destroy(topout_buffers* buffers) { delete buffers; }

// Each thread writes `bytes` from offset `from` on of its own mapping.
int topout_buffers_fill(topout_buffers* buffers, std::size_t from, std::size_t bytes) {
  if (from > buffers->bytes || bytes > buffers->bytes - from) return -1;
  buffers->team->run([&](int thread) {
    const auto index = static_cast<std::size_t>(thread);
    const std::uint64_t seed = 0x9E3779B97F4A7C15u * (index + 1) + from;
    fill_random(buffers->mappings[index].data + from, bytes, seed | 1);
  });
  return 0;
}

const void* topout_buffers_data(const topout_buffers* buffers, int thread) {
  return buffers->mappings[static_cast<std::size_t>(thread)].data;
}

// Bytes read per second by all threads together, each over the first `bytes` of its mapping;
// -1 for sizes or stream counts it does not take.
int topout_read_trial(topout_buffers* buffers, std::size_t bytes, int streams,
                      std::size_t distance_bytes, double seconds, double* per_s) {
  const topout::SumBlock sum = topout::sum_block_for(streams, distance_bytes > 0);
  if (sum == nullptr || !readable(*buffers, bytes)) return -1;
  std::vector<Work> works(buffers->mappings.size());
  buffers->team->run([&](int thread) {
    const auto index = static_cast<std::size_t>(thread);
    buffers->team->barrier().wait();
    read_until(buffers->mappings[index], sum, bytes, distance_bytes, seconds, works[index]);
  });
  *per_s = rate_of(works);
  return 0;
}

}  // extern "C"
