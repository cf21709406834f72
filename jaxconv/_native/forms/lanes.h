// Channels that meet few others: depthwise convolutions and small groups. The lanes of a vector are channels of the
// target, and a strip holds, for each of the few channels of the source that a lane meets, a copy in which it lies in
// that lane. What is left is multiplied and added lane by lane.
#pragma once

#include "forms/gradient.h"

namespace jaxconv::JAXCONV_ISA {
namespace {

// -- the micro-kernels -------------------------------------------------------------------------------------------

// out[p] = sum over the taps of source[p] w, lane by lane, for P positions.
struct F32Lanes {
  struct Args {
    const float* source;  // of the first position
    int64_t source_step;  // from one position to the next
    const int64_t* taps;  // where each tap lies from there
    int64_t tap_count;
    const float* weights;  // kBlock for each tap
    float* out;
    int64_t out_step;  // from one position to the next
    int64_t channels;  // how many are written
    bool streaming;    // all channels are written, past the caches
    Epilogue epilogue;
  };
  static constexpr int kVectors = 1;
  static constexpr int largest_tile(int) { return kLanesPositions; }

  template <int P, int V>
  static void run(const Args& args) {
    const float* const source = args.source;
    const int64_t* const taps = args.taps;
    const float* const weights = args.weights;
    const int64_t step = args.source_step, count = args.tap_count;
    Vec sum[P][V] = {};
    for (int64_t t = 0; t < count; ++t) {
      const Vec weight = load(weights + t * kBlock);
      const float* a = source + taps[t];
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) sum[p][0] += load(a + p * step) * weight;
    }
    args.epilogue.apply_to_channels(sum);
    store_tile(sum, args.out, args.out_step, args.channels, args.streaming);
  }
};

// total[t] += sum over positions of x[tap t] y, lane by lane, for T taps.
struct F32LanesWeight {
  struct Args {
    Rows x, y;
    const int64_t* taps;  // where each tap lies from x on
    int64_t rows, columns;
    float* total;  // kBlock for each tap
  };
  static constexpr int kVectors = 1;
  static constexpr int largest_tile(int) { return kLanesTaps; }

  template <int T, int V>
  static void run(const Args& args) {
    const Rows x = args.x, y = args.y;
    const int64_t* const taps = args.taps;
    const int64_t rows = args.rows, columns = args.columns;
    Vec sum[T] = {}, whole[T] = {};
    for (int64_t r = 0, terms = 0; r < rows; ++r) {
      const float* a = x.data + r * x.row;
      const float* b = y.data + r * y.row;
      for (int64_t i = 0; i < columns;) {
        const int64_t end = min(columns, i + kLanesTerms - terms);
        terms += end - i;
        for (; i < end; ++i, a += x.position, b += y.position) {
          const Vec value = load(b);
#pragma GCC unroll 8
          for (int t = 0; t < T; ++t) sum[t] += load(a + taps[t]) * value;
        }
        if (terms < kLanesTerms) continue;
        terms = 0;
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) whole[t] += sum[t], sum[t] = Vec{};
      }
    }
    float* const total = args.total;
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) store(total + t * kBlock, load(total + t * kBlock) + (whole[t] + sum[t]));
  }
};

// -- strips and weights ------------------------------------------------------------------------------------------

// Puts, for each of `count` positions, what `met` says of the `width` channels at the position into the lanes. What
// the lanes of one vector meet mostly lies within one vector, so a load and a permutation do it.
void spread(float* out, const float* in, int64_t count, int64_t pitch, int64_t width, const int32_t* met) {
  for (int64_t lane = 0; lane < pitch; lane += kLanes) {
    int64_t first = met[lane], last = met[lane];
    for (int c = 1; c < kLanes; ++c) first = min(first, met[lane + c]), last = max(last, met[lane + c]);
    if (last - first < kLanes) {
      Lanes from;
      for (int c = 0; c < kLanes; ++c) from[c] = static_cast<int32_t>(met[lane + c] - first);
      // The last loads reach beyond the strip, by less than a vector: a Buffer has that room.
      for (int64_t i = 0; i < count; ++i) store(out + i * pitch + lane, pick(load(in + i * width + first), from));
    } else {
      for (int64_t i = 0; i < count; ++i) {
        for (int c = 0; c < kLanes; ++c) out[i * pitch + lane + c] = in[i * width + met[lane + c]];
      }
    }
  }
}

