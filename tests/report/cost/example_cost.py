"""Cost reports made by hand: plausible in every figure, and hard in names and missing figures."""

from dataclasses import dataclass

from msgspec.structs import replace

from topout.records import (
    CacheSaving,
    ComputePeak,
    CostBound,
    CostedModel,
    CostMemory,
    CostReport,
    CostWorkload,
    Hardware,
    Interval,
    Link,
    MachineCost,
    MachineFit,
    MemoryLevel,
    OpCost,
    PhaseCost,
    PhaseName,
    TrainingMemory,
)

MARKUP = "<script>alert(1)</script>"
WHITEPAPER = "NVIDIA A100 whitepaper, https://example.org/a100.pdf"
NO_BANDWIDTH = "its file states no bandwidth of main memory"


@dataclass(frozen=True)
class Speed:
    """What the example's times are made of."""

    flops_per_s: float
    bytes_per_s: float
    overhead_s: float  # of one launch


@dataclass(frozen=True)
class Work:
    """One op of the example, all its runs together."""

    name: str
    part: str
    kind: str
    count: int
    shape: str
    flops: float
    weight_bytes: float = 0.0
    activation_bytes: float = 0.0
    kv_bytes: float = 0.0


A100, H200, XEON = (
    Speed(271e12, 1.75e12, 3e-6),
    Speed(720e12, 4.3e12, 3e-6),
    Speed(9e11, 8e10, 1e-5),
)
LAYERS, WIDTH, MLP_WIDTH, VOCAB, KV_WIDTH = 32, 4096, 14336, 128256, 1024


def decoder_report() -> CostReport:
    """An 8-billion-parameter decoder on two GPUs and a CPU server."""
    return _report(
        _decoder(),
        CostWorkload(
            prompt_len=512,
            context_len=1024,
            batch_size=1,
            dtype="bf16",
            weight_dtype="bf16",
            kv_dtype="bf16",
        ),
        [
            generating(gpu("a100-80gb", 80), A100),
            generating(gpu("h200", 141), H200),
            generating(cpu("xeon-platinum-8480plus"), XEON),
        ],
        memory=CostMemory(
            weight_bytes=16_060_522_496,
            kv_bytes_per_token=131072,
            kv_cache_bytes=131072 * 1024,
            kv_table={
                str(batch): {str(length): 131072 * batch * length for length in CONTEXTS}
                for batch in (1, 8, 32, 128)
            },
            training=training_memory(8_030_261_248),
        ),
        findings=[
            "Decode is bound by memory on every machine: a100-80gb reads 16.2 GB for a token, "
            "so that no more than 108 tokens/s are possible at batch 1.",
            "The KV cache saves 1020× the FLOPs of a token at context 1024.",
        ],
    )


CONTEXTS = (1024, 4096, 16384, 65536, 131072)


def many_machines_report() -> CostReport:
    """The decoder on six machines, one of them without figures."""
    report = decoder_report()
    others = [
        generating(gpu("mi300x", 192), H200),
        generating(gpu("rtx-4090", 24), A100, fits=False),
        without_figures(),
    ]
    return replace(report, machines=[*report.machines, *others])


def encoder_report() -> CostReport:
    """BERT: no KV cache, no decode."""
    model = CostedModel(
        name="bert-base-uncased",
        architecture="bert",
        kind="encoder",
        parameters=109_482_240,
        active_parameters=109_482_240,
        parameters_by_part={"embedding": 23_837_184, "attention": 28_348_416, "mlp": 56_669_184},
        layers=12,
        width=768,
        heads=12,
        kv_heads=12,
        vocab_size=30522,
        context_len=512,
    )
    work = CostWorkload(
        prompt_len=128,
        context_len=128,
        batch_size=8,
        dtype="fp32",
        weight_dtype="fp32",
        kv_dtype="fp32",
        mode="eager",
    )
    ops = [
        linear("qkv", "attention", 12, 1024, 768, 2304, 4),
        Work("attention", "attention", "attention", 12, "8×12 heads, 128 × 128 of 64", 6e8),
        linear("attention_out", "attention", 12, 1024, 768, 768, 4),
        linear("mlp_up", "mlp", 12, 1024, 768, 3072, 4),
        linear("mlp_down", "mlp", 12, 1024, 3072, 768, 4),
    ]
    speed = Speed(1.2e12, 8e10, 1e-5)
    costs = [op_cost(op, "forward", speed) for op in ops]
    forward = phase_cost("forward", 1024, costs)
    assert forward.time_s is not None
    machine = MachineCost(
        name="xeon-platinum-8480plus",
        hardware=cpu("xeon-platinum-8480plus"),
        mode="eager",
        ops=shared(costs),
        forward=forward,
        interval=Interval(low=8 / forward.time_s / 1.2, high=8 / forward.time_s * 1.15),
        fit=MachineFit(
            memory_bytes=256 << 30,
            weight_bytes=437_928_960,
            fits=True,
            largest_batch=98304,
            devices_needed=1,
        ),
    )
    memory = CostMemory(weight_bytes=437_928_960)
    return _report(model, work, [machine], memory=memory, findings=[])


