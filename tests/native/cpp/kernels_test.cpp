// The kernels against the naive loop nest, on random problems, each with every instruction set that this machine has;
// and what stands between them and their callers, parallel.h and check.h. For the sanitizers, and without Python: every
// array has exactly its own bytes, and the scratch what was asked for.
//
//     kernels_address [--problems N] [--work N] [--seed N]
//     kernels_thread  [--problems N] [--work N] [--seed N]     several threads at once, which share one pool
//
// --problems  how many problems each thread computes
// --work      about how many multiplications the largest of them takes
// --seed      where the random numbers begin

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <new>
#include <random>
#include <stdexcept>
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
constexpr int kCallers = 3, kThreads = 4;
constexpr int64_t kProblems = 150;
#else
constexpr int kCallers = 1, kThreads = 3;
constexpr int64_t kProblems = 600;
#endif
constexpr int64_t kWork = 1000000;

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

  void add(std::function<void()> task) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    changed_.notify_one();
  }

  Helped::Schedule schedule() {
    return [this](std::function<void()> task) { add(std::move(task)); };
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

// A problem as the list of numbers that a call comes as.
std::vector<int64_t> numbers_of(const Problem& p, int64_t rank) {
  std::vector<int64_t> numbers;
  auto add_axes = [&](const int64_t (&axes)[3]) { numbers.insert(numbers.end(), axes + 3 - rank, axes + 3); };
  auto add_images = [&](int64_t channels, const int64_t (&size)[3]) {
    numbers.push_back(p.batch);
    if (!p.channels_last) numbers.push_back(channels);
    add_axes(size);
    if (p.channels_last) numbers.push_back(channels);
  };
  add_images(p.in_channels, p.x_size);
  numbers.insert(numbers.end(), {p.out_channels, p.in_channels / p.groups});
  add_axes(p.kernel);
  add_images(p.out_channels, p.y_size);
  for (const auto* axes : {&p.stride, &p.low, &p.high, &p.dilation}) add_axes(*axes);
  numbers.insert(numbers.end(),
                 {p.groups, static_cast<int64_t>(p.mode), p.channels_last, static_cast<int64_t>(p.storage), p.bias});
  return numbers;
}

std::string parsed_numbers(Op op, int64_t rank, const std::vector<int64_t>& numbers, Problem* problem, Work* work) {
  return parse(static_cast<int64_t>(op), rank, numbers.data(), static_cast<int64_t>(numbers.size()), problem, work);
}

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

// A problem that `parse` takes, of at most `most_work` multiplications; or of eight times as many, where kernels of
// 3 x 3 meet enough channels and positions for tiles.
Problem random_problem(Random& random, int64_t most_work) {
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
    if (!possible || work > (tiled ? 8 : 1) * most_work) continue;
    p.bias = random.one_in(2);
    // The check has the last word, through the same door as calls do.
    Problem parsed{};
    Work kind;
    if (parsed_numbers(Op::output, rank, numbers_of(p, rank), &parsed, &kind).empty() && kind == Work::some) {
      return parsed;
    }
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

// Whether `count` numbers are those expected, but for rounding: of a few units of the largest, or of `least` if that is
// more, which what they are sums of may have come to before it was cancelled.
bool close(const char* what, const Problem& p, const Isa& isa, int64_t count, void* result, void* expected, double unit,
           double least = 0) {
  double most = least, off = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double e = naive::read(expected, i, p.storage), d = naive::read(result, i, p.storage) - e;
    most = std::fmax(most, std::fabs(e));
    off = std::isnan(d) ? INFINITY : std::fmax(off, std::fabs(d));
  }
  if (off <= unit * most + (p.storage == Storage::float32 ? 1e-6 : 1e-3)) return true;
  std::printf("%s, %s: off by %g of %g\n  %s\n", isa.name, what, off, most, text(p).c_str());
  return false;
}

// All ops of one problem, with the kernels of every instruction set that this machine has.
bool right(const Problem& problem, Random& random, Pool& pool) {
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
    // How far a sum of as many random numbers as a bias has positions comes from zero.
    const double drift = op == Op::weight ? std::sqrt(static_cast<double>(p.batch * places)) : 0;
    Bytes first(counts[a] * bytes), second(counts[b] * bytes), result(counts[r] * bytes), expected(counts[r] * bytes);
    Bytes bias(biases * bytes), expected_bias(biases * bytes);
    void *const from = first.get(), *const other = second.get(), *const to = result.get();
    for (int64_t i = 0; i < counts[a]; ++i) naive::write(from, i, random.normal(), p.storage);
    for (int64_t i = 0; i < counts[b]; ++i) naive::write(other, i, random.normal(), p.storage);
    for (int64_t i = 0; i < biases; ++i) naive::write(expected_bias.get(), i, random.normal(), p.storage);
    if (op == Op::output) std::memcpy(bias.get(), expected_bias.get(), biases * bytes);
    naive::compute(op, p, from, other, expected_bias.get(), expected.get());
    const int64_t scratch_count = scratch_bytes(op, p);
    Bytes scratch(scratch_count);
    void* const space = scratch.get();
    for (int i = 0; i < kIsaCount; ++i) {
      if (!kIsas[i].supported()) continue;
      // What a kernel leaves unwritten is seen: NaN in every storage.
      std::memset(to, 0xff, counts[r] * bytes);
      std::memset(space, 0xff, scratch_count);
      if (op == Op::weight) std::memset(bias.get(), 0xff, biases * bytes);
      Helped threads(random.in(1, kThreads), pool.schedule(), true);
      const Kernels& k = *kIsas[i].kernels;
      if (op == Op::output) k.output(p, from, other, bias.get(), to, space, &threads);
      if (op == Op::input) k.input(p, from, other, to, space, &threads);
      if (op == Op::weight) k.weight(p, from, other, to, bias.get(), space, &threads);
      double unit = p.storage == Storage::float32 ? 3e-6 : p.storage == Storage::float16 ? 1e-3 : 8e-3;
      // What the margins received is added to pixels that are rounded already, once for every axis and every wrap.
      if (op == Op::input && p.mode != Mode::zeros && p.storage != Storage::float32) unit *= 8;
      if (!close(op_name(static_cast<int64_t>(op)), p, kIsas[i], counts[r], to, expected.get(), unit) ||
          !close("bias", p, kIsas[i], biases, bias.get(), expected_bias.get(), unit, drift)) {
        return false;
      }
    }
  }
  return true;
}

