package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/parallel"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/watch"
)

// The watch is plumb's own and sees more than a unit's identity may. What it
// knows is given to a unit only as far as its identity could have read it.

// A sight is what a unit has an eye on.
type sight struct {
	checks    []Check // as they are on the cluster
	checksErr error   // why some of them can't be judged
	following []watch.Target
	denied    map[object.Ref]bool // what the unit's identity may not read
	account   *watch.Target       // the unit's service account, while it is missing
}

var namespaces = schema.GroupResource{Resource: "namespaces"}

const (
	verbRead  = "get"
	verbWrite = "patch"
)

// may reports whether the identity of u may do something to an object. An
// object of a kind that the cluster does not have nobody can read.
func (p *place) may(ctx context.Context, u Unit, verb string, ref object.Ref, version string) (bool, error) {
	if u.Target.User == "" || p.rights == nil {
		return true, nil
	}
	m, err := p.Mapping(ctx, ref.GroupKind().WithVersion(version))
	if fault.Is(err, fault.UnknownKind) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	q := cluster.Question{User: u.Target.User, Verb: verb, Resource: m.Resource.GroupResource(), Namespace: ref.Namespace, Name: ref.Name}
	if q.Resource == namespaces {
		q.Namespace = ref.Name // a Namespace is in itself: a Role there may speak of it
	}
	return p.rights.May(ctx, q)
}

