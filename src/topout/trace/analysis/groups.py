"""Which group a kernel or operator is in, by ordered rules that a user can extend or replace."""

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Literal

import msgspec
import polars as pl

from topout.errors import InputError, UnknownNameError
from topout.input_file import MOST_CONFIG_BYTES, read_input
from topout.trace.table import DEVICE_WORK

# Groups that analyses ask for by name
MATRIX_MUL, COMMUNICATION, MEMORY, OTHER = "matrix-mul", "communication", "memory", "other"
DEFAULT_RULES = "kernel_groups"
_COARSE_RULES = "coarse_groups"
WorkKind = Literal["kernel", "memcpy", "memset"]
_GROUP_NAME = re.compile(r"[^\x00-\x1f<>]{1,60}")


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Events of `kinds` whose name contains one of `names` or matches one of `patterns`."""

    group: str
    rank: int = 1  # rules of a lower rank decide before those of a higher one
    kinds: list[WorkKind] = []
    names: list[str] = []  # parts of names; upper and lower case are alike
    patterns: list[str] = []  # regular expressions, searched in the lower-cased name


class _RuleFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rule: list[Rule]
    extends: bool = True  # its rules come before the default ones; false: they are all there is


@dataclass(frozen=True)
class Rules:
    """Ordered rules: the first that fits decides; `source` says where they come from.

    `of_time` tell what is communication where time is broken down, None: these do. A view with
    fewer groups changes the groups that are shown, not what the time was spent on.
    """

    rules: tuple[Rule, ...]
    source: str
    of_time: "Rules | None" = None

    @property
    def groups(self) -> list[str]:
        """Names of the groups in the order of the rules, "other" last."""
        return list(dict.fromkeys([*(rule.group for rule in self.rules), OTHER]))

    def group_of(self, name: str, kind: str = "kernel") -> str:
        """The group of one event by its name and kind."""
        return next((rule.group for rule in self.fitting(name, kind)), OTHER)

    def fitting(self, name: str, kind: str = "kernel") -> Iterator[Rule]:
        """All rules that fit an event, the one that decides first."""
        lower = name.lower()
        return (test.rule for test in self._tests if test.fits(lower, kind))

    @cached_property
    def _tests(self) -> list["_Test"]:
        return [_Test(rule) for rule in self.rules]


class _Test:
    """A rule, made ready to be asked often."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._kinds = frozenset(rule.kinds or DEVICE_WORK)
        self._names = [name.lower() for name in rule.names]
        self._patterns = [re.compile(pattern) for pattern in rule.patterns]

    def fits(self, lower: str, kind: str) -> bool:
        """Whether the rule takes an event of this kind with this name in lower case."""
        if kind not in self._kinds:
            return False
        if not (self._names or self._patterns):
            return True
        return any(part in lower for part in self._names) or any(
            pattern.search(lower) for pattern in self._patterns
        )


def load_rules(path: Path | None = None, shipped: str = DEFAULT_RULES) -> Rules:
    """The shipped rules, or those of a user's TOML file, which stand before the shipped ones.

    `shipped` is a name that `shipped_rules` knows. A file that says `extends = false` replaces
    them. Raises InputError that names the file, the rule and the field for one that cannot be
    read or used.
    """
    default = shipped_rules(shipped)
    if path is None:
        return default
    try:
        text = read_input(path, MOST_CONFIG_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"the rules in {path} cannot be read: {reason}.", "Give a TOML file in UTF-8."
        ) from None
    own = _parse(text, str(path))

    def with_own(others: Rules) -> Rules:
        behind = others.rules if own.extends else ()
        of_time = None if others.of_time is None else with_own(others.of_time)
        return Rules((*_by_rank(own), *behind), str(path), of_time)

    return with_own(default)


def for_operators(rules: Rules) -> Rules:
    """Rules for operators of the host: the shipped ones for them, then `rules` for kernels."""
    return Rules((*shipped_rules("operator_groups").rules, *rules.rules), rules.source)


