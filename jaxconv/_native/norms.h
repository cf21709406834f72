// Normalisation: what it sums over an array, its mean and variance and the two sums that its gradient needs, and what
// it makes of each number then.
//
// The array is (kept[0], reduced[0], kept[1], reduced[1]), row-major; one or more of these may be 1. For each pair of
// kept indices, over the n = reduced[0] * reduced[1] positions,
//
//   moments    m, the mean as float32 has it; rest, what it lacks; and the mean of the squares of what differs from
//   both products   the sum of g, and the sum of g * (x - m)
//
// A sum is taken over blocks, which stay in the cache. Within a block the moments are taken in two passes, so that a
// mean that is large beside the deviation costs no digits; blocks are joined in double precision. With d the distance
// of two means of n1 and n2 positions,
//
//   n = n1 + n2,   mean = mean1 + d n2 / n,   squares = squares1 + squares2 + d^2 n1 n2 / n
//
// (Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for computing sample variances, 1979.)
//
// With u, v, w and m a number for each pair of kept indices,
//
//   blend      u + v (x - m) + w g, an array like x
//
// is what the gradient of a normalisation comes to. Where the scale lies along the reduced axis, as in a layer norm,
// a row stays in the cache while all is done to it:
//
//   layer      the moments of each row, and c (x - mean) / sqrt(variance + eps) + b with a c and a b for each column
//   layer_back what goes back through it: the gradients of x, c and b
#pragma once

#include "forms/form.h"
#include "memory.h"
#include "storage.h"

namespace jaxconv::JAXCONV_ISA {
namespace {

// The mean and the sum of squared distances from it, of positions that are counted elsewhere.
struct Moments {
  double mean, squares;

  void join(const Moments& other, double own, double others) {
    const double total = own + others, distance = other.mean - mean;
    mean += distance * (others / total);
    squares += other.squares + distance * distance * (own * others / total);
  }
};

struct Sums {
  double of_g, of_products;

  void join(const Sums& other, double, double) {
    of_g += other.of_g;
    of_products += other.of_products;
  }
};

// Moments from the sums over a block of n positions: m, of about its mean; of what differs from m, and of its squares.
JAXCONV_INLINE Moments moments_of(float m, float rest, float squares, double n) {
  return {m + rest / n, squares - double{rest} * rest / n};
}

// `rows` rows of `count` numbers, `pitch` apart, as float32: in place, or copied to `space`.
struct Block {
  const float* data;
  int64_t pitch;
};
JAXCONV_INLINE Block block_of(const float* data, int64_t pitch, int64_t, int64_t, float*) { return {data, pitch}; }
template <class T>
JAXCONV_INLINE Block block_of(const T* data, int64_t pitch, int64_t rows, int64_t count, float* space) {
  for (int64_t r = 0; r < rows; ++r) copy(space + r * count, data + r * pitch, count);
  return {space, count};
}

// -- columns: rows of many kept indices, each with a sum of its own ---------------------------------------------------

// Of V vectors of columns, the last of which has `last` numbers.
template <int V>
JAXCONV_INLINE void moments_of_columns(Block x, int64_t rows, int64_t last, Moments* moments, double before) {
  Vec m[V] = {}, rest[V] = {}, squares[V] = {};
  auto at = [&](int64_t r, int v) { return load_first(x.data + r * x.pitch + v * kLanes, v == V - 1 ? last : kLanes); };
  for (int64_t r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) m[v] += at(r, v);
  }
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) m[v] *= 1.0f / rows;
  for (int64_t r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      const Vec distance = at(r, v) - m[v];
      rest[v] += distance;
      squares[v] += distance * distance;
    }
  }
  for (int v = 0; v < V; ++v) {
    for (int i = 0; i < (v == V - 1 ? last : kLanes); ++i) {
      const Moments found = moments_of(m[v][i], rest[v][i], squares[v][i], rows);
      moments[v * kLanes + i].join(found, before, rows);
    }
  }
}

