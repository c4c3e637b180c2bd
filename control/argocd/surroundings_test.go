package argocd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"plumb.dev/plumb/control/lookup"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/kubetest"
)

// watched are surroundings on a real API server, of a namespace of their own. They
// are surveyed whenever they may be others.
func watched(t *testing.T, env *kubetest.Env, config *rest.Config, ns string) *world {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	w.o.Namespace = ns
	news := make(chan struct{}, 1)
	wake := func(string) {
		select {
		case news <- struct{}{}:
		default:
		}
	}
	refs := lookup.New(t.Context(), client, wake)
	w.applications.around = &surroundings{
		namespace: ns, client: env.Client, refs: refs, secrets: refs.Select(settingsName+"/"+ns, ns, secretTypes),
		log: slog.New(slog.DiscardHandler), ready: make(chan struct{}),
	}
	done := make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(func() { stop(); <-done })
	wake("")
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-news:
				if err := w.survey(ctx); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		}
	}()
	return w
}

// What surrounds Applications is known once all of it was read, and follows what
// there is.
func TestWhatSurroundsApplicationsIsFollowed(t *testing.T) {
	env := kubetest.Start(t)
	env.CRDs(t)
	ns := env.Namespace(t)
	w := watched(t, env, env.Config, ns)
	if err := w.applications.around.now().err; err != nil && !fault.Is(err, fault.NotYetRead) {
		t.Errorf("before it can be known: %v", err)
	}
	w.applications.around.await(t.Context())
	says := func(f func(*around) error) {
		t.Helper()
		kubetest.Eventually(t, 30*time.Second, func() error { return f(w.applications.around.now()) })
	}
	says(func(in *around) error { return in.err })
	if _, err := w.applications.around.now().project("shop"); err == nil || !strings.Contains(err.Error(), "which does not exist") {
		t.Errorf("a project that there isn't: %v", err)
	}
	secret := settingsSecret("repo-creds", "all", "url", "https://git.example.com", "username", "ada", "password", "x")
	secret.Namespace = ns
	if err := env.Client.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	asks := func(want string) func(in *around) error {
		return func(in *around) error {
			m, err := in.Remote("https://git.example.com/a", "default")
			if err != nil || m.Auth.Username != want {
				return fmt.Errorf("it is asked as %q: %w", m.Auth.Username, err)
			}
			return nil
		}
	}
	says(asks("ada"))
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "argocd-cm"}, Data: map[string]string{"installationID": "here"}}
	if err := env.Client.Create(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	says(func(in *around) error {
		if in.InstallationID != "here" {
			return errors.New("the setting is not known")
		}
		return nil
	})
	if err := env.Client.Delete(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	says(asks(""))
}

// Where they can't be read, nothing is done, and it is said why.
func TestSettingsThatMayNotBeReadAreSaid(t *testing.T) {
	env := kubetest.Start(t)
	env.CRDs(t)
	config := rest.CopyConfig(env.Config)
	config.Impersonate.UserName = "nobody-in-particular"
	w := watched(t, env, config, env.Namespace(t))
	w.applications.around.await(t.Context())
	u, _ := w.o.toUnit(read(app(t, spec(""))), w.applications.around.now())
	if u.Refused == nil || !u.Target.Invalid || !strings.Contains(u.Refused.Error(), "forbidden") || fault.Of(u.Refused).Next != fault.Retry {
		t.Errorf("%v, at %+v", u.Refused, u.Target)
	}
}
