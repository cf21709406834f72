// Channels that meet few others: depthwise convolutions and small groups. The lanes of a vector are channels of the
// target, and a strip holds, for each of the few channels of the source that a lane meets, a copy in which it lies in
// that lane. What is left is multiplied and added lane by lane.
#pragma once

#include "forms/dense.h"

namespace jaxconv {
namespace {

constexpr int kLanePositions = 8;
constexpr int kLaneTaps = 8;
// The strip of one piece of work stays in the second cache, whatever else does.
constexpr int64_t kLaneStripBytes = 192 << 10;
constexpr int64_t kMostLanes = 64;  // channels of the target in one piece of work

// Of `lanes` channels of the target in all, each `target` of a group meet `source` channels.
struct Groups {
  int64_t lanes, target, source;

  int64_t met(int64_t lane, int64_t e) const { return lane / target * source + e; }
};

// out[p] = base + sum over the taps of source[p] w, lane by lane, for P positions. Nothing is added where `base` is
// null.
template <int P>
void lanes_tile(const float* source, int64_t step, const int64_t* taps, int64_t count, const float* w, float* out,
                int64_t pitch, int64_t n, const float* base, bool past) {
  Vec sum[P] = {};
  for (int64_t t = 0; t < count; ++t) {
    const Vec weights = load(w + t * kBlock);
    const float* a = source + taps[t];
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) sum[p] += load(a + p * step) * weights;
  }
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p) {
    const Vec based = base ? sum[p] + load(base) : sum[p];
    if (past) {
      stream(out + p * pitch, based);
    } else {
      store_first(out + p * pitch, based, n);
    }
  }
}

// Products of the weight's gradient that are added up before their sum is added to others. Each brings a load of its
// own, so that the additions cost little.
constexpr int64_t kLaneTerms = 16;

// total[t] += sum over positions of source[tap t] target, lane by lane, for T taps.
template <int T>
void lanes_weight_tile(const float* source, int64_t source_row, int64_t source_step, const int64_t* taps,
                       const float* target, int64_t target_row, int64_t target_step, int64_t rows, int64_t width,
                       float* total) {
  Vec sum[T] = {}, whole[T] = {};
  for (int64_t r = 0, terms = 0; r < rows; ++r) {
    const float* a = source + r * source_row;
    const float* b = target + r * target_row;
    for (int64_t i = 0; i < width;) {
      const int64_t end = least(width, i + kLaneTerms - terms);
      terms += end - i;
      for (; i < end; ++i, a += source_step, b += target_step) {
        const Vec value = load(b);
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) sum[t] += load(a + taps[t]) * value;
      }
      if (terms < kLaneTerms) continue;
      terms = 0;
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) whole[t] += sum[t], sum[t] = Vec{};
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) store(total + t * kBlock, load(total + t * kBlock) + (whole[t] + sum[t]));
}

using LanesTile = void (*)(const float*, int64_t, const int64_t*, int64_t, const float*, float*, int64_t, int64_t,
                           const float*, bool);
using LanesWeightTile = void (*)(const float*, int64_t, int64_t, const int64_t*, const float*, int64_t, int64_t,
                                 int64_t, int64_t, float*);
constexpr LanesTile kLanesTiles[kLanePositions + 1] = {lanes_tile<1>, lanes_tile<1>, lanes_tile<2>,
                                                       lanes_tile<3>, lanes_tile<4>, lanes_tile<5>,
                                                       lanes_tile<6>, lanes_tile<7>, lanes_tile<8>};
constexpr LanesWeightTile kLanesWeightTiles[kLaneTaps + 1] = {
    lanes_weight_tile<1>, lanes_weight_tile<1>, lanes_weight_tile<2>, lanes_weight_tile<3>, lanes_weight_tile<4>,
    lanes_weight_tile<5>, lanes_weight_tile<6>, lanes_weight_tile<7>, lanes_weight_tile<8>};

struct LanesScratch {
  Buffer strip, row, taps, local;
};

LanesScratch& lanes_scratch() {
  static thread_local LanesScratch scratch;
  return scratch;
}

