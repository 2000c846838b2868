"""How operators are named in tables and charts."""

from topout.records import OperatorRate

GAP = "(no operator)"


def short_name(name: str) -> str:
    """An operator without the namespace that nearly all have."""
    return name.removeprefix("aten::")


def rate_name(rate: OperatorRate) -> str:
    """What the operator is and whose: "mlp.up addmm"."""
    short = short_name(rate.name)
    return f"{rate.part} {short}" if rate.part else short
