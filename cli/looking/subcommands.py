"""The subcommands that look at the bus: from the words of a command line to the tool."""

from __future__ import annotations

from cli.arguments import Options, UsageError, seconds
from cli.place import Place


def run(place: Place, subcommand: str, options: Options, words: list[str]) -> int:
    """Run one of them; returns the exit status. Raises UsageError."""
    as_json = options.is_on("json")
    first = words[0] if words else ""
    match subcommand:
        case "ask":
            return _ask(place, options, words)
        case "inputs":
            from cli.looking.inputs import inputs

            return inputs(place, first, as_json=as_json, follow=options.is_on("follow"))
        case "rate":
            from cli.looking.rate import rate

            if not words:
                raise UsageError("rate needs a topic, e.g. vm/")
            return rate(place, first, as_json=as_json, for_s=seconds(options, "for"))
        case "topics":
            from cli.looking.topics import topics

            return topics(place, first, as_json=as_json, watch=options.is_on("watch"))
        case _:
            from cli.looking.trace import trace

            return trace(place, first, as_json=as_json)


def _ask(place: Place, options: Options, words: list[str]) -> int:
    from cli.looking.ask import TIMEOUT_S, Asked, ask, list_requests

    as_json = options.is_on("json")
    if options.is_on("list") and len(words) > 1:
        raise UsageError(f"ask --list does not take `{words[1]}`")
    if options.is_on("list") or len(words) == 1:
        return list_requests(place, words[0] if words else "", as_json=as_json)
    if not words:
        raise UsageError("ask needs an actor and a request, or --list")
    asked = Asked(
        actor=words[0],
        type=words[1],
        fields=words[2] if len(words) > 2 else "",
        namespace=options.values.get("namespace", ""),
        msg_id=options.values.get("id", ""),
        timeout_s=seconds(options, "timeout") or TIMEOUT_S,
    )
    return ask(place, asked, as_json=as_json)
