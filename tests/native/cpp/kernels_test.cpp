// The kernels of every instruction set of this machine against the naive loop nest, on random problems: for the
// sanitizers, and without Python. Every array has exactly its own bytes, and the scratch what was asked for.
//
//     kernels_address [problems] [seed]
//     kernels_thread [problems] [seed]     calls from several threads at once, sharing one pool

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "isa.h"
#include "naive.h"
#include "parallel.h"

namespace {

using namespace jaxconv;

#if defined(JAXCONV_CONCURRENT)
constexpr int kCallers = 3, kThreads = 4, kProblems = 150;
#else
constexpr int kCallers = 1, kThreads = 3, kProblems = 600;
#endif

// A pool as XLA's is: tasks wait in a queue, and nobody says when one will run.
class Pool {
 public:
  explicit Pool(int threads) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { loop(); });
  }

  ~Pool() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ended_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  void schedule(std::function<void()> task) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    changed_.notify_one();
  }

 private:
  void loop() {
    for (;;) {
      std::function<void()> task;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [this] { return ended_ || !tasks_.empty(); });
        if (tasks_.empty()) return;
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      task();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  bool ended_ = false;
  std::vector<std::thread> threads_;
};

// Memory of exactly so many bytes, aligned to a cache line.
class Bytes {
 public:
  explicit Bytes(int64_t count) : memory_(nullptr) {
    if (posix_memalign(&memory_, 64, count > 0 ? count : 1) != 0) std::abort();
  }
  ~Bytes() { std::free(memory_); }
  Bytes(const Bytes&) = delete;
  void* get() { return memory_; }

 private:
  void* memory_;
};

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  int64_t in(int64_t least, int64_t most) { return std::uniform_int_distribution<int64_t>(least, most)(engine_); }
  bool one_in(int n) { return in(1, n) == 1; }
  float normal() { return std::normal_distribution<float>()(engine_); }
  template <class T>
  T of(std::initializer_list<T> values) {
    return values.begin()[in(0, static_cast<int64_t>(values.size()) - 1)];
  }

 private:
  std::mt19937_64 engine_;
};

// A problem that `parse` takes, of at most about a million multiplications; or of some millions, where kernels of 3 x 3
// meet enough channels and positions for tiles.
Problem random_problem(Random& random) {
  for (;;) {
    Problem p{};
    const bool tiled = random.one_in(8);
    const int64_t rank = tiled ? 2 : random.of<int64_t>({1, 2, 2, 2, 3});
    p.batch = random.in(1, 3);
    p.groups = tiled ? random.in(1, 2) : random.of<int64_t>({1, 1, 2, 3, 5, 16, 17, 40});
    const int64_t per_in = tiled ? random.in(16, 40) : random.of<int64_t>({1, 1, 2, 3, 4, 7, 16, 33, 70});
    const int64_t per_out = tiled ? random.in(16, 40) : random.of<int64_t>({1, 1, 2, 3, 5, 8, 16, 31, 65});
    p.in_channels = p.groups * per_in;
    p.out_channels = p.groups * per_out;
    p.mode = static_cast<Mode>(random.in(0, 4));
    p.channels_last = random.one_in(2);
    p.storage = random.one_in(4) ? static_cast<Storage>(random.in(1, 2)) : Storage::float32;
    int64_t work = p.batch * p.groups * per_in * per_out;
    bool possible = true;
    for (int i = 0; i < 3; ++i) {
      const bool given = i >= 3 - rank;
      p.x_size[i] = !given ? 1 : tiled ? random.in(7, 30) : random.in(1, random.one_in(4) ? 40 : 9);
      p.kernel[i] = !given ? 1 : tiled ? 3 : random.in(1, random.one_in(6) ? 9 : 4);
      p.stride[i] = given && !tiled ? random.of<int64_t>({1, 1, 1, 2, 2, 3, 5}) : 1;
      p.dilation[i] = given ? random.of<int64_t>({1, 1, 1, 2, 3}) : 1;
      const int64_t most = p.mode == Mode::reflect ? p.x_size[i] - 1 : p.mode == Mode::replicate ? 8 : p.x_size[i];
      p.low[i] = given ? random.in(random.one_in(5) ? -2 : 0, std::min<int64_t>(most, 6)) : 0;
      p.high[i] = given ? random.in(random.one_in(5) ? -2 : 0, std::min<int64_t>(most, 6)) : 0;
      const int64_t room = p.x_size[i] + p.low[i] + p.high[i] - p.dilation[i] * (p.kernel[i] - 1) - 1;
      possible = possible && room >= 0;
      p.y_size[i] = possible ? room / p.stride[i] + 1 : 0;
      work *= p.y_size[i] * p.kernel[i];
    }
    if (!possible || work > (tiled ? 8000000 : 1000000)) continue;
    // The check has the last word, through the same door as calls do.
    std::vector<int64_t> x{p.batch}, w{p.out_channels, per_in}, y{p.batch}, numbers[4];
    if (!p.channels_last) x.push_back(p.in_channels), y.push_back(p.out_channels);
    for (int64_t i = 3 - rank; i < 3; ++i) {
      x.push_back(p.x_size[i]), w.push_back(p.kernel[i]), y.push_back(p.y_size[i]);
      numbers[0].push_back(p.stride[i]), numbers[1].push_back(p.low[i]), numbers[2].push_back(p.high[i]);
      numbers[3].push_back(p.dilation[i]);
    }
    if (p.channels_last) x.push_back(p.in_channels), y.push_back(p.out_channels);
    auto view = [](const std::vector<int64_t>& v) {
      return Request::Numbers{v.data(), static_cast<int64_t>(v.size())};
    };
    const Request request{view(x),          view(w),          view(y),
                          view(numbers[0]), view(numbers[1]), view(numbers[2]),
                          view(numbers[3]), p.groups,         static_cast<int64_t>(p.mode),
                          p.channels_last,  p.storage,        random.in(0, 1)};
    Problem parsed{};
    Work kind;
    if (parse(Op::output, request, &parsed, &kind).empty() && kind == Work::some) return parsed;
  }
}

