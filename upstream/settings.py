"""Strict configuration models: an unknown key or a wrong value is one `UpstreamError` that names it and what would work."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from upstream.errors import UpstreamError

Model = TypeVar("Model", bound="Settings")


class Settings(BaseModel):
    """Base of an encoder's configuration: immutable, and no key is ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like `word`, or None when nothing does."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None


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
        problems = "; ".join(_problem(model, item) for item in error.errors())
        raise UpstreamError(f"{where}: {problems}") from None


def _problem(model: type[BaseModel], item: Mapping[str, Any]) -> str:
    path = [str(part) for part in item["loc"]]
    key = ".".join(path)
    if item["type"] == "extra_forbidden":
        guess = nearest(path[-1], _keys_beside(model, path))
        return f"unknown key '{key}'" + (f": did you mean '{guess}'?" if guess else "")
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