// -- norms.h ---------------------------------------------------------------------------------------------------------

// A reduction of a random array with a mean that may be large, against sums in double precision.
bool sums_are_right(Random& random, Pool& pool) {
  Reduction r{};
  for (int i = 0; i < 2; ++i) {
    r.kept[i] = random.of<int64_t>({1, 1, 2, 3, 9, 17, 70});
    r.reduced[i] = random.of<int64_t>({1, 1, 2, 5, 16, 37, 130, 700});
  }
  r.storage = random.of({Storage::float32, Storage::bfloat16, Storage::float16});
  const int64_t n = r.reduced[0] * r.reduced[1], sums = r.kept[0] * r.kept[1];
  if (n * sums > 200000) return true;
  const int64_t bytes = r.storage == Storage::float32 ? 4 : 2;
  const double mean = random.of({0.0, 3.0, 1000.0});
  Bytes x(n * sums * bytes), g(n * sums * bytes), m(sums * 4), of_g(sums * 4), of_products(sums * 4),
      found(3 * sums * 4);
  for (int64_t i = 0; i < n * sums; ++i) {
    naive::write(x.get(), i, mean + random.normal(), r.storage);
    naive::write(g.get(), i, random.normal(), r.storage);
  }
  // For each pair of kept indices: the sum of f of each position's place.
  auto sum = [&](int64_t k, auto f) {
    double total = 0;
    for (int64_t a = 0; a < r.reduced[0]; ++a) {
      for (int64_t b = 0; b < r.reduced[1]; ++b) {
        total += f(((k / r.kept[1] * r.reduced[0] + a) * r.kept[1] + k % r.kept[1]) * r.reduced[1] + b);
      }
    }
    return total;
  };
  float *const means = static_cast<float*>(m.get()), *const results = static_cast<float*>(found.get());
  float *const first = static_cast<float*>(of_g.get()), *const second = static_cast<float*>(of_products.get());
  for (int i = 0; i < kIsaCount; ++i) {
    if (!kIsas[i].supported()) continue;
    std::memset(results, 0xff, 3 * sums * 4);
    std::memset(first, 0xff, sums * 4), std::memset(second, 0xff, sums * 4);
    Helped threads(random.in(1, kThreads), pool.schedule(), true);
    kIsas[i].kernels->moments(r, x.get(), results, results + sums, results + 2 * sums, &threads);
    std::memcpy(means, results, sums * 4);
    kIsas[i].kernels->products(r, x.get(), means, g.get(), first, second, &threads);
    for (int64_t k = 0; k < sums; ++k) {
      const auto x_at = [&](int64_t j) { return naive::read(x.get(), j, r.storage); };
      const auto g_at = [&](int64_t j) { return naive::read(g.get(), j, r.storage); };
      const double right = sum(k, x_at) / n;
      const double variance = sum(k, [&](int64_t j) { return (x_at(j) - right) * (x_at(j) - right); }) / n;
      const double one = sum(k, g_at), other = sum(k, [&](int64_t j) { return g_at(j) * (x_at(j) - means[k]); });
      const double scale = std::sqrt(static_cast<double>(n)) * 1e-5;
      if (!(std::abs(double{results[k]} + results[sums + k] - right) <= 1e-6 * (1 + std::abs(right) * 1e-3)) ||
          !(std::abs(results[2 * sums + k] - variance) <= 1e-5 * variance + 1e-12) ||
          !(std::abs(first[k] - one) <= scale) || !(std::abs(second[k] - other) <= scale * 4)) {
        std::printf("sums of (%lld, %lld, %lld, %lld) about %g on %s: %g %g %g %g, not %g %g %g %g\n",
                    static_cast<long long>(r.kept[0]), static_cast<long long>(r.reduced[0]),
                    static_cast<long long>(r.kept[1]), static_cast<long long>(r.reduced[1]), mean, kIsas[i].name,
                    double{results[k]} + results[sums + k], results[2 * sums + k], first[k], second[k], right, variance,
                    one, other);
        return false;
      }
    }
  }
  return true;
}

