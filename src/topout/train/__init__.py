"""Training over ranks: the work of one step, timed by its parts, alone and data-parallel."""