// Puts, for each of `count` positions, what `met` says of the `width` channels at the position into the lanes. What
// the lanes of one vector meet mostly lies within one vector, so a load and a permutation do it.
void spread(float* out, const float* in, int64_t count, int64_t pitch, int64_t width, const int32_t* met) {
  for (int64_t lane = 0; lane < pitch; lane += kLanes) {
    int32_t first = met[lane], last = met[lane];
    for (int c = 1; c < kLanes; ++c) first = least(first, met[lane + c]), last = most(last, met[lane + c]);
    if (last - first < kLanes) {
      Lanes from;
      for (int c = 0; c < kLanes; ++c) from[c] = met[lane + c] - first;
      // The last loads reach beyond the strip, by less than a vector: a Buffer has that room.
      for (int64_t i = 0; i < count; ++i) store(out + i * pitch + lane, pick(load(in + i * width + first), from));
    } else {
      for (int64_t i = 0; i < count; ++i) {
        for (int c = 0; c < kLanes; ++c) out[i * pitch + lane + c] = in[i * width + met[lane + c]];
      }
    }
  }
}

// A strip of `source` copies of what the lanes [lane, lane + n) of the target meet, one beneath the other.
template <class T>
Strip make_lanes_strip(LanesScratch* scratch, const View<const T>& from, const Pass& pass, const Groups& groups,
                       const int64_t first[3], int64_t rows, int64_t width, int64_t batch, int64_t lane, int64_t n) {
  const int64_t pitch = round_up(n, kBlock);
  if (groups.source == 1 && groups.target == 1) {
    if (pitch != n) {  // the lanes beyond the last channel are read, and what they hold is not wanted
      const Axis &high = pass.axis[1], &wide = pass.axis[2];
      const int64_t floats = pass.axis[0].taps * high.span(rows) * wide.span(width) * pitch;
      std::memset(scratch->strip.get(floats), 0, floats * sizeof(float));
    }
    return make_strip(&scratch->strip, from, pass, first, rows, width, batch, lane, n, pitch);
  }
  const int64_t begin = groups.met(lane, 0), met = groups.met(lane + n - 1, groups.source - 1) + 1 - begin;
  const Strip narrow = make_strip(&scratch->row, from, pass, first, rows, width, batch, begin, met, met);
  const int64_t positions = pass.axis[0].taps * pass.axis[1].span(rows) * pass.axis[2].span(width);
  float* out = scratch->strip.get(groups.source * positions * pitch);
  int32_t table[kMostLanes];
  for (int64_t e = 0; e < groups.source; ++e) {
    for (int64_t c = 0; c < pitch; ++c) table[c] = groups.met(lane + least(c, n - 1), e) - begin;
    spread(out + e * positions * pitch, narrow.data, positions, pitch, met, table);
  }
  const int64_t wider = pass.axis[2].span(width) * pitch;
  return {out, pass.axis[1].span(rows) * wider, wider, pitch, false};
}

// Where the taps of a strip lie, those of the second copy after those of the first, and which weights they meet.
int64_t make_taps(int64_t* where, int64_t* which, const Strip& strip, const Pass& pass, const Problem& p,
                  int64_t copies) {
  int64_t count = 0;
  const int64_t kernel = p.kernel[0] * p.kernel[1] * p.kernel[2];
  for (int64_t e = 0; e < copies; ++e) {
    for (int64_t z = 0; z < pass.axis[0].taps; ++z) {
      for (int64_t y = 0; y < pass.axis[1].taps; ++y) {
        for (int64_t x = 0; x < pass.axis[2].taps; ++x, ++count) {
          where[count] = (e * pass.axis[0].taps + z) * strip.plane + pass.axis[1].offset[y] * strip.row +
                         pass.axis[2].offset[x] * strip.position;
          which[count] = e * kernel + (pass.axis[0].tap[z] * p.kernel[1] + pass.axis[1].tap[y]) * p.kernel[2] +
                         pass.axis[2].tap[x];
        }
      }
    }
  }
  return count;
}

// A block of the kernel as (copies, taps, lanes).
template <class T>
void pack_lanes(const Weights& w, const Groups& groups, int64_t block, float* out) {
  const T* from = static_cast<const T*>(w.data);
  for (int64_t e = 0; e < groups.source; ++e) {
    for (int64_t tap = 0; tap < w.taps; ++tap) {
      for (int64_t c = 0; c < kBlock; ++c) {
        const int64_t lane = block * kBlock + c;
        const int64_t at_lane = lane / groups.target * w.group + lane % groups.target * w.target;
        const int64_t at_tap = e * w.source + (w.reversed ? w.taps - 1 - tap : tap);
        *out++ = lane < groups.lanes ? read(from[at_lane + at_tap]) : 0;
      }
    }
  }
}

