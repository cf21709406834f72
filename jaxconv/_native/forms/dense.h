// Channels that all meet: products of matrices. A position's numbers are broadcast, one at a time, and meet a vector of
// weights of as many channels of the target as there are lanes.
#pragma once

#include "strips.h"

namespace jaxconv {
namespace {

// The largest tile kept in registers: vectors of channels, and the positions that share each load of them.
#if defined(__AVX512F__)
constexpr int kTileVectors = 4;
constexpr int kTilePositions[] = {0, 8, 8, 8, 6};
#else
constexpr int kTileVectors = 2;
constexpr int kTilePositions[] = {0, 6, 6};
#endif
// Channels of the source that are summed in one go: their weights for a tile of the target stay in the second cache.
constexpr int64_t kSourceChannels = 128;
// Channels of the target that a block of the packed kernel holds.
constexpr int64_t kTargetChannels = 64;
// Products that are added up before their sum is added to others.
constexpr int64_t kTerms = 64;
// A strip that stays in the second cache, beside the weights.
constexpr int64_t kStripBytes = 192 << 10;

// -- the two kernels ---------------------------------------------------------------------------------------------

// out[p] = base[p] + sum over the runs of source[p] w, for P positions and V vectors of channels, `n` of them wanted.
// Nothing is added where `base` is null. Where `past`, all channels are wanted, and stored past the caches.
template <int P, int V>
void dense_tile(const float* source, int64_t step, const Run* runs, int64_t count, const float* w, int64_t wide,
                float* out, int64_t pitch, int64_t n, const float* base, int64_t base_pitch, bool past) {
  Vec sum[P][V] = {};
  float total[P * V * kLanes];  // in memory, not in registers: few sums are that long
  bool apart = false;           // whether there is a total
  for (int64_t r = 0, terms = 0; r < count; ++r) {
    const float *a = source + runs[r].strip, *far = a + 4 * step;  // two addresses take fewer registers than eight
    const float* b = w + runs[r].kernel;
    for (int64_t i = 0; i < runs[r].length; ++i, b += wide) {
      Vec weights[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) weights[v] = load(b + v * kLanes);
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) {
        const float value = p < 4 ? a[p * step + i] : far[(p - 4) * step + i];
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) sum[p][v] += value * weights[v];
      }
    }
    terms += runs[r].length;
    if (terms < kTerms || r + 1 == count) continue;
    // A sum of sums: rounding errors grow with the length of one and the number of the others, not with their product.
    terms = 0;
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) {
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) {
        float* to = total + (p * V + v) * kLanes;
        store(to, apart ? load(to) + sum[p][v] : sum[p][v]);
        sum[p][v] = Vec{};
      }
    }
    apart = true;
  }
  if (apart) {
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) {
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sum[p][v] += load(total + (p * V + v) * kLanes);
    }
  }
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      const int64_t lane = v * kLanes;
      const Vec whole = base ? load_first(base + p * base_pitch + lane, n - lane) + sum[p][v] : sum[p][v];
      if (past) {
        stream(out + p * pitch + lane, whole);
      } else {
        store_first(out + p * pitch + lane, whole, n - lane);
      }
    }
  }
}

// Products of the weight's gradient that are added up before their sum is added to others.
constexpr int64_t kGradientTerms = 512;

// total[j] += sum over positions of source[j] target, for J adjacent numbers of the source and V vectors of channels of
// the target, over `rows` rows of `width` positions.
template <int J, int V>
void dense_weight_tile(const float* source, int64_t source_row, int64_t source_step, const float* target,
                       int64_t target_row, int64_t target_step, int64_t rows, int64_t width, float* total,
                       int64_t wide) {
  Vec sum[J][V] = {};  // of its own, for it to be rounded as a short one
  for (int64_t r = 0, terms = 0; r < rows; ++r) {
    const float* a = source + r * source_row;
    const float* b = target + r * target_row;
    for (int64_t i = 0; i < width;) {
      const int64_t end = least(width, i + kGradientTerms - terms);
      terms += end - i;
      for (; i < end; ++i, a += source_step, b += target_step) {
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
      if (terms < kGradientTerms && (r + 1 < rows || i < width)) continue;
      terms = 0;
#pragma GCC unroll 8
      for (int j = 0; j < J; ++j) {
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) {
          float* to = total + j * wide + v * kLanes;
          store(to, load(to) + sum[j][v]);
          sum[j][v] = Vec{};
        }
      }
    }
  }
}

