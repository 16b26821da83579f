"""The fixtures of system tests."""

from tests.system.conftest import host, rootfs

__all__ = ["host", "rootfs"]
