package worker

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"github.com/landlock-lsm/go-landlock/landlock"
	"golang.org/x/sys/unix"
)

// calls are what Go's runtime needs to compute, to collect garbage, and to talk
// over pipes that are open. clone is below.
var calls = []string{
	"read", "pread64", "write", "close", "readv", "writev",
	"mmap", "munmap", "mremap", "mprotect", "madvise", "brk", "mincore",
	"futex", "nanosleep", "clock_nanosleep", "clock_gettime", "clock_getres", "gettimeofday", "sched_yield", "sched_getaffinity", "getcpu",
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall",
	"set_robust_list", "set_tid_address", "rseq", "membarrier",
	"getpid", "gettid", "tgkill", "exit", "exit_group",
	"timer_create", "timer_settime", "timer_delete", "setitimer",
	"epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "eventfd2", "pipe2", "fcntl",
	"getrandom", "arch_prctl", "getrusage", "uname", "poll", "ppoll",
}

// confine gives up what a job has no use for. A worker for open jobs keeps
// files, connections and programs.
func confine(s setup) (c Confinement) {
	why := func(to *string, err error) {
		if err != nil {
			*to = err.Error()
		}
	}
	why(&c.Memory, limitMemory(s.Memory))
	if s.Open {
		return c
	}
	why(&c.Files, landlock.V11.BestEffort().Restrict())
	if v, err := landlockVersion(); err != nil || v < 1 {
		c.Files = "the kernel has none"
	}
	why(&c.Calls, limitCalls())
	return c
}

// limitMemory has the kernel refuse more memory than the parent would end this
// process for: that looks from time to time, and one allocation may be all. The
// limit is on what can be written to, which Go takes from what it has reserved
// when it needs it; what is reserved is of no consequence.
func limitMemory(most int64) error {
	// A kernel that runs out ends the process that has most, this one first.
	oom := os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return err
	}
	fields := strings.Fields(string(b))
	if len(fields) < 6 {
		return errors.New("/proc/self/statm has another form")
	}
	pages, err := strconv.ParseUint(fields[5], 10, 64)
	if err != nil {
		return err
	}
	limit := pages*uint64(os.Getpagesize()) + uint64(most)/2*3 //nolint:gosec // it is positive
	return errors.Join(unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: limit, Max: limit}),
		unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}), oom)
}

func landlockVersion() (int, error) {
	v, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if e != 0 {
		return 0, e
	}
	return int(v), nil //nolint:gosec // a small number
}

// limitCalls has the kernel refuse all system calls but calls, and clone but
// for threads, in all threads.
func limitCalls() error {
	info, err := arch.GetInfo("")
	if err != nil {
		return err
	}
	here := slices.DeleteFunc(slices.Clone(calls), func(name string) bool { _, ok := info.SyscallNames[name]; return !ok })
	return seccomp.LoadFilter(seccomp.Filter{
		NoNewPrivs: true,
		Flag:       seccomp.FilterFlagTSync,
		Policy: seccomp.Policy{
			DefaultAction: seccomp.ActionErrno,
			Syscalls: []seccomp.SyscallGroup{
				// As if the kernel had none: its arguments can't be looked at,
				// and the C library goes on with clone.
				{Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS), Names: []string{"clone3"}},
				{Action: seccomp.ActionAllow, Names: here},
				// Last, since the filter has forgotten by then which call it is.
				{Action: seccomp.ActionAllow, NamesWithCondtions: []seccomp.NameWithConditions{{
					Name:       "clone",
					Conditions: []seccomp.Condition{{Argument: 0, Operation: seccomp.BitsSet, Value: unix.CLONE_THREAD}},
				}}},
			},
		},
	})
}

// apart is a process group of its own: Ctrl-C is for the parent.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// closeOnExec keeps from the child what this process has from its own parent.
// Files that Go has opened are kept from it anyway.
func closeOnExec() error {
	err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		return nil // before Linux 5.11
	}
	return err
}

// kill ends a process and those that it has started.
func kill(p *os.Process) { _ = unix.Kill(-p.Pid, unix.SIGKILL) } // it may have ended

// slowDown lets others go first.
func slowDown(pid int) { _ = unix.Setpriority(unix.PRIO_PROCESS, pid, 19) } // it may have ended

// peak returns how many bytes an ended process has had in memory at most.
func peak(p *os.ProcessState) int64 {
	if use, ok := p.SysUsage().(*syscall.Rusage); ok {
		return use.Maxrss << 10
	}
	return 0
}

// ownPeak returns how many bytes this process has had in memory at most.
func ownPeak() int64 {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		return 0
	}
	return use.Maxrss << 10
}

// memory returns how many bytes the process has in memory; 0 if it has ended.
func (w *process) memory() int64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(w.cmd.Process.Pid) + "/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
