"""Corrupted inputs for every reader: seeds, mutators, targets, and a harness that watches them.

    python -m tests.fuzz            20,000 cases, as `make fuzz`
    python -m tests.fuzz --only 17  one of them again, with its traceback

Read `seeds.py` (small whole inputs in their real formats), `mutators.py` (what is done to them),
`targets.py` (who reads them), `worker.py` (a process that runs cases) and `harness.py` (the one
that watches it and counts). A case is its number and the seed: the same in every run.
"""
