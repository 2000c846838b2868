"""Write the README's ladder from the record of a climb: published tables are never typed.

python benchmarks/readme_ladder.py benchmarks/results/climb-pycode-7m-….json …
"""

import re
import sys
from pathlib import Path

from topout import Climb, read, units

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
    """One climb: a caption, the rungs, and the duels below."""
    workload, model = climb.workload, climb.model
    lines = [
        f"**{model.name}** ({units.count(model.parameters)} parameters, {model.weights} weights), "
        f"prompt {workload.prompt_len}, {workload.new_tokens} new tokens, batch "
        f"{workload.batch_size}, {workload.threads} threads of an {climb.machine.cpu_model} "
        f"virtual machine, {climb.created_at[:10]}:",
        "",
        "| rung | prefill tok/s | decode tok/s | over its rival | predicted | verdict |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for rung in climb.rungs:
        speeds = ["–", "–"]
        if rung.prefill is not None and rung.decode is not None:
            speeds = [
                units.significant(phase.tokens_per_s.median)
                for phase in (rung.prefill, rung.decode)
            ]
        over = "–"
        if rung.speedup is not None:
            over = f"{rung.speedup.median:.2f}× [{rung.speedup.low:.2f}, {rung.speedup.high:.2f}]"
        expected = "–" if rung.speedup is None else units.times(rung.predicted_speedup)
        lines.append(
            f"| `{rung.name}` | {speeds[0]} | {speeds[1]} | {over} | {expected} | {rung.status} |"
        )
    for what, duel in (("Best", climb.duel), ("Best with the output unchanged", climb.exact_duel)):
        if duel is not None:
            ratio = duel.decode_speedup
            lines += [
                "",
                f"{what}: {duel.champion}, **{ratio.median:.2f}×** the baseline in decode "
                f"[{ratio.low:.2f}, {ratio.high:.2f}].",
            ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
