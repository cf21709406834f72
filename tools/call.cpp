// Calls the library as XLA does, where there is no XLA: call LIBRARY CALLS RESULTS
//
// A file of calls is a row of 64-bit integers, in which a text is its length and then its bytes, padded to whole
// integers. A call is the name of a handler; the count of its attributes and for each its name, whether it is a list,
// its length and its numbers; the count of arguments and for each its dtype, rank, dimensions, bytes and their number;
// the same of its results, without bytes. The results of all calls but the last of each, its scratch, are written in a
// row. Dtypes are those of XLA_FFI_DataType.

#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "xla/ffi/api/c_api.h"

struct XLA_FFI_Error {
  std::string message;
};

namespace {

[[noreturn]] void fail(const std::string& message) {
  std::fprintf(stderr, "%s\n", message.c_str());
  std::exit(1);
}

class Reader {
 public:
  explicit Reader(const char* path) {
    std::ifstream file(path, std::ios::binary);
    bytes_.assign(std::istreambuf_iterator<char>(file), {});
  }
  bool ended() const { return at_ == bytes_.size(); }
  int64_t number() {
    int64_t value;
    std::memcpy(&value, take(sizeof value), sizeof value);
    return value;
  }
  std::vector<int64_t> numbers(int64_t count) {
    std::vector<int64_t> values(count);
    for (int64_t& value : values) value = number();
    return values;
  }
  std::string text() {
    const int64_t length = number();
    return {take((length + 7) / 8 * 8), static_cast<size_t>(length)};
  }

 private:
  const char* take(size_t count) {
    if (bytes_.size() - at_ < count) fail("the file of calls ends early");
    at_ += count;
    return bytes_.data() + at_ - count;
  }

  std::vector<char> bytes_;
  size_t at_ = 0;
};

struct Attribute {
  explicit Attribute(Reader& in) : name(in.text()), is_list(in.number()), values(in.numbers(in.number())) {
    span = {name.data(), name.size()};
    array = {XLA_FFI_DataType_S64, values.size(), values.data()};
    scalar = {XLA_FFI_DataType_S64, values.data()};
  }
  Attribute(const Attribute&) = delete;

  std::string name;
  bool is_list;
  std::vector<int64_t> values;
  XLA_FFI_ByteSpan span;
  XLA_FFI_Array array;
  XLA_FFI_Scalar scalar;
};

struct Buffer {
  Buffer(Reader& in, bool has_bytes) : dtype(in.number()), dimensions(in.numbers(in.number())) {
    const std::string given = has_bytes ? in.text() : std::string();
    count = has_bytes ? given.size() : in.number();
    if (posix_memalign(&data, 64, count > 0 ? count : 1) != 0) fail("no memory");
    std::memset(data, 0xff, count);  // what is left unwritten is not a number
    if (has_bytes) std::memcpy(data, given.data(), count);
    view = {XLA_FFI_Buffer_STRUCT_SIZE,
            nullptr,
            static_cast<XLA_FFI_DataType>(dtype),
            data,
            static_cast<int64_t>(dimensions.size()),
            dimensions.data()};
  }
  Buffer(const Buffer&) = delete;
  ~Buffer() { std::free(data); }

