"""Whether a rung's output is still right: what it was compared with, and what it loses."""

from collections.abc import Callable

from topout import units
from topout.records import Interval, Verification
from topout.report.document import Column, Row, Table


def verification_facts(verification: Verification | None) -> list[tuple[str, str]]:
    """The verdict and the figures behind it; nothing where nothing was verified."""
    if verification is None:
        return []
    v = verification
    figures: list[tuple[str, float | int | None]] = [
        ("Positions compared", v.positions),
        ("Positions with a clear margin", v.decided_positions),
        ("Rounding noise of the baseline", v.rounding_noise),
        ("Largest error of a logit", v.max_logit_error),
        ("Decode from its own large pass, nats per token", v.decode_divergence),
        ("Perplexity", v.perplexity),
        ("Perplexity over the baseline's", v.perplexity_ratio),
        ("Bits per byte", v.bits_per_byte),
        ("Generated tokens compared", v.generated_tokens_compared),
        ("First differing token", v.first_divergence),
        ("p-value of the same distribution", v.p_value),
    ]
    verdict = {"right": "right", "not proven": "not proven"}.get(v.verdict or "", "not right")
    rows = [
        ("Verdict", f"{'right' if v.passed else verdict}: {v.reason}"),
        ("Method", v.method),
        ("Compared with", v.against or "the baseline"),
    ]
    if v.token_agreement is not None:
        interval = interval_range(v.agreement_interval, _share)
        rows.append(("Tokens that agree", _share(v.token_agreement) + interval))
    if v.kl_divergence is not None:
        interval = interval_range(v.kl_interval, _nats)
        rows.append(("KL divergence, nats per token", _nats(v.kl_divergence) + interval))
    if v.cosine_distance is not None:
        interval = interval_range(v.cosine_interval, _nats)
        rows.append(("1 − cosine with the baseline's", _nats(v.cosine_distance) + interval))
    return rows + [(name, f"{value:.5g}") for name, value in figures if value is not None]


def loss_table(verification: Verification | None) -> Table:
    """The loss of each held-out text; no rows where none was scored."""
    quality = verification.quality if verification is not None else None
    titles = ("Tokens", "Bytes per\ntoken", "Baseline,\nnats", "Rung,\nnats", "Perplexity")
    columns = [Column("Held-out text", text=True), *map(Column, titles)]
    if quality is None:
        return Table(columns, [])
    rows = [
        Row(
            [
                each.text,
                str(each.tokens),
                f"{each.bytes_per_token:.2f}",
                f"{each.baseline_loss:.4f}",
                f"{each.loss:.4f}",
                f"{each.rise:+.2%}" + interval_range(each.interval, lambda value: f"{value:+.2%}"),
            ]
        )
        for each in quality.texts
    ]
    looks = "1 look" if quality.looks == 1 else f"{quality.looks} looks"
    whole = f"{quality.rise:+.2%}" + interval_range(quality.interval, lambda value: f"{value:+.2%}")
    total = Row(["All", str(quality.tokens), "", "", "", whole])
    title = f"Loss on held-out text, {looks}, {units.seconds(quality.elapsed_s)}"
    return Table(columns, [*rows, total], title)


def _nats(value: float) -> str:
    return f"{value:.3g}"


def _share(value: float) -> str:
    return units.percent(value, 2)


def interval_range(interval: Interval | None, shown: Callable[[float], str]) -> str:
    """An interval behind its figure: " [1.2, 1.4]"; nothing without one."""
    return f" [{shown(interval.low)}, {shown(interval.high)}]" if interval is not None else ""
