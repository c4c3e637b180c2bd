package apply

import (
	"context"
	"errors"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
)

// What some objects of a stage bring decides whether, and how, the server takes
// the others: an account that a Pod runs as, a Role that a binding refers to, a
// quota, a limit. A trial knows only what is there, so it is repeated once
// those are written.

// enabling are the results of a stage that change how others are admitted.
type enabling []*Result

func enablers(stage []*Result) enabling {
	return slices.DeleteFunc(slices.Clone(stage), func(c *Result) bool {
		return !enables(c) || c.leaves()
	})
}

func enables(c *Result) bool {
	step, _ := place(c.Ref)
	return step <= stepBindings
}

// admits reports whether a trial of c would be about another namespace than
// the one that c will be written to: admission keeps for a while what limits
// and quotas it found there.
func (e enabling) admits(c *Result) bool {
	return !enables(c) && slices.ContainsFunc(e, func(by *Result) bool {
		return by.Ref.Group == "" && (by.Ref.Kind == "LimitRange" || by.Ref.Kind == "ResourceQuota") && by.Ref.Namespace == c.Ref.Namespace
	})
}

// mayMend reports whether c may be refused only for what e brings.
func (e enabling) mayMend(c *Result, err error) bool {
	if !lacks(err) {
		return false
	}
	step, _ := place(c.Ref)
	return slices.ContainsFunc(e, func(by *Result) bool {
		earlier, _ := place(by.Ref)
		return earlier < step
	})
}

// Tried returns the changes that the server has let pass.
func Tried(changes []*Result) []*Result {
	return slices.DeleteFunc(slices.Clone(changes), func(c *Result) bool { return c.trial != passed })
}

// Untried returns the changes that the server was not asked about.
func Untried(changes []*Result) []*Result {
	return slices.DeleteFunc(slices.Clone(changes), func(c *Result) bool { return c.trial != unasked && c.trial != unanswered })
}

// NoAnswer reports whether the server could not say what it thinks of an
// object: mostly because a webhook does not answer, which may run in a workload
// that the same stage is about to mend.
func NoAnswer(err error) bool {
	return apierrors.IsInternalError(err) || apierrors.IsServiceUnavailable(err) || apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err)
}

// isLate reports whether a change waits for all others of its stage.
func isLate(c *Result) bool { return c.trial == unanswered }

// soon is how long what was written may take to be seen by those who decide
// about the rest.
var soon = wait.Backoff{Duration: 20 * time.Millisecond, Factor: 2, Steps: 6}

// TryRest asks again about what [Applier.Try] has left untried, before step is
// written. rest is what remains of the stage, step first; all of it has to pass
// before anything is written that enables nothing, but for what there was no
// answer about.
func (a *Applier) TryRest(ctx context.Context, step, rest []*Result) error {
	if a.Dry {
		return lateErrors(step)
	}
	again := Untried(step)
	if !slices.ContainsFunc(step, enables) {
		again = append(again, slices.DeleteFunc(Untried(rest[len(step):]), isLate)...)
	}
	if len(again) == 0 {
		return nil
	}
	var last error
	err := wait.ExponentialBackoffWithContext(ctx, soon, func(ctx context.Context) (bool, error) {
		last = each(ctx, again, func(c *Result) error { return a.ask(ctx, c) })
		again = slices.DeleteFunc(again, func(c *Result) bool { return c.trial == passed })
		return last == nil || !slices.ContainsFunc(Errors(last), lacks), nil
	})
	if last == nil {
		return err
	}
	return last
}

// lateErrors are of what there was no answer about.
func lateErrors(step []*Result) error {
	var errs []error
	for _, c := range step {
		if isLate(c) {
			errs = append(errs, c.refuse(c.Err))
		}
	}
	return errors.Join(errs...)
}

// lacks reports whether an object was refused for what may come yet. A namespace
// does not come with what is in it: that has a stage of its own.
func lacks(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsNotFound(err) && detailsOf(err).Kind != "namespaces"
}
