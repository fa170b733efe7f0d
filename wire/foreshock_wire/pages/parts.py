"""What a page is made of (pure). Whatever is called text is escaped here; `inside` is HTML."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from foreshock_wire.pages.style import STYLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def document(title: str, *inside: str) -> str:
    """Return the whole page."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(inside)}</main></body></html>\n"
    )


def section(name: str, inside: str) -> str:
    """Return a part of the page under a heading."""
    return f"<section><h2>{escape(name)}</h2>{inside}</section>"


def note(text: str) -> str:
    """Return a quiet paragraph."""
    return f"<p class='sub'>{escape(text)}</p>"


def badge(text: str, style: str) -> str:
    """Return a word on a coloured ground: `good`, `bad` or `soft`."""
    return f'<span class="badge {style}">{escape(text)}</span>'


def cards(found: Iterable[str]) -> str:
    """Return `card`s side by side."""
    return f'<section class="cards">{"".join(found)}</section>'


def card(name: str, value: str, about: str) -> str:
    """Return one large figure, with what there is to know about it."""
    return (
        f'<div class="card"><div class="what">{escape(name)}</div>'
        f'<div class="value">{escape(value)}</div><div class="note">{escape(about)}</div></div>'
    )


def figure(name: str, about: str, drawn: str, style: str = "") -> str:
    """Return a picture under its name."""
    told = f"<span>{escape(about)}</span>" if about else ""
    styled = f' class="{style}"' if style else ""
    return f"<figure{styled}><figcaption><b>{escape(name)}</b>{told}</figcaption>{drawn}</figure>"


def table(head: Iterable[str], rows: Iterable[Iterable[str]], style: str = "") -> str:
    """Return a table of texts; the first column names the rows, and has no name of its own."""
    names = "".join(f"<th>{escape(name)}</th>" for name in ("", *head))
    styled = f' class="{style}"' if style else ""
    return f"<table{styled}><tr>{names}</tr>{''.join(map(_row, rows))}</table>"


def _row(cells: Iterable[str]) -> str:
    first, *rest = map(escape, cells)
    return f"<tr><th scope='row'>{first}</th>{''.join(f'<td>{cell}</td>' for cell in rest)}</tr>"


def facts(lists: Mapping[str, Mapping[str, object]]) -> str:
    """Return lists of facts side by side, each under its name."""
    return f"<div class='facts'>{''.join(_list(*one) for one in lists.items())}</div>"


def _list(name: str, items: Mapping[str, object]) -> str:
    rows = "".join(
        f"<tr><th scope='row'>{escape(key.replace('_', ' '))}</th>"
        f"<td>{escape(told(value))}</td></tr>"
        for key, value in items.items()
    )
    return f"<div><h3>{escape(name)}</h3><table>{rows}</table></div>"


def told(value: object) -> str:
    """Return a fact as a person writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
