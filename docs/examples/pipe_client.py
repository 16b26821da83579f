"""Taps, writes and reads a pipe of minibus. Needs pyzmq and msgpack, nothing of minibus.

pipe_client.py BASE tap PIPE      print what passes, until the pipe is deleted; may lose, and says how much
pipe_client.py BASE write PIPE    write the lines of standard input; returns when the attached readers have them
pipe_client.py BASE read PIPE     print every line from now on, until the pipe is deleted; loses nothing
"""

import secrets
import sys
import time
from urllib.parse import quote

import msgpack
import zmq

NAMESPACE = "minimega"
ASK_AGAIN = ("unreachable", "overloaded", "cancelled", "deadline")  # the plumber or the broker may be restarting
PERHAPS_DONE = ("cancelled", "deadline")


class Failure(Exception):
    """A request was not answered by a reply."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Client:
    def __init__(self, base):
        self.base = base
        self.context = zmq.Context()
        self.requests = self.connect(zmq.DEALER, "requests")

    def connect(self, kind, endpoint):
        socket = self.context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(f"ipc://{self.base}/bus/{endpoint}")
        return socket

    def ask(self, kind, timeout_s, **fields):
        """The body of the plumber's reply; raises Failure."""
        msg_id = secrets.token_hex(8)
        head = {"v": 1, "kind": "request", "id": msg_id, "to": "plumber", "namespace": NAMESPACE}
        head["ttl_ms"] = int(timeout_s * 1000)
        self.requests.send_multipart([msgpack.packb(head), msgpack.packb({"type": kind, **fields})])
        deadline = time.monotonic() + timeout_s
        while self.requests.poll(max(0, int(1000 * (deadline - time.monotonic())))):
            head, body = map(msgpack.unpackb, self.requests.recv_multipart())
            if head["id"] != msg_id:
                continue  # a late answer to an earlier request
            if head["kind"] == "failure":
                raise Failure(body["code"], body["message"])
            return body
        raise Failure("deadline", "no answer from the plumber")

    def ask_patiently(self, kind, timeout_s, **fields):
        """The same, asked again for as long as that may help. `repeated` says what a writer has to say then."""
        pause_s = 0.02
        while True:
            try:
                return self.ask(kind, timeout_s, **fields)
            except Failure as failure:
                if failure.code not in ASK_AGAIN:
                    raise
                if kind == "pipe.write" and failure.code in PERHAPS_DONE:
                    fields["repeated"] = True
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.5)


def write(client, pipe, lines):
    """One write at a time; several may be under way if `oldest` names the first without an answer."""
    writer = secrets.token_hex(8)
    for number, line in enumerate(lines, start=1):
        fields = {"pipe": pipe, "writer": writer, "number": number, "oldest": number, "data": line}
        client.ask_patiently("pipe.write", 30.0, **fields)
    client.ask_patiently("pipe.leave", 2.0, pipe=pipe, writer=writer)


def read(client, pipe):
    """Gives (data, repeated) for each batch; who comes back for the next one is done with the one before."""
    reader, done = secrets.token_hex(8), 0
    client.ask_patiently("pipe.read", 10.0, pipe=pipe, reader=reader, max_bytes=0)  # attaches
    print("attached", file=sys.stderr, flush=True)
    while True:
        body = client.ask_patiently("pipe.read", 10.0, pipe=pipe, reader=reader, done=done, after=done)
        for delivery in body.get("deliveries", ()):
            yield delivery["data"], delivery.get("repeated", False)
            done = delivery["number"]
        if body.get("ended"):
            client.ask_patiently("pipe.leave", 2.0, pipe=pipe, reader=reader)
            return


def tap(client, pipe):
    """Gives (topic, batch, lost) for each event under the pipe's topics; `lost` events of that topic came before it."""
    events = client.connect(zmq.SUB, "events")
    prefix = f"pipe/{NAMESPACE}/{quote(pipe, safe='')}/"
    sync = f"sync/{secrets.token_hex(8)}/"
    events.setsockopt_string(zmq.SUBSCRIBE, prefix)
    events.setsockopt_string(zmq.SUBSCRIBE, sync)
    last = {}
    while True:
        topic, head, body = events.recv_multipart()
        if topic.decode() == sync:  # from now on nothing is missed
            events.setsockopt_string(zmq.UNSUBSCRIBE, sync)
            print("joined", file=sys.stderr, flush=True)
            continue
        head, body = msgpack.unpackb(head), msgpack.unpackb(body)
        before = last.get((head["epoch"], topic), head["topic_seq"] - 1)
        last[head["epoch"], topic] = head["topic_seq"]
        if body["type"] == "pipe.batch":
            yield topic.decode(), body, max(0, head["topic_seq"] - before - 1)
        elif body["type"] == "pipe.ended":
            events.close()
            return


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    base, what, pipe = sys.argv[1:]
    client = Client(base)
    out = sys.stdout.buffer
    try:
        if what == "write":
            write(client, pipe, sys.stdin.buffer)
        elif what == "read":
            for data, repeated in read(client, pipe):
                out.write(data)
                out.flush()
                if repeated:
                    print("the last batch may have come before", file=sys.stderr)
        elif what == "tap":
            for topic, batch, lost in tap(client, pipe):
                if lost:
                    print(f"{lost} batches lost", file=sys.stderr)
                for number, line in enumerate(batch["data"].split(b"\n")[:-1], start=batch["first_seq"]):
                    out.write(f"{topic} {number}: ".encode() + line + b"\n")
                out.flush()
    except Failure as failure:
        sys.exit(f"{failure.code}: {failure}")
    finally:
        client.requests.close()
        client.context.term()


if __name__ == "__main__":
    main()
