// The maxima of windows and the taps that they are at, and what is added back at these taps.
//
//   maxima  x        -> y, which   the largest number of each window, and the number of its tap in row order: that of
//                                  the first of equal ones, or of the last NaN
//   put     which, g -> x          for each position of x the sum of the g whose window has its maximum there
//
// A window that misses x has a maximum of minus infinity, at a tap that is no position of x. Nothing is read to be
// added to: a position of x looks at the windows that cover it, which are few, in their order. So the bits of a sum do
// not depend on how the work is cut.
//
// Where the channels come last, the lanes of a vector are channels. Otherwise they are neighbours in a row. A row's
// taps are then merged along it first, once for all the windows that the row is in; with a stride the row is copied to
// lines of its own, one for each phase of the stride, in which the taps of neighbouring windows are neighbours.
#pragma once

#include <cmath>

#include "forms/form.h"
#include "memory.h"
#include "storage.h"

namespace jaxconv::JAXCONV_ISA {
namespace {

// -- one axis --------------------------------------------------------------------------------------------------------

struct PoolAxis {
  int64_t x, y, kernel, stride, low, dilation;

  PoolAxis(const Pooling& p, int a)
      : x(p.x_size[a]),
        y(p.y_size[a]),
        kernel(p.kernel[a]),
        stride(p.stride[a]),
        low(p.low[a]),
        dilation(p.dilation[a]) {}

  int64_t reach() const { return dilation * (kernel - 1); }
  int64_t at(int64_t window, int64_t tap) const { return window * stride + tap * dilation - low; }

  // The taps of a window that are in x.
  Range taps(int64_t window) const {
    const int64_t first = at(window, 0), last = first + reach();
    if (first >= 0 && last < x) return {0, kernel};
    const int64_t begin = first < 0 ? ceil_div(-first, dilation) : 0;
    const int64_t end = min(kernel, first < x ? (x - 1 - first) / dilation + 1 : 0);
    return {begin, max(begin, end)};
  }

  // The number of a tap that is in x, where there is one.
  int64_t first(int64_t window) const {
    const Range in_x = taps(window);
    return in_x.size() > 0 ? in_x.begin : 0;
  }

  // The windows that span a position.
  Range windows(int64_t position) const {
    const int64_t padded = position + low;
    const int64_t begin = max(ceil_div(padded - reach(), stride), 0);
    return {begin, max(begin, min(padded / stride + 1, y))};
  }

