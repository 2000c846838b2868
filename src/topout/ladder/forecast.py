"""The ladder as the cost model expects it, before anything is run."""

from pathlib import Path

import msgspec
import torch
from safetensors.torch import load_file

from topout.cost.predict import Context
from topout.generation.build import Build
from topout.ladder.acceptance import expected_tokens_per_pass
from topout.ladder.predictions import Predictions
from topout.ladder.stack import Stack
from topout.ladder.walk import reason_to_skip
from topout.records import RungForecast
from topout.rungs.rung import Rung


def forecast(
    build: Build, context: Context, rungs: list[Rung], texts: Path
) -> tuple[list[RungForecast], Stack]:
    """(a forecast of each rung, the stack of those that are expected to help); baseline first.

    What speculation would accept is that of the held-out windows in `texts`, taken as the model's
    own output.
    """
    predictions = Predictions(build, context)
    if build.workload.task == "generate":
        predictions.acceptance = _acceptance(build, texts)
        predictions.acceptance_is_of = "the held-out text"
    best = baseline = Stack(task=build.workload.task)
    found: list[RungForecast] = []
    for rung in rungs:
        stack = baseline if not found else best.plus(rung)
        each = _of_rung(rung, stack, best, predictions)
        if each.helps:
            best = stack
        found.append(each)
    return found, best


def _of_rung(rung: Rung, stack: Stack, rival: Stack, predictions: Predictions) -> RungForecast:
    known = RungForecast(
        name=rung.name,
        on=[name for name in stack.names if name != rung.name],
        change=rung.change,
        output_class=rung.output_class,
        helps=False,
        reason="",
    )
    if not stack.rungs:
        return msgspec.structs.replace(
            known,
            helps=True,
            reason="Every other rung is compared with it.",
            prediction=predictions.predict(stack, stack),
            speedup_over_baseline=1.0,
        )
    why_not = reason_to_skip(stack, predictions.build, [])
    if why_not is not None:
        return msgspec.structs.replace(known, reason=why_not)
    prediction = predictions.predict(stack, rival)
    helps = prediction.speedup > 1
    reason = (
        "Expected to be faster than its rival: the next rungs stand on it."
        if helps
        else "Not expected to be faster than its rival: left out of what follows."
    )
    return msgspec.structs.replace(
        known,
        rival=rival.label,
        helps=helps,
        reason=reason,
        prediction=prediction,
        speedup_over_baseline=predictions.predict(stack, Stack(task=stack.task)).speedup,
    )


def _acceptance(build: Build, texts: Path) -> dict[str, float]:
    windows = load_file(texts)["windows"]
    prompts, continuations = torch.split(
        windows, [build.workload.prompt_len, build.workload.new_tokens], dim=1
    )
    return expected_tokens_per_pass(prompts, continuations, build)
