"""A model as it would be if it had been quantized before: what a checkpoint of it in another form would hold."""

from __future__ import annotations

import json
from collections.abc import Mapping

from lyc.inspection.documents import read_object
from lyc.inspection.facts import inspect
from lyc.inspection.safetensors_header import Read
from lyc.records.model import Listing, ModelFacts, SourceFile

W4A16 = "w4a16"
"""Weights of 4 bits in groups of 128, activations of 16: as llm-compressor writes most 4-bit checkpoints."""
_UNTOUCHED = ("lm_head", "re:.*gate$", "re:.*router.*", "re:.*visual.*", "re:.*vision.*", "re:.*audio.*")
"""Left in 16 bit by published recipes: the head, what chooses experts, encoders."""
_SCHEMES: Mapping[str, Mapping[str, object]] = {
    W4A16: {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "ignore": list(_UNTOUCHED),
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128, "symmetric": True},
            }
        },
    }
}


def sibling(facts: ModelFacts, listing: Listing, read: Read, scheme: str = W4A16) -> ModelFacts | None:
    """The facts of such a checkpoint of the model with `facts`; None for one that is quantized already."""
    file = listing.file("config.json")
    if file is None or facts.quantization is not None:
        return None
    config = json.dumps({**read_object(file, read), "quantization_config": _SCHEMES[scheme]}).encode()
    alone = Listing(listing.ref, (SourceFile("config.json", len(config)),))

    def text(_file: SourceFile, start: int, length: int | None) -> bytes:
        return config[start:] if length is None else config[start : start + length]

    return inspect(alone, text, weights_needed=False)
