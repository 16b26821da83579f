"""Stands in for the standard module in the agent's program: there nobody looks at types, and the real one is large."""

TYPE_CHECKING = False
Any = object