def image_report() -> CostReport:
    """A ResNet: convolutions, no tokens, no heads."""
    model = CostedModel(
        name="resnet-50",
        architecture="resnet",
        kind="image",
        parameters=25_557_032,
        active_parameters=25_557_032,
        parameters_by_part={"convolution": 23_454_912, "norms": 53_120, "head": 2_049_000},
        layers=53,
        width=2048,
    )
    work = CostWorkload(
        prompt_len=1,
        context_len=1,
        batch_size=32,
        dtype="fp16",
        weight_dtype="fp16",
        kv_dtype="fp16",
    )
    ops = [
        Work(f"{stage}.{unit}.conv{number}", "convolution", "convolution", 1, "3×3, 64→64", 2e9)
        for stage in ("stage1", "stage2", "stage3", "stage4")
        for unit in range(4)
        for number in (1, 2, 3)
    ]
    costs = [op_cost(op, "forward", A100) for op in ops]
    forward = phase_cost("forward", 32, costs)
    assert forward.time_s is not None
    machine = MachineCost(
        name="a100-80gb",
        hardware=gpu("a100-80gb", 80),
        mode="compiled",
        ops=shared(costs),
        forward=forward,
        interval=Interval(low=25 / forward.time_s, high=40 / forward.time_s),
    )
    return _report(
        model,
        work,
        [machine, without_figures("forward")],
        memory=CostMemory(weight_bytes=51_114_064),
    )


def mixture_report() -> CostReport:
    """A mixture of experts, quantized, over eight devices, too large for one."""
    report = decoder_report()
    model = CostedModel(
        name="a-research-group/mixtral-8x22b-instruct-v0.1-long-context-preview",
        architecture="mixtral",
        kind="decoder",
        parameters=140_630_071_296,
        active_parameters=39_157_118_976,
        parameters_by_part={
            "embedding": 201_326_592,
            "attention": 4_932_501_504,
            "mlp": 135_294_222_336,
            "norms": 694_272,
            "head": 201_326_592,
        },
        layers=56,
        width=6144,
        heads=48,
        kv_heads=8,
        vocab_size=32768,
        context_len=65536,
    )
    work = replace(report.workload, weight_dtype="int4", tensor_parallel=8, data_parallel=2)
    experts = Work(
        "mlp_experts", "mlp", "linear", 56, "1.94 of 8 experts, 1×6144 · 6144×16384", 6e10, 4e10
    )
    reduce = Work("all_reduce", "communication", "collective", 112, "1×6144", 0.0, 0.0, 1.4e6)
    machine = report.machines[0]
    costs = [op_cost(op, "decode", A100) for op in (experts, reduce)]
    costs[1] = replace(costs[1], bound="communication", memory_s=None, compute_s=None)
    machine = replace(
        machine,
        ops=shared(costs),
        decode=replace(phase_cost("decode", 1, costs), bound="communication"),
        prefill=None,
        training=None,
    )
    return replace(report, model=model, workload=work, machines=[machine])


def without_figures(phase: PhaseName = "decode") -> MachineCost:
    """A machine of which only the memory is known: sums, and the reasons why there are no times."""
    hardware = Hardware(
        name="my-own-npu",
        full_name="An NPU from the lab",
        device="gpu",
        vendor="somebody",
        memory_bytes=16 << 30,
        reasons={"levels": "nobody has measured it"},
    )
    costs = [replace(untimed(op), phase=phase) for op in decoder_ops("decode")]
    cost = replace(phase_cost(phase, 1, costs), reason=NO_BANDWIDTH)
    return MachineCost(
        name="my-own-npu",
        hardware=hardware,
        mode="compiled",
        ops=costs,
        decode=cost if phase == "decode" else None,
        forward=cost if phase == "forward" else None,
        reasons={phase: NO_BANDWIDTH, "links": "its file names none"},
    )


