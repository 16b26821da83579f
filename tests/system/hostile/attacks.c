/* What root inside a container may try, one word an attack, on x86-64. Each prints `NAME ok` or `NAME ERRNO`.

   An attack that succeeds does no harm: what is opened is not written to, what is set keeps its value. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

/* A 32-bit system call out of a 64-bit program; what it points to has to be static, and so below 4 GiB. */
static long int80(long number, long a, long b, long c, long d, long e) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e) : "memory", "r8", "r9", "r10", "r11");
    return result;
}

static int from_raw(long result) {
    if (result >= 0 || result < -4095) return 0;
    errno = -result;
    return -1;
}

/* ---- mounts */

static int try_mount(void) { return mount("none", "/tmp", "tmpfs", 0, NULL); }
static int try_bind(void) { return mount("/", "/tmp", NULL, MS_BIND | MS_REC, NULL); }
static int try_remount(void) { return mount("none", "/proc/sys", NULL, MS_BIND | MS_REMOUNT, NULL); }
static int try_umount(void) { return umount2("/proc/sys", MNT_DETACH); }
static int try_unmask(void) { return umount2("/proc/keys", MNT_DETACH); }
static int try_pivot_root(void) { return syscall(SYS_pivot_root, ".", "."); }
static int try_fsopen(void) { return syscall(430, "tmpfs", 0); }
static int try_open_tree(void) { return syscall(428, AT_FDCWD, "/", 1); }
static int try_move_mount(void) { return syscall(429, AT_FDCWD, "/proc", AT_FDCWD, "/tmp", 0); }
static int try_fspick(void) { return syscall(433, AT_FDCWD, "/", 0); }
static int try_mount_setattr(void) {
    struct { uint64_t set, clear, propagation, userns; } attr = {.clear = 1};
    return syscall(442, AT_FDCWD, "/proc/sys", 0, &attr, sizeof attr);
}
static int try_open_tree_attr(void) {
    struct { uint64_t set, clear, propagation, userns; } attr = {.clear = 1};
    return syscall(467, AT_FDCWD, "/proc/sys", 0, &attr, sizeof attr);
}
static char none[] = "none", tmp[] = "/tmp", tmpfs[] = "tmpfs";
static int try_mount_32(void) { return from_raw(int80(21, (long)none, (long)tmp, (long)tmpfs, 0, 0)); }
static int try_mount_x32(void) { return syscall(0x40000000 | SYS_mount, "none", "/tmp", "tmpfs", 0, NULL); }
static int try_cgroup1(void) { return mount("none", "/tmp", "cgroup", 0, "memory"); }
static int try_release_agent(void) { return open("/sys/fs/cgroup/memory/release_agent", O_WRONLY); }

/* ---- namespaces */

static int in_child(int (*act)(void)) {
    int status;
    pid_t pid = fork();
    if (pid < 0) return -1;
    if (pid == 0) _exit(act() < 0 ? errno : 0);
    if (waitpid(pid, &status, 0) < 0) return -1;
    errno = WEXITSTATUS(status);
    return errno || WIFSIGNALED(status) ? -1 : 0;
}

static int unshare_user(void) { return unshare(CLONE_NEWUSER); }
static int try_unshare_user(void) { return in_child(unshare_user); }
static int unshare_user_32(void) { return from_raw(int80(310, CLONE_NEWUSER, 0, 0, 0, 0)); }
static int try_unshare_user_32(void) { return in_child(unshare_user_32); }
static int unshare_user_x32(void) { return syscall(0x40000000 | SYS_unshare, CLONE_NEWUSER); }
static int try_unshare_user_x32(void) { return in_child(unshare_user_x32); }
static int unshare_mount(void) { return unshare(CLONE_NEWNS); }
static int try_unshare_mount(void) { return in_child(unshare_mount); }
static int unshare_cgroup(void) { return unshare(CLONE_NEWCGROUP); }
static int try_unshare_cgroup(void) { return in_child(unshare_cgroup); }
static int cloned(long pid) {
    if (pid == 0) _exit(0);
    if (pid > 0) waitpid(pid, NULL, __WALL);
    return pid < 0 ? -1 : 0;
}
static int try_clone_user(void) { return cloned(syscall(SYS_clone, CLONE_NEWUSER | 17, 0, 0, 0, 0)); }
static int try_clone_user_32(void) {
    long result = int80(120, CLONE_NEWUSER | 17, 0, 0, 0, 0);
    return from_raw(result) < 0 ? -1 : cloned(result);
}
static int try_clone3(void) {
    uint64_t args[11] = {CLONE_NEWUSER, 0, 0, 0, 17};
    return cloned(syscall(435, args, sizeof args));
}
static int setns_own(void) {
    int fd = open("/proc/self/ns/mnt", O_RDONLY);
    return fd < 0 ? -1 : setns(fd, 0);
}
static int try_setns(void) { return in_child(setns_own); }

