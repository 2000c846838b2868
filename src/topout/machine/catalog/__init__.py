"""Machines to predict for: those that ship with the program, and those that the user saved."""

from topout.machine.catalog.check import check_hardware
from topout.machine.catalog.find import find_hardware, known_hardware, read_hardware
from topout.machine.catalog.measured import hardware_of
from topout.machine.catalog.own import save_hardware, saved_folder, saved_names
from topout.machine.catalog.shipped import catalog_names, same_device, shipped_hardware

__all__ = [
    "catalog_names",
    "check_hardware",
    "find_hardware",
    "hardware_of",
    "known_hardware",
    "read_hardware",
    "same_device",
    "save_hardware",
    "saved_folder",
    "saved_names",
    "shipped_hardware",
]
