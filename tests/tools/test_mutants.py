"""What `make mutants` is told of modules, tests and equivalent changes exists."""

import tomllib
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]


def settings() -> dict[str, Any]:
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    found: dict[str, Any] = tomllib.loads(text)["tool"]["mutmut"]
    return found


def test_modules_and_their_tests_are_there() -> None:
    listed = settings()
    for name in ("only_mutate", "pytest_add_cli_args_test_selection"):
        assert listed[name] == sorted(set(listed[name]))
        assert [path for path in listed[name] if not (REPOSITORY / path).is_file()] == []


def test_equivalent_changes_are_of_those_modules() -> None:
    text = (REPOSITORY / "tests" / "equivalent_mutants.toml").read_text(encoding="utf-8")
    modules = [
        path.removeprefix("src/").removesuffix(".py").replace("/", ".")
        for path in settings()["only_mutate"]
    ]
    for change in tomllib.loads(text).get("change", []):
        assert set(change) == {"of", "was", "becomes", "because"}
        assert any(change["of"].startswith(f"{module}.") for module in modules), change["of"]
        assert change["was"] != change["becomes"] and change["because"]
