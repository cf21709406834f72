// Strips: the part of an image that a piece of work reads, copied once into memory that stays in cache. The copy is
// where padding is done, whatever its mode, where channels_first becomes channels last and where half-precision numbers
// become float32, so that the kernels know of none of the three.
#pragma once

#include "memory.h"
#include "pieces.h"
#include "storage.h"

namespace jaxconv {
namespace {

// A row of an image, and the strides of its positions and channels in elements.
template <class T>
struct Row {
  const T* data;
  int64_t position, channel;
};

// Copies n channels of one row, `pitch` floats from one position to the next: `count` positions of the padded axis from
// `first` on.
template <class T>
void copy_row(float* out, int64_t pitch, const Row<T>& row, int64_t n, const Axis& axis, int64_t first, int64_t count) {
  for (int64_t i = 0; i < count;) {
    const int64_t run = min(axis.run(first + i), count - i), source = axis.source(first + i);
    float* to = out + i * pitch;
    i += run;
    if (source < 0) {
      if (n == pitch) {
        std::memset(to, 0, run * n * sizeof(float));
      } else {
        for (int64_t k = 0; k < run; ++k) std::memset(to + k * pitch, 0, n * sizeof(float));
      }
      continue;
    }
    const T* from = row.data + source * row.position;
    if (row.channel == 1 && n == row.position && n == pitch) {
      copy(to, from, run * n);
    } else if (row.channel == 1) {
      for (int64_t k = 0; k < run; ++k) copy(to + k * pitch, from + k * row.position, n);
    } else if (row.position == 1) {
      for (int64_t k = 0; k < run; k += kLanes) {
        transpose_in(to + k * pitch, pitch, from + k, row.channel, n, min(run - k, kLanes));
      }
    } else {
      for (int64_t k = 0; k < run; ++k) {
        for (int64_t c = 0; c < n; ++c) to[k * pitch + c] = read(from[k * row.position + c * row.channel]);
      }
    }
  }
}

// The strides in floats of what a piece of work reads: from one tap of the first axis to the next, and from one row and
// one position to the next.
struct Strip {
  const float* data;
  int64_t plane, row, position;

