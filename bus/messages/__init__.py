"""Every message of the bus; importing this package makes them all known to the codec."""

from bus.messages import control, guest, namespace, schedule, vm

__all__ = ["control", "guest", "namespace", "schedule", "vm"]
