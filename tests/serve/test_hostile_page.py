"""A page of another origin in Chromium cannot change, read or frame anything."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytestmark = pytest.mark.browser
PAGE = """<!doctype html><meta name="referrer" content="no-referrer"><title>hostile</title>
<iframe name="target" src="about:blank"></iframe>
<iframe id="framed" src="URL/"></iframe>
<form id="form" method="post" enctype="multipart/form-data" action="URL/api/teach" target="target">
<input name="label" value="evil"></form>
<script>
async function attack() {
  const form = new FormData();
  form.append("label", "evil");
  form.append("files", new Blob(["x"]), "a.mp4");
  const ways = {
    teach: () => fetch("URL/api/teach", {method: "POST", mode: "no-cors", body: form}),
    noReferrer: () => fetch("URL/api/teach",
      {method: "POST", mode: "no-cors", referrerPolicy: "no-referrer", body: form}),
    undo: () => fetch("URL/api/undo", {method: "POST", mode: "no-cors", referrerPolicy: "no-referrer"}),
    event: () => fetch("URL/gradio_api/queue/join", {method: "POST", mode: "no-cors",
      body: JSON.stringify({data: [], fn_index: 0, session_hash: "evil"})}),
    upload: () => fetch("URL/gradio_api/upload", {method: "POST", mode: "no-cors", body: form}),
    read: () => fetch("URL/api/classes").then(answer => answer.text()),
  };
  const found = {};
  for (const [name, way] of Object.entries(ways))
    found[name] = await way().then(value => typeof value === "string" ? "read" : value.type, () => "failed");
  document.getElementById("form").submit();
  return found;
}
</script>"""


@pytest.fixture
def hostile(served) -> Iterator[str]:
    """The URL of a page that attacks the server, at another port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(PAGE.replace("URL", served.url).encode())

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://localhost:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_page_of_another_origin(chromium, served, hostile):
    """Its changing requests receive 403; the server's page is not shown in a frame."""
    context = chromium.new_context()
    page = context.new_page()
    page.goto(hostile)
    result = page.evaluate("attack()")
    page.wait_for_timeout(500)
    framed = page.frame_locator("#framed").get_by_role("tab").count()
    context.close()
    counted = re.findall(
        r'avcil_http_requests_total{method="(\w+)",route="(.*)",status="(\d+)"}',
        served.app.metrics.text().decode(),
    )
    assert {route for method, route, _ in counted if method == "POST"} == {
        "/api/teach",
        "/api/undo",
        "/gradio_api/queue/join",
        "/gradio_api/upload",
    }
    assert {status for _, _, status in counted} == {"403"}
    assert result["read"] == "failed"
    assert framed == 0
    assert served.service.job is None
    assert "evil" not in served.service.recognizer.classes_


def test_login_page(visit, run, serve_run, chromium):
    """Login, a wrong password and logout, also in dark mode and on a narrow screen."""
    with serve_run(run, app={"password": "correct horse"}) as served:
        context = chromium.new_context(viewport={"width": 360, "height": 700}, color_scheme="dark")
        page = context.new_page()
        page.goto(served.url)
        page.get_by_label("Password").fill("wrong horse")
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("alert").get_by_text("The password is wrong").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.get_by_label("Password").fill("correct horse")
        page.keyboard.press("Enter")
        page.get_by_role("tab", name="Predict").wait_for()
        page.get_by_role("button", name="Log out").click()
        page.get_by_label("Password").wait_for()
        page.goto(served.url)
        page.get_by_label("Password").wait_for()
        context.close()
