"""The lines that a climb says as it goes: the first figure, and a rung that has ended."""

from topout import units
from topout.generation.placement import inputs_of
from topout.records import RungResult, RunSample, WorkloadSummary
from topout.records.climb import unit_of
from topout.rungs.registry import BASELINE


def first_figure(run: RunSample, workload: WorkloadSummary) -> str:
    """What the baseline's first run says, before anything else is known."""
    if workload.task == "forward":
        rate = f"{units.significant(inputs_of(workload) / run.total_s)} {unit_of(workload)}"
        return f"{BASELINE}: {rate}, a pass in {units.seconds(run.total_s)} (one run)"
    decode = (run.new_tokens - 1) * workload.batch_size / (run.total_s - run.ttft_s)
    return (
        f"{BASELINE}: {units.significant(decode)} tokens/s in decode, the first token after "
        f"{units.seconds(run.ttft_s)} (one run)"
    )


def rung_line(result: RungResult) -> str:
    """What became of a rung, how fast it decodes, and why it stays or goes."""
    rate = ""
    if result.decode is not None:
        rate = f", {units.significant(result.decode.tokens_per_s.median)} tokens/s in decode"
    elif result.prefill is not None:
        rate = f", a pass in {units.seconds(result.prefill.time_s.median)}"
    return f"{result.name}: {result.status}{rate}. {result.reason}"
