"""Predicted against measured times of GPT-2 on this machine: `python benchmarks/cost_here.py`.

Each model runs with random weights, compiled, in fp32 and bf16: prefill of 64 to 1024 tokens, and
one decoded token at contexts of 16 to 1000. Ceilings and rates are measured at the beginning; each
prediction is that of `topout cost --on here`. Each model is a process of its own; what is finished
is printed and kept at once. Options: models to run, `--quick` for the two smallest.
"""

import argparse
import datetime
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MODELS = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")
DTYPES = ("fp32", "bf16")
PROMPTS = (64, 256, 1024)
CONTEXTS = (16, 128, 1000)
GOAL_MEDIAN, GOAL_P90 = 0.12, 0.25
RESULTS = Path(__file__).parent / "results"
_ROUNDS = 4


def predict(model: str, dtype: str, phase: str, tokens: int, hardware: Any) -> tuple[float, ...]:
    """(expected, low, high) seconds of a phase on this machine."""
    from topout.cost.estimate import time_phase
    from topout.cost.measured_times import MeasuredTimes
    from topout.cost.phases import Plan, decode, prefill
    from topout.models.architectures.read import find_architecture
    from topout.records import CostWorkload

    architecture = find_architecture(model)
    plan = Plan(
        architecture=architecture,
        workload=CostWorkload(
            prompt_len=tokens,
            context_len=tokens,
            batch_size=1,
            dtype=dtype,
            weight_dtype=dtype,
            kv_dtype=dtype,
        ),
    )
    rates = hardware.rates[0]
    timer = MeasuredTimes(hardware.ceilings, rates, rates.threads, "decoder_compiled")
    found, _ = time_phase(prefill(plan) if phase == "prefill" else decode(plan), timer)
    assert found.time_s is not None and found.interval_s is not None
    return found.time_s, found.interval_s.low, found.interval_s.high


def measure(model: str, dtype: str) -> None:
    """In a process of its own: one JSON line per case.

    The cases take turns in some rounds, so that a disturbance of seconds hits all a little.
    """
    import torch

    from topout.generation.build import TORCH_DTYPES
    from topout.machine.native_ceilings import BandwidthProbe
    from topout.models.load import load_decoder
    from topout.models.source import resolve_model

    source = resolve_model(model, random_weights=True)
    decoder = load_decoder(source, dtype=TORCH_DTYPES[dtype], device="cpu", max_len=1024)
    with torch.inference_mode():
        actions = {
            (phase, tokens): action
            for tokens in sorted({*PROMPTS, *CONTEXTS})
            for phase, action in cases(decoder, source.config.vocab_size, tokens)
        }
        times: dict[tuple[str, int], list[float]] = {case: [] for case in actions}
        for _ in range(_ROUNDS):
            for case, action in actions.items():
                times[case] += timed(action)
    with BandwidthProbe(torch.get_num_threads(), 1 << 28) as probe:
        bandwidth = probe.read_bandwidth()
    for (phase, tokens), found in times.items():
        emit(model, dtype, phase, tokens, found, bandwidth)


def cases(decoder: Any, vocab_size: int, tokens: int) -> list[tuple[str, Any]]:
    """The compiled steps at one length, compiled and warmed up."""
    import torch

    from topout.generation.steps import DecoderSteps
    from topout.rungs.compile import CompiledSteps

    plain = DecoderSteps(decoder, 1, tokens)
    steps = CompiledSteps(plain)
    prompt = torch.randint(0, vocab_size, (1, tokens))
    one = prompt[:, :1]
    found: list[tuple[str, Any]] = []
    if tokens in PROMPTS:
        found.append(("prefill", lambda: steps.prefill(prompt)))
    if tokens in CONTEXTS:
        found.append(("decode", lambda: steps.decode_one_token(one, tokens - 1)))
    plain.prefill(prompt)
    for _, action in found:
        action()
        action()
    return found


