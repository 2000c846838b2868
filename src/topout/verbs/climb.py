"""`topout climb`: from a request to a finished ladder."""

import shlex
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec

from topout.cache_folder import writable_cache_folder
from topout.cost.predict import Context
from topout.errors import InputError, OutputError, TopoutError
from topout.generation.build import is_decoder, require_cuda
from topout.generation.quality import QualityTest
from topout.generation.subject import (
    Prepared,
    Subject,
    model_summary,
    prepare,
    resolve_subject,
    with_ceilings,
)
from topout.ladder.ceiling_rates import rates_at_ceilings
from topout.ladder.plan import Plan
from topout.ladder.rates import (
    RatesRequest,
    agreeing_rates,
    cached_rates,
    load_or_measure_rates,
)
from topout.ladder.request import ClimbRequest
from topout.ladder.stack import Stack
from topout.ladder.state import ClimbFolder, ClimbState
from topout.ladder.walk import Walk
from topout.machine.kept import kept_doubts
from topout.measure.runner import StoppingRule
from topout.measure.speed_test import LOOKS, SpeedTest
from topout.models.draft import resolve_draft
from topout.models.hub import only_stated_by
from topout.models.known import DEFAULT_MODEL, known_config_json
from topout.models.source import ModelSource
from topout.progress import Announce, Notify, silent, unheard
from topout.records import Ceilings, Climb, Doubt, Rates
from topout.records.record import stamp
from topout.run_folder import Interrupted, RunFolder
from topout.rungs.compile import Compile
from topout.rungs.native_linear import NativeLinearRung
from topout.rungs.registry import find_rung, let_in, own_rungs, select_rungs
from topout.rungs.rung import Rung

SCORED_TOKENS = 128  # of a window, at most: each is a pass of the model
ERROR_OF_A_LADDER = 0.05  # chance that the interval of any of its duels misses
QUICK_LOOKS = LOOKS[:4]


class UnsavedError(OutputError):
    """A climb was finished and could not be written; its record is in `climb`."""

    def __init__(self, error: OutputError, climb: Climb) -> None:
        self.climb = climb
        super().__init__(error.message, error.remedy)


def climb(
    request: ClimbRequest,
    *,
    folder: ClimbFolder | None = None,
    notify: Notify = silent,
    announce: Announce = unheard,
) -> tuple[Climb, ClimbFolder]:
    """Climb the ladder with a model; returns the record and the folder that it lies in.

    `folder` of an earlier climb resumes it; `announce` is told each rung as it ends. Raises a
    TopoutError for bad input before anything is measured, UnsavedError when the result could not
    be written, and Interrupted on Ctrl-C.
    """
    if request.dry_run:
        raise InputError("a dry run climbs nothing.", "Call topout.forecast_climb with it.")
    let_in(request.rungs)
    return _climb(request, folder, notify, announce)


def _climb(
    request: ClimbRequest, folder: ClimbFolder | None, notify: Notify, announce: Announce
) -> tuple[Climb, ClimbFolder]:
    """The same, where rungs of the user's own have been let in."""
    rungs, subject, draft = resolve_climb(request)
    earlier = folder.load() if folder is not None else None
    is_resumed = folder is not None
    folder = folder or ClimbFolder.create("climb", subject.source.name)
    folder.prepare()
    folder.save_request(request)
    state: ClimbState | None = None
    try:
        scored_tokens = min(SCORED_TOKENS, subject.workload.new_tokens)
        prepared = prepare(subject, request.text, scored_tokens, folder)
        plan = _plan(request, prepared, draft, rungs, folder, notify, announce)
        fresh = _begun(request, prepared, draft)
        state = ClimbState(_continued(earlier, fresh) if earlier is not None else fresh, folder)
        with Walk(plan, state) as walk:
            walk.begin()
            context, doubts = calibrate(request, prepared, rungs, folder, notify)
            if earlier is None:
                state.update(ceilings=context.ceilings, doubts=[*doubts, *state.record.doubts])
            walk.climb(context)
    except TopoutError:
        if not is_resumed:  # a folder that the user named is never removed
            folder.discard_if_empty()
        raise
    except KeyboardInterrupt:
        finished = state.record if state is not None else earlier
        raise Interrupted(
            finished if finished is not None and finished.rungs else None,
            folder,
            f"Go on with: {_resume_command(folder.path, own_rungs(request.rungs))}",
        ) from None
    folder.clean()
    if state.write_error is not None:
        raise UnsavedError(state.write_error, state.record)
    return state.record, folder


def resolve_climb(
    request: ClimbRequest,
) -> tuple[list[Rung], Subject, ModelSource | None]:
    """(rungs, subject, draft) of a request; raises a TopoutError for what cannot be climbed."""
    request.check()
    for name in request.rungs or []:
        find_rung(name)  # an unknown one is refused before the model is looked for
    if request.device == "cuda":
        require_cuda()
    subject = resolve_subject(request)
    task = subject.workload.task
    rungs = select_rungs(request.rungs, task)
    for rung in rungs[1:]:
        Stack(task=task).plus(rung)  # what cannot stand is refused before anything is measured
    if not is_decoder(subject.source):
        if request.draft is not None:
            raise InputError(
                f"{subject.source.name} runs in one pass: there is nothing to speculate on.",
                "Leave --draft out for this model.",
            )
        return rungs, subject, None
    draft = resolve_draft(
        request.draft, subject.source, random_weights=request.random_weights, seed=request.seed
    )
    return rungs, subject, draft


