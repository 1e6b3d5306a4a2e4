"""What a model is, read from config.json, the tokenizer's files and the headers of its tensors. Pure.

facts                Listing + a reader of bytes → ModelFacts, or the one error that says why it cannot be served
dimensions           numbers out of config.json, plain or nested
safetensors_header   the header of one safetensors file, checked against the file's size
vocabulary           a fingerprint that tells whether two models share a vocabulary
"""

from lyc.inspection.facts import inspect
from lyc.inspection.safetensors_header import Read

__all__ = ["Read", "inspect"]
