package engine

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
)

// Pruning that would take more than half of what a unit has, and at least this
// many objects, is held until a person approves it.
const manyPruned = 3

func mine(u Unit) func(*unstructured.Unstructured) bool {
	return func(live *unstructured.Unstructured) bool { return u.Marks.Owner(live) == u.Name }
}

func settled(u Unit, p *place) func(object.Ref, string, *unstructured.Unstructured) {
	return func(ref object.Ref, digest string, live *unstructured.Unstructured) {
		p.watch.Settle(u.Name, ref, digest, live)
	}
}

// mayTake refuses an object that another unit still wants.
func (e *Engine) mayTake(ctx context.Context, u Unit) func(*unstructured.Unstructured) error {
	return func(live *unstructured.Unstructured) error {
		owner := u.Marks.Owner(live)
		if owner == "" || owner == u.Name {
			return nil
		}
		ref := object.RefOf(live)
		refuse := func(why string) error {
			return &fault.Error{
				Next: fault.Retry, Reason: fault.OwnedByOther, Object: ref,
				Err:  fmt.Errorf("it belongs to %s, %s", owner, why),
				Hint: "take it out of one of the two",
			}
		}
		other, unknown, ok := e.named(ctx, owner, u)
		if unknown {
			return refuse("of which it can't be told now whether it still wants it")
		}
		if !ok {
			return nil // nobody's, or left behind
		}
		claims, _, err := e.claims(ctx, other)
		if err != nil || claims[ref] {
			return refuse("which also holds it true")
		}
		return nil
	}
}

// claims returns what a unit's source holds now, or, if that can't be told,
// what it has applied before together with the error. It is not sure what the
// objects of kinds that the cluster does not have will be called.
func (e *Engine) claims(ctx context.Context, u Unit) (claims map[object.Ref]bool, sure bool, err error) {
	claims = map[object.Ref]bool{}
	fallback := func(err error) (map[object.Ref]bool, bool, error) {
		for _, en := range u.Remembers {
			claims[en.Ref] = true
		}
		return claims, false, err
	}
	if u.Source == nil {
		return fallback(errors.New("its source is not ready"))
	}
	p, err := e.place(u.Target, "")
	if err != nil {
		return fallback(err)
	}
	r, _, err := e.cache.Objects(ctx, u.Name, u.Source.Tree, u.Render)
	if err != nil {
		return fallback(err)
	}
	sure = true
	for _, it := range r.Items {
		ref, err := locate(ctx, p, u, it.Ref, it.Version)
		claims[ref] = true // of an unknown kind: as it is written
		if fault.Is(err, fault.UnknownKind) {
			sure = false
		} else if err != nil {
			return fallback(err)
		}
	}
	return claims, sure, nil
}

// prune deletes what u no longer wants, if nobody else wants it and nothing
// speaks against it. before is how many objects u had.
func (e *Engine) prune(ctx context.Context, u Unit, st *state, a *apply.Applier, prune []*apply.Change, before int, out *Outcome) error {
	if len(prune) == 0 {
		return nil
	}
	gone := map[object.Ref]bool{}
	defer func() { st.inventory = apply.Without(st.inventory, gone) }()
	if !u.Prune.Enabled {
		for _, c := range prune {
			c.Action, c.Why = apply.Release, "pruning is off"
			gone[c.Ref] = true
		}
		return nil
	}
	prune, err := e.release(ctx, u, prune, gone, out)
	if err != nil || len(prune) == 0 {
		return err
	}
	lost := losses(prune, st.prepared)
	if err := guard(u, st, lost, before); err != nil {
		held := make(map[*apply.Change]bool, len(lost))
		for _, c := range lost {
			held[c] = true
			c.Action, c.Why = apply.Hold, "see the unit's condition"
		}
		out.Held = append(out.Held, lost...)
		renamed := slices.DeleteFunc(slices.Clone(prune), func(c *apply.Change) bool { return held[c] })
		return errors.Join(err, e.delete(ctx, u, a, renamed, gone, out))
	}
	return e.delete(ctx, u, a, prune, gone, out)
}

