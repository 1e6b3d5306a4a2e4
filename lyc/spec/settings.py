"""Settings of lyc itself: one table, from which flags, environment names, file keys, help and docs derive.

Precedence: flag > environment > user file (`$LYC_HOME/config.toml`) > default. What belongs to one deployment is not
here but in its spec. Secrets come from the environment only: a secret with a flag would stand in the process list.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lyc.errors import UsageError
from lyc.spec.residency import country_code

USER_FILE = "config.toml"
LONGEST_SOCKET_PATH = 100
"""Bytes. The kernel takes 107 (`sockaddr_un.sun_path`, unix(7)); OpenSSH adds a suffix while it binds."""
_LONGEST_SOCKET_NAME = 36


@dataclass(frozen=True, slots=True)
class Setting:
    """One row. default: as shown to a person. choices: the only values, if not empty. key None = not in the file."""

    name: str
    env: str
    default: str
    help: str
    flag: str | None = None
    key: str | None = None
    kind: str = "text"  # text | path | address | port | switch | country
    choices: tuple[str, ...] = ()
    secret: bool = False

    @property
    def usage(self) -> str:
        """`--home DIR`, as help shows it; empty without a flag."""
        value = {"path": " DIR", "address": " ADDRESS", "port": " PORT", "switch": "", "country": " CC"}.get(
            self.kind, " VALUE"
        )
        return f"{self.flag}{value}" if self.flag else ""


SETTINGS: tuple[Setting, ...] = (
    Setting("home", "LYC_HOME", "~/.lyc", "Where lyc keeps its state.", "--home",
            kind="path"),
    Setting("cache", "LYC_CACHE", "$XDG_CACHE_HOME/lyc, or ~/.cache/lyc", "Weights, by content; safe to delete.",
            "--cache", "cache", "path"),
    Setting("engines", "LYC_ENGINES", "<cache>/engines", "Engine environments, one folder a version.",
            "--engines", "engines", "path"),
    Setting("gateway_host", "LYC_GATEWAY_HOST", "127.0.0.1", "Address on which the gateway listens.",
            "--gateway-host", "gateway_host", "address"),
    Setting("gateway_port", "LYC_GATEWAY_PORT", "8484", "Port of the gateway; 0 chooses a free one.",
            "--gateway-port", "gateway_port", "port"),
    Setting("controller", "LYC_CONTROLLER", "local", "Which controller to talk to.",
            "--controller", "controller", choices=("local",)),
    Setting("ssh_config", "LYC_SSH_CONFIG", "~/.ssh/config", "Configuration of OpenSSH for reaching hosts.",
            "--ssh-config", "ssh_config", "path"),
    Setting("log_level", "LYC_LOG_LEVEL", "info", "What the controller logs.",
            "--log-level", "log_level", choices=("debug", "info", "warning", "error")),
    Setting("prices", "LYC_PRICES", "", "Table of what GPUs cost, over lyc's own; see docs/gpus.md.",
            None, "prices", "path"),
    Setting("country", "LYC_COUNTRY", "", "Country where this machine stands (FI), for --residency.",
            "--country-here", "country", "country"),
    Setting("bucket_country", "LYC_BUCKET_COUNTRY", "", "Country where s3:// models lie, where lyc cannot tell.",
            None, "bucket_country", "country"),
    Setting("no_color", "NO_COLOR", "off", "No colours.",
            "--no-color", "no_color", "switch"),
    Setting("plain", "LYC_PLAIN", "off", "One line a phase, no live bars.",
            "--plain", "plain", "switch"),
    Setting("quiet", "LYC_QUIET", "off", "Only warnings and errors on stderr.", "--quiet", "quiet", "switch"),
)  # fmt: skip

CREDENTIALS: tuple[Setting, ...] = (
    Setting("hf_token", "HF_TOKEN", "", "Token of the Hugging Face Hub, for gated and private models.", secret=True),
    Setting("hf_endpoint", "HF_ENDPOINT", "https://huggingface.co", "Address of the Hub or of a mirror."),
    Setting("aws_access_key_id", "AWS_ACCESS_KEY_ID", "", "Access key for s3:// models.", secret=True),
    Setting("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY", "", "Secret key for s3:// models.", secret=True),
    Setting("aws_session_token", "AWS_SESSION_TOKEN", "", "Session token of temporary credentials.", secret=True),
    Setting("aws_region", "AWS_REGION", "", "Region of the bucket; wins over AWS_DEFAULT_REGION."),
    Setting("aws_default_region", "AWS_DEFAULT_REGION", "", "Region of the bucket."),
    Setting("aws_endpoint_url", "AWS_ENDPOINT_URL", "", "Address of an S3-compatible service."),
    Setting("aws_endpoint_url_s3", "AWS_ENDPOINT_URL_S3", "", "The same, for S3 alone; wins over AWS_ENDPOINT_URL."),
    Setting("aws_profile", "AWS_PROFILE", "", "Profile in the shared AWS files."),
    Setting("aws_shared_credentials_file", "AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials", "Shared AWS file."),
    Setting("aws_config_file", "AWS_CONFIG_FILE", "~/.aws/config", "Shared AWS file."),
)
"""Read from the environment of the caller and handed to the controller for one deploy; see `lyc.cli.credentials`."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, decided. Paths are absolute. gateway_port 0 = choose a free one. ssh_config
    None = what OpenSSH reads by itself. country, bucket_country: ISO codes, empty = nobody has said.

    origins: name → where the value came from: the flag, the environment's name, `config.toml`, or `default`.
    """

    home: Path
    cache: Path
    engines: Path
    gateway_host: str
    gateway_port: int
    ssh_config: Path | None
    controller: str
    log_level: str
    prices: Path | None
    country: str
    bucket_country: str
    no_color: bool
    plain: bool
    quiet: bool
    uid: int
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def gateway_port_explicit(self) -> bool:
        """Whether the user named the port: then a port in use is an error, else the next free one may be taken."""
        return self.origins.get("gateway_port", "default") != "default"

    @property
    def run_dir(self) -> Path:
        """Folder of the sockets. Whoever creates it makes it 0700 and refuses one that is not its own.

        `<home>/run` while its socket paths stay within 100 bytes; else a short folder under /tmp, named by the home.
        """
        run = self.home / "run"
        if len(os.fsencode(run)) + 1 + _LONGEST_SOCKET_NAME <= LONGEST_SOCKET_PATH:
            return run
        digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
        return Path(f"/tmp/lyc-{self.uid}-{digest}")  # noqa: S108  the creator checks owner and mode

    def socket(self, name: str) -> Path:
        """`<run_dir>/<name>.sock`, with a long name cut and told apart by a digest, so that the kernel takes it."""
        if len(os.fsencode(name)) > _LONGEST_SOCKET_NAME - len(".sock"):
            name = f"{name[:16].encode('ascii', 'ignore').decode()}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
        return self.run_dir / f"{name}.sock"

    @property
    def controller_socket(self) -> Path:
        return self.socket("controller")

    @property
    def database(self) -> Path:
        return self.home / "lyc.db"

    @property
    def deployments_dir(self) -> Path:
        return self.home / "deployments"

    @property
    def user_file(self) -> Path:
        return self.home / USER_FILE

    def shared(self) -> dict[str, str]:
        """By environment name: what a controller decides for all that talk to it, whatever they are told themselves."""
        names = ("cache", "engines", "gateway_host", "gateway_port", "ssh_config", "country", "bucket_country")
        return {row(name).env: str(value) for name in names if (value := getattr(self, name)) is not None}

    def unheard(self, running: Mapping[str, str]) -> dict[str, str]:
        """What the user said here that a running controller with the `shared` settings `running` does not do."""
        said = {row(name).env for name, origin in self.origins.items() if origin != "default"}
        return {env: value for env, value in self.shared().items() if env in said and running.get(env, value) != value}

    def environment(self) -> dict[str, str]:
        """The environment by which a controller process comes to the same settings; what was not said stays unsaid."""
        return {
            row.env: str(getattr(self, row.name))
            for row in SETTINGS
            if row.kind != "switch" and self.origins.get(row.name, "default") != "default"
        }


def resolve(
    environ: Mapping[str, str],
    *,
    overrides: Mapping[str, str] | None = None,
    user_file: str | None = None,
    uid: int = -1,
    cwd: Path | None = None,
) -> Settings:
    """The settings. Pure when `uid` and `cwd` are given; else the system is asked for them.

    overrides: values of flags by the row's name. user_file: the text of config.toml.
    Raises UsageError `invalid-setting`, `unknown-setting`, `invalid-toml`, `no-home`.
    """
    flags = overrides or {}
    written_home = flags.get("home") or environ.get("LYC_HOME") or "~/.lyc"
    home = _absolute(written_home, environ, cwd, "--home" if flags.get("home") else "LYC_HOME")
    file = _from_file(user_file, home / USER_FILE) if user_file is not None else {}
    values: dict[str, str] = {}
    origins: dict[str, str] = {}
    for entry in SETTINGS:
        for value, origin in (
            (flags.get(entry.name), entry.flag or entry.name),
            (environ.get(entry.env) or None, entry.env),
            (file.get(entry.key) if entry.key else None, USER_FILE),
        ):
            if value is not None:
                values[entry.name], origins[entry.name] = value, origin
                break
        else:
            origins[entry.name] = "default"

    def path(name: str) -> Path | None:
        if name not in values:
            return None
        return _absolute(values[name], environ, home if origins[name] == USER_FILE else cwd, origins[name])

    cache = path("cache") or _cache_root(environ) / "lyc"
    return Settings(
        home=home,
        cache=cache,
        engines=path("engines") or cache / "engines",
        gateway_host=_address(values.get("gateway_host", "127.0.0.1"), origins["gateway_host"]),
        gateway_port=_port(values.get("gateway_port", "8484"), origins["gateway_port"]),
        ssh_config=path("ssh_config"),
        controller=_choice("controller", values, origins),
        log_level=_choice("log_level", values, origins),
        prices=path("prices"),
        country=_country(values.get("country", ""), origins["country"]),
        bucket_country=_country(values.get("bucket_country", ""), origins["bucket_country"]),
        no_color=_switch(values.get("no_color", ""), origins["no_color"]),
        plain=_switch(values.get("plain", ""), origins["plain"]),
        quiet=_switch(values.get("quiet", ""), origins["quiet"]),
        uid=os.getuid() if uid < 0 else uid,
        origins=origins,
    )


def load(environ: Mapping[str, str], *, overrides: Mapping[str, str] | None = None) -> Settings:
    """`resolve`, with the user's file read from disk: the one function here that touches it."""
    first = resolve(environ, overrides=overrides)
    try:
        text = first.user_file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return first
    except (OSError, UnicodeDecodeError) as problem:
        raise UsageError(
            "unreadable-settings", "the file of settings cannot be read", why=str(problem), where=str(first.user_file)
        ) from problem
    return resolve(environ, overrides=overrides, user_file=text)


