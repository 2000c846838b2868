"""Machines to predict for: those that ship with the program (`data/`), and those of the user.

`find` gives a machine by its name and checks its file, `measured` makes one of the machine that the
program runs on.
"""
