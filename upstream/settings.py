"""Strict configuration models: an unknown key or a wrong value is one `UpstreamError` that names it and what would work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from upstream.errors import UpstreamError
from upstream.registry import nearest

Model = TypeVar("Model", bound="Settings")


class Settings(BaseModel):
    """Base of an encoder's configuration: immutable, and no key is ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


def parse(model: type[Model], values: Mapping[str, Any], where: str) -> Model:
    """Build `model` from plain values.

    Args:
        model: the configuration class.
        values: plain mapping, from JSON, YAML or a checkpoint.
        where: the file or call that gave the values; begins every message.

    Raises:
        UpstreamError: unknown keys, missing keys and wrong values, all together.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        problems = explain(model, error)
        raise UpstreamError(f"{where}: {problems}") from None


def explain(model: type[BaseModel], error: ValidationError, prefix: str = "") -> str:
    """Every problem of a failed validation in one line; `prefix` stands before each key."""
    return "; ".join(_problem(model, item, prefix) for item in error.errors())


def _problem(model: type[BaseModel], item: Mapping[str, Any], prefix: str) -> str:
    path = [str(part) for part in item["loc"]]
    key = prefix + ".".join(path)
    if item["type"] == "extra_forbidden":
        known = _keys_beside(model, path)
        guess = nearest(path[-1], known)
        return f"unknown key '{key}'" + (f": did you mean '{guess}'?" if guess else f" (known here: {', '.join(known)})")
    if item["type"] == "missing":
        return f"key '{key}' is missing"
    return f"'{key}' = {str(item['input'])[:80]!r}: {item['msg'].removeprefix('Value error, ')}"


def _keys_beside(model: type[BaseModel], path: list[str]) -> list[str]:
    """Names of the fields of the (nested) model in which the last part of `path` was given."""
    for part in path[:-1]:
        field = model.model_fields.get(part)
        nested = _nested_model(field.annotation) if field else None
        if nested is None:
            continue
        model = nested
    return list(model.model_fields)


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    candidates = [annotation, *getattr(annotation, "__args__", ())]
    return next((kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