  // f(window, tap) for each window that covers a position, from the first window on.
  template <class F>
  JAXCONV_INLINE void for_each_window(int64_t position, const F& f) const {
    const Range spanning = windows(position);
    for (int64_t o = spanning.begin; o < spanning.end; ++o) {
      const int64_t distance = position + low - o * stride;
      if (dilation == 1) {
        f(o, distance);
      } else if (distance % dilation == 0) {
        f(o, distance / dilation);
      }
    }
  }
};

// -- numbers in vectors ----------------------------------------------------------------------------------------------

// Where v is to take the place of the best so far: it is larger, or NaN.
#if defined(__AVX512F__)
using Mask = __mmask16;
JAXCONV_INLINE Mask wins(Vec v, Vec best) {
  return _mm512_cmp_ps_mask(v, best, _CMP_GT_OQ) | _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
}
JAXCONV_INLINE Vec select(Mask mask, Vec a, Vec b) { return _mm512_mask_blend_ps(mask, b, a); }
JAXCONV_INLINE Lanes select(Mask mask, Lanes a, Lanes b) {
  return reinterpret_cast<Lanes>(
      _mm512_mask_blend_epi32(mask, reinterpret_cast<__m512i>(b), reinterpret_cast<__m512i>(a)));
}
#else
using Mask = Lanes;
JAXCONV_INLINE Mask wins(Vec v, Vec best) { return (v > best) | (v != v); }
JAXCONV_INLINE Vec select(Mask mask, Vec a, Vec b) { return mask ? a : b; }
JAXCONV_INLINE Lanes select(Mask mask, Lanes a, Lanes b) { return mask ? a : b; }
#endif

// `sum`, and v added in the lanes whose byte is `tap`.
JAXCONV_INLINE Vec add_where(Vec sum, Vec v, const uint8_t* bytes, int64_t n, int tap) {
#if defined(__AVX512F__)
  const __mmask16 there = n >= kLanes ? 0xffff : (1 << n) - 1;
  const __m128i which = _mm_maskz_loadu_epi8(there, bytes);
  const __mmask16 equal = _mm_mask_cmpeq_epi8_mask(there, which, _mm_set1_epi8(static_cast<char>(tap)));
  return _mm512_mask_add_ps(sum, equal, sum, v);
#else
  Lanes which;
  if (n >= kLanes) {
    for (int i = 0; i < kLanes; ++i) which[i] = bytes[i];
  } else {
    for (int i = 0; i < kLanes; ++i) which[i] = i < n ? bytes[i] : -1;
  }
  return select(which == tap, sum + v, sum);
#endif
}

JAXCONV_INLINE void store_bytes(uint8_t* p, Lanes lanes, int64_t n) {
#if defined(__AVX512F__)
  const __mmask16 there = n >= kLanes ? 0xffff : (1 << n) - 1;
  _mm512_mask_cvtepi32_storeu_epi8(p, there, reinterpret_cast<__m512i>(lanes));
#else
  for (int i = 0; i < min(n, kLanes); ++i) p[i] = static_cast<uint8_t>(lanes[i]);
#endif
}

JAXCONV_INLINE Lanes load_lanes(const int32_t* p) {
  Lanes lanes;
  std::memcpy(&lanes, p, sizeof lanes);
  return lanes;
}
JAXCONV_INLINE Lanes all_lanes(int64_t n) { return Lanes{} + static_cast<int32_t>(n); }

// -- channels last ---------------------------------------------------------------------------------------------------

// f(first channel, count of vectors as a type, channels in the last) for all channels.
template <class F>
JAXCONV_INLINE void for_each_channels(int64_t channels, const F& f) {
  constexpr int kMost = 4;
  int64_t c = 0;
  for (; c + kMost * kLanes <= channels; c += kMost * kLanes) f(c, std::integral_constant<int, kMost>(), kLanes);
  for (; c < channels; c += kLanes) f(c, std::integral_constant<int, 1>(), min(channels - c, kLanes));
}

// The rows of one of the arrays, in as many jobs as are worth it: f(image, plane, row) for each.
template <class F>
void for_each_row(const Pooling& p, const int64_t (&size)[3], Parallel* threads, const F& f) {
  const int64_t rows = p.batch * size[0] * size[1];
  const int64_t jobs = max(min(rows, rows * size[2] * p.channels / kPoolJob), 1);
  parallel(threads, jobs, [&](int64_t job) {
    const Range own = part(rows, jobs, job);
    for (int64_t r = own.begin; r < own.end; ++r) f(r / size[1] / size[0], r / size[1] % size[0], r % size[1]);
    streaming_fence();
  });
}

template <class T, bool Indexed>
void maxima_of_channels(const Pooling& p, const T* x, T* y, uint8_t* which, Parallel* threads) {
  const PoolAxis depth(p, 0), height(p, 1), width(p, 2);
  const View<const T> source = images(x, p.channels, p.x_size, true);
  for_each_row(p, p.y_size, threads, [&](int64_t image, int64_t o0, int64_t o1) {
    const Range planes = depth.taps(o0), rows = height.taps(o1);
    const int64_t first_row = depth.first(o0) * height.kernel + height.first(o1);
    int64_t to = ((image * depth.y + o0) * height.y + o1) * width.y * p.channels;
    for (int64_t o2 = 0; o2 < width.y; ++o2, to += p.channels) {
      const Range columns = width.taps(o2);
      const int64_t first = first_row * width.kernel + width.first(o2);
      for_each_channels(p.channels, [&](int64_t c, auto vectors, int64_t last) {
        constexpr int V = vectors;
        auto count = [&](int v) { return v == V - 1 ? last : kLanes; };
        Vec best[V];
        Lanes at[V];
        for (int v = 0; v < V; ++v) best[v] = Vec{} - INFINITY, at[v] = all_lanes(first);
        for (int64_t t0 = planes.begin; t0 < planes.end; ++t0) {
          for (int64_t t1 = rows.begin; t1 < rows.end; ++t1) {
            const T* const row = source.data + image * source.batch + depth.at(o0, t0) * source.axis[0] +
                                 height.at(o1, t1) * source.axis[1] + c;
            int64_t tap = (t0 * height.kernel + t1) * width.kernel + columns.begin;
            for (int64_t t2 = columns.begin; t2 < columns.end; ++t2, ++tap) {
              const T* const from = row + width.at(o2, t2) * p.channels;
#pragma GCC unroll 4
              for (int v = 0; v < V; ++v) {
                const Vec value = load_first(from + v * kLanes, count(v));
                const Mask take = wins(value, best[v]);
                best[v] = select(take, value, best[v]);
                if (Indexed) at[v] = select(take, all_lanes(tap), at[v]);
              }
            }
          }
        }
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
          store_first(y + to + c + v * kLanes, best[v], count(v));
          if (Indexed) store_bytes(which + to + c + v * kLanes, at[v], count(v));
        }
      });
    }
  });
}

// The windows that cover each position of an axis: begin[i] to begin[i + 1] of these are those of position i.
struct Covers {
  int64_t* begin;
  int64_t* windows;
  int64_t* taps;