// A strip of `groups.source` copies of what the lanes of a slice of the target meet, one beneath the other.
template <class T>
Strip make_lanes_strip(Workspace* space, const View<const T>& from, const Pass& pass, const Groups& groups,
                       const Box& box, const Slice& lanes) {
  const int64_t pitch = round_up(lanes.count, kBlock), columns = pass.axis[2].span(box.columns());
  const int64_t rows = pass.axis[1].span(box.rows()), positions = pass.axis[0].taps * rows * columns;
  if (groups.source == 1 && groups.target == 1) {
    if (pitch != lanes.count) {  // the lanes beyond the last channel are read, and what they hold is not wanted
      std::memset(space->strip.get(positions * pitch), 0, positions * pitch * sizeof(float));
    }
    return make_strip(&space->strip, from, pass, box, lanes, pitch);
  }
  const int64_t last = lanes.channel + lanes.count - 1, begin = groups.met(lanes.channel, 0);
  const Slice read = {lanes.image, begin, groups.met(last, groups.source - 1) + 1 - begin};
  const Strip narrow = make_strip(&space->row, from, pass, box, read, read.count);
  float* out = space->strip.get(groups.source * positions * pitch);
  int32_t met[kLanesChannels];
  for (int64_t e = 0; e < groups.source; ++e) {
    for (int64_t c = 0; c < pitch; ++c) {
      met[c] = static_cast<int32_t>(groups.met(min(lanes.channel + c, last), e) - begin);
    }
    spread(out + e * positions * pitch, narrow.data, positions, pitch, read.count, met);
  }
  return {out, rows * columns * pitch, columns * pitch, pitch};
}

// Where the taps of such a strip lie, those of the second copy after those of the first, and where their weights are in
// the packed kernel.
int64_t lanes_taps(int64_t* places, int64_t* weights, const Strip& strip, const Pass& pass, const Groups& groups,
                   int64_t kernel_taps) {
  int64_t count = 0;
  for (int64_t e = 0; e < groups.source; ++e) {
    for_each_tap(pass, [&](int64_t z, int64_t y, int64_t x, int64_t tap) {
      places[count] = strip.tap(pass, e * pass.axis[0].taps + z, y, x);
      weights[count++] = e * kernel_taps + tap;
    });
  }
  return count;
}

// The kernel as (blocks, copies, taps, lanes).
template <class T>
void pack_lanes(const PassArgs<T>& args) {
  PackedKernel& kernel = args.kernel;
  if (kernel.form.done) return;
  const Groups& groups = args.plan.groups;
  const Weights& w = kernel.weights;
  parallel(args.threads, ceil_div(groups.lanes, kBlock), [&](int64_t block) {
    const T* from = static_cast<const T*>(w.data);
    float* out = kernel.form.data + block * groups.source * w.taps * kBlock;
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
  });
  kernel.form.done = true;
}

// -- a pass ------------------------------------------------------------------------------------------------------

template <class T>
bool lanes_pass(const PassArgs<T>& args) {
  const Plan& plan = args.plan;
  const Pass& pass = args.pass;
  const View<T>& target = args.target;
  const Axis &depth = pass.axis[0], &height = pass.axis[1], &width = pass.axis[2];
  if (pass.empty()) return true;
  pack_lanes(args);
  const Groups& groups = plan.groups;
  const int64_t kernel_taps = taps_of(plan.problem), max_taps = groups.source * pass.taps();
  const int64_t each = lanes_per_piece(plan.problem, groups), shares = ceil_div(groups.lanes, each);
  const bool in_place =
      as_float(target.data) != nullptr && target.channel == 1 && width.writes_in_order() && !args.accumulate;
  const bool streaming = in_place && uses_streaming_stores(target, plan.problem.batch, groups.lanes);
  const int64_t images = plan.problem.batch * depth.count * shares;
  Pieces pieces = args.accumulate ? whole_images(plan.problem.batch, pass)
                                  : cut(plan.problem.batch, pass, each * groups.source, kStripBytes,
                                        ceil_div(kPiecesPerThread * args.threads->threads, images));
  pieces.shares = shares;

  parallel(args.threads, pieces.size(), [&](int64_t job) {
    Workspace& space = workspace();
    const Piece piece = pieces[job];
    const int64_t first = piece.share * each;
    const Slice lanes = {piece.image, first, min(each, groups.lanes - first)};
    const int64_t results_pitch = round_up(lanes.count, kBlock), columns = piece.box.columns();
    for (int64_t plane = 0; plane < piece.box.planes(); ++plane) {
      const Box box = piece.box.plane(plane);
      const Strip strip = make_lanes_strip(&space, args.source, pass, groups, box, lanes);
      // Where the taps lie, which weights they meet, and these weights for one block side by side.
      int64_t* places = space.taps.get<int64_t>(2 * max_taps);
      int64_t* which = places + max_taps;
      float* weights = space.weights.get(max_taps * kBlock);
      float* results = in_place ? nullptr : space.results.get(box.rows() * columns * results_pitch);
      float* first_row = nullptr;
      if (in_place) {
        first_row = as_float(target.data) + lanes.image * target.batch + depth.target(box.begin[0]) * target.axis[0] +
                    width.target(box.begin[2]) * target.axis[2] + first;
      }
      F32Lanes::Args tile{};
      tile.source_step = width.step * strip.position;
      tile.taps = places;
      tile.tap_count = lanes_taps(places, which, strip, pass, groups, kernel_taps);
      tile.out_step = in_place ? width.target_step * target.axis[2] : results_pitch;
      tile.streaming = streaming;
      for (int64_t block = 0; block < lanes.count; block += kBlock) {
        const float* packed = args.kernel.form.data + (first + block) * groups.source * kernel_taps;
        for (int64_t t = 0; t < tile.tap_count; ++t) copy(weights + t * kBlock, packed + which[t] * kBlock, kBlock);
        const int64_t end = min(block + kBlock, lanes.count);
        for (int64_t r = 0; r < box.rows(); ++r) {
          float* row = in_place ? first_row + height.target(box.begin[1] + r) * target.axis[1]
                                : results + r * columns * results_pitch;
          const float* from = strip.data + r * height.step * strip.row;
          for_each_part(columns, kLanesPositions, [&](Range positions) {
            for (int64_t lane = block; lane < end; lane += kLanes) {
              tile.source = from + positions.begin * tile.source_step + lane;
              tile.weights = weights + lane - block;
              tile.out = row + positions.begin * tile.out_step + lane;
              tile.channels = (in_place ? lanes.count : results_pitch) - lane;
              tile.epilogue = args.epilogue.from(first + lane);
              kTiles<F32Lanes>.run[1][positions.size()](tile);
            }
          });
        }
      }
      if (!in_place) write_box(target, pass, box, lanes, results, results_pitch, args.accumulate);
    }
    if (streaming) streaming_fence();
  });
  return true;
}

