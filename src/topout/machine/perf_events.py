"""Whether this process can count hardware events."""

import ctypes
import errno
import os
import platform
import struct
import sys

from topout.machine.recorded_files import SystemFiles

_SYSCALL = {"x86_64": 298, "aarch64": 241}  # perf_event_open
_ATTRIBUTE_BYTES = 112  # PERF_ATTR_SIZE_VER5
_EXCLUDE_KERNEL_AND_HYPERVISOR = 1 << 5 | 1 << 6


def can_count_events(files: SystemFiles) -> tuple[bool | None, str]:
    """Whether CPU cycles of user code can be counted here, and the reason when they cannot."""
    number = _SYSCALL.get(platform.machine())
    if sys.platform != "linux" or number is None:
        return None, f"not known how to ask on {sys.platform} {platform.machine()}"
    # struct perf_event_attr: type HARDWARE, its size, event CPU_CYCLES, then flags at byte 40.
    attribute = struct.pack("<IIQ24xQ", 0, _ATTRIBUTE_BYTES, 0, _EXCLUDE_KERNEL_AND_HYPERVISOR)
    buffer = ctypes.create_string_buffer(attribute, _ATTRIBUTE_BYTES)
    library = ctypes.CDLL(None, use_errno=True)
    # This process, any CPU, no group, close on exec.
    handle = library.syscall(ctypes.c_long(number), buffer, 0, -1, -1, ctypes.c_ulong(8))
    if handle >= 0:
        os.close(handle)
        return True, ""
    return False, _explain(ctypes.get_errno(), files)


def _explain(code: int, files: SystemFiles) -> str:
    if code in (errno.EACCES, errno.EPERM):
        level = files.number("proc/sys/kernel/perf_event_paranoid")
        return (
            f"not permitted (kernel.perf_event_paranoid is {level}; 2 allows counting one's own "
            "programs; containers also need perf_event_open in their seccomp profile)"
        )
    if code in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
        return "the CPU shows no hardware events, as is usual in virtual machines"
    return f"perf_event_open failed: {os.strerror(code)}"
