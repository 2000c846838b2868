"""`topout generate`."""

import sys

import msgspec

from topout.cli.outputs import JsonOutputs, Result
from topout.cli.standard_streams import showing
from topout.errors import InputError
from topout.progress import Notify, say
from topout.records import GenerateReport
from topout.run_folder import Interrupted
from topout.visible_text import one_line, visible_prose
from topout.winner.request import STANDARD_INPUT, GenerateRequest


class GenerateOutputs(JsonOutputs, frozen=True, kw_only=True):
    """The text as it comes, or a record of it on standard output."""

    @property
    def shows_progress(self) -> bool:
        """A bar and a text would be in each other's way on a terminal."""
        return super().shows_progress and (self.verbose or not self.shows_text)

    @property
    def shows_text(self) -> bool:
        """Whether standard output is the text itself."""
        return self.shown_format is None

    def show(self, result: Result) -> None:
        """Print the record in a format; the text was shown while it came."""
        if not self.shows_text:
            super().show(result)


def _generate(request: GenerateRequest, outputs: GenerateOutputs, notify: Notify) -> Result:
    from topout.report.generate.document import finish_sentence
    from topout.verbs.generate import generate

    request = msgspec.structs.replace(request, text=_prompt(request.text))
    show = _show if outputs.shows_text else None
    if outputs.shows_text and not (outputs.quiet or outputs.verbose):
        notify = _say_on_terminal
    try:
        record = generate(request, show=show, notify=notify)
    except Interrupted as interrupted:
        assert isinstance(interrupted.record, GenerateReport)
        interrupted.remedy = finish_sentence(interrupted.record)
        _end(outputs)
        raise
    _end(outputs)
    said = [f"{each.sentence} {each.remedy}" for each in record.doubts]
    said.append(finish_sentence(record))
    return Result(record, note="\n".join(one_line(f"topout: {each}") for each in said))


def _prompt(text: str) -> str:
    """The prompt itself, or what comes on standard input, without the line end behind it."""
    if text != STANDARD_INPUT:
        return text
    try:
        read = sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"standard input is not UTF-8 text (byte {error.start}).", "Convert it to UTF-8."
        ) from None
    return read.removesuffix("\n")


def _show(piece: str) -> None:
    """Write a piece of the text at once; on a terminal nothing in it is obeyed."""
    if sys.stdout.isatty():
        piece = visible_prose(piece.replace("\r\n", "\n").replace("\t", "    "))
    with showing():
        sys.stdout.write(piece)


def _end(outputs: GenerateOutputs) -> None:
    """End the text's last line."""
    if outputs.shows_text:
        _show("\n")


def _say_on_terminal(what: str, done: float) -> None:
    """What takes long before the first token; a text in a file is not accompanied."""
    if sys.stderr.isatty():
        say(one_line(f"topout: {what} …"))


ANSWERS = {"": _generate}
