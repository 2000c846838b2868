"""The child process that a run is timed in: `python -m topout.verbs.run_worker`.

Both ways to multiply run in one process on one copy of the weights, so that nothing else differs.
"""

import contextlib
import sys
from typing import Any

import msgspec
import torch
from safetensors.torch import load_file

from topout.gemm.routing import Routing
from topout.gemm.sources import parse_choice
from topout.generation.build import build_session, module_of
from topout.generation.session import Session
from topout.generation.verify import make_reference, verify
from topout.ladder.worker import WARMUP_TOKENS, Preparation, make_build
from topout.measure.memory import begin_peak, peak_rss_bytes
from topout.measure.worker import serve
from topout.models.text import load_tokenizer
from topout.records.climb import ProductCounts
from topout.records.gemm import GemmDtype
from topout.rungs.rung import Build


class RunPreparation(msgspec.Struct, frozen=True):
    """What the worker is asked to build, and what to put in PyTorch's place."""

    build: Preparation
    gemm: str | None
    gemm_dtype: GemmDtype


class RunWorker:
    """Holds one session, and one routing where one was asked for."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._build: Build | None = None
        self._routing: Routing | None = None
        self._texts: dict[str, torch.Tensor] = {}
        self._plain_peak_bytes = 0  # before the version laid out weights for itself

    def prepare(self, params: dict[str, Any]) -> dict[str, Any]:
        """Build the session, run it twice as it is, and compile the version that is named."""
        preparation = msgspec.convert(params, RunPreparation)
        workload = preparation.build.workload
        torch.set_num_threads(workload.threads)
        self._texts = load_file(preparation.build.texts)
        self._build = make_build(preparation.build)
        session = build_session(self._build, preparation.build.stack)
        begin_peak()
        for _ in range(2):
            session.generate(self._texts["prompts"][0], min(WARMUP_TOKENS, workload.new_tokens))
        self._plain_peak_bytes = peak_rss_bytes()
        if preparation.gemm is not None:
            choice = parse_choice(preparation.gemm, preparation.gemm_dtype)
            # A model that only runs does not change: its weights may be laid out once.
            weights = list(module_of(session).parameters())
            self._routing = Routing(choice.load(), choice.name, workload.threads, weights)
        self._session = session
        return {"weight_bytes": session.weight_bytes}

    def verify(self, params: dict[str, Any]) -> Any:
        """The routed model against the model as it is, as an exact rung is verified."""
        assert self._session is not None and self._build is not None
        assert self._routing is not None
        workload, session = self._build.workload, self._session
        windows = self._texts["windows"][: workload.batch_size]
        reference = make_reference(session, windows, workload.prompt_len, workload.batch_size)
        tokenizer = load_tokenizer(self._build.source)
        scored = [tokenizer.decode(row[workload.prompt_len :].tolist()) for row in windows]
        with self._routing:
            verification = verify(
                session,
                reference,
                output_class="exact",
                max_loss=0.0,
                batch_size=workload.batch_size,
                text_bytes=sum(len(text.encode()) for text in scored),
                greedy=True,
            )
        return msgspec.to_builtins(verification)

    def generate(self, params: dict[str, Any]) -> dict[str, Any]:
        """One timed run over `timed_tokens`, scaled to all; `routed` or as it is.

        The peak of memory as it is comes from the warm-up: later the version's copies lie beside.
        """
        assert self._session is not None and self._build is not None
        workload, timed_tokens = self._build.workload, params["timed_tokens"]
        prompts = self._texts["prompts"]
        routing = self._routing if params["routed"] else None
        begin_peak()
        with contextlib.ExitStack() as stack:
            if routing is not None:
                routing.reset()
                stack.enter_context(routing)
            run = self._session.generate(prompts[params["prompt"] % len(prompts)], timed_tokens)
        scale = (workload.new_tokens - 1) / (timed_tokens - 1)
        return {
            "ttft_s": run.ttft_s,
            "total_s": run.ttft_s + scale * (run.total_s - run.ttft_s),
            "new_tokens": workload.new_tokens,
            "timed_tokens": timed_tokens,
            "forward_passes": workload.new_tokens - 1,
            "peak_memory_bytes": peak_rss_bytes() if routing else self._plain_peak_bytes,
        }

    def counts(self, params: dict[str, Any]) -> Any:
        """What the latest routed run counted."""
        assert self._routing is not None
        counts = ProductCounts(
            new_tokens=params["timed_tokens"],
            routed=self._routing.routed,
            passed=dict(self._routing.passed),
            copied=dict(self._routing.copied),
        )
        return msgspec.to_builtins(counts)


def main() -> None:
    """Serve until the parent is gone."""
    worker = RunWorker()
    handlers = {
        "prepare": worker.prepare,
        "verify": worker.verify,
        "generate": worker.generate,
        "counts": worker.counts,
    }
    serve(handlers, sys.argv[1:])


if __name__ == "__main__":
    main()
