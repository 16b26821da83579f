"""Every message of the bus; importing this package makes them all known to the codec."""

from bus.messages import console, control, debug, files, guest, host, namespace, pipe, pipeline, schedule, vm

__all__ = ["console", "control", "debug", "files", "guest", "host", "namespace", "pipe", "pipeline", "schedule", "vm"]
