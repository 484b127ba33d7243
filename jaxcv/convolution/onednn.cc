// A convolution and its two gradients by oneDNN, as calls from a compiled JAX program.
//
// Arrays are channels-last float32, as in geometry.py: x [B, H, W, C], kernel [h, w, C, D], y [B,
// H', W', D]. oneDNN runs on one thread at a time; the work is divided here, over the threads of
// XLA itself, so that no second set of threads competes with it for the cores.

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "oneapi/dnnl/dnnl.hpp"
#include "xla/ffi/api/ffi.h"

// Of the OpenMP library that oneDNN is linked with.
extern "C" int omp_get_max_threads();
extern "C" void omp_set_num_threads(int);

namespace {

namespace ffi = xla::ffi;
using dnnl::memory;
using Array = ffi::Buffer<ffi::F32>;

enum class Part : int64_t { kForward, kInputGradient, kFilterGradient };

// One convolution of some images, or of a band of rows of one image.
struct Shape {
  int64_t B, H, W, C;        // of x
  int64_t rows, columns, D;  // of y
  int64_t h, w;              // of the kernel
  int64_t stride_h, stride_w, dilation_h, dilation_w;
  int64_t top, bottom, left, right;  // padding

  int64_t image_size() const { return H * W * C; }
  int64_t output_size() const { return rows * columns * D; }

  std::array<int64_t, 17> key() const {
    return {B,        H,        W,          C,          rows, columns, D,    h,    w,
            stride_h, stride_w, dilation_h, dilation_w, top,  bottom,  left, right};
  }
};

// oneDNN uses one thread while this lives.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }

 private:
  int before_;
};

// Memory that grows and is kept; each thread has its own.
class Workspace {
 public:
  Workspace() = default;
  Workspace(const Workspace&) = delete;
  ~Workspace() { std::free(data_); }

  char* at_least(size_t bytes) {
    if (bytes > size_) {
      std::free(data_);
      size_ = (bytes + kPage - 1) / kPage * kPage;
      data_ = std::aligned_alloc(kPage, size_);
      if (data_ == nullptr) {
        size_ = 0;
        throw std::bad_alloc();
      }
    }
    return static_cast<char*>(data_);
  }

 private:
  static constexpr size_t kPage = 4096;
  void* data_ = nullptr;
  size_t size_ = 0;
};

const dnnl::engine& engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

// oneDNN's program for a shape, and how the kernel is stored in it.
struct Program {
  dnnl::primitive convolution;
  memory::desc x, kernel, packed_kernel, y, workspace;
  dnnl::primitive pack;  // Our layout of the kernel to oneDNN's; of its gradient, back to ours.
};

Program make_program(Part part, const Shape& s) {
  constexpr auto kFloat = memory::data_type::f32;
  constexpr auto kDirect = dnnl::algorithm::convolution_direct;
  using Tag = memory::format_tag;
  const memory::desc x({s.B, s.C, s.H, s.W}, kFloat, Tag::nhwc);
  const memory::desc y({s.B, s.D, s.rows, s.columns}, kFloat, Tag::nhwc);
  const memory::desc kernel({s.D, s.C, s.h, s.w}, kFloat, Tag::hwio);
  const memory::desc any({s.D, s.C, s.h, s.w}, kFloat, Tag::any);
  const memory::dims strides{s.stride_h, s.stride_w};
  const memory::dims gaps{s.dilation_h - 1, s.dilation_w - 1};
  const memory::dims before{s.top, s.left}, after{s.bottom, s.right};
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);

  const dnnl::convolution_forward::primitive_desc forward(
      engine(), dnnl::prop_kind::forward_training, kDirect, x, any, y, strides, gaps, before, after,
      attributes);
  Program program{{}, x, kernel, {}, y, {}, {}};
  const auto use = [&](const auto& described, auto packed_kernel) {
    program.packed_kernel = packed_kernel;
    program.workspace = described.scratchpad_desc();
  };
  if (part == Part::kForward) {
    use(forward, forward.weights_desc());
    program.convolution = dnnl::convolution_forward(forward);
  } else if (part == Part::kInputGradient) {
    const dnnl::convolution_backward_data::primitive_desc backward(
        engine(), kDirect, x, any, y, strides, gaps, before, after, forward, attributes);
    use(backward, backward.weights_desc());
    program.convolution = dnnl::convolution_backward_data(backward);
  } else {
    const dnnl::convolution_backward_weights::primitive_desc backward(
        engine(), kDirect, x, any, y, strides, gaps, before, after, forward, attributes);
    use(backward, backward.diff_weights_desc());
    program.convolution = dnnl::convolution_backward_weights(backward);
  }
  const memory ours(kernel, engine(), nullptr), theirs(program.packed_kernel, engine(), nullptr);
  program.pack =
      part == Part::kFilterGradient ? dnnl::reorder(theirs, ours) : dnnl::reorder(ours, theirs);
  return program;
}

