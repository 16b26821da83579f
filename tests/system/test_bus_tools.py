"""`ask`, `inputs`, `rate`, `topics`, `trace` and the metrics, as users have them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.system.patience import FACTOR
from tests.system.product import MINIBUS, Console, Product, product_on, until

Found = dict[str, Any]
PATIENCE_S = 30.0 * FACTOR


@pytest.fixture(scope="module")
def shared(rootfs: Path) -> Iterator[Product]:
    """One running minibus with metrics for all these tests."""
    base = Path(tempfile.mkdtemp(prefix="mb-", dir="/tmp"))
    try:
        with product_on(base, rootfs, up=False) as product:
            done = product.minibus("up", "--detach", "--metrics", "0")
            address = (base / "run" / "metrics").read_text().strip()
            assert (done.status, done.out, done.err) == (0, f"metrics: http://{address}/metrics\n", "")
            yield product
            product.down("--guests")
            assert not (base / "run" / "metrics").exists()
    finally:
        shutil.rmtree(base)


@pytest.fixture
def console(shared: Product) -> Iterator[Console]:
    """A connection with a sound configuration; afterwards there is no VM. Processes may have been killed."""
    with shared.configured() as console:
        yield console
        console.ok("clear namespace", "vm kill all", "vm flush")
    assert shared.guests_left() == []


@pytest.fixture
def fifo(shared: Product) -> Iterator[Path]:
    """What a program waits for."""
    path = shared.base / "fifo"
    os.mkfifo(path)
    yield path
    path.unlink()


def parsed(product: Product, *arguments: object) -> Any:
    """What a subcommand prints with --json."""
    done = product.minibus(str(arguments[0]), "--json", *arguments[1:])
    assert done.status == 0, done
    return json.loads(done.out)


def newest(product: Product, type_: str) -> Found:
    """The last root of this type."""
    found: Found = [root for root in parsed(product, "trace") if root["type"] == type_][-1]
    return found


def types(step: Found) -> list[str]:
    """Of a step and all below it, depth first."""
    return [step["type"], *(type_ for child in step["children"] for type_ in types(child))]


# --- trace


def test_a_launch_across_all_actors(shared: Product, console: Console) -> None:
    console.ok("vm launch container web[1-3]")
    root = newest(shared, "vm launch container")
    assert types(root) == [
        *("vm launch container", "namespace.queue", "vm.names.get", "schedule.place", "vm.load.get"),
        *("vm.launch", "guest.create"),
    ]
    text = shared.minibus("trace", root["id"][:8]).out
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0].endswith(root["id"])
    assert any("namespace.queue cli -> namespace names=web[1-3] kind=container ok took" in line for line in lines)
    assert any("warden_answered reported in container 3 times in" in line for line in lines)


def test_what_a_command_says_about_itself_holds_no_secret(shared: Product, console: Console) -> None:
    console.ok("vm config append top-secret-1", "clear vm config append")
    console.error("shell false top-secret-2")
    assert newest(shared, "shell")["outcome"] == "error"
    everything = shared.minibus("inputs", "--json").out + shared.minibus("trace", "--json").out
    assert "top-secret" not in everything


def test_a_request_in_flight(shared: Product, fifo: Path) -> None:
    request = json.dumps({"argv": ["cat", str(fifo)]})
    arguments = ("--base", str(shared.base), "--id", "in-flight-1", "host", "host.program.run", request)
    asking = subprocess.Popen([MINIBUS, "ask", *arguments], stdout=subprocess.PIPE)
    until(lambda: "in-flight-1" in shared.minibus("inputs", "host").out, "the request")
    assert "host.program.run client -> host in progress" in " ".join(shared.minibus("trace", "in-flight").out.split())
    with fifo.open("wb", buffering=0) as file:
        file.write(b"done\n")
    out, _ = asking.communicate(timeout=PATIENCE_S)
    assert (asking.returncode, json.loads(out)["type"]) == (0, "host.program.ended")
    assert parsed(shared, "trace", "in-flight-1")["outcome"] == "ok"


def test_after_a_crash_the_journal_still_tells_and_ps_says_why(shared: Product, console: Console) -> None:
    console.ok("vm launch container before")
    old = shared.kill("vm")
    shared.replaced("vm", old)
    until(lambda: shared.ps()["vm"]["state"] == "running", "vm to run again")
    process = shared.ps()["vm"]
    assert (process["restarts"], process["reason"]) == (1, "killed by SIGKILL")
    assert [fall["kind"] for fall in process["falls"]] == ["killed"]
    root = newest(shared, "vm launch container")
    assert "vm.launch" in types(root)
    assert "before a restart" in shared.minibus("trace", root["id"]).out
    assert "(before a restart)" in shared.minibus("inputs", "vm").out


def test_a_hung_actor_is_said_to_have_hung(shared: Product) -> None:
    node = shared.kill("node", signal.SIGSTOP)  # it would end the other, perhaps before anybody has asked
    old = shared.kill("scheduler", signal.SIGSTOP)
    try:
        done = shared.minibus("inputs", "scheduler")
        os.kill(node, signal.SIGCONT)
        assert (done.status, "no answer from scheduler" in done.sentence()) == (1, True)
        shared.replaced("scheduler", old, 20.0)
    finally:
        os.kill(node, signal.SIGCONT)
        if shared.pid("scheduler") == old:
            os.kill(old, signal.SIGKILL)
    assert shared.ps()["scheduler"]["reason"] == "hung: no answer for 5 s"
    until(lambda: shared.minibus("inputs", "scheduler").status == 0, "its successor to answer")


# --- ask


def test_ask_and_what_comes_back(shared: Product, console: Console) -> None:
    console.ok("vm launch container web")
    assert parsed(shared, "ask", "vm", "vm.list.get", '{"target": "web"}')["vms"][0]["state"] == "BUILDING"
    for _ in range(2):
        reply = parsed(shared, "ask", "--id", "tag-1", "vm", "vm.tag", '{"target": "web", "key": "k", "value": "v"}')
        assert reply["results"][0]["name"] == "web"
    assert [one["summary"] for one in parsed(shared, "trace", "tag-1")["seen"]] == ["target=web key=k"] * 2
    done = shared.minibus("ask", "vm", "vm.list.get", '{"target": "nobody"}')
    assert done.sentence() == f"minibus: vm not found: nobody (not_found, from vm@{os.uname().nodename.split('.')[0]})"
    failed = shared.minibus("ask", "--json", "vm", "vm.list.get", '{"target": "nobody"}')
    assert (failed.status, json.loads(failed.out)["code"], failed.err) == (1, "not_found", "")
    assert "no field `x`" in shared.minibus("ask", "vm", "vm.start", '{"x": 1}').sentence()
    assert "no actor `nobody`" in shared.minibus("ask", "nobody", "control.ping").sentence()
    endless = shared.minibus("ask", "vm", "vm.top", '{"window_s": 1e308}')
    assert "`window_s` is a number of seconds from 0 to 3600, not 1e+308" in endless.sentence()
    elsewhere = parsed(shared, "ask", "--namespace", "elsewhere", "vm", "vm.list.get")
    assert elsewhere.get("vms", []) == []


def test_nobody_knows_whether_it_was_done(shared: Product, fifo: Path) -> None:
    request = json.dumps({"argv": ["cat", str(fifo)]})
    done = shared.minibus("ask", "--timeout", "0.2", "--id", "late-1", "host", "host.program.run", request)
    assert done.status == 3
    assert "outcome is unknown (deadline); `--id late-1` asks again" in done.sentence()
    again = [str(MINIBUS), "ask", "--base", str(shared.base), "--id", "late-1", "host", "host.program.run", request]
    asking = subprocess.Popen(again, stdout=subprocess.PIPE)
    with fifo.open("wb", buffering=0) as file:
        file.write(b"once\n")
    out, _ = asking.communicate(timeout=PATIENCE_S)
    assert json.loads(out)["type"] == "host.program.ended"


def test_fields_from_stdin(shared: Product) -> None:
    command = [str(MINIBUS), "ask", "--base", str(shared.base), "vm", "vm.list.get", "-"]
    done = subprocess.run(command, input=b'{"target": "all"}', capture_output=True, timeout=PATIENCE_S)
    assert (done.returncode, json.loads(done.stdout)["type"], done.stderr) == (0, "vm.list", b"")
    done = subprocess.run(command, input=b"\xff\xfe", capture_output=True, timeout=PATIENCE_S)
    assert done.returncode == 1
    assert done.stderr.startswith(b"minibus: ")
    assert b"Traceback" not in done.stderr


def test_what_there_is_to_ask(shared: Product) -> None:
    listed = {one["actor"]: {request["type"] for request in one["requests"]} for one in parsed(shared, "ask", "--list")}
    assert {"node", "broker", "vm", "container", "cli", "metrics"} <= set(listed)
    assert {"vm.start", "vm.list.get", "control.ping"} <= listed["vm"]
    assert {"node.stop", "node.actors.get"} <= listed["node"]
    assert "  vm.start -> vm.report" in shared.minibus("ask", "vm").out
    assert "there is no actor `nobody`; there are broker," in shared.minibus("ask", "--list", "nobody").sentence()


# --- topics, rate, inputs


def test_topics(shared: Product, console: Console) -> None:
    console.ok("vm launch container topical", "vm start all", "vm kill all", "vm flush")
    tapping = subprocess.Popen([MINIBUS, "tap", "--base", str(shared.base), "vm/"], stdout=subprocess.PIPE)
    try:
        until(
            lambda: all(one["readers"] == 2 for one in parsed(shared, "topics", "vm/minimega/topical/")),
            "the tap and the actor cc as readers",
        )
    finally:
        tapping.terminate()
        tapping.communicate(timeout=PATIENCE_S)
    found = {one["topic"]: one for one in parsed(shared, "topics", "vm/minimega/topical/")}
    assert [topic.split("/")[3] for topic in found] == ["flushed", "launched", "quit", "started"]
    assert all(one["publishers"][0].startswith("vm@") and one["count"] >= 1 for one in found.values())
    assert shared.minibus("topics", "nothing/").out.splitlines()[-1].startswith("0 topics in the ")


def test_rate(shared: Product) -> None:
    done = shared.minibus("rate", "--json", "--for", "2.3", "stats/")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert (done.status, done.err, [row.get("total") for row in rows]) == (0, "", [None, None, None, True])
    assert rows[-1]["events"] == sum(row["events"] for row in rows[:-1])
    assert rows[-1]["events"] >= 11
    assert rows[-1]["lost"] == 0
    assert 0 < rows[-1]["p50_bytes"] <= rows[-1]["max_bytes"]


@pytest.mark.parametrize(
    ("arguments", "last"), [(("rate", "stats/"), b"all"), (("topics", "--watch"), b""), (("inputs", "--follow"), b"")]
)
def test_ctrl_c(shared: Product, arguments: tuple[str, ...], last: bytes) -> None:
    command = [str(MINIBUS), arguments[0], "--base", str(shared.base), *arguments[1:]]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (130, b"")
    assert out.rstrip().endswith(last)


@pytest.mark.parametrize("arguments", [("rate", "stats/"), ("topics", "--watch"), ("inputs", "--follow", "broker")])
def test_nobody_reads_any_more(shared: Product, arguments: tuple[str, ...]) -> None:
    command = [str(MINIBUS), arguments[0], "--base", str(shared.base), *arguments[1:]]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline()
    process.stdout.close()
    until(lambda: bool(shared.ps()) and process.poll() is not None, "its end")  # `ps` is an input of the broker
    assert process.stderr is not None
    with process.stderr:
        assert (process.returncode, process.stderr.read()) == (141, b"")


def test_who_watches_goes_on_after_a_restart_of_the_broker(shared: Product) -> None:
    command = [str(MINIBUS), "topics", "--base", str(shared.base), "--watch", "--json", "stats/"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        shown = process.stdout
        assert shown is not None
        assert shown.readline()
        old = shared.kill("broker")
        shared.replaced("broker", old, 20.0)
        again_s = time.time()
        until(lambda: any(one["last_s"] > again_s for one in json.loads(shown.readline())), "it to go on")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130


@pytest.mark.parametrize("tool", [("ask", "vm", "control.ping"), ("inputs",), ("rate", "vm/"), ("topics",), ("trace",)])
def test_where_nothing_runs(base_dir: Path, rootfs: Path, tool: tuple[str, ...]) -> None:
    assert "minibus is not running on" in Product(base_dir, rootfs).minibus(*tool).sentence()


@pytest.mark.parametrize(
    "arguments",
    [
        *(
            ("rate",),
            ("rate", "--for", "0", "x"),
            ("rate", "--for", "1e3", "x"),
            ("ask",),
            ("ask", "--timeout", "-1", "vm"),
        ),
        *(("topics", "--follow"), ("trace", "a", "b"), ("ask", "a", "b", "{}", "d"), ("ask", "--list", "a", "b")),
    ],
)
def test_arguments_that_make_no_sense(shared: Product, arguments: tuple[str, ...]) -> None:
    done = shared.minibus(*arguments)
    assert done.status == 2
    done.sentence()


# --- metrics


def scrape(product: Product) -> dict[tuple[str, tuple[str, ...]], float]:
    """Name and values of the labels, by their names, to value."""
    address = (product.base / "run" / "metrics").read_text().strip()
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=PATIENCE_S) as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        text = answer.read().decode()
    return {
        (sample.name, tuple(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_tell_what_is_so(shared: Product, console: Console) -> None:
    console.ok("vm launch container web[1-3]", "vm start web1")
    until(lambda: ("minibus_vms", ("container", "minimega", "RUNNING")) in scrape(shared), "the VMs")
    until(lambda: all(scrape(shared).get(("minibus_up", (name,))) == 1 for name in shared.ps()), "the processes")
    found = scrape(shared)
    assert found["minibus_vms", ("container", "minimega", "RUNNING")] == 1
    assert found["minibus_vms", ("container", "minimega", "BUILDING")] == 2
    for name, process in shared.ps().items():
        assert found["minibus_process_proportional_memory_bytes", (name,)] == pytest.approx(
            process["pss_mib"] * 1024 * 1024, rel=0.5
        )
    assert found["minibus_requests_total", ("vm", "ok")] >= 1
    assert found["minibus_request_duration_seconds_count", ("vm",)] >= 1
    assert found["minibus_bus_events_total", ()] > 0


def test_a_crash_of_the_endpoint_keeps_its_port(shared: Product) -> None:
    file = shared.base / "run" / "metrics"
    before, number = file.read_text(), file.stat().st_ino
    old = shared.kill("metrics")
    shared.replaced("metrics", old)
    key = ("minibus_restarts_total", ("metrics", "killed"))
    until(lambda: scrape(shared).get(key, 0) >= 1, "its successor to serve")
    assert file.read_text() == before
    assert file.stat().st_ino != number, "it is written in place, so a reader can find it empty"


def test_metrics_are_served_where_their_address_cannot_be_written(shared: Product) -> None:
    file = shared.base / "run" / "metrics"
    address = file.read_text()
    host, port = address.strip().split(":")
    file.unlink()
    file.mkdir()  # stands for a full disk
    try:
        old = shared.kill("metrics")
        shared.replaced("metrics", old)
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            assert client.makefile("rb").readline() == b"HTTP/1.1 200 OK\r\n"
    finally:
        file.rmdir()
        file.write_text(address)
    assert shared.ps()["metrics"]["restarts"] <= 2


@pytest.mark.parametrize("where", ["99999", "localhost:80", "192.0.2.1:0"])
def test_where_metrics_cannot_be_served(base_dir: Path, rootfs: Path, where: str) -> None:
    product = Product(base_dir, rootfs)
    try:
        said = product.minibus("up", "--detach", "--metrics", where).sentence()
        assert "metrics" in said
        assert where.removesuffix(":0") in said
    finally:
        product.end()