def marked_up_report() -> CostReport:
    """Every text that comes from outside looks like a script."""
    report = decoder_report()
    machine = report.machines[0]
    hardware = replace(
        machine.hardware,
        name=MARKUP,
        full_name=MARKUP,
        notes=MARKUP,
        memory_source=f'{MARKUP} https://example.org/"><img src=x onerror=alert(1)>',
        reasons={MARKUP: MARKUP},
    )
    machine = replace(
        machine,
        name=f"{MARKUP}</script><img src=x>",
        hardware=hardware,
        mode=MARKUP,
        ops=[replace(op, name=MARKUP, shape=MARKUP, part=MARKUP) for op in machine.ops],
        assumptions=[MARKUP, "[red]not a style[/red]"],
        reasons={MARKUP: MARKUP},
    )
    return replace(
        report,
        model=replace(
            report.model, name=MARKUP, architecture=MARKUP, parameters_by_part={MARKUP: 5}
        ),
        machines=[machine],
        conventions=[MARKUP],
        not_counted=[MARKUP],
        findings=[MARKUP],
    )


def bare_report() -> CostReport:
    """No machine, no cache, no training: what the model weighs, and nothing else."""
    return replace(
        decoder_report(),
        machines=[],
        memory=CostMemory(weight_bytes=5),
        findings=[],
        conventions=[],
        not_counted=[],
    )


# --- how they are made ------------------------------------------------------------------------


def linear(
    name: str, part: str, count: int, rows: int, inputs: int, outputs: int, size: int = 2
) -> Work:
    """A matrix product, run `count` times."""
    return Work(
        name,
        part,
        "linear",
        count,
        f"{rows}×{inputs} · {inputs}×{outputs}",
        2.0 * count * rows * inputs * outputs,
        float(size * count * inputs * outputs),
        float(size * count * rows * (inputs + outputs)),
    )


def decoder_ops(phase: PhaseName) -> list[Work]:
    """The ops of the decoder in prefill (512 tokens) or decode (context 1024)."""
    rows, keys = (512, 512) if phase == "prefill" else (1, 1024)
    pairs = rows * (rows + 1) / 2 if phase == "prefill" else keys
    return [
        Work("embedding", "embedding", "embedding", 1, f"{rows} rows of 4096", 0.0, 0, rows * 16e3),
        Work("norms", "norms", "elementwise", 65, f"{rows} rows", 65e0 * rows * WIDTH, 0, 1e6),
        linear("qkv", "attention", LAYERS, rows, WIDTH, WIDTH + 2 * KV_WIDTH),
        Work(
            "attention",
            "attention",
            "attention",
            LAYERS,
            f"1×32 heads, {rows} × {keys} of 128",
            4.0 * LAYERS * pairs * WIDTH,
            0.0,
            4.0 * LAYERS * rows * WIDTH,
            131072.0 * keys,
        ),
        linear("attention_out", "attention", LAYERS, rows, WIDTH, WIDTH),
        linear("mlp_gate_up", "mlp", LAYERS, rows, WIDTH, 2 * MLP_WIDTH),
        linear("mlp_down", "mlp", LAYERS, rows, MLP_WIDTH, WIDTH),
        Work("residuals", "residuals", "elementwise", 64, f"{rows} rows", 64.0 * rows * WIDTH),
        linear("head", "head", 1, 1, WIDTH, VOCAB),
    ]


def op_cost(op: Work, phase: PhaseName, speed: Speed) -> OpCost:
    """The op with its time: the longer of arithmetic and memory, and what each launch takes."""
    moved = op.weight_bytes + op.activation_bytes + op.kv_bytes
    compute_s, memory_s = op.flops / speed.flops_per_s, moved / speed.bytes_per_s
    overhead_s = op.count * speed.overhead_s
    terms: dict[CostBound, float] = {
        "compute": compute_s,
        "memory": memory_s,
        "overhead": overhead_s,
    }
    return OpCost(
        name=op.name,
        part=op.part,
        phase=phase,
        kind=op.kind,
        count=op.count,
        shape=op.shape,
        flops=op.flops,
        weight_bytes=op.weight_bytes,
        activation_bytes=op.activation_bytes,
        kv_bytes=op.kv_bytes,
        bytes=moved,
        arithmetic_intensity=op.flops / moved if moved else None,
        bound=max(terms, key=lambda term: terms[term]),
        time_s=max(compute_s, memory_s) + overhead_s,
        compute_s=compute_s,
        memory_s=memory_s,
        overhead_s=overhead_s,
    )


