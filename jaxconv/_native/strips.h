// Strips: the part of an image that a piece of work reads, copied once into memory that stays in cache. The copy is
// where padding is done, whatever its mode, where channels_first becomes channels last and where half-precision numbers
// become float32, so that the kernels know of none of the three.
#pragma once

#include "passes.h"

namespace jaxconv {
namespace {

struct BFloat16 {
  uint16_t bits;
};

JAXCONV_INLINE float read(float v) { return v; }
JAXCONV_INLINE float read(_Float16 v) { return v; }
JAXCONV_INLINE float read(BFloat16 v) {
  const uint32_t bits = static_cast<uint32_t>(v.bits) << 16;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}

JAXCONV_INLINE void write(float* p, float v) { *p = v; }
JAXCONV_INLINE void write(_Float16* p, float v) { *p = static_cast<_Float16>(v); }
JAXCONV_INLINE void write(BFloat16* p, float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, 4);
  // To the nearest, ties to even; a NaN keeps a bit of its payload.
  const bool nan = (bits & 0x7fffffff) > 0x7f800000;
  p->bits = nan ? (bits >> 16 | 0x40) : ((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// The numbers themselves, where they are float32 already; null otherwise.
JAXCONV_INLINE const float* as_float(const float* p) { return p; }
JAXCONV_INLINE float* as_float(float* p) { return p; }
template <class T>
JAXCONV_INLINE const float* as_float(const T*) {
  return nullptr;
}
template <class T>
JAXCONV_INLINE float* as_float(T*) {
  return nullptr;
}

JAXCONV_INLINE void copy(float* out, const float* in, int64_t n) { std::memcpy(out, in, n * sizeof(float)); }
template <class T>
JAXCONV_INLINE void copy(float* out, const T* in, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = read(in[i]);
}

// out[i][c] = in[c][i] for n channels, `channel` apart, and `run` adjacent positions.
JAXCONV_INLINE void transpose_in(float* out, int64_t pitch, const float* in, int64_t channel, int64_t n, int64_t run) {
  for (int64_t c = 0; c < n; c += kLanes)
    transpose(out + c, pitch, in + c * channel, channel, least(n - c, kLanes), run);
}
template <class T>
JAXCONV_INLINE void transpose_in(float* out, int64_t pitch, const T* in, int64_t channel, int64_t n, int64_t run) {
  for (int64_t c = 0; c < n; ++c) {
    for (int64_t i = 0; i < run; ++i) out[i * pitch + c] = read(in[c * channel + i]);
  }
}
// out[c][i] = in[i][c], the other way.
JAXCONV_INLINE void transpose_out(float* out, int64_t channel, const float* in, int64_t pitch, int64_t n, int64_t run) {
  for (int64_t c = 0; c < n; c += kLanes)
    transpose(out + c * channel, channel, in + c, pitch, run, least(n - c, kLanes));
}
template <class T>
JAXCONV_INLINE void transpose_out(T* out, int64_t channel, const float* in, int64_t pitch, int64_t n, int64_t run) {
  for (int64_t c = 0; c < n; ++c) {
    for (int64_t i = 0; i < run; ++i) write(out + c * channel + i, in[i * pitch + c]);
  }
}

// A result of more bytes than these is not in a cache when the next op begins to read it.
constexpr int64_t kStreamBytes = 8 << 20;

// Whether a target, written once and in whole vectors of channels, `group` of them adjacent, is stored by `stream`.
template <class T>
bool streams(const View<T>& target, int64_t batch, int64_t group) {
  const float* data = as_float(target.data);
  return kStreams && data != nullptr && target.channel == 1 && group % kBlock == 0 && target.axis[2] % kBlock == 0 &&
         reinterpret_cast<uintptr_t>(data) % 64 == 0 &&
         batch * target.batch * static_cast<int64_t>(sizeof(float)) > kStreamBytes;
}

// Where the positions of a row of a strip lie in the source: those of an axis from one position on.
struct Places {
  const int32_t *source, *run;

  Places(const Axis& axis, int64_t first) : source(axis.source + first), run(axis.run + first) {}
  // How many of `count` positions lie side by side from the i-th on.
  int64_t together(int64_t i, int64_t count) const { return least(run[i], count - i); }
};

// Copies `n` channels of one row, `pitch` floats from one position to the next. In the source, positions are `position`
// numbers apart and channels `channel`.
template <class T>
void copy_row(float* out, const T* row, const Places& places, int64_t count, int64_t n, int64_t pitch, int64_t position,
              int64_t channel) {
  for (int64_t i = 0; i < count;) {
    const int64_t together = places.together(i, count);
    float* to = out + i * pitch;
    i += together;
    const int32_t source = places.source[i - together];
    if (source < 0) {
      if (n == pitch) {
        std::memset(to, 0, together * n * sizeof(float));
      } else {
        for (int64_t k = 0; k < together; ++k) std::memset(to + k * pitch, 0, n * sizeof(float));
      }
      continue;
    }
    const T* from = row + source * position;
    if (channel == 1 && n == position && n == pitch) {
      copy(to, from, together * n);
    } else if (channel == 1) {
      for (int64_t k = 0; k < together; ++k) copy(to + k * pitch, from + k * position, n);
    } else if (position == 1) {
      for (int64_t k = 0; k < together; k += kLanes) {
        transpose_in(to + k * pitch, pitch, from + k, channel, n, least(together - k, kLanes));
      }
    } else {
      for (int64_t k = 0; k < together; ++k) {
        for (int64_t c = 0; c < n; ++c) to[k * pitch + c] = read(from[k * position + c * channel]);
      }
    }
  }
}

// The same where nothing is repeated or in another order.
template <class T>
void copy_plain_row(float* out, const T* row, int64_t count, int64_t n, int64_t pitch, int64_t position,
                    int64_t channel) {
  if (channel == 1) {
    for (int64_t k = 0; k < count; ++k) copy(out + k * pitch, row + k * position, n);
  } else {
    for (int64_t k = 0; k < count; k += kLanes) {
      transpose_in(out + k * pitch, pitch, row + k, channel, n, least(count - k, kLanes));
    }
  }
}

// A strip, and the strides of its planes, rows and positions in floats. A copied one has a plane for each tap of the
// first axis; where the source is read as it lies, all its planes are there, `every_plane` of them.
struct Strip {
  const float* data;
  int64_t plane, row, position;
  bool every_plane;
};

// What `rows` rows and `width` positions of the target read from n channels, `first[0]` being the target's plane,
// `first[1]` the first row and `first[2]` the first position.
template <class T>
Strip make_strip(Buffer* buffer, const View<const T>& from, const Pass& pass, const int64_t first[3], int64_t rows,
                 int64_t width, int64_t batch, int64_t channel, int64_t n, int64_t pitch) {
  const Axis &deep = pass.axis[0], &high = pass.axis[1], &wide = pass.axis[2];
  const int64_t tall = high.span(rows), long_ = wide.span(width);
  float* out = buffer->get(deep.taps * tall * long_ * pitch);
  const Strip strip = {out, tall * long_ * pitch, long_ * pitch, pitch, false};
  for (int64_t t = 0; t < deep.taps; ++t) {
    const int64_t z = deep.source[first[0] * deep.step + deep.offset[t]];
    for (int64_t i = 0; i < tall; ++i, out += long_ * pitch) {
      const int64_t y = high.source[first[1] * high.step + i];
      if (z < 0 || y < 0) {
        std::memset(out, 0, long_ * pitch * sizeof(float));
        continue;
      }
      const T* row = from.data + batch * from.batch + z * from.axis[0] + y * from.axis[1] + channel * from.channel;
      copy_row(out, row, Places(wide, first[2] * wide.step), long_, n, pitch, from.axis[2], from.channel);
    }
  }
  return strip;
}

// Taps that lie side by side in a strip, and their weights in the packed kernel.
struct Run {
  int64_t strip, kernel, length;
};

// The runs of a strip in which a position has `n` numbers, the packed kernel `wide` numbers for each of them. What
// follows on in both is one run: where a row of taps reads adjacent positions, and a position holds n numbers only.
int64_t make_runs(Run* runs, const Strip& strip, const Pass& pass, const Problem& p, int64_t n, int64_t wide) {
  int64_t count = 0;
  for (int64_t z = 0; z < pass.axis[0].taps; ++z) {
    const int64_t plane = (strip.every_plane ? pass.axis[0].offset[z] : z) * strip.plane;
    for (int64_t y = 0; y < pass.axis[1].taps; ++y) {
      for (int64_t x = 0; x < pass.axis[2].taps; ++x) {
        const int64_t tap =
            (pass.axis[0].tap[z] * p.kernel[1] + pass.axis[1].tap[y]) * p.kernel[2] + pass.axis[2].tap[x];
        const Run run = {plane + pass.axis[1].offset[y] * strip.row + pass.axis[2].offset[x] * strip.position,
                         tap * n * wide, n};
        Run* last = runs + count - 1;
        if (count > 0 && last->strip + last->length == run.strip && last->kernel + last->length * wide == run.kernel) {
          last->length += n;
        } else {
          runs[count++] = run;
        }
      }
    }
  }
  return count;
}

// How a pass over an image is cut into pieces of work: rows and positions of the target that one piece computes.
struct Cut {
  int64_t rows, width, row_pieces, width_pieces;
};

// `floats` is what one position of the strip holds; a piece's strip stays within `bytes` where that is possible, and
// there are at least `pieces` of them where there are so many rows.
Cut cut(const Pass& pass, int64_t floats, int64_t bytes, int64_t pieces) {
  const Axis &deep = pass.axis[0], &high = pass.axis[1], &wide = pass.axis[2];
  const int64_t one = most(floats * 4 * most(deep.taps, 1), 1);
  Cut c;
  // Rows are long where there are few of them; a piece of fewer positions than this would be all overhead.
  c.width_pieces = least(up(pieces, high.count), most(wide.count / 32, 1));
  while (c.width_pieces < wide.count && one * high.span(1) * wide.span(up(wide.count, c.width_pieces)) > bytes) {
    ++c.width_pieces;
  }
  c.width = up(wide.count, c.width_pieces);
  c.width_pieces = up(wide.count, c.width);
  c.row_pieces = least(high.count, most(up(pieces, c.width_pieces), 1));
  while (c.row_pieces < high.count && one * wide.span(c.width) * high.span(up(high.count, c.row_pieces)) > bytes) {
    ++c.row_pieces;
  }
  c.rows = up(high.count, c.row_pieces);
  c.row_pieces = up(high.count, c.rows);
  return c;
}

// One piece of the work on a whole batch: rows `first[1]` on and positions `first[2]` on of plane `first[0]`.
struct Piece {
  int64_t image, first[3], rows, width;
};

Piece piece_of(const Cut& c, const Pass& pass, int64_t i) {
  Piece piece;
  piece.first[2] = i % c.width_pieces * c.width;
  i /= c.width_pieces;
  piece.first[1] = i % c.row_pieces * c.rows;
  i /= c.row_pieces;
  piece.first[0] = i % pass.axis[0].count;
  piece.image = i / pass.axis[0].count;
  piece.rows = least(c.rows, pass.axis[1].count - piece.first[1]);
  piece.width = least(c.width, pass.axis[2].count - piece.first[2]);
  return piece;
}

// Writes a piece of the target: `local` holds `pitch` floats for each of its positions, of which n channels are wanted.
template <class T>
void write_piece(const View<T>& to, const Pass& pass, const int64_t first[3], int64_t rows, int64_t width,
                 int64_t batch, int64_t channel, int64_t n, const float* local, int64_t pitch, bool add) {
  const int32_t* target = pass.axis[2].target + first[2];
  for (int64_t r = 0; r < rows; ++r, local += width * pitch) {
    T* row = to.data + batch * to.batch + pass.axis[0].target[first[0]] * to.axis[0] +
             pass.axis[1].target[first[1] + r] * to.axis[1] + channel * to.channel;
    if (to.channel == 1) {
      for (int64_t i = 0; i < width; ++i) {
        T* p = row + target[i] * to.axis[2];
        for (int64_t c = 0; c < n; ++c) write(p + c, local[i * pitch + c] + (add ? read(p[c]) : 0));
      }
      continue;
    }
    const bool in_order = to.axis[2] == 1 && pass.axis[2].stride == 1 && !add;
    for (int64_t i = 0; i < width; i += kLanes) {
      const int64_t run = least(width - i, kLanes);
      if (in_order) {
        transpose_out(row + target[i], to.channel, local + i * pitch, pitch, n, run);
        continue;
      }
      for (int64_t c = 0; c < n; ++c) {
        for (int64_t j = i; j < i + run; ++j) {
          T* p = row + c * to.channel + target[j] * to.axis[2];
          write(p, local[j * pitch + c] + (add ? read(*p) : 0));
        }
      }
    }
  }
}

}  // namespace
}  // namespace jaxconv
