// How the channels of a problem are cut into blocks, and how its kernel, its bias and the sums of their gradients lie
// in the scratch: the same for every instruction set.
#pragma once

#include "arithmetic.h"
#include "problem.h"
#include "tuning.h"

namespace jaxconv {
namespace {

inline int64_t taps_of(const Problem& p) { return p.kernel[0] * p.kernel[1] * p.kernel[2]; }

// w[target, source, tap] of a group, by its strides; in reverse order of the taps for the transpose.
struct Weights {
  const void* data;
  int64_t group, target, source, taps;
  bool reversed;
};

// How the channels of a group are cut where all of them meet: `source` ones and `target` ones into blocks. The packed
// kernel is, for each group, block of source channels and block of target channels, (taps, source, target); the
// target's channels padded to whole vectors with zeros.
struct Blocks {
  int64_t source, target, source_blocks, target_blocks, taps;

  Range sources(int64_t s) const { return part(source, source_blocks, s); }
  Range targets(int64_t t) const { return {t * kTargetChannels, min((t + 1) * kTargetChannels, target)}; }
  // Channels of a block of the target, padded.
  int64_t pitch(int64_t t) const { return round_up(targets(t).size(), kBlock); }
  // The most channels of the source in a block.
  int64_t max_sources() const { return sources(source_blocks - 1).size(); }
  // Floats of the packed kernel of a group.
  int64_t floats() const { return taps * source * padded_target(); }
  // Where a block begins in it.
  int64_t begin(int64_t s, int64_t t) const {
    const Range channels = sources(s);
    return taps * (channels.begin * padded_target() + channels.size() * t * kTargetChannels);
  }
  // Channels of the target of a group in a packed bias, and where a block of them begins there.
  int64_t padded_target() const { return round_up(target, kBlock); }
  int64_t bias_begin(int64_t group, int64_t t) const { return group * padded_target() + t * kTargetChannels; }
};

inline Blocks make_blocks(int64_t source, int64_t target, int64_t taps, int64_t source_channels) {
  return {source, target, ceil_div(source, source_channels), ceil_div(target, kTargetChannels), taps};
}

// Channels that meet few others: of `lanes` channels of the target in all, each `target` of a group meet `source`
// channels.
struct Groups {
  int64_t lanes, target, source;

  int64_t met(int64_t lane, int64_t e) const { return lane / target * source + e; }
  int64_t padded_lanes() const { return round_up(lanes, kBlock); }
};

// Lanes of one piece of work, whole blocks: fewer where the kernel is tall, so that a strip holds several times the
// rows that the kernel has, and few of them are copied twice.
inline int64_t lanes_per_piece(const Problem& p, const Groups& groups) {
  int64_t lanes = min(groups.padded_lanes(), kLanesChannels);
  const int64_t rows = kLanesHeights * (p.dilation[1] * (p.kernel[1] - 1) + 1) * p.kernel[0];
  const int64_t row = (p.x_size[2] + p.dilation[2] * (p.kernel[2] - 1)) * groups.source * sizeof(float);
  while (lanes > kBlock && rows > kStripBytes / (lanes * row)) lanes = round_up(lanes / 2, kBlock);
  return lanes;
}

// -- slots: sums of the weight's gradient that are taken apart, and added at the end --------------------------------
//
// So there is work for all threads where a kernel is small. How many there are depends on the problem alone: so does
// the order of the additions, and with it the result.

inline int64_t max_slots(int64_t blocks) { return ceil_div(kSlots, blocks); }

// For each of so many blocks of the weight.
inline int64_t slots_for(const Problem& p, int64_t blocks) {
  return min(max_slots(blocks), p.batch * p.y_size[0] * p.y_size[1] * ceil_div(p.y_size[2], kSlotPositions));
}

}  // namespace
}  // namespace jaxconv
