"""HTML that is safe by construction: what is not Markup is text, and is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

# Control characters, which HTML does not allow; a line break and a tab may stay.
_CODES = [code for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"]
_CONTROLS = dict.fromkeys(_CODES, "\N{REPLACEMENT CHARACTER}")

VOID = ("img", "meta", "link", "br")


class Markup(str):
    """A text that is HTML already."""

    __slots__ = ()


Content = str | None | Iterable["Content"]


def tag(name: str, /, *content: Content, **attributes: str | None) -> Markup:
    """Return an element; `class_` and `aria_label` stand for class and aria-label."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    end = "" if name in VOID else f"{join(content)}</{name}>"
    return Markup(f"<{name}{written}>{end}")


def join(content: Content) -> Markup:
    """Return pieces of content, one after the other."""
    if content is None:
        return Markup()
    if isinstance(content, Markup):
        return content
    if isinstance(content, str):
        return text(content)
    return Markup("".join(map(join, content)))


def text(words: str) -> Markup:
    """Return a text as HTML that can be written as UTF-8, also the name of any file."""
    known = words.encode(errors="replace").decode()
    return Markup(escape(known.translate(_CONTROLS)))