using DenseTile = void (*)(const float*, int64_t, const Run*, int64_t, const float*, int64_t, float*, int64_t, int64_t,
                           const float*, int64_t, bool);
using DenseWeightTile = void (*)(const float*, int64_t, int64_t, const float*, int64_t, int64_t, int64_t, int64_t,
                                 float*, int64_t);

#define JAXCONV_ROW(f, V) {f<1, V>, f<1, V>, f<2, V>, f<3, V>, f<4, V>, f<5, V>, f<6, V>, f<7, V>, f<8, V>}
#define JAXCONV_SHORT_ROW(f, V) {f<1, V>, f<1, V>, f<2, V>, f<3, V>, f<4, V>, f<5, V>, f<6, V>}
#if defined(__AVX512F__)
#define JAXCONV_TABLE(f) {{}, JAXCONV_ROW(f, 1), JAXCONV_ROW(f, 2), JAXCONV_ROW(f, 3), JAXCONV_SHORT_ROW(f, 4)}
#else
#define JAXCONV_TABLE(f) {{}, JAXCONV_SHORT_ROW(f, 1), JAXCONV_SHORT_ROW(f, 2)}
#endif
constexpr DenseTile kDenseTiles[kTileVectors + 1][9] = JAXCONV_TABLE(dense_tile);
constexpr DenseWeightTile kDenseWeightTiles[kTileVectors + 1][9] = JAXCONV_TABLE(dense_weight_tile);

// -- the kernel's layout -----------------------------------------------------------------------------------------

// How the channels of a group are cut: `source` ones and `target` ones in a block. The packed kernel is, for each
// group, block of source channels and block of target channels, (taps, source, target); the target's channels padded
// to whole vectors with zeros.
struct Blocks {
  int64_t source, target, source_blocks, target_blocks, taps;

  int64_t target_end(int64_t i) const { return least((i + 1) * kTargetChannels, target); }
  int64_t source_begin(int64_t i) const { return part(source, source_blocks, i); }
  int64_t sources(int64_t i) const { return source_begin(i + 1) - source_begin(i); }
  int64_t targets(int64_t i) const { return target_end(i) - i * kTargetChannels; }
  int64_t wide(int64_t i) const { return round_up(targets(i), kBlock); }
  int64_t floats() const { return taps * source * round_up(target, kBlock); }
  // Where the block of channels of the target begins in a packed bias, and how much of it a group takes.
  int64_t bias_floats() const { return round_up(target, kBlock); }
  int64_t bias_begin(int64_t group, int64_t t) const { return group * bias_floats() + t * kTargetChannels; }
  // Where a block begins in the packed kernel of its group.
  int64_t begin(int64_t s, int64_t t) const {
    return taps * (source_begin(s) * round_up(target, kBlock) + sources(s) * t * kTargetChannels);
  }
};

Blocks make_blocks(int64_t source, int64_t target, int64_t taps, int64_t source_channels) {
  return {source, target, up(source, source_channels), up(target, kTargetChannels), taps};
}

