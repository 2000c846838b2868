"""`topout cost check`: the formula's count of a model against that of a run of its module."""

from typing import Any

from torch import nn

from topout.cost.graph import count
from topout.cost.passes import full_pass_flops
from topout.models.architecture import Architecture, total_parameters
from topout.models.architectures.read import find_config, read_architecture
from topout.models.hub import offline
from topout.models.structure.build import build_on_meta, example_inputs
from topout.options import takes
from topout.records import Count, CountCheck, CountComparison
from topout.verbs.cost_request import CheckRequest

DEFAULT_LENGTH = 32


@takes(CheckRequest)
def check_count(request: CheckRequest) -> CountCheck:
    """Both counts of one forward pass of a named model, without weights.

    Raises what `find_architecture` and `build_on_meta` raise.
    """
    found = find_config(request.model)
    architecture = read_architecture(found.config_json, found.name, image_size=request.image_size)
    module = build_on_meta(found.config_json, found.name)
    longest = architecture.context_len or DEFAULT_LENGTH
    tokens = request.length or min(DEFAULT_LENGTH, longest)
    rows = request.batch_size
    choices = example_inputs(module, rows, None if architecture.kind == "image" else tokens)
    return compare(architecture, module, choices, rows, tokens)


def compare(
    architecture: Architecture,
    module: nn.Module,
    choices: list[dict[str, Any]],
    batch_size: int,
    length: int,
) -> CountCheck:
    """The formula for `architecture` against a run of `module` on the first inputs that it takes.

    `choices` hold keyword arguments of `batch_size` rows of `length` tokens.
    """
    with offline():
        found = _first_complete(module, choices)
    formula = full_pass_flops(architecture, batch_size, length)
    traced = {"product": 0, "convolution": 0}
    for row in found.rows:
        traced["convolution" if row.family == "convolution" else "product"] += row.work.flops
    comparisons = [
        CountComparison(
            what="FLOPs of matrix products and attention",
            formula=formula["product"],
            traced=traced["product"],
        ),
        CountComparison(
            what="FLOPs of convolutions",
            formula=formula["convolution"],
            traced=traced["convolution"],
        ),
        _parameters(architecture, module),
    ]
    agree = found.complete and all(
        each.difference == 0 or each.reason is not None for each in comparisons
    )
    return CountCheck(
        model=architecture.name,
        class_name=type(module).__name__,
        batch_size=batch_size,
        length=length,
        comparisons=comparisons,
        agrees=agree and not found.not_counted,
        not_counted=[f"{op.name} in {op.module or 'the model'}" for op in found.not_counted],
        failure=None if found.failure is None else found.failure.message,
    )


def _parameters(architecture: Architecture, module: nn.Module) -> CountComparison:
    """Parameters of both; a head that transformers ties where the checkpoint does not is told."""
    formula = total_parameters(architecture)
    traced = sum(parameter.numel() for parameter in module.parameters())
    untied = sum(head.inputs * head.outputs for head in architecture.heads if not head.tied)
    is_tied_there = formula != traced and formula - traced == untied
    reason = (
        "transformers ties this head to the embedding where it builds the model from its config "
        "alone; the checkpoint holds both"
        if is_tied_there
        else None
    )
    return CountComparison(what="parameters", formula=formula, traced=traced, reason=reason)


def _first_complete(module: nn.Module, choices: list[dict[str, Any]]) -> Count:
    module.eval()
    for inputs in choices:
        found = count(module, **inputs)
        if found.complete:
            return found
    return found
