// Channels that all meet: products of matrices. A position's numbers are broadcast, one at a time, and meet a vector of
// weights of as many channels of the target as there are lanes.
#pragma once

#include "forms/gradient.h"

namespace jaxconv::JAXCONV_ISA {
namespace {

// -- the micro-kernels -------------------------------------------------------------------------------------------

// out[p] = sum over the runs of source[p] w, for P positions and V vectors of channels.
struct F32Dense {
  struct Args {
    const float* source;  // of the first position
    int64_t source_step;  // from one position to the next
    const Run* runs;      // what is summed: see Run
    int64_t run_count;
    const float* weights;   // of the first vector
    int64_t weights_pitch;  // from those of one number of the source to those of the next
    float* out;
    int64_t out_step;  // from one position to the next
    int64_t channels;  // how many are written
    bool accumulate;   // to what `out` holds
    bool streaming;    // all channels are written, past the caches
    Epilogue epilogue;
  };
  static constexpr int kVectors = kDenseVectors;
  static constexpr int largest_tile(int vectors) { return kDensePositions[vectors]; }

  template <int P, int V>
  static void run(const Args& args) {
    const int64_t step = args.source_step;
    Vec sum[P][V] = {};
    TileTotal<P, V> total;
    int64_t terms = 0;
    for (const Run *run = args.runs, *end = run + args.run_count; run != end; ++run) {
      const float *a = args.source + run->strip, *far = a + 4 * step;  // two addresses take fewer registers than eight
      const float* b = args.weights + run->kernel;
      for (int64_t i = 0; i < run->length; ++i, b += args.weights_pitch) {
        Vec row[V];
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) row[v] = load(b + v * kLanes);
#pragma GCC unroll 8
        for (int p = 0; p < P; ++p) {
          const float value = p < 4 ? a[p * step + i] : far[(p - 4) * step + i];
#pragma GCC unroll 8
          for (int v = 0; v < V; ++v) sum[p][v] += value * row[v];
        }
      }
      terms += run->length;
      if (terms < kTerms || run + 1 == end) continue;
      terms = 0;
      total.take(sum);
    }
    total.add_to(sum);
    if (args.accumulate) add_tile(sum, args.out, args.out_step, args.channels);
    args.epilogue.apply_to_channels(sum);
    store_tile(sum, args.out, args.out_step, args.channels, args.streaming);
  }
};

// total[j] += sum over positions of x[j] y, for J adjacent numbers of x and V vectors of channels of y, over `rows`
// rows of `columns` positions.
struct F32DenseWeight {
  struct Args {
    Rows x, y;
    int64_t rows, columns;
    float* total;
    int64_t total_pitch;  // from the sums of one number of x to those of the next
  };
  static constexpr int kVectors = kDenseVectors;
  static constexpr int largest_tile(int vectors) { return kDensePositions[vectors]; }