def row(name: str) -> Setting:
    """The row of that name. Raises KeyError."""
    return _ROWS[name]


_ROWS = {entry.name: entry for entry in SETTINGS}
_KEYS = {entry.key: entry for entry in SETTINGS if entry.key}
_ON, _OFF = frozenset({"1", "true", "yes", "on"}), frozenset({"", "0", "false", "no", "off"})


def _from_file(text: str, path: Path) -> dict[str, str]:
    import tomllib  # noqa: PLC0415  only where there is a file: `lyc ls` need not wait for it

    from lyc.spec.positions import locate, nearest  # noqa: PLC0415

    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise UsageError("invalid-toml", f"{path.name} is not TOML", why=str(problem), where=str(path)) from problem
    lines = locate(text)
    found = {}
    for key, value in table.items():
        where = f"{path}:{lines.get((key,), 1)}"
        if key not in _KEYS:
            near = nearest(key, _KEYS)
            raise UsageError(
                "unknown-setting",
                f"there is no setting {key!r}",
                where=where,
                hint=f"did you mean {near}?" if near else f"settings are {', '.join(sorted(_KEYS))}",
            )
        if not isinstance(value, str | int | bool):
            raise UsageError("invalid-setting", f"{key} takes a single value", where=where)
        found[key] = _written(value)
    return found


