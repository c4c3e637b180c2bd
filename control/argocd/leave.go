package argocd

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/engine"
)

// leave says what becomes of the objects of an Application that is being deleted:
// with the finalizer that asks for it they go first, and without it they stay.
func (r *applications) leave(a *application, in *around, u *engine.Unit) {
	refused := u.Refused
	u.Refused = nil // what is wrong with its spec does not count now
	if phase, clean, f := stage(a.Finalizers); f != "" {
		opts, err := a.options()
		u.Removal = engine.Removal{Phase: phase, Clean: clean, Deletes: clean && phase == apply.BeforeRemoval && len(cascades(a.Finalizers)) > 0 && err == nil && !opts.stay}
		if refused != nil {
			u.Refused = a.holdsFor(refused)
		}
		return
	}
	if len(cascades(a.Finalizers)) == 0 {
		return
	}
	u.Removal = engine.Removal{Deletes: true, Waits: true, Confirmed: a.confirmed(a.DeletionTimestamp.Time), Propagation: propagationOf(a.Finalizers)}
	if opts, err := a.options(); err == nil {
		u.Removal.Deletes, u.Removal.Asks = !opts.stay, opts.asksToGo
	}
	if slices.Contains(a.Finalizers, postDelete) {
		u.MakesNamespace = nil // hooks may need it afterwards
	}
	t, err := in.terms(a) // where it takes its objects from does not count any more
	switch {
	case a.statusErr != nil:
		u.Refused = fmt.Errorf("it can't be told what is to be deleted: %w", a.statusErr)
	case a.unreadable != nil:
		u.Refused = a.unreadable
	case err != nil:
		u.Refused = err
	}
	if u.Refused == nil {
		u.Target = t.target
	} else {
		u.Target = in.where(a)
	}
}

// leaves reports whether an Application that is being deleted goes now. As with
// Argo CD, one that somebody syncs goes once that has ended; but nothing waits for
// what has begun by itself, or does not go on.
func (a *application) leaves(u engine.Unit, kept bool, now time.Time) bool {
	goesOn := a.runs() && !byItself(a.Operation) && a.blocked(termsOf(u), now) == "" && u.Refused == nil && !u.Suspended
	return a.DeletionTimestamp != nil && (kept || !goesOn)
}

// holdsFor says that a deletion waits for hooks that can't be known.
func (a *application) holdsFor(why error) error {
	if _, _, f := stage(a.Finalizers); a.DeletionTimestamp != nil && f != "" && why != nil {
		return fmt.Errorf("its hooks can't be told, and so it stays until it is mended, or the finalizer %s is taken off: %w", f, why)
	}
	return why
}

// propagationOf is what becomes of what is made from the objects, by finalizers.
func propagationOf(finalizers []string) metav1.DeletionPropagation {
	if slices.Contains(finalizers, cascadeBackground) {
		return metav1.DeletePropagationBackground
	}
	return metav1.DeletePropagationForeground
}

// cascades are those of some finalizers that ask for an Application's objects to
// go with it.
func cascades(finalizers []string) (found []string) {
	for _, f := range finalizers {
		if f == cascade || f == cascadeForeground || f == cascadeBackground {
			found = append(found, f)
		}
	}
	return found
}

// The finalizers of a deletion with hooks. Each goes once what it stands for is
// done; cleaned is what becomes of hooks that have run.
const cleaned = "/cleanup"

// stage is what comes next in the deletion of an Application that has finalizers,
// as far as hooks are concerned, and by which of these that is known. What comes
// after the deletion of its objects waits for that.
func stage(finalizers []string) (phase apply.Phase, clean bool, finalizer string) {
	for _, s := range []struct {
		phase     apply.Phase
		clean     bool
		finalizer string
	}{
		{apply.BeforeRemoval, false, preDelete}, {apply.BeforeRemoval, true, preDelete + cleaned},
		{apply.AfterRemoval, false, postDelete}, {apply.AfterRemoval, true, postDelete + cleaned},
	} {
		if s.phase == apply.AfterRemoval && len(cascades(finalizers)) > 0 {
			break
		}
		if slices.Contains(finalizers, s.finalizer) {
			return s.phase, s.clean, s.finalizer
		}
	}
	return apply.Main, false, ""
}

// settled are the finalizers that go since that has been done. It goes by what was
// asked for, not by what comes next: the same may be told twice.
func settled(done engine.Removal, finalizers []string) (gone []string) {
	var of []string
	switch {
	case done == engine.Removal{}: // all stays where it is
		return append(cascades(finalizers), awaited(finalizers)...)
	case done.Phase == apply.Main:
		return cascades(finalizers)
	case done.Phase == apply.BeforeRemoval:
		of = []string{preDelete}
	default:
		of = []string{postDelete}
	}
	if done.Clean {
		of[0] += cleaned
	}
	if !slices.Contains(finalizers, of[0]) {
		return nil
	}
	return of
}

// awaited are those of some finalizers that are set for hooks of a deletion.
func awaited(finalizers []string) (found []string) {
	for _, f := range finalizers {
		if base := strings.TrimSuffix(f, cleaned); base == preDelete || base == postDelete {
			found = append(found, f)
		}
	}
	return found
}

// awaiting says which finalizers are to be set, and which are not, by the hooks that
// there are for a deletion.
func awaiting(finalizers []string, phases []apply.Phase) (with, without []string) {
	for phase, base := range map[apply.Phase]string{apply.BeforeRemoval: preDelete, apply.AfterRemoval: postDelete} {
		for _, f := range []string{base, base + cleaned} {
			switch has, wants := slices.Contains(finalizers, f), slices.Contains(phases, phase); {
			case wants && !has:
				with = append(with, f)
			case has && !wants:
				without = append(without, f)
			}
		}
	}
	slices.Sort(with)
	return with, without
}
