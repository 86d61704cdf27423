package lease

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Self names this process: host, boot and namespace of process numbers, number, and
// when it began; so that another run on the same host can tell whether it has ended.
func Self() string {
	start, _ := startOf(os.Getpid())
	return fmt.Sprintf("%s.%s.%d.%s.%04x", host(), space(), os.Getpid(), start, rand.Uint32()&0xffff)
}

// host is the host's name, as far as a tag takes it.
func host() string {
	h, err := os.Hostname()
	if err != nil || h == "" {
		h = "unknown"
	}
	h = strings.Map(func(r rune) rune {
		if r == '.' || r == ':' || r == ',' || r == '/' || r <= ' ' || r > '~' {
			return '-'
		}
		return r
	}, h)
	return h[:min(len(h), 60)]
}

// space tells one numbering of processes from another: by the boot, and by the
// namespace within it.
func space() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	ns, nerr := os.Readlink("/proc/self/ns/pid")
	if err != nil || nerr != nil || len(boot) < 8 {
		return "unknown"
	}
	return string(boot[:8]) + "-" + strings.Trim(ns, "pid:[]")
}

// startOf is when a process began, in clock ticks since the boot: field 22 of
// /proc/PID/stat (proc_pid_stat(5)), "" if there is no such process. over tells that
// it has ended and its parent has not asked how (field 3). The name of the program,
// field 2, may have spaces and ends with the last parenthesis.
func startOf(pid int) (start string, over bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", false
	}
	s := string(b)
	fields := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	if len(fields) < 20 {
		return "", false
	}
	return fields[19], fields[0] == "Z" || fields[0] == "X"
}

// Ended tells whether a holder is a process of this host that has ended.
func Ended(holder string) bool {
	f := strings.Split(holder, ".")
	if len(f) != 5 || f[0] != host() || f[1] != space() || f[1] == "unknown" || f[3] == "" {
		return false
	}
	pid, err := strconv.Atoi(f[2])
	if err != nil || pid <= 0 {
		return false
	}
	if start, over := startOf(pid); start != "" {
		return over || start != f[3]
	}
	// /proc may hide other users' processes (hidepid in proc(5)); a signal's check
	// does not.
	return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}
