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

// Vectors of 16-bit floats, as of float32 in vector.h: the first n lanes, and nothing beyond them in memory.
#if defined(__AVX512F__)
JAXCONV_INLINE __m256i load_bits(const void* p, int64_t n) {
  return n >= kLanes ? _mm256_loadu_si256(static_cast<const __m256i*>(p))
                     : _mm256_maskz_loadu_epi16(n > 0 ? (1 << n) - 1 : 0, p);
}
JAXCONV_INLINE void store_bits(void* p, __m256i bits, int64_t n) {
  if (n >= kLanes) return _mm256_storeu_si256(static_cast<__m256i*>(p), bits);
  _mm256_mask_storeu_epi16(p, n > 0 ? (1 << n) - 1 : 0, bits);
}
// All lanes, by a mask: of the forms without one GCC 12 warns that they read what they do not.
constexpr __mmask16 kEveryLane = 0xffff;
JAXCONV_INLINE __m512i shifted_right(__m512i bits) { return _mm512_maskz_srli_epi32(kEveryLane, bits, 16); }
JAXCONV_INLINE Vec load_first(const BFloat16* p, int64_t n) {
  const __m512i bits = _mm512_maskz_cvtepu16_epi32(kEveryLane, load_bits(p, n));
  return _mm512_castsi512_ps(_mm512_maskz_slli_epi32(kEveryLane, bits, 16));
}
JAXCONV_INLINE Vec load_first(const _Float16* p, int64_t n) {
  return _mm512_maskz_cvtph_ps(kEveryLane, load_bits(p, n));
}
JAXCONV_INLINE void store_first(BFloat16* p, Vec v, int64_t n) {
  // As `write` rounds.
  const __m512i bits = _mm512_castps_si512(v), upper = shifted_right(bits), one = _mm512_set1_epi32(1);
  const __m512i half = _mm512_add_epi32(_mm512_set1_epi32(0x7fff), _mm512_and_si512(upper, one));
  const __m512i rounded = shifted_right(_mm512_add_epi32(bits, half));
  const __m512i of_nan = _mm512_or_si512(upper, _mm512_set1_epi32(0x40));
  const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
  store_bits(p, _mm512_maskz_cvtepi32_epi16(kEveryLane, _mm512_mask_blend_epi32(nan, rounded, of_nan)), n);
}
JAXCONV_INLINE void store_first(_Float16* p, Vec v, int64_t n) {
  store_bits(p, _mm512_maskz_cvtps_ph(kEveryLane, v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), n);
}
#else
template <class T>
JAXCONV_INLINE Vec load_first(const T* p, int64_t n) {
  Vec v = {};
  if (n >= kLanes) {
    for (int i = 0; i < kLanes; ++i) v[i] = read(p[i]);
  } else {
    for (int64_t i = 0; i < n; ++i) v[i] = read(p[i]);
  }
  return v;
}
template <class T>
JAXCONV_INLINE void store_first(T* p, Vec v, int64_t n) {
  for (int i = 0; i < min(n, kLanes); ++i) write(p + i, v[i]);
}
#endif

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
