// Vectors of float32 as wide as the instruction set has them, and what compilers name differently.
//
// Everything in the kernels' headers is in an unnamed namespace, and no function of std:: is instantiated: they are
// compiled once per instruction set, and the linker would keep one copy of what two translation units share, which may
// be the one that this machine cannot run.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "arithmetic.h"
#include "tuning.h"

namespace jaxconv {
namespace {

// GCC has _Float16 in C++ since version 12 on x86 and since 13 on ARM, where the older name is of the same numbers.
#if defined(__aarch64__) && !defined(__clang__) && __GNUC__ < 13
using _Float16 = __fp16;
#endif

typedef float Vec __attribute__((vector_size(kLanes * 4)));
typedef float UnalignedVec __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

JAXCONV_INLINE Vec load(const float* p) { return *reinterpret_cast<const UnalignedVec*>(p); }
JAXCONV_INLINE void store(float* p, Vec v) { *reinterpret_cast<UnalignedVec*>(p) = v; }

// Asks for n numbers that are read soon. The addresses may be invalid.
JAXCONV_INLINE void prefetch(const float* p, int64_t n) {
  for (int64_t i = 0; i < n; i += 64 / static_cast<int64_t>(sizeof(float))) __builtin_prefetch(p + i, 0, 2);
}

typedef int32_t Lanes __attribute__((vector_size(kLanes * 4)));
using AllLanes = std::make_integer_sequence<int, kLanes>;

#if defined(__AVX2__) && !defined(__AVX512F__)
// All bits of the first n lanes.
JAXCONV_INLINE __m256i first_lanes(int64_t n) {
  const Lanes lanes = {0, 1, 2, 3, 4, 5, 6, 7};
  return reinterpret_cast<__m256i>(lanes < static_cast<int32_t>(n));
}
#endif

// The first n lanes, where a row of channels ends within a vector; none where n is not positive. Memory beyond them is
// neither read nor written.
JAXCONV_INLINE Vec load_first(const float* p, int64_t n) {
  if (n >= kLanes) return load(p);
#if defined(__AVX512F__)
  return _mm512_maskz_loadu_ps(n > 0 ? (1 << n) - 1 : 0, p);
#elif defined(__AVX2__)
  return _mm256_maskload_ps(p, first_lanes(n));
#else
  Vec v = {};
  if (n > 0) std::memcpy(&v, p, n * sizeof(float));
  return v;
#endif
}
JAXCONV_INLINE void store_first(float* p, Vec v, int64_t n) {
  if (n >= kLanes) return store(p, v);
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, n > 0 ? (1 << n) - 1 : 0, v);
#elif defined(__AVX2__)
  _mm256_maskstore_ps(p, first_lanes(n), v);
#else
  if (n > 0) std::memcpy(p, &v, n * sizeof(float));
#endif
}

// Stores past the caches (a streaming or non-temporal store), where a vector is a whole line of them; `p` is the
// beginning of a line. A job that has stored so ends with `streaming_fence`.
#if defined(__AVX512F__)
JAXCONV_INLINE void store_streaming(float* p, Vec v) { _mm512_stream_ps(p, v); }
JAXCONV_INLINE void streaming_fence() { _mm_sfence(); }
#else
JAXCONV_INLINE void store_streaming(float* p, Vec v) { store(p, v); }
JAXCONV_INLINE void streaming_fence() {}
#endif

// Of every 2 H lanes the first H of a and the first H of b, or the last of both: what a transposition exchanges.
template <int H, bool Last, int... J>
JAXCONV_INLINE Vec exchange(Vec a, Vec b, std::integer_sequence<int, J...>) {
  return __builtin_shufflevector(a, b, ((J & H) ? kLanes + (Last ? J : J - H) : (Last ? J + H : J))...);
}

template <int H>
JAXCONV_INLINE void exchange_rows(Vec* rows) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    if (i & H) continue;
    const Vec a = rows[i], b = rows[i | H];
    rows[i] = exchange<H, false>(a, b, AllLanes());
    rows[i | H] = exchange<H, true>(a, b, AllLanes());
  }
}

// Every second number of a and then of b, from the first on.
template <int... J>
JAXCONV_INLINE Vec every_second(Vec a, Vec b, std::integer_sequence<int, J...>) {
  return __builtin_shufflevector(a, b, (2 * J)...);
}
// The numbers of a and b in turn: those of the first half of both, or of the last one.
template <bool Last, int... J>
JAXCONV_INLINE Vec in_turn(Vec a, Vec b, std::integer_sequence<int, J...>) {
  return __builtin_shufflevector(a, b, (J / 2 + (Last ? kLanes / 2 : 0) + (J % 2 ? kLanes : 0))...);
}

// The lanes of v that `from` names. Clang takes them one at a time where it is not told the instruction.
JAXCONV_INLINE Vec pick(Vec v, Lanes from) {
#if !defined(__clang__)
  return __builtin_shuffle(v, from);
#elif defined(__AVX512F__)
  return _mm512_permutexvar_ps(reinterpret_cast<__m512i>(from), v);
#elif defined(__AVX2__)
  return _mm256_permutevar8x32_ps(v, reinterpret_cast<__m256i>(from));
#else
  Vec picked;
  for (int j = 0; j < kLanes; ++j) picked[j] = v[from[j]];
  return picked;
#endif
}

// out[j * out_pitch + i] = in[i * in_pitch + j] for i < rows and j < columns, neither more than there are lanes.
void transpose(float* out, int64_t out_pitch, const float* in, int64_t in_pitch, int64_t rows, int64_t columns) {
  Vec block[kLanes];
  if (rows == kLanes && columns == kLanes) {
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) block[i] = load(in + i * in_pitch);
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) block[i] = i < rows ? load_first(in + i * in_pitch, columns) : Vec{};
  }
  exchange_rows<1>(block);
  exchange_rows<2>(block);
  if constexpr (kLanes > 4) exchange_rows<kLanes == 4 ? 1 : 4>(block);
  if constexpr (kLanes > 8) exchange_rows<kLanes == 16 ? 8 : 1>(block);
  if (rows == kLanes && columns == kLanes) {
#pragma GCC unroll 16
    for (int j = 0; j < kLanes; ++j) store(out + j * out_pitch, block[j]);
  } else {
#pragma GCC unroll 16
    for (int j = 0; j < kLanes; ++j) {
      if (j < columns) store_first(out + j * out_pitch, block[j], rows);
    }
  }
}

}  // namespace
}  // namespace jaxconv
