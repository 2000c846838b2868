"""`topout completion`: what a shell offers at the tab key, and the script that asks for it."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import click
from click.shell_completion import CompletionItem, get_completion_class

from topout.cli.command import Command
from topout.cli.dispatch import COMMANDS, VARIABLE, commands_of, find_command
from topout.cli.outputs import Outputs, Result
from topout.errors import InputError, TopoutError
from topout.options import Field, Option, Request
from topout.progress import Notify

Items = Iterator[CompletionItem[str]]


class CompletionRequest(Request, frozen=True, kw_only=True):
    """The options of `topout completion`."""

    shell: Annotated[Literal["bash", "zsh", "fish"], Option("Whose script.", positional=True)]


def answer_shell(instruction: str) -> str:
    """What a shell is told: for `bash_complete` what to offer, for `bash_source` the script.

    Raises InputError for an instruction that no shell gives.
    """
    shell, _, wanted = instruction.partition("_")
    kind = get_completion_class(shell)
    if kind is None or wanted not in ("source", "complete"):
        raise InputError(f"{VARIABLE}={instruction} is not known.", "Leave the variable unset.")
    asked = kind(click.Command("topout"), {}, "topout", VARIABLE)
    if wanted == "source":
        return asked.source()
    try:
        words, begun = asked.get_completion_args()
    except (KeyError, ValueError) as error:
        raise InputError(
            f"{VARIABLE} is set without the words of a shell ({error}).", "Leave it unset."
        ) from None
    offered = suggest(words, begun)
    return "\n".join(asked.format_completion(item) for item in offered)


def suggest(words: Sequence[str], begun: str) -> list[CompletionItem[str]]:
    """What may follow `words` (those after `topout`) and begins as the word that is typed does."""
    verbs = {name: about for name, about in COMMANDS.items() if " " not in name}
    if not words:
        flags = {"--help": "Show the verbs.", "--version": "Show the version."}
        return _beginning(begun, [*_plain(verbs), *_plain(flags)])
    verb, *rest = words
    if verb not in verbs:
        return []
    try:
        command, rest = find_command(commands_of(verb), rest)
    except TopoutError:
        return []
    return _beginning(begun, _of_command(command, rest, begun))


def _of_command(command: Command, words: Sequence[str], begun: str) -> Items:
    """The value that an option waits for; else options where a dash is typed; else arguments."""
    waiting = next((each for each in command.fields if words and words[-1] in _flags(each)), None)
    if waiting is not None and waiting.type is not bool:
        yield from _values(waiting)
    elif begun.startswith("-") and "--" not in words:
        for field in command.fields:
            if not field.option.positional:
                yield from (CompletionItem(flag, help=field.option.help) for flag in _flags(field))
        yield CompletionItem("--help", help="Show this and exit.")
    else:
        arguments = [field for field in command.fields if field.option.positional]
        for field in arguments[:1]:
            yield from _values(field)
        if not words:
            yield from _plain(dict(command.subcommands))


def _values(field: Field) -> Items:
    """Its choices, else files: shells drop what was offered before files, so those come first."""
    if field.choices:
        yield from (CompletionItem(choice) for choice in field.choices)
    else:
        yield CompletionItem("", type="file")


def _flags(field: Field) -> list[str]:
    if field.option.positional:
        return []
    no = [f"--no-{field.flag.removeprefix('--')}"] if field.default is True else []
    return [field.flag, *no]


def _plain(rows: dict[str, str]) -> Items:
    return (CompletionItem(name, help=about.partition("\n")[0]) for name, about in rows.items())


def _beginning(
    begun: str, items: Iterator[CompletionItem[str]] | list[CompletionItem[str]]
) -> list[CompletionItem[str]]:
    return [each for each in items if each.type != "plain" or each.value.startswith(begun)]


def _script(request: CompletionRequest, outputs: Outputs, notify: Notify) -> Result:
    return Result(text=answer_shell(f"{request.shell}_source"))


ANSWERS = {"": _script}
