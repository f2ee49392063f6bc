"""Which system calls a container may make, and with which capabilities it starts.

The profile is an allow-list. What is known to be dangerous is refused with EPERM, so that programs say why;
anything else unlisted gets ENOSYS, so that a C library which tries a newer call falls back to an older one.
Calls that the kernel guards by a capability are allowed together with that capability.

Not allowed to anyone: new user namespaces (they open most of the kernel's attack surface to an ordinary user),
`clone3` (its flags are behind a pointer that a filter cannot read), io_uring, kernel keyrings, the AF_ALG and
AF_VSOCK socket families.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Any

DEFAULT_CAPABILITIES: tuple[str, ...] = (
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)

MASKED_PATHS: tuple[str, ...] = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)

READONLY_PATHS: tuple[str, ...] = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)

_FILES = """
    access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
    fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64
    fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync
    ftruncate ftruncate64 futimesat getcwd getdents getdents64 getxattr inotify_add_watch inotify_init
    inotify_init1 inotify_rm_watch ioctl lchown lchown32 lgetxattr link linkat listxattr llistxattr _llseek
    lremovexattr lseek lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open
    openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat
    readv removexattr rename renameat renameat2 rmdir sendfile sendfile64 setxattr splice stat stat64 statfs
    statfs64 statx symlink symlinkat sync sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat
    utime utimensat utimensat_time64 utimes vmsplice write writev
"""

_MEMORY = """
    brk cachestat get_mempolicy madvise map_shadow_stack mbind membarrier memfd_create memfd_secret mincore mlock
    mlock2 mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free
    pkey_mprotect process_mrelease remap_file_pages set_mempolicy set_mempolicy_home_node
"""

_PROCESSES = """
    _exit arch_prctl capget capset execve execveat exit exit_group fork getcpu getegid getegid32 geteuid geteuid32
    getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid getpriority getresgid getresgid32
    getresuid getresuid32 getrlimit get_robust_list getrusage getsid get_thread_area gettid getuid getuid32
    ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self modify_ldt
    pidfd_open pidfd_send_signal prctl prlimit64 ptrace restart_syscall rseq sched_getaffinity sched_getattr
    sched_getparam sched_get_priority_max sched_get_priority_min sched_getscheduler sched_rr_get_interval
    sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
    seccomp setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setpgid setpriority
    setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit
    set_robust_list setsid set_thread_area set_tid_address setuid setuid32 sysinfo tgkill time times tkill
    ugetrlimit uname vfork wait4 waitid waitpid
"""

_SIGNALS_AND_TIME = """
    alarm clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep
    clock_nanosleep_time64 eventfd eventfd2 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake
    getitimer gettimeofday nanosleep pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
    rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo setitimer sigaction sigaltstack signal
    signalfd signalfd4 sigpending sigprocmask sigreturn sigsuspend timer_create timer_delete timer_getoverrun
    timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime
    timerfd_gettime64 timerfd_settime timerfd_settime64
"""

_SOCKETS_AND_QUEUES = """
    accept accept4 bind connect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2
    epoll_wait epoll_wait_old getpeername getrandom getsockname getsockopt io_cancel io_destroy io_getevents
    io_pgetevents io_pgetevents_time64 io_setup io_submit ipc listen mq_getsetattr mq_notify mq_open
    mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd
    _newselect poll ppoll ppoll_time64 pselect6 pselect6_time64 recv recvfrom recvmmsg recvmmsg_time64 recvmsg
    select semctl semget semop semtimedop semtimedop_time64 send sendmmsg sendmsg sendto setsockopt shmat shmctl
    shmdt shmget shutdown socketcall socketpair
"""

ALLOWED: tuple[str, ...] = tuple(
    f"{_FILES} {_MEMORY} {_PROCESSES} {_SIGNALS_AND_TIME} {_SOCKETS_AND_QUEUES}".split()
)

_DANGEROUS = """
    acct add_key bpf chroot clock_adjtime clock_settime clock_settime64 delete_module fanotify_init finit_module
    fsconfig fsmount fsopen fspick init_module io_uring_enter io_uring_register io_uring_setup ioperm iopl kcmp
    kexec_file_load kexec_load keyctl lookup_dcookie mount mount_setattr move_mount open_by_handle_at open_tree
    perf_event_open pidfd_getfd pivot_root process_madvise process_vm_readv process_vm_writev quotactl
    quotactl_fd reboot request_key setdomainname sethostname setns settimeofday swapoff swapon syslog umount
    umount2 unshare userfaultfd vhangup
