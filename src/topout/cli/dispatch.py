"""Which commands there are, how one is found in the arguments, and how it runs."""

import importlib
import os
import sys
from collections.abc import Container, Iterator, Mapping
from pathlib import Path

from topout.cli.command import Answer, Command, overview
from topout.cli.examples import EXAMPLES
from topout.cli.exit_status import ended
from topout.cli.outputs import Outputs, Result
from topout.cli.places import check_places, takes_standard_output
from topout.cli.signals import Ending, as_interrupts
from topout.cli.standard_streams import prepare_streams, showing
from topout.cli.verbosity import telling
from topout.errors import InputError, UnknownNameError
from topout.extras import Extra, missing_of, require
from topout.home_folder import ensure_home
from topout.options import Request
from topout.progress import say
from topout.run_folder import Interrupted
from topout.version import __version__
from topout.visible_text import one_line

_ABOUT = (
    "How far a transformer runs below what its hardware allows, why, and the way up, "
    "one proven step at a time."
)

COMMANDS = {
    "machine": "What is this machine, and what can it reach?",
    "machine list": "The machines that `topout cost --on` knows.",
    "machine show": "One of them: its figures and sources.",
    "machine save": "Keep this machine for `topout cost --on`.",
    "cost": "What does it need, and how long should it take, here or on another machine?",
    "cost list": "The models that have a name.",
    "cost layers": "A model layer by layer: shapes, parameters, memory, graph.",
    "cost check": "Count a model twice: by formula and by a run.",
    "cost example": "A worked example on the roofline, measured here.",
    "run": "How fast is it now? And with another matrix product in PyTorch's place?",
    "profile": "Where does the time go, and how far is each part from the roof?",
    "climb": "What makes it faster, by how much, and is the output still right?",
    "climb resume": "Go on with an interrupted climb; `climb --resume FOLDER` is the same.",
    "generate": "The stack that won, at work: continue a text with it.",
    "gemm": "Why is one matrix product 100 × as fast as another? The laboratory, with your own.",
    "gemm init": "Write a starting point for a version of your own.",
    "trace": "Where does the time go in a trace recorded elsewhere?\n\n"
    "Reads PyTorch (Kineto) JSON, nvprof CSV and Nsight Systems CSV and SQLite, gzipped or not. "
    "A file that is itself named diff or runs is given as ./diff or ./runs.",
    "trace diff": "What got slower from one trace to another?",
    "trace runs": "Does it scale over runs on more and more devices, and what eats the gain?",
    "train": "How does a training step spend its time, alone and over devices?",
    "schema": "The JSON schema of the records that verbs write.",
    "completion": "The script with which a shell completes verbs, options and choices.",
}
"""The commands, a verb before its sub-commands, each with the question that it answers."""

NEEDS: Mapping[str, Extra] = {
    "cost layers": "climb",
    "cost check": "climb",
    "run": "climb",
    "profile": "climb",
    "climb": "climb",
    "climb resume": "climb",
    "generate": "climb",
    "gemm": "climb",
    "train": "train",
}
"""The commands that need packages beyond the core, each with the extra that brings them."""

VARIABLE = "_TOPOUT_COMPLETE"
"""What a shell sets to ask for completions: `bash_complete` for what to offer."""

FORMER_FLAGS: Mapping[str, Mapping[str, str]] = {
    "machine": {"--list": "list", "--show": "show", "--save": "save"},
    "cost": {
        "--list": "list",
        "--layers": "layers",
        "--graph": "layers",
        "--check": "check",
        "--example": "example",
    },
    "climb": {"--resume": "resume"},
    "gemm": {"--init": "init"},
}
"""Flags that have become sub-commands, and mean them still."""


def main() -> None:
    """Run the command line; `exit_status.STATUSES` are its ends."""
    prepare_streams()
    ensure_home()
    with as_interrupts() as ending:
        sys.exit(ended(lambda: _main(sys.argv[1:], ending), ending))


def _main(arguments: list[str], ending: Ending) -> int:
    """The exit status of what the arguments ask for."""
    verbs = [name for name in COMMANDS if " " not in name]
    if VARIABLE in os.environ:
        from topout.cli.completion import answer_shell

        _print(f"{answer_shell(os.environ[VARIABLE])}\n")
        return 0
    if arguments[:1] == ["--version"]:
        _print(f"topout {__version__}\n")
        return 0
    if arguments[:1] in ([], ["-h"], ["--help"]):
        text = overview(_ABOUT, [(verb, COMMANDS[verb].partition("\n")[0]) for verb in verbs])
        if not arguments:
            say(text.rstrip())
            return 2
        _print(text)
        return 0
    verb, *rest = arguments
    if verb not in verbs:
        raise UnknownNameError("verb", verb, verbs, "See `topout --help`.")
    command, rest = find_command(commands_of(verb), rest)
    with showing():  # its help
        asked = command.parse(rest)
    return 0 if asked is None else _run(command, *asked, ending)


