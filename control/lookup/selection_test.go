package lookup_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
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

// Secrets that a label selects are followed, and no others are seen.
func TestSecretsOfALabelAreFollowed(t *testing.T) {
	env := kubetest.Start(t)
	ns := env.Namespace(t)
	client, err := kubernetes.NewForConfig(env.Config)
	if err != nil {
		t.Fatal(err)
	}
	secrets := client.CoreV1().Secrets(ns)
	create := func(name, kind, value string) *corev1.Secret {
		t.Helper()
		s := &corev1.Secret{StringData: map[string]string{"k": value}}
		s.Name, s.Labels = name, map[string]string{"kind": kind}
		s, err := secrets.Create(t.Context(), s, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	create("other", "c", "x")
	one := create("one", "a", "1")
	var woken atomic.Int64
	r := lookup.New(t.Context(), client, func(owner string) {
		if owner == "settings" {
			woken.Add(1)
		}
	})
	s := r.Select("settings", ns, "kind in (a,b)")
	if _, err := s.Secrets(); err != nil && !fault.Is(err, fault.Progressing) {
		t.Errorf("before they can be known: %v", err)
	}
	says := func(want string) {
		t.Helper()
		kubetest.Eventually(t, 30*time.Second, func() error {
			all, err := s.Secrets()
			if err != nil {
				return err
			}
			var got []string
			for _, x := range all {
				got = append(got, x.Name+"="+string(x.Data["k"]))
				if x.ManagedFields != nil {
					return errors.New("more is held than is asked for")
				}
			}
			if text := strings.Join(got, " "); text != want {
				return fmt.Errorf("there are %q, want %q", text, want)
			}
			return nil
		})
	}
	says("one=1")
	create("two", "b", "2")
	says("one=1 two=2")
	before := woken.Load()
	if before < 2 {
		t.Errorf("the owner was woken %d times", before)
	}
	one.Finalizers = []string{"example.com/no-news"}
	if one, err = secrets.Update(t.Context(), one, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	one.Finalizers, one.Data["k"] = nil, []byte("3")
	if one, err = secrets.Update(t.Context(), one, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	says("one=3 two=2")
	if n := woken.Load() - before; n != 1 {
		t.Errorf("the owner was woken %d times", n)
	}
	one.Labels["kind"] = "c" // it is none of them any more
	if _, err = secrets.Update(t.Context(), one, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	says("two=2")
	if err := secrets.Delete(t.Context(), "two", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	says("")
}

func TestThatSecretsMayNotBeReadIsSaid(t *testing.T) {
	env := kubetest.Start(t)
	config := rest.CopyConfig(env.Config)
	config.Impersonate.UserName = "nobody-in-particular"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	woken := make(chan string, 10)
	s := lookup.New(t.Context(), client, func(owner string) { woken <- owner }).Select("settings", "default", "a=b")
	select {
	case <-woken:
	case <-time.After(30 * time.Second):
		t.Fatal("nobody was told")
	}
	kubetest.Eventually(t, 30*time.Second, func() error {
		_, err := s.Secrets()
		if err == nil || fault.Of(err).Next != fault.Retry || !strings.Contains(err.Error(), "forbidden") {
			return errors.Join(errors.New("it is not said that they may not be read"), err)
		}
		return nil
	})
}
