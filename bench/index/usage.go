package main

import (
	"errors"
	"os"
	"strings"
)

// highWater is the most memory in kB that this process had. It is not from
// getrusage, which starts from what the parent had.
func highWater() (string, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmHWM:" {
			return f[1], nil
		}
	}
	return "", errors.New("no VmHWM in /proc/self/status")
}