template <class T>
void pack(const Weights& w, const Blocks& blocks, int64_t group, int64_t s, int64_t t, float* out) {
  const int64_t wide = blocks.wide(t), sources = blocks.sources(s), targets = blocks.targets(t);
  const T* from = static_cast<const T*>(w.data) + group * w.group + blocks.source_begin(s) * w.source +
                  t * kTargetChannels * w.target;
  // The numbers of one channel of the target lie side by side, those of all channels of the source or of each. Whole
  // vectors of them are turned: the lines of sixteen channels may be all that a cache can hold of such a distance.
  const bool one_row = w.source == w.taps;
  const int64_t rows = one_row ? 1 : sources, length = one_row ? sources * w.taps : w.taps;
  for (int64_t o0 = 0; o0 < wide; o0 += kBlock) {
    const int64_t some = least(kBlock, targets - o0);
    float turned[kLanes * kBlock] = {};
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t i = 0; i < length; i += kLanes) {
        const int64_t run = least(length - i, kLanes);
        const T* numbers = from + o0 * w.target + row * w.source + i;
        if (run == 1 && w.target == 1) {
          copy(turned, numbers, some);
        } else {
          transpose_in(turned, kBlock, numbers, w.target, some, run);
        }
        for (int64_t k = 0; k < run; ++k) {
          const int64_t c = one_row ? (i + k) / w.taps : row, tap = one_row ? (i + k) % w.taps : i + k;
          float* to = out + ((w.reversed ? w.taps - 1 - tap : tap) * sources + c) * wide + o0;
          std::memcpy(to, turned + k * kBlock, kBlock * sizeof(float));
        }
      }
    }
  }
}

// -- a pass ------------------------------------------------------------------------------------------------------

struct DenseScratch {
  Buffer strip, local, runs, target, transformed, products;
};

DenseScratch& dense_scratch() {
  static thread_local DenseScratch scratch;
  return scratch;
}

// Whether a pass may read the source where it lies.
template <class T>
bool readable(const View<const T>&, const Pass&) {
  return false;
}
template <>
bool readable(const View<const float>& source, const Pass& pass) {
  const bool reads = pass.axis[0].taps > 0 && pass.axis[1].taps > 0 && pass.axis[2].taps > 0;
  return reads && source.channel == 1 && reads_in_order(pass.axis[0]) && reads_in_order(pass.axis[1]) &&
         reads_in_order(pass.axis[2]);
}

// The strip of a pass that may.
template <class T>
Strip lying_strip(const View<const T>& from, const Pass& pass, const int64_t first[3], int64_t batch, int64_t channel) {
  const float* data = as_float(from.data) + batch * from.batch + channel;
  for (int a = 0; a < 3; ++a) data += pass.axis[a].source[first[a] * pass.axis[a].step] * from.axis[a];
  return {data, from.axis[0], from.axis[1], from.axis[2], true};
}

