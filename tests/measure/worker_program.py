"""A worker that does to itself what a rung can do to it: for `python -m`."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from typing import Any

from topout.errors import InputError
from topout.measure.worker import serve, tell_work


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


def echo(params: dict[str, Any]) -> Any:
    """The parameters as they came."""
    return params


def shout(params: dict[str, Any]) -> str:
    """Print to every place that a library prints to, then answer."""
    sys.stdout.write('{"result": "a lie"}\n')
    sys.stdout.flush()
    os.write(1, b'{"result": "another lie"}\n')
    os.write(2, b"\xff\xfe not even text\n")
    return "the truth"


def scribble(params: dict[str, Any]) -> str:
    """Write into the pipe of the answers, as native code can by accident, then answer."""
    os.write(int(sys.argv[2]), params["text"].encode("latin-1"))
    return "the truth"


def panic(params: dict[str, Any]) -> None:
    """Raise what is no Exception, as libraries in Rust do."""

    class PanicException(BaseException):
        pass

    raise PanicException("range end index 2 out of range")


def odd_bytes(params: dict[str, Any]) -> str:
    """Answer with the name of a file that is no UTF-8."""
    return os.fsdecode(b"a\xff.log")


def in_steps(params: dict[str, Any]) -> str:
    """Tell each step, then answer."""
    for number in range(params["steps"]):
        tell_work(f"step {number}")
    return "done"


def describe(params: dict[str, Any]) -> dict[str, Any]:
    """What this process is, and what it found."""
    return {
        "parent": os.getppid(),
        "group": os.getpgid(0),
        "imported": "fractions" in sys.modules,
        "shared": os.environ.get("SHARED"),
        "name": __name__,
    }


def fail(params: dict[str, Any]) -> None:
    """Raise what `how` says."""
    errors: dict[str, Exception] = {
        "plain": RuntimeError("the first line\n   the second line"),
        "silent": ValueError(),
        "input": InputError("--draft has other tokens.", "Give another."),
        "memory": MemoryError(),
        "torch": OutOfMemoryError("CUDA"),
        "allocator": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
    }
    raise errors[params["how"]]


def die(params: dict[str, Any]) -> None:
    """End as `how` says, without an answer."""
    os.write(2, b"the last words before the end\n\n")
    if params["how"] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if params["how"] == "segfault":
        ctypes.string_at(0)
    if params["how"] == "abort":
        os.abort()
    if params["how"] == "forked" and os.fork() == 0:
        time.sleep(3600)  # the grandchild holds the reply pipe open
        os._exit(0)
    os._exit(3)


def start(params: dict[str, Any]) -> int:
    """Start a process of its own; its id."""
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"]).pid


def hang(params: dict[str, Any]) -> None:
    """Never answer."""
    time.sleep(3600)


def nap(params: dict[str, Any]) -> str:
    """Answer after `seconds`."""
    time.sleep(params["seconds"])
    return "rested"


if __name__ == "__main__":
    handlers = (echo, describe, in_steps, shout, scribble, panic, odd_bytes)
    handlers += (fail, die, start, hang, nap)
    serve({handler.__name__: handler for handler in handlers}, sys.argv[1:])
