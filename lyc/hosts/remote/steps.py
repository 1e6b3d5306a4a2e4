"""The steps that make a bare host fit to run engines, as a table. Pure: text for a POSIX shell, and what goes along.

Each step may be killed at any line and be run again, also by two controllers at once: what it makes appears by a
rename, and all of them hold one lock of the kernel's (`TAKE`). A `done` test asks what is there, not what was once
done.

In all scripts: `$R` lyc's folder, `$A` the folder with what was sent along, `$G` the service account or nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from lyc.agent.root import ACCOUNT
from lyc.agent.units import UNITS
from lyc.engines.versions import PYTHON_NEWEST, PYTHON_OLDEST
from lyc.hosts.remote.rights import Rights

LEAST_UV = (0, 9)
COMMENT = "lyc engines"
"""What the account's entry says, so that another account of the name is left alone."""
_SYSTEM, _SYSTEMD = frozenset({"system"}), frozenset({"system", "systemd"})
_OPEN_MODE = (
    ("agent", "755"),
    ("bin", "755"),
    ("uv", "755"),
    ("engines", "755"),
    ("store", "755"),
    ("replicas", "755"),
)
NO_PYTHON, TAKEN = 66, 65
"""How a step ends that found no Python, or something of the name that is not lyc's."""
PYTHON_RANGE = f"{PYTHON_OLDEST} <= sys.version_info[:2] <= {PYTHON_NEWEST}"


@dataclass(frozen=True, slots=True)
class Ground:
    """What the steps are told of the host and of what it is to have.

    rights: see there. systemd: whether PID 1 is. program: file name of the agent, `<digest>.pyz`; its digest is that of
    the content. units: file name → text.
    """

    rights: Rights
    systemd: bool
    program: str
    units: Mapping[str, str]

    @property
    def account(self) -> str:
        return ACCOUNT if self.rights.system else ""

    @property
    def abilities(self) -> frozenset[str]:
        """What a step may need."""
        system = {"system"} if self.rights.system else set()
        return frozenset(system | ({"systemd"} if system and self.systemd else set()))


@dataclass(frozen=True, slots=True)
class Step:
    """One row. said: what is told while it runs. done: its status says whether there is nothing to do. do, undo: see
    the module. needs: abilities without which the step is left out. sent: what goes along (`lyc.hosts.remote.sent`).
    """

    name: str
    said: str
    done: str
    do: str
    undo: str
    needs: frozenset[str] = frozenset()
    sent: str = ""


def steps(ground: Ground) -> tuple[Step, ...]:
    """The table for one host, in order; undone in reverse."""
    rows = (_account(), _folders(ground), _uv(), _python(), _agent(ground), _units(ground))
    return tuple(row for row in rows if row.needs <= ground.abilities)


HEAD = f"""
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; LC_ALL=C; export PATH LC_ALL
umask 022
R=$1 G=$2 A=$1/.arriving
case $R in /*/lyc) ;; *) echo "$R is not a folder of lyc" >&2; exit 64;; esac
getent() {{ command getent "$@" 2>/dev/null; }}
ours() {{ [ "$(getent passwd {ACCOUNT} | cut -d: -f5)" = '{COMMENT}' ]; }}
member() {{ getent group "$1" | cut -d: -f4 | tr , '\\n' | grep -qx {ACCOUNT}; }}
"""
TAKE = """
[ -d "$R" ] || (umask 077; mkdir -p "$R") || exit 71
exec 9>>"$R/.bootstrap" || exit 71
if command -v flock >/dev/null; then flock 9; fi
rm -rf "$A" && (umask 077; mkdir "$A") && { [ "$3" = 0 ] || tar -xzmf - --no-same-owner -C "$A"; } || exit 71
"""
"""$3: whether anything is sent along, as a .tar.gz on stdin. What an interrupted run left in `$A` goes."""
LEAVE = """
rm -rf "$A"
"""


def check(ground: Ground) -> str:
    """One script that says of each step `lyc NAME done` or `lyc NAME missing`, and what else a caller asks first."""
    tests = "".join(
        f"if ( {step.done} ) >/dev/null 2>&1; then echo lyc {step.name} done; else echo lyc {step.name} missing; fi\n"
        for step in steps(ground)
    )
    return f"""{HEAD}{tests}
printf 'lyc version '; "$R/python3" -I -S -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo
printf 'lyc lock '; tr -d '\\n' <"$R/lock.json" 2>/dev/null; echo
echo lyc here $([ ! -e "$R" ] || echo folder; ! ours || echo account)
echo lyc replicas "$(ls "$R/replicas" 2>/dev/null | wc -l)"
echo lyc clock "$(date +%s)" "$(cut -d' ' -f1 /proc/uptime)" "$(cat /proc/sys/kernel/random/boot_id)"
"""


def do(step: Step) -> str:
    return f"{HEAD}{TAKE}{step.do}{LEAVE}"


