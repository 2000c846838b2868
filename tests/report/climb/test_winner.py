"""The lines to paste at the end of a climb."""

import ast
import shlex

from msgspec.structs import replace

from tests.report.example_climb import example_climb
from tests.report.parts import every_part
from topout.records import Climb
from topout.report.climb.document import climb_document
from topout.report.climb.winner import winner_sections
from topout.report.document import Facts, Paragraph, Section

FOLDER = "runs/it's 1"
BEST = "static_cache + bf16"


def climb(**changes: str | None) -> Climb:
    return replace(example_climb(), **({"best": BEST, "best_exact": BEST} | changes))


def lines(record: Climb, folder: str = FOLDER) -> list[dict[str, str]]:
    (section,) = winner_sections(record, folder)
    return [dict(part.pairs) for part in section.parts if isinstance(part, Facts)]


def test_both_lines_name_the_folder_whatever_is_in_its_name() -> None:
    (found,) = lines(climb())
    call = ast.parse(found["Python"], mode="eval").body
    constants = [node.value for node in ast.walk(call) if isinstance(node, ast.Constant)]
    assert sorted(constants) == [FOLDER, "…"] and "exact" not in found["Python"]
    assert shlex.split(found["Shell"]) == ["topout", "generate", FOLDER, "…"]


def test_the_best_exact_stack_has_lines_where_it_is_another() -> None:
    assert len(lines(climb(best_exact=None))) == 1
    assert len(lines(climb(best_exact="transformers_eager"))) == 1
    best, exact = lines(climb(best_exact="static_cache"))
    assert "exact=True" in exact["Python"] and exact["Shell"].endswith(" --exact")
    assert "exact" not in best["Python"] + best["Shell"]


def test_a_rung_of_the_users_own_is_named() -> None:
    label = "static_cache + mine:Rung"
    (found,) = lines(climb(best=label, best_exact=label))
    assert f"stack={label!r}" in found["Python"]
    assert shlex.split(found["Shell"])[-2:] == ["--stack", label]


def test_an_interrupted_climb_hands_over_what_it_had_kept() -> None:
    broken_off = replace(climb(best=None, best_exact=None), finished=False)
    (found,) = lines(broken_off)
    assert found["Python"] == f"topout.load({FOLDER!r}).generate('…')"


def test_a_climb_that_the_baseline_won_says_so() -> None:
    (section,) = winner_sections(climb(best="transformers_eager"), FOLDER)
    (part,) = section.parts
    assert isinstance(part, Paragraph)
    assert "is the baseline itself, transformers_eager" in part.text


def test_without_a_folder_or_a_best_stack_there_is_nothing_to_paste() -> None:
    nothing_yet = replace(climb(best=None), rungs=example_climb().rungs[:1])
    assert winner_sections(climb(), None) == winner_sections(nothing_yet, FOLDER) == []
    titles = [part.title for part in every_part(climb_document(climb())) if type(part) is Section]
    assert "Use the winner" not in titles
    named = climb_document(climb(), folder=FOLDER)
    assert "Use the winner" in [part.title for part in every_part(named) if type(part) is Section]