template <int V>
JAXCONV_INLINE void products_of_columns(Block x, const float* m, Block g, int64_t rows, int64_t last, Sums* sums) {
  Vec mean[V], of_g[V] = {}, of_products[V] = {};
  auto width = [&](int v) { return v == V - 1 ? last : kLanes; };
  for (int v = 0; v < V; ++v) mean[v] = load_first(m + v * kLanes, width(v));
  for (int64_t r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      const Vec gradient = load_first(g.data + r * g.pitch + v * kLanes, width(v));
      of_g[v] += gradient;
      of_products[v] += gradient * (load_first(x.data + r * x.pitch + v * kLanes, width(v)) - mean[v]);
    }
  }
  for (int v = 0; v < V; ++v) {
    for (int i = 0; i < width(v); ++i) {
      sums[v * kLanes + i].join({of_g[v][i], of_products[v][i]}, 0, 0);
    }
  }
}

// f(columns, count of vectors as a type, numbers in the last) for each group of columns.
template <class F>
JAXCONV_INLINE void for_each_vectors(int64_t columns, const F& f) {
  for (int64_t c = 0; c < columns; c += kNormVectors * kLanes) {
    const int64_t left = columns - c, vectors = min(ceil_div(left, kLanes), kNormVectors);
    const int64_t last = min(left - (vectors - 1) * kLanes, kLanes);
    static_assert(kNormVectors == 4);
    switch (vectors) {
      case 1: f(c, std::integral_constant<int, 1>(), last); break;
      case 2: f(c, std::integral_constant<int, 2>(), last); break;
      case 3: f(c, std::integral_constant<int, 3>(), last); break;
      default: f(c, std::integral_constant<int, 4>(), last); break;
    }
  }
}

// -- runs: positions of one pair of kept indices, most of them side by side -------------------------------------------

// Each lane has its own number and that of the lane whose index differs by a power of two, H.
template <int H, int... J>
JAXCONV_INLINE Vec add_lanes(Vec v, std::integer_sequence<int, J...>) {
  return v + __builtin_shufflevector(v, v, (J ^ H)...);
}
JAXCONV_INLINE float sum_of_lanes(Vec v) {
  if constexpr (kLanes > 8) v = add_lanes<kLanes / 2>(v, AllLanes());
  if constexpr (kLanes > 4) v = add_lanes<4>(v, AllLanes());
  v = add_lanes<2>(v, AllLanes());
  return add_lanes<1>(v, AllLanes())[0];
}

// The sum of all lanes of the chains of additions.
JAXCONV_INLINE float sum_of(const Vec (&chains)[kNormVectors]) {
  Vec all = chains[0];
  for (int v = 1; v < kNormVectors; ++v) all += chains[v];
  return sum_of_lanes(all);
}

// f(vector, numbers in it, which of the chains of additions) over a row.
template <class F>
JAXCONV_INLINE void for_each_vector(const float* row, int64_t count, const F& f) {
  int64_t i = 0;
  for (; i + kNormVectors * kLanes <= count; i += kNormVectors * kLanes) {
#pragma GCC unroll 4
    for (int v = 0; v < kNormVectors; ++v) f(i + v * kLanes, load(row + i + v * kLanes), kLanes, v);
  }
  for (; i < count; i += kLanes) {
    const int64_t left = min(count - i, kLanes);
    f(i, load_first(row + i, left), left, 0);
  }
}

// A vector whose lanes from n on are zero.
JAXCONV_INLINE Vec first_of(Vec v, int64_t n) {
  for (int64_t i = n; i < kLanes; ++i) v[i] = 0;
  return v;
}

JAXCONV_INLINE Moments moments_of_run(Block x, int64_t rows, int64_t count) {
  Vec total[kNormVectors] = {};
  for (int64_t r = 0; r < rows; ++r) {
    for_each_vector(x.data + r * x.pitch, count, [&](int64_t, Vec v, int64_t, int chain) { total[chain] += v; });
  }
  const float n = static_cast<float>(rows * count), m = sum_of(total) / n;
  Vec rest[kNormVectors] = {}, squares[kNormVectors] = {};
  for (int64_t r = 0; r < rows; ++r) {
    for_each_vector(x.data + r * x.pitch, count, [&](int64_t, Vec v, int64_t width, int chain) {
      const Vec distance = width == kLanes ? v - m : first_of(v - m, width);
      rest[chain] += distance;
      squares[chain] += distance * distance;
    });
  }
  return moments_of(m, sum_of(rest), sum_of(squares), n);
}

