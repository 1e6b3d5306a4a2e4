"""What vLLM writes when it cannot start, case by case, and what lyc says of it. The first rule that fits wins."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lyc.errors import EngineFailed, LycError, NoFit, SpecError


@dataclass(frozen=True, slots=True)
class Rule:
    """A case. The texts may use the pattern's groups by name. exit_codes: only then; empty = whatever the code.

    shows_line: whether the line that fits is shown among the decisive ones. rootless: only in a log without any
    exception that says something.
    """

    ref: str
    pattern: str
    kind: type[LycError]
    what: str
    why: str = ""
    hint: str = ""
    exit_codes: tuple[int, ...] = ()
    shows_line: bool = True
    rootless: bool = False

    def error(self, match: re.Match[str], detail: tuple[str, ...]) -> LycError:
        groups = {name: value or "" for name, value in match.groupdict().items()}
        return self.kind(
            self.ref,
            self.what.format(**groups),
            why=self.why.format(**groups),
            hint=self.hint.format(**groups),
            detail=detail,
        )


RULES: tuple[Rule, ...] = (
    Rule(
        "engine-library-missing",
        r"(?:ImportError|OSError).{0,3}?\b(?P<library>lib[\w.+-]*\.so[\d.]*): cannot open shared object file",
        EngineFailed,
        "this machine lacks {library}, which the engine is linked against",
        hint="install the package of the system that holds it; lyc doctor names it",
    ),
    Rule(
        "engine-unknown-option",
        r"error: (?:unrecognized arguments: (?P<words>.*)|argument (?P<option>\S+?)(?:/\S+)?: (?P<reason>.*))",
        SpecError,
        "the engine does not take an option as given: {words}{option}",
        "{reason}",
        "drop or correct the --engine-arg",
        exit_codes=(2,),
    ),
    Rule(
        "unsupported-architecture",
        r"Model architectures (?P<names>\[.*?\]) (?:are not supported|failed to be inspected)",
        SpecError,
        "vLLM has no implementation of {names}",
        hint="choose a model whose architecture vLLM supports",
    ),
    Rule(
        "unsupported-architecture",
        r"model type `?(?P<name>[\w.-]+)`? but Transformers does not recognize this architecture",
        SpecError,
        "the model's type {name} is unknown to the engine",
        hint="check `model_type` in config.json, or choose another model",
    ),
    Rule(
        "max-model-len-too-large",
        r"User-specified max_model_len \((?P<wish>\d+)\) is greater than the derived max_model_len "
        r"\((?:[^=]*=)?(?P<own>\d+)",
        SpecError,
        "the model cannot read {wish} tokens",
        "its own limit is {own}",
        "give --max-model-len {own} or less",
    ),
    Rule(
        "kv-cache-too-small",
        r"To serve at least one request with the model's max seq len \((?P<wish>\d+)\).*"
        r"estimated maximum model length is (?P<fits>\d+)",
        NoFit,
        "the KV cache cannot hold one request of {wish} tokens",
        "{fits} tokens fit into what is left for it",
        "give --max-model-len {fits} or less, or free memory",
    ),
    Rule(
        "kv-cache-too-small",
        r"To serve at least one request with the model's max seq len \((?P<wish>\d+)\)",
        NoFit,
        "the KV cache cannot hold one request of {wish} tokens",
        hint="give a smaller --max-model-len, or free memory",
    ),
    Rule(
        "no-memory-for-kv-cache",
        r"No available memory for the cache blocks|Available memory on node \d+ .*? is less than (?:requested|desired)",
        NoFit,
        "there is not enough free memory for the KV cache",
        hint="free memory on this machine, or give a smaller --max-model-len",
    ),
    Rule(
        "gpu-memory-taken",
        r"Free memory on device .*?\((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\) on startup is less than desired",
        NoFit,
        "the GPU's memory is taken: {free} of {total} GiB are free",
        hint="stop what else uses the GPU (nvidia-smi shows it), or choose another one",
    ),
    Rule(
        "out-of-gpu-memory",
        r"(?:torch\.(?:cuda\.)?OutOfMemoryError|CUDA out of memory)",
        NoFit,
        "the GPU's memory is not enough for this model",
        hint="choose a larger GPU, a --quantization, or a smaller --max-model-len",
    ),
    Rule(
        "out-of-memory",
        r"DefaultCPUAllocator: can't allocate memory|Cannot allocate memory|^MemoryError\b",
        NoFit,
        "this machine's memory is not enough for this model",
        hint="choose a smaller model or --max-model-len, or a machine with more memory",
    ),
    Rule(
        "weights-truncated",
        r"(?:SafetensorError|SafetensorsError).*|incomplete metadata, file not fully covered",
        SpecError,
        "a weights file is damaged or cut off",
        "its header promises more bytes than the file has, or cannot be read",
        "fetch or save the model again, then deploy it",
    ),
    Rule(
        "weights-missing",
        r"Cannot find any model weights with",
        SpecError,
        "the model has no weights that vLLM can read",
        hint="save it with safetensors: model.save_pretrained(DIR, safe_serialization=True)",
    ),
    Rule(
        "weights-do-not-fit-config",
        r"^(?:AssertionError: )?Attempted to load weight \(.*\) into parameter|There is no module or parameter named"
        r"|size mismatch for|mat1 and mat2 shapes cannot be multiplied"
        r"|Following weights were not initialized from checkpoint|The size of tensor a \(\d+\) must match"
        r"|start \(\d+\) \+ length \(\d+\) exceeds dimension size",
        SpecError,
        "the weights do not fit config.json",
        "a tensor is missing, has another shape, or belongs to another model",
        "save weights and config.json together, then deploy again",
    ),
    Rule(
        "tokenizer-missing",
        r"Couldn't instantiate the backend tokenizer|Can't load tokenizer for|Unable to load vocabulary from file"
        r"|does not appear to have a file named (?:tokenizer|vocab)",
        SpecError,
        "the model has no tokenizer that can be read",
        hint="save it beside the weights: tokenizer.save_pretrained(DIR)",
    ),
    Rule(
        "config-missing",
        r"Invalid repository ID or local directory specified|does not appear to have a file named config\.json",
        SpecError,
        "the model's folder has no config.json",
        hint="deploy a folder in the layout of Hugging Face, as save_pretrained writes it",
    ),
    Rule(
        "model-folder-missing",
        r"HFValidationError: Repo id must|LocalEntryNotFoundError|Cannot find an appropriate cached snapshot folder",
        EngineFailed,
        "the model's files are not where the engine looks for them",
        hint="deploy it again: lyc deploy fetches what is missing",
    ),
    Rule(
        "quantization-mismatch",
        r"Quantization method specified in the model config \((?P<own>[\w-]+)\) does not match the quantization method "
        r"specified in the `quantization` argument \((?P<wish>[\w-]+)\)",
        SpecError,
        "the checkpoint is quantized with {own}, not with {wish}",
        hint="drop --quantization, or give --quantization {own}",
    ),
    Rule(
        "quantization-unsupported",
        r"Unsupported quantization config: (?P<config>[^\[]*[^\[ ])"
        r"|Unknown quantization method: '?(?P<name>[\w-]+)|quantization method "
        r"(?P<other>[\w-]+) is not supported for the current GPU|(?P<own>[\w-]+) quantization is currently not "
        r"supported",
        SpecError,
        "the engine cannot serve this quantization here: {name}{other}{own}{config}",
        hint="choose another --quantization, or the unquantized model",
    ),
    Rule(
        "unsupported-on-cpu",
        r"_C::(?P<kernel>\w+)\(\) expected at most 0 argument"
        r"|'_OpNamespace' '\S+' object has no attribute '(?P<op>\w+)'|Could not run '(?P<other>\S+)' with arguments "
        r"from the 'CPU' backend|NotImplementedError: .*\bCPU\b.*",
        SpecError,
        "this model needs an operation that the CPU build of vLLM does not have: {op}{other}{kernel}",
        hint="deploy it on a GPU, or without this --quantization",
    ),
    Rule(
        "trust-remote-code",
        r"trust_remote_code=True|contains custom code which must be executed",
        SpecError,
        "the model brings Python code of its own, which is not run",
        "it would run with the rights of your account on this machine",
        "choose a model whose architecture vLLM knows by itself",
    ),
    Rule(
        "speculative-needs-package",
        r"Arctic Inference is required for suffix decoding",
        SpecError,
        "suffix decoding needs the package arctic-inference in the engine's environment",
        hint="choose --speculative ngram",
    ),
    Rule(
        "draft-does-not-fit",
        r"(?:Target|draft) model and (?:draft|target) model should have the same vocab(?:ulary)? size"
        r"|num_speculative_tokens[:=]\s*\d+ must be divisible by n_predict"
        r"|Unsupported speculative method: '(?P<method>\w+)'",
        SpecError,
        "this draft cannot be used with this model",
        hint="use a draft of the same family, or --speculative ngram",
    ),
    Rule(
        "socket-taken",
        r"\[Errno 98\](?: error while attempting to bind.*)? ?[Aa]ddress already in use",
        EngineFailed,
        "the engine's socket is taken by another process",
        hint="deploy again: lyc gives every replica a socket of its own",
    ),
    Rule(
        "disk-full",
        r"\[Errno 28\] No space left on device",
        EngineFailed,
        "the disk became full while the engine started",
        hint="free some space, then deploy again",
    ),
    Rule(
        "gpu-driver",
        r"no NVIDIA GPU detected|CUDA driver version is insufficient|NVIDIA driver on your system is too old"
        r"|Failed to infer device type|no kernel image is available for execution",
        EngineFailed,
        "the engine cannot use this machine's GPU",
        hint="see lyc doctor; a newer NVIDIA driver may be needed",
    ),
    Rule(
        "engine-killed-out-of-memory",
        r"^lyc: killed for memory \(OOM\)",
        NoFit,
        "the kernel killed the engine, because the machine ran out of memory",
        "the kernel kills the largest process when memory is out",
        "choose a smaller model or --max-model-len, or a machine with more memory",
    ),
    Rule(
        "engine-killed-out-of-memory",
        r"Failed core proc\(s\): \{.*: -9\b|WorkerProc initialization failed|proc \S+ died unexpectedly"
        r"|^lyc: meanwhile the kernel killed a process of this machine for memory \(OOM\)",
        NoFit,
        "a process of the engine was killed, most likely because the machine ran out of memory",
        "the kernel kills the largest process when memory is out; the process left no error of its own",
        "choose a smaller model or --max-model-len, or a machine with more memory",
        rootless=True,
    ),
    Rule(
        "engine-killed-out-of-memory",
        r"",
        NoFit,
        "the engine was killed, most likely because the machine ran out of memory",
        "the kernel kills the largest process when memory is out (signal 9), and the log ends without an error",
        "choose a smaller model or --max-model-len, or a machine with more memory",
        exit_codes=(-9, 137),
        shows_line=False,
    ),
)
