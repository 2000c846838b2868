"""From a request to where measuring begins: the same steps for every verb that generates."""

import dataclasses

import msgspec

from topout.cache_folder import writable_cache_folder
from topout.errors import InputError, TopoutError
from topout.generation.build import ModelChoice, Preparation, is_decoder
from topout.generation.pass_inputs import count_pass, cut_inputs
from topout.generation.request import Backend, GenerationRequest, check_memory
from topout.generation.texts import Texts, cut_texts
from topout.machine.ceilings import load_or_measure_ceilings
from topout.machine.describe import describe
from topout.machine.kept import kept_doubts
from topout.measure.stats import load_doubts
from topout.models.architectures.read import find_config
from topout.models.pass_config import PassConfig, parameters_of
from topout.models.pass_model import resolve_pass
from topout.models.pass_reading import runs_in_one_pass
from topout.models.source import ModelSource, PassSource, resolve_model
from topout.progress import Notify
from topout.records import Ceilings, Doubt, Machine, ModelSummary, WorkloadSummary
from topout.roofline import stand_in_doubts
from topout.run_folder import RunFolder


class Subject(msgspec.Struct, frozen=True):
    """A model, the machine it runs on, and what is run."""

    source: ModelSource | PassSource
    machine: Machine
    workload: WorkloadSummary


class Prepared(Subject, frozen=True):
    """A subject with its texts cut: it can run."""

    texts: Texts
    doubts: list[Doubt]

    def preparation(self, backend: Backend, *, draft: ModelSource | None = None) -> Preparation:
        """What a worker is asked to build."""
        return Preparation(
            model=ModelChoice.of(self.source),
            draft=ModelChoice.of(draft) if draft is not None else None,
            workload=self.workload,
            texts=str(self.texts.path.absolute()),
            quantized_folder=str(writable_cache_folder("quantized")),
            backend=backend,
        )


class Setting(Prepared, frozen=True):
    """What can run, on a machine whose ceilings are known."""

    ceilings: Ceilings


def resolve_subject(request: GenerationRequest) -> Subject:
    """Everything that can be wrong with a checked request shows here; raises a TopoutError."""
    source = _resolve(request)
    machine = describe()
    workload = request.workload(source, machine)
    if request.loads_weights and workload.device == "cpu":
        check_memory(source.config, workload, machine.memory_bytes)
    return Subject(source, machine, workload)


def _resolve(request: GenerationRequest) -> ModelSource | PassSource:
    """By the architecture that the config states: what generates, or what runs in one pass."""
    model, random, seed = request.model, request.random_weights, request.seed
    try:
        runs_once = runs_in_one_pass(find_config(model).config_json)
    except TopoutError:
        runs_once = False  # what is wrong with it is said where the whole model is resolved
    if not runs_once:
        if request.image_size is not None:
            raise InputError(f"{model} takes no images.", "Leave --image-size out for this model.")
        return resolve_model(model, random_weights=random, seed=seed)
    source = resolve_pass(model, random_weights=random, seed=seed, image_size=request.image_size)
    if source.config.shape is not None:
        return source
    counted = count_pass(source, request.prompt_len_for(source.config))
    config = msgspec.structs.replace(source.config, counted_flops=counted)
    return dataclasses.replace(source, config=config)


def prepare(
    subject: Subject, text: list[str] | None, scored_tokens: int, folder: RunFolder
) -> Prepared:
    """Cut the text into the folder's scratch files; raises InputError when it is too short."""
    path = folder.scratch / "texts.safetensors"
    source, workload = subject.source, subject.workload
    texts = (
        cut_texts(source, workload, text, scored_tokens, path)
        if is_decoder(source)
        else cut_inputs(source, workload, text, path)
    )
    doubts = load_doubts()
    if subject.source.tokenizer_path is not None:
        doubts += texts.doubts()
    return Prepared(
        source=subject.source,
        machine=subject.machine,
        workload=msgspec.structs.replace(subject.workload, prompt_source=texts.description),
        texts=texts,
        doubts=doubts,
    )


def with_ceilings(
    prepared: Prepared, notify: Notify, *, instead_of: Ceilings | None = None
) -> Setting:
    """Load or measure the ceilings, with what there is to doubt of them.

    They are measured now, with as much effort, to stand `instead_of` some that were exceeded.
    """
    workload = prepared.workload
    ceilings = load_or_measure_ceilings(
        prepared.machine,
        refresh=instead_of is not None,
        quick=instead_of is None or instead_of.quick,
        device=workload.device,
        progress=lambda what, _: notify(f"measure the ceilings: {what}", 0.0),
    )
    return Setting(
        source=prepared.source,
        machine=prepared.machine,
        workload=workload,
        texts=prepared.texts,
        ceilings=ceilings,
        doubts=[
            *prepared.doubts,
            *stand_in_doubts(ceilings, workload.threads),
            *kept_doubts(ceilings),
        ],
    )


def set_up(
    subject: Subject, text: list[str] | None, scored_tokens: int, folder: RunFolder, notify: Notify
) -> Setting:
    """Cut the text, and load or measure the ceilings; raises InputError when it is too short."""
    return with_ceilings(prepare(subject, text, scored_tokens, folder), notify)


def model_summary(
    source: ModelSource | PassSource, draft: ModelSource | None = None
) -> ModelSummary:
    """What a record says of a model, and of the draft beside it."""
    config = source.config
    return ModelSummary(
        name=source.name,
        architecture=config.architecture,
        class_name=config.class_name if isinstance(config, PassConfig) else None,
        parameters=parameters_of(config),
        weights=source.origin,
        weights_dtype=source.weights_dtype,
        layers=config.layers,
        width=config.width,
        heads=config.heads,
        kv_heads=config.kv_heads,
        vocab_size=config.vocab_size,
        context_len=config.context_len,
        draft=draft.name if draft is not None else None,
        fingerprint=source.fingerprint,
    )
