/* Taps, writes and reads a pipe of minibus. Needs libzmq and nothing else; the little MessagePack it takes is below.
 *
 *     cc -O2 -Wall -Wextra -o pipe_client pipe_client.c -lzmq
 *     pipe_client BASE tap PIPE      print what passes, until the pipe is deleted; may lose, and says so
 *     pipe_client BASE write PIPE    write the lines of standard input; returns when the attached readers have them
 *     pipe_client BASE read PIPE     print every line from now on, until the pipe is deleted; loses nothing
 *
 * Instead of the base directory of this host, BASE may be a file that `minibus key make` wrote: it opens another one.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

enum { CHUNK = 65536, ASK_MS = 10000, WRITE_MS = 30000, DEPTH = 32, CONNECT_MS = 10000, KEEPALIVE_S = 5, GONE_MS = 15000 };

static void die(const char *why)
{
    fprintf(stderr, "%s: %s\n", why, zmq_strerror(errno));
    exit(1);
}

static long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* ---- MessagePack, as much as it takes (https://github.com/msgpack/msgpack/blob/master/spec.md) */

struct out {
    unsigned char *data;
    size_t size, room;
};

static void put(struct out *out, const void *data, size_t size)
{
    if (out->size + size > out->room) {
        out->room = 2 * (out->size + size);
        out->data = realloc(out->data, out->room);
        if (!out->data)
            die("memory");
    }
    if (size)
        memcpy(out->data + out->size, data, size);
    out->size += size;
}

static void put_number(struct out *out, int tag, uint64_t value, int bytes)
{
    unsigned char raw[9] = {(unsigned char)tag};
    for (int i = 0; i < bytes; i++)
        raw[1 + i] = (unsigned char)(value >> (8 * (bytes - 1 - i)));
    put(out, raw, 1 + (size_t)bytes);
}

static void put_map(struct out *out, int entries) { put_number(out, 0x80 | entries, 0, 0); } /* up to 15 */

static void put_text(struct out *out, const char *text)
{
    put_number(out, 0xdb, strlen(text), 4);
    put(out, text, strlen(text));
}

static void put_entry(struct out *out, const char *key, const char *text)
{
    put_text(out, key);
    put_text(out, text);
}

static void put_uint(struct out *out, const char *key, uint64_t value)
{
    put_text(out, key);
    put_number(out, 0xcf, value, 8);
}

static void put_binary(struct out *out, const char *key, const void *data, size_t size)
{
    put_text(out, key);
    put_number(out, 0xc6, size, 4);
    put(out, data, size);
}

/* A value that was received: where it begins, and where everything that was received ends. */
struct in {
    const unsigned char *at, *end;
};

static uint64_t big_endian(const unsigned char *at, int bytes)
{
    uint64_t value = 0;
    while (bytes--)
        value = value << 8 | *at++;
    return value;
}

/* Size of the head of a value, and what follows it: so many bytes, or so many values. 0 if it is cut short. */
static size_t head_of(struct in in, uint64_t *bytes, uint64_t *values)
{
    static const unsigned char scalars[16] = {/* ca */ 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, /* d4 */ 2, 3, 5, 9, 17};
    *bytes = *values = 0;
    if (in.at >= in.end)
        return 0;
    size_t left = (size_t)(in.end - in.at);
    int tag = in.at[0], width = 0;
    if (tag >= 0xa0 && tag <= 0xbf)
        *bytes = tag & 0x1f;
    else if (tag >= 0x80 && tag <= 0x8f)
        *values = 2 * (uint64_t)(tag & 0x0f);
    else if (tag >= 0x90 && tag <= 0x9f)
        *values = tag & 0x0f;
    else if (tag >= 0xca && tag <= 0xd8)
        *bytes = scalars[tag - 0xca];
    else if (tag >= 0xc4 && tag <= 0xc9)
        width = 1 << (tag - 0xc4) % 3;
    else if (tag >= 0xd9 && tag <= 0xdb)
        width = 1 << (tag - 0xd9);
    else if (tag >= 0xdc && tag <= 0xdf)
        width = 2 << (tag & 1);
    if (1 + (size_t)width > left)
        return 0;
    if (width) {
        uint64_t length = big_endian(in.at + 1, width);
        if (tag >= 0xdc)
            *values = (tag >= 0xde ? 2 : 1) * length;
        else
            *bytes = length + (tag >= 0xc7 && tag <= 0xc9);
    }
    return 1 + (size_t)width + *bytes <= left ? 1 + (size_t)width : 0;
}

