"""Topout: how far a transformer runs below what its hardware allows, why, and the way up.

Every verb of the command line is a function here. Importing this imports no torch: each name is
looked up when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from topout.errors import TopoutError
    from topout.gemm.request import GemmRequest
    from topout.generation.run_request import RunRequest
    from topout.ladder.request import ClimbRequest
    from topout.verbs.report_machine import report_machine
    from topout.models.load import (
        load_decoder,
        load_encoder,
        resolve_encoder,
        resolve_model,
        resolve_source,
    )
    from topout.models.trainable import load_trainable
    from topout.profiling.request import ProfileRequest
    from topout.quantization.swap_linears import swap_linears
    from topout.records import (
        Ceilings,
        Climb,
        CostReport,
        GemmReport,
        Hardware,
        Machine,
        MachineReport,
        ProfileReport,
        RunReport,
        TraceDiff,
        TraceReport,
        TraceRuns,
        TrainReport,
        read,
        write,
    )
    from topout.rungs.rung import Rung
    from topout.train.request import TrainRequest
    from topout.verbs.check_count import check_count
    from topout.verbs.climb import climb, resume
    from topout.verbs.compare_gemms import compare_gemms
    from topout.verbs.cost_request import CostRequest
    from topout.verbs.list_layers import list_layers
    from topout.verbs.profile_callable import profile
    from topout.verbs.profile_model import profile_model
    from topout.verbs.read_traces import diff_traces, report_trace
    from topout.verbs.report_cost import report_cost
    from topout.verbs.run_model import run_model
    from topout.verbs.report_machine import save_machine
    from topout.verbs.trace_runs import compare_runs
    from topout.verbs.train_model import train_model
    from topout.verbs.work_example import work_example

__all__ = [
    "Ceilings",
    "Climb",
    "ClimbRequest",
    "CostReport",
    "CostRequest",
    "GemmReport",
    "GemmRequest",
    "Hardware",
    "Machine",
    "MachineReport",
    "ProfileReport",
    "ProfileRequest",
    "RunReport",
    "RunRequest",
    "Rung",
    "TopoutError",
    "TraceDiff",
    "TraceReport",
    "TraceRuns",
    "TrainReport",
    "TrainRequest",
    "check_count",
    "climb",
    "compare_gemms",
    "compare_runs",
    "diff_traces",
    "list_layers",
    "load_decoder",
    "load_encoder",
    "load_trainable",
    "profile",
    "profile_model",
    "read",
    "report_cost",
    "report_machine",
    "report_trace",
    "resolve_encoder",
    "resolve_model",
    "resolve_source",
    "resume",
    "run_model",
    "save_machine",
    "swap_linears",
    "train_model",
    "work_example",
    "write",
]

_HOMES = {
    "TopoutError": "topout.errors",
    "report_machine": "topout.verbs.report_machine",
    "load_decoder": "topout.models.load",
    "load_encoder": "topout.models.load",
    "resolve_encoder": "topout.models.load",
    "resolve_model": "topout.models.load",
    "resolve_source": "topout.models.load",
    "load_trainable": "topout.models.trainable",
    "climb": "topout.verbs.climb",
    "resume": "topout.verbs.climb",
    "ClimbRequest": "topout.ladder.request",
    "Rung": "topout.rungs.rung",
    "check_count": "topout.verbs.check_count",
    "GemmRequest": "topout.gemm.request",
    "compare_gemms": "topout.verbs.compare_gemms",
    "CostRequest": "topout.verbs.cost_request",
    "list_layers": "topout.verbs.list_layers",
    "diff_traces": "topout.verbs.read_traces",
    "report_trace": "topout.verbs.read_traces",
    "ProfileRequest": "topout.profiling.request",
    "profile": "topout.verbs.profile_callable",
    "profile_model": "topout.verbs.profile_model",
    "report_cost": "topout.verbs.report_cost",
    "RunRequest": "topout.generation.run_request",
    "run_model": "topout.verbs.run_model",
    "save_machine": "topout.verbs.report_machine",
    "swap_linears": "topout.quantization.swap_linears",
    "TrainRequest": "topout.train.request",
    "compare_runs": "topout.verbs.trace_runs",
    "train_model": "topout.verbs.train_model",
    "work_example": "topout.verbs.work_example",
}


def __getattr__(name: str) -> Any:
    """The public name, imported from its home on first use."""
    if name not in __all__:
        raise AttributeError(f"module 'topout' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "topout.records")), name)
