"""docs/examples/lab, the experiment of the README, does what the README says."""

from __future__ import annotations

from pathlib import Path

from tests.system.product import Product

ROOT = Path(__file__).parents[2]
LAB = ROOT / "docs" / "examples" / "lab"


def test_the_experiment_of_the_readme(shared: Product, agent_rootfs: Path, tmp_path: Path) -> None:
    assert LAB.read_text() in (ROOT / "README.md").read_text()
    script = tmp_path / "lab"
    script.write_text(LAB.read_text().replace("filesystem rootfs", f"filesystem {agent_rootfs}"))
    done = shared.minibus("read", script)
    assert done.status == 0, done
    with shared.console() as console:
        try:
            console.ok("namespace lab")
            uuids = {row["name"]: row["uuid"] for row in console.rows()}
            assert sorted(uuids) == ["client1", "client2", "web"]
            assert console.ok("cc responses 3 raw").split() == [uuids["web"]]
            assert console.vm("web")["qos"] == "[0: rate 10mbit]"
        finally:
            console.ok("clear namespace lab")
        assert "lab" not in [row["namespace"] for row in console.rows("namespace")]
    assert shared.guests_left() == []
