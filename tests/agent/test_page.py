"""agent.page: the status page over a real ledger, asked by hand, and by a browser that must not leave it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from agent.ledger_file import LedgerReader
from agent.page import is_this_machine
from agent.page_html import element, joined
from agent.page_past import _all, _sampled, day_of_meter, newest_readings
from agent.page_words import language_of
from agent.state import LEDGER_FILE
from tests.agent.at_work import at_work, until
from tests.agent.counting import QUARTER_MS
from tests.agent.gateway import StillClock
from tests.agent.page_plant import SCRIPT, page_of, past_of, write_site
from tests.agent.reloads import reloaded
from tests.agent.test_polling import SDM120, hall, rtu, site
from tests.brokers import free_port

DAYS = 2


@pytest.fixture(scope="module")
def made() -> Iterator[tuple[Path, StillClock]]:
    """A ledger of two days with its site file, made once, and the time at which it ends."""
    folder = Path(tempfile.mkdtemp(prefix="page-"))

    async def make() -> StillClock:
        plant = await past_of(folder, DAYS)
        await plant.ledger.close()
        return plant.clock

    clock = asyncio.run(make())
    write_site(folder)
    yield folder, clock
    shutil.rmtree(folder)


@pytest.fixture
async def url(made: tuple[Path, StillClock]) -> AsyncIterator[str]:
    async with page_of(made[0] / "site.yaml", made[1]) as address:
        yield address


async def sent(url: str, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer to bytes."""
    host, _, port = url.removeprefix("http://").partition(":")
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request)
        answer = await reader.read()
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split(" ")[1]), headers, body


