// What a normalisation sums over an array: its mean and variance, and the two sums that its gradient needs.
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
template <class T>
JAXCONV_INLINE Block block_of(const T* data, int64_t pitch, int64_t rows, int64_t count, float* space) {
  if (const float* floats = as_float(data)) return {floats, pitch};
  for (int64_t r = 0; r < rows; ++r) copy(space + r * count, data + r * pitch, count);
  return {space, count};
}

// -- columns: rows of many kept indices, each with a sum of its own
// ----------------------------------------------------

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

// The sum of all lanes of the chains of additions.
JAXCONV_INLINE float sum_of(const Vec (&chains)[kNormVectors]) {
  Vec all = chains[0];
  for (int v = 1; v < kNormVectors; ++v) all += chains[v];
  float total = 0;
  for (int lane = 0; lane < kLanes; ++lane) total += all[lane];
  return total;
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

// -- how the work is cut
// -----------------------------------------------------------------------------------------------

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
    const int64_t most = max(kNormBlock / sums.size(), 1);
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
    const int64_t most = max(kNormBlock / sums.size(), 1);
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

}  // namespace
}  // namespace jaxconv::JAXCONV_ISA
