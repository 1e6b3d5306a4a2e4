"""The models that cannot be served, each with the way out."""

from __future__ import annotations

from collections.abc import Sequence

from lyc.errors import SpecError
from lyc.inspection.documents import read_object
from lyc.inspection.safetensors_header import Read
from lyc.records.model import Listing, ModelRef, SourceKind


def no_config(listing: Listing) -> SpecError:
    """Nothing says what the model is. GGUF files alone are told apart: they hold their own configuration."""
    if any(name.lower().endswith(".gguf") for name in listing.refused):
        return _gguf(listing)
    return SpecError(
        "no-config",
        f"{listing.ref} has no config.json",
        why="it says what the model is" + ("" if listing.files else "; there is no file of a model at all"),
        where=str(listing.ref),
        hint="name the folder that save_pretrained wrote: config.json, tokenizer files and *.safetensors",
    )


def no_layers(listing: Listing) -> SpecError:
    """config.json is there and says nothing from which a model could be built."""
    return SpecError(
        "no-layers",
        f"config.json of {listing.ref} does not describe a language model",
        why="it does not say how many layers there are (num_hidden_layers)",
        where="config.json",
        hint="name the folder that save_pretrained wrote: its config.json has architectures, model_type and sizes",
    )


def adapter_only(listing: Listing, read: Read) -> SpecError | None:
    """A LoRA adapter without its base model; None if it is something else."""
    file = listing.file("adapter_config.json")
    if file is None:
        return None
    base = read_object(file, read).get("base_model_name_or_path")
    return SpecError(
        "adapter-only",
        f"{listing.ref} is an adapter, not a model",
        why=f"it changes {base}" if base else "it holds only what fine-tuning changed",
        where=f"{listing.ref}",
        hint="merge it first: PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained('merged')",
    )


def no_weights(listing: Listing) -> SpecError:
    """No safetensors: nothing at all, or weights in a form that is not served."""
    pickles = [name for name in listing.refused if not name.lower().endswith(".gguf")]
    if pickles:
        return SpecError(
            "pickle-weights",
            f"{listing.ref} has its weights as pickle only",
            why="reading a pickle file executes whatever code is in it; lyc serves safetensors",
            where=_some(pickles),
            hint=f"convert it once where you trust it:\n{_conversion(listing.ref)}",
        )
    if listing.refused:
        return _gguf(listing)
    return SpecError(
        "no-weights",
        f"{listing.ref} has no weights",
        why="there is no *.safetensors file",
        where=str(listing.ref),
        hint="save the model with save_pretrained, or wait until its upload is complete",
    )


def no_tokenizer(listing: Listing) -> SpecError:
    """None of the files that a tokenizer is made from."""
    return SpecError(
        "no-tokenizer",
        f"{listing.ref} has no tokenizer",
        why="one of tokenizer.json, tokenizer.model, vocab.json with merges.txt, or tekken.json is needed",
        where=str(listing.ref),
        hint="put the base model's there: AutoTokenizer.from_pretrained('BASE').save_pretrained('FOLDER')",
    )


def missing_shard(index: str, absent: Sequence[str]) -> SpecError:
    """An index that names files which the source does not have."""
    return SpecError(
        "missing-shard",
        f"{len(absent)} of the files that {index} names {'is' if len(absent) == 1 else 'are'} not there",
        why="the weights would be incomplete",
        where=index,
        hint="copy or download the missing files, then deploy again",
        detail=tuple(absent[:20]),
    )


def _gguf(listing: Listing) -> SpecError:
    return SpecError(
        "gguf-weights",
        f"{listing.ref} has its weights as GGUF only",
        why="lyc serves safetensors, the form in which the engine runs at its full speed",
        where=_some([name for name in listing.refused if name.lower().endswith(".gguf")]),
        hint="deploy the model that the GGUF file was made from, for example hf:org/name without -GGUF",
    )


def _conversion(ref: ModelRef) -> str:
    """A command that a shell takes as it stands."""
    model = ref.location if ref.kind in (SourceKind.LOCAL, SourceKind.HF) else "FOLDER"
    quoted = model.replace("\\", "\\\\").replace("'", "\\'")
    lines = (
        "from transformers import AutoModelForCausalLM as M, AutoTokenizer as T",
        f"m = '{quoted}'",
        "M.from_pretrained(m, dtype='auto').save_pretrained('converted')",
        "T.from_pretrained(m).save_pretrained('converted')",
    )
    script = "\n".join(lines)
    return f"uv run --with torch --with transformers python - <<'END'\n{script}\nEND\nlyc deploy ./converted"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