  Covers(const PoolAxis& axis, Buffer* buffer) {
    begin = buffer->get<int64_t>(axis.x + 1 + 2 * axis.y * axis.kernel);
    windows = begin + axis.x + 1, taps = windows + axis.y * axis.kernel;
    int64_t count = 0;
    for (int64_t i = 0; i < axis.x; ++i) {
      begin[i] = count;
      axis.for_each_window(i, [&](int64_t window, int64_t tap) { windows[count] = window, taps[count++] = tap; });
    }
    begin[axis.x] = count;
  }
};

template <class T>
void put_to_channels(const Pooling& p, const uint8_t* which, const T* g, T* x, Parallel* threads) {
  const PoolAxis depth(p, 0), height(p, 1), width(p, 2);
  const Covers covers(width, &workspace().taps);
  const int64_t row_size = width.y * p.channels;
  const bool streaming = uses_streaming_stores(images(x, p.channels, p.x_size, true), p.batch, p.channels);
  for_each_row(p, p.x_size, threads, [&](int64_t image, int64_t i0, int64_t i1) {
    struct {
      int64_t offset, tap;
    } rows[kPoolTaps];
    int count = 0;
    depth.for_each_window(i0, [&](int64_t o0, int64_t t0) {
      height.for_each_window(i1, [&](int64_t o1, int64_t t1) {
        rows[count++] = {((image * depth.y + o0) * height.y + o1) * row_size, (t0 * height.kernel + t1) * width.kernel};
      });
    });
    T* to = x + ((image * depth.x + i0) * height.x + i1) * width.x * p.channels;
    for (int64_t i2 = 0; i2 < width.x; ++i2, to += p.channels) {
      for_each_channels(p.channels, [&](int64_t c, auto vectors, int64_t last) {
        constexpr int V = vectors;
        Vec sum[V] = {};
        for (int r = 0; r < count; ++r) {
          for (int64_t k = covers.begin[i2]; k < covers.begin[i2 + 1]; ++k) {
            const int64_t from = rows[r].offset + covers.windows[k] * p.channels + c;
            const int tap = static_cast<int>(rows[r].tap + covers.taps[k]);
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) {
              const int64_t n = v == V - 1 ? last : kLanes;
              sum[v] = add_where(sum[v], load_first(g + from + v * kLanes, n), which + from + v * kLanes, n, tap);
            }
          }
        }
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
          if (streaming) {
            store_streaming(as_float(to) + c + v * kLanes, sum[v]);
          } else {
            store_first(to + c + v * kLanes, sum[v], v == V - 1 ? last : kLanes);
          }
        }
      });
    }
  });
}

// -- channels first --------------------------------------------------------------------------------------------------

// out[i] = in[i * step] for i < n, as float32.
template <class T>
JAXCONV_INLINE void copy_each(float* out, const T* in, int64_t step, int64_t n) {
  if (step == 1) {
    for (int64_t i = 0; i < n; i += kLanes) store_first(out + i, load_first(in + i, n - i), n - i);
  } else if (step == 2) {
    for (int64_t i = 0; i < n; i += kLanes) {
      const T* const from = in + 2 * i;
      const int64_t left = 2 * (n - i) - 1;  // up to the last that is taken
      const Vec a = load_first(from, left), b = load_first(from + kLanes, left - kLanes);
      store_first(out + i, every_second(a, b, AllLanes()), n - i);
    }
  } else {
    for (int64_t i = 0; i < n; ++i) out[i] = read(in[i * step]);
  }
}

