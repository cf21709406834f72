// Where XLA and Python enter: the handlers of XLA's foreign function interface, and what Python asks at lowering.

#include "xla/ffi/api/ffi.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>

#include "check.h"
#include "isa.h"
#include "parallel.h"
#include "problem.h"

#define JAXCONV_EXPORT extern "C" __attribute__((visibility("default")))

namespace jaxconv {
namespace {

namespace ffi = xla::ffi;

// XLA aligns what it allocates by as much already; that is its habit and not its promise.
constexpr int64_t kAlignment = 64;

std::atomic<const Isa*> chosen{nullptr};
// Whether the operating system is told which core a helper would like and which memory is large.
std::atomic<bool> hints{true};

using Numbers = ffi::Span<const int64_t>;

Request::Numbers view(Numbers numbers) { return {numbers.begin(), static_cast<int64_t>(numbers.size())}; }

bool storage_of(ffi::DataType dtype, Storage* storage) {
  switch (dtype) {
    case ffi::DataType::F32: *storage = Storage::float32; return true;
    case ffi::DataType::BF16: *storage = Storage::bfloat16; return true;
    case ffi::DataType::F16: *storage = Storage::float16; return true;
    default: return false;
  }
}

// XLA gives results and scratch memory that is often fresh from the operating system, which then comes in, and is
// cleared, where it is first written: a page fault for each 4 KiB takes longer than many a kernel. Where there are huge
// pages to be had on request, this is the request. A wish only: nothing depends on whether it is granted.
#if defined(__linux__)
void prefer_huge_pages(void* data, int64_t bytes) {
  constexpr uintptr_t kHuge = uintptr_t{2} << 20;
  const uintptr_t address = reinterpret_cast<uintptr_t>(data);
  const uintptr_t begin = (address + kHuge - 1) / kHuge * kHuge, end = (address + bytes) / kHuge * kHuge;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
}
#else
void prefer_huge_pages(void*, int64_t) {}
#endif

template <class T>
T taken(ffi::ErrorOr<T> value) {
  if (value.has_error()) throw std::invalid_argument(value.error().message());
  return *value;
}

void fill_with_zeros(ffi::AnyBuffer buffer) {
  if (buffer.size_bytes() > 0) std::memset(buffer.untyped_data(), 0, buffer.size_bytes());
}

// The exception that is being handled, as the error of a call.
ffi::Error current_error() try { throw; } catch (const OutOfMemory& error) {
  return ffi::Error(ffi::ErrorCode::kResourceExhausted,
                    "jaxconv: " + std::to_string(error.bytes) + " bytes of memory were not to be had");
} catch (const std::bad_alloc&) {
  return ffi::Error(ffi::ErrorCode::kResourceExhausted, "jaxconv: memory was not to be had");
} catch (const std::exception& error) {
  return ffi::Error::Internal(std::string("jaxconv: ") + error.what());
}

// The threads of a call.
Helped helped(ffi::ThreadPool& pool) {
  return Helped(
      pool.num_threads(), [&pool](std::function<void()> f) { pool.Schedule(std::move(f)); },
      hints.load(std::memory_order_relaxed));
}

// The arguments of an op are two arrays, and a bias after them where `output` has one; the results are an array, the
// gradient of a bias where `weight` has one, and the scratch.
template <Op op>
ffi::Error run(ffi::ThreadPool pool, ffi::RemainingArgs arguments, ffi::RemainingRets results, Numbers strides,
               Numbers low, Numbers high, Numbers dilations, int64_t groups, int64_t mode, int64_t channels_last) try {
  const Isa* isa = chosen.load(std::memory_order_acquire);
  if (isa == nullptr) return ffi::Error::Internal("jaxconv: no instruction set was chosen");
  const bool of_output = op == Op::output && arguments.size() == 3, of_weight = op == Op::weight && results.size() == 3;
  if (arguments.size() != 2u + of_output || results.size() != 2u + of_weight) {
    return ffi::Error::InvalidArgument("jaxconv: " + std::to_string(arguments.size()) + " arguments and " +
                                       std::to_string(results.size()) + " results");
  }
  auto argument = [&](int i) { return taken(arguments.get<ffi::AnyBuffer>(i)); };
  auto result_at = [&](int i) { return *taken(results.get<ffi::AnyBuffer>(i)); };
  const ffi::AnyBuffer a = argument(0), b = argument(1), result = result_at(0), scratch = result_at(1 + of_weight);
  const bool has_bias = of_output || of_weight;
  const ffi::AnyBuffer bias = of_output ? argument(2) : result_at(of_weight ? 1 : 0);
  Storage storage;
  if (!storage_of(a.element_type(), &storage) || b.element_type() != a.element_type() ||
      result.element_type() != a.element_type() || (has_bias && bias.element_type() != a.element_type())) {
    return ffi::Error::InvalidArgument("jaxconv: arrays must be of one dtype, float32, bfloat16 or float16");
  }
  const Numbers first = a.dimensions(), second = b.dimensions(), third = result.dimensions();
  const Numbers x = op == Op::input ? third : first;
  const Numbers w = op == Op::output ? second : op == Op::input ? first : third;
  const Numbers y = op == Op::output ? third : second;
  const Request request{view(x),         view(w), view(y), view(strides), view(low), view(high),
                        view(dilations), groups,  mode,    channels_last, storage,   has_bias};
  Problem problem;
  Work work;
  const std::string refusal = parse(op, request, &problem, &work);
  if (!refusal.empty()) return ffi::Error::InvalidArgument("jaxconv: " + refusal);
  if (has_bias && (bias.dimensions().size() != 1 || bias.dimensions()[0] != problem.out_channels)) {
    return ffi::Error::InvalidArgument("jaxconv: a bias must have one number for each of the " +
                                       std::to_string(problem.out_channels) + " output channels");
  }
  if (work != Work::some) {
    fill_with_zeros(result);
    if (of_weight) fill_with_zeros(bias);
    return ffi::Error::Success();
  }

  const uintptr_t address = reinterpret_cast<uintptr_t>(scratch.untyped_data());
  const uintptr_t aligned = (address + kAlignment - 1) / kAlignment * kAlignment;
  const int64_t given = static_cast<int64_t>(scratch.size_bytes()) - static_cast<int64_t>(aligned - address);
  if (given < scratch_bytes(op, problem)) {
    return ffi::Error::InvalidArgument("jaxconv: " + std::to_string(given) + " bytes of scratch where " +
                                       std::to_string(scratch_bytes(op, problem)) + " are needed");
  }

  if (hints.load(std::memory_order_relaxed)) {
    prefer_huge_pages(result.untyped_data(), static_cast<int64_t>(result.size_bytes()));
    prefer_huge_pages(scratch.untyped_data(), static_cast<int64_t>(scratch.size_bytes()));
  }
  Helped threads = helped(pool);
  const void *from = a.untyped_data(), *other = b.untyped_data();
  void *to = result.untyped_data(), *space = reinterpret_cast<void*>(aligned);
  void* beside = has_bias ? bias.untyped_data() : nullptr;
  switch (op) {
    case Op::output: isa->kernels->output(problem, from, other, beside, to, space, &threads); break;
    case Op::input: isa->kernels->input(problem, from, other, to, space, &threads); break;
    case Op::weight: isa->kernels->weight(problem, from, other, to, beside, space, &threads); break;
  }
  return ffi::Error::Success();
} catch (...) {
  return current_error();
}

// (x) -> (mean, rest, variance), or (x, m, g) -> (of_g, of_products): see norms.h. The array has four axes.
template <bool of_products>
ffi::Error reduce(ffi::ThreadPool pool, ffi::RemainingArgs arguments, ffi::RemainingRets results) try {
  const Isa* isa = chosen.load(std::memory_order_acquire);
  if (isa == nullptr) return ffi::Error::Internal("jaxconv: no instruction set was chosen");
  if (arguments.size() != (of_products ? 3u : 1u) || results.size() != (of_products ? 2u : 3u)) {
    return ffi::Error::InvalidArgument("jaxconv: " + std::to_string(arguments.size()) + " arguments and " +
                                       std::to_string(results.size()) + " results of a reduction");
  }
  const ffi::AnyBuffer x = taken(arguments.get<ffi::AnyBuffer>(0));
  const Numbers sizes = x.dimensions();
  Reduction reduction;
  if (sizes.size() != 4 || x.element_count() == 0 || !storage_of(x.element_type(), &reduction.storage)) {
    return ffi::Error::InvalidArgument("jaxconv: a reduction takes four axes of float32, bfloat16 or float16");
  }
  for (int i = 0; i < 2; ++i) reduction.kept[i] = sizes[2 * i], reduction.reduced[i] = sizes[2 * i + 1];
  const size_t sums = reduction.kept[0] * reduction.kept[1];
  float* found[3] = {};
  for (size_t i = 0; i < results.size(); ++i) {
    ffi::AnyBuffer result = *taken(results.get<ffi::AnyBuffer>(i));
    if (result.element_type() != ffi::DataType::F32 || result.element_count() != sums) {
      return ffi::Error::InvalidArgument("jaxconv: a reduction gives float32, a number for each pair of kept indices");
    }
    found[i] = result.typed_data<float>();
  }
  Helped threads = helped(pool);
  if constexpr (of_products) {
    const ffi::AnyBuffer m = taken(arguments.get<ffi::AnyBuffer>(1)), g = taken(arguments.get<ffi::AnyBuffer>(2));
    if (m.element_type() != ffi::DataType::F32 || m.element_count() != sums || g.element_type() != x.element_type() ||
        g.element_count() != x.element_count()) {
      return ffi::Error::InvalidArgument("jaxconv: m is of float32, a number for each sum, and g is like x");
    }
    isa->kernels->products(reduction, x.untyped_data(), m.typed_data<float>(), g.untyped_data(), found[0], found[1],
                           &threads);
  } else {
    isa->kernels->moments(reduction, x.untyped_data(), found[0], found[1], found[2], &threads);
  }
  return ffi::Error::Success();
} catch (...) {
  return current_error();
}

// What norms.h makes of whole arrays. Of the arguments and results, x and what is like it are of one storage type, and
// all else is float32 with a known count of numbers; each is taken in turn.
class NormCall {
 public:
  NormCall(ffi::RemainingArgs arguments, ffi::RemainingRets results, size_t takes, size_t gives, size_t of_x)
      : arguments_(arguments), results_(results) {
    if (arguments.size() != takes || results.size() != gives) {
      throw std::invalid_argument(std::to_string(arguments.size()) + " arguments and " +
                                  std::to_string(results.size()) + " results of a norm");
    }
    x_ = taken(arguments.get<ffi::AnyBuffer>(of_x));
    if (x_->element_count() == 0 || !storage_of(x_->element_type(), &storage)) {
      throw std::invalid_argument("a norm takes numbers of float32, bfloat16 or float16");
    }
  }

