"""How a stack is put together from the rungs' requirements."""

import importlib
import pkgutil
import sys
from pathlib import Path

import pytest

from topout import rungs
from topout.errors import InputError, UnknownNameError
from topout.rungs.registry import (
    BASELINE,
    RUNGS,
    find_rung,
    let_in,
    own_rungs,
    rung_names,
    select_rungs,
)
from topout.rungs.rung import Rung

HERE = "tests.rungs.test_registry"


class Own(Rung):
    """A rung of a user's own."""

    name = "own"
    change = "something"
    requires = ("static_cache",)


# --- the ladder -------------------------------------------------------------------------------


def test_every_rung_says_what_it_is() -> None:
    names = rung_names()
    assert len(set(names)) == len(names)
    assert names[0] == BASELINE
    for rung in RUNGS:
        assert rung.name and rung.change and not rung.change.endswith(".")
        assert set(rung.requires) <= set(names) and set(rung.excludes) <= set(names)
        assert all(names.index(below) < names.index(rung.name) for below in rung.requires)


def test_exact_rungs_come_first() -> None:
    """So that the best exact stack is one that was measured."""
    classes = [rung.output_class for rung in RUNGS]
    assert classes == sorted(classes, key=["exact", "near", "sampled"].index)


def test_a_rung_is_found_by_its_name() -> None:
    for name in rung_names():
        assert find_rung(name).name == name


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown rung 'compil'.*Did you mean compile\?"):
        find_rung("compil")
    with pytest.raises(UnknownNameError, match=r"Rungs are: transformers_eager, static_cache,"):
        find_rung("zzz")


def test_a_rung_with_a_file_has_its_line() -> None:
    named = [
        value
        for module in pkgutil.iter_modules(rungs.__path__, "topout.rungs.")
        for value in vars(importlib.import_module(module.name)).values()
        if isinstance(value, type) and issubclass(value, Rung) and hasattr(value, "name")
    ]
    assert set(named) == set(RUNGS)


# --- rungs of one's own -----------------------------------------------------------------------


def test_a_rung_of_ones_own_is_known_by_its_path() -> None:
    let_in(["static_cache", f"{HERE}:Own"])
    rung = find_rung(f"{HERE}:Own")
    assert rung.name == f"{HERE}:Own"
    assert rung.requires == ("static_cache",)
    assert Own.name == "own"  # the user's class stays as it is


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_module:Rung", "cannot import the rung 'no_such_module:Rung'"),
        (f"{HERE}:NoSuchClass", "cannot import .*NoSuchClass"),
        (":Own", "cannot import"),
        (f"{HERE}:", "cannot import"),
        (f"{HERE}:HERE", "is not a rung"),
        ("pathlib:Path", "'pathlib:Path' is not a rung"),
    ],
)
def test_what_is_no_rung_is_named(path: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        let_in([path])


@pytest.mark.parametrize("source", ["def broken(:\n", "raise RuntimeError('at import')\n"])
def test_a_module_that_fails_is_named(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_failing_rungs.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_failing_rungs", raising=False)
    with pytest.raises(InputError, match="cannot import the rung 'my_failing_rungs:Rung'"):
        let_in(["my_failing_rungs:Rung"])


def test_no_module_is_imported_for_a_name_that_was_not_let_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may come from a record, and a record may be anybody's."""
    (tmp_path / "planted_rungs.py").write_text("raise AssertionError('it ran')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="'planted_rungs:Rung' is code of your own: that a file"):
        find_rung("planted_rungs:Rung")
    with pytest.raises(InputError, match="is code of your own"):
        select_rungs(["static_cache", "planted_rungs:Rung"])
    assert own_rungs(["static_cache", "planted_rungs:Rung"]) == ["planted_rungs:Rung"]
    assert own_rungs(None) == []


class OnOwn(Rung):
    """Requires another one."""

    name = "on_own"
    change = "something"
    requires = (f"{HERE}:Below",)


class Below(Rung):
    """Is not named itself."""

    name = "below"
    change = "something"


def test_what_a_rung_of_ones_own_requires_comes_with_it() -> None:
    let_in([f"{HERE}:OnOwn"])
    assert find_rung(f"{HERE}:Below").name == f"{HERE}:Below"


# --- which are climbed ------------------------------------------------------------------------


def test_all_rungs_are_climbed_unless_some_are_named() -> None:
    for task in ("generate", "forward"):
        assert [rung.name for rung in select_rungs(None, task)] == rung_names(task)
    assert "trace" not in rung_names("generate")
    assert "static_cache" not in rung_names("forward")
    assert set(rung_names("generate")) | set(rung_names("forward")) == set(rung_names())
    chosen = select_rungs(["bf16", "compile", "bf16", BASELINE])
    assert [rung.name for rung in chosen] == [BASELINE, "bf16", "compile"]
    assert [rung.name for rung in select_rungs([])] == [BASELINE]


def test_what_a_rung_requires_is_climbed_before_it() -> None:
    """Else it would be tried in a stack that it is in already."""
    chosen = select_rungs(["bf16", "generate_gemv", "static_cache", "compile"])
    assert [rung.name for rung in chosen] == [
        BASELINE,
        "bf16",
        "static_cache",
        "compile",
        "generate_gemv",
    ]
    # Not what was not chosen, but what stands below that.
    chosen = select_rungs(["generate_gemv", "static_cache"])
    assert [rung.name for rung in chosen] == [BASELINE, "static_cache", "generate_gemv"]


class OnTypo(Rung):
    """Requires what there is not."""

    name = "on_typo"
    change = "something"
    requires = ("static_cash",)


def test_an_unknown_requirement_is_named_before_the_climb() -> None:
    let_in([f"{HERE}:OnTypo"])
    with pytest.raises(UnknownNameError, match="'static_cash'"):
        select_rungs([f"{HERE}:OnTypo"])


def test_a_rung_is_the_same_object_each_time() -> None:
    assert find_rung("compile") is find_rung("compile")
    let_in([f"{HERE}:Own"])
    assert find_rung(f"{HERE}:Own") is find_rung(f"{HERE}:Own")
