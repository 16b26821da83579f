/* Uses up what there is of one thing: `exhaust WHAT [ARGUMENT...]`. Says how far it came, `COUNT ERRNO`, and stays. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

static void stay(long count) {
    printf("%ld %s\n", count, errno ? strerrorname_np(errno) : "all");
    fflush(stdout);
    for (;;) pause();
}

/* Every process makes as many as it can, and tries again as soon as one has gone. */
static void forks(void) {
    for (;;)
        if (fork() < 0) usleep(1000);
}

static void zombies(void) {
    long count = 0;
    for (pid_t pid; (pid = fork()) >= 0; count++)
        if (pid == 0) _exit(0);
    stay(count);
}

static void memory(void) {
    for (;;) {
        char *block = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (block == MAP_FAILED) stay(0);
        memset(block, 1, 1 << 20);
    }
}

static void names(const char *directory, long wanted) {
    char path[256];
    long count;
    errno = 0;
    for (count = 0; count < wanted; count++) {
        snprintf(path, sizeof path, "%s/%ld", directory, count);
        int fd = open(path, O_CREAT | O_WRONLY, 0600);
        if (fd < 0) break;
        close(fd);
    }
    stay(count);
}

static void ptys(void) {
    struct rlimit limit = {20000, 20000};
    long count = 0;
    setrlimit(RLIMIT_NOFILE, &limit);
    while (open("/dev/pts/ptmx", O_RDWR | O_NOCTTY) >= 0) count++;
    stay(count);
}

static void files(void) {
    long count = 0;
    while (open("/dev/null", O_RDONLY) >= 0) count++;
    stay(count);
}

static void queues(void) {
    char name[32];
    long count = 0;
    for (mqd_t queue = 0; queue >= 0; count++) {
        snprintf(name, sizeof name, "/q%ld", count);
        queue = mq_open(name, O_CREAT | O_RDWR, 0600, NULL);
    }
    stay(count - 1);
}

static void signals(long wanted) {
    sigset_t set;
    long count;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    errno = 0;
    for (count = 0; count < wanted; count++)
        if (sigqueue(getpid(), SIGRTMIN, (union sigval){0}) < 0) break;
    stay(count);
}

static void sockets(void) {
    static char data[65536];
    long count = 0;
    for (int pair[2]; socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0; count++)
        while (write(pair[0], data, sizeof data) > 0) {}
    stay(count);
}

static void flood(void) {
    static char data[4096];
    memset(data, 'x', sizeof data);
    for (int i = 80; i < (int)sizeof data; i += 80) data[i] = '\n';
    for (;;)
        if (write(1, data, sizeof data) < 0) usleep(1000);
}

static void cpu(void) {
    for (volatile long n = 0;; n++) {}
}

/* A tree as nobody would make it by accident; OUTSIDE is a path that its links point to. */
static void litter(const char *directory, const char *outside, long depth, long wide) {
    static const char *strange[] = {"\n", " ", "-rf", "\033]0;x\007\033[2J", "%s%n", "\xff\xfe", "'\"`$(reboot)", "\\"};
    char name[256];
    errno = 0;
    if (mkdir(directory, 0777) < 0 || chdir(directory) < 0) stay(-1);
    for (unsigned i = 0; i < sizeof strange / sizeof *strange; i++) {
        close(open(strange[i], O_CREAT | O_WRONLY, 0666));
        snprintf(name, sizeof name, "d%s", strange[i]);
        if (mkdir(name, 0) < 0) stay(-4);
    }
    memset(name, 'n', 255);
    name[255] = 0;
    mkdir(name, 0777);
    if (symlink(outside, "link") < 0) stay(-3);
    if (mkfifo("fifo", 0666) < 0) stay(-6);
    mknod("loop", S_IFBLK | 0666, makedev(7, 0));
    int fd = open("setuid", O_CREAT | O_RDWR, 0777);
    fchmod(fd, 06777);
    if (ftruncate(fd, 1L << 40) < 0) stay(-2);
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "hard%d", i);
        if (link("setuid", name) < 0) stay(-5);
    }
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "socket"};
    int server = socket(AF_UNIX, SOCK_STREAM, 0);
    bind(server, (struct sockaddr *)&address, sizeof address);
    for (long i = 0; i < wide; i++) {
        snprintf(name, sizeof name, "w%ld", i);
        close(open(name, O_CREAT | O_WRONLY, 0));
    }
    memset(name, 'd', 200);
    name[200] = 0;
    errno = 0;
    long level = 0;
    while (level < depth && mkdir(name, 0777) == 0 && chdir(name) == 0) level++;
    if (symlink(outside, "link") < 0) stay(-3);
    stay(level);
}

int main(int count, char **words) {
    const char *what = count > 1 ? words[1] : "";
    long number = count > 2 ? atol(words[count - 1]) : 0;
    if (!strcmp(what, "forks")) forks();
    if (!strcmp(what, "zombies")) zombies();
    if (!strcmp(what, "memory")) memory();
    if (!strcmp(what, "names") && count == 4) names(words[2], number);
    if (!strcmp(what, "ptys")) ptys();
    if (!strcmp(what, "files")) files();
    if (!strcmp(what, "queues")) queues();
    if (!strcmp(what, "signals")) signals(number);
    if (!strcmp(what, "sockets")) sockets();
    if (!strcmp(what, "flood")) flood();
    if (!strcmp(what, "cpu")) cpu();
    if (!strcmp(what, "litter") && count == 6) litter(words[2], words[3], atol(words[4]), number);
    return 2;
}
