// The threads of a pool that belongs to someone else, at work for one call.
#pragma once

#if defined(__linux__)
#include <sched.h>
#endif

#include <atomic>
#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "problem.h"

namespace jaxconv {

// The pool is asked for help, and the caller does not wait for it to come: it takes jobs itself until none is left,
// and then waits for those that others have begun. So a call ends in a pool whose threads are all busy, and in one
// whose only thread is the caller.
//
// What a job throws, the caller throws: the first exception keeps further jobs from beginning, and is thrown when those
// that had begun have ended. A pool that fails to take a helper leaves more jobs to the caller.
class Helped : public Parallel {
 public:
  // `schedule` has the pool run a function at some time, on some thread, or on this one at once.
  using Schedule = std::function<void(std::function<void()>)>;

  // Where `moves`, a helper that was woken on the caller's core asks for another one.
  Helped(int64_t threads, Schedule schedule, bool moves)
      : Parallel{&Helped::run_all, threads < 1 ? 1 : threads}, schedule_(std::move(schedule)), moves_(moves) {}

 private:
  // Shared with helpers, which may look at it long after the call has ended: they then find no job left, and touch
  // nothing that was the caller's.
  struct Jobs {
    int64_t count;
    void (*job)(void*, int64_t);
    void* context;
    std::atomic<int64_t> next{0};
    std::atomic<int64_t> done{0};  // that have ended, or that nobody will begin
    std::mutex mutex;
    std::condition_variable all_done;
    std::exception_ptr failure;  // the first; under the mutex until all are done

    Jobs(int64_t count, void (*job)(void*, int64_t), void* context) : count(count), job(job), context(context) {}

    void work() noexcept {
      for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) {
        int64_t ended = 1;
        try {
          job(context, i);
        } catch (...) {
          ended += stop(std::current_exception());
        }
        if (done.fetch_add(ended, std::memory_order_acq_rel) + ended == count) {
          const std::lock_guard<std::mutex> lock(mutex);
          all_done.notify_one();
        }
      }
    }

    // Keeps other jobs from beginning, and gives their number.
    int64_t stop(std::exception_ptr thrown) {
      const std::lock_guard<std::mutex> lock(mutex);
      if (failure == nullptr) failure = std::move(thrown);
      const int64_t begun = next.exchange(count, std::memory_order_relaxed);
      return begun < count ? count - begun : 0;
    }
  };

  static void run_all(Parallel* self, int64_t count, void (*job)(void*, int64_t), void* context) {
    if (count == 1 || self->threads == 1) {
      for (int64_t i = 0; i < count; ++i) job(context, i);
      return;
    }
    const auto jobs = std::make_shared<Jobs>(count, job, context);
    static_cast<Helped*>(self)->ask_for_help(jobs, (count < self->threads ? count : self->threads) - 1);
    jobs->work();
    wait(*jobs);
    // The last one to hold the exception is the caller, which may free what it has thrown.
    if (const std::exception_ptr failure = std::exchange(jobs->failure, nullptr)) std::rethrow_exception(failure);
  }

  void ask_for_help(const std::shared_ptr<Jobs>& jobs, int64_t helpers) noexcept try {
    const int core = moves_ ? this_core() : -1;
    for (int64_t i = 0; i < helpers; ++i) {
      schedule_([jobs, core] {
        leave(core);
        jobs->work();
      });
    }
  } catch (...) {  // the helpers that have been asked come, and do what the others would have done
  }

  static void wait(Jobs& jobs) {
    // The others finish a job at about the same time: it is worth a look or two before the thread is put to sleep.
    for (int i = 0; i < kLooks; ++i) {
      if (jobs.done.load(std::memory_order_acquire) == jobs.count) return;
      pause();
    }
    std::unique_lock<std::mutex> lock(jobs.mutex);
    jobs.all_done.wait(lock, [&] { return jobs.done.load(std::memory_order_acquire) == jobs.count; });
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
  bool moves_;
};

}  // namespace jaxconv