/* The value after this one; `at` is NULL if there is none or this one is cut short. */
static struct in after(struct in in, int depth)
{
    uint64_t bytes, values;
    size_t head = in.at && depth < DEPTH ? head_of(in, &bytes, &values) : 0;
    if (!head)
        return (struct in){NULL, in.end};
    in.at += head + bytes;
    while (values-- && in.at)
        in = after(in, depth + 1);
    return in;
}

/* Bytes of a text or binary; NULL if it is none. */
static const unsigned char *bytes_of(struct in in, size_t *size)
{
    uint64_t bytes, values;
    size_t head = in.at ? head_of(in, &bytes, &values) : 0;
    int tag = head ? in.at[0] : 0;
    if (!((tag >= 0xa0 && tag <= 0xbf) || (tag >= 0xc4 && tag <= 0xc6) || (tag >= 0xd9 && tag <= 0xdb)))
        return NULL;
    *size = bytes;
    return in.at + head;
}

static uint64_t uint_of(struct in in)
{
    uint64_t bytes, values;
    size_t head = in.at ? head_of(in, &bytes, &values) : 0;
    int tag = head ? in.at[0] : 0;
    if (tag < 0x80)
        return (uint64_t)tag;
    return tag >= 0xcc && tag <= 0xcf ? big_endian(in.at + 1, 1 << (tag - 0xcc)) : 0;
}

static int is(struct in in, const char *text)
{
    size_t size = 0;
    const unsigned char *bytes = bytes_of(in, &size);
    return bytes && size == strlen(text) && !memcmp(bytes, text, size);
}

/* The value of a key in a map; `at` is NULL if it is not there. */
static struct in get(struct in map, const char *key)
{
    uint64_t bytes, values;
    size_t head = map.at ? head_of(map, &bytes, &values) : 0;
    if (!head || !((map.at[0] & 0xf0) == 0x80 || map.at[0] >= 0xde))
        return (struct in){NULL, map.end};
    struct in entry = {map.at + head, map.end};
    for (; values && entry.at; values -= 2) {
        struct in value = after(entry, 0);
        if (is(entry, key))
            return value;
        entry = after(value, 0);
    }
    return (struct in){NULL, map.end};
}

/* ---- Connecting: to this host by its base directory, or to another one with a key, which is CURVE (ZeroMQ RFC 26) */

static void *context, *requests;
static zmq_msg_t head_frame, body_frame;
static char gateway[256], public_key[41], secret_key[41], server_key[41]; /* of the key file; empty without one */

/* A key file is TOML, and has a line `name = "value"` for each of these; in none of them can be a quote. */
static void read_key_file(const char *path)
{
    char line[512];
    FILE *file = fopen(path, "r");
    if (!file)
        die(path);
    while (fgets(line, sizeof line, file)) {
        sscanf(line, "address = \"%255[^\"]", gateway);
        sscanf(line, "public = \"%40[^\"]", public_key);
        sscanf(line, "secret = \"%40[^\"]", secret_key);
        sscanf(line, "server = \"%40[^\"]", server_key);
    }
    fclose(file);
    if (!strrchr(gateway, ':') || !*public_key || !*secret_key || !*server_key) {
        fprintf(stderr, "%s: no file of `minibus key make` with an address\n", path);
        exit(1);
    }
}

/* A refused socket tries again for ever and says nothing: only its monitor tells. Waits for the first handshake. */
static void await_welcome(void *monitor, const char *address)
{
    unsigned char event[6], peer[256]; /* two bytes of event and four of value, in this machine's order; the address */
    uint16_t what = 0;
    long long deadline = now_ms() + CONNECT_MS;
    while (what != ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
        long long left = deadline - now_ms();
        zmq_pollitem_t item = {monitor, 0, ZMQ_POLLIN, 0};
        if (left < 0 || zmq_poll(&item, 1, (long)left) <= 0) {
            fprintf(stderr, "no minibus answers at %s\n", address);
            exit(1);
        }
        if (zmq_recv(monitor, event, sizeof event, 0) < 2 || zmq_recv(monitor, peer, sizeof peer, 0) < 0)
            die("monitor");
        memcpy(&what, event, sizeof what);
        if (what == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) {
            fprintf(stderr, "%s refuses this key: it is unknown there, was revoked or has expired\n", address);
            exit(1);
        }
    }
    zmq_close(monitor);
}

