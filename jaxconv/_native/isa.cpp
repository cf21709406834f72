#include "isa.h"

#if defined(JAXCONV_X86)
#include <cpuid.h>
#endif

namespace jaxconv {

#if defined(JAXCONV_X86)
namespace {

// What __builtin_cpu_supports("f16c") says, which Clang 16 and older ones do not take.
bool has_f16c() {
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C);
}

}  // namespace
#endif

const Isa kIsas[] = {
    {"baseline", &kernels_baseline, [] { return true; }},
#if defined(JAXCONV_X86)
    {"avx2", &kernels_avx2,
     [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c(); }},
    {"avx512", &kernels_avx512,
     [] {
       return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
              __builtin_cpu_supports("fma") && has_f16c();
     }},
#endif
};
const int kIsaCount = sizeof kIsas / sizeof *kIsas;

}  // namespace jaxconv
