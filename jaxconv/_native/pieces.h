// How a pass is cut into pieces of work.
#pragma once

#include "passes.h"
#include "tuning.h"

namespace jaxconv {
namespace {

// The positions of the target that a piece computes: planes, rows and columns.
struct Box {
  int64_t begin[3], size[3];

  int64_t planes() const { return size[0]; }
  int64_t rows() const { return size[1]; }
  int64_t columns() const { return size[2]; }
  Box plane(int64_t i) const { return {{begin[0] + i, begin[1], begin[2]}, {1, size[1], size[2]}}; }
};

// The unit of work that a thread takes: a box of one image, for one group of channels, of which it computes one share.
struct Piece {
  int64_t image, group, share;
  Box box;
};

// All pieces of a pass over a batch, numbered: shares of the channels are innermost, then columns, rows and planes,
// then groups and images.
struct Pieces {
  int64_t images, groups = 1, shares = 1;
  int64_t count[3];   // positions of the target
  int64_t each[3];    // ... in a box
  int64_t number[3];  // boxes

  Pieces(int64_t batch, const Pass& pass, int64_t planes, int64_t rows, int64_t columns)
      : images(batch), each{planes, rows, columns} {
    for (int a = 0; a < 3; ++a) count[a] = pass.axis[a].count, number[a] = ceil_div(count[a], each[a]);
  }

  int64_t boxes() const { return number[0] * number[1] * number[2]; }
  int64_t size() const { return images * groups * boxes() * shares; }

  Piece operator[](int64_t i) const {
    Piece piece;
    piece.share = i % shares;
    i /= shares;
    for (int a = 2; a >= 0; --a) {
      piece.box.begin[a] = i % number[a] * each[a];
      piece.box.size[a] = min(each[a], count[a] - piece.box.begin[a]);
      i /= number[a];
    }
    piece.group = i % groups;
    piece.image = i / groups;
    return piece;
  }
};

// The fewest parts of an axis that read at most `capacity` positions of the padded source each, but where a window
// spans so many that most of what a part reads would be read by the next one, too: then they are larger.
int64_t fewest_parts(const Axis& axis, int64_t capacity) {
  if (axis.taps == 0) return 1;
  const int64_t span = axis.span(1), rest = capacity - span;
  const int64_t least = max(span / (kSpansPerPart * axis.step), 1);
  return ceil_div(axis.count, max(rest < 0 ? 1 : rest / axis.step + 1, least));
}

// Boxes of one plane whose strips have at most `bytes` bytes, if windows span few positions; `floats` is what one
// position of a strip holds. There are at least `wanted` boxes in a plane where it has so many rows.
Pieces cut(int64_t batch, const Pass& pass, int64_t floats, int64_t bytes, int64_t wanted) {
  const Axis &depth = pass.axis[0], &height = pass.axis[1], &width = pass.axis[2];
  const int64_t position = max(floats * static_cast<int64_t>(sizeof(float)) * depth.taps, 1);
  const int64_t cuts = min(ceil_div(wanted, height.count), max(width.count / kPiecePositions, 1));
  const int64_t columns =
      ceil_div(width.count, max(cuts, fewest_parts(width, bytes / max(position * height.span(1), 1))));
  const int64_t bands = min(height.count, ceil_div(wanted, ceil_div(width.count, columns)));
  const int64_t rows =
      ceil_div(height.count, max(bands, fewest_parts(height, bytes / max(position * width.span(columns), 1))));
  return Pieces(batch, pass, 1, rows, columns);
}

// Whole images: different positions of a pass that adds to its target may be the same there.
Pieces whole_images(int64_t batch, const Pass& pass) {
  return Pieces(batch, pass, pass.axis[0].count, pass.axis[1].count, pass.axis[2].count);
}

}  // namespace
}  // namespace jaxconv