def untimed(op: Work) -> OpCost:
    """The op on a machine whose figures do not suffice."""
    return replace(
        op_cost(op, "decode", A100),
        bound=None,
        time_s=None,
        compute_s=None,
        memory_s=None,
        overhead_s=None,
    )


def shared(ops: list[OpCost]) -> list[OpCost]:
    """The ops with their shares of the time of their phase."""
    whole: dict[str, float] = {}
    for op in ops:
        whole[op.phase] = whole.get(op.phase, 0.0) + (op.time_s or 0.0)
    return [replace(op, share=(op.time_s or 0.0) / whole[op.phase]) for op in ops]


def phase_cost(phase: PhaseName, tokens: int, ops: list[OpCost]) -> PhaseCost:
    """The sum of a phase's ops."""
    products = [op for op in ops if op.kind in ("linear", "attention", "convolution")]
    flops, moved = sum(op.flops for op in products), sum(op.bytes for op in ops)
    cost = PhaseCost(
        phase=phase,
        tokens=tokens,
        flops=flops,
        other_flops=sum(op.flops for op in ops) - flops,
        bytes=moved,
        arithmetic_intensity=flops / (moved or 1.0),
    )
    if any(op.time_s is None for op in ops):
        return cost
    time_s = sum(op.time_s or 0.0 for op in ops)
    terms: dict[CostBound, float] = {
        "memory": sum(_longer(op, "memory") for op in ops),
        "compute": sum(_longer(op, "compute") for op in ops),
        "overhead": sum(op.overhead_s or 0.0 for op in ops),
    }
    return replace(
        cost,
        time_s=time_s,
        tpot_s=time_s if phase == "decode" else None,
        compute_s=terms["compute"],
        memory_s=terms["memory"],
        overhead_s=terms["overhead"],
        communication_s=0.0,
        bound=max(terms, key=lambda term: terms[term]),
        interval_s=Interval(low=time_s * 0.88, high=time_s * 1.2),
        tokens_per_s=tokens / time_s,
        mfu_of_spec_peak=flops / time_s / 312e12,
        mbu_of_spec_peak=moved / time_s / 2.039e12,
        mbu_of_ceiling=moved / time_s / 1.75e12,
    )


def generating(hardware: Hardware, speed: Speed, fits: bool = True) -> MachineCost:
    """The decoder on a machine of this speed."""
    prefill = [op_cost(op, "prefill", speed) for op in decoder_ops("prefill")]
    decode = [op_cost(op, "decode", speed) for op in decoder_ops("decode")]
    training = [
        replace(op, phase="training", name=f"{op.name} {way}", flops=op.flops * times)
        for way, times in (("forward", 1), ("backward", 2))
        for op in prefill
    ]
    step = phase_cost("decode", 1, decode)
    rate = step.tokens_per_s or 0.0
    return MachineCost(
        name=hardware.name,
        hardware=hardware,
        mode="compiled",
        ops=shared([*prefill, *decode, *training]),
        prefill=phase_cost("prefill", 512, prefill),
        decode=step,
        training=phase_cost("training", 512, training),
        decode_tokens_per_s=rate,
        interval=Interval(low=rate / 1.2, high=rate / 0.88),
        cache_saving=CacheSaving(
            context_len=1024,
            cached_flops=1.6e10,
            cached_bytes=1.62e10,
            uncached_flops=1.63e13,
            uncached_bytes=2.1e10,
            kv_projection_flops=2.0 * LAYERS * WIDTH * 2 * KV_WIDTH,
            kv_projection_bytes=2.0 * LAYERS * WIDTH * 2 * KV_WIDTH,
            cached_time_s=step.time_s,
            uncached_time_s=6e-2,
        ),
        fit=MachineFit(
            memory_bytes=hardware.memory_bytes,
            weight_bytes=16_060_522_496,
            fits=fits,
            largest_batch=412 if fits else None,
            largest_context=131072 if fits else None,
            training_fits=False,
            devices_needed=1 if fits else 2,
        ),
        assumptions=["attention is fused and reads the KV cache once."],
    )