  int64_t tap(const Pass& pass, int64_t z, int64_t y, int64_t x) const {
    return z * plane + pass.axis[1].offset(y) * row + pass.axis[2].offset(x) * position;
  }
};

// f(plane, row, source) for each row that the strip of a box holds: the number of the tap of the first axis, the
// number of the row, and the row of the image, with null data where it is all zeros.
template <class T, class F>
JAXCONV_INLINE void for_each_row(const View<const T>& from, const Pass& pass, const Box& box, const Slice& slice,
                                 const F& f) {
  const Axis &depth = pass.axis[0], &height = pass.axis[1];
  const int64_t rows = height.span(box.rows());
  for (int64_t t = 0; t < depth.taps; ++t) {
    const int64_t z = depth.source(box.begin[0] * depth.step + depth.offset(t));
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t y = height.source(box.begin[1] * height.step + i);
      Row<T> row = {nullptr, from.axis[2], from.channel};
      if (z >= 0 && y >= 0) {
        row.data =
            from.data + slice.image * from.batch + z * from.axis[0] + y * from.axis[1] + slice.channel * from.channel;
      }
      f(t, i, row);
    }
  }
}

// What a box of one plane reads from a slice of the source, `pitch` floats for each position.
template <class T>
Strip make_strip(Buffer* buffer, const View<const T>& from, const Pass& pass, const Box& box, const Slice& slice,
                 int64_t pitch) {
  const Axis& width = pass.axis[2];
  const int64_t rows = pass.axis[1].span(box.rows()), columns = width.span(box.columns()), each = columns * pitch;
  float* out = buffer->get(pass.axis[0].taps * rows * each);
  for_each_row(from, pass, box, slice, [&](int64_t t, int64_t i, const Row<T>& row) {
    float* to = out + (t * rows + i) * each;
    if (row.data == nullptr) {
      std::memset(to, 0, each * sizeof(float));
    } else {
      copy_row(to, pitch, row, slice.count, width, box.begin[2] * width.step, columns);
    }
  });
  return {out, rows * each, each, pitch};
}

// Whether a pass may read the source in place, without a copy.
template <class T>
bool reads_in_place(const View<const T>& source, const Pass& pass) {
  return as_float(source.data) != nullptr && source.channel == 1 && pass.taps() > 0 && pass.axis[0].reads_in_order() &&
         pass.axis[1].reads_in_order() && pass.axis[2].reads_in_order();
}

// The strip of a pass that may.
template <class T>
Strip strip_in_place(const View<const T>& from, const Pass& pass, const Box& box, const Slice& slice) {
  const float* data = as_float(from.data) + slice.image * from.batch + slice.channel;
  for (int a = 0; a < 3; ++a) data += pass.axis[a].source(box.begin[a] * pass.axis[a].step) * from.axis[a];
  return {data, pass.axis[0].offset_step * from.axis[0], from.axis[1], from.axis[2]};
}

// Taps that lie side by side in a strip, and their weights in the packed kernel.
struct Run {
  int64_t strip, kernel, length;
};

// The runs of a strip in which a position has n numbers, the packed kernel `pitch` numbers for each of them. What is
// adjacent in both is one run: where a row of taps reads adjacent positions, and a position holds n numbers only.
int64_t make_runs(Run* runs, const Strip& strip, const Pass& pass, int64_t n, int64_t pitch) {
  int64_t count = 0;
  for_each_tap(pass, [&](int64_t z, int64_t y, int64_t x, int64_t tap) {
    const Run run = {strip.tap(pass, z, y, x), tap * n * pitch, n};
    Run* last = runs + count - 1;
    if (count > 0 && last->strip + last->length == run.strip && last->kernel + last->length * pitch == run.kernel) {
      last->length += n;
    } else {
      runs[count++] = run;
    }
  });
  return count;
}

// Whether a target, written once and in whole vectors of channels, `group` of them adjacent, is stored past the caches.
template <class T>
bool uses_streaming_stores(const View<T>& target, int64_t batch, int64_t group) {
  const float* data = as_float(target.data);
  return kHasStreamingStores && data != nullptr && target.channel == 1 && group % kBlock == 0 &&
         target.axis[2] % kBlock == 0 && reinterpret_cast<uintptr_t>(data) % 64 == 0 &&
         batch * target.batch * static_cast<int64_t>(sizeof(float)) > kStreamingBytes;
}

// Writes one channel of a row, or adds to what it holds: `count` positions of the axis from `first` on, which are
// `position` numbers apart in the target.
template <class T>
void write_row(T* row, int64_t position, const Axis& axis, int64_t first, int64_t count, const float* from,
               bool accumulate) {
  if (axis.writes_in_order() && !accumulate) {
    T* to = row + axis.target(first) * position;
    for (int64_t i = 0; i < count; ++i) write(to + i * axis.target_step * position, from[i]);
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    T* to = row + axis.target(first + i) * position;
    write(to, accumulate ? from[i] + read(*to) : from[i]);
  }
}

// Writes a box of one plane of the target, or adds to what it holds: `local` has `pitch` floats for each position.
template <class T>
void write_box(const View<T>& to, const Pass& pass, const Box& box, const Slice& slice, const float* local,
               int64_t pitch, bool accumulate) {
  const Axis& width = pass.axis[2];
  const int64_t columns = box.columns();
  for (int64_t r = 0; r < box.rows(); ++r, local += columns * pitch) {
    T* row = to.data + slice.image * to.batch + pass.axis[0].target(box.begin[0]) * to.axis[0] +
             pass.axis[1].target(box.begin[1] + r) * to.axis[1] + slice.channel * to.channel;
    if (to.channel == 1) {
      for (int64_t i = 0; i < columns; ++i) {
        T* p = row + width.target(box.begin[2] + i) * to.axis[2];
        const float* from = local + i * pitch;
        for (int64_t c = 0; c < slice.count; ++c) write(p + c, accumulate ? from[c] + read(p[c]) : from[c]);
      }
      continue;
    }
    const bool adjacent = to.axis[2] == 1 && width.target_step == 1 && width.writes_in_order() && !accumulate;
    for (int64_t i = 0; i < columns; i += kLanes) {
      const int64_t run = min(columns - i, kLanes);
      if (adjacent) {
        transpose_out(row + width.target(box.begin[2] + i), to.channel, local + i * pitch, pitch, slice.count, run);
        continue;
      }
      int64_t places[kLanes];
      for (int64_t j = 0; j < run; ++j) places[j] = width.target(box.begin[2] + i + j) * to.axis[2];
      for (int64_t c = 0; c < slice.count; ++c) {
        for (int64_t j = 0; j < run; ++j) {
          T* p = row + c * to.channel + places[j];
          const float value = local[(i + j) * pitch + c];
          write(p, accumulate ? value + read(*p) : value);
        }
      }
    }
  }
}

// Rows of numbers, and the strides of rows and positions in floats.
struct Rows {
  const float* data;
  int64_t row, position;
};

// What a box of one plane covers of a slice of the output's gradient, `pitch` floats for each position: as it lies,
// where it lies so, and else a copy. Floats beyond the slice are zeros.
template <class T>
Rows gradient_rows(Buffer* buffer, const View<const T>& y, const Box& box, const Slice& slice, int64_t pitch) {
  const T* from = y.data + slice.image * y.batch + box.begin[0] * y.axis[0] + box.begin[1] * y.axis[1] +
                  box.begin[2] * y.axis[2] + slice.channel * y.channel;
  if (as_float(from) != nullptr && y.channel == 1 && slice.count == pitch) {
    return {as_float(from), y.axis[1], y.axis[2]};
  }
  const int64_t columns = box.columns();
  float* out = buffer->get(box.rows() * columns * pitch);
  if (slice.count != pitch) std::memset(out, 0, box.rows() * columns * pitch * sizeof(float));
  for (int64_t r = 0; r < box.rows(); ++r) {
    float* to = out + r * columns * pitch;
    const T* row = from + r * y.axis[1];
    if (y.channel == 1) {
      for (int64_t k = 0; k < columns; ++k) copy(to + k * pitch, row + k * y.axis[2], slice.count);
    } else {
      for (int64_t k = 0; k < columns; k += kLanes) {
        transpose_in(to + k * pitch, pitch, row + k, y.channel, slice.count, min(columns - k, kLanes));
      }
    }
  }
  return {out, columns * pitch, pitch};
}

}  // namespace
}  // namespace jaxconv
