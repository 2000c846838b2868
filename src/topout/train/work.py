"""The work of a sample, and whether two cases did the same: only then is one a speedup."""

import math
from typing import Any

import msgspec

from topout.cost.full_pass import full_pass_ops
from topout.cost.training import training_ops
from topout.models.architecture import Architecture, Head
from topout.models.architectures.read import read_architecture
from topout.records import TrainCase, TrainTask

_CLASSIFIERS = {
    "bert": "BertForSequenceClassification",
    "roberta": "RobertaForSequenceClassification",
    "xlm-roberta": "XLMRobertaForSequenceClassification",
    "distilbert": "DistilBertForSequenceClassification",
}
_SAME = 0.01  # relative difference of work per sample that is none


def flops_per_sample(
    config_json: dict[str, Any],
    name: str,
    *,
    task: TrainTask,
    labels: int,
    sequence_len: int,
    samples: int,
    parameters: int,
) -> float:
    """FLOPs of one sample of `sequence_len` positions: forward, backward, its share of the update.

    `samples` share one update of `parameters` weights. Padding is computed, and counted. See
    `cost.training` for the formulas.
    """
    architecture = trained_architecture(config_json, name, task, labels)
    forward = full_pass_ops(architecture, 1, sequence_len)
    ops = training_ops(forward, parameters)
    update = next(op.flops for op in ops if op.name == "optimizer")
    return sum(op.flops for op in ops) - update + update / samples


def trained_architecture(
    config_json: dict[str, Any], name: str, task: TrainTask, labels: int
) -> Architecture:
    """The network with the head of its task.

    Raises UnsupportedError for a `model_type` that is not counted.
    """
    if task == "lm":
        return read_architecture(config_json, name)
    classifier = _CLASSIFIERS.get(str(config_json.get("model_type")))
    if classifier is not None:
        plain = {key: value for key, value in config_json.items() if key != "id2label"}
        stated = {"architectures": [classifier], "num_labels": labels}
        return read_architecture({**plain, **stated}, name)
    decoder = read_architecture(config_json, name)
    head = Head(name="classifier", inputs=decoder.width, outputs=labels, bias=False, per="sequence")
    return msgspec.structs.replace(decoder, heads=[head])


def different_work(alone: TrainCase, together: TrainCase) -> str | None:
    """Why the two cases cannot be compared, in a sentence; None where they can.

    They did the same work where both are done, a sample cost the same in both, and its positions
    were as many.
    """
    for case in (alone, together):
        if case.status != "done":
            plural = "" if case.ranks == 1 else "s"
            return f"The case with {case.ranks} rank{plural} is not done."
    if not _same(alone.flops_per_sample, together.flops_per_sample):
        return "The two do not compute the same for a sample."
    if not _same(_tokens_per_sample(alone), _tokens_per_sample(together)):
        return "The samples of the two are not of the same length."
    return None


def _tokens_per_sample(case: TrainCase) -> float | None:
    if case.tokens_per_s is None or case.samples_per_s is None:
        return None
    return case.tokens_per_s.median / case.samples_per_s.median


def _same(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=_SAME)
