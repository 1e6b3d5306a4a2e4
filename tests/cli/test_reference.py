"""The generated pages are what the code says now."""

from __future__ import annotations

from pathlib import Path

import pytest

from lyc.cli.app import EXIT_CODES
from lyc.cli.reference import pages
from lyc.errors import KINDS
from lyc.spec.settings import CREDENTIALS, SETTINGS

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name", pages())
def test_a_page_is_up_to_date(name: str) -> None:
    written = (DOCS / name).read_text(encoding="utf-8")
    assert written == pages()[name], "it is old: python -m lyc.cli.reference docs"


def test_every_setting_and_credential_is_documented() -> None:
    page = pages()["settings.md"]
    assert all(f"`{row.env}`" in page for row in (*SETTINGS, *CREDENTIALS))


def test_every_exit_code_of_an_error_is_documented() -> None:
    documented = [code for code, _ in EXIT_CODES]
    assert documented == sorted({0} | {error.exit_code for error in KINDS.values()})