// readable leaves of targets those that the identity of u may read, and names
// the others. What can't be told is an error, and nothing is given.
func (e *Engine) readable(ctx context.Context, u Unit, p *place, targets []watch.Target) (may []watch.Target, denied map[object.Ref]bool, err error) {
	if u.Target.User == "" || p.rights == nil {
		return targets, nil, nil
	}
	// Most questions are the same one: about a kind in a namespace.
	type where struct {
		schema.GroupKind
		namespace string
	}
	kinds := map[where][]int{}
	for i, t := range targets {
		at := where{t.Ref.GroupKind(), t.Ref.Namespace}
		kinds[at] = append(kinds[at], i)
	}
	const atATime = 8
	answers := make([]bool, len(targets))
	err = parallel.Each(ctx, atATime, slices.Collect(maps.Values(kinds)), func(_ int, same []int) (err error) {
		for _, i := range same {
			if answers[i], err = p.may(ctx, u, verbRead, targets[i].Ref, targets[i].Version); err != nil {
				return err // the others would fail in the same way
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, fault.Of(err)
	}
	for i, t := range targets {
		if answers[i] {
			may = append(may, t)
			continue
		}
		if denied == nil {
			denied = make(map[object.Ref]bool)
		}
		denied[t.Ref] = true
	}
	return may, denied, nil
}

// follow has the watch follow what u is about, as far as its identity may read
// it. kindErr names the kinds that the cluster does not have.
func (e *Engine) follow(ctx context.Context, u Unit, st *state, p *place, items []apply.Item) (kindErr, err error) {
	for range 3 {
		st.checks, st.checksErr = e.locateChecks(ctx, p, u)
		targets := append(e.targets(u, st, items), st.missing...)
		if st.following, st.denied, err = e.readable(ctx, u, p, targets); err != nil {
			return nil, err
		}
		if st.account != nil {
			st.following = append(st.following, *st.account)
		}
		kindErr = p.watch.Follow(ctx, u.Name, st.following)
		if kindErr != nil || !fault.Is(st.checksErr, fault.UnknownKind) {
			return kindErr, nil
		}
		// A kind has come since it was looked for, and wakes nobody now.
	}
	return nil, errors.New("the kinds of the cluster change faster than they can be looked at")
}

// live returns what a plan for u may know of an object. Of what its identity
// may not read that is nothing, and the server says what is to be said.
func (p *place) live(u Unit, st *state) func(object.Ref) (apply.Live, bool) {
	return func(r object.Ref) (apply.Live, bool) {
		if st.denied[r] {
			return apply.Live{}, true
		}
		l, known := p.watch.Live(u.Name, r)
		out := apply.Live{Exists: l.Exists, Deleting: l.Deleting, Settled: l.Settled, Digest: l.Digest, Object: l.Object}
		out.Fares, out.Says = fares(l.Health)
		return out, known
	}
}

// MayRead returns nil if a user may read an object of the cluster that plumb
// runs in. Else the unit is woken when rights change.
func (e *Engine) MayRead(ctx context.Context, unit, user string, ref object.Ref, version string) error {
	p, err := e.place(Target{}, "")
	if err != nil {
		return err
	}
	u := Unit{Name: unit, Target: Target{User: user}}
	yes, err := p.may(ctx, u, verbRead, ref, version)
	if err == nil && !yes {
		err = p.notAllowed(u, verbRead, ref)
	}
	return err
}

// notAllowed is the error for an object whose state may not be told. It is the
// same whether or not there is such an object.
func (p *place) notAllowed(u Unit, verb string, ref object.Ref) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.denied == nil {
		p.denied = make(map[string]bool)
	}
	p.denied[u.Name] = true
	return &fault.Error{
		Next: fault.Wait, Reason: fault.AccessDenied, Object: ref,
		Err:  fmt.Errorf("not allowed: %s may not %s it", u.Target.User, verb),
		Hint: "give that identity the right to, or take the object out",
	}
}

// rightsChanged wakes the units that were denied something.
func (e *Engine) rightsChanged(p *place) {
	p.mu.Lock()
	units := p.denied
	p.denied = nil
	p.mu.Unlock()
	for u := range units {
		e.wake(u)
	}
}

// untouched refuses objects that the unit would never write, because they are
// there already, and that its identity may not write: to hold them is no way
// to learn of them.
func (p *place) untouched(ctx context.Context, u Unit, items []apply.Item) error {
	var errs []error
	for _, it := range items {
		if it.Policy.Mode != apply.IfNotPresent {
			continue
		}
		yes, err := p.may(ctx, u, verbWrite, it.Ref, it.Version)
		if err != nil {
			return err
		}
		if !yes {
			errs = append(errs, p.notAllowed(u, verbWrite, it.Ref))
		}
	}
	return errors.Join(errs...)
}

// heir returns the unit that an object is left to: one that claims it and
// whose identity may write it. Nobody can keep an object alive only by naming
// it.
func (e *Engine) heir(ctx context.Context, c apply.Entry, claimants []Unit) (string, error) {
	for _, o := range claimants {
		p, err := e.place(o.Target, "")
		if err != nil {
			return "", err
		}
		yes, err := p.may(ctx, o, verbWrite, c.Ref, c.Version)
		if err != nil {
			return "", fmt.Errorf("%s claims it: %w", o.Name, err)
		}
		if yes {
			return o.Name, nil
		}
	}
	return "", nil
}

// explain says of a refusal that the service account which was refused does
// not exist, if that is so. Its coming wakes the unit.
func (e *Engine) explain(ctx context.Context, u Unit, st *state, p *place, cause error) error {
	st.account = nil
	namespace, name, ok := cluster.Account(u.Target.User)
	if !ok || !forbidden(cause) && !fault.Is(cause, fault.AccessDenied) {
		return cause
	}
	ref := object.Ref{Kind: "ServiceAccount", Namespace: namespace, Name: name}
	self, err := p.As("")
	if err != nil {
		return cause
	}
	if _, err := self.Get(ctx, ref, "v1"); !apierrors.IsNotFound(err) {
		return cause // it is there, or that can't be told
	}
	st.account = &watch.Target{Ref: ref, Version: "v1", Managers: u.Managers}
	if err := p.watch.Follow(ctx, u.Name, append(st.following, *st.account)); err != nil && !fault.Is(err, fault.UnknownKind) {
		return errors.Join(cause, err)
	}
	return &fault.Error{
		Next: fault.Wait, Reason: fault.ReconciliationFailed, Err: fmt.Errorf("%s does not exist, so nothing can be done in its name", ref),
		Hint: "create it, or name another service account; it goes on when it comes",
	}
}

// forbidden reports whether the API server refused something for lack of
// rights.
func forbidden(err error) bool {
	switch x := err.(type) { //nolint:errorlint // this is the walk along the chain
	case nil:
		return false
	case apierrors.APIStatus:
		return apierrors.IsForbidden(err)
	case interface{ Unwrap() []error }:
		for _, err := range x.Unwrap() {
			if forbidden(err) {
				return true
			}
		}
		return false
	default:
		return forbidden(errors.Unwrap(err))
	}
}
