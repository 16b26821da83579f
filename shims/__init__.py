"""The only code that touches the kernel or starts programs; knows the bus's messages, nothing of actors."""
