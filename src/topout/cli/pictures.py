"""Charts as files: SVG or PNG, by the name's ending."""

from pathlib import Path
from typing import Any

from topout.errors import InputError, OutputError


def check_picture(path: Path | None) -> None:
    """Raise InputError for an ending that is neither .svg nor .png."""
    if path is not None and path.suffix.lower() not in (".svg", ".png"):
        raise InputError(f"{path} ends in neither .svg nor .png.", "Choose one of the two.")


def write_chart(spec: dict[str, Any], path: Path) -> None:
    """Write a chart; raises OutputError when the file cannot be written."""
    from topout.report.charts.theme import chart_png, chart_svg

    check_picture(path)
    data = (
        chart_png(spec)
        if path.suffix.lower() == ".png"
        else chart_svg(spec, background="white").encode()
    )
    try:
        path.write_bytes(data)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror}.", "Choose another place for the picture."
        ) from None
