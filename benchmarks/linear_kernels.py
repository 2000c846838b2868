"""The figures that the native kernels are held to, measured here and printed beside their goals.

    python benchmarks/linear_kernels.py             # products, matrix-vector products (5 minutes)
    python benchmarks/linear_kernels.py --quick     # the same in fewer rounds
    python benchmarks/linear_kernels.py --threads 1
    python benchmarks/linear_kernels.py --only vectors

All are ratios within one run: candidates, rivals and the machine's own ceilings take turns. Writes
`benchmarks/results/kernels-<host key>-<date>.json` with machine and versions, and `.md` for people.
"""

import argparse
import ctypes
import datetime
import functools
import importlib.metadata
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from topout.gemm.case import Case, version_names
from topout.gemm.laboratory import Laboratory
from topout.kernels.build import build_library
from topout.kernels.linear_ops import (
    Int4Weight,
    Int8Weight,
    PackedLinear,
    linear_library,
    pack_float,
    pack_quantized,
)
from topout.machine.describe import describe
from topout.machine.native_ceilings import BandwidthProbe
from topout.records.gemm import GemmResult, GemmShape

RESULTS = Path(__file__).parent / "results"
PROMPT_LEN = 835
# (N, K) of the linear layers.
GPT2 = {"qkv": (2304, 768), "output": (768, 768), "up": (3072, 768), "down": (768, 3072)}
GPT2_HEAD = (50257, 768)
LLAMA_7B = {"qkv": (12288, 4096), "output": (4096, 4096), "gate_up": (22016, 4096)}
LLAMA_7B |= {"down": (4096, 11008), "head": (32000, 4096)}
BEYOND_CACHES_BYTES = 320 << 20
PARTS = ("products", "vectors", "prefill")
FORMATS = ("fp32", "bf16", "int8", "int8_dynamic", "int4", "int4_dynamic")
STEPS = "naive → loop_order → tiled → packed → simd → threaded → prepacked"


class Row(NamedTuple):
    """One figure beside its goal."""

    what: str
    figure: str
    goal: str
    reached: bool | None  # None: shown for itself


def main() -> None:
    """Measure, print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=PARTS, help="print one part, and write nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    rows = []
    parts = {"products": _products, "vectors": _vectors, "prefill": _prefill}
    for name in [arguments.only] if arguments.only else PARTS:
        rows += list(parts[name](arguments.threads, arguments.quick))
        print(_table(rows), flush=True)
    if arguments.only is None:
        _write(rows, arguments.threads)


# --- products ---------------------------------------------------------------------------------


def _products(threads: int, quick: bool) -> Iterator[Row]:
    """fp32 against every rival, at GPT-2's prefill; and the ladder of versions at 1024³."""
    shapes = {}
    with _laboratory(("threaded", "prepacked"), threads) as laboratory:
        for label, (n, k) in (GPT2 | {"head": GPT2_HEAD}).items():
            rows = 1 if label == "head" else PROMPT_LEN
            case = Case(m=rows, n=n, k=k, dtype="fp32", threads=threads, label=label)
            shapes[label] = _compared(laboratory, case, quick)
    prefill = [shapes[label] for label in GPT2]
    ratios = [_best_over_best(shape) for shape in prefill]
    for shape, ratio in zip(prefill, ratios, strict=True):
        yield Row(
            f"fp32 {_size(shape)}: best version / best rival",
            f"{ratio:.2f}",
            "≥ 0.97",
            ratio >= 0.97,
        )
    mean = statistics.geometric_mean(ratios)
    yield Row("fp32, GPT-2's prefill: geometric mean", f"{mean:.2f}", "≥ 1.00", mean >= 1)
    shares = [max(each.of_ceiling or 0 for each in shape.versions) for shape in prefill]
    for shape, share in zip(prefill, shares, strict=True):
        yield Row(
            f"fp32 {_size(shape)}: share of the FMA ceiling", f"{share:.1%}", "≥ 90 %", share >= 0.9
        )
    over = _median_of(shapes["head"].versions) / _rate_of(shapes["head"].rivals, "pytorch")
    yield Row(
        f"fp32 {_size(shapes['head'])}: best version / PyTorch", f"{over:.2f}", "≥ 1.5", over >= 1.5
    )
    with _laboratory(tuple(version_names("fp32")), threads, rivals=False) as laboratory:
        case = Case(m=1024, n=1024, k=1024, dtype="fp32", threads=threads)
        ladder = _compared(laboratory, case, quick)
    naive = _rate_of(ladder.versions, "naive")
    times = _median_of(ladder.versions) / naive
    yield Row("fp32 1024³: best version / naive", f"{times:.0f}", "≥ 30", times >= 30)
    rates = [each.flops_per_s.median for each in ladder.versions if each.flops_per_s]
    steps = " → ".join(f"{rate / 1e9:.3g}" for rate in rates)
    yield Row(f"fp32 1024³, GFLOP/s: {STEPS}", steps, "", None)