  Numbers sizes(size_t count) const {
    if (x_->dimensions().size() != count) throw std::invalid_argument("x must have " + std::to_string(count) + " axes");
    return x_->dimensions();
  }
  const void* like_x() { return like(taken(arguments_.get<ffi::AnyBuffer>(argument_++))).untyped_data(); }
  const float* numbers(size_t count) { return numbers(taken(arguments_.get<ffi::AnyBuffer>(argument_++)), count); }
  void* result_like_x() {
    ffi::AnyBuffer result = like(*taken(results_.get<ffi::AnyBuffer>(result_++)));
    if (hints.load(std::memory_order_relaxed)) {
      prefer_huge_pages(result.untyped_data(), static_cast<int64_t>(result.size_bytes()));
    }
    return result.untyped_data();
  }
  float* result_numbers(size_t count) { return numbers(*taken(results_.get<ffi::AnyBuffer>(result_++)), count); }

  Storage storage;

 private:
  ffi::AnyBuffer like(ffi::AnyBuffer a) const {
    if (a.element_type() != x_->element_type() || a.element_count() != x_->element_count()) {
      throw std::invalid_argument("an array must be like x");
    }
    return a;
  }
  static float* numbers(ffi::AnyBuffer a, size_t count) {
    if (a.element_type() != ffi::DataType::F32 || a.element_count() != count) {
      throw std::invalid_argument("float32 numbers are needed, " + std::to_string(count) + " of them");
    }
    return a.typed_data<float>();
  }