  int64_t dtype;
  std::vector<int64_t> dimensions;
  size_t count;
  void* data;
  XLA_FFI_Buffer view;
};

constexpr int kThreads = 3;
std::vector<std::thread> helpers;

// What a handler asks of XLA: errors and threads.
XLA_FFI_Api make_api() {
  XLA_FFI_Api api{};
  api.struct_size = XLA_FFI_Api_STRUCT_SIZE;
  api.api_version = {XLA_FFI_Api_Version_STRUCT_SIZE, nullptr, XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR};
  api.XLA_FFI_Error_Create = [](XLA_FFI_Error_Create_Args* args) { return new XLA_FFI_Error{args->message}; };
  api.XLA_FFI_Error_GetMessage = [](XLA_FFI_Error_GetMessage_Args* args) {
    args->message = args->error->message.c_str();
  };
  api.XLA_FFI_Error_Destroy = [](XLA_FFI_Error_Destroy_Args* args) { delete args->error; };
  api.XLA_FFI_ThreadPool_NumThreads = [](XLA_FFI_ThreadPool_NumThreads_Args* args) -> XLA_FFI_Error* {
    *args->num_threads = kThreads;
    return nullptr;
  };
  api.XLA_FFI_ThreadPool_Schedule = [](XLA_FFI_ThreadPool_Schedule_Args* args) -> XLA_FFI_Error* {
    helpers.emplace_back(args->task, args->data);
    return nullptr;
  };
  return api;
}

void call(void* library, const XLA_FFI_Api& api, Reader& in, std::ofstream& out) {
  const std::string name = in.text();
  std::deque<Attribute> attributes;
  for (int64_t left = in.number(); left > 0; --left) attributes.emplace_back(in);
  std::deque<Buffer> arguments, results;
  for (int64_t left = in.number(); left > 0; --left) arguments.emplace_back(in, true);
  for (int64_t left = in.number(); left > 0; --left) results.emplace_back(in, false);

  std::vector<XLA_FFI_AttrType> attribute_types;
  std::vector<XLA_FFI_ByteSpan*> names;
  std::vector<void*> values, inputs, outputs;
  for (Attribute& a : attributes) {
    attribute_types.push_back(a.is_list ? XLA_FFI_AttrType_ARRAY : XLA_FFI_AttrType_SCALAR);
    names.push_back(&a.span);
    values.push_back(a.is_list ? static_cast<void*>(&a.array) : &a.scalar);
  }
  for (Buffer& b : arguments) inputs.push_back(&b.view);
  for (Buffer& b : results) outputs.push_back(&b.view);
  std::vector<XLA_FFI_ArgType> argument_types(inputs.size(), XLA_FFI_ArgType_BUFFER);
  std::vector<XLA_FFI_RetType> result_types(outputs.size(), XLA_FFI_RetType_BUFFER);

  XLA_FFI_CallFrame frame{};
  frame.struct_size = XLA_FFI_CallFrame_STRUCT_SIZE;
  frame.api = &api;
  frame.stage = XLA_FFI_ExecutionStage_EXECUTE;
  frame.args = {XLA_FFI_Args_STRUCT_SIZE, nullptr, static_cast<int64_t>(inputs.size()), argument_types.data(),
                inputs.data()};
  frame.rets = {XLA_FFI_Rets_STRUCT_SIZE, nullptr, static_cast<int64_t>(outputs.size()), result_types.data(),
                outputs.data()};
  frame.attrs = {XLA_FFI_Attrs_STRUCT_SIZE, nullptr,      static_cast<int64_t>(names.size()),
                 attribute_types.data(),    names.data(), values.data()};

  auto* handler = reinterpret_cast<XLA_FFI_Handler*>(dlsym(library, name.c_str()));
  if (handler == nullptr) fail("there is no " + name);
  const XLA_FFI_Error* error = handler(&frame);
  if (error != nullptr) fail(name + ": " + error->message);
  for (std::thread& helper : helpers) helper.join();
  helpers.clear();
  for (size_t i = 0; i + 1 < results.size(); ++i) {
    out.write(static_cast<const char*>(results[i].data), static_cast<std::streamsize>(results[i].count));
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 4) fail("call LIBRARY CALLS RESULTS");
  void* library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) fail(dlerror());
  auto* use_isa = reinterpret_cast<bool (*)(int64_t)>(dlsym(library, "jaxconv_use_isa"));
  if (use_isa == nullptr || !use_isa(0)) fail("the library does not take an instruction set");
  const XLA_FFI_Api api = make_api();
  Reader in(arguments[2]);
  std::ofstream out(arguments[3], std::ios::binary);
  int calls = 0;
  for (; !in.ended(); ++calls) call(library, api, in, out);
  out.close();
  if (!out) fail("the results cannot be written");
  std::printf("%d calls\n", calls);
}
