"""The names that a page may be asked for under, so that no other website's name can be turned to point at it (DNS rebinding)."""

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from trip.system.environment import on_spaces

LOCAL = {"localhost", "127.0.0.1", "::1"}
EVERYWHERE = {"0.0.0.0", "::", ""}


class Hosts:
    """Which names are right.

    listening  address that the app listens on; none: this machine alone
    more       names besides
    """

    def __init__(self, listening: str | None = None, more: Iterable[str] = ()):
        self.names = LOCAL | {name.lower() for name in more}
        self.any_address = listening is not None and listening.strip("[]") in EVERYWHERE
        if self.any_address:
            self.names |= {socket.gethostname().lower(), f"{socket.gethostname().lower()}.local", socket.getfqdn().lower()}
        elif listening:
            self.names.add(listening.strip("[]").lower())
        self.is_space = on_spaces()  # its proxy has names of its own, and nothing else reaches the app

    def allow(self, url: str | None) -> None:
        """Lets the page be asked for under the name in an address, such as that of a public link."""
        self.names |= {hostname(url)} - {""} if url else set()

    def are_right(self, host: str) -> bool:
        """Whether a Host header names this app."""
        name = hostname(host)
        return self.is_space or name in self.names or (self.any_address and _is_address(name))

    def is_own_origin(self, origin: str, hosts: Iterable[str]) -> bool:
        """Whether a call comes from this app's own page; `hosts` are those that the call was sent to."""
        parts = urlsplit(origin if "://" in origin else f"null://{origin}")
        if parts.scheme not in ("http", "https"):
            return False
        named = {host.lower() for host in hosts}
        return parts.netloc.lower() in named or (parts.hostname or "") in self.names - LOCAL


def hostname(text: str) -> str:
    """The name in an address or in a Host header, without port and brackets; empty where there is none."""
    try:
        return (urlsplit(text if "://" in text else f"//{text}").hostname or "").lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
