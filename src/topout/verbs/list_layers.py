"""`topout cost layers`: a named model layer by layer, its tree and its graph, without weights."""

from typing import Any

from torch import nn

from topout.models.architectures.read import find_config
from topout.models.hub import offline
from topout.models.precision import precision_of, stated_dtype
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
    dtype: str | None = None,
    published_dtype: str | None = None,
) -> LayersReport:
    """What `topout cost layers` answers for a model of transformers, without its weights.

    `length` in tokens, of text models; `depth` bounds how deep layers are told; `expand` keeps
    equal blocks of the graph apart. Without a `dtype` it is that of publication, by default the one
    that the config states. A forward pass that fails stands in the record, with the op that failed.
    Raises InputError and UnsupportedError as `precision_of`, `build_on_meta`, `example_inputs` and
    `layers_of` do.
    """
    precision = precision_of(name, published_dtype or stated_dtype(config_json, name), dtype)
    module = build_on_meta(config_json, name, precision.dtype)
    recording = _first_that_runs(module, batch_size, length)
    failure = recording.failure
    return LayersReport(
        **stamp(),
        model=name,
        class_name=type(module).__name__,
        dtype=precision.dtype,
        dtype_origin=precision.origin,
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
        with quiet_transformers(), offline():
            recordings.append(record_forward(module, **inputs))
        if recordings[-1].failure is None:
            return recordings[-1]
    return recordings[0]


@takes(LayersRequest)
def list_layers(request: LayersRequest) -> LayersReport:
    """The layers of what a user names: a folder, a config.json, a known name or a hub id.

    Raises what `find_config` and `report_layers` raise.
    """
    found = find_config(request.model)
    return report_layers(
        found.config_json,
        found.name,
        batch_size=request.batch_size,
        length=request.length,
        depth=request.depth,
        expand=request.expand,
        dtype=request.dtype,
        published_dtype=found.published_dtype,
    )
