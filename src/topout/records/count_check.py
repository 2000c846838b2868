"""What `topout cost --check` answers: two independent counts of one model, side by side."""

from topout.records.record import SCHEMA_VERSION, Record


class CountComparison(Record, frozen=True, kw_only=True):
    """One quantity by formula and as traced."""

    what: str  # "matrix products and attention", "convolutions", "parameters"
    formula: int
    traced: int
    reason: str | None = None  # why they differ, where that is known and right

    @property
    def difference(self) -> int:
        """Traced less formula."""
        return self.traced - self.formula


class CountCheck(Record, frozen=True, kw_only=True, tag_field="kind", tag="count_check"):
    """Formula against trace of one forward pass, attention counted in full on both sides."""

    schema_version: int = SCHEMA_VERSION
    model: str
    class_name: str  # of the module that was traced
    batch_size: int
    length: int
    comparisons: list[CountComparison]
    agrees: bool
    not_counted: list[str] = []  # ops that ran and have no formula
    failure: str | None = None  # why the trace is incomplete
