"""The child process in which one stack of rungs lives: `python -m topout.ladder.worker`."""

import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import load_file

from topout.generation.build import build_session
from topout.generation.session import Session
from topout.generation.speculation import SpeculativeSession
from topout.generation.verify import (
    SAMPLED_DRAWS,
    Reference,
    make_reference,
    verify,
    verify_draws,
)
from topout.ladder.calibrate import measure_rates
from topout.measure.memory import begin_peak, peak_rss_bytes
from topout.measure.worker import serve
from topout.models.load import ModelSource, resolve_model
from topout.records import WorkloadSummary
from topout.rungs.rung import TORCH_DTYPES, Build

WARMUP_TOKENS = 12


class ModelChoice(msgspec.Struct, frozen=True):
    """How a worker finds the model that the parent has resolved."""

    name_or_path: str
    random_weights: bool = False
    seed: int = 0

    def resolve(self) -> ModelSource:
        """The model's source; raises as `resolve_model` does."""
        return resolve_model(self.name_or_path, random_weights=self.random_weights, seed=self.seed)


class Preparation(msgspec.Struct, frozen=True):
    """What a worker is asked to build."""

    stack: list[str]
    model: ModelChoice
    draft: ModelChoice | None
    workload: WorkloadSummary
    texts: str  # safetensors file with `prompts` [P, B, S] and `windows` [W, S + T]
    quantized_folder: str


class RungWorker:
    """Holds one session and answers what the ladder asks of it."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._preparation: Preparation | None = None
        self._texts: dict[str, torch.Tensor] = {}
        self._generated: dict[int, torch.Tensor] = {}  # prompt number → tokens of its last run

    def prepare(self, params: dict[str, Any]) -> dict[str, Any]:
        """Build the session and run it once, so that nothing is compiled while it is timed."""
        began = time.perf_counter()
        preparation = msgspec.convert(params, Preparation)
        workload = preparation.workload
        torch.set_num_threads(workload.threads)
        torch.manual_seed(workload.seed)
        self._preparation = preparation
        self._texts = load_file(preparation.texts)
        build = make_build(preparation)
        self._session = build_session(build, preparation.stack)
        for _ in range(2):
            self._session.generate(
                self._texts["prompts"][0], min(WARMUP_TOKENS, workload.new_tokens)
            )
        begin_peak()
        if workload.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        return {
            "weight_bytes": self._session.weight_bytes,
            "prepare_s": time.perf_counter() - began,
        }

    def generate(self, params: dict[str, Any]) -> dict[str, Any]:
        """One timed run on prompt number `prompt` over `timed_tokens`, scaled to all."""
        session, preparation = self._ready()
        prompts = self._texts["prompts"]
        new_tokens, timed_tokens = preparation.workload.new_tokens, params["timed_tokens"]
        number = params["prompt"] % len(prompts)
        run = session.generate(prompts[number], timed_tokens)
        self._generated[number] = run.tokens
        scale = (new_tokens - 1) / (timed_tokens - 1)
        return {
            "ttft_s": run.ttft_s,
            "total_s": run.ttft_s + scale * (run.total_s - run.ttft_s),
            "new_tokens": new_tokens,
            "timed_tokens": timed_tokens,
            "forward_passes": max(1, round(scale * run.forward_passes)),
            "peak_memory_bytes": self._peak_bytes(preparation.workload.device),
        }

    def reference(self, params: dict[str, Any]) -> dict[str, Any]:
        """Write what this session says of the first `windows` windows to `path`."""
        session, preparation = self._ready()
        workload = preparation.workload
        windows = self._texts["windows"][: params["windows"]]
        began = time.perf_counter()
        reference = make_reference(session, windows, workload.prompt_len, workload.batch_size)
        reference.save(Path(params["path"]))
        begin_peak()
        return {"noise": reference.noise, "elapsed_s": time.perf_counter() - began}

    def verify(self, params: dict[str, Any]) -> dict[str, Any]:
        """Compare this session with the reference at `path`."""
        session, preparation = self._ready()
        workload = preparation.workload
        reference = Reference.load(Path(params["path"]))
        verification = verify(
            session,
            reference,
            output_class=params["output_class"],
            max_loss=params["max_loss"],
            batch_size=workload.batch_size,
            text_bytes=params["text_bytes"],
            greedy=workload.temperature == 0,
        )
        sampled = verification.passed and workload.temperature > 0
        if sampled and isinstance(session, SpeculativeSession):
            context = reference.texts[:1, : reference.prompt_len]
            draws = session.count_next_tokens(context, SAMPLED_DRAWS)
            verification = verify_draws(verification, *draws)
        begin_peak()
        result: dict[str, Any] = msgspec.to_builtins(verification)
        return result

    def acceptance(self, params: dict[str, Any]) -> dict[str, float]:
        """Tokens per pass that each way of speculating would yield on the baseline's own output.

        That is what it generated while it was timed; where it was not (a resumed climb), the
        continuations of its reference.
        """
        from topout.ladder.acceptance import expected_tokens_per_pass

        preparation = msgspec.convert(params["preparation"], Preparation)
        torch.set_num_threads(preparation.workload.threads)
        if self._generated:
            prompts = torch.cat([self._texts["prompts"][number] for number in self._generated])
            # The first run may have been timed over more tokens than those after it.
            shortest = min(tokens.shape[1] for tokens in self._generated.values())
            continuations = torch.cat([each[:, :shortest] for each in self._generated.values()])
        else:
            reference = Reference.load(Path(params["path"]))
            prompts = reference.texts[:, : reference.prompt_len]
            continuations = reference.greedy[:, : params["timed_tokens"]]
        return expected_tokens_per_pass(prompts, continuations, make_build(preparation))

    def calibrate(self, params: dict[str, Any]) -> Any:
        """Measure the rates that predictions are made from."""
        return msgspec.to_builtins(measure_rates(**params))

    def _ready(self) -> tuple[Session, Preparation]:
        assert self._session is not None and self._preparation is not None
        return self._session, self._preparation

    @staticmethod
    def _peak_bytes(device: str) -> int:
        if device == "cuda":
            return torch.cuda.max_memory_allocated()
        return peak_rss_bytes()


def make_build(preparation: Preparation) -> Build:
    """The build that `preparation` describes, before any rung has changed it."""
    return Build(
        source=preparation.model.resolve(),
        workload=preparation.workload,
        draft=preparation.draft.resolve() if preparation.draft else None,
        quantized_folder=Path(preparation.quantized_folder),
        dtype=TORCH_DTYPES[preparation.workload.dtype],
    )


def main() -> None:
    """Serve until the parent is gone."""
    worker = RungWorker()
    serve(
        {
            "prepare": worker.prepare,
            "generate": worker.generate,
            "reference": worker.reference,
            "verify": worker.verify,
            "acceptance": worker.acceptance,
            "calibrate": worker.calibrate,
        },
        sys.argv[1:],
    )


if __name__ == "__main__":
    main()
