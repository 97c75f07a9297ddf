"""What every settings class can do: be checked in words, and say what each of its settings takes."""

from types import NoneType
from typing import Any, Literal, Self, get_args, get_origin

from annotated_types import Ge, Le, Lt, MaxLen
from pydantic import BaseModel, ConfigDict, ValidationError

SHOWN = 60  # characters of a refused value that an error repeats


class Settings(BaseModel):
    """Base of all settings: unknown keys are errors, values never change after the check."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Request(Settings):
    """What a person asks for: each field has a title and a description, and None means 'automatic'."""

    @classmethod
    def checked(cls, **values: Any) -> Self:
        """Settings from raw values, where None means the default.

        Raises ValueError with one line that names the control, what it takes and what came.
        """
        try:
            return cls(**{name: value for name, value in values.items() if value is not None})
        except ValidationError as error:
            raise ValueError("; ".join(cls._complaint(problem) for problem in error.errors(include_url=False))) from None

    @classmethod
    def kind_of(cls, name: str) -> type:
        """Type of a setting, without the None that stands for 'automatic'."""
        annotation = cls.model_fields[name].annotation
        kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
        return annotation if get_origin(annotation) is Literal or not kinds else kinds[0]

    @classmethod
    def bounds(cls, name: str) -> tuple[float | None, float | None]:
        """Lowest and highest value of a setting, both allowed; None where there is no bound."""
        low = high = None
        for rule in cls.model_fields[name].metadata:
            if isinstance(rule, Ge):
                low = rule.ge
            elif isinstance(rule, Le):
                high = rule.le
            elif isinstance(rule, Lt):
                high = rule.lt - 1
        return low, high

    @classmethod
    def wanted(cls, name: str) -> str:
        """What a setting takes, in words."""
        field, kind, (low, high) = cls.model_fields[name], cls.kind_of(name), cls.bounds(name)
        if field.json_schema_extra and "wanted" in field.json_schema_extra:
            return field.json_schema_extra["wanted"]
        if get_origin(kind) is Literal:
            return " or ".join(get_args(kind))
        if kind is bool:
            return "true or false"
        if kind is str:
            longest = next(rule.max_length for rule in field.metadata if isinstance(rule, MaxLen))
            return f"text of at most {longest:,} characters"
        return f"a {'whole ' if kind is int else ''}number from {low:g} to {high:,}"

    @classmethod
    def _complaint(cls, problem: dict[str, Any]) -> str:
        """One line for one problem that pydantic found."""
        name = str(problem["loc"][0])
        if name not in cls.model_fields:
            return f"there is no setting {name!r}; choose from {', '.join(cls.model_fields)}"
        came = problem["input"]
        if problem["type"] == "string_too_long":
            came = f"{len(came):,}"
        return f"{cls.model_fields[name].title} must be {cls.wanted(name)}, not {shortened(came)}"


def shortened(value: Any) -> str:
    """A refused value as an error repeats it: on one line, and not at length."""
    text = " ".join(str(value).encode(errors="replace").decode().split())  # half a surrogate pair stops whatever prints it
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