  ffi::RemainingArgs arguments_;
  ffi::RemainingRets results_;
  std::optional<ffi::AnyBuffer> x_;
  size_t argument_ = 0, result_ = 0;
};

// (u, v, x, m, w, g) -> (y). The array has four axes.
ffi::Error blend(ffi::ThreadPool pool, ffi::RemainingArgs arguments, ffi::RemainingRets results) try {
  const Isa* isa = chosen.load(std::memory_order_acquire);
  if (isa == nullptr) return ffi::Error::Internal("jaxconv: no instruction set was chosen");
  NormCall call(arguments, results, 6, 1, 2);
  const Numbers sizes = call.sizes(4);
  const Reduction reduction = {{sizes[0], sizes[2]}, {sizes[1], sizes[3]}, call.storage};
  const size_t kept = sizes[0] * sizes[2];
  const float *u = call.numbers(kept), *v = call.numbers(kept);
  const void* x = call.like_x();
  const float *m = call.numbers(kept), *w = call.numbers(kept);
  const void* g = call.like_x();
  Helped threads = helped(pool);
  isa->kernels->blend(reduction, u, v, x, m, w, g, call.result_like_x(), &threads);
  return ffi::Error::Success();
} catch (...) {
  return current_error();
}

// (x, c, b) -> (y, mean, rest, variance), or (x, mean, rest, variance, c, g) -> (dx, dc, db). The array has three axes.
template <bool is_back>
ffi::Error layer(ffi::ThreadPool pool, ffi::RemainingArgs arguments, ffi::RemainingRets results, float eps) try {
  const Isa* isa = chosen.load(std::memory_order_acquire);
  if (isa == nullptr) return ffi::Error::Internal("jaxconv: no instruction set was chosen");
  NormCall call(arguments, results, is_back ? 6 : 3, is_back ? 3 : 4, 0);
  const Numbers sizes = call.sizes(3);
  const Layers layers = {sizes[0], sizes[1], sizes[2], eps, call.storage};
  const size_t rows = sizes[0] * sizes[1], columns = sizes[0] * sizes[2];
  const void* x = call.like_x();
  Helped threads = helped(pool);
  if constexpr (is_back) {
    const float *m = call.numbers(rows), *rest = call.numbers(rows), *var = call.numbers(rows);
    const float* c = call.numbers(columns);
    const void* g = call.like_x();
    void* dx = call.result_like_x();
    float *dc = call.result_numbers(columns), *db = call.result_numbers(columns);
    isa->kernels->layer_back(layers, x, m, rest, var, c, g, dx, dc, db, &threads);
  } else {
    const float *c = call.numbers(columns), *b = call.numbers(columns);
    void* y = call.result_like_x();
    float *m = call.result_numbers(rows), *rest = call.result_numbers(rows), *var = call.result_numbers(rows);
    isa->kernels->layer(layers, x, c, b, y, m, rest, var, &threads);
  }
  return ffi::Error::Success();
} catch (...) {
  return current_error();
}

// (x) -> (y) or (y, which), or (which, g) -> (x): see pools.h.
template <bool of_put>
ffi::Error pool(ffi::ThreadPool pool, ffi::RemainingArgs arguments, ffi::RemainingRets results, Numbers kernel,
                Numbers strides, Numbers low, Numbers dilations, int64_t channels_last) try {
  const Isa* isa = chosen.load(std::memory_order_acquire);
  if (isa == nullptr) return ffi::Error::Internal("jaxconv: no instruction set was chosen");
  const bool of_which = !of_put && results.size() == 2;
  if (arguments.size() != 1u + of_put || results.size() != 1u + of_which) {
    return ffi::Error::InvalidArgument("jaxconv: " + std::to_string(arguments.size()) + " arguments and " +
                                       std::to_string(results.size()) + " results of a pool");
  }
  const ffi::AnyBuffer given = taken(arguments.get<ffi::AnyBuffer>(of_put));
  ffi::AnyBuffer result = *taken(results.get<ffi::AnyBuffer>(0));
  const ffi::AnyBuffer x = of_put ? result : given, y = of_put ? given : result;
  const ffi::AnyBuffer which = of_put     ? taken(arguments.get<ffi::AnyBuffer>(0))
                               : of_which ? *taken(results.get<ffi::AnyBuffer>(1))
                                          : result;
  PoolRequest request{view(x.dimensions()),
                      view(y.dimensions()),
                      view(kernel),
                      view(strides),
                      view(low),
                      view(dilations),
                      channels_last,
                      {}};
  if (!storage_of(x.element_type(), &request.storage) || y.element_type() != x.element_type()) {
    return ffi::Error::InvalidArgument("jaxconv: arrays must be of one dtype, float32, bfloat16 or float16");
  }
  if ((of_put || of_which) &&
      (which.element_type() != ffi::DataType::U8 || which.element_count() != y.element_count())) {
    return ffi::Error::InvalidArgument("jaxconv: which must have a byte for each window");
  }
  Pooling pooling;
  const std::string refusal = parse(request, &pooling);
  if (!refusal.empty()) return ffi::Error::InvalidArgument("jaxconv: " + refusal);
  if (x.element_count() == 0) return ffi::Error::Success();

  if (hints.load(std::memory_order_relaxed)) {
    prefer_huge_pages(result.untyped_data(), static_cast<int64_t>(result.size_bytes()));
  }
  Helped threads = helped(pool);
  uint8_t* const taps = of_put || of_which ? which.typed_data<uint8_t>() : nullptr;
  if constexpr (of_put) {
    isa->kernels->put(pooling, taps, given.untyped_data(), result.untyped_data(), &threads);
  } else {
    isa->kernels->maxima(pooling, given.untyped_data(), result.untyped_data(), taps, &threads);
  }
  return ffi::Error::Success();
} catch (...) {
  return current_error();
}

}  // namespace
}  // namespace jaxconv