// How far a number of a storage type may be off what it is rounded from.
double rounding(Storage storage) {
  return storage == Storage::float32 ? 2e-6 : storage == Storage::bfloat16 ? 0.006 : 0.001;
}

// Random numbers for each of some sums.
std::vector<float> several(Random& random, int64_t count) {
  std::vector<float> numbers(count);
  for (float& v : numbers) v = random.normal();
  return numbers;
}

// Each number of an array (kept[0], reduced[0], kept[1], reduced[1]) blended with that of another.
bool blends_are_right(Random& random, Pool& pool) {
  Reduction r{};
  for (int i = 0; i < 2; ++i) {
    r.kept[i] = random.of<int64_t>({1, 1, 2, 3, 9, 17, 70, 130});
    r.reduced[i] = random.of<int64_t>({1, 1, 2, 5, 16, 37, 130, 700});
  }
  r.storage = random.of({Storage::float32, Storage::bfloat16, Storage::float16});
  const int64_t sums = r.kept[0] * r.kept[1], total = sums * r.reduced[0] * r.reduced[1];
  if (total > 100000) return true;
  const int64_t bytes = r.storage == Storage::float32 ? 4 : 2;
  const double mean = random.of({0.0, 3.0, 1000.0});
  Bytes x(total * bytes), g(total * bytes), y(total * bytes);
  for (int64_t i = 0; i < total; ++i) {
    naive::write(x.get(), i, mean + random.normal(), r.storage);
    naive::write(g.get(), i, random.normal(), r.storage);
  }
  const std::vector<float> u = several(random, sums), v = several(random, sums), w = several(random, sums);
  std::vector<float> m = several(random, sums);
  for (float& each : m) each += static_cast<float>(mean);
  for (int i = 0; i < kIsaCount; ++i) {
    if (!kIsas[i].supported()) continue;
    std::memset(y.get(), 0xff, total * bytes);
    Helped threads(random.in(1, kThreads), pool.schedule(), true);
    kIsas[i].kernels->blend(r, u.data(), v.data(), x.get(), m.data(), w.data(), g.get(), y.get(), &threads);
    for (int64_t j = 0; j < total; ++j) {
      const int64_t run = j / r.reduced[1], k = run / (r.reduced[0] * r.kept[1]) * r.kept[1] + run % r.kept[1];
      const double distance = naive::read(x.get(), j, r.storage) - m[k];
      const double gradient = w[k] * naive::read(g.get(), j, r.storage);
      const double size = std::abs(u[k]) + std::abs(v[k] * distance) + std::abs(gradient);
      const double found = naive::read(y.get(), j, r.storage), right = u[k] + v[k] * distance + gradient;
      if (!(std::abs(found - right) <= rounding(r.storage) * size + 1e-6)) {
        std::printf("a blend of (%lld, %lld, %lld, %lld) on %s: %g, not %g\n", static_cast<long long>(r.kept[0]),
                    static_cast<long long>(r.reduced[0]), static_cast<long long>(r.kept[1]),
                    static_cast<long long>(r.reduced[1]), kIsas[i].name, found, right);
        return false;
      }
    }
  }
  return true;
}