  template <int J, int V>
  static void run(const Args& args) {
    const Rows x = args.x, y = args.y;
    const int64_t rows = args.rows, columns = args.columns, pitch = args.total_pitch;
    float* const total = args.total;
    Vec sum[J][V] = {};  // apart from the total, so that it is rounded as a short one
    for (int64_t r = 0, terms = 0; r < rows; ++r) {
      const float* a = x.data + r * x.row;
      const float* b = y.data + r * y.row;
      for (int64_t i = 0; i < columns;) {
        const int64_t end = min(columns, i + kGradientTerms - terms);
        terms += end - i;
        for (; i < end; ++i, a += x.position, b += y.position) {
          Vec values[V];
#pragma GCC unroll 8
          for (int v = 0; v < V; ++v) values[v] = load(b + v * kLanes);
#pragma GCC unroll 8
          for (int j = 0; j < J; ++j) {
            const float value = a[j];
#pragma GCC unroll 8
            for (int v = 0; v < V; ++v) sum[j][v] += value * values[v];
          }
        }
        if (terms < kGradientTerms && (r + 1 < rows || i < columns)) continue;
        terms = 0;
#pragma GCC unroll 8
        for (int j = 0; j < J; ++j) {
#pragma GCC unroll 8
          for (int v = 0; v < V; ++v) {
            float* to = total + j * pitch + v * kLanes;
            store(to, load(to) + sum[j][v]);
            sum[j][v] = Vec{};
          }
        }
      }
    }
  }
};

// Where a row of positions begins in the source and in the results.
struct TileRow {
  const float* source;
  float* out;
};

// Runs the tiles of so many vectors of channels, and of rows of `columns` positions, of which row(r) is the r-th.
// `shared` has what all of them share; its weights, channels and epilogue are those of the first vector.
template <class F>
void multiply(const F32Dense::Args& shared, int64_t vectors, int64_t rows, int64_t columns, const F& row) {
  for_each_part(vectors, kDenseVectors, [&](Range range) {
    const auto& tiles = kTiles<F32Dense>.run[range.size()];
    const int64_t lane = range.begin * kLanes, largest = kDensePositions[range.size()];
    F32Dense::Args tile = shared;
    tile.weights += lane;
    tile.channels -= lane;
    tile.epilogue = shared.epilogue.from(lane);
    for (int64_t r = 0; r < rows; ++r) {
      const TileRow begin = row(r);
      for_each_part(columns, largest, [&](Range positions) {
        tile.source = begin.source + positions.begin * tile.source_step;
        tile.out = begin.out + positions.begin * tile.out_step + lane;
        tiles[positions.size()](tile);
      });
    }
  });
}

// -- the packed kernel -------------------------------------------------------------------------------------------

// One block of it: see Blocks.
template <class T>
void pack_block(const Weights& w, const Blocks& blocks, int64_t group, int64_t s, int64_t t, float* out) {
  const Range source = blocks.sources(s), target = blocks.targets(t);
  const int64_t pitch = blocks.pitch(t), sources = source.size();
  const T* from = static_cast<const T*>(w.data) + group * w.group + source.begin * w.source + target.begin * w.target;
  // The numbers of one channel of the target lie side by side, those of all channels of the source or of each. Whole
  // vectors of them are transposed: the lines of sixteen channels may be all that a cache can hold of such a distance.
  const bool one_row = w.source == w.taps;
  const int64_t rows = one_row ? 1 : sources, length = one_row ? sources * w.taps : w.taps;
  for (int64_t o0 = 0; o0 < pitch; o0 += kBlock) {
    const int64_t channels = min(kBlock, target.size() - o0);
    float transposed[kLanes * kBlock] = {};
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t i = 0; i < length; i += kLanes) {
        const int64_t run = min(length - i, kLanes);
        const T* numbers = from + o0 * w.target + row * w.source + i;
        if (run == 1 && w.target == 1) {
          copy(transposed, numbers, channels);
        } else {
          transpose_in(transposed, kBlock, numbers, w.target, channels, run);
        }
        for (int64_t k = 0; k < run; ++k) {
          const int64_t c = one_row ? (i + k) / w.taps : row, tap = one_row ? (i + k) % w.taps : i + k;
          float* to = out + ((w.reversed ? w.taps - 1 - tap : tap) * sources + c) * pitch + o0;
          std::memcpy(to, transposed + k * kBlock, kBlock * sizeof(float));
        }
      }
    }
  }
}

template <class T>
void pack_dense(const PassArgs<T>& args) {
  PackedKernel& kernel = args.kernel;
  if (kernel.dense.done) return;
  const Blocks& blocks = args.plan.blocks;
  parallel(args.threads, args.plan.problem.groups * blocks.source_blocks * blocks.target_blocks, [&](int64_t i) {
    const WeightBlock block(blocks, i);
    float* out = kernel.dense.data + block.group * blocks.floats() + blocks.begin(block.s, block.t);
    pack_block<T>(kernel.weights, blocks, block.group, block.s, block.t, out);
  });
  kernel.dense.done = true;
}

// -- a pass ------------------------------------------------------------------------------------------------------

