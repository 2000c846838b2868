"""Which stack a climb's folder or a name stands for, and what is refused."""

import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.models.tiny import GPT2, write_model
from tests.winner.climb_folders import BEST, BEST_EXACT, climb_folder, climb_of
from topout.errors import (
    InputError,
    RecordError,
    TopoutError,
    UnknownNameError,
    UnsupportedError,
)
from topout.ladder.request import ClimbRequest
from topout.ladder.state import ClimbFolder
from topout.machine.describe import describe
from topout.winner.choice import DEFAULT_STACK, Choice, choose, parse_stack
from topout.winner.request import LoadRequest

OWN = "tests.rungs.faulty_rungs:Slow"
NEVER = "no_such_module_is_imported:Rung"


def chosen(model: Any, **options: Any) -> Choice:
    return choose(LoadRequest(model=model, **options))


# --- of a climb ---------------------------------------------------------------------------------


def test_the_best_stack_of_a_climb_or_the_best_exact_one(tmp_path: Path) -> None:
    folder = climb_folder(tmp_path / "climb")
    choice = chosen(folder)
    assert choice.stack.label == BEST and choice.stack.output_class == "near"
    assert choice.build.source.name == "pycode-7m" and choice.build.context_len == 512
    assert choice.doubts == []
    exact = chosen(str(folder), exact=True)
    assert exact.stack.label == BEST_EXACT and exact.stack.output_class == "exact"
    assert chosen(folder, stack="static_cache").stack.label == "static_cache"


def test_a_climb_without_a_winner_gives_the_baseline(tmp_path: Path) -> None:
    folder = climb_folder(tmp_path / "climb", best="transformers_eager")
    assert chosen(folder).stack.label == "transformers_eager"


def test_threads_and_device_are_as_climbed_as_far_as_they_are_here(tmp_path: Path) -> None:
    climb = climb_of()
    workload = msgspec.structs.replace(climb.workload, threads=1, dtype="bf16")
    choice = chosen(climb_folder(tmp_path / "one", workload=workload))
    assert choice.threads == 1 and choice.build.workload.dtype == "bf16"
    many = msgspec.structs.replace(climb.workload, threads=100_000)
    usable = describe().usable_cpus
    assert chosen(climb_folder(tmp_path / "many", workload=many)).threads == usable
    assert chosen(tmp_path / "one", threads=1, dtype="fp32").build.workload.dtype == "fp32"
    with pytest.raises(InputError, match="more than the"):
        chosen(tmp_path / "one", threads=100_000)


@pytest.mark.parametrize(
    ("changes", "about"),
    [
        ({"topout_version": "0.0.1"}, "version"),
        ({"finished": False}, "climb"),
        ({"machine": msgspec.structs.replace(describe(), host_key="another")}, "machine"),
    ],
)
def test_what_a_climb_may_not_say_of_this_place_is_a_doubt(
    changes: dict[str, Any], about: str, tmp_path: Path
) -> None:
    from topout.verbs.load import LoadingDoubt, load

    folder = climb_folder(tmp_path / "climb", **changes)
    assert [doubt.about for doubt in chosen(folder, exact=True).doubts] == [about]
    with pytest.warns(LoadingDoubt):
        load(folder, exact=True).close()


def test_an_interrupted_climb_gives_the_best_of_what_it_had_finished(tmp_path: Path) -> None:
    unfinished: dict[str, Any] = {"finished": False, "best": None, "best_exact": None}
    baseline, kept, *_ = climb_of().rungs
    assert kept.status == "kept"
    rungs = [
        baseline,
        msgspec.structs.replace(kept, name="static_cache", on=[]),
        msgspec.structs.replace(kept, name="bf16", on=["static_cache"], output_class="near"),
        msgspec.structs.replace(kept, name="compile", on=["static_cache"], status="rejected"),
    ]
    folder = climb_folder(tmp_path / "climb", rungs=rungs, **unfinished)
    assert chosen(folder).stack.names == ["static_cache", "bf16"]
    assert chosen(folder, exact=True).stack.names == ["static_cache"]
    nothing = climb_folder(tmp_path / "none", rungs=[], **unfinished)
    assert chosen(nothing).stack.label == "transformers_eager"