// A layer norm and its gradient, against their definitions in double precision.
bool layers_are_right(Random& random, Pool& pool) {
  const Layers l = {random.of<int64_t>({1, 1, 3}), random.of<int64_t>({1, 2, 7, 33, 190}),
                    random.of<int64_t>({1, 2, 5, 16, 37, 96, 130, 2049, 5000}), 1e-3f,
                    random.of({Storage::float32, Storage::bfloat16, Storage::float16})};
  const int64_t rows = l.slabs * l.rows, columns = l.columns, total = rows * columns;
  if (total > 100000) return true;
  const int64_t bytes = l.storage == Storage::float32 ? 4 : 2, scales = l.slabs * columns;
  const double mean = random.of({0.0, 3.0, 1000.0});
  Bytes x(total * bytes), g(total * bytes), y(total * bytes), dx(total * bytes);
  for (int64_t i = 0; i < total; ++i) {
    naive::write(x.get(), i, mean + random.normal(), l.storage);
    naive::write(g.get(), i, random.normal(), l.storage);
  }
  const std::vector<float> c = several(random, scales), b = several(random, scales);
  const auto x_at = [&](int64_t j) { return naive::read(x.get(), j, l.storage); };
  const auto g_at = [&](int64_t j) { return naive::read(g.get(), j, l.storage); };
  std::vector<double> normal(total), right_dx(total), right_dc(scales), right_db(scales), factors(rows);
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t first = row * columns, own = row / l.rows * columns;
    double sum = 0, squares = 0, of_g = 0, of_products = 0;
    for (int64_t i = 0; i < columns; ++i) sum += x_at(first + i);
    for (int64_t i = 0; i < columns; ++i) squares += std::pow(x_at(first + i) - sum / columns, 2);
    const double factor = factors[row] = 1 / std::sqrt(squares / columns + l.eps);
    for (int64_t i = 0; i < columns; ++i) {
      normal[first + i] = (x_at(first + i) - sum / columns) * factor;
      of_g += c[own + i] * g_at(first + i);
      of_products += c[own + i] * g_at(first + i) * normal[first + i];
      right_dc[own + i] += g_at(first + i) * normal[first + i];
      right_db[own + i] += g_at(first + i);
    }
    for (int64_t i = 0; i < columns; ++i) {
      right_dx[first + i] =
          factor * (c[own + i] * g_at(first + i) - of_g / columns - normal[first + i] * of_products / columns);
    }
  }
  Bytes m(rows * 4), rest(rows * 4), variance(rows * 4), dc(scales * 4), db(scales * 4);
  const auto floats = [](Bytes& of) { return static_cast<float*>(of.get()); };
  const double near = rounding(l.storage), sums = 2e-5 * std::sqrt(static_cast<double>(l.rows));
  for (int i = 0; i < kIsaCount; ++i) {
    if (!kIsas[i].supported()) continue;
    for (Bytes* of : {&y, &dx}) std::memset(of->get(), 0xff, total * bytes);
    for (Bytes* of : {&dc, &db}) std::memset(of->get(), 0xff, scales * 4);
    Helped threads(random.in(1, kThreads), pool.schedule(), true);
    kIsas[i].kernels->layer(l, x.get(), c.data(), b.data(), y.get(), floats(m), floats(rest), floats(variance),
                            &threads);
    kIsas[i].kernels->layer_back(l, x.get(), floats(m), floats(rest), floats(variance), c.data(), g.get(), dx.get(),
                                 floats(dc), floats(db), &threads);
    bool right = true;
    for (int64_t j = 0; j < total && right; ++j) {
      const int64_t row = j / columns, at = row / l.rows * columns + j % columns;
      const double value = c[at] * normal[j] + b[at], scaled = std::abs(c[at] * normal[j]) + std::abs(b[at]) + 1;
      right = std::abs(naive::read(y.get(), j, l.storage) - value) <= (near + 1e-5) * scaled &&
              std::abs(naive::read(dx.get(), j, l.storage) - right_dx[j]) <=
                  (near + 1e-5) * (std::abs(right_dx[j]) + 3 * factors[row]);
    }
    for (int64_t k = 0; k < scales && right; ++k) {
      right = std::abs(floats(dc)[k] - right_dc[k]) <= sums * 4 && std::abs(floats(db)[k] - right_db[k]) <= sums * 4;
    }
    if (!right) {
      std::printf("a layer of (%lld, %lld, %lld) about %g is wrong on %s\n", static_cast<long long>(l.slabs),
                  static_cast<long long>(l.rows), static_cast<long long>(columns), mean, kIsas[i].name);
      return false;
    }
  }
  return true;
}

// -- pools.h ---------------------------------------------------------------------------------------------------------

// A pool as a call comes, in one to three axes.
struct PoolCall {
  int64_t rank;
  std::vector<int64_t> x, y, kernel, strides, low, dilations;
  bool channels_last;
  Storage storage;

  std::string parse_to(Pooling* pooling) const {
    const auto view = [](const std::vector<int64_t>& n) {
      return Request::Numbers{n.data(), static_cast<int64_t>(n.size())};
    };
    return parse({view(x), view(y), view(kernel), view(strides), view(low), view(dilations), channels_last, storage},
                 pooling);
  }
};

PoolCall pool_call(int64_t rank, int64_t batch, int64_t channels, bool channels_last, Storage storage) {
  PoolCall call{rank, {batch}, {batch}, {}, {}, {}, {}, channels_last, storage};
  if (!channels_last) call.x.push_back(channels), call.y.push_back(channels);
  return call;
}

