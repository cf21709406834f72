#include "isa.h"

#if defined(JAXCONV_X86)
#include <cpuid.h>
#endif

namespace jaxconv {

#if defined(JAXCONV_X86)
namespace {

struct Features {
  bool avx2;    // with FMA and F16C
  bool avx512;  // F, BW, DQ and VL, and what avx2 has
};

// The machine itself is asked. What __builtin_cpu_supports says is the compiler's runtime library to find out, and
// Zig's says no to everything.
Features features() {
  unsigned eax, ebx, ecx, edx, enabled, unused;
  constexpr unsigned kBasic = bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx & kBasic) != kBasic) return {false, false};
  // Which registers the operating system keeps when it turns to another thread: bits 1 and 2 are those of 128 and 256
  // bits, 5 to 7 those of AVX-512.
  __asm__("xgetbv" : "=a"(enabled), "=d"(unused) : "c"(0));
  constexpr unsigned kYmm = 0x06, kZmm = 0xe6;
  if ((enabled & kYmm) != kYmm || !__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return {false, false};
  constexpr unsigned kAvx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
  const bool avx2 = ebx & bit_AVX2;
  return {avx2, avx2 && (enabled & kZmm) == kZmm && (ebx & kAvx512) == kAvx512};
}

}  // namespace
#endif

const Isa kIsas[] = {
    {"baseline", &kernels_baseline, [] { return true; }},
#if defined(JAXCONV_X86)
    {"avx2", &kernels_avx2, [] { return features().avx2; }},
    {"avx512", &kernels_avx512, [] { return features().avx512; }},
#endif
};
const int kIsaCount = sizeof kIsas / sizeof *kIsas;

}  // namespace jaxconv