def test_a_model_that_moved_is_named_anew(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", GPT2)
    folder = climb_folder(tmp_path / "climb", str(model), best="static_cache")
    model.rename(tmp_path / "moved")
    with pytest.raises(InputError, match=r"is not found: no such folder.* with --moved-to"):
        chosen(folder)
    choice = chosen(folder, moved_to=tmp_path / "moved")
    assert choice.build.source.folder == tmp_path / "moved" and choice.doubts == []


def test_a_model_whose_weights_changed_is_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", GPT2)
    folder = climb_folder(tmp_path / "climb", str(model), best="static_cache")
    chosen(folder)
    write_model(model, GPT2, seed=1)
    with pytest.raises(InputError, match=r"is not the model of the climb .* have changed"):
        chosen(folder)
    unnamed = climb_folder(tmp_path / "old", str(model), best="static_cache")
    climb = climb_of(str(model), best="static_cache")
    summary = msgspec.structs.replace(climb.model, fingerprint="")
    ClimbFolder(unnamed).save(msgspec.structs.replace(climb, model=summary))
    assert [doubt.about for doubt in chosen(unnamed).doubts] == ["model"]


def test_code_that_only_a_record_names_is_not_imported(tmp_path: Path) -> None:
    """Naming the stack imports it; and the stack without it needs none."""
    label = f"static_cache + {NEVER}"
    folder = climb_folder(tmp_path / "climb", best=label)
    with pytest.raises(
        InputError, match=r"a record alone does not make it run.*--stack 'static_ca"
    ):
        chosen(folder)
    assert "no_such_module_is_imported" not in sys.modules
    with pytest.raises(InputError, match="cannot import the rung 'no_such_module_is_imported:Rung"):
        chosen(folder, stack=label)
    chosen(folder, exact=True)


def test_a_rung_of_the_users_own_runs_where_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "my_winner_rung.py").write_text(
        "from topout import Rung\n\n\nclass Mine(Rung):\n    change = 'nothing'\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        choice = chosen("bundled", stack="static_cache + my_winner_rung:Mine")
    finally:
        sys.path.remove(str(tmp_path))
    assert choice.stack.names == ["static_cache", "my_winner_rung:Mine"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind": "climb"}', '{"schema_version": 99}'])
def test_a_damaged_record_is_refused(text: str, tmp_path: Path) -> None:
    folder = climb_folder(tmp_path / "climb")
    (folder / "run.json").write_text(text)
    with pytest.raises(RecordError, match=r"run\.json"):
        chosen(folder)


def test_a_damaged_request_is_refused(tmp_path: Path) -> None:
    folder = climb_folder(tmp_path / "climb")
    (folder / "request.json").write_text("{")
    with pytest.raises(TopoutError, match=r"request\.json is not valid JSON"):
        chosen(folder)
    (folder / "request.json").unlink()
    with pytest.raises(InputError, match=r"is no folder of a climb.*request\.json"):
        chosen(folder)


def test_a_best_stack_with_a_rung_that_is_not_known_any_more(tmp_path: Path) -> None:
    folder = climb_folder(tmp_path / "climb", best="static_cache + fold_norms")
    with pytest.raises(InputError, match="holds fold_norms, which this topout does not know"):
        chosen(folder)


def test_the_draft_of_a_climb_comes_with_its_stack(tmp_path: Path) -> None:
    folder = climb_folder(tmp_path / "climb", best="static_cache + speculate_draft")
    choice = chosen(folder)
    assert choice.build.draft is not None and choice.build.draft.name == "pycode-1m"
    assert chosen(folder, stack="static_cache").build.draft is None  # it would be loaded for none
    model = shutil.copytree(choice.build.source.folder or "", tmp_path / "copy")
    alone = climb_folder(tmp_path / "alone", str(model), best="static_cache + speculate_draft")
    with pytest.raises(UnsupportedError, match="does not apply here: No draft model"):
        chosen(alone)
    ClimbFolder(alone).save_request(ClimbRequest(model=str(model), draft="pycode-1m"))
    assert chosen(alone).build.draft is not None


# --- of a model ---------------------------------------------------------------------------------


def test_a_stack_by_name() -> None:
    assert chosen("bundled").stack.label == DEFAULT_STACK
    assert chosen("bundled", stack="static_cache+bf16").stack.names == ["static_cache", "bf16"]
    baseline = chosen("bundled", stack="transformers_eager")
    assert baseline.stack.rungs == () and baseline.threads is None


@pytest.mark.parametrize("text", ["", " + ", "static_cache +", "+static_cache"])
def test_what_is_no_stack_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no stack"):
        parse_stack(text)


@pytest.mark.parametrize(
    ("stack", "error", "message"),
    [
        ("static_cach", UnknownNameError, "unknown rung 'static_cach'. Did you mean static_cache"),
        ("compile", InputError, "compile requires static_cache, and is put on transformers_eager"),
        ("static_cache + bf16 + native_linear_int8", InputError, "cannot be beside bf16"),
    ],
)
def test_rungs_that_do_not_stand_are_refused(
    stack: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        chosen("bundled", stack=stack)


def test_a_rung_that_does_not_apply_is_refused_with_its_reason() -> None:
    with pytest.raises(UnsupportedError, match="does not apply here: The baseline is in bf16 alre"):
        chosen("bundled", stack="static_cache + bf16", dtype="bf16")


def test_what_is_of_a_climb_alone_is_refused() -> None:
    with pytest.raises(InputError, match="--exact is of a climb, and 'bundled' is no folder of o"):
        chosen("bundled", exact=True)
    with pytest.raises(InputError, match="--moved-to is of a climb"):
        chosen("bundled", moved_to="elsewhere")


def test_the_context_can_be_shorter_and_is_that_of_the_draft_too(tmp_path: Path) -> None:
    assert chosen("bundled", context_len=100).build.context_len == 100
    with pytest.raises(InputError, match="--context-len 513 is more than the 512 tokens"):
        chosen("bundled", context_len=513)
    draft = write_model(tmp_path / "draft", GPT2 | {"vocab_size": 4096, "n_positions": 64})
    speculating = chosen("bundled", stack="static_cache + speculate_draft", draft=draft)
    assert speculating.build.context_len == 64


def test_no_gpu_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UnsupportedError, match="PyTorch sees no GPU here"):
        chosen("bundled", device="cuda")


def test_random_weights_are_a_doubt() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        choice = chosen("distilgpt2", random_weights=True, seed=4)
    assert choice.build.source.seed == 4
    assert [doubt.about for doubt in choice.doubts] == ["weights"]
