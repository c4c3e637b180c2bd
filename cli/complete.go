package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/control/view"
)

// patience with the API server while somebody waits for a completion.
const completionTimeout = 3 * time.Second

func (a *app) complete(cmd *cobra.Command, flag string, f cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err) // a flag that does not exist
	}
}

// completeNames completes the names of units or sources in the namespace, as
// the only argument.
func (a *app) completeNames(which func(view.Kind) bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.names(cmd.Context(), which, begun), cobra.ShellCompDirectiveNoFileComp
	}
}

func (a *app) names(ctx context.Context, which func(view.Kind) bool, begun string) []string {
	s, err := a.connect()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	kind, _, hasKind := strings.Cut(begun, "/")
	all, err := s.list(ctx, s.namespace, func(k view.Kind) bool {
		if hasKind {
			return k.Called(kind)
		}
		return which(k)
	})
	if err != nil {
		return nil
	}
	var out []string
	for _, f := range all {
		name := f.Ref.Name
		if hasKind {
			name = kind + "/" + name
		}
		if strings.HasPrefix(name, begun) {
			out = append(out, cobra.CompletionWithDesc(name, clean(short(f.Ready+" "+f.Message, 60))))
		}
	}
	return out
}

func (a *app) completeNamespaces(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	s, err := a.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	l, err := s.Clientset.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, n := range l.Items {
		if strings.HasPrefix(n.Name, begun) {
			out = append(out, n.Name)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