def undo(ground: Ground) -> str:
    """All steps undone, the last one first. May be killed and run again; what is not there is no error."""
    return HEAD + "".join(f"{step.undo}\n" for step in reversed(steps(ground)))


def _account() -> Step:
    """A system account without a login or a home, in the groups that graphics devices belong to."""
    return Step(
        name="account",
        said=f"the account {ACCOUNT}, which engines run as",
        done=f"""ours && getent group {ACCOUNT} && for g in video render; do
  ! getent group $g || member $g || exit 1; done""",
        do=f"""
if ! ours; then
  if getent passwd {ACCOUNT} >/dev/null; then echo "the host has another account {ACCOUNT}" >&2; exit {TAKEN}; fi
  if entry=$(getent group {ACCOUNT}); then
    # Of an interrupted run, or somebody's: then it has members or is not a system group.
    rest=${{entry#*:*:}}; id=${{rest%%:*}}
    [ "$id" -lt 1000 ] && [ -z "${{rest#*:}}" ] || {{ echo "the host has another group {ACCOUNT}" >&2; exit {TAKEN}; }}
  else
    groupadd --system {ACCOUNT} || exit 71
  fi
  shell=/bin/false; for s in /sbin/nologin /usr/sbin/nologin; do [ ! -x $s ] || shell=$s; done
  useradd --system --gid {ACCOUNT} --no-create-home --home-dir /nonexistent --shell $shell \\
    --comment '{COMMENT}' {ACCOUNT} || exit 71
fi
getent group {ACCOUNT} >/dev/null || groupadd --system {ACCOUNT} || exit 71
for g in video render; do
  if getent group $g >/dev/null && ! member $g; then usermod -a -G $g {ACCOUNT} || exit 71; fi
done
""",
        undo=f"""
if ours; then
  id=$(id -u {ACCOUNT})
  for p in /proc/[0-9]*; do
    if [ "$(stat -c %u $p 2>/dev/null)" = "$id" ]; then kill -KILL "${{p#/proc/}}" 2>/dev/null; fi
  done
  tries=0
  until userdel {ACCOUNT} 2>/dev/null || ! ours; do
    tries=$((tries + 1)); [ $tries -lt 50 ] || {{ echo "the account {ACCOUNT} is in use" >&2; exit 71; }}
    sleep 0.1
  done
  ! getent group {ACCOUNT} >/dev/null || groupdel {ACCOUNT} || exit 71
fi
""",
        needs=_SYSTEM,
    )


def _folders(ground: Ground) -> Step:
    """lyc's folder, closed to other accounts but for the service account's group, and what lies in it."""
    system = ground.rights.system
    rows = [(".", "750" if system else "700", f"root {ACCOUNT}" if system else "")]
    rows += [(name, mode, "root root" if system else "") for name, mode in _OPEN_MODE]
    rows += [("compiled", "700", f"{ACCOUNT} {ACCOUNT}" if system else "")]
    names = " ".join(f'"$R/{name}"' for name, _, _ in rows)
    wanted = "\n".join(f"{mode} {owners}".strip() for _, mode, owners in rows)
    form = "%a %U %G" if system else "%a"
    made = "\n".join(
        f'install -d -m {mode} {"-o {} -g {}".format(*owners.split()) if owners else ""} "$R/{name}" || exit 71'
        for name, mode, owners in rows
    )
    return Step(
        name="folders",
        said=f"folders in {ground.rights.root}",
        done=f"[ \"$(stat -c '{form}' {names})\" = '{wanted}' ]",
        do=f"\n{made}\n",
        undo="""
rm -rf "$R" || { sleep 1; rm -rf "$R"; } || exit 71
""",
    )


def _uv() -> Step:
    major, minor = LEAST_UV
    fine = f'[ "$1" -gt {major} ] || {{ [ "$1" -eq {major} ] && [ "$2" -ge {minor} ]; }}'
    return Step(
        name="uv",
        said="uv, which installs engines",
        done=f'v=$("$R/bin/uv" --version) && v=${{v#uv }} && IFS=. && set -- ${{v%% *}} && {{ {fine}; }}',
        do="""
chmod 755 "$A/uv" && "$A/uv" --version >/dev/null || exit 71
[ ! -e /sys/fs/selinux/enforce ] || chcon -t bin_t "$A/uv" 2>/dev/null
mv -f "$A/uv" "$R/bin/uv" || exit 71
""",
        undo='rm -rf "$R/bin" "$R/uv"',
        sent="uv",
    )