JAXCONV_INLINE Sums products_of_run(Block x, float m, Block g, int64_t rows, int64_t count) {
  Vec of_g[kNormVectors] = {}, of_products[kNormVectors] = {};
  for (int64_t r = 0; r < rows; ++r) {
    const float* const gradient = g.data + r * g.pitch;
    // Lanes beyond the end have a gradient of zero.
    for_each_vector(x.data + r * x.pitch, count, [&](int64_t i, Vec v, int64_t width, int chain) {
      const Vec of_position = load_first(gradient + i, width);
      of_g[chain] += of_position;
      of_products[chain] += of_position * (v - m);
    });
  }
  return {sum_of(of_g), sum_of(of_products)};
}

// -- how the work is cut ----------------------------------------------------------------------------------------------

// How a reduction is cut into jobs. In columns the kept indices of a row, and the reduced ones within it, are columns
// with a sum each. A job takes some columns, or some pairs of kept indices, and one part of the positions.
struct Cut {
  bool columns;
  int64_t outer, width;      // sums: outer * width of them
  int64_t chunk, chunks;     // how many of them a job takes, of `width` in columns and of all otherwise
  int64_t parts, positions;  // of the positions of a sum

  explicit Cut(const Reduction& r) {
    columns = r.reduced[1] < kNormRun && (r.reduced[0] > 1 || r.kept[1] > 1);
    outer = columns ? r.kept[0] : 1;
    width = columns ? r.kept[1] * r.reduced[1] : r.kept[0] * r.kept[1];
    positions = columns ? r.reduced[0] : r.reduced[0] * r.reduced[1];
    // As many sums to a job as make it worth one, and where these are few jobs, more parts. The number of threads has
    // no say: the order of additions, and with it the bits of a sum, would depend on the machine.
    chunk = columns ? min(width, kNormColumns) : min(width, ceil_div(kNormJob, positions));
    chunks = ceil_div(width, chunk);
    parts = max(min(ceil_div(kNormJobs, outer * chunks), positions * chunk / kNormJob), 1);
  }

  int64_t sums() const { return outer * width; }
};

// What one part of the positions of some sums adds up to, in `found`: `visit(first sum, sums, Range of positions)`.
template <class Sum, class Visit, class Write>
void reduce(const Reduction& r, Parallel* threads, const Visit& visit, const Write& write) {
  const Cut cut(r);
  Sum* const found = workspace().sums.get<Sum>(cut.parts * cut.sums());
  parallel(threads, cut.parts * cut.outer * cut.chunks, [&](int64_t job) {
    const int64_t p = job % cut.parts, chunk = job / cut.parts % cut.chunks, outer = job / cut.parts / cut.chunks;
    const Range sums = part(cut.width, cut.chunks, chunk);
    visit(cut, outer, sums, part(cut.positions, cut.parts, p), found + p * cut.sums() + outer * cut.width + sums.begin);
  });
  // The parts are joined, and in columns the reduced indices of a row.
  const int64_t within = cut.columns ? r.reduced[1] : 1, kept = cut.sums() / within;
  for (int64_t k = 0; k < kept; ++k) {
    Sum total = {};
    double n = 0;
    for (int64_t p = 0; p < cut.parts; ++p) {
      const double own = static_cast<double>(part(cut.positions, cut.parts, p).size());
      for (int64_t i = 0; i < within; ++i, n += own) total.join(found[p * cut.sums() + k * within + i], n, own);
    }
    write(k, total);
  }
}

// Where the run of positions that begins at `position` of sum `sum` lies, and how many rows of equal length follow.
struct Runs {
  int64_t offset, rows, count, pitch;

  Runs(const Reduction& r, int64_t sum, int64_t position, int64_t end) {
    const int64_t length = r.reduced[1], row = position / length, within = position % length;
    pitch = r.kept[1] * length;
    offset = (sum / r.kept[1] * r.reduced[0] + row) * pitch + sum % r.kept[1] * length + within;
    count = min(min(length - within, end - position), kNormBlock);
    rows = count == length ? max(min((end - position) / length, kNormBlock / length), 1) : 1;
  }
};

