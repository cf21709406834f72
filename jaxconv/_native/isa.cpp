#include "isa.h"

namespace jaxconv {

const Isa kIsas[] = {
    {"baseline", &kernels_baseline, [] { return true; }},
#if defined(JAXCONV_X86)
    {"avx2", &kernels_avx2,
     [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"); }},
    {"avx512", &kernels_avx512,
     [] {
       return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
              __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
     }},
#endif
};
const int kIsaCount = sizeof kIsas / sizeof *kIsas;

}  // namespace jaxconv
