// Watches a pipe of a minibus on another host, or asks which VMs it has. Node.js 18 or later; nothing of minibus.
//
//     npm install zeromq@6 @msgpack/msgpack@3
//     node remote.mjs KEYFILE tap NAMESPACE PIPE   print what passes, until the pipe is deleted; says what it lost
//     node remote.mjs KEYFILE vms NAMESPACE        print name and state of each VM
//
// KEYFILE is what `minibus key make` wrote: for `tap` the role tap will do, `vms` needs control.

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { decode, encode } from "@msgpack/msgpack";
import { Dealer, Subscriber } from "zeromq";

const CONNECT_MS = 10_000;
const ASK_MS = 10_000;

/** The values of a key file: TOML, of which it has only lines `name = "value"`. */
function readKeyFile(path) {
  const found = {};
  for (const [, name, value] of readFileSync(path, "utf8").matchAll(/^(\w+) = (".*")$/gm)) found[name] = JSON.parse(value);
  for (const name of ["address", "public", "secret", "server"])
    if (!found[name]) throw new Error(`${path}: no \`${name}\` in it; was it made by \`minibus key make\`?`);
  return found;
}

/** A socket that has been let in; `offset` 0 is the port for requests, 1 that for events. */
async function connected(Kind, key, offset) {
  const socket = new Kind({
    linger: 0,
    ipv6: true,
    tcpKeepalive: 1, // a network that swallows everything is noticed
    tcpKeepaliveIdle: 5,
    tcpKeepaliveInterval: 5,
    tcpMaxRetransmitTimeout: 15_000,
    curvePublicKey: key.public,
    curveSecretKey: key.secret,
    curveServerKey: key.server,
  });
  const colon = key.address.lastIndexOf(":");
  const address = `${key.address.slice(0, colon)}:${Number(key.address.slice(colon + 1)) + offset}`;
  // A refused socket tries again for ever and says nothing: only its events tell.
  const welcome = new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no minibus answers at ${address}`)), CONNECT_MS);
    const ends = (settle) => () => (clearTimeout(timer), settle());
    socket.events.on("handshake", ends(resolve));
    socket.events.on(
      "handshake:error:auth",
      ends(() => reject(new Error(`${address} refuses this key: it is unknown there, was revoked or has expired`))),
    );
  });
  socket.connect(address);
  try {
    await welcome;
  } catch (error) {
    socket.close();
    throw error;
  }
  return socket;
}

/** Gives topic, envelope and body of each event under a prefix; calls `joined` when from then on nothing is missed. */
async function* events(key, prefix, joined) {
  const socket = await connected(Subscriber, key, 1);
  const sync = `sync/${randomBytes(8).toString("hex")}/`;
  try {
    socket.subscribe(prefix, sync);
    for await (const [topicFrame, head, body] of socket) {
      const topic = topicFrame.toString();
      if (topic !== sync) {
        yield [topic, decode(head), decode(body)];
        continue;
      }
      socket.unsubscribe(sync);
      const { refused = [] } = decode(body); // subscriptions that the key does not allow
      if (refused.length) throw new Error(`this key may not watch ${refused.join(", ")}`);
      joined();
    }
  } finally {
    socket.close();
  }
}

/** Print the lines of a pipe until it is deleted. */
async function tap(key, namespace, pipe) {
  const words = [namespace, pipe].map((word) => encodeURIComponent(word).replace(/[!'()*]/g, percent));
  const last = new Map();
  for await (const [topic, head, body] of events(key, `pipe/${words.join("/")}/`, () => console.error("joined"))) {
    const source = `${head.epoch} ${topic}`;
    const lost = head.topic_seq - (last.get(source) ?? head.topic_seq - 1) - 1;
    last.set(source, head.topic_seq);
    if (lost > 0) console.error(`${lost} batches lost`);
    if (body.type === "pipe.ended") return;
    if (body.type === "pipe.batch") process.stdout.write(Buffer.from(body.data));
  }
}

/** RFC 3986: what encodeURIComponent leaves as it is. */
function percent(character) {
  return `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
}

/** The body of the reply to one request; throws the sentence of a failure. */
async function ask(key, to, namespace, body) {
  const socket = await connected(Dealer, key, 0);
  socket.receiveTimeout = ASK_MS;
  try {
    const id = randomBytes(8).toString("hex");
    await socket.send([encode({ v: 1, kind: "request", id, to, namespace, ttl_ms: ASK_MS }), encode(body)]);
    for (;;) {
      const [head, answer] = (await socket.receive()).map((frame) => decode(frame));
      if (head.id !== id) continue;
      if (head.kind === "failure") throw new Error(answer.message);
      return answer;
    }
  } finally {
    socket.close();
  }
}

/** Print the VMs of a namespace. */
async function vms(key, namespace) {
  const { vms } = await ask(key, "vm", namespace, { type: "vm.list.get" });
  for (const vm of vms) console.log(vm.name, vm.state);
}

const [path, what, ...words] = process.argv.slice(2);
try {
  if (what === "tap" && words.length === 2) await tap(readKeyFile(path), ...words);
  else if (what === "vms" && words.length === 1) await vms(readKeyFile(path), ...words);
  else throw new Error("usage: remote.mjs KEYFILE tap NAMESPACE PIPE, or KEYFILE vms NAMESPACE");
} catch (error) {
  console.error(`remote: ${error.message}`);
  process.exitCode = 1;
}