const Program& find_program(Part part, const Shape& shape) {
  static std::mutex mutex;
  static auto& programs = *new std::map<std::pair<Part, std::array<int64_t, 17>>, Program>();
  const std::lock_guard<std::mutex> lock(mutex);
  const auto key = std::make_pair(part, shape.key());
  auto found = programs.find(key);
  if (found == programs.end()) {
    const OneThread one_thread;  // A program keeps the number of threads that it was made for.
    found = programs.emplace(key, make_program(part, shape)).first;
  }
  return found->second;
}

// Calls task(0) to task(count - 1), from this thread and from those of XLA that are idle. This
// thread waits for nothing that has not begun, so that a pool whose threads all wait here goes on.
template <typename Task>
void in_parallel(ffi::ThreadPool& pool, int64_t count, const Task& task) {
  struct Progress {
    std::atomic<int64_t> next{0}, done{0};
    std::mutex mutex;
    std::condition_variable finished;
    std::exception_ptr error;
  };
  const auto progress = std::make_shared<Progress>();
  // May run when this function has returned: then it gets no number, and does not touch `task`.
  const auto work = [progress, count, &task] {
    for (int64_t i = progress->next++; i < count; i = progress->next++) {
      try {
        const OneThread one_thread;
        task(i);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(progress->mutex);
        progress->error = std::current_exception();
      }
      if (++progress->done == count) {
        const std::lock_guard<std::mutex> lock(progress->mutex);
        progress->finished.notify_all();
      }
    }
  };
  for (int64_t i = 1; i < count; ++i) pool.Schedule([work] { work(); });
  work();
  std::unique_lock<std::mutex> lock(progress->mutex);
  progress->finished.wait(lock, [&] { return progress->done == count; });
  if (progress->error) std::rethrow_exception(progress->error);
}

void run(const dnnl::primitive& primitive, std::unordered_map<int, memory> arguments) {
  dnnl::stream stream(engine());
  primitive.execute(stream, arguments);
}

memory bind(const memory::desc& description, const void* data) {
  return memory(description, engine(), const_cast<void*>(data));
}

// Part of a convolution: a shape, and where its x and y begin.
struct Piece {
  Shape shape;
  int64_t x, y;
};

// Rows [from, to) of y, and the rows of x that they see.
Piece band(const Shape& s, int64_t image, int64_t from, int64_t to) {
  const int64_t reach = (s.h - 1) * s.dilation_h + 1;
  const int64_t begin = from * s.stride_h - s.top, end = (to - 1) * s.stride_h - s.top + reach;
  const int64_t first = std::clamp<int64_t>(begin, 0, s.H - 1);
  const int64_t last = std::clamp<int64_t>(end, first + 1, s.H);
  Piece piece{s, image * s.image_size() + first * s.W * s.C,
              image * s.output_size() + from * s.columns * s.D};
  piece.shape.B = 1;
  piece.shape.H = last - first;
  piece.shape.rows = to - from;
  piece.shape.top = first - begin;
  piece.shape.bottom = end - last;
  return piece;
}

// Images [from, to).
Piece images(const Shape& s, int64_t from, int64_t to) {
  Piece piece{s, from * s.image_size(), from * s.output_size()};
  piece.shape.B = to - from;
  return piece;
}

// Cuts between images where there is one for each thread, else between rows of y. The input's
// gradient sums over rows of y, so there only images are divided.
std::vector<Piece> divide(Part part, const Shape& s, int64_t threads) {
  std::vector<Piece> pieces;
  if (s.B >= threads || part == Part::kInputGradient) {
    const int64_t count = std::min(s.B, threads);
    for (int64_t i = 0; i < count; ++i)
      pieces.push_back(images(s, i * s.B / count, (i + 1) * s.B / count));
  } else {
    const int64_t count = std::min(s.rows, (threads + s.B - 1) / s.B);
    for (int64_t image = 0; image < s.B; ++image)
      for (int64_t i = 0; i < count; ++i)
        pieces.push_back(band(s, image, i * s.rows / count, (i + 1) * s.rows / count));
  }
  return pieces;
}