// A random pool against a walk through the windows, and what it sends back.
bool maxima_are_right(Random& random, Pool& pool) {
  const int64_t rank = random.of<int64_t>({1, 2, 2, 2, 3}), channels = random.of<int64_t>({1, 2, 5, 16, 17, 70});
  PoolCall call = pool_call(rank, random.in(1, 2), channels, random.one_in(2),
                            random.of({Storage::float32, Storage::bfloat16, Storage::float16}));
  for (int64_t i = 0; i < rank; ++i) {
    const int64_t k = random.in(1, rank == 3 ? 3 : 5), d = random.of<int64_t>({1, 1, 2, 3}), s = random.in(1, 5);
    const int64_t n = random.in(1, rank == 3 ? 7 : random.one_in(6) ? 150 : 20), low = random.in(0, k / 2);
    const int64_t room = n + 2 * low - d * (k - 1) - 1;
    if (room < 0) return true;
    // A window more, where one hangs over.
    const int64_t more = random.one_in(2) && (room / s + 1) * s < n + low;
    call.x.push_back(n), call.y.push_back(room / s + 1 + more), call.kernel.push_back(k);
    call.strides.push_back(s), call.low.push_back(low), call.dilations.push_back(d);
  }
  if (call.channels_last) call.x.push_back(channels), call.y.push_back(channels);
  Pooling p{};
  if (const std::string refusal = call.parse_to(&p); !refusal.empty()) {
    std::printf("a pool is refused: %s\n", refusal.c_str());
    return false;
  }
  int64_t pixels = 1, places = 1;
  for (int a = 0; a < 3; ++a) pixels *= p.x_size[a], places *= p.y_size[a];
  const int64_t planes = p.batch * channels, bytes = p.storage == Storage::float32 ? 4 : 2;
  if (planes * (pixels + places) > 200000) return true;
  Bytes x(planes * pixels * bytes), g(planes * places * bytes), back(planes * pixels * bytes);
  Bytes y(planes * places * bytes), alone(planes * places * bytes), which(planes * places);
  for (int64_t i = 0; i < planes * pixels; ++i) {
    const double value = std::round(random.normal());
    naive::write(x.get(), i, random.one_in(20) ? NAN : random.one_in(4) ? -INFINITY : value, p.storage);
  }
  for (int64_t i = 0; i < planes * places; ++i) naive::write(g.get(), i, random.normal(), p.storage);
  // Where position i of a plane is.
  const auto at = [&](int64_t plane, int64_t i, int64_t count) {
    return p.channels_last ? (plane / channels * count + i) * channels + plane % channels : plane * count + i;
  };
  std::vector<double> maxima(planes * places), sums(planes * pixels);
  std::vector<int64_t> taps(planes * places, -1);  // -1 where a window misses x
  for (int64_t plane = 0; plane < planes; ++plane) {
    for (int64_t o = 0; o < places; ++o) {
      const int64_t window[3] = {o / p.y_size[2] / p.y_size[1], o / p.y_size[2] % p.y_size[1], o % p.y_size[2]};
      double best = -INFINITY;
      int64_t tap = 0, best_tap = -1, winner = 0;
      for (int64_t t0 = 0; t0 < p.kernel[0]; ++t0) {
        for (int64_t t1 = 0; t1 < p.kernel[1]; ++t1) {
          for (int64_t t2 = 0; t2 < p.kernel[2]; ++t2, ++tap) {
            const int64_t t[3] = {t0, t1, t2};
            int64_t i = 0;
            bool inside = true;
            for (int a = 0; a < 3; ++a) {
              const int64_t position = window[a] * p.stride[a] + t[a] * p.dilation[a] - p.low[a];
              inside = inside && position >= 0 && position < p.x_size[a];
              i = i * p.x_size[a] + position;
            }
            if (!inside) continue;
            const double value = naive::read(x.get(), at(plane, i, pixels), p.storage);
            if (best_tap < 0 || value > best || std::isnan(value)) best = value, best_tap = tap, winner = i;
          }
        }
      }
      const int64_t to = at(plane, o, places);
      maxima[to] = best, taps[to] = best_tap;
      if (best_tap >= 0) sums[at(plane, winner, pixels)] += naive::read(g.get(), to, p.storage);
    }
  }
  const double unit = p.storage == Storage::float32 ? 2e-6 : p.storage == Storage::float16 ? 1e-3 : 8e-3;
  for (int i = 0; i < kIsaCount; ++i) {
    if (!kIsas[i].supported()) continue;
    // What a kernel leaves unwritten is seen: a tap that there is not, and NaN in every storage.
    std::memset(y.get(), 0xff, planes * places * bytes), std::memset(alone.get(), 0xff, planes * places * bytes);
    std::memset(which.get(), 0xff, planes * places), std::memset(back.get(), 0xff, planes * pixels * bytes);
    Helped threads(random.in(1, kThreads), pool.schedule(), true);
    uint8_t* const found = static_cast<uint8_t*>(which.get());
    kIsas[i].kernels->maxima(p, x.get(), alone.get(), nullptr, &threads);
    kIsas[i].kernels->maxima(p, x.get(), y.get(), found, &threads);
    kIsas[i].kernels->put(p, found, g.get(), back.get(), &threads);
    bool right = true;
    for (int64_t k = 0; k < planes * places; ++k) {
      for (Bytes* of : {&y, &alone}) {
        const double value = naive::read(of->get(), k, p.storage);
        right = right && (value == maxima[k] || (std::isnan(value) && std::isnan(maxima[k])));
      }
      right = right && (taps[k] < 0 || found[k] == taps[k]);
    }
    for (int64_t k = 0; k < planes * pixels; ++k) {
      const double value = naive::read(back.get(), k, p.storage);
      right = right && std::fabs(value - sums[k]) <= unit * (1 + std::fabs(sums[k]));
    }
    if (right) continue;
    std::printf("maxima on %s: batch %ld channels %ld last %d storage %d", kIsas[i].name, (long)p.batch, (long)channels,
                p.channels_last, static_cast<int>(p.storage));
    for (int a = 0; a < 3; ++a) {
      std::printf("; x %ld y %ld kernel %ld stride %ld low %ld dilation %ld", (long)p.x_size[a], (long)p.y_size[a],
                  (long)p.kernel[a], (long)p.stride[a], (long)p.low[a], (long)p.dilation[a]);
    }
    std::printf("\n");
    return false;
  }
  return true;
}

