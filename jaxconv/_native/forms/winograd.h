// Kernels of 3 x 3 with stride 1: fewer multiplications (Winograd's minimal filtering, after Lavin and Gray, "Fast
// Algorithms for Convolutional Neural Networks", 2016).
//
// Along one axis, two results of a kernel g of three taps, as far apart as the taps are, need four numbers d:
//
//     y = A^T [(G g) * (B^T d)]
//
//            1  0 -1  0             1    0    0
//     B^T =  0  1  1  0       G =  1/2  1/2  1/2       A^T =  1  1  1  0
//            0 -1  1  0            1/2 -1/2  1/2              0  1 -1 -1
//            0  1  0 -1             0    0    1
//
// and four products where the sum itself takes six; along two axes 16 where it takes 36. The trilinear form
// <y, conv(x, g)> of one tile is the sum over these 16 of (A y A^T)(G g G^T)(B^T d B), so that its derivative in g is
//
//     G^T [(A y A^T) * (B^T d B)] G
//
// and what is done for all channels is 16 products of matrices (tiles x channels), by the same registers' tiles as
// those of dense.h.
//
// Rounding errors are those of the sum, about. But a tile's numbers all meet, so that one which is not finite, or sums
// that overflow, would reach results that have nothing to do with it. They never pass unseen: what they reach is not
// finite either. Then the pass says so, and the sum is taken.
#pragma once

#include "forms/dense.h"