def _laboratory(versions: tuple[str, ...], threads: int, rivals: bool = True) -> Laboratory:
    folder = Path(tempfile.mkdtemp(prefix="topout-kernels-"))
    return Laboratory(versions, None, threads, folder, rivals=rivals)


def _compared(laboratory: Laboratory, case: Case, quick: bool) -> GemmShape:
    print(f"  {case} …", file=sys.stderr)
    return laboratory.compare(case, quick=quick)


def _size(shape: GemmShape) -> str:
    return f"{shape.label} {shape.m}×{shape.n}×{shape.k}"


def _median_of(results: list[GemmResult]) -> float:
    """FLOP/s of the fastest."""
    return max(each.flops_per_s.median for each in results if each.flops_per_s)


def _rate_of(results: list[GemmResult], name: str) -> float:
    found = {each.name: each for each in results}[name].flops_per_s
    if found is None:
        raise SystemExit(f"{name} was not measured.")
    return found.median


def _best_over_best(shape: GemmShape) -> float:
    """Of the fastest version over the fastest rival, packed ahead or not, round by round."""
    best = max((each for each in shape.versions if each.flops_per_s), key=_rate)
    rival = max((each for each in shape.rivals if each.flops_per_s), key=_rate)
    pairs = zip(rival.samples_s, best.samples_s, strict=False)
    return statistics.median(theirs / ours for theirs, ours in pairs)


def _rate(result: GemmResult) -> float:
    assert result.flops_per_s is not None
    return result.flops_per_s.median


# --- matrix-vector products -------------------------------------------------------------------


def _vectors(threads: int, quick: bool) -> Iterator[Row]:
    """One row times weights beyond the caches, against the read bandwidth of the same rounds."""
    shapes = {f"GPT-2 {name}": size for name, size in (GPT2 | {"head": GPT2_HEAD}).items()}
    shapes |= {f"Llama-7B {name}": size for name, size in LLAMA_7B.items()}
    rounds = 5 if quick else 15
    with BandwidthProbe(threads, BEYOND_CACHES_BYTES) as probe:
        for form in FORMATS:
            shares = {}
            for name, (n, k) in shapes.items():
                shares[name] = _share_of_bandwidth(form, n, k, probe, threads, rounds)
                print(f"  {form} {name}: {shares[name]:.1%}", file=sys.stderr)
            mean = statistics.geometric_mean(shares.values())
            least = min(shares, key=lambda name: shares[name])
            goal = 0.75 if form.startswith("int4") else 0.9
            yield Row(
                f"one row, {form}: share of the read bandwidth, geometric mean (least: {least})",
                f"{mean:.1%} ({shares[least]:.1%})",
                f"≥ {goal:.0%}",
                mean >= goal,
            )


def _share_of_bandwidth(
    form: str, n: int, k: int, probe: BandwidthProbe, threads: int, rounds: int
) -> float:
    """The median over rounds of bytes of weights per second over bytes read per second."""
    one = _packed(form, n, k)
    count = max(2, math.ceil(BEYOND_CACHES_BYTES / one.bytes))
    layers = [one, *(_packed(form, n, k) for _ in range(count - 1))]
    x, y = torch.randn(1, k), torch.empty(1, n)
    handles = (ctypes.c_void_p * count)(*(layer.handle for layer in layers))
    linear = ctypes.cast(one.library.multiply, ctypes.c_void_p)
    moved = sum(layer.bytes for layer in layers)
    run = _layer_loop()
    shares = []
    for _ in range(rounds + 1):
        before = probe.read_bandwidth()
        took = run(
            linear,
            handles,
            count,
            form.endswith("dynamic"),
            *(x.data_ptr(), 1, k, y.data_ptr(), n, threads),
        )
        after = probe.read_bandwidth()
        shares.append(moved / took / ((before + after) / 2))
    return statistics.median(shares[1:])


