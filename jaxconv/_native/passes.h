// A convolution and its transposes, as correlations: the geometry alone.
//
//     target[q] (+)= sum over t of source[q step + offset(t)] w[t]
//
// for each axis. The convolution is one such pass: step is the stride, offset(t) = t d, and `source` says which
// position of the image each position of the padded one repeats. Its transpose in x is one pass for each phase of the
// stride: i + low = p s + t d has, for the positions i of one phase, the same taps t, and p moves by one as i moves by
// s.
#pragma once

#include "vector.h"

namespace jaxconv {
namespace {

struct Axis {
  int64_t count = 0;          // positions of the target in this pass
  int64_t step = 1;           // positions of the padded source from one of them to the next
  int64_t taps = 0;           // of the kernel that take part
  int32_t* offset = nullptr;  // of each tap, in positions of the padded source, ascending
  int32_t* tap = nullptr;     // which position of the packed kernel each tap is, ascending
  int64_t padded = 0;         // positions of the padded source
  int32_t* source = nullptr;  // each of them: its position in the source, or -1 for a zero
  int32_t* run = nullptr;     // how many from it on lie in the source as they do here, or are zeros like it
  int32_t* target = nullptr;  // each target position of this pass: where it is in the target
  int64_t stride = 1;         // from each of these to the next, or 0 where that differs

  // Positions of the padded source that `n` target positions read.
  int64_t span(int64_t n) const { return taps == 0 ? 0 : (n - 1) * step + offset[taps - 1] + 1; }
};

struct Pass {
  Axis axis[3];
};

// w[target, source, tap] of a group, by its strides; in reverse order of the taps for the transpose.
struct Weights {
  const void* data;
  int64_t group, target, source, taps;
  bool reversed;
};

// Small arrays of one call. They are freed together.
class Arena {
 public:
  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() {
    while (head_ != nullptr) {
      Node* next = head_->next;
      std::free(head_);
      head_ = next;
    }
  }

  int32_t* numbers(int64_t count) {
    Node* node = static_cast<Node*>(std::malloc(sizeof(Node) + most(count, 1) * sizeof(int32_t)));
    if (node == nullptr) std::abort();
    node->next = head_;
    head_ = node;
    return reinterpret_cast<int32_t*>(node + 1);
  }

 private:
  struct Node {
    Node* next;
  };
  Node* head_ = nullptr;
};

// Which position of axis `a` of the image lies at i, which may be beyond it; -1 for a zero. A negative pad crops: what
// goes round in circles is what is left.
int64_t at(const Problem& p, int a, int64_t i) {
  const int64_t n = p.x_size[a];
  if (0 <= i && i < n) return i;
  if (p.mode == Mode::circular) {
    const int64_t begin = most(-p.low[a], 0), left = n - begin - most(-p.high[a], 0);
    return begin + ((i - begin) % left + left) % left;
  }
  switch (p.mode) {
    case Mode::replicate: return i < 0 ? 0 : n - 1;
    case Mode::reflect: return i < 0 ? -i : 2 * (n - 1) - i;
    case Mode::symmetric: return i < 0 ? -i - 1 : 2 * n - 1 - i;
    default: return -1;
  }
}

void find_runs(Axis* axis, Arena* arena) {
  axis->run = arena->numbers(axis->padded);
  for (int64_t i = axis->padded - 1; i >= 0; --i) {
    const int32_t next = axis->source[i] < 0 ? -1 : axis->source[i] + 1;
    axis->run[i] = i + 1 < axis->padded && axis->source[i + 1] == next ? axis->run[i + 1] + 1 : 1;
  }
}

// One axis of the convolution itself.
Axis forward_axis(const Problem& p, int a, Arena* arena) {
  Axis axis;
  axis.count = p.y_size[a];
  axis.step = p.stride[a];
  axis.taps = p.kernel[a];
  axis.offset = arena->numbers(axis.taps);
  axis.tap = arena->numbers(axis.taps);
  for (int64_t t = 0; t < axis.taps; ++t) {
    axis.offset[t] = t * p.dilation[a];
    axis.tap[t] = t;
  }
  axis.padded = axis.span(axis.count);
  axis.source = arena->numbers(axis.padded);
  for (int64_t i = 0; i < axis.padded; ++i) axis.source[i] = at(p, a, i - p.low[a]);
  find_runs(&axis, arena);
  axis.target = arena->numbers(axis.count);
  for (int64_t k = 0; k < axis.count; ++k) axis.target[k] = k;
  return axis;
}

// a / b rounded up, for any a: a crop begins at a position below zero.
int64_t ceiling(int64_t a, int64_t b) { return a >= 0 ? up(a, b) : -(-a / b); }

// One axis of its transpose in x: the positions of the padded image from `begin` to `end` that are in `phase`. The
// kernel is packed in reverse, so that its positions ascend with their offsets.
Axis backward_axis(const Problem& p, int a, int64_t begin, int64_t end, int64_t phase, Arena* arena) {
  const int64_t s = p.stride[a], d = p.dilation[a], k = p.kernel[a];
  const int64_t j0 = ceiling(begin - phase, s);  // positions phase + s j
  Axis axis;
  axis.count = ceiling(end - phase, s) - j0;
  axis.offset = arena->numbers(k);
  axis.tap = arena->numbers(k);
  int64_t furthest = -1;  // (t d - phase) / s of the last tap
  for (int64_t t = k - 1; t >= 0; --t) {
    if (t * d < phase || (t * d - phase) % s != 0) continue;
    const int64_t back = (t * d - phase) / s;
    if (furthest < 0) furthest = back;
    axis.offset[axis.taps] = furthest - back;
    axis.tap[axis.taps++] = k - 1 - t;
  }
  axis.padded = axis.span(axis.count);
  axis.source = arena->numbers(axis.padded);
  for (int64_t i = 0; i < axis.padded; ++i) {
    const int64_t y = j0 - furthest + i;
    axis.source[i] = 0 <= y && y < p.y_size[a] ? y : -1;
  }
  find_runs(&axis, arena);
  axis.target = arena->numbers(axis.count);
  for (int64_t q = 0; q < axis.count; ++q) axis.target[q] = at(p, a, phase + s * (j0 + q) - p.low[a]);
  axis.stride = s;
  for (int64_t q = 1; q < axis.count; ++q) {
    if (axis.target[q] != axis.target[q - 1] + s) axis.stride = 0;
  }
  return axis;
}

// Whether all of an axis is read as it lies: no position is a zero, repeated or out of order.
bool reads_in_order(const Axis& axis) {
  return axis.padded == 0 || (axis.source[0] >= 0 && axis.run[0] == axis.padded);
}

}  // namespace
}  // namespace jaxconv