def training_memory(parameters: int) -> list[TrainingMemory]:
    """AdamW in mixed precision: 2 bytes a weight and a gradient, 12 of states."""
    held = {"none": 58 << 30, "selective": 21 << 30, "full": 3 << 30}
    choices = []
    for recompute, activations in held.items():
        for stage in (0, 1, 2, 3):
            sizes = {
                "weights_bytes": 2 * parameters // (8 if stage >= 3 else 1),
                "gradients_bytes": 2 * parameters // (8 if stage >= 2 else 1),
                "optimizer_bytes": 12 * parameters // (8 if stage >= 1 else 1),
                "activations_bytes": activations - (1 << 29),
                "errors_bytes": 1 << 29,
            }
            choices.append(
                TrainingMemory(
                    recompute=recompute,  # type: ignore[arg-type]
                    zero_stage=stage,
                    total_bytes=sum(sizes.values()),
                    **sizes,
                )
            )
    return choices


def gpu(name: str, gib: int) -> Hardware:
    """A GPU with datasheet figures, one of them measured, and a link."""
    return Hardware(
        name=name,
        full_name=f"A GPU called {name}",
        device="gpu",
        vendor="a maker",
        released="2020",
        cores=108,
        clock_hz=1.41e9,
        power_w=400,
        source=WHITEPAPER,
        memory_bytes=gib << 30,
        memory_source=WHITEPAPER,
        compute=[
            ComputePeak(
                dtype="bf16",
                unit="matrix",
                spec_flops_per_s=312e12,
                spec_source=WHITEPAPER,
                achievable_flops_per_s=271e12,
                achievable_source="a table of matrix products, https://example.org/mamf (PyTorch)",
            )
        ],
        levels=[
            MemoryLevel(name="L2", capacity_bytes=40 << 20),
            MemoryLevel(
                name="HBM",
                capacity_bytes=gib << 30,
                spec_bytes_per_s=2.039e12,
                spec_source=WHITEPAPER,
            ),
        ],
        links=[
            Link(
                name="NVLink 3",
                kind="nvlink",
                devices=8,
                spec_bytes_per_s=300e9,
                spec_source="12 links × 25 GB/s",
                latency_s=6e-7,
                latency_source="a tuning table",
            )
        ],
        reasons={"compute.fp8": "the device has no arithmetic in this type"},
    )


def cpu(name: str) -> Hardware:
    """A CPU server."""
    return Hardware(
        name=name,
        full_name=f"A server with {name}",
        device="cpu",
        vendor="another maker",
        memory_bytes=256 << 30,
        levels=[MemoryLevel(name="DRAM", achievable_bytes_per_s=8e10, achievable_source="stream")],
        reasons={"links": "one socket"},
    )


def _decoder() -> CostedModel:
    return CostedModel(
        name="llama-3.1-8b",
        architecture="llama",
        kind="decoder",
        parameters=8_030_261_248,
        active_parameters=8_030_261_248,
        parameters_by_part={
            "embedding": 525_336_576,
            "attention": 1_342_177_280,
            "mlp": 5_637_144_576,
            "norms": 266_240,
            "head": 525_336_576,
        },
        layers=LAYERS,
        width=WIDTH,
        heads=32,
        kv_heads=8,
        vocab_size=VOCAB,
        context_len=131072,
    )


def _report(
    model: CostedModel,
    workload: CostWorkload,
    machines: list[MachineCost],
    memory: CostMemory,
    findings: list[str] | None = None,
) -> CostReport:
    return CostReport(
        topout_version="0.1.0",
        created_at="2026-01-02T03:04:05+00:00",
        model=model,
        workload=workload,
        machines=machines,
        memory=memory,
        conventions=[
            "1 multiply-add = 2 FLOPs",
            "causal attention counts the pairs that the mask leaves",
            "each byte of a weight is read once per pass",
        ],
        not_counted=["dropout", "sampling of the next token"],
        findings=findings or [],
    )


def _longer(op: OpCost, term: str) -> float:
    compute_s, memory_s = op.compute_s or 0.0, op.memory_s or 0.0
    if term == "memory":
        return memory_s if memory_s >= compute_s else 0.0
    return compute_s if compute_s > memory_s else 0.0
