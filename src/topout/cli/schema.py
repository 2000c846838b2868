"""`topout schema`."""

import json
from typing import Annotated

from topout.cli.outputs import Outputs, Result
from topout.options import Option, Request
from topout.progress import Notify
from topout.records.kinds import KINDS, schema


class SchemaRequest(Request, frozen=True, kw_only=True):
    """The options of `topout schema`."""

    kind: Annotated[
        str | None,
        Option(
            "What a record says it is in its field `kind`; default: any record.",
            positional=True,
            metavar="KIND",
            choices=tuple(KINDS),
        ),
    ] = None


def _schema(request: SchemaRequest, outputs: Outputs, notify: Notify) -> Result:
    return Result(text=json.dumps(schema(request.kind), indent=1, ensure_ascii=False))


ANSWERS = {"": _schema}