// Lanes of one piece of work, whole blocks: fewer where the kernel is tall, so that a strip holds several times the
// rows that the kernel has, and few of them are copied twice.
int64_t lanes_of_a_piece(const Problem& p, const Groups& groups) {
  int64_t lanes = least(round_up(groups.lanes, kBlock), kMostLanes);
  const int64_t tall = 4 * (p.dilation[1] * (p.kernel[1] - 1) + 1) * p.kernel[0];
  const int64_t row = (p.x_size[2] + p.dilation[2] * (p.kernel[2] - 1)) * groups.source * sizeof(float);
  while (lanes > kBlock && lanes * tall * row > kLaneStripBytes) lanes = round_up(lanes / 2, kBlock);
  return lanes;
}

// One pass over all images; `bias` and `add` as in dense_pass.
template <class T>
void lanes_pass(const Problem& p, const View<const T>& source, const View<T>& target, const Pass& pass,
                const Groups& groups, const float* packed, const float* bias, bool add, Parallel* threads) {
  const Axis &deep = pass.axis[0], &high = pass.axis[1], &wide = pass.axis[2];
  if (deep.count == 0 || high.count == 0 || wide.count == 0) return;
  const int64_t taps = p.kernel[0] * p.kernel[1] * p.kernel[2];
  const int64_t each = lanes_of_a_piece(p, groups), shares = up(groups.lanes, each);
  const bool direct = as_float(target.data) != nullptr && target.channel == 1 && wide.stride != 0 && !add;
  const bool past = direct && streams(target, p.batch, groups.lanes);
  Cut c = cut(pass, each * groups.source, kLaneStripBytes, up(8 * threads->threads, p.batch * deep.count * shares));
  if (add) c = {high.count, wide.count, 1, 1};
  const int64_t pieces = (add ? 1 : deep.count) * c.row_pieces * c.width_pieces;

  parallel(threads, p.batch * pieces * shares, [&](int64_t job) {
    LanesScratch& scratch = lanes_scratch();
    const int64_t lane = job % shares * each, n = least(each, groups.lanes - lane);
    const int64_t piece = job / shares % pieces, image = job / shares / pieces;
    int64_t first[3];
    first[2] = piece % c.width_pieces * c.width;
    first[1] = piece / c.width_pieces % c.row_pieces * c.rows;
    const int64_t width = least(c.width, wide.count - first[2]), rows = least(c.rows, high.count - first[1]);
    const int64_t deep_begin = add ? 0 : piece / c.width_pieces / c.row_pieces;
    const int64_t deep_end = add ? deep.count : deep_begin + 1;
    const int64_t most_taps = groups.source * deep.taps * high.taps * wide.taps;
    const int64_t local_pitch = round_up(n, kBlock);

    for (first[0] = deep_begin; first[0] < deep_end; ++first[0]) {
      const Strip strip = make_lanes_strip(&scratch, source, pass, groups, first, rows, width, image, lane, n);
      // The taps' places, which weights they meet, and these weights for one vector side by side.
      int64_t* where = scratch.taps.get<int64_t>(most_taps * (2 + kBlock / 2));
      int64_t* which = where + most_taps;
      float* weights = reinterpret_cast<float*>(which + most_taps);
      const int64_t count = make_taps(where, which, strip, pass, p, groups.source);
      float* local = direct ? nullptr : scratch.local.get(rows * width * local_pitch);
      const int64_t position_tiles = up(width, kLanePositions);
      for (int64_t v = 0; v < n; v += kBlock) {
        const float* block = packed + (lane + v) / kBlock * groups.source * taps * kBlock;
        for (int64_t t = 0; t < count; ++t) copy(weights + t * kBlock, block + which[t] * kBlock, kBlock);
        for (int64_t r = 0; r < rows; ++r) {
          float* row;
          int64_t pitch = local_pitch;
          if (!direct) {
            row = local + r * width * local_pitch + v;
          } else {
            row = as_float(target.data) + image * target.batch + deep.target[first[0]] * target.axis[0] +
                  high.target[first[1] + r] * target.axis[1] + wide.target[first[2]] * target.axis[2] + lane + v;
            pitch = wide.stride * target.axis[2];
          }
          const float* from = strip.data + r * high.step * strip.row + v;
          for (int64_t i = 0; i < position_tiles; ++i) {
            const int64_t q = part(width, position_tiles, i), q_end = part(width, position_tiles, i + 1);
            for (int64_t part_of = 0; part_of < kBlock && v + part_of < n; part_of += kLanes) {
              kLanesTiles[q_end - q](from + q * wide.step * strip.position + part_of, wide.step * strip.position, where,
                                     count, weights + part_of, row + q * pitch + part_of, pitch,
                                     (direct ? n : local_pitch) - v - part_of,
                                     bias ? bias + lane + v + part_of : nullptr, past);
            }
          }
        }
      }
      if (!direct) write_piece(target, pass, first, rows, width, image, lane, n, local, local_pitch, add);
    }
    if (past) streamed();
  });
}

