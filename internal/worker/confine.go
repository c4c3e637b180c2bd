package worker

import "log/slog"

// A Confinement says what a worker has given up. An empty text: all of it;
// otherwise why that could not be done.
type Confinement struct {
	Calls  string // system calls beyond computing: files, connections, programs (seccomp)
	Files  string // files and connections, a second time (landlock)
	Memory string // more memory than it may have (RLIMIT_DATA)
}

// log says once what the kernel does not offer.
func (c Confinement) log(l *slog.Logger) {
	if l == nil || c == (Confinement{}) {
		return
	}
	l.Warn("workers that render are less confined than they could be: time and memory are limited all the same",
		"seccomp", c.Calls, "landlock", c.Files, "rlimit", c.Memory)
}
