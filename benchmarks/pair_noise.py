"""Record how much the times of two equal stacks differ on this machine, run in turns as in a climb.

    python benchmarks/pair_noise.py pycode-7m --state quiet            # 3 minutes
    python tools/busy_neighbour.py python benchmarks/pair_noise.py pycode-7m --state busy

Two workers of the same stack run in turns, A B, B A …, over the prompts in turn, as the rungs of a
climb do. Writes `benchmarks/results/pair-noise-<model>-<state>-<host key>-<date>.json`: for each
pair the prompt, both times and the share of CPU time that the hypervisor took.
`benchmarks/speed_verdicts.py` replays them.
"""

import argparse
import datetime
import importlib.metadata
import json
import time
from pathlib import Path

import msgspec

from topout.generation.subject import resolve_subject, set_up
from topout.ladder.duel import Candidate, Timing
from topout.ladder.request import ClimbRequest
from topout.ladder.stack import Stack
from topout.ladder.state import ClimbFolder

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Record, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--state", choices=("quiet", "busy"), required=True)
    parser.add_argument("--stacks", default="static_cache", help="each recorded, commas between")
    parser.add_argument("--seconds", type=float, default=90.0, help="for each stack")
    asked = parser.parse_args()
    request = ClimbRequest(model=asked.model)
    subject = resolve_subject(request)
    folder = ClimbFolder.create("climb", f"noise-{subject.source.name}")
    folder.prepare()
    setting = set_up(subject, None, 16, folder, lambda text, done: None)
    stacks = {}
    for name in asked.stacks.split(","):
        stacks[name] = record(name, setting, folder, asked.seconds)
        print(f"{name}: {len(stacks[name])} pairs", flush=True)
    result = {
        "model": subject.source.name,
        "state": asked.state,
        "machine": subject.machine.cpu_model,
        "host_key": subject.machine.host_key,
        "threads": setting.workload.threads,
        "date": datetime.date.today().isoformat(),
        "torch": importlib.metadata.version("torch"),
        "stacks": stacks,
    }
    model = Path(asked.model).name
    name = f"pair-noise-{model}-{asked.state}-{result['host_key']}-{result['date']}.json"
    (RESULTS / name).write_text(json.dumps(msgspec.to_builtins(result), indent=1) + "\n")
    print(RESULTS / name)


def record(name: str, setting, folder: ClimbFolder, seconds: float) -> list[dict]:
    """Pairs of runs of a stack and its copy."""
    stack = Stack.of([] if name == "baseline" else name.split("+"))
    preparation = msgspec.structs.replace(
        setting.preparation("transformers"), transforms=stack.names
    )
    began = time.monotonic()
    timing = Timing(setting.workload.new_tokens, lambda: time.monotonic() - began)
    pairs: list[dict] = []
    both = [Candidate(stack, folder.logs, setting.workload.threads, 600.0) for _ in range(2)]
    try:
        for each in both:
            each.prepare(preparation)
        timing.fit_to(timing.run(both[0], 0))
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            number = len(pairs)
            order = both if number % 2 == 0 else both[::-1]
            samples = {id(each): timing.run(each, number) for each in order}
            rival, candidate = (samples[id(each)] for each in both)
            pairs.append(
                {
                    "prompt": number,
                    "at_s": rival.at_s,
                    "rival_s": rival.total_s,
                    "candidate_s": candidate.total_s,
                    "stolen": [rival.stolen_share, candidate.stolen_share],
                }
            )
    finally:
        for each in both:
            each.close()
    return pairs


if __name__ == "__main__":
    main()
