// The three ops, compiled once for each instruction set: JAXCONV_ISA names it.
//
//   output  one pass over the images, the padded image being what is read
//   input   one pass for each phase of the stride, over the gradient of the output between zeros. A padding mode that
//           repeats pixels sends what the margins received back to them, by passes over the margins alone.
//   weight  sums over all positions, of the padded image with the gradient of the output
#include "forms/dense.h"
#include "forms/lanes.h"
#include "forms/planar.h"
#include "forms/winograd.h"
#include "norms.h"
#include "pools.h"

namespace jaxconv::JAXCONV_ISA {
namespace {

// What computes a pass or the weight's gradient in each form, in the order of Form. Where a function returns false,
// Form::dense is to compute it.
template <class T>
struct FormFunctions {
  bool (*pass)(const PassArgs<T>&);
  bool (*weight)(const WeightArgs<T>&);
};

template <class T>
constexpr FormFunctions<T> kForms[] = {
    {dense_pass<T>, dense_weight<T>},
    {winograd_pass<T>, winograd_weight<T>},
    {lanes_pass<T>, lanes_weight<T>},
    {planar_pass<T>, nullptr},  // never planned for the weight's gradient
};
static_assert(static_cast<int>(Form::dense) == 0 && static_cast<int>(Form::winograd) == 1 &&
              static_cast<int>(Form::lanes) == 2 && static_cast<int>(Form::planar) == 3);

template <class T>
const FormFunctions<T>& functions(Form form) {
  return kForms<T>[static_cast<int>(form)];
}

template <class T>
void run_pass(const PassArgs<T>& args) {
  if (!functions<T>(args.plan.form).pass(args)) functions<T>(Form::dense).pass(args);
}

// The kernel of one op by its strides, not packed yet.
PackedKernel make_kernel(const Plan& plan, const void* w, bool transposed, void* scratch) {
  const Problem& p = plan.problem;
  const int64_t taps = taps_of(p), in = p.in_channels / p.groups, out = p.out_channels / p.groups;
  const int64_t per_out = in * taps, per_in = taps;
  float* const packed = static_cast<float*>(scratch);
  PackedKernel kernel;
  kernel.weights = {w, out * per_out, transposed ? per_in : per_out, transposed ? per_out : per_in, taps, transposed};
  kernel.form.data = packed;
  kernel.dense.data = packed + plan.dense_begin;
  return kernel;
}

// -- a bias ----------------------------------------------------------------------------------------------------------

// The channels of each group of a packed bias, and the floats that it takes: see Plan.
struct BiasLayout {
  int64_t groups, channels, pitch;

  explicit BiasLayout(const Plan& plan)
      : groups(plan.bias_groups()), channels(plan.problem.out_channels / groups), pitch(plan.bias_floats() / groups) {}
};

template <class T>
const float* pack_bias(const Plan& plan, const void* b, void* scratch) {
  float* packed = static_cast<float*>(scratch) + plan.bias_begin;
  const BiasLayout layout(plan);
  for (int64_t g = 0; g < layout.groups; ++g) {
    float* to = packed + g * layout.pitch;
    copy(to, static_cast<const T*>(b) + g * layout.channels, layout.channels);
    std::memset(to + layout.channels, 0, (layout.pitch - layout.channels) * sizeof(float));
  }
  return packed;
}

// The gradient of a bias from the sums of y in each slot.
template <class T>
void write_bias(const Plan& plan, const float* sums, T* b) {
  const BiasLayout layout(plan);
  for (int64_t g = 0; g < layout.groups; ++g) {
    for (int64_t c = 0; c < layout.channels; c += kBlock) {
      float total[kBlock];
      add_slots(total, sums + g * layout.pitch + c, kBlock, plan.slots, plan.bias_floats());
      for (int64_t i = 0; i < min(kBlock, layout.channels - c); ++i) write(b + g * layout.channels + c + i, total[i]);
    }
  }
}

// -- the ops ---------------------------------------------------------------------------------------------------------

template <class T>
void output(const Problem& original, const void* x, const void* w, const void* b, void* y, void* scratch,
            Parallel* threads) {
  const Plan plan = make_plan(Op::output, original);
  const Problem& p = plan.problem;
  PackedKernel kernel = make_kernel(plan, w, false, scratch);
  Epilogue epilogue;
  if (p.bias) epilogue.bias = pack_bias<T>(plan, b, scratch);
  const Pass pass = forward_pass(p);
  const View<const T> source = images(static_cast<const T*>(x), p.in_channels, p.x_size, p.channels_last);
  const View<T> target = images(static_cast<T*>(y), p.out_channels, p.y_size, p.channels_last);
  run_pass<T>({plan, kernel, source, target, pass, epilogue, false, threads});
}

// The input gradient at one box of positions of the padded image, in all phases of the stride.
template <class T>
struct InputBoxes {
  const Plan& plan;
  PackedKernel& kernel;
  View<const T> y;
  View<T> x;
  Parallel* threads;

