"""The heads that transformers puts on BERT, RoBERTa and DistilBERT, by the class's task."""

from topout.models.architecture import Head

TASKS = [
    "Model",
    "ForMaskedLM",
    "ForPreTraining",
    "ForNextSentencePrediction",
    "ForSequenceClassification",
    "ForMultipleChoice",
    "ForTokenClassification",
    "ForQuestionAnswering",
]


def heads_of(
    task: str, *, width: int, vocab_size: int, labels: int, tied: bool, pools: bool
) -> list[Head]:
    """The heads of one of TASKS; `pools`: the bare model ends in a pooler."""
    pooler = Head(name="pooler", inputs=width, outputs=width, bias=True, per="sequence")
    masked = [
        Head(
            name="transform",
            inputs=width,
            outputs=width,
            bias=True,
            per="token",
            norm="layer_norm",
        ),
        Head(name="head", inputs=width, outputs=vocab_size, bias=True, tied=tied, per="token"),
    ]

    def classify(outputs: int) -> list[Head]:
        # RoBERTa and DistilBERT have a layer of the pooler's size of their own before it.
        classifier = Head(
            name="classifier", inputs=width, outputs=outputs, bias=True, per="sequence"
        )
        return [pooler, classifier] if outputs else [pooler]

    per_token = Head(name="classifier", inputs=width, outputs=labels, bias=True, per="token")
    return {
        "Model": [pooler] if pools else [],
        "ForMaskedLM": masked,
        "ForPreTraining": [*masked, *classify(2)],
        "ForNextSentencePrediction": classify(2),
        "ForSequenceClassification": classify(labels),
        "ForMultipleChoice": classify(1),
        "ForTokenClassification": [per_token],
        "ForQuestionAnswering": [per_token],
    }[task]
