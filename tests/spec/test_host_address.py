"""What a user may write for a machine, and what never reaches OpenSSH."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyc.errors import UsageError
from lyc.spec.host_address import is_address, name_of, parse_address, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ssh://ubuntu@gpu1.example.eu:2222", ("ubuntu@gpu1.example.eu", 2222)),
        ("ssh://box", ("box", None)),
        ("SSH://box/", ("box", None)),
        ("ubuntu@box", ("ubuntu@box", None)),
        ("box", ("box", None)),
        (" my_alias-1.lan ", ("my_alias-1.lan", None)),
        ("ssh://root@[2001:db8::1]:22", ("root@2001:db8::1", 22)),
        ("root@2001:db8::1", ("root@2001:db8::1", None)),
        ("203.0.113.7", ("203.0.113.7", None)),
        ("first.last@corp@box".replace("@corp", "-corp"), ("first.last-corp@box", None)),
    ],
)
def test_addresses(text: str, expected: tuple[str, int | None]) -> None:
    assert parse_address(text) == expected
    assert parse_address(shown(*expected)) == expected


@pytest.mark.parametrize(
    "text",
    ["", "ssh://", "@box", "user@", "-oProxyCommand=x", "user@-box", "ssh://-box", "ssh://box:0", "ssh://box:70000",
     "ssh://box:ssh", "ssh://box/path", "http://box", "box;reboot", "a b", "user@box`id`", "$(id)@box",
     "box\n", "bo\0x", "ssh://box:22:22", "-x@box"],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    if text == "box\n":  # what surrounds it does not count
        assert parse_address(text) == ("box", None)
        return
    with pytest.raises(UsageError) as caught:
        parse_address(text)
    assert caught.value.ref == "invalid-address"


def test_a_port_without_the_form_of_a_url_gets_that_form() -> None:
    with pytest.raises(UsageError) as caught:
        parse_address("ubuntu@box:2222")
    assert caught.value.hint == "ssh://ubuntu@box:2222"


@pytest.mark.parametrize("text", ["ssh://root:hunter2@box", "root:hunter2@box", "ssh://root:hunter2@x@box"])
def test_a_password_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(text)
    assert "hunter2" not in str(caught.value.document())


@given(st.text(max_size=40))
def test_nothing_that_openssh_takes_for_an_option_or_a_shell_for_a_command(text: str) -> None:
    try:
        address, port = parse_address(text)
    except UsageError:
        return
    _, _, host = address.rpartition("@")
    assert not address.startswith("-")
    assert not host.startswith("-")
    assert not set(address) & set(" \t\n\r\0'\"`$;&|<>(){}\\")
    assert port is None or 0 < port < 65536
    assert parse_address(shown(address, port)) == (address, port)
    assert name_of(address)


@pytest.mark.parametrize(
    ("address", "name"),
    [("ubuntu@gpu1.example.eu", "gpu1"), ("box", "box"), ("10.0.0.5", "10-0-0-5"), ("root@2001:db8::1", "2001-db8-1"),
     ("GPU_Box", "gpu-box")],
)  # fmt: skip
def test_names(address: str, name: str) -> None:
    assert name_of(address) == name


def test_what_is_meant_as_an_address() -> None:
    assert all(is_address(text) for text in ("user@box", "ssh://box", "http://box"))
    assert not any(is_address(text) for text in ("gpu1", "box.example.eu", "local", "10.0.0.5"))
