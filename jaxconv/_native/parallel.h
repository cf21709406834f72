// The threads of a pool that belongs to someone else, at work for one call.
#pragma once

#if defined(__linux__)
#include <sched.h>
#endif

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "problem.h"

namespace jaxconv {

// The pool is asked for help, and the caller does not wait for it to come: it takes jobs itself until none is left,
// and then waits for those that others have begun. So a call ends in a pool whose threads are all busy, and in one
// whose only thread is the caller.
class Helped : public Parallel {
 public:
  // `schedule` has the pool run a function at some time, on some thread, or on this one at once.
  using Schedule = std::function<void(std::function<void()>)>;

  Helped(int64_t threads, Schedule schedule)
      : Parallel{&Helped::run_all, threads < 1 ? 1 : threads}, schedule_(std::move(schedule)) {}

 private:
  // Shared with helpers, which may look at it long after the call has ended: they then find no job left, and touch
  // nothing that was the caller's.
  struct Jobs {
    int64_t count;
    void (*job)(void*, int64_t);
    void* context;
    std::atomic<int64_t> next{0};
    std::atomic<int64_t> done{0};
    std::mutex mutex;
    std::condition_variable all_done;

    Jobs(int64_t count, void (*job)(void*, int64_t), void* context) : count(count), job(job), context(context) {}

    void work() {
      for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) {
        job(context, i);
        if (done.fetch_add(1, std::memory_order_acq_rel) + 1 == count) {
          const std::lock_guard<std::mutex> lock(mutex);
          all_done.notify_one();
        }
      }
    }
  };

  static void run_all(Parallel* self, int64_t count, void (*job)(void*, int64_t), void* context) {
    if (count == 1 || self->threads == 1) {
      for (int64_t i = 0; i < count; ++i) job(context, i);
      return;
    }
    const auto jobs = std::make_shared<Jobs>(count, job, context);
    const int64_t helpers = (count < self->threads ? count : self->threads) - 1;
    const int core = this_core();
    for (int64_t i = 0; i < helpers; ++i) {
      static_cast<Helped*>(self)->schedule_([jobs, core] {
        leave(core);
        jobs->work();
      });
    }
    jobs->work();
    // The others finish a job at about the same time: it is worth a look or two before the thread is put to sleep.
    for (int i = 0; i < kLooks; ++i) {
      if (jobs->done.load(std::memory_order_acquire) == count) return;
      pause();
    }
    std::unique_lock<std::mutex> lock(jobs->mutex);
    jobs->all_done.wait(lock, [&] { return jobs->done.load(std::memory_order_acquire) == count; });
  }

  // A scheduler may wake a helper on the core of the thread that woke it, though another one idles: the two then take
  // turns until the scheduler looks again, which is milliseconds, as long as many a call. So the helper asks to run on
  // any other core that it is allowed, which moves it there at once, and then takes that wish back.
#if defined(__linux__)
  static int this_core() { return sched_getcpu(); }

  static void leave(int core) {
    cpu_set_t allowed;
    if (core < 0 || this_core() != core || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    cpu_set_t others = allowed;
    CPU_CLR(core, &others);
    // Fails, and nothing is lost, where no other core is allowed.
    if (sched_setaffinity(0, sizeof others, &others) == 0) sched_setaffinity(0, sizeof allowed, &allowed);
  }
#else
  static int this_core() { return -1; }
  static void leave(int) {}
#endif

  static void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
  }

  static constexpr int kLooks = 2000;  // some tens of microseconds
  Schedule schedule_;
};

}  // namespace jaxconv
