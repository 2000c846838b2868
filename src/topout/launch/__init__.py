"""Ranks as local processes, started by torchrun: none outlives the others or the program."""