async def get(url: str, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {headers.pop('host', '127.0.0.1')}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return await sent(url, ("\r\n".join(lines) + "\r\n\r\n").encode())


async def page(url: str, path: str = "/", **headers: str) -> str:
    status, _, body = await get(url, path, **headers)
    assert status == 200, body
    return body.decode()


class Elements(HTMLParser):
    """What elements a page has, what it points to, and its texts."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action", "xlink:href")]
        self.handlers += [name for name, _ in attrs if name.startswith("on") or name == "style"]


# --- what is on it --------------------------------------------------------------------------------------------


async def test_the_first_page_tells_meters_lines_delivery_ledger_and_what_needs_attention(url: str) -> None:
    content = await page(url)
    for text in ("EM-001", "Hall 3, compressor", "kWh", "ago", "% complete", "line1", "office", "connected", "synchronized"):
        assert text in content
    assert re.search(r"EM-003 </strong>no reading since 2026-03-03 16:30:00: no answer, 8 polls missed", content)
    assert "MS-204 meter silent. Check first:" in content


async def test_a_meters_page_draws_its_last_day_and_month_and_links_each_value_to_its_trace(url: str) -> None:
    content = await page(url, "/meter/EM-002")
    assert content.count("<polyline") >= 2, "a silence is a gap in the line"
    assert len(re.findall(r"<rect[^>]*class=\"bar\"", content)) == DAYS
    (path,) = set(re.findall(r"/record/\d+/active_energy_import", content))
    traced = await page(url, path)
    assert "VERDICT" in traced
    assert "0@3:u32be*0.01*400/5" in traced
    assert "CRC-16" in traced


async def test_it_is_shown_in_chinese_where_the_browser_or_the_address_asks_for_it(url: str) -> None:
    assert "需要处理" in await page(url, Accept_Language="zh-CN,zh;q=0.9,en;q=0.8")
    assert "需要处理" in await page(url, "/?lang=zh", Accept_Language="en")
    assert "needs attention" in await page(url, "/?lang=en", Accept_Language="zh-CN")
    assert "溯源" in await page(url, "/record/60?lang=zh")


@pytest.mark.parametrize(
    ("asked", "accepted", "language"),
    [
        ("", "", "en"),
        ("", "de, zh-TW;q=0.5, en;q=0.4", "zh"),
        ("", "en, zh;q=0.9", "en"),
        ("xx", "zh", "zh"),
        ("", "zh;q=x, en", "en"),
    ],
)
def test_the_language_is_the_first_one_known(asked: str, accepted: str, language: str) -> None:
    assert language_of(asked, accepted) == language


# --- what it does not do --------------------------------------------------------------------------------------


async def test_a_script_in_a_meters_place_is_text_and_nothing_points_elsewhere(url: str) -> None:
    for path in ("/", "/meter/EM-003", "/record/60"):
        found = Elements(await page(url, path))
        assert {"script", "img", "iframe", "object", "form"}.isdisjoint(found.names)
        assert found.handlers == []
        assert all(link.startswith("/") and not link.startswith("//") for link in found.links)
    assert "&lt;script&gt;document.title=&#x27;changed&#x27;&lt;/script&gt;" in await page(url)


async def test_every_answer_forbids_scripts_frames_and_what_comes_from_elsewhere(url: str) -> None:
    for path in ("/", "/nothing", "/style.css"):
        _, headers, _ = await get(url, path)
        assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'self';")
        assert "script-src" not in headers["content-security-policy"]
        assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
        assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_only_reading_is_answered(url: str, method: str) -> None:
    status, headers, _ = await get(url, "/", method, Content_Length="0")
    assert (status, headers["allow"]) == (405, "GET, HEAD")


async def test_head_has_the_headers_of_get_and_no_body(url: str) -> None:
    status, headers, body = await get(url, "/style.css", "HEAD")
    assert (status, body) == (200, b"")
    assert headers["content-length"] == str(len((await get(url, "/style.css"))[2]))


async def test_another_hosts_name_is_not_answered(url: str) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "", "localhost.evil.example:8480"):
        assert (await get(url, host=host))[0] == 421, host


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8480", "[::1]:8480", "::1", "localhost", "LOCALHOST:8480", "192.168.1.5"]
)
def test_this_machine_is_named_by_an_address_or_its_own_name(host: str) -> None:
    assert is_this_machine(host)


@pytest.mark.parametrize(
    "path",
    [
        "/meter/EM-999",
        "/meter/../../etc/passwd",
        "/record/999999",
        "/record/0",
        "/record/60/nothing",
        "/" + "a" * 4000,
        "/%00",
        "/meter/",
    ],
)
async def test_what_is_not_there_is_told_as_such(url: str, path: str) -> None:
    assert (await get(url, path))[0] == 404


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /?" + b"a=1&" * 20 + b" HTTP/1.1\r\nHost: 127.0.0.1",
        b"GET //[ HTTP/1.1\r\nHost: 127.0.0.1",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_refused(url: str, request_bytes: bytes) -> None:
    assert (await sent(url, request_bytes + b"\r\n\r\n"))[0] == 400


async def test_a_head_that_is_too_long_is_refused(url: str) -> None:
    assert (await sent(url, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 10_000))[0] == 431


async def test_a_connection_that_asks_nothing_is_closed_and_many_do_not_keep_others_out(url: str) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    opened = [await asyncio.open_connection(host, int(port)) for _ in range(40)]
    for _, writer in opened[:20]:
        writer.write(b"GET / HTTP/1.1\r\nHost:")
    async with asyncio.timeout(30):
        for reader, writer in opened:
            assert await reader.read() in (b"",)
            writer.close()
    assert "EM-001" in await page(url)


def test_no_text_becomes_markup() -> None:
    assert element("p", "<b>", element("i", "&"), title='"><x') == '<p title="&quot;&gt;&lt;x">&lt;b&gt;<i>&amp;</i></p>'
    assert joined("<br>", element("br")) == "&lt;br&gt;<br>"


# --- beside the agent -----------------------------------------------------------------------------------------


async def test_the_agent_serves_it_where_the_site_file_says_so_and_polls_on(tmp_path: Path) -> None:
    async with hall(tmp_path, SDM120 | {"id": "EM-1", "address": "1"}) as simulator:
        links, meter = {"hall": rtu(simulator.address_of("hall"))}, {"id": "EM-1", "address": 1}
        port = free_port()
        async with at_work(tmp_path, site("2s", links, meter)) as agent:
            await until(lambda: agent.readings("EM-1"))
            assert not agent.events("page.listening")
            assert await reloaded(agent, tmp_path, site("2s", links, meter, more=f"page: 127.0.0.1:{port}")) == "site.reloaded"
            await until(lambda: agent.events("page.listening"))
            assert "EM-1" in await page(f"http://127.0.0.1:{port}")
            assert agent.events("page.listening")[0]["page"] == [f"http://127.0.0.1:{port}/"]
            before = len(agent.readings("EM-1"))
            await asyncio.gather(*(page(f"http://127.0.0.1:{port}", "/meter/EM-1") for _ in range(20)))
            await until(lambda: len(agent.readings("EM-1")) > before + 1)


async def test_a_port_that_is_taken_is_told_and_the_agent_goes_on(tmp_path: Path) -> None:
    async with hall(tmp_path, SDM120 | {"id": "EM-1", "address": "1"}) as simulator:
        links, meter = {"hall": rtu(simulator.address_of("hall"))}, {"id": "EM-1", "address": 1}
        taken = simulator.address_of("hall")
        async with at_work(tmp_path, site("2s", links, meter, more=f"page: {taken}")) as agent:
            await until(lambda: agent.events("page.cannot_listen") and agent.readings("EM-1"))
            assert agent.events("page.cannot_listen")[0]["page"] == taken


# --- in a browser ---------------------------------------------------------------------------------------------


def browser() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("no browser: apt install chromium fonts-noto-cjk")


def browsed(home: Path, address: str, size: str, *words: str) -> str:
    """The document as the browser has it; `words`: further ones for it."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={home}", f"--window-size={size}"]
    flags += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]  # what the browser asks for itself goes nowhere
    done = subprocess.run([browser(), *flags, *words, address], capture_output=True, timeout=90, check=True)
    return done.stdout.decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("name", "path", "size"), [("desktop", "/", "1200,1000"), ("phone", "/meter/EM-003?lang=zh", "390,1500")]
)
async def test_in_a_browser_a_page_asks_for_nothing_but_its_own_origins_style(
    url: str, tmp_path: Path, name: str, path: str, size: str
) -> None:
    output = Path(os.environ.get("TEST_OUTPUT") or tmp_path)
    output.mkdir(parents=True, exist_ok=True)
    picture, network = output / f"page-{name}.png", tmp_path / "network.json"
    log, shot = f"--log-net-log={network}", f"--screenshot={picture}"
    await asyncio.to_thread(browsed, tmp_path / "home", url + path, size, log, shot)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert len(picture.read_bytes()) > 20_000
    of_the_page = [params for each in _events(network) if (params := each.get("params", {})).get("initiator") == url]
    assert {params["url"] for params in of_the_page if "url" in params} == {f"{url}/style.css"}


