package watch

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/internal/kubetest"
)

func childrenOn(t *testing.T, config *rest.Config, kinds []schema.GroupVersionKind) *Children {
	t.Helper()
	c, err := cluster.New("", config)
	if err != nil {
		t.Fatal(err)
	}
	self, err := c.As("")
	if err != nil {
		t.Fatal(err)
	}
	return NewChildren(t.Context(), self, kinds)
}

func (c *Children) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.stores)
}

var maps1 = []schema.GroupVersionKind{{Version: "v1", Kind: "ConfigMap"}}

// owner is an object that others can belong to.
func owner(t *testing.T, env *kubetest.Env, ns string) *corev1.ConfigMap {
	t.Helper()
	o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "owner"}}
	if err := env.Client.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return o
}

func owned1(t *testing.T, env *kubetest.Env, ns, name string, by *corev1.ConfigMap) *corev1.ConfigMap {
	t.Helper()
	o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: ns, Name: name,
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: by.Name, UID: by.UID}},
	}}
	if err := env.Client.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return o
}

func wait(t *testing.T, l *Look) []error {
	t.Helper()
	hidden, err := l.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return hidden
}

func shows(t *testing.T, l *Look, uid types.UID, want ...string) {
	t.Helper()
	kubetest.Eventually(t, 30*time.Second, func() error {
		var got []string
		for _, c := range l.Below(uid) {
			got = append(got, c.Ref.Name)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("below it are %v, want %v", got, want)
		}
		return nil
	})
}

func TestChildrenAreShownDownToPodsForAsLongAsSomebodyLooks(t *testing.T) {
	env := kubetest.Start(t)
	env.RequireControllers(t)
	ns := env.Namespace(t)
	replicas := int32(2)
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web"}}},
			},
		},
	}
	if err := env.Client.Create(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	c := childrenOn(t, env.Config, Workloads)
	var changed atomic.Int32
	l := c.Look([]string{ns, ns}, func(string) { changed.Add(1) })
	if hidden := wait(t, l); len(hidden) > 0 {
		t.Errorf("hidden is %v", hidden)
	}
	count := func(kinds ...string) {
		t.Helper()
		kubetest.Eventually(t, time.Minute, func() error {
			var got []string
			for _, c := range l.Below(d.UID) {
				got = append(got, c.Ref.Kind)
			}
			if fmt.Sprint(got) != fmt.Sprint(kinds) {
				return fmt.Errorf("below it are %v, want %v", got, kinds)
			}
			return nil
		})
	}
	count("ReplicaSet", "Pod", "Pod")
	for _, child := range l.Below(d.UID) {
		if body := l.Read(t.Context(), []Child{child})[child.UID]; body.Err != nil || body.Object.GetKind() != child.Ref.Kind {
			t.Errorf("%s is read as %+v", child.Ref, body)
		}
	}
	second := c.Look([]string{ns}, func(string) {})
	if got := c.size(); got != len(Workloads) {
		t.Errorf("two who look cost %d watches", got)
	}
	second.Close()
	before := changed.Load()
	if err := env.Client.Patch(t.Context(), d, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":3}}`))); err != nil {
		t.Fatal(err)
	}
	count("ReplicaSet", "Pod", "Pod", "Pod")
	if changed.Load() == before {
		t.Error("nobody was told of a change")
	}
	l.Close()
	if got := c.size(); got != 0 {
		t.Errorf("%d watches are left when nobody looks", got)
	}
}

func TestWhatIsManyIsReadByAList(t *testing.T) {
	env := kubetest.Start(t)
	ns := env.Namespace(t)
	o := owner(t, env, ns)
	for i := range manyUnseen + 2 {
		owned1(t, env, ns, fmt.Sprint("c-", i), o)
	}
	c := childrenOn(t, env.Config, maps1)
	l := c.Look([]string{ns}, func(string) {})
	wait(t, l)
	children := l.Below(o.UID)
	if len(children) != manyUnseen+2 {
		t.Fatalf("there are %d", len(children))
	}
	gone := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "c-0"}}
	if err := env.Client.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	bodies := l.Read(t.Context(), children)
	for _, child := range children {
		if body := bodies[child.UID]; (body.Object == nil) != (child.Ref.Name == "c-0") || (body.Err == nil) == (body.Object == nil) {
			t.Errorf("%s is read as %+v", child.Ref, body)
		}
	}
}

func TestWhoMayNotListSomethingIsToldSo(t *testing.T) {
	env := kubetest.Start(t)
	ns := make([]string, mostStreams+1)
	user := ""
	for i := range ns {
		ns[i] = env.Namespace(t)
		if user == "" {
			user = "looker-of-" + ns[0]
		}
		if i == 0 {
			continue // where that user may see nothing
		}
		role := &rbacv1.Role{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns[i], Name: "looker"},
			Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get", "list", "watch"}}},
		}
		binding := &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns[i], Name: "looker"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "looker"},
			Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: user}},
		}
		if err := errors.Join(env.Client.Create(t.Context(), role), env.Client.Create(t.Context(), binding)); err != nil {
			t.Fatal(err)
		}
	}
	o := owner(t, env, ns[1])
	owned1(t, env, ns[1], "child", o)

	admin := childrenOn(t, env.Config, maps1)
	all := admin.Look(ns, func(string) {})
	if hidden := wait(t, all); len(hidden) > 0 || admin.size() != 1 {
		t.Errorf("who may do all has %d watches, and hidden is %v", admin.size(), hidden)
	}
	shows(t, all, o.UID, "child")

	config := rest.CopyConfig(env.Config)
	config.Impersonate.UserName = user
	c := childrenOn(t, config, maps1)
	l := c.Look(ns, func(string) {})
	kubetest.Eventually(t, 30*time.Second, func() error { // the authorizer learns of new roles in its own time
		hidden := wait(t, l)
		if len(hidden) != 1 || !strings.Contains(hidden[0].Error(), ns[0]) {
			return fmt.Errorf("hidden is %v, want namespace %s", hidden, ns[0])
		}
		return nil
	})
	shows(t, l, o.UID, "child")
	if c.size() != len(ns) {
		t.Errorf("there are %d watches", c.size())
	}
	l.Close()
	all.Close()
	if n := c.size() + admin.size(); n != 0 {
		t.Errorf("%d watches are left", n)
	}
}
