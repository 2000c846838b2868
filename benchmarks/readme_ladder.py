"""Write the README's ladder from the record of a climb: published tables are never typed.

python benchmarks/readme_ladder.py benchmarks/results/climb-pycode-7m-….json …
"""

import re
import sys
from pathlib import Path

from topout import Climb, read, units
from topout.report.climb.document import headlines, verdict_cell
from topout.report.climb.rung import RungRow, rung_rows
from topout.report.figures import precision

README = Path(__file__).parent.parent / "README.md"
MARKS = ("<!-- ladder -->", "<!-- /ladder -->")


def main() -> None:
    """Replace what stands between the marks."""
    climbs = [read(Path(record), Climb) for record in sys.argv[1:]]
    body = "\n\n".join(ladder(each) for each in climbs)
    pattern = f"{re.escape(MARKS[0])}.*?{re.escape(MARKS[1])}"
    text = README.read_text()
    assert re.search(pattern, text, flags=re.DOTALL), f"no {MARKS[0]} in {README}"
    replacement = f"{MARKS[0]}\n{body}\n{MARKS[1]}"
    README.write_text(re.sub(pattern, lambda _: replacement, text, flags=re.DOTALL))


def ladder(climb: Climb) -> str:
    """One climb: a caption, the rungs as the report has them, and its headlines below."""
    workload, model = climb.workload, climb.model
    lines = [
        f"**{model.name}** ({units.count(model.parameters)} parameters, {model.weights} weights), "
        f"{precision(workload.dtype, workload.dtype_origin)}, prompt {workload.prompt_len}, "
        f"{workload.new_tokens} new tokens, batch "
        f"{workload.batch_size}, {workload.threads} threads of an {climb.machine.cpu_model} "
        f"virtual machine, {climb.created_at[:10]}:",
        "",
        "| rung | prefill tok/s | decode tok/s | over its rival | predicted | over the baseline "
        "| verdict and reason |",
        "|---|---:|---:|---:|---:|---:|---|",
        *(_line(row) for row in rung_rows(climb)),
        "",
        "\n\n".join(headlines(climb)),
    ]
    return "\n".join(lines)


def _line(row: RungRow) -> str:
    timed = row.speedup.value != units.ABSENT
    verdict = verdict_cell(row).value
    if row.replaced_by is not None:
        verdict = verdict.replace("replaced", f"replaced by `{row.replaced_by}`")
    elif row.rung.status != "kept":  # the reason to keep one is its ratio, which has a column
        verdict = f"{verdict}: {row.note}"
    cells = [
        f"`{row.label}`",
        row.prefill.value,
        row.decode.value,
        row.speedup.line,
        row.predicted if timed else units.ABSENT,
        row.over_baseline.line,
        verdict,
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
