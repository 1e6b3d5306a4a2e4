"""The key pair of this home: what opens the machines that lyc rents. Never the user's own."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path

from lyc.errors import Failed
from lyc.hosts.ssh.target import last_line, run

KEYGEN_SECONDS = 30.0


def own_key(folder: Path) -> tuple[Path, str]:
    """(file of the private key, 0600, without a passphrase; the public key as one line). Made on first use.

    Two who make it at once end with the same one. Raises Failed `no-ssh` and `no-key`.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    private = folder / "id_ed25519"
    if not private.exists():
        made = folder / f".new-{secrets.token_hex(4)}"
        done = run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lyc", "-f", str(made)], KEYGEN_SECONDS)
        if done.returncode != 0:
            raise Failed("no-key", "ssh-keygen could not make a key", why=last_line(done.stderr), where=str(folder))
        with suppress(FileExistsError):  # somebody was faster
            private.hardlink_to(made)
        made.unlink()
        made.with_name(f"{made.name}.pub").unlink(missing_ok=True)
    # From the private key, so that the two always belong together.
    shown = run(["ssh-keygen", "-y", "-f", str(private)], KEYGEN_SECONDS)
    if shown.returncode != 0:
        raise Failed("no-key", f"{private} is no key", why=last_line(shown.stderr), hint=f"rm {private}")
    return private, shown.stdout.decode().strip()
