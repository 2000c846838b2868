"""Published kernel groups on 1, 2 and 4 GPUs, reproduced by `topout trace runs`.

    python benchmarks/kernel_groups.py

Writes nvprof CSVs that have the published sums (BERT and DistilGPT2, one epoch of fine-tuning on
V100s; how the sums divide into events is generated) into a temporary folder, compares the runs,
and prints the sums of each group beside the published ones, and the findings. Ends with 1 where a
sum differs by more than 0.01 %.
"""

import os
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
sys.path.insert(0, str(REPOSITORY))

from tests.trace.readers.nvprof_files import GROUPS, published_ns, write_published_run  # noqa: E402
from topout import TraceRuns, compare_runs  # noqa: E402

WORKLOADS = ("bert", "distilgpt2")
DEVICES = (1, 2, 4)
# How far a sum may be off: starts in seconds have six digits, durations in µs have six.
_TOLERANCE = 1e-4


def main() -> int:
    """Compare the runs of both programs; 0 where all sums are those published."""
    worst = 0.0
    with tempfile.TemporaryDirectory(prefix="topout-kernel-groups-") as folder:
        os.environ["TOPOUT_HOME"] = folder
        for workload in WORKLOADS:
            runs = [
                write_published_run(Path(folder) / f"{workload}-{devices}.csv", workload, devices)
                for devices in DEVICES
            ]
            found, _ = compare_runs(runs, groups="coarse")
            worst = max(worst, _print_groups(workload, found))
            print(f"\nfindings of {workload}:")
            for sentence in found.findings:
                print(f"- {sentence}")
            print()
    print(f"largest difference of a sum: {worst:.2e} (at most {_TOLERANCE:.0e})")
    return 0 if worst <= _TOLERANCE else 1


def _print_groups(workload: str, found: TraceRuns) -> float:
    """A row for each device and group; the largest relative difference."""
    print(f"{workload:<12}{'device':>7}  {'group':<12}{'published ms':>16}{'reproduced ms':>16}")
    worst = 0.0
    for run in found.runs:
        for each, sums in zip(run.ranks, published_ns(workload, run.devices), strict=True):
            times = {group.name: group.total_s * 1e3 for group in each.groups}
            for group in GROUPS:
                published, reproduced = sums[group] / 1e6, times.get(group, 0.0)
                worst = max(worst, abs(reproduced / published - 1))
                print(
                    f"{run.devices:>7} GPUs{each.device:>7}  {group:<12}"
                    f"{published:>16,.3f}{reproduced:>16,.3f}"
                )
    return worst


if __name__ == "__main__":
    sys.exit(main())
