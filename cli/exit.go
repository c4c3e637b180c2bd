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
	fmt.Fprintln(stderr, "plumb:", clean(advised(err)))
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
	return inOneLine(text)
}

// inOneLine joins the lines of an error, of which some libraries make several.
func inOneLine(text string) string {
	var parts []string
	for line := range strings.Lines(text) {
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			parts = append(parts, line)
		}
	}
	return strings.Join(parts, "; ")
}
