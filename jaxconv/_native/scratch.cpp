#include "plan.h"

namespace jaxconv {

int64_t scratch_bytes(Op op, const Problem& p) { return make_plan(op, p).floats * sizeof(float); }

}  // namespace jaxconv
