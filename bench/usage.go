package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A usage is what the kernel says of a process.
type usage struct {
	cpu        time.Duration
	peak, size float64 // resident, in MB
}

// usageOf asks the kernel about a process. Where there is no /proc it knows
// nothing, and the figures made of it are left out.
func usageOf(pid int) (u usage, ok bool) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return u, false
	}
	// After the name, which may hold spaces: state is field 3, utime 14.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return u, false
	}
	for _, f := range fields[11:13] {
		ticks, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return u, false
		}
		u.cpu += time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return u, false
	}
	for line := range strings.Lines(string(status)) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "VmHWM:" && f[0] != "VmRSS:" {
			continue
		}
		kb, err := strconv.ParseFloat(f[1], 64)
		if err != nil {
			return u, false
		}
		if f[0] == "VmHWM:" {
			u.peak = kb / 1024
		} else {
			u.size = kb / 1024
		}
	}
	return u, true
}
