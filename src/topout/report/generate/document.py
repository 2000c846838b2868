"""A generated text as a document: the text, its speed, and what it was made with."""

from topout import units
from topout.records import GenerateReport
from topout.report.document import Absent, Document, Facts, Paragraph, Section

_FINISHES = {
    "length": "as many as asked for",
    "end of text": "the model ended the text",
    "stop": "a text to stop at was reached",
    "context": "the context has no more room",
    "interrupted": "interrupted",
}


def generate_document(report: GenerateReport) -> Document:
    """The report of a generated text."""
    sampling = "greedy"
    if report.temperature:
        sampling = f"temperature {report.temperature:g}, seed {report.seed}"
        sampling += f", top {report.top_k}" if report.top_k is not None else ""
        sampling += f", top-p {report.top_p:g}" if report.top_p is not None else ""
    facts = [
        ("Stack", f"{report.stack} ({report.output_class})"),
        ("Prompt", units.counted(report.prompt_tokens, "token")),
        ("Decoding", sampling),
        ("Device", f"{report.device}, {units.counted(report.threads, 'thread')}"),
        ("Precision of the baseline", report.dtype),
        ("Loaded and warmed up in", units.seconds(report.load_s)),
    ]
    return Document(
        record=report,
        title=report.model.name,
        about=f"a text of {units.counted(len(report.token_ids), 'token')}",
        headlines=[finish_sentence(report)],
        parts=[
            Section("Prompt", [Paragraph(report.prompt)], key="prompt"),
            Section("Text", [Paragraph(report.text)], key="text"),
            Facts(facts, "How it was made"),
        ],
        doubts=report.doubts,
        absent=Absent(report.reasons),
    )


def finish_sentence(report: GenerateReport) -> str:
    """How much came, why it ended and how fast it was, under which stack."""
    prefill, decode = report.prefill_tokens_per_s, report.decode_tokens_per_s
    rates = [
        f"{name} {units.significant(value)} tokens/s"
        for name, value in (("prefill", prefill), ("decode", decode))
        if value is not None
    ]
    tokens = units.counted(len(report.token_ids), "token")
    per_pass = report.tokens_per_pass
    if per_pass is not None and per_pass > 1:
        rates.append(f"{per_pass:.2g} tokens per pass")
    speed = f" {', '.join(rates)}.".replace(" prefill", " Prefill", 1) if rates else ""
    finish = _FINISHES.get(report.finish, report.finish)
    return f"{tokens}, {finish}.{speed} {report.model.name}, {report.stack}."