@functools.cache
def _layer_loop() -> Callable[..., float]:
    """`run_layers` of linear_loop.cpp: what the kernels reach without Python between them."""
    source = Path(__file__).with_name("linear_loop.cpp")
    function = ctypes.CDLL(str(build_library("linear-loop", [source]))).run_layers
    whole, pointer = ctypes.c_int64, ctypes.c_void_p
    function.restype = ctypes.c_double
    function.argtypes = [pointer, pointer, whole, ctypes.c_int, pointer, whole, whole]
    function.argtypes += [pointer, whole, ctypes.c_int]
    return function


def _packed(form: str, n: int, k: int) -> PackedLinear:
    """Random weights; what they are does not change the time."""
    if form in ("fp32", "bf16"):
        return pack_float(torch.randn(n, k), "bf16" if form == "bf16" else "fp32")
    if form.startswith("int8"):
        values = torch.randint(-127, 128, (n, k), dtype=torch.int8)
        return pack_quantized(Int8Weight(values, torch.rand(n)))
    scales = torch.rand(n, k // 64).bfloat16()
    values = torch.randint(0, 256, (n, k // 2), dtype=torch.uint8)
    return pack_quantized(Int4Weight(values, scales, -8 * scales))


def _seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


# --- prefill in narrower types ----------------------------------------------------------------


def _prefill(threads: int, quick: bool) -> Iterator[Row]:
    """All of a block's products of 835 rows, in turns, against our own fp32."""
    forms = {"fp32": False, "bf16": False, "int8": True, "int4": True}
    x = {k: torch.randn(PROMPT_LEN, k) for _, k in GPT2.values()}
    layers = {form: [_packed(form, n, k) for n, k in GPT2.values()] for form in forms}
    times: dict[str, list[float]] = {form: [] for form in forms}
    for _ in range(10 if quick else 40):
        for form, dynamic in forms.items():

            def run_all(form: str = form, dynamic: bool = dynamic) -> None:
                for layer in layers[form]:
                    layer.multiply(x[layer.inputs], dynamic=dynamic)

            times[form].append(_seconds(run_all))
    for form, goal in (("bf16", 1.8), ("int8", 2.5), ("int4", None)):
        ratio = statistics.median(a / b for a, b in zip(times["fp32"], times[form], strict=True))
        what = "with activations quantized on the way" if forms[form] else "activations in fp32"
        yield Row(
            f"835 rows, {form} ({what}) / our fp32",
            f"{ratio:.2f}",
            f"≥ {goal}" if goal else "",
            ratio >= goal if goal else None,
        )


# --- the table --------------------------------------------------------------------------------


def _table(rows: list[Row]) -> str:
    lines = ["| figure | measured | goal | |", "|---|---:|---:|---|"]
    marks = {True: "reached", False: "missed", None: ""}
    lines += [f"| {row.what} | {row.figure} | {row.goal} | {marks[row.reached]} |" for row in rows]
    return "\n".join(lines)


def _write(rows: list[Row], threads: int) -> None:
    machine = describe()
    date = datetime.date.today().isoformat()
    name = f"kernels-{machine.host_key}-{date}"
    packages = ("torch", "numpy", "topout")
    record = {
        "date": date,
        "threads": threads,
        "cpu": machine.cpu_model,
        "host_key": machine.host_key,
        "instructions": linear_library().instructions,
        "versions": {each: importlib.metadata.version(each) for each in packages},
        "figures": [row._asdict() for row in rows],
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    head = f"{record['cpu']}, {threads} threads, {record['instructions']}, {date}\n\n"
    (RESULTS / f"{name}.md").write_text(head + _table(rows) + "\n")


if __name__ == "__main__":
    main()
