"""Whole messages in a run of bytes; their readers and writers need that too, so it is in `bus.pipe_messages`."""

from bus.pipe_messages import (
    LENGTH as LENGTH,
    MAX_MESSAGE as MAX_MESSAGE,
    MAX_WRITE as MAX_WRITE,
    Content as Content,
    MessageError as MessageError,
    content_of as content_of,
    frame as frame,
    last_of as last_of,
    payload as payload,
    split as split,
)
