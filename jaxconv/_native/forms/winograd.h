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

namespace jaxconv {
namespace {

constexpr int64_t kProducts = 16;
// Transformed numbers of a piece of work, which stay in the second cache.
constexpr int64_t kTransformedBytes = 320 << 10;
// With fewer channels than these on one side, or on both, the transformations take longer than what they save.
constexpr int64_t kFewestChannels = 16;
// With fewer tiles than these the kernel's transformation does, for an image; so do the sums of the weight's gradient
// with fewer tiles in each of its slots.
constexpr int64_t kFewestTiles = 64;
constexpr int64_t kFewestTilesOfSlot = 8;

// Whether tiles of a plane of `size` take less time than sums.
bool winograd_serves(const Problem& p, int64_t source, int64_t target, const int64_t size[3], int64_t fewest_tiles) {
  const bool tiles_fit = size[1] >= 2 * p.dilation[1] && size[2] >= 2 * p.dilation[2];
  return p.kernel[0] == 1 && p.kernel[1] == 3 && p.kernel[2] == 3 && p.stride[0] == 1 && p.stride[1] == 1 &&
         p.stride[2] == 1 && tiles_fit && least(source, target) >= kFewestChannels &&
         source + target >= 3 * kFewestChannels && p.batch * size[0] * up(size[1], 2) * up(size[2], 2) >= fewest_tiles;
}

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
JAXCONV_INLINE void transform_back(const float* m, int64_t product, Vec y[4]) {
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
    y[2 * i] = v[i][0] + v[i][1] + v[i][2];
    y[2 * i + 1] = v[i][1] - v[i][2] - v[i][3];
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

// G g G^T, in `blocks` of 16 taps.
template <class T>
void pack_winograd(const Weights& w, const Blocks& blocks, int64_t group, int64_t t, int64_t c, float* out) {
  const int64_t wide = blocks.wide(t), targets = blocks.targets(t);
  const T* from = static_cast<const T*>(w.data) + group * w.group + c * w.source + t * kTargetChannels * w.target;
  for (int64_t o0 = 0; o0 < wide; o0 += kBlock) {
    float taps[9][kBlock] = {}, half[4][3][kBlock];
    for (int64_t tap = 0; tap < 9; tap += kLanes) {
      const int64_t some = least(kBlock, targets - o0), run = least(9 - tap, kLanes);
      transpose_in(taps[tap], kBlock, from + o0 * w.target + tap, w.target, some, run);
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
      float* to = out + (4 * i * blocks.source + c) * wide + o0;
      const int64_t product = blocks.source * wide;
      for (int o = 0; o < kBlock; ++o) {
        const float a = half[i][0][o], b = half[i][1][o], e = half[i][2][o], even = 0.5f * (a + e), odd = 0.5f * b;
        to[o] = a, to[product + o] = even + odd, to[2 * product + o] = even - odd, to[3 * product + o] = e;
      }
    }
  }
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
// whole blocks.
struct TileCut {
  int64_t dilation[2], blocks[2], each[2], pieces[2];
};

// `floats` is what one tile holds transformed; there are at least `pieces` pieces where there are so many rows.
TileCut cut_tiles(const Problem& p, const Pass& pass, int64_t floats, int64_t pieces) {
  TileCut c;
  for (int a = 0; a < 2; ++a) {
    c.dilation[a] = p.dilation[1 + a];
    c.blocks[a] = up(pass.axis[1 + a].count, 2 * c.dilation[a]);
  }
  const int64_t tiles = most(kTransformedBytes / (floats * 4), 2 * kTilePositions[kTileVectors]);
  const int64_t blocks = most(tiles / (c.dilation[0] * c.dilation[1]), 1);
  c.each[1] = up(c.blocks[1], up(c.blocks[1], blocks));
  c.pieces[1] = up(c.blocks[1], c.each[1]);
  const int64_t rows = up(c.blocks[0], most(blocks / c.each[1], 1));
  c.each[0] = up(c.blocks[0], most(rows, least(c.blocks[0], up(pieces, c.pieces[1]))));
  c.pieces[0] = up(c.blocks[0], c.each[0]);
  return c;
}

// A piece: the results that are its own, and the first of those that its tiles compute. Where a last block is not full,
// tiles with one result in it are moved back by d, and the other result belongs to a tile before.
struct TilePiece {
  int64_t image, plane, dilation[2], own[2], size[2], first[2], tiles[2];

  // Where tile i along axis a would begin, from the results that are the piece's own.
  int64_t place(int a, int64_t i) const { return i / dilation[a] * 2 * dilation[a] + i % dilation[a]; }
  // How many results of this tile belong to another.
  int64_t skipped(int a, int64_t i) const { return place(a, i) + dilation[a] >= size[a] ? 1 : 0; }
  // Where it begins, from `first` on.
  int64_t at(int a, int64_t i) const { return own[a] + place(a, i) - skipped(a, i) * dilation[a] - first[a]; }
  // Results from `first` on.
  int64_t span(int a) const { return own[a] + size[a] - first[a]; }
};

TilePiece tile_piece(const TileCut& c, const Pass& pass, int64_t i) {
  TilePiece piece;
  const int64_t begin[2] = {i / c.pieces[1] % c.pieces[0] * c.each[0], i % c.pieces[1] * c.each[1]};
  i /= c.pieces[0] * c.pieces[1];
  piece.plane = i % pass.axis[0].count;
  piece.image = i / pass.axis[0].count;
  for (int a = 0; a < 2; ++a) {
    const int64_t d = piece.dilation[a] = c.dilation[a], count = pass.axis[1 + a].count;
    piece.own[a] = 2 * d * begin[a];
    piece.size[a] = least(2 * d * c.each[a], count - piece.own[a]);
    const int64_t rest = piece.size[a] % (2 * d);
    piece.tiles[a] = piece.size[a] / (2 * d) * d + least(rest, d);
    piece.first[a] = piece.own[a] - (rest > 0 && piece.size[a] < 2 * d ? d : 0);
  }
  return piece;
}

// The transformed numbers of `n` channels: (16, tiles, channels).
template <class T>
const float* transform_piece(DenseScratch* scratch, const View<const T>& source, const Pass& pass,
                             const TilePiece& piece, int64_t channel, int64_t n) {
  const int64_t first[3] = {piece.plane, piece.first[0], piece.first[1]};
  const Strip strip =
      make_strip(&scratch->strip, source, pass, first, piece.span(0), piece.span(1), piece.image, channel, n, n);
  const int64_t product = piece.tiles[0] * piece.tiles[1] * n;
  float* transformed = scratch->transformed.get(kProducts * product);
  float* to = transformed;
  for (int64_t i = 0; i < piece.tiles[0]; ++i) {
    for (int64_t j = 0; j < piece.tiles[1]; ++j, to += n) {
      const float* from = strip.data + piece.at(0, i) * strip.row + piece.at(1, j) * strip.position;
      const int64_t row = piece.dilation[0] * strip.row, position = piece.dilation[1] * strip.position;
      int64_t c = 0;
      for (; c + kLanes <= n; c += kLanes) transform_source(from + c, row, position, kLanes, to + c, product);
      if (c < n) transform_source(from + c, row, position, n - c, to + c, product);
    }
  }
  return transformed;
}

// -- a pass ------------------------------------------------------------------------------------------------------

// Zero, unless one of the numbers is not finite.
JAXCONV_INLINE Vec unless_finite(const Vec y[4]) {
  return (y[0] - y[0]) + (y[1] - y[1]) + (y[2] - y[2]) + (y[3] - y[3]);
}

bool is_zero(Vec v) {
  bool zero = true;
  for (int i = 0; i < kLanes; ++i) zero &= v[i] == 0;
  return zero;
}

// One pass over all images and groups, and the bias where it is not null; false where something is not finite, and the
// target is to be computed otherwise.
template <class T>
bool winograd_pass(const Problem& p, const View<const T>& source, const View<T>& target, const Pass& pass,
                   const Blocks& blocks, const float* packed, const float* bias, Parallel* threads) {
  const Axis &deep = pass.axis[0], &high = pass.axis[1], &wide = pass.axis[2];
  const int64_t enough = 8 * threads->threads, whole = p.groups * p.batch * deep.count;
  const TileCut c = cut_tiles(p, pass, kProducts * blocks.source, up(enough, whole));
  const int64_t pieces = p.batch * deep.count * c.pieces[0] * c.pieces[1];
  const int64_t shares = least(blocks.target_blocks, up(enough, p.groups * pieces));
  const bool direct = as_float(target.data) != nullptr && target.channel == 1;
  bool finite = true;

  parallel(threads, pieces * p.groups * shares, [&](int64_t job) {
    DenseScratch& scratch = dense_scratch();
    const int64_t share = job % shares, group = job / shares % p.groups;
    const TilePiece piece = tile_piece(c, pass, job / shares / p.groups);
    const int64_t begin = part(blocks.target_blocks, shares, share);
    const int64_t end = part(blocks.target_blocks, shares, share + 1);
    const int64_t tiles = piece.tiles[0] * piece.tiles[1], from_product = tiles * blocks.source;
    const float* transformed = transform_piece(&scratch, source, pass, piece, group * blocks.source, blocks.source);
    const int64_t count = up(blocks.source, kTerms);  // sums of so many terms are added
    Run* runs = scratch.runs.get<Run>(count);
    Vec bad = {};

    for (int64_t t = begin; t < end; ++t) {
      const int64_t padded = blocks.wide(t), product = tiles * padded, n = blocks.targets(t);
      const int64_t channel = group * blocks.target + t * kTargetChannels;
      const float* start = bias ? bias + blocks.bias_begin(group, t) : nullptr;
      float* products = scratch.products.get(kProducts * product);
      for (int64_t i = 0; i < count; ++i) {
        runs[i] = {i * kTerms, i * kTerms * padded, least(kTerms, blocks.source - i * kTerms)};
      }
      const int64_t vectors = padded / kLanes, vector_tiles = up(vectors, kTileVectors);
      for (int64_t k = 0; k < kProducts; ++k) {
        const float* w = packed + group * blocks.floats() + blocks.begin(0, t) + k * blocks.source * padded;
        for (int64_t tile = 0; tile < vector_tiles; ++tile) {
          const int64_t v = part(vectors, vector_tiles, tile), v_end = part(vectors, vector_tiles, tile + 1);
          const int64_t lane = v * kLanes, position_tiles = up(tiles, kTilePositions[v_end - v]);
          for (int64_t i = 0; i < position_tiles; ++i) {
            const int64_t q = part(tiles, position_tiles, i), q_end = part(tiles, position_tiles, i + 1);
            kDenseTiles[v_end - v][q_end - q](transformed + k * from_product + q * blocks.source, blocks.source, runs,
                                              count, w + lane, padded, products + k * product + q * padded + lane,
                                              padded, padded - lane, nullptr, 0, false);
          }
        }
      }

      // Back: where the target takes vectors of channels, to where they belong.
      float* out = direct ? nullptr : scratch.local.get(piece.size[0] * piece.size[1] * padded);
      for (int64_t i = 0; i < piece.tiles[0]; ++i) {
        for (int64_t j = 0; j < piece.tiles[1]; ++j) {
          const float* m = products + (i * piece.tiles[1] + j) * padded;
          float* to[4] = {};
          for (int64_t k = 0; k < 4; ++k) {
            const int64_t a = k / 2, b = k % 2;
            if (a < piece.skipped(0, i) || b < piece.skipped(1, j)) continue;
            const int64_t row = piece.first[0] + piece.at(0, i) + a * piece.dilation[0];
            const int64_t column = piece.first[1] + piece.at(1, j) + b * piece.dilation[1];
            to[k] = direct ? as_float(target.data) + piece.image * target.batch +
                                 deep.target[piece.plane] * target.axis[0] + high.target[row] * target.axis[1] +
                                 wide.target[column] * target.axis[2] + channel
                           : out + ((row - piece.own[0]) * piece.size[1] + column - piece.own[1]) * padded;
          }
          for (int64_t lane = 0; lane < padded; lane += kLanes) {
            Vec y[4];
            transform_back(m + lane, product, y);
            bad += unless_finite(y);
            if (start != nullptr) {
#pragma GCC unroll 4
              for (int k = 0; k < 4; ++k) y[k] += load(start + lane);
            }
#pragma GCC unroll 4
            for (int k = 0; k < 4; ++k) {
              if (to[k] != nullptr) store_first(to[k] + lane, y[k], (direct ? n : padded) - lane);
            }
          }
        }
      }
      if (!direct) {
        const int64_t first[3] = {piece.plane, piece.own[0], piece.own[1]};
        write_piece(target, pass, first, piece.size[0], piece.size[1], piece.image, channel, n, out, padded, false);
      }
    }
    if (!is_zero(bad)) __atomic_store_n(&finite, false, __ATOMIC_RELAXED);
  });
  return finite;
}

// -- the weight's gradient ---------------------------------------------------------------------------------------

// The gradient; false where something is not finite, and it is to be computed otherwise. `blocks`, `bias` and `sums` as
// in dense_weight, with 16 taps.
template <class T>
bool winograd_weight(const Problem& p, const View<const T>& x, const View<const T>& y, const Pass& pass,
                     const Blocks& blocks, T* w, float* bias, float* sums, Parallel* threads) {
  const int64_t tiles = p.groups * blocks.source_blocks * blocks.target_blocks, slots = gradient_slots(p, blocks);
  const int64_t per_group = blocks.floats();
  const TileCut c = cut_tiles(p, pass, kProducts * (least(blocks.source, kGradientChannels) + kTargetChannels), 1);
  const int64_t pieces = p.batch * pass.axis[0].count * c.pieces[0] * c.pieces[1];

  auto tile_of = [&](int64_t tile, int64_t* group, int64_t* s, int64_t* t) {
    *t = tile % blocks.target_blocks;
    *s = tile / blocks.target_blocks % blocks.source_blocks;
    *group = tile / blocks.target_blocks / blocks.source_blocks;
  };

  parallel(threads, tiles * slots, [&](int64_t job) {
    DenseScratch& scratch = dense_scratch();
    const int64_t slot = job % slots;
    int64_t group, s, t;
    tile_of(job / slots, &group, &s, &t);
    const int64_t some = blocks.sources(s), padded = blocks.wide(t), n = blocks.targets(t);
    float* total = sums + (slot * p.groups + group) * per_group + blocks.begin(s, t);
    std::memset(total, 0, kProducts * some * padded * sizeof(float));
    const int64_t channel = group * blocks.source + blocks.source_begin(s);
    const int64_t y_channel = group * blocks.target + t * kTargetChannels;
    const bool direct = as_float(y.data) != nullptr && y.channel == 1;
    float* of_bias = bias_sums(bias, p, blocks, slot, group, s, t);

    for (int64_t i = part(pieces, slots, slot); i < part(pieces, slots, slot + 1); ++i) {
      const TilePiece piece = tile_piece(c, pass, i);
      const int64_t count = piece.tiles[0] * piece.tiles[1];
      const float* transformed = transform_piece(&scratch, x, pass, piece, channel, some);

      const T* from = y.data + piece.image * y.batch + piece.plane * y.axis[0] + piece.first[0] * y.axis[1] +
                      piece.first[1] * y.axis[2] + y_channel * y.channel;
      const float* grad = as_float(from);
      int64_t grad_row = y.axis[1], grad_step = y.axis[2];
      if (!direct) {
        const int64_t rows = piece.span(0), width = piece.span(1);
        float* copied = scratch.target.get(rows * width * padded);
        for (int64_t r = 0; r < rows; ++r) {
          copy_plain_row(copied + r * width * padded, from + r * y.axis[1], width, n, padded, y.axis[2], y.channel);
        }
        grad = copied, grad_row = width * padded, grad_step = padded;
      }
      if (of_bias != nullptr) {
        const float* own =
            grad + (piece.own[0] - piece.first[0]) * grad_row + (piece.own[1] - piece.first[1]) * grad_step;
        add_positions(own, grad_row, grad_step, piece.size[0], piece.size[1], n, of_bias);
      }
      float* gradients = scratch.products.get(kProducts * count * padded);
      float* to = gradients;
      for (int64_t a = 0; a < piece.tiles[0]; ++a) {
        for (int64_t b = 0; b < piece.tiles[1]; ++b, to += padded) {
          const float* at = grad + piece.at(0, a) * grad_row + piece.at(1, b) * grad_step;
          for (int64_t lane = 0; lane < padded; lane += kLanes) {
            Vec four[4];
            for (int k = 0; k < 4; ++k) {
              const bool own = k / 2 >= piece.skipped(0, a) && k % 2 >= piece.skipped(1, b);
              const float* one = at + k / 2 * piece.dilation[0] * grad_row + k % 2 * piece.dilation[1] * grad_step;
              four[k] = own ? load_first(one + lane, n - lane) : Vec{};
            }
            transform_gradient(four, to + lane, count * padded);
          }
        }
      }

      const int64_t vectors = padded / kLanes, vector_tiles = up(vectors, kTileVectors);
      for (int64_t k = 0; k < kProducts; ++k) {
        for (int64_t tile = 0; tile < vector_tiles; ++tile) {
          const int64_t v = part(vectors, vector_tiles, tile), v_end = part(vectors, vector_tiles, tile + 1);
          const int64_t number_tiles = up(some, kTilePositions[v_end - v]);
          for (int64_t j = 0; j < number_tiles; ++j) {
            const int64_t q = part(some, number_tiles, j), q_end = part(some, number_tiles, j + 1);
            kDenseWeightTiles[v_end - v][q_end - q](transformed + k * count * some + q, 0, some,
                                                    gradients + k * count * padded + v * kLanes, 0, padded, 1, count,
                                                    total + (k * some + q) * padded + v * kLanes, padded);
          }
        }
      }
    }
  });

  bool finite = true;
  constexpr int64_t kFew = 8;
  const int64_t shares = up(blocks.sources(blocks.source_blocks - 1), kFew);
  parallel(threads, tiles * shares, [&](int64_t job) {
    int64_t group, s, t;
    tile_of(job / shares, &group, &s, &t);
    const int64_t some = blocks.sources(s), padded = blocks.wide(t), begin = blocks.source_begin(s);
    float* total = sums + group * per_group + blocks.begin(s, t);
    const int64_t first = part(some, shares, job % shares), last = part(some, shares, job % shares + 1);
    for (int64_t k = 0; k < kProducts; ++k) {
      float* to = total + (k * some + first) * padded;
      add_slots(to, to, (last - first) * padded, slots, p.groups * per_group);
    }
    Vec bad = {};
    for (int64_t i = first; i < last; ++i) {
      for (int64_t o0 = 0; o0 < padded; o0 += kBlock) {
        float products[kProducts][kBlock], taps[9][kBlock];
        for (int64_t k = 0; k < kProducts; ++k) copy(products[k], total + (k * some + i) * padded + o0, kBlock);
        transform_sums(products, taps);
        for (int tap = 0; tap < 9; ++tap) {
          for (int o = 0; o < kBlock; o += kLanes) bad += load(taps[tap] + o) - load(taps[tap] + o);
        }
        T* to = w + ((group * blocks.target + t * kTargetChannels + o0) * blocks.source + begin + i) * 9;
        for (int64_t tap = 0; tap < 9; tap += kLanes) {
          const int64_t n = least(kBlock, blocks.targets(t) - o0);
          transpose_out(to + tap, blocks.source * 9, taps[tap], kBlock, n, least(9 - tap, kLanes));
        }
      }
    }
    if (!is_zero(bad)) __atomic_store_n(&finite, false, __ATOMIC_RELAXED);
  });
  return finite;
}

}  // namespace
}  // namespace jaxconv
