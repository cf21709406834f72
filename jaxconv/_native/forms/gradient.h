// The weight's gradient, as far as the forms have it in common: sums over pieces of work in slots, and the additions at
// the end.
#pragma once

#include "forms/form.h"

namespace jaxconv::JAXCONV_ISA {
namespace {

// total[c] += sum over the rows of a box of y[c], for n channels.
void add_positions(const Rows& y, const Box& box, int64_t n, float* total) {
  for (int64_t lane = 0; lane < n; lane += kLanes) {
    Vec whole = {};
    for (int64_t r = 0; r < box.rows(); ++r) {
      for (int64_t i = 0; i < box.columns();) {
        const float* from = y.data + r * y.row + i * y.position + lane;
        const int64_t count = min(box.columns() - i, kBiasChains * kTerms);
        Vec sum[kBiasChains] = {};
        int64_t k = 0;
        for (; k + kBiasChains <= count; k += kBiasChains) {
#pragma GCC unroll 4
          for (int64_t chain = 0; chain < kBiasChains; ++chain) {
            sum[chain] += load_first(from + (k + chain) * y.position, n - lane);
          }
        }
        for (; k < count; ++k) sum[0] += load_first(from + k * y.position, n - lane);
        whole += (sum[0] + sum[1]) + (sum[2] + sum[3]);
        i += count;
      }
    }
    store_first(total + lane, load_first(total + lane, n - lane) + whole, n - lane);
  }
}

// The sum of n numbers, whole vectors of them, over all slots, which are `pitch` floats apart.
void add_slots(float* out, const float* sums, int64_t n, int64_t slots, int64_t pitch) {
  for (int64_t i = 0; i < n; i += kLanes) {
    Vec sum = load(sums + i);
    for (int64_t k = 1; k < slots; ++k) sum += load(sums + k * pitch + i);
    store(out + i, sum);
  }
}

// A block of the weight where all channels of a group meet: channels of x with channels of y.
struct WeightBlock {
  int64_t group, s, t;
  Range sources, targets;  // in the group
  int64_t pitch;           // of its sums: the channels of y, padded

  WeightBlock(const Blocks& blocks, int64_t i)
      : group(i / blocks.target_blocks / blocks.source_blocks),
        s(i / blocks.target_blocks % blocks.source_blocks),
        t(i % blocks.target_blocks),
        sources(blocks.sources(s)),
        targets(blocks.targets(t)),
        pitch(blocks.pitch(t)) {}
};

// add(block, slice of x, slice of y, box, total, bias) for each piece of each block; the pieces are shared out to the
// slots. `total` is (taps, sources, pitch) of one slot; `bias` is null but for the first block of channels of x.
template <class T, class F>
void sum_blocks(const WeightArgs<T>& args, const Blocks& blocks, float* sums, const Pieces& pieces, const F& add) {
  const Plan& plan = args.plan;
  const int64_t groups = plan.problem.groups, count = groups * blocks.source_blocks * blocks.target_blocks;
  parallel(args.threads, count * plan.slots, [&](int64_t job) {
    const WeightBlock block(blocks, job / plan.slots);
    const int64_t slot = job % plan.slots;
    float* total = sums + (slot * groups + block.group) * blocks.floats() + blocks.begin(block.s, block.t);
    std::memset(total, 0, blocks.taps * block.sources.size() * block.pitch * sizeof(float));
    float* bias = nullptr;
    if (args.bias != nullptr && block.s == 0) {
      bias = args.bias + blocks.bias_begin(slot * groups + block.group, block.t);
      std::memset(bias, 0, block.pitch * sizeof(float));
    }
    const Range range = part(pieces.size(), plan.slots, slot);
    for (int64_t i = range.begin; i < range.end; ++i) {
      const Piece piece = pieces[i];
      const Slice x = {piece.image, block.group * plan.source + block.sources.begin, block.sources.size()};
      const Slice y = {piece.image, block.group * plan.target + block.targets.begin, block.targets.size()};
      add(block, x, y, piece.box, total, bias);
    }
  });
}

// finish(block, sources, total) for a few channels of x at a time, so that the additions at the end are shared out as
// well. `total` is that of the first slot; the others are groups * blocks.floats() apart.
template <class T, class F>
void finish_blocks(const WeightArgs<T>& args, const Blocks& blocks, float* sums, const F& finish) {
  const int64_t count = args.plan.problem.groups * blocks.source_blocks * blocks.target_blocks;
  const int64_t shares = ceil_div(blocks.max_sources(), kAddedChannels);
  parallel(args.threads, count * shares, [&](int64_t job) {
    const WeightBlock block(blocks, job / shares);
    finish(block, part(block.sources.size(), shares, job % shares),
           sums + block.group * blocks.floats() + blocks.begin(block.s, block.t));
  });
}

}  // namespace
}  // namespace jaxconv::JAXCONV_ISA
