"""Topics: words joined by `/`, each topic ending in `/`, so that a prefix never matches half a word."""

from __future__ import annotations

from urllib.parse import quote, unquote

MAX_TOPIC = 1024
"""Bytes; longer topics are refused by the broker."""


def topic(*parts: str) -> str:
    """The topic of these words; what is not a letter, digit or one of `_.-~` is percent-encoded (RFC 3986)."""
    return "".join(f"{quote(part, safe='')}/" for part in parts)


def vm_topic(namespace: str, name: str, what: str) -> str:
    """Life cycle of a VM, e.g. `vm/minimega/web1/started/`."""
    return topic("vm", namespace, name, what)


def namespace_topic(namespace: str, what: str) -> str:
    """Beginning and end of a namespace, e.g. `namespace/exp1/opened/`."""
    return topic("namespace", namespace, what)


def stats_topic(host: str, actor: str) -> str:
    """Counters of an actor, once a second."""
    return topic("stats", host, actor)


def log_topic(host: str, actor: str, level: str) -> str:
    """Log records of an actor."""
    return topic("log", host, actor, level)


def node_topic(host: str, actor: str, what: str) -> str:
    """What happens to the processes of a node, e.g. `node/kn1/vm/restarted/`."""
    return topic("node", host, actor, what)


def job_topic(host: str, job_id: int) -> str:
    """What becomes of a background job."""
    return topic("node", host, "job", str(job_id))


def file_topic(host: str, what: str) -> str:
    """Transfers of files: `started`, `progress`, `done` or `failed`."""
    return topic("file", host, what)


def pipe_topic(namespace: str, pipe: str, reader: str = "") -> str:
    """Messages of a pipe: those for everybody, or those for one reader alone."""
    return topic("pipe", namespace, pipe, "to", reader) if reader else topic("pipe", namespace, pipe, "all")


def pipe_end_topic(namespace: str, pipe: str) -> str:
    """Where the deletion of a pipe is told."""
    return topic("pipe", namespace, pipe, "end")


def pipeline_topic(namespace: str, state: str) -> str:
    """What becomes of pipelines, e.g. `pipeline/minimega/failed/`."""
    return topic("pipeline", namespace, state)


def cc_topic(namespace: str, uuid: str, *what: str) -> str:
    """What a guest's agent tells, e.g. `cc/minimega/<uuid>/3/stdout/` or `cc/minimega/<uuid>/connected/`."""
    return topic("cc", namespace, uuid, *what)


def net_topic(namespace: str, what: str) -> str:
    """What becomes of interfaces, e.g. `net/minimega/connected/`."""
    return topic("net", namespace, what)


def words(topic_text: str) -> tuple[str, ...]:
    """What `topic` was made of."""
    return tuple(unquote(part) for part in topic_text.split("/")[:-1])


def sync_topic(nonce: str) -> str:
    """Subscribe to this after others to learn when those are in force."""
    return topic("sync", nonce)