#define JAXCONV_HANDLER(name, op)                                                     \
  JAXCONV_EXPORT XLA_FFI_Error* name(XLA_FFI_CallFrame* call_frame);                  \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, jaxconv::run<op>,                               \
                                xla::ffi::Ffi::Bind()                                 \
                                    .Ctx<xla::ffi::ThreadPool>()                      \
                                    .RemainingArgs()                                  \
                                    .RemainingRets()                                  \
                                    .Attr<xla::ffi::Span<const int64_t>>("strides")   \
                                    .Attr<xla::ffi::Span<const int64_t>>("low")       \
                                    .Attr<xla::ffi::Span<const int64_t>>("high")      \
                                    .Attr<xla::ffi::Span<const int64_t>>("dilations") \
                                    .Attr<int64_t>("groups")                          \
                                    .Attr<int64_t>("mode")                            \
                                    .Attr<int64_t>("channels_last"))

JAXCONV_HANDLER(jaxconv_output, jaxconv::Op::output);
JAXCONV_HANDLER(jaxconv_input, jaxconv::Op::input);
JAXCONV_HANDLER(jaxconv_weight, jaxconv::Op::weight);

#define JAXCONV_REDUCTION(name, of_products)                         \
  JAXCONV_EXPORT XLA_FFI_Error* name(XLA_FFI_CallFrame* call_frame); \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, jaxconv::reduce<of_products>,  \
                                xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>().RemainingArgs().RemainingRets())