  void run(const int64_t begin[3], const int64_t end[3], bool accumulate) const {
    const Problem& p = plan.problem;
    for (int64_t f0 = 0; f0 < p.stride[0]; ++f0) {
      for (int64_t f1 = 0; f1 < p.stride[1]; ++f1) {
        for (int64_t f2 = 0; f2 < p.stride[2]; ++f2) {
          const int64_t phase[3] = {f0, f1, f2};
          Pass pass;
          for (int a = 0; a < 3; ++a) pass.axis[a] = backward_axis(p, a, begin[a], end[a], phase[a]);
          run_pass<T>({plan, kernel, y, x, pass, Epilogue{}, accumulate, threads});
        }
      }
    }
  }
};

template <class T>
void input(const Problem& original, const void* w, const void* y, void* x, void* scratch, Parallel* threads) {
  const Plan plan = make_plan(Op::input, original);
  const Problem& p = plan.problem;
  PackedKernel kernel = make_kernel(plan, w, true, scratch);
  const InputBoxes<T> boxes = {plan, kernel,
                               images(static_cast<const T*>(y), p.out_channels, p.y_size, p.channels_last),
                               images(static_cast<T*>(x), p.in_channels, p.x_size, p.channels_last), threads};

  // The image itself, and then, where pixels are repeated, the margins: those of the first axis, those of the second
  // between them and those of the third between all of these.
  int64_t begin[3], end[3];
  for (int a = 0; a < 3; ++a) begin[a] = p.low[a], end[a] = p.low[a] + p.x_size[a];
  boxes.run(begin, end, false);
  if (p.mode == Mode::zeros) return;
  for (int a = 0; a < 3; ++a) begin[a] = 0, end[a] = p.low[a] + p.x_size[a] + p.high[a];
  for (int a = 0; a < 3; ++a) {
    // Where the image lies within the padded one, of which a crop may leave nothing.
    const int64_t padded = end[a], inner = min(max(p.low[a], 0), padded);
    const int64_t outer = min(max(p.low[a] + p.x_size[a], 0), padded);
    if (p.low[a] > 0) {
      end[a] = inner;
      boxes.run(begin, end, true);
    }
    if (p.high[a] > 0) {
      begin[a] = outer, end[a] = padded;
      boxes.run(begin, end, true);
    }
    begin[a] = inner, end[a] = outer;
  }
}

template <class T>
void weight(const Problem& original, const void* x, const void* y, void* w, void* b, void* scratch, Parallel* threads) {
  const Plan plan = make_plan(Op::weight, original);
  const Problem& p = plan.problem;
  float* const sums = static_cast<float*>(scratch);
  float* const bias = p.bias ? sums + plan.bias_begin : nullptr;
  const Pass pass = forward_pass(p);
  const WeightArgs<T> args = {plan,
                              images(static_cast<const T*>(x), p.in_channels, p.x_size, p.channels_last),
                              images(static_cast<const T*>(y), p.out_channels, p.y_size, p.channels_last),
                              pass,
                              static_cast<T*>(w),
                              bias,
                              sums,
                              sums + plan.dense_begin,
                              threads};
  if (!functions<T>(plan.form).weight(args)) functions<T>(Form::dense).weight(args);
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

// f(the arrays as arrays of the storage type)
template <class F>
void with_storage(Storage storage, const F& f) {
  switch (storage) {
    case Storage::float32: return f(static_cast<float*>(nullptr));
    case Storage::bfloat16: return f(static_cast<BFloat16*>(nullptr));
    case Storage::float16: return f(static_cast<_Float16*>(nullptr));
  }
}

void dispatch_moments(const Reduction& r, const void* x, float* mean, float* rest, float* variance, Parallel* threads) {
  with_storage(r.storage, [&](auto* type) {
    moments(r, static_cast<decltype(type)>(const_cast<void*>(x)), mean, rest, variance, threads);
  });
}

void dispatch_products(const Reduction& r, const void* x, const float* m, const void* g, float* of_g,
                       float* of_products, Parallel* threads) {
  with_storage(r.storage, [&](auto* type) {
    using T = decltype(type);
    products(r, static_cast<T>(const_cast<void*>(x)), m, static_cast<T>(const_cast<void*>(g)), of_g, of_products,
             threads);
  });
}

void dispatch_blend(const Reduction& r, const float* u, const float* v, const void* x, const float* m, const float* w,
                    const void* g, void* y, Parallel* threads) {
  with_storage(r.storage, [&](auto* type) {
    using T = decltype(type);
    blend(r, u, v, static_cast<T>(const_cast<void*>(x)), m, w, static_cast<T>(const_cast<void*>(g)), static_cast<T>(y),
          threads);
  });
}

void dispatch_layer(const Layers& l, const void* x, const float* c, const float* b, void* y, float* mean, float* rest,
                    float* variance, Parallel* threads) {
  with_storage(l.storage, [&](auto* type) {
    using T = decltype(type);
    layer(l, static_cast<T>(const_cast<void*>(x)), c, b, static_cast<T>(y), mean, rest, variance, threads);
  });
}

void dispatch_layer_back(const Layers& l, const void* x, const float* mean, const float* rest, const float* variance,
                         const float* c, const void* g, void* dx, float* dc, float* db, Parallel* threads) {
  with_storage(l.storage, [&](auto* type) {
    using T = decltype(type);
    layer_back(l, static_cast<T>(const_cast<void*>(x)), mean, rest, variance, c, static_cast<T>(const_cast<void*>(g)),
               static_cast<T>(dx), dc, db, threads);
  });
}

void dispatch_maxima(const Pooling& p, const void* x, void* y, uint8_t* which, Parallel* threads) {
  with_storage(p.storage, [&](auto* type) {
    using T = decltype(type);
    maxima(p, static_cast<T>(const_cast<void*>(x)), static_cast<T>(y), which, threads);
  });
}

void dispatch_put(const Pooling& p, const uint8_t* which, const void* g, void* x, Parallel* threads) {
  with_storage(p.storage, [&](auto* type) {
    using T = decltype(type);
    put(p, which, static_cast<T>(const_cast<void*>(g)), static_cast<T>(x), threads);
  });
}

constexpr Kernels kKernels = {dispatch_output, dispatch_input, dispatch_weight,     dispatch_moments, dispatch_products,
                              dispatch_blend,  dispatch_layer, dispatch_layer_back, dispatch_maxima,  dispatch_put};

}  // namespace
}  // namespace jaxconv::JAXCONV_ISA

#define JAXCONV_NAME(isa) JAXCONV_NAME_(isa)
#define JAXCONV_NAME_(isa) kernels_##isa
namespace jaxconv {
extern const Kernels JAXCONV_NAME(JAXCONV_ISA) = JAXCONV_ISA::kKernels;
}  // namespace jaxconv
