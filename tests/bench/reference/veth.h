/*
 * A bridge in a network namespace of this process's own, and a veth pair into it for each container: netlink by hand,
 * one message for a pair (rtnetlink(7)).
 */
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sys/socket.h>

#define BRIDGE "bench"

static int netlink_fd = -1;
static unsigned bridge_index;

struct message {
    struct nlmsghdr head;
    struct ifinfomsg link;
    char attributes[512];
};

static void *attribute(struct message *message, unsigned short type, const void *data, size_t length)
{
    struct rtattr *at = (struct rtattr *)((char *)message + NLMSG_ALIGN(message->head.nlmsg_len));
    at->rta_type = type;
    at->rta_len = (unsigned short)RTA_LENGTH(length);
    if (length > 0) memcpy(RTA_DATA(at), data, length);
    message->head.nlmsg_len = NLMSG_ALIGN(message->head.nlmsg_len) + RTA_ALIGN(at->rta_len);
    return at;
}

static void close_nest(const struct message *message, void *nest)
{
    ((struct rtattr *)nest)->rta_len = (unsigned short)((const char *)message + message->head.nlmsg_len - (char *)nest);
}

static void new_link(struct message *message, const char *name)
{
    memset(message, 0, sizeof *message);
    message->head.nlmsg_len = NLMSG_LENGTH(sizeof message->link);
    message->head.nlmsg_type = RTM_NEWLINK;
    message->head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    message->link.ifi_flags = message->link.ifi_change = IFF_UP;
    attribute(message, IFLA_IFNAME, name, strlen(name) + 1);
}

/* Send, and wait for the acknowledgement; -1 with errno. */
static int request(struct message *message)
{
    struct {
        struct nlmsghdr head;
        struct nlmsgerr error;
        char rest[1024];
    } answer;
    if (send(netlink_fd, message, message->head.nlmsg_len, 0) < 0) return -1;
    if (recv(netlink_fd, &answer, sizeof answer, 0) < 0) return -1;
    errno = answer.head.nlmsg_type == NLMSG_ERROR ? -answer.error.error : EPROTO;
    return errno == 0 ? 0 : -1;
}

static int make_bridge(void)
{
    struct message message;
    if (unshare(CLONE_NEWNET) < 0) return -1;
    netlink_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (netlink_fd < 0) return -1;
    new_link(&message, BRIDGE);
    void *info = attribute(&message, IFLA_LINKINFO, NULL, 0);
    attribute(&message, IFLA_INFO_KIND, "bridge", strlen("bridge"));
    close_nest(&message, info);
    if (request(&message) < 0) return -1;
    bridge_index = if_nametoindex(BRIDGE);
    return bridge_index == 0 ? -1 : 0;
}

/* One end in the bridge and up, the other one in the network namespace of `pid` as veth0. */
static int plug(int index, pid_t pid)
{
    struct message message;
    const struct ifinfomsg none = {0};
    char name[IFNAMSIZ];
    snprintf(name, sizeof name, "bench%d", index);
    new_link(&message, name);
    attribute(&message, IFLA_MASTER, &bridge_index, sizeof bridge_index);
    void *info = attribute(&message, IFLA_LINKINFO, NULL, 0);
    attribute(&message, IFLA_INFO_KIND, "veth", strlen("veth"));
    void *data = attribute(&message, IFLA_INFO_DATA, NULL, 0);
    void *peer = attribute(&message, VETH_INFO_PEER, &none, sizeof none);
    attribute(&message, IFLA_IFNAME, "veth0", strlen("veth0") + 1);
    attribute(&message, IFLA_NET_NS_PID, &pid, sizeof pid);
    close_nest(&message, peer);
    close_nest(&message, data);
    close_nest(&message, info);
    return request(&message);
}
