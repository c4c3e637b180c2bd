package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// An exitError ends the command with a code. Without an error there is no
// message: what there is to say has been said.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string {
	if e.err != nil {
		return e.err.Error()
	}
	return fmt.Sprintf("exit %d", e.code)
}

func (e exitError) Unwrap() error { return e.err }

func exit(err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	code := 1
	var e exitError
	if errors.As(err, &e) {
		code = e.code
		if e.err == nil {
			return code
		}
	}
	for _, line := range strings.Split(err.Error(), "\n") {
		fmt.Fprintln(stderr, "plumb:", clean(line))
	}
	return code
}
