"""Nsight Systems' CSV (`cuda_gpu_trace`, `cuda_api_trace`, `cuda_gpu_kern_sum`) → Trace."""

from pathlib import Path

from topout.progress import Notify
from topout.trace.readers.csv_events import Dialect, read_csv
from topout.trace.table import Trace

# Nsight Systems prints 768 MiB as 805.306 MB: decimal, to three digits.
_NSYS = Dialect(
    format="nsys_csv",
    tool="Nsight Systems",
    size_base=1000,
    remedy="Export it with `nsys stats --report cuda_gpu_trace --format csv FILE.nsys-rep`.",
)


def read_nsys_csv(path: Path, notify: Notify | None = None) -> Trace:
    """The trace in `path`, as `nsys stats` prints it, gzip or not, with other reports around it.

    Sizes in MB are printed to three digits, so bytes are exact to 500 B. What is read in spite of
    a fault is told in `doubts`. Raises InputError for a file that is empty or no such CSV.
    """
    return read_csv(path, _NSYS, notify)
