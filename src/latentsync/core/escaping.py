"""Words of others (names of files, people, fields of a build) on their way into pages, tables and JSON."""

from __future__ import annotations

from html import escape

from latentsync.core.reading import printable

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def html_text(value: object) -> str:
    """A value as text of an HTML page, fit for attributes in either kind of quotes, too."""
    return escape("\n".join(printable(line) for line in str(value).split("\n")), quote=True)


def csv_cell(value: object) -> object:
    """A value for a cell: text that a spreadsheet would take for a formula gets an apostrophe before it, which it does
    not show. Numbers stay as they are."""
    if not isinstance(value, str):
        return value
    text = utf8(value)
    return f"'{text}" if text.lstrip(" \n").startswith(_FORMULA) or text.startswith(_FORMULA) else text


def utf8(text: str) -> str:
    """Text that UTF-8 can hold: bytes of file names that are none become `\\udcNN`, which is an escape of JSON too."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
