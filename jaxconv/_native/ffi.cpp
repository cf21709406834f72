// Where XLA and Python enter: the three handlers of XLA's foreign function interface, and what Python asks at lowering.

#include "xla/ffi/api/ffi.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <atomic>
#include <cstring>
#include <exception>
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

// XLA gives results memory that is often fresh from the operating system, which then comes in, and is cleared, where it
// is first written: a page fault for each 4 KiB takes longer than many a kernel. Where there are huge pages to be had
// on request, this is the request. A wish only: nothing depends on whether it is granted.
void prefer_huge_pages(void* data, int64_t bytes) {
#if defined(__linux__)
  constexpr uintptr_t kHuge = uintptr_t{2} << 20;
  const uintptr_t address = reinterpret_cast<uintptr_t>(data);
  const uintptr_t begin = (address + kHuge - 1) / kHuge * kHuge, end = (address + bytes) / kHuge * kHuge;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

template <Op op>
ffi::Error run(ffi::ThreadPool pool, ffi::AnyBuffer a, ffi::AnyBuffer b, ffi::Result<ffi::AnyBuffer> result,
               ffi::Result<ffi::Buffer<ffi::DataType::U8>> scratch, Numbers strides, Numbers low, Numbers high,
               Numbers dilations, int64_t groups, int64_t mode, int64_t channels_last) try {
  const Isa* isa = chosen.load(std::memory_order_acquire);
  if (isa == nullptr) return ffi::Error::Internal("jaxconv: no instruction set was chosen");
  Storage storage;
  if (!storage_of(a.element_type(), &storage) || b.element_type() != a.element_type() ||
      result->element_type() != a.element_type()) {
    return ffi::Error::InvalidArgument("jaxconv: arrays must be of one dtype, float32, bfloat16 or float16");
  }
  const Numbers first = a.dimensions(), second = b.dimensions(), third = result->dimensions();
  const Numbers x = op == Op::input ? third : first;
  const Numbers w = op == Op::output ? second : op == Op::input ? first : third;
  const Numbers y = op == Op::output ? third : second;
  const Request request{view(x),         view(w), view(y), view(strides), view(low), view(high),
                        view(dilations), groups,  mode,    channels_last, storage};
  Problem problem;
  Work work;
  const std::string refusal = parse(op, request, &problem, &work);
  if (!refusal.empty()) return ffi::Error::InvalidArgument("jaxconv: " + refusal);
  if (work == Work::none) return ffi::Error::Success();
  if (work == Work::zeros) {
    std::memset(result->untyped_data(), 0, result->size_bytes());
    return ffi::Error::Success();
  }

  const uintptr_t address = reinterpret_cast<uintptr_t>(scratch->typed_data());
  const uintptr_t aligned = (address + kAlignment - 1) / kAlignment * kAlignment;
  const int64_t given = static_cast<int64_t>(scratch->element_count()) - static_cast<int64_t>(aligned - address);
  if (given < scratch_bytes(op, problem)) {
    return ffi::Error::InvalidArgument("jaxconv: " + std::to_string(given) + " bytes of scratch where " +
                                       std::to_string(scratch_bytes(op, problem)) + " are needed");
  }

  prefer_huge_pages(result->untyped_data(), static_cast<int64_t>(result->size_bytes()));
  Helped threads(pool.num_threads(), [&pool](std::function<void()> f) { pool.Schedule(std::move(f)); });
  const auto kernel = op == Op::output  ? isa->kernels->output
                      : op == Op::input ? isa->kernels->input
                                        : isa->kernels->weight;
  kernel(problem, a.untyped_data(), b.untyped_data(), result->untyped_data(), reinterpret_cast<void*>(aligned),
         &threads);
  return ffi::Error::Success();
} catch (const std::exception& error) {
  return ffi::Error::Internal(std::string("jaxconv: ") + error.what());
}

}  // namespace
}  // namespace jaxconv

#define JAXCONV_HANDLER(name, op)                                                     \
  JAXCONV_EXPORT XLA_FFI_Error* name(XLA_FFI_CallFrame* call_frame);                  \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, jaxconv::run<op>,                               \
                                xla::ffi::Ffi::Bind()                                 \
                                    .Ctx<xla::ffi::ThreadPool>()                      \
                                    .Arg<xla::ffi::AnyBuffer>()                       \
                                    .Arg<xla::ffi::AnyBuffer>()                       \
                                    .Ret<xla::ffi::AnyBuffer>()                       \
                                    .Ret<xla::ffi::Buffer<xla::ffi::DataType::U8>>()  \
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

// How many bytes of scratch a call must bring, or -1 where it would be refused. `numbers` holds the shapes of x, w and
// y, then strides, low, high and dilations, then groups, mode, channels_last and storage.
JAXCONV_EXPORT int64_t jaxconv_scratch_bytes(int64_t op, int64_t rank, const int64_t* numbers) {
  using namespace jaxconv;
  if (op < 0 || op > 2 || rank < 1 || rank > 3) return -1;
  auto take = [&numbers](int64_t count) {
    const Request::Numbers taken{numbers, count};
    numbers += count;
    return taken;
  };
  Request request;
  for (auto* shape : {&request.x, &request.w, &request.y}) *shape = take(rank + 2);
  for (auto* given : {&request.strides, &request.low, &request.high, &request.dilations}) *given = take(rank);
  for (auto* number : {&request.groups, &request.mode, &request.channels_last}) *number = *numbers++;
  if (*numbers < 0 || *numbers > 2) return -1;
  request.storage = static_cast<Storage>(*numbers);
  Problem problem;
  Work work;
  if (!parse(static_cast<Op>(op), request, &problem, &work).empty()) return -1;
  return (work == Work::some ? scratch_bytes(static_cast<Op>(op), problem) : 0) + kAlignment;
}

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
