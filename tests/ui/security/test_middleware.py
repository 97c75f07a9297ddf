"""What a stranger can do to a shared page: every event and endpoint of the built page is called with what is not theirs."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from gradio.utils import get_upload_folder
from gradio_client import Client, handle_file
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount

from trip import ui
from trip.jobs.store import Job, State
from trip.jobs.visitor import Visitor
from trip.settings import AnimateSettings
from trip.ui.security.middleware import VISITOR
from trip.ui.security.page import Page, files_in
from trip.ui.studio import Studio

ROOT = Path(__file__).parents[3]
PHOTO = ROOT / "examples" / "coffee.jpg"
SECRET = b"nobody else may read this"
SHORT = AnimateSettings(num_steps=1, num_frames=2, guidance_scale=1, prompt="theirs")
FILE = {"_type": "gradio.FileData"}
LOGIN = ("trip", "a right password")


@dataclass
class Served:
    """A page that is served, and a visitor who has a job and an upload there."""

    page: Page
    studio: Studio
    url: str

    def caller(self, **more: Any) -> "Caller":
        return Caller(httpx.Client(base_url=self.url, trust_env=False, timeout=60, **more))


@dataclass
class Caller:
    """Somebody who calls the page; the cookie is kept."""

    http: httpx.Client
    session: str = ""

    def __post_init__(self):
        self.session = f"session{id(self)}"
        self.config = self.http.get("/config").json()

    def upload(self, data: bytes, name: str = "photo.png") -> str:
        answer = self.http.post("/gradio_api/upload", files={"files": (name, data)})
        assert answer.status_code == 200, answer.text
        return answer.json()[0]

    def run(self, function: int | str, data: Any, **more: Any) -> httpx.Response:
        named = {"fn_index": function} if isinstance(function, int) else {}
        body = {"data": data, "session_hash": self.session, **named, **more}
        name = function if isinstance(function, str) else "any"
        return self.http.post(
            f"/gradio_api/run/{name}", content=json.dumps(body).encode(errors="surrogatepass"), headers={"content-type": "application/json"}
        )

    def join(self, function: int, data: list[Any]) -> dict[str, Any]:
        """The end of a call that goes by the queue, or its refusal."""
        answer = self.http.post("/gradio_api/queue/join", json={"data": data, "fn_index": function, "session_hash": self.session})
        if answer.status_code != 200:
            return answer.json()
        with self.http.stream("GET", f"/gradio_api/queue/data?session_hash={self.session}") as lines:
            for line in lines.iter_lines():
                if line.startswith("data:") and (said := json.loads(line[5:]))["msg"] == "process_completed":
                    return said["output"]
        raise AssertionError("no end was told")

    def named(self, name: str) -> int:
        return next(one["id"] for one in self.config["dependencies"] if one["api_name"] == name)


def serving(studio: Studio, **more: Any) -> tuple[Page, str]:
    page = ui.build(studio).queue(max_size=1000)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    page.launch(server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, quiet=True, **more, **ui.launch_options(studio))
    return page, f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def served(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("cache")))
        studio = Studio(str(tiny_model), tmp_path_factory.mktemp("app") / "outputs")
        page, url = serving(studio)
        yield Served(page, studio, url)
        page.close()
        studio.close()


@pytest.fixture(scope="module")
def guarded(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    studio = Studio(str(tiny_model), tmp_path_factory.mktemp("guarded") / "outputs")
    page, url = serving(studio, auth=LOGIN)
    yield Served(page, studio, url)
    page.close()
    studio.close()


@dataclass
class Owner:
    """A visitor with an upload, a finished job, and what must not be read of them."""

    caller: Caller
    upload: str
    job: Job
    folder: Path


@pytest.fixture(scope="module")
def owner(served: Served) -> Owner:
    caller = served.caller()
    upload = caller.upload(SECRET, "secret.txt")
    photo = caller.upload(PHOTO.read_bytes(), "mine.jpg")
    answer = caller.run("control_map", [{"path": photo, "meta": FILE}, "canny", 100, 200, "not a size"])
    assert "must be a whole number" in answer.json()["error"]  # the upload passed
    visitor = served.page.visitors.known(caller.http.cookies[served.page.visitors.cookie])
    job = served.studio.animate(visitor, str(PHOTO), SHORT)
    served.studio.worker.work_until(job.id)
    job = served.studio.store.get(job.id)
    assert job.state == State.DONE, job.error
    return Owner(caller, upload, job, served.studio.store.folder_of(job))


def shapes(path: Any) -> list[Any]:
    """One path in all forms in which a call may say it."""
    plain, answer = {"path": path}, {"path": path, "meta": FILE}
    return [
        plain,
        answer,
        path,
        {"path": path, "meta": {}, "url": f"/gradio_api/file={path}"},
        {**answer, "is_stream": True},
        {**answer, "url": "http://127.0.0.1:1/x.png", "orig_name": "a.png"},
        [answer],
        {"photo": plain, "aspect": 1, "box": None},
        {"composite": plain, "background": answer, "layers": [plain], "id": None},
        {"value": answer, "__type__": "update"},
    ]


def paths(served: Served, owner: Owner) -> list[Any]:
    outputs = served.studio.outputs
    return [
        str(outputs / "jobs.sqlite"),
        str(outputs / "visitors.key"),
        str(outputs / "jobs" / ".." / "jobs.sqlite"),
        str(owner.folder / "job.json"),
        str(owner.folder / owner.job.result["clip"]),
        owner.upload,
        f"{Path(owner.upload).parent}/./{Path(owner.upload).name}",
        "README.md",
        "/etc/hostname",
        "/proc/self/environ",
        "file:///etc/hostname",
        f"{Path(owner.upload).parent}/\0",
        ["app.py"],
        7,
    ]


def is_one_line(answer: Any, sent: Any = "") -> bool:
    """A refusal is a line for people: no traceback, no folder of this machine besides what was sent."""
    said = answer.get("error") or answer.get("detail") or ""
    said = said if isinstance(said, str) else json.dumps(said)
    for length in range(len(sent), 20, -1) if isinstance(sent, str) else []:  # a refusal may repeat some of it
        said = said.replace(sent[:length], "")
    return "\n" not in said and "Traceback" not in said and str(ROOT) not in said and "/tmp/" not in said


def functions(caller: Caller) -> list[dict[str, Any]]:
    return [one for one in caller.config["dependencies"] if one["backend_fn"]]


def test_the_walk_reaches_all_of_the_page(served):
    names = {one["api_name"] for one in functions(served.caller())}
    assert {"animate", "fine_tune", "control_map", "place_crop", "run_clip", "take_in", "refresh", "before_and_after", "push"} <= names
    assert len(names) > 60


def what_is_not_theirs(served: Served, owner: Owner, turn: int) -> Iterator[tuple[Any, Any]]:
    """Each path in one shape, another one at each turn, so that in the end each met each; and one path in every shape."""
    for index, path in enumerate(paths(served, owner)):
        yield path, shapes(path)[(index + turn) % len(shapes(path))]
    for value in shapes(owner.upload):
        yield owner.upload, value


def test_no_event_and_no_endpoint_takes_a_file_of_others(served, owner):
    stranger, tried = served.caller(), 0
    before = len(served.studio.store.jobs())
    for turn, function in enumerate(one for one in functions(stranger) if one["inputs"]):
        for path, value in what_is_not_theirs(served, owner, turn):
            answer = stranger.run(function["id"], [value] * len(function["inputs"]))
            tried += 1
            assert answer.status_code in (200, 500), answer.text
            assert SECRET not in answer.content and b"SQLite format" not in answer.content
            assert is_one_line(answer.json(), path), (function["api_name"], value, answer.text)
            for file in files_in(answer.json().get("data")):
                assert Path(file["path"]).name not in {Path(str(path)).name, "hostname", "environ"}, (function["api_name"], value)
    assert tried > 1500
    assert len(served.studio.store.jobs()) == before


@pytest.mark.parametrize(
    "name", ["place_crop", "run_clip", "restore", "take_in", "animate", "edit_and_animate", "control_map", "fine_tune"]
)
def test_nor_does_the_queue(served, owner, name):
    stranger = served.caller()
    function = next(one for one in functions(stranger) if one["api_name"] == name)
    for path in (owner.upload, str(served.studio.outputs / "jobs.sqlite")):
        for value in shapes(path):
            answer = stranger.join(function["id"], [value] * len(function["inputs"]))
            assert answer.get("error") and is_one_line(answer, path)
    if name in ("animate", "control_map", "fine_tune", "edit_and_animate"):
        body = {"data": [{"path": owner.upload, "meta": FILE}] + [None] * (len(function["inputs"]) - 1)}
        event = stranger.http.post(f"/gradio_api/call/{name}", json=body).json()["event_id"]
        answer = stranger.http.get(f"/gradio_api/call/{name}/{event}").text
        assert answer.startswith("event: error") and "wanted a file that you uploaded" in answer


ODD = [
    None,
    "",
    "x" * 100_000,
    0,
    -1,
    1e308,
    float("nan"),
    True,
    [],
    {},
    [[[[]]]],
    {"a": {"b": [None]}},
    "\ud800",
    "<img src=x onerror=alert(1)>",
]


def test_odd_values_are_answered_in_one_line(served, caplog):
    """Each value as often as the handler takes one; and too many and too few of another one at each turn."""
    stranger = served.caller()
    for turn, function in enumerate(functions(stranger)):
        count, other = len(function["inputs"]), ODD[turn % len(ODD)]
        for value, number in [*((value, count) for value in ODD), (other, count + 3), (other, max(0, count - 1))]:
            answer = stranger.run(function["id"], [value] * number)
            assert answer.status_code in (200, 500), (function["api_name"], value, answer.text)
            assert is_one_line(answer.json()), (function["api_name"], value, answer.text)
            if function["api_visibility"] == "private" and answer.status_code == 500:
                assert "<img" not in answer.json()["error"]
    assert "Traceback" not in caplog.text


def test_a_file_is_served_to_its_owner_alone_and_of_the_kinds_that_the_page_offers(served, owner):
    stranger = served.caller()
    clip = f"/gradio_api/file={owner.folder / owner.job.result['clip']}"
    assert owner.caller.http.get(clip).status_code == 200
    assert owner.caller.http.get(f"/gradio_api/file={owner.upload}").content == SECRET
    for path in (owner.folder / owner.job.result["clip"], owner.upload, owner.folder / "photo.png"):
        assert stranger.http.get(f"/gradio_api/file={path}").status_code == 403
    for caller in (owner.caller, stranger):
        for name in ("job.json", "log.txt", "inside.npz", "../../jobs.sqlite", "../../visitors.key"):
            answer = caller.http.get(f"/gradio_api/file={owner.folder}/{name}")
            assert answer.status_code in (403, 404) and owner.job.visitor not in answer.text
    assert (owner.folder / "job.json").exists() and (owner.folder / "inside.npz").exists()
    for address in ("http://127.0.0.1/", "https://example.org/a.png", "/etc/hostname", "README.md"):
        assert stranger.http.get(f"/gradio_api/file={address}").status_code == 403


def test_nothing_of_a_visitors_secret_is_stored(served, owner):
    secret = owner.caller.http.cookies[served.page.visitors.cookie]
    for path in served.studio.outputs.rglob("*"):
        if path.is_file():
            assert secret.partition(".")[0].encode() not in path.read_bytes(), path.name


def test_a_forged_or_foreign_secret_is_replaced(served, owner):
    right = owner.caller.http.cookies[served.page.visitors.cookie]
    word, _, signature = right.partition(".")
    for forged in (f"{word}.{signature[::-1]}", f"{word}x.{signature}", word, "me", "x" * 5000, ".", f"{word}.{signature}é"):
        answer = httpx.get(served.url, headers={b"cookie": f"{served.page.visitors.cookie}={forged}".encode()}, trust_env=False)
        given = answer.cookies[served.page.visitors.cookie]
        assert served.page.visitors.known(given) not in (None, owner.job.visitor)
    cookie = owner.caller.http.get("/").headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie


def test_who_brings_no_secret_is_somebody_new_each_time(served, owner):
    jobs = [httpx.post(f"{served.url}/gradio_api/run/jobs", json={"data": []}, trust_env=False).json()["data"][0] for _ in range(2)]
    assert jobs == [[], []]
    assert [job["id"] for job in owner.caller.run("jobs", []).json()["data"][0]] == [owner.job.id]


def test_a_visitor_is_who_the_door_says_and_not_who_the_call_says(served, owner):
    stranger = served.caller()
    answer = stranger.run(stranger.named("refresh"), [owner.job.visitor, owner.job.id, []])
    assert owner.job.id not in answer.text and owner.job.result["clip"] not in answer.text
    assert owner.job.result["clip"] in owner.caller.run(stranger.named("refresh"), ["somebody else", owner.job.id, []]).text


def test_a_session_is_its_visitors_alone(served, owner):
    owner.caller.run("jobs", [])
    stranger = served.caller()
    stranger.session = owner.caller.session
    assert stranger.run("jobs", []).status_code == 403
    for route in (f"queue/data?session_hash={owner.caller.session}", f"heartbeat/{owner.caller.session}"):
        assert stranger.http.get(f"/gradio_api/{route}").status_code == 403
    for route in ("cancel", "reset", "queue/join"):
        body = {"session_hash": owner.caller.session, "fn_index": 0, "event_id": "x", "data": []}
        assert stranger.http.post(f"/gradio_api/{route}", json=body).status_code == 403
    for session in ("x" * 65, "", 7, {}):
        assert stranger.http.post("/gradio_api/run/jobs", json={"data": [], "session_hash": session}).status_code == 400


# agents


@pytest.fixture
def agents(served: Served, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands where Gradio's server for agents does: it tells what reached it."""

    async def tell(scope, receive, send):
        await JSONResponse({"cookie": Request(scope).headers.get("cookie", "")})(scope, receive, send)

    served.page.app.router.routes.insert(0, Mount("/gradio_api/mcp", app=tell))
    server = SimpleNamespace(_client_instance=None)
    monkeypatch.setattr(served.page, "mcp_server_obj", server)
    yield server
    served.page.app.router.routes.pop(0)


