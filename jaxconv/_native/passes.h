// A convolution and its transposes, as correlations: the geometry alone.
//
//     target[q] (+)= sum over t of source[q step + offset(t)] w[t]
//
// for each axis. The convolution is one such pass: step is the stride, offset(t) = t d, and `source` says which
// position of the image each position of the padded one repeats. Its transpose in x is one pass for each phase of the
// stride: i + low = p s + t d has, for the positions i of one phase, the same taps t, and p moves by one as i moves by
// s.
//
// All of this is arithmetic: nothing is tabulated, however long an axis is.
#pragma once

#include "arithmetic.h"
#include "problem.h"

namespace jaxconv {
namespace {

// One axis of an image, and what its padding mode says lies beyond it.
struct Extent {
  int64_t size = 0;
  Mode mode = Mode::zeros;
  int64_t period = 0;  // of Mode::circular: what a crop has left

  // Which position of the image lies at i; -1 for a zero. A mode that mirrors or wraps reaches one image beyond it at
  // most.
  int64_t at(int64_t i) const {
    if (0 <= i && i < size) return i;
    switch (mode) {
      case Mode::zeros: return -1;
      case Mode::reflect: return i < 0 ? -i : 2 * (size - 1) - i;
      case Mode::replicate: return i < 0 ? 0 : size - 1;
      case Mode::circular: return i < 0 ? i + period : i - period;
      case Mode::symmetric: return i < 0 ? -i - 1 : 2 * size - 1 - i;
    }
    return -1;
  }

  // How many positions from i on lie in the image one after the other, or are all zeros.
  int64_t run(int64_t i) const {
    if (0 <= i && i < size) return size - i;
    if (mode != Mode::zeros && mode != Mode::circular) return 1;
    return i < 0 ? -i : INT64_MAX;
  }
};

struct Axis {
  int64_t count = 0;  // positions of the target in this pass
  int64_t step = 1;   // positions of the padded source from one of them to the next
  Extent source_extent, target_extent;
  int64_t source_begin = 0;             // where in its extent the padded source begins
  int64_t target_begin = 0;             // where in its extent the target's first position is
  int64_t target_step = 1;              // ... and from one to the next
  int64_t taps = 0;                     // of the kernel that take part
  int64_t first_tap = 0, tap_step = 1;  // which positions of the packed kernel they are, of `kernel`
  int64_t offset_step = 0;              // positions of the padded source from one to the next
  int64_t kernel = 0;

  int64_t tap(int64_t t) const { return first_tap + t * tap_step; }
  int64_t offset(int64_t t) const { return t * offset_step; }
  // Positions of the padded source that `n` target positions read.
  int64_t span(int64_t n) const { return taps == 0 ? 0 : (n - 1) * step + offset(taps - 1) + 1; }
  // Position i of the padded source: where it is in the source, or -1 for a zero; and how many from it on are adjacent
  // there, or zeros like it.
  int64_t source(int64_t i) const { return source_extent.at(source_begin + i); }
  int64_t run(int64_t i) const { return source_extent.run(source_begin + i); }
  // Position q of this pass: where it is in the target.
  int64_t target(int64_t q) const { return target_extent.at(target_begin + q * target_step); }

  // Whether all of the source is read as it lies: no position is a zero, repeated or out of order.
  bool reads_in_order() const {
    const int64_t padded = span(count);
    return padded <= 0 || (source(0) >= 0 && run(0) >= padded);
  }
  // Whether the positions in the target are `target_step` apart.
  bool writes_in_order() const { return count <= 1 || target_extent.run(target_begin) > (count - 1) * target_step; }
};

struct Pass {
  Axis axis[3];

  bool empty() const { return axis[0].count == 0 || axis[1].count == 0 || axis[2].count == 0; }
  int64_t taps() const { return axis[0].taps * axis[1].taps * axis[2].taps; }
};

// f(z, y, x, tap) for each tap of a pass: its number along each axis among those that take part, and its position in
// the packed kernel.
template <class F>
JAXCONV_INLINE void for_each_tap(const Pass& pass, const F& f) {
  const Axis &depth = pass.axis[0], &height = pass.axis[1], &width = pass.axis[2];
  for (int64_t z = 0; z < depth.taps; ++z) {
    for (int64_t y = 0; y < height.taps; ++y) {
      const int64_t row = (depth.tap(z) * height.kernel + height.tap(y)) * width.kernel;
      for (int64_t x = 0; x < width.taps; ++x) f(z, y, x, row + width.tap(x));
    }
  }
}

// An axis of the image x of a problem.
Extent image_extent(const Problem& p, int a) {
  return {p.x_size[a], p.mode, p.x_size[a] + min(p.low[a], 0) + min(p.high[a], 0)};
}

// The convolution itself.
Pass forward_pass(const Problem& p) {
  Pass pass;
  for (int a = 0; a < 3; ++a) {
    Axis& axis = pass.axis[a];
    axis.count = p.y_size[a];
    axis.step = p.stride[a];
    axis.source_extent = image_extent(p, a);
    axis.source_begin = -p.low[a];
    axis.target_extent.size = p.y_size[a];
    axis.taps = axis.kernel = p.kernel[a];
    axis.offset_step = p.dilation[a];
  }
  return pass;
}

int64_t greatest_common_divisor(int64_t a, int64_t b) { return b == 0 ? a : greatest_common_divisor(b, a % b); }

// One axis of its transpose in x: the positions of the padded image from `begin` to `end` that are in `phase`. The
// kernel is packed in reverse, so that its positions ascend with their offsets.
//
// Position phase + s j is reached by the taps t with t d = phase + s u for some u >= 0, from position j - u of y. They
// are an arithmetic progression: with g = gcd(s, d), t moves by s / g as u moves by d / g.
Axis backward_axis(const Problem& p, int a, int64_t begin, int64_t end, int64_t phase) {
  const int64_t s = p.stride[a], d = p.dilation[a], k = p.kernel[a], g = greatest_common_divisor(s, d);
  const int64_t first = ceil_div(begin - phase, s);
  Axis axis;
  axis.count = ceil_div(end - phase, s) - first;
  axis.kernel = k;
  axis.tap_step = s / g;
  axis.offset_step = d / g;
  int64_t last = k - 1;
  while (last >= 0 && last * d >= phase && (last * d - phase) % s != 0) --last;
  if (last >= 0 && last * d >= phase) {
    axis.taps = (last - ceil_div(phase, d)) / axis.tap_step + 1;
    axis.first_tap = k - 1 - last;
    axis.source_begin = first - (last * d - phase) / s;
  }
  axis.source_extent.size = p.y_size[a];
  axis.target_extent = image_extent(p, a);
  axis.target_begin = phase + s * first - p.low[a];
  axis.target_step = s;
  return axis;
}

}  // namespace
}  // namespace jaxconv
