"""Wrong passwords are slowed: after a few, an address waits longer and longer, and it tries one after the other."""

import base64
import hmac
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from trip.ui.security.visitors import TooMuch

FREE_TRIES = 5
LONGEST_WAIT = 300.0  # seconds
FORGOTTEN = 3600.0  # seconds after the last wrong one
MOST_ADDRESSES = 10_000


class Logins:
    """Counts wrong passwords by address."""

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()  # how many, and when the last one was
        self._trying: set[str] = set()

    def wait_of(self, address: str) -> float:
        """Seconds that an address must still wait."""
        count, last = self._wrong.get(address, (0, 0.0))
        wait = min(2.0 ** (count - FREE_TRIES), LONGEST_WAIT) if count >= FREE_TRIES else 0.0
        return max(0.0, last + wait - time.monotonic())

    @contextmanager
    def trying(self, address: str) -> Iterator[None]:
        """One try; TooMuch where the address must wait, or has another one under way."""
        if address in self._trying:
            raise TooMuch("another try is under way; wait a moment")
        if (wait := self.wait_of(address)) > 0:
            raise TooMuch(f"too many wrong passwords; wait {wait:.0f} s")
        self._trying.add(address)
        try:
            yield
        finally:
            self._trying.discard(address)

    def count(self, address: str, status: int) -> None:
        """What came of a try, as an HTTP status."""
        if status == 200:
            self._wrong.pop(address, None)
        elif status in (400, 401):
            count, last = self._wrong.get(address, (0, 0.0))
            count = 0 if time.monotonic() - last > FORGOTTEN else count
            self._wrong[address] = count + 1, time.monotonic()
            self._wrong.move_to_end(address)
            while len(self._wrong) > MOST_ADDRESSES:
                self._wrong.popitem(last=False)

    @staticmethod
    def by_password(header: str, known: Mapping[str, str]) -> str | None:
        """The user whom an Authorization header names with the right password; none else."""
        try:
            user, _, password = base64.b64decode(header.removeprefix("Basic "), validate=True).decode().partition(":")
        except ValueError:
            return None
        right = known.get(user, "")
        return user if right and hmac.compare_digest(password.encode(), right.encode()) else None
