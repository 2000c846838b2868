"""Ranks that meet, add up what each has, and write down on which addresses they listen."""

import json
import sys
from pathlib import Path

import psutil
import torch
import torch.distributed as dist

from topout.train.distributed import Ranks, end_process, join, wait_for_all


def main(folder: Path) -> None:
    ranks = Ranks.from_environment()
    join(ranks, torch.device("cpu"))
    total = torch.tensor([ranks.rank + 1])
    dist.all_reduce(total)
    connections = psutil.Process().net_connections()
    addresses = [each.laddr.ip for each in connections if each.status == "LISTEN"]
    wait_for_all()
    (folder / f"{ranks.rank}.json").write_text(json.dumps([total.item(), addresses]))
    end_process(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
