"""Corrupted inputs for every reader: seeds, mutators, targets, and a harness that watches them.

    python -m tests.fuzz            20,000 cases, as `make fuzz`
    python -m tests.fuzz --only 17  one of them again, with its traceback

Read `seeds.py` (small whole inputs in their real formats), `mutators.py` (what is done to them),
`targets.py` (who reads them), `cases.py` (a case by its number, the same in every run), `worker.py`
(a process that runs cases), `harness.py` (the one that watches it and counts) and
`command_line.py` (the same through the command).
"""
