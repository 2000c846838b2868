"""A profile of any PyTorch code: where each moment of it belongs, and what it reached.

Read `runs` (what is run and timed), `slices` (the trace cut so that each moment counts once), then
the tables made of slices: `regions`, and `rates` from the counted work of operators. `phases` joins
them for each phase, `report` puts them into the record and says it in words.
"""
