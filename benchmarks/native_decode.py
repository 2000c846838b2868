"""Decode of GPT-2 with native linear layers against the best rungs of PyTorch alone, in turns.

    python benchmarks/native_decode.py             # 10 minutes, most of it compiling
    python benchmarks/native_decode.py --rounds 3

Every stack generates after the same prompt, one after the other, round after round; ratios are
taken within a round. The output is not verified here: `topout climb` does that. Writes
`benchmarks/results/native-decode-<host key>-<date>.json` with machine and versions, and `.md`.
"""

import argparse
import datetime
import importlib.metadata
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from topout.generation.build import Build, build_session
from topout.generation.session import Session
from topout.machine.describe import describe
from topout.machine.native_ceilings import BandwidthProbe
from topout.measure.speed_test import SpeedTest
from topout.models.source import ModelSource, resolve_model
from topout.records import WorkloadSummary
from topout.rungs.registry import find_rung

RESULTS = Path(__file__).parent / "results"
EAGER, COMPILED = ["static_cache"], ["static_cache", "compile", "generate_gemv"]
TORCH = {
    "fp32 eager": EAGER,
    "fp32 compiled": COMPILED,
    "bf16 eager": [*EAGER, "bf16"],
    "bf16 compiled": [*COMPILED, "bf16"],
    "int8 weights compiled": [*COMPILED, "quantize_weights_int8"],
}
NATIVE = {
    f"native {name} {how}": [*below, f"native_linear_{name}"]
    for name in ("fp32", "bf16", "int8_dynamic", "int4")
    for how, below in (("eager", EAGER), ("compiled", COMPILED))
}
# What a native format is held to: the fastest of these, and how many times as fast.
GOALS = {
    "fp32": (["fp32 eager", "fp32 compiled"], 2.0),
    "bf16": (["bf16 eager", "bf16 compiled"], 2.0),
    "int8_dynamic": (list(TORCH), 3.0),
    "int4": (list(TORCH), 3.0),
}
PROMPT_LEN, NEW_TOKENS = 64, 48


def main() -> None:
    """Build all stacks, run them in turns, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    source = resolve_model("gpt2", random_weights=True)
    with tempfile.TemporaryDirectory() as scratch:
        sessions = {
            name: _session(name, stack, source, arguments.threads, Path(scratch))
            for name, stack in (TORCH | NATIVE).items()
        }
    times, bandwidths = _in_turns(sessions, arguments.threads, arguments.rounds)
    lines = _table(sessions, times, bandwidths)
    print("\n".join(lines))
    _write(lines, times, bandwidths, arguments.threads)


def _session(
    name: str, stack: list[str], source: ModelSource, threads: int, scratch: Path
) -> Session:
    print(f"  building {name} …", file=sys.stderr)
    workload = WorkloadSummary(
        task="generate",
        prompt_len=PROMPT_LEN,
        new_tokens=NEW_TOKENS,
        batch_size=1,
        threads=threads,
        device="cpu",
        dtype="fp32",
        temperature=0.0,
    )
    build = Build(
        source=source,
        workload=workload,
        draft=None,
        quantized_folder=scratch,
        dtype=torch.float32,
    )
    session = build_session(build, [find_rung(name) for name in stack])
    session.generate(_prompt(), 8)
    return session


def _prompt() -> torch.Tensor:
    return torch.randint(50257, (1, PROMPT_LEN), generator=torch.Generator().manual_seed(0))


def _in_turns(
    sessions: dict[str, Session], threads: int, rounds: int
) -> tuple[dict[str, list[float]], list[float]]:
    """Seconds per token of every stack, and the read bandwidth, round by round."""
    times: dict[str, list[float]] = {name: [] for name in sessions}
    bandwidths = []
    with BandwidthProbe(threads, 320 << 20) as probe:
        for _ in range(rounds):
            bandwidths.append(probe.read_bandwidth())
            for name, session in sessions.items():
                run = session.generate(_prompt(), NEW_TOKENS)
                times[name].append((run.total_s - run.ttft_s) / (NEW_TOKENS - 1))
    return times, bandwidths


def _table(
    sessions: dict[str, Session], times: dict[str, list[float]], bandwidths: list[float]
) -> list[str]:
    bandwidth = statistics.median(bandwidths)
    lines = ["| stack | tokens/s | weights read, share of the bandwidth |", "|---|---:|---:|"]
    for name, seconds in times.items():
        share = _streamed_bytes(sessions[name]) / statistics.median(seconds) / bandwidth
        lines.append(f"| {name} | {1 / statistics.median(seconds):.0f} | {share:.0%} |")
    lines += ["", f"Read bandwidth: {bandwidth / 1e9:.0f} GB/s.", ""]
    lines += ["| native | over | times as fast | goal | |", "|---|---|---:|---:|---|"]
    for form, (rivals, goal) in GOALS.items():
        ours = min((f"native {form} eager", f"native {form} compiled"), key=_by_median(times))
        rival = min(rivals, key=_by_median(times))
        ratio = SpeedTest().ratio(times[rival], times[ours])
        mark = "reached" if ratio.median >= goal else "missed"
        figure = f"{ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"
        lines.append(f"| {ours} | {rival} | {figure} | ≥ {goal:g} | {mark} |")
    return lines


def _by_median(times: dict[str, list[float]]) -> Callable[[str], float]:
    return lambda name: statistics.median(times[name])


def _streamed_bytes(session: Session) -> int:
    """Bytes of weights that a token reads: all but the table of embeddings beside a packed head."""
    model = session.steps.model  # type: ignore[attr-defined]
    shares_embedding = isinstance(model.head, nn.Linear)
    embedding = 0 if shares_embedding else model.token_embedding.weight.nbytes
    return session.weight_bytes - model.position_embedding.weight.nbytes - embedding


def _write(
    lines: list[str], times: dict[str, list[float]], bandwidths: list[float], threads: int
) -> None:
    machine = describe()
    date = datetime.date.today().isoformat()
    name = f"native-decode-{machine.host_key}-{date}"
    record = {
        "date": date,
        "threads": threads,
        "cpu": machine.cpu_model,
        "host_key": machine.host_key,
        "versions": {each: importlib.metadata.version(each) for each in ("torch", "topout")},
        "prompt_len": PROMPT_LEN,
        "new_tokens": NEW_TOKENS,
        "seconds_per_token": times,
        "read_bytes_per_s": bandwidths,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    head = f"GPT-2 124M, random weights, {machine.cpu_model}, {threads} threads, {date}\n\n"
    (RESULTS / f"{name}.md").write_text(head + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
