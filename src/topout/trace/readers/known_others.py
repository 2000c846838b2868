"""Files of profilers without times of a device's work, or not as text: what to give instead."""

import re
from pathlib import Path
from typing import NamedTuple

from topout.errors import InputError

_CHAKRA = (
    "an execution trace (Chakra): it says which operators ran and what depends on what, not when "
    "a device worked"
)
_PROFILE = (
    "Record a profile of the same run with torch.profiler and export_chrome_trace(FILE), and give "
    "that."
)


class _Other(NamedTuple):
    """A kind of file, told by the end of its name or by what stands in its first 64 KiB."""

    what: str
    remedy: str
    endings: tuple[str, ...] = ()
    head: re.Pattern[str] | None = None


_OTHERS = (
    _Other(
        _CHAKRA,
        _PROFILE,
        (".et", ".chakra"),
        re.compile(
            r'\A\s*\{(?!.*"traceEvents").*"schema"\s*:\s*"\d+\.\d+\.\d+[^"]*".*"nodes"\s*:',
            re.S,
        ),
    ),
    _Other(
        "a report of Nsight Systems",
        "Export it with `nsys export --type sqlite FILE.nsys-rep`.",
        (".nsys-rep", ".qdrep", ".qdstrm"),
    ),
    _Other(
        "a report of Nsight Compute: it holds figures of single kernels, not when they ran",
        "Record times with `nsys profile --trace=cuda,nvtx`, then `nsys export --type sqlite`.",
        (".ncu-rep",),
    ),
    _Other(
        "a profile of JAX or TensorFlow in protocol buffers",
        "Give the HOST.trace.json.gz that the profiler wrote beside it.",
        (".xplane.pb",),
    ),
    _Other(
        "a trace of Perfetto in protocol buffers",
        "Record JSON instead (`rocprofv3 --output-format json`), or convert it: `traceconv json`.",
        (".pftrace", ".perfetto-trace"),
    ),
    _Other(
        "a list of the machine's agents, of rocprofv3",
        "Give the `kernel_trace.csv` beside it.",
        (),
        re.compile(r'\A"?(Guid"?,"?)?Node_Id"?,"?Logical_Node_Id', re.I),
    ),
    _Other(
        "a table of counters of rocprof, not of times",
        "Record times with `rocprofv3 --kernel-trace --memory-copy-trace --hip-trace -f csv -- …`.",
        (),
        re.compile(r'\A[^\n]*\bCounter_Name\b'),
    ),
    _Other(
        "a table of metrics, not of times",
        "Record times with `nvprof --print-gpu-trace --csv`, or with `nsys profile`.",
        (),
        re.compile(r'\A(?!\s*[{\[])(?s:.*?)^"[^\n]*"(Metric|Event) Name"', re.M),
    ),
)  # fmt: skip


def refuse_known_others(path: Path, head: str) -> None:
    """Raise InputError that says what a file is, if it is of a kind that is no trace of times."""
    name = path.name.lower().removesuffix(".gz")
    is_json = head.lstrip()[:1] in ("{", "[")
    for other in _OTHERS:
        is_named = not is_json and name.endswith(other.endings)
        if is_named or (other.head and other.head.search(head)):
            raise InputError(f"{path} is {other.what}.", other.remedy)
