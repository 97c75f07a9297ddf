"""The ASGI middleware that every request comes through before Gradio sees it.

It asks, in this order: is this app meant (Host), is it our own page that asks (Origin), is the route one that the page needs, who is it,
is the login there, and is it within the visitor's share. Files are served to those whose they are. What a call has the server do is
looked at once more by the page (`trip.ui.security.page`), which every way to call a handler leads through.
"""

import asyncio
import json
import logging
import os
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from gradio.route_utils import FnIndexInferError
from starlette.requests import cookie_parser

from trip.jobs.visitor import Visitor
from trip.system.environment import on_spaces
from trip.ui.security.logins import LoginThrottle
from trip.ui.security.visitors import QuotaExceeded

if TYPE_CHECKING:
    from trip.ui.security.page import Page

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

API, MCP = "/gradio_api/", "/gradio_api/mcp"
VISITOR = "trip.visitor"  # in the scope of a request
BROKEN = "this call does not fit the page; reload the page and try again"
OPEN = ("/static/", "/assets/", "/svelte/", "/pwa_icon")  # the page's own parts
OPEN_PAGES = {"/", "/config", "/login", "/logout", "/theme.css", "/robots.txt", "/favicon.ico", "/manifest.json"}
OPEN_CALLS = {"user", "login_check", "app_id", "startup-events", "theme.css"}
CALLS = OPEN_CALLS | {"info", "openapi.json", "queue/join", "queue/data", "queue/status", "upload", "upload_progress", "cancel", "reset"}
CALLS_BELOW = ("run/", "api/", "call/", "heartbeat/", "file=", "mcp")
MOST_BODY, MOST_MCP_BODY, MOST_LOGIN_BODY = 4 * 2**20, 48 * 2**20, 2**20  # bytes
MOST_UPLOAD = 400 * 2**20  # bytes of all files of one upload
MOST_UPLOADS_EACH, MOST_UPLOADS_ADDRESS = 6, 60  # at once
MOST_CALLS_EACH, MOST_CALLS_ADDRESS = 40, 400  # that wait or run
MOST_SLOW_EACH = 6  # of one kind that others wait for
IDLE_SECONDS, UPLOAD_SECONDS = 30, 600  # between two parts of an upload, and in all
LONGEST_SESSION = 64
YEAR = 365 * 24 * 3600


class RequestRefused(Exception):
    """A request that is not let in: an HTTP status, and why, in one line."""

    def __init__(self, status: int, line: str, **headers: str):
        super().__init__(line)
        self.status, self.line, self.headers = status, line, headers


