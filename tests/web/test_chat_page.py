"""The chat page in a real browser: headless Chromium types, reads the stream, stops it, and sees no live HTML."""

import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
QUIET = ("--disable-background-networking", "--disable-component-update")
WORDS = "The state of our Union is strong & <b>steady</b>.<img src=x onerror='document.title=\"hacked\"'>"
SECONDS_PER_TOKEN = 0.01

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium or google-chrome; scripts/install-system-packages.sh installs one"
)


@contextmanager
def chat_server(words, delay):
    """The page on a scripted engine in a process of its own, as NiceGUI allows one app per process."""
    program = Path(__file__).with_name("chat_server.py")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    command = [sys.executable, str(program), words, str(delay)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *QUIET])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def url():
    with chat_server(WORDS, SECONDS_PER_TOKEN) as url:
        yield url


@pytest.fixture(scope="module")
def context(browser):
    """One profile for all tests, so that the page's scripts are fetched once."""
    with browser.new_context(color_scheme="light") as context:
        yield context


@pytest.fixture
def page(context, url):
    """An open chat; at the end nothing was logged as an error and nothing was fetched from elsewhere."""
    page = context.new_page()
    errors, places = [], set()
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: places.add(request.url.split("/")[2]) if "://" in request.url else None)
    page.goto(url.removesuffix("/studio/chat"))
    assert page.url == url
    expect(page.get_by_role("heading", name="Talk to scripted")).to_be_visible()
    yield page
    page.close()
    assert not errors
    assert places == {url.split("/")[2]}


def ask(page, text):
    page.get_by_label("Message").fill(text)
    page.keyboard.press("Enter")


def last_answer(page):
    return page.locator(".assistant .words").last


def wait_for_the_end(page):
    expect(page.get_by_role("button", name="Send")).to_be_visible(timeout=20_000)


def test_the_answer_streams_and_is_text_only(page):
    ask(page, "How is the Union?")
    expect(page.locator(".user .words")).to_have_text("How is the Union?")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    answer = last_answer(page)
    lengths = set()
    while page.get_by_role("button", name="Stop").count():
        text = answer.text_content() or ""
        assert WORDS.startswith(text)
        lengths.add(len(text))
    between = {length for length in lengths if 0 < length < len(WORDS)}
    assert len(between) >= 2, lengths
    expect(answer).to_have_text(WORDS)
    assert page.locator(".assistant img, .assistant b").count() == 0
    assert page.title() == "scripted · groundup"
    expect(page.locator(".numbers").last).to_contain_text(f"{len(WORDS) + 1} tokens · ")
    expect(page.get_by_test_id("speed")).to_contain_text("tokens/s")
    expect(page.get_by_test_id("model")).to_have_text("scripted")


def test_what_the_user_writes_is_text_too(page):
    ask(page, "<b>bold</b> {{ 1 + 1 }}")
    expect(page.locator(".user .words")).to_have_text("<b>bold</b> {{ 1 + 1 }}")
    assert page.locator(".user b").count() == 0
    wait_for_the_end(page)


def test_stop_keeps_what_there_is_and_the_chat_goes_on(page):
    ask(page, "Tell me")
    expect(last_answer(page)).to_contain_text("The state")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".numbers").last).to_contain_text("stopped")
    stopped = last_answer(page).text_content()
    assert 0 < len(stopped) < len(WORDS)
    ask(page, "Again")
    wait_for_the_end(page)
    expect(last_answer(page)).to_have_text(WORDS)
    assert page.locator(".assistant .words").first.text_content() == stopped


@pytest.mark.slow
def test_the_send_button_new_lines_regenerate_and_new_chat(page):
    box = page.get_by_label("Message")
    box.fill("first")
    box.press("Shift+Enter")
    box.press_sequentially("second")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".user .words")).to_have_text("first\nsecond")
    expect(box).to_have_value("")
    wait_for_the_end(page)
    page.get_by_role("button", name="Regenerate").click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    wait_for_the_end(page)
    assert page.locator(".assistant").count() == 1
    page.get_by_role("button", name="New chat").click()
    expect(page.get_by_role("heading", name="Talk to scripted")).to_be_visible()
    assert page.locator(".turn").count() == 0


@pytest.mark.slow
def test_the_dials_count(page):
    page.get_by_role("button", name="Settings").click()
    dial = page.locator(".dial").filter(has_text="Max tokens")
    dial.locator(".q-slider").click(position={"x": 1, "y": 10})
    expect(dial.locator(".value")).to_have_text(re.compile(r"^\d$"))
    limit = int(dial.locator(".value").text_content())
    ask(page, "Short, please")
    wait_for_the_end(page)
    expect(last_answer(page)).to_have_text(WORDS[:limit])
    expect(page.locator(".numbers").last).to_contain_text("reached the length limit")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_placeholder("Begin a text")).to_be_visible()


@pytest.mark.slow
def test_a_closed_tab_frees_the_model(browser, url):
    leaving = browser.new_page()
    leaving.goto(url)
    ask(leaving, "I will not wait")
    expect(last_answer(leaving)).to_contain_text("The")
    health = url.replace("/studio/chat", "/health")
    assert leaving.request.get(health).json()["running"] == 1
    leaving.close()
    staying = browser.new_page()
    staying.goto(url)
    ask(staying, "Me next")
    expect(last_answer(staying)).to_contain_text("The state", timeout=15_000)
    staying.close()


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_the_page_follows_the_systems_colours(browser, url, scheme, dark):
    page = browser.new_page(color_scheme=scheme)
    page.goto(url)
    expect(page.get_by_role("heading", name="Talk to scripted")).to_be_visible()
    red = page.evaluate("parseInt(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])")
    assert (red < 64) is dark
    page.close()
