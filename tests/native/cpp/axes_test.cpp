// The geometry of a pass along one axis, which the kernels have as arithmetic, against its definition position by
// position: random sizes, kernels, strides, dilations, pads and modes.
#include <cstdio>
#include <cstdlib>
#include <random>

#include "pieces.h"

namespace jaxconv {
namespace {

void require(bool right, const char* what, const Problem& p) {
  if (right) return;
  std::printf("%s: mode %d, size %ld, kernel %ld, stride %ld, dilation %ld, pads (%ld, %ld)\n", what,
              static_cast<int>(p.mode), static_cast<long>(p.x_size[2]), static_cast<long>(p.kernel[2]),
              static_cast<long>(p.stride[2]), static_cast<long>(p.dilation[2]), static_cast<long>(p.low[2]),
              static_cast<long>(p.high[2]));
  std::exit(1);
}

// Which position of the image lies at i; -1 for a zero.
int64_t defined(const Problem& p, int64_t i) {
  const int64_t n = p.x_size[2];
  if (0 <= i && i < n) return i;
  const int64_t begin = max(-p.low[2], 0), left = n - begin - max(-p.high[2], 0);  // after a crop
  switch (p.mode) {
    case Mode::zeros: return -1;
    case Mode::reflect: return i < 0 ? -i : 2 * (n - 1) - i;
    case Mode::replicate: return i < 0 ? 0 : n - 1;
    case Mode::circular: return begin + ((i - begin) % left + left) % left;
    case Mode::symmetric: return i < 0 ? -i - 1 : 2 * n - 1 - i;
  }
  return -1;
}

void check_forward(const Problem& p) {
  const Axis axis = forward_pass(p).axis[2];
  const int64_t padded = axis.span(axis.count);
  for (int64_t i = 0; i < padded; ++i) {
    const int64_t source = defined(p, i - p.low[2]), run = min(axis.run(i), padded - i);
    require(axis.source(i) == source, "source", p);
    for (int64_t k = 1; k < run; ++k) {
      require(axis.source(i + k) == (source < 0 ? -1 : source + k), "run", p);
    }
  }
}

void check_backward(const Problem& p, int64_t padded, int64_t phase) {
  const int64_t k = p.kernel[2], s = p.stride[2], d = p.dilation[2];
  const Axis axis = backward_axis(p, 2, 0, padded, phase);
  require(axis.count == max(0, ceil_div(padded - phase, s)), "count", p);
  int64_t taps = 0;
  for (int64_t t = k - 1; t >= 0; --t) {  // the kernel is packed in reverse
    if (t * d < phase || (t * d - phase) % s != 0) continue;
    require(axis.tap(taps) == k - 1 - t, "tap", p);
    for (int64_t i = 0; i < axis.count; ++i) {
      const int64_t y = i - (t * d - phase) / s;
      require(axis.source(i * axis.step + axis.offset(taps)) == (0 <= y && y < p.y_size[2] ? y : -1), "y", p);
    }
    ++taps;
  }
  require(axis.taps == taps, "taps", p);
  bool in_order = true;
  for (int64_t i = 0; i < axis.count; ++i) {
    require(axis.target(i) == defined(p, phase + s * i - p.low[2]), "target", p);
    in_order &= i == 0 || axis.target(i) == axis.target(i - 1) + s;
  }
  // Of zeros nothing is written: the pass is cut to the image before.
  require(p.mode == Mode::zeros || axis.writes_in_order() == in_order, "order", p);
}

// Together the parts of an axis read few positions more than once, however far apart the taps are and however little a
// strip holds; but for that none reads more than what it holds.
void check_parts(const Axis& axis, int64_t capacity, const Problem& p) {
  const int64_t parts = fewest_parts(axis, capacity), each = ceil_div(axis.count, parts);
  require(1 <= parts && parts <= axis.count, "parts", p);
  require(parts * axis.span(each) <= 4 * (axis.span(axis.count) + axis.span(1)), "positions read again", p);
  require(axis.span(each) <= max(capacity, 2 * axis.span(1)), "capacity", p);
}

int run(int count) {
  std::minstd_rand random(1);
  auto from = [&](int64_t least, int64_t most) { return std::uniform_int_distribution<int64_t>(least, most)(random); };
  for (int checked = 0; checked < count;) {
    Problem p{};
    for (int a = 0; a < 2; ++a) p.x_size[a] = p.y_size[a] = p.kernel[a] = p.stride[a] = p.dilation[a] = 1;
    p.mode = static_cast<Mode>(from(0, 4));
    const int64_t n = p.x_size[2] = from(1, 9);
    p.kernel[2] = from(1, 5), p.stride[2] = from(1, 5), p.dilation[2] = from(1, 4);
    const int64_t most = p.mode == Mode::reflect                                 ? n - 1
                         : p.mode == Mode::circular || p.mode == Mode::symmetric ? n
                                                                                 : 7;
    p.low[2] = from(-2, most), p.high[2] = from(-2, most);
    const int64_t left = n + min(p.low[2], 0) + min(p.high[2], 0), padded = n + p.low[2] + p.high[2];
    if (p.mode == Mode::circular && (left < 1 || max(p.low[2], p.high[2]) > left)) continue;
    const int64_t room = padded - p.dilation[2] * (p.kernel[2] - 1) - 1;
    if (room < 0) continue;
    p.y_size[2] = room / p.stride[2] + 1;
    check_forward(p);
    for (int64_t phase = 0; phase < p.stride[2]; ++phase) check_backward(p, padded, phase);
    Axis axis;
    axis.count = from(1, 100000), axis.step = from(1, 5), axis.taps = from(1, 9), axis.offset_step = from(1, 30000);
    check_parts(axis, from(1, 5000), p);
    ++checked;
  }
  std::printf("%d axes, 0 wrong\n", count);
  return 0;
}

}  // namespace
}  // namespace jaxconv

int main() { return jaxconv::run(50000); }