/* A user namespace in which a fresh /proc would have a writable core pattern. */
static void put(const char *path, const char *text) {
    int fd = open(path, O_WRONLY);
    if (fd >= 0) {
        if (write(fd, text, strlen(text)) < 0) perror(path);
        close(fd);
    }
}
static int mount_fresh_proc(void) {
    if (mount("proc", "/tmp", "proc", 0, NULL) < 0) return -1;
    return open("/tmp/sys/kernel/core_pattern", O_WRONLY);
}
static int fresh_proc(void) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID) < 0) return -1;
    put("/proc/self/setgroups", "deny");
    put("/proc/self/uid_map", "0 0 1");
    put("/proc/self/gid_map", "0 0 1");
    return in_child(mount_fresh_proc);
}
static int try_fresh_proc(void) { return in_child(fresh_proc); }
static int unprotect(void) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0) return -1;
    put("/proc/self/setgroups", "deny");
    put("/proc/self/uid_map", "0 0 1");
    if (umount2("/proc/sys", MNT_DETACH) < 0 && mount("none", "/proc/sys", NULL, MS_BIND | MS_REMOUNT, NULL) < 0)
        return -1;
    return open("/proc/sys/kernel/core_pattern", O_WRONLY);
}
static int try_unprotect(void) { return in_child(unprotect); }

/* ---- the kernel at large */

static int try_keyctl(void) { return syscall(SYS_keyctl, 0, -4, 1); }
static int try_add_key(void) { return syscall(SYS_add_key, "user", "minibus", "x", 1, -2); }
static int try_request_key(void) { return syscall(SYS_request_key, "user", "minibus", NULL, 0); }
static int try_session_key(void) { return syscall(SYS_keyctl, 10, -3, "user", "minibus-probe", 0) < 0 ? -1 : 0; }
static int try_bpf(void) {
    uint32_t attr[18] = {2, 4, 4, 1};
    return syscall(SYS_bpf, 0, attr, sizeof attr);
}
static int try_perf(void) {
    struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE, .size = sizeof attr, .config = 0};
    return syscall(SYS_perf_event_open, &attr, -1, 0, -1, 0);
}
static int try_userfaultfd(void) { return syscall(SYS_userfaultfd, 1); }
static int try_io_uring(void) {
    struct io_uring_params params = {0};
    return syscall(SYS_io_uring_setup, 2, &params);
}
static int try_init_module(void) { return syscall(SYS_init_module, NULL, 0, ""); }
static int try_finit_module(void) { return syscall(SYS_finit_module, -1, "", 0); }
static int try_delete_module(void) { return syscall(SYS_delete_module, "no_such_module", 0); }
static int try_kexec(void) { return syscall(SYS_kexec_load, 0, 0, NULL, 0xffff0000); }
static int try_kexec_file(void) { return syscall(SYS_kexec_file_load, -1, -1, 0, "", 0x8000); }
static int try_reboot(void) { return syscall(SYS_reboot, 0xfee1dead, 672274793, 0, NULL); }
static int try_swapon(void) { return swapon("/no/such", 0); }
static int try_acct(void) { return acct("/no/such"); }
static int try_quotactl(void) { return syscall(SYS_quotactl, 0x80000100, NULL, 0, NULL); }
static int try_iopl(void) { return syscall(SYS_iopl, 3); }
static int try_ioperm(void) { return syscall(SYS_ioperm, 0x80, 1, 1); }
static int try_settimeofday(void) { return syscall(SYS_settimeofday, NULL, NULL); }
static int try_adjtimex(void) {
    struct timex now = {0};
    if (adjtimex(&now) < 0) return -1;
    now.modes = ADJ_TIMECONST;
    return adjtimex(&now) < 0 ? -1 : 0;
}
static int try_syslog(void) {
    char text[256];
    return klogctl(3, text, sizeof text);
}
static int try_dmesg_size(void) { return klogctl(10, NULL, 0); }
/* Sends a message without content, and gives what the kernel says to it. */
static int netlink(int family, int type, const char *text) {
    struct {
        struct nlmsghdr head;
        char body[64];
    } packet = {{.nlmsg_len = sizeof packet, .nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK}, ""};
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    int fd = socket(AF_NETLINK, SOCK_RAW, family);
    if (fd < 0) return -1;
    strcpy(packet.body, text);
    if (sendto(fd, &packet, sizeof packet, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0) return -1;
    char answer[1024];
    if (recv(fd, answer, sizeof answer, 0) < 0) return -1;
    struct nlmsghdr *head = (struct nlmsghdr *)answer;
    errno = head->nlmsg_type == NLMSG_ERROR ? -((struct nlmsgerr *)NLMSG_DATA(head))->error : 0;
    return errno ? -1 : 0;
}
static int try_audit(void) { return netlink(NETLINK_AUDIT, 1000, ""); }
static int try_uevent(void) { return netlink(NETLINK_KOBJECT_UEVENT, NLMSG_MIN_TYPE, "change@/none"); }
static int try_vhangup(void) { return vhangup(); }
static int try_tioccons(void) { return ioctl(0, TIOCCONS); }
static int try_tiocvhangup(void) { return ioctl(0, 0x5437); }
static int try_nice(void) { return setpriority(PRIO_PROCESS, 0, -1); }
static int try_realtime(void) {
    struct sched_param param = {.sched_priority = 1};
    return sched_setscheduler(0, SCHED_FIFO, &param);
}
static int try_ioprio(void) { return syscall(SYS_ioprio_set, 1, 0, 1 << 13); }
static int raised(int resource) {
    struct rlimit limit;
    if (getrlimit(resource, &limit) < 0) return -1;
    if (limit.rlim_max == RLIM_INFINITY) return 0;
    limit.rlim_max++;
    return setrlimit(resource, &limit);
}
static int try_raise_files(void) { return raised(RLIMIT_NOFILE); }
static int try_raise_signals(void) { return raised(RLIMIT_SIGPENDING); }
static int try_raise_queues(void) { return raised(RLIMIT_MSGQUEUE); }
static int try_raise_realtime(void) { return raised(RLIMIT_RTPRIO); }
static int try_raise_nice(void) { return raised(RLIMIT_NICE); }
static int try_oom_protection(void) {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY);
    return fd < 0 ? -1 : write(fd, "-1", 2) < 0 ? -1 : 0;
}

