"""The section of programs and libraries that others bring."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import Final, NamedTuple

from shims.doctor.feature import Feature, Section, is_present
from shims.doctor.source import Source


class Wanted(NamedTuple):
    """A program, a library by its soname, or a file by its path."""

    name: str
    package: str
    """Debian's."""
    costs: str
    minor: bool = True


_NFT: Final = "addresses of guests in `vm info`, and `tap mirror`"
WANTED: Final = (
    Wanted(
        "libseccomp.so.2",
        "libseccomp2",
        "keeping containers from regaining capabilities by system calls, which is `vm config seccomp true`",
        minor=False,
    ),
    Wanted("stdbuf", "coreutils", "programs in pipelines that write line by line", minor=False),
    Wanted("/etc/ssl/certs/ca-certificates.crt", "ca-certificates", "downloads by https, unless SSL_CERT_FILE is set"),
    Wanted("busybox", "busybox-static", "the small root file system of `just rootfs` and of the demo"),
    Wanted("ip", "iproute2", "looking at networks by hand"),
    Wanted("tcpdump", "tcpdump", "looking at traffic by hand"),
    Wanted("libnftables.so.1", "libnftables1", _NFT, minor=False),
    Wanted("/usr/lib/python3/dist-packages/nftables", "python3-nftables", _NFT, minor=False),
    Wanted("dnsmasq", "dnsmasq-base", "addresses and names for guests, which is `dnsmasq start`"),
    Wanted("libpcap.so.0.8", "libpcap0.8", "captures, once there are such"),
    Wanted("qemu-system-x86_64", "qemu-system-x86", "KVM guests, once there are any"),
    Wanted("qemu-img", "qemu-utils", "disks of KVM guests, once there are any"),
)


@dataclass(frozen=True)
class ProgramFacts:
    """What was found: where each wanted thing is."""

    places: dict[str, str]


def look(source: Source) -> ProgramFacts:
    """Look them up."""
    libraries = source.text("/etc/ld.so.cache")
    return ProgramFacts({wanted.name: place for wanted in WANTED if (place := _place(source, wanted.name, libraries))})


def judge(facts: ProgramFacts) -> list[Feature]:
    """The features of these facts."""
    return [
        Feature(
            section=Section.PROGRAMS,
            name=wanted.package if wanted.name.startswith("/") else wanted.name,
            state=is_present(wanted.name in facts.places),
            found=facts.places.get(wanted.name, ""),
            costs=wanted.costs,
            command=f"apt-get install {wanted.package}",
            minor=wanted.minor,
        )
        for wanted in WANTED
    ]


def _place(source: Source, name: str, libraries: str) -> str:
    if name.startswith("/"):
        return name if source.exists(name) else ""
    if ".so." in name:
        # The cache of ld.so(8) holds the paths as texts that end with a zero byte.
        before, found, _ = libraries.partition(f"/{name}\0")
        return before.rpartition("\0")[2] + found.rstrip("\0") if found else ""
    # Users without root often lack these two in their PATH.
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin") or ""
