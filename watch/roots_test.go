package watch

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/kubetest"
)

func TestRootsAreWhatNobodyOwnsAndWhoseTheyAre(t *testing.T) {
	env := kubetest.Start(t)
	ns, other := env.Namespace(t), env.Namespace(t)
	o := owner(t, env, ns)
	child := owned1(t, env, ns, "child", o)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "account"}}
	if err := env.Client.Create(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	owner(t, env, other)
	children := childrenOn(t, env.Config, nil)
	c := NewRoots(t.Context(), children.cluster, append(maps1, schema.GroupVersionKind{Version: "v1", Kind: "Secret"}), func(kind schema.GroupVersionKind, m *metav1.PartialObjectMetadata) string {
		return kind.Kind + " " + m.Labels["of"]
	})
	news := make(chan string, 100)
	l := c.Look([]string{ns}, func(namespace string) { news <- namespace })
	wait(t, l)
	is := func(want ...string) {
		t.Helper()
		kubetest.Eventually(t, 30*time.Second, func() error {
			var got []string
			for _, r := range l.Roots(ns) {
				if r.Ref.Name != "kube-root-ca.crt" {
					got = append(got, r.Ref.Name+": "+r.Whose)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				return fmt.Errorf("the roots are %q, want %q", got, want)
			}
			return nil
		})
	}
	is("owner: ConfigMap ")
	for len(news) > 0 {
		<-news
	}
	o.Labels = map[string]string{"of": "web"}
	if err := env.Client.Update(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	is("owner: ConfigMap web")
	if at := <-news; at != ns {
		t.Errorf("it was told of namespace %q", at)
	}
	// A token goes with its account, which is not among the kinds.
	token := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: ns, Name: "token", Annotations: map[string]string{"kubernetes.io/service-account.name": "account", tokenOf: string(account.UID)},
	}}
	if err := env.Client.Create(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	shows(t, l, account.UID, "token")
	child.OwnerReferences = nil
	if err := env.Client.Update(t.Context(), child); err != nil {
		t.Fatal(err)
	}
	is("child: ConfigMap ", "owner: ConfigMap web")
	if err := env.Client.Delete(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	is("child: ConfigMap ")
	if got := l.Roots(other); len(got) > 0 {
		t.Errorf("another namespace shows %v", got)
	}
}
