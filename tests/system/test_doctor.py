"""`minibus doctor` and `minibus up --tune-host` on this machine, in namespaces where they change something."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from shims.doctor import tries
from shims.doctor.tune import RECORD, TARGETS
from tests.system.product import MINIBUS, Done, product_on, run

SYSCTLS = ("kernel/random/boot_id", "kernel/cap_last_cap", "kernel/seccomp/actions_avail", "fs/nr_open")
"""What minibus itself reads of /proc/sys."""


def doctor(base: Path, *options: object, user: int = 0) -> tuple[int, dict[str, Any]]:
    """Exit status and report."""
    done = run("doctor", "--base", base, "--json", *options, user=user)
    assert done.err == ""
    return done.status, json.loads(done.out)


def states(report: dict[str, Any]) -> dict[str, str]:
    """State by name."""
    return {feature["name"]: feature["state"] for feature in report["features"]}


def in_mounts_of_its_own(script: str, *arguments: object) -> Done:
    """Run a shell script in a new mount namespace, with `minibus` as $0."""
    command = ["unshare", "--mount", "sh", "-ec", script, str(MINIBUS), *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/")
    return Done(ended.returncode, ended.stdout, ended.stderr)


def limits() -> dict[str, str]:
    """Those of this host that can be raised."""
    return {name: Path(f"/proc/sys/{name.replace('.', '/')}").read_text() for name in TARGETS}


def machine() -> dict[str, str]:
    """What looking must not change. Others may; so a test that compares it is listed as alone."""
    found = limits()
    found["modules"] = Path("/proc/modules").read_text() if Path("/proc/modules").exists() else ""
    found["mounts"] = Path("/proc/self/mountinfo").read_text()
    found["devices"] = " ".join(sorted(path.name for path in Path("/sys/class/net").iterdir()))
    return found


# ---------------------------------------------------------------- doctor


def test_this_host_is_fit_and_stays_as_it_is(tmp_path: Path) -> None:
    for _ in range(3):  # somebody else may have changed something meanwhile, but not each time
        before = machine()
        status, report = doctor(tmp_path / "not" / "there")
        after = machine()
        if after == before:
            break
    assert after == before
    assert list(tmp_path.iterdir()) == []
    assert (status, report["ready"]) == (0, True)
    assert set(report) == {"host", "kernel", "user", "ready", "features", "capacity"}
    found = states(report)
    assert {found[name] for name in ("overlay", "overlay on it", "clone3", "cgroup freezer", "devpts")} == {"ok"}
    networks = ("bridge", "veth", "cls_bpf", "nftables bridge")
    assert {found[name] for name in networks} <= {"ok", "missing"}, "they were tried"
    capacity = report["capacity"]
    assert capacity["fits"] == capacity["resources"][0]["fits"] > 0
    assert capacity["guest"] == {"memory_mib": 0, "interfaces": 0, "processes": 1, "watchers": 0}


def test_it_reads_well(tmp_path: Path) -> None:
    done = run("doctor", "--base", tmp_path, "--memory", 100_000, "--interfaces", 3, "--expect", 20)
    assert done.status == 0
    assert "guests that fit (containers, using 100,000 MiB, each with 3 interfaces and 1 process)\n" in done.out
    assert "\033" not in done.out
    assert "This host can run containers.\n" in done.out
    assert "what runs out first: memory" in done.out


def test_without_root_it_says_what_it_could_not_see(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    status, report = doctor(tmp_path, user=65534)
    assert (status, report["ready"]) == (1, False)
    found = states(report)
    assert found["root"] == "missing"
    assert {found[name] for name in ("overlay on it", "bridge", "netem")} == {"unknown"}
    assert [each["name"] for each in report["features"] if each["required"] and each["state"] != "ok"] == ["root"]
    text = run("doctor", "--base", tmp_path, user=65534)
    assert text.status == 1
    assert text.out.endswith("Containers need root. As far as this user can see, root can run them on this host.\n")


@pytest.mark.parametrize(
    "options",
    [
        ["--expect", "0"],
        ["--memory", "x"],
        ["--interfaces", "-1"],
        ["--processes", "0"],
        ["--detach"],
        ["more"],
        ["--expect"],
        ["--untune", "--json"],
    ],
)
def test_bad_options_get_one_sentence(options: list[str]) -> None:
    done = run("doctor", *options)
    assert done.status == 2
    done.sentence()


@pytest.mark.parametrize("path", ["/etc/passwd", "/etc/passwd/below", "/proc/self/none", "/sys/kernel"])
def test_what_can_be_no_base_directory_is_seen(path: str) -> None:
    status, report = doctor(Path(path))
    assert (status, states(report)[path]) == (1, "missing")


def test_odd_names_are_shown_in_one_line(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"a\nb\xff\x1b[31m")
    assert f"{tmp_path}/a\ufffdb\ufffd\ufffd[31m ext4" in run("doctor", "--base", odd).out.replace("tmpfs", "ext4")
    assert doctor(odd)[0] == 0


def test_nobody_who_reads_is_no_reason_for_a_traceback() -> None:
    for redirection, status in ((">&-", 0), (">/dev/full", 1), ("2>&- >/dev/null", 0)):
        done = subprocess.run(["sh", "-c", f'exec "$0" doctor {redirection}', MINIBUS], capture_output=True, timeout=60)
        assert (done.returncode, b"Traceback" in done.stderr) == (status, False)


def test_what_is_wrong_with_a_base_directory_is_seen(tmp_path: Path) -> None:
    script = 'mount -t tmpfs -o noexec,nodev none "$1"; mkdir "$1/base"; exec "$0" doctor --json --base "$1/base"'
    done = in_mounts_of_its_own(script, tmp_path)
    assert done.status == 0, done.err
    features = {feature["name"]: feature for feature in json.loads(done.out)["features"]}
    assert features["noexec"]["state"] == features["nodev"]["state"] == "limited"
    assert features["noexec"]["command"] == f"mount -o remount,exec {tmp_path}"
    assert features["overlay on it"]["state"] == "ok"

    done = in_mounts_of_its_own('mount -t tmpfs -o ro none "$1"; exec "$0" doctor --json --base "$1"', tmp_path)
    assert done.status == 1
    features = {feature["name"]: feature for feature in json.loads(done.out)["features"]}
    assert features[str(tmp_path)]["state"] == "missing"
    assert features[str(tmp_path)]["command"] == f"mount -o remount,rw {tmp_path}"
    assert features["overlay on it"]["state"] == "unknown"


def test_a_file_system_without_overlays_is_seen(tmp_path: Path) -> None:
    """An overlay's upper directory cannot be on an overlay."""
    script = """
mount -t tmpfs none "$1"; mkdir "$1/l" "$1/u" "$1/w" "$1/o"
mount -t overlay -o "lowerdir=$1/l,upperdir=$1/u,workdir=$1/w" none "$1/o"
exec "$0" doctor --json --base "$1/o"
"""
    done = in_mounts_of_its_own(script, tmp_path)
    assert done.status == 0, done.err
    features = {feature["name"]: feature for feature in json.loads(done.out)["features"]}
    assert features["overlay on it"]["state"] == "missing"
    assert "instead of overlay" in features["overlay on it"]["advice"]


