"""Stopping a training from outside: a cluster that wants its machine back sends SIGTERM and leaves some seconds."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class StopRequest:
    """While it is open, SIGTERM is noted instead of ending the process; a second one ends it."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Self:
        self._listens = threading.current_thread() is threading.main_thread()  # the only one that may
        if self._listens:
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._listens:
            signal.signal(signal.SIGTERM, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
