from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import pytest

from dissector.pipeline import dissect
from dissector.transport.messages import HttpExchange
from replay.errors import ReplayError
from replay.recording import Recorder, head
from tests.conftest import LONG

BODY = bytes(range(256)) * 300
ENDS = [(("127.0.0.1", 40000), ("127.0.0.1", 8080)), (("::1", 40001), ("::1", 8080)), (("pipe", 1), ("::1", 443))]


def recorded(target: object, rounds: int = 2) -> None:
    with Recorder(target, "what this file is") as recorder:  # type: ignore[arg-type]
        for client, server in ENDS:
            talk = recorder.conversation(client, server)
            for number in range(rounds):
                secret = [("Authorization", "Basic c2VjcmV0"), ("Content-Type", "application/mapi-http")]
                line = "POST /mapi/emsmdb/ HTTP/1.1"
                talk.client(head(line, [*secret, ("X-RequestType", "PING")], 3) + b"abc", 10.5 + number, "a remark")
                told = [("Transfer-Encoding", "chunked"), ("X-ResponseCode", "0")]
                talk.server(head("HTTP/1.1 200 OK", told, len(BODY)) + BODY, 10.75 + number)
            talk.close(20.0)


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "live.pcapng"
    recorded(path)
    with dissect(path) as dissection:
        found = [one for one in dissection.messages() if isinstance(one, HttpExchange)]
        summary = dissection.capture.summary
    assert not summary.diagnostics
    assert len(found) == 2 * len(ENDS)
    for one in found:
        assert one.request is not None
        assert one.response is not None
        assert one.request.body.data == b"abc"
        assert one.response.body.data == BODY
        assert one.response.complete
        assert not one.response.diagnostics
    assert found[0].request.first_time == pytest.approx(10.5)
    assert found[1].response.first_time == pytest.approx(11.75)
    assert found[0].connection.client == ("127.0.0.1", 40000)


def test_credentials_are_in_no_byte_of_the_file() -> None:
    made = io.BytesIO()
    recorded(made)
    assert b"c2VjcmV0" not in made.getvalue()
    assert b"uthorization" not in made.getvalue()
    assert b"a remark" in made.getvalue()


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_tshark_finds_nothing_wrong_with_it(tmp_path: Path) -> None:
    path = tmp_path / "live.pcapng"
    recorded(path)
    checks = ["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"]
    wrong = "tcp.analysis.flags or tcp.checksum.status == 0 or ip.checksum.status == 0 or _ws.malformed"
    shown = subprocess.run(
        ["tshark", "-r", str(path), *checks, "-Y", wrong], capture_output=True, text=True, check=True, timeout=LONG
    )
    assert shown.stdout == ""
    count = subprocess.run(
        ["tshark", "-r", str(path), "-Y", "http.response", "-T", "fields", "-e", "http.content_length"],
        capture_output=True, text=True, check=True, timeout=LONG,
    )  # fmt: skip
    assert count.stdout.split() == [str(len(BODY))] * (2 * len(ENDS))


def test_a_file_that_cannot_be_made() -> None:
    with pytest.raises(ReplayError, match="No such file"):
        Recorder("/nowhere/at/all.pcapng")