async def test_in_a_browser_a_script_in_a_meters_place_does_not_run(url: str, tmp_path: Path) -> None:
    found = await asyncio.to_thread(browsed, tmp_path / "home", url, "1200,1000", "--dump-dom")
    assert "<title>plant/gw1</title>" in found
    assert SCRIPT.partition("'")[0].replace("<", "&lt;").replace(">", "&gt;") in found
    assert "<script" not in found


def _events(path: Path) -> list[dict[str, dict[str, str]]]:
    text = path.read_text("utf-8", "replace")
    try:
        return list(json.loads(text)["events"])
    except ValueError:  # the browser ended before it wrote the end of the list
        return list(json.loads(text.rstrip().rstrip(",") + "]}")["events"])


def test_a_day_that_is_sampled_every_five_minutes_has_all_that_was_read_more_seldom(made: tuple[Path, StillClock]) -> None:
    folder, clock = made
    with contextlib.closing(LedgerReader(folder / LEDGER_FILE)) as past:
        newest = newest_readings(past, "EM-001", [QUARTER_MS])
        drawn = day_of_meter(past, "EM-001", newest, clock.wall_ns // 1_000_000)
        assert drawn
        assert len(drawn.points) == 95, "of 96 readings the differences"
        assert drawn.per_ms == QUARTER_MS
        begin_ms = clock.wall_ns // 1_000_000 - 86_400_000
        sampled = _sampled(past, "EM-001", QUARTER_MS, begin_ms)
        assert {fields["due"] for fields in sampled} == {
            fields["due"] for fields in _all(past, "EM-001", QUARTER_MS, begin_ms) or ()
        }