template <class T>
void moments(const Reduction& r, const T* x, float* mean, float* rest, float* variance, Parallel* threads) {
  const double n = static_cast<double>(r.reduced[0] * r.reduced[1]);
  const auto visit = [&](const Cut& cut, int64_t outer, Range sums, Range positions, Moments* found) {
    float* const space = workspace().strip.get(kNormBlock);
    if (!cut.columns) {
      for (int64_t s = sums.begin; s < sums.end; ++s) {
        Moments total = {};
        for (int64_t at = positions.begin; at < positions.end;) {
          const Runs runs(r, s, at, positions.end);
          const int64_t count = runs.rows * runs.count;
          const Block block = block_of(x + runs.offset, runs.pitch, runs.rows, runs.count, space);
          total.join(moments_of_run(block, runs.rows, runs.count), at - positions.begin, count);
          at += count;
        }
        found[s - sums.begin] = total;
      }
      return;
    }
    for (int64_t i = 0; i < sums.size(); ++i) found[i] = {};
    const int64_t most = max(min(kNormBlock / sums.size(), kNormRows), 1);
    for (int64_t row = positions.begin; row < positions.end; row += most) {
      const int64_t rows = min(positions.end - row, most);
      const T* const begin = x + (outer * r.reduced[0] + row) * cut.width + sums.begin;
      const Block block = block_of(begin, cut.width, rows, sums.size(), space);
      for_each_vectors(sums.size(), [&](int64_t c, auto vectors, int64_t last) {
        moments_of_columns<vectors>({block.data + c, block.pitch}, rows, last, found + c, row - positions.begin);
      });
    }
  };
  reduce<Moments>(r, threads, visit, [&](int64_t k, const Moments& total) {
    mean[k] = static_cast<float>(total.mean);
    rest[k] = static_cast<float>(total.mean - mean[k]);
    variance[k] = static_cast<float>(total.squares / n);
  });
}

template <class T>
void products(const Reduction& r, const T* x, const float* m, const T* g, float* of_g, float* of_products,
              Parallel* threads) {
  const auto visit = [&](const Cut& cut, int64_t outer, Range sums, Range positions, Sums* found) {
    float* const space = workspace().strip.get(kNormBlock);
    float* const other = workspace().gradient.get(kNormBlock + kNormColumns);
    if (!cut.columns) {
      for (int64_t s = sums.begin; s < sums.end; ++s) {
        Sums total = {};
        for (int64_t at = positions.begin; at < positions.end;) {
          const Runs runs(r, s, at, positions.end);
          const Block a = block_of(x + runs.offset, runs.pitch, runs.rows, runs.count, space);
          const Block b = block_of(g + runs.offset, runs.pitch, runs.rows, runs.count, other);
          total.join(products_of_run(a, m[s], b, runs.rows, runs.count), 0, 0);
          at += runs.rows * runs.count;
        }
        found[s - sums.begin] = total;
      }
      return;
    }
    for (int64_t i = 0; i < sums.size(); ++i) found[i] = {};
    // The mean of each column.
    float* const means = other + kNormBlock;
    for (int64_t i = 0; i < sums.size(); ++i) {
      means[i] = m[outer * r.kept[1] + (sums.begin + i) / r.reduced[1]];
    }
    const int64_t most = max(min(kNormBlock / sums.size(), kNormRows), 1);
    for (int64_t row = positions.begin; row < positions.end; row += most) {
      const int64_t rows = min(positions.end - row, most);
      const int64_t offset = (outer * r.reduced[0] + row) * cut.width + sums.begin;
      const Block a = block_of(x + offset, cut.width, rows, sums.size(), space);
      const Block b = block_of(g + offset, cut.width, rows, sums.size(), other);
      for_each_vectors(sums.size(), [&](int64_t c, auto vectors, int64_t last) {
        products_of_columns<vectors>({a.data + c, a.pitch}, means + c, {b.data + c, b.pitch}, rows, last, found + c);
      });
    }
  };
  reduce<Sums>(r, threads, visit, [&](int64_t k, const Sums& total) {
    of_g[k] = static_cast<float>(total.of_g);
    of_products[k] = static_cast<float>(total.of_products);
  });
}

// -- blend: a number of its own for each pair of kept indices, times x and g ------------------------------------------

// u, v, m and w.
struct Coefficients {
  const float* of[4];

  Coefficients at(int64_t i) const { return {{of[0] + i, of[1] + i, of[2] + i, of[3] + i}}; }
};