def test_a_read_only_cgroup_tree_is_seen(tmp_path: Path) -> None:
    script = """
awk '$(NF-2) ~ /^cgroup2?$/ || $9 ~ /^cgroup2?$/ {print $5}' /proc/self/mountinfo |
while read -r tree; do mount -o remount,bind,ro "$tree"; done
exec "$0" doctor --json --base "$1"
"""
    done = in_mounts_of_its_own(script, tmp_path)
    assert done.status == 1, done
    features = {feature["name"]: feature for feature in json.loads(done.out)["features"]}
    assert features["cgroup freezer"]["state"] == "missing"
    assert features["cgroup freezer"]["found"].endswith("mounted read-only")
    assert features["cgroup freezer"]["command"].startswith("mount -o remount,rw ")


# ---------------------------------------------------------------- trying


def test_tries_do_not_hinder_each_other() -> None:
    def fail() -> None:
        raise OSError(95, "Operation not supported")

    def crash() -> None:
        raise ValueError("odd")

    outcomes = tries.run({"fails": fail, "crashes": crash, "works": lambda: None})
    assert outcomes == {"fails": "Operation not supported", "crashes": "ValueError: odd", "works": ""}


@pytest.mark.parametrize("end", [lambda: time.sleep(1000), lambda: os.kill(os.getpid(), signal.SIGKILL)])
def test_one_that_hangs_or_dies_costs_only_those_after_it(end: tries.Try) -> None:
    begun_s = time.monotonic()
    assert tries.run({"works": lambda: None, "ends": end, "after": lambda: None}, timeout_s=1.0) == {"works": ""}
    assert time.monotonic() - begun_s < 30


