"""The sound that a person gives a clip: a file of its job, beside the clip with it and the one without, from which others go on."""

import hashlib
from pathlib import Path

from trip.media import with_sound, write_sound

SOUND = "sound.m4a"  # file of a job, whose clip is heard with it


def put_sound(clip: Path, source: str | Path) -> Path:
    """Gives a job's clip the sound of a file, in place of an earlier one; MediaError, and the earlier one stays, where that has none."""
    write_sound(source, clip.with_name(SOUND))
    return join_sound(clip)


def join_sound(clip: Path) -> Path:
    """A job's clip with the sound that the job has; the clip itself where it has none."""
    sound = clip.with_name(SOUND)
    if not sound.exists():
        return clip
    with sound.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:8]  # browsers keep files by their names
    made = clip.with_name(f"{clip.stem}-sound-{digest}.mp4")
    if not made.exists():
        with_sound(clip, sound, made)
    for other in set(_joined(clip)) - {made}:
        other.unlink(missing_ok=True)
    return made


def remove_sound(clip: Path) -> None:
    """Leaves a job's clip as it was made."""
    for path in (clip.with_name(SOUND), *_joined(clip)):
        path.unlink(missing_ok=True)


def heard_clip(clip: Path) -> Path:
    """The file to show and to give away: with the job's sound, where it has one."""
    return next(iter(_joined(clip)), clip)


def _joined(clip: Path) -> list[Path]:
    return sorted(clip.parent.glob(f"{clip.stem}-sound-*.mp4"))
