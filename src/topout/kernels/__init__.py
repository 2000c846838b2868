"""C++ compiled at first use, and its functions for Python; knows no models.

Read `build` (sources to a loaded library, and where it is kept), then the files named `*_ops`, one
for each library, which state its functions: `ops` measures a machine's ceilings, `gemm_ops`
multiplies matrices, `linear_ops` is a model's linear layers, `trace_ops` scans traces. In `src/`
stand the sources of the kernels in use, in `gemm/` those of the matrix products that teach.
"""
