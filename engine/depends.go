package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/engine/loop"
	"plumb.dev/plumb/fault"
)

// same reports whether two dependencies are on the same unit.
func (d Dependency) same(o Dependency) bool { return d.Unit == o.Unit }

// dependencies returns nil if everything that u depends on is ready, or u may do
// nothing new as it is. Whoever is waited for wakes u when something else is found
// of it.
func (e *Engine) dependencies(ctx context.Context, u Unit) error {
	if len(u.DependsOn) == 0 {
		return nil
	}
	if circle := e.registry.circle(u.Name); circle != nil {
		return &fault.Error{
			Next: fault.Stall, Reason: fault.DependencyNotReady,
			Err:  fmt.Errorf("dependencies go in a circle: %s", strings.Join(circle, " → ")),
			Hint: "remove one of them",
		}
	}
	if u.Permission != apply.Everything {
		return nil
	}
	var waiting []string
	for _, d := range u.DependsOn {
		why, err := e.lacks(ctx, u, d)
		if err != nil {
			return fmt.Errorf("dependency '%s': %w", d.As, err)
		}
		if why != "" {
			waiting = append(waiting, fmt.Sprintf("'%s' %s", d.As, why))
		}
	}
	if len(waiting) > 0 {
		return &fault.Error{
			Next: fault.Wait, Reason: fault.DependencyNotReady,
			Err: fmt.Errorf("dependency %s", strings.Join(waiting, ", ")),
		}
	}
	return nil
}

// lacks says why a dependency is not ready, or nothing.
func (e *Engine) lacks(ctx context.Context, u Unit, d Dependency) (string, error) {
	tell := true
	if d.May != nil {
		var err error
		if tell, err = d.May(ctx); err != nil {
			return "", err
		}
	}
	if d.Judge != nil {
		return d.Judge(ctx)
	}
	dep, s, applied, ok := e.registry.standing(d.Unit)
	if !ok {
		return "does not exist", nil
	}
	if dep.Refused != nil && s.Digest != dep.Digest {
		return "is not ready" + because(tell, dep.Refused.Error()), nil
	}
	if why := dep.behind(s, tell); why != "" {
		return why, nil
	}
	return e.outdated(ctx, u, dep, s, applied, d.Newest), nil
}

// behind says what a dependency lacks to be ready, or nothing.
func (u Unit) behind(s Standing, tell bool) string {
	found := s.Digest == u.Digest
	switch {
	case u.Leaving:
		return "is being deleted"
	case u.Suspended && !found:
		return "is suspended"
	case found && s.Ready == "Unknown":
		return "is being reconciled" + because(tell, s.Message)
	case found && s.Ready == "False" && u.Suspended:
		return "is suspended and was not ready" + because(tell, string(s.Reason)+": "+s.Message)
	case found && s.Ready == "False":
		return "is not ready" + because(tell, string(s.Reason)+": "+s.Message)
	case !found || s.Ready == "":
		return "is not ready" + because(tell, "it has not been reconciled yet")
	}
	return ""
}

// outdated says that a dependency has not applied what it is made from now, if
// that is so. Unless that is asked for, it counts only of one that shares a source
// with u: then that is what u is about to apply.
func (e *Engine) outdated(ctx context.Context, u, dep Unit, s Standing, applied string, always bool) string {
	if !always && !slices.ContainsFunc(dep.Sources, func(name string) bool { return slices.Contains(u.Sources, name) }) {
		return ""
	}
	var err error
	if dep.Artifacts, err = e.artifacts(ctx, dep); err != nil || applied == dep.Revision() {
		return "" // whoever is made from it says what is wrong
	}
	if dep.Suspended {
		return "is suspended, and has not applied revision " + dep.Revision()
	}
	if s.Attempted != dep.Revision() {
		e.loop.Queue(loop.Normal, dep.Name) // somebody waits for what it has to say
	}
	return "has not applied revision " + dep.Revision() + " yet"
}

// because is what a unit says of itself, where it may be told.
func because(tell bool, text string) string {
	if !tell {
		return ""
	}
	const most = 300
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + " …"
	}
	return ": " + text
}

// circle returns a way from a unit along its dependencies back to itself, or
// nil. Each unit of it is called as it is referred to.
func (r *registry) circle(start string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := map[string]bool{}
	var walk func(at, as string, path []string) []string
	walk = func(at, as string, path []string) []string {
		path = append(path, as)
		t := r.units[at]
		if t == nil {
			return nil
		}
		for _, next := range t.unit.DependsOn {
			if next.Unit == start {
				return append(path, next.As)
			}
			if seen[next.Unit] {
				continue
			}
			seen[next.Unit] = true
			if c := walk(next.Unit, next.As, path); c != nil {
				return c
			}
		}
		return nil
	}
	circle := walk(start, "", nil)
	if circle != nil {
		circle[0] = circle[len(circle)-1] // what it is called
	}
	return circle
}
