// Which of the two forms computes an op, and how it is cut into blocks: facts of the problem alone.
#pragma once

#include "forms/dense.h"
#include "forms/lanes.h"
#include "forms/planar.h"
#include "forms/winograd.h"

namespace jaxconv {
namespace {

int64_t taps_of(const Problem& p) { return p.kernel[0] * p.kernel[1] * p.kernel[2]; }

// A kernel of one position that reads each pixel once sees no neighbours: the pixels are one row, and where the
// channels come last those of all images are.
Problem simplified(const Problem& p) {
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

// The forms: what the lanes of a vector are.
enum class Form {
  dense,     // channels of the target in a group, all of which meet each channel of the source
  winograd,  // the same, with fewer multiplications
  lanes,     // channels of the target in all groups
  planar,    // adjacent positions of one channel
};

// Copies of a strip: the price of `lanes` where a channel meets this many others.
constexpr int64_t kMostCopies = 16;
// A multiplication in `planar` costs this much more than one in `dense`, which reads less.
constexpr double kPlanarCost = 1.3;

// The form whose vectors hold the fewest idle lanes. `width` is how many adjacent positions of the target there are.
Form choose_form(Op op, const Problem& p, int64_t source, int64_t target, int64_t width) {
  const double used = static_cast<double>(width) / round_up(width, kBlock);
  const double dense = round_up(target, kBlock), planar = kPlanarCost * target / used;
  if (p.groups > 1 && target < kBlock && source <= kMostCopies) {
    // Images that lie in planes would be turned, and turned back, for little arithmetic.
    return op != Op::weight && !p.channels_last && used > 0.7 ? Form::planar : Form::lanes;
  }
  if (op != Op::weight && planar < dense) return Form::planar;
  const int64_t* size = op == Op::input ? p.x_size : p.y_size;
  const int64_t blocks = p.groups * up(source, kGradientChannels) * up(target, kTargetChannels);
  const int64_t tiles = op == Op::weight ? kFewestTilesOfSlot * most_slots(blocks) : kFewestTiles;
  return winograd_serves(p, source, target, size, tiles) ? Form::winograd : Form::dense;
}

struct Plan {
  Problem problem;
  Form form;
  Groups groups;
  Blocks blocks;    // of the sum itself
  Blocks winograd;  // of Form::winograd
  int64_t slots;    // sums of the weight's gradient that are taken apart
  int64_t floats;   // of scratch
  int64_t bias_at;  // where the bias begins in the scratch, of each group padded to whole blocks; or its gradient's
                    // sums, of each slot
  int64_t sum_at;   // where those of the sum itself begin in the scratch of Form::winograd
};

// Of one bias, packed: the lanes of Form::lanes are those of one group.
int64_t bias_floats(const Plan& plan) {
  return plan.form == Form::lanes ? round_up(plan.groups.lanes, kBlock)
                                  : plan.problem.groups * plan.blocks.bias_floats();
}

Plan make_plan(Op op, const Problem& original) {
  const Problem p = simplified(original);
  const bool transposed = op == Op::input;
  const int64_t in = p.in_channels / p.groups, out = p.out_channels / p.groups;
  const int64_t source = transposed ? out : in, target = transposed ? in : out;
  Plan plan{};
  plan.problem = p;
  plan.form = choose_form(op, p, source, target, transposed ? up(p.x_size[2], p.stride[2]) : p.y_size[2]);
  plan.groups = {p.groups * target, target, source};
  plan.blocks = make_blocks(source, target, taps_of(p), op == Op::weight ? kGradientChannels : kSourceChannels);
  plan.slots = 1;
  switch (plan.form) {
    case Form::winograd:
      plan.winograd = make_blocks(source, target, kProducts, op == Op::weight ? kGradientChannels : source);
      plan.sum_at = p.groups * plan.winograd.floats();
      if (op == Op::weight) plan.sum_at *= gradient_slots(p, plan.winograd);
      [[fallthrough]];
    case Form::dense:
      if (op == Op::weight) plan.slots = gradient_slots(p, plan.blocks);
      plan.floats = plan.sum_at + plan.slots * p.groups * plan.blocks.floats();
      break;
    case Form::lanes:
      if (op == Op::weight) plan.slots = lanes_gradient_slots(p, plan.groups);
      plan.floats = plan.slots * round_up(plan.groups.lanes, kBlock) * source * taps_of(p);
      break;
    case Form::planar: break;  // its weights are packed by each piece of work
  }
  plan.bias_at = plan.floats;
  if (p.bias) plan.floats += plan.slots * bias_floats(plan);
  return plan;
}

}  // namespace
}  // namespace jaxconv
