"""Photos in, clips in and out: the border where files are checked, and where a clip's settings are stored in its file.

Every refusal is a `MediaError` with one line. Nothing is decoded before its header has been checked.
"""

from trip.media.clip import Clip, check_writable, read_clip, read_metadata, write_clip
from trip.media.files import MediaError
from trip.media.photo import fit_photo, read_photo
from trip.media.video import Video, open_video, upright_pixels

__all__ = [
    "Clip",
    "MediaError",
    "Video",
    "check_writable",
    "fit_photo",
    "open_video",
    "read_clip",
    "read_metadata",
    "read_photo",
    "upright_pixels",
    "write_clip",
]