// The planes of an array, and in planes that are large and few parts of their rows: f(first plane, end, slice, Range).
template <class F>
void for_each_planes(const Pooling& p, const int64_t (&size)[3], Parallel* threads, const F& f) {
  const int64_t planes = p.batch * p.channels, plane = size[0] * size[1] * size[2];
  const int64_t chunks = max(min(planes, planes * plane / kPoolJob), 1);
  const int64_t parts = max(min(size[1], min(kPoolJobs / (chunks * size[0]), size[1] * size[2] / kPoolJob)), 1);
  parallel(threads, chunks * size[0] * parts, [&](int64_t job) {
    f(part(planes, chunks, job / parts / size[0]), job / parts % size[0], part(size[1], parts, job % parts));
  });
}

// Lines of a row of x with its padding, one for each phase of the stride that a tap is in: number o of taps[t] is what
// tap t of window o reads.
struct Lines {
  int64_t stride, count = 0;
  struct {
    int64_t phase;
    float* to;              // the first of its numbers that is in x
    int64_t first, length;  // where that is, and how many there are
  } lines[kPoolTaps];
  const float* taps[kPoolTaps];

  Lines(const PoolAxis& axis, Buffer* buffer) : stride(axis.stride) {
    int64_t line[kPoolTaps];
    for (int64_t t = 0; t < axis.kernel; ++t) {
      const int64_t phase = t * axis.dilation % stride;
      for (line[t] = 0; line[t] < count && lines[line[t]].phase != phase;) ++line[t];
      if (line[t] == count) lines[count++].phase = phase;
    }
    const int64_t pitch = round_up(axis.y, kLanes) + axis.reach() / stride;
    float* const data = buffer->get(count * pitch);
    for (int64_t i = 0; i < count * pitch; ++i) data[i] = -INFINITY;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t before = axis.low - lines[i].phase;
      const int64_t begin = max(ceil_div(before, stride), 0), end = min(ceil_div(axis.x + before, stride), pitch);
      lines[i].to = data + i * pitch + begin;
      lines[i].first = begin * stride - before;
      lines[i].length = max(end - begin, 0);
    }
    for (int64_t t = 0; t < axis.kernel; ++t) taps[t] = data + line[t] * pitch + t * axis.dilation / stride;
  }

  template <class T>
  JAXCONV_INLINE void take(const T* row) {
    for (int64_t i = 0; i < count; ++i) copy_each(lines[i].to, row + lines[i].first, stride, lines[i].length);
  }
};

