"""The command line as a user meets it: a process, its output, its exit code."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import LONG, ROOT, shared

NOTIFY = ROOT / "captures" / "notify.pcap"
TABLES = ROOT / "captures" / "tables-lzx.pcap"


def dissector(*arguments: object, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "dissector", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, cwd=ROOT, timeout=LONG, check=False)


def lines(*arguments: object) -> list[str]:
    done = dissector(*arguments)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()


def test_list_shows_requests_and_responses_paired() -> None:
    shown = lines("list", NOTIFY)
    assert any("RopRegisterNotification" in line and " ok " in line for line in shown)
    assert any("RopNotify" in line for line in shown)


def test_r_and_standard_input_give_the_same_list() -> None:
    named = lines("list", NOTIFY)
    assert lines("list", "-r", NOTIFY) == named
    piped = dissector("list", "-", stdin=NOTIFY.read_bytes())
    assert piped.stdout.decode().splitlines() == named


def test_jsonl_and_json_hold_the_same_rows_by_contract() -> None:
    rows = [json.loads(line) for line in lines("list", NOTIFY, "-T", "jsonl")]
    assert json.loads("\n".join(lines("list", NOTIFY, "-T", "json"))) == rows
    wanted = {
        "exchange", "frame", "time", "transport", "call", "rop", "rop_id", "index", "logon_id", "handles",
        "return_code", "return_name", "summary",
    }  # fmt: skip
    assert all(wanted <= row.keys() for row in rows)
    assert {row["transport"] for row in rows} == {"mapi-http"}


def test_a_filter_chooses_rows() -> None:
    rows = [json.loads(line) for line in lines("list", NOTIFY, "-T", "jsonl", "-Y", "rop == RopLogon")]
    assert [row["rop"] for row in rows] == ["RopLogon"]
    assert lines("list", NOTIFY, "-T", "jsonl", "-Y", "exchange == 999") == []


def test_a_tree_keeps_the_json_contract_and_leads_to_the_frames() -> None:
    trees = [json.loads(line) for line in lines("tree", TABLES, "-T", "jsonl", "-Y", "RopQueryRows")]
    assert trees
    for tree in trees:
        assert {"exchange", "frame", "time", "transport", "call", "request", "response"} <= tree.keys()
        nodes = [tree["request"], tree["response"]]
        while nodes:
            node = nodes.pop()
            assert {"name", "offset", "length"} <= node.keys()
            assert node["length"] == 0 or node["spans"]
            nodes.extend(node.get("children", ()))


def test_a_tree_of_everything_shows_no_credential() -> None:
    done = dissector("tree", TABLES, "--hex")
    assert done.returncode == 0
    assert b"Authorization: (hidden" in done.stdout
    assert b"YWxpY2VAZXhhbXBs" not in done.stdout.replace(b" ", b"")
    assert b"YWxpY2VAZXhhbXBs" not in dissector("tree", TABLES, "-T", "jsonl").stdout


def test_info_counts() -> None:
    facts = json.loads("\n".join(lines("info", NOTIFY, "-T", "json")))
    assert facts["rops"]["RopLogon"] == 1
    assert facts["calls"]["mapi-http NotificationWait"] >= 1
    assert len(facts["sessions"]) == 1
    assert "RopLogon" in "\n".join(lines("info", NOTIFY))


def test_verify_says_identical() -> None:
    report = json.loads("\n".join(lines("verify", TABLES, "-T", "json")))
    assert report["different"] == report["undecoded_bytes"] == report["diagnostics"]["BUG"] == 0
    assert report["identical"] == report["pdus"] > 100


def test_rops_names_every_grammar_by_file_and_line() -> None:
    rows = [json.loads(line) for line in lines("rops", "-T", "jsonl")]
    assert len(rows) == 176
    assert {row["reading"] for row in rows if row["layout"]} == {"compiled"}
    for row in rows:
        if row["layout"]:
            name, _, number = row["where"].partition(":")
            place = ROOT / name
            assert place.exists(), row
            assert int(number) <= len(place.read_text().splitlines())


@pytest.mark.parametrize("dump", [b"0500 0100002a 000000", bytes.fromhex("05000100002a000000")])
def test_decode_reads_bytes_and_hex_dumps(dump: bytes) -> None:
    done = dissector("decode", "rop-buffer", stdin=dump)
    assert done.returncode == 0
    assert b"RopRelease request" in done.stdout


def test_decode_of_damaged_bytes_shows_them_and_ends_with_1() -> None:
    done = dissector("decode", "rop:RopQueryRows", stdin=b"15 00 00 00 01")
    assert done.returncode == 1
    assert b"MALFORMED" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "no-such-file.pcap"], "no-such-file.pcap"),
        (["list", "README.md"], "no pcap or pcapng file"),
        (["list", NOTIFY, "-Y", "rop =="], "-Y: cannot read"),
        (["decode", "nonsense", "-"], "no kind is called 'nonsense'"),
        (["list"], "name one capture"),
        (["list", NOTIFY, "-r", NOTIFY], "name one capture"),
        (["list", NOTIFY, "-o", "keylog"], "NAME:VALUE"),
        (["list", NOTIFY, "-T", "xml"], "xml"),
    ],
    ids=lambda value: "-".join(map(str, value[:1])) if isinstance(value, list) else "",
)
def test_bad_input_is_one_clear_line_and_exit_code_2(arguments: list[object], said: str) -> None:
    done = dissector(*arguments, stdin=b"\x01")
    assert done.returncode == 2
    assert said in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_a_truncated_capture_is_listed_up_to_the_cut_with_a_word_on_stderr(tmp_path: Path) -> None:
    whole = NOTIFY.read_bytes()
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(whole[:20])
    assert dissector("list", cut).returncode == 2  # the header of the file is not whole
    cut.write_bytes(whole[: len(whole) - 100])
    done = dissector("list", cut)
    assert done.returncode == 0
    assert b"RopLogon" in done.stdout
    assert b"cut.pcap" in done.stderr


def test_a_pipe_that_closes_early_ends_quietly() -> None:
    command = f"{sys.executable} -m dissector tree {TABLES} | head -n 3"
    done = subprocess.run(["sh", "-c", command], capture_output=True, cwd=ROOT, timeout=LONG, check=False)
    assert done.stderr == b""
    assert len(done.stdout.splitlines()) == 3
    status = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m dissector tree {TABLES} | head -n 1 >/dev/null; exit ${{PIPESTATUS[0]}}"],
        cwd=ROOT, timeout=LONG, check=False,
    )  # fmt: skip
    assert status.returncode == 0


@pytest.mark.parametrize("command", ["info", "list", "tree", "decode", "verify", "rops"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    text = "\n".join(lines(command, "--help"))
    assert "Example" in text


def test_a_hex_pane_shows_no_credential() -> None:
    """Every source is dumped, and the password is in none of them."""
    shown = dissector("tree", NOTIFY, "-Y", "exchange == 4", "--hex").stdout.decode()
    text = "".join(line[56:] for line in shown.splitlines() if line[:4].strip() and line[4:6] == "  ")
    assert "Basi" not in text
    assert "***" in text


@pytest.mark.parametrize("command", ["list", "verify", "sync", "state", "sessions", "tree", "streams"])
def test_a_capture_without_a_mapi_call_is_told(command: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pcap"
    empty.write_bytes(NOTIFY.read_bytes()[:24])
    done = dissector(command, empty)
    (told,) = done.stderr.decode().splitlines()
    assert told.endswith("empty.pcap: no MAPI call in this capture (`dissector info` says what there is)")
    assert done.returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [["list", "-Y", "exchange == 999"], ["tree", "-Y", "exchange == 999", "-j", "2"], ["verify", "-j", "2"]],
)
def test_calls_that_are_not_shown_are_no_missing_calls(arguments: list[str]) -> None:
    assert dissector(*arguments, NOTIFY).stderr == b""


def test_tls_without_a_key_is_told() -> None:
    sealed = ROOT.parent / "shared" / "captures" / "encrypted" / "contents-bootstrap-tls13.pcapng"
    if not sealed.exists():
        pytest.skip("../shared/captures/encrypted is not on this machine")
    done = dissector("list", sealed)
    assert b": 1 TLS connection (no server name) stayed closed" in done.stderr
    assert b"give the keys" in done.stderr
    assert "TLS 1.3" in "\n".join(lines("info", sealed))


@pytest.mark.parametrize(
    ("keys", "engine", "said"),
    [
        ("keylogfile.txt", "auto", "the key log given has no key for these connections"),
        ("keylogfile.txt", "pyshark", "the key log given has no key for these connections"),
        ("contents-bootstrap-tls13.keys", "native", "opening TLS needs tshark: --engine pyshark"),
    ],
)
def test_keys_that_do_not_open_tls(keys: str, engine: str, said: str) -> None:
    sealed = shared("captures", "encrypted", "contents-bootstrap-tls13.pcapng")
    if engine != "native" and shutil.which("tshark") is None:
        pytest.skip("tshark is not installed")
    done = dissector("list", sealed, "-o", f"tls.keylog_file:{sealed.parent / keys}", "--engine", engine)
    assert said in done.stderr.decode()
    assert b"give the keys" not in done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", NOTIFY, "-o", "tls.keylog_file:no-such-file"], "cannot be read"),
        (["list", NOTIFY, "-o", "tls.keylogfile:x"], "preference of tshark"),
        (["list", NOTIFY, "-Y", "rop == RopFly"], "no ROP is called RopFly"),
        (["list", NOTIFY, "-Y", "frame >= abc"], "compared with a number"),
        (["list", NOTIFY, "-Y", "not " * 3000 + "frame"], "parentheses and negations"),
        (["decode", "xid"], "there are no bytes"),
    ],
    ids=["key log", "preference", "ROP", "number", "nested", "nothing"],
)
def test_more_bad_input(arguments: list[object], said: str) -> None:
    done = dissector(*arguments, stdin=b"")
    assert done.returncode == 2
    assert said in " ".join(done.stderr.decode().replace("│", " ").split())
    assert b"Traceback" not in done.stderr


def test_a_full_disk_is_one_line() -> None:
    command = f"{sys.executable} -m dissector list {TABLES} -T json > /dev/full"
    done = subprocess.run(["sh", "-c", command], capture_output=True, cwd=ROOT, timeout=LONG, check=False)
    assert done.returncode == 2
    assert b"cannot write the output" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [f"list {TABLES}", f"tree {TABLES} -T jsonl --jobs 2", "rops", "--version"])
def test_a_closed_output_is_one_line(arguments: str) -> None:
    command = f"{sys.executable} -m dissector {arguments} >&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, cwd=ROOT, timeout=LONG, check=False)
    assert done.returncode == 2
    assert done.stderr == b"dissector: cannot write the output: standard output is closed\n"


def test_a_closed_standard_error_is_done_without() -> None:
    command = f"{sys.executable} -m dissector list {TABLES} 2>&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, cwd=ROOT, timeout=LONG, check=False)
    assert (done.returncode, done.stdout.decode().splitlines()) == (0, lines("list", TABLES))


def test_trees_without_the_heads_of_http() -> None:
    whole, body = (
        [json.loads(line) for line in lines("tree", "captures/notify.pcap", "-T", "jsonl", *more)]
        for more in ((), ("--no-http",))
    )
    for one in whole:
        for side in ("request", "response"):
            parts = [child for child in one[side]["children"] if child["name"] != "HTTP"]
            assert len(parts) == len(one[side]["children"]) - 1
            one[side]["children"] = parts
    assert whole == body
    text = lines("tree", "captures/notify.pcap", "--no-http")
    assert any("UserDn" in line for line in text)
    assert not any("Authorization" in line or "Content-Length" in line for line in text)