def test_a_family_of_nftables_that_there_is_not_is_refused() -> None:
    assert tries.run({"none": tries.nft_table(99)})["none"] != ""
    assert tries.run({"none": tries.link("bogus")})["none"] != ""


# ---------------------------------------------------------------- tuning


def test_a_real_sysctl_is_raised_and_put_back(tmp_path: Path) -> None:
    """One that each network namespace has of its own."""
    script = """
import sys
from pathlib import Path
from shims.doctor.source import Source
from shims.doctor.tune import Tuning
source = Source()
before = source.sysctl("net.core.somaxconn")
for _ in range(2):
    tuning = Tuning(Path(sys.argv[1]), source)
    tuning.tune({"net.core.somaxconn": before + 1000})
    print(tuning.said, tuning.problems, source.sysctl("net.core.somaxconn") - before)
tuning = Tuning(Path(sys.argv[1]), source)
tuning.restore()
print(len(tuning.said), source.sysctl("net.core.somaxconn") - before)
tuning.tune({"net.core.somaxconn": 1 << 40})
print(tuning.problems)
"""
    before = Path("/proc/sys/net/core/somaxconn").read_text()
    command = ["unshare", "--net", sys.executable, "-c", script, str(tmp_path)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=root)
    first, second, restored, refused = done.stdout.splitlines()
    assert first.startswith("['net.core.somaxconn: ")
    assert first.endswith(" [] 1000")
    assert second == "[] [] 1000"
    assert restored == "1 0"
    assert "invalid argument" in refused
    assert Path("/proc/sys/net/core/somaxconn").read_text() == before
    assert list(tmp_path.iterdir()) == []


def test_up_tunes_and_doctor_puts_back(base_dir: Path, rootfs: Path, tmp_path: Path) -> None:
    """The machine's own /proc/sys is covered by a directory."""
    fake = tmp_path / "sys"
    for name in SYSCTLS:
        (fake / name).parent.mkdir(parents=True, exist_ok=True)
        (fake / name).write_text(Path(f"/proc/sys/{name}").read_text())
    low = {name: fake / name.replace(".", "/") for name in TARGETS}
    for path in low.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("100\n")
    low["vm.max_map_count"].unlink()
    before = limits()
    covered = f'mount --bind {fake} /proc/sys; exec "$0"'
    with product_on(base_dir, rootfs, up=False) as product:
        done = in_mounts_of_its_own(f'{covered} up --base "$1" --detach --tune-host', base_dir)
        assert done.status == 0, done
        assert "kernel.pty.max: 100 -> 32,768\n" in done.out
        assert "minibus: vm.max_map_count is not there: this kernel" in done.err
        assert low["kernel.pty.max"].read_text().split()[0] == "32768"
        assert (base_dir / RECORD).is_file()
        product.everything_answers()
        product.down()

        done = in_mounts_of_its_own(f'{covered} doctor --base "$1" --untune', base_dir)
        assert (done.status, done.err) == (0, "")
        assert done.out.count("-> 100\n") == len(TARGETS) - 1
        assert {path.read_text().split()[0] for path in low.values() if path.is_file()} == {"100"}
        assert not (base_dir / RECORD).exists()
        again = in_mounts_of_its_own(f'{covered} doctor --base "$1" --untune', base_dir)
        assert again == Done(0, "nothing had to be changed\n", "")
    assert limits() == before


def test_tuning_needs_root(tmp_path: Path) -> None:
    done = run("doctor", "--untune", "--base", tmp_path, user=65534)
    assert (done.status, done.sentence()) == (1, "minibus: limits of the host are root's to change")
