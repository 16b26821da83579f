/* Root inside a container acts in every network namespace that has a number in its own (IFLA_TARGET_NETNSID): those that
   the other ends of its interfaces are in. Each line is `ATTACK ok` or `ATTACK ERRNO`, the best of all numbers.

   What succeeds is a device of its own there, which it removes again. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/net_namespace.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NUMBERS 12
#define NOBODY (-1)

static int sock;
static char answer[1 << 16];
static struct {
    struct nlmsghdr head;
    char body[1024];
} out;

static void *begin(int type, int flags, const void *header, size_t size) {
    memset(&out, 0, sizeof out);
    out.head = (struct nlmsghdr){.nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags, .nlmsg_seq = 1};
    memcpy(out.body, header, size);
    out.head.nlmsg_len = NLMSG_LENGTH(size);
    return out.body;
}

static struct rtattr *add(int type, const void *data, size_t size) {
    struct rtattr *attr = (struct rtattr *)((char *)&out + NLMSG_ALIGN(out.head.nlmsg_len));
    attr->rta_type = type;
    attr->rta_len = RTA_LENGTH(size);
    if (size) memcpy(RTA_DATA(attr), data, size);
    out.head.nlmsg_len = NLMSG_ALIGN(out.head.nlmsg_len) + RTA_ALIGN(attr->rta_len);
    return attr;
}

static void add_number(int type, int number) { add(type, &number, sizeof number); }
static void add_text(int type, const char *text) { add(type, text, strlen(text) + 1); }
static void end(struct rtattr *nest) {
    nest->rta_len = (char *)&out + NLMSG_ALIGN(out.head.nlmsg_len) - (char *)nest;
}

/* The first message that comes back, as its error; 0 for one that is none. */
static int ask(void) {
    struct nlmsghdr *head = (struct nlmsghdr *)answer;
    ssize_t size;
    if (send(sock, &out, out.head.nlmsg_len, 0) < 0) return errno;
    size = recv(sock, answer, sizeof answer, 0);
    if (size < (ssize_t)sizeof *head) return EIO;
    if (head->nlmsg_type == NLMSG_ERROR) return -((struct nlmsgerr *)NLMSG_DATA(head))->error;
    if (head->nlmsg_type == NLMSG_DONE) return -*(int *)NLMSG_DATA(head);
    return 0;
}

/* The rest of a list, whose interfaces are counted by the first letters of their names. */
static int count(const char *start) {
    int found = 0;
    ssize_t size = sizeof answer;
    for (;;) {
        struct nlmsghdr *head = (struct nlmsghdr *)answer;
        for (; NLMSG_OK(head, size); head = NLMSG_NEXT(head, size)) {
            struct rtattr *attr;
            int left;
            if (head->nlmsg_type == NLMSG_DONE || head->nlmsg_type == NLMSG_ERROR) return found;
            attr = IFLA_RTA(NLMSG_DATA(head));
            left = IFLA_PAYLOAD(head);
            for (; RTA_OK(attr, left); attr = RTA_NEXT(attr, left))
                if (attr->rta_type == IFLA_IFNAME && !strncmp(RTA_DATA(attr), start, strlen(start))) found++;
        }
        size = recv(sock, answer, sizeof answer, 0);
        if (size <= 0) return found;
    }
}

static int list(int space) {
    struct ifinfomsg link = {.ifi_family = AF_UNSPEC};
    int number, seen;
    begin(RTM_GETLINK, NLM_F_DUMP, &link, sizeof link);
    add_number(IFLA_TARGET_NETNSID, space);
    send(sock, &out, out.head.nlmsg_len, 0);
    ssize_t size = recv(sock, answer, sizeof answer, 0);
    struct nlmsghdr *head = (struct nlmsghdr *)answer;
    if (size < (ssize_t)sizeof *head) return EIO;
    if (head->nlmsg_type == NLMSG_ERROR) return -((struct nlmsgerr *)NLMSG_DATA(head))->error;
    if (head->nlmsg_type == NLMSG_DONE) return (number = -*(int *)NLMSG_DATA(head)) ? number : ENOENT;
    memset(answer + size, 0, sizeof answer - size);
    seen = count("mega_");
    return seen ? 0 : ENOENT;
}

static int by_name(int type, int flags, int space, const char *name, int up) {
    struct ifinfomsg link = {.ifi_family = AF_UNSPEC, .ifi_flags = up ? IFF_UP : 0, .ifi_change = up ? IFF_UP : 0};
    begin(type, flags, &link, sizeof link);
    if (space != NOBODY) add_number(IFLA_TARGET_NETNSID, space);
    add_text(IFLA_IFNAME, name);
    return ask();
}