JAXCONV_REDUCTION(jaxconv_moments, false);
JAXCONV_REDUCTION(jaxconv_products, true);

JAXCONV_EXPORT XLA_FFI_Error* jaxconv_blend(XLA_FFI_CallFrame* call_frame);
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxconv_blend, jaxconv::blend,
                              xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>().RemainingArgs().RemainingRets());

#define JAXCONV_LAYER(name, is_back)                                 \
  JAXCONV_EXPORT XLA_FFI_Error* name(XLA_FFI_CallFrame* call_frame); \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(                                     \
      name, jaxconv::layer<is_back>,                                 \
      xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>().RemainingArgs().RemainingRets().Attr<float>("eps"))

JAXCONV_LAYER(jaxconv_layer, false);
JAXCONV_LAYER(jaxconv_layer_back, true);

#define JAXCONV_POOL(name, of_put)                                                    \
  JAXCONV_EXPORT XLA_FFI_Error* name(XLA_FFI_CallFrame* call_frame);                  \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, jaxconv::pool<of_put>,                          \
                                xla::ffi::Ffi::Bind()                                 \
                                    .Ctx<xla::ffi::ThreadPool>()                      \
                                    .RemainingArgs()                                  \
                                    .RemainingRets()                                  \
                                    .Attr<xla::ffi::Span<const int64_t>>("kernel")    \
                                    .Attr<xla::ffi::Span<const int64_t>>("strides")   \
                                    .Attr<xla::ffi::Span<const int64_t>>("low")       \
                                    .Attr<xla::ffi::Span<const int64_t>>("dilations") \
                                    .Attr<int64_t>("channels_last"))