// Whatever the numbers of a pool are, it is taken or refused; a sanitizer sees those that do not fit.
bool any_pool_is_taken_or_refused(Random& random) {
  int taken = 0, refused = 0;
  for (int i = 0; i < 20000; ++i) {
    const auto number = [&]() -> int64_t {
      if (random.one_in(40)) return random.of<int64_t>({INT64_MAX, INT64_MIN, -1, 0, 255, 256, int64_t{1} << 31});
      return random.one_in(20) ? int64_t{1} << random.in(0, 40) : random.in(1, 3);
    };
    PoolCall call = pool_call(random.in(1, 3), random.in(0, 2), number(), random.one_in(2), Storage::float32);
    for (int64_t a = 0; a < call.rank; ++a) {
      call.x.push_back(number()), call.y.push_back(number()), call.kernel.push_back(number());
      call.strides.push_back(number()), call.low.push_back(random.one_in(3) ? number() : 0);
      call.dilations.push_back(number());
    }
    if (call.channels_last) call.x.push_back(1), call.y.push_back(1);
    if (random.one_in(20)) call.low.pop_back();
    Pooling p;
    ++(call.parse_to(&p).empty() ? taken : refused);
  }
  return taken > 1000 && refused > 1000;
}

// -- parallel.h --------------------------------------------------------------------------------------------------

// Keeps every thread of a pool from taking a task while it is there.
class Held {
 public:
  Held(Pool& pool, int threads) {
    mutex_->lock();
    for (int i = 0; i < threads; ++i) pool.add([held = mutex_] { const std::lock_guard<std::mutex> wait(*held); });
  }
  ~Held() { mutex_->unlock(); }

 private:
  std::shared_ptr<std::mutex> mutex_ = std::make_shared<std::mutex>();
};

// What became of the jobs of a call. It goes with the call: a sanitizer sees who looks at it later.
struct Jobs {
  explicit Jobs(int64_t count) : runs(count) {}

  // Runs each job, which counts itself and then does as `job` has it.
  void run(Helped& threads, std::function<void(int64_t)> job = nullptr) {
    then = std::move(job);
    auto one = [](void* jobs, int64_t i) { static_cast<Jobs*>(jobs)->begin(i); };
    threads.run(&threads, static_cast<int64_t>(runs.size()), one, this);
  }

  bool each_once() const {
    return std::all_of(runs.begin(), runs.end(), [](int count) { return count == 1; });
  }

  std::vector<int> runs;
  std::atomic<int64_t> begun{0}, ended{0};

 private:
  struct End {
    std::atomic<int64_t>& ended;
    ~End() { ++ended; }
  };

  void begin(int64_t i) {
    ++begun;
    const End end{ended};
    ++runs[i];
    if (then) then(i);
  }

  std::function<void(int64_t)> then;
};

// A call ends while every thread of the pool is held by something else, and each of its jobs has run once. The tasks
// that it left behind run when it has gone.
bool ends_in_a_busy_pool() {
  Pool pool(2);
  const Held held(pool, 2);
  bool once = true;
  for (int i = 0; i < 100; ++i) {
    Helped threads(3, pool.schedule(), true);
    Jobs jobs(17);
    jobs.run(threads);
    once = once && jobs.each_once();
  }
  return once;
}

// What a job throws comes out of the call, from whichever thread, when the jobs that have begun have ended.
bool a_job_may_throw() {
  Pool pool(2);
  bool right = true;
  for (int i = 0; i < 300; ++i) {
    Helped threads(1 + i % 3, pool.schedule(), true);
    Jobs jobs(40);
    try {
      jobs.run(threads, [i](int64_t job) {
        if (i % 2 != 0 || job == i % 40) throw OutOfMemory{job};
      });
      right = false;
    } catch (const OutOfMemory& error) {
      right = right && (i % 2 != 0 || error.bytes == i % 40);
    }
    right = right && jobs.begun == jobs.ended;
  }
  return right;
}

// After it no job begins.
bool an_exception_stops_the_jobs() {
  Pool pool(2);
  const Held held(pool, 2);
  for (const int64_t count : {6, 7, 100}) {
    Helped threads(3, pool.schedule(), true);
    Jobs jobs(count);
    try {
      jobs.run(threads, [](int64_t job) {
        if (job == 5) throw std::runtime_error("the fifth");
      });
      return false;
    } catch (const std::runtime_error& error) {
      if (jobs.begun != 6 || std::string(error.what()) != "the fifth") return false;
    }
  }
  return true;
}

// A pool that takes some helpers and fails to take the next: those that it has taken help, during the call or after it.
bool a_pool_may_fail() {
  Pool pool(2);
  auto held = std::make_unique<Held>(pool, 2);
  bool once = true;
  for (int i = 0; i < 200; ++i) {
    if (i == 100) held.reset();
    int left = i % 4;
    auto schedule = [&](std::function<void()> task) {
      if (left-- == 0) throw std::bad_alloc();
      pool.add(std::move(task));
    };
    Helped threads(5, schedule, true);
    Jobs jobs(17);
    jobs.run(threads);
    once = once && jobs.each_once();
  }
  return once;
}

#if defined(__linux__)
std::atomic<int> moved{0};