namespace jaxconv::JAXCONV_ISA {
namespace {

// -- the transformations of one tile and a vector of channels --------------------------------------------------------

// B^T d B, from a strip.
JAXCONV_INLINE void transform_source(const float* d, int64_t row, int64_t position, int64_t n, float* out,
                                     int64_t product) {
  Vec v[4][4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) v[i][j] = load_first(d + i * row + j * position, n);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const Vec a = v[0][j] - v[2][j], b = v[1][j] + v[2][j], c = v[2][j] - v[1][j], e = v[1][j] - v[3][j];
    v[0][j] = a, v[1][j] = b, v[2][j] = c, v[3][j] = e;
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    float* to = out + 4 * i * product;
    store_first(to, v[i][0] - v[i][2], n);
    store_first(to + product, v[i][1] + v[i][2], n);
    store_first(to + 2 * product, v[i][2] - v[i][1], n);
    store_first(to + 3 * product, v[i][1] - v[i][3], n);
  }
}

// A^T m A: the four results of a tile, row by row.
JAXCONV_INLINE void transform_back(const float* m, int64_t product, Vec (&y)[4][1]) {
  Vec v[2][4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const Vec a = load(m + j * product), b = load(m + (4 + j) * product), c = load(m + (8 + j) * product);
    const Vec e = load(m + (12 + j) * product);
    v[0][j] = a + b + c;
    v[1][j] = b - c - e;
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    y[2 * i][0] = v[i][0] + v[i][1] + v[i][2];
    y[2 * i + 1][0] = v[i][1] - v[i][2] - v[i][3];
  }
}

// A y A^T, the transpose of that.
JAXCONV_INLINE void transform_gradient(const Vec y[4], float* out, int64_t product) {
  Vec v[4][2];
#pragma GCC unroll 2
  for (int j = 0; j < 2; ++j) {
    const Vec a = y[j], b = y[2 + j];
    v[0][j] = a, v[1][j] = a + b, v[2][j] = a - b, v[3][j] = -b;
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    float* to = out + 4 * i * product;
    store(to, v[i][0]);
    store(to + product, v[i][0] + v[i][1]);
    store(to + 2 * product, v[i][0] - v[i][1]);
    store(to + 3 * product, -v[i][1]);
  }
}

// G g G^T, in blocks of kProducts taps: the numbers of channel c of the source in block t of the target.
template <class T>
void pack_transformed(const Weights& w, const Blocks& blocks, int64_t group, int64_t t, int64_t c, float* out) {
  const int64_t pitch = blocks.pitch(t), product = blocks.source * pitch;
  const Range targets = blocks.targets(t);
  const T* from = static_cast<const T*>(w.data) + group * w.group + c * w.source + targets.begin * w.target;
  for (int64_t o0 = 0; o0 < pitch; o0 += kBlock) {
    float taps[9][kBlock] = {}, half[4][3][kBlock];
    for (int64_t tap = 0; tap < 9; tap += kLanes) {
      transpose_in(taps[tap], kBlock, from + o0 * w.target + tap, w.target, min(kBlock, targets.size() - o0),
                   min(9 - tap, kLanes));
    }
    for (int j = 0; j < 3; ++j) {
      const float *const g0 = taps[w.reversed ? 8 - j : j], *const g1 = taps[w.reversed ? 5 - j : 3 + j];
      const float* const g2 = taps[w.reversed ? 2 - j : 6 + j];
      for (int o = 0; o < kBlock; ++o) {
        const float a = g0[o], b = g1[o], e = g2[o], even = 0.5f * (a + e), odd = 0.5f * b;
        half[0][j][o] = a, half[1][j][o] = even + odd, half[2][j][o] = even - odd, half[3][j][o] = e;
      }
    }
    for (int i = 0; i < 4; ++i) {
      float* to = out + (4 * i * blocks.source + c) * pitch + o0;
      for (int o = 0; o < kBlock; ++o) {
        const float a = half[i][0][o], b = half[i][1][o], e = half[i][2][o], even = 0.5f * (a + e), odd = 0.5f * b;
        to[o] = a, to[product + o] = even + odd, to[2 * product + o] = even - odd, to[3 * product + o] = e;
      }
    }
  }
}

template <class T>
void pack_winograd(const PassArgs<T>& args) {
  PackedKernel& kernel = args.kernel;
  if (kernel.form.done) return;
  const Blocks& blocks = args.plan.winograd;
  parallel(args.threads, args.plan.problem.groups * blocks.target_blocks, [&](int64_t i) {
    const int64_t t = i % blocks.target_blocks, group = i / blocks.target_blocks;
    float* out = kernel.form.data + group * blocks.floats() + blocks.begin(0, t);
    for (int64_t c = 0; c < blocks.source; ++c) pack_transformed<T>(kernel.weights, blocks, group, t, c, out);
  });
  kernel.form.done = true;
}

// G^T s G: `sums` are the 16 sums of kBlock channels, `result` the 9 taps of each.
void transform_sums(const float sums[kProducts][kBlock], float result[9][kBlock]) {
  float half[3][4][kBlock];
  for (int j = 0; j < 4; ++j) {
    for (int o = 0; o < kBlock; ++o) {
      const float b = 0.5f * sums[4 + j][o], c = 0.5f * sums[8 + j][o];
      half[0][j][o] = sums[j][o] + (b + c), half[1][j][o] = b - c, half[2][j][o] = (b + c) + sums[12 + j][o];
    }
  }
  for (int i = 0; i < 3; ++i) {
    for (int o = 0; o < kBlock; ++o) {
      const float b = 0.5f * half[i][1][o], c = 0.5f * half[i][2][o];
      result[3 * i][o] = half[i][0][o] + (b + c);
      result[3 * i + 1][o] = b - c;
      result[3 * i + 2][o] = (b + c) + half[i][3][o];
    }
  }
}

// -- tiles -------------------------------------------------------------------------------------------------------

// A tile's results are a dilation d apart, so along each axis d tiles make a block of 2 d results. Pieces of work are
// whole blocks. `floats` is what one tile holds transformed; there are at least `wanted` pieces in a plane where it has
// so many rows of blocks.
Pieces cut_tiles(const Problem& p, const Pass& pass, int64_t floats, int64_t wanted) {
  const int64_t *dilation = p.dilation + 1, sizes[2] = {2 * dilation[0], 2 * dilation[1]};
  const int64_t rows = ceil_div(pass.axis[1].count, sizes[0]), columns = ceil_div(pass.axis[2].count, sizes[1]);
  const int64_t tiles =
      max(kTransformedBytes / (floats * static_cast<int64_t>(sizeof(float))), 2 * kDensePositions[kDenseVectors]);
  const int64_t blocks = max(tiles / (dilation[0] * dilation[1]), 1);
  const int64_t wide = ceil_div(columns, ceil_div(columns, blocks));
  const int64_t bands = ceil_div(rows, max(blocks / wide, 1));
  const int64_t high = ceil_div(rows, max(bands, min(rows, ceil_div(wanted, ceil_div(columns, wide)))));
  return Pieces(p.batch, pass, 1, high * sizes[0], wide * sizes[1]);
}

// The tiles of a piece. Where its last block is not full, tiles with one result in it are moved back by d, and the
// other result belongs to a tile before; so the tiles may begin before the piece does. All along the rows and columns
// of a plane.
struct PieceTiles {
  int64_t dilation[2], begin[2], size[2];  // the results that are the piece's own
  int64_t first[2];                        // the first of the results that its tiles compute
  int64_t tiles[2];

