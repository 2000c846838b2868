"""Worker processes forked from one that has imported what all of them need.

Importing PyTorch and its compiler takes seconds of each worker. The server imports them once and
computes nothing, so that there is no thread of a library to lose in a fork. Its parent asks it over
a socket to start a worker, and how one ended; the server dies with its parent, workers with it.
"""

import contextlib
import gc
import importlib
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from topout.measure.process import Closing, end_with_parent
from topout.programs import child_environment, python_command

_STATUS_CHECK_S = 0.01
_DESCRIPTORS = 3  # of a worker: its requests, its replies, its log


class _Ask(msgspec.Struct):
    """Start `module`, or tell the exit status of `pid`."""

    module: str = ""
    pid: int = 0


class _Told(msgspec.Struct):
    """The worker's process id, or its exit status: below 0 a signal, None while it runs."""

    pid: int = 0
    status: int | None = None


class ForkServer(Closing):
    """A process that forks workers; use it in a `with` block.

    `modules` are imported in it; its own output goes to `log`. Workers have its environment.
    """

    def __init__(
        self, modules: Sequence[str], log: Path, *, environment: Mapping[str, str]
    ) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = python_command(__name__, theirs.fileno(), *modules)
        with theirs, log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[theirs.fileno()],
                env=child_environment(environment),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    @staticmethod
    def is_possible() -> bool:
        """Whether libraries survive a fork here: on Linux, where nothing of them has run."""
        return sys.platform == "linux"

    def start(self, module: str, requests: int, replies: int, log: int) -> "ForkedProcess":
        """A worker that runs `module` over these descriptors; raises OSError without a server."""
        told = self._ask(_Ask(module=module), [requests, replies, log])
        return ForkedProcess(self, told.pid)

    def status_of(self, pid: int) -> int | None:
        """The exit status of a worker, as of `subprocess`; killed where the server is gone."""
        try:
            return self._ask(_Ask(pid=pid), []).status
        except OSError:
            return -signal.SIGKILL

    def close(self) -> None:
        """End the server, and the workers that still run."""
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def _ask(self, ask: _Ask, descriptors: list[int]) -> _Told:
        socket.send_fds(self._socket, [msgspec.json.encode(ask)], descriptors)
        reply = self._socket.recv(1 << 12)
        if not reply:
            raise BrokenPipeError("the fork server has ended")
        return msgspec.json.decode(reply, type=_Told)


class ForkedProcess:
    """A worker that a server forked, with what is used of `subprocess.Popen`."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self.pid = pid
        self._server = server
        self._status: int | None = None

    def poll(self) -> int | None:
        """The exit status; None while it runs."""
        if self._status is None:
            self._status = self._server.status_of(self.pid)
        return self._status

    def wait(self, timeout: float | None = None) -> int:
        """The exit status once it has ended; raises subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
            time.sleep(_STATUS_CHECK_S)
        return status


def _serve(descriptor: int, modules: Sequence[str]) -> None:
    """Answer until the parent closes its socket."""
    end_with_parent()
    for module in modules:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # a collection in a worker would write to, and so copy, all of these pages
    ended: dict[int, int] = {}
    with socket.socket(fileno=descriptor) as parent:
        while True:
            data, descriptors, _, _ = socket.recv_fds(parent, 1 << 12, _DESCRIPTORS)
            if not data:
                return
            ask = msgspec.json.decode(data, type=_Ask)
            if ask.module:
                told = _Told(pid=_fork(ask.module, parent, descriptors))
            else:
                told = _Told(status=_status(ask.pid, ended))
            parent.send(msgspec.json.encode(told))


def _status(pid: int, ended: dict[int, int]) -> int | None:
    if pid not in ended:
        with contextlib.suppress(ChildProcessError):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                ended[pid] = os.waitstatus_to_exitcode(status)
    return ended.get(pid)


def _fork(module: str, parent: socket.socket, descriptors: Sequence[int]) -> int:
    """Fork a worker; only the server returns, with its process id."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            parent.close()
            status = _work(module, *descriptors)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)  # here too: it may be ended before it comes to that itself
    for each in descriptors:
        os.close(each)
    return pid


def _work(module: str, requests: int, replies: int, log: int) -> int:
    """Run `module` as `python -m` does; returns the exit status."""
    end_with_parent()
    os.setpgid(0, 0)  # a group of its own, which its parent ends with all that it starts
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.argv = [module, str(requests), str(replies)]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == "__main__":
    _serve(int(sys.argv[1]), sys.argv[2:])