std::string text(const Problem& p) {
  char line[512];
  std::snprintf(
      line, sizeof line,
      "batch %ld groups %ld channels %ld to %ld x %ld %ld %ld y %ld %ld %ld kernel %ld %ld %ld stride %ld %ld "
      "%ld low %ld %ld %ld high %ld %ld %ld dilation %ld %ld %ld mode %d channels_last %d storage %d bias %d",
      (long)p.batch, (long)p.groups, (long)p.in_channels, (long)p.out_channels, (long)p.x_size[0], (long)p.x_size[1],
      (long)p.x_size[2], (long)p.y_size[0], (long)p.y_size[1], (long)p.y_size[2], (long)p.kernel[0], (long)p.kernel[1],
      (long)p.kernel[2], (long)p.stride[0], (long)p.stride[1], (long)p.stride[2], (long)p.low[0], (long)p.low[1],
      (long)p.low[2], (long)p.high[0], (long)p.high[1], (long)p.high[2], (long)p.dilation[0], (long)p.dilation[1],
      (long)p.dilation[2], static_cast<int>(p.mode), p.channels_last, static_cast<int>(p.storage), p.bias);
  return line;
}

// Whether `count` numbers are those expected, but for rounding.
bool close(const char* what, const Problem& p, const Isa& isa, int64_t count, void* result, void* expected,
           double unit) {
  double most = 0, off = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double e = naive::read(expected, i, p.storage), d = naive::read(result, i, p.storage) - e;
    most = std::fmax(most, std::fabs(e));
    off = std::isnan(d) ? INFINITY : std::fmax(off, std::fabs(d));
  }
  if (off <= unit * most + (p.storage == Storage::float32 ? 1e-6 : 1e-3)) return true;
  std::printf("%s, %s: off by %g of %g\n  %s\n", isa.name, what, off, most, text(p).c_str());
  return false;
}