int64_t lanes_gradient_slots(const Problem& p, const Groups& groups) {
  const int64_t shares = up(groups.lanes, lanes_of_a_piece(p, groups));
  return least(up(16, shares), p.batch * p.y_size[0] * p.y_size[1] * up(p.y_size[2], kFewPositions));
}

// The weight's gradient: w is (lanes, source, taps), as it is without packing; `bias` as in dense_weight.
template <class T>
void lanes_weight(const Problem& p, const View<const T>& x, const View<const T>& y, const Pass& pass,
                  const Groups& groups, T* w, float* bias, float* sums, Parallel* threads) {
  const Axis &high = pass.axis[1], &wide = pass.axis[2];
  const int64_t taps = p.kernel[0] * p.kernel[1] * p.kernel[2], all = groups.source * taps;
  const int64_t each = lanes_of_a_piece(p, groups), shares = up(groups.lanes, each);
  const int64_t slots = lanes_gradient_slots(p, groups), whole = round_up(groups.lanes, kBlock) * all;
  const Cut c = cut(pass, each * groups.source, kLaneStripBytes, 1);
  const int64_t pieces = p.batch * p.y_size[0] * c.row_pieces * c.width_pieces;

  parallel(threads, shares * slots, [&](int64_t job) {
    LanesScratch& scratch = lanes_scratch();
    const int64_t slot = job % slots, lane = job / slots * each, n = least(each, groups.lanes - lane);
    const int64_t padded = round_up(n, kBlock);
    float* total = sums + slot * whole + lane * all;  // (blocks, copies and taps, lanes)
    std::memset(total, 0, padded * all * sizeof(float));
    const bool direct = as_float(y.data) != nullptr && y.channel == 1 && n == padded;
    float* of_bias = bias ? bias + slot * round_up(groups.lanes, kBlock) + lane : nullptr;
    if (of_bias != nullptr) std::memset(of_bias, 0, padded * sizeof(float));

    for (int64_t piece = part(pieces, slots, slot); piece < part(pieces, slots, slot + 1); ++piece) {
      const auto [image, first, rows, width] = piece_of(c, pass, piece);
      const Strip strip = make_lanes_strip(&scratch, x, pass, groups, first, rows, width, image, lane, n);
      int64_t* where = scratch.taps.get<int64_t>(2 * all);
      make_taps(where, where + all, strip, pass, p, groups.source);

      const T* from = y.data + image * y.batch + first[0] * y.axis[0] + first[1] * y.axis[1] + first[2] * y.axis[2] +
                      lane * y.channel;
      const float* grad = as_float(from);
      int64_t grad_row = y.axis[1], grad_step = y.axis[2];
      if (!direct) {
        float* copied = scratch.local.get(rows * width * padded);
        std::memset(copied, 0, rows * width * padded * sizeof(float));
        for (int64_t r = 0; r < rows; ++r) {
          copy_plain_row(copied + r * width * padded, from + r * y.axis[1], width, n, padded, y.axis[2], y.channel);
        }
        grad = copied, grad_row = width * padded, grad_step = padded;
      }
      if (of_bias != nullptr) add_positions(grad, grad_row, grad_step, rows, width, padded, of_bias);
      const int64_t tiles = up(all, kLaneTaps);
      for (int64_t v = 0; v < padded; v += kLanes) {
        float* sum = total + v / kBlock * kBlock * all + v % kBlock;
        for (int64_t i = 0; i < tiles; ++i) {
          const int64_t t = part(all, tiles, i), t_end = part(all, tiles, i + 1);
          kLanesWeightTiles[t_end - t](strip.data + v, high.step * strip.row, wide.step * strip.position, where + t,
                                       grad + v, grad_row, grad_step, rows, width, sum + t * kBlock);
        }
      }
    }
  });

  parallel(threads, up(groups.lanes, kBlock), [&](int64_t block) {
    for (int64_t t = 0; t < all; ++t) {
      float sum[kBlock];
      add_slots(sum, sums + (block * all + t) * kBlock, kBlock, slots, whole);
      for (int64_t c = 0; c < least(groups.lanes - block * kBlock, kBlock); ++c) {
        write(w + (block * kBlock + c) * all + t, sum[c]);
      }
    }
  });
}

}  // namespace
}  // namespace jaxconv
