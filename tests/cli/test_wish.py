"""The words of `lyc deploy`, and the credentials that go with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lyc.cli.credentials import gather, needed
from lyc.cli.wish import pairs, variables, wished
from lyc.errors import LycError, SpecError, UsageError
from lyc.records.deployment import DeploymentSpec, Speculative


def test_pairs() -> None:
    assert pairs(["a=1", "b=x=y", "c="], "--engine-arg") == {"a": "1", "b": "x=y", "c": ""}
    for words, ref in ((["a"], "invalid-pair"), (["=s3cret"], "invalid-pair"), (["a=1", "a=2"], "given-twice")):
        with pytest.raises(UsageError) as caught:
            pairs(words, "--env")
        assert caught.value.ref == ref
        assert "s3cret" not in str(caught.value.document())


def test_a_variable_without_a_value_is_the_callers() -> None:
    assert variables(["A=1", "TOKEN", "B="], {"TOKEN": "t", "A": "other"}) == {"A": "1", "TOKEN": "t", "B": ""}
    with pytest.raises(UsageError) as caught:
        variables(["TOKEN"], {})
    assert caught.value.ref == "unset-variable"
    with pytest.raises(UsageError) as caught:
        variables(["A=1", "A"], {"A": "2"})
    assert caught.value.ref == "given-twice"


def test_flags_alone(tmp_path: Path) -> None:
    flags = {"model": "./m", "gpu": "H100", "min": None, "env": {}, "max_model_len": "8k", "engine_args": {"x": "1"}}
    spec, named = wished(flags, file=None, cwd=tmp_path, environ={})
    assert (spec.model, spec.gpu, spec.max_model_len, spec.engine_args) == (
        str(tmp_path / "m"),
        "h100",
        8192,
        {"x": "1"},
    )
    assert (spec.name, named) == ("m", False)


def test_a_model_given_as_a_flag_is_relative_to_the_caller(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project/lyc.toml").write_text('model = "./a"\nname = "n"\ngpu = "cpu"\n')
    spec, named = wished({}, file=Path("project"), cwd=tmp_path, environ={})
    assert (spec.model, named) == (str(tmp_path / "project/a"), True)
    spec, _ = wished({"model": "./a", "gpu": "h100"}, file=Path("project/lyc.toml"), cwd=tmp_path, environ={})
    assert (spec.model, spec.gpu, spec.name) == (str(tmp_path / "a"), "h100", "n")


@pytest.mark.parametrize(
    ("flags", "kind", "ref", "where"),
    [
        ({}, UsageError, "no-model", ""),
        ({"model": "a/b", "name": "A"}, SpecError, "invalid-name", "--name"),
        ({"model": "a/b", "max": 0}, SpecError, "invalid-value", "--max"),
        ({"model": "a/b", "max_model_len": "long"}, SpecError, "invalid-value", "--max-model-len"),
        ({"model": "a/b", "speculative": "eagle"}, SpecError, "invalid-value", "--speculative"),
        ({"model": "a/b", "env": {"1": "x"}}, SpecError, "invalid-value", "--env"),
        ({"model": "x://y"}, SpecError, "invalid-model", "MODEL"),
    ],
)
def test_a_wrong_flag_is_named(flags: dict[str, object], kind: type[LycError], ref: str, where: str) -> None:
    with pytest.raises(kind) as caught:
        wished(flags, file=None, cwd=Path("/"), environ={})
    assert (caught.value.ref, caught.value.where) == (ref, where)


def test_credentials_come_from_the_environment_and_nothing_else_does(tmp_path: Path) -> None:
    environ = {
        "HOME": str(tmp_path), "HF_TOKEN": "t", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "p", "AWS_CONFIG_FILE": "~/aws", "OPENAI_API_KEY": "no", "PATH": "/bin",
    }  # fmt: skip
    found = gather(environ)
    assert set(found) == {"HF_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_CONFIG_FILE"}
    assert found["AWS_CONFIG_FILE"].startswith("/")


@pytest.mark.parametrize(
    ("model", "draft", "expected"),
    [
        ("/m", None, set()),
        ("sample:tiny", None, set()),
        ("hf:a/b", None, {"HF_TOKEN"}),
        ("s3://b/p", None, {"AWS_PROFILE"}),
        ("/m", Speculative("eagle", "hf:a/b"), {"HF_TOKEN"}),
        ("s3://b/p", Speculative("eagle", "hf:a/b"), {"HF_TOKEN", "AWS_PROFILE"}),
    ],
)
def test_a_source_gets_only_its_own_credentials(
    tmp_path: Path, model: str, draft: Speculative | None, expected: set[str]
) -> None:
    environ = {"HOME": str(tmp_path), "HF_TOKEN": "t", "AWS_PROFILE": "p"}
    assert set(needed(DeploymentSpec("a", model, speculative=draft), environ)) == expected


@pytest.mark.parametrize(
    ("place", "variables_"),
    [
        (".cache/huggingface/token", {}),
        ("hf/token", {"HF_HOME": "hf"}),
        ("xdg/huggingface/token", {"XDG_CACHE_HOME": "xdg"}),
        ("mine", {"HF_TOKEN_PATH": "mine"}),
    ],
)
def test_the_token_of_a_login_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, variables_: dict[str, str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("hf_from_login\n")
    environ = {name: str(tmp_path / value) for name, value in variables_.items()}
    assert gather(environ) == {"HF_TOKEN": "hf_from_login"}
    assert gather(environ | {"HF_TOKEN": "said"})["HF_TOKEN"] == "said"
    path.write_bytes(b"\xff")
    assert gather(environ) == {}
