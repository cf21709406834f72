// Memory that a thread keeps from call to call.
#pragma once

#include <cstdlib>

#include "arithmetic.h"
#include "problem.h"

namespace jaxconv {
namespace {

// Aligned to a cache line, with room for one vector beyond what was asked for. A call of `get` may move the memory, and
// what the call before gave is lost. Throws OutOfMemory, and then holds nothing.
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(memory_); }

  template <class T = float>
  T* get(int64_t count) {
    const int64_t bytes = round_up(count * static_cast<int64_t>(sizeof(T)) + kLine, kLine);
    if (bytes > bytes_) {
      std::free(memory_);
      bytes_ = 0;
      memory_ = std::aligned_alloc(kLine, bytes);
      if (memory_ == nullptr) throw OutOfMemory{bytes};
      bytes_ = bytes;
    }
    return static_cast<T*>(memory_);
  }

 private:
  static constexpr int64_t kLine = 64;
  void* memory_ = nullptr;
  int64_t bytes_ = 0;
};

// What the jobs of one thread work in, whichever form they are of.
struct Workspace {
  Buffer strip;        // the source of a piece of work
  Buffer row;          // a row or a strip before its channels are moved to where they are read
  Buffer taps;         // where the taps lie
  Buffer weights;      // of one tile
  Buffer results;      // of a piece, before they are written
  Buffer gradient;     // the gradient of the output that a piece reads
  Buffer transformed;  // Winograd's sums of the source
  Buffer products;     // and the products of these with sums of the weights
  Buffer sums;         // of a norm's array, for each of its parts
};

inline Workspace& workspace() {
  static thread_local Workspace of_this_thread;
  return of_this_thread;
}

}  // namespace
}  // namespace jaxconv
