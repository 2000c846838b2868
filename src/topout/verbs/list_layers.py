"""`topout cost layers`: a named model layer by layer, its tree and its graph, without weights."""

from typing import Any

from torch import nn

from topout.models.architectures.read import find_config_json
from topout.models.structure.build import build_on_meta, example_inputs, quiet_transformers
from topout.models.structure.graph import graph_of
from topout.models.structure.layers import layers_of
from topout.models.structure.recorder import record_forward
from topout.models.structure.recording import Recording
from topout.options import takes
from topout.records import GraphPort, LayersReport
from topout.records.record import stamp
from topout.verbs.cost_request import LayersRequest


def report_layers(
    config_json: dict[str, Any],
    name: str,
    *,
    batch_size: int = 1,
    length: int | None = None,
    depth: int | None = None,
    expand: bool = False,
    dtype: str = "fp32",
) -> LayersReport:
    """What `topout cost layers` answers for a model of transformers, without its weights.

    `length` in tokens, of text models; `depth` bounds how deep layers are told; `expand` keeps
    equal blocks of the graph apart. A forward pass that fails stands in the record, with the op
    that failed. Raises InputError and UnsupportedError as `build_on_meta`, `example_inputs` and
    `layers_of` do.
    """
    module = build_on_meta(config_json, name, dtype)
    recording = _first_that_runs(module, batch_size, length)
    failure = recording.failure
    return LayersReport(
        **stamp(),
        model=name,
        class_name=type(module).__name__,
        dtype=dtype,
        inputs=[GraphPort(name=each, shape=list(shape)) for each, shape, _ in recording.inputs],
        layers=layers_of(recording, depth),
        graph=None if failure is not None else graph_of(recording, expand),
        reasons={}
        if failure is None
        else {"graph": f"{failure.layer} could not be traced past {failure.op}."},
    )


def _first_that_runs(module: nn.Module, batch_size: int, length: int | None) -> Recording:
    """A recording without failure; else that of the first inputs."""
    recordings = []
    for inputs in example_inputs(module, batch_size, length):
        with quiet_transformers():
            recordings.append(record_forward(module, **inputs))
        if recordings[-1].failure is None:
            return recordings[-1]
    return recordings[0]


@takes(LayersRequest)
def list_layers(request: LayersRequest) -> LayersReport:
    """The layers of what a user names: a folder, a config.json, a known name or a hub id.

    Raises what `find_config_json` and `report_layers` raise.
    """
    name, config_json = find_config_json(request.model)
    return report_layers(
        config_json,
        name,
        batch_size=request.batch_size,
        length=request.length,
        depth=request.depth,
        expand=request.expand,
        dtype=request.dtype,
    )