static void set(void *socket, int option, const void *value, size_t size)
{
    if (zmq_setsockopt(socket, option, value, size))
        die("option");
}

static void *connected_with_key(void *socket, int is_events)
{
    char address[300];
    int keepalive_s = KEEPALIVE_S, gone_ms = GONE_MS, yes = 1;
    const char *port = strrchr(gateway, ':') + 1; /* requests are there, events at the next one */
    snprintf(address, sizeof address, "%.*s%d", (int)(port - gateway), gateway, atoi(port) + is_events);
    set(socket, ZMQ_CURVE_PUBLICKEY, public_key, sizeof public_key);
    set(socket, ZMQ_CURVE_SECRETKEY, secret_key, sizeof secret_key);
    set(socket, ZMQ_CURVE_SERVERKEY, server_key, sizeof server_key);
    set(socket, ZMQ_TCP_KEEPALIVE, &yes, sizeof yes); /* a network that swallows everything is noticed */
    set(socket, ZMQ_TCP_KEEPALIVE_IDLE, &keepalive_s, sizeof keepalive_s);
    set(socket, ZMQ_TCP_KEEPALIVE_INTVL, &keepalive_s, sizeof keepalive_s);
    set(socket, ZMQ_TCP_MAXRT, &gone_ms, sizeof gone_ms);
    set(socket, ZMQ_IPV6, &yes, sizeof yes);
    const char *door = is_events ? "inproc://events" : "inproc://requests";
    void *monitor = zmq_socket(context, ZMQ_PAIR);
    if (zmq_socket_monitor(socket, door, ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) < 0 ||
        zmq_connect(monitor, door) || zmq_connect(socket, address))
        die(address);
    await_welcome(monitor, address);
    zmq_socket_monitor(socket, NULL, 0);
    return socket;
}

static void *connected(const char *base, int type, const char *endpoint)
{
    char address[256];
    int linger = 0;
    void *socket = zmq_socket(context, type);
    if (!socket)
        die("socket");
    set(socket, ZMQ_LINGER, &linger, sizeof linger);
    if (*server_key)
        return connected_with_key(socket, type == ZMQ_SUB);
    snprintf(address, sizeof address, "ipc://%s/bus/%s", base, endpoint);
    if (zmq_connect(socket, address))
        die(address);
    return socket;
}

/* ---- Asking */

static void random_hex(char name[17])
{
    uint64_t bits;
    if (getrandom(&bits, sizeof bits, 0) != sizeof bits)
        die("getrandom");
    snprintf(name, 17, "%016llx", (unsigned long long)bits);
}

static struct in content(zmq_msg_t *frame)
{
    const unsigned char *data = zmq_msg_data(frame);
    return (struct in){data, data + zmq_msg_size(frame)};
}

/* Send a request to the plumber. 1: answered, `body_frame` is the reply. 0: a failure. -1: no answer in time. */
static int ask(const struct out *body, int timeout_ms)
{
    char id[17];
    struct out head = {0};
    random_hex(id);
    put_map(&head, 6);
    put_uint(&head, "v", 1);
    put_entry(&head, "kind", "request");
    put_entry(&head, "id", id);
    put_entry(&head, "to", "plumber");
    put_entry(&head, "namespace", "minimega");
    put_uint(&head, "ttl_ms", (uint64_t)timeout_ms);
    if (zmq_send(requests, head.data, head.size, ZMQ_SNDMORE) < 0 || zmq_send(requests, body->data, body->size, 0) < 0)
        die("send");
    free(head.data);
    long long deadline = now_ms() + timeout_ms;
    for (;;) {
        long long left = deadline - now_ms();
        zmq_pollitem_t item = {requests, 0, ZMQ_POLLIN, 0};
        if (left < 0 || zmq_poll(&item, 1, (long)left) <= 0)
            return -1;
        if (zmq_msg_recv(&head_frame, requests, 0) < 0 || zmq_msg_recv(&body_frame, requests, 0) < 0)
            die("receive");
        struct in envelope = content(&head_frame);
        if (!is(get(envelope, "id"), id))
            continue; /* a late answer to an earlier request */
        return is(get(envelope, "kind"), "reply");
    }
}

