"""The flags of app.py, checked before anything heavy is imported."""

import argparse
import secrets
import sys
from importlib.util import find_spec
from pathlib import Path

from trip.cli.verbs import VerbParser

OPEN_TO_ALL = "WARNING: --share without --auth lets anyone who finds the link use this machine; add, for example, --auth trip:{}"
OPEN_TO_NETWORK = "WARNING: --host {} without --auth lets anyone who reaches this machine use it; add, for example, --auth trip:{}"
ALONE = {"localhost", "127.0.0.1", "::1", "[::1]"}


def parser() -> VerbParser:
    """What app.py takes."""
    made = VerbParser(prog="app.py", description="Animate photos in the browser.")
    made.add_argument("--share", action="store_true", help="also serve the page through a public link of Gradio's")
    made.add_argument("--auth", type=login, metavar="USER:PASSWORD", help="ask visitors for this name and password")
    made.add_argument("--model", type=checkpoint, metavar="FOLDER_OR_ID", help="a checkpoint (default: the embedded one)")
    made.add_argument("--models", type=folder, metavar="FOLDER", help="models that make first frames, beside the hub's cache")
    made.add_argument("--output-dir", type=Path, default=Path("outputs"), metavar="FOLDER", help="jobs and results (default: outputs)")
    made.add_argument("--host", help="address to listen on, such as 0.0.0.0 (default: this machine only)")
    made.add_argument(
        "--allowed-host", action="append", default=[], type=name, metavar="NAME",
        help="another name that the page is asked for under, such as that of a proxy; may be given more than once",
    )  # fmt: skip
    made.add_argument("--port", type=port, metavar="PORT", help="port to listen on (default: the first free one from 7860)")
    made.add_argument("--mcp", action="store_true", help="also serve the endpoints as tools for agents (MCP)")
    return made


def parsed(made: VerbParser) -> argparse.Namespace:
    """The flags of this call; warns of a page that is open to all."""
    flags = made.parse_args()
    if flags.mcp and not find_spec("mcp"):
        made.error('--mcp needs a package that is not installed; run: pip install "gradio[mcp]"')
    if flags.share and not flags.auth:
        print(OPEN_TO_ALL.format(secrets.token_urlsafe(9)), file=sys.stderr)
    if flags.host and flags.host not in ALONE and not flags.auth:
        print(OPEN_TO_NETWORK.format(flags.host, secrets.token_urlsafe(9)), file=sys.stderr)
    return flags


def login(text: str) -> tuple[str, str]:
    """User and password out of user:password."""
    user, _, password = text.partition(":")
    if user and password:
        return user, password
    raise argparse.ArgumentTypeError("wanted user:password, both not empty")


def name(text: str) -> str:
    """A host's name, without protocol, port and path."""
    if not text or set(text) & set("/:@ *"):
        raise argparse.ArgumentTypeError(f"wanted a name such as trip.example.org, not {text!r}")
    return text


def port(text: str) -> int:
    """A port number."""
    if not (text.isdecimal() and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"wanted a whole number from 1 to 65535, not {text!r}")
    return int(text)


def checkpoint(text: str) -> str:
    """A folder that is there, or what may be a hub id."""
    if not Path(text).is_dir() and (text.count("/") != 1 or text.startswith((".", "/"))):
        raise argparse.ArgumentTypeError(f"there is no folder {text!r}, and a hub id reads owner/name")
    return text


def folder(text: str) -> Path:
    """A folder that is there."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text!r}; create it first")
    return Path(text).absolute()
