"""`lyc plan`: what a model needs, which GPUs fit, how fast it will be and what it costs, before any is rented."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lyc.cli.options import Json, card_names
from lyc.cli.price_options import PriceFile, PriceWords, Residency
from lyc.cli.session import open_session
from lyc.errors import UsageError

if TYPE_CHECKING:
    from lyc.records.deployment import DeploymentSpec

EXAMPLES = """
lyc plan acme/support-8b
lyc plan ./merged-model --gpu h100,l40s --concurrency 32 --context 8k
lyc plan ./lora-adapter --max-loras 4
lyc plan acme/support-8b --gpu h100:2 --price h100=2.79EUR/h -v
lyc plan acme/support-8b --json | jq .chosen
lyc plan support --check
"""


def plan(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="As for deploy, or a LoRA adapter; with --check a deployment's name."),
    ] = None,
    *,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", metavar="FILE", help="Read a lyc.toml; flags win over it.")
    ] = None,
    gpu: Annotated[
        list[str] | None,
        typer.Option(
            "--gpu",
            metavar="CARD[:N],…",
            help="Cards to look at; h100:2 is two; default: every one.",
            autocompletion=card_names,
        ),
    ] = None,
    count: Annotated[int | None, typer.Option("--count", metavar="N", help="Cards; default: the fewest.")] = None,
    tp: Annotated[str | None, typer.Option("--tp", metavar="N", help="Tensor parallel size.")] = None,
    pp: Annotated[str | None, typer.Option("--pp", metavar="N", help="Pipeline parallel size.")] = None,
    quantization: Annotated[
        str | None, typer.Option("--quantization", metavar="METHOD", help="Such as fp8; default: as the weights are.")
    ] = None,
    max_model_len: Annotated[
        str | None, typer.Option("--max-model-len", metavar="TOKENS", help="Prompt and answer together: 8192 or 8k.")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", metavar="N", help="Requests that must have room at once.")
    ] = None,
    tokens: Annotated[
        str | None, typer.Option("--context", metavar="TOKENS", help="Tokens of each of them, as 8192 or 8k.")
    ] = None,
    speculative: Annotated[
        str | None,
        typer.Option("--speculative", metavar="METHOD[:MODEL][,tokens=N]", help="As for deploy."),
    ] = None,
    adapter: Annotated[
        str | None, typer.Option("--adapter", metavar="MODEL", help="A LoRA adapter served on the model.")
    ] = None,
    max_loras: Annotated[
        str | None, typer.Option("--max-loras", metavar="N", help="Adapters in memory at once; default 1.")
    ] = None,
    price: PriceWords = None,
    prices: PriceFile = None,
    per_token_price: Annotated[
        str | None,
        typer.Option("--per-token-price", metavar="AMOUNT", help="Of a million tokens elsewhere: 0.60EUR."),
    ] = None,
    active_hours: Annotated[
        str | None,
        typer.Option("--active-hours", metavar="HOURS", help="Hours a week that it is used: 50, or Mon-Fri 8-18."),
    ] = None,
    residency: Residency = None,
    dtype: Annotated[str | None, typer.Option("--dtype", metavar="TYPE", help="bfloat16, float16, float32.")] = None,
    kv_cache_dtype: Annotated[
        str | None, typer.Option("--kv-cache-dtype", metavar="TYPE", help="auto, or such as fp8.")
    ] = None,
    max_num_seqs: Annotated[
        str | None, typer.Option("--max-num-seqs", metavar="N", help="Requests in one step, as vLLM has it.")
    ] = None,
    max_num_batched_tokens: Annotated[
        str | None, typer.Option("--max-num-batched-tokens", metavar="N", help="Tokens in one step.")
    ] = None,
    util: Annotated[
        str | None, typer.Option("--util", metavar="PART", help="Part of the card that vLLM may use, as 0.92.")
    ] = None,
    block_size: Annotated[
        str | None, typer.Option("--block-size", metavar="N", help="Tokens of a block of the KV cache.")
    ] = None,
    kv_cache_memory: Annotated[
        str | None, typer.Option("--kv-cache-memory-bytes", metavar="SIZE", help="Fix the KV cache: 4GiB.")
    ] = None,
    enforce_eager: Annotated[bool, typer.Option("--enforce-eager", help="Without CUDA graphs.")] = False,
    vllm_version: Annotated[
        str | None, typer.Option("--vllm-version", metavar="VERSION", help="Default: the one that lyc installs.")
    ] = None,
    s3_endpoint: Annotated[
        str | None, typer.Option("--s3-endpoint", metavar="URL", help="S3-compatible service, for s3:// models.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show every candidate.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show every term with its formula and source.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Compare what was foretold for a deployment with what vLLM said.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Know before you rent: what fits, and what it costs.

    Nothing is started and no weights are fetched: config.json and the headers of the weights are enough. The prediction
    follows vLLM term by term; where it cannot be sure it says by how much. Exits 5 if nothing fits.
    """
    session = open_session(context, as_json=as_json)
    if check:
        from lyc.cli.plan_check import check as compare

        if model is None:
            raise UsageError("no-name", "which deployment shall be checked?", hint="lyc plan NAME --check, or lyc ls")
        compare(session, model)
        return
    from lyc.cli.plan_run import Question, answer
    from lyc.cli.plan_wish import Words

    engine = {
        "tensor-parallel-size": tp,
        "pipeline-parallel-size": pp,
        "quantization": quantization,
        "max-model-len": max_model_len,
        "max-loras": max_loras,
        "dtype": dtype,
        "kv-cache-dtype": kv_cache_dtype,
        "max-num-seqs": max_num_seqs,
        "max-num-batched-tokens": max_num_batched_tokens,
        "gpu-memory-utilization": util,
        "block-size": block_size,
        "kv-cache-memory-bytes": kv_cache_memory,
        "enforce-eager": "true" if enforce_eager else None,
    }
    words = Words(
        engine={name: value for name, value in engine.items() if value is not None},
        gpu=tuple(gpu or ()),
        count=count,
        concurrency=concurrency,
        context=tokens,
        vllm_version=vllm_version,
        per_token_price=per_token_price,
        active_hours=active_hours,
    )
    question = Question(
        words,
        _spec(model, file, speculative, s3_endpoint),
        written=model,
        file=file,
        adapter=adapter,
        prices=tuple(price or ()),
        price_file=prices,
        residency=residency,
        everything=everything,
        verbose=verbose,
    )
    answer(session, question)


def _spec(model: str | None, file: Path | None, speculative: str | None, s3_endpoint: str | None) -> DeploymentSpec:
    """What lyc.toml says, with these flags over it."""
    from lyc.records.deployment import DeploymentSpec
    from lyc.spec.model_ref import parse_model

    if file is None and model is None:
        raise UsageError("no-model", "what shall be planned?", hint="lyc plan MODEL, or lyc plan -f lyc.toml")
    if file is None and speculative is None and model is not None:
        ref = parse_model(model, cwd=Path.cwd())
        return DeploymentSpec("plan", str(ref), s3_endpoint=s3_endpoint)
    from lyc.cli.wish import wished

    flags = {"model": model, "speculative": speculative, "s3_endpoint": s3_endpoint}
    flags |= {"name": "plan"} if file is None else {}
    return wished(flags, file=file, cwd=Path.cwd(), environ=os.environ)[0]