/* Ask until there is a reply: the plumber or the broker may be restarting. `repeat`, if given, is sent instead once the
 * request may have been taken. */
static void ask_patiently(const struct out *body, const struct out *repeat, int timeout_ms)
{
    for (useconds_t pause_us = 20000;; pause_us = pause_us < 250000 ? 2 * pause_us : 500000) {
        int answer = ask(body, timeout_ms);
        if (answer == 1)
            return;
        struct in code = get(content(&body_frame), "code");
        int perhaps_done = answer < 0 || is(code, "cancelled") || is(code, "deadline");
        if (!perhaps_done && !is(code, "unreachable") && !is(code, "overloaded")) {
            size_t size = 0;
            const unsigned char *text = bytes_of(get(content(&body_frame), "message"), &size);
            fprintf(stderr, "%.*s\n", (int)size, text ? (const char *)text : "");
            exit(1);
        }
        if (perhaps_done && repeat)
            body = repeat;
        usleep(pause_us);
    }
}

static void leave(const char *pipe, const char *role, const char *name)
{
    struct out body = {0};
    put_map(&body, 3);
    put_entry(&body, "type", "pipe.leave");
    put_entry(&body, "pipe", pipe);
    put_entry(&body, role, name);
    ask_patiently(&body, NULL, 2000);
    free(body.data);
}

/* ---- What this is about */

static struct out write_body(const char *pipe, const char *writer, uint64_t number, const char *data, size_t size,
                             int repeated)
{
    struct out body = {0};
    put_map(&body, 7);
    put_entry(&body, "type", "pipe.write");
    put_entry(&body, "pipe", pipe);
    put_entry(&body, "writer", writer);
    put_uint(&body, "number", number);
    put_uint(&body, "oldest", number); /* one write at a time: this is the first without an answer */
    put_binary(&body, "data", data, size);
    put_text(&body, "repeated");
    put_number(&body, repeated ? 0xc3 : 0xc2, 0, 0);
    return body;
}

static void write_pipe(const char *pipe)
{
    char writer[17];
    struct out waiting = {0}; /* the beginning of a line whose end has not been read */
    random_hex(writer);
    for (uint64_t number = 1;; number++) {
        char chunk[CHUNK];
        ssize_t got = read(0, chunk, sizeof chunk);
        if (got < 0)
            die("standard input");
        put(&waiting, chunk, (size_t)got);
        const unsigned char *last = waiting.data ? memrchr(waiting.data, '\n', waiting.size) : NULL;
        size_t whole = got == 0 ? waiting.size : last ? (size_t)(last - waiting.data) + 1 : 0;
        if (whole) {
            struct out first = write_body(pipe, writer, number, (char *)waiting.data, whole, 0);
            struct out again = write_body(pipe, writer, number, (char *)waiting.data, whole, 1);
            ask_patiently(&first, &again, WRITE_MS);
            free(first.data);
            free(again.data);
            waiting.size -= whole;
            memmove(waiting.data, waiting.data + whole, waiting.size);
        } else {
            number--; /* nothing was sent */
        }
        if (got == 0)
            break;
    }
    free(waiting.data);
    leave(pipe, "writer", writer);
}

static void read_pipe(const char *pipe)
{
    char reader[17];
    uint64_t done = 0;
    int attached = 0;
    random_hex(reader);
    for (;;) {
        struct out body = {0};
        put_map(&body, 6);
        put_entry(&body, "type", "pipe.read");
        put_entry(&body, "pipe", pipe);
        put_entry(&body, "reader", reader);
        put_uint(&body, "done", done);
        put_uint(&body, "after", done);
        put_uint(&body, "max_bytes", attached ? 1048576 : 0);
        ask_patiently(&body, NULL, ASK_MS);
        free(body.data);
        if (!attached) {
            attached = 1;
            fprintf(stderr, "attached\n");
            continue;
        }
        struct in reply = content(&body_frame), list = get(reply, "deliveries");
        uint64_t bytes, count = 0;
        size_t head = list.at ? head_of(list, &bytes, &count) : 0;
        for (struct in delivery = {list.at + head, list.end}; head && count--; delivery = after(delivery, 0)) {
            size_t size = 0;
            const unsigned char *data = bytes_of(get(delivery, "data"), &size);
            if (!data || fwrite(data, 1, size, stdout) != size)
                die("a delivery");
            done = uint_of(get(delivery, "number"));
        }
        fflush(stdout); /* only now is it done: the next read says so */
        struct in ended = get(reply, "ended");
        if (ended.at && ended.at[0] == 0xc3)
            break;
    }
    leave(pipe, "reader", reader);
}

