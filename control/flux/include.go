package flux

import (
	"context"
	"fmt"
	"strings"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/report"
)

// checkNames refuses references that no object can be found by: they would be
// paths.
func checkNames(g *sourcev1.GitRepository) error {
	check := func(field, name string) error {
		errs := content.IsPathSegmentName(name)
		if name == "" {
			errs = []string{"may not be empty"}
		}
		if len(errs) == 0 {
			return nil
		}
		return &fault.Error{
			Next: fault.Stall, Reason: "InvalidSpec", Err: fmt.Errorf("spec.%s: %q is no name: %s", field, name, strings.Join(errs, ", ")),
			Hint: "name an object of the same namespace",
		}
	}
	if s := g.Spec.SecretRef; s != nil {
		if err := check("secretRef.name", s.Name); err != nil {
			return err
		}
	}
	if s := g.Spec.ProxySecretRef; s != nil {
		if err := check("proxySecretRef.name", s.Name); err != nil {
			return err
		}
	}
	for i, inc := range g.Spec.Include {
		if err := check(fmt.Sprintf("include[%d].repository.name", i), inc.GitRepositoryRef.Name); err != nil {
			return err
		}
	}
	return nil
}

// reasonCircle is why GitRepositories stall that include each other.
const reasonCircle = "IncludeCircle"

// inCircle returns the error for a GitRepository that includes itself by way of
// others: with each round its artifact would grow. What was not known of it
// before is told to the others that it concerns; was says that it was known.
func (r *gitRepositories) inCircle(ctx context.Context, g *sourcev1.GitRepository) (was bool, err error) {
	was = report.Find(g.Status.Conditions, report.Ready).Reason == reasonCircle
	way, err := r.circle(ctx, client.ObjectKeyFromObject(g), includesOf(g))
	if err != nil {
		return was, err
	}
	switch {
	case way != nil && !was:
		r.queue.add(way...)
	case way == nil && was:
		r.queue.add(including(ctx, r.client, unitName(GitRepositoryKind.Kind, g.Namespace, g.Name), r.log)...)
	}
	if way == nil {
		return was, nil
	}
	names := make([]string, len(way))
	for i, key := range way {
		names[i] = key.String()
	}
	return was, circular(names)
}

// circle returns a way from a GitRepository that includes the ones of those
// names back to itself, or nil.
func (r *gitRepositories) circle(ctx context.Context, start types.NamespacedName, names []string) ([]types.NamespacedName, error) {
	seen := map[types.NamespacedName]bool{}
	var walk func(names []string, way []types.NamespacedName) ([]types.NamespacedName, error)
	walk = func(names []string, way []types.NamespacedName) ([]types.NamespacedName, error) {
		for _, name := range names {
			next := types.NamespacedName{Namespace: start.Namespace, Name: name}
			on := append(way[:len(way):len(way)], next)
			if next == start {
				return on, nil
			}
			if seen[next] {
				continue
			}
			seen[next] = true
			u, err := peek(ctx, r.client, GitRepositoryKind, next)
			if client.IgnoreNotFound(err) != nil {
				return nil, err
			}
			if err != nil {
				continue
			}
			if c, err := walk(includedBy(u), on); c != nil || err != nil {
				return c, err
			}
		}
		return nil, nil
	}
	return walk(names, []types.NamespacedName{start})
}

func circular(way []string) error {
	return &fault.Error{
		Next: fault.Stall, Reason: reasonCircle, Err: fmt.Errorf("spec.include: GitRepositories include each other in a circle: %s", strings.Join(way, " → ")),
		Hint: "take one of them out",
	}
}

func includesOf(g *sourcev1.GitRepository) (names []string) {
	for _, inc := range g.Spec.Include {
		names = append(names, inc.GitRepositoryRef.Name)
	}
	return names
}

// includedBy reads spec.include of a GitRepository that need not be valid
// otherwise: what is not as it should be includes nothing.
func includedBy(u *unstructured.Unstructured) (names []string) {
	spec, _ := u.Object["spec"].(map[string]any)
	list, _ := spec["include"].([]any)
	for _, i := range list {
		inc, _ := i.(map[string]any)
		repository, _ := inc["repository"].(map[string]any)
		if name, ok := repository["name"].(string); ok {
			names = append(names, name)
		}
	}
	return names
}
