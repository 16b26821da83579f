"""The message bus: messages, codec, broker, ports, the actor base, the node, the store. Knows no actor.

Importing this package imports nothing else, so that one-shot commands start fast; import the module you need.
"""
