"""From declared options to a command line: its help, and the requests that it is parsed into."""

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple, TypeVar, get_type_hints

import click
from msgspec import NODEFAULT

from topout.cli.outputs import Outputs, Result
from topout.errors import InputError, UnknownNameError
from topout.options import Field, Request, fields_of
from topout.progress import Progress

Answer = Callable[[Any, Any, Progress], Result]
"""Answers a verb: (request, outputs, progress) → result. Its annotations say its options."""

Rows = list[tuple[str, str]]
_ARGUMENTS = "arguments of the command"
_HELP = ("-h, --help", "Show this and exit.")
Q = TypeVar("Q", bound=Request)


class Command(NamedTuple):
    """A verb or one of its sub-commands, as the command line knows it."""

    name: str  # "trace", "trace diff"
    about: str  # its question in a sentence, and perhaps more
    answer: Answer
    subcommands: Rows
    examples: Sequence[str] = ()  # lines of a shell

    @property
    def request_type(self) -> type[Request]:
        """Whose fields are its options."""
        kind: type[Request] = get_type_hints(self.answer)["request"]
        return kind

    @property
    def outputs_type(self) -> type[Outputs]:
        """Whose fields are its options as well."""
        kind: type[Outputs] = get_type_hints(self.answer)["outputs"]
        return kind

    @property
    def fields(self) -> list[Field]:
        """All options and arguments, those that every command has at the end."""
        own, common = fields_of(self.outputs_type), fields_of(Outputs)
        special = [field for field in own if field.name not in {each.name for each in common}]
        return [*fields_of(self.request_type), *special, *common]

    def parse(self, arguments: list[str]) -> tuple[Request, Outputs] | None:
        """What the arguments ask for; None where they asked for help, which is then printed.

        Raises InputError that names the option.
        """
        try:
            given = _given(self, arguments)
        except click.exceptions.Exit:
            return None
        return _made(self.request_type, given), _made(self.outputs_type, given)


def overview(about: str, verbs: Rows) -> str:
    """The help of the whole program."""
    formatter = click.HelpFormatter()
    formatter.write_usage("topout", "VERB [OPTIONS]")
    _write_about(formatter, about)
    _write_rows(formatter, "Verbs", verbs)
    _write_rows(formatter, "Options", [_HELP, ("--version", "Show the version and exit.")])
    formatter.write("\n")
    formatter.write_text("See `topout VERB --help`.")
    return formatter.getvalue()


class _Parser(click.Command):
    """Splits the arguments of a command into texts by option; its help is written from fields."""

    def __init__(self, command: Command) -> None:
        self._command = command
        params: list[click.Parameter] = [
            click.Argument([_ARGUMENTS], nargs=-1, type=click.UNPROCESSED)
        ]
        params += [_option(field) for field in command.fields if not field.option.positional]
        settings = {"help_option_names": ["-h", "--help"]}
        super().__init__(command.name, params=params, context_settings=settings)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        command = self._command
        arguments = [field for field in command.fields if field.option.positional]
        options = [field for field in command.fields if not field.option.positional]
        formatter.write_usage(f"topout {command.name}", f"{_usage(arguments)} [OPTIONS]".strip())
        _write_about(formatter, command.about)
        _write_rows(formatter, "Arguments", [(each.metavar, _help(each)) for each in arguments])
        rows = [(_spelling(each), _help(each)) for each in options]
        _write_rows(formatter, "Options", [*rows, _HELP])
        _write_rows(formatter, "Commands", command.subcommands)
        _write_lines(formatter, "Examples", command.examples)


def _given(command: Command, arguments: list[str]) -> dict[str, Any]:
    """The values that the arguments give, by field."""
    see = f"See `topout {command.name} --help`."
    try:
        texts = _Parser(command).make_context(f"topout {command.name}", arguments).params
    except click.NoSuchOption as error:
        flags = [each.flag for each in command.fields if not each.option.positional]
        raise UnknownNameError("option", error.option_name, flags, see) from None
    except click.UsageError as error:
        raise InputError(f"{error.message.rstrip('.')}.", see) from None
    texts |= _arguments(command, texts.pop(_ARGUMENTS))
    given = [each for each in command.fields if texts[each.name] not in (None, ())]
    return {each.name: _value(each, texts[each.name]) for each in given}


