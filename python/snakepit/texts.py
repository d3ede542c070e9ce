"""Dates, times and durations as texts, by ISO 8601.

The fromisoformat of Python 3.9 and 3.10 reads only what isoformat writes (no
``Z``, fractions of three or six digits), and that of later versions reads more
than the protocol allows; so the texts are taken apart here.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta, timezone

_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(
    r"(?P<time>\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)(?P<zone>Z|[+-]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)?", re.ASCII
)
_DATETIME = re.compile(rf"(?P<date>{_DATE.pattern})T{_TIME.pattern}", re.ASCII)
_DURATION = re.compile(
    r"(?P<sign>-?)P(?=.)(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?=.)(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)(?:\.(?P<fraction>\d{1,9}))?S)?)?",
    re.ASCII,
)


def _match(pattern: re.Pattern[str], text: str) -> re.Match[str]:
    found = pattern.fullmatch(text)
    if found is None:
        raise ValueError(text)
    return found


def parse_datetime(text: str) -> datetime:
    """``2026-01-31T12:30:00.000001+01:00``. Raises ValueError, as those below do."""
    day, clock, zone = _match(_DATETIME, text).group("date", "time", "zone")
    return datetime.combine(date.fromisoformat(day), _clock(clock), _zone(zone))


def parse_date(text: str) -> date:
    """``2026-01-31``."""
    return date.fromisoformat(_match(_DATE, text).group())


def parse_time(text: str) -> time:
    """``12:30:00``, with a fraction and an offset if need be."""
    clock, zone = _match(_TIME, text).group("time", "zone")
    return _clock(clock).replace(tzinfo=_zone(zone))


def parse_timedelta(text: str) -> timedelta:
    """``P1DT2H30M0.5S`` or ``P2W``; no months and years, whose length differs."""
    found = _match(_DURATION, text)
    numbers = {unit: int(n) for unit, n in found.groupdict().items() if n and unit not in ("sign", "fraction")}
    microseconds = int((found["fraction"] or "0")[:6].ljust(6, "0"))
    try:
        delta = timedelta(microseconds=microseconds, **numbers)
    except OverflowError as e:
        raise ValueError(str(e)) from None
    return -delta if found["sign"] else delta


def format_timedelta(delta: timedelta) -> str:
    """A duration as parse_timedelta reads it."""
    sign, delta = ("-", -delta) if delta < timedelta() else ("", delta)
    minutes, seconds = divmod(delta.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{delta.microseconds:06}".rstrip("0") if delta.microseconds else ""
    days = f"{delta.days}D" if delta.days else ""
    clock = ""
    if hours:
        clock += f"{hours}H"
    # Units have no gaps between them: that is how RFC 3339 has it.
    if minutes or (hours and (seconds or fraction)):
        clock += f"{minutes}M"
    if seconds or fraction or not (days or clock):
        clock += f"{seconds}{fraction}S"
    return f"{sign}P{days}{'T' if clock else ''}{clock}"


def is_datetime(text: str) -> bool:
    """Whether a text has the form of a date and time; so for those below."""
    return _DATETIME.fullmatch(text) is not None


def is_date(text: str) -> bool:
    return _DATE.fullmatch(text) is not None


def is_time(text: str) -> bool:
    return _TIME.fullmatch(text) is not None


def _clock(text: str) -> time:
    whole, _, fraction = text.partition(".")
    return time.fromisoformat(whole).replace(microsecond=int(fraction[:6].ljust(6, "0")))


def _zone(text: str | None) -> timezone | None:
    if text is None:
        return None
    if text == "Z":
        return timezone.utc
    offset = _clock(text[1:])
    delta = timedelta(
        hours=offset.hour, minutes=offset.minute, seconds=offset.second, microseconds=offset.microsecond
    )
    return timezone(-delta if text[0] == "-" else delta) if delta else timezone.utc