JAXCONV_POOL(jaxconv_maxima, false);
JAXCONV_POOL(jaxconv_put, true);

// How many bytes of scratch a call must bring, or -1 where it would be refused. `numbers` as in check.h's second parse.
JAXCONV_EXPORT int64_t jaxconv_scratch_bytes(int64_t op, int64_t rank, const int64_t* numbers, int64_t count) {
  using namespace jaxconv;
  Problem problem;
  Work work;
  if (!parse(op, rank, numbers, count, &problem, &work).empty()) return -1;
  return (work == Work::some ? scratch_bytes(static_cast<Op>(op), problem) : 0) + kAlignment;
}

// Why a call would be refused, as a string in `text`, cut short where its `size` bytes do not hold it. Gives the length
// of the whole: 0 where the call would be computed.
JAXCONV_EXPORT int64_t jaxconv_refusal(int64_t op, int64_t rank, const int64_t* numbers, int64_t count, char* text,
                                       int64_t size) {
  using namespace jaxconv;
  Problem problem;
  Work work;
  const std::string refusal = parse(op, rank, numbers, count, &problem, &work);
  const int64_t length = static_cast<int64_t>(refusal.size());
  if (size > 0) text[refusal.copy(text, std::min(length, size - 1))] = '\0';
  return length;
}

// The ops, storages and padding modes by the numbers that calls have for them; null after the last.
JAXCONV_EXPORT const char* jaxconv_op_name(int64_t i) { return jaxconv::op_name(i); }
JAXCONV_EXPORT const char* jaxconv_storage_name(int64_t i) { return jaxconv::storage_name(i); }
JAXCONV_EXPORT const char* jaxconv_mode_name(int64_t i) { return jaxconv::mode_name(i); }

// Whether the kernels, from the next call on, ask for huge pages and for a core of a helper's own.
JAXCONV_EXPORT void jaxconv_use_hints(bool use) { jaxconv::hints.store(use, std::memory_order_relaxed); }
JAXCONV_EXPORT bool jaxconv_hints_in_use() { return jaxconv::hints.load(std::memory_order_relaxed); }

// The version of XLA's interface that the handlers were made with.
JAXCONV_EXPORT int64_t jaxconv_xla_major() { return XLA_FFI_API_MAJOR; }
JAXCONV_EXPORT int64_t jaxconv_xla_minor() { return XLA_FFI_API_MINOR; }

// The name of instruction set `i`, from the least to the most, or null after the last.
JAXCONV_EXPORT const char* jaxconv_isa(int64_t i) {
  return i >= 0 && i < jaxconv::kIsaCount ? jaxconv::kIsas[i].name : nullptr;
}

// Whether this machine has instruction set `i`.
JAXCONV_EXPORT bool jaxconv_isa_supported(int64_t i) {
  return jaxconv_isa(i) != nullptr && jaxconv::kIsas[i].supported();
}

// The name of the instruction set that is in use, or null before one was chosen.
JAXCONV_EXPORT const char* jaxconv_isa_in_use() {
  const jaxconv::Isa* isa = jaxconv::chosen.load(std::memory_order_acquire);
  return isa == nullptr ? nullptr : isa->name;
}

// Takes the kernels of instruction set `i` from the next call on; false where this machine does not have it.
JAXCONV_EXPORT bool jaxconv_use_isa(int64_t i) {
  if (!jaxconv_isa_supported(i)) return false;
  jaxconv::chosen.store(&jaxconv::kIsas[i], std::memory_order_release);
  return true;
}