def _print(text: str) -> None:
    with showing():
        sys.stdout.write(text)


def commands_of(verb: str) -> dict[str, Command]:
    """A verb, under the name "", and its sub-commands."""
    answers: dict[str, Answer] = importlib.import_module(f"topout.cli.{verb}").ANSWERS
    names = [f"{verb} {word}".strip() for word in answers]
    subcommands = [(name.partition(" ")[2], COMMANDS[name]) for name in names if name != verb]
    return {
        word: Command(
            name, COMMANDS[name], answers[word], [] if word else subcommands, EXAMPLES.get(name, ())
        )
        for word, name in zip(answers, names, strict=True)
    }


def find_command(commands: dict[str, Command], arguments: list[str]) -> tuple[Command, list[str]]:
    """The command that is meant, and the arguments that are left for it.

    A sub-command is named by the first argument, by one of `FORMER_FLAGS`, or after options by the
    first argument that is none. Raises InputError for the flags of two sub-commands.
    """
    if arguments and arguments[0] in commands:
        return commands[arguments[0]], arguments[1:]
    verb = commands[""].name
    former = FORMER_FLAGS.get(verb, {})
    words = dict(_words(commands, arguments))
    flags = {place: word for place, word in words.items() if word.partition("=")[0] in former}
    meant = {former[flag.partition("=")[0]] for flag in flags.values()}
    if len(meant) > 1:
        named = " and ".join(flags.values())
        raise InputError(f"`topout {verb}` with {named} is two questions.", "Ask one at a time.")
    if meant:
        command = commands[meant.pop()]
        return command, _without(flags, arguments, [field.flag for field in command.fields])
    first = next((place for place, word in words.items() if not word.startswith("-")), None)
    if first is None or arguments[first] not in commands:
        return commands[""], arguments
    return commands[arguments[first]], arguments[:first] + arguments[first + 1 :]


def _words(commands: dict[str, Command], arguments: list[str]) -> Iterator[tuple[int, str]]:
    """The arguments up to "--", with their places, that are no values of options."""
    fields = [field for command in commands.values() for field in command.fields]
    with_value = {each.flag for each in fields if each.type is not bool}
    is_value = False
    for place, argument in enumerate(arguments):
        if argument == "--":
            return
        if not is_value:
            yield place, argument
        is_value = argument in with_value and not is_value


def _without(flags: Container[int], arguments: list[str], kept: list[str]) -> list[str]:
    """The arguments without flags at these places, the value after "=" and those to keep stay."""
    rest = []
    for place, argument in enumerate(arguments):
        flag, _, value = argument.partition("=")
        if place not in flags or flag in kept:
            rest.append(argument)
        elif value:
            rest.append(value)
    return rest


def _run(command: Command, request: Request, outputs: Outputs, ending: Ending) -> int:
    """Ask the verb, show and write its answer; the exit status."""
    _check_current_folder()
    outputs.check()
    check_places(request, outputs)
    if command.name in NEEDS:
        require(NEEDS[command.name], command.name)
    try:
        with telling(not outputs.shows_progress, outputs.verbose) as notify:
            result = command.answer(request, outputs, notify)
    except ModuleNotFoundError as error:  # what only some inputs of a verb need
        raise missing_of(error, command.name) or error from None
    except Interrupted as interrupted:
        say(one_line(f"topout: {ending.words}. {interrupted.remedy}"))
        if interrupted.record is None:
            return ending.status
        result = Result(interrupted.record, interrupted.folder, status=ending.status)
    try:
        if not takes_standard_output(request, outputs):
            with showing():
                outputs.show(result)
    finally:  # whatever becomes of standard output, files that were asked for are written
        outputs.write(result)
    outputs.note(result.note)
    if result.error is not None:
        raise result.error
    return result.status


def _check_current_folder() -> None:
    """Raise InputError where it was removed: no path means anything there."""
    try:
        Path.cwd()
    except OSError as error:
        raise InputError(
            f"the current folder cannot be used: {error.strerror}.", "Change to another."
        ) from None