def _written(value: object) -> str:
    return {True: "1", False: "0"}[value] if isinstance(value, bool) else str(value)


def _absolute(written: str, environ: Mapping[str, str], cwd: Path | None, origin: str) -> Path:
    if written == "~" or written.startswith("~/"):
        return _user_home(environ) / written[2:]
    if not written.strip() or "\0" in written:
        raise _invalid(origin, written, "it is not a path")
    return Path(os.path.normpath((cwd or Path.cwd()) / written))


def _country(written: str, origin: str) -> str:
    code = country_code(written) if written.strip() else ""
    if code is None:
        raise _invalid(origin, written, "it is not the two letters of a country, such as FI")
    return code


def _cache_root(environ: Mapping[str, str]) -> Path:
    root = environ.get("XDG_CACHE_HOME") or ""
    # The XDG specification says that a relative path in these variables is to be ignored.
    return Path(root) if root.startswith("/") else _user_home(environ) / ".cache"


def _user_home(environ: Mapping[str, str]) -> Path:
    home = environ.get("HOME", "")
    if not home.startswith("/"):
        raise UsageError(
            "no-home",
            "the home directory is not known",
            why="HOME is not set to an absolute path",
            hint="set LYC_HOME and LYC_CACHE to absolute paths",
        )
    return Path(home)


def _port(written: str, origin: str) -> int:
    if written.isascii() and written.isdecimal() and int(written) < 1 << 16:
        return int(written)
    raise _invalid(origin, written, "a port is a number from 0 to 65535")


def _address(written: str, origin: str) -> str:
    if written == "127.0.0.1":
        return written
    import ipaddress  # noqa: PLC0415  not needed for the default

    try:
        return str(ipaddress.ip_address(written))
    except ValueError:
        raise _invalid(origin, written, "it takes an IP address, such as 127.0.0.1 or 0.0.0.0") from None


def _choice(name: str, values: Mapping[str, str], origins: Mapping[str, str]) -> str:
    entry = _ROWS[name]
    value = values.get(name, entry.default)
    if value not in entry.choices:
        raise _invalid(origins[name], value, f"it takes {' or '.join(entry.choices)}")
    return value


def _switch(written: str, origin: str) -> bool:
    if origin == "NO_COLOR":  # https://no-color.org: any value that is not empty
        return bool(written)
    if written.lower() in _ON | _OFF:
        return written.lower() in _ON
    raise _invalid(origin, written, "it takes 1 or 0")


def _invalid(origin: str, written: str, why: str) -> UsageError:
    return UsageError("invalid-setting", f"{written!r} cannot be the value of {origin}", why=why, where=origin)
