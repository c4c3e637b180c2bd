package cluster_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/kubetest"
)

// rights are those on a cluster on the way to which reviews are counted, and
// fail while broken is set.
func rights(t *testing.T) (env *kubetest.Env, r *cluster.Rights, reviews *atomic.Int32, broken *atomic.Bool, changed chan bool) {
	reviews, broken, changed = &atomic.Int32{}, &atomic.Bool{}, make(chan bool, 100)
	env = kubetest.Start(t).Through(t, func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "/selfsubjectaccessreviews") {
			reviews.Add(1)
			if broken.Load() {
				return nil, errors.New("broken")
			}
		}
		return next.RoundTrip(r)
	})
	config, err := clientcmd.BuildConfigFromFlags("", env.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	c, err := cluster.New("", config)
	if err != nil {
		t.Fatal(err)
	}
	return env, cluster.NewRights(t.Context(), c, func() { changed <- true }), reviews, broken, changed
}

func question(ns, name string) cluster.Question {
	q := cluster.Question{User: cluster.User(ns, "deployer"), Verb: "get", Namespace: ns, Name: name}
	q.Resource.Resource = "configmaps"
	return q
}

func allow(t *testing.T, env *kubetest.Env, ns string, subject rbacv1.Subject, names ...string) {
	t.Helper()
	role := &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "reader"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: names, Verbs: []string{"get"}}},
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "reader"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"}, Subjects: []rbacv1.Subject{subject},
	}
	if err := errors.Join(env.Client.Create(t.Context(), role), env.Client.Create(t.Context(), binding)); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, r *cluster.Rights, q cluster.Question, want bool) {
	t.Helper()
	kubetest.Eventually(t, 30*time.Second, func() error {
		yes, err := r.May(t.Context(), q)
		if err == nil && yes != want {
			err = fmt.Errorf("%+v: %v, want %v", q, yes, want)
		}
		return err
	})
}

func TestRightsFollowRolesAndBindings(t *testing.T) {
	env, r, _, _, changed := rights(t)
	ns := env.Namespace(t)
	eventually(t, r, question(ns, "a"), false)
	allow(t, env, ns, rbacv1.Subject{Kind: "ServiceAccount", Namespace: ns, Name: "deployer"}, "a")
	eventually(t, r, question(ns, "a"), true)
	select {
	case <-changed:
	case <-time.After(30 * time.Second):
		t.Error("nobody was told that rights have changed")
	}
	for name, want := range map[string]bool{"b": false, "": false, "a": true} {
		if yes, err := r.May(t.Context(), question(ns, name)); err != nil || yes != want {
			t.Errorf("%q: %v, %v, want %v", name, yes, err, want)
		}
	}
	if err := env.Client.Delete(t.Context(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "reader"}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, r, question(ns, "a"), false)
}

func TestTheGroupsOfAServiceAccountCount(t *testing.T) {
	env, r, _, _, _ := rights(t)
	ns := env.Namespace(t)
	allow(t, env, ns, rbacv1.Subject{Kind: "Group", APIGroup: rbacv1.GroupName, Name: "system:serviceaccounts:" + ns})
	eventually(t, r, question(ns, ""), true)
	other := question(ns, "")
	other.User = cluster.User("default", "deployer")
	if yes, err := r.May(t.Context(), other); err != nil || yes {
		t.Errorf("an account of another namespace: %v, %v", yes, err)
	}
}

func TestWhoAsksTheSameAtTheSameTimeIsAnsweredOnce(t *testing.T) {
	env, r, reviews, _, _ := rights(t)
	ns := env.Namespace(t)
	ask := func() {
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if yes, err := r.May(t.Context(), question(ns, "a")); err != nil || yes {
					t.Errorf("%v, %v", yes, err)
				}
			})
		}
		wg.Wait()
	}
	// Roles of other tests may come and go meanwhile, and drop an answer.
	kubetest.Eventually(t, 30*time.Second, func() error {
		before := reviews.Load()
		ask()
		ask()
		if n := reviews.Load() - before; n > 2 {
			return fmt.Errorf("%d reviews for two questions", n)
		}
		return nil
	})
}

func TestAReviewThatFailsIsNoAnswer(t *testing.T) {
	env, r, _, broken, _ := rights(t)
	ns := env.Namespace(t)
	broken.Store(true)
	if yes, err := r.May(t.Context(), question(ns, "a")); err == nil || yes || fault.Of(err).Next != fault.Retry {
		t.Errorf("%v, %v", yes, err)
	}
	broken.Store(false)
	if yes, err := r.May(t.Context(), question(ns, "a")); err != nil || yes {
		t.Errorf("after that: %v, %v", yes, err)
	}
	if yes, err := r.May(t.Context(), cluster.Question{Verb: "get"}); err != nil || !yes {
		t.Errorf("plumb itself: %v, %v", yes, err)
	}
}
