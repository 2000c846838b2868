"""The commands that pages tell their readers to type."""

import re
import shlex
from pathlib import Path

from topout.cli.dispatch import commands_of, find_command

_FENCE = re.compile(r"^```(?:sh|bash|yaml)?\n(.*?)^```", re.DOTALL | re.MULTILINE)
_STEP = re.compile(r"^\s*- run: ")


def commands_in(page: Path) -> list[str]:
    """The `topout …` lines of the blocks of a page, those of a workflow's steps among them."""
    blocks = _FENCE.findall(page.read_text())
    lines = [_STEP.sub("", line) for block in blocks for line in block.splitlines()]
    return [line.split(" #")[0].strip() for line in lines if line.startswith("topout ")]


def words_of(line: str) -> list[str]:
    """The arguments of a line after `topout`, without what the shell alone reads."""
    words = shlex.split(line)[1:]
    ends = [place for place, word in enumerate(words) if word in ("<", ">", ">>", "|", "&&")]
    return words[: ends[0]] if ends else words


def parses(line: str) -> bool:
    """Whether a line is a command with options that exist; raises the error that it meets."""
    verb, *arguments = words_of(line)
    command, rest = find_command(commands_of(verb), arguments)
    return command.parse(rest) is not None