static void tap_pipe(const char *base, const char *pipe)
{
    char prefix[1100] = "pipe/minimega/", sync[32], nonce[17];
    for (char *to = prefix + strlen(prefix); *pipe || (strcpy(to, "/"), 0); pipe++) /* percent-encoded, RFC 3986 */
        to += strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~", *pipe)
                  ? sprintf(to, "%c", *pipe)
                  : sprintf(to, "%%%02X", (unsigned char)*pipe);
    random_hex(nonce);
    snprintf(sync, sizeof sync, "sync/%s/", nonce);
    void *events = connected(base, ZMQ_SUB, "events");
    set(events, ZMQ_SUBSCRIBE, prefix, strlen(prefix));
    set(events, ZMQ_SUBSCRIBE, sync, strlen(sync));
    char all[1200];
    snprintf(all, sizeof all, "%sall/", prefix);
    uint64_t last = 0;
    for (;;) {
        char topic[1100];
        int size = zmq_recv(events, topic, sizeof topic - 1, 0);
        if (size < 0 || zmq_msg_recv(&head_frame, events, 0) < 0 || zmq_msg_recv(&body_frame, events, 0) < 0)
            die("receive");
        topic[(size_t)size < sizeof topic ? (size_t)size : sizeof topic - 1] = 0;
        if (!strcmp(topic, sync)) { /* from now on nothing is missed */
            uint64_t bytes, refused = 0;
            struct in list = get(content(&body_frame), "refused"); /* subscriptions that the key does not allow */
            if (list.at && head_of(list, &bytes, &refused) && refused) {
                fprintf(stderr, "this key may not tap that pipe\n");
                exit(1);
            }
            set(events, ZMQ_UNSUBSCRIBE, sync, strlen(sync));
            fprintf(stderr, "joined\n");
            continue;
        }
        if (!strcmp(topic, all)) { /* a complete client keeps a number for each topic and epoch */
            uint64_t number = uint_of(get(content(&head_frame), "topic_seq"));
            if (last && number > last + 1)
                fprintf(stderr, "%llu batches lost\n", (unsigned long long)(number - last - 1));
            last = number;
        }
        struct in body = content(&body_frame);
        if (is(get(body, "type"), "pipe.ended"))
            break;
        size_t left = 0;
        const unsigned char *line = bytes_of(get(body, "data"), &left), *end;
        for (uint64_t number = uint_of(get(body, "first_seq")); line && (end = memchr(line, '\n', left)); number++) {
            printf("%s %llu: %.*s\n", topic, (unsigned long long)number, (int)(end - line), (const char *)line);
            left -= (size_t)(end - line) + 1;
            line = end + 1;
        }
        fflush(stdout);
    }
    zmq_close(events);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return fprintf(stderr, "usage: pipe_client BASE tap|write|read PIPE\n"), 2;
    struct stat found;
    if (stat(argv[1], &found))
        die(argv[1]);
    if (S_ISREG(found.st_mode))
        read_key_file(argv[1]);
    context = zmq_ctx_new();
    zmq_msg_init(&head_frame);
    zmq_msg_init(&body_frame);
    if (!strcmp(argv[2], "tap")) {
        tap_pipe(argv[1], argv[3]);
    } else {
        requests = connected(argv[1], ZMQ_DEALER, "requests");
        if (!strcmp(argv[2], "write"))
            write_pipe(argv[3]);
        else
            read_pipe(argv[3]);
        zmq_close(requests);
    }
    zmq_msg_close(&head_frame);
    zmq_msg_close(&body_frame);
    zmq_ctx_term(context);
    return 0;
}
