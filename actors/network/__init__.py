"""Networks of this host: interfaces of guests, host taps, mirrors, trunks."""
