"""The set-up of a container: worked out by the warden, carried out by the new process before its init."""