static int look(int space) { return by_name(RTM_GETLINK, 0, space, "lo", 0); }
static int destroy(int space) { return by_name(RTM_DELLINK, NLM_F_ACK, space, "stolen", 0); }
static int destroy_lo(int space) {
    int number = by_name(RTM_DELLINK, NLM_F_ACK, space, "lo", 0);
    return number == EOPNOTSUPP ? 0 : number; /* it was allowed; nobody can */
}

/* A bridge or a pair of interfaces there, or with one end here. */
static int create(int space, const char *kind) {
    struct ifinfomsg link = {.ifi_family = AF_UNSPEC};
    struct rtattr *info;
    begin(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &link, sizeof link);
    add_number(IFLA_TARGET_NETNSID, space);
    add_text(IFLA_IFNAME, "stolen");
    info = add(IFLA_LINKINFO, NULL, 0);
    add_text(IFLA_INFO_KIND, kind);
    end(info);
    return ask();
}

static int create_bridge(int space) { return create(space, "bridge"); }
static int create_pair(int space) { return create(space, "veth"); }

/* Its own interface, moved there. */
static int move(int space) {
    struct ifinfomsg link = {.ifi_family = AF_UNSPEC, .ifi_index = if_nametoindex("veth1")};
    begin(RTM_NEWLINK, NLM_F_ACK, &link, sizeof link);
    add_number(IFLA_TARGET_NETNSID, space);
    return link.ifi_index ? ask() : ENODEV;
}

/* A pair of interfaces that is made there and of which one end comes here. */
static int span(int space) {
    struct ifinfomsg link = {.ifi_family = AF_UNSPEC};
    struct rtattr *info;
    begin(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &link, sizeof link);
    add_number(IFLA_LINK_NETNSID, space);
    add_text(IFLA_IFNAME, "own");
    info = add(IFLA_LINKINFO, NULL, 0);
    add_text(IFLA_INFO_KIND, "veth");
    end(info);
    int number = ask();
    if (!number) by_name(RTM_DELLINK, NLM_F_ACK, NOBODY, "own", 0);
    return number;
}

static int addresses(int space) {
    struct ifaddrmsg header = {.ifa_family = AF_INET};
    int on = 1, number;
    setsockopt(sock, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
    begin(RTM_GETADDR, NLM_F_DUMP, &header, sizeof header);
    add_number(IFA_TARGET_NETNSID, space);
    number = ask();
    on = 0;
    setsockopt(sock, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
    return number;
}

/* The number of a namespace that it names by a process or a descriptor. */
static int name(int attribute, int value) {
    struct rtgenmsg header = {.rtgen_family = AF_UNSPEC};
    begin(RTM_NEWNSID, NLM_F_ACK, &header, 4);
    add_number(NETNSA_NSID, NUMBERS); /* which leaves those below to the kernel */
    add_number(attribute, value);
    return ask();
}

static const char *word(int number) { return number ? strerrorname_np(number) : "ok"; }

/* The best answer of all numbers: success, then any refusal, then that there is no such number (EINVAL). */
static void try(const char *what, int (*act)(int)) {
    int best = EINVAL;
    for (int space = 0; space < NUMBERS && best; space++) {
        int number = act(space);
        if (!number || best == EINVAL) best = number;
    }
    printf("%s %s\n", what, word(best));
    fflush(stdout);
}

int main(void) {
    struct timeval patience = {.tv_sec = 5};
    sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    printf("own_list %s\n", word(by_name(RTM_GETLINK, 0, NOBODY, "veth0", 0)));
    printf("own_change %s\n", word(by_name(RTM_NEWLINK, NLM_F_ACK, NOBODY, "veth0", 1)));
    int init = open("/proc/1/ns/net", O_RDONLY);
    printf("name_own %s\n", word(name(NETNSA_FD, init)));
    try("look", look);
    try("list", list);
    try("addresses", addresses);
    try("create_bridge", create_bridge);
    try("destroy", destroy);
    try("create_pair", create_pair);
    try("destroy_pair", destroy);
    try("destroy_lo", destroy_lo);
    try("span", span);
    try("move", move);
    printf("name_parent %s\n", word(name(NETNSA_PID, 0)));
    printf("end ok\n");
    return 0;
}
