"""Where the code runs, as far as the environment says; asked before anything heavy is imported."""

import os


def on_spaces() -> bool:
    """Whether this is a Space, behind its proxy and in a frame of the hub's page."""
    return bool(os.environ.get("SPACE_ID"))


def on_spaces_gpu() -> bool:
    """Whether this is a Space whose GPU comes and goes with each call."""
    return bool(os.environ.get("SPACES_ZERO_GPU"))
