"""Sessions of one pass over tiny models, built as a worker builds them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.models.tiny_passes import PASSES, write_pass
from topout.generation.build import TORCH_DTYPES, Build, build_pass_session
from topout.generation.pass_session import PassSession
from topout.models.pass_model import resolve_pass
from topout.records import WorkloadSummary
from topout.rungs.registry import find_rung


def pass_build(folder: Path, name: str, **changes: Any) -> Build:
    """A build over one of PASSES, written to `folder` first; `changes` are of the workload."""
    path = folder / name
    if not path.exists():
        write_pass(path, name)
    takes_images = "image_size" in PASSES[name][0] or name == "resnet"
    options: dict[str, Any] = {
        "task": "forward",
        "prompt_len": 0 if takes_images else 9,
        "new_tokens": 0,
        "image_size": 32 if takes_images else None,
        "batch_size": 2,
        "threads": 1,
        "device": "cpu",
        "dtype": "fp32",
        "temperature": 0.0,
    }
    workload = WorkloadSummary(**(options | changes))
    return Build(
        source=resolve_pass(str(path), image_size=workload.image_size),
        workload=workload,
        draft=None,
        quantized_folder=folder / "quantized",
        dtype=TORCH_DTYPES[workload.dtype],
    )


def pass_session(folder: Path, name: str, stack: Sequence[str] = ()) -> PassSession:
    """A session of a stack of rungs over one of PASSES."""
    return build_pass_session(pass_build(folder, name), [find_rung(each) for each in stack])
