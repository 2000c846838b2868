"""`topout generate`: from a request to a text as it comes, and its record."""

import time
from collections.abc import Callable
from typing import Any

import torch

from topout.generation.subject import model_summary
from topout.options import takes
from topout.progress import Notify, silent
from topout.records import GenerateReport
from topout.records.record import stamp
from topout.run_folder import Interrupted
from topout.winner.choice import choose
from topout.winner.loaded import LoadedModel
from topout.winner.request import GenerateRequest
from topout.winner.stream import Generation

Show = Callable[[str], None]


@takes(GenerateRequest)
def generate(
    request: GenerateRequest, *, show: Show | None = None, notify: Notify = silent
) -> GenerateReport:
    """Generate one text; `show` is given each piece as it comes.

    Raises as `topout.load` and the loaded model's `generate` do, and Interrupted on Ctrl-C, with
    what has come by then in its record.
    """
    began = time.perf_counter()
    choice = choose(request)
    notify(f"load {choice.build.decoder.name} under {choice.stack.label}", 0.0)
    with LoadedModel(choice) as model:
        sampling = request.sampling()
        prompt = model.token_ids(request.text)
        notify("build and warm up", 0.5)
        model.warm_up(len(prompt) + sampling.max_new_tokens)
        load_s = time.perf_counter() - began
        stream = model.stream(
            request.text,
            max_new_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            seed=sampling.seed,
            stop=sampling.stop,
        )
        try:
            with stream:
                for piece in stream:
                    if show is not None:
                        show(piece)
        except KeyboardInterrupt:
            report = _report(request, model, stream.result(), load_s)
            raise Interrupted(report, None) from None
        return _report(request, model, stream.result(), load_s)


def _report(
    request: GenerateRequest, model: LoadedModel, found: Generation, load_s: float
) -> GenerateReport:
    build = model.choice.build
    prompt_tokens, tokens = len(found.prompt_ids), len(found.token_ids)
    timed: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    if tokens:
        timed["prefill_s"] = found.prefill_s
        timed["prefill_tokens_per_s"] = prompt_tokens / found.prefill_s
    else:
        reasons["prefill_s"] = "it was interrupted before the first token"
    if tokens > 1 and found.forward_passes:
        timed["decode_s"] = found.decode_s
        timed["decode_tokens_per_s"] = (tokens - 1) / found.decode_s
        timed["tokens_per_pass"] = (tokens - 1) / found.forward_passes
    else:
        reasons["decode_s"] = "no token came after the prefill's"
    return GenerateReport(
        **stamp(),
        model=model_summary(build.decoder, build.draft),
        stack=model.stack,
        output_class=model.choice.stack.output_class,
        device=build.workload.device,
        dtype=build.workload.dtype,
        threads=torch.get_num_threads(),
        temperature=request.temperature,
        top_k=request.top_k,
        top_p=request.top_p,
        seed=request.seed,
        stop=request.stop or [],
        max_new_tokens=request.max_new_tokens,
        prompt=request.text,
        prompt_tokens=prompt_tokens,
        text=found.text,
        token_ids=found.token_ids,
        finish=found.finish,
        load_s=load_s,
        **timed,
        doubts=model.doubts,
        reasons=reasons,
    )
