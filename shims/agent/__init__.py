"""The guest agent: what runs inside guests. Imports only the standard library and msgpack, and knows no bus."""

VERSION = "0.1.0"
