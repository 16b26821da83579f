/*
 * launch: what one thread of C needs to start and to remove N containers.
 *
 *     launch [-w] [-n] COUNT ROOTFS WORK_DIR INIT [ARGUMENT...]
 *
 * Each container gets new mount, PID, network, IPC and UTS namespaces, an overlay over ROOTFS, its own proc, sysfs,
 * /dev with nodes, /dev/shm and /dev/pts, four cgroups, and INIT as its PID 1. The next one is begun when the exec of
 * the one before has succeeded. Then all are killed and everything that was made is removed.
 *
 * With -n each has an interface: a veth pair into one bridge, made before its init is executed.
 * With -w all of them run on until standard input ends; that they run is said with a line "launched".
 * Prints one JSON object: count, launch_s (all), first_s and last_s (the first and the last 100), kill_s.
 * Exit status: 0 measured, 1 something failed (one line on stderr), 130 interrupted. Nothing stays behind in any case.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "veth.h"

#define BATCH 100           /* how many count as "the first" and "the last" */
#define RMDIR_TRIES 500     /* of 10 ms each: a cgroup can stay busy for a moment after its last process */
#define NAMESPACES (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)

struct node { const char *path; unsigned minor, major; };

static const struct node NODES[] = {
    {"dev/null", 3, 1}, {"dev/zero", 5, 1}, {"dev/full", 7, 1},
    {"dev/tty", 0, 5}, {"dev/random", 8, 1}, {"dev/urandom", 9, 1},
};
static const char *const LINKS[][2] = {
    {"pts/ptmx", "dev/ptmx"}, {"/proc/self/fd", "dev/fd"}, {"/proc/self/fd/0", "dev/stdin"},
    {"/proc/self/fd/1", "dev/stdout"}, {"/proc/self/fd/2", "dev/stderr"},
};
static const char *const CONTROLLERS[] = {"freezer", "memory", "devices", "cpu"};

static char cgroup_roots[4][512]; /* <mount>/minibus-bench/<pid> for each hierarchy in use */
static int hierarchies;
static pid_t *pids;
static int count, created;        /* asked for; directories exist for this many */
static int waits, has_network;
static int gate[2] = {-1, -1};    /* with -n: a byte lets the container go on to its exec */
static const char *rootfs, *work_dir;
static char **init; /* path and arguments of PID 1 */
static volatile sig_atomic_t interrupted;

static void on_signal(int number) { interrupted = number; }

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* A path of printf form in a buffer that the next-but-three call reuses. */
__attribute__((format(printf, 1, 2))) static const char *path(const char *format, ...)
{
    static char buffers[4][4096];
    static unsigned next;
    char *buffer = buffers[next++ % 4];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(buffer, sizeof buffers[0], format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof buffers[0]) {
        fprintf(stderr, "launch: a path is too long\n");
        exit(1);
    }
    return buffer;
}

