// A team of pinned threads that runs one job on all of them, and the barrier they meet at.
#pragma once

#include <atomic>
#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif

namespace topout {

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb");
#endif
}

// Spins for some 10 µs, then yields: a late thread must not starve behind those waiting for it
// when there are more threads than free CPUs.
class SpinBarrier {
 public:
  explicit SpinBarrier(int threads) : threads_(threads) {}

  void wait() {
    const std::uint32_t generation = generation_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads_) {
      arrived_.store(0, std::memory_order_relaxed);
      generation_.store(generation + 1, std::memory_order_release);
      return;
    }
    int spins = 0;
    while (generation_.load(std::memory_order_acquire) == generation) {
      if (spins < kSpins) {
        ++spins;
        relax();
      } else {
        std::this_thread::yield();
      }
    }
  }

 private:
  static constexpr int kSpins = 1000;
  const int threads_;
  // Apart, so that arriving does not take the line that the others are watching.
  alignas(128) std::atomic<int> arrived_{0};
  alignas(128) std::atomic<std::uint32_t> generation_{0};
};

// The caller takes no part and sleeps meanwhile: pinning it would pin whatever it starts later.
class ThreadTeam {
 public:
  using Job = std::function<void(int)>;

  // Thread i is pinned to cpus[i % size]; an empty list leaves all threads to the scheduler.
  ThreadTeam(int threads, const std::vector<int>& cpus) : barrier_(threads) {
    threads_.reserve(static_cast<std::size_t>(threads));
    try {
      for (int i = 0; i < threads; ++i) {
        const int cpu = cpus.empty() ? -1 : cpus[static_cast<std::size_t>(i) % cpus.size()];
        threads_.emplace_back([this, i, cpu] { serve(i, cpu); });
      }
    } catch (...) {
      stop();
      throw;
    }
    run([](int) {});  // every thread has pinned itself once this returns
  }

  ~ThreadTeam() { stop(); }
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  void run(const Job& job) {
    std::unique_lock<std::mutex> lock(mutex_);
    job_ = &job;
    busy_ = size();
    ++round_;
    wake_.notify_all();
    done_.wait(lock, [this] { return busy_ == 0; });
  }

  int size() const { return static_cast<int>(threads_.size()); }
  int pinned() const { return pinned_.load(); }
  SpinBarrier& barrier() { return barrier_; }

 private:
  void serve(int index, int cpu) {
    ignore_signals();
    if (pin_to(cpu)) pinned_.fetch_add(1);
    std::uint64_t seen = 0;
    for (;;) {
      const Job* job = nullptr;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return stopping_ || round_ != seen; });
        if (stopping_) return;
        seen = round_;
        job = job_;
      }
      (*job)(index);
      const std::lock_guard<std::mutex> lock(mutex_);
      if (--busy_ == 0) done_.notify_one();
    }
  }

  void stop() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  // Signals belong to the thread that runs the interpreter.
  static void ignore_signals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
  }

  static bool pin_to(int cpu) {
#if defined(__linux__)
    if (cpu < 0) return false;
    const std::size_t bytes = CPU_ALLOC_SIZE(cpu + 1);
    cpu_set_t* mask = CPU_ALLOC(cpu + 1);
    if (mask == nullptr) return false;
    CPU_ZERO_S(bytes, mask);
    CPU_SET_S(cpu, bytes, mask);
    const bool done = sched_setaffinity(0, bytes, mask) == 0;
    CPU_FREE(mask);
    return done;
#else
    return cpu < -1;
#endif
  }

  std::vector<std::thread> threads_;
  SpinBarrier barrier_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable done_;
  const Job* job_ = nullptr;
  std::uint64_t round_ = 0;
  int busy_ = 0;
  bool stopping_ = false;
  std::atomic<int> pinned_{0};
};

}  // namespace topout