  PieceTiles(const Problem& p, const Box& box) {
    for (int a = 0; a < 2; ++a) {
      const int64_t d = dilation[a] = p.dilation[1 + a];
      begin[a] = box.begin[1 + a];
      size[a] = box.size[1 + a];
      const int64_t rest = size[a] % (2 * d);
      tiles[a] = size[a] / (2 * d) * d + min(rest, d);
      first[a] = begin[a] - (rest > 0 && size[a] < 2 * d ? d : 0);
    }
  }

  int64_t count() const { return tiles[0] * tiles[1]; }
  // Where tile i along axis a would begin, from the results that are the piece's own.
  int64_t place(int a, int64_t i) const { return i / dilation[a] * 2 * dilation[a] + i % dilation[a]; }
  // How many results of this tile belong to another.
  int64_t skipped(int a, int64_t i) const { return place(a, i) + dilation[a] >= size[a] ? 1 : 0; }
  // Where it begins, from `first` on.
  int64_t at(int a, int64_t i) const { return begin[a] + place(a, i) - skipped(a, i) * dilation[a] - first[a]; }
  // All results that the tiles compute.
  Box box(int64_t plane) const {
    return {{plane, first[0], first[1]}, {1, begin[0] + size[0] - first[0], begin[1] + size[1] - first[1]}};
  }
};

// The transformed numbers of a slice: (kProducts, tiles, channels).
template <class T>
const float* transform_piece(Workspace* space, const View<const T>& source, const Pass& pass, const PieceTiles& tiles,
                             const Box& box, const Slice& slice) {
  const int64_t n = slice.count, product = tiles.count() * n;
  const Strip strip = make_strip(&space->strip, source, pass, tiles.box(box.begin[0]), slice, n);
  const int64_t row = tiles.dilation[0] * strip.row, position = tiles.dilation[1] * strip.position;
  float* transformed = space->transformed.get(kProducts * product);
  float* to = transformed;
  for (int64_t i = 0; i < tiles.tiles[0]; ++i) {
    for (int64_t j = 0; j < tiles.tiles[1]; ++j, to += n) {
      const float* from = strip.data + tiles.at(0, i) * strip.row + tiles.at(1, j) * strip.position;
      int64_t c = 0;
      for (; c + kLanes <= n; c += kLanes) transform_source(from + c, row, position, kLanes, to + c, product);
      if (c < n) transform_source(from + c, row, position, n - c, to + c, product);
    }
  }
  return transformed;
}

// -- numbers that are not finite -----------------------------------------------------------------------------------

// v - v is zero, unless v is not finite.
JAXCONV_INLINE Vec nonfinite(Vec v) { return v - v; }

bool is_zero(Vec v) {
  bool zero = true;
  for (int i = 0; i < kLanes; ++i) zero &= v[i] == 0;
  return zero;
}

// Whether all results are finite, as the jobs report it.
class Finite {
 public:
  void add(Vec nonfinite_sum) {
    if (!is_zero(nonfinite_sum)) __atomic_store_n(&finite_, false, __ATOMIC_RELAXED);
  }
  bool get() const { return finite_; }

