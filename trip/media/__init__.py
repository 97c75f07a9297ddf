"""Photos in, clips in and out: the border where files are checked, and where a clip's settings are stored in its file.

Every refusal is a `MediaError` with one line. Nothing is decoded before its header has been checked.
"""

from trip.media.budget import Budget
from trip.media.clip import (
    Clip,
    check_writable,
    embedded_photo,
    read_clip,
    read_metadata,
    with_photo,
    write_clip,
    write_continuation,
    write_frames,
)
from trip.media.edit import GIF_SHORT, boomerang, check_joins, joined_metadata, loop_gap, parts, smaller, write_png_zip
from trip.media.files import MediaError, check_target
from trip.media.flow import FlowFinder, agreement, blurred, carried, light_between
from trip.media.photo import PHOTO_SUFFIXES, Box, fit_photo, fitted_part, read_photo, shown_part, write_picture
from trip.media.shape import frame_shape
from trip.media.sound import check_sound, with_sound, write_sound
from trip.media.video import Video, open_video, oriented

__all__ = [
    "GIF_SHORT",
    "PHOTO_SUFFIXES",
    "Box",
    "Budget",
    "Clip",
    "FlowFinder",
    "MediaError",
    "Video",
    "agreement",
    "blurred",
    "boomerang",
    "carried",
    "check_joins",
    "check_sound",
    "check_target",
    "check_writable",
    "fit_photo",
    "fitted_part",
    "frame_shape",
    "joined_metadata",
    "light_between",
    "loop_gap",
    "open_video",
    "oriented",
    "parts",
    "embedded_photo",
    "read_clip",
    "read_metadata",
    "read_photo",
    "shown_part",
    "smaller",
    "with_photo",
    "with_sound",
    "write_clip",
    "write_continuation",
    "write_frames",
    "write_picture",
    "write_png_zip",
    "write_sound",
]