def timed(action: Any) -> list[float]:
    """Seconds of each run of one round: a second's worth, of 2 to 20."""
    times: list[float] = []
    while len(times) < 2 or (len(times) < 20 and sum(times) < 1.0):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return times


def emit(
    model: str, dtype: str, phase: str, tokens: int, times: list[float], bandwidth: float | None
) -> None:
    """One case as a JSON line."""
    case = {"model": model, "dtype": dtype, "phase": phase, "tokens": tokens}
    print(json.dumps(case | {"times_s": times, "bytes_per_s": bandwidth}), flush=True)


def main() -> int:
    """Run all models, print the table, keep it; exit 1 when the goals are missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cached", action="store_true", help="keep the ceilings of earlier runs")
    parser.add_argument("--worker", nargs=2, metavar=("MODEL", "DTYPE"))
    options = parser.parse_args()
    if options.worker:
        measure(*options.worker)
        return 0
    models = MODELS[:2] if options.quick else options.models
    from topout.models.architectures.read import find_architecture
    from topout.verbs.cost_machines import measured_here

    hardware = measured_here(find_architecture("gpt2"), refresh=not options.cached)
    rows = []
    for model in models:
        for dtype in DTYPES:
            command = [sys.executable, __file__, "--worker", model, dtype]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(f"{model} {dtype} failed: {done.stderr.strip().splitlines()[-1:]}")
            for line in done.stdout.splitlines():
                if line.startswith("{"):
                    rows.append(judged(json.loads(line), hardware))
                    print(shown(rows[-1]), flush=True)
    return conclude(rows, hardware)


def judged(case: dict[str, Any], hardware: Any) -> dict[str, Any]:
    """A case with its prediction and error."""
    expected, low, high = predict(
        case["model"], case["dtype"], case["phase"], case["tokens"], hardware
    )
    measured = statistics.median(case["times_s"])
    ranges = {"predicted_s": expected, "low_s": low, "high_s": high}
    return case | ranges | {"measured_s": measured, "error": expected / measured - 1}


def shown(row: dict[str, Any]) -> str:
    """A row of the table."""
    return (
        f"| {row['model']} | {row['dtype']} | {row['phase']} | {row['tokens']} "
        f"| {row['measured_s'] * 1e3:.2f} | {row['predicted_s'] * 1e3:.2f} | {row['error']:+.1%} |"
    )


def conclude(rows: list[dict[str, Any]], hardware: Any) -> int:
    """Print the sums and keep everything under results/."""
    errors = sorted(abs(row["error"]) for row in rows)
    if not errors:
        print("nothing was measured")
        return 1
    median, p90 = statistics.median(errors), errors[min(len(errors) - 1, int(0.9 * len(errors)))]
    inside = sum(row["low_s"] <= row["measured_s"] <= row["high_s"] for row in rows)
    reached = median <= GOAL_MEDIAN and p90 <= GOAL_P90
    summary = (
        f"{len(rows)} cases: median error {median:.1%} (goal {GOAL_MEDIAN:.0%}), 90th percentile "
        f"{p90:.1%} (goal {GOAL_P90:.0%}), within the predicted range {inside} of {len(rows)}: "
        f"{'reached' if reached else 'missed'}"
    )
    print(summary)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    path = RESULTS / f"cost-here-{hardware.ceilings.host_key}-{today}"
    versions = hardware.rates[0].versions
    record = {"summary": summary, "machine": hardware.full_name, "versions": versions}
    path.with_suffix(".json").write_text(json.dumps(record | {"rows": rows}, indent=1) + "\n")
    head = "| model | dtype | phase | tokens | measured, ms | predicted, ms | error |"
    table = [head, "|---|---|---|---:|---:|---:|---:|", *map(shown, rows)]
    title = (
        f"# Predicted and measured, {hardware.full_name}, {today}\n\n{versions}\n\n{summary}\n\n"
    )
    path.with_suffix(".md").write_text(title + "\n".join(table) + "\n")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
