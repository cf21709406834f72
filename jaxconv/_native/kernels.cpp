// The three ops, compiled once for each instruction set: JAXCONV_ISA names it.
//
//   output  one pass over the images, the padded image being what is read
//   input   one pass for each phase of the stride, over the gradient of the output between zeros. A padding mode that
//           repeats pixels sends what the margins received back to them, by passes over the margins alone.
//   weight  sums over all positions, of the padded image with the gradient of the output
#include "plan.h"

#ifndef JAXCONV_ISA
#error "compile with -DJAXCONV_ISA=baseline, avx2 or avx512"
#endif

namespace jaxconv {
namespace {

// The kernel of one op, by its strides and packed as the op's form wants it.
struct Kernel {
  Weights weights;
  float* packed;
  float* sum;    // where it is packed for the sum itself
  bool has_sum;  // whether it is
};

template <class T>
void pack_sum(const Plan& plan, Kernel* kernel, Parallel* threads) {
  const Blocks& blocks = plan.blocks;
  if (kernel->has_sum) return;
  parallel(threads, plan.problem.groups * blocks.source_blocks * blocks.target_blocks, [&](int64_t i) {
    const int64_t t = i % blocks.target_blocks, s = i / blocks.target_blocks % blocks.source_blocks;
    const int64_t group = i / blocks.target_blocks / blocks.source_blocks;
    pack<T>(kernel->weights, blocks, group, s, t, kernel->sum + group * blocks.floats() + blocks.begin(s, t));
  });
  kernel->has_sum = true;
}

template <class T>
Kernel make_kernel(const Plan& plan, const void* w, bool transposed, void* scratch, Parallel* threads) {
  const Problem& p = plan.problem;
  const int64_t taps = taps_of(p), in = p.in_channels / p.groups, out = p.out_channels / p.groups;
  const int64_t per_out = in * taps, per_in = taps;
  const Weights weights = {w,    out * per_out, transposed ? per_in : per_out, transposed ? per_out : per_in,
                           taps, transposed};
  float* packed = static_cast<float*>(scratch);
  if (plan.form == Form::lanes) {
    parallel(threads, up(plan.groups.lanes, kBlock), [&](int64_t block) {
      pack_lanes<T>(weights, plan.groups, block, packed + block * plan.groups.source * taps * kBlock);
    });
  } else if (plan.form == Form::winograd) {
    const Blocks& blocks = plan.winograd;
    parallel(threads, p.groups * blocks.target_blocks, [&](int64_t i) {
      const int64_t t = i % blocks.target_blocks, group = i / blocks.target_blocks;
      float* out = packed + group * blocks.floats() + blocks.begin(0, t);
      for (int64_t c = 0; c < blocks.source; ++c) pack_winograd<T>(weights, blocks, group, t, c, out);
    });
  }
  return {weights, packed, packed + plan.sum_at, false};
}

template <class T>
void run_pass(const Plan& plan, const View<const T>& source, const View<T>& target, const Pass& pass, Kernel* kernel,
              bool add, Parallel* threads) {
  switch (plan.form) {
    case Form::winograd:
      // What is added comes from margins, which are thin.
      if (!add && winograd_pass(plan.problem, source, target, pass, plan.winograd, kernel->packed, threads)) return;
      [[fallthrough]];
    case Form::dense:
      pack_sum<T>(plan, kernel, threads);
      return dense_pass(plan.problem, source, target, pass, plan.blocks, kernel->sum, add, threads);
    case Form::lanes: return lanes_pass(plan.problem, source, target, pass, plan.groups, kernel->packed, add, threads);
    case Form::planar:
      return planar_pass(plan.problem, source, target, pass, plan.blocks, kernel->weights, add, threads);
  }
}

Pass forward_pass(const Problem& p, Arena* arena) {
  Pass pass;
  for (int a = 0; a < 3; ++a) pass.axis[a] = forward_axis(p, a, arena);
  return pass;
}

template <class T>
void output(const Problem& original, const void* x, const void* w, void* y, void* scratch, Parallel* threads) {
  const Plan plan = make_plan(Op::output, original);
  const Problem& p = plan.problem;
  Kernel kernel = make_kernel<T>(plan, w, false, scratch, threads);
  Arena arena;
  const Pass pass = forward_pass(p, &arena);
  run_pass(plan, images(static_cast<const T*>(x), p.in_channels, p.x_size, p.channels_last),
           images(static_cast<T*>(y), p.out_channels, p.y_size, p.channels_last), pass, &kernel, false, threads);
}

// One box of positions of the padded image, in all phases of the stride.
template <class T>
void input_box(const Plan& plan, View<const T> y, View<T> x, const int64_t begin[3], const int64_t end[3],
               Kernel* kernel, bool add, Parallel* threads) {
  const Problem& p = plan.problem;
  for (int64_t f0 = 0; f0 < p.stride[0]; ++f0) {
    for (int64_t f1 = 0; f1 < p.stride[1]; ++f1) {
      for (int64_t f2 = 0; f2 < p.stride[2]; ++f2) {
        Arena arena;
        const int64_t phase[3] = {f0, f1, f2};
        Pass pass;
        for (int a = 0; a < 3; ++a) pass.axis[a] = backward_axis(p, a, begin[a], end[a], phase[a], &arena);
        run_pass(plan, y, x, pass, kernel, add, threads);
      }
    }
  }
}

template <class T>
void input(const Problem& original, const void* w, const void* y_data, void* x_data, void* scratch, Parallel* threads) {
  const Plan plan = make_plan(Op::input, original);
  const Problem& p = plan.problem;
  Kernel kernel = make_kernel<T>(plan, w, true, scratch, threads);
  const View<const T> y = images(static_cast<const T*>(y_data), p.out_channels, p.y_size, p.channels_last);
  const View<T> x = images(static_cast<T*>(x_data), p.in_channels, p.x_size, p.channels_last);

  // The image itself, and then, where pixels are repeated, the margins: those of the first axis, those of the second
  // between them and those of the third between all of these.
  int64_t begin[3], end[3];
  for (int a = 0; a < 3; ++a) begin[a] = p.low[a], end[a] = p.low[a] + p.x_size[a];
  input_box(plan, y, x, begin, end, &kernel, false, threads);
  if (p.mode == Mode::zeros) return;
  for (int a = 0; a < 3; ++a) begin[a] = 0, end[a] = p.low[a] + p.x_size[a] + p.high[a];
  for (int a = 0; a < 3; ++a) {
    const int64_t padded = end[a], inner = most(p.low[a], 0), outer = least(p.low[a] + p.x_size[a], padded);
    if (p.low[a] > 0) {
      end[a] = p.low[a];
      input_box(plan, y, x, begin, end, &kernel, true, threads);
    }
    if (p.high[a] > 0) {
      begin[a] = outer, end[a] = padded;
      input_box(plan, y, x, begin, end, &kernel, true, threads);
    }
    begin[a] = inner, end[a] = outer;
  }
}

template <class T>
void weight(const Problem& original, const void* x_data, const void* y_data, void* w, void* scratch,
            Parallel* threads) {
  const Plan plan = make_plan(Op::weight, original);
  const Problem& p = plan.problem;
  float* sums = static_cast<float*>(scratch);
  const View<const T> x = images(static_cast<const T*>(x_data), p.in_channels, p.x_size, p.channels_last);
  const View<const T> y = images(static_cast<const T*>(y_data), p.out_channels, p.y_size, p.channels_last);
  Arena arena;
  const Pass pass = forward_pass(p, &arena);
  T* result = static_cast<T*>(w);
  if (plan.form == Form::lanes) return lanes_weight(p, x, y, pass, plan.groups, result, sums, threads);
  if (plan.form == Form::winograd && winograd_weight(p, x, y, pass, plan.winograd, result, sums, threads)) return;
  dense_weight(p, x, y, pass, plan.blocks, result, sums + plan.sum_at, threads);
}

// The same op for each storage type.
#define JAXCONV_DISPATCH(op)                                                                                \
  void dispatch_##op(const Problem& p, const void* a, const void* b, void* c, void* scratch, Parallel* t) { \
    switch (p.storage) {                                                                                    \
      case Storage::float32: return op<float>(p, a, b, c, scratch, t);                                      \
      case Storage::bfloat16: return op<BFloat16>(p, a, b, c, scratch, t);                                  \
      case Storage::float16: return op<_Float16>(p, a, b, c, scratch, t);                                   \
    }                                                                                                       \
  }
JAXCONV_DISPATCH(output)
JAXCONV_DISPATCH(input)
JAXCONV_DISPATCH(weight)

}  // namespace

#define JAXCONV_NAME(isa) JAXCONV_NAME_(isa)
#define JAXCONV_NAME_(isa) kernels_##isa
extern const Kernels JAXCONV_NAME(JAXCONV_ISA) = {dispatch_output, dispatch_input, dispatch_weight};

}  // namespace jaxconv
