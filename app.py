"""The page: python app.py [--share] [--auth user:password] [--model FOLDER_OR_ID] [--host HOST] [--port PORT]."""

import argparse
import logging
import os
import secrets
import sys
from pathlib import Path
from typing import NoReturn

from trip.place import on_spaces_gpu

OPEN_TO_ALL = "WARNING: --share without --auth lets anyone who finds the link use this machine; add, for example, --auth trip:{}"


class Parser(argparse.ArgumentParser):
    """Complains in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def login(text: str) -> tuple[str, str]:
    """User and password out of user:password."""
    user, _, password = text.partition(":")
    if user and password:
        return user, password
    raise argparse.ArgumentTypeError("wanted user:password, both not empty")


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


def main() -> None:
    """Flags, studio, page, launch."""
    parser = Parser(prog="app.py", description="Animate photos in the browser.")
    parser.add_argument("--share", action="store_true", help="also serve the page through a public link of Gradio's")
    parser.add_argument("--auth", type=login, metavar="USER:PASSWORD", help="ask visitors for this name and password")
    parser.add_argument("--model", type=checkpoint, metavar="FOLDER_OR_ID", help="a checkpoint (default: the embedded one)")
    parser.add_argument("--host", help="address to listen on, such as 0.0.0.0 (default: this machine only)")
    parser.add_argument("--port", type=port, metavar="PORT", help="port to listen on (default: the first free one from 7860)")
    parser.add_argument("--output-dir", type=Path, default=Path("outputs"), metavar="FOLDER", help="jobs and results (default: outputs)")
    parser.add_argument("--mcp", action="store_true", help="also serve the endpoints as tools for agents (MCP)")
    args = parser.parse_args()
    if args.share and not args.auth:
        print(OPEN_TO_ALL.format(secrets.token_urlsafe(9)), file=sys.stderr)

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    if on_spaces_gpu():
        import spaces  # noqa: F401  must come before torch
    from trip import ui
    from trip.ui.studio import Studio

    try:
        studio = Studio(args.model, args.output_dir.absolute())
    except ValueError as error:
        parser.error(str(error))
    if on_spaces_gpu():
        studio.load()  # such a Space must know its GPU functions before the launch
    page = ui.build(studio).queue(max_size=200)
    try:
        page.launch(
            share=args.share, auth=args.auth, server_name=args.host, server_port=args.port, mcp_server=args.mcp,
            prevent_thread_lock=True, allowed_paths=[str(studio.store.files)], **ui.LAUNCH,
        )  # fmt: skip
    except OSError:
        parser.error(f"cannot listen on {args.host or 'this machine'}, port {args.port or '7860 to 7959'}; choose a free one")
    studio.start()
    page.block_thread()
    studio.close()


if __name__ == "__main__":
    main()
