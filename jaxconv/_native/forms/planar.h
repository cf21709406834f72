// Few channels of the target in a group, of a wide image: the lanes of a vector are adjacent positions of one channel,
// and a weight is broadcast. Images whose channels come first lie that way already.
//
// A strip is one plane after another, channels first; with a step beyond one, a row holds the positions of each phase
// of the step side by side, so that what a vector reads is adjacent.
#pragma once

#include "forms/form.h"

namespace jaxconv::JAXCONV_ISA {
namespace {

// -- the micro-kernels -------------------------------------------------------------------------------------------

struct PlanarArgs {
  const float* source;   // of the first position of the first channel
  int64_t source_plane;  // from one channel to the next
  int64_t source_row;    // F32PlanarRows: from one row to the next
  int64_t channels;      // of the source
  const int64_t* taps;   // where each tap lies in a channel
  int64_t tap_count;
  const float* weights;  // (channels, taps, channels of the target in the tile)
  float* out;
  int64_t out_step;   // from one channel of the target to the next, or from one row to the next
  int64_t positions;  // how many are written
  Epilogue epilogue;
};

// out[t][i] = sum over channels and taps of source[channel][i] w, for T channels of the target and V vectors of
// positions.
struct F32Planar {
  using Args = PlanarArgs;
  static constexpr int kVectors = kPlanarVectors[1];
  static constexpr int largest_tile(int vectors) {
    int channels = kPlanarChannels;
    while (kPlanarVectors[channels] < vectors) --channels;
    return channels;
  }

  template <int T, int V>
  static void run(const Args& args) {
    const float *source = args.source, *w = args.weights;
    const int64_t* const taps = args.taps;
    const int64_t plane = args.source_plane, channels = args.channels, count = args.tap_count;
    Vec sum[T][V] = {};
    TileTotal<T, V> total;
    for (int64_t c = 0, terms = 0; c < channels; ++c, source += plane) {
      if (terms >= kTerms) {
        terms = 0;
        total.take(sum);
      }
      terms += count;
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
    total.add_to(sum);
    args.epilogue.apply_to_positions(sum, 1);
    store_tile(sum, args.out, args.out_step, args.positions, false);
  }
};

// The same for one channel of the target and R adjacent rows of it.
struct F32PlanarRows {
  using Args = PlanarArgs;
  static constexpr int kVectors = kPlanarRowVectors;
  static constexpr int largest_tile(int) { return kPlanarRows; }

  template <int R, int V>
  static void run(const Args& args) {
    const float *source = args.source, *w = args.weights;
    const int64_t* const taps = args.taps;
    const int64_t plane = args.source_plane, row = args.source_row, channels = args.channels, count = args.tap_count;
    Vec sum[R][V] = {};
    TileTotal<R, V> total;
    for (int64_t c = 0, terms = 0; c < channels; ++c, source += plane) {
      if (terms >= kTerms) {
        terms = 0;
        total.take(sum);
      }
      terms += count;
      for (int64_t tap = 0; tap < count; ++tap, ++w) {
        const float* a = source + taps[tap];
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
          for (int v = 0; v < V; ++v) sum[r][v] += load(a + r * row + v * kLanes) * *w;
        }
      }
    }
    total.add_to(sum);
    args.epilogue.apply_to_positions(sum, 0);
    store_tile(sum, args.out, args.out_step, args.positions, false);
  }
};

// -- strips and weights ------------------------------------------------------------------------------------------

// A strip of several channels, and the strides of its channels, planes, rows and phases in floats.
struct PlanarStrip {
  const float* data;
  int64_t channel, plane, row, phase;

