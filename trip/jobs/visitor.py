"""Who asks for jobs. The id is what is stored; the secret that proves it stays with the visitor (`trip.ui.security.visitors` makes it)."""

import hashlib
from typing import Self

ADDRESSLESS = ""  # of what was asked for from this machine itself, or before addresses were kept


class Visitor(str):
    """A visitor's id, and where the call comes from, by which work is shared out.

    address  stands for a network address, and does not tell it
    session  stands for one open page or program
    """

    address: str
    session: str

    def __new__(cls, name: str, address: str = ADDRESSLESS, session: str = "") -> Self:
        made = super().__new__(cls, name)
        made.address, made.session = address, session
        return made


def id_of_word(word: str) -> str:
    """The id of a visitor who is known by a secret word: what is stored does not tell the word."""
    return hashlib.sha256(f"visitor {word}".encode(errors="surrogatepass")).hexdigest()[:32]


def address_of(visitor: object) -> str:
    """The address that somebody asks from; ADDRESSLESS where none is known."""
    return getattr(visitor, "address", ADDRESSLESS)
