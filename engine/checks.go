package engine

import (
	"context"
	"errors"
	"fmt"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/watch/health"
)

// locateChecks finds what the health checks of u are called on the cluster. A
// kind that it does not have is an error, and the check stays as it is
// written, so that the unit is woken when the kind comes.
func (e *Engine) locateChecks(ctx context.Context, k Kinds, u Unit) (checks []Check, err error) {
	if u.Health.Wait {
		u.Health.Checks = nil // every object counts, and these don't
	}
	if err := e.admitChecks(u, len(u.Health.Checks)); err != nil {
		return nil, err
	}
	var errs []error
	for _, c := range u.Health.Checks {
		found, err := LocateCheck(ctx, k, u, c)
		if err != nil {
			errs = append(errs, err)
			found = c
		}
		checks = append(checks, found)
	}
	return checks, errors.Join(errs...)
}

// maxChecks is how many health checks the units of one namespace may have. They
// are watched in plumb's name, where they are by their names alone.
const maxChecks = 1000

// admitChecks refuses the health checks of u where its namespace has so many.
func (e *Engine) admitChecks(u Unit, n int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	have := e.checks[u.Namespace]
	if have == nil {
		have = make(map[string]int)
		e.checks[u.Namespace] = have
	}
	delete(have, u.Name)
	total := n
	for _, other := range have {
		total += other
	}
	if n > 0 && total > maxChecks {
		return &fault.Error{
			Next: fault.Wait, Reason: fault.HealthCheckFailed,
			Err:  fmt.Errorf("the units of namespace %s would have %d health checks, which is more than %d", u.Namespace, total, maxChecks),
			Hint: "have the unit wait for its own objects instead",
		}
	}
	if n > 0 {
		have[u.Name] = n
	}
	if len(have) == 0 {
		delete(e.checks, u.Namespace)
	}
	return nil
}

// LocateCheck gives a check the namespace of its unit if it names none and its
// kind needs one. What is checked is the kind, in whichever version the
// cluster serves it. With an error, the check is as it is written.
func LocateCheck(ctx context.Context, k Kinds, u Unit, c Check) (Check, error) {
	gk := c.Ref.GroupKind()
	m, err := k.Mapping(ctx, gk.WithVersion(c.Version))
	if fault.Is(err, fault.UnknownKind) {
		other, err2 := k.Mapping(ctx, gk.WithVersion(""))
		if err2 != nil {
			return c, err
		}
		m, err = other, nil
	}
	if err != nil {
		return c, err
	}
	c.Version = m.GroupVersionKind.Version
	switch {
	case m.Scope.Name() != apimeta.RESTScopeNameNamespace:
		c.Ref.Namespace = ""
	case c.Ref.Namespace == "":
		c.Ref.Namespace = u.Namespace
	}
	return c, nil
}

// unjudged says which health checks can't be judged, and why.
func (st *state) unjudged(u Unit, p *place) error {
	errs := []error{st.checksErr}
	for _, c := range st.checks {
		if st.denied[c.Ref] {
			errs = append(errs, p.notAllowed(u, verbRead, c.Ref))
		}
	}
	return errors.Join(errs...)
}

// Judge returns who judges a kind, or nil for kstatus.
func (h Health) Judge(gk schema.GroupKind) health.Judge {
	if h.Judges == nil {
		return nil
	}
	return h.Judges.For(gk)
}
