"""Who a machine is: first contact, pinned keys, another key, and being turned away."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable

import pytest

from lyc.errors import Failed, LycError, NotAuthorised, Unreachable, UsageError
from lyc.hosts.ssh import known
from lyc.hosts.ssh.known import forget, pin, pinned
from lyc.hosts.ssh.scan import scan
from tests.hosts.ssh.server import Account, Server, awaited, fingerprint, free_port, keygen

Servers = Callable[[str], Server]


def refused(account: Account, address: str) -> LycError:
    """What a command says that does not get through."""
    remote = account.remote(address)
    try:
        with pytest.raises(LycError) as caught:
            remote.run(["true"])
        return caught.value
    finally:
        remote.close()


def works(account: Account, address: str, port: int | None = None) -> bool:
    remote = account.remote(address, port)
    try:
        return remote.run(["echo", "in"]).stdout == b"in\n"
    finally:
        remote.close()


def test_first_contact_shows_the_fingerprint_and_the_command(account: Account, server: Server) -> None:
    error = refused(account, "box")
    assert (type(error), error.ref) == (Failed, "host-key-unknown")
    assert server.fingerprint in error.why
    assert f"lyc hosts add ssh://box --accept-host-key {server.fingerprint}" in error.hint
    assert "Accepted" not in server.log()


def test_a_look_offers_no_credential(account: Account, server: Server) -> None:
    (key,) = scan(account.target("box"))
    assert (key.kind, key.fingerprint) == ("ssh-ed25519", server.fingerprint)
    assert "Accepted" not in server.log()
    assert "publickey" not in server.log()


def test_pinned_then_used(account: Account, server: Server) -> None:
    target = account.target("box")
    pin(target, scan(target))
    assert [key.fingerprint for key in pinned(target)] == [server.fingerprint]
    assert works(account, "box")
    assert account.lyc_known_hosts.stat().st_mode & 0o777 == 0o600
    assert not account.user_known_hosts.exists()


def test_what_the_user_knows_is_known(account: Account, server: Server) -> None:
    public = " ".join(server.host_key.with_suffix(".pub").read_text().split()[:2])
    account.user_known_hosts.write_text(f"[127.0.0.1]:{server.port} {public}\n")
    assert works(account, "box")


def test_what_the_user_knows_hashed_is_known(account: Account, server: Server) -> None:
    public = " ".join(server.host_key.with_suffix(".pub").read_text().split()[:2])
    account.user_known_hosts.write_text(f"[127.0.0.1]:{server.port} {public}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", account.user_known_hosts], check=True, capture_output=True)
    assert "127.0.0.1" not in account.user_known_hosts.read_text()
    assert works(account, "box")


def test_names_are_hashed_where_the_user_wants_it(account: Account, server: Server) -> None:
    account.configure("HashKnownHosts yes")
    target = account.target("box")
    for _ in range(2):
        pin(target, scan(target))
    assert account.lyc_known_hosts.read_text().count("\n") == 1
    assert account.lyc_known_hosts.read_text().startswith("|1|")
    assert works(account, "box")
    forget(target)
    assert account.lyc_known_hosts.read_text() == ""
    assert refused(account, "box").ref == "host-key-unknown"


def test_address_and_port_without_a_configuration(account: Account, server: Server) -> None:
    target = account.target("127.0.0.1", server.port)
    pin(target, scan(target))
    assert works(account, "127.0.0.1", server.port)
    assert account.lyc_known_hosts.read_text().startswith(f"[127.0.0.1]:{server.port} ")


def test_another_key_is_refused_with_both_fingerprints(account: Account, server: Server) -> None:
    target = account.target("box")
    pin(target, scan(target))
    assert works(account, "box")
    old = server.fingerprint
    server.stop(connections=True)
    keygen(server.host_key)
    server.start()
    error = refused(account, "box")
    assert (type(error), error.ref) == (Failed, "host-key-changed")
    assert old in error.why
    assert server.fingerprint in error.why
    assert f"--accept-host-key {server.fingerprint}" in error.hint
    pin(target, scan(target))
    assert [key.fingerprint for key in pinned(target)] == [server.fingerprint]
    assert works(account, "box")


def test_a_key_pinned_wrongly_is_refused(account: Account, server: Server) -> None:
    other = keygen(account.home / "other")
    key = known.parse(f"x {other.with_suffix('.pub').read_text()}")
    assert key
    assert key.fingerprint == fingerprint(other.with_suffix(".pub"))
    pin(account.target("box"), [key])
    error = refused(account, "box")
    assert error.ref == "host-key-changed"
    assert "Accepted" not in server.log()


def test_forgotten_hosts_do_not_take_others_along(account: Account, servers: Servers) -> None:
    servers("one"), servers("two")
    for name in ("one", "two"):
        pin(account.target(name), scan(account.target(name)))
    forget(account.target("one"))
    assert refused(account, "one").ref == "host-key-unknown"
    assert works(account, "two")


def test_a_host_certificate_of_an_authority_the_user_trusts(account: Account, server: Server) -> None:
    authority = keygen(account.home / "authority")
    subprocess.run(
        ["ssh-keygen", "-q", "-s", authority, "-I", "box", "-h", "-n", "box.example",
         server.host_key.with_suffix(".pub")],
        check=True, capture_output=True,
    )  # fmt: skip
    server.stop()
    server.more = f"HostCertificate {server.host_key}-cert.pub"
    server.start()
    account.knows("certified", server, "HostKeyAlias box.example")
    public = authority.with_suffix(".pub").read_text()
    account.user_known_hosts.write_text(f"@cert-authority *.example {public}")
    assert works(account, "certified")
    assert scan(account.target("certified"))[0].fingerprint == server.fingerprint
    (server.folder / "authorized_keys").write_text("")
    assert refused(account, "certified").ref == "host-denied"


def test_turned_away(account: Account, server: Server) -> None:
    target = account.target("box")
    pin(target, scan(target))
    (server.folder / "authorized_keys").write_text("")
    error = refused(account, "box")
    assert (type(error), error.ref, error.exit_code) == (NotAuthorised, "host-denied", 4)
    assert "ssh box" in error.hint


def test_a_closed_port(account: Account) -> None:
    remote = account.remote("127.0.0.1", free_port())
    with pytest.raises(Unreachable) as caught:
        remote.run(["true"])
    assert caught.value.ref == "host-unreachable"
    assert "refused" in caught.value.why


def test_a_name_that_does_not_exist(account: Account) -> None:
    error = refused(account, "no-such-host.invalid")
    assert (type(error), error.ref, error.exit_code) == (Unreachable, "host-unreachable", 6)


def test_a_broken_configuration_is_the_users_error(account: Account) -> None:
    account.configure("NoSuchWord yes")
    error = refused(account, "box")
    assert (type(error), error.ref) == (UsageError, "ssh-config-refused")


def test_an_address_is_no_option(account: Account) -> None:
    mark = account.home / "mark"
    error = refused(account, f"-oProxyCommand=touch {mark}")
    assert isinstance(error, UsageError | Unreachable)
    assert not mark.exists()


def test_a_jump_host(account: Account, servers: Servers) -> None:
    jump, inner = servers("jump"), servers("inner")
    account.knows("behind", inner, "ProxyJump jump")
    public = " ".join(jump.host_key.with_suffix(".pub").read_text().split()[:2])
    account.user_known_hosts.write_text(f"[127.0.0.1]:{jump.port} {public}\n")
    target = account.target("behind")
    (key,) = scan(target)
    assert key.fingerprint == inner.fingerprint
    pin(target, [key])
    before = jump.log().count("Accepted publickey")
    assert works(account, "behind")
    assert jump.log().count("Accepted publickey") == before + 1
    assert inner.log().count("Accepted publickey") == 1


def test_a_jump_host_that_is_not_known_asks_nothing(account: Account, servers: Servers) -> None:
    servers("jump")
    account.knows("behind", servers("inner"), "ProxyJump jump")
    assert refused(account, "behind").ref == "host-unreachable"


def test_an_agents_key(account: Account, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = account.key.with_name("moved")
    account.key.rename(hidden)
    account.config.write_text(account.config.read_text().replace("IdentityAgent none", "IdentityAgent SSH_AUTH_SOCK"))
    target = account.target("box")
    pin(target, scan(target))
    assert refused(account, "box").ref == "host-denied"
    sock = account.home / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", sock], stdout=subprocess.DEVNULL) as agent:
        awaited(sock.exists, 5, "the agent listens")
        monkeypatch.setenv("SSH_AUTH_SOCK", str(sock))
        subprocess.run(["ssh-add", "-q", hidden], check=True)
        assert works(account, "box")
        agent.terminate()


def test_a_users_certificate(account: Account, server: Server) -> None:
    authority = keygen(account.home / "authority")
    (server.folder / "authorized_keys").write_text(f"cert-authority {authority.with_suffix('.pub').read_text()}")
    target = account.target("box")
    pin(target, scan(target))
    assert refused(account, "box").ref == "host-denied"
    user = subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
    subprocess.run(
        ["ssh-keygen", "-q", "-s", authority, "-I", "me", "-n", user, account.key.with_suffix(".pub")],
        check=True, capture_output=True,
    )  # fmt: skip
    assert works(account, "box")


def test_without_openssh(account: Account, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shutil.which("ssh")
    monkeypatch.setenv("PATH", str(account.home))
    error = refused(account, "box")
    assert (error.ref, error.exit_code) == ("no-ssh", 1)
    assert "openssh-client" in error.hint
