"""The command line: thin verbs that parse, call one function, print and write JSON."""

import sys

import typer

from topout.cli.climb import climb
from topout.cli.cost import cost
from topout.cli.gemm import gemm
from topout.cli.machine import machine
from topout.cli.profile import profile
from topout.cli.run import run
from topout.cli.trace import trace
from topout.cli.train import train
from topout.errors import TopoutError

__all__ = ["app", "main"]

app = typer.Typer(
    name="topout",
    help=(
        "How far a transformer runs below what its hardware allows, why, "
        "and the way up, one proven step at a time."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def topout() -> None:
    """Keeps `topout VERB` even while there are few verbs."""


app.command()(machine)
app.command()(cost)
app.command()(run)
app.command()(profile)
app.command()(climb)
app.command()(gemm)
app.command()(trace)
app.command()(train)


def main() -> None:
    """Run the command line: exit 0 done, 2 bad input, 130 interrupted."""
    try:
        app()
    except TopoutError as error:
        print(f"topout: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except KeyboardInterrupt:
        print("topout: interrupted", file=sys.stderr)  # noqa: T201
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
