"""The model whose cost is asked for, as results and the list of known models name it."""

import msgspec

from topout.models.architecture import (
    Architecture,
    Block,
    Counted,
    active_parameters,
    experts_of,
    parameters_by_part,
    total_parameters,
)
from topout.models.architectures.read import (
    find_architecture,
)
from topout.models.known import known_config_json
from topout.models.known_counted import COUNTED
from topout.models.known_facts import facts_of
from topout.models.precision import stated_dtype
from topout.models.stored_weights import stored_weights
from topout.records import (
    CostedModel,
)


def costed_model(architecture: Architecture) -> CostedModel:
    """The model as results name it."""
    first = architecture.blocks[0] if architecture.blocks else None
    stored = architecture.stored_weights
    counted = architecture.counted
    experts = experts_of(architecture)
    return CostedModel(
        name=architecture.name,
        architecture=architecture.model_type,
        kind=architecture.kind,
        parameters=total_parameters(architecture),
        active_parameters=active_parameters(architecture),
        parameters_by_part=parameters_by_part(architecture),
        layers=counted.layers
        if counted is not None
        else sum(block.count for block in architecture.blocks)
        or sum(each.count for each in architecture.convolutions),
        width=architecture.width,
        heads=_heads(first, counted, "heads"),
        kv_heads=_heads(first, counted, "kv_heads"),
        vocab_size=architecture.vocab_size,
        context_len=architecture.context_len,
        experts=experts[0] if experts else None,
        experts_per_token=experts[1] if experts else None,
        encoder_layers=_encoder_layers(architecture),
        published_dtype=architecture.published_dtype,
        published_weights=stored and (stored.dtype or stored.method),
    )


def named_model(name: str) -> CostedModel:
    """A model that has a name here, with who made it and when; nothing is built."""
    facts = facts_of(name)
    if name in COUNTED:
        config_json = known_config_json(name)
        stored = stored_weights(config_json, name)
        model = msgspec.structs.replace(
            COUNTED[name],
            name=name,
            architecture=config_json["model_type"],
            published_dtype=stated_dtype(config_json, name),
            published_weights=stored and stored.dtype,
        )
    else:
        model = costed_model(find_architecture(name))
    if facts is None:
        return model
    return msgspec.structs.replace(
        model,
        organisation=facts.organisation,
        access=facts.access,
        released=facts.released,
    )


def _encoder_layers(architecture: Architecture) -> int | None:
    """Of an encoder-decoder: those that do not look back."""
    if architecture.counted is not None:
        return architecture.counted.encoder_layers
    if architecture.kind != "encoder_decoder":
        return None
    return sum(block.count for block in architecture.blocks if not block.attention.causal)


def _heads(first: Block | None, counted: Counted | None, which: str) -> int | None:
    """Of the first block, or as the config of a counted module states them."""
    holder = counted if counted is not None else first.attention if first else None
    heads: int | None = getattr(holder, which, None)
    return heads
