// Vectors of 32-bit lanes, as wide as this build was asked for: one source for AVX-512, AVX2, Arm
// and everything else that GCC's vector extensions reach.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

// A build may ask for narrower vectors than the CPU has: which is faster is measured, not assumed.
#if !defined(TOPOUT_VECTOR_BYTES)
#if defined(__AVX512F__)
#define TOPOUT_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define TOPOUT_VECTOR_BYTES 32
#else
#define TOPOUT_VECTOR_BYTES 16
#endif
#endif

// Without it g++ at -O3 keeps arrays of vectors in memory instead of in registers.
#if defined(__clang__)
#define TOPOUT_UNROLLED _Pragma("clang loop unroll(full)")
#else
#define TOPOUT_UNROLLED _Pragma("GCC unroll 64")
#endif

namespace topout {

constexpr int kVectorBytes = TOPOUT_VECTOR_BYTES;
constexpr int kLanes = kVectorBytes / 4;

using Floats = float __attribute__((vector_size(kVectorBytes)));
using Ints = std::int32_t __attribute__((vector_size(kVectorBytes)));
using Words = std::uint32_t __attribute__((vector_size(kVectorBytes)));

template <class To, class From>
inline To bits_as(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

template <class Vector>
inline Vector load(const void* from) {
  Vector vector;
  std::memcpy(&vector, from, sizeof(vector));
  return vector;
}

template <class Vector>
inline void store(void* to, const Vector& vector) {
  std::memcpy(to, &vector, sizeof(vector));
}

template <class Vector, class Scalar>
inline Vector splat(Scalar scalar) {
#if defined(__AVX512F__) && TOPOUT_VECTOR_BYTES == 64
  if constexpr (sizeof(Scalar) == 4 && std::is_same_v<Scalar, float>)
    return bits_as<Vector>(_mm512_set1_ps(scalar));
  else
    return bits_as<Vector>(_mm512_set1_epi32(static_cast<int>(scalar)));
#else
  using Lane = std::remove_reference_t<decltype(Vector{}[0])>;
  // Of integers g++ makes one broadcast of this, and of the loop below an insertion per lane.
  if constexpr (std::is_integral_v<Lane>) return static_cast<Lane>(scalar) + Vector{};
  Vector vector;
  TOPOUT_UNROLLED for (int lane = 0; lane < kLanes; ++lane)
    vector[lane] = static_cast<Lane>(scalar);
  return vector;
#endif
}

inline Floats to_floats(const Ints& ints) { return __builtin_convertvector(ints, Floats); }

inline float bf16_to_float(std::uint16_t bits) {
  return bits_as<float>(static_cast<std::uint32_t>(bits) << 16);
}

// Rounds to nearest, ties to even; a NaN stays one.
inline std::uint16_t float_to_bf16(float value) {
  const std::uint32_t bits = bits_as<std::uint32_t>(value);
  if (value != value) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace topout
