"""From what a user names to a model, a stack that applies to it, and the doubts about them."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from topout.cache_folder import writable_cache_folder
from topout.errors import InputError, RecordError, TopoutError, UnsupportedError
from topout.generation.build import TORCH_DTYPES, Build, is_decoder, require_cuda
from topout.generation.request import allowed_threads, check_memory
from topout.ladder.stack import Stack, label_of
from topout.ladder.state import ClimbFolder
from topout.ladder.walk import reason_to_skip
from topout.machine.describe import describe
from topout.models.draft import resolve_draft
from topout.models.hub import only_stated_by
from topout.models.pass_model import resolve_pass
from topout.models.precision import precision_of, stand_ins
from topout.models.source import ModelSource, PassSource, as_path, resolve_model
from topout.records import Climb, Doubt, Dtype, Machine, Task, WorkloadSummary
from topout.run_folder import RUN_FILE
from topout.rungs.registry import BASELINE, let_in, own_rungs, rung_names
from topout.version import __version__
from topout.winner.request import LoadRequest
from topout.winner.saved import SAVED_FILE, read_saved, scheme_name

DEFAULT_STACK = "static_cache"


@dataclass(frozen=True)
class Choice:
    """A stack and all that its session is built from."""

    stack: Stack
    build: Build
    threads: int | None  # None: as many as PyTorch takes by itself
    doubts: list[Doubt] = field(default_factory=list)


def choose(request: LoadRequest, task: Task = "generate") -> Choice:
    """The stack that a request names, of a climb or over a model of a task.

    Raises UnsupportedError for a climb of the other task and where the stack does not apply;
    RecordError for a damaged record, InputError where the model is not the one that was climbed;
    else as `resolve_model` and `Stack.of` do.
    """
    folder = as_path(request.model)
    if (folder / RUN_FILE).is_file():
        return _of_climb(request, ClimbFolder(folder), task)
    for name, value in (("exact", request.exact), ("moved-to", request.moved_to)):
        if value:
            raise InputError(
                f"--{name} is of a climb, and {request.model!r} is no folder of one.",
                f"It would hold a {RUN_FILE}.",
            )
    if (folder / SAVED_FILE).is_file():
        return _of_saved(request, folder)
    return _of_model(request) if task == "generate" else _of_pass(request)


def parse_stack(text: str) -> list[str]:
    """The rungs of a label, bottom first: "static_cache + compile"; the baseline has none."""
    names = [name.strip() for name in text.split("+")]
    if not all(names):
        raise InputError(f"{text!r} is no stack.", "Name rungs with + between: static_cache.")
    return [name for name in names if name != BASELINE]


def named_stack(text: str, task: Task = "generate") -> Stack:
    """The stack of a label that the user gave, whose own rungs are imported."""
    names = parse_stack(text)
    let_in(names)
    return Stack.of(names, task)


# --- of a model ---------------------------------------------------------------------------------


def _of_model(request: LoadRequest) -> Choice:
    stack = named_stack(request.stack or DEFAULT_STACK)
    source = resolve_model(request.model, random_weights=request.random_weights, seed=request.seed)
    draft = _draft_of(stack, request.draft, source, request.random_weights, request.seed)
    device, machine = request.device or "cpu", describe()
    dtype = precision_of(
        source.name, source.published_dtype, request.dtype, stand_ins(machine, device)
    ).dtype
    build = _build(request, source, draft, device, cast(Dtype, dtype))
    return _applying(stack, build, _threads(request, machine, None), [])


def _of_pass(request: LoadRequest) -> Choice:
    stack = named_stack(request.stack or BASELINE, "forward")
    source = resolve_pass(request.model, random_weights=request.random_weights, seed=request.seed)
    device, machine = request.device or "cpu", describe()
    dtype = precision_of(
        source.name, source.published_dtype, request.dtype, stand_ins(machine, device)
    ).dtype
    build = _pass_build(source, device, cast(Dtype, dtype))
    check_memory(source.config, build.workload, machine.memory_bytes)
    return _applying(stack, build, _threads(request, machine, None), [])


# --- of a climb ---------------------------------------------------------------------------------


def _of_climb(request: LoadRequest, folder: ClimbFolder, task: Task) -> Choice:
    climb, asked = folder.load(), folder.load_request()
    assert climb is not None
    workload = climb.workload
    if workload.task != task:
        raise _other_task(folder.path, workload.task)
    named = request.moved_to or asked.model
    random, seed = asked.random_weights, asked.seed
    source: ModelSource | PassSource
    only_its_own = nullcontext() if request.moved_to else only_stated_by(str(folder.path))
    try:
        with only_its_own:
            if task == "generate":
                source = resolve_model(named, random_weights=random, seed=seed)
            else:
                size = workload.image_size
                source = resolve_pass(named, random_weights=random, seed=seed, image_size=size)
    except TopoutError as error:
        raise InputError(
            f"the model of the climb in {folder.path} is not found: {error.message}",
            "Name the place where it lies by now with --moved-to.",
        ) from None
    if climb.model.fingerprint not in ("", source.fingerprint):
        raise InputError(
            f"{named} is not the model of the climb in {folder.path}: its weights or its config "
            "have changed.",
            "Climb it anew; or load it by a stack's name, which nothing was proven of.",
        )
    stack = _climbed_stack(request, climb, folder.path)
    device, dtype = request.device or workload.device, request.dtype or workload.dtype
    if is_decoder(source):
        with nullcontext() if request.draft else only_stated_by(str(folder.path)):
            draft = _draft_of(stack, request.draft or asked.draft, source, random, seed)
        build = _build(request, source, draft, device, dtype)
    else:
        build = _pass_build(source, device, dtype)
    machine = describe()
    return _applying(
        stack,
        build,
        _threads(request, machine, workload.threads),
        _climb_doubts(climb, machine, source, device),
    )


def _other_task(path: Path, task: Task) -> UnsupportedError:
    """Of a climb that was of what a verb does not load."""
    if task == "forward":
        return UnsupportedError(
            f"the climb in {path} is of a model that runs in one pass and generates nothing.",
            "Load it with topout.load_pass.",
        )
    return UnsupportedError(
        f"the climb in {path} is of a model that generates.", "Load it with topout.load."
    )


def _climbed_stack(request: LoadRequest, climb: Climb, path: Path) -> Stack:
    """The named stack, or the best of the record."""
    label = climb.best_exact if request.exact else climb.best
    if label is None:
        label = label_of(_kept_so_far(climb, exact=request.exact))
    version, task = climb.topout_version, climb.workload.task
    return _recorded_stack(label, request.stack, path, version, task)


def _recorded_stack(
    label: str, named: str | None, path: Path, version: str, task: Task = "generate"
) -> Stack:
    """The stack that is named, else that of a record; code that only a record names is not run."""
    if named is not None:
        return named_stack(named, task)
    names = parse_stack(label)
    own = own_rungs(names)
    if own:
        raise InputError(
            f"the stack of {path} holds {own[0]}, which is code of your own: a record alone does "
            "not make it run.",
            f"Name the stack to have it imported: --stack {label!r}.",
        )
    unknown = [name for name in names if name not in rung_names()]
    if unknown:
        raise InputError(
            f"the stack of {path} holds {unknown[0]}, which this topout does not know: it was "
            f"written by topout {version}.",
            "Climb anew, or name another --stack.",
        )
    return Stack.of(names, task)


def _kept_so_far(climb: Climb, *, exact: bool) -> list[str]:
    """The last stack that an interrupted climb kept."""
    kept = [rung.stack for rung in climb.rungs if rung.status == "kept"]
    if exact:
        classes = {rung.name: rung.output_class for rung in climb.rungs}
        kept = [names for names in kept if all(classes.get(name) == "exact" for name in names)]
    return [name for name in kept[-1] if name != BASELINE] if kept else []


def _climb_doubts(
    climb: Climb, machine: Machine, source: ModelSource | PassSource, device: str
) -> list[Doubt]:
    """Why the figures of a climb may not be those of the model that is loaded from it."""
    doubts = []
    if not climb.finished:
        doubts.append(
            Doubt(
                about="climb",
                sentence="The climb was interrupted: this is the best of what it had finished.",
                remedy="Go on with: topout climb resume FOLDER.",
            )
        )
    if climb.machine.host_key != machine.host_key:
        doubts.append(
            Doubt(
                about="machine",
                sentence=f"It was climbed on another machine ({climb.machine.cpu_model}): what "
                "paid there may not pay here.",
                remedy="Climb here.",
            )
        )
    if climb.topout_version != __version__:
        doubts.append(
            Doubt(
                about="version",
                sentence=f"It was climbed with topout {climb.topout_version}, and this is "
                f"{__version__}: rungs may have changed since.",
                remedy="Climb with this one.",
            )
        )
    if device != climb.workload.device:
        doubts.append(
            Doubt(
                about="device",
                sentence=f"It was climbed on {climb.workload.device}, and runs on {device}.",
                remedy=f"Climb with --device {device}.",
            )
        )
    if not climb.model.fingerprint:
        doubts.append(
            Doubt(
                about="model",
                sentence=f"The record does not say which weights were climbed, so {source.name} "
                "may be another model.",
                remedy="Climb it anew.",
            )
        )
    return doubts


# --- of a saved one ------------------------------------------------------------------------------


def _of_saved(request: LoadRequest, folder: Path) -> Choice:
    """The stack that was saved; another one where all weights are there."""
    saved, source, draft = read_saved(folder)
    if request.stack not in (None, saved.stack) and saved.quantized is not None:
        raise InputError(
            f"{folder} holds the weights as {saved.stack} has them, and no others.",
            "Load it without a stack, or give the original model.",
        )
    stack = _recorded_stack(saved.stack, request.stack, folder, saved.topout_version)
    if saved.quantized is not None and scheme_name(stack) != saved.quantized:
        raise RecordError(
            f"{folder / SAVED_FILE} says {saved.quantized}, and {stack.label} multiplies no such "
            "weights.",
            "Save the model again from the original.",
        )
    if request.draft is not None:
        draft = resolve_draft(request.draft, source)
    dtype = request.dtype or saved.dtype
    build = _build(request, source, draft, request.device or "cpu", dtype)
    if saved.quantized is not None:
        build.quantized_folder = folder
    return _applying(stack, build, _threads(request, describe(), None), [])


# --- of a model in memory -------------------------------------------------------------------------


def choose_in_memory(
    request: LoadRequest, source: ModelSource, device: str, dtype: Dtype
) -> Choice:
    """A named stack over a model that is in memory; raises as `choose` does."""
    stack = named_stack(request.stack or DEFAULT_STACK)
    if not stack.rungs:
        raise InputError(f"{BASELINE} is the model itself.", "Name a stack with rungs.")
    draft = _draft_of(stack, request.draft, source, request.random_weights, request.seed)
    build = _build(request, source, draft, device, dtype)
    return _applying(stack, build, _threads(request, describe(), None), [])


# --- of all -------------------------------------------------------------------------------------


def _draft_of(
    stack: Stack, name: str | None, source: ModelSource, random_weights: bool, seed: int
) -> ModelSource | None:
    """The draft, where the stack speculates with one."""
    if not any(rung.name == "speculate_draft" for rung in stack.rungs):
        return None
    return resolve_draft(name, source, random_weights=random_weights, seed=seed)


def _build(
    request: LoadRequest, source: ModelSource, draft: ModelSource | None, device: str, dtype: Dtype
) -> Build:
    """A build for texts of any length up to the context of the model, and of its draft."""
    known = min(each.config.context_len for each in (source, draft) if each is not None)
    context_len = request.context_len or known
    if context_len > known:
        raise InputError(
            f"--context-len {context_len} is more than the {known} tokens of {source.name}.",
            f"Give at most {known}.",
        )
    workload = WorkloadSummary(
        task="generate",
        prompt_len=1,
        new_tokens=1,
        batch_size=1,
        threads=request.threads or 1,
        device=device,
        dtype=dtype,
        temperature=0.0,
        seed=request.seed,
    )
    if device == "cpu":
        check_memory(source.config, workload, describe().memory_bytes)
    return Build(
        source=source,
        workload=workload,
        draft=draft,
        quantized_folder=writable_cache_folder("quantized"),
        dtype=TORCH_DTYPES[dtype],
        context_len=context_len,
    )


def _pass_build(source: PassSource, device: str, dtype: Dtype) -> Build:
    workload = WorkloadSummary(
        task="forward",
        prompt_len=0,
        new_tokens=0,
        image_size=source.config.image_size or None,
        batch_size=1,
        threads=1,
        device=device,
        dtype=dtype,
        temperature=0.0,
    )
    folder = writable_cache_folder("quantized")
    return Build(source, workload, draft=None, quantized_folder=folder, dtype=TORCH_DTYPES[dtype])


def _threads(request: LoadRequest, machine: Machine, climbed: int | None) -> int | None:
    """As asked, else as climbed, as far as there are CPUs."""
    if request.threads is not None:
        return allowed_threads(request.threads, machine.usable_cpus)
    return min(climbed, machine.usable_cpus) if climbed is not None else None


def _applying(stack: Stack, build: Build, threads: int | None, doubts: list[Doubt]) -> Choice:
    """The choice, where each rung applies here; raises UnsupportedError where one does not."""
    if build.device.type == "cuda":
        require_cuda()
    reason = reason_to_skip(stack, build, [])
    if reason is not None:
        raise UnsupportedError(f"{stack.label} does not apply here: {reason}", "Choose another.")
    if build.source.origin == "random":
        gives = "text is" if is_decoder(build.source) else "outputs are"
        random = Doubt(
            about="weights",
            sentence=f"{build.source.name} has random weights: the speed is real, the {gives} "
            "meaningless.",
            remedy="Give a model with its weights.",
        )
        doubts = [*doubts, random]
    return Choice(stack, build, threads, doubts)
