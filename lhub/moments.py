"""Moments and spans as a person types them and as documents have them.

A date without a time means the end of that day, one without seconds the end of that minute: what was pushed on a day
is what a person sees who asks for that day. A date without a zone is meant where the asker is, which this room cannot
know: it answers a `datetime` without one.

>>> parse_moment("2026-03-01").isoformat(), parse_moment("2026-03-01T12:00Z").isoformat()
('2026-03-01T23:59:59', '2026-03-01T12:00:59+00:00')
>>> parse_span("14d"), timestamp(0.5)
(1209600.0, '1970-01-01T00:00:00Z')
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from lhub.errors import UsageError

if TYPE_CHECKING:
    from datetime import datetime, tzinfo

_MOMENT = (
    r"(?a:(?P<year>\d{4})-(?P<month>\d\d)(?:-(?P<day>\d\d)(?:[T ](?P<hour>\d\d):(?P<minute>\d\d)"
    r"(?::(?P<second>\d\d))?(?P<zone>Z|[+-]\d\d:?[0-5]\d)?)?)?)"
)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_moment(text: str) -> datetime:
    """The last second of what `text` names: a month, a day, a minute or a second; raises UsageError."""
    from datetime import datetime, timedelta  # 2 ms, for who asks about the past

    match = re.fullmatch(_MOMENT, text.strip())
    try:
        if match is None:
            raise ValueError("not of the form")
        parts = {key: int(value) for key, value in match.groupdict().items() if value and key != "zone"}
        if "day" not in parts:
            first = datetime(parts["year"], parts["month"], 1)
            december = first.month == 12  # of the last year nothing comes after it
            parts["day"] = 31 if december else (first.replace(month=first.month + 1) - timedelta(days=1)).day
        last = {"hour": 23, "minute": 59, "second": 59}
        return datetime(**{**last, **parts}, tzinfo=_zone(match["zone"]))
    except (ValueError, OverflowError):
        raise no_date(text) from None


def no_date(text: str) -> UsageError:
    """The refusal of what is no date."""
    return UsageError(
        f"{text[:40]!r} is not a date", hint="a date is 2026-03-01, 2026-03 or '2026-03-01 12:00' (also with Z)"
    )


def _zone(text: str | None) -> tzinfo | None:
    from datetime import timedelta, timezone  # as above

    if text is None:
        return None
    if text == "Z":
        return timezone.utc
    minutes = int(text[1:3]) * 60 + int(text[-2:])
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))


def parse_span(text: str) -> float:
    """Seconds of ``90s``, ``10m``, ``36h``, ``14d`` or ``2w``; raises UsageError."""
    match = re.fullmatch(r"([0-9]{1,6})([smhdw])", text.strip())
    if match is None:
        raise UsageError(f"{text[:40]!r} is not a span of time", hint="a span is 10m, 36h, 14d or 2w")
    return float(match[1]) * _SECONDS[match[2]]


def timestamp(seconds: float) -> str | None:
    """A time as documents and notes have it, ``2026-03-01T12:00:00Z``; None for never (0) and for no time at all."""
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)) if seconds else None
    except (OverflowError, OSError, ValueError):  # a link's mtime may be anything
        return None