// One pass over all images and groups, and the bias, packed as the kernel is, where it is not null. Where `add`, to
// what the target holds; then a piece of work is a whole image, since different positions of the pass may be the same
// of the target.
template <class T>
void dense_pass(const Problem& p, const View<const T>& source, const View<T>& target, const Pass& pass,
                const Blocks& blocks, const float* packed, const float* bias, bool add, Parallel* threads) {
  const Axis &deep = pass.axis[0], &high = pass.axis[1], &wide = pass.axis[2];
  if (deep.count == 0 || high.count == 0 || wide.count == 0) return;
  const bool direct_source = readable(source, pass);
  const bool direct_target = as_float(target.data) != nullptr && target.channel == 1 && wide.stride != 0;
  const bool past = !add && direct_target && blocks.source_blocks == 1 && streams(target, p.batch, blocks.target);
  const int64_t enough = 8 * threads->threads;
  const int64_t whole = p.batch * p.groups;
  const int64_t sources = blocks.sources(blocks.source_blocks - 1);
  Cut c = cut(pass, direct_source ? kTargetChannels : sources, kStripBytes, up(enough, whole * deep.count));
  if (add) c = {high.count, wide.count, 1, 1};
  const int64_t pieces = (add ? 1 : deep.count) * c.row_pieces * c.width_pieces;
  // Where images are few and small, the channels of the target are shared out too.
  const int64_t shares = least(blocks.target_blocks, up(enough, whole * pieces));

  parallel(threads, whole * pieces * shares, [&](int64_t job) {
    DenseScratch& scratch = dense_scratch();
    const int64_t share = job % shares;
    int64_t rest = job / shares;
    const int64_t piece = rest % pieces;
    rest /= pieces;
    const int64_t group = rest % p.groups, image = rest / p.groups;
    int64_t first[3];
    first[2] = piece % c.width_pieces * c.width;
    first[1] = piece / c.width_pieces % c.row_pieces * c.rows;
    const int64_t width = least(c.width, wide.count - first[2]), rows = least(c.rows, high.count - first[1]);
    const int64_t begin = part(blocks.target_blocks, shares, share);
    const int64_t end = part(blocks.target_blocks, shares, share + 1);
    const int64_t floor = begin * kTargetChannels;  // the first channel of this share
    const int64_t local_pitch = round_up(blocks.target_end(end - 1) - floor, kBlock);
    const int64_t deep_begin = add ? 0 : piece / c.width_pieces / c.row_pieces;
    const int64_t deep_end = add ? deep.count : deep_begin + 1;
    Run* runs = scratch.runs.get<Run>(deep.taps * high.taps * wide.taps);
    float* local = direct_target ? nullptr : scratch.local.get(rows * width * local_pitch);

    for (first[0] = deep_begin; first[0] < deep_end; ++first[0]) {
      float* to = local;
      int64_t to_row = width * local_pitch, to_position = local_pitch;
      if (direct_target) {
        to = as_float(target.data) + image * target.batch + deep.target[first[0]] * target.axis[0] +
             wide.target[first[2]] * target.axis[2] + group * blocks.target + floor;
        to_position = wide.stride * target.axis[2];
      }
      for (int64_t s = 0; s < blocks.source_blocks; ++s) {
        const int64_t some = blocks.sources(s), channel = group * blocks.source + blocks.source_begin(s);
        Strip strip;
        if (direct_source) {
          strip = lying_strip(source, pass, first, image, channel);
        } else {
          strip = make_strip(&scratch.strip, source, pass, first, rows, width, image, channel, some, some);
        }
        for (int64_t t = begin; t < end; ++t) {
          const int64_t padded = blocks.wide(t), wanted = direct_target ? blocks.targets(t) : padded;
          const float* w = packed + group * blocks.floats() + blocks.begin(s, t);
          const int64_t count = make_runs(runs, strip, pass, p, some, padded);
          const int64_t vectors = padded / kLanes, tiles = up(vectors, kTileVectors);
          for (int64_t tile = 0; tile < tiles; ++tile) {
            const int64_t v = part(vectors, tiles, tile), v_end = part(vectors, tiles, tile + 1);
            const int64_t lane = v * kLanes;
            const int64_t position_tiles = up(width, kTilePositions[v_end - v]);
            const float* start = bias ? bias + blocks.bias_begin(group, t) + lane : nullptr;
            const bool more = s > 0 || (direct_target && add);  // to what the target holds
            for (int64_t r = 0; r < rows; ++r) {
              float* row = direct_target ? to + high.target[first[1] + r] * target.axis[1] : to + r * to_row;
              row += t * kTargetChannels - floor + lane;
              const float* from = strip.data + r * high.step * strip.row;
              for (int64_t i = 0; i < position_tiles; ++i) {
                const int64_t q = part(width, position_tiles, i);
                const int64_t q_end = part(width, position_tiles, i + 1);
                float* out = row + q * to_position;
                kDenseTiles[v_end - v][q_end - q](from + q * wide.step * strip.position, wide.step * strip.position,
                                                  runs, count, w + lane, padded, out, to_position, wanted - lane,
                                                  more ? out : start, more ? to_position : 0, past);
              }
            }
          }
        }
      }
      if (!direct_target) {
        write_piece(target, pass, first, rows, width, image, group * blocks.target + floor,
                    blocks.target_end(end - 1) - floor, local, local_pitch, add);
      }
    }
    if (past) streamed();
  });
}

// -- the weight's gradient ---------------------------------------------------------------------------------------

// Channels of x in a block of the weight's gradient, whose sums stay in the second cache.
constexpr int64_t kGradientChannels = 64;
// What a piece reads of x where the next one is asked for: the second cache holds several, the nearest one most.
constexpr int64_t kAheadBytes = 32 << 10;

// The sum of n numbers, whole vectors of them, over all slots.
void add_slots(float* out, const float* sums, int64_t n, int64_t slots, int64_t slot) {
  for (int64_t i = 0; i < n; i += kLanes) {
    Vec sum = load(sums + i);
    for (int64_t k = 1; k < slots; ++k) sum += load(sums + k * slot + i);
    store(out + i, sum);
  }
}

