// The kernels of each instruction set, and which of them this machine runs.
#pragma once

#include "problem.h"

namespace jaxconv {

struct Isa {
  const char* name;
  const Kernels* kernels;
  bool (*supported)();
};

// From the least to the most.
extern const Isa kIsas[];
extern const int kIsaCount;

}  // namespace jaxconv
