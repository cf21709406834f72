// Few channels of the target in a group, of a wide image: the lanes of a vector are adjacent positions of one channel,
// and a weight is broadcast. Images whose channels come first lie that way already.
//
// A strip is one plane after another, channels first; with a step beyond one, a row holds the positions of each phase
// of the step side by side, so that what a vector reads is adjacent.
#pragma once

#include "forms/dense.h"

namespace jaxconv {
namespace {

// The largest tile kept in registers: channels of the target, and vectors of positions that meet a broadcast weight.
constexpr int kPlanarTargets = 4;
#if defined(__AVX512F__)
constexpr int kPlanarVectors[] = {0, 8, 8, 6, 6};
#else
constexpr int kPlanarVectors[] = {0, 8, 4, 3, 3};
#endif
constexpr int64_t kPlanarBytes = 192 << 10;

// out[t][i] = base[t] + sum over channels and taps of source[channel][i] w, for T channels of the target and V vectors,
// of which n positions are wanted. Nothing is added where `base` is null.
template <int T, int V>
void planar_tile(const float* source, int64_t channel, int64_t channels, const int64_t* taps, int64_t count,
                 const float* w, float* out, int64_t plane, int64_t n, const float* base) {
  Vec sum[T][V] = {};
  for (int64_t c = 0; c < channels; ++c, source += channel) {
    for (int64_t tap = 0; tap < count; ++tap, w += T) {
      const float* a = source + taps[tap];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) {
        const Vec values = load(a + v * kLanes);
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) sum[t][v] += values * w[t];
      }
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      store_first(out + t * plane + v * kLanes, base ? sum[t][v] + base[t] : sum[t][v], n - v * kLanes);
    }
  }
}

// The same for one channel of the target and R adjacent rows of it, `row` apart in the source and `out_row` in the
// target: a short row alone would leave the multipliers waiting for each other.
template <int R, int V>
void planar_rows_tile(const float* source, int64_t channel, int64_t channels, int64_t row, const int64_t* taps,
                      int64_t count, const float* w, float* out, int64_t out_row, int64_t n, const float* base) {
  Vec sum[R][V] = {};
  for (int64_t c = 0; c < channels; ++c, source += channel) {
    for (int64_t tap = 0; tap < count; ++tap, ++w) {
      const float* a = source + taps[tap];
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) sum[r][v] += load(a + r * row + v * kLanes) * *w;
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      store_first(out + r * out_row + v * kLanes, base ? sum[r][v] + *base : sum[r][v], n - v * kLanes);
    }
  }
}

using PlanarTile = void (*)(const float*, int64_t, int64_t, const int64_t*, int64_t, const float*, float*, int64_t,
                            int64_t, const float*);
#define JAXCONV_PLANAR(T)                                                                         \
  {planar_tile<T, 1>, planar_tile<T, 1>, planar_tile<T, 2>, planar_tile<T, 3>, planar_tile<T, 4>, \
   planar_tile<T, 5>, planar_tile<T, 6>, planar_tile<T, 7>, planar_tile<T, 8>}
constexpr PlanarTile kPlanarTiles[kPlanarTargets + 1][9] = {
    {}, JAXCONV_PLANAR(1), JAXCONV_PLANAR(2), JAXCONV_PLANAR(3), JAXCONV_PLANAR(4)};
using PlanarRowsTile = void (*)(const float*, int64_t, int64_t, int64_t, const int64_t*, int64_t, const float*, float*,
                                int64_t, int64_t, const float*);
#define JAXCONV_PLANAR_ROWS(R)                                                                     \
  {planar_rows_tile<R, 1>, planar_rows_tile<R, 1>, planar_rows_tile<R, 2>, planar_rows_tile<R, 3>, \
   planar_rows_tile<R, 4>}
constexpr int kPlanarRows = 4, kPlanarRowVectors = 4;
constexpr PlanarRowsTile kPlanarRowsTiles[kPlanarRows + 1][kPlanarRowVectors + 1] = {
    {}, JAXCONV_PLANAR_ROWS(1), JAXCONV_PLANAR_ROWS(2), JAXCONV_PLANAR_ROWS(3), JAXCONV_PLANAR_ROWS(4)};

struct PlanarScratch {
  Buffer strip, row, taps, weights, local;
};

PlanarScratch& planar_scratch() {
  static thread_local PlanarScratch scratch;
  return scratch;
}

// One row of one channel, its phases side by side, `each` numbers for each.
template <class T>
void planar_row(float* out, const T* row, const Places& places, int64_t count, int64_t position, int64_t step,
                int64_t each) {
  if (step == 1) return copy_row(out, row, places, count, 1, 1, position, 1);
  for (int64_t phase = 0; phase < step; ++phase) {
    float* to = out + phase * each;
    for (int64_t i = phase, k = 0; i < count; i += step, ++k) {
      to[k] = places.source[i] < 0 ? 0 : read(row[places.source[i] * position]);
    }
  }
}

