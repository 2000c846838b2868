"""What traces say, one question a module, from the table of events to records.

Begin with `report`, which asks them all; `intervals` is the arithmetic that they stand on.
"""
