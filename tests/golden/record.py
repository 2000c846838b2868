"""`python -m tests.golden.record [COMMAND…]`: write the golden records anew."""

import sys
import tempfile
from pathlib import Path

from .commands import CASES, Case, Recorded, lay_out_inputs

RECORDS = Path(__file__).parent / "records"


def place(case: Case, form: str) -> Path:
    """Where a form of a command is recorded; the JSON of one that measures is its input."""
    if form == "json" and isinstance(case, Recorded):
        return case.path
    return RECORDS / f"{case.slug}.{form}"


def main(slugs: list[str]) -> None:
    """Write these commands' records, or all and remove those of no command."""
    chosen = [case for case in CASES if not slugs or case.slug in slugs]
    written = set()
    with tempfile.TemporaryDirectory() as folder:
        lay_out_inputs(Path(folder))
        for case in chosen:
            for form, text in case.outputs(Path(folder)).items():
                place(case, form).write_text(text, encoding="utf-8")
                written.add(place(case, form))
    if not slugs:
        for path in set(RECORDS.iterdir()) - written:
            path.unlink()


if __name__ == "__main__":
    main(sys.argv[1:])
