"""Folders of climbs as `topout climb` leaves them, of the bundled model or another."""

from pathlib import Path
from typing import Any

import msgspec

from tests.report.example_climb import example_climb
from topout.ladder.request import ClimbRequest
from topout.ladder.state import ClimbFolder
from topout.machine.describe import describe
from topout.models.source import resolve_model
from topout.records import Climb
from topout.version import __version__

BEST = "static_cache + native_linear_int8"
BEST_EXACT = "static_cache + native_linear_fp32"


def climb_of(model: str = "bundled", **changes: Any) -> Climb:
    """A finished climb of a model on this machine, with some fields changed."""
    climb = example_climb()
    source = resolve_model(model)
    summary = msgspec.structs.replace(climb.model, name=source.name, fingerprint=source.fingerprint)
    own: dict[str, Any] = {
        "model": summary,
        "machine": describe(),
        "topout_version": __version__,
        "best": BEST,
        "best_exact": BEST_EXACT,
    }
    return msgspec.structs.replace(climb, **(own | changes))


def climb_folder(path: Path, model: str = "bundled", **changes: Any) -> Path:
    """The folder of that climb; `changes` are of its record."""
    path.mkdir(parents=True)
    folder = ClimbFolder(path)
    folder.save(climb_of(model, **changes))
    folder.save_request(ClimbRequest(model=model))
    return path
