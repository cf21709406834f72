// The three ops as their definition has them: one loop nest, in double precision. What the kernels are compared with.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "problem.h"

namespace naive {

using jaxconv::Mode;
using jaxconv::Op;
using jaxconv::Problem;
using jaxconv::Storage;

#if defined(__aarch64__) && !defined(__clang__) && __GNUC__ < 13  // as in vector.h
using _Float16 = __fp16;
#endif

inline double read(const void* array, int64_t i, Storage storage) {
  if (storage == Storage::float32) return static_cast<const float*>(array)[i];
  if (storage == Storage::float16) return static_cast<const _Float16*>(array)[i];
  const uint32_t bits = static_cast<uint32_t>(static_cast<const uint16_t*>(array)[i]) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline void write(void* array, int64_t i, double value, Storage storage) {
  const float single = static_cast<float>(value);
  if (storage == Storage::float32) {
    static_cast<float*>(array)[i] = single;
  } else if (storage == Storage::float16) {
    static_cast<_Float16*>(array)[i] = static_cast<_Float16>(single);
  } else {
    uint32_t bits;
    std::memcpy(&bits, &single, sizeof bits);
    const bool nan = (bits & 0x7fffffff) > 0x7f800000;
    static_cast<uint16_t*>(array)[i] = nan ? bits >> 16 | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  }
}

// The position of the image that position q of the padded image repeats, or -1 where it holds a zero.
inline int64_t source(int64_t q, int64_t n, int64_t low, int64_t high, Mode mode) {
  const int64_t i = q - low;
  switch (mode) {
    case Mode::zeros: return i >= 0 && i < n ? i : -1;
    case Mode::replicate: return i < 0 ? 0 : i >= n ? n - 1 : i;
    case Mode::reflect: return i < 0 ? -i : i >= n ? 2 * (n - 1) - i : i;
    case Mode::symmetric: return i < 0 ? -i - 1 : i >= n ? 2 * n - 1 - i : i;
    case Mode::circular: {  // what a crop leaves of the image wraps around
      const int64_t first = low < 0 ? -low : 0;
      const int64_t left = n - first - (high < 0 ? -high : 0);
      return first + ((i - first) % left + left) % left;
    }
  }
  return -1;
}

// One op: a and b are its arguments in their order (x and w, w and y, x and y). Where the problem has a bias, it is
// read by `output` and its gradient written by `weight`.
inline void compute(Op op, const Problem& p, const void* a, const void* b, void* bias, void* result) {
  const int64_t per_in = p.in_channels / p.groups, per_out = p.out_channels / p.groups;
  int64_t pixels = 1, places = 1, taps = 1;
  for (int axis = 0; axis < 3; ++axis) {
    pixels *= p.x_size[axis];
    places *= p.y_size[axis];
    taps *= p.kernel[axis];
  }
  const int64_t count = op == Op::output  ? p.batch * p.out_channels * places
                        : op == Op::input ? p.batch * p.in_channels * pixels
                                          : p.out_channels * per_in * taps;
  std::vector<double> sums(count), bias_sums(p.out_channels);
  auto image = [&](int64_t n, int64_t c, int64_t pixel, int64_t channels, int64_t size) {
    return p.channels_last ? (n * size + pixel) * channels + c : (n * channels + c) * size + pixel;
  };
  for (int64_t n = 0; n < p.batch; ++n) {
    for (int64_t o = 0; o < p.out_channels; ++o) {
      for (int64_t place = 0; place < places; ++place) {
        const int64_t at[3] = {place / (p.y_size[1] * p.y_size[2]), place / p.y_size[2] % p.y_size[1],
                               place % p.y_size[2]};
        const int64_t y = image(n, o, place, p.out_channels, places);
        if (op == Op::output && p.bias) sums[y] += read(bias, o, p.storage);
        if (op == Op::weight) bias_sums[o] += read(b, y, p.storage);
        for (int64_t tap = 0; tap < taps; ++tap) {
          const int64_t t[3] = {tap / (p.kernel[1] * p.kernel[2]), tap / p.kernel[2] % p.kernel[1], tap % p.kernel[2]};
          int64_t pixel = 0;
          bool padding = false;
          for (int axis = 0; axis < 3; ++axis) {
            const int64_t i = source(at[axis] * p.stride[axis] + t[axis] * p.dilation[axis], p.x_size[axis],
                                     p.low[axis], p.high[axis], p.mode);
            padding = padding || i < 0;
            pixel = pixel * p.x_size[axis] + i;
          }
          for (int64_t c = 0; c < per_in; ++c) {
            const int64_t w = (o * per_in + c) * taps + tap;
            if (padding) {
              // A zero times what is not finite is not a number.
              if (op == Op::output) sums[y] += 0 * read(b, w, p.storage);
              if (op == Op::weight) sums[w] += 0 * read(b, y, p.storage);
              continue;
            }
            const int64_t x = image(n, o / per_out * per_in + c, pixel, p.in_channels, pixels);
            if (op == Op::output) sums[y] += read(a, x, p.storage) * read(b, w, p.storage);
            if (op == Op::input) sums[x] += read(a, w, p.storage) * read(b, y, p.storage);
            if (op == Op::weight) sums[w] += read(a, x, p.storage) * read(b, y, p.storage);
          }
        }
      }
    }
  }
  for (int64_t i = 0; i < count; ++i) write(result, i, sums[i], p.storage);
  if (op != Op::weight || !p.bias) return;
  for (int64_t o = 0; o < p.out_channels; ++o) write(bias, o, bias_sums[o], p.storage);
}

}  // namespace naive
