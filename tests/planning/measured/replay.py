"""Logged starts of vLLM, replayed through the planner: the folder a user would have → facts → wish → fit.

starts.csv    one row a start: the options it was given and what its log said, with the public source
models.json   the models of those rows: which config.json, and the bytes of all tensors
configs/      config.json of public models, without keys that say nothing of memory
configs.json  where each of them is from (`by hand`: written down from what is publicly known of the model), and the
              number of parameters that transformers 5.19 gives its class, without layers for multi-token prediction
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from lyc.inspection import inspect
from lyc.planning.catalogue.cards import find
from lyc.planning.fit import fit
from lyc.records.architecture import AdapterFacts
from lyc.records.card import Card
from lyc.records.fit import Fit
from lyc.records.model import ModelFacts, ModelRef, SourceKind
from lyc.records.wish import Wish
from lyc.sources.local import LocalSource
from tests.planning.measured.names import names

HERE = Path(__file__).parent
MODELS: Mapping[str, Mapping[str, object]] = json.loads((HERE / "models.json").read_text(encoding="utf-8"))
STARTED = "ok"


@dataclass(frozen=True, slots=True)
class Start:
    """One row. Options: None = not known to be given, so vLLM's default. Figures: None = not logged.

    version_known: `exact`, `likely` (by the wording and line numbers of the log), `guess` (by its date), `unknown`.
    needed_gib, longest: of a refusal. outcome: `ok`, or how it failed. left_out: why it cannot be replayed, else empty.
    """

    id: int
    source: str
    model: str
    version: tuple[int, ...]
    version_known: str
    gpu: str | None
    tp: int
    pp: int
    dtype: str | None
    quantization: str | None
    kv_cache_dtype: str | None
    max_model_len: int | None
    max_num_batched_tokens: int | None
    max_num_seqs: int | None
    utilization: Fraction | None
    enforce_eager: bool
    block_size: int | None
    lora_rank: int | None
    weights_gib: float | None
    activation_gib: float | None
    non_torch_gib: float | None
    cuda_graph_gib: float | None
    kv_gib: float | None
    kv_tokens: int | None
    blocks: int | None
    concurrency: float | None
    needed_gib: float | None
    longest: int | None
    outcome: str
    left_out: str

    @property
    def whole(self) -> bool:
        """Whether version and card are known, so that all of it can be foretold and not only parts."""
        return not self.left_out and bool(self.version) and self.gpu is not None


def starts() -> list[Start]:
    with (HERE / "starts.csv").open(encoding="utf-8", newline="") as file:
        return [_start(row) for row in csv.DictReader(file)]


def folder(model: str, at: Path, *, with_names: bool = False) -> Path:
    """config.json and, where the size of its tensors is known, model.safetensors.index.json."""
    entry = MODELS[model]
    text = (HERE / "configs" / f"{entry['config']}.json").read_text(encoding="utf-8")
    at.mkdir(parents=True, exist_ok=True)
    (at / "config.json").write_text(text, encoding="utf-8")
    if (size := entry["total_size"]) is not None:
        found = names(json.loads(text)) if with_names else []
        index = {"metadata": {"total_size": size}, "weight_map": dict.fromkeys(found, "model.safetensors")}
        (at / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return at


def facts_of(at: Path) -> ModelFacts:
    source = LocalSource(digests=False)
    listing = source.resolve(ModelRef(SourceKind.LOCAL, str(at)))
    return inspect(listing, lambda file, start, length: source.read(listing, file, start=start, length=length),
                   weights_needed=False)  # fmt: skip


def wish_of(start: Start) -> Wish:
    return Wish(
        version=start.version,
        tp=start.tp,
        pp=start.pp,
        quantization=start.quantization,
        dtype=start.dtype,
        kv_cache_dtype=start.kv_cache_dtype,
        max_model_len=start.max_model_len,
        max_num_seqs=start.max_num_seqs,
        max_num_batched_tokens=start.max_num_batched_tokens,
        utilization=start.utilization,
        block_size=start.block_size,
        enforce_eager=start.enforce_eager,
        adapter=AdapterFacts(None, start.lora_rank, ()) if start.lora_rank else None,
    )


def card_of(start: Start) -> Card:
    assert start.gpu is not None
    return find(start.gpu)


def replayed(start: Start, facts: ModelFacts) -> Fit:
    return fit(facts, wish_of(start), card_of(start), tp=start.tp, pp=start.pp, quantization=start.quantization)


def _start(row: Mapping[str, str]) -> Start:
    whole = {name: int(row[name]) if row[name] else None for name in (
        "max_model_len", "max_num_batched_tokens", "max_num_seqs", "block_size", "lora_rank", "kv_tokens", "blocks",
        "longest",
    )}  # fmt: skip
    real = {name: float(row[name]) if row[name] else None for name in (
        "weights_gib", "activation_gib", "non_torch_gib", "cuda_graph_gib", "kv_gib", "concurrency", "needed_gib",
    )}  # fmt: skip
    text = {name: row[name] or None for name in ("gpu", "dtype", "quantization", "kv_cache_dtype")}
    return Start(
        id=int(row["id"]),
        source=row["source"],
        model=row["model"],
        version=tuple(int(part) for part in row["version"].split(".") if part),
        version_known=row["version_known"],
        tp=int(row["tp"]),
        pp=int(row["pp"]),
        utilization=Fraction(row["utilization"]) if row["utilization"] else None,
        enforce_eager=row["enforce_eager"] == "yes",
        outcome=row["outcome"],
        left_out=row["left_out"],
        **whole,
        **real,
        **text,
    )
