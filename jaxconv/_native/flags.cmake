# How the kernels are compiled, for the library and for its tests under sanitizers.

set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS ON)  # vector extensions
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

set(warnings -Wall -Wextra)
# Speed, and the meaning of floating point numbers kept: a product and a sum may be rounded once, and nothing else.
set(float_flags -ffp-contract=fast -fno-math-errno)

# The instruction sets, from the least to the most. Which one runs is found out where it runs, whatever the machine that
# builds them is. Elsewhere than on x86 the baseline is all there is; on ARM it has NEON.
set(isas baseline)
set(isa_definitions "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  list(APPEND isas avx2 avx512)
  set(isa_definitions JAXCONV_X86)
endif()
set(flags_baseline "")
set(flags_avx2 -mavx2 -mfma -mf16c)
set(flags_avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c -mprefer-vector-width=512)

set(native_dir "${CMAKE_CURRENT_LIST_DIR}")
file(GLOB kernel_sources CONFIGURE_DEPENDS "${native_dir}/kernels*.cpp")

# Adds the kernels, once per instruction set of a list, and what chooses between them to a target. Further arguments are
# compiler flags of all of it.
function(add_kernels target)
  target_sources(${target} PRIVATE "${native_dir}/check.cpp" "${native_dir}/isa.cpp" "${native_dir}/scratch.cpp")
  set(parts ${target})
  foreach(isa IN LISTS isas)
    add_library(${target}_${isa} OBJECT ${kernel_sources})
    target_compile_definitions(${target}_${isa} PRIVATE JAXCONV_ISA=${isa})
    target_compile_options(${target}_${isa} PRIVATE ${float_flags} ${flags_${isa}})
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${target}_${isa}>)
    list(APPEND parts ${target}_${isa})
  endforeach()
  foreach(part IN LISTS parts)
    target_include_directories(${part} PRIVATE "${native_dir}")
    target_compile_definitions(${part} PRIVATE ${isa_definitions})
    target_compile_options(${part} PRIVATE ${warnings} ${ARGN})
  endforeach()
endfunction()