def _python() -> Step:
    """An interpreter of the host that engines can run on and the account may read, else one of uv's.

    The agent runs with it too. Headers: Triton compiles against them, and distributions leave them out. Sent along are
    `lyc_wish` (any | headers) and `lyc_fetch` (yes | no) among the variables. Ends with NO_PYTHON where there is none.
    """
    oldest, newest = (".".join(map(str, version)) for version in (PYTHON_OLDEST, PYTHON_NEWEST))
    names = " ".join(f"/usr/bin/python3.{minor} /usr/local/bin/python3.{minor}"
                     for minor in range(PYTHON_NEWEST[1], PYTHON_OLDEST[1] - 1, -1))  # fmt: skip
    wanted = f">={oldest},<={newest}.999"
    return Step(
        name="python",
        said="a Python for engines",
        done=f"\"$R/python3\" -I -S -c 'import sys; sys.exit(not {PYTHON_RANGE})'",
        do=f"""
set -a; . "$A/env"; set +a; rm -f "$A/env"
UV_CACHE_DIR=$R/uv/cache UV_PYTHON_INSTALL_DIR=$R/uv/python UV_NO_CONFIG=1
export UV_CACHE_DIR UV_PYTHON_INSTALL_DIR UV_NO_CONFIG
fit() {{ [ -x "$1" ] && "$1" -I "$A/fit.py" "${{G:-user}}" "$2" "$R" {oldest} {newest}; }}
chosen() {{
  for p in {names} /usr/bin/python3 /usr/local/bin/python3 "$R"/uv/python/cpython-*/bin/python3.??; do
    fit "$p" "$1" && return
  done
  p=$(UV_PYTHON_PREFERENCE=only-system UV_PYTHON_DOWNLOADS=never \\
    "$R/bin/uv" python find --quiet --no-project --system '{wanted}' </dev/null) && fit "$p" "$1"
}}
if ! p=$(chosen $lyc_wish 2>/dev/null); then
  [ $lyc_fetch = yes ] && "$R/bin/uv" --color never python install --no-bin {newest} </dev/null >&2 || exit {NO_PYTHON}
  p=$(chosen any) || exit {NO_PYTHON}
fi
ln -sfn "$p" "$A/python3" && mv -fT "$A/python3" "$R/python3" || exit 71
""",
        undo='rm -rf "$R/python3" "$R/uv/python"',
        sent="python",
    )


def _agent(ground: Ground) -> Step:
    """The program, named by its digest. Others go after a week, when no process and no unit uses them."""
    digest = ground.program.removesuffix(".pyz")
    return Step(
        name="agent",
        said="lyc's own program",
        done=f'd=$(sha256sum <"$R/agent/{ground.program}") && [ "${{d%"${{d#????????????????}}"}}" = {digest} ]',
        do=f"""
chmod 644 "$A/{ground.program}" && mv -f "$A/{ground.program}" "$R/agent/{ground.program}" || exit 71
for old in $(find "$R/agent" -name '*.pyz' ! -name {ground.program} -mtime +7); do
  for line in /proc/[0-9]*/cmdline; do
    if tr '\\0' '\\n' <"$line" 2>/dev/null | grep -qxF "$old"; then continue 2; fi
  done
  grep -qrsF "$old" {UNITS}/lyc-* || rm -f "$old"
done
""",
        undo='rm -rf "$R/agent"',
        sent="agent",
    )


def _units(ground: Ground) -> Step:
    """Units of systemd. The record of what it was last told to read makes a kill before that be noticed."""
    digest = hashlib.sha256("".join(f"{name}\n{text}" for name, text in sorted(ground.units.items())).encode())
    wanted = digest.hexdigest()
    names = " ".join(sorted(ground.units))
    said = f'for u in {names}; do echo "$u"; cat {UNITS}/$u; done | sha256sum'
    timers = [name for name in sorted(ground.units) if name.endswith(".timer")]
    links = " && ".join(f"[ -L {UNITS}/timers.target.wants/{name} ]" for name in timers) or ":"
    return Step(
        name="units",
        said="units of systemd",
        done=f'd=$({said}) && [ "${{d%% *}}" = {wanted} ] && {links} && [ "$(cat "$R/.units")" = {wanted} ]',
        do=f"""
for u in {names}; do
  chmod 644 "$A/$u" && cp -p "$A/$u" {UNITS}/.$u.new && mv -f {UNITS}/.$u.new {UNITS}/$u || exit 71
done
systemctl daemon-reload || exit 71
{"".join(f"systemctl enable --quiet --now {name} || exit 71{chr(10)}" for name in timers)}
echo {wanted} >"$A/.units" && mv -f "$A/.units" "$R/.units" || exit 71
""",
        undo=f"""
systemctl stop 'lyc-*' 2>/dev/null
{"".join(f"systemctl disable --quiet --now {name} 2>/dev/null{chr(10)}" for name in timers)}
for u in {names}; do rm -rf {UNITS}/$u {UNITS}/.$u.new {UNITS}/$u.d; done
rm -rf {UNITS}/lyc-replica@* {UNITS}/*.wants/lyc-replica@* "$R/.units"
systemctl daemon-reload || exit 71
systemctl reset-failed 'lyc-*' 2>/dev/null
""",
        needs=_SYSTEMD,
        sent="units",
    )