class SecurityMiddleware:
    """ASGI middleware around the app of a page."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], page: "Page"):
        self.app, self.page, self.visitors = app, page, page.visitors
        self.logins = LoginThrottle()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request in, or answers why not."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return None  # the page has no web sockets
        response = Response(send)
        try:
            await self._handle(scope, receive, response)
        except RequestRefused as refusal:
            await response.refuse(refusal)
        except QuotaExceeded as refusal:
            await response.refuse(RequestRefused(429, str(refusal)))
        except FnIndexInferError:
            await response.refuse(RequestRefused(404, "there is no such endpoint; look at the page's list of endpoints"))
        except Exception as error:  # noqa: BLE001  what a request breaks in Gradio is nobody's to see
            frame = traceback.extract_tb(error.__traceback__)[-1]
            logger.warning("%s: %s in %s, line %s", scope["path"][:100], type(error).__name__, Path(frame.filename).name, frame.lineno)
            await response.refuse(RequestRefused(500, BROKEN))

    async def _handle(self, scope: Scope, receive: Receive, response: "Response") -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        self._check_names(headers)
        address = self.visitors.address((scope.get("client") or ("",))[0])
        route, cookies = route_of(scope["path"]), cookie_parser(headers.get("cookie", ""))
        self._check_login(scope, headers, cookies, address, route)
        visitor = self._identify(scope, response, headers, cookies, address, route)
        if scope["path"].rstrip("/") == "/login" and scope["method"] == "POST":
            try:
                body = await _body(_with_timeout(receive), MOST_LOGIN_BODY)  # whole, before it counts as the address's one try
            except TimeoutError:
                raise RequestRefused(408, "the login stood still; try again") from None
            with self.logins.trying(address):
                await self.app(scope, _replayed(body, receive), response)
                self.logins.count(address, response.status)
        elif route is None:
            await self.app(scope, receive, response)
        else:
            await self._forward(scope, receive, response, headers, visitor, route)

    def _check_names(self, headers: dict[str, str]) -> None:
        """The request is meant for this app, and comes from its own page or from no page."""
        forwarded = headers.get("x-forwarded-host", "").partition(",")[0].strip()
        named = [headers.get("host", ""), *([forwarded] if forwarded else [])]
        if not all(map(self.page.hosts.allows, named)):
            raise RequestRefused(400, "this app is not known by that name; start it with --allowed-host NAME")
        if "origin" in headers and not self.page.hosts.is_own_origin(headers["origin"], named):
            raise RequestRefused(403, "another website's page may not call this app")

    def _check_login(self, scope: Scope, headers: dict[str, str], cookies: dict[str, str], address: str, route: str | None) -> None:
        """Where a login is asked for, all but the page that asks for it needs one: its cookie, or name and password (HTTP Basic)."""
        app = self.page.app
        if app.auth is None:
            return
        names = [f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}"]
        if any(cookies.get(name) in app.tokens for name in names):
            return
        if headers.get("authorization", "").startswith("Basic "):
            with self.logins.trying(address):
                user = self.logins.by_password(headers["authorization"], app.auth)
                self.logins.count(address, 200 if user else 401)
            if user:
                cookies[names[1]] = self.page.token_of(user)
                return _put_cookies(scope, cookies)
        if route is not None and route not in OPEN_CALLS:
            asked = {"www-authenticate": 'Basic realm="TRIP"'} if route.startswith("mcp") else {}
            raise RequestRefused(401, "log in first: the right name and password are needed", **asked)
        return None

    def _identify(
        self, scope: Scope, response: "Response", headers: dict[str, str], cookies: dict[str, str], address: str, route: str | None
    ) -> Visitor:
        """Who it is, by the secret that comes along; who brings none gets one."""
        agent = route is not None and route.startswith("mcp")
        fetches = route is not None and route.startswith("file=")  # an agent, too, fetches what it was given the address of
        brought = [cookies.get(self.visitors.cookie), headers.get("mcp-session-id") if agent or fetches else None]
        secret = next(filter(self.visitors.known, brought), None)
        if (is_new := secret is None) and not scope["path"].startswith(OPEN):
            secret = self.visitors.new_secret()
        if secret and (is_new or scope["path"] == "/"):
            is_safe = scope.get("scheme") == "https" or headers.get("x-forwarded-proto") == "https"
            response.keep(self.visitors.cookie, secret, is_safe)
            response.more |= {"mcp-session-id": secret} if agent else {}
        if agent:  # what an agent asks for is asked once more by this app itself, with the headers that came
            _put_cookies(scope, {**cookies, self.visitors.cookie: secret})
        visitor = scope[VISITOR] = Visitor(self.visitors.known(secret) or "", address)
        if route is not None and route not in OPEN_CALLS:
            self.visitors.register(visitor)
        return visitor

    async def _forward(
        self, scope: Scope, receive: Receive, response: "Response", headers: dict[str, str], visitor: Visitor, route: str
    ) -> None:
        """To Gradio, as far as the files and the sessions are the visitor's, and within the visitor's share."""
        if route.startswith("file="):
            self._check_file(route.removeprefix("file="), visitor)
            response.more["x-content-type-options"] = "nosniff"
        query = parse_qs(scope["query_string"].decode("latin-1"))
        for session in [*query.get("session_hash", []), *([route.removeprefix("heartbeat/")] if route.startswith("heartbeat/") else [])]:
            self._check_session(session, visitor)
        if scope["method"] != "POST":
            await self.app(scope, receive, response)
        elif route == "upload":
            await self._take_upload(scope, receive, response, headers, visitor)
        else:
            await self._take_call(scope, receive, response, visitor, route)

    def _check_file(self, path: str, visitor: Visitor) -> None:
        real = os.path.realpath(path) if "\0" not in path else ""
        if not (self.visitors.may_read(visitor, real) or self.page.serves(real, visitor)):
            raise RequestRefused(403, "there is no such file of yours")

    def _check_session(self, session: object, visitor: Visitor) -> None:
        if session is None:
            return
        if not isinstance(session, str) or not 0 < len(session) <= LONGEST_SESSION:
            raise RequestRefused(400, f"wanted a session_hash of 1 to {LONGEST_SESSION} characters")
        if session != self.page.own_session and not self.visitors.owns_session(session, visitor):
            raise RequestRefused(403, "this session is somebody else's; reload the page, and allow cookies")

    async def _take_upload(self, scope: Scope, receive: Receive, response: "Response", headers: dict[str, str], visitor: Visitor) -> None:
        """Uploads of a known size, so many at once, that do not stand still; what came is the visitor's from then on."""
        length = headers.get("content-length", "")
        if not length.isdecimal():
            raise RequestRefused(411, "wanted an upload that says its size (Content-Length)")
        if int(length) > MOST_UPLOAD:
            raise RequestRefused(413, f"wanted at most {MOST_UPLOAD >> 20} MB in one upload, got {int(length) >> 20} MB; send fewer files")
        self.visitors.spend_upload(visitor, int(length), self.page.app.uploaded_file_dir)
        _put(scope, "accept-encoding", "identity")  # the answer is read here
        with self._limit(("uploads", visitor, MOST_UPLOADS_EACH), ("uploads", visitor.address, MOST_UPLOADS_ADDRESS)):
            try:
                async with asyncio.timeout(UPLOAD_SECONDS):
                    status, body = await response.buffered(lambda buffered: self.app(scope, _with_timeout(receive), buffered))
            except TimeoutError:
                raise RequestRefused(408, "the upload stood still; try again") from None
            if status == 413:  # Gradio's own words tell neither what was wanted in a unit for people nor what to do
                raise RequestRefused(
                    413, f"wanted files of at most {self.page.max_file_size >> 20} MB each, got a larger one; send smaller ones"
                )
            if status == 200:
                self.visitors.grant(visitor, [path for path in json.loads(body) if isinstance(path, str)])
            await response.flush()

    async def _take_call(self, scope: Scope, receive: Receive, response: "Response", visitor: Visitor, route: str) -> None:
        """Calls of a bounded size, of the visitor's own session, so many at once."""
        if route.startswith("mcp"):
            body = await _body(receive, MOST_MCP_BODY)
            with self._limit(("calls", visitor, MOST_CALLS_EACH), ("calls", visitor.address, MOST_CALLS_ADDRESS)):
                return await self.app(scope, _replayed(body, receive), response)
        body = await _body(receive, MOST_BODY)
        try:
            said = json.loads(body) if body else {}
        except ValueError:
            raise RequestRefused(400, "wanted JSON") from None
        if not isinstance(said, dict):
            raise RequestRefused(400, "wanted a JSON object")
        session = said.get("session_hash")
        self._check_session(session, visitor)
        if route.startswith(("queue/join", "call/")):
            self._check_queue(visitor, said.get("fn_index"), session)
            return await self.app(scope, _replayed(body, receive), response)
        with self._limit(("calls", visitor, MOST_CALLS_EACH), ("calls", visitor.address, MOST_CALLS_ADDRESS)):
            return await self.app(scope, _replayed(body, receive), response)

    def _check_queue(self, visitor: Visitor, function: object, session: object) -> None:
        """Nobody fills the queue of the page's events for others."""
        if session == self.page.own_session and session is not None:
            return  # counted as the agent's request
        events = [event for event in self.page.events() if event.request is not None]
        own = [event for event in events if event.request.scope.get(VISITOR) == visitor]
        same = [event for event in own if event.fn._id == function and event.fn.concurrency_limit is not None]
        if len(own) >= MOST_CALLS_EACH or len(same) >= MOST_SLOW_EACH:
            raise QuotaExceeded("you have asked for much that is still under way; wait until some of it has ended")
        if sum(_address(event) == visitor.address for event in events) >= MOST_CALLS_ADDRESS:
            raise QuotaExceeded("much that your address asked for is still under way; wait until some of it has ended")

    def _limit(self, *limits: tuple[str, str, int]) -> "ConcurrencyLimit":
        return ConcurrencyLimit(self.visitors, limits)