// A strip of several channels, and the strides of its channels, planes, rows and phases in floats.
struct PlanarStrip {
  const float* data;
  int64_t channel, plane, row, phase;
};

template <class T>
PlanarStrip make_planar_strip(PlanarScratch* scratch, const View<const T>& from, const Pass& pass,
                              const int64_t first[3], int64_t rows, int64_t width, int64_t batch, int64_t channel,
                              int64_t n) {
  const Axis &deep = pass.axis[0], &high = pass.axis[1], &wide = pass.axis[2];
  const int64_t tall = high.span(rows), long_ = wide.span(width), each = up(long_, wide.step);
  PlanarStrip strip;
  strip.phase = each;
  strip.row = each * wide.step;
  strip.plane = tall * strip.row;
  strip.channel = deep.taps * strip.plane;
  float* out = scratch->strip.get(n * strip.channel);
  strip.data = out;
  const Places places(wide, first[2] * wide.step);
  for (int64_t t = 0; t < deep.taps; ++t) {
    const int64_t z = deep.source[first[0] * deep.step + deep.offset[t]];
    for (int64_t i = 0; i < tall; ++i) {
      const int64_t y = high.source[first[1] * high.step + i];
      float* to = out + t * strip.plane + i * strip.row;
      if (z < 0 || y < 0) {
        for (int64_t c = 0; c < n; ++c) std::memset(to + c * strip.channel, 0, strip.row * sizeof(float));
        continue;
      }
      const T* row = from.data + batch * from.batch + z * from.axis[0] + y * from.axis[1] + channel * from.channel;
      if (from.channel != 1 || n < 4) {
        for (int64_t c = 0; c < n; ++c) {
          planar_row(to + c * strip.channel, row + c * from.channel, places, long_, from.axis[2], wide.step, each);
        }
        continue;
      }
      // Channels last: the row as it lies, and then a transposition in registers.
      float* narrow = scratch->row.get(long_ * n + strip.row * n);
      float* turned = narrow + long_ * n;
      copy_row(narrow, row, places, long_, n, n, from.axis[2], from.channel);
      float* planes = wide.step == 1 ? to : turned;
      const int64_t pitch = wide.step == 1 ? strip.channel : long_;
      for (int64_t i0 = 0; i0 < long_; i0 += kLanes) {
        transpose_out(planes + i0, pitch, narrow + i0 * n, n, n, least(long_ - i0, kLanes));
      }
      if (wide.step == 1) continue;
      for (int64_t c = 0; c < n; ++c) {
        for (int64_t phase = 0; phase < wide.step; ++phase) {
          float* part_of = to + c * strip.channel + phase * each;
          for (int64_t q = phase, k = 0; q < long_; q += wide.step, ++k) part_of[k] = planes[c * long_ + q];
        }
      }
    }
  }
  return strip;
}

// Where the taps lie in a channel of a strip, and which position of the packed kernel each is.
int64_t make_planar_taps(int64_t* where, int64_t* which, const PlanarStrip& strip, const Pass& pass, const Problem& p) {
  int64_t count = 0;
  const int64_t step = pass.axis[2].step;
  for (int64_t z = 0; z < pass.axis[0].taps; ++z) {
    for (int64_t y = 0; y < pass.axis[1].taps; ++y) {
      for (int64_t x = 0; x < pass.axis[2].taps; ++x, ++count) {
        const int64_t offset = pass.axis[2].offset[x];
        where[count] =
            z * strip.plane + pass.axis[1].offset[y] * strip.row + offset % step * strip.phase + offset / step;
        which[count] = (pass.axis[0].tap[z] * p.kernel[1] + pass.axis[1].tap[y]) * p.kernel[2] + pass.axis[2].tap[x];
      }
    }
  }
  return count;
}

