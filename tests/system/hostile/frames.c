/* Whole Ethernet frames of a guest: `frames listen INTERFACE FILE` writes each frame that comes in as a line of
   hexadecimal digits; `frames send INTERFACE FILE` waits for the file and sends what is written there so. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int open_on(const char *interface) {
    struct sockaddr_ll place = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
    place.sll_ifindex = (int)if_nametoindex(interface);
    if (fd < 0 || !place.sll_ifindex || bind(fd, (struct sockaddr *)&place, sizeof place) < 0) {
        perror(interface);
        exit(1);
    }
    return fd;
}

static int listen_on(const char *interface, const char *file) {
    unsigned char data[2048];
    int fd = open_on(interface);
    FILE *out = fopen(file, "w");
    if (!out) return 1;
    setvbuf(out, NULL, _IOLBF, 0);
    fprintf(out, "listening\n");
    for (;;) {
        struct sockaddr_ll from = {0};
        socklen_t size = sizeof from;
        ssize_t length = recvfrom(fd, data, sizeof data, 0, (struct sockaddr *)&from, &size);
        if (length < 0 || from.sll_pkttype == PACKET_OUTGOING) continue;
        for (ssize_t at = 0; at < length; at++) fprintf(out, "%02x", data[at]);
        fprintf(out, "\n");
    }
}

static int send_on(const char *interface, const char *file) {
    static char line[4096];
    unsigned char data[2048];
    int fd = open_on(interface);
    FILE *in;
    while (!(in = fopen(file, "r"))) usleep(10000);
    while (fgets(line, sizeof line, in)) {
        size_t length = strcspn(line, "\n") / 2;
        for (size_t at = 0; at < length; at++) sscanf(line + 2 * at, "%2hhx", &data[at]);
        if (length && send(fd, data, length, 0) < 0) perror("send");
    }
    return 0;
}

int main(int count, char **words) {
    if (count == 4 && !strcmp(words[1], "listen")) return listen_on(words[2], words[3]);
    if (count == 4 && !strcmp(words[1], "send")) return send_on(words[2], words[3]);
    return 2;
}