// A sum over fewer positions of a row than this is not worth a slot.
constexpr int64_t kFewPositions = 64;

// total[c] += sum over `rows` rows of `width` positions of y[c], for n channels.
void add_positions(const float* y, int64_t row, int64_t step, int64_t rows, int64_t width, int64_t n, float* total) {
  constexpr int64_t kChains = 4;  // that do not wait for each other
  for (int64_t lane = 0; lane < n; lane += kLanes) {
    Vec whole = {};
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i = 0; i < width;) {
        const float* from = y + r * row + i * step + lane;
        const int64_t some = least(width - i, kChains * kTerms);
        Vec sum[kChains] = {};
        int64_t k = 0;
        for (; k + kChains <= some; k += kChains) {
#pragma GCC unroll 4
          for (int64_t chain = 0; chain < kChains; ++chain)
            sum[chain] += load_first(from + (k + chain) * step, n - lane);
        }
        for (; k < some; ++k) sum[0] += load_first(from + k * step, n - lane);
        whole += (sum[0] + sum[1]) + (sum[2] + sum[3]);
        i += some;
      }
    }
    store_first(total + lane, load_first(total + lane, n - lane) + whole, n - lane);
  }
}

// The sums of y in one slot, of the block t of the channels of a group, where the gradient of a bias is wanted: they
// are taken with the first block of channels of x. Null for the others.
float* bias_sums(float* bias, const Problem& p, const Blocks& blocks, int64_t slot, int64_t group, int64_t s,
                 int64_t t) {
  if (bias == nullptr || s != 0) return nullptr;
  float* sums = bias + blocks.bias_begin(slot * p.groups + group, t);
  std::memset(sums, 0, blocks.wide(t) * sizeof(float));
  return sums;
}

// How many sums are taken apart and added at the end, so that there is work for all threads where a kernel is small.
// It depends on the problem alone: so does the order of the additions, and with it the result.
int64_t most_slots(int64_t tiles) { return up(16, tiles); }

int64_t gradient_slots(const Problem& p, const Blocks& blocks) {
  const int64_t tiles = p.groups * blocks.source_blocks * blocks.target_blocks;
  return least(most_slots(tiles), p.batch * p.y_size[0] * p.y_size[1] * up(p.y_size[2], kFewPositions));
}