// A vector of `n` numbers of a coefficient that differs from number to number, or the one that they share.
template <bool shared>
JAXCONV_INLINE Vec coefficient(const float* p, int64_t i, int64_t n) {
  if constexpr (shared) {
    return Vec{} + *p;
  } else {
    return load_first(p + i, n);
  }
}

template <bool shared, class T>
JAXCONV_INLINE Vec blended(const Coefficients& k, const T* x, const T* g, int64_t i, int64_t n) {
  const Vec distance = load_first(x + i, n) - coefficient<shared>(k.of[2], i, n);
  return coefficient<shared>(k.of[0], i, n) + coefficient<shared>(k.of[1], i, n) * distance +
         coefficient<shared>(k.of[3], i, n) * load_first(g + i, n);
}

// Of `count` numbers; past the caches where `streaming`.
template <bool shared, class T>
JAXCONV_INLINE void blend_row(const Coefficients& k, const T* x, const T* g, T* y, int64_t count, bool streaming) {
  int64_t i = 0;
  if (streaming) {
    for (; i + kLanes <= count; i += kLanes) store_streaming(as_float(y) + i, blended<shared>(k, x, g, i, kLanes));
  } else {
    for (; i + kLanes <= count; i += kLanes) store_first(y + i, blended<shared>(k, x, g, i, kLanes), kLanes);
  }
  if (i < count) store_first(y + i, blended<shared>(k, x, g, i, count - i), count - i);
}

// How many jobs of at least kNormJob numbers an array is cut into, and no more than are of use.
JAXCONV_INLINE int64_t norm_jobs(int64_t numbers) { return max(min(numbers / kNormJob, 4 * kNormJobs), 1); }

// In rows of many kept indices the coefficients are laid out as long as a row, or as several that are short.
template <class T>
void blend_columns(const Reduction& r, const Coefficients& all, const T* x, const T* g, T* y, bool stream,
                   Parallel* threads) {
  const int64_t columns = r.kept[1] * r.reduced[1], slab = r.reduced[0] * columns;
  const int64_t rows = ceil_div(kNormColumns, columns), width = columns * rows, turns = ceil_div(slab, width);
  const int64_t parts = min(ceil_div(norm_jobs(r.kept[0] * slab), r.kept[0]), turns);
  const bool in_place = rows == 1 && r.reduced[1] == 1, streaming = stream && columns % kLanes == 0;
  parallel(threads, r.kept[0] * parts, [&](int64_t job) {
    const int64_t k = job / parts;
    Coefficients own = all.at(k * r.kept[1]);
    if (!in_place) {
      float* const space = workspace().strip.get(4 * width);
      for (int c = 0; c < 4; ++c) {
        float* to = space + c * width;
        for (int64_t i = 0; i < columns; ++i) to[i] = own.of[c][i / r.reduced[1]];
        for (int64_t i = columns; i < width; ++i) to[i] = to[i - columns];
        own.of[c] = to;
      }
    }
    const Range range = part(turns, parts, job % parts);
    for (int64_t turn = range.begin; turn < range.end; ++turn) {
      const int64_t at = k * slab + turn * width, count = min(width, slab - turn * width);
      blend_row<false>(own, x + at, g + at, y + at, count, streaming);
    }
    if (streaming) streaming_fence();
  });
}

template <class T>
void blend_runs(const Reduction& r, const Coefficients& all, const T* x, const T* g, T* y, bool stream,
                Parallel* threads) {
  const int64_t length = r.reduced[1], total = r.kept[0] * r.reduced[0] * r.kept[1] * length;
  const int64_t jobs = norm_jobs(total), vectors = ceil_div(total, kLanes);
  const bool streaming = stream && length % kLanes == 0;
  parallel(threads, jobs, [&](int64_t job) {
    const Range range = part(vectors, jobs, job);
    const int64_t end = min(range.end * kLanes, total);
    for (int64_t at = range.begin * kLanes; at < end;) {
      const int64_t run = at / length, count = min((run + 1) * length, end) - at;
      const Coefficients own = all.at(run / (r.reduced[0] * r.kept[1]) * r.kept[1] + run % r.kept[1]);
      blend_row<true>(own, x + at, g + at, y + at, count, streaming);
      at += count;
    }
    if (streaming) streaming_fence();
  });
}

