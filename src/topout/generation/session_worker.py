"""The child process that a session lives in; a verb that asks for more derives its own worker.

`prepare` comes first. The parent's side is `topout.generation.session_process`.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from topout.generation.build import (
    Preparation,
    Transform,
    build_pass_session,
    build_session,
)
from topout.generation.draws import SAMPLED_DRAWS, verify_draws
from topout.generation.pass_outputs import PassReference, make_pass_reference, verify_pass
from topout.generation.pass_session import PassSession
from topout.generation.reference import Reference, make_reference
from topout.generation.session import Session
from topout.generation.speculation import SpeculativeSession
from topout.generation.verify import row_losses, verify
from topout.measure.process import begin_peak, peak_rss_bytes
from topout.measure.worker import Handler, serve
from topout.records import Verification
from topout.tensor_file import writing_tensors


class SessionWorker:
    """Holds one session and answers what its parent asks of it."""

    session: Session | PassSession
    preparation: Preparation
    prompts: Tensor  # [P, B, S], of images [P, B, channels, height, width]
    windows: Tensor  # [W, S + N], or as many inputs of a pass
    rows: Tensor  # [R, L]

    def __init__(self) -> None:
        self.generated: dict[int, Tensor] = {}  # prompt number → tokens of its last run

    def handlers(self) -> dict[str, Handler]:
        """What can be asked for, by name."""
        return {
            "prepare": self.prepare,
            "generate": self.generate,
            "reference": self.reference,
            "verify": self.verify,
            "losses": self.losses,
        }

    def serve(self) -> None:
        """Answer until the parent is gone."""
        serve(self.handlers(), sys.argv[1:])

    def transforms(self, names: Sequence[str]) -> Sequence[Transform]:
        """The transforms of these names; this worker knows none."""
        assert not names
        return ()

    def prepare(self, params: dict[str, Any]) -> dict[str, Any]:
        """Build the session and run it twice, so that nothing is compiled while it is timed."""
        began = time.perf_counter()
        self.preparation = msgspec.convert(params, Preparation)
        workload = self.preparation.workload
        torch.set_num_threads(workload.threads)
        torch.manual_seed(workload.seed)
        texts = load_file(self.preparation.texts)
        self.prompts, self.windows, self.rows = (
            texts[name] for name in ("prompts", "windows", "rows")
        )
        transforms = self.transforms(self.preparation.transforms)
        runs_once = workload.task == "forward"
        build = build_pass_session if runs_once else build_session
        self.session = build(self.preparation.build(), transforms)
        self.begin_peak()
        for _ in range(2):
            tokens = min(self.preparation.warmup_tokens, workload.new_tokens)
            self.session.generate(self.prompts[0], tokens)
        warmup_peak_bytes = self.peak_bytes()
        self.begin_peak()
        return {
            "weight_bytes": self.session.weight_bytes,
            "warmup_peak_bytes": warmup_peak_bytes,
            "prepare_s": time.perf_counter() - began,
        }

    def generate(self, params: dict[str, Any]) -> dict[str, Any]:
        """One timed run on prompt number `prompt` over `timed_tokens`, scaled to all."""
        new_tokens, timed_tokens = self.preparation.workload.new_tokens, params["timed_tokens"]
        number = params["prompt"] % len(self.prompts)
        began_s = time.process_time()
        run = self.session.generate(self.prompts[number], timed_tokens)
        processor_s = time.process_time() - began_s
        self.generated[number] = run.tokens
        scale = (new_tokens - 1) / (timed_tokens - 1) if timed_tokens > 1 else 1.0
        return {
            "ttft_s": run.ttft_s,
            "total_s": run.ttft_s + scale * (run.total_s - run.ttft_s),
            "new_tokens": new_tokens,
            "timed_tokens": timed_tokens,
            "forward_passes": max(1, round(scale * run.forward_passes)),
            "peak_memory_bytes": self.peak_bytes(),
            "prompt": number,
            "processor_s": processor_s,
        }

    def reference(self, params: dict[str, Any]) -> dict[str, Any]:
        """Write what this session says of the first windows to `path`, one for each prompt length.

        Raises WeightsError where weights or logits are not finite.
        """
        prompt_lens = params["prompt_lens"]
        windows = self.windows[: len(prompt_lens)]
        batch_size = self.preparation.workload.batch_size
        began = time.perf_counter()
        reference: Reference | PassReference
        if isinstance(self.session, PassSession):
            reference = make_pass_reference(self.session, windows, batch_size)
        else:
            reference = make_reference(
                self.session, windows, prompt_lens, params["scored_tokens"], batch_size
            )
        reference.save(Path(params["path"]))
        self.begin_peak()
        return {"noise": reference.noise, "elapsed_s": time.perf_counter() - began}

    def verify(self, params: dict[str, Any]) -> Verification:
        """Compare this session with the reference at `path`."""
        session, workload = self.session, self.preparation.workload
        if isinstance(session, PassSession):
            return self._verify_pass(session, params)
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
            context = reference.prompts[:1]
            draws = session.count_next_tokens(context, SAMPLED_DRAWS)
            verification = verify_draws(verification, *draws)
        self.begin_peak()
        return verification

    def _verify_pass(self, session: PassSession, params: dict[str, Any]) -> Verification:
        verification = verify_pass(
            session,
            PassReference.load(Path(params["path"])),
            output_class=params["output_class"],
            max_loss=params["max_loss"],
            batch_size=self.preparation.workload.batch_size,
            gives_logits=session.gives_logits,
        )
        self.begin_peak()
        return verification

    def losses(self, params: dict[str, Any]) -> None:
        """Write the losses [rows, L − 1] of rows `first` to `last` − 1 to `path`, in nats."""
        assert not isinstance(self.session, PassSession)
        rows = self.rows[params["first"] : params["last"]]
        losses = row_losses(self.session, rows)
        with writing_tensors(Path(params["path"]), "run folder"):
            save_file({"losses": losses}, params["path"])
        self.begin_peak()

    def begin_peak(self) -> None:
        """Forget the peak of memory so far."""
        begin_peak()
        if self.preparation.workload.device == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def peak_bytes(self) -> int:
        """The peak of memory since `begin_peak`: the GPU's, or that of this process."""
        if self.preparation.workload.device == "cuda":
            return torch.cuda.max_memory_allocated()
        return peak_rss_bytes()
