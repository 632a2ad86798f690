"""The one page of the gateway, behind `lhub serve`: a person shows a token, and a program that waits gets it."""

from __future__ import annotations

from html import escape

from starlette.responses import HTMLResponse, Response

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>lhub</title>
<style>body{{font:16px sans-serif;max-width:34em;margin:4em auto}}input{{font:inherit;width:100%;margin:.5em 0}}</style>
<h1>lhub</h1><p>{text}</p>{form}</html>"""
_FORM = """<form method="post"><label>A token (lhub token create)<input name="token" type="password" autofocus></label>
<button>Log in</button></form>"""
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def form(said: str = "") -> Response:
    """Ask; `said` is why the last answer did not do."""
    text = said or "A program on this machine asks to log in as you."
    return page(text, _FORM, code=400 if said else 200)


def page(text: str, asked: str = "", *, code: int = 200) -> Response:
    """A page with a sentence on it."""
    return HTMLResponse(_PAGE.format(text=escape(text), form=asked), status_code=code, headers=_HEADERS)
