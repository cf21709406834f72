#include "check.h"

#include <algorithm>

#include "tuning.h"

namespace jaxconv {
namespace {

// Python's tuples OPS, STORAGES and PADDING_MODES have this order, and a call names an entry by its number.
static_assert(Op{0} == Op::output && Op{1} == Op::input && Op{2} == Op::weight);
static_assert(Storage{0} == Storage::float32 && Storage{1} == Storage::bfloat16 && Storage{2} == Storage::float16);
static_assert(Mode{0} == Mode::zeros && Mode{1} == Mode::reflect && Mode{2} == Mode::replicate &&
              Mode{3} == Mode::circular && Mode{4} == Mode::symmetric);

constexpr const char* kOps[] = {"output", "input", "weight"};
constexpr const char* kStorages[] = {"float32", "bfloat16", "float16"};
constexpr const char* kModes[] = {"zeros", "reflect", "replicate", "circular", "symmetric"};

template <size_t N>
const char* entry(const char* const (&names)[N], int64_t i) {
  return i < 0 || i >= static_cast<int64_t>(N) ? nullptr : names[i];
}

// Positions along an axis, and channels: a product of two such numbers fits into 64 bits, which the kernels count with.
constexpr int64_t kMost32 = (int64_t{1} << 31) - 1;
// Elements of one array, of which an address space holds fewer, and of a padded image. The scratch is counted in bytes
// with 64 bits: 4 for each number of up to 16 sums, of a weight whose output channels are padded to 16 at the most.
constexpr int64_t kMostElements = int64_t{1} << 48;
// What one result reads, gaps between the taps included: a thread holds a copy of it.
constexpr int64_t kLargestWindow = int64_t{1} << 30;
// A stride in the gradient of the input is a pass for each of its phases.
constexpr int64_t kMostPhases = int64_t{1} << 20;

// a * b, or false where that is more than `most`. Both are at least 0.
bool multiply(int64_t a, int64_t b, int64_t most, int64_t* product) {
  return !__builtin_mul_overflow(a, b, product) && *product <= most;
}

std::string numbers(const Request::Numbers& numbers) {
  std::string text = "(";
  for (int64_t i = 0; i < numbers.count; ++i) text += (i ? ", " : "") + std::to_string(numbers.values[i]);
  return text + ")";
}

// The number of elements, or -1 where the shape is impossible.
int64_t elements(const Request::Numbers& shape) {
  int64_t count = 1;
  for (int64_t i = 0; i < shape.count; ++i) {
    const int64_t n = shape.values[i];
    if (n < 0 || n > kMostElements) return -1;
  }
  for (int64_t i = 0; i < shape.count; ++i) {
    // A size of 0 hides none of the others.
    if (!multiply(count, shape.values[i] == 0 ? 1 : shape.values[i], kMostElements, &count)) return -1;
  }
  for (int64_t i = 0; i < shape.count; ++i) count = shape.values[i] == 0 ? 0 : count;
  return count;
}

// Why what a mode reads beyond an axis of n positions is not there, or an empty string.
std::string beyond(Mode mode, int64_t n, int64_t low, int64_t high) {
  const int64_t most = low > high ? low : high;
  const int64_t cropped = n + (low < 0 ? low : 0) + (high < 0 ? high : 0);
  int64_t supply = 0;
  switch (mode) {
    case Mode::zeros:
    case Mode::replicate: return "";
    case Mode::reflect: supply = n - 1; break;
    case Mode::symmetric: supply = n; break;
    case Mode::circular:
      supply = cropped;
      if (cropped < 1) return "nothing is left to wrap around";
      break;
  }
  return most <= supply ? "" : "at most " + std::to_string(supply) + " positions can be padded";
}

// Positions of an axis that a pass may count: the transpose sees zeros beyond both ends, as far as the kernel reaches,
// and what a crop takes away at one end is not saved at the other.
int64_t counted(const Problem& p, int a) {
  return p.x_size[a] + std::max<int64_t>(p.low[a], 0) + std::max<int64_t>(p.high[a], 0) +
         p.dilation[a] * (p.kernel[a] - 1);
}

// Why one axis is impossible, or an empty string.
std::string axis_refusal(const Problem& p, int a) {
  const int64_t n = p.x_size[a], m = p.y_size[a], k = p.kernel[a], s = p.stride[a], d = p.dilation[a];
  const int64_t low = p.low[a], high = p.high[a];
  if (n > kMost32) return "an axis of " + std::to_string(n) + " positions";
  if (s < 1 || s > kMost32) return "a stride of " + std::to_string(s);
  if (d < 1 || d > kMost32) return "a dilation of " + std::to_string(d);
  for (const int64_t pad : {low, high}) {
    if (pad < -kMost32 || pad > kMost32) return "a pad of " + std::to_string(pad);
  }
  const int64_t padded = n + low + high;
  int64_t reach;
  if (padded < 1 || padded > kMost32) return std::to_string(padded) + " positions after padding";
  if (!multiply(d, k - 1, kMost32, &reach) || reach >= padded) {
    return "a kernel of " + std::to_string(k) + " taps that does not fit into " + std::to_string(padded) + " positions";
  }
  if (counted(p, a) > kMost32) {
    return std::to_string(counted(p, a)) + " positions, with the pads and what the kernel reaches beyond them,";
  }
  const int64_t expected = (padded - reach - 1) / s + 1;
  if (m != expected) return "y of size " + std::to_string(m) + " where it must be " + std::to_string(expected);
  return beyond(p.mode, n, low, high);
}

// Why the axes together are too much, or an empty string.
std::string size_refusal(Op op, const Problem& p) {
  const int64_t channels = (op == Op::input ? p.out_channels : p.in_channels) / p.groups;
  auto product = [](std::initializer_list<int64_t> factors, int64_t most) {
    int64_t result = 1;
    for (const int64_t factor : factors) {
      if (!multiply(result, factor, most, &result)) return false;
    }
    return true;
  };
  if (!product({channels, p.kernel[0], counted(p, 1), counted(p, 2)}, kMostElements)) {
    return "an image of " + std::to_string(counted(p, 1)) + " by " + std::to_string(counted(p, 2)) +
           " positions, with the pads and what the kernel reaches beyond them";
  }
  const int64_t tall = p.dilation[1] * (p.kernel[1] - 1) + 1;
  // A step of several positions along the last axis is read whole.
  const int64_t step = op != Op::input && p.y_size[2] > 1 ? p.stride[2] : 1;
  const int64_t wide = p.dilation[2] * (p.kernel[2] - 1) + step;
  if (!product({channels, p.kernel[0], tall, wide}, kLargestWindow)) {
    return "a kernel that spans " + std::to_string(p.kernel[0]) + " by " + std::to_string(tall) + " by " +
           std::to_string(wide) + " positions of " + std::to_string(channels) + " channels";
  }
  if (op == Op::input && !product({p.stride[0], p.stride[1], p.stride[2]}, kMostPhases)) {
    return "strides of " + std::to_string(p.stride[0]) + ", " + std::to_string(p.stride[1]) + " and " +
           std::to_string(p.stride[2]) + " for the gradient of the input";
  }
  return "";
}

}  // namespace

std::string parse(Op op, const Request& r, Problem* p, Work* work) {
  const int64_t rank = r.strides.count;
  if (rank < 1 || rank > 3) return std::to_string(rank) + " strides: one to three spatial axes are possible";
  for (const Request::Numbers& given : {r.low, r.high, r.dilations}) {
    if (given.count != rank) return "strides, low, high and dilations must have one number per spatial axis";
  }
  if (mode_name(r.mode) == nullptr) return "mode " + std::to_string(r.mode);
  if (r.groups < 1) return "groups " + std::to_string(r.groups);
  if (r.channels_last != 0 && r.channels_last != 1) return "channels_last " + std::to_string(r.channels_last);
  if (r.bias != 0 && (r.bias != 1 || op == Op::input)) return "bias " + std::to_string(r.bias);

  const struct {
    const char* name;
    const Request::Numbers& shape;
  } arrays[] = {{"x", r.x}, {"w", r.w}, {"y", r.y}};
  int64_t count[3];
  for (int i = 0; i < 3; ++i) {
    const auto& [name, shape] = arrays[i];
    if (shape.count != rank + 2) {
      return std::string(name) + " has " + std::to_string(shape.count) + " axes where " + std::to_string(rank) +
             " spatial ones and two others are needed";
    }
    count[i] = elements(shape);
    if (count[i] < 0) return std::string(name) + " of shape " + numbers(shape) + " is too large";
  }

  const int64_t channel = r.channels_last ? rank + 1 : 1, first = r.channels_last ? 1 : 2;
  p->mode = static_cast<Mode>(r.mode);
  p->channels_last = r.channels_last != 0;
  p->storage = r.storage;
  p->groups = r.groups;
  p->bias = r.bias != 0;
  p->batch = r.x.values[0];
  p->in_channels = r.x.values[channel];
  p->out_channels = r.w.values[0];
  for (const int64_t channels : {p->in_channels, p->out_channels}) {
    if (channels > kMost32) return std::to_string(channels) + " channels";
  }
  if (r.y.values[0] != p->batch) return "x of shape " + numbers(r.x) + " and y of " + numbers(r.y) + " differ in batch";
  if (r.y.values[channel] != p->out_channels) {
    return "w of shape " + numbers(r.w) + " and y of " + numbers(r.y) + " differ in output channels";
  }
  if (p->in_channels % r.groups != 0 || p->out_channels % r.groups != 0 || r.w.values[1] != p->in_channels / r.groups) {
    return "x of shape " + numbers(r.x) + " and w of " + numbers(r.w) + " do not make " + std::to_string(r.groups) +
           " groups";
  }

  const int result = op == Op::output ? 2 : op == Op::input ? 0 : 1;
  *work = count[result] == 0 ? Work::none : count[0] == 0 || count[1] == 0 || count[2] == 0 ? Work::zeros : Work::some;
  if (p->bias && count[2] != 0 && *work != Work::some) {
    return "y of shape " + numbers(r.y) + " has a bias, and x of " + numbers(r.x) + " or w of " + numbers(r.w) +
           " nothing else";
  }
  if (*work != Work::some) return "";

  for (int64_t i = 0; i < 3; ++i) {
    const int64_t axis = i - (3 - rank);
    const bool given = axis >= 0;
    p->x_size[i] = given ? r.x.values[first + axis] : 1;
    p->y_size[i] = given ? r.y.values[first + axis] : 1;
    p->kernel[i] = given ? r.w.values[2 + axis] : 1;
    p->stride[i] = given ? r.strides.values[axis] : 1;
    p->low[i] = given ? r.low.values[axis] : 0;
    p->high[i] = given ? r.high.values[axis] : 0;
    p->dilation[i] = given ? r.dilations.values[axis] : 1;
    const std::string refusal = axis_refusal(*p, i);
    if (!refusal.empty()) return refusal + " on spatial axis " + std::to_string(axis);
  }
  return size_refusal(op, *p);
}

std::string parse(int64_t op, int64_t rank, const int64_t* numbers, int64_t count, Problem* problem, Work* work) {
  if (op_name(op) == nullptr) return "op " + std::to_string(op);
  if (rank < 1 || rank > 3) return std::to_string(rank) + " spatial axes: one to three are possible";
  const int64_t expected = 3 * (rank + 2) + 4 * rank + 5;
  if (count != expected) return std::to_string(count) + " numbers where " + std::to_string(expected) + " are needed";
  auto take = [&numbers](int64_t some) {
    const Request::Numbers taken{numbers, some};
    numbers += some;
    return taken;
  };
  Request r;
  for (auto* shape : {&r.x, &r.w, &r.y}) *shape = take(rank + 2);
  for (auto* given : {&r.strides, &r.low, &r.high, &r.dilations}) *given = take(rank);
  for (auto* number : {&r.groups, &r.mode, &r.channels_last}) *number = *numbers++;
  if (storage_name(*numbers) == nullptr) return "storage " + std::to_string(*numbers);
  r.storage = static_cast<Storage>(*numbers++);
  r.bias = *numbers;
  return parse(static_cast<Op>(op), r, problem, work);
}

std::string parse(const PoolRequest& r, Pooling* p) {
  const int64_t rank = r.kernel.count;
  if (rank < 1 || rank > 3) return "a kernel of " + std::to_string(rank) + " axes: one to three are possible";
  for (const Request::Numbers& given : {r.strides, r.low, r.dilations}) {
    if (given.count != rank) return "kernel, strides, low and dilations must have one number per spatial axis";
  }
  if (r.channels_last != 0 && r.channels_last != 1) return "channels_last " + std::to_string(r.channels_last);
  for (const Request::Numbers& shape : {r.x, r.y}) {
    if (shape.count != rank + 2 || elements(shape) < 0) return "an array of shape " + numbers(shape);
  }
  const int64_t channel = r.channels_last ? rank + 1 : 1, first = r.channels_last ? 1 : 2;
  p->channels_last = r.channels_last != 0;
  p->storage = r.storage;
  p->batch = r.x.values[0];
  p->channels = r.x.values[channel];
  if (r.y.values[0] != p->batch || r.y.values[channel] != p->channels) {
    return "x of shape " + numbers(r.x) + " and y of " + numbers(r.y) + " differ in batch or channels";
  }
  int64_t taps = 1;
  for (int64_t i = 0; i < 3; ++i) {
    const int64_t axis = i - (3 - rank);
    const bool given = axis >= 0;
    const int64_t n = p->x_size[i] = given ? r.x.values[first + axis] : 1;
    const int64_t m = p->y_size[i] = given ? r.y.values[first + axis] : 1;
    const int64_t k = p->kernel[i] = given ? r.kernel.values[axis] : 1;
    const int64_t s = p->stride[i] = given ? r.strides.values[axis] : 1;
    const int64_t low = p->low[i] = given ? r.low.values[axis] : 0;
    const int64_t d = p->dilation[i] = given ? r.dilations.values[axis] : 1;
    const std::string where = " on spatial axis " + std::to_string(axis);
    for (const int64_t number : {n, m, k, s, d}) {
      if (number < 1 || number > kMost32) return "a number of " + std::to_string(number) + where;
    }
    if (!multiply(taps, k, kPoolTaps, &taps)) return "a window of more than " + std::to_string(kPoolTaps) + " taps";
    if (low < 0 || low > k / 2) {
      return "a pad of " + std::to_string(low) + " for " + std::to_string(k) + " taps" + where;
    }
    // The last window begins within the image or the padding before it; a window hangs over by less than a stride.
    if ((m - 1) * s >= n + low || d * (k - 1) >= n + 2 * low + s) return "a window outside of the image" + where;
  }
  return "";
}

const char* op_name(int64_t i) { return entry(kOps, i); }
const char* storage_name(int64_t i) { return entry(kStorages, i); }
const char* mode_name(int64_t i) { return entry(kModes, i); }

}  // namespace jaxconv