"""

REFUSED: tuple[str, ...] = tuple(_DANGEROUS.split())

BY_CAPABILITY: dict[str, tuple[str, ...]] = {
    "CAP_BPF": ("bpf",),
    "CAP_DAC_READ_SEARCH": ("open_by_handle_at",),
    "CAP_PERFMON": ("perf_event_open",),
    "CAP_SYS_ADMIN": (
        *("bpf", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie", "mount"),
        *("mount_setattr", "move_mount", "open_tree", "perf_event_open", "pivot_root", "quotactl"),
        *("quotactl_fd", "setdomainname", "sethostname", "setns", "syslog", "umount", "umount2"),
    ),
    "CAP_SYS_BOOT": ("reboot",),
    "CAP_SYS_CHROOT": ("chroot",),
    "CAP_SYS_MODULE": ("delete_module", "finit_module", "init_module"),
    "CAP_SYS_PACCT": ("acct",),
    "CAP_SYS_PTRACE": ("kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv", "process_vm_writev"),
    "CAP_SYS_RAWIO": ("ioperm", "iopl"),
    "CAP_SYS_TIME": ("clock_adjtime", "clock_settime", "clock_settime64", "settimeofday"),
    "CAP_SYS_TTY_CONFIG": ("vhangup",),
    "CAP_SYSLOG": ("syslog",),
}

_NEW_NAMESPACE_FLAGS = 0x7E020000  # mount, cgroup, uts, ipc, user, pid and net
_PLAIN_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
_AF_ALG, _AF_VSOCK = 38, 40

ARCHITECTURES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
    "armv7l": ("SCMP_ARCH_ARM",),
    "riscv64": ("SCMP_ARCH_RISCV64",),
    "ppc64le": ("SCMP_ARCH_PPC64LE",),
    "s390x": ("SCMP_ARCH_S390X", "SCMP_ARCH_S390"),
}


def profile(capabilities: Iterable[str] = DEFAULT_CAPABILITIES, machine: str = "x86_64") -> dict[str, Any]:
    """`linux.seccomp` of an OCI configuration for a process that starts with these capabilities.

    Programs for the machine's older instruction sets run as well: an image may be 32-bit on a 64-bit machine. Their
    `socketcall` hides its arguments behind a pointer, so to them no socket family is closed."""
    held = {call for capability in capabilities for call in BY_CAPABILITY.get(capability, ())}
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": errno.ENOSYS,
        "architectures": list(ARCHITECTURES.get(machine, ())),
        "syscalls": [
            {"names": [*ALLOWED, *sorted(held)], "action": "SCMP_ACT_ALLOW"},
            _refuse([call for call in REFUSED if call not in held], errno.EPERM),
            _refuse(["clone3"], errno.ENOSYS),
            _allow("clone", 1 if machine == "s390x" else 0, "SCMP_CMP_MASKED_EQ", _NEW_NAMESPACE_FLAGS),
            *(_allow("personality", 0, "SCMP_CMP_EQ", value) for value in _PLAIN_PERSONALITIES),
            _allow("socket", 0, "SCMP_CMP_LT", _AF_ALG),
            _allow("socket", 0, "SCMP_CMP_EQ", _AF_ALG + 1),
            _allow("socket", 0, "SCMP_CMP_GT", _AF_VSOCK),
        ],
    }


def _refuse(names: list[str], code: int) -> dict[str, Any]:
    return {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": code}


def _allow(name: str, index: int, op: str, value: int) -> dict[str, Any]:
    """Allowed when the argument compares so; MASKED_EQ: when none of the bits in `value` is set."""
    return {
        "names": [name],
        "action": "SCMP_ACT_ALLOW",
        "args": [{"index": index, "value": value, "valueTwo": 0, "op": op}],
    }