def test_each_agent_gets_a_session_of_its_own_and_is_known_by_it(served, agents):
    def call(**headers: str) -> httpx.Response:
        return httpx.post(f"{served.url}/gradio_api/mcp/", json={}, headers=headers, trust_env=False)

    one, other = call(), call()
    assert one.headers["mcp-session-id"] != other.headers["mcp-session-id"]
    mine = {"mcp-session-id": one.headers["mcp-session-id"]}
    upload = Path(get_upload_folder()) / "for an agent.png"
    upload.write_bytes(SECRET)
    served.page.visitors.grant(served.page.visitors.known(mine["mcp-session-id"]), [str(upload)])
    for headers, status in ((mine, 200), ({}, 403), ({"mcp-session-id": other.headers["mcp-session-id"]}, 403)):
        answer = httpx.get(f"{served.url}/gradio_api/file={upload}", headers=headers, trust_env=False)
        assert answer.status_code == status, headers
    again = call(**mine)
    assert one.headers["mcp-session-id"] in again.json()["cookie"] and "mcp-session-id" not in again.headers
    forged = call(**{"mcp-session-id": "made up"})
    assert "made up" not in forged.json()["cookie"] and forged.headers["mcp-session-id"]


def test_what_an_agent_asks_for_is_the_agents(served, agents):
    """As Gradio does it: what waits is asked for by a client of the app itself, with the agent's headers; the rest is called directly."""
    client = served.page._agents_client()
    secrets = [served.page.visitors.new_secret() for _ in range(2)]
    job_ids = []
    for secret in secrets:
        job = client.submit(
            handle_file(PHOTO), "canny", api_name="/control_map", headers={"cookie": f"{served.page.visitors.cookie}={secret}"}
        )
        visitor = served.page.visitors.known(secret)
        end = time.monotonic() + 60
        while not (found := served.studio.store.jobs(visitor)):
            assert time.monotonic() < end, job.exception(1)
            time.sleep(0.05)
        served.studio.worker.work_until(found[0].id)
        assert job.result(60)[0]
        job_ids.append(found[0].id)
    for secret, job_id in zip(secrets, job_ids, strict=True):
        scope = {"type": "http", "headers": [], VISITOR: Visitor(served.page.visitors.known(secret))}
        jobs = next(one for one in served.page.fns.values() if one.api_name == "jobs")
        answer = asyncio.run(served.page.process_api(block_fn=jobs, inputs=[], state=None, request=Request(scope)))
        assert [job["id"] for job in answer["data"][0]] == [job_id]


