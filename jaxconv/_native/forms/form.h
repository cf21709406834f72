// What every form is made of: its micro-kernels in a table, one for each tile, and two functions that the ops call.
#pragma once

#include "epilogue.h"
#include "memory.h"
#include "plan.h"
#include "storage.h"
#include "strips.h"

#ifndef JAXCONV_ISA
#error "compile with -DJAXCONV_ISA=baseline, avx2 or avx512"
#endif

namespace jaxconv::JAXCONV_ISA {
namespace {

// -- micro-kernels ---------------------------------------------------------------------------------------------------
//
// A micro-kernel is a struct named by the type of its numbers, its form and its op, with
//
//     Args                          what it takes
//     kVectors                      how many vectors its tiles may have
//     largest_tile(v)               how many rows (positions, taps or channels) share v of them; most for one
//     run<rows, vectors>(const Args&)
//
// A profile then names type, form, op, tile and instruction set: jaxconv::avx512::F32Dense::run<6, 4>.

template <class Kernel>
struct Tiles {
  using Run = void (*)(const typename Kernel::Args&);
  Run run[Kernel::kVectors + 1][Kernel::largest_tile(1) + 1];  // [vectors][rows]
};

template <class Kernel, int V, int... N>
constexpr void add_tiles(Tiles<Kernel>* tiles, std::integer_sequence<int, N...>) {
  ((tiles->run[V][N + 1] = &Kernel::template run<N + 1, V>), ...);
}

template <class Kernel, int... V>
constexpr Tiles<Kernel> make_tiles(std::integer_sequence<int, V...>) {
  Tiles<Kernel> tiles{};
  (add_tiles<Kernel, V + 1>(&tiles, std::make_integer_sequence<int, Kernel::largest_tile(V + 1)>()), ...);
  return tiles;
}

// All tiles of a micro-kernel.
template <class Kernel>
constexpr Tiles<Kernel> kTiles = make_tiles<Kernel>(std::make_integer_sequence<int, Kernel::kVectors>());

// -- functions -------------------------------------------------------------------------------------------------------

// A kernel as the ops have it, and as the forms pack it when they first need it.
struct PackedKernel {
  Weights weights;
  struct Packed {
    float* data;
    bool done = false;
  };
  Packed form, dense;  // for the plan's form, unless that is Form::dense; and for Form::dense
};

template <class T>
struct PassArgs {
  const Plan& plan;
  PackedKernel& kernel;
  View<const T> source;
  View<T> target;
  const Pass& pass;
  Epilogue epilogue;
  bool accumulate;  // adds to what the target holds; without an epilogue
  Parallel* threads;
};

template <class T>
struct WeightArgs {
  const Plan& plan;
  View<const T> x, y;
  const Pass& pass;
  T* w;
  float* bias;  // the sums of y in each slot, packed as a bias is; null where the gradient of a bias is not wanted
  float* form_sums;
  float* dense_sums;
  Parallel* threads;
};

template <class F>
void parallel(Parallel* threads, int64_t count, const F& job) {
  threads->run(
      threads, count, [](void* f, int64_t i) { (*static_cast<const F*>(f))(i); },
      const_cast<void*>(static_cast<const void*>(&job)));
}

}  // namespace
}  // namespace jaxconv::JAXCONV_ISA
