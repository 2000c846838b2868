"""Training runs made by hand: one rank and two, and one that failed."""

from typing import Any

from msgspec.structs import replace

from topout.records import (
    CollectiveTime,
    Communication,
    Doubt,
    Estimate,
    RankTime,
    TrainCase,
    TrainData,
    TrainedModel,
    TrainingMemory,
    TrainReport,
    TrainStep,
    TrainWorkload,
)

from ..example_climb import MARKUP, example_machine

__all__ = ["MARKUP", "done_case", "example_train", "failed_train"]
PARAMETERS = 7_602_432


def example_train(name: str = "pycode-7m", **changes: Any) -> TrainReport:
    """One rank, and two that are 1.5 × as fast."""
    two = replace(
        done_case(2),
        speedup=around(1.5),
        parallel_efficiency=0.75,
        backend="gloo",
        weights_agree=True,
        gradient_bytes=4 * PARAMETERS,
        collective_bytes_per_step=4.0 * PARAMETERS,
        communication=Communication(
            unit="rank",
            collectives=[
                CollectiveTime(
                    name="all_reduce",
                    group_size=2,
                    calls=6,
                    bytes=12 * PARAMETERS,
                    sent_bytes=12 * PARAMETERS,
                    total_s=0.3,
                    transfer_s=0.2,
                    waiting_s=0.1,
                )
            ],
        ),
    )
    report = TrainReport(
        topout_version="0.1.0",
        created_at="2026-01-02T03:04:05+00:00",
        elapsed_s=42.0,
        machine=example_machine(),
        model=TrainedModel(
            name=name, architecture="gpt2", parameters=PARAMETERS, weights="trained"
        ),
        data=TrainData(
            description="reviews.jsonl: 900 rows, 2 labels",
            samples=320,
            labels=["bad", "good"],
            padding_share=0.25,
            cut_samples=3,
        ),
        workload=TrainWorkload(
            task="classify",
            sequence_len=128,
            batch_size=8,
            accumulation=1,
            dtype="fp32",
            learning_rate=5e-5,
            weight_decay=0.01,
            seed=0,
            steps=8,
            warmup_steps=2,
            profiled_steps=2,
            threads_per_rank=1,
            device="cpu",
        ),
        cases=[done_case(1), two],
        findings=["On one rank a step takes 100 ms."],
        doubts=[Doubt(about="machine", sentence="It is busy.", remedy="Wait.")],
    )
    return replace(report, **changes)


def failed_train(name: str = "pycode-7m") -> TrainReport:
    """One rank done, two failed with some steps, four skipped."""
    report = example_train(name)
    steps = [[step_of(number, 0.13) for number in range(3)] for _ in range(2)]
    failed = TrainCase(
        ranks=2,
        status="failed",
        reason=f"rank 1 crashed with SIGSEGV in {name}.",
        log="logs/2-ranks/rank-1.log",
        steps=steps,
        loss=[step.loss for step in steps[0]],
    )
    skipped = TrainCase(ranks=4, status="skipped", reason="The case with 2 ranks failed before.")
    return replace(report, cases=[report.cases[0], failed, skipped])


def done_case(ranks: int) -> TrainCase:
    """Steps of 100 ms alone, 133 ms together, of which 20 ms are communication."""
    step_s = 0.1 if ranks == 1 else 0.4 / 3
    exposed_s = None if ranks == 1 else 0.02
    return TrainCase(
        ranks=ranks,
        status="done",
        times=[
            RankTime(
                rank=rank,
                host="here",
                device="cpu",
                step_s=step_s,
                data_s=0.004,
                forward_s=0.03,
                backward_s=0.05 + step_s - 0.1,
                optimizer_s=0.015,
                other_s=0.001,
                exposed_communication_s=exposed_s,
                processor_utilization=0.9,
                memory_before_bytes=300 << 20,
                unprofiled_peak_bytes=480 << 20,
                peak_memory_bytes=500 << 20,
                trace=f"traces/{ranks}/rank-{rank}.pt.trace.json.gz",
            )
            for rank in range(ranks)
        ],
        steps=[[step_of(number, step_s) for number in range(8)] for _ in range(ranks)],
        wall_s=3 * step_s,
        step_s=around(step_s),
        time_per_batch_s=around(step_s),
        samples_per_s=around(8 * ranks / step_s),
        tokens_per_s=around(1024 * ranks / step_s),
        flops_per_sample=6e9,
        flops_per_s=48e9 * ranks / step_s,
        mfu_of_ceiling=0.4,
        loss=[1.4 - 0.1 * number for number in range(8)],
        peak_memory_bytes=ranks * 500 << 20,
        predicted_memory=TrainingMemory(
            recompute="none",
            zero_stage=0,
            weights_bytes=30 << 20,
            gradients_bytes=30 << 20,
            optimizer_bytes=60 << 20,
            activations_bytes=40 << 20,
            errors_bytes=10 << 20,
            total_bytes=170 << 20,
        ),
        parameters=PARAMETERS,
        trace_folder=f"traces/{ranks}-rank{'' if ranks == 1 else 's'}",
    )


def step_of(number: int, total_s: float) -> TrainStep:
    phase = "warmup" if number < 2 else "timed" if number < 5 else "profiled"
    return TrainStep(
        number=number,
        phase=phase,
        total_s=total_s * (50 if number == 0 else 1),
        data_s=0.004,
        forward_s=0.03,
        backward_s=0.05,
        optimizer_s=0.015,
        loss=1.4 - 0.1 * number,
    )


def around(value: float) -> Estimate:
    return Estimate(median=value, low=0.98 * value, high=1.02 * value)
