"""A session in a process of its own, as its parent sees it; the child is a `SessionWorker`.

Imports no torch.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from topout.cache_folder import compiler_cache_folder
from topout.measure.fork_server import ForkServer
from topout.measure.process import (
    Closing,
    others_share,
    processor_time,
    stolen_share,
    suspended_s,
)
from topout.measure.worker import Worker
from topout.records import RunSample, Verification

_NO_SLEEP_S = 0.05  # between two readings of the clocks, however late the second one is read
_MOST_SLEEPS = 5  # after which a run counts all the same


def worker_environment(threads: int) -> dict[str, str]:
    """What a worker process finds in its environment."""
    return {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_OFFLINE": "1",  # the parent has fetched what is to be fetched
        # Kept between climbs, so that the second one compiles nothing anew.
        "TORCHINDUCTOR_CACHE_DIR": str(compiler_cache_folder()),
    }


class SessionProcess(Closing):
    """A session that can be verified and timed; use in a `with` block.

    `module` runs a `SessionWorker`; with a `server` it is forked from that. All methods that ask
    the worker raise WorkerFailure.
    """

    def __init__(
        self,
        module: str,
        log: Path,
        threads: int,
        timeout_s: float,
        server: ForkServer | None = None,
    ) -> None:
        self.weight_bytes = 0
        self.prepare_s = 0.0
        self._module, self._log, self._threads = module, log, threads
        self._timeout_s = timeout_s  # of one answer
        self._server = server
        self._worker = self._new_worker()

    def _new_worker(self) -> Worker:
        environment = worker_environment(self._threads)
        return Worker(self._module, self._log, environment=environment, server=self._server)

    @property
    def alive(self) -> bool:
        """Whether the worker process still runs."""
        return self._worker.alive

    def restart(self) -> None:
        """A new worker process, not yet prepared."""
        self._worker.close()
        self._worker = self._new_worker()

    def close(self) -> None:
        """End the worker process."""
        self._worker.close()

    def call(self, method: str, **params: Any) -> Any:
        """Ask the worker."""
        return self._worker.call(method, self._timeout_s, **params)

    def prepare(self, preparation: msgspec.Struct) -> None:
        """Build and warm up."""
        reply = self.call("prepare", **msgspec.to_builtins(preparation))
        self.weight_bytes = reply["weight_bytes"]
        self.prepare_s = reply["prepare_s"]

    def make_reference(self, path: Path, prompt_lens: Sequence[int], scored_tokens: int) -> float:
        """Have the worker write its reference on as many windows; returns the seconds it took."""
        reply = self.call(
            "reference", path=str(path), prompt_lens=prompt_lens, scored_tokens=scored_tokens
        )
        elapsed_s: float = reply["elapsed_s"]
        return elapsed_s

    def verify(
        self, reference: Path, output_class: str, max_loss: float, text_bytes: int
    ) -> Verification:
        """Compare with a reference."""
        reply = self.call(
            "verify",
            path=str(reference),
            output_class=output_class,
            max_loss=max_loss,
            text_bytes=text_bytes,
        )
        return msgspec.convert(reply, Verification)

    def run(
        self,
        prompt: int,
        timed_tokens: int,
        at_s: float,
        ceiling_bytes_per_s: float | None = None,
        **params: Any,
    ) -> RunSample:
        """One timed run of `timed_tokens` on prompt number `prompt`.

        One during which the machine slept is dropped, and run again.
        """
        for _ in range(_MOST_SLEEPS):
            slept_s, before = suspended_s(), processor_time()
            reply = self.call("generate", prompt=prompt, timed_tokens=timed_tokens, **params)
            after = processor_time()
            if suspended_s() - slept_s < _NO_SLEEP_S:
                break
        return RunSample(
            at_s=at_s,
            stolen_share=stolen_share(before, after),
            other_load=others_share(before, after, reply["processor_s"]),
            ceiling_bytes_per_s=ceiling_bytes_per_s,
            **reply,
        )
