"""Who is who: the secrets that prove a visitor, and what each visitor may touch and how much of it at once.

A secret is made and signed here and kept by the browser or program, as a cookie or, of agents, as the id of their MCP session. What is
stored of it is its hash. A call that proves nothing gets a secret of its own with the answer.
"""

import hashlib
import hmac
import ipaddress
import os
import secrets
import shutil
import threading
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable
from pathlib import Path

from trip.jobs.visitor import Visitor, id_of_secret
from trip.system.files import atomic_write

KEY, KEY_BYTES = "visitors.key", 32  # in the output folder: signs secrets
LONGEST_SECRET = 128  # characters
MOST_FILES_EACH = 2000  # that are remembered as a visitor's
MOST_REMEMBERED = 20_000  # visitors, sessions and addresses
HOUR = 3600.0
UPLOADS_EACH, UPLOADS_ADDRESS = 2**30, 16 * 2**30  # bytes an hour
NEW_ADDRESS = 20_000  # visitors of one address who call for the first time, an hour
LEAST_FREE_BYTES = 2**30  # on the disk, besides an upload


class QuotaExceeded(ValueError):
    """A visitor or an address asks for more than its share."""


class RateLimiter:
    """Amounts of the last hour by name; the names longest unused are forgotten."""

    def __init__(self) -> None:
        self._spent: OrderedDict[str, deque[tuple[float, float]]] = OrderedDict()

    def spend(self, name: str, amount: float, most: float) -> bool:
        """Whether an amount is within what an hour allows; only then it counts."""
        now, spent = time.monotonic(), self._spent.setdefault(name, deque())
        self._spent.move_to_end(name)
        while spent and spent[0][0] < now - HOUR:
            spent.popleft()
        if sum(one for _, one in spent) + amount > most:
            return False
        spent.append((now, amount))
        while len(self._spent) > MOST_REMEMBERED:
            self._spent.popitem(last=False)
        return True


class VisitorRegistry:
    """The visitors of one output folder.

    Raises ValueError, in one line, where the key that signs secrets can be neither read nor written.
    """

    def __init__(self, folder: Path):
        path = Path(folder) / KEY
        try:
            if not path.exists():
                with atomic_write(path) as partial:  # where the disk is full, none is better than half of one
                    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                    with os.fdopen(descriptor, "wb") as file:
                        file.write(secrets.token_bytes(KEY_BYTES))
            self._key = path.read_bytes()
        except OSError as error:
            raise ValueError(f"{path}: wanted a file to read and write ({error.strerror}); choose another --output-dir") from error
        if len(self._key) != KEY_BYTES:
            raise ValueError(f"{path}: wanted a key of {KEY_BYTES} bytes, got {len(self._key)}; delete it (all visitors are then new ones)")
        self.cookie = f"trip-visitor-{self._sign('cookie')[:8]}"  # another app on this machine has another one
        self._lock = threading.Lock()
        self._files: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()
        self._public: set[str] = set()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._sessions: OrderedDict[str, str] = OrderedDict()
        self._uploads, self._arrivals = RateLimiter(), RateLimiter()
        self._busy: defaultdict[str, int] = defaultdict(int)

    def _sign(self, text: str) -> str:
        return hmac.new(self._key, text.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()

    # secrets

    def new_secret(self) -> str:
        """A secret for somebody new."""
        word = secrets.token_urlsafe(24)
        return f"{word}.{self._sign(word)[:32]}"

    def known(self, secret: str | None) -> str | None:
        """The id of the visitor that a secret was made for; none for any other text."""
        if not secret or len(secret) > LONGEST_SECRET or not secret.isascii():
            return None
        word, _, signature = secret.partition(".")
        return id_of_secret(word) if hmac.compare_digest(signature, self._sign(word)[:32]) else None

    def register(self, visitor: Visitor) -> None:
        """Counts a visitor who calls for the first time; QuotaExceeded where too many new ones come from one address."""
        with self._lock:
            is_new = str(visitor) not in self._seen
        if is_new and not self._arrivals.spend(visitor.address, 1, NEW_ADDRESS):
            raise QuotaExceeded("too many new visitors come from your address; keep the cookie that you were given")
        with self._lock:
            self._seen[str(visitor)] = None
            self._seen.move_to_end(str(visitor))
            while len(self._seen) > MOST_REMEMBERED:
                self._seen.popitem(last=False)

    def address(self, host: str) -> str:
        """What stands for a network address: it is not told, and one network of IPv6 counts as one."""
        try:
            network = ipaddress.ip_address(host)
            host = str(ipaddress.ip_network((host, 64), strict=False)) if network.version == 6 else host
        except ValueError:
            pass  # a name, of a socket that has no address
        return self._sign(f"address {host}")[:16]

    # sessions

    def owns_session(self, session: str, visitor: str) -> bool:
        """Whether an open page or program is this visitor's: the first who names it has it."""
        with self._lock:
            owner = self._sessions.setdefault(session, str(visitor))
            self._sessions.move_to_end(session)
            while len(self._sessions) > MOST_REMEMBERED:
                self._sessions.popitem(last=False)
            return owner == visitor

    # files

    def grant(self, visitor: str, paths: Iterable[str]) -> None:
        """Remembers files as a visitor's: they uploaded them, or a job of theirs made them."""
        with self._lock:
            own = self._files.setdefault(str(visitor), OrderedDict())
            self._files.move_to_end(str(visitor))
            for path in paths:
                own[_real(path)] = None
                own.move_to_end(_real(path))
            while len(own) > MOST_FILES_EACH:
                own.popitem(last=False)
            while len(self._files) > MOST_REMEMBERED:
                self._files.popitem(last=False)

    def publish(self, paths: Iterable[str]) -> None:
        """Lets everybody have files: what the page itself shows."""
        self._public.update(map(_real, paths))

    def may_read(self, visitor: str, path: str) -> bool:
        """Whether a file is a visitor's, or everybody's."""
        real = _real(path)
        with self._lock:
            return real in self._public or real in self._files.get(str(visitor), ())

    # shares

    def spend_upload(self, visitor: Visitor, num_bytes: int, folder: str) -> None:
        """Counts an upload into a folder; QuotaExceeded where that is more than a share, or than the disk has."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(folder).free) < LEAST_FREE_BYTES + num_bytes:
            raise QuotaExceeded(f"the disk is almost full ({free >> 20} MB left); try again later")
        if not self._uploads.spend(visitor, num_bytes, UPLOADS_EACH):
            raise QuotaExceeded(f"you have uploaded {UPLOADS_EACH >> 20} MB within an hour; wait a while")
        if not self._uploads.spend(f"address {visitor.address}", num_bytes, UPLOADS_ADDRESS):
            raise QuotaExceeded(f"{UPLOADS_ADDRESS >> 30} GB were uploaded from your address within an hour; wait a while")

    def acquire(self, name: str, most: int) -> bool:
        """Whether one more of what a name stands for may be under way; then `release` must be called."""
        with self._lock:
            if self._busy[name] >= most:
                return False
            self._busy[name] += 1
            return True

    def release(self, name: str) -> None:
        """One less is under way."""
        with self._lock:
            self._busy[name] -= 1
            if self._busy[name] <= 0:
                del self._busy[name]


def _real(path: str) -> str:
    """The path of the file itself, however it is written."""
    return os.path.realpath(path)
