"""Where the code runs, as far as the environment says, and where what comes with it lies; asked before anything heavy is imported."""

import os
from pathlib import Path


def shipped(name: str) -> Path:
    """A folder that comes with the package: beside it in a checkout, inside it where it was installed."""
    package = Path(__file__).resolve().parents[1]
    return package / name if (package / name).is_dir() else package.parent / name


ASSETS, EXAMPLES = shipped("assets"), shipped("examples")


def on_spaces() -> bool:
    """Whether this is a Space, behind its proxy and in a frame of the hub's page."""
    return bool(os.environ.get("SPACE_ID"))


def on_spaces_gpu() -> bool:
    """Whether this is a Space whose GPU comes and goes with each call."""
    return bool(os.environ.get("SPACES_ZERO_GPU"))