  int64_t tap(const Pass& pass, int64_t z, int64_t y, int64_t x) const {
    const int64_t offset = pass.axis[2].offset(x), step = pass.axis[2].step;
    return z * plane + pass.axis[1].offset(y) * row + offset % step * phase + offset / step;
  }
};

// One row of one channel, its phases side by side, `phase` floats for each: `count` positions of the padded axis from
// `first` on.
template <class T>
void planar_row(float* out, const Row<T>& row, const Axis& axis, int64_t first, int64_t count, int64_t phase) {
  if (axis.step == 1) return copy_row(out, 1, row, 1, axis, first, count);
  for (int64_t f = 0; f < min(axis.step, count); ++f) {
    float* to = out + f * phase;
    for (int64_t i = f; i < count;) {
      const int64_t source = axis.source(first + i), offset = source - i;
      const int64_t end = i + min(axis.run(first + i), count - i);
      for (; i < end; i += axis.step) *to++ = source < 0 ? 0 : read(row.data[(offset + i) * row.position]);
    }
  }
}

// What a box of one plane reads from a slice of the source.
template <class T>
PlanarStrip make_planar_strip(Workspace* space, const View<const T>& from, const Pass& pass, const Box& box,
                              const Slice& slice) {
  const Axis& width = pass.axis[2];
  const int64_t n = slice.count, step = width.step, first = box.begin[2] * step, columns = width.span(box.columns());
  PlanarStrip strip;
  strip.phase = ceil_div(columns, step);
  strip.row = strip.phase * step;
  strip.plane = pass.axis[1].span(box.rows()) * strip.row;
  strip.channel = pass.axis[0].taps * strip.plane;
  float* out = space->strip.get(n * strip.channel);
  strip.data = out;
  for_each_row(from, pass, box, slice, [&](int64_t t, int64_t i, const Row<T>& row) {
    float* to = out + t * strip.plane + i * strip.row;
    if (row.data == nullptr) {
      for (int64_t c = 0; c < n; ++c) std::memset(to + c * strip.channel, 0, strip.row * sizeof(float));
      return;
    }
    if (row.channel != 1 || n < kPlanarTransposed) {
      for (int64_t c = 0; c < n; ++c) {
        const Row<T> one = {row.data + c * row.channel, row.position, 1};
        planar_row(to + c * strip.channel, one, width, first, columns, strip.phase);
      }
      return;
    }
    // Channels last: the row as it lies, and then a transposition in registers.
    float* narrow = space->row.get(2 * columns * n);
    copy_row(narrow, n, row, n, width, first, columns);
    float* planes = step == 1 ? to : narrow + columns * n;
    const int64_t pitch = step == 1 ? strip.channel : columns;
    for (int64_t k = 0; k < columns; k += kLanes) {
      transpose_out(planes + k, pitch, narrow + k * n, n, n, min(columns - k, kLanes));
    }
    if (step == 1) return;
    for (int64_t c = 0; c < n; ++c) {
      for (int64_t f = 0; f < step; ++f) {
        float* phase = to + c * strip.channel + f * strip.phase;
        for (int64_t q = f, k = 0; q < columns; q += step, ++k) phase[k] = planes[c * columns + q];
      }
    }
  });
  return strip;
}

// The weights of channels [begin, end) of the target in the order in which a tile meets them; `taps` says which
// positions of the kernel take part.
template <class T>
void pack_planar(const Weights& w, int64_t group, Range channels, int64_t sources, const int64_t* taps, int64_t count,
                 float* out) {
  const T* from = static_cast<const T*>(w.data) + group * w.group + channels.begin * w.target;
  for (int64_t s = 0; s < sources; ++s) {
    for (int64_t tap = 0; tap < count; ++tap) {
      const int64_t at_tap = s * w.source + (w.reversed ? w.taps - 1 - taps[tap] : taps[tap]);
      for (int64_t o = 0; o < channels.size(); ++o) *out++ = read(from[o * w.target + at_tap]);
    }
  }
}

// -- a pass ------------------------------------------------------------------------------------------------------

template <class T>
bool planar_pass(const PassArgs<T>& args) {
  const Plan& plan = args.plan;
  const Pass& pass = args.pass;
  const View<T>& target = args.target;
  const Axis &depth = pass.axis[0], &height = pass.axis[1], &width = pass.axis[2];
  if (pass.empty()) return true;
  const int64_t images = plan.problem.batch * plan.problem.groups * depth.count;
  Pieces pieces = args.accumulate ? whole_images(plan.problem.batch, pass)
                                  : cut(plan.problem.batch, pass, plan.source, kStripBytes,
                                        ceil_div(kPiecesPerThread * args.threads->threads, images));
  pieces.groups = plan.problem.groups;
  const bool in_order = width.writes_in_order();
  const bool in_place = as_float(target.data) != nullptr && target.axis[2] == 1 && width.target_step == 1 && in_order &&
                        height.writes_in_order() && !args.accumulate;

  parallel(args.threads, pieces.size(), [&](int64_t job) {
    Workspace& space = workspace();
    const Piece piece = pieces[job];
    const Slice read_slice = {piece.image, piece.group * plan.source, plan.source};
    const int64_t columns = piece.box.columns(), pitch = round_up(columns, kLanes), vectors = pitch / kLanes;
    for (int64_t plane = 0; plane < piece.box.planes(); ++plane) {
      const Box box = piece.box.plane(plane);
      const PlanarStrip strip = make_planar_strip(&space, args.source, pass, box, read_slice);
      int64_t* places = space.taps.get<int64_t>(2 * pass.taps());
      int64_t *which = places + pass.taps(), count = 0;
      for_each_tap(pass, [&](int64_t z, int64_t y, int64_t x, int64_t tap) {
        places[count] = strip.tap(pass, z, y, x);
        which[count++] = tap;
      });
      for_each_part(plan.target, kPlanarChannels, [&](Range channels) {
        float* weights = space.weights.get(plan.source * count * channels.size());
        pack_planar<T>(args.kernel.weights, piece.group, channels, plan.source, which, count, weights);
        PlanarArgs tile{};
        tile.source_plane = strip.channel;
        tile.source_row = height.step * strip.row;
        tile.channels = plan.source;
        tile.taps = places;
        tile.tap_count = count;
        tile.weights = weights;
        tile.epilogue = args.epilogue.from(plan.blocks.bias_begin(piece.group, 0) + channels.begin);
        T* image = target.data + piece.image * target.batch + depth.target(box.begin[0]) * target.axis[0] +
                   (piece.group * plan.target + channels.begin) * target.channel;
        if (in_place && channels.size() == 1) {
          float* first = as_float(image) + height.target(box.begin[1]) * target.axis[1] + width.target(box.begin[2]);
          tile.out_step = height.target_step * target.axis[1];
          for_each_part(box.rows(), kPlanarRows, [&](Range rows) {
            for_each_part(vectors, kPlanarRowVectors, [&](Range tiles) {
              const int64_t column = tiles.begin * kLanes;
              tile.source = strip.data + rows.begin * tile.source_row + column;
              tile.out = first + rows.begin * tile.out_step + column;
              tile.positions = columns - column;
              kTiles<F32PlanarRows>.run[tiles.size()][rows.size()](tile);
            });
          });
          return;
        }
        float* results = in_place ? nullptr : space.results.get(channels.size() * pitch);
        tile.out_step = in_place ? target.channel : pitch;
        for (int64_t r = 0; r < box.rows(); ++r) {
          T* row = image + height.target(box.begin[1] + r) * target.axis[1];
          float* out = in_place ? as_float(row) + width.target(box.begin[2]) : results;
          for_each_part(vectors, kPlanarVectors[channels.size()], [&](Range tiles) {
            const int64_t column = tiles.begin * kLanes;
            tile.source = strip.data + r * tile.source_row + column;
            tile.out = out + column;
            tile.positions = (in_place ? columns : pitch) - column;
            kTiles<F32Planar>.run[tiles.size()][channels.size()](tile);
          });
          if (in_place) continue;
          for (int64_t o = 0; o < channels.size(); ++o) {
            write_row(row + o * target.channel, target.axis[2], width, box.begin[2], columns, results + o * pitch,
                      args.accumulate);
          }
        }
      });
    }
  });
  return true;
}

}  // namespace
}  // namespace jaxconv::JAXCONV_ISA
