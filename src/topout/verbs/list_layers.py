"""`topout cost --layers`: a named model layer by layer, its tree and its graph, without weights."""

from topout.models.architectures.find import find_config_json
from topout.models.structure.report import report_layers
from topout.records import LayersReport


def list_layers(
    model: str,
    *,
    batch_size: int = 1,
    length: int | None = None,
    depth: int | None = None,
    expand: bool = False,
    dtype: str = "fp32",
) -> LayersReport:
    """The layers of what a user names: a folder, a config.json, a known name or a hub id.

    Raises what `find_config_json` and `report_layers` raise.
    """
    name, config_json = find_config_json(model)
    return report_layers(
        config_json,
        name,
        batch_size=batch_size,
        length=length,
        depth=depth,
        expand=expand,
        dtype=dtype,
    )
