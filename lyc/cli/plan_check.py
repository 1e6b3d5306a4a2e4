"""`lyc plan NAME --check`: what was foretold of a release, beside what its engine reported."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from lyc.cli.options import existing
from lyc.errors import NotFound
from lyc.units import GIB

if TYPE_CHECKING:
    from lyc.cli.output import Output
    from lyc.cli.session import Session
    from lyc.control.documents import DeploymentDocument, ReleaseDocument

_ROWS = (
    ("weights_gib", "weights", "weights"),
    ("kv_cache_gib", "kv_cache", "KV cache"),
    ("cuda_graph_gib", "cuda_graph", "CUDA graphs"),
    ("kv_cache_tokens", "kv_tokens", "KV tokens"),
    ("kv_blocks", "kv_blocks", "KV blocks"),
    ("max_concurrency", "concurrency", "requests at once"),
)
"""Key of the document, key of the controller, name."""
_GIB_KEYS = frozenset(key for key, _, _ in _ROWS if key.endswith("_gib"))


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure, in GiB or as a number. error: (predicted − reported) / reported; None where either is unknown."""

    what: str
    predicted: float | None
    reported: float | None
    error: float | None


def check(session: Session, name: str) -> None:
    """Show the comparison for the release that serves, or the latest that has one.

    Raises NotFound `no-such-deployment`, `no-forecast`.
    """
    deployment = existing(session, name).deployment(name)
    release = _release(deployment)
    rows = compared(release)
    forecast = release["forecast"]
    document: dict[str, object] = {
        "name": name,
        "release": release["number"],
        "model": release["model"],
        "band_gib": forecast["band"] / GIB if forecast else None,
        "compared": [asdict(row) for row in rows],
    }
    session.output.answer(document, _text(session.output, name, release, rows))
    if release["reported"] is None:
        session.output.hint(f"the engine has not reported yet: lyc status {name}")


def compared(release: ReleaseDocument) -> tuple[Compared, ...]:
    """Every figure that was foretold or reported, but for parts of which there are none."""
    foretold: dict[str, object] = {**(release["forecast"] or {})}
    told: dict[str, object] = {**(release["reported"] or {})}
    rows = []
    for key, theirs, _ in _ROWS:
        predicted, reported = (_figure(side.get(theirs), key) for side in (foretold, told))
        if predicted or reported is not None:  # nothing foretold and nothing said: there is no such part
            error = (predicted - reported) / reported if predicted is not None and reported else None
            rows.append(Compared(key, predicted, reported, error))
    return tuple(rows)


def _release(deployment: DeploymentDocument) -> ReleaseDocument:
    serving = deployment["release"]
    known = [release for release in deployment["releases"] if release["forecast"] is not None]
    for release in sorted(known, key=lambda each: (each["number"] != serving, -each["number"])):
        return release
    raise NotFound(
        "no-forecast",
        f"nothing was foretold for {deployment['name']}",
        why="its model is of a kind that lyc cannot plan" if serving else "it has no release yet",
        hint=f"lyc status {deployment['name']}",
    )


def _figure(value: object, key: str) -> float | None:
    if not isinstance(value, int | float):
        return None
    return value / GIB if key in _GIB_KEYS else value


def _text(output: Output, name: str, release: ReleaseDocument, rows: tuple[Compared, ...]) -> str:
    names = {key: label for key, _, label in _ROWS}
    table = output.table(
        ("", "PREDICTED", "REPORTED", "ERROR"),
        [
            (
                names[row.what],
                _show(row.predicted, row.what),
                _show(row.reported, row.what),
                "-" if row.error is None else f"{row.error:+.2%}",
            )
            for row in rows
        ],
        numbers=("PREDICTED", "REPORTED", "ERROR"),
    )
    return f"{output.paint(name, 'bold')}, release {release['number']}, {release['model']}\n\n{table}"


def _show(value: float | None, key: str) -> str:
    if value is None:
        return "-"
    if key in _GIB_KEYS:
        return f"{value:.2f} GiB"
    return f"{value:.2f}" if key == "max_concurrency" else f"{value:,.0f}"
