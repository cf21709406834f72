# Compiles and links with the package ziglang: Clang, a static libc++ and the C libraries of every target, on any machine.
#
#     ZIG         the program `zig`
#     ZIG_TARGET  what to compile for, in Zig's words: x86_64-linux-gnu.2.28, aarch64-macos.11.0
#
# Both are environment variables, because CMake reads this file again in each of its own small projects.
if(NOT "$ENV{ZIG_TARGET}" MATCHES "^([a-z0-9_]+)-(linux|macos)")
  message(FATAL_ERROR "ZIG_TARGET must be as x86_64-linux-gnu.2.28 or aarch64-macos.11.0, got '$ENV{ZIG_TARGET}'")
endif()
set(CMAKE_SYSTEM_PROCESSOR "${CMAKE_MATCH_1}")
set(CMAKE_CXX_COMPILER "$ENV{ZIG}" c++ -target "$ENV{ZIG_TARGET}")
# Without debugging information, which Zig adds unasked. It makes a libc++ for each set of flags, once and in minutes, so
# CMake's own small programs have those of the library.
set(CMAKE_CXX_FLAGS_INIT "-s -g0 -fPIC")
if(CMAKE_MATCH_2 STREQUAL "linux")
  set(CMAKE_SYSTEM_NAME Linux)
else()
  set(CMAKE_SYSTEM_NAME Darwin)
  set(CMAKE_INSTALL_NAME_TOOL true)  # CMake insists on one, and has nothing for it to do
  # CMake asks for a bundle, which Zig cannot link. A dynamic library is loaded from a path just as well.
  # A list of exported symbols is not obeyed, so that libc++'s operators new and delete would be exported; ours are not.
  set(CMAKE_MODULE_LINKER_FLAGS_INIT "-dynamiclib -Wl,-dead_strip -O2 -fvisibility=hidden \
-fvisibility-global-new-delete=force-hidden \"${CMAKE_CURRENT_LIST_DIR}/hidden_new.cpp\"")
endif()
