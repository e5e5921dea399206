"""Study files: what a study measures, read from TOML and checked before anything runs.

A study is a seed, defaults for every factor, and slices; each slice crosses lists of values of a
few factors and takes the others from the defaults. Every fault in a file is reported at once, by a
`StudyError` that names the file, the place, what was found there and what would be right.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import itertools
import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    ValidationError,
    create_model,
    model_validator,
)

from vgcore.checks import suggestion
from vgcore.errors import StoreError, StudyError
from vgcore.study.cells import CELLS, CellKind, Rnn
from vgcore.study.choices import Choice, choose, named
from vgcore.study.files import read_whole
from vgcore.study.remedies import Nothing, Remedy, find_remedy

MAX_CONDITIONS = 10**6
MAX_DRAWS = 10**9
_MOST_BYTES = 16 * 2**20
AS_DRAWN = "as_drawn"
_SCALES = ("spectral_radius", "gain")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")


class _Faults(ValueError):
    """Faults that only the whole study shows, each with its place."""

    def __init__(self, faults: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{place}: {text}" for place, text in faults))
        self.faults = faults


def _folder_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(
            f"found {value!r}, expected 1 to 100 of a-z, 0-9, '_' and '-', a letter or digit first "
            "(it becomes the name of a folder); rename it"
        )
    return value


def _known_init(value: str) -> str:
    from vgcore.initializers import INITIALIZERS

    return _known(value, INITIALIZERS)


def _known_activation(value: str) -> str:
    from vgcore.activations import ACTIVATIONS

    return _known(value, ACTIVATIONS)


def _known(value: str, table: Mapping[str, Any]) -> str:
    if value not in table:
        raise ValueError(f"{value!r} is not known; {suggestion(value, table)}")
    return value


def _as_drawn(value: object) -> object:
    """None inside stands for "as_drawn" in a file, which has no word for nothing."""
    return None if isinstance(value, str) and value == AS_DRAWN else value


def _cell(value: object) -> object:
    return value if isinstance(value, CellKind) else choose(CELLS, *named(value, "cell"))


def _given(value: object) -> object:
    if value is None:
        raise ValueError("found None, expected a number; leave the key out")
    return value


def _list_to_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _law_pairs(value: object) -> object:
    """A table of keywords as sorted pairs, which can be hashed and compared."""
    if not isinstance(value, Mapping):
        return value
    for key, item in value.items():
        if not isinstance(item, (str, bool, int, float)):
            raise ValueError(
                f"keyword {key!r}: found {item!r}, expected a number, text, true or false"
            )
        if isinstance(item, float) and not math.isfinite(item):
            raise ValueError(f"keyword {key!r}: found {item}, expected a finite number")
    return tuple(sorted(value.items()))


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, populate_by_name=True
    )


Name = Annotated[str, AfterValidator(_folder_name)]
Draws = Annotated[int, Field(ge=1, le=MAX_DRAWS)]
Positive = Annotated[float, Field(gt=0)]
Pair = Annotated[tuple[float, float], BeforeValidator(_list_to_tuple)]
Law = Annotated[tuple[tuple[str, str | bool | int | float], ...], BeforeValidator(_law_pairs)]


class Condition(_Model):
    """One point of a study's design: a value for every factor.

    `spectral_radius` and `gain` exclude each other; where both are None the matrix keeps its
    initializer's own gain ("as_drawn" in a file). `law` holds keywords of the initializer. An
    `input_variance` of None ("as_drawn") means PyTorch's law of input weights and biases. `remedy`
    is what is done to the condition; those that differ in it alone share their draws.
    """

    cell: Annotated[InstanceOf[CellKind], BeforeValidator(_cell)] = Rnn()
    remedy: Annotated[InstanceOf[Remedy], BeforeValidator(find_remedy)] = Nothing()
    init: Annotated[str, AfterValidator(_known_init)] = "gaussian"
    spectral_radius: Annotated[Positive | None, BeforeValidator(_as_drawn)] = 1.0
    gain: Annotated[Positive | None, BeforeValidator(_given)] = None
    activation: Annotated[str, AfterValidator(_known_activation)] = "tanh"
    n_hidden: Annotated[int, Field(ge=1, le=4096)] = 64
    n_steps: Annotated[int, Field(ge=1, le=10_000_000)] = 1000
    burn_in: Annotated[int, Field(ge=0, le=10_000_000)] = 200
    n_inputs: Annotated[int, Field(ge=1, le=4096)] = 8
    input_variance: Annotated[Annotated[float, Field(ge=0)] | None, BeforeValidator(_as_drawn)] = (
        0.1
    )
    n_trajectories: Annotated[int, Field(ge=1, le=10_000)] = 1
    dtype: Literal["float32", "float64"] = "float64"
    jacobian: Literal["exact", "as_printed"] = "exact"
    law: Law = ()

    @model_validator(mode="before")
    @classmethod
    def _one_scale(cls, data: object) -> object:
        """A gain takes the place of the default spectral radius."""
        if isinstance(data, Mapping) and "gain" in data:
            if "spectral_radius" in data:
                raise ValueError(_TWO_SCALES)
            return {**data, "spectral_radius": AS_DRAWN}
        return data

    @property
    def treated(self) -> Condition:
        """The condition with what its remedy puts in the place of cell, law and scale."""
        factors = self.remedy.factors()
        return self.model_copy(update=factors) if factors else self

    @property
    def recurrent_law(self) -> tuple[str, dict[str, Any]]:
        """Initializer and keywords of the recurrent matrices, as the cell takes them."""
        return self.cell.law(self.init, dict(self.law), self.n_hidden)

    @property
    def driven(self) -> bool:
        """Whether there is input."""
        return self.cell.has_inputs and self.input_variance != 0


_TWO_SCALES = (
    "found both spectral_radius and gain, expected one of them (each fixes the scale of the "
    "matrix); drop the other"
)
FACTORS = tuple(Condition.model_fields)
SIZES = ("n_hidden", "n_inputs", "n_trajectories")
"""Factors that address a draw: conditions that agree in them share their draws."""
# The factors of a slice are typed by those of a condition, so that a new factor is one line above.
_HINTS: dict[str, Any] = {
    name: hint
    for name, hint in get_type_hints(Condition, include_extras=True).items()
    if name in FACTORS
}
_LISTS: dict[str, Any] = {
    name: Annotated[
        tuple[hint, ...],  # type: ignore[valid-type]
        BeforeValidator(_list_to_tuple),
        Field(min_length=1),
    ]
    for name, hint in _HINTS.items()
}


def _overrides(name: str, hints: Mapping[str, Any]) -> type[_Model]:
    """A model of some of the factors; what a file leaves out stays unset."""
    fields: dict[str, Any] = {factor: (hint, None) for factor, hint in hints.items()}
    return create_model(name, __base__=_Model, **fields)


class _Fixed(_overrides("_Fixed", _HINTS)):  # type: ignore[misc]
    """[slice.fixed]: one value of some factors."""


class _Grid(_overrides("_Grid", _LISTS)):  # type: ignore[misc]
    """[slice.grid]: lists of values of some factors."""


def _set_factors(model: BaseModel) -> dict[str, Any]:
    """The factors that a file sets, in the order of `FACTORS`.

    That order, not the file's, numbers the conditions: the digest does not see the order of keys.
    """
    return {name: getattr(model, name) for name in FACTORS if name in model.model_fields_set}


def _plain(factors: Mapping[str, Any]) -> dict[str, Any]:
    """Condition as a file would hold them."""

    def value(name: str, item: Any) -> Any:
        if name in ("spectral_radius", "input_variance") and item is None:
            return AS_DRAWN
        if isinstance(item, Choice):
            return item.plain
        return dict(item) if name == "law" else item

    return {name: value(name, item) for name, item in factors.items()}


class Precision(_Model):
    """A precision to reach, in the place of a number of draws.

    Each condition is looked at after `least` draws, then each time their number has grown by the
    factor `growth`, and is drawn until half the width of the 95 % interval of its estimate is at
    most `half_width`, or until `most`. `vgcore.stats.Precision` has the rule and what it costs.

    Attributes
    ----------
    half_width : float
        In the unit of the estimate.
    estimate : str
        "rate": the median vanishing rate, nats per step. "growing": the share of draws that grow
        to 1/eps at their rate. "horizon_mean": the mean memory horizon, restricted to n_steps.
    least, most : int
    growth : float
    """

    half_width: Annotated[float, Field(gt=0)]
    estimate: Literal["rate", "growing", "horizon_mean"] = "rate"
    least: Annotated[int, Field(ge=16, le=MAX_DRAWS)] = 128
    most: Draws = 10_000
    growth: Annotated[float, Field(ge=1.1, le=100)] = 1.5

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.most < self.least:
            text = f"found {self.most}, expected at least {self.least} (least); raise it"
            raise _Faults([("most", text)])
        return self

    def plain(self) -> dict[str, Any]:
        """The keys of a study file."""
        return self.model_dump()


class Slice(_Model):
    """A part of a study that answers one question.

    The lists of `grid` are crossed, `fixed` is set for the whole slice, the rest are the defaults.
    """

    name: Name
    title: str = ""
    n_draws: Draws | None = None
    precision: Precision | None = None
    fixed: _Fixed = _Fixed()
    grid: _Grid

    @property
    def fixed_factors(self) -> dict[str, Any]:
        return _set_factors(self.fixed)

    @property
    def grid_factors(self) -> dict[str, tuple[Any, ...]]:
        return _set_factors(self.grid)

    @property
    def n_points(self) -> int:
        """Number of points of the grid, known without expanding it."""
        return math.prod(len(values) for values in self.grid_factors.values())

    def points(self, defaults: Condition) -> Iterator[Condition]:
        """The conditions of this slice; the last factor of the grid varies fastest."""
        fixed, grid = self.fixed_factors, self.grid_factors
        if not {*fixed, *grid}.isdisjoint(_SCALES):
            fixed = {**dict.fromkeys(_SCALES), **fixed}
        for values in itertools.product(*grid.values()):
            yield defaults.model_copy(update={**fixed, **dict(zip(grid, values, strict=True))})

    def _resolved(self) -> dict[str, Any]:
        lists = {
            name: [_plain({name: value})[name] for value in values]
            for name, values in self.grid_factors.items()
        }
        draws: dict[str, Any] = {} if self.n_draws is None else {"n_draws": self.n_draws}
        if self.precision is not None:
            draws["precision"] = self.precision.plain()
        return {
            "name": self.name,
            "title": self.title,
            **draws,
            "fixed": _plain(self.fixed_factors),
            "grid": lists,
        }


class Measure(_Model):
    """What is kept of each draw.

    Attributes
    ----------
    eps : float
        The memory horizon is the first lag at which the gradient norm has fallen to `eps`.
    rate_window : tuple of float
        First and last lag of the fit of the vanishing rate, as fractions of n_steps.
    n_lags : int
        Number of log-spaced lags kept of each profile.
    """

    eps: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    rate_window: Pair = (0.25, 1.0)
    n_lags: Annotated[int, Field(ge=2, le=100_000)] = 48

    @model_validator(mode="after")
    def _window_in_order(self) -> Self:
        first, last = self.rate_window
        if not 0 <= first < last <= 1:
            raise _Faults(
                [
                    (
                        "rate_window",
                        f"found [{first}, {last}], expected 0 <= first < last <= 1; both are "
                        "fractions of n_steps",
                    )
                ]
            )
        return self


class Study(_Model):
    """A study: what `load_study` returns and `run_study` runs.

    Attributes
    ----------
    name, title, description : str
    seed : int
        Every random number of the study is addressed below this seed.
    n_draws : int
        Draws a condition, unless a slice says otherwise.
    precision : Precision, optional
        What to reach in the place of `n_draws`, unless a slice says otherwise.
    defaults : Condition
    measure : Measure
    slices : tuple of Slice
    """

    name: Name
    title: str = ""
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    n_draws: Draws = 100
    precision: Precision | None = None
    defaults: Condition = Condition()
    measure: Measure = Measure()
    slices: Annotated[
        tuple[Slice, ...],
        BeforeValidator(_list_to_tuple),
        Field(alias="slice", min_length=1, max_length=1000),
    ]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], source: str = "study") -> Self:
        """Make a study from the content of a study file.

        Parameters
        ----------
        data
            The keys of a study file, as `tomllib` or `resolved` give them.
        source
            What messages call it, say the path of the file.

        Raises
        ------
        StudyError
            With every fault found, not only the first.
        """
        try:
            return cls.model_validate(dict(data))
        except ValidationError as error:
            raise StudyError(_report(error, data, source)) from None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        faults = [*self._slice_faults()]
        if not faults:
            # Only now is the grid known to be small enough to be written out.
            faults = [*self._condition_faults()]
        if faults:
            raise _Faults(faults)
        return self

    def _slice_faults(self) -> Iterator[tuple[str, str]]:
        """Faults that show without expanding the grids."""
        if self.precision is not None and "n_draws" in self.model_fields_set:
            yield "precision", _TWO_NUMBERS
        names = [part.name for part in self.slices]
        n_conditions = n_draws = 0
        for i, part in enumerate(self.slices):
            place = f"slice {i + 1} ({part.name})"
            fixed, grid = part.fixed_factors, part.grid_factors
            n_conditions += part.n_points
            rule = self.precision_of(part)
            n_draws += part.n_points * (self.draws_of(part) if rule is None else rule.most)
            if part.precision is not None and part.n_draws is not None:
                yield f"{place} > precision", _TWO_NUMBERS
            if part.name in names[:i]:
                yield place, f"found the name {part.name!r} a second time; give it another"
            if not grid:
                yield (
                    f"{place} > grid",
                    "found no factor, expected at least one list of values, for example "
                    "spectral_radius = [0.9, 1.0]; one value is enough",
                )
            for name in fixed.keys() & grid.keys():
                yield f"{place} > fixed > {name}", "also stands in this slice's grid; drop one"
            if {*_SCALES} <= {*fixed, *grid}:
                yield place, _TWO_SCALES
            for name, values in grid.items():
                repeated = sorted({str(_plain({name: v})[name]) for v in _repeated(values)})
                if repeated:
                    yield f"{place} > grid > {name}", f"found {', '.join(repeated)} twice; drop one"
        if n_conditions > MAX_CONDITIONS:
            yield (
                "slices",
                f"found {n_conditions:,} grid points, expected at most {MAX_CONDITIONS:,}; "
                "cross fewer factors, or use several slices in the place of one",
            )
        if n_draws > MAX_DRAWS:
            yield (
                "slices",
                f"found {n_draws:,} draws in all, expected at most {MAX_DRAWS:,}; lower n_draws, "
                "or most of a precision",
            )

    def _condition_faults(self) -> Iterator[tuple[str, str]]:
        """Faults of single conditions, each kind told once a slice."""
        from vgcore.profile import rate_window

        seen: set[Condition] = set()
        for i, part in enumerate(self.slices):
            place = f"slice {i + 1} ({part.name})"
            points = list(part.points(self.defaults))
            if seen.issuperset(points):
                yield (
                    place,
                    "every condition of this slice stands in an earlier one (a duplicate would be "
                    "measured once); drop the slice or add a value",
                )
            seen.update(points)
            window = self.measure.rate_window
            for n_steps in sorted({point.n_steps for point in points}):
                if rate_window(n_steps, window)[0] < 0:
                    yield (
                        f"{place} > n_steps",
                        f"found {n_steps}, which leaves fewer than two lags in rate_window = "
                        f"{list(window)}; a slope needs two: raise n_steps or widen the window",
                    )
            laws = {(point.init, point.law, point.n_hidden) for point in points}
            for init, law, n_hidden in sorted(laws, key=repr):
                yield from _law_faults(f"{place} > law", init, dict(law), n_hidden)
            yield from sorted({(place, fault) for p in points for fault in _cell_faults(p)})

    def draws_of(self, part: Slice) -> int:
        """Draws that a slice asks of each of its conditions; the first look of a precision."""
        rule = self.precision_of(part)
        if rule is not None:
            return rule.least
        return self.n_draws if part.n_draws is None else part.n_draws

    def precision_of(self, part: Slice) -> Precision | None:
        """The precision that a slice asks for, if it does not ask for a number of draws."""
        return self.precision if part.precision is None and part.n_draws is None else part.precision

    def resolved(self) -> dict[str, Any]:
        """The study with every default written out, as plain values that JSON and TOML can hold.

        `Study.from_dict(study.resolved())` is the same study.
        """
        scale = "spectral_radius" if self.defaults.gain is None else "gain"
        defaults = {
            name: value for name, value in self.defaults if name not in _SCALES or name == scale
        }
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "seed": self.seed,
            **(
                {"n_draws": self.n_draws}
                if self.precision is None
                else {"precision": self.precision.plain()}
            ),
            "defaults": _plain(defaults),
            "measure": {
                "eps": self.measure.eps,
                "rate_window": list(self.measure.rate_window),
                "n_lags": self.measure.n_lags,
            },
            "slice": [part._resolved() for part in self.slices],
        }

    @property
    def digest(self) -> str:
        """SHA-256 of all that influences the numbers; names and titles for readers are left out."""
        content = self.resolved()
        for key in ("name", "title", "description"):
            del content[key]
        for part in content["slice"]:
            del part["title"]
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_toml(self) -> str:
        """The resolved study as the text of a study file."""
        content = self.resolved()
        lines = [f"{key} = {_toml(content.pop(key))}" for key in _HEAD if key in content]
        for key in ("defaults", "measure"):
            lines += ["", f"[{key}]", *_toml_lines(content[key])]
        for part in content["slice"]:
            fixed, grid = part.pop("fixed"), part.pop("grid")
            lines += ["", "[[slice]]", *_toml_lines(part)]
            if fixed:
                lines += ["[slice.fixed]", *_toml_lines(fixed)]
            lines += ["[slice.grid]", *_toml_lines(grid)]
        return "\n".join(lines) + "\n"


_HEAD = ("name", "title", "description", "seed", "n_draws", "precision")
_TWO_NUMBERS = (
    "found both n_draws and precision, expected one of them (each says how much to draw); drop the "
    "other"
)


def _repeated(values: tuple[Any, ...]) -> list[Any]:
    seen: set[Any] = set()
    return [value for value in values if value in seen or seen.add(value)]  # type: ignore[func-returns-value]


def _cell_faults(point: Condition) -> Iterator[str]:
    """What a condition asks of a cell, or of a remedy, that it cannot have."""
    treated = point.treated
    cell, only = treated.cell, point.remedy.only
    if only and cell.name not in only:
        yield (
            f"remedy {point.remedy.name!r} works on {', '.join(only)}, found cell {cell.name!r}; "
            "drop it from the grid of other cells"
        )
    if treated.jacobian != "exact" and cell.name != "rnn":
        yield (
            f'found jacobian = "{treated.jacobian}" with cell {cell.name!r}; the printed form is '
            "that of the vanilla cell: use exact"
        )
    if not cell.has_inputs and (treated.burn_in or treated.input_variance != 0):
        yield (
            f"cell {cell.name!r} has no input: found burn_in = {treated.burn_in} and "
            f"input_variance = {treated.input_variance}, expected 0 for both"
        )
    try:
        treated.recurrent_law  # noqa: B018
    except ValueError as error:
        yield f"cell {cell.name!r}: {error}"


def _law_faults(
    place: str, init: str, law: dict[str, Any], n_hidden: int
) -> Iterator[tuple[str, str]]:
    """Faults of an initializer's keywords; their values are tried on a draw."""
    from vgcore.initializers import INITIALIZERS, draw_weights

    parameters = INITIALIZERS[init].parameters
    for keyword in law.keys() - parameters.keys():
        takes = suggestion(keyword, parameters) if parameters else "it takes none"
        yield place, f"found the keyword {keyword!r}, which init = {init!r} does not take; {takes}"
    if law and law.keys() <= parameters.keys():
        try:
            draw_weights(init, 1, n_hidden, rng=0, **law)
        except (TypeError, ValueError) as error:
            yield place, f"init = {init!r} with n_hidden = {n_hidden}: {error}"


