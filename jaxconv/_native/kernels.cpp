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
  float* sum;         // where it is packed for the sum itself
  bool has_sum;       // whether it is
  const float* bias;  // packed too; null where there is none
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
  return {weights, packed, packed + plan.sum_at, false, nullptr};
}

template <class T>
void run_pass(const Plan& plan, const View<const T>& source, const View<T>& target, const Pass& pass, Kernel* kernel,
              bool add, Parallel* threads) {
  switch (plan.form) {
    case Form::winograd:
      // What is added comes from margins, which are thin.
      if (!add &&
          winograd_pass(plan.problem, source, target, pass, plan.winograd, kernel->packed, kernel->bias, threads))
        return;
      [[fallthrough]];
    case Form::dense:
      pack_sum<T>(plan, kernel, threads);
      return dense_pass(plan.problem, source, target, pass, plan.blocks, kernel->sum, kernel->bias, add, threads);
    case Form::lanes:
      return lanes_pass(plan.problem, source, target, pass, plan.groups, kernel->packed, kernel->bias, add, threads);
    case Form::planar:
      return planar_pass(plan.problem, source, target, pass, plan.blocks, kernel->weights, kernel->bias, add, threads);
  }
}

Pass forward_pass(const Problem& p, Arena* arena) {
  Pass pass;
  for (int a = 0; a < 3; ++a) pass.axis[a] = forward_axis(p, a, arena);
  return pass;
}

// The channels of a group of a packed bias, and how many floats it takes: see Plan::bias_at.
struct BiasLayout {
  int64_t groups, channels, pitch;
  explicit BiasLayout(const Plan& plan)
      : groups(plan.form == Form::lanes ? 1 : plan.problem.groups),
        channels(plan.problem.out_channels / groups),
        pitch(bias_floats(plan) / groups) {}
};

template <class T>
const float* pack_bias(const Plan& plan, const void* b, void* scratch) {
  float* packed = static_cast<float*>(scratch) + plan.bias_at;
  const BiasLayout layout(plan);
  for (int64_t g = 0; g < layout.groups; ++g) {
    float* to = packed + g * layout.pitch;
    copy(to, static_cast<const T*>(b) + g * layout.channels, layout.channels);
    std::memset(to + layout.channels, 0, (layout.pitch - layout.channels) * sizeof(float));
  }
  return packed;
}

template <class T>
void output(const Problem& original, const void* x, const void* w, const void* b, void* y, void* scratch,
            Parallel* threads) {
  const Plan plan = make_plan(Op::output, original);
  const Problem& p = plan.problem;
  Kernel kernel = make_kernel<T>(plan, w, false, scratch, threads);
  if (p.bias) kernel.bias = pack_bias<T>(plan, b, scratch);
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
    // Where the image lies within the padded one, of which a crop may leave nothing.
    const int64_t padded = end[a], inner = least(most(p.low[a], 0), padded);
    const int64_t outer = least(most(p.low[a] + p.x_size[a], 0), padded);
    if (p.low[a] > 0) {
      end[a] = inner;
      input_box(plan, y, x, begin, end, &kernel, true, threads);
    }
    if (p.high[a] > 0) {
      begin[a] = outer, end[a] = padded;
      input_box(plan, y, x, begin, end, &kernel, true, threads);
    }
    begin[a] = inner, end[a] = outer;
  }
}

// The sums of y, from those of each slot.
template <class T>
void write_bias(const Plan& plan, const float* sums, T* b) {
  const BiasLayout layout(plan);
  for (int64_t g = 0; g < layout.groups; ++g) {
    for (int64_t c = 0; c < layout.channels; c += kBlock) {
      float total[kBlock];
      add_slots(total, sums + g * layout.pitch + c, kBlock, plan.slots, bias_floats(plan));
      for (int64_t i = 0; i < least(kBlock, layout.channels - c); ++i) write(b + g * layout.channels + c + i, total[i]);
    }
  }
}

template <class T>
void weight(const Problem& original, const void* x_data, const void* y_data, void* w, void* b, void* scratch,
            Parallel* threads) {
  const Plan plan = make_plan(Op::weight, original);
  const Problem& p = plan.problem;
  float* sums = static_cast<float*>(scratch);
  const View<const T> x = images(static_cast<const T*>(x_data), p.in_channels, p.x_size, p.channels_last);
  const View<const T> y = images(static_cast<const T*>(y_data), p.out_channels, p.y_size, p.channels_last);
  Arena arena;
  const Pass pass = forward_pass(p, &arena);
  T* result = static_cast<T*>(w);
  float* bias = p.bias ? sums + plan.bias_at : nullptr;
  if (plan.form == Form::lanes) {
    lanes_weight(p, x, y, pass, plan.groups, result, bias, sums, threads);
  } else if (plan.form != Form::winograd ||
             !winograd_weight(p, x, y, pass, plan.winograd, result, bias, sums, threads)) {
    dense_weight(p, x, y, pass, plan.blocks, result, bias, sums + plan.sum_at, threads);
  }
  if (p.bias) write_bias(plan, bias, static_cast<T*>(b));
}

// The same op for each storage type.
#define JAXCONV_DISPATCH(op)                                     \
  template <class... Arrays>                                     \
  void dispatch_##op(const Problem& p, Arrays... arrays) {       \
    switch (p.storage) {                                         \
      case Storage::float32: return op<float>(p, arrays...);     \
      case Storage::bfloat16: return op<BFloat16>(p, arrays...); \
      case Storage::float16: return op<_Float16>(p, arrays...);  \
    }                                                            \
  }
JAXCONV_DISPATCH(output)
JAXCONV_DISPATCH(input)
JAXCONV_DISPATCH(weight)

}  // namespace

#define JAXCONV_NAME(isa) JAXCONV_NAME_(isa)
#define JAXCONV_NAME_(isa) kernels_##isa
extern const Kernels JAXCONV_NAME(JAXCONV_ISA) = {dispatch_output, dispatch_input, dispatch_weight};

}  // namespace jaxconv