// release takes from prune what other units claim: it stays, with its UID, and
// becomes theirs.
func (e *Engine) release(ctx context.Context, u Unit, prune []*apply.Change, gone map[object.Ref]bool, out *Outcome) ([]*apply.Change, error) {
	claimed, broken, unknown, err := e.claimants(ctx, u, prune)
	if err != nil {
		return nil, err
	}
	if len(unknown) > 0 {
		return nil, &fault.Error{
			Next: fault.Retry, Reason: fault.PruneHeld,
			Err: fmt.Errorf("%s not pruned: it can't be told what these claim: %s", count(prune), strings.Join(unknown, ", ")),
		}
	}
	var rest []*apply.Change
	for _, c := range prune {
		by, err := e.heir(ctx, c, claimed[c.Ref])
		if err != nil {
			return nil, &fault.Error{
				Next: fault.Retry, Reason: fault.PruneHeld, Object: c.Ref, Err: fmt.Errorf("not pruned: %w", err),
			}
		}
		if by != "" {
			c.Action, c.Why = apply.Release, "it is now of "+by
			gone[c.Ref] = true
			out.Changes = append(out.Changes, c)
			e.wake(by)
			continue
		}
		rest = append(rest, c)
	}
	if len(rest) > 0 && len(broken) > 0 {
		return nil, &fault.Error{
			Next: fault.Retry, Reason: fault.PruneHeld,
			Err:  fmt.Errorf("%s not pruned, because the same revision broke %s, which may want them", count(rest), strings.Join(broken, ", ")),
			Hint: "repair it, and the pruning goes on",
		}
	}
	return rest, nil
}

