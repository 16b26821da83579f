"""Called as `minimega`: relative names of files start where the daemon was started, as scripts expect it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.system.product import MINIBUS, PATIENCE_S, Product, until


def test_relative_names_start_where_the_daemon_was_started(tmp_path: Path, base_dir: Path, rootfs: Path) -> None:
    link = tmp_path / "minimega"
    link.symlink_to(MINIBUS)
    (tmp_path / "script").write_text("echo from the script\n")
    product = Product(base_dir, rootfs)

    def execute(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [str(link), "-base", str(base_dir), "-e", *words]
        return subprocess.run(argv, cwd="/", capture_output=True, text=True, timeout=PATIENCE_S)

    daemon = subprocess.Popen([link, "-base", base_dir, "-nostdin"], cwd=tmp_path)
    try:
        until(lambda: execute("version").returncode == 0, "the daemon to answer")
        assert execute("read", "script").stdout.endswith(": from the script\n")
        assert execute("shell", "pwd").stdout.endswith(f": {tmp_path}\n")
        assert execute("viz", "graph").stdout.endswith(f": written to {tmp_path / 'graph'}\n")
        assert execute("quit").returncode == 0
        assert daemon.wait(PATIENCE_S) == 0
    finally:
        daemon.kill()
        daemon.wait()
        product.end()
