package lookup_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"plumb.dev/plumb/control/lookup"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/kubetest"
)

func TestWhatMayNotBeReadIsSaid(t *testing.T) {
	env := kubetest.Start(t)
	config := rest.CopyConfig(env.Config)
	config.Impersonate.UserName = "nobody-in-particular"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	woken := make(chan string, 10)
	r := lookup.New(t.Context(), client, func(owner string) { woken <- owner })
	ref := lookup.Ref{Kind: lookup.Secret, Namespace: "default", Name: "s"}
	if _, _, err := r.Begin("unit").Get(ref); err == nil {
		t.Error("it is said not to be there before that can be known")
	}
	select {
	case <-woken:
	case <-time.After(30 * time.Second):
		t.Fatal("nobody was told")
	}
	kubetest.Eventually(t, 30*time.Second, func() error {
		_, _, err := r.Begin("unit").Get(ref)
		if err == nil || fault.Is(err, "Progressing") || !strings.Contains(err.Error(), "forbidden") {
			return errors.Join(errors.New("it is not said that it may not be read"), err)
		}
		return nil
	})
}
