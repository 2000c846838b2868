"""Peak resident memory of this process, over a span that the caller begins."""

import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


def parse_peak_rss_bytes(status: str) -> int | None:
    """VmHWM of a /proc/PID/status text in bytes; None where the line is missing."""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            fields = line.split()
            if len(fields) >= 2 and fields[1].isdecimal():
                return int(fields[1]) * 1024  # the kernel writes kB and means KiB
    return None


def begin_peak() -> bool:
    """Forget the peak so far; False where the system cannot, and the peak is of the whole life."""
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return True


def peak_rss_bytes() -> int:
    """Peak resident set size in bytes since `begin_peak`, or since the start of the process."""
    try:
        peak = parse_peak_rss_bytes(_STATUS.read_text())
    except OSError:
        peak = None
    if peak is not None:
        return peak
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage if sys.platform == "darwin" else usage * 1024
