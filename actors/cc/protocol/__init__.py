"""The agent's protocol as classes (docs/agent-protocol.md)."""