template <class T, bool Indexed>
void maxima_of_rows(const Pooling& p, const T* x, T* y, uint8_t* which, Parallel* threads) {
  const PoolAxis depth(p, 0), height(p, 1), width(p, 2);
  const int64_t pitch = round_up(width.y, kLanes), slots = min(height.reach() + 1, height.x);
  // The tap of each window before any is looked at.
  int32_t* const first = workspace().taps.get<int32_t>(pitch);
  for (int64_t o2 = 0; o2 < pitch; ++o2) first[o2] = o2 < width.y ? static_cast<int32_t>(width.first(o2)) : 0;
  for_each_planes(p, p.y_size, threads, [&](Range planes, int64_t o0, Range rows) {
    Lines lines(width, &workspace().row);
    // Maxima along the rows that a window has, by row modulo `slots`, and their taps.
    float* const values = workspace().strip.get(depth.kernel * slots * pitch);
    int32_t* const places = workspace().gradient.get<int32_t>(depth.kernel * slots * pitch);
    const Range slices = depth.taps(o0);
    for (int64_t plane = planes.begin; plane < planes.end; ++plane) {
      int64_t merged = 0;  // rows before this one are
      for (int64_t o1 = rows.begin; o1 < rows.end; ++o1) {
        const Range taps = height.taps(o1);
        // With a dilation the rows between the taps are those of the next windows.
        const int64_t end = taps.size() > 0 ? height.at(o1, taps.end - 1) + 1 : 0;
        for (int64_t i1 = max(merged, height.at(o1, 0)); i1 < end; ++i1) {
          for (int64_t t0 = slices.begin; t0 < slices.end; ++t0) {
            lines.take(x + ((plane * depth.x + depth.at(o0, t0)) * height.x + i1) * width.x);
            const int64_t to = (t0 * slots + i1 % slots) * pitch;
            for (int64_t o2 = 0; o2 < width.y; o2 += kLanes) {
              Vec best = Vec{} - INFINITY;
              Lanes at = load_lanes(first + o2);
              for (int64_t t2 = 0; t2 < width.kernel; ++t2) {
                const Vec value = load(lines.taps[t2] + o2);
                const Mask take = wins(value, best);
                best = select(take, value, best);
                if (Indexed) at = select(take, all_lanes(t2), at);
              }
              store(values + to + o2, best);
              if (Indexed) std::memcpy(places + to + o2, &at, sizeof at);
            }
          }
        }
        merged = max(merged, end);

        struct {
          int64_t offset, tap;
        } merges[kPoolTaps];
        int count = 0;
        for (int64_t t0 = slices.begin; t0 < slices.end; ++t0) {
          for (int64_t t1 = taps.begin; t1 < taps.end; ++t1) {
            const int64_t row = t0 * slots + height.at(o1, t1) % slots;
            merges[count++] = {row * pitch, (t0 * height.kernel + t1) * width.kernel};
          }
        }
        const int64_t to = ((plane * depth.y + o0) * height.y + o1) * width.y;
        for (int64_t o2 = 0; o2 < width.y; o2 += kLanes) {
          Vec best = Vec{} - INFINITY;
          Lanes at = load_lanes(first + o2);
          for (int i = 0; i < count; ++i) {
            const int64_t from = merges[i].offset + o2;
            const Vec value = load(values + from);
            const Mask take = wins(value, best);
            best = select(take, value, best);
            if (Indexed) {
              const Lanes place = load_lanes(places + from) + all_lanes(merges[i].tap);
              at = i == 0 ? place : select(take, place, at);
            }
          }
          store_first(y + to + o2, best, width.y - o2);
          if (Indexed) store_bytes(which + to + o2, at, width.y - o2);
        }
      }
    }
  });
}

// What a row of x receives from the taps that are in one phase of the stride: position stride * q + phase gets number
// q of each of these rows of g, where `which` says so.
struct Senders {
  int64_t phase, count;
  struct {
    const float* g;
    const uint8_t* which;
    int tap;
  } from[kPoolTaps];

  JAXCONV_INLINE Vec sum(int64_t q) const {
    Vec total = {};
    for (int64_t k = 0; k < count; ++k) {
      total = add_where(total, load(from[k].g + q), from[k].which + q, kLanes, from[k].tap);
    }
    return total;
  }
};

// The phases of the stride of a row that a tap is in, and for each tap: in position stride * q + phase it is that of
// window q + shift.
struct Phases {
  int64_t count = 0, low = 0, high = 0;                       // phases; how far the shifts go
  int64_t phase[kPoolTaps], of[kPoolTaps], shift[kPoolTaps];  // by phase; by tap

  explicit Phases(const PoolAxis& axis) {
    for (int64_t t = 0; t < axis.kernel; ++t) {
      const int64_t offset = axis.at(0, t), own = (offset % axis.stride + axis.stride) % axis.stride;
      for (of[t] = 0; of[t] < count && phase[of[t]] != own;) ++of[t];
      if (of[t] == count) phase[count++] = own;
      shift[t] = (own - offset) / axis.stride;
      low = max(low, -shift[t]), high = max(high, shift[t]);
    }
  }
};

