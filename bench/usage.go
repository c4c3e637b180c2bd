package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A usage is what the kernel says of a process and those that it has started,
// such as plumb and its render workers.
type usage struct {
	cpu        time.Duration
	peak, size float64 // resident, in MB
}

// usageOf asks the kernel about a process. Where there is no /proc it knows
// nothing, and the figures made of it are left out. Of the processes that it has
// started and that are no more only the processor time counts; of the others the
// program itself is not counted again, since its pages are the same.
func usageOf(pid int) (u usage, ok bool) {
	own, err := processOf(pid)
	if err != nil {
		return u, false
	}
	u.cpu, u.peak, u.size = own.ran+own.ranBefore, own.peak, own.size
	for _, child := range childrenOf(pid) {
		if p, err := processOf(child); err == nil { // else it has just ended
			u.cpu += p.ran + p.ranBefore
			u.peak += p.peak - p.files
			u.size += p.size - p.files
		}
	}
	return u, true
}

// childrenOf returns the processes that one has started.
func childrenOf(pid int) (children []int) {
	lists, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "children"))
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // of a thread that has ended
		}
		for _, f := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(f); err == nil {
				children = append(children, child)
			}
		}
	}
	return children
}

// A process is what the kernel says of one.
type process struct {
	ran, ranBefore    time.Duration // itself, and those that it has waited for
	peak, size, files float64       // resident, in MB; files is what of it is files in memory
}

func processOf(pid int) (p process, err error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return p, err
	}
	// After the name, which may hold spaces: state is field 3, utime 14.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 15 {
		return p, fmt.Errorf("%s/stat has %d fields", dir, len(fields))
	}
	for i, f := range fields[11:15] {
		ticks, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return p, err
		}
		d := time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100
		if i < 2 {
			p.ran += d
		} else {
			p.ranBefore += d
		}
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return p, err
	}
	sizes := map[string]*float64{"VmHWM:": &p.peak, "VmRSS:": &p.size, "RssFile:": &p.files}
	for line := range strings.Lines(string(status)) {
		f := strings.Fields(line)
		if len(f) < 2 || sizes[f[0]] == nil {
			continue
		}
		kb, err := strconv.ParseFloat(f[1], 64)
		if err != nil {
			return p, err
		}
		*sizes[f[0]] = kb / 1024
	}
	return p, nil
}
