// What the passes are made of comes with the plan, and goes unused here.
#pragma GCC diagnostic ignored "-Wunused-function"

#include "plan.h"

namespace jaxconv {

int64_t scratch_bytes(Op op, const Problem& p) { return make_plan(op, p).floats * sizeof(float); }

}  // namespace jaxconv
