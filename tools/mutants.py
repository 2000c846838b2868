"""Which changes of one expression in the core modules does no test notice?

`make mutants` runs mutmut over the modules and tests that pyproject.toml lists under
`[tool.mutmut]`. It goes on where it was stopped; a module that was changed is run anew. Patterns
run some modules alone: `python tools/mutants.py 'topout.cost.*'`. `--again` runs what survived
once more, after a test was added; `--report` only reads what was found.

A change that cannot be noticed, because the program does the same with it, stands in
tests/equivalent_mutants.toml with the reason. Exits with 1 where less than 95 % of the others were
noticed, where some were not run, or where that file lists a change that does not exist.
"""

import argparse
import json
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from mutmut.configuration import config
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.format_utils import orig_function_and_class_names_from_key

WANTED = 0.95
FOLDER = Path("mutants")
EQUIVALENT = Path("tests/equivalent_mutants.toml")
Change = tuple[str, str, str]  # function, lines as they are, lines as changed


@dataclass
class Module:
    """What became of the changes of one module: their names by status."""

    path: str
    caught: list[str] = field(default_factory=list)
    survived: list[str] = field(default_factory=list)
    untested: list[str] = field(default_factory=list)  # no selected test runs the function
    waiting: list[str] = field(default_factory=list)
    equivalent: set[Change] = field(default_factory=set)

    @property
    def counted(self) -> int:
        """Changes that could be noticed, as far as they were run."""
        return len(self.caught) + len(self.survived) + len(self.untested)


def main() -> int:
    """Run, then print a line for each module and the changes that survived."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("patterns", nargs="*", help="modules, such as 'topout.cost.*'")
    parser.add_argument("--again", action="store_true", help="run what survived once more")
    parser.add_argument("--report", action="store_true", help="run nothing")
    parser.add_argument("--children", type=int, default=2, help="processes at once")
    asked = parser.parse_args()
    known = read_equivalent()
    names = [f"{pattern}.x*" for pattern in asked.patterns]
    if asked.again:
        names = [name for each in read_modules(known) for name in each.survived + each.untested]
    if not asked.report and (names or not asked.again):
        remove_stale()
        command = [str(Path(sys.executable).with_name("mutmut")), "run", *names]
        command += ["--max-children", str(asked.children)]
        ended = subprocess.run(command, check=False).returncode
        if ended:
            return ended
    return report(read_modules(known), set(known))


def remove_stale() -> None:
    """Take away copies of files that are gone; the copier only adds and replaces."""
    for copied in (*FOLDER.glob("src/**/*.py"), *FOLDER.glob("tests/**/*.py")):
        if not copied.relative_to(FOLDER).exists():
            copied.unlink()


def read_equivalent() -> dict[Change, str]:
    """The changes that were judged equivalent, with the reason."""
    listed = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8")).get("change", [])
    return {(each["of"], each["was"], each["becomes"]): each["because"] for each in listed}


def read_modules(known: dict[Change, str]) -> list[Module]:
    """What was found so far."""
    return [_read_module(path, known) for path in config().only_mutate]


def _read_module(path: str, known: dict[Change, str]) -> Module:
    module = Module(path)
    found = FOLDER / f"{path}.meta"
    codes = json.loads(found.read_text())["exit_code_by_key"] if found.exists() else {}
    for name, code in codes.items():
        status = status_by_exit_code[code]
        if status in ("survived", "no tests"):
            change = change_of(name, path)
            if change in known:
                module.equivalent.add(change)
            else:
                (module.survived if status == "survived" else module.untested).append(name)
        elif status in ("not checked", "check was interrupted by user"):
            module.waiting.append(name)
        else:  # a failed test, a crash, or no end within the time
            module.caught.append(name)
    return module


def change_of(name: str, path: str) -> Change:
    """The function that a change is in, and its lines before and after."""
    lines = get_diff_for_mutant(name, path=path).splitlines()[2:]
    was, becomes = (
        " ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+"
    )
    function, owner = orig_function_and_class_names_from_key(name)
    module = Path(path).relative_to("src").with_suffix("").as_posix().replace("/", ".")
    return ".".join(filter(None, (module, owner, function))), was, becomes


def report(modules: list[Module], known: set[Change]) -> int:
    """Print what was found; 1 where that is not enough."""
    print(f"\n{'module':52}{'changes':>9}{'caught':>8}{'share':>8}{'equal':>7}{'waiting':>9}")
    for module in modules:
        _print_row(module)
    total = Module(
        "all",
        caught=[name for each in modules for name in each.caught],
        survived=[name for each in modules for name in each.survived],
        untested=[name for each in modules for name in each.untested],
        waiting=[name for each in modules for name in each.waiting],
        equivalent={change for each in modules for change in each.equivalent},
    )
    _print_row(total)
    for module in modules:
        for name in module.survived + module.untested:
            function, was, becomes = change_of(name, module.path)
            print(f"\n{function}  ({name.rpartition('__mutmut_')[2]})\n- {was}\n+ {becomes}")
    gone = known - total.equivalent if not total.waiting else set()
    for function, was, becomes in sorted(gone):
        print(f"\n{EQUIVALENT} lists what is caught or gone: {function}: {was} → {becomes}")
    enough = len(total.caught) >= WANTED * total.counted > 0
    return 0 if enough and not total.waiting and not gone else 1


def _print_row(module: Module) -> None:
    share = f"{len(module.caught) / module.counted:.1%}" if module.counted else "–"
    print(
        f"{module.path.removeprefix('src/topout/'):52}{module.counted:>9}{len(module.caught):>8}"
        f"{share:>8}{len(module.equivalent):>7}{len(module.waiting):>9}"
    )


if __name__ == "__main__":
    sys.exit(main())