# ---- reading

IMPACTS = ("impacts", "impacts-full")
WITHOUT_FILE = ("papers", *IMPACTS)  # what `vgcore run` measures beside studies


def shipped_studies() -> list[str]:
    """Names of the studies that ship with vgcore.

    Examples
    --------
    >>> from vgcore.study import shipped_studies
    >>> "smoke" in shipped_studies()
    True
    """
    folder = importlib.resources.files("vgcore") / "studies"
    names = (file.name for file in folder.iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def load_study(name_or_path: str | Path) -> Study:
    """Read a study, by the name of a shipped one or from a file.

    Parameters
    ----------
    name_or_path
        A name such as "atlas", or the path of a TOML file (anything that ends in .toml or holds
        a path separator).

    Returns
    -------
    Study

    Raises
    ------
    StudyError
        No such study or file, not TOML, or a fault in it; the message names the place and the fix.

    Examples
    --------
    >>> import vgcore as vg
    >>> vg.load_study("smoke").n_draws
    20
    """
    return _load(name_or_path, Path(), ())


def _load(name_or_path: str | Path, folder: Path, children: tuple[str, ...]) -> Study:
    """Read a study; a relative path starts at `folder`, `children` are the files that extend it."""
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith(".toml") or "/" in text or "\\" in text:
        path = folder / text
        source, content = str(path), _read_file(path)
        folder = path.parent
    else:
        if text in WITHOUT_FILE:
            raise StudyError(f"study {text!r} has no file to load: `vgcore run {text}` measures it")
        if text not in shipped_studies():
            known = suggestion(text, [*shipped_studies(), *WITHOUT_FILE])
            raise StudyError(
                f"study {text!r} does not ship with vgcore; {known}; "
                "a file of your own is named by a path that ends in .toml"
            )
        source = f"{text}.toml"
        content = (importlib.resources.files("vgcore") / "studies" / source).read_bytes()
    try:
        data = tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise StudyError(f"{source}: not UTF-8 text ({error})") from None
    except (ValueError, RecursionError) as error:
        raise StudyError(f"{source}: not valid TOML: {error}") from None
    if "extends" in data:
        parent = data.pop("extends")
        if not isinstance(parent, str):
            raise StudyError(f"{source}: extends: found {parent!r}, expected the name of a study")
        if source in children:
            circle = " > ".join([*children, source])
            raise StudyError(f"{source}: extends: {circle} runs in a circle; drop one of them")
        data = _merged(_load(parent, folder, (*children, source)).resolved(), data)
    return Study.from_dict(data, source)


def _read_file(path: Path) -> bytes:
    try:
        if path.exists():
            return read_whole(path, _MOST_BYTES, links=True)
        raise StudyError(
            f"{path}: no such file; shipped studies are named without .toml: "
            f"{', '.join(shipped_studies())}"
        )
    except StoreError as error:
        raise StudyError(f"{error}; expected a TOML file") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or error
        raise StudyError(f"{path}: cannot be read ({reason}); expected a TOML file") from None


def _merged(parent: dict[str, Any], child: dict[str, Any]) -> dict[str, Any]:
    """A study on top of the one it extends: tables key by key, all else (slices too) as a whole."""
    dropped: tuple[str, ...] = ("name", "title")
    if not child.keys().isdisjoint(("n_draws", "precision")):
        dropped += ("n_draws", "precision")
    merged = {key: value for key, value in parent.items() if key not in dropped}
    for key, value in child.items():
        if key in ("defaults", "measure") and isinstance(value, dict):
            scales = _SCALES if not value.keys().isdisjoint(_SCALES) else ()
            kept = {name: v for name, v in parent[key].items() if name not in scales}
            value = {**kept, **value}
        merged[key] = value
    return merged


# ---- messages


def _report(error: ValidationError, data: Mapping[str, Any], source: str) -> str:
    faults: list[str] = []
    for detail in error.errors():
        place = _place(detail["loc"], data)
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, _Faults):
            faults += [": ".join((" > ".join([*place, p]), text)) for p, text in cause.faults]
        else:
            faults.append(": ".join(filter(None, [" > ".join(place), _sentence(detail)])))
    if len(faults) == 1:
        return f"{source}: {faults[0]}"
    return "\n  ".join([f"{source}: {len(faults)} faults", *faults])


