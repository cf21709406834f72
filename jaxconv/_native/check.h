// What a problem has to be before a kernel may see it.
#pragma once

#include <string>

#include "problem.h"

namespace jaxconv {

// The shapes and attributes of a call, as they come.
struct Request {
  struct Numbers {
    const int64_t* values;
    int64_t count;
  };
  Numbers x, w, y;  // shapes
  Numbers strides, low, high, dilations;
  int64_t groups, mode, channels_last;
  Storage storage;
  int64_t bias;
};

// What an op comes to where some array has no elements.
enum class Work { some, zeros, none };  // a kernel's, a result of zeros, a result without elements

// Makes a problem of a request, or says in words why it is none; an empty string where it is one. Every number is
// checked here: those that a caller gives may be anything.
std::string parse(Op op, const Request& request, Problem* problem, Work* work);

// The same for a request that comes as one list, `count` numbers in the order of Request's members: the shapes of x, w
// and y, of rank + 2 numbers each; strides, low, high and dilations, of rank numbers each; and groups, mode,
// channels_last, storage and bias. A list of another length is refused, and not read.
std::string parse(int64_t op, int64_t rank, const int64_t* numbers, int64_t count, Problem* problem, Work* work);

// The shapes and attributes of a call of a pool.
struct PoolRequest {
  Request::Numbers x, y;  // shapes
  Request::Numbers kernel, strides, low, dilations;
  int64_t channels_last;
  Storage storage;
};

// Makes a pool of a request, or says in words why it is none; an empty string where it is one. Only a pool of arrays
// without elements has a size of 0.
std::string parse(const PoolRequest& request, Pooling* pooling);

// The enumerators by number, spelled as in Python; null beyond the last.
const char* op_name(int64_t i);
const char* storage_name(int64_t i);
const char* mode_name(int64_t i);

}  // namespace jaxconv
