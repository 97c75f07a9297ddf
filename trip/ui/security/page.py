"""The check that every call of a handler passes, whichever way it came: by the page's queue, /call, /run or MCP, public or private.

A handler gets files that its visitor uploaded or that were made for them, and who the visitor is from here and not from the call; what
a value breaks is told in one line. The middleware (`trip.ui.security.middleware`) comes before it and says who a request comes from.
"""

import html
import inspect
import logging
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.block_function import BlockFunction
from gradio.blocks import BlocksConfig
from gradio.routes import App
from gradio.utils import get_upload_folder, is_in_or_equal
from gradio_client import Client

from trip.jobs.visitor import Visitor
from trip.ui.security.hosts import AllowedHosts
from trip.ui.security.middleware import BROKEN, VISITOR, SecurityMiddleware
from trip.ui.security.visitors import VisitorRegistry
from trip.ui.sessions import SharedConfig

logger = logging.getLogger(__name__)

DEEPEST = 12  # values within values
FILE = {"_type": "gradio.FileData"}
UNFETCHED = "the file at that address could not be fetched, or a value does not fit; upload the file and give its path"
KEPT = ("orig_name", "size", "mime_type")  # of what a call says of a file, besides its path


class Page(gr.Blocks):
    """A page whose handlers get what their visitor may hand in, behind the security middleware.

    visitors  who is who
    serves    whether a visitor may fetch a file of a job, by its real path
    hosts     names of the app; set before the launch
    """

    def __init__(self, visitors: VisitorRegistry, serves: Callable[[Path, str], bool], **more: Any):
        self.visitors, self.hosts, self._serves = visitors, AllowedHosts(), serves
        self.visitor_component: gr.components.Component | None = None  # the value of this component is who asks
        self._tokens: dict[str, str] = {}
        super().__init__(**more)

    @property
    def default_config(self) -> SharedConfig:
        """Its components."""
        return self._config

    @default_config.setter
    def default_config(self, config: BlocksConfig) -> None:
        """Gradio sets it first of all."""
        self._config = SharedConfig(self)

    # the middleware

    @property
    def app(self) -> App:
        """The app that is served, with the middleware around it."""
        return self._app

    @app.setter
    def app(self, app: App) -> None:
        """Gradio sets it at the launch, before it starts."""
        app.add_middleware(SecurityMiddleware, page=self)
        self._app = app

    def serves(self, path: str, visitor: str) -> bool:
        """Whether a visitor may fetch a file by its real path, as a result of a job of theirs."""
        return self._serves(Path(path), visitor)

    def token_of(self, user: str) -> str:
        """A token as the login form gives one, for somebody whose password was right."""
        if self._tokens.get(user) not in self.app.tokens:
            self._tokens[user] = self.visitors.new_secret()
            self.app.tokens[self._tokens[user]] = user
        return self._tokens[user]

    def events(self) -> list[Any]:
        """What waits and runs in the queue."""
        waiting = [event for queue in self._queue.event_queue_per_concurrency_id.values() for event in queue.queue]
        return waiting + [event for job in self._queue.active_jobs if job for event in job]

    @property
    def own_session(self) -> str | None:
        """The session over which this app itself asks for what agents ask for."""
        agent = self.mcp_server_obj and self.mcp_server_obj._client_instance
        return agent.session_hash if agent else None

    def launch(self, *arguments: Any, **more: Any) -> Any:
        """Serves the page; what the page itself shows is everybody's."""
        self.visitors.publish(file["path"] for file in files_in(self.get_config_file()))
        launched = super().launch(*arguments, **more)
        self.hosts.allow(self.share_url)
        if self.mcp_server_obj:
            self.mcp_server_obj._get_or_create_client = self._agents_client
        return launched

    def _agents_client(self) -> Client:
        """As Gradio's, and logged in, with a name of its own."""
        server = self.mcp_server_obj
        if server._client_instance is None:
            secret = self.visitors.new_secret()
            cookies = {self.visitors.cookie: secret}
            if self.app.auth:
                user = next(iter(self.app.auth))
                cookies[f"access-token-unsecure-{self.app.cookie_id}"] = self.token_of(user)
            self._agents = self.visitors.known(secret)
            server._client_instance = Client(
                self.local_url, download_files=False, verbose=False, analytics_enabled=False, ssl_verify=False, _skip_components=False,
                headers={"x-gradio-user": "mcp"}, httpx_kwargs={"cookies": cookies},
            )  # fmt: skip
        return server._client_instance

    # calls of handlers

    async def process_api(self, block_fn: BlockFunction | int, inputs: list[Any], *arguments: Any, **more: Any) -> dict[str, Any]:
        """Gradio's, for what the visitor may hand in; every fault becomes one line."""
        function = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        visitor = visitor_of(more.get("request"), more.get("session_hash"))
        try:
            if more.get("iterator") is None:
                inputs = self._checked_inputs(function, inputs, visitor, more.get("session_hash"))
            outputs = await super().process_api(function, inputs, *arguments, **more)
        except gr.Error as error:
            raise _public_error(error.message, function) from None
        except Exception as error:  # noqa: BLE001  what a value breaks in here is nobody's to see
            frame = traceback.extract_tb(error.__traceback__)[-1]
            logger.warning("%s: %s in %s, line %s", function.api_name, type(error).__name__, Path(frame.filename).name, frame.lineno)
            is_fetched = any(_is_fetched(file["path"], function) for file in files_in(inputs))
            raise _public_error(UNFETCHED if is_fetched else BROKEN, function) from None
        self.visitors.grant(visitor, (file["path"] for file in files_in(outputs["data"])))
        return outputs

    def _checked_inputs(self, function: BlockFunction, inputs: list[Any], visitor: Visitor, session: str | None) -> list[Any]:
        """What a handler gets of what a call brings."""
        if not isinstance(inputs, list):
            raise gr.Error("wanted a list of values", print_exception=False)
        inputs = [*inputs, *_missing_inputs(function, len(inputs))]
        owners = [visitor, *([self._agents] if session is not None and session == self.own_session else [])]
        checked = []
        for block, value in zip(function.inputs, inputs, strict=False):
            checked.append(visitor if block is self.visitor_component else self._checked(value, owners, function))
        return checked + inputs[len(function.inputs) :]

    def _checked(self, value: Any, owners: list[str], function: BlockFunction, depth: int = 0) -> Any:
        """A value whose files are all the visitor's, in the form in which Gradio checks them once more."""
        if depth > DEEPEST:
            raise gr.Error("wanted values that are not so deep within each other", print_exception=False)
        if isinstance(value, str):
            if any("\ud800" <= letter <= "\udfff" for letter in value):
                raise gr.Error("wanted text, got half of a letter (a lone surrogate); correct it", print_exception=False)
            return value
        if isinstance(value, list | tuple):
            return [self._checked(one, owners, function, depth + 1) for one in value]
        if not isinstance(value, dict):
            return value
        if "path" in value:
            return self._checked_file(value, owners, function)
        within = depth + 1
        return {self._checked(key, owners, function, within): self._checked(one, owners, function, within) for key, one in value.items()}

    def _checked_file(self, file: dict[str, Any], owners: list[str], function: BlockFunction) -> dict[str, Any]:
        path = file["path"]
        is_own = isinstance(path, str) and "\0" not in path and is_in_or_equal(path, get_upload_folder())
        if not (is_own and any(self.visitors.may_read(owner, path) for owner in owners)) and not _is_fetched(path, function):
            raise gr.Error("wanted a file that you uploaded or made here, got another; upload it first", print_exception=False)
        checked_file = {name: file[name] for name in KEPT if isinstance(file.get(name), str | int)}
        return {**checked_file, "path": path, "url": None, "is_stream": False, "meta": FILE}


