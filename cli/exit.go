package cli

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// An exitError ends the command with a code and without a message: what there
// is to say has been said.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// errorCodeKey is the annotation of a command whose errors have another exit
// code than 1, because that is one of its answers.
const errorCodeKey = "error-code"

func errorCode(cmd *cobra.Command) int {
	if code, err := strconv.Atoi(cmd.Annotations[errorCodeKey]); err == nil {
		return code
	}
	return 1
}

// exit tells what went wrong, and returns the exit code.
func exit(err error, code int, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	var said exitError
	if errors.As(err, &said) {
		return int(said)
	}
	for line := range strings.SplitSeq(advised(err), "\n") {
		fmt.Fprintln(stderr, "plumb:", clean(line))
	}
	return code
}

// advised is the text of an error with what to do about it, where the cause is
// none of the command.
func advised(err error) string {
	text := err.Error()
	switch {
	case utilnet.IsConnectionRefused(err):
		text += "; is that the right cluster? set KUBECONFIG, --kubeconfig or --context"
	case apierrors.IsForbidden(err):
		text += "; ask for that right, or use another --context"
	case apierrors.IsUnauthorized(err):
		text += "; log in again, or use another --context"
	}
	return text
}

// takes is cobra.RangeArgs with an error that says what to type.
func takes(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= least && len(args) <= most {
			return nil
		}
		return fmt.Errorf("%d arguments are not what it takes; type: plumb %s", len(args), cmd.Use)
	}
}