// brokeJustNow reports whether a unit that can't be rendered could be at the
// revision before: what it claims may just have come from elsewhere.
func (e *Engine) brokeJustNow(u Unit) bool {
	e.mu.Lock()
	st := e.states[u.Name]
	e.mu.Unlock()
	if st == nil || u.Source == nil {
		return false
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.rendered != "" && st.rendered != u.Source.Revision
}

// generatedName is a name that ends in a hash of the content, in the digits that
// Kustomize's generators use, and what is before that.
var generatedName = regexp.MustCompile(`^(.+)-[24-9bcdfghkmt]{10}$`)

// losses are the objects of prune that nothing replaces: one whose name holds
// a hash of its content has another name with other content, and is the same
// to who wrote it.
func losses(prune []*apply.Change, desired []apply.Item) []*apply.Change {
	base := func(r object.Ref) (object.Ref, bool) {
		m := generatedName.FindStringSubmatch(r.Name)
		if m == nil {
			return r, false
		}
		r.Name = m[1]
		return r, true
	}
	successors := map[object.Ref]int{}
	for _, it := range desired {
		if b, ok := base(it.Ref); ok {
			successors[b]++
		}
	}
	return slices.DeleteFunc(slices.Clone(prune), func(c *apply.Change) bool {
		b, ok := base(c.Ref)
		if !ok || successors[b] == 0 {
			return false
		}
		successors[b]--
		return true
	})
}

// guard holds pruning that looks like a mistake.
func guard(u Unit, st *state, lost []*apply.Change, before int) error {
	if len(lost) == 0 {
		st.held = false
		return nil
	}
	if len(st.prepared) == 0 && !u.Prune.AllowEmpty {
		return &fault.Error{
			Next: fault.Stall, Reason: fault.EmptyRender,
			Err:  fmt.Errorf("path %q at %s holds no objects; the %s that are there were kept", u.Render.Path, u.Source.Revision, count(lost)),
			Hint: "restore the files, or allow it with the annotation plumb.dev/allow-empty: \"true\"",
		}
	}
	held, most := st.held || u.Prune.Held, 2*len(lost) > before
	st.held = false
	if len(lost) >= manyPruned && (held || most) && u.Prune.Approved != u.Source.Revision {
		st.held = true
		why := "which is more than half"
		if !most {
			why = "the rest of what was more than half when it was first held"
		}
		return &fault.Error{
			Next: fault.Stall, Reason: fault.PruneHeld,
			Err: fmt.Errorf("%s would prune %d of %d objects, %s; they were kept: %s", u.Source.Revision, len(lost), before, why, names(lost, 20)),
			Hint: "restore them, or approve it with the annotation plumb.dev/approve-prune: " + u.Source.Revision +
				", as plumb sync --approve-prune does",
		}
	}
	return nil
}

// delete deletes, a step at a time, as [apply.Order] has it: what still has work
// to do as it goes keeps what it may need for that.
func (e *Engine) delete(ctx context.Context, u Unit, a *apply.Applier, prune []*apply.Change, gone map[object.Ref]bool, out *Outcome) error {
	leaving := make(map[object.Ref]bool, len(prune))
	var errs []error
	steps := u.Order.Leaving(prune)
	for i, step := range steps {
		var going []*apply.Change
		failed := false
		for _, c := range step {
			p, err := a.Prune(ctx, c, leaving)
			if err != nil {
				errs = append(errs, err)
				failed = failed || !fault.Is(err, fault.PruneProtected)
			}
			if p.Gone {
				gone[c.Ref] = true
			}
			if p.Going {
				going = append(going, c)
			}
			if p.Deleted {
				leaving[c.Ref] = true
				out.Changes = append(out.Changes, c)
			}
			if c.Action == apply.Hold {
				out.Held = append(out.Held, c)
			}
		}
		out.Unfinished = out.Unfinished || failed
		later := slices.Concat(steps[i+1:]...)
		if len(later) == 0 || !failed && len(going) == 0 {
			continue
		}
		for _, c := range later {
			c.Action, c.Why = apply.Hold, "what was deleted before it may still need it"
		}
		out.Held = append(out.Held, later...)
		out.Unfinished = true
		if !failed {
			errs = append(errs, &fault.Error{
				Next: fault.Wait, Reason: fault.Progressing,
				Err: fmt.Errorf("%s deleted once %s gone", areAll(later), areAll(going)),
			})
		}
		break
	}
	if err := errors.Join(errs...); err != nil {
		f := fault.Of(err)
		reason := f.Reason
		if reason == "" || reason == fault.ReconciliationFailed {
			reason = fault.PruneFailed
		}
		return &fault.Error{Next: f.Next, Reason: reason, Err: err}
	}
	return nil
}

// areAll names some objects as the subject of a sentence.
func areAll(c []*apply.Change) string {
	if len(c) == 1 {
		return c[0].Ref.String() + " is"
	}
	return names(c, 5) + " are"
}

// Remove deletes everything that u has applied, because u is going away, and
// reports what is left. What other units claim stays.
func (e *Engine) Remove(ctx context.Context, u Unit) (out Outcome, err error) {
	st := e.state(u)
	defer func() { out.Inventory = st.inventory }()
	p, err := e.place(u.Target, u.Name)
	if err != nil {
		return out, err
	}
	client, err := p.As(u.Target.User)
	if err != nil {
		return out, err
	}
	plan, _ := apply.Make(nil, st.inventory, u.Managers, u.Order, nil, u.Policy)
	gone := map[object.Ref]bool{}
	defer func() { st.inventory = apply.Without(st.inventory, gone) }()
	if err := p.watch.Follow(ctx, u.Name, e.targets(u, st, nil)); err != nil && !fault.Is(err, fault.UnknownKind) {
		return out, err
	}
	prune, err := e.release(ctx, u, plan.Prune, gone, &out)
	if err != nil {
		return out, err
	}
	return out, e.delete(ctx, u, e.applier(ctx, u, p, client, nil), prune, gone, &out)
}

func count(c []*apply.Change) string {
	if len(c) == 1 {
		return "1 object"
	}
	return fmt.Sprintf("%d objects", len(c))
}

func names(c []*apply.Change, most int) string {
	var b strings.Builder
	for i, c := range c {
		if i == most {
			b.WriteString(", …")
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(c.Ref.String())
	}
	return b.String()
}
