"""The terms of the field and of this program, each explained once for every page."""

TERMS = {
    "Prefill and decode": (
        "Prefill reads the whole prompt at once and yields the first new token; decode yields the "
        "others one after another. Prefill is mostly bound by arithmetic, decode by memory."
    ),
    "TTFT, TPOT": (
        "Time to first token: all of prefill; and time per output token after it: "
        "(total − TTFT) / (new tokens − 1)."
    ),
    "MFU": (
        "Model FLOP/s utilization: the FLOPs that the model needs, over the time taken, over the "
        "arithmetic rate that this machine was measured to reach. One multiply-add is 2 FLOPs."
    ),
    "MBU": (
        "Memory bandwidth utilization: the weight and KV-cache bytes that one step must read, over "
        "the time taken, over the bandwidth that this machine was measured to reach. Above 100 % "
        "some of the bytes came from a cache."
    ),
    "Speedup and its interval": (
        "Two rivals run in turns, and every pair of neighbouring runs gives one ratio. The figure "
        "is the median of the ratios; in brackets stands the 95 % bootstrap interval. An interval "
        "that holds 1 shows no difference."
    ),
    "Regions of the roofline": (
        "Memory-bound and compute-bound work reaches at least half of the roof above it. Poor work "
        "stands under half of both roofs, so something else takes its time. Work above a roof was "
        "given to the wrong one: its bytes came from a nearer level of memory, or its FLOPs were "
        "not all done."
    ),
    "±": "Half of the 95 % interval of the median, as a share of it.",
}


def terms(*names: str) -> list[tuple[str, str]]:
    """The terms of these names with their meanings."""
    return [(name, TERMS[name]) for name in names]
