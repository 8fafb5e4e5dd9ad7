"""The two invariants on every capture there is, cross-checked with tshark."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from dissector.pipeline import dissect
from dissector.verify import Report, verify
from dissector.views.rows import rows_of
from tests.conftest import ROOT, SHARED, captures_in

BUNDLED = sorted((ROOT / "captures").glob("*.pcap"))
GROMOX = captures_in("gromox")
REAL = captures_in("real")
EVERYTHING = captures_in("gromox", "real", "encrypted", "formats")


def identify(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def verified(path: Path) -> Report:
    with dissect(path) as dissection:
        return verify(dissection.exchanges())


@pytest.mark.parametrize("path", BUNDLED + GROMOX + REAL, ids=identify)
def test_every_pdu_decodes_to_the_last_byte_and_builds_back(path: Path) -> None:
    report = verified(path)
    assert report.exchanges > 0
    assert report.different == 0, report.findings[:5]
    assert report.undecoded_bytes == 0, report.findings[:5]
    assert report.streams_identical == report.streams, report.findings[:5]
    assert report.states_identical == report.states, report.findings[:5]
    assert report.diagnostics["BUG"] == 0, report.findings[:5]
    assert not report.unknown_rops


@pytest.mark.skipif(not GROMOX, reason="../shared/captures/gromox is not on this machine")
def test_only_a_capture_that_began_late_lacks_context() -> None:
    for path in GROMOX:
        assert verified(path).no_context_bytes == 0, path.name


def tshark(path: Path, *arguments: str) -> list[str]:
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed")
    command = ["tshark", "-n", "-r", str(path), "-o", "tcp.reassemble_out_of_order:TRUE", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.parametrize("path", BUNDLED + GROMOX, ids=identify)
def test_as_many_exchanges_as_tshark_sees_posts(path: Path) -> None:
    posts = tshark(path, "-Y", "http.request.method == POST", "-T", "fields", "-e", "frame.number")
    with dissect(path) as dissection:
        frames = sorted(exchange.frame for exchange in dissection.exchanges())
    assert frames == sorted(int(frame) for frame in posts)


@pytest.mark.parametrize("path", REAL, ids=identify)
def test_as_many_calls_as_tshark_sees_dcerpc_requests(path: Path) -> None:
    """By frame and opnum, without the calls over SMB pipes (no plain TCP). tshark misses some that have no bind."""
    requests = "dcerpc.pkt_type == 0 && dcerpc.cn_flags.last_frag == 1 && !smb"
    lines = tshark(path, "-Y", requests, "-T", "fields", "-e", "frame.number", "-e", "dcerpc.opnum")
    theirs = {
        (int(frame), int(one)) for frame, opnums in (line.split("\t") for line in lines) for one in opnums.split(",")
    }
    from dissector.transport.messages import RpcCall

    with dissect(path) as dissection:
        calls = [message for message in dissection.messages() if isinstance(message, RpcCall)]
    ours = {(call.request.last_frame, call.opnum) for call in calls if call.request is not None}
    assert theirs <= ours
    assert len(theirs) > 150


def test_the_same_rops_through_tls() -> None:
    """The TLS 1.3 recording of a session lists the same ROPs as the plain one.

    It is a second run of the same script that stopped asking for the transfer state: tshark sees 27 requests in it and
    30 in the plain one. So the two ROPs of that step and the release of their object are taken out of the plain list.
    """
    folder = SHARED / "captures"
    sealed = folder / "encrypted" / "contents-bootstrap-tls13.pcapng"
    if not sealed.exists():
        pytest.skip("../shared/captures/encrypted is not on this machine")
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed: TLS is opened through it")
    keys = sealed.with_suffix(".keys")
    with dissect(folder / "gromox" / "contents-bootstrap.pcap") as plain:
        wanted = [row.rop or row.call for exchange in plain.exchanges() for row in rows_of(exchange)]
    step = wanted.index("RopSynchronizationGetTransferState")
    assert wanted[step : step + 3] == [
        "RopSynchronizationGetTransferState", "RopFastTransferSourceGetBuffer", "RopRelease",
    ]  # fmt: skip
    del wanted[step : step + 3]
    with dissect(sealed, options={"tls.keylog_file": str(keys)}) as opened:
        assert [row.rop or row.call for exchange in opened.exchanges() for row in rows_of(exchange)] == wanted
    assert wanted.count("RopFastTransferSourceGetBuffer") > 90


def test_tls_without_a_key_is_named() -> None:
    sealed = SHARED / "captures" / "encrypted" / "contents-bootstrap-tls13.pcapng"
    if not sealed.exists():
        pytest.skip("../shared/captures/encrypted is not on this machine")
    with dissect(sealed) as dissection:
        assert list(dissection.exchanges()) == []
        assert {one.kind for one in dissection.tally.opaque} == {"tls"}


@pytest.mark.skipif(not EVERYTHING, reason="../shared/captures is not on this machine")
@pytest.mark.parametrize("path", EVERYTHING, ids=identify)
def test_every_capture_ends_cleanly(path: Path) -> None:
    with dissect(path, engine="native") as dissection:
        for exchange in dissection.exchanges():
            for _ in rows_of(exchange):
                pass
        assert dissection.capture.summary.frames > 0
