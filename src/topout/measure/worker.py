"""A worker process that answers requests: what crashes, hangs or runs out of memory ends alone.

The parent holds a `Worker`; the child runs `serve` with a table of handlers. Requests and replies
are JSON lines over two pipes of their own, since libraries print to stdout as they like; what they
print goes to a log file.
"""

import contextlib
import logging
import os
import secrets
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec

from topout.errors import TopoutError
from topout.measure.fork_server import ForkedProcess, ForkServer
from topout.measure.process import Closing, end_with_parent, how_ended
from topout.programs import child_environment, python_command
from topout.progress import log_new_lines
from topout.records.record import encode_exactly, encode_plain

_LOGGER = logging.getLogger(__name__)

FailureKind = Literal["crash", "hang", "memory", "error", "input"]
Handler = Callable[[dict[str, Any]], Any]
_LIVENESS_CHECK_S = 0.5
_LONGEST_REPLY_BYTES = 1 << 28  # tensors go through files; what is longer is no reply
_END_OF_LOG_BYTES = 1 << 16  # what runs in a worker may print without an end
_replies: BinaryIO | None = None  # of this process, where it is a worker
_answering = 0  # the number of the request
_OUT_OF_MEMORY_TEXTS = ("out of memory", "can't allocate memory", "cannot allocate memory")


class WorkerFailure(Exception):  # noqa: N818 - it is an event that the caller handles, not a bug
    """A worker did not answer a request; `kind` says how and `message` what is known of it."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        self.kind = kind
        self.message = message
        super().__init__(message)


class _Request(msgspec.Struct):
    number: int
    method: str
    params: dict[str, Any]


class _Reply(msgspec.Struct):
    number: int  # of the request: what others write into the pipe is no reply to it
    result: Any = None
    error: str | None = None
    error_kind: FailureKind = "error"
    at_work_on: str | None = None  # not the reply yet: what the worker does now


class Worker(Closing):
    """A child process `python -m MODULE` that runs `serve`; use as a context manager.

    Its standard output and error go to `log`. With a `server`, whose environment it then has, it is
    forked from that. Raises WorkerFailure from `call`.
    """

    def __init__(
        self,
        module: str,
        log: Path,
        *,
        environment: Mapping[str, str],
        server: ForkServer | None = None,
    ) -> None:
        request_read, self._request_write = os.pipe()
        self._reply_read, reply_write = os.pipe()
        self._log = log
        self._buffer = b""
        self._closed = False
        self._request_number = 0
        self._told = log.stat().st_size if log.exists() else 0
        ends = (request_read, reply_write)
        self._process = _forked(server, module, log, ends) or _started(
            module, log, ends, environment
        )
        for each in ends:
            os.close(each)
        _LOGGER.info("process %d runs %s, its log is %s", self.pid, module, log)

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the child still runs."""
        return self._process.poll() is None

    def call(
        self,
        method: str,
        timeout_s: float,
        on_work: Callable[[str], None] | None = None,
        **params: Any,
    ) -> Any:
        """Send one request and wait for its reply; records, named tuples and paths go as JSON.

        `on_work` is told what the worker says by `tell_work` meanwhile. Raises WorkerFailure when
        the child dies, does not answer within `timeout_s`, or answers with an error; after a hang
        or a crash the child is gone.
        """
        if self._closed:
            raise WorkerFailure("crash", "has already ended")
        self._request_number = secrets.randbits(48)  # that nobody writes by accident
        request = _Request(number=self._request_number, method=method, params=params)
        line = encode_exactly(request) + b"\n"
        try:
            _write_all(self._request_write, line)
            deadline = time.monotonic() + timeout_s
            reply = self._read_reply(deadline)
            while reply.at_work_on is not None:
                if on_work is not None:
                    on_work(reply.at_work_on)
                reply = self._read_reply(deadline)
        except (BrokenPipeError, EOFError):
            raise self._death() from None
        except msgspec.DecodeError:
            self.close()
            raise WorkerFailure(
                "crash", "wrote something else into the pipe of its answers and was ended"
            ) from None
        except TimeoutError:
            self.close()
            raise WorkerFailure(
                "hang", f"gave no answer to {method!r} for {timeout_s:.0f} s and was ended"
            ) from None
        finally:
            self._told = log_new_lines(_LOGGER, self._log, self._told)
        if reply.error is not None:
            raise WorkerFailure(reply.error_kind, reply.error)
        return reply.result

    def close(self) -> None:
        """End the child and everything that it started; safe to call again."""
        if self._closed:
            return  # its process id may be another's by now
        self._closed = True
        os.close(self._request_write)
        os.close(self._reply_read)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._told = log_new_lines(_LOGGER, self._log, self._told)

    def _read_reply(self, deadline: float) -> _Reply:
        reply = msgspec.json.decode(self._read_line(deadline), type=_Reply)
        if reply.number != self._request_number:
            raise msgspec.DecodeError
        return reply

    def _read_line(self, deadline: float) -> bytes:
        while b"\n" not in self._buffer:
            remaining = deadline - time.monotonic()
            alive = self.alive  # before the wait, so that a last reply is not missed
            wait_s = max(0.0, min(remaining, _LIVENESS_CHECK_S))
            ready, _, _ = select.select([self._reply_read], [], [], wait_s)
            if ready:
                chunk = os.read(self._reply_read, 1 << 16)
                if not chunk:
                    raise EOFError
                self._buffer += chunk
                if len(self._buffer) > _LONGEST_REPLY_BYTES:
                    raise msgspec.DecodeError
            elif not alive:
                raise EOFError  # what the child forked holds its end of the pipe open
            elif remaining <= 0:
                raise TimeoutError
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line

    def _death(self) -> WorkerFailure:
        """What is known of a child that is gone."""
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.close()
            return WorkerFailure("crash", "closed its pipe without an answer and was ended")
        self.close()
        if status == -signal.SIGKILL:
            return WorkerFailure("memory", how_ended(status))
        last = _last_line(self._log)
        return WorkerFailure("crash", how_ended(status) + (f": {last}" if last else ""))