def _place(loc: tuple[int | str, ...], data: Mapping[str, Any]) -> list[str]:
    """Where a fault is, in the words of the file: ('slice', 1, ...) is slice 2 (its name)."""
    place: list[str] = []
    for above, key in zip((None, *loc), loc, strict=False):
        if isinstance(key, str):
            place.append(key)
        elif above == "slice":
            part = data["slice"][key]
            name = part.get("name") if isinstance(part, Mapping) else None
            place[-1] = f"slice {key + 1}" + (f" ({name})" if isinstance(name, str) else "")
        else:
            place.append(f"value {key + 1}")
    return place


def _sentence(detail: Any) -> str:
    """One fault: what was found, what was expected, the fix."""
    kind, loc, value = detail["type"], detail["loc"], detail["input"]
    if kind == "extra_forbidden":
        return f"unknown key; {suggestion(loc[-1], _keys_beside(loc))}"
    if kind == "missing":
        return "missing; add it"
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    expected = re.sub(r"^(Input|Tuple) should (be|have) ", "", detail["msg"])
    expected = {
        "tuple_type": "a list in brackets",
        "too_short": "at least one value",
        "model_type": "a table of keys",
        "model_attributes_type": "a table of keys",
    }.get(kind, expected)
    fix = ""
    if kind in ("int_type", "float_type") and re.fullmatch(r"[-+.\de]*\d", str(value)):
        fix = f"; write it without {'quotes' if isinstance(value, str) else 'a point'}"
    elif kind == "tuple_type":
        fix = f"; write [{_shown(value)}]"
    return f"found {_shown(value)}, expected {expected}{fix}"


def _shown(value: object) -> str:
    """A value as the file would show it, cut where it is long."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 1000:
        return "a number of over 300 digits"  # repr refuses to print more than 4300 of them
    text = repr(list(value)) if isinstance(value, tuple) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _keys_beside(loc: tuple[int | str, ...]) -> list[str]:
    """Valid keys of the table that a key stands in."""
    if len(loc) == 1:
        return ["extends", *(f.alias or name for name, f in Study.model_fields.items())]
    if "precision" in loc[:-1]:
        return list(Precision.model_fields)
    if loc[0] == "slice":
        return list(Slice.model_fields if len(loc) == 3 else FACTORS)
    return list(Measure.model_fields if loc[0] == "measure" else FACTORS)


# ---- writing


def _toml_lines(table: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {_toml(value)}" for key, value in table.items()]


def _toml(value: Any) -> str:
    """A value in TOML, which agrees with JSON except for tables and one control character."""
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_toml(str(key))} = {_toml(item)}" for key, item in value.items())
        return f"{{{pairs}}}"
    if isinstance(value, list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
