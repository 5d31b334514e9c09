"""What every part of a workflow file has in common: all that is wrong with it is refused at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError

from lakeray.spec.wrong import WrongValue, quoted, unknown

Loc = tuple[str | int, ...]
Complaint = tuple[Loc, WrongValue]
"""Where, below the part that complains; what is wrong there."""


class Spec(BaseModel):
    """A frozen part of the workflow file.

    Keys are spelt as in the file (``from``); in Python the attribute has an underscore where it must (``from_``).
    Validation reports the part's own complaints together with those of its fields, never one before the other.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        validate_by_name=True,
        validate_by_alias=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
        serialize_by_alias=True,
    )

    shorthand: ClassVar[str | None] = None
    """The key that a bare scalar in place of the mapping stands for."""

    @classmethod
    def attributes(cls) -> dict[str, str]:
        """The attribute by each key of the file."""
        return {field.alias or name: name for name, field in cls.model_fields.items()}

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:  # noqa: ARG003
        """What is wrong with the keys of ``data`` taken together; values may be of any type, right or wrong."""
        yield from ()

    @model_validator(mode="wrap")
    @classmethod
    def _all_at_once(cls, data: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if cls.shorthand is not None and isinstance(data, str | int | float) and not isinstance(data, bool):
            data = {cls.shorthand: data}
        if not isinstance(data, Mapping):
            return handler(data)
        keys = cls.attributes()
        by_name: dict[object, str] = {name: key for key, name in keys.items()}
        as_written = {by_name.get(key, str(key)): value for key, value in data.items()}
        found: list[Complaint] = [
            ((key,), unknown(key, keys, lead="allowed keys")) for key in as_written if key not in keys
        ]
        found.extend(cls.complaints(as_written))
        try:
            valid = handler(data)
        except ValidationError as error:
            lines = [_line(detail) for detail in error.errors(include_url=False) if not _told(detail, found)]
            raise ValidationError.from_exception_data(cls.__name__, [*lines, *map(_complaint, found)]) from None
        if found:
            raise ValidationError.from_exception_data(cls.__name__, [*map(_complaint, found)])
        return valid

    @classmethod
    def narrow(cls, schema: JsonSchemaValue) -> None:
        """Say in the JSON Schema of the part what its fields alone do not."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        full = handler.resolve_ref_schema(schema)
        cls.narrow(full)
        if cls.shorthand is not None:
            short = full["properties"][cls.shorthand]
            options = [option for option in short.get("anyOf", [short]) if option.get("type") != "null"]
            plain = [{key: value for key, value in option.items() if key in _CONSTRAINTS} for option in options]
            whole = dict(full)
            full.clear()
            full.update({"anyOf": [*plain, whole], "description": whole["description"]})
        return schema


_CONSTRAINTS = {"type", "pattern", "minLength", "minimum", "maximum", "anyOf", "enum", "const"}


def _told(detail: Any, complaints: list[Complaint]) -> bool:
    return detail["type"] == "extra_forbidden" and any(detail["loc"] == loc for loc, _ in complaints)


def _line(detail: Any) -> InitErrorDetails:
    context = {**detail.get("ctx", {}), "message": detail["msg"]}
    return InitErrorDetails(
        type=PydanticCustomError(detail["type"], "{message}", context), loc=detail["loc"], input=detail["input"]
    )


def _complaint(complaint: Complaint) -> InitErrorDetails:
    loc, wrong = complaint
    kind = PydanticCustomError("wrong_value", "{message}", {"message": str(wrong), "error": wrong})
    return InitErrorDetails(type=kind, loc=loc, input=None)


class Choice(Spec):
    """A part that says exactly one of several things, by the key it has."""

    choices: ClassVar[tuple[str, ...]] = ()
    """The keys to choose from; empty: all of them."""
    noun: ClassVar[str] = "this"
    """What the part is called when it says none or several."""

    @classmethod
    def options(cls) -> tuple[str, ...]:
        """The keys to choose from."""
        return cls.choices or tuple(cls.attributes())

    @property
    def kind(self) -> str:
        """The key that was chosen, as the file spells it."""
        attributes = self.attributes()
        return next(key for key in self.options() if getattr(self, attributes[key]) is not None)

    @property
    def chosen(self) -> Any:
        """What stands under that key."""
        return getattr(self, self.attributes()[self.kind])

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """None or several of the choices."""
        said = [key for key in cls.options() if data.get(key) is not None]
        strange = [key for key in data if key not in cls.attributes()]
        listed = ", ".join(cls.options())
        if len(said) > 1:
            both = " and ".join(quoted(key) for key in said)
            yield (said[1],), WrongValue(f"{cls.noun} has exactly one of: {listed}", found=both)
        elif not said and not strange:
            yield (), WrongValue(f"{cls.noun} has exactly one of: {listed}", found="none of its kinds")

    @classmethod
    def narrow(cls, schema: JsonSchemaValue) -> None:
        """Exactly one of the choices."""
        schema["oneOf"] = [{"required": [key]} for key in cls.options()]


def repeated(values: object, key: str) -> Iterator[Complaint]:
    """A complaint for each text that stands in the list ``values`` a second time."""
    if not isinstance(values, list):
        return
    seen: set[str] = set()
    for index, value in enumerate(values):
        if isinstance(value, str):
            if value in seen:
                yield (key, index), WrongValue("expected each name once", found=quoted(value))
            seen.add(value)