def _forked(
    server: ForkServer | None, module: str, log: Path, ends: tuple[int, int]
) -> ForkedProcess | None:
    """The child out of a server; None where there is none, or it has died."""
    if server is None:
        return None
    with contextlib.suppress(OSError), log.open("ab") as output:
        return server.start(module, *ends, output.fileno())
    return None


def _started(
    module: str, log: Path, ends: tuple[int, int], environment: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        return subprocess.Popen(
            python_command(module, *ends),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=ends,
            env=child_environment(environment),
            # A group of its own: Ctrl-C reaches the parent alone, which then ends the group,
            # compilers that the worker started included.
            start_new_session=True,
        )


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _last_line(log: Path) -> str:
    """The last line with text in a log, shortened to what fits into a reason."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _END_OF_LOG_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    texts = [line.strip() for line in lines if line.strip()]
    return texts[-1][:200] if texts else ""


def serve(handlers: Mapping[str, Handler], argv: Sequence[str]) -> None:
    """Answer requests until the parent closes its pipe; `argv` holds the two descriptors."""
    global _replies, _answering
    end_with_parent()
    request_read, reply_write = (int(argument) for argument in argv)
    with os.fdopen(request_read, "rb") as requests, os.fdopen(reply_write, "wb") as replies:
        _replies = replies
        for line in requests:
            request = msgspec.json.decode(line, type=_Request)
            _answering = request.number
            _send(_answer(handlers[request.method], request.params))


def tell_work(what: str) -> None:
    """Tell the parent what is being done; nothing outside a worker."""
    if _replies is not None:
        _send(_Reply(_answering, at_work_on=what))


def _send(reply: _Reply) -> None:
    assert _replies is not None
    with contextlib.suppress(BrokenPipeError):
        _replies.write(encode_plain(reply) + b"\n")
        _replies.flush()


def _answer(handler: Handler, params: dict[str, Any]) -> _Reply:
    import traceback

    try:
        return _Reply(_answering, result=handler(params))
    except TopoutError as error:
        return _Reply(_answering, error=str(error), error_kind="input")
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a library in Rust panics with what is no Exception
        traceback.print_exc()  # to the log
        return _Reply(_answering, error=_one_line(error), error_kind=_kind_of(error))


def _kind_of(error: BaseException) -> FailureKind:
    """Running out of memory is told from other faults; allocators word it in many ways."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "memory"
    if any(text in str(error).lower() for text in _OUT_OF_MEMORY_TEXTS):
        return "memory"
    return "error"


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