/* ---- files */

struct shocker { struct file_handle head; uint32_t words[4]; };
static void root_handle(struct shocker *handle) {
    memset(handle, 0, sizeof *handle);
    handle->head.handle_bytes = 8;
    handle->head.handle_type = 1; /* FILEID_INO32_GEN */
    handle->words[0] = 2; /* the root of ext4 */
}
static int try_shocker(void) {
    struct shocker handle;
    int fd = open("/dev/fifos/fifo0", O_RDWR | O_NONBLOCK);
    if (fd < 0) fd = open("/", O_RDONLY);
    root_handle(&handle);
    return open_by_handle_at(fd, &handle.head, O_RDONLY);
}
static int try_shocker_32(void) {
    static struct shocker handle;
    int fd = open("/dev/fifos/fifo0", O_RDWR | O_NONBLOCK);
    root_handle(&handle);
    return from_raw(int80(342, fd, (long)&handle, O_RDONLY, 0, 0));
}
static int try_immutable(void) {
    int flags, fd = open("/flagged", O_CREAT | O_RDWR, 0600);
    if (fd < 0 || ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0) return -1;
    flags |= FS_IMMUTABLE_FL;
    return ioctl(fd, FS_IOC_SETFLAGS, &flags);
}
static int try_append_only(void) {
    int flags, fd = open("/flagged", O_CREAT | O_RDWR, 0600);
    if (fd < 0 || ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0) return -1;
    flags |= FS_APPEND_FL;
    return ioctl(fd, FS_IOC_SETFLAGS, &flags);
}
static int try_trusted_xattr(void) { return setxattr("/", "trusted.overlay.opaque", "y", 1, 0); }
static int try_chroot_out(void) {
    struct stat before, after;
    int old = open("/", O_RDONLY);
    mkdir("/pit", 0700);
    if (stat("/proc/1/root/.", &before) < 0 || chroot("/pit") < 0 || fchdir(old) < 0) return -1;
    for (int i = 0; i < 100; i++)
        if (chdir("..") < 0) return -1;
    if (chroot(".") < 0 || stat("/", &after) < 0) return -1;
    errno = ENOTTY; /* came back to where it began */
    return before.st_dev == after.st_dev && before.st_ino == after.st_ino ? -1 : 0;
}
static int opens_for_writing(const char *path) {
    int fd = open(path, O_WRONLY | O_NONBLOCK);
    return fd < 0 ? -1 : close(fd);
}
static int try_core_pattern(void) { return opens_for_writing("/proc/sys/kernel/core_pattern"); }
static int try_root_core_pattern(void) { return opens_for_writing("/proc/1/root/proc/sys/kernel/core_pattern"); }
static int try_sysrq(void) { return opens_for_writing("/proc/sysrq-trigger"); }
static int try_uevent_helper(void) { return opens_for_writing("/sys/kernel/uevent_helper"); }
static int try_kcore(void) {
    char byte;
    int fd = open("/proc/kcore", O_RDONLY);
    return fd < 0 ? -1 : read(fd, &byte, 1) == 1 ? 0 : (errno = ENODATA, -1);
}
static int try_kmsg(void) { return open("/proc/kmsg", O_RDONLY | O_NONBLOCK); }
static int try_ptrace_init(void) { return ptrace(PTRACE_SEIZE, 1, 0, 0); }