template <class T>
void blend(const Reduction& r, const float* u, const float* v, const T* x, const float* m, const float* w, const T* g,
           T* y, Parallel* threads) {
  const Coefficients all = {{u, v, m, w}};
  const int64_t bytes = r.kept[0] * r.reduced[0] * r.kept[1] * r.reduced[1] * static_cast<int64_t>(sizeof(T));
  const float* const floats = as_float(y);
  const bool stream = kHasStreamingStores && floats != nullptr && bytes > kStreamingBytes &&
                      reinterpret_cast<uintptr_t>(floats) % sizeof(Vec) == 0;
  (r.reduced[1] < kNormRun ? blend_columns<T> : blend_runs<T>)(r, all, x, g, y, stream, threads);
}

// -- layers: moments of rows, scales of columns -----------------------------------------------------------------------

// A row as float32: what its moments were taken of, where that was all of it; null otherwise.
JAXCONV_INLINE const float* row_read(const float* row, int64_t, const float*) { return row; }
template <class T>
JAXCONV_INLINE const float* row_read(const T*, int64_t count, const float* space) {
  return count > kNormBlock ? nullptr : space;
}

template <class T>
JAXCONV_INLINE Moments moments_of_row(const T* row, int64_t count, float* space) {
  Moments total = {};
  for (int64_t at = 0; at < count; at += kNormBlock) {
    const int64_t n = min(count - at, kNormBlock);
    total.join(moments_of_run(block_of(row + at, 0, 1, n, space), 1, n), at, n);
  }
  return total;
}

template <class X, class T>
JAXCONV_INLINE void normalise_row(const X* x, float m, float rest, float factor, const float* c, const float* b, T* y,
                                  int64_t count) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const int64_t n = min(count - i, kLanes);
    const Vec distance = (load_first(x + i, n) - m) - rest;
    store_first(y + i, distance * factor * load_first(c + i, n) + load_first(b + i, n), n);
  }
}

template <class T>
void layer(const Layers& l, const T* x, const float* c, const float* b, T* y, float* mean, float* rest, float* variance,
           Parallel* threads) {
  const int64_t rows = l.slabs * l.rows, columns = l.columns, jobs = min(norm_jobs(rows * columns), rows);
  parallel(threads, jobs, [&](int64_t job) {
    float* const space = workspace().strip.get(kNormBlock);
    const Range range = part(rows, jobs, job);
    for (int64_t row = range.begin; row < range.end; ++row) {
      const T* const from = x + row * columns;
      const Moments total = moments_of_row(from, columns, space);
      const float m = mean[row] = static_cast<float>(total.mean);
      const float lacks = rest[row] = static_cast<float>(total.mean - m);
      const float var = variance[row] = static_cast<float>(total.squares / static_cast<double>(columns));
      const float factor = 1.0f / __builtin_sqrtf(var + l.eps);
      const int64_t own = row / l.rows * columns;
      if (const float* floats = row_read(from, columns, space)) {
        normalise_row(floats, m, lacks, factor, c + own, b + own, y + row * columns, columns);
      } else {
        normalise_row(from, m, lacks, factor, c + own, b + own, y + row * columns, columns);
      }
    }
  });
}

// What a row of the gradient needs of its sums: see jaxconv/_normalised.py.
struct RowBack {
  float m, rest, factor;  // (x - m - rest) * factor is normalised
  float u, v;             // the gradient of x is u + v (x - m) + factor c g
};

// The sums of c g and of c g (x - m) over a row.
template <class T>
JAXCONV_INLINE Sums products_of_row(const T* x, float m, const float* c, const T* g, int64_t count) {
  Sums total = {};
  for (int64_t at = 0; at < count; at += kNormBlock) {
    Vec of_g[kNormVectors] = {}, of_products[kNormVectors] = {};
    const int64_t end = min(at + kNormBlock, count);
    auto add = [&](int64_t i, int64_t n, int chain) {
      const Vec scaled = load_first(c + i, n) * load_first(g + i, n);
      of_g[chain] += scaled;
      of_products[chain] += scaled * (load_first(x + i, n) - m);
    };
    int64_t i = at;
    for (; i + kNormVectors * kLanes <= end; i += kNormVectors * kLanes) {
#pragma GCC unroll 4
      for (int v = 0; v < kNormVectors; ++v) add(i + v * kLanes, kLanes, v);
    }
    for (; i < end; i += kLanes) add(i, min(end - i, kLanes), 0);
    total.join({sum_of(of_g), sum_of(of_products)}, 0, 0);
  }
  return total;
}

