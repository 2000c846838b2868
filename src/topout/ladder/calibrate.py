"""Measure what predictions are made from, in a process of its own (`topout.ladder.calibrate`).

Beside the kernels' rates that is the time of a model so narrow that all of it is overhead, for each
execution mode, and what the verifying loop of a speculation costs.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch

from topout.generation.build import Build, build_session
from topout.generation.session import Session
from topout.ladder.kernel_rates import Bench, attention_rate, elementwise_rate, linear_rates
from topout.ladder.rates import RatesRequest
from topout.ladder.stack import Stack
from topout.measure.worker import serve, tell_work
from topout.models.config import ModelConfig
from topout.models.source import ModelSource
from topout.records import Ceilings, ModeOverhead, Rates, WorkloadSummary
from topout.records.record import utc_now

MODES = {
    "transformers_eager": [],
    "decoder_eager": ["static_cache"],
    "decoder_compiled": ["static_cache", "compile"],
    "native_eager": ["static_cache", "native_linear_fp32"],
    "native_compiled": ["static_cache", "compile", "native_linear_fp32"],
}
TINY_LAYERS = (2, 5)
TINY_LAYERS_COMPILED = (4,)  # one depth, taken as all per layer: a second one costs 6 s to compile
TINY_PROMPT_LEN = 8
TINY_NEW_TOKENS = 48


def measure_rates(
    request: RatesRequest, ceilings: Ceilings, *, host_key: str, versions: str
) -> Rates:
    """Measure all rates on as many threads; takes 10 to 60 seconds."""
    torch.set_num_threads(request.threads)
    torch.manual_seed(0)
    bench = Bench(torch.device(request.device), request.threads, ceilings)
    with torch.inference_mode():
        linear = linear_rates(
            bench, with_compile=request.with_compile, with_native=request.with_native
        )
        tell_work("attention, elementwise operations")
        attention = [attention_rate(dtype, bench) for dtype in ("fp32", "bf16")]
        elementwise = elementwise_rate(bench)
    modes, reasons = [], {}
    for mode, rungs in MODES.items():
        if "compile" in rungs and not request.with_compile:
            reasons[mode] = "torch.compile was not asked for, or is not available here"
        elif mode.startswith("native") and not request.with_native:
            reasons[mode] = "the native kernels were not asked for, or are not available here"
        else:
            tell_work(f"the overhead of {mode}")
            modes.append(mode_overhead(mode, Stack.of(rungs), request))
    tell_work("the overhead of speculation")
    return Rates(
        host_key=host_key,
        versions=versions,
        device=request.device,
        threads=request.threads,
        architecture=request.architecture,
        measured_at=utc_now(),
        linear=linear,
        attention=attention,
        elementwise_bytes_per_s=elementwise,
        modes=modes,
        speculation_pass_s=speculation_pass_time(request),
        doubts=bench.doubts(),
        reasons=reasons,
    )


def mode_overhead(mode: str, stack: Stack, request: RatesRequest) -> ModeOverhead:
    """Overhead per call and per layer, from the times of models of different depth."""
    depths = TINY_LAYERS_COMPILED if "compile" in stack.names else TINY_LAYERS
    times = [tiny_times(stack, request, layers) for layers in depths]
    prefill_fixed, prefill_per_layer = fixed_and_per_layer(depths, [each[0] for each in times])
    decode_fixed, decode_per_layer = fixed_and_per_layer(depths, [each[1] for each in times])
    return ModeOverhead(
        mode=mode,
        prefill_fixed_s=prefill_fixed,
        prefill_per_layer_s=prefill_per_layer,
        decode_fixed_s=decode_fixed,
        decode_per_layer_s=decode_per_layer,
    )


def fixed_and_per_layer(depths: Sequence[int], times_s: Sequence[float]) -> tuple[float, float]:
    """(fixed, per layer) seconds of the line through the times at one or two depths, none < 0."""
    if len(depths) == 1:
        return 0.0, times_s[0] / depths[0]
    per_layer = max(0.0, (times_s[1] - times_s[0]) / (depths[1] - depths[0]))
    return max(0.0, times_s[0] - depths[0] * per_layer), per_layer


def speculation_pass_time(request: RatesRequest) -> float:
    """Seconds that the verifying loop costs per pass beside the model's own step."""
    _, step = tiny_times(Stack.of(["static_cache"]), request, 1)
    _, verified = tiny_times(Stack.of(["static_cache", "speculate_lookup"]), request, 1)
    return max(0.0, verified - step)


def tiny_times(stack: Stack, request: RatesRequest, layers: int) -> tuple[float, float]:
    """(TTFT, time per token) of a narrow model under a stack, medians of a few runs."""
    session = tiny_session(stack, request, layers)
    prompt = torch.arange(TINY_PROMPT_LEN)[None]
    for _ in range(2):
        session.generate(prompt, TINY_NEW_TOKENS)
    runs = [session.generate(prompt, TINY_NEW_TOKENS) for _ in range(7)]
    prefill = sorted(run.ttft_s for run in runs)
    decode = sorted((run.total_s - run.ttft_s) / run.forward_passes for run in runs)
    return prefill[len(runs) // 2], decode[len(runs) // 2]


def tiny_session(stack: Stack, request: RatesRequest, layers: int) -> Session:
    """A narrow model of the wanted architecture under a stack."""
    fields = tiny_config(request.config_json, layers)
    config = ModelConfig.from_hugging_face(fields, f"tiny-{request.architecture}-{layers}")
    source = ModelSource(
        name=config.name,
        folder=None,
        config=config,
        config_json=fields,
        origin="random",
        tensors={},
        weights_dtype="fp32",
        tokenizer_path=None,
        seed=0,
        fingerprint=config.name,
    )
    workload = WorkloadSummary(
        task="generate",
        prompt_len=TINY_PROMPT_LEN,
        new_tokens=TINY_NEW_TOKENS,
        batch_size=1,
        threads=request.threads,
        device=request.device,
        dtype="fp32",
        temperature=0.0,
    )
    build = Build(
        source=source,
        workload=workload,
        draft=None,
        quantized_folder=Path(),
        dtype=torch.float32,
    )
    return build_session(build, stack.rungs)


def tiny_config(config_json: dict[str, Any], layers: int) -> dict[str, Any]:
    """The same architecture, 64 wide, one head, 256 tokens: what is left is overhead."""
    gpt2 = {"n_embd": 64, "n_head": 1, "n_layer": layers, "n_inner": None, "n_positions": 128}
    llama = {
        "hidden_size": 64,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": 64,
        "intermediate_size": 128,
        "num_hidden_layers": layers,
        "layer_types": None,
    }
    sizes = gpt2 if config_json.get("model_type") == "gpt2" else llama
    kept = {key: value for key, value in config_json.items() if key not in sizes}
    return {**kept, **{k: v for k, v in sizes.items() if v is not None}, "vocab_size": 256}


def _calibrate(params: dict[str, Any]) -> Rates:
    request = msgspec.convert(params["request"], RatesRequest)
    ceilings = msgspec.convert(params["ceilings"], Ceilings)
    return measure_rates(
        request, ceilings, host_key=params["host_key"], versions=params["versions"]
    )


if __name__ == "__main__":
    serve({"calibrate": _calibrate}, sys.argv[1:])
