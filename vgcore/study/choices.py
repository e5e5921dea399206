"""Values of a factor that have a name and keywords: tables of frozen dataclasses.

In a study file such a value is a name, or a table of a name and keywords:
`"lstm"` or `{name = "lstm", forget_bias = 1.0}`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from vgcore.checks import suggestion


class Choice:
    """A value with a name and keywords.

    Subclasses are frozen dataclasses: their fields are the keywords, their docstring is one
    sentence with its source, and `__post_init__` refuses bad values.
    """

    name: ClassVar[str]

    @property
    def keywords(self) -> dict[str, Any]:
        """The keywords that differ from their defaults."""
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        defaults = {f.name: f.default for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {key: value for key, value in found.items() if value != defaults[key]}

    @property
    def plain(self) -> str | dict[str, Any]:
        """As a study file holds it."""
        return {"name": self.name, **self.keywords} if self.keywords else self.name

    @property
    def label(self) -> str:
        """In words: `lstm (forget_bias = 1)`."""
        if not self.keywords:
            return self.name
        return f"{self.name} ({_shown(self.keywords)})"

    @property
    def description(self) -> str:
        """One sentence, with the source, and the value of every keyword that has one."""
        sentence = " ".join((self.__doc__ or "").split())
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        found = {key: value for key, value in found.items() if value is not None}
        return f"{sentence} Here {_shown(found)}." if found else sentence


def _shown(keywords: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key} = {value:g}" if isinstance(value, float) else f"{key} = {value}"
        for key, value in keywords.items()
    )


Kind = TypeVar("Kind", bound=Choice)


def named(value: object, what: str) -> tuple[str, dict[str, Any]]:
    """Name and keywords of a value of a study file.

    Raises
    ------
    ValueError
        Neither a name nor a table with a name, or a keyword that is no number, text or truth value.
    """
    if isinstance(value, str):
        return value, {}
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise ValueError(
            f"found {value!r}, expected the name of a {what}, or a table with its name and "
            f'keywords such as {{name = "lstm", forget_bias = 1.0}}'
        )
    keywords = {str(key): item for key, item in value.items() if key != "name"}
    for key, item in keywords.items():
        if not isinstance(item, (str, bool, int, float)):
            raise ValueError(
                f"keyword {key!r}: found {item!r}, expected a number, text, true or false"
            )
        if isinstance(item, float) and not math.isfinite(item):
            raise ValueError(f"keyword {key!r}: found {item}, expected a finite number")
    return value["name"], keywords


def choose(table: Mapping[str, type[Kind]], name: str, keywords: Mapping[str, Any]) -> Kind:
    """The choice of this name from a table, its keywords checked.

    Raises
    ------
    ValueError
        An unknown name or keyword, or a bad value.
    """
    if name not in table:
        raise ValueError(f"{name!r} is not known; {suggestion(name, table)}")
    fields = {f.name: str(f.type) for f in dataclasses.fields(table[name])}  # type: ignore[arg-type]
    for key in keywords:
        if key not in fields:
            takes = suggestion(key, fields) if fields else "it takes none"
            raise ValueError(f"found the keyword {key!r}, which {name!r} does not take; {takes}")
    # 1 and 1.0 in a file are one value, with one digest
    given = {
        key: float(item) if "float" in fields[key] and type(item) is int else item
        for key, item in keywords.items()
    }
    try:
        return table[name](**given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name!r}: {error}") from None


def table_of(*kinds: type[Kind]) -> dict[str, type[Kind]]:
    """Choices by name."""
    return {kind.name: kind for kind in kinds}
