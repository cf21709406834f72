// Which of the forms computes an op, how its channels are cut into blocks, and how much scratch that takes: facts of
// the problem alone.
#pragma once

#include "layout.h"

namespace jaxconv {
namespace {

// The forms: what the lanes of a vector are. forms/ holds one in each file.
enum class Form {
  dense,     // channels of the target in a group, all of which meet each channel of the source
  winograd,  // the same, with fewer multiplications
  lanes,     // channels of the target in all groups
  planar,    // adjacent positions of one channel
};

// Products of a tile of Form::winograd.
constexpr int64_t kProducts = 16;

struct Plan {
  Problem problem;  // simplified
  Form form;
  int64_t source, target;  // channels of a group on the side that is read and on the side that is written
  Blocks blocks;           // of Form::dense, which every other one but Form::lanes falls back to
  Blocks winograd;         // of Form::winograd
  Groups groups;           // of Form::lanes
  int64_t slots;           // of the weight's gradient

  // The scratch, in floats: what the form packs or sums, then what Form::dense does where Form::winograd goes first,
  // then the bias, each group padded to whole blocks, or its gradient's sums in each slot.
  int64_t dense_begin, bias_begin, floats;

  // Of one packed bias: the channels of Form::lanes are those of one group.
  int64_t bias_groups() const { return form == Form::lanes ? 1 : problem.groups; }
  int64_t bias_floats() const {
    return form == Form::lanes ? groups.padded_lanes() : problem.groups * blocks.padded_target();
  }
};

// A kernel of one position that reads each pixel once sees no neighbours: the pixels are one row, and where the
// channels come last those of all images are. The row may be longer than any axis of an image; positions are counted
// with 64 bits.
inline Problem simplified(const Problem& p) {
  for (int a = 0; a < 3; ++a) {
    if (p.kernel[a] != 1 || p.stride[a] != 1 || p.low[a] != 0 || p.high[a] != 0) return p;
  }
  Problem q = p;
  int64_t pixels = p.x_size[0] * p.x_size[1] * p.x_size[2];
  if (p.channels_last) {
    pixels *= p.batch;
    q.batch = 1;
  }
  for (int a = 0; a < 3; ++a) q.x_size[a] = q.y_size[a] = a == 2 ? pixels : 1;
  return q;
}

// Whether Winograd's tiles of the target take less time than sums.
inline bool winograd_pays(Op op, const Problem& p, int64_t source, int64_t target) {
  if (p.kernel[0] != 1 || p.kernel[1] != 3 || p.kernel[2] != 3) return false;
  if (p.stride[0] != 1 || p.stride[1] != 1 || p.stride[2] != 1) return false;
  if (min(source, target) < kWinogradChannels || source + target < 3 * kWinogradChannels) return false;
  const int64_t* size = op == Op::input ? p.x_size : p.y_size;
  if (size[1] < 2 * p.dilation[1] || size[2] < 2 * p.dilation[2]) return false;
  const int64_t blocks = p.groups * ceil_div(source, kGradientChannels) * ceil_div(target, kTargetChannels);
  const int64_t enough = op == Op::weight ? kWinogradTilesPerSlot * max_slots(blocks) : kWinogradTiles;
  return p.batch * size[0] * ceil_div(size[1], 2) * ceil_div(size[2], 2) >= enough;
}

// The form whose vectors hold the fewest idle lanes.
inline Form choose_form(Op op, const Problem& p, int64_t source, int64_t target) {
  // Adjacent positions of the target in a pass, and which part of the lanes they use.
  const int64_t width = op == Op::input ? ceil_div(p.x_size[2], p.stride[2]) : p.y_size[2];
  const double use = static_cast<double>(width) / round_up(width, kBlock);
  if (p.groups > 1 && target < kBlock && source <= kLanesSources) {
    // Images that lie in planes would be transposed, and transposed back, for little arithmetic.
    return op != Op::weight && !p.channels_last && use > kPlanarUse ? Form::planar : Form::lanes;
  }
  if (op != Op::weight && kPlanarCost * target / use < round_up(target, kBlock)) return Form::planar;
  return winograd_pays(op, p, source, target) ? Form::winograd : Form::dense;
}

inline Plan make_plan(Op op, const Problem& original) {
  const Problem p = simplified(original);
  const bool transposed = op == Op::input;
  const int64_t in = p.in_channels / p.groups, out = p.out_channels / p.groups, taps = taps_of(p);
  Plan plan{};
  plan.problem = p;
  plan.source = transposed ? out : in;
  plan.target = transposed ? in : out;
  plan.form = choose_form(op, p, plan.source, plan.target);
  const bool gradient = op == Op::weight, winograd = plan.form == Form::winograd;
  plan.groups = {p.groups * plan.target, plan.target, plan.source};
  plan.blocks = make_blocks(plan.source, plan.target, taps, gradient ? kGradientChannels : kSourceChannels);
  plan.winograd = make_blocks(plan.source, plan.target, kProducts, gradient ? kGradientChannels : plan.source);
  plan.slots = 1;
  if (gradient && plan.form == Form::lanes) {
    plan.slots = slots_for(p, ceil_div(plan.groups.lanes, lanes_per_piece(p, plan.groups)));
  } else if (gradient) {
    plan.slots = slots_for(p, p.groups * plan.blocks.source_blocks * plan.blocks.target_blocks);
  }
  plan.dense_begin = winograd ? plan.slots * p.groups * plan.winograd.floats() : 0;
  switch (plan.form) {
    case Form::dense:
    case Form::winograd: plan.bias_begin = plan.dense_begin + plan.slots * p.groups * plan.blocks.floats(); break;
    case Form::lanes: plan.bias_begin = plan.slots * plan.groups.padded_lanes() * plan.source * taps; break;
    case Form::planar: plan.bias_begin = 0; break;  // its weights are packed by each piece of work
  }
  plan.floats = plan.bias_begin + (p.bias ? plan.slots * plan.bias_floats() : 0);
  return plan;
}

}  // namespace
}  // namespace jaxconv
