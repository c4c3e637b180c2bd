// Package cli is the plumb command: the controller, and what people type.
//
// A command reads flags, asks the API server or the engine's pure parts, and
// prints. What it works on are the dialects that it is given and what package
// inspect finds, so that one command serves the units of all of them. It acts with the rights
// of who runs it.
//
// Exit codes are 0 for done, 1 for an error or, where the help says so, for an
// answer that scripts may want to act on. What is printed shows no value of a
// Secret, and text that others wrote, such as a commit message, can't steer
// the terminal: see [clean].
package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"plumb.dev/plumb/cli/install"
	"plumb.dev/plumb/control"
)

// Main runs the command line on units and sources of the dialects, and returns the exit code.
func Main(ctx context.Context, version string, dialects []control.Dialect, args []string, io genericiooptions.IOStreams) int {
	root := newRoot(version, dialects, io)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	return exit(err, errorCode(cmd), io.ErrOut)
}

// newRoot returns the plumb command.
func newRoot(version string, dialects []control.Dialect, io genericiooptions.IOStreams) *cobra.Command {
	a := &app{version: version, dialects: dialects, flags: genericclioptions.NewConfigFlags(true), io: io}
	root := &cobra.Command{
		Use:   "plumb",
		Short: "plumb keeps clusters true to Git",
		Long: `plumb keeps clusters true to Git.

Commands use the current context and namespace of KUBECONFIG or --kubeconfig,
as kubectl does; kubectl's other flags for that, such as --token, work too.`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			a.command = cmd.Name()
			return a.start()
		},
		Args: unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetHelpCommand(newHelp())
	root.SetIn(io.In)
	root.SetOut(io.Out)
	root.SetErr(io.ErrOut)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; type: %s --help", err, cmd.CommandPath())
	})
	a.flags.AddFlags(root.PersistentFlags())
	hideRare(root.PersistentFlags())
	root.PersistentFlags().StringVar(&a.color, "color", "auto", "auto, always or never; auto is never where output is no terminal or NO_COLOR is set")
	a.complete(root, "namespace", a.completeNamespaces)
	a.complete(root, "color", cobra.FixedCompletions([]string{"auto", "always", "never"}, cobra.ShellCompDirectiveNoFileComp))

	root.AddGroup(&cobra.Group{ID: "look", Title: "Look:"}, &cobra.Group{ID: "act", Title: "Act:"}, &cobra.Group{ID: "run", Title: "Run:"})
	for _, c := range []*cobra.Command{
		newGet(a), newTree(a), newDiff(a), newBuild(a), newEvents(a), newHistory(a), newTrace(a),
	} {
		c.GroupID = "look"
		root.AddCommand(c)
	}
	for _, c := range []*cobra.Command{newSync(a), newRollback(a), newAction(a), newSuspend(a), newResume(a), newMigrate(a)} {
		c.GroupID = "act"
		root.AddCommand(c)
	}
	for _, c := range []*cobra.Command{newServe(version, dialects, a.flags), install.NewCommand(install.Config{Flags: a.flags, Version: version})} {
		c.GroupID = "run"
		root.AddCommand(c)
	}
	root.AddCommand(newWorker(), newHealthWorker(), newJQWorker())
	return root
}

// hideRare leaves out of the help how kubectl's connection can be adjusted
// beside its kubeconfig. All of it works.
func hideRare(flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) {
		switch f.Name {
		case "kubeconfig", "context", "namespace", "as":
		default:
			f.Hidden = true
		}
	})
}
