"""A README as part of a page: CommonMark with tables, nothing of it markup of its writer's own.

HTML in it is shown as text. A link leads to the web or to another file of the version, a picture comes from the version
or is a link: nothing is loaded from anywhere else.

>>> print(rendered("# Hi <b>\\n[a](javascript:x) [b](c.md)", lambda path, raw: f"/files/{path}"))
<h2 id="readme-hi-b">Hi &lt;b&gt;</h2>
<p>[a](javascript:x) <a href="/files/c.md">b</a></p>
<BLANKLINE>
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TypeAlias
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

from lhub.errors import clean
from lhub.names import is_inside

_OUTSIDE = re.compile(r"(https?://|mailto:)", re.IGNORECASE)
_MOST_BRACKETS = 4000
"""Brackets that are read: each takes long to be told from text, so many of them half a second."""
_RELATION = "noopener noreferrer nofollow"
Beside: TypeAlias = Callable[[str, bool], str]
"""Where a file of the same version stands, by its path: on its page, or (True) as it is."""


def rendered(text: str, beside: Beside) -> Markup:
    """A README as HTML; `beside` tells where a file of the same version stands.

    One that is meant to take long is shown as it is.
    """
    if text.count("[") > _MOST_BRACKETS:
        return Markup("<pre>{}</pre>").format(clean(text))
    markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    markdown.validateLink = lambda url: _target(url, beside) is not None  # type: ignore[method-assign]  # so its guide has it
    markdown.add_render_rule("image", _image(beside))
    tokens = markdown.parse(clean(text.replace("\t", "    ")))
    for token, following in pairwise([*tokens, Token("", "", 0)]):
        _lower(token, following)
        for each in token.children or ():
            if each.type == "link_open":
                _lead(each, beside)
    return Markup(markdown.renderer.render(tokens, markdown.options, {}))  # noqa: S704 (it escapes all that it is given)


def _target(url: str, beside: Beside, *, raw: bool = False) -> str | None:
    """Where a link leads; None for one that leads nowhere that a README may."""
    if _OUTSIDE.match(url):
        return url
    if url.startswith("#") and not raw:
        return f"#{_slug(unquote(url[1:]))}"
    path = posixpath.normpath(unquote(url.partition("#")[0].partition("?")[0]))
    if not url or url.startswith(("/", "#")) or ":" in path.partition("/")[0] or not is_inside(path):
        return None
    return beside(path, raw)


def _lower(token: Token, following: Token) -> None:
    """A heading of a README stands below those of the page, and can be linked to; a cell's alignment is a class.

    markdown-it says that by a style, which no page of ours allows.
    """
    if token.type in ("heading_open", "heading_close"):
        token.tag = f"h{min(6, int(token.tag[1:]) + 1)}"
    if token.type == "heading_open":
        token.attrSet("id", _slug(following.content))
    if found := re.fullmatch("text-align:(left|center|right)", str(token.attrs.pop("style", ""))):
        token.attrSet("class", found[1])


def _slug(words: str) -> str:
    """The name of a heading in an address, as GitHub makes it, but never one of the page's own."""
    kept = re.sub(r"[^\w\- ]", "", words.strip().lower())
    return f"readme-{kept.replace(' ', '-')[:100]}"


def _lead(token: Token, beside: Beside) -> None:
    url = str(token.attrGet("href") or "")
    token.attrSet("href", _target(url, beside) or "")
    if _OUTSIDE.match(url):
        token.attrSet("rel", _RELATION)


def _image(beside: Beside) -> Any:
    """A picture of the version, or a link to one elsewhere."""

    def render(self: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        token = tokens[index]
        url, words = str(token.attrGet("src") or ""), token.content or "a picture"
        if _OUTSIDE.match(url):
            told = "a picture elsewhere, which is not loaded"
            return str(Markup('<a href="{}" rel="{}" title="{}">{}</a>').format(url, _RELATION, told, words))
        source = _target(url, beside, raw=True)
        return str(Markup('<img src="{}" alt="{}">').format(source, words)) if source else str(escape(words))

    return render
