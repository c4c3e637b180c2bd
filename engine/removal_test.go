package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/internal/kubetest"
)

// removal puts a unit for one part of its removal.
func (w *live) removal(u Unit, phase apply.Phase, clean bool) Unit {
	u.Leaving, u.Removal = true, Removal{Phase: phase, Clean: clean}
	w.engine.Put(u)
	return u
}

// Hooks before a removal run wave by wave and once, also where the process ends in
// between, and what is let go of afterwards is deleted as it says.
func TestHooksBeforeARemoval(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("git", "1", of("a", "1"), pod("first", "hook: leaving, wave: '-1'"), pod("second", "hook: leaving, delete: done"), pod("last", "hook: left")))
	w.engine.Put(u)
	out := w.says(u, "Ready 1")
	if len(w.pods()) != 0 || len(out.RemovalHooks) != 2 {
		t.Errorf("Pods %v, hooks %v", w.pods(), out.RemovalHooks)
	}
	u = w.removal(u, apply.BeforeRemoval, false)
	first := w.runs("first")
	w.explains(u, "Removing", "waiting for completion of hook of Pod/"+w.ns+"/first")
	w.endPod("first", corev1.PodSucceeded)
	second := w.runs("second")
	u.Remembers = out.Inventory
	w.begin()
	w.engine.Put(u)
	w.explains(u, "Removing", "/second")
	w.endPod("second", corev1.PodSucceeded)
	w.hears(u, isRemoved)
	if w.runs("first") != first || w.runs("second") != second {
		t.Error("a hook has run twice")
	}
	w.holds("a=1")
	w.mu.Lock()
	delete(w.heard, u.Name)
	w.mu.Unlock()
	u = w.removal(u, apply.BeforeRemoval, true)
	w.hears(u, isRemoved)
	w.noFinalizer("first")
	if _, there := w.pods()["second"]; there {
		t.Error("the second one is there")
	}
	if _, there := w.pods()["last"]; there {
		t.Error("what is for afterwards has run")
	}
	w.holds("a=1")
}

// runsAnew waits until a hook is another Pod than before.
func (w *live) runsAnew(name string, before string) {
	w.Helper()
	kubetest.Eventually(w.T, 20*time.Second, func() error {
		if uid := w.pods()[name]; uid == "" || uid == before {
			return fmt.Errorf("there are %v", w.pods())
		}
		return nil
	})
}

// A hook that fails holds the removal, until somebody deletes it: then it runs again.
func TestAHookThatFailsHoldsARemoval(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("git", "1", of("a", "1"), pod("hook", "hook: leaving")))
	w.engine.Put(u)
	w.says(u, "Ready 1")
	u = w.removal(u, apply.BeforeRemoval, false)
	failed := w.runs("hook")
	w.endPod("hook", corev1.PodFailed)
	w.explains(u, "Removing", "it has failed: it is the test's word")
	w.holds("a=1")
	if err := w.env.Client.Delete(t.Context(), w.pod("hook")); err != nil {
		t.Fatal(err)
	}
	w.runsAnew("hook", failed)
	w.endPod("hook", corev1.PodSucceeded)
	w.hears(u, isRemoved)
}

// One that is mended in the source is made anew by itself, and one that runs, or
// has run, is not.
func TestAHookIsMendedInTheSource(t *testing.T) {
	w := newLive(t)
	done, fails := pod("done", "hook: leaving, wave: '-1'"), pod("hook", "hook: leaving")
	u := w.unit("u", artifact("git", "1", of("a", "1"), done, fails))
	w.engine.Put(u)
	w.says(u, "Ready 1")
	u = w.removal(u, apply.BeforeRemoval, false)
	first := w.runs("done")
	w.endPod("done", corev1.PodSucceeded)
	failed := w.runs("hook")
	w.endPod("hook", corev1.PodFailed)
	w.explains(u, "Removing", "mend it in Git")
	w.publish(artifact("git", "2", of("a", "1"), pod("done", "hook: leaving, wave: '-1', is: other"), fails))
	w.explains(u, "Removing", "mend it in Git")
	w.publish(artifact("git", "3", of("a", "1"), done, pod("hook", "hook: leaving, is: mended")))
	w.runsAnew("hook", failed)
	again := w.runs("hook")
	w.publish(artifact("git", "4", of("a", "1"), done, pod("hook", "hook: leaving, is: another")))
	w.explains(u, "Removing", "waiting for completion of hook")
	w.endPod("hook", corev1.PodSucceeded)
	w.hears(u, isRemoved)
	if w.runs("hook") != again || w.runs("done") != first {
		t.Error("a hook has run twice")
	}
	w.holds("a=1")
}

// What can't be made says why, and nothing goes before it.
func TestAHookThatCannotBeMadeHoldsARemoval(t *testing.T) {
	bad := strings.Replace(pod("bad", "hook: leaving"), "Never", "Sometimes", 1)
	unknown := strings.Replace(annotated("x", "1", "hook: leaving"), "v1\nkind: ConfigMap", "example.com/v1\nkind: Unheard", 1)
	for name, c := range map[string]struct{ hook, says string }{
		"refused by the server": {bad, "restartPolicy"}, "of a kind that there isn't": {unknown, "no kind Unheard"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newLive(t)
			u := w.unit("u", artifact("git", "1", of("a", "1"), c.hook))
			w.engine.Put(u)
			w.hears(u, func(out Outcome) error {
				if len(out.RemovalHooks) == 0 {
					return fmt.Errorf("no hooks in %s: %s", out.State, out.Message)
				}
				return nil
			})
			w.comesToHold("a=1")
			w.explains(w.removal(u, apply.BeforeRemoval, false), "Removing", c.says)
			w.holds("a=1")
		})
	}
}

// Along with the objects of a unit go hooks that say nothing of when they do.
func TestHooksGoWithTheObjects(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("git", "1", of("a", "1"), pod("hook", "hook: leaving")))
	w.engine.Put(u)
	w.says(u, "Ready 1")
	u = w.removal(u, apply.BeforeRemoval, false)
	w.runs("hook")
	w.endPod("hook", corev1.PodSucceeded)
	w.hears(u, isRemoved)
	w.mu.Lock()
	delete(w.heard, u.Name)
	w.mu.Unlock()
	u.Removal = Removal{Phase: apply.BeforeRemoval, Clean: true, Deletes: true}
	w.engine.Put(u)
	w.hears(u, isRemoved)
	if len(w.pods()) != 0 {
		t.Errorf("there are %v", w.pods())
	}
	w.holds("a=1")
}