// The gradient of x in R rows, and what they add to those of c and b.
template <int R, class T>
JAXCONV_INLINE void back_of_rows(const RowBack (&back)[kNormTogether], const T* x, const float* c, const T* g, T* dx,
                                 float* dc, float* db, int64_t columns) {
  for (int64_t i = 0; i < columns; i += kLanes) {
    const int64_t n = min(columns - i, kLanes);
    const Vec scale = load_first(c + i, n);
    Vec of_c = load_first(dc + i, n), of_b = load_first(db + i, n);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const RowBack& row = back[r];
      const Vec distance = load_first(x + r * columns + i, n) - row.m, gradient = load_first(g + r * columns + i, n);
      store_first(dx + r * columns + i, row.u + row.v * distance + row.factor * scale * gradient, n);
      of_c += gradient * ((distance - row.rest) * row.factor);
      of_b += gradient;
    }
    store_first(dc + i, of_c, n);
    store_first(db + i, of_b, n);
  }
}

template <class T>
void layer_back(const Layers& l, const T* x, const float* mean, const float* rest, const float* variance,
                const float* c, const T* g, T* dx, float* dc, float* db, Parallel* threads) {
  const int64_t columns = l.columns, slab = l.rows * columns;
  // As everywhere, what is added to what depends on the shape alone. The sums of all parts take less room than x.
  const int64_t parts = min(ceil_div(norm_jobs(l.slabs * slab), l.slabs), ceil_div(l.rows, kNormTerms));
  Sums* const found = workspace().sums.get<Sums>(l.slabs * parts * columns);
  parallel(threads, l.slabs * parts, [&](int64_t job) {
    const int64_t s = job / parts;
    const float* const scale = c + s * columns;
    Sums* const own = found + job * columns;
    for (int64_t i = 0; i < columns; ++i) own[i] = {};
    float* const sums = workspace().strip.get(2 * columns);
    const Range range = part(l.rows, parts, job % parts);
    for (int64_t begin = range.begin; begin < range.end; begin += kNormTerms) {
      std::memset(sums, 0, 2 * columns * sizeof(float));
      const int64_t end = min(begin + kNormTerms, range.end);
      for (int64_t row = begin; row < end; row += kNormTogether) {
        const int64_t rows = min(end - row, kNormTogether), first = s * slab + row * columns;
        RowBack back[kNormTogether];
        for (int64_t i = 0; i < rows; ++i) {
          const int64_t at = s * l.rows + row + i, from = first + i * columns;
          const float m = mean[at], lacks = rest[at], factor = 1.0f / __builtin_sqrtf(variance[at] + l.eps);
          const Sums of_row = products_of_row(x + from, m, scale, g + from, columns);
          const double n = static_cast<double>(columns), r = factor;
          const double v = -r * r * r * (of_row.of_products - lacks * of_row.of_g) / n;
          back[i] = {m, lacks, factor, static_cast<float>(-r * of_row.of_g / n - v * lacks), static_cast<float>(v)};
        }
        auto go_back = [&](auto count) {
          back_of_rows<count>(back, x + first, scale, g + first, dx + first, sums, sums + columns, columns);
        };
        static_assert(kNormTogether == 4);
        switch (rows) {
          case 1: go_back(std::integral_constant<int, 1>()); break;
          case 2: go_back(std::integral_constant<int, 2>()); break;
          case 3: go_back(std::integral_constant<int, 3>()); break;
          default: go_back(std::integral_constant<int, 4>()); break;
        }
      }
      for (int64_t i = 0; i < columns; ++i) own[i].join({sums[columns + i], sums[i]}, 0, 0);
    }
  });
  for (int64_t i = 0; i < l.slabs * columns; ++i) {
    Sums total = {};
    for (int64_t p = 0; p < parts; ++p) total.join(found[(i / columns * parts + p) * columns + i % columns], 0, 0);
    db[i] = static_cast<float>(total.of_g);
    dc[i] = static_cast<float>(total.of_products);
  }
}

}  // namespace
}  // namespace jaxconv::JAXCONV_ISA