def visitor_of(request: Any, session: str | None = None) -> Visitor:
    """Who asks, as the middleware has said.

    request  Gradio's request, or where an agent asks, that of the server
    """
    inner = getattr(request, "request", request)
    known: Visitor | None = getattr(inner, "scope", {}).get(VISITOR)
    if not known:
        raise gr.Error("who asks is not known; reload the page, and allow cookies", print_exception=False)
    return Visitor(known, known.address, session or getattr(request, "session_hash", None) or "")


def files_in(value: Any) -> Iterator[dict[str, Any]]:
    """All files that a value tells of."""
    if isinstance(value, dict):
        if isinstance(value.get("path"), str):
            yield value
        for one in value.values():
            yield from files_in(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from files_in(one)


def _is_fetched(path: Any, function: BlockFunction) -> bool:
    """Whether it is an address that Gradio fetches from elsewhere before a handler is called; only endpoints take those."""
    return function.api_visibility == "public" and isinstance(path, str) and path.startswith(("http://", "https://"))


def _missing_inputs(function: BlockFunction, count: int) -> list[Any]:
    """Values for the last inputs, for programs that do not know of them yet."""
    missing = function.inputs[count:]
    if not missing or not count:
        return []
    defaults = {name: one.default for name, one in inspect.signature(function.fn).parameters.items()}
    by_position = [None if value is inspect.Parameter.empty else value for value in defaults.values()]
    if function.api_visibility == "public":
        return by_position[count : len(function.inputs)]
    return [getattr(block, "value", None) for block in missing]


def _public_error(message: Any, function: BlockFunction) -> gr.Error:
    """An error for the page, which shows it as HTML, or for a program."""
    line = " ".join(str(message).split())
    return gr.Error(line if function.api_visibility == "public" else html.escape(line, quote=False), print_exception=False)
