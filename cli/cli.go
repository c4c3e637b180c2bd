// Package cli is the plumb command: the controller, and what people type.
//
// A command reads flags, asks the API server or the engine's pure parts, and
// prints. Exit codes are 0 for done, 1 for an error or, where the help says
// so, for an answer that scripts may want to act on.
package cli

import (
	"context"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// Main runs the command line and returns the exit code.
func Main(ctx context.Context, version string, args []string, io genericiooptions.IOStreams) int {
	root := New(version, io)
	root.SetArgs(args)
	return exit(root.ExecuteContext(ctx), io.ErrOut)
}

// New returns the plumb command.
func New(version string, io genericiooptions.IOStreams) *cobra.Command {
	root := &cobra.Command{
		Use:           "plumb",
		Short:         "plumb keeps clusters true to Git",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetIn(io.In)
	root.SetOut(io.Out)
	root.SetErr(io.ErrOut)
	flags := genericclioptions.NewConfigFlags(true)
	flags.AddFlags(root.PersistentFlags())
	root.AddCommand(newServe(version, flags))
	return root
}
