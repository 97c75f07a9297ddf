"""What a person sees while a clip is made: a bar, a line of words and a strip of frames that sharpens at each step."""

import base64
import html
import io

import numpy as np
from PIL import Image

STRIP_FRAMES = 8  # frames side by side; more would be too small to see on a phone
STRIP_HEIGHT = 96  # pixels of one frame


def panel(text: str, fraction: float | None = None, preview: np.ndarray | None = None) -> str:
    """HTML of the progress panel; without a fraction there is no bar.

    fraction  share of the work that is done, 0 to 1
    preview   frames as they look by now                f h w 3, uint8
    """
    parts = []
    if fraction is not None:
        percent = round(100 * fraction)
        parts.append(
            f'<div class="trip-bar" role="progressbar" aria-label="Progress" aria-valuemin="0" aria-valuemax="100" '
            f'aria-valuenow="{percent}"><div style="width:{percent}%"></div></div>'
        )
    parts.append(f'<p class="trip-status" aria-live="polite">{html.escape(text)}</p>')
    if preview is not None:
        parts.append(f'<img class="trip-strip" alt="Frames of the clip as they look by now" src="{strip(preview)}">')
    return f'<div class="trip-progress">{"".join(parts)}</div>'


def strip(frames: np.ndarray) -> str:
    """Frames spread evenly over a clip, side by side, as a JPEG in a data URI (nothing is written to disk).

    frames  f h w 3, uint8
    """
    chosen = np.linspace(0, len(frames) - 1, min(STRIP_FRAMES, len(frames))).round().astype(int)
    picture = Image.fromarray(np.concatenate(frames[chosen], axis=1))
    picture = picture.resize((round(picture.width * STRIP_HEIGHT / picture.height), STRIP_HEIGHT), Image.Resampling.BICUBIC)
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