 private:
  bool finite_ = true;
};

// -- a pass ------------------------------------------------------------------------------------------------------

// False where something is not finite, and the target is to be computed otherwise; so, too, where the pass adds to the
// target: what is added comes from margins, which are thin.
template <class T>
bool winograd_pass(const PassArgs<T>& args) {
  if (args.accumulate) return false;
  const Plan& plan = args.plan;
  const Problem& p = plan.problem;
  const Pass& pass = args.pass;
  const View<T>& target = args.target;
  const Axis &depth = pass.axis[0], &height = pass.axis[1], &width = pass.axis[2];
  pack_winograd(args);
  const Blocks& blocks = plan.winograd;
  const int64_t wanted = kPiecesPerThread * args.threads->threads, images = p.groups * p.batch * depth.count;
  Pieces pieces = cut_tiles(p, pass, kProducts * blocks.source, ceil_div(wanted, images));
  pieces.groups = p.groups;
  pieces.shares = min(blocks.target_blocks, ceil_div(wanted, pieces.size()));
  const bool in_place = as_float(target.data) != nullptr && target.channel == 1;
  Finite finite;

  parallel(args.threads, pieces.size(), [&](int64_t job) {
    Workspace& space = workspace();
    const Piece piece = pieces[job];
    const Box& box = piece.box;
    const PieceTiles tiles(p, box);
    const Range share = part(blocks.target_blocks, pieces.shares, piece.share);
    const Slice read = {piece.image, piece.group * blocks.source, blocks.source};
    const int64_t count = tiles.count();
    const float* transformed = transform_piece(&space, args.source, pass, tiles, box, read);
    const int64_t run_count = ceil_div(blocks.source, kTerms);  // sums of so many terms are added
    Run* runs = space.taps.get<Run>(run_count);
    Vec bad = {};

    for (int64_t t = share.begin; t < share.end; ++t) {
      const Range targets = blocks.targets(t);
      const int64_t pitch = blocks.pitch(t), product = count * pitch;
      const Slice written = {piece.image, piece.group * blocks.target + targets.begin, targets.size()};
      const Epilogue epilogue = args.epilogue.from(blocks.bias_begin(piece.group, t));
      float* products = space.products.get(kProducts * product);
      for (int64_t i = 0; i < run_count; ++i) {
        runs[i] = {i * kTerms, i * kTerms * pitch, min(kTerms, blocks.source - i * kTerms)};
      }
      F32Dense::Args tile{};
      tile.source_step = blocks.source;
      tile.runs = runs;
      tile.run_count = run_count;
      tile.weights_pitch = tile.out_step = pitch;
      tile.channels = pitch;
      for (int64_t k = 0; k < kProducts; ++k) {
        tile.weights =
            args.kernel.form.data + piece.group * blocks.floats() + blocks.begin(0, t) + k * blocks.source * pitch;
        multiply(tile, pitch / kLanes, 1, count,
                 [&](int64_t) { return TileRow{transformed + k * count * blocks.source, products + k * product}; });
      }

      // Back: where the target takes vectors of channels, to where they belong.
      float* results = in_place ? nullptr : space.results.get(box.rows() * box.columns() * pitch);
      const int64_t channels = in_place ? targets.size() : pitch;
      for (int64_t i = 0; i < tiles.tiles[0]; ++i) {
        for (int64_t j = 0; j < tiles.tiles[1]; ++j) {
          const float* m = products + (i * tiles.tiles[1] + j) * pitch;
          float* to[4] = {};
          for (int64_t k = 0; k < 4; ++k) {
            const int64_t a = k / 2, b = k % 2;
            if (a < tiles.skipped(0, i) || b < tiles.skipped(1, j)) continue;
            const int64_t row = tiles.first[0] + tiles.at(0, i) + a * tiles.dilation[0];
            const int64_t column = tiles.first[1] + tiles.at(1, j) + b * tiles.dilation[1];
            to[k] = in_place ? as_float(target.data) + piece.image * target.batch +
                                   depth.target(box.begin[0]) * target.axis[0] + height.target(row) * target.axis[1] +
                                   width.target(column) * target.axis[2] + written.channel
                             : results + ((row - box.begin[1]) * box.columns() + column - box.begin[2]) * pitch;
          }
          for (int64_t lane = 0; lane < pitch; lane += kLanes) {
            Vec y[4][1];
            transform_back(m + lane, product, y);
            bad += (nonfinite(y[0][0]) + nonfinite(y[1][0])) + (nonfinite(y[2][0]) + nonfinite(y[3][0]));
            epilogue.from(lane).apply_to_channels(y);
#pragma GCC unroll 4
            for (int k = 0; k < 4; ++k) {
              if (to[k] != nullptr) store_first(to[k] + lane, y[k][0], channels - lane);
            }
          }
        }
      }
      if (!in_place) write_box(target, pass, box, written, results, pitch, false);
    }
    finite.add(bad);
  });
  return finite.get();
}

// -- the weight's gradient ---------------------------------------------------------------------------------------

// A y A^T of all tiles of a piece: (kProducts, tiles, pitch), `n` channels of it.
const float* transform_gradients(Workspace* space, const PieceTiles& tiles, const Rows& gradient, int64_t n,
                                 int64_t pitch) {
  const int64_t product = tiles.count() * pitch;
  float* transformed = space->products.get(kProducts * product);
  float* to = transformed;
  for (int64_t i = 0; i < tiles.tiles[0]; ++i) {
    for (int64_t j = 0; j < tiles.tiles[1]; ++j, to += pitch) {
      const float* from = gradient.data + tiles.at(0, i) * gradient.row + tiles.at(1, j) * gradient.position;
      const int64_t row = tiles.dilation[0] * gradient.row, position = tiles.dilation[1] * gradient.position;
      for (int64_t lane = 0; lane < pitch; lane += kLanes) {
        Vec y[4];
        for (int k = 0; k < 4; ++k) {
          const bool wanted = k / 2 >= tiles.skipped(0, i) && k % 2 >= tiles.skipped(1, j);
          y[k] = wanted ? load_first(from + k / 2 * row + k % 2 * position + lane, n - lane) : Vec{};
        }
        transform_gradient(y, to + lane, product);
      }
    }
  }
  return transformed;
}

// False where something is not finite, and the gradient is to be computed otherwise.
template <class T>
bool winograd_weight(const WeightArgs<T>& args) {
  const Plan& plan = args.plan;
  const Problem& p = plan.problem;
  const Pass& pass = args.pass;
  const Blocks& blocks = plan.winograd;
  Pieces pieces = cut_tiles(p, pass, kProducts * (min(blocks.source, kGradientChannels) + kTargetChannels), 1);

  sum_blocks(
      args, blocks, args.form_sums, pieces,
      [&](const WeightBlock& block, const Slice& read, const Slice& met, const Box& box, float* total, float* bias) {
        Workspace& space = workspace();
        const PieceTiles tiles(p, box);
        const int64_t pitch = block.pitch, count = tiles.count();
        const float* transformed = transform_piece(&space, args.x, pass, tiles, box, read);
        const Rows gradient = gradient_rows(&space.gradient, args.y, tiles.box(box.begin[0]), met, met.count);
        if (bias != nullptr) {
          const float* first = gradient.data + (tiles.begin[0] - tiles.first[0]) * gradient.row +
                               (tiles.begin[1] - tiles.first[1]) * gradient.position;
          add_positions({first, gradient.row, gradient.position}, box, met.count, bias);
        }
        const float* gradients = transform_gradients(&space, tiles, gradient, met.count, pitch);
        F32DenseWeight::Args tile{};
        tile.rows = 1;
        tile.columns = count;
        tile.total_pitch = pitch;
        for (int64_t k = 0; k < kProducts; ++k) {
          for_each_part(pitch / kLanes, kDenseVectors, [&](Range vectors) {
            const auto& kernels = kTiles<F32DenseWeight>.run[vectors.size()];
            const int64_t lane = vectors.begin * kLanes;
            tile.y = {gradients + k * count * pitch + lane, 0, pitch};
            for_each_part(read.count, kDensePositions[vectors.size()], [&](Range numbers) {
              tile.x = {transformed + k * count * read.count + numbers.begin, 0, read.count};
              tile.total = total + (k * read.count + numbers.begin) * pitch + lane;
              kernels[numbers.size()](tile);
            });
          });
        }
      });

  Finite finite;
  finish_blocks(args, blocks, args.form_sums, [&](const WeightBlock& block, Range channels, float* total) {
    const int64_t pitch = block.pitch, sources = block.sources.size();
    for (int64_t k = 0; k < kProducts; ++k) {
      float* to = total + (k * sources + channels.begin) * pitch;
      add_slots(to, to, channels.size() * pitch, plan.slots, p.groups * blocks.floats());
    }
    Vec bad = {};
    for (int64_t i = channels.begin; i < channels.end; ++i) {
      for (int64_t o0 = 0; o0 < pitch; o0 += kBlock) {
        float products[kProducts][kBlock], taps[9][kBlock];
        for (int64_t k = 0; k < kProducts; ++k) copy(products[k], total + (k * sources + i) * pitch + o0, kBlock);
        transform_sums(products, taps);
        for (int tap = 0; tap < 9; ++tap) {
          for (int o = 0; o < kBlock; o += kLanes) bad += nonfinite(load(taps[tap] + o));
        }
        T* to =
            args.w +
            ((block.group * blocks.target + block.targets.begin + o0) * blocks.source + block.sources.begin + i) * 9;
        for (int64_t tap = 0; tap < 9; tap += kLanes) {
          transpose_out(to + tap, blocks.source * 9, taps[tap], kBlock, min(kBlock, block.targets.size() - o0),
                        min(9 - tap, kLanes));
        }
      }
    }
    finite.add(bad);
  });
  return finite.get();
}

}  // namespace
}  // namespace jaxconv::JAXCONV_ISA
