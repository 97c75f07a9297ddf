"""Names of the app, wrong passwords, and shares of an hour, without an app."""

import base64
import errno

import pytest

from trip.jobs.visitor import Visitor
from trip.ui.security import logins as slowed
from trip.ui.security import visitors as known
from trip.ui.security.hosts import AllowedHosts
from trip.ui.security.logins import LoginThrottle
from trip.ui.security.visitors import QuotaExceeded, RateLimiter, VisitorRegistry


@pytest.mark.parametrize(
    ("listening", "more", "right", "wrong"),
    [
        (None, [], ["localhost:7860", "127.0.0.1", "[::1]:7860", "LOCALHOST"], ["evil.example", "192.168.1.7", "", "[", "localhost.evil"]),
        ("0.0.0.0", [], ["localhost", "192.168.1.7:7860", "[fe80::1]:80"], ["evil.example", "192.168.1.7.evil.example"]),
        ("192.168.1.7", [], ["192.168.1.7:80", "localhost"], ["192.168.1.8", "evil.example"]),
        (None, ["trip.example.org"], ["Trip.Example.org:443", "localhost"], ["example.org", "evil.trip.example.org"]),
    ],
)
def test_names_are_those_that_the_app_was_started_for(listening, more, right, wrong):
    hosts = AllowedHosts(listening, more)
    assert all(map(hosts.allows, right))
    assert not any(map(hosts.allows, wrong))


def test_a_public_link_is_a_name_too():
    hosts = AllowedHosts()
    hosts.allow("https://abc.gradio.live")
    assert hosts.allows("abc.gradio.live") and not hosts.allows("other.gradio.live")
    assert hosts.is_own_origin("https://abc.gradio.live", ["127.0.0.1:7860"])
    hosts.allow(None)
    assert not hosts.allows("")


def test_an_origin_is_the_app_itself_with_its_port():
    hosts = AllowedHosts()
    assert hosts.is_own_origin("http://127.0.0.1:7860", ["127.0.0.1:7860"])
    for origin in ("http://127.0.0.1:7861", "http://127.0.0.1", "null", "", "file://", "http://evil.example", "ftp://127.0.0.1:7860"):
        assert not hosts.is_own_origin(origin, ["127.0.0.1:7860"]), origin


