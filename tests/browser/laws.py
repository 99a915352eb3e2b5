"""Laws that web pages see in a real browser.

Three gateways run on simulated models. CLOSED allows no page, OPEN allows the pages of app.test, and KEYS asks their
callers for a key too. The pages come from another port: under app.test, under evil.test, and under 127.0.0.1, which is
another origin of the same site as the gateway.

    CHROMIUM=/usr/bin/chromium PAGES_PORT=8000 CLOSED=http://127.0.0.1:1 OPEN=… KEYS=… python laws.py
"""

import os
import sys

import httpx
from playwright.sync_api import sync_playwright

from openai_python import run

PORT = os.environ["PAGES_PORT"]
APP, EVIL, SAME_SITE = (f"http://{host}:{PORT}" for host in ("app.test", "evil.test", "127.0.0.1"))
CLOSED, OPEN, KEYS = (os.environ[name] for name in ("CLOSED", "OPEN", "KEYS"))

BROWSER = None

# Sends a chat and reads the answer, as an OpenAI client in a page does.
CHAT = """async ({url, key, more}) => {
    const headers = {"content-type": "application/json", "x-stainless-os": "Unknown"};
    if (key) headers.authorization = `Bearer ${key}`;
    const body = JSON.stringify({model: "free", messages: [{role: "user", content: "hello"}], ...more});
    try {
        const answer = await fetch(`${url}/v1/chat/completions`, {method: "POST", headers, body});
        const pieces = [];
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        for (let piece; !(piece = await reader.read()).done;) pieces.push(piece.value);
        return {status: answer.status, model: answer.headers.get("x-free-model"), text: pieces.join("")};
    } catch (error) {
        return {error: String(error)};
    }
}"""

# What a page can send without asking first: the browser hides the answer, but the request arrives.
UNASKED = """async (url) => {
    const body = JSON.stringify({model: "free", messages: [{role: "user", content: "hello"}]});
    const blind = {method: "POST", mode: "no-cors"};
    const chat = `${url}/v1/chat/completions`;
    await fetch(chat, {...blind, body, headers: {"content-type": "text/plain"}});
    await fetch(chat, {...blind, body: new Blob([body])});
    await fetch(chat, {...blind, body: new Blob([body]), referrerPolicy: "no-referrer"});
    navigator.sendBeacon(chat, new Blob([body]));
    const frame = Object.assign(document.createElement("iframe"), {name: "hidden"});
    document.body.append(frame);
    const form = Object.assign(document.createElement("form"),
        {action: chat, method: "POST", enctype: "text/plain", target: "hidden"});
    form.append(Object.assign(document.createElement("input"), {name: body.slice(0, -2) + ',"x":"', value: '"}'}));
    document.body.append(form);
    const loaded = new Promise((done) => frame.addEventListener("load", done));
    form.submit();
    await loaded;
}"""


def started(gateway):
    """How many calls of models the gateway has begun."""
    status = httpx.get(f"{gateway}/status", headers={"x-api-key": "first-key"}).json()
    return sum(target["started"] for target in status["targets"])


class Page:
    """A page of this origin, and the statuses of what it asked of a gateway."""

    def __init__(self, origin, gateway):
        self.context = BROWSER.new_context()
        self.page = self.context.new_page()
        self.gateway = gateway
        self.statuses = []
        self.page.on("response", self.note)
        self.page.goto(origin)

    def note(self, response):
        if response.url.startswith(self.gateway):
            self.statuses.append(response.status)

    def chat(self, key=None, **more):
        return self.page.evaluate(CHAT, {"url": self.gateway, "key": key, "more": more})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()


def a_foreign_page_is_refused_and_spends_nothing():
    for gateway, origins in [(CLOSED, (APP, EVIL, SAME_SITE)), (OPEN, (EVIL, SAME_SITE))]:
        before = started(gateway)
        for origin in origins:
            with Page(origin, gateway) as page:
                answer = page.chat(key="any")
                assert "Failed to fetch" in answer.get("error", ""), (origin, answer)
                page.page.evaluate(UNASKED, gateway)
                page.page.wait_for_timeout(200)
                assert len(page.statuses) >= 4 and set(page.statuses) == {403}, (origin, page.statuses)
        assert started(gateway) == before, origin


def a_page_whose_name_is_pointed_here_is_refused():
    port = CLOSED.rsplit(":", 1)[1]
    before = started(CLOSED)
    with Page(SAME_SITE, "http://evil.test") as page:
        answer = page.page.goto(f"http://evil.test:{port}/")
        assert answer.status == 403 and answer.json()["error"]["code"] == "host_not_allowed", answer.text()
        page.gateway = f"http://evil.test:{port}"
        refused = page.chat()
        assert refused["status"] == 403 and "host_not_allowed" in refused["text"], refused
    assert started(CLOSED) == before


def a_link_from_another_page_does_not_open_the_gateway():
    with Page(EVIL, CLOSED) as page:
        page.page.evaluate("url => { location.href = url }", f"{CLOSED}/status")
        page.page.wait_for_url(f"{CLOSED}/status")
        assert page.statuses == [403], page.statuses


def the_gateways_own_page_works():
    for gateway in (CLOSED, OPEN):
        with Page(gateway, gateway) as page:
            assert page.page.locator("h1").inner_text().count("free models") == 1
            answer = page.chat()
            assert answer.get("status") == 200 and answer["model"], answer


def a_page_of_an_allowed_origin_chats():
    before = started(OPEN)
    with Page(APP, OPEN) as page:
        answer = page.chat(key="sk-none")
        assert answer.get("status") == 200, answer
        assert answer["model"] and "hello" in answer["text"], answer
    assert started(OPEN) > before


def a_page_of_an_allowed_origin_streams():
    with Page(APP, OPEN) as page:
        answer = page.chat(key="sk-none", stream=True)
        assert answer.get("status") == 200, answer
        assert answer["text"].count("data: ") > 2 and "[DONE]" in answer["text"], answer


def a_page_of_an_allowed_origin_reads_errors():
    with Page(APP, OPEN) as page:
        answer = page.chat(max_tokens="many", messages=7)
        assert answer.get("status") == 400 and '"error"' in answer["text"], answer


def a_page_of_an_allowed_origin_needs_a_key_where_callers_need_one():
    with Page(APP, KEYS) as page:
        for key in (None, "wrong"):
            before = started(KEYS)
            answer = page.chat(key=key)
            assert answer.get("status") == 401 and "invalid_api_key" in answer["text"], answer
            assert started(KEYS) == before
        answer = page.chat(key="second-key")
        assert answer.get("status") == 200, answer
    with Page(EVIL, KEYS) as page:
        answer = page.chat(key="second-key")
        assert "error" in answer, answer


LAWS = [
    a_foreign_page_is_refused_and_spends_nothing,
    a_page_whose_name_is_pointed_here_is_refused,
    a_link_from_another_page_does_not_open_the_gateway,
    the_gateways_own_page_works,
    a_page_of_an_allowed_origin_chats,
    a_page_of_an_allowed_origin_streams,
    a_page_of_an_allowed_origin_reads_errors,
    a_page_of_an_allowed_origin_needs_a_key_where_callers_need_one,
]

# Root needs `--no-sandbox`; the others keep the browser from asking for anything outside.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP *.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]

if __name__ == "__main__":
    with sync_playwright() as playwright:
        BROWSER = playwright.chromium.launch(executable_path=os.environ["CHROMIUM"], args=ARGUMENTS)
        print(f"Chromium {BROWSER.version}", flush=True)
        failed = run(LAWS)
        BROWSER.close()
    sys.exit(failed > 0)
