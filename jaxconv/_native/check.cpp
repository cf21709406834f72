#include "check.h"

namespace jaxconv {
namespace {

// The kernels count the positions along an axis, padded, with 32 bits.
constexpr int64_t kLongestAxis = (int64_t{1} << 31) - 1;
// Elements of one array: their bytes are counted with 64 bits, with room for what is added to them.
constexpr int64_t kMostElements = int64_t{1} << 56;

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

// Why one axis is impossible, or an empty string.
std::string axis_refusal(Mode mode, int64_t n, int64_t m, int64_t k, int64_t s, int64_t low, int64_t high, int64_t d) {
  if (s < 1 || s > kLongestAxis) return "a stride of " + std::to_string(s);
  if (d < 1 || d > kLongestAxis) return "a dilation of " + std::to_string(d);
  for (const int64_t pad : {low, high}) {
    if (pad < -kLongestAxis || pad > kLongestAxis) return "a pad of " + std::to_string(pad);
  }
  const int64_t padded = n + low + high;
  int64_t reach;
  if (padded < 1 || padded > kLongestAxis) return std::to_string(padded) + " positions after padding";
  if (!multiply(d, k - 1, kLongestAxis, &reach) || reach >= padded) {
    return "a kernel of " + std::to_string(k) + " taps that does not fit into " + std::to_string(padded) + " positions";
  }
  const int64_t expected = (padded - reach - 1) / s + 1;
  if (m != expected) return "y of size " + std::to_string(m) + " where it must be " + std::to_string(expected);
  return beyond(mode, n, low, high);
}

}  // namespace

std::string parse(Op op, const Request& r, Problem* p, Work* work) {
  const int64_t rank = r.strides.count;
  if (rank < 1 || rank > 3) return std::to_string(rank) + " strides: one to three spatial axes are possible";
  for (const Request::Numbers& given : {r.low, r.high, r.dilations}) {
    if (given.count != rank) return "strides, low, high and dilations must have one number per spatial axis";
  }
  if (r.mode < 0 || r.mode > static_cast<int64_t>(Mode::symmetric)) return "mode " + std::to_string(r.mode);
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
    if (p->x_size[i] > kLongestAxis) return "x of shape " + numbers(r.x) + " has an axis that is too long";
    const std::string refusal = axis_refusal(p->mode, p->x_size[i], p->y_size[i], p->kernel[i], p->stride[i], p->low[i],
                                             p->high[i], p->dilation[i]);
    if (!refusal.empty()) return refusal + " on spatial axis " + std::to_string(axis);
  }
  return "";
}

}  // namespace jaxconv
