"""Markup to text, for exports that give posts as HTML.

The parsing is lexbor's. What is markup and what only looks like it is decided before: `<` begins
a tag only where a well-formed tag of a known element stands there, and an element that needs an
end tag counts only where the text has one. So `<3`, `2 < 3` and `a<b` stay as they are.
"""

import re

from selectolax.lexbor import LexborHTMLParser

_VOID = frozenset("br hr img wbr input".split())
_LINES = frozenset(
    "p div br hr li ul ol tr table blockquote pre h1 h2 h3 h4 h5 h6 section article header footer"
    " dl dt dd figure figcaption".split()
)
_INLINE = frozenset(
    "a abbr b big body center cite code del em font head html i ins kbd label mark q s samp small"
    " span strike strong sub sup tbody td th thead time title tt u var".split()
)
_HIDDEN = frozenset("script style head title template".split())
_KNOWN = _VOID | _LINES | _INLINE | _HIDDEN
_TAG = re.compile(
    r"""<(?:!doctype\ [^<>]*>
    |(?P<end>/)?(?P<name>[a-z][a-z0-9]*)
     (?:\s+[\w:.@-]+(?:\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'<>=]+)))*\s*/?>)""",
    re.VERBOSE | re.IGNORECASE,
)
_SPACES = re.compile(r"[ \t\r\n\f]+")
_AROUND_LINE_ENDS = re.compile(r" *\n[ \n]*")


def to_text(text: str) -> str | None:
    """The text that a reader of this HTML sees; None where it is no HTML.

    Paragraphs and breaks end a line, an image is its `alt`, scripts and styles are nothing.
    """
    text = _without_comments(text)
    ended = {found["name"].lower() for found in _TAG.finditer(text) if found["end"]}
    pieces, at, is_markup = [], 0, False
    for found in _TAG.finditer(text):
        name = (found["name"] or "").lower()
        if name in _KNOWN and (name in _VOID or name == "p" or name in ended):
            is_markup = True
        elif name:
            continue
        pieces += [text[at : found.start()].replace("<", "&lt;"), found[0]]
        if found["end"] and name in _LINES:
            pieces.append("<br>")
        at = found.end()
    if not is_markup:
        return None
    pieces.append(text[at:].replace("<", "&lt;"))
    return _seen("".join(pieces))


def _without_comments(text: str) -> str:
    pieces, at = [], 0
    while (start := text.find("<!--", at)) >= 0 and (end := text.find("-->", start + 4)) >= 0:
        pieces.append(text[at:start])
        at = end + 3
    return "".join([*pieces, text[at:]])


def _seen(html: str) -> str:
    root = LexborHTMLParser(html).root
    pieces: list[str] = []
    if root is not None:
        for node in root.traverse(include_text=True):
            parent = node.parent
            if node.tag == "-text":
                if parent is None or parent.tag not in _HIDDEN:
                    pieces.append(_SPACES.sub(" ", node.text_content or ""))
            elif node.tag == "img":
                pieces.append(node.attributes.get("alt") or "")
            elif node.tag in _LINES:
                pieces.append("\n")
            elif node.tag in ("td", "th"):
                pieces.append(" ")
    return _AROUND_LINE_ENDS.sub("\n", "".join(pieces)).strip(" \n")