static int write_file(const char *name, const char *text)
{
    int fd = open(name, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    ssize_t written = write(fd, text, strlen(text));
    int saved = errno;
    close(fd);
    errno = saved;
    return written < 0 ? -1 : 0;
}

/* ---- cgroups ---- */

static int has_option(const char *options, const char *wanted)
{
    size_t length = strlen(wanted);
    for (const char *at = options; (at = strstr(at, wanted)) != NULL; at += length)
        if ((at == options || at[-1] == ',') && (at[length] == ',' || at[length] == '\0')) return 1;
    return 0;
}

/* Use the version 1 hierarchies of the four controllers; without any, one group in version 2. */
static int find_cgroups(void)
{
    char where[4096], type[64], options[4096], unified[256] = "";
    FILE *mounts = fopen("/proc/self/mounts", "re");
    if (mounts == NULL) return -1;
    while (fscanf(mounts, "%*s %4095s %63s %4095s %*d %*d", where, type, options) == 3) {
        if (strlen(where) >= sizeof unified) continue;
        if (strcmp(type, "cgroup2") == 0) strcpy(unified, where);
        if (strcmp(type, "cgroup") != 0) continue;
        for (size_t i = 0; i < 4; i++)
            if (has_option(options, CONTROLLERS[i]) && hierarchies < 4) {
                snprintf(cgroup_roots[hierarchies++], sizeof cgroup_roots[0], "%s/minibus-bench/%d", where, getpid());
                break; /* controllers mounted together are one hierarchy */
            }
    }
    fclose(mounts);
    if (hierarchies == 0 && unified[0] != '\0')
        snprintf(cgroup_roots[hierarchies++], sizeof cgroup_roots[0], "%s/minibus-bench/%d", unified, getpid());
    if (hierarchies == 0) errno = ENOENT;
    return hierarchies == 0 ? -1 : 0;
}

static const char *above(const char *root) { return path("%.*s", (int)(strrchr(root, '/') - root), root); }

static int make_cgroup_roots(void)
{
    for (int i = 0; i < hierarchies; i++) {
        if (mkdir(above(cgroup_roots[i]), 0755) < 0 && errno != EEXIST) return -1;
        if (mkdir(cgroup_roots[i], 0755) < 0) return -1;
    }
    return 0;
}

static int remove_cgroup(const char *name)
{
    const struct timespec pause = {0, 10 * 1000 * 1000};
    for (int i = 0; i < RMDIR_TRIES; i++) {
        if (rmdir(name) == 0 || errno == ENOENT) return 0;
        if (errno != EBUSY) return -1;
        nanosleep(&pause, NULL);
    }
    return -1;
}

static int stayed(const char *name)
{
    fprintf(stderr, "launch: %s could not be removed: %s\n", name, strerror(errno));
    return -1;
}

static int remove_cgroup_roots(void)
{
    int result = 0;
    for (int i = 0; i < hierarchies; i++) {
        if (remove_cgroup(cgroup_roots[i]) < 0) result = stayed(cgroup_roots[i]);
        rmdir(above(cgroup_roots[i])); /* stays while another run uses it */
    }
    return result;
}

/* ---- inside the new namespaces ---- */

static void fail(int report_fd, const char *step)
{
    dprintf(report_fd, "%s: %s", step, strerror(errno));
    _exit(1);
}

#define TRY(call) do { if ((call) < 0) fail(report_fd, #call); } while (0)

static void mount_file_systems(int report_fd, int index)
{
    const char *fs = path("%s/%d/fs", work_dir, index);
    const char *options = path("lowerdir=%s,upperdir=%s,workdir=%s/%d/work", rootfs, fs, work_dir, index);
    const unsigned long quiet = MS_NOEXEC | MS_NOSUID | MS_NODEV;
    TRY(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL));
    TRY(mount("overlay", fs, "overlay", 0, options));
    TRY(chdir(fs));
    TRY(mount("proc", "proc", "proc", quiet, NULL));
    TRY(mount("sysfs", "sys", "sysfs", quiet | MS_RDONLY, NULL));
    TRY(mount("tmpfs", "dev", "tmpfs", MS_NOEXEC | MS_STRICTATIME, "mode=755"));
    TRY(mkdir("dev/shm", 01777));
    TRY(mount("tmpfs", "dev/shm", "tmpfs", quiet, "mode=1777,size=65536k"));
    TRY(mkdir("dev/pts", 0755));
    TRY(mount("devpts", "dev/pts", "devpts", MS_NOEXEC | MS_NOSUID, "newinstance,ptmxmode=666,gid=5,mode=620"));
}

static void make_nodes(int report_fd)
{
    for (size_t i = 0; i < sizeof NODES / sizeof NODES[0]; i++)
        TRY(mknod(NODES[i].path, S_IFCHR | 0666, makedev(NODES[i].major, NODES[i].minor)));
    for (size_t i = 0; i < sizeof LINKS / sizeof LINKS[0]; i++) TRY(symlink(LINKS[i][0], LINKS[i][1]));
}

static void join_cgroups(int report_fd, int index)
{
    for (int i = 0; i < hierarchies; i++) {
        const char *group = path("%s/%d", cgroup_roots[i], index);
        TRY(mkdir(group, 0755));
        TRY(write_file(path("%s/cgroup.procs", group), "0"));
    }
}

static void become_container(int report_fd, int gate_fd, int index)
{
    char *const environment[] = {NULL};
    char name[32];
    int length = snprintf(name, sizeof name, "bench%d", index);
    TRY(prctl(PR_SET_PDEATHSIG, SIGKILL)); /* so that a killed benchmark leaves no container */
    umask(0);
    TRY(setsid());
    TRY(sethostname(name, (size_t)length));
    mount_file_systems(report_fd, index);
    make_nodes(report_fd);
    join_cgroups(report_fd, index);
    TRY(syscall(SYS_pivot_root, ".", "."));
    TRY(umount2(".", MNT_DETACH));
    TRY(chdir("/"));
    int null_fd = open("/dev/null", O_RDWR);
    TRY(null_fd);
    for (int fd = 0; fd < 3; fd++) TRY(dup2(null_fd, fd));
    if (null_fd > 2) close(null_fd);
    char byte;
    if (has_network && read(gate_fd, &byte, 1) != 1) fail(report_fd, "no interface");
    TRY(execve(init[0], init, environment));
}

/* ---- the one thread ---- */