def _arguments(command: Command, texts: Sequence[str]) -> dict[str, Any]:
    """Texts by argument; raises InputError where there are too few or too many."""
    fields = [field for field in command.fields if field.option.positional]
    if fields and fields[-1].many:
        return {fields[-1].name: texts}
    if texts and not fields and command.subcommands:
        words = [word for word, _ in command.subcommands]
        raise UnknownNameError(f"part of `topout {command.name}`", texts[0], words)
    required = sum(field.default is NODEFAULT for field in fields)
    if not required <= len(texts) <= len(fields):
        count = f"{len(texts)} {'is' if len(texts) == 1 else 'are'} named"
        names = f": {' '.join(texts)}" if texts else ""
        raise InputError(
            f"`topout {command.name}` takes {_usage(fields) or 'no name'}, and {count}{names}.",
            f"See `topout {command.name} --help`.",
        )
    return dict(zip_longest((field.name for field in fields), texts))


def _made(kind: type[Q], given: dict[str, Any]) -> Q:
    return kind(**{name: given[name] for name in kind.__struct_fields__ if name in given})


def _value(field: Field, given: Any) -> Any:
    """What the texts of an option mean; raises InputError for what is no number."""
    if field.type is bool:
        return given
    texts = given if field.many else [given]
    if field.many and field.option.commas and not field.option.positional:
        parts = [part.strip() for text in texts for part in text.split(",")]
        texts = [part for part in parts if part]
    values = []
    for text in texts:
        try:
            values.append(field.type(text))
        except ValueError:
            raise field.no_number(text) from None
    return values if field.many else values[0]


def _option(field: Field) -> click.Option:
    if field.type is bool:
        flags = [f"{field.flag}/{_negated(field)}", *filter(None, [field.option.short])]
        return click.Option([field.name, *flags], default=None)
    return click.Option([field.name, field.flag], type=click.UNPROCESSED, multiple=field.many)


def _usage(arguments: list[Field]) -> str:
    """Arguments as help shows them: "BEFORE AFTER", "[MODEL]"."""
    words = [each.metavar + "..." * each.many for each in arguments]
    required = [each.default is NODEFAULT for each in arguments]
    return " ".join(
        word if needed else f"[{word}]" for word, needed in zip(words, required, strict=True)
    )


def _spelling(field: Field) -> str:
    if field.type is not bool:
        return f"{field.flag} {field.metavar}"
    flag = f"{field.flag} / {_negated(field)}" if field.default else field.flag
    return f"{field.option.short}, {flag}" if field.option.short else flag


def _negated(field: Field) -> str:
    return f"--no-{field.flag.removeprefix('--')}"


def _help(field: Field) -> str:
    default = field.default
    if isinstance(default, list):
        default = ",".join(str(each) for each in default)
    if default is True:
        default = field.flag
    is_none = default == "" or any(default is each for each in (None, False, NODEFAULT))
    return field.option.help if is_none else f"{field.option.help}  [default: {default}]"


def _write_about(formatter: click.HelpFormatter, about: str) -> None:
    formatter.write("\n")
    with formatter.indentation():
        formatter.write_text(about)


def _write_rows(formatter: click.HelpFormatter, title: str, rows: Rows) -> None:
    if rows:
        with formatter.section(title):
            formatter.write_dl(rows, col_max=24)


def _write_lines(formatter: click.HelpFormatter, title: str, lines: Sequence[str]) -> None:
    """Lines as they are: one that is folded is no example to copy."""
    if lines:
        with formatter.section(title):
            formatter.write("".join(f"{'':{formatter.current_indent}}{line}\n" for line in lines))