// A helper asks for another core only where it may. The helpers here begin at once, on the core of the caller.
bool hints_are_given_where_they_may_be() {
  auto moves = [](bool may) {
    moved = 0;
    for (int i = 0; i < 100; ++i) {
      Helped threads(2, [](std::function<void()> task) { task(); }, may);
      Jobs jobs(2);
      jobs.run(threads);
    }
    return moved.load();
  };
  return moves(true) > 0 && moves(false) == 0;
}
#else
bool hints_are_given_where_they_may_be() { return true; }
#endif

// -- check.h -----------------------------------------------------------------------------------------------------

// A list of numbers is read as far as it goes. What is refused says why.
bool a_list_of_any_length_is_answered(Random& random) {
  for (int i = 0; i < 20000; ++i) {
    std::vector<int64_t> numbers(random.in(0, 40));
    for (int64_t& n : numbers) n = random.one_in(8) ? random.of<int64_t>({-1, INT64_MAX, INT64_MIN}) : random.in(0, 3);
    Problem problem;
    Work work;
    const int64_t rank = random.in(0, 4);
    const std::string refusal = parse(random.in(-1, 3), rank, numbers.data(), numbers.size(), &problem, &work);
    if (refusal.empty() && static_cast<int64_t>(numbers.size()) != 3 * (rank + 2) + 4 * rank + 5) return false;
  }
  return true;
}

// Whatever the sizes are: a problem is refused, or planned in numbers that fit (the sanitizer sees those that do not).
bool any_size_is_planned_or_refused(Random& random) {
  int planned = 0, refused = 0;
  for (int i = 0; i < 20000; ++i) {
    auto size = [&] {
      const int64_t power = int64_t{1} << random.in(0, random.one_in(3) ? 40 : 16);
      return std::max<int64_t>(power + random.in(-1, 1), 1);
    };
    Problem p{};
    const int64_t rank = random.in(1, 3);
    p.batch = random.one_in(3) ? size() : 1;
    p.groups = random.one_in(3) ? size() : 1;
    const bool many = p.groups > int64_t{1} << 20;
    p.in_channels = p.groups * (!many && random.one_in(3) ? size() : 1);
    p.out_channels = p.groups * (!many && random.one_in(3) ? size() : 1);
    p.mode = random.one_in(2) ? Mode::zeros : Mode::replicate;
    p.channels_last = random.one_in(2);
    p.storage = static_cast<Storage>(random.in(0, 2));
    for (int a = 0; a < 3; ++a) {
      p.x_size[a] = p.y_size[a] = p.kernel[a] = p.stride[a] = p.dilation[a] = 1;
      if (a < 3 - rank) continue;
      p.x_size[a] = size();
      if (random.one_in(2)) p.kernel[a] = random.one_in(3) ? size() : 3;
      if (random.one_in(3)) p.stride[a] = size();
      if (random.one_in(3)) p.dilation[a] = size();
      if (random.one_in(2)) p.low[a] = random.one_in(4) ? -size() : size();
      if (random.one_in(2)) p.high[a] = random.one_in(4) ? -size() : size();
      if (p.kernel[a] > 1 && p.dilation[a] > (INT64_MAX >> 2) / p.kernel[a]) p.dilation[a] = 1;
      const int64_t room = p.x_size[a] + p.low[a] + p.high[a] - p.dilation[a] * (p.kernel[a] - 1) - 1;
      p.y_size[a] = room < 0 ? 1 : room / p.stride[a] + 1;
    }
    for (const Op op : {Op::output, Op::input, Op::weight}) {
      Problem problem;
      Work work;
      const bool taken = parsed_numbers(op, rank, numbers_of(p, rank), &problem, &work).empty();
      ++(taken ? planned : refused);
      if (taken && scratch_bytes(op, problem) < 0) return false;
    }
  }
  return planned > 1000 && refused > 1000;
}

// Which of the ops take a problem, as their initials, and what the others say.
std::string takers(const Problem& p, const std::string& words) {
  std::string taken;
  for (const Op op : {Op::output, Op::input, Op::weight}) {
    Problem problem;
    Work work;
    const std::string refusal = parsed_numbers(op, 3, numbers_of(p, 3), &problem, &work);
    if (refusal.empty()) {
      taken += op_name(static_cast<int64_t>(op))[0];
    } else if (refusal.find(words) == std::string::npos) {
      return refusal;
    }
  }
  return taken;
}