def shipped_rules(name: str) -> Rules:
    """The rules that come with the program: "kernel_groups", "coarse_groups" or "operator_groups".

    Raises UnknownNameError for another name.
    """
    folder = resources.files("topout.trace") / "rules"
    known = sorted(file.name.removesuffix(".toml") for file in folder.iterdir())
    if name not in known:
        raise UnknownNameError("set of rules", name, known, f"There are {', '.join(known)}.")
    text = (folder / f"{name}.toml").read_text(encoding="utf-8")
    of_time = shipped_rules(DEFAULT_RULES) if name == _COARSE_RULES else None
    return Rules(_by_rank(_parse(text, f"{name}.toml")), name, of_time)


def _by_rank(file: _RuleFile) -> tuple[Rule, ...]:
    return tuple(sorted(file.rule, key=lambda rule: rule.rank))


def group_of(names: Sequence[str], rules: Rules | None = None) -> list[str]:
    """The group of each kernel name, by `rules` or else the default ones."""
    rules = rules or load_rules()
    found = {name: rules.group_of(name) for name in set(names)}
    return [found[name] for name in names]


def with_groups(events: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """`events` of a trace with a column `group` (Categorical), null for what is no device work.

    Rules are applied once to each name, however often it ran.
    """
    on_device = events["kind"].cast(pl.String).is_in(list(DEVICE_WORK))
    pairs = events.filter(on_device).select("name", "kind").unique(maintain_order=True)
    texts = zip(pairs["name"].cast(pl.String), pairs["kind"].cast(pl.String), strict=True)
    found = [rules.group_of(name or "", kind) for name, kind in texts]
    return events.join(
        pairs.with_columns(pl.Series("group", found, dtype=pl.Categorical)),
        on=["name", "kind"],
        how="left",
        maintain_order="left",
        nulls_equal=True,
    )


def _parse(text: str, source: str) -> _RuleFile:
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{source} is not TOML: {error}.", "Correct that line.") from None
    try:
        rules = msgspec.convert(raw, _RuleFile, strict=True)
    except msgspec.ValidationError as error:
        raise InputError(
            f"{source}: {_in_words(str(error))}.",
            "A rule has `group`, and `kinds`, `names` or `patterns`, each a list of texts.",
        ) from None
    for number, rule in enumerate(rules.rule, start=1):
        _check(rule, f"{source}: rule {number} ({rule.group!r})")
    return rules


def _in_words(fault: str) -> str:
    """msgspec's "Expected `str`, got `int` - at `$.rule[2].names[0]`" → rule 3, its `names`."""
    what, _, path = fault.partition(" - at ")
    match = re.match(r"`\$\.rule\[(\d+)\]\.?([a-z]*)", path)
    if not match:
        return what + (f" at {path}" if path else "")
    field = f" in `{match[2]}`" if match[2] else ""
    return f"rule {int(match[1]) + 1}: {what[0].lower()}{what[1:]}{field}"


def _check(rule: Rule, where: str) -> None:
    if not _GROUP_NAME.fullmatch(rule.group) or not rule.group.strip():
        raise InputError(
            f"{where}: `group` cannot be a name.", "Use 1 to 60 characters, without < and >."
        )
    if not (rule.kinds or rule.names or rule.patterns):
        raise InputError(
            f"{where} has none of `kinds`, `names` and `patterns`, and would take everything.",
            'Say what it is for, such as names = ["gemm"].',
        )
    for field in ("names", "patterns"):
        if "" in getattr(rule, field):
            raise InputError(f"{where}: `{field}` has an empty text, which fits all.", "Remove it.")
    for pattern in rule.patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise InputError(
                f"{where}: `patterns` has {pattern!r}, which is no regular expression ({error}).",
                "Correct it, or use `names` for plain text.",
            ) from None
