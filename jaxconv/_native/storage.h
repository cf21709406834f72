// The storage types, how they are read into float32 and written back, and arrays of them.
#pragma once

#include "problem.h"
#include "vector.h"

namespace jaxconv {
namespace {

struct BFloat16 {
  uint16_t bits;
};

JAXCONV_INLINE float read(float v) { return v; }
JAXCONV_INLINE float read(_Float16 v) { return v; }
JAXCONV_INLINE float read(BFloat16 v) {
  const uint32_t bits = static_cast<uint32_t>(v.bits) << 16;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}

JAXCONV_INLINE void write(float* p, float v) { *p = v; }
JAXCONV_INLINE void write(_Float16* p, float v) { *p = static_cast<_Float16>(v); }
JAXCONV_INLINE void write(BFloat16* p, float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, 4);
  // To the nearest, ties to even; a NaN keeps a bit of its payload.
  const bool nan = (bits & 0x7fffffff) > 0x7f800000;
  p->bits = nan ? (bits >> 16 | 0x40) : ((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// The numbers themselves, where they are float32 already; null otherwise.
JAXCONV_INLINE const float* as_float(const float* p) { return p; }
JAXCONV_INLINE float* as_float(float* p) { return p; }
template <class T>
JAXCONV_INLINE const float* as_float(const T*) {
  return nullptr;
}
template <class T>
JAXCONV_INLINE float* as_float(T*) {
  return nullptr;
}

JAXCONV_INLINE void copy(float* out, const float* in, int64_t n) { std::memcpy(out, in, n * sizeof(float)); }
template <class T>
JAXCONV_INLINE void copy(float* out, const T* in, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = read(in[i]);
}

// out[i][c] = in[c][i] for n channels, `channel` apart, and `run` adjacent positions.
JAXCONV_INLINE void transpose_in(float* out, int64_t pitch, const float* in, int64_t channel, int64_t n, int64_t run) {
  for (int64_t c = 0; c < n; c += kLanes) transpose(out + c, pitch, in + c * channel, channel, min(n - c, kLanes), run);
}
template <class T>
JAXCONV_INLINE void transpose_in(float* out, int64_t pitch, const T* in, int64_t channel, int64_t n, int64_t run) {
  for (int64_t c = 0; c < n; ++c) {
    for (int64_t i = 0; i < run; ++i) out[i * pitch + c] = read(in[c * channel + i]);
  }
}
// out[c][i] = in[i][c], the other way.
JAXCONV_INLINE void transpose_out(float* out, int64_t channel, const float* in, int64_t pitch, int64_t n, int64_t run) {
  for (int64_t c = 0; c < n; c += kLanes) transpose(out + c * channel, channel, in + c, pitch, run, min(n - c, kLanes));
}
template <class T>
JAXCONV_INLINE void transpose_out(T* out, int64_t channel, const float* in, int64_t pitch, int64_t n, int64_t run) {
  for (int64_t c = 0; c < n; ++c) {
    for (int64_t i = 0; i < run; ++i) write(out + c * channel + i, in[i * pitch + c]);
  }
}

// An array seen along its axes: strides in elements of the batch, of the three spatial axes and of the channels.
template <class T>
struct View {
  T* data;
  int64_t batch, axis[3], channel;
};

template <class T>
View<T> images(T* data, int64_t channels, const int64_t size[3], bool channels_last) {
  const int64_t pixels = size[0] * size[1] * size[2];
  const int64_t each = channels_last ? channels : 1;
  return {data, pixels * channels, {size[1] * size[2] * each, size[2] * each, each}, channels_last ? 1 : pixels};
}

// `count` channels of one image, from `channel` on.
struct Slice {
  int64_t image, channel, count;
};

}  // namespace
}  // namespace jaxconv
