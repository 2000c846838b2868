"""The command line: a verb a file, which calls one function and says what is shown of its answer.

Read `dispatch.py` (which commands there are, and how one runs), `command.py` (how options become a
command line), `outputs.py` (where results go), then a verb.
"""

from topout.cli.dispatch import main

__all__ = ["main"]