// The gradient, and where `bias` is not null the sums of y in each slot, packed as a bias is.
template <class T>
void dense_weight(const Problem& p, const View<const T>& x, const View<const T>& y, const Pass& pass,
                  const Blocks& blocks, T* w, float* bias, float* sums, Parallel* threads) {
  const int64_t tiles = p.groups * blocks.source_blocks * blocks.target_blocks, slots = gradient_slots(p, blocks);
  const int64_t per_group = blocks.floats();
  const Axis &high = pass.axis[1], &wide = pass.axis[2];
  // What one tap reads is read from memory, where a copy would only delay it; if all pixels are one row, the piece that
  // follows is asked for in the meantime.
  const bool direct_x = blocks.taps == 1 && readable(x, pass);
  const bool ahead = direct_x && high.count == 1;
  const Cut c = cut(pass, least(blocks.source, kGradientChannels), ahead ? kAheadBytes : kStripBytes, 1);
  const int64_t pieces = p.batch * p.y_size[0] * c.row_pieces * c.width_pieces;

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
    const int64_t some = blocks.sources(s), padded = blocks.wide(t);
    float* total = sums + (slot * p.groups + group) * per_group + blocks.begin(s, t);
    std::memset(total, 0, blocks.taps * some * padded * sizeof(float));
    const int64_t channel = group * blocks.source + blocks.source_begin(s);
    const int64_t y_channel = group * blocks.target + t * kTargetChannels;
    const bool direct = as_float(y.data) != nullptr && y.channel == 1 && blocks.targets(t) == padded;
    Run* runs = scratch.runs.get<Run>(blocks.taps);
    float* of_bias = bias_sums(bias, p, blocks, slot, group, s, t);

    for (int64_t piece = part(pieces, slots, slot); piece < part(pieces, slots, slot + 1); ++piece) {
      const auto [image, first, rows, width] = piece_of(c, pass, piece);
      Strip strip;
      if (direct_x) {
        strip = lying_strip(x, pass, first, image, channel);
      } else {
        strip = make_strip(&scratch.strip, x, pass, first, rows, width, image, channel, some, some);
      }
      const int64_t count = make_runs(runs, strip, pass, p, some, padded);

      const T* from = y.data + image * y.batch + first[0] * y.axis[0] + first[1] * y.axis[1] + first[2] * y.axis[2] +
                      y_channel * y.channel;
      const float* grad = as_float(from);
      int64_t grad_row = y.axis[1], grad_step = y.axis[2];
      if (!direct) {
        float* copied = scratch.target.get(rows * width * padded);
        std::memset(copied, 0, rows * width * padded * sizeof(float));
        for (int64_t r = 0; r < rows; ++r) {
          copy_plain_row(copied + r * width * padded, from + r * y.axis[1], width, blocks.targets(t), padded, y.axis[2],
                         y.channel);
        }
        grad = copied, grad_row = width * padded, grad_step = padded;
      }
      if (of_bias != nullptr) add_positions(grad, grad_row, grad_step, rows, width, blocks.targets(t), of_bias);
      const int64_t vectors = padded / kLanes, vector_tiles = up(vectors, kTileVectors);
      for (int64_t tile = 0; tile < vector_tiles; ++tile) {
        const int64_t v = part(vectors, vector_tiles, tile), v_end = part(vectors, vector_tiles, tile + 1);
        for (int64_t i = 0; i < count; ++i) {
          const int64_t number_tiles = up(runs[i].length, kTilePositions[v_end - v]);
          for (int64_t j = 0; j < number_tiles; ++j) {
            const int64_t n = part(runs[i].length, number_tiles, j);
            const int64_t n_end = part(runs[i].length, number_tiles, j + 1);
            if (ahead && tile == 0) {
              for (int64_t k = part(width, number_tiles, j); k < part(width, number_tiles, j + 1); ++k) {
                prefetch(strip.data + (width + k) * strip.position, some);
                prefetch(grad + (width + k) * grad_step, padded);
              }
            }
            kDenseWeightTiles[v_end - v][n_end - n](
                strip.data + runs[i].strip + n, high.step * strip.row, wide.step * strip.position, grad + v * kLanes,
                grad_row, grad_step, rows, width, total + runs[i].kernel + n * padded + v * kLanes, padded);
          }
        }
      }
    }
  });

  // A few channels of the source at a time, so that the additions are shared out as well.
  constexpr int64_t kFew = 8;
  const int64_t shares = up(blocks.sources(blocks.source_blocks - 1), kFew);
  parallel(threads, tiles * shares, [&](int64_t job) {
    int64_t group, s, t;
    tile_of(job / shares, &group, &s, &t);
    const int64_t some = blocks.sources(s), padded = blocks.wide(t), begin = blocks.source_begin(s);
    const float* total = sums + group * per_group + blocks.begin(s, t);
    const int64_t own = part(some, shares, job % shares), end = part(some, shares, job % shares + 1);
    T* first = w + ((group * blocks.target + t * kTargetChannels) * blocks.source + begin + own) * blocks.taps;
    // The numbers of one channel of the target lie side by side: they are turned, as in `pack`.
    for (int64_t i = 0; i < (end - own) * blocks.taps; i += kLanes) {
      const int64_t run = least((end - own) * blocks.taps - i, kLanes);
      float sum[kLanes][kTargetChannels];
      for (int64_t k = 0; k < run; ++k) {
        const int64_t c = own + (i + k) / blocks.taps, tap = (i + k) % blocks.taps;
        add_slots(sum[k], total + (tap * some + c) * padded, padded, slots, p.groups * per_group);
      }
      transpose_out(first + i, blocks.source * blocks.taps, sum[0], kTargetChannels, blocks.targets(t), run);
    }
  });
}

}  // namespace
}  // namespace jaxconv
