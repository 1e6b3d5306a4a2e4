"""What a model is, read from config.json, the tokenizer's files and the headers of its tensors. Pure.

facts                Listing + a reader of bytes → ModelFacts, or the one error that says why it cannot be served
adapters             the same for a LoRA adapter
architecture         config.json → Architecture: layers, rotary tables, towers
  sections, settings   which part of the file, over which defaults; patterns, mixers, experts, ropes, towers, families
tensors              the tensors of a checkpoint, as read or as config.json lets expect them
dimensions           numbers out of config.json, plain or nested
safetensors_header   the header of one safetensors file, checked against the file's size
vocabulary           a fingerprint that tells whether two models share a vocabulary
"""

from lyc.inspection.adapters import inspect_adapter
from lyc.inspection.architecture import architecture
from lyc.inspection.facts import inspect
from lyc.inspection.safetensors_header import Read

__all__ = ["Read", "architecture", "inspect", "inspect_adapter"]
