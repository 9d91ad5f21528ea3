"""Checks values by JSON Schema, formats included, as a subscriber's library would."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

FORMATS = FormatChecker(["uuid"])


@FORMATS.checks("date-time", raises=ValueError)
def _is_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


def validator(schema: Mapping[str, Any]) -> Draft202012Validator:
    """Raises `jsonschema.SchemaError` if the schema itself is none."""
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=FORMATS)


def faults(schema: Mapping[str, Any], value: object) -> list[str]:
    """What is wrong with a value, each with its path; empty if it is valid."""
    return [f"{error.json_path}: {error.message}" for error in validator(schema).iter_errors(value)]
