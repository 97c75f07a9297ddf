"""The page: python app.py [--share] [--auth user:password] [--model FOLDER_OR_ID] …; --help lists all flags."""

import logging
import os
import signal

from trip.cli import app
from trip.jobs.folders import own_uploads
from trip.system.environment import on_spaces_gpu

OTHER_MCP = '--mcp needs another release of its package than the one installed; run: pip install "gradio[mcp]"'
MOST_EVENTS = 1000  # of all visitors that wait; each has a share of them (`trip.ui.security.door`)


def main() -> None:
    """Flags, studio, page, launch."""
    parser = app.parser()
    args = app.parsed(parser)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    if on_spaces_gpu():
        import spaces  # noqa: F401  must come before torch
    if "GRADIO_TEMP_DIR" not in os.environ and (uploads := own_uploads(args.output_dir.absolute())):
        os.environ["GRADIO_TEMP_DIR"] = str(uploads)  # before gradio is imported
    from trip import ui
    from trip.ui.security.hosts import Hosts
    from trip.ui.studio import Studio

    try:
        fetches = not (args.share or on_spaces_gpu())  # a public page downloads nothing for visitors
        studio = Studio(args.model, args.output_dir.absolute(), models=args.models, fetches=fetches)
    except ValueError as error:
        parser.error(str(error))
    if on_spaces_gpu():
        studio.load()  # such a Space must know its GPU functions before the launch
    try:
        page = ui.build(studio).queue(max_size=MOST_EVENTS)
    except ValueError as error:
        parser.error(str(error))
    page.hosts = Hosts(args.host, args.allowed_host)
    try:
        page.launch(
            share=args.share, auth=args.auth, server_name=args.host, server_port=args.port, mcp_server=args.mcp,
            prevent_thread_lock=True, **ui.launch_options(studio),
        )  # fmt: skip
    except ImportError:
        parser.error(OTHER_MCP)
    except OSError:
        parser.error(f"cannot listen on {args.host or 'this machine'}, port {args.port or '7860 to 7959'}; choose a free one")
    if page.mcp_error:
        parser.error(OTHER_MCP)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does: what is being made waits for the next start
    studio.start()
    page.block_thread()
    studio.close()


if __name__ == "__main__":
    main()
