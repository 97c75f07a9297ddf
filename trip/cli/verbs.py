"""What all commands share: a parser that complains in one line, and settings as flags."""

import argparse
import json
from collections.abc import Iterable
from typing import Any, NoReturn, TypeVar

from trip.settings import Request

Asked = TypeVar("Asked", bound=Request)
Verbs = argparse._SubParsersAction  # of `add_subparsers`; a verb adds its own parser to it


class VerbParser(argparse.ArgumentParser):
    """Complains in one line, with exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Says what is wrong, and nothing else."""
        program = self.prog.removeprefix("python -m ").split()[0]  # without the verb
        self.exit(2, f"{program}: {message}\n")


def add_settings(parser: argparse.ArgumentParser, schema: type[Request], prefix: str = "") -> None:
    """A flag for each setting of a task; with a prefix such as "clip-", where a verb has two tasks."""
    for name, field in schema.model_fields.items():
        action = {"action": "store_true"} if schema.kind_of(name) is bool else {}
        flag = f"--{prefix}{name.replace('_', '-')}"
        parser.add_argument(flag, default=argparse.SUPPRESS, help=field.description.replace("%", "%%"), **action)


def settings_in(options: argparse.Namespace, schema: type[Asked], prefix: str = "", **defaults: Any) -> Asked:
    """The settings that were given as flags, checked; ValueError, in one line. `defaults` are for what was not given."""
    given = {name: f"{prefix.replace('-', '_')}{name}" for name in schema.model_fields}
    return schema.checked(**defaults | {name: getattr(options, flag) for name, flag in given.items() if hasattr(options, flag)})


def named_settings(assignments: Iterable[str]) -> dict[str, Any]:
    """What `--set NAME=VALUE` was given: name -> value, read as JSON where it is some. ValueError, in one line."""
    values = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise ValueError(f"--set: wanted NAME=VALUE, got {assignment!r}")
        try:
            values[name] = json.loads(value)
        except ValueError:
            values[name] = value
    return values