// -- the weight's gradient ---------------------------------------------------------------------------------------

// w is (lanes, source, taps), as it is without packing.
template <class T>
bool lanes_weight(const WeightArgs<T>& args) {
  const Plan& plan = args.plan;
  const Pass& pass = args.pass;
  const Groups& groups = plan.groups;
  const Axis &height = pass.axis[1], &width = pass.axis[2];
  const int64_t all = groups.source * taps_of(plan.problem), slot_floats = groups.padded_lanes() * all;
  const int64_t each = lanes_per_piece(plan.problem, groups), shares = ceil_div(groups.lanes, each);
  Pieces pieces = cut(plan.problem.batch, pass, each * groups.source, kStripBytes, 1);

  parallel(args.threads, shares * plan.slots, [&](int64_t job) {
    Workspace& space = workspace();
    const int64_t slot = job % plan.slots, first = job / plan.slots * each, n = min(each, groups.lanes - first);
    const int64_t pitch = round_up(n, kBlock);
    float* total = args.form_sums + slot * slot_floats + first * all;  // (blocks, copies and taps, lanes)
    std::memset(total, 0, pitch * all * sizeof(float));
    float* bias = nullptr;
    if (args.bias != nullptr) {
      bias = args.bias + slot * groups.padded_lanes() + first;
      std::memset(bias, 0, pitch * sizeof(float));
    }
    const Range range = part(pieces.size(), plan.slots, slot);
    for (int64_t i = range.begin; i < range.end; ++i) {
      const Piece piece = pieces[i];
      const Slice lanes = {piece.image, first, n};
      const Strip strip = make_lanes_strip(&space, args.x, pass, groups, piece.box, lanes);
      int64_t* places = space.taps.get<int64_t>(2 * all);
      lanes_taps(places, places + all, strip, pass, groups, taps_of(plan.problem));
      const Rows gradient = gradient_rows(&space.gradient, args.y, piece.box, lanes, pitch);
      if (bias != nullptr) add_positions(gradient, piece.box, pitch, bias);
      F32LanesWeight::Args tile{};
      tile.rows = piece.box.rows();
      tile.columns = piece.box.columns();
      for (int64_t lane = 0; lane < pitch; lane += kLanes) {
        tile.x = {strip.data + lane, height.step * strip.row, width.step * strip.position};
        tile.y = {gradient.data + lane, gradient.row, gradient.position};
        float* to = total + lane / kBlock * kBlock * all + lane % kBlock;
        for_each_part(all, kLanesTaps, [&](Range taps) {
          tile.taps = places + taps.begin;
          tile.total = to + taps.begin * kBlock;
          kTiles<F32LanesWeight>.run[1][taps.size()](tile);
        });
      }
    }
  });

  parallel(args.threads, ceil_div(groups.lanes, kBlock), [&](int64_t block) {
    for (int64_t t = 0; t < all; ++t) {
      float sum[kBlock];
      add_slots(sum, args.form_sums + (block * all + t) * kBlock, kBlock, plan.slots, slot_floats);
      for (int64_t c = 0; c < min(groups.lanes - block * kBlock, kBlock); ++c) {
        write(args.w + (block * kBlock + c) * all + t, sum[c]);
      }
    }
  });
  return true;
}

}  // namespace
}  // namespace jaxconv::JAXCONV_ISA
