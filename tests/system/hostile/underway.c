/* Root inside a container sends descriptors that nobody takes, until the kernel lets this user have no more under way. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define EACH 200

static int send_many(int sock) {
    char byte = 0, room[CMSG_SPACE(EACH * sizeof(int))] = {0};
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(EACH * sizeof(int));
    return sendmsg(sock, &message, MSG_DONTWAIT); /* of descriptor 0, again and again */
}

int main(void) {
    struct rlimit limit;
    int pair[2];
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    while (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0) {
        while (send_many(pair[0]) >= 0) continue;
        if (errno != EAGAIN) break;
    }
    printf("%s\n", strerror(errno));
    fflush(stdout);
    for (;;) pause();
}
