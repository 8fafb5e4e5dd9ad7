"""The HTML report in a real browser: what is shown at first, and what its boxes show and hide."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from replay.reports import text_of
from tests.conftest import LONG
from tests.replay.reports.test_reports import made

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")

ASK = """
<script>
addEventListener("load", () => {
  const shown = () => [...document.querySelectorAll("details")].filter(one => one.offsetParent !== null)
    .map(one => one.dataset.verdict);
  const box = name => document.querySelector(`input[data-verdict=${name}]`);
  const found = {first: shown()};
  box("remapped").click();
  found.all = shown();
  box("different").click();
  box("remapped").click();
  found.none = shown();
  box("different").click();
  found.again = shown();
  found.text = document.body.innerText;
  found.wide = document.documentElement.scrollWidth > innerWidth;
  found.elements = document.querySelectorAll("b").length;
  found.loaded = performance.getEntriesByType("resource").length;
  const answer = document.createElement("pre");
  answer.id = "answer";
  answer.textContent = JSON.stringify(found);
  document.body.append(answer);
});
</script>
"""


def test_boxes_show_and_hide(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    html = "\n".join(text_of(made(), "html"))
    page.write_text(html.replace("</body>", f"{ASK}</body>"), "utf-8")
    assert BROWSER is not None
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--window-size=800,600",
            f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", "--dump-dom", page.as_uri(),
        ],
        capture_output=True, timeout=LONG, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"the browser does not start here: {done.stderr.decode(errors='replace').strip()[-200:]}")
    answer = re.search(r'<pre id="answer">(.*?)</pre>', done.stdout.decode(), re.DOTALL)
    assert answer is not None
    found = json.loads(unescape(answer[1]))
    assert found["first"] == ["different", "different"]
    assert sorted(found["all"]) == ["different", "different", "remapped"]
    assert found["none"] == []
    assert found["again"] == ["different", "different"]
    assert "RowData[0].PidTagSubject" in found["text"]
    assert "why not" in found["text"]
    assert "<b>" in found["text"], "what came from a server is shown as text"
    assert found["elements"] == len(re.findall("<b>", html))
    assert not found["wide"]
    assert found["loaded"] == 0, "the page stands by itself"