def test_wrong_passwords_wait_longer_and_longer_and_a_right_one_forgets_them(monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(slowed.time, "monotonic", lambda: clock[0])
    logins, waits = LoginThrottle(), []
    for _ in range(20):
        with logins.trying("a"):
            logins.count("a", 400)
        waits.append(logins.wait_of("a"))
        clock[0] += waits[-1] + 0.001
    assert waits[: slowed.FREE_TRIES - 1] == [0.0] * (slowed.FREE_TRIES - 1)
    assert waits == sorted(waits) and waits[-1] == slowed.LONGEST_WAIT
    logins.count("a", 400)
    with pytest.raises(QuotaExceeded, match="wait 300 s"), logins.trying("a"):
        raise AssertionError
    assert logins.wait_of("b") == 0
    logins.count("a", 200)
    assert logins.wait_of("a") == 0


def test_one_address_tries_one_password_after_the_other():
    logins = LoginThrottle()
    with logins.trying("a"), logins.trying("b"), pytest.raises(QuotaExceeded), logins.trying("a"):
        raise AssertionError
    with logins.trying("a"):
        pass


@pytest.mark.parametrize("said", ["Basic", "Basic ", "Basic !!", "Basic " + base64.b64encode(b"\xff:\xff").decode(), "Bearer x"])
def test_a_header_that_is_no_login_is_none(said):
    assert LoginThrottle.by_password(said, {"trip": "right", "": ""}) is None


def test_a_login_is_name_and_password():
    def header(text: str) -> str:
        return "Basic " + base64.b64encode(text.encode()).decode()

    known = {"trip": "ri:ght"}
    assert LoginThrottle.by_password(header("trip:ri:ght"), known) == "trip"
    assert LoginThrottle.by_password(header("trip:ri"), known) is None
    assert LoginThrottle.by_password(header("nobody:"), known) is None


def test_an_hour_has_its_share(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(known.time, "monotonic", lambda: clock[0])
    rates = RateLimiter()
    assert rates.spend("a", 60, 100) and not rates.spend("a", 60, 100) and rates.spend("a", 40, 100) and rates.spend("b", 100, 100)
    clock[0] = known.HOUR + 1
    assert rates.spend("a", 100, 100)


def test_a_secret_is_known_again_after_a_restart_and_by_its_own_app_alone(tmp_path):
    (tmp_path / "other").mkdir()
    one, again, other = VisitorRegistry(tmp_path), VisitorRegistry(tmp_path), VisitorRegistry(tmp_path / "other")
    secret = one.new_secret()
    assert again.known(secret) == one.known(secret) is not None
    assert other.known(secret) is None and other.cookie != one.cookie
    assert secret.partition(".")[0] not in one.known(secret)
    assert (tmp_path / known.KEY).stat().st_mode & 0o777 == 0o600


def test_a_key_that_cannot_be_written_is_told_in_one_line(tmp_path):
    with pytest.raises(ValueError, match="wanted a file to read and write") as refusal:
        VisitorRegistry(tmp_path / "nothing")
    assert "\n" not in str(refusal.value)


def test_half_a_key_signs_nothing_and_none_is_left_where_the_disk_is_full(tmp_path, monkeypatch):
    (tmp_path / known.KEY).write_bytes(b"")
    with pytest.raises(ValueError, match="wanted a key of 32 bytes, got 0; delete it"):
        VisitorRegistry(tmp_path)
    (tmp_path / known.KEY).unlink()

    def full(count: int) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(known.secrets, "token_bytes", full)
    with pytest.raises(ValueError, match="No space left"):
        VisitorRegistry(tmp_path)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []
    VisitorRegistry(tmp_path)
    assert (tmp_path / known.KEY).stat().st_mode & 0o777 == 0o600 and len((tmp_path / known.KEY).read_bytes()) == 32


def test_new_names_of_an_address_are_bounded_and_an_ipv6_network_is_one(tmp_path, monkeypatch):
    monkeypatch.setattr(known, "NEW_ADDRESS", 2)
    visitors = VisitorRegistry(tmp_path)
    addresses = [visitors.address(host) for host in ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1", "10.0.0.1", "10.0.0.2", "")]
    assert len(set(addresses)) == 5 and addresses[0] == addresses[1]
    assert "10.0.0.1" not in addresses
    for name in "abab":  # whom it knows already count no more
        visitors.register(Visitor(name, addresses[0]))
    with pytest.raises(QuotaExceeded, match="too many new visitors"):
        visitors.register(Visitor("c", addresses[1]))
    visitors.register(Visitor("c", addresses[2]))


def test_files_are_of_those_who_brought_them_however_their_path_is_written(tmp_path):
    visitors, file = VisitorRegistry(tmp_path), tmp_path / "a.png"
    file.touch()
    (tmp_path / "link.png").symlink_to(tmp_path / "visitors.key")
    visitors.grant("me", [str(file)])
    assert visitors.may_read("me", f"{tmp_path}/./a.png") and not visitors.may_read("they", str(file))
    assert not visitors.may_read("me", str(tmp_path / "link.png"))
    visitors.publish([str(file)])
    assert visitors.may_read("they", str(file))


def test_an_upload_leaves_room_on_the_disk(tmp_path, monkeypatch):
    visitors, me = VisitorRegistry(tmp_path), Visitor("me", "x")
    visitors.spend_upload(me, 10, str(tmp_path))
    monkeypatch.setattr(known, "LEAST_FREE_BYTES", 2**60)
    with pytest.raises(QuotaExceeded, match="the disk is almost full"):
        visitors.spend_upload(me, 10, str(tmp_path))
