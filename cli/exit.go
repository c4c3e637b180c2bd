package cli

import (
	"errors"
	"fmt"
	"io"
)

// An exitError ends the command with a code and without a message: what there
// is to say has been said.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit %d", int(e)) }

func exit(err error, stderr io.Writer) int {
	var code exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	}
	fmt.Fprintln(stderr, "plumb:", err)
	return 1
}