static int launch(int index)
{
    int report[2];
    char reason[512];
    created = index + 1;
    if (mkdir(path("%s/%d", work_dir, index), 0755) < 0 || mkdir(path("%s/%d/fs", work_dir, index), 0755) < 0 ||
        mkdir(path("%s/%d/work", work_dir, index), 0755) < 0 || pipe2(report, O_CLOEXEC) < 0 ||
        (has_network && gate[0] < 0 && pipe2(gate, O_CLOEXEC) < 0))
        return fprintf(stderr, "launch: container %d: %s\n", index, strerror(errno)), -1;
    pids[index] = (pid_t)syscall(SYS_clone, NAMESPACES | SIGCHLD, NULL, NULL, NULL, 0);
    if (pids[index] == 0) become_container(report[1], gate[0], index);
    int clone_error = errno;
    close(report[1]);
    if (pids[index] < 0) {
        close(report[0]);
        return fprintf(stderr, "launch: container %d: clone: %s\n", index, strerror(clone_error)), -1;
    }
    if (has_network && (plug(index, pids[index]) < 0 || write(gate[1], "", 1) != 1)) {
        close(report[0]);
        return fprintf(stderr, "launch: container %d: interface: %s\n", index, strerror(errno)), -1;
    }
    ssize_t length; /* the exec closes the pipe: end of file is success, text the step that failed */
    do length = read(report[0], reason, sizeof reason - 1);
    while (length < 0 && errno == EINTR && !interrupted);
    close(report[0]);
    if (length > 0) fprintf(stderr, "launch: container %d: %.*s\n", index, (int)length, reason);
    return length == 0 ? 0 : -1;
}

static int remove_entry(const char *name, const struct stat *status, int type, struct FTW *at)
{
    (void)status, (void)type, (void)at;
    return remove(name);
}

/* Kill all, wait for all, remove their cgroups and directories. Does what it can, and says if something stayed. */
static int remove_all(void)
{
    int result = 0;
    const char *name;
    for (int i = 0; i < created; i++)
        if (pids[i] > 0) kill(pids[i], SIGKILL);
    for (int i = 0; i < created; i++) {
        while (pids[i] > 0 && waitpid(pids[i], NULL, 0) < 0 && errno == EINTR) {}
        for (int h = 0; h < hierarchies; h++)
            if (remove_cgroup(name = path("%s/%d", cgroup_roots[h], i)) < 0) result = stayed(name);
        name = path("%s/%d", work_dir, i);
        if (nftw(name, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) < 0 && errno != ENOENT)
            result = stayed(name);
    }
    return remove_cgroup_roots() < 0 ? -1 : result;
}

static void await_end_of_input(void)
{
    char byte;
    printf("launched\n");
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0) {}
}

static void catch_signals(void)
{
    const int caught[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: a wait must end */
    for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++) sigaction(caught[i], &action, NULL);
}

static int read_arguments(int argc, char **argv)
{
    for (; argc > 1 && argv[1][0] == '-'; argc--, argv++) {
        if (strcmp(argv[1], "-w") == 0) waits = 1;
        else if (strcmp(argv[1], "-n") == 0) has_network = 1;
        else break;
    }
    if (argc < 5 || (count = atoi(argv[1])) < 1) {
        fprintf(stderr, "usage: launch [-w] [-n] COUNT ROOTFS WORK_DIR INIT [ARGUMENT...]\n");
        return -1;
    }
    rootfs = argv[2], work_dir = argv[3], init = argv + 4;
    pids = calloc((size_t)count, sizeof *pids);
    return pids == NULL ? -1 : 0;
}

int main(int argc, char **argv)
{
    int done = 0, batch;
    if (read_arguments(argc, argv) < 0) return 1;
    batch = count < BATCH ? count : BATCH;
    catch_signals();
    if (find_cgroups() < 0 || make_cgroup_roots() < 0) {
        fprintf(stderr, "launch: cgroups: %s\n", strerror(errno));
        remove_cgroup_roots();
        return 1;
    }
    if (has_network && make_bridge() < 0) {
        fprintf(stderr, "launch: bridge: %s\n", strerror(errno));
        remove_cgroup_roots();
        return 1;
    }
    double start = now_s(), first = start, last = start, end;
    while (done < count && !interrupted) {
        if (done == count - batch) last = now_s();
        if (launch(done) < 0) break;
        if (++done == batch) first = now_s();
    }
    end = now_s();
    if (waits && done == count) await_end_of_input();
    double removing = now_s();
    int removed = remove_all();
    double gone = now_s();
    if (interrupted) return 130;
    if (done < count || removed < 0) return 1;
    printf("{\"count\": %d, \"launch_s\": %.6f, \"first_s\": %.6f, \"last_s\": %.6f, \"kill_s\": %.6f}\n", count,
           end - start, first - start, end - last, gone - removing);
    return 0;
}