# login and network


@pytest.mark.parametrize(
    "route", ["mcp/", "mcp/sse", "mcp/schema", "info", "queue/data?session_hash=a", "file=/etc/hostname", "heartbeat/abc", "queue/status"]
)
def test_without_the_login_nothing_answers(guarded, route):
    assert httpx.get(f"{guarded.url}/gradio_api/{route}", trust_env=False).status_code == 401
    assert httpx.post(f"{guarded.url}/gradio_api/{route}", json={}, trust_env=False).status_code == 401


def test_without_the_login_no_event_and_no_endpoint_answers(guarded):
    with httpx.Client(base_url=guarded.url, trust_env=False) as http:
        for function in guarded.page.fns.values():
            body = {"data": [], "fn_index": function._id, "session_hash": "stranger"}
            for route in (f"run/{function.api_name}", f"api/{function.api_name}", f"call/{function.api_name}", "queue/join"):
                assert http.post(f"/gradio_api/{route}", json=body).status_code == 401
        assert http.post("/gradio_api/upload", files={"files": ("a.png", b"a")}).status_code == 401


def test_programs_and_agents_log_in_by_name_and_password(guarded):
    assert Client(guarded.url, auth=LOGIN, verbose=False).predict(api_name="/jobs") == []
    assert httpx.get(f"{guarded.url}/gradio_api/info", auth=LOGIN, trust_env=False).status_code == 200
    assert httpx.get(f"{guarded.url}/gradio_api/mcp/schema", auth=LOGIN, trust_env=False).status_code == 404  # let in; nothing is there
    assert httpx.get(f"{guarded.url}/gradio_api/info", auth=("trip", "wrong"), trust_env=False).status_code == 401