// One pass over all images and groups; `w` as in Weights; `bias` and `add` as in dense_pass.
template <class T>
void planar_pass(const Problem& p, const View<const T>& source, const View<T>& target, const Pass& pass,
                 const Blocks& blocks, const Weights& w, const float* bias, bool add, Parallel* threads) {
  const Axis &deep = pass.axis[0], &high = pass.axis[1], &wide = pass.axis[2];
  if (deep.count == 0 || high.count == 0 || wide.count == 0) return;
  const int64_t whole = p.batch * p.groups;
  Cut c = cut(pass, blocks.source, kPlanarBytes, up(8 * threads->threads, whole * deep.count));
  if (add) c = {high.count, wide.count, 1, 1};
  const int64_t pieces = (add ? 1 : deep.count) * c.row_pieces * c.width_pieces;
  const int64_t tiles = up(blocks.target, kPlanarTargets);

  parallel(threads, whole * pieces, [&](int64_t job) {
    PlanarScratch& scratch = planar_scratch();
    const int64_t piece = job % pieces, group = job / pieces % p.groups, image = job / pieces / p.groups;
    int64_t first[3];
    first[2] = piece % c.width_pieces * c.width;
    first[1] = piece / c.width_pieces % c.row_pieces * c.rows;
    const int64_t width = least(c.width, wide.count - first[2]), rows = least(c.rows, high.count - first[1]);
    const int64_t deep_begin = add ? 0 : piece / c.width_pieces / c.row_pieces;
    const int64_t deep_end = add ? deep.count : deep_begin + 1;
    const int64_t most_taps = deep.taps * high.taps * wide.taps;
    const int64_t pitch = round_up(width, kLanes), vectors = pitch / kLanes;
    const bool direct =
        as_float(target.data) != nullptr && target.axis[2] == 1 && wide.stride == 1 && high.stride != 0 && !add;

    for (first[0] = deep_begin; first[0] < deep_end; ++first[0]) {
      const PlanarStrip strip =
          make_planar_strip(&scratch, source, pass, first, rows, width, image, group * blocks.source, blocks.source);
      int64_t* where = scratch.taps.get<int64_t>(2 * most_taps);
      int64_t* which = where + most_taps;
      const int64_t count = make_planar_taps(where, which, strip, pass, p);
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const int64_t t = part(blocks.target, tiles, tile), t_end = part(blocks.target, tiles, tile + 1);
        const int64_t some = t_end - t;
        const float* base = bias ? bias + group * blocks.bias_floats() + t : nullptr;
        // The weights in the order in which they are met.
        float* packed = scratch.weights.get(blocks.source * count * some);
        const T* from = static_cast<const T*>(w.data) + group * w.group + t * w.target;
        for (int64_t s = 0, i = 0; s < blocks.source; ++s) {
          for (int64_t tap = 0; tap < count; ++tap) {
            const int64_t at_tap = s * w.source + (w.reversed ? w.taps - 1 - which[tap] : which[tap]);
            for (int64_t o = 0; o < some; ++o) packed[i++] = read(from[o * w.target + at_tap]);
          }
        }
        if (direct && some == 1) {
          float* out = as_float(target.data) + image * target.batch + deep.target[first[0]] * target.axis[0] +
                       high.target[first[1]] * target.axis[1] + (group * blocks.target + t) * target.channel +
                       wide.target[first[2]];
          const int64_t out_row = high.stride * target.axis[1];
          const int64_t row_tiles = up(rows, kPlanarRows), vector_tiles = up(vectors, kPlanarRowVectors);
          for (int64_t i = 0; i < row_tiles; ++i) {
            const int64_t r = part(rows, row_tiles, i), r_end = part(rows, row_tiles, i + 1);
            for (int64_t j = 0; j < vector_tiles; ++j) {
              const int64_t v = part(vectors, vector_tiles, j), v_end = part(vectors, vector_tiles, j + 1);
              kPlanarRowsTiles[r_end - r][v_end - v](strip.data + r * high.step * strip.row + v * kLanes, strip.channel,
                                                     blocks.source, high.step * strip.row, where, count, packed,
                                                     out + r * out_row + v * kLanes, out_row, width - v * kLanes, base);
            }
          }
          continue;
        }
        float* local = direct ? nullptr : scratch.local.get(some * pitch);
        const int64_t vector_tiles = up(vectors, kPlanarVectors[some]);
        for (int64_t r = 0; r < rows; ++r) {
          T* row = target.data + image * target.batch + deep.target[first[0]] * target.axis[0] +
                   high.target[first[1] + r] * target.axis[1] + (group * blocks.target + t) * target.channel;
          float* out = direct ? as_float(row) + wide.target[first[2]] : local;
          const int64_t plane = direct ? target.channel : pitch;
          for (int64_t i = 0; i < vector_tiles; ++i) {
            const int64_t v = part(vectors, vector_tiles, i), v_end = part(vectors, vector_tiles, i + 1);
            kPlanarTiles[some][v_end - v](strip.data + r * high.step * strip.row + v * kLanes, strip.channel,
                                          blocks.source, where, count, packed, out + v * kLanes, plane,
                                          (direct ? width : pitch) - v * kLanes, base);
          }
          if (direct) continue;
          for (int64_t o = 0; o < some; ++o) {
            for (int64_t i = 0; i < width; ++i) {
              T* to = row + o * target.channel + wide.target[first[2] + i] * target.axis[2];
              write(to, local[o * pitch + i] + (add ? read(*to) : 0));
            }
          }
        }
      }
    }
  });
}

}  // namespace
}  // namespace jaxconv