// All ops of one problem with the kernels of one instruction set.
bool right(const Problem& problem, const Isa& isa, Random& random, Parallel* threads) {
  int64_t pixels = 1, places = 1, taps = 1;
  for (int axis = 0; axis < 3; ++axis) {
    pixels *= problem.x_size[axis], places *= problem.y_size[axis], taps *= problem.kernel[axis];
  }
  const int64_t bytes = problem.storage == Storage::float32 ? 4 : 2;
  const int64_t counts[3] = {problem.batch * problem.in_channels * pixels,
                             problem.out_channels * (problem.in_channels / problem.groups) * taps,
                             problem.batch * problem.out_channels * places};
  for (const Op op : {Op::output, Op::input, Op::weight}) {
    Problem p = problem;
    p.bias = p.bias && op != Op::input;
    const int a = op == Op::input ? 1 : 0, b = op == Op::output ? 1 : 2, r = 3 - a - b;
    const int64_t biases = p.bias ? p.out_channels : 0;
    Bytes first(counts[a] * bytes), second(counts[b] * bytes), result(counts[r] * bytes), expected(counts[r] * bytes);
    Bytes bias(biases * bytes), expected_bias(biases * bytes);
    for (int64_t i = 0; i < counts[a]; ++i) naive::write(first.get(), i, random.normal(), p.storage);
    for (int64_t i = 0; i < counts[b]; ++i) naive::write(second.get(), i, random.normal(), p.storage);
    const int64_t scratch_count = scratch_bytes(op, p);
    Bytes scratch(scratch_count);
    // What a kernel leaves unwritten is seen: NaN in every storage.
    std::memset(result.get(), 0xff, counts[r] * bytes);
    std::memset(bias.get(), 0xff, biases * bytes);
    std::memset(scratch.get(), 0xff, scratch_count);
    if (op == Op::output) {
      for (int64_t i = 0; i < biases; ++i) naive::write(bias.get(), i, random.normal(), p.storage);
      std::memcpy(expected_bias.get(), bias.get(), biases * bytes);
    }
    const Kernels& k = *isa.kernels;
    void *const from = first.get(), *const other = second.get(), *const to = result.get(), *const space = scratch.get();
    if (op == Op::output) k.output(p, from, other, bias.get(), to, space, threads);
    if (op == Op::input) k.input(p, from, other, to, space, threads);
    if (op == Op::weight) k.weight(p, from, other, to, bias.get(), space, threads);
    naive::compute(op, p, from, other, expected_bias.get(), expected.get());
    double unit = p.storage == Storage::float32 ? 3e-6 : p.storage == Storage::float16 ? 1e-3 : 8e-3;
    // What the margins received is added to pixels that are rounded already, once for every axis and every wrap.
    if (op == Op::input && p.mode != Mode::zeros && p.storage != Storage::float32) unit *= 8;
    const char* const name = op == Op::output ? "output" : op == Op::input ? "input" : "weight";
    if (!close(name, p, isa, counts[r], to, expected.get(), unit) ||
        !close("bias", p, isa, biases, bias.get(), expected_bias.get(), unit)) {
      return false;
    }
  }
  return true;
}

// A call ends while every thread of the pool is held by something else, and each of its jobs has run once. The tasks
// that it left behind run when it has gone.
bool ends_in_a_busy_pool() {
  std::mutex held;
  bool once = true;
  {
    Pool pool(2);
    std::unique_lock<std::mutex> hold(held);
    for (int i = 0; i < 2; ++i) pool.schedule([&held] { const std::lock_guard<std::mutex> wait(held); });
    for (int i = 0; i < 100; ++i) {
      std::vector<int> runs(17);
      Helped threads(3, [&pool](std::function<void()> f) { pool.schedule(std::move(f)); });
      threads.run(&threads, 17, [](void* runs, int64_t i) { ++(*static_cast<std::vector<int>*>(runs))[i]; }, &runs);
      for (const int count : runs) once = once && count == 1;
    }
  }  // `hold` goes before `pool` does, and the pool's threads with what is left
  return once;
}

}  // namespace

int main(int count, char** arguments) {
  const int problems = count > 1 ? std::atoi(arguments[1]) : kProblems;
  const uint64_t seed = count > 2 ? std::strtoull(arguments[2], nullptr, 10) : 0;
  std::atomic<int> failures{ends_in_a_busy_pool() ? 0 : 1};
  {
    Pool pool(kThreads - 1);
    auto caller = [&](int which) {
      Random random(seed + 1000 * which);
      for (int i = 0; i < problems; ++i) {
        const Problem p = random_problem(random);
        for (int j = 0; j < kIsaCount; ++j) {
          if (!kIsas[j].supported()) continue;
          Helped threads(random.in(1, kThreads), [&pool](std::function<void()> f) { pool.schedule(std::move(f)); });
          if (!right(p, kIsas[j], random, &threads)) ++failures;
        }
      }
    };
    std::vector<std::thread> callers;
    for (int i = 0; i < kCallers; ++i) callers.emplace_back(caller, i);
    for (std::thread& thread : callers) thread.join();
  }
  std::printf("%d callers, %d problems each: %d failures\n", kCallers, problems, failures.load());
  return failures.load() != 0;
}
