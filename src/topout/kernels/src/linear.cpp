// Native linear layers: y = activation(x · Wᵀ + bias) [· gated] [+ residual], W packed once.
//
// A C ABI over plain pointers: it knows neither torch nor Python.
#include <new>

#include "multiply.h"

using namespace topout;

extern "C" {

// W in the given format (see Format), on as many threads as will read it; nullptr without memory.
// fp32, bf16: `data` floats with strides in elements; int8: signed bytes [N×K] and `scales` [N];
// int4: two values per byte, low one first, [N × K/2], and bf16 `group_scales`, `group_offsets`
// [N × K/group]; K is a multiple of `group`, and that of 8. `bias` [N] or nullptr. `gated`: the
// first N/2 rows are gates of the others.
void* topout_linear_pack(int format, const void* data, std::int64_t n, std::int64_t k,
                         std::int64_t n_stride, std::int64_t k_stride, const float* scales,
                         const std::uint16_t* group_scales, const std::uint16_t* group_offsets,
                         std::int64_t group, const float* bias, int gated, int threads) {
  const WeightSource source{static_cast<Format>(format), n,     k,
                            data,                        n_stride, k_stride,
                            scales,                      group_scales, group_offsets,
                            group,                       bias,  gated != 0};
  try {
    return pack(source, threads).release();
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

void topout_linear_free(void* packed) { delete static_cast<PackedWeights*>(packed); }

// Bytes that a token streams: packed weights, with scales, without bias.
std::int64_t topout_linear_bytes(const void* packed) {
  const auto* weights = static_cast<const PackedWeights*>(packed);
  return weights->panels * weights->panel_bytes +
         static_cast<std::int64_t>(weights->scales.size() + weights->sums_times_128.size()) * 4;
}

// x [m×K] and y [m×N] (gated: N/2) of type fp32 (0) or bf16 (1), strides in elements; `residual`
// like y, or nullptr. `dynamic`: activations of int8 and int4 weights are quantized row by row.
void topout_linear(const void* packed, int dynamic, const void* x, int x_type, std::int64_t m,
                   std::int64_t x_stride, int activation, const void* residual,
                   std::int64_t residual_stride, void* y, int y_type, std::int64_t y_stride,
                   int threads) {
  if (m <= 0) return;
  const Output out{y, y_stride, residual, residual_stride, static_cast<Type>(y_type),
                   static_cast<Activation>(activation)};
  multiply({static_cast<const PackedWeights*>(packed), dynamic != 0, x, static_cast<Type>(x_type),
            m, x_stride, out},
           threads);
}

// What this build multiplies with: "avx512", and for bf16 and int8 the instruction or how it is
// made up for.
const char* topout_linear_instructions() {
  return
#if TOPOUT_VECTOR_BYTES == 64
      "avx512"
#elif TOPOUT_VECTOR_BYTES == 32
      "avx2"
#else
      "portable"
#endif
#if defined(TOPOUT_BF16_DOT)
      " vdpbf16ps"
#endif
#if defined(TOPOUT_DOT_INT8)
      " vpdpbusd"
#endif
      ;
}
}
