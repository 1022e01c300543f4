"""What JSON from elsewhere may hold: a rule for each value, and an error that says where it broke.

A rule takes a value and its place, such as ``models[0].name``, and raises a
ValueError if the value breaks it.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Callable
from typing import Any, NoReturn

Rule = Callable[[Any, str], None]


def loads(text: bytes) -> Any:
    """JSON by the book: UTF-8, every key once, and only finite numbers.

    Raises
    ------
    ValueError
        It is none.

    Examples
    --------
    >>> loads(b'{"a": [1, 2.5]}')
    {'a': [1, 2.5]}
    >>> loads(b'{"a": NaN}')
    Traceback (most recent call last):
    ValueError: it holds NaN, which is no JSON
    """
    try:
        return json.loads(
            text.decode("utf-8"), object_pairs_hook=_each_key_once, parse_constant=_refuse
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"it has a key twice: {short([key for key, _ in pairs])}")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"it holds {constant}, which is no JSON")


def whole(low: int, high: int) -> Rule:
    """A whole number between two, both included."""

    def rule(value: Any, place: str) -> None:
        if type(value) is not int or not low <= value <= high:
            _broken(value, place, f"a whole number from {low:,} to {high:,}")

    return rule


def number(low: float, high: float = math.inf) -> Rule:
    """A finite number between two, both included."""

    def rule(value: Any, place: str) -> None:
        if type(value) not in (int, float) or not low <= value <= high or math.isinf(value):
            limit = "" if math.isinf(high) else f" to {high:g}"
            _broken(value, place, f"a number from {low:g}{limit}")

    return rule


def text(longest: int, pattern: str = r"(?s).*") -> Rule:
    """A string of so many characters at most, which the pattern matches as a whole."""
    compiled = re.compile(pattern)

    def rule(value: Any, place: str) -> None:
        if type(value) is not str or len(value) > longest:
            _broken(value, place, f"a text of at most {longest} characters")
        if not compiled.fullmatch(value):
            _broken(value, place, f"a text like {pattern}")

    return rule


def printable(value: Any, place: str) -> None:
    """A line of up to 200 characters that can be shown anywhere."""
    if type(value) is not str or not value.isprintable() or len(value) > 200:
        _broken(value, place, "a printable line of at most 200 characters")


def boolean(value: Any, place: str) -> None:
    if type(value) is not bool:
        _broken(value, place, "true or false")


def exactly(wanted: Any) -> Rule:
    """This value, of this type."""

    def rule(value: Any, place: str) -> None:
        if type(value) is not type(wanted) or value != wanted:
            _broken(value, place, short(wanted))

    return rule


def optional(inner: Rule) -> Rule:
    """Null, or what another rule asks for."""

    def rule(value: Any, place: str) -> None:
        if value is not None:
            inner(value, place)

    return rule


def items(inner: Rule, fewest: int, most: int) -> Rule:
    """A list of a limited length, of which every item follows one rule."""

    def rule(value: Any, place: str) -> None:
        if type(value) is not list or not fewest <= len(value) <= most:
            _broken(value, place, f"a list of {fewest:,} to {most:,} items")
        for index, item in enumerate(value):
            inner(item, f"{place}[{index}]")

    return rule


def each(*inner: Rule) -> Rule:
    """A list with an item for each of these rules, in their order."""

    def rule(value: Any, place: str) -> None:
        if type(value) is not list or len(value) != len(inner):
            _broken(value, place, f"a list of {len(inner)} items")
        for index, (check, item) in enumerate(zip(inner, value, strict=True)):
            check(item, f"{place}[{index}]")

    return rule


def mapping(key: Rule, inner: Rule, most: int) -> Rule:
    """An object of limited size, of which all keys follow one rule and all values another."""

    def rule(value: Any, place: str) -> None:
        if type(value) is not dict or len(value) > most:
            _broken(value, place, f"an object of at most {most:,} keys")
        for name, item in value.items():
            key(name, f"a key of {place}")
            inner(item, f"{place}.{name}")

    return rule


def record(**inner: Rule) -> Rule:
    """An object with exactly these keys, each with its own rule.

    Examples
    --------
    >>> record(a=whole(0, 9))({"a": 10}, "answer")
    Traceback (most recent call last):
    ValueError: answer.a must be a whole number from 0 to 9, not 10
    """

    def rule(value: Any, place: str) -> None:
        if type(value) is not dict:
            _broken(value, place, "an object")
        for name, check in inner.items():
            if name not in value:
                raise ValueError(f"{place}.{name} is missing")
            check(value[name], f"{place}.{name}")
        strangers = value.keys() - inner.keys()
        if strangers:
            raise ValueError(f"{place} has an unknown key {short(min(strangers))}")

    return rule


def _broken(value: Any, place: str, wanted: str) -> NoReturn:
    raise ValueError(f"{place} must be {wanted}, not {short(value)}")


def short(value: Any) -> str:
    """How a value looks, in so few characters that a message can hold it."""
    return reprlib.repr(value)