class ConcurrencyLimit:
    """So many of a kind at once, of a visitor and of an address; QuotaExceeded beyond that."""

    def __init__(self, visitors: Any, limits: tuple[tuple[str, str, int], ...]):
        self.visitors, self.limits, self.begun = visitors, limits, []

    def __enter__(self) -> None:
        for kind, owner, most in self.limits:
            if not self.visitors.acquire(f"{kind} {owner}", most):
                self.__exit__()
                raise QuotaExceeded(f"too many {kind} at once; wait until some have ended")
            self.begun.append(f"{kind} {owner}")

    def __exit__(self, *_: object) -> None:
        while self.begun:
            self.visitors.release(self.begun.pop())


class Response:
    """What is sent back, with the headers that the middleware adds; what was not begun can still become a refusal."""

    def __init__(self, send: Send):
        self.send, self.status, self.more = send, 0, {}
        self._cookie: str | None = None
        self._buffer: list[Message] | None = None

    def keep(self, name: str, value: str, is_safe: bool) -> None:
        """Has the browser keep a cookie that scripts cannot read, and that other websites' pages do not send along.

        A page of Spaces lies in a frame of another website, which needs it all the same.
        """
        framed = on_spaces()
        site = "SameSite=None; Partitioned" if framed else "SameSite=Lax"
        self._cookie = f"{name}={value}; Path=/; Max-Age={YEAR}; HttpOnly; {site}{'; Secure' if is_safe or framed else ''}"

    async def __call__(self, message: Message) -> None:
        """An ASGI `send`."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [(name, _with_samesite(name, value)) for name, value in message.get("headers", [])]
            headers += [(name.encode(), value.encode()) for name, value in self.more.items()]
            headers += [(b"set-cookie", self._cookie.encode())] if self._cookie else []
            message = {**message, "headers": headers}
        if self._buffer is not None:
            self._buffer.append(message)
        else:
            await self.send(message)

    async def buffered(self, serve: Callable[[Send], Awaitable[None]]) -> tuple[int, bytes]:
        """Status and body of an answer that is not sent before `flush`."""
        self._buffer = []
        await serve(self)
        return self.status, b"".join(message.get("body", b"") for message in self._buffer)

    async def flush(self) -> None:
        """Sends what was held."""
        messages, self._buffer = self._buffer or [], None
        for message in messages:
            await self.send(message)

    async def refuse(self, refusal: RequestRefused) -> None:
        """Answers with a line, where nothing was sent yet."""
        started, self._buffer = self.status and self._buffer is None, None
        if started:
            return
        body = json.dumps({"error": refusal.line, "detail": refusal.line}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        headers += [(name.encode(), value.encode()) for name, value in refusal.headers.items()]
        await self({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await self({"type": "http.response.body", "body": body})


def route_of(path: str) -> str | None:
    """What of Gradio's calls a path names; none for a part of the page. Refused where the page needs no such route."""
    if path in OPEN_PAGES or path.rstrip("/") in OPEN_PAGES or path.startswith(OPEN):
        return None
    if path.startswith(API):
        route = path.removeprefix(API)
        if route.startswith("file="):
            return route
        route = route.rstrip("/")
        if route in CALLS or route.startswith(CALLS_BELOW):
            return route
    raise RequestRefused(404, "there is no such page")


