// Whole numbers, and how a whole is cut into parts.
#pragma once

#include <cstdint>

#define JAXCONV_INLINE inline __attribute__((always_inline))

namespace jaxconv {
namespace {

JAXCONV_INLINE int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
JAXCONV_INLINE int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }
// The least whole number that is not below a / b, for b > 0; a may be negative.
JAXCONV_INLINE int64_t ceil_div(int64_t a, int64_t b) { return a / b + (a % b > 0); }
JAXCONV_INLINE int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

struct Range {
  int64_t begin, end;

  int64_t size() const { return end - begin; }
};

// Part i of n parts of a whole. Their sizes differ by at most one.
JAXCONV_INLINE Range part(int64_t whole, int64_t n, int64_t i) { return {whole * i / n, whole * (i + 1) / n}; }

// f(Range) for each of the fewest such parts that have at most `largest` elements.
template <class F>
JAXCONV_INLINE void for_each_part(int64_t whole, int64_t largest, const F& f) {
  const int64_t n = ceil_div(whole, largest);
  for (int64_t i = 0, begin = 0; i < n; ++i) {
    const int64_t end = whole * (i + 1) / n;
    f(Range{begin, end});
    begin = end;
  }
}

}  // namespace
}  // namespace jaxconv
