"""Where the time went: traces of PyTorch, nvprof and Nsight Systems, read and explained.

`table` is the one schema of events; `readers` fill it from every profiler's files; `analysis`
answers questions about it, in that order and never the other way round. `capture` records a trace.
"""
