package engine

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/cluster"
)

// allow lets an account of the namespace do something with ConfigMaps there.
func (w *live) allow(account string, verbs ...string) {
	w.Helper()
	name := account + "-" + strings.Join(verbs, "-")
	for _, o := range []client.Object{
		&rbacv1.Role{Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: verbs}}},
		&rbacv1.RoleBinding{
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: w.ns, Name: account}},
		},
	} {
		o.SetNamespace(w.ns)
		o.SetName(name)
		if err := w.env.Client.Create(w.Context(), o); err != nil {
			w.Fatal(err)
		}
	}
}

func (w *live) account(name string) {
	w.Helper()
	o := &corev1.ServiceAccount{}
	o.Namespace, o.Name = w.ns, name
	if err := w.env.Client.Create(w.Context(), o); err != nil {
		w.Fatal(err)
	}
}

// explains waits until what is said of a unit has these words.
func (w *live) explains(u Unit, words ...string) Outcome {
	w.Helper()
	return w.hears(u, func(out Outcome) error {
		said := fmt.Sprintf("%s %s: %s (%v)", out.State, out.Reason, out.Message, out.Err)
		for _, word := range words {
			if !strings.Contains(said, word) {
				return fmt.Errorf("no %q in %s", word, said)
			}
		}
		return nil
	})
}

// A unit acts as its account: nothing is written that this may not write, it is
// said what it lacks, and it goes on by itself when it has it.
func TestAUnitActsAsItsAccount(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("git", "1", of("a", "1")))
	u.Target.User = cluster.User(w.ns, "deployer")
	w.engine.Put(u)
	w.explains(u, "deployer", "does not exist")
	w.holds()

	w.account("deployer")
	out := w.explains(u, "forbidden", "deployer", "the right to patch it")
	if out.State == Ready {
		t.Errorf("%s", out.State)
	}
	w.holds()

	w.allow("deployer", "get", "list", "watch", "create", "patch", "update")
	w.says(u, "Ready 1")
	w.holds("a=1")

	// It may not delete.
	u.Prune.Approved = "2"
	w.engine.Put(u)
	w.publish(artifact("git", "2", of("b", "2")))
	w.explains(u, "a", "delete")
	w.holds("a=1", "b=2")
	w.allow("deployer", "delete")
	w.says(u, "Ready 2")
	w.holds("b=2")
}

// What an account may write and not read it never sees to be done: an operation
// says so, and goes on once that is another.
func TestAnOperationOfAnAccountThatMayNotRead(t *testing.T) {
	w := newLive(t)
	w.account("deployer")
	w.allow("deployer", "create", "patch", "update")
	u := w.operated("u", annotated("first", "1", ""), annotated("second", "1", `wave: "1"`))
	u.Target.User = cluster.User(w.ns, "deployer")
	w.engine.Put(u)
	w.explains(u, "not allowed: ", "deployer may not get it", "first")
	w.allow("deployer", "get")
	w.operates(u, Succeeded, "")
	w.holds("first=1", "second=1")
}

// What was applied in the name of an account that is no more is left: nobody
// may delete it in its place.
func TestWithoutItsAccountAUnitThatGoesLeavesItsObjects(t *testing.T) {
	w := newLive(t)
	w.account("deployer")
	w.allow("deployer", "get", "list", "watch", "create", "patch", "update", "delete")
	u := w.unit("u", artifact("git", "1", of("a", "1")))
	u.Target.User = cluster.User(w.ns, "deployer")
	w.engine.Put(u)
	w.says(u, "Ready 1")
	o := &corev1.ServiceAccount{}
	o.Namespace, o.Name = w.ns, "deployer"
	if err := w.env.Client.Delete(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	u.Leaving, u.Removal = true, Removal{Deletes: true}
	w.engine.Put(u)
	w.hears(u, func(out Outcome) error {
		if out.State != Removed || len(out.Orphaned) != 1 || out.Err == nil || !strings.Contains(out.Err.Error(), "deployer") {
			return fmt.Errorf("%s, left %v: %w", out.State, out.Orphaned, errors.Join(out.Err))
		}
		return nil
	})
	w.holds("a=1")
}