def resume(
    path: Path,
    rungs: Sequence[str] | None = None,
    *,
    notify: Notify = silent,
    announce: Announce = unheard,
) -> tuple[Climb, ClimbFolder]:
    """Go on with an interrupted climb in its folder; finished rungs are not measured again.

    `rungs` names all MODULE:CLASS that it has: the folder may be anybody's, and makes no code run.
    Raises as `climb` does, InputError where they are others.
    """
    folder = ClimbFolder(path)
    request = folder.load_request()
    folder.refuse_links()
    recorded, named = own_rungs(request.rungs), own_rungs(rungs)
    go_on = f"Go on with: {_resume_command(path, recorded)}"
    if lacking := [name for name in recorded if name not in named]:
        raise InputError(
            f"the climb in {path} has {', '.join(lacking)}, which is code: that a folder names it "
            "does not make it run.",
            f"If you trust it, name it. {go_on}",
        )
    if foreign := [name for name in named if name not in recorded]:
        raise InputError(f"the climb in {path} has no {', '.join(foreign)}.", go_on)
    let_in(recorded)
    with only_stated_by(str(path)):
        return _climb(request, folder, notify, announce)


def _resume_command(path: Path, own: list[str]) -> str:
    return shlex.join(
        ["topout", "climb", "--resume", str(path), *(["--rungs", ",".join(own)] if own else [])]
    )


def _plan(
    request: ClimbRequest,
    prepared: Prepared,
    draft: ModelSource | None,
    rungs: list[Rung],
    folder: ClimbFolder,
    notify: Notify,
    announce: Announce,
) -> Plan:
    """What is climbed, and how rungs are judged."""
    preparation = prepared.preparation("transformers", draft=draft)
    return Plan(
        preparation=preparation,
        build=preparation.build(),
        texts=prepared.texts,
        workload=prepared.workload,
        rungs=rungs,
        max_loss=request.max_loss,
        quality=_quality_test(request, prepared, folder),
        accept_unproven=request.accept_unproven,
        rule=_stopping_rule(request, len(rungs)),
        rung_timeout_s=request.rung_timeout_s,
        notify=notify,
        announce=announce,
    )


def calibrate(
    request: ClimbRequest,
    prepared: Prepared,
    rungs: list[Rung],
    folder: RunFolder,
    notify: Notify,
) -> tuple[Context, list[Doubt]]:
    """What predictions are made from, and what is doubted of it.

    It is measured once per machine. With `quick` rates that are not on file are not measured: those
    of the ceilings stand for them.
    """
    source, workload = prepared.source, prepared.workload
    setting = with_ceilings(prepared, notify)
    machine, ceilings = setting.machine, setting.ceilings
    # Overheads are measured of generating models; those of one pass are taken as theirs.
    config_json = source.config_json if is_decoder(source) else known_config_json(DEFAULT_MODEL)
    wanted = RatesRequest(
        architecture=config_json["model_type"],
        config_json=config_json,
        device=workload.device,
        threads=workload.threads,
        with_compile=any(Compile.name in (rung.name, *rung.requires) for rung in rungs),
        with_native=any(isinstance(rung, NativeLinearRung) for rung in rungs),
    )
    kept = cached_rates(machine, ceilings, wanted)
    if not request.quick:
        settings = [setting]

        def ceilings_again() -> Ceilings:
            settings.append(with_ceilings(prepared, notify, instead_of=ceilings))
            return settings[-1].ceilings

        def measure(against: Ceilings) -> Rates:
            return load_or_measure_rates(
                machine,
                against,
                wanted,
                folder.logs / "rates.log",
                timeout_s=request.rung_timeout_s,
                tell=lambda what: notify(f"measure what this machine reaches: {what}", 0.0),
            )

        ceilings, kept = agreeing_rates(ceilings, kept, measure, ceilings_again)
        setting = settings[-1]
    rates = kept or rates_at_ceilings(ceilings, wanted)
    doubts = rates.doubts if kept is None else kept_doubts(kept)
    context = Context(workload=workload, ceilings=ceilings, rates=rates)
    return context, [*setting.doubts, *doubts]


def _quality_test(request: ClimbRequest, setting: Prepared, folder: ClimbFolder) -> QualityTest:
    """What the baseline loses depends on its weights, its precision and what computes it."""
    versions = [f"{name} {version(name)}" for name in ("torch", "transformers")]
    workload = setting.workload
    return QualityTest(
        setting.texts,
        "\0".join([setting.source.fingerprint, workload.device, workload.dtype, *versions]),
        writable_cache_folder("losses"),
        folder.scratch,
        request.time_per_check_s,
    )


def _begun(request: ClimbRequest, prepared: Prepared, draft: ModelSource | None) -> Climb:
    return Climb(
        **stamp(),
        finished=False,
        elapsed_s=0.0,
        machine=prepared.machine,
        model=model_summary(prepared.source, draft),
        workload=prepared.workload,
        max_loss=request.max_loss,
    )


def _stopping_rule(request: ClimbRequest, rungs: int) -> StoppingRule:
    """The chance that any rung of the ladder is misjudged is shared by all that are judged."""
    error = ERROR_OF_A_LADDER / max(1, rungs - 1)  # the baseline has no rival
    looks = QUICK_LOOKS if request.quick else LOOKS
    return StoppingRule(
        test=SpeedTest(error=error, looks=looks),
        time_budget_s=request.time_per_rung_s / (2 if request.quick else 1),
    )


def _continued(earlier: Climb, fresh: Climb) -> Climb:
    """The earlier record to go on with; raises InputError when it is of something else."""
    for what, before, now in (
        ("machine", earlier.machine.host_key, fresh.machine.host_key),
        ("model", earlier.model.fingerprint, fresh.model.fingerprint),
        ("workload", earlier.workload, fresh.workload),
    ):
        if before != now:
            raise InputError(
                f"the interrupted climb was of another {what}; its rungs cannot be compared.",
                "Climb anew.",
            )
    return msgspec.structs.replace(earlier, finished=False)