// Writes y, or the gradient of x.
void map_images(Part part, ffi::ThreadPool& pool, const std::vector<Piece>& pieces, const float* x,
                const float* kernel, const float* y) {
  static thread_local Workspace packed;
  const Program& first = find_program(part, pieces[0].shape);
  const char* packed_kernel = packed.at_least(first.packed_kernel.get_size());
  {
    const OneThread one_thread;
    run(first.pack, {{DNNL_ARG_FROM, bind(first.kernel, kernel)},
                     {DNNL_ARG_TO, bind(first.packed_kernel, packed_kernel)}});
  }
  const bool forward = part == Part::kForward;
  in_parallel(pool, pieces.size(), [&](int64_t i) {
    static thread_local Workspace workspace, own_kernel;
    const Program& program = find_program(part, pieces[i].shape);
    const char* kernel_here = packed_kernel;
    if (program.packed_kernel != first.packed_kernel) {
      kernel_here = own_kernel.at_least(program.packed_kernel.get_size());
      run(program.pack, {{DNNL_ARG_FROM, bind(program.kernel, kernel)},
                         {DNNL_ARG_TO, bind(program.packed_kernel, kernel_here)}});
    }
    run(program.convolution,
        {{forward ? DNNL_ARG_SRC : DNNL_ARG_DIFF_SRC, bind(program.x, x + pieces[i].x)},
         {DNNL_ARG_WEIGHTS, bind(program.packed_kernel, kernel_here)},
         {forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST, bind(program.y, y + pieces[i].y)},
         {DNNL_ARG_SCRATCHPAD,
          bind(program.workspace, workspace.at_least(program.workspace.get_size()))}});
  });
}

// Writes the gradient of the kernel: one for each piece, then their sum in the order of the pieces.
void sum_filter_gradient(ffi::ThreadPool& pool, const std::vector<Piece>& pieces, const float* x,
                         float* kernel, const float* y) {
  static thread_local Workspace gradients;
  const Shape& shape = pieces[0].shape;
  const int64_t size = shape.h * shape.w * shape.C * shape.D, count = pieces.size();
  // The first piece's is written where the sum is wanted.
  auto* others = reinterpret_cast<float*>(gradients.at_least((count - 1) * size * sizeof(float)));
  in_parallel(pool, count, [&](int64_t i) {
    static thread_local Workspace workspace, packed;
    const Program& program = find_program(Part::kFilterGradient, pieces[i].shape);
    const memory gradient =
        bind(program.packed_kernel, packed.at_least(program.packed_kernel.get_size()));
    run(program.convolution,
        {{DNNL_ARG_SRC, bind(program.x, x + pieces[i].x)},
         {DNNL_ARG_DIFF_WEIGHTS, gradient},
         {DNNL_ARG_DIFF_DST, bind(program.y, y + pieces[i].y)},
         {DNNL_ARG_SCRATCHPAD,
          bind(program.workspace, workspace.at_least(program.workspace.get_size()))}});
    run(program.pack,
        {{DNNL_ARG_FROM, gradient},
         {DNNL_ARG_TO, bind(program.kernel, i == 0 ? kernel : others + (i - 1) * size)}});
  });
  in_parallel(pool, count, [&](int64_t part) {
    for (int64_t i = 0; i < count - 1; ++i)
      for (int64_t j = part * size / count; j < (part + 1) * size / count; ++j)
        kernel[j] += others[i * size + j];
  });
}

template <Part part>
ffi::Error call(ffi::ThreadPool pool, Array first, Array second, ffi::Result<Array> result,
                ffi::Span<const int64_t> strides, ffi::Span<const int64_t> dilation,
                ffi::Span<const int64_t> padding) {
  // (x, kernel) -> y, (y, kernel) -> x, (x, y) -> kernel.
  const Array& x = part == Part::kInputGradient ? *result : first;
  const Array& kernel = part == Part::kFilterGradient ? *result : second;
  const Array& y = part == Part::kForward ? *result : part == Part::kInputGradient ? first : second;
  const auto n = x.dimensions(), m = y.dimensions(), k = kernel.dimensions();
  const Shape shape{n[0],        n[1],       n[2],       n[3],       m[1],       m[2],
                    m[3],        k[0],       k[1],       strides[0], strides[1], dilation[0],
                    dilation[1], padding[0], padding[1], padding[2], padding[3]};
  try {
    const auto pieces = divide(part, shape, std::max<int64_t>(1, pool.num_threads()));
    if (part == Part::kFilterGradient)
      sum_filter_gradient(pool, pieces, x.typed_data(), kernel.typed_data(), y.typed_data());
    else
      map_images(part, pool, pieces, x.typed_data(), kernel.typed_data(), y.typed_data());
  } catch (const std::exception& error) {
    return ffi::Error(ffi::ErrorCode::kInternal, std::string("oneDNN: ") + error.what());
  }
  return ffi::Error::Success();
}

auto binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<Array>()
      .Arg<Array>()
      .Ret<Array>()
      .Attr<ffi::Span<const int64_t>>("strides")
      .Attr<ffi::Span<const int64_t>>("dilation")
      .Attr<ffi::Span<const int64_t>>("padding");
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(forward, call<Part::kForward>, binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(input_gradient, call<Part::kInputGradient>, binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(filter_gradient, call<Part::kFilterGradient>, binding());
