"""lyc.toml: what it may say, and errors that name the line and the nearest key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lyc.errors import SpecError
from lyc.records.deployment import DeploymentSpec, Speculative
from lyc.records.scaling import ScaleWish
from lyc.spec.deployment import deployment_spec, schema
from lyc.spec.lyc_toml import flag_of, parse_lyc_toml, read_lyc_toml
from lyc.spec.speculative import METHODS, NEED_DRAFT

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*/lyc.toml"))


def parse(text: str, environ: dict[str, str] | None = None, **flags: object) -> DeploymentSpec:
    return parse_lyc_toml(text, path=Path("/project/lyc.toml"), overrides=flags, environ=environ or {})[0]


def fails(text: str, environ: dict[str, str] | None = None, **flags: object) -> SpecError:
    with pytest.raises(SpecError) as caught:
        parse(text, environ, **flags)
    assert caught.value.exit_code == 3
    return caught.value


def test_the_least_file() -> None:
    spec, named = parse_lyc_toml('model = "acme/support-8b"', path=Path("lyc.toml"), environ={})
    assert (spec.name, spec.model, named) == ("support-8b", "hf:acme/support-8b", False)
    assert spec == DeploymentSpec("support-8b", "hf:acme/support-8b")


def test_everything() -> None:
    spec = parse(
        """
        model = "./weights"
        name = "support"
        gpu = "H100"
        host = "local"
        quantization = "fp8"
        max_model_len = "8k"
        min = 1
        max = 2
        s3_endpoint = "https://s3.example.eu"
        [speculative]
        method = "draft-model"
        model = "../draft"
        tokens = 3
        [engine_args]
        enforce_eager = true
        max-num-seqs = 64
        gpu-memory-utilization = 0.5
        limit-mm-per-prompt = { image = 2 }
        chat-template = "a.jinja"
        [env]
        TZ = "UTC"
        TOKEN = { from = "MY_TOKEN" }
        """,
        {"MY_TOKEN": "t"},
    )
    assert spec == DeploymentSpec(
        "support",
        "/project/weights",
        gpu="h100",
        quantization="fp8",
        speculative=Speculative("draft_model", "/draft", 3),
        max_model_len=8192,
        max_replicas=2,
        scale=ScaleWish(minimum=1, maximum=2),
        engine_args={
            "enforce-eager": "true",
            "max-num-seqs": "64",
            "gpu-memory-utilization": "0.5",
            "limit-mm-per-prompt": '{"image":2}',
            "chat-template": "a.jinja",
        },
        env={"TZ": "UTC", "TOKEN": "t"},
        s3_endpoint="https://s3.example.eu",
    )


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("ngram", Speculative("ngram")),
        ("ngram,tokens=4", Speculative("ngram", None, 4)),
        ("suffix", Speculative("suffix")),
        ("draft_model:org/draft,tokens=2", Speculative("draft_model", "hf:org/draft", 2)),
        ("draft-model:hf:org/draft@v1", Speculative("draft_model", "hf:org/draft@v1")),
        ("eagle3:s3://bucket/head", Speculative("eagle3", "s3://bucket/head")),
        ("eagle:./head", Speculative("eagle", "/project/head")),
    ],
)
def test_speculative_as_one_text(written: str, expected: Speculative) -> None:
    assert parse(f'model = "a/b"\nspeculative = "{written}"').speculative == expected
    spec, _ = deployment_spec(
        {"model": "a/b", "speculative": written}, base=Path("/project"), environ={}, where=lambda _: ""
    )
    assert spec.speculative == expected


def test_flags_win_over_the_file_and_tables_are_merged() -> None:
    text = 'model = "a/b"\ngpu = "h100"\n[env]\nA = "1"\nB = "1"'
    spec = parse(text, gpu="cpu", env={"B": "2"}, name="x")
    assert (spec.gpu, spec.env, spec.name) == ("cpu", {"A": "1", "B": "2"}, "x")


@pytest.mark.parametrize(
    ("text", "ref", "line", "says"),
    [
        ('model = "a/b"\n\nmodle = 1', "unknown-key", 3, "did you mean model?"),
        ('model = "a/b"\n[speculative]\nmethod = "ngram"\ntoken = 1', "unknown-key", 4, "did you mean tokens?"),
        ('model = "a/b"\n[engine-args]\nx = 1', "unknown-key", 2, "did you mean engine_args?"),
        ('model = "a/b"\nqqq = 1', "unknown-key", 2, "keys are model, name"),
        ("name = 'x'", "missing-key", 1, 'add model = "…"'),
        ("", "missing-key", 1, "model is missing"),
        ('model = "a/b"\n[speculative]\ntokens = 1', "missing-key", 2, "speculative.method is missing"),
        ('model = 3', "invalid-value", 1, "valid string"),
        ('model = "a/b"\nmin = "1"', "invalid-value", 2, "valid integer"),
        ('model = "a/b"\nmin = true', "invalid-value", 2, "valid integer"),
        ('model = "a/b"\n\nmin = 3\nmax = 2', "invalid-value", 3, "min is 3, but max is 2"),
        ('model = "a/b"\nmax = 0', "invalid-value", 2, "greater than or equal to 1"),
        ('model = "a/b"\ngpus = [0]\nmin = 2', "invalid-value", 2, "the cards of one replica, but max is 2"),
        ('model = "a/b"\nidle = "15x"', "invalid-value", 2, "write it like 90s"),
        ('model = "a/b"\nidle = 0', "invalid-value", 2, "too short"),
        ('model = "a/b"\nidle = true', "invalid-value", 2, "number"),
        ('model = "a/b"\nwake_timeout = "9999w"', "invalid-value", 2, "too long"),
        ('model = "a/b"\ntarget_concurrency = 0', "invalid-value", 2, "more than 0"),
        ('model = "a/b"\ncanary = "100%"', "invalid-value", 2, "write it like 10%"),
        ('model = "a/b"\ncanary = 10', "invalid-value", 2, "write it like 10%"),
        ('model = "a/b"\nbake = "soon"', "invalid-value", 2, "write it like 90s"),
        ('model = "a/b"\nschedule = "Mon-Fri 07-22 min=1"', "invalid-value", 2, "whose clocks"),
        ('model = "a/b"\nschedule = ["Mon 1-2 UTC min=1", "Mon"]', "invalid-value", 2, "its hours"),
        ('model = "a/b"\nschedule = 3', "invalid-value", 2, "list"),
        ('model = "a/b"\nmax = 2\nschedule = "Mon 1-2 UTC min=3"', "impossible-scale", 3, "min is 3, but max is 2"),
        ('model = "a/b"\nmax_model_len = "8x"', "invalid-value", 2, "write it like 8192 or 8k"),
        ('model = "a/b"\nmax_model_len = 0', "invalid-value", 2, "greater than or equal to 1"),
        ('model = "a/b"\ns3_endpoint = "s3.example.eu"', "invalid-value", 2, "https?://"),
        ('model = "a/b"\nspeculative = "magic"', "invalid-value", 2, "'ngram', 'draft_model'"),
        ('model = "a/b"\nspeculative = "ngram,token=3"', "invalid-value", 2, "METHOD[:MODEL][,tokens=N]"),
        ('model = "a/b"\nspeculative = "ngram:a/b"', "invalid-value", 2, "takes no model"),
        ('model = "a/b"\n[speculative]\nmethod = "eagle"', "invalid-value", 2, "needs a model"),
        ('model = "a/b"\n[speculative]\nmethod = "ngram"\ntokens = 0', "invalid-value", 4, "greater than or equal"),
        ('model = "a/b"\n[engine_args]\nx = 1979-05-27', "invalid-value", 3, "it takes text, a number"),
        ('model = "a/b"\n[env]\nA = 3', "invalid-value", 3, "{ from ="),
        ('model = "a/b"\n[env]\nA = { form = "B" }', "invalid-value", 3, "{ from ="),
        ('model = "a/b"\n[env]\nA = { from = "B" }', "unset-variable", 3, "export B=…"),
        ('model = "a/b"\n[env]\n"A B" = "x"', "invalid-value", 3, "cannot be the name of a variable"),
        ('model = "a/b"\nname = "Foo"', "invalid-name", 2, "for example foo"),
        ('\nmodel = "ftp://x"', "invalid-model", 2, "is a URL"),
        ('model = "a/b"\nspeculative = "eagle:x:y:z"', "invalid-model", 2, "names no model"),
        ("a = \nb = 1", "invalid-toml", 1, "Invalid value"),
        ("a = 1\na = 2", "invalid-toml", 2, "Cannot overwrite a value"),
        ("a = 'x", "invalid-toml", 1, ""),
    ],
)  # fmt: skip
def test_an_error_names_the_line(text: str, ref: str, line: int, says: str) -> None:
    error = fails(text)
    assert (error.ref, error.where) == (ref, f"/project/lyc.toml:{line}")
    assert says in f"{error} {error.hint}"


def test_all_errors_are_told_in_the_order_of_the_text() -> None:
    error = fails('model = "a/b"\nmax = 0\nnane = 1\ngpu = 3')
    assert error.where.endswith(":2")
    assert [line.split(":")[1] for line in error.detail] == ["3", "4"]


def test_an_error_in_a_flag_names_the_flag() -> None:
    assert fails('model = "a/b"\nmin = 1', max=0).where == "--max"
    assert fails('model = "a/b"', speculative="magic").where == "--speculative"
    assert flag_of(("max_model_len",)) == "--max-model-len"
    assert flag_of(("engine_args",)) == "--engine-arg"
    assert flag_of(("rent", "providers", 0)) == "--provider"
    assert flag_of(("rent", "max_price")) == "--max-price"


def test_a_value_of_the_environment_is_never_shown() -> None:
    error = fails('model = "a/b"\n[env]\nA = ["s3cret"]\nB = "s3cret"\n"C D" = "s3cret"')
    assert "s3cret" not in json.dumps(error.document())


def test_a_folder_stands_for_its_file(tmp_path: Path) -> None:
    (tmp_path / "lyc.toml").write_text('model = "./m"\n')
    assert read_lyc_toml(tmp_path, environ={})[0].model == str(tmp_path / "m")
    assert read_lyc_toml(tmp_path / "lyc.toml", environ={})[0].model == str(tmp_path / "m")


@pytest.mark.parametrize(("content", "ref"), [(None, "no-spec-file"), (b"\xff\xfe", "invalid-toml")])
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes | None, ref: str) -> None:
    path = tmp_path / "lyc.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        read_lyc_toml(path, environ={})
    assert (caught.value.ref, caught.value.where) == (ref, str(path))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_the_examples_are_valid(path: Path) -> None:
    spec, named = read_lyc_toml(path, environ={"SUPPORT_TOOL_TOKEN": "t"})
    assert named
    assert spec.name == path.parent.name
    schema_line = path.read_text().splitlines()[0].removeprefix("#:schema ")
    assert (path.parent / schema_line).samefile(ROOT / "docs/lyc.schema.json")


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 2


def test_the_schema_names_every_key_with_its_meaning() -> None:
    document = schema()
    assert document["additionalProperties"] is False
    assert document["required"] == ["model"]
    assert all("description" in entry for entry in document["properties"].values())
    assert document["$defs"]["SpeculativeTable"]["properties"]["method"]["enum"] == list(METHODS)
    assert set(METHODS) >= NEED_DRAFT


def test_cards_host_and_container() -> None:
    spec = parse('model = "a/b"\nhost = "ssh://ubuntu@box:22"\ngpus = [0, 3]\nimage = "vllm/vllm-openai:v0.32.0"')
    assert (spec.host, spec.gpus, spec.runtime, spec.image) == (
        "ssh://ubuntu@box:22", (0, 3), "container", "vllm/vllm-openai:v0.32.0",
    )  # fmt: skip
    flags = parse('model = "a/b"\ngpus = [0]', host="gpu1", gpus="2,1", runtime="container")
    assert (flags.host, flags.gpus, flags.runtime, flags.image) == ("gpu1", (2, 1), "container", None)
    plain = parse('model = "a/b"')
    assert (plain.host, plain.gpus, plain.runtime, plain.image) == ("local", None, "process", None)


@pytest.mark.parametrize(
    ("written", "host", "further"),
    [
        ('"gpu1"', "gpu1", None),
        ('["gpu1"]', "gpu1", None),
        ('["gpu1", "gpu2", "rent"]', "gpu1", ("gpu2", "rent")),
        ('"any"', "any", ("any",)),
        ('"rent"', "rent", None),
    ],
)
def test_hosts(written: str, host: str, further: tuple[str, ...] | None) -> None:
    """The first is where it is deployed to. Of `rent` the controller knows whether there may be several."""
    spec = parse(f'model = "a/b"\nhost = {written}')
    assert (spec.host, spec.scale.hosts) == (host, further)


@pytest.mark.parametrize(
    ("lines", "ref", "says", "line"),
    [
        ("gpus = [0, 0]", "invalid-value", "card 0 is named twice", 2),
        ("gpus = [-1]", "invalid-value", "-1 is no number", 2),
        ("gpus = []", "invalid-value", "numbers of cards", 2),
        ('gpus = "a"', "invalid-value", "such as 0,1", 2),
        ("gpus = [0.5]", "invalid-value", "numbers of cards", 2),
        ("gpus = [true]", "invalid-value", "numbers of cards", 2),
        ('gpu = "cpu"\ngpus = [0]', "invalid-value", "gpu is cpu", 3),
        ("gpus = [0, 1]\nmax = 2", "invalid-value", "one replica", 2),
        ('runtime = "podman"', "invalid-value", "'process' or 'container'", 2),
        ('runtime = "process"\nimage = "a:1"', "invalid-value", "runtime is process", 3),
        ('runtime = "container"', "container-needs-host", "over SSH", 2),
        ('image = "a:1"', "container-needs-host", "over SSH", 2),
        ('host = "gpu1"\nimage = "a"', "invalid-image", "latest", 3),
        ('host = "http://box"', "invalid-address", "", 2),
        ('host = "root:hunter2@box"', "invalid-address", "", 2),
        ('host = ""', "invalid-value", "", 2),
        ('host = ["gpu1", "gpu1"]', "invalid-value", "gpu1 is named twice", 2),
        ("host = []", "invalid-value", "", 2),
        ('host = ["gpu1", ""]', "invalid-value", "", 2),
        ('host = ["gpu1", "local"]\nruntime = "container"', "container-needs-host", "over SSH", 3),
    ],
)
def test_cards_hosts_and_containers_that_cannot_be(lines: str, ref: str, says: str, line: int) -> None:
    error = fails(f'model = "a/b"\n{lines}')
    assert (error.ref, error.where) == (ref, f"/project/lyc.toml:{line}")
    assert says in error.why
