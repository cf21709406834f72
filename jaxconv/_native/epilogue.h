// How the sums of a micro-kernel become results.
#pragma once

#include "vector.h"

namespace jaxconv {
namespace {

// What is done to a sum when all of its products are in it, and before it is written: the place for whatever follows a
// convolution element by element. Each form applies it to the tiles of its micro-kernels while they are in registers.
struct Epilogue {
  const float* bias = nullptr;  // packed, so that whole vectors can be read; null where there is none

  // The one for the channels from `channel` of the packed bias on.
  Epilogue from(int64_t channel) const { return {bias == nullptr ? nullptr : bias + channel}; }

  // To a tile whose vectors hold channels: tile[p][v] those from v vectors on.
  template <int P, int V>
  JAXCONV_INLINE void apply_to_channels(Vec (&tile)[P][V]) const {
    if (bias == nullptr) return;
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      const Vec added = load(bias + v * kLanes);
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) tile[p][v] += added;
    }
  }

  // To a tile whose vectors hold positions of one channel each: tile[i] those of channel i * step.
  template <int N, int V>
  JAXCONV_INLINE void apply_to_positions(Vec (&tile)[N][V], int step) const {
    if (bias == nullptr) return;
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) {
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) tile[i][v] += bias[i * step];
    }
  }
};

// Adds `n` numbers from each out + i * pitch to tile[i].
template <int N, int V>
JAXCONV_INLINE void add_tile(Vec (&tile)[N][V], const float* out, int64_t pitch, int64_t n) {
  const bool whole = n >= V * kLanes;
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      const float* from = out + i * pitch + v * kLanes;
      tile[i][v] += whole ? load(from) : load_first(from, n - v * kLanes);
    }
  }
}

// tile[i] to out + i * pitch, `n` numbers of it; past the caches where `streaming`, and then all numbers.
template <int N, int V>
JAXCONV_INLINE void store_tile(const Vec (&tile)[N][V], float* out, int64_t pitch, int64_t n, bool streaming) {
  if (streaming) {
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) {
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) store_streaming(out + i * pitch + v * kLanes, tile[i][v]);
    }
  } else if (n >= V * kLanes) {
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) {
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) store(out + i * pitch + v * kLanes, tile[i][v]);
    }
  } else {
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) {
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) {
        // A masked store takes its time even where it stores nothing.
        if (v * kLanes < n) store_first(out + i * pitch + v * kLanes, tile[i][v], n - v * kLanes);
      }
    }
  }
}

// A sum of sums: rounding errors grow with the length of one and the number of the others, not with their product.
template <int N, int V>
struct TileTotal {
  float memory[N * V * kLanes];  // not in registers: few sums are that long
  const float* total = nullptr;  // that, once something is in it

  // Adds the tile to the total and empties it.
  JAXCONV_INLINE void take(Vec (&tile)[N][V]) {
    add_to(tile);
    store_tile(tile, memory, V * kLanes, V * kLanes, false);
    total = memory;
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) {
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) tile[i][v] = Vec{};
    }
  }

  // Adds the total to the tile.
  JAXCONV_INLINE void add_to(Vec (&tile)[N][V]) const {
    if (total != nullptr) add_tile(tile, total, V * kLanes, V * kLanes);
  }
};

}  // namespace
}  // namespace jaxconv
