package engine

import (
	"errors"

	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"plumb.dev/plumb/fault"
)

// locateChecks finds what the health checks of u are called on the cluster. A
// kind that it does not have is an error, and the check stays as it is
// written, so that the unit is woken when the kind comes.
func locateChecks(k Kinds, u Unit) (checks []Check, err error) {
	var errs []error
	for _, c := range u.Health.Checks {
		found, err := locateCheck(k, u, c)
		if err != nil {
			errs = append(errs, err)
			found = c
		}
		checks = append(checks, found)
	}
	return checks, errors.Join(errs...)
}

// locateCheck gives a check the namespace of its unit if it names none and its
// kind needs one. What is checked is the kind, in whichever version the
// cluster serves it.
func locateCheck(k Kinds, u Unit, c Check) (Check, error) {
	gk := c.Ref.GroupKind()
	m, err := k.Mapping(gk.WithVersion(c.Version))
	if fault.Is(err, "UnknownKind") {
		other, err2 := k.Mapping(gk.WithVersion(""))
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
		if st.denied[c.Ref] && !u.Health.Wait {
			errs = append(errs, p.notAllowed(u, verbRead, c.Ref))
		}
	}
	return errors.Join(errs...)
}
