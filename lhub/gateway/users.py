"""Who one is: logging in and out, and the tokens of one's namespace."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from anyio import move_on_after, sleep

from lhub.gateway.answers import Answer, Unauthorized, done, told
from lhub.gateway.calls import Call, Method
from lhub.gateway.sessions import PATIENCE, Wish
from lhub.moments import timestamp
from lhub.names import parse_namespace
from lhub.tokens import DAYS

_PAUSE = 0.1


def whoami(call: Call) -> Answer:
    """The namespace that the token names."""
    return done(_user(call.login()))


def _user(name: str) -> Mapping[str, str]:
    return {"_id": name, "name": name, "nickname": name}


def get_raw(call: Call) -> Answer:
    """The session, as it is."""
    return done({"user": _user(call.login())})


def dismiss(call: Call) -> Answer:
    """Log out. A token that was made to last stays: other programs may use it."""
    name = call.login()
    call.sessions.dismiss(call.token or "")
    return done({}, message=f"{name} is logged out")


def authorize(call: Call) -> Answer:
    """A login, and what the client exchanges for a token.

    In `lhub run` it is `lhub login`: who knows the gateway's address is who typed it. That address goes into no link,
    for the clients open one by a program whose words everybody on the machine can read.
    """
    call.fields()  # of what the client says nothing is needed
    typist = call.sessions.typist
    if typist is None:
        return told(_on_a_page(call, *call.sessions.wish()))
    namespace = typist.namespace()
    if namespace is None:
        namespace = parse_namespace(typist.account)
        typist.login(namespace)
    return told(iter([_authorized(call, call.sessions.issue(namespace), "known")]))


async def _on_a_page(call: Call, state: str, wish: Wish) -> AsyncIterator[Mapping[str, Any]]:
    """Wait for a person to show a token on a page; in the event loop, for nothing else ends with who hangs up."""
    try:
        yield {"event": "redirect", "data": {"redirectTo": f"{call.links.base}/login/{state}"}}
        with move_on_after(PATIENCE):
            while not wish.token:
                await sleep(_PAUSE)
        if wish.token:
            yield _authorized(call, wish.token, state)
        else:
            yield {"event": "error", "data": "nobody confirmed the login in ten minutes"}
    finally:
        call.sessions.give_up(state)


def _authorized(call: Call, token: str, state: str) -> Mapping[str, Any]:
    return {"event": "authorize", "data": {"code": call.sessions.code_for(token), "state": state}}


def grant(call: Call) -> Answer:
    """The token for what a confirmed login gave."""
    token = call.sessions.exchange(call.fields().wanted("code"))
    name = None if token is None else call.sessions.holder(token)
    if token is None or name is None:
        raise Unauthorized("this login was not confirmed, or has been used", hint="jina auth login")
    return done({"token": token, "user": _user(name)})


# tokens


def create_token(call: Call) -> Answer:
    """A new token, told this once."""
    call.login()
    fields = call.fields()
    made = call.registry.create_token(fields.text("name"), days=fields.number("expirationDays", DAYS))
    return done({"name": made.name, "token": made.token, "expireAt": timestamp(made.expires)})


def list_tokens(call: Call) -> Answer:
    """The tokens that hold; the clients print each value as a text."""
    call.login()
    return done(
        {
            "personal_access_tokens": [
                {
                    "name": each.name,
                    "type": "pat",
                    "createdAt": timestamp(each.created),
                    "updatedAt": timestamp(each.created),
                    "expireAt": timestamp(each.expires),
                }
                for each in call.registry.tokens()
            ]
        }
    )


def delete_token(call: Call) -> Answer:
    """Remove one."""
    call.login()
    call.registry.delete_token(call.fields().wanted("name"))
    return done({})


def registries(call: Call) -> Answer:
    """The container registries that a login makes docker know: none."""
    call.login()
    return done([])


METHODS = {
    "user.identity.whoami": Method(answer=whoami),
    "user.session.getRaw": Method(answer=get_raw),
    "user.session.dismiss": Method(answer=dismiss),
    "user.identity.proxiedAuthorize": Method(answer=authorize, verbs=frozenset({"GET"}), guest=True),
    "user.identity.grant.auto": Method(answer=grant, guest=True),
    "user.pat.create": Method(answer=create_token),
    "user.pat.list": Method(answer=list_tokens),
    "user.pat.delete": Method(answer=delete_token),
    "dockerRegistry.listInternalRegistries": Method(answer=registries),
}