def _put_cookies(scope: Scope, cookies: dict[str, str]) -> None:
    _put(scope, "cookie", "; ".join(f"{name}={value}" for name, value in cookies.items()))


def _put(scope: Scope, name: str, value: str) -> None:
    """Sets a header of a request."""
    kept = [(key, old) for key, old in scope["headers"] if key.lower() != name.encode()]
    scope["headers"] = [*kept, (name.encode(), value.encode("latin-1", "replace"))]


def _with_samesite(name: bytes, value: bytes) -> bytes:
    """A header of Gradio's; its login cookie goes along with the calls of this app's own pages alone."""
    if name.lower() != b"set-cookie" or on_spaces():
        return value
    parts = [part for part in value.split(b";") if not part.strip().lower().startswith(b"samesite")]
    return b"; ".join([*(part.strip() for part in parts), b"SameSite=Lax"])


async def _body(receive: Receive, most: int) -> bytes:
    """The whole body of a request; RequestRefused where it is too long."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestRefused(400, "the call was broken off")
        parts.append(message.get("body", b""))
        if (size := size + len(parts[-1])) > most:
            raise RequestRefused(413, f"wanted at most {most >> 20} MB in one call; upload files first")
        if not message.get("more_body"):
            return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A body that was read, to be read once more, and then what else comes."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def once_more() -> Message:
        return waiting.pop() if waiting else await receive()

    return once_more


def _with_timeout(receive: Receive) -> Receive:
    """The same, but TimeoutError where nothing comes for long."""

    async def in_time() -> Message:
        return await asyncio.wait_for(receive(), IDLE_SECONDS)

    return in_time


def _address(event: Any) -> str:
    return getattr(event.request.scope.get(VISITOR), "address", "")