template <class T>
void put_to_rows(const Pooling& p, const uint8_t* which, const T* g, T* x, Parallel* threads) {
  const PoolAxis depth(p, 0), height(p, 1), width(p, 2);
  const Phases phases(width);
  const int64_t steps = round_up(ceil_div(width.x, width.stride), kLanes);
  const int64_t pitch = phases.low + max(steps + phases.high, width.y);
  const int64_t slots = min(height.reach() / height.stride + 1, height.y);
  for_each_planes(p, p.x_size, threads, [&](Range planes, int64_t i0, Range rows) {
    // Rows of g between zeros, by row modulo `slots`, and of `which` between bytes that are no tap's.
    const int64_t numbers = depth.kernel * slots * pitch;
    float* const gradients = workspace().gradient.get(numbers);
    uint8_t* const places = workspace().strip.get<uint8_t>(numbers);
    std::memset(gradients, 0, numbers * sizeof(float));
    std::memset(places, kPoolTaps, numbers);
    float* const spread = workspace().row.get(width.x);
    Senders* const senders = workspace().taps.get<Senders>(phases.count);
    for (int64_t s = 0; s < phases.count; ++s) senders[s].phase = phases.phase[s];
    for (int64_t plane = planes.begin; plane < planes.end; ++plane) {
      int64_t copied = 0;  // rows before this one are
      for (int64_t i1 = rows.begin; i1 < rows.end; ++i1) {
        const Range windows = height.windows(i1);
        for (int64_t s = 0; s < phases.count; ++s) senders[s].count = 0;
        depth.for_each_window(i0, [&](int64_t o0, int64_t t0) {
          for (int64_t o1 = max(copied, windows.begin); o1 < windows.end; ++o1) {
            const int64_t from = ((plane * depth.y + o0) * height.y + o1) * width.y;
            const int64_t to = (t0 * slots + o1 % slots) * pitch + phases.low;
            copy_each(gradients + to, g + from, 1, width.y);
            std::memcpy(places + to, which + from, width.y);
          }
          height.for_each_window(i1, [&](int64_t o1, int64_t t1) {
            const int64_t row = (t0 * slots + o1 % slots) * pitch + phases.low;
            const int64_t tap = (t0 * height.kernel + t1) * width.kernel;
            // From the first window on, whose taps are the last.
            for (int64_t t2 = width.kernel - 1; t2 >= 0; --t2) {
              Senders& own = senders[phases.of[t2]];
              const int64_t from = row + phases.shift[t2];
              own.from[own.count++] = {gradients + from, places + from, static_cast<int>(tap + t2)};
            }
          });
        });
        copied = max(copied, windows.end);

        T* const to = x + ((plane * depth.x + i0) * height.x + i1) * width.x;
        if (width.stride == 1) {
          for (int64_t q = 0; q < width.x; q += kLanes) store_first(to + q, senders[0].sum(q), width.x - q);
        } else if (width.stride == 2 && phases.count == 2) {
          const Senders &even = senders[phases.phase[0]], &odd = senders[1 - phases.phase[0]];
          for (int64_t q = 0; 2 * q < width.x; q += kLanes) {
            const Vec a = even.sum(q), b = odd.sum(q);
            const int64_t left = width.x - 2 * q;
            store_first(to + 2 * q, in_turn<false>(a, b, AllLanes()), left);
            store_first(to + 2 * q + kLanes, in_turn<true>(a, b, AllLanes()), left - kLanes);
          }
        } else {
          std::memset(spread, 0, width.x * sizeof(float));
          for (int64_t s = 0; s < phases.count; ++s) {
            for (int64_t q = 0; q * width.stride + senders[s].phase < width.x; q += kLanes) {
              const Vec sum = senders[s].sum(q);
              float* const first = spread + q * width.stride + senders[s].phase;
              const int64_t n = min(ceil_div(spread + width.x - first, width.stride), kLanes);
              for (int64_t i = 0; i < n; ++i) first[i * width.stride] = sum[i];
            }
          }
          for (int64_t i = 0; i < width.x; i += kLanes)
            store_first(to + i, load_first(spread + i, width.x - i), width.x - i);
        }
      }
    }
  });
}

// -- both ------------------------------------------------------------------------------------------------------------

// Whether the lanes of a vector are channels. A single one is last and first at once.
inline bool along_channels(const Pooling& p) { return p.channels_last && p.channels > 1; }

template <class T>
void maxima(const Pooling& p, const T* x, T* y, uint8_t* which, Parallel* threads) {
  const auto run = along_channels(p) ? which ? maxima_of_channels<T, true> : maxima_of_channels<T, false>
                   : which           ? maxima_of_rows<T, true>
                                     : maxima_of_rows<T, false>;
  run(p, x, y, which, threads);
}

template <class T>
void put(const Pooling& p, const uint8_t* which, const T* g, T* x, Parallel* threads) {
  (along_channels(p) ? put_to_channels<T> : put_to_rows<T>)(p, which, g, x, threads);
}

}  // namespace
}  // namespace jaxconv::JAXCONV_ISA
