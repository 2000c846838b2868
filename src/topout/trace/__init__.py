"""Where the time went: traces of PyTorch, nvprof and Nsight Systems, read and explained."""