#define ATTACK(name) {#name, try_##name}
static const struct { const char *name; int (*act)(void); } attacks[] = {
    ATTACK(mount), ATTACK(bind), ATTACK(remount), ATTACK(umount), ATTACK(unmask), ATTACK(pivot_root), ATTACK(fsopen),
    ATTACK(open_tree), ATTACK(move_mount), ATTACK(fspick), ATTACK(mount_setattr), ATTACK(open_tree_attr),
    ATTACK(mount_32), ATTACK(mount_x32), ATTACK(cgroup1), ATTACK(release_agent),
    ATTACK(unshare_user), ATTACK(unshare_user_32), ATTACK(unshare_user_x32), ATTACK(unshare_mount),
    ATTACK(unshare_cgroup), ATTACK(clone_user), ATTACK(clone_user_32), ATTACK(clone3), ATTACK(setns),
    ATTACK(fresh_proc), ATTACK(unprotect),
    ATTACK(session_key), ATTACK(keyctl), ATTACK(add_key), ATTACK(request_key), ATTACK(bpf), ATTACK(perf), ATTACK(userfaultfd),
    ATTACK(io_uring), ATTACK(init_module), ATTACK(finit_module), ATTACK(delete_module), ATTACK(kexec),
    ATTACK(kexec_file), ATTACK(reboot), ATTACK(swapon), ATTACK(acct), ATTACK(quotactl), ATTACK(iopl), ATTACK(ioperm),
    ATTACK(audit), ATTACK(uevent), ATTACK(settimeofday), ATTACK(adjtimex), ATTACK(syslog), ATTACK(dmesg_size), ATTACK(vhangup), ATTACK(tioccons),
    ATTACK(tiocvhangup), ATTACK(nice), ATTACK(realtime), ATTACK(ioprio), ATTACK(raise_files), ATTACK(raise_signals),
    ATTACK(raise_queues), ATTACK(raise_realtime), ATTACK(raise_nice), ATTACK(oom_protection), ATTACK(shocker),
    ATTACK(shocker_32), ATTACK(immutable), ATTACK(append_only), ATTACK(trusted_xattr), ATTACK(core_pattern),
    ATTACK(root_core_pattern), ATTACK(sysrq), ATTACK(uevent_helper), ATTACK(kcore), ATTACK(kmsg), ATTACK(ptrace_init),
    ATTACK(chroot_out), /* the last one: it changes its own root */
};

/* As the program that an image has for a dynamic loader: the executed file is the one of before. */
static int try_own_executable(void) {
    struct stat st;
    if (stat("/proc/self/exe", &st) < 0) return -1;
    return chmod("/proc/self/exe", st.st_mode & 07777);
}

int main(int count, char **words) {
    (void)count;
    umask(0);
    if (!strstr(words[0], "attacks")) { /* not under its name: as somebody's loader */
        int failed = try_own_executable();
        FILE *file = fopen("/out", "w");
        fprintf(file, "%s\n", failed < 0 ? strerrorname_np(errno) : "ok");
        return fclose(file);
    }
    setvbuf(stdout, NULL, _IONBF, 0);
    for (unsigned i = 0; i < sizeof attacks / sizeof *attacks; i++) {
        errno = 0;
        if (attacks[i].act() < 0) printf("%s %s\n", attacks[i].name, strerrorname_np(errno));
        else printf("%s ok\n", attacks[i].name);
    }
    return 0;
}