template <class T>
bool dense_pass(const PassArgs<T>& args) {
  const Plan& plan = args.plan;
  const Pass& pass = args.pass;
  const View<const T>& source = args.source;
  const View<T>& target = args.target;
  const Axis &depth = pass.axis[0], &height = pass.axis[1], &width = pass.axis[2];
  if (pass.empty()) return true;
  pack_dense(args);
  const Blocks& blocks = plan.blocks;
  const bool source_in_place = reads_in_place(source, pass);
  const bool target_in_place = as_float(target.data) != nullptr && target.channel == 1 && width.writes_in_order();
  const bool streaming = !args.accumulate && target_in_place && blocks.source_blocks == 1 &&
                         uses_streaming_stores(target, plan.problem.batch, blocks.target);
  const int64_t wanted = kPiecesPerThread * args.threads->threads, images = plan.problem.batch * plan.problem.groups;
  Pieces pieces = args.accumulate
                      ? whole_images(plan.problem.batch, pass)
                      : cut(plan.problem.batch, pass, source_in_place ? kTargetChannels : blocks.max_sources(),
                            kStripBytes, ceil_div(wanted, images * depth.count));
  pieces.groups = plan.problem.groups;
  // Where images are few and small, the channels of the target are shared out too.
  pieces.shares = min(blocks.target_blocks, ceil_div(wanted, pieces.size()));

  parallel(args.threads, pieces.size(), [&](int64_t job) {
    Workspace& space = workspace();
    const Piece piece = pieces[job];
    const Range share = part(blocks.target_blocks, pieces.shares, piece.share);
    const Range channels = {blocks.targets(share.begin).begin, blocks.targets(share.end - 1).end};
    const Slice written = {piece.image, piece.group * blocks.target + channels.begin, channels.size()};
    const int64_t columns = piece.box.columns();
    const int64_t results_pitch = round_up(channels.size(), kBlock), results_row = columns * results_pitch;
    Run* runs = space.taps.get<Run>(pass.taps());
    float* results = target_in_place ? nullptr : space.results.get(piece.box.rows() * results_row);

    for (int64_t plane = 0; plane < piece.box.planes(); ++plane) {
      const Box box = piece.box.plane(plane);
      float* first_row = results;
      int64_t out_step = results_pitch;
      if (target_in_place) {
        first_row = as_float(target.data) + written.image * target.batch + depth.target(box.begin[0]) * target.axis[0] +
                    width.target(box.begin[2]) * target.axis[2] + written.channel;
        out_step = width.target_step * target.axis[2];
      }
      for (int64_t s = 0; s < blocks.source_blocks; ++s) {
        const Range sources = blocks.sources(s);
        const Slice read = {piece.image, piece.group * blocks.source + sources.begin, sources.size()};
        const Strip strip = source_in_place ? strip_in_place(source, pass, box, read)
                                            : make_strip(&space.strip, source, pass, box, read, read.count);
        for (int64_t t = share.begin; t < share.end; ++t) {
          const Range targets = blocks.targets(t);
          const int64_t pitch = blocks.pitch(t);
          F32Dense::Args tile{};
          tile.source_step = width.step * strip.position;
          tile.runs = runs;
          tile.run_count = make_runs(runs, strip, pass, read.count, pitch);
          tile.weights_pitch = pitch;
          tile.out_step = out_step;
          tile.accumulate = s > 0 || (target_in_place && args.accumulate);
          tile.streaming = streaming;
          tile.weights = args.kernel.dense.data + piece.group * blocks.floats() + blocks.begin(s, t);
          tile.channels = target_in_place ? targets.size() : pitch;
          if (s + 1 == blocks.source_blocks) tile.epilogue = args.epilogue.from(blocks.bias_begin(piece.group, t));
          float* first = first_row + targets.begin - channels.begin;
          multiply(tile, pitch / kLanes, box.rows(), columns, [&](int64_t r) {
            const int64_t row = target_in_place ? height.target(box.begin[1] + r) * target.axis[1] : r * results_row;
            return TileRow{strip.data + r * height.step * strip.row, first + row};
          });
        }
      }
      if (!target_in_place) write_box(target, pass, box, written, results, results_pitch, args.accumulate);
    }
    if (streaming) streaming_fence();
  });
  return true;
}

