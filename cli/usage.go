package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/validate/content"
)

// unknownCommand is the error for a command that there is none of, in one line.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	next := cmd.CommandPath() + " --help"
	if cmd.SuggestionsMinimumDistance <= 0 {
		cmd.SuggestionsMinimumDistance = 2
	}
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		next = cmd.CommandPath() + " " + like[0]
	}
	return fmt.Errorf("there is no command %q; type: %s", clean(args[0]), next)
}

// newHelp is cobra's help command but for its answer to what there is none of.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Show what a command does and takes",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || about == nil || about == cmd.Root() && len(rest) > 0 {
				return unknownCommand(cmd.Root(), args)
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}

// takes is cobra.RangeArgs with an error that says what to type.
func takes(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return fmt.Errorf("%s needs more than that; type: plumb %s", cmd.CommandPath(), cmd.Use)
		case len(args) > most:
			return fmt.Errorf("%s does not take %q; type: plumb %s", cmd.CommandPath(), clean(args[most]), cmd.Use)
		}
		return nil
	}
}

// exclusive lets only one of two flags be given.
func exclusive(cmd *cobra.Command, a, b string) {
	before(cmd, func(c *cobra.Command) error {
		if c.Flags().Changed(a) && c.Flags().Changed(b) {
			return fmt.Errorf("--%s and --%s do not go together; type: plumb %s", a, b, c.Use)
		}
		return nil
	})
}

// before adds a check of the flags of a command.
func before(cmd *cobra.Command, check func(*cobra.Command) error) {
	earlier := cmd.PreRunE
	cmd.PreRunE = func(c *cobra.Command, args []string) error {
		if earlier != nil {
			if err := earlier(c, args); err != nil {
				return err
			}
		}
		return check(c)
	}
}

// checkName refuses what can be no object's name, and would be a path.
func checkName(what, name string) error {
	if name == "" {
		return fmt.Errorf("%s is missing; type: plumb get all -A", what)
	}
	if errs := content.IsPathSegmentName(name); len(errs) > 0 {
		return fmt.Errorf("%q is no %s: %s; type: plumb get all -A", clean(name), what, strings.Join(errs, ", "))
	}
	return nil
}

// takesSources reports whether a command does something with source/NAME.
func takesSources(command string) bool {
	return slices.Contains([]string{"sync", "suspend", "resume", "events"}, command)
}
