"""What the verbs share: a parser that complains in one line, and settings as flags."""

import argparse
from typing import NoReturn, TypeVar

from trip.settings import Request

Asked = TypeVar("Asked", bound=Request)
Verbs = argparse._SubParsersAction  # of `add_subparsers`; a verb adds its own parser to it


class VerbParser(argparse.ArgumentParser):
    """Complains in one line, with exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Says what is wrong, and nothing else."""
        self.exit(2, f"trip: {message}\n")


def add_settings(parser: argparse.ArgumentParser, schema: type[Request]) -> None:
    """A flag for each setting of a task."""
    for name, field in schema.model_fields.items():
        action = {"action": "store_true"} if schema.kind_of(name) is bool else {}
        parser.add_argument(f"--{name.replace('_', '-')}", default=argparse.SUPPRESS, help=field.description, **action)


def settings_in(options: argparse.Namespace, schema: type[Asked]) -> Asked:
    """The settings that were given as flags, checked; ValueError, in one line."""
    return schema.checked(**{name: getattr(options, name) for name in schema.model_fields if hasattr(options, name)})