// -- the weight's gradient ---------------------------------------------------------------------------------------

template <class T>
bool dense_weight(const WeightArgs<T>& args) {
  const Plan& plan = args.plan;
  const Pass& pass = args.pass;
  const Blocks& blocks = plan.blocks;
  const Axis &height = pass.axis[1], &width = pass.axis[2];
  // What one tap reads is read from memory, where a copy would only delay it; if all pixels are one row, the piece that
  // follows is asked for in the meantime.
  const bool x_in_place = blocks.taps == 1 && reads_in_place(args.x, pass), ahead = x_in_place && height.count == 1;
  Pieces pieces =
      cut(plan.problem.batch, pass, min(blocks.source, kGradientChannels), ahead ? kAheadBytes : kStripBytes, 1);

  sum_blocks(
      args, blocks, args.dense_sums, pieces,
      [&](const WeightBlock& block, const Slice& read, const Slice& met, const Box& box, float* total, float* bias) {
        Workspace& space = workspace();
        const int64_t pitch = block.pitch, columns = box.columns();
        const Strip strip = x_in_place ? strip_in_place(args.x, pass, box, read)
                                       : make_strip(&space.strip, args.x, pass, box, read, read.count);
        Run* runs = space.taps.get<Run>(blocks.taps);
        const int64_t count = make_runs(runs, strip, pass, read.count, pitch);
        const Rows gradient = gradient_rows(&space.gradient, args.y, box, met, pitch);
        if (bias != nullptr) add_positions(gradient, box, met.count, bias);
        F32DenseWeight::Args tile{};
        tile.rows = box.rows();
        tile.columns = columns;
        tile.total_pitch = pitch;
        for_each_part(pitch / kLanes, kDenseVectors, [&](Range vectors) {
          const auto& tiles = kTiles<F32DenseWeight>.run[vectors.size()];
          const int64_t lane = vectors.begin * kLanes, largest = kDensePositions[vectors.size()];
          tile.y = {gradient.data + lane, gradient.row, gradient.position};
          for (int64_t i = 0; i < count; ++i) {
            const float* from = strip.data + runs[i].strip;
            float* to = total + runs[i].kernel + lane;
            const int64_t length = runs[i].length;
            for_each_part(length, largest, [&](Range numbers) {
              if (ahead && lane == 0) {
                for (int64_t k = columns * numbers.begin / length; k < columns * numbers.end / length; ++k) {
                  prefetch(strip.data + (columns + k) * strip.position, read.count);
                  prefetch(gradient.data + (columns + k) * gradient.position, pitch);
                }
              }
              tile.x = {from + numbers.begin, height.step * strip.row, width.step * strip.position};
              tile.total = to + numbers.begin * pitch;
              tiles[numbers.size()](tile);
            });
          }
        });
      });

  finish_blocks(args, blocks, args.dense_sums, [&](const WeightBlock& block, Range channels, const float* total) {
    const int64_t taps = blocks.taps, slot = plan.problem.groups * blocks.floats();
    T* first = args.w + ((block.group * blocks.target + block.targets.begin) * blocks.source + block.sources.begin +
                         channels.begin) *
                            taps;
    // The numbers of one channel of the target lie side by side: they are transposed, as in `pack_block`.
    for (int64_t i = 0; i < channels.size() * taps; i += kLanes) {
      const int64_t run = min(channels.size() * taps - i, kLanes);
      float sum[kLanes][kTargetChannels];
      for (int64_t k = 0; k < run; ++k) {
        const int64_t c = channels.begin + (i + k) / taps, tap = (i + k) % taps;
        add_slots(sum[k], total + (tap * block.sources.size() + c) * block.pitch, block.pitch, plan.slots, slot);
      }
      transpose_out(first + i, blocks.source * taps, sum[0], kTargetChannels, block.targets.size(), run);
    }
  });
  return true;
}

}  // namespace
}  // namespace jaxconv::JAXCONV_ISA
