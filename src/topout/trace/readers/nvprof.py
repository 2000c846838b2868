"""nvprof's CSV (`--print-gpu-trace`, `--print-api-trace`, `--print-gpu-summary`) → Trace."""

from pathlib import Path

from topout.progress import Notify
from topout.trace.readers.csv_events import Dialect, read_csv
from topout.trace.table import Trace

# nvprof's KB are 1024 B: it prints 64 KB in 123.363 us as 506.63 MB/s.
_NVPROF = Dialect(
    format="nvprof_csv",
    tool="nvprof",
    size_base=1024,
    remedy="Record it with `nvprof --print-gpu-trace --csv --log-file FILE …`.",
)


def read_nvprof(path: Path, notify: Notify | None = None) -> Trace:
    """The trace in `path`, as nvprof 8 to 12 prints it, gzip or not.

    What is read in spite of a fault (no units row, another locale, a line cut off, several
    processes, a summary instead of a trace) is told in `doubts`. Raises InputError for a file
    that is empty or no CSV of nvprof, and where commas in numbers cannot be told from commas
    between fields.
    """
    return read_csv(path, _NVPROF, notify)
