"""How hosts look on a terminal. Pure, but for the colours of `Output`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from lyc.cli.rented import price
from lyc.units import show_bytes, show_duration

if TYPE_CHECKING:
    from lyc.cli.output import Output
    from lyc.control.documents import CheckDocument, DiskDocument, FactsDocument, HostDocument, UseDocument
    from lyc.errors import LycError

COLOURS = {"ready": "green", "unfit": "red", "unreachable": "red", "denied": "red", "key-changed": "red"}
_MARKS = {"passed": ("✓", "green"), "warning": ("!", "yellow"), "unknown": ("?", "yellow"), "failed": ("✗", "red")}
_COLUMNS = ("NAME", "STATE", "REPLICAS", "GPU", "CPUS", "DISK FREE", "ADDRESS", "LOOKED")
_ENDED = frozenset({"stopped", "failed"})
_SUDO = {"free": "root without a password", "password": "sudo asks for a password", "none": "no root"}


def table(output: Output, hosts: list[HostDocument], now: float) -> str:
    """All hosts, a line each; how old what is said of each is stands in the last column."""
    rows = [
        (
            host["name"],
            host["state"],
            str(sum(replica["state"] not in _ENDED for replica in host["replicas"])),
            cards(host["facts"]) if host["facts"] else "-",
            _cpus(host["facts"]),
            _free(host["facts"]),
            host["address"],
            f"{show_duration(max(0.0, now - host['seen_at']))} ago" if host["seen_at"] else "never",
        )
        for host in hosts
    ]
    return output.table(_COLUMNS, rows, spare=("CPUS", "DISK FREE"), numbers=("REPLICAS",))


def page(
    output: Output,
    host: HostDocument,
    now: float,
    *,
    use: UseDocument | None = None,
    problem: LycError | None = None,
) -> str:
    """One host: what it is and has, what lyc does there, then what is wrong with it.

    use: as it is now; problem: why that could not be asked.
    """
    state = output.paint(host["state"], COLOURS.get(host["state"], "yellow"))
    seen = f", looked at {show_duration(max(0.0, now - host['seen_at']))} ago" if host["seen_at"] else ""
    rows = [("state", f"{state}{seen}"), ("address", host["address"]), ("host key", " ".join(host["fingerprints"]))]
    rows += _facts(host["facts"]) if host["facts"] else []
    rows += _ours(host, use, problem)
    width = max(len(label) for label, _ in rows)
    parts = [output.paint(host["name"], "bold") + "\n" + "\n".join(f"  {k:<{width}}  {v}" for k, v in rows)]
    if (error := host["error"]) is not None:
        lines = [f"{output.paint('error[' + error['ref'] + ']', 'red')}: {error['what']}"]
        lines += [f"  why: {error['why']}"] if error["why"] else []
        lines += ["", f"hint: {error['hint']}"] if error["hint"] else []
        parts.append("\n".join(lines))
    wrong = [check for check in host["checks"] if check["state"] != "passed"]
    if wrong:
        parts.append(_checks(output, wrong))
    return "\n\n".join(parts)


def _ours(host: HostDocument, use: UseDocument | None, problem: LycError | None) -> list[tuple[str, str]]:
    """What lyc has and does there."""
    wished = host["lease_seconds"]
    lease = f"stops after {show_duration(wished)} of silence" if wished else "none"
    if use is not None and (held := use["lease"]) is not None:
        lease = f"{held['action']} after {show_duration(held['seconds'])}, {show_duration(held['left'])} left"
    rows = [("lyc", _prepared(host, use, problem)), ("lease", lease)]
    if (rented := host.get("rented")) is not None:
        rows.insert(0, ("rented", f"{rented['product']} at {rented['provider']}, {price(rented)}"))
    if use is not None:
        engines = ", ".join(f"{name} ({show_bytes(size)})" for name, size in use["engines"].items())
        rows += [
            ("lock", _lock(use)),
            ("engines", engines or "none"),
            (
                "weights",
                f"{show_bytes(use['weights'])} of {use['snapshots']} model{'s' * (use['snapshots'] != 1)}"
                if use["snapshots"]
                else "none",
            ),
        ]
    for replica in host["replicas"]:
        gpus = f", cards {','.join(map(str, replica['gpus']))}" if replica["gpus"] else ""
        process = _process(use, replica["id"])
        rows.append(("replica", f"{replica['id']}, {replica['state']}{gpus}{process}"))
    if use is not None and use["others"]:
        rows.append(("others", f"engines of other controllers that run there: {use['others']}"))
    return rows


def _prepared(host: HostDocument, use: UseDocument | None, problem: LycError | None) -> str:
    if use is not None:
        return f"prepared, {use['mode']} mode, in {use['root']}"
    if problem is not None:
        return f"prepared; what it does now cannot be told: {problem.what}"
    return "prepared" if host["prepared"] else "not prepared: the first deploy does it, or lyc hosts prepare"


def _lock(use: UseDocument) -> str:
    lock = use["lock"]
    if lock is None:
        return "free"
    who = "this controller" if lock["ours"] else lock["who"]
    return f"held by {who} for {show_duration(lock['age'])}" + (f": {lock['reason']}" if lock["reason"] else "")


def _process(use: UseDocument | None, replica: str) -> str:
    """What its host says of its newest process, where that is more than that it runs."""
    found = [state for name, state in (use["processes"] if use else {}).items() if name.rpartition(".")[0] == replica]
    return f", its process there is {found[-1]}" if found and found[-1] != "running" else ""


def added(output: Output, host: HostDocument) -> str:
    """What the first look found, in a few lines."""
    facts = host["facts"]
    lines = [f"  {label:<8} {value}" for label, value in _facts(facts)[:6]] if facts else []
    wrong = [check for check in host["checks"] if check["state"] in ("failed", "warning")]
    return "\n".join([*lines, *(["", _checks(output, wrong)] if wrong else [])])


def report(output: Output, host: HostDocument) -> str:
    """Every check, and for each that did not pass why it matters and what to type."""
    return _checks(output, host["checks"])


def cards(facts: FactsDocument) -> str:
    """`2 × h100, 1 × l4`; `none` where there is no card."""
    counted = Counter(card["name"] for card in facts["accelerators"])
    return ", ".join(f"{count} × {name}" for name, count in counted.items()) or (
        "not answering" if facts["gpus_seen"] or facts["gpu_problem"] else "none"
    )


def _checks(output: Output, checks: list[CheckDocument]) -> str:
    width = max((len(check["name"]) for check in checks), default=0)
    lines = []
    for check in checks:
        mark, colour = _MARKS.get(check["state"], ("?", "yellow"))
        lines.append(f"{output.paint(mark, colour)} {check['name']:<{width}}  {check['found']}")
        if check["state"] != "passed":
            lines += [f"  {'':<{width}}  {check['why']}"] if check["why"] else []
            lines += [f"  {'':<{width}}  {output.paint('→', 'cyan')} {check['remedy']}"] if check["remedy"] else []
    return "\n".join(lines)


def _facts(facts: FactsDocument) -> list[tuple[str, str]]:
    cuda = f", CUDA {facts['cuda'][0]}.{facts['cuda'][1]}" if facts["cuda"] else ""
    rows = [
        ("system", ", ".join(filter(None, (facts["os"], facts["kernel"], facts["machine"], facts["libc"])))),
        ("user", f"{facts['user']}, {_SUDO.get(facts['sudo'], facts['sudo'])}"),
        ("cpu", f"{facts['cpus'] or '?'} cores" + (f", {facts['cpu_model']}" if facts["cpu_model"] else "")),
        ("memory", _of(facts["memory_available"], facts["memory_total"])),
        ("disk", "; ".join(f"{_of(d['free'], d['total'])} in {d['path']}" for d in _distinct(facts)) or "unknown"),
        ("gpu", cards(facts) + (f", driver {facts['driver']}{cuda}" if facts["driver"] else "")),
    ]
    for at, card in enumerate(facts["accelerators"]):
        rows.append(
            (f"gpu {at}", f"{card['product']}, {_of(card['memory_free'] or None, card['memory_total'] or None)}")
        )
    for process in facts["processes"]:
        rows.append(("on gpu", f"{process['name']}, pid {process['pid']}, {show_bytes(process['used'])}"))
    runtimes = [f"{name} {version}" for name, version in facts["runtimes"].items()]
    runtimes += [f"{name} (not for this user)" for name in facts["runtimes_denied"]]
    runtimes += [f"NVIDIA container toolkit {facts['toolkit']}"] if facts["toolkit"] else []
    rows += [
        ("systemd", str(facts["systemd"] or "no")),
        ("containers", ", ".join(runtimes) or "no runtime"),
        ("clock", "unknown" if facts["clock_skew"] is None else f"{facts['clock_skew']:+.1f} s"),
        ("reaches", ", ".join(f"{url} {'yes' if ok else 'no'}" for url, ok in facts["reaches"].items()) or "unknown"),
        ("lacks", ", ".join(facts["missing"]) or "nothing that was looked for"),
    ]
    return rows


def _distinct(facts: FactsDocument) -> list[DiskDocument]:
    """One path of each filesystem, the home's first: those of the same size and room are one."""
    found = {(disk["total"], disk["free"]): disk for disk in reversed(facts["disks"])}
    return list(reversed(found.values()))


def _of(free: int | None, total: int | None) -> str:
    if total is None:
        return "unknown"
    return f"{show_bytes(free) if free is not None else '?'} of {show_bytes(total)} free"


def _cpus(facts: FactsDocument | None) -> str:
    return str(facts["cpus"] or "-") if facts else "-"


def _free(facts: FactsDocument | None) -> str:
    found = room(facts) if facts else None
    return show_bytes(found["free"]) if found else "-"


def room(facts: FactsDocument) -> DiskDocument | None:
    """Where lyc's folder goes there: see `lyc.records.host.RemoteFacts.place`."""
    paths = ("/var/lib", "/") if facts["sudo"] == "free" else (facts["home"],)
    return next((disk for path in paths for disk in facts["disks"] if disk["path"] == path), None)
