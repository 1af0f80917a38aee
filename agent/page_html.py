"""HTML and SVG, built so that no text can become markup: whatever is no `Html` is escaped. Pure."""

from __future__ import annotations

import html

_EMPTY = frozenset({"meta", "link", "br"})


class Html(str):
    """Markup that was built here."""

    __slots__ = ()


def element(name: str, /, *inner: str, **attributes: str) -> Html:
    """An element. Of its attributes' names the trailing `_` goes and `_` inside becomes `-`; empty attributes are left out."""
    written = "".join(f' {_attribute(key)}="{html.escape(value)}"' for key, value in attributes.items() if value)
    if name in _EMPTY:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{joined(*inner)}</{name}>")


def joined(*parts: str) -> Html:
    """Parts one after the other, each as markup if it is some, else as text."""
    return Html("".join(part if isinstance(part, Html) else html.escape(part) for part in parts))


def _attribute(key: str) -> str:
    return key.rstrip("_").replace("_", "-")
