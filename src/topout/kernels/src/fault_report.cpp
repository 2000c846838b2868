// Where a process died: before a fatal signal ends it, one line goes to a file.
#include <csignal>
#include <cstdint>
#include <initializer_list>
#include <unistd.h>

#if defined(__linux__)
#include <ucontext.h>
#endif

namespace {

int report_descriptor = -1;
alignas(64) char alternate_stack[64 << 10];  // for a stack that overflowed

// "w", "r", or "?" where the CPU's manner of telling is not known here.
char access_of([[maybe_unused]] void* context) {
#if defined(__linux__) && defined(__x86_64__)
  const auto* const at = static_cast<const ucontext_t*>(context);
  return (at->uc_mcontext.gregs[REG_ERR] & 2) != 0 ? 'w' : 'r';
#else
  return '?';
#endif
}

char* append(char* to, std::uint64_t number) {
  char digits[20];
  int count = 0;
  do {
    digits[count++] = static_cast<char>('0' + number % 10);
    number /= 10;
  } while (number != 0);
  while (count > 0) *to++ = digits[--count];
  return to;
}

// Only what POSIX allows in a handler. On return the signal comes again and has its usual effect.
void report(int signal, siginfo_t* information, void* context) {
  char line[64];
  char* end = append(line, static_cast<std::uint64_t>(signal));
  *end++ = ' ';
  const bool at_address = signal == SIGSEGV || signal == SIGBUS;
  end = append(end, at_address ? reinterpret_cast<std::uintptr_t>(information->si_addr) : 0);
  *end++ = ' ';
  *end++ = at_address ? access_of(context) : '?';
  *end++ = '\n';
  if (write(report_descriptor, line, static_cast<std::size_t>(end - line)) < 0) _exit(128 + signal);
  raise(signal);
}

}  // namespace

// "SIGNAL ADDRESS ACCESS" will be written to `descriptor`; 0 when all handlers are in place.
extern "C" int topout_report_faults(int descriptor) {
  report_descriptor = descriptor;
  stack_t stack{};
  stack.ss_sp = alternate_stack;
  stack.ss_size = sizeof alternate_stack;
  if (sigaltstack(&stack, nullptr) != 0) return 1;
  struct sigaction action {};
  action.sa_sigaction = report;
  action.sa_flags = static_cast<int>(SA_SIGINFO | SA_ONSTACK | SA_RESETHAND);
  sigemptyset(&action.sa_mask);
  int refused = 0;
  for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT})
    refused |= sigaction(signal, &action, nullptr);
  return refused;
}
