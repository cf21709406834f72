// What the kernels are asked to compute, and what they compute it with.
#pragma once

#include <cstddef>
#include <cstdint>

namespace jaxconv {

// What lies beyond the edge of an image: the padding modes of ConvSpec, in its order.
enum class Mode : int32_t { zeros, reflect, replicate, circular, symmetric };

// How the arrays hold their numbers. Arithmetic is float32 for all of them.
enum class Storage : int32_t { float32, bfloat16, float16 };

// With T(x, w, y) = <y, conv(x, w)>: the op that gives y, the one that gives x and the one that gives w.
enum class Op : int32_t { output, input, weight };

// One convolution. It always has three spatial axes, the first ones of size 1 where there are fewer. All numbers are
// checked where they enter (ffi.cpp), so that nothing below has to: no size or product of sizes overflows, the sizes
// of x, w and y fit each other, and every position that a padding mode reads lies in the image.
//
//   x  (batch, in_channels, x_size)   or  (batch, x_size, in_channels)    row-major, by channels_last
//   w  (out_channels, in_channels / groups, kernel)
//   y  (batch, out_channels, y_size)  or  (batch, y_size, out_channels)
struct Problem {
  int64_t batch, groups, in_channels, out_channels;
  int64_t x_size[3], y_size[3], kernel[3];
  int64_t stride[3], low[3], high[3], dilation[3];  // low and high pads may be negative: they crop
  Mode mode;
  bool channels_last;
  Storage storage;
  bool bias;  // is added to the output, or its gradient found beside the weight's
};

// A reduction of an array (kept[0], reduced[0], kept[1], reduced[1]) over two of its axes; no size is zero.
struct Reduction {
  int64_t kept[2], reduced[2];
  Storage storage;
};

// Arrays (slabs, rows, columns), each row with moments of its own, and in each slab a scale and a shift for each
// column; no size is zero.
struct Layers {
  int64_t slabs, rows, columns;
  float eps;
  Storage storage;
};

// The maxima of windows. There are three spatial axes, the first ones of size 1 where there are fewer; along each, tap
// t of window o is at position o * stride + t * dilation - low of x, and no tap where that is outside of it.
struct Pooling {
  int64_t batch, channels;
  int64_t x_size[3], y_size[3], kernel[3], stride[3], low[3], dilation[3];
  bool channels_last;
  Storage storage;
};

// Runs job(context, i) once for each i in [0, count), on the threads there are, and returns when all have ended.
// Which thread runs which job, and in which order, is not known: a job writes to what is its own.
struct Parallel {
  void (*run)(Parallel* self, int64_t count, void (*job)(void* context, int64_t index), void* context);
  int64_t threads;
};

// The kernels, compiled once for each instruction set (kernels.cpp). `scratch` is 64-byte aligned and holds
// scratch_bytes(op, problem) bytes; its content is neither read before it is written nor needed afterwards.
//
// A problem's bias b, of out_channels numbers, is an argument of `output` and a result of `weight`, and null otherwise.
struct Kernels {
  void (*output)(const Problem&, const void* x, const void* w, const void* b, void* y, void* scratch, Parallel*);
  void (*input)(const Problem&, const void* w, const void* y, void* x, void* scratch, Parallel*);
  void (*weight)(const Problem&, const void* x, const void* y, void* w, void* b, void* scratch, Parallel*);
  // What norms.h says of them; the results have a number for each pair of kept indices.
  void (*moments)(const Reduction&, const void* x, float* mean, float* rest, float* variance, Parallel*);
  void (*products)(const Reduction&, const void* x, const float* m, const void* g, float* of_g, float* of_products,
                   Parallel*);
  void (*blend)(const Reduction&, const float* u, const float* v, const void* x, const float* m, const float* w,
                const void* g, void* y, Parallel*);
  void (*layer)(const Layers&, const void* x, const float* c, const float* b, void* y, float* mean, float* rest,
                float* variance, Parallel*);
  void (*layer_back)(const Layers&, const void* x, const float* mean, const float* rest, const float* variance,
                     const float* c, const void* g, void* dx, float* dc, float* db, Parallel*);
  // What pools.h says of them; `which` of maxima may be null.
  void (*maxima)(const Pooling&, const void* x, void* y, uint8_t* which, Parallel*);
  void (*put)(const Pooling&, const uint8_t* which, const void* g, void* x, Parallel*);
};

// How many bytes of scratch an op needs: the same for every instruction set.
int64_t scratch_bytes(Op op, const Problem&);

extern const Kernels kernels_baseline;
#if defined(JAXCONV_X86)
extern const Kernels kernels_avx2;    // with FMA
extern const Kernels kernels_avx512;  // F, BW, DQ and VL
#endif

// Thrown by a job that did not get memory of so many bytes.
struct OutOfMemory {
  int64_t bytes;
};

}  // namespace jaxconv
