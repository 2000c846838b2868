"""What `topout train` is asked for: whatever is wrong with it is found before a rank starts."""

from typing import cast

import msgspec

from topout.errors import InputError, UnsupportedError
from topout.machine.describe import describe
from topout.models.encoder_config import EncoderConfig
from topout.models.precision import Precision, precision_of, stand_ins
from topout.models.source import AnySource, resolve_source
from topout.models.trainable import padding_id
from topout.records import (
    Doubt,
    Machine,
    TrainData,
    TrainDtype,
    TrainedModel,
    TrainReport,
    TrainTask,
    TrainWorkload,
)
from topout.records.record import stamp
from topout.train.data import Samples, prepare_data
from topout.train.plan import DEFAULT_SEQUENCE_LEN, TrainRequest

_FEW_STEPS = 3
_MUCH_PADDING = 0.5


class TrainSubject(msgspec.Struct, frozen=True):
    """What is trained, checked and resolved, before any rank starts."""

    request: TrainRequest
    source: AnySource
    machine: Machine
    precision: Precision  # of the computation; weights and their updates are fp32
    task: TrainTask
    sequence_len: int
    threads: int
    samples: Samples
    builder: str

    @property
    def dtype(self) -> TrainDtype:
        """Of the computation."""
        return cast(TrainDtype, self.precision.dtype)


def resolve_subject(request: TrainRequest, builder: str) -> TrainSubject:
    """The model, its data and the machine; raises a TopoutError for what cannot be trained."""
    request.check()
    source = resolve_source(request.model, random_weights=request.random_weights, seed=request.seed)
    machine = describe()
    task = _task_of(request, source)
    sequence_len = _sequence_len(request, source)
    usable = stand_ins(machine, request.device)
    precision = precision_of(source.name, source.published_dtype, request.dtype, usable)
    _check_devices(request)
    return TrainSubject(
        request=request,
        source=source,
        machine=machine,
        precision=precision,
        task=task,
        sequence_len=sequence_len,
        threads=_threads(request, machine.usable_cpus),
        samples=prepare_data(request, source, task, sequence_len, padding_id(source)),
        builder=builder,
    )


def _task_of(request: TrainRequest, source: AnySource) -> TrainTask:
    """The task asked for; by default what the model was made for."""
    is_encoder = isinstance(source.config, EncoderConfig)
    if request.task == "lm" and is_encoder:
        raise UnsupportedError(
            f"{source.name} is an encoder, and only decoders are trained to write.",
            "Give --task classify.",
        )
    return request.task or ("classify" if is_encoder else "lm")


def _sequence_len(request: TrainRequest, source: AnySource) -> int:
    context_len = source.config.context_len
    length = request.sequence_len or min(DEFAULT_SEQUENCE_LEN, context_len)
    if length > context_len:
        raise InputError(
            f"--sequence-len {length} is more than the {context_len} positions of {source.name}.",
            f"Give at most {context_len}.",
        )
    return length


def _threads(request: TrainRequest, usable_cpus: int) -> int:
    """Threads of each rank, the same in all cases, so that n ranks have n times the processors."""
    most = max(request.ranks)
    if request.threads is None:
        return max(1, usable_cpus // most)
    if request.device == "cpu" and request.threads > usable_cpus:
        raise InputError(
            f"--threads {request.threads} is more than the {usable_cpus} CPUs that may be used "
            "here.",
            f"Give at most {usable_cpus}.",
        )
    return request.threads


def _check_devices(request: TrainRequest) -> None:
    if request.device == "cpu":
        return
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus < max(request.ranks):
        raise UnsupportedError(
            f"--device cuda needs a GPU for each of {max(request.ranks)} ranks, and PyTorch sees "
            f"{gpus}.",
            "Give fewer ranks or --device cpu.",
        )


def empty_report(subject: TrainSubject, doubts: list[Doubt]) -> TrainReport:
    """The report of a run of which no case has ended yet; `doubts` are those of the machine."""
    request, source, samples = subject.request, subject.source, subject.samples
    return TrainReport(
        **stamp(),
        elapsed_s=0.0,
        machine=subject.machine,
        model=TrainedModel(
            name=source.name,
            architecture=str(source.config_json.get("model_type", "")),
            weights=source.origin,
            fingerprint=source.fingerprint,
        ),
        data=TrainData(
            description=samples.description,
            samples=len(samples.lengths),
            labels=samples.label_names,
            padding_share=samples.padding_share,
            cut_samples=samples.cut_samples,
            skipped_rows=list(samples.skipped_rows),
        ),
        workload=TrainWorkload(
            task=subject.task,
            sequence_len=subject.sequence_len,
            batch_size=request.batch_size,
            accumulation=request.accumulation,
            dtype=subject.dtype,
            dtype_origin=subject.precision.origin,
            learning_rate=request.learning_rate,
            weight_decay=request.weight_decay,
            seed=request.seed,
            steps=request.step_count,
            warmup_steps=request.warmup_count,
            profiled_steps=request.profiled_count,
            threads_per_rank=subject.threads,
            device=request.device,
        ),
        doubts=[*doubts, *_plan_doubts(subject)],
    )


def _plan_doubts(subject: TrainSubject) -> list[Doubt]:
    """Doubts that the request itself raises."""
    request, doubts = subject.request, []
    if request.timed_count < _FEW_STEPS:
        doubts.append(
            Doubt(
                about="time per step",
                sentence=f"Only {request.timed_count} step(s) stand behind it.",
                remedy="Give more --steps.",
            )
        )
    asked = subject.threads * max(request.ranks)
    usable = subject.machine.usable_cpus
    if request.device == "cpu" and asked > usable:
        doubts.append(
            Doubt(
                about="speedup",
                sentence=f"{asked} threads of {max(request.ranks)} ranks share {usable} CPUs.",
                remedy="Give fewer --ranks or --threads.",
            )
        )
    if subject.samples.padding_share > _MUCH_PADDING:
        doubts.append(
            Doubt(
                about="throughput",
                sentence=(
                    f"{subject.samples.padding_share:.0%} of the positions are padding, which is "
                    "computed and teaches nothing."
                ),
                remedy="Give a smaller --sequence-len.",
            )
        )
    return doubts