def test_wrong_passwords_are_slowed_and_the_cookie_stays_on_this_site(guarded, monkeypatch):
    right, clock = dict(zip(("username", "password"), LOGIN, strict=True)), [1000.0]
    assert httpx.post(f"{guarded.url}/login", data=right, trust_env=False).status_code == 200  # what others got wrong is forgotten
    monkeypatch.setattr("trip.ui.security.logins.time", SimpleNamespace(monotonic=lambda: clock[0]))
    with httpx.Client(base_url=guarded.url, trust_env=False) as http:
        answers = [http.post("/login", data={"username": "trip", "password": str(number)}) for number in range(7)]
        assert [answer.status_code for answer in answers] == [400] * 5 + [429] * 2
        assert "wait 1 s" in answers[-1].json()["detail"]
        assert http.post("/login", data=right).status_code == 429
        clock[0] += 1.001
        answer = http.post("/login", data=right)
        assert answer.status_code == 200
        assert all("samesite=lax" in cookie.lower() for cookie in answer.headers.get_list("set-cookie"))


def test_a_login_that_stands_still_keeps_nobody_of_its_address_out(guarded):
    right = dict(zip(("username", "password"), LOGIN, strict=True))
    host, port = guarded.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as slow:
        slow.sendall(f"POST /login HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 100\r\n\r\n".encode())
        time.sleep(0.2)
        assert httpx.post(f"{guarded.url}/login", data=right, trust_env=False).status_code == 200
    long = httpx.post(f"{guarded.url}/login", content=b"x" * (2**20 + 1), trust_env=False)
    assert long.status_code == 413 and "wanted at most 1 MB" in long.json()["detail"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", ""])
def test_other_names_are_not_answered(served, host):
    answer = httpx.get(served.url, headers={"host": host}, trust_env=False)
    assert answer.status_code == 400 and "--allowed-host" in answer.json()["detail"]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1.evil.example", "http://127.0.0.1:1"])
def test_other_sites_pages_may_not_call(served, origin):
    for method, more in (("GET", {}), ("POST", {}), ("OPTIONS", {"access-control-request-method": "POST"})):
        answer = httpx.request(method, f"{served.url}/gradio_api/run/jobs", headers={"origin": origin, **more}, trust_env=False)
        assert answer.status_code == 403
        assert not {"access-control-allow-origin", "access-control-allow-credentials"} & set(answer.headers)


def test_the_own_page_may_call(served):
    answer = httpx.post(f"{served.url}/gradio_api/run/jobs", json={"data": []}, headers={"origin": served.url}, trust_env=False)
    assert answer.status_code == 200


# shares


def test_a_visitor_who_fills_the_queue_leaves_room_for_others(served, monkeypatch):
    import threading

    resume, greedy, other = threading.Event(), served.caller(), served.caller()
    monkeypatch.setattr("trip.jobs.handlers.draft.ClipsDraft.take_in", lambda draft, uploads: (resume.wait(30), [])[1])
    take_in = greedy.named("take_in")
    try:
        answers = [
            greedy.http.post("/gradio_api/queue/join", json={"data": ["", None], "fn_index": take_in, "session_hash": greedy.session})
            for _ in range(50)
        ]
        assert answers[0].status_code == 200 and answers[-1].status_code == 429
        assert "still under way" in answers[-1].json()["detail"]
        assert other.join(other.named("refresh"), ["", "", []])["data"]
    finally:
        resume.set()


def test_uploads_are_bounded(served, monkeypatch):
    monkeypatch.setattr("trip.ui.security.visitors.UPLOADS_EACH", 1000)
    caller = served.caller()
    assert caller.upload(b"x" * 100)
    refused = caller.http.post("/gradio_api/upload", files={"files": ("a.png", b"x" * 2000)})
    assert refused.status_code == 429 and "within an hour" in refused.json()["detail"]
    monkeypatch.setattr("trip.ui.security.visitors.UPLOADS_EACH", 2**30)
    large = caller.http.post("/gradio_api/upload", files={"files": ("a.png", bytes(31 * 2**20))})
    assert large.status_code == 413 and large.json()["error"] == "wanted files of at most 30 MB each, got a larger one; send smaller ones"
    chunks = (part for part in (b"--b\r\n", b"--b--"))
    unsized = caller.http.post("/gradio_api/upload", content=chunks, headers={"content-type": "multipart/form-data; boundary=b"})
    assert unsized.status_code == 411
    assert caller.http.post("/gradio_api/run/jobs", content=b" " * (5 * 2**20)).status_code == 413


def test_a_program_that_does_not_know_the_newest_settings_goes_on(served, owner):
    function = next(one for one in functions(owner.caller) if one["api_name"] == "animate")
    photo = owner.caller.upload(PHOTO.read_bytes(), "mine.jpg")
    data = [{"path": photo, "meta": FILE}, "", "", 9, 4, None, 2, None, "ddim", None, "1:1", None, False, "trained", ""]
    assert len(data) < len(function["inputs"])
    assert owner.caller.run("animate", data).json()["error"] == "Motion must be a number from 0 to 2, not 9"


ROUTES = [f"{way}/no_such_endpoint" for way in ("run", "api", "call")] + ["run/animate", "call/jobs", "queue/join", "cancel", "reset"]
BODIES = [
    b"",
    b"{}",
    b"null",
    b"[]",
    b"hello",
    b'"a"',
    b'{"data": null}',
    b'{"data": 7}',
    b'{"data": {}}',
    b'{"data": [], "fn_index": -1}',
    b'{"data": [], "fn_index": 9999}',
    b'{"data": [], "fn_index": "x"}',
    b'{"data": [], "fn_index": 1e400}',
    b'{"data": [], "trigger_id": []}',
    b'{"data": [], "event_id": {}, "session_hash": "own", "fn_index": 3}',
    b'{"data": [], "batched": true}',
    b'{"data": [], "event_data": 5, "session_hash": ""}',
    b"[" * 100_000,
    b"\xff\xfe",
]


@pytest.mark.parametrize("route", ROUTES)
def test_a_broken_request_is_refused_in_one_line_and_fills_no_log(served, route, caplog, capfd):
    caller = served.caller()
    for body in BODIES:
        answer = caller.http.post(f"/gradio_api/{route}", content=body, headers={"content-type": "application/json"})
        if answer.status_code == 200:
            continue
        said = answer.json()
        line = said.get("error", said.get("detail"))
        assert line and "\n" not in str(line) and len(str(line)) < 1000, (body[:40], answer.text[:200])
    assert "Traceback" not in capfd.readouterr().err + caplog.text


def test_an_endpoint_that_is_not_there_is_said_to_be_none(served):
    answer = served.caller().run("no_such_endpoint", [])
    assert (answer.status_code, answer.json()["error"]) == (404, "there is no such endpoint; look at the page's list of endpoints")


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/a.png", "http://169.254.169.254/a.png", "http://no.such.host.invalid/a.png"])
def test_an_address_that_is_not_fetched_is_said_to_be_the_reason(served, address):
    answer = served.caller().run("control_map", [{"path": address, "meta": FILE}, "canny"])
    assert answer.json()["error"].startswith("the file at that address could not be fetched")