bool the_largest_sizes_are_known() {
  constexpr int64_t kMost = INT32_MAX;
  auto problem = [](auto change) {
    Problem p{1, 1, 1, 1, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {}, {}, {1, 1, 1}, Mode::zeros, true, {}, false};
    change(p);
    return p;
  };
  const struct {
    const char *taken, *words;
    Problem p;
  } cases[] = {
      // Positions of all images together are counted with 64 bits, those along an axis with 32.
      {"oiw", "", problem([](Problem& p) {
         p.batch = 2;
         for (int a : {1, 2}) p.x_size[a] = p.y_size[a] = 32768;
       })},
      {"oiw", "", problem([](Problem& p) { p.x_size[2] = p.y_size[2] = kMost; })},
      {"", "an axis of 2147483648 positions", problem([](Problem& p) { p.x_size[2] = p.y_size[2] = kMost + 1; })},
      {"", "a stride of 2147483648", problem([](Problem& p) { p.stride[2] = kMost + 1; })},
      {"ow", "for the gradient of the input", problem([](Problem& p) { p.stride[2] = kMost; })},
      {"", "is too large", problem([](Problem& p) {
         for (int a : {1, 2}) p.x_size[a] = p.kernel[a] = 1 << 25;
       })},
      {"", "2147483648 channels", problem([](Problem& p) { p.in_channels = kMost + 1; })},
      // The transpose sees as many zeros as the kernel is long on both sides.
      {"oiw", "", problem([](Problem& p) { p.x_size[2] = kMost - 2, p.kernel[2] = 3, p.y_size[2] = kMost - 4; })},
      {"", "what the kernel reaches",
       problem([](Problem& p) { p.x_size[2] = kMost - 1, p.kernel[2] = 3, p.y_size[2] = kMost - 3; })},
      {"", "what the kernel reaches",
       problem([](Problem& p) { p.x_size[2] = kMost, p.low[2] = -kMost, p.high[2] = kMost, p.y_size[2] = kMost; })},
      // Two taps far apart along two axes: nine numbers, and what lies between them.
      {"", "a kernel that spans", problem([](Problem& p) {
         for (int a : {1, 2}) p.kernel[a] = 2, p.dilation[a] = p.low[a] = 1 << 16;
       })},
      {"", "an image of", problem([](Problem& p) {
         for (int a : {1, 2}) p.kernel[a] = 2, p.dilation[a] = p.low[a] = 1 << 29;
       })},
  };
  bool right = true;
  for (const auto& [taken, words, p] : cases) {
    const std::string found = takers(p, words);
    if (found == taken) continue;
    std::printf("taken by '%s' where '%s' should: %s\n", found.c_str(), taken, text(p).c_str());
    right = false;
  }
  return right;
}

// --------------------------------------------------------------------------------------------------------------------

struct Options {
  int64_t problems = kProblems, work = kWork, seed = 0;

  // False where the arguments are not those of the header above.
  bool parse(int count, char** arguments) {
    for (int i = 1; i < count; i += 2) {
      const std::string name = arguments[i];
      int64_t* const value = name == "--problems" ? &problems
                             : name == "--work"   ? &work
                             : name == "--seed"   ? &seed
                                                  : nullptr;
      if (value == nullptr || i + 1 == count) return false;
      *value = std::strtoll(arguments[i + 1], nullptr, 10);
    }
    return true;
  }
};

}  // namespace

#if defined(__linux__)
// In place of the system's: what would be asked of it is counted.
extern "C" int sched_setaffinity(pid_t, size_t, const cpu_set_t*) noexcept {
  ++moved;
  return 0;
}
#endif

int main(int count, char** arguments) {
  Options options;
  if (!options.parse(count, arguments)) {
    std::printf("usage: %s [--problems N] [--work N] [--seed N]\n", arguments[0]);
    return 2;
  }
  int failures = 0;
  Random random(options.seed);
  auto expect = [&](const char* what, bool right) {
    if (!right) std::printf("failed: %s\n", what), ++failures;
  };
  expect("ends in a busy pool", ends_in_a_busy_pool());
  expect("a job may throw", a_job_may_throw());
  expect("an exception stops the jobs", an_exception_stops_the_jobs());
  expect("a pool may fail", a_pool_may_fail());
  expect("hints are given where they may be", hints_are_given_where_they_may_be());
  expect("a list of any length is answered", a_list_of_any_length_is_answered(random));
  expect("any size is planned or refused", any_size_is_planned_or_refused(random));
  expect("the largest sizes are known", the_largest_sizes_are_known());
  expect("any pool is taken or refused", any_pool_is_taken_or_refused(random));

  std::atomic<int64_t> wrong{0};
  {
    Pool pool(kThreads - 1);
    auto caller = [&](int which) {
      Random random(options.seed + 1000 * which);
      for (int64_t i = 0; i < options.problems; ++i) {
        if (!right(random_problem(random, options.work), random, pool)) ++wrong;
        if (!sums_are_right(random, pool)) ++wrong;
        if (!blends_are_right(random, pool)) ++wrong;
        if (!layers_are_right(random, pool)) ++wrong;
        if (!maxima_are_right(random, pool)) ++wrong;
      }
    };
    std::vector<std::thread> callers;
    for (int i = 0; i < kCallers; ++i) callers.emplace_back(caller, i);
    for (std::thread& thread : callers) thread.join();
  }
  std::string isas;
  for (int i = 0; i < kIsaCount; ++i) {
    if (kIsas[i].supported()) isas += (isas.empty() ? "" : ", ") + std::string(kIsas[i].name);
  }
  std::printf(
      "%lld problems (%d threads, seed %lld), each for 3 ops, and as many sums, norms and maxima on %s: %lld wrong; %d "
      "other checks failed\n",
      static_cast<long long>(options.problems * kCallers), kCallers, static_cast<long long>(options.seed), isas.c_str(),
      static_cast<long long>(wrong.load()), failures);
  return wrong != 0 || failures != 0;
}
