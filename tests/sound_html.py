"""HTML that is sound: every tag is closed in order."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta"}


class Sound(HTMLParser):
    """Raises on a tag that is not closed in order; collects the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """Open."""
        del attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Collect."""
        self.text += f"{data}\n"


def read(text: str) -> str:
    """Return what a page says, once every tag of it is closed in order."""
    parser = Sound()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser.text
