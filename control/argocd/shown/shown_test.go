package shown

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/control/argocd/cached"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/internal/kubetest"
	"plumb.dev/plumb/internal/redistest"
	"plumb.dev/plumb/source"
)

// patience is how long what has to happen may take.
const patience = 20 * time.Second

// newBoard returns a Board for the Redis at addr, with an engine whose cluster there
// is not. All Applications exist but those that are called gone.
func newBoard(t *testing.T, addr string) *Board {
	t.Helper()
	e, err := engine.New(t.Context(), engine.Options{
		Config: &rest.Config{Host: "https://127.0.0.1:1"}, Log: slog.New(slog.DiscardHandler), Workers: 1, Elsewhere: 1,
		Artifact: func(context.Context, string) (*source.Artifact, error) { return nil, errors.New("no artifact") },
	})
	if err != nil {
		t.Fatal(err)
	}
	store := cached.Open(cached.Options{Addr: addr})
	t.Cleanup(func() { store.Close() })
	return New(t.Context(), Options{
		Store: store, Engine: e, Log: slog.New(slog.DiscardHandler),
		Name: func(k types.NamespacedName) string { return k.Namespace + "_" + k.Name },
		Key: func(name string) types.NamespacedName {
			ns, name, _ := strings.Cut(name, "_")
			return types.NamespacedName{Namespace: ns, Name: name}
		},
		Exists:    func(_ context.Context, k types.NamespacedName) bool { return k.Name != "gone" },
		Wake:      func(...types.NamespacedName) {},
		Selector:  func(unit string) string { return "unit=" + unit },
		Sensitive: func(engine.Unit) []string { return nil },
		Orphans:   func(types.NamespacedName) []cached.Node { return nil },
	})
}

func TestAnApplicationIsShownWhileThereAreSigns(t *testing.T) {
	b := newBoard(t, "127.0.0.1:1")
	web, other := types.NamespacedName{Namespace: "argocd", Name: "web"}, types.NamespacedName{Namespace: "shop", Name: "web"}
	b.Open(web)
	b.Open(other)
	if b.Wants(web) == "" || b.Wants(web) == b.Wants(other) {
		t.Errorf("looks are asked for as %q and %q", b.Wants(web), b.Wants(other))
	}
	if b.Tell(web, Seen{}, "1") {
		t.Error("what could not be compared is waited for")
	}
	if b.Tell(types.NamespacedName{Name: "third"}, Seen{Plan: &apply.Plan{}}, "1") {
		t.Error("what nobody looks at is waited for")
	}
	b.Tell(web, Seen{Plan: &apply.Plan{}}, "")
	if b.Wants(web) != "" {
		t.Error("another look is asked for")
	}
	if keys := b.idle(time.Now().Add(shownFor / 2)); len(keys) > 0 {
		t.Errorf("%v are done with", keys)
	}
	keys := b.idle(time.Now().Add(2 * shownFor))
	if len(keys) != 2 {
		t.Errorf("%v are done with", keys)
	}
	b.Close(web)
	if b.Shows(web) || !b.Shows(other) {
		t.Error("another one is closed")
	}
	var none *Board
	none.Open(web)
	none.Close(web)
	if none.Wants(web) != "" || none.Tell(web, Seen{Plan: &apply.Plan{}}, "1") || none.Ready(web, "1") {
		t.Error("nobody is shown something")
	}
}

func TestWhatIsOpenIsLookedAt(t *testing.T) {
	addr := redistest.Start(t)
	b := newBoard(t, addr)
	c := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { c.Close() })
	const closed = "app|managed-resources|shop_web|1.8.3"
	listens := c.Subscribe(t.Context(), "app|managed-resources|argocd_web|1.8.3", closed, "app|managed-resources|shop_gone|1.8.3", "another")
	t.Cleanup(func() { listens.Close() })
	kubetest.Eventually(t, patience, func() error {
		if n, err := c.PubSubNumSub(t.Context(), "another").Result(); err != nil || n["another"] == 0 {
			return errors.New("nobody listens")
		}
		return nil
	})
	if err := b.find(t.Context()); err != nil {
		t.Fatal(err)
	}
	var got []string
	for k := range b.of {
		got = append(got, k.String())
	}
	slices.Sort(got)
	if want := []string{"argocd/web", "shop/web"}; !slices.Equal(got, want) {
		t.Errorf("shown are %v, want %v", got, want)
	}
	if err := listens.Unsubscribe(t.Context(), closed); err != nil {
		t.Fatal(err)
	}
	kubetest.Eventually(t, patience, func() error {
		if n, err := c.PubSubNumSub(t.Context(), closed).Result(); err != nil || n[closed] > 0 {
			return errors.New("somebody listens")
		}
		return nil
	})
	shop := types.NamespacedName{Namespace: "shop", Name: "web"}
	b.of[shop].signed = time.Now().Add(-2 * shownFor)
	kubetest.Eventually(t, patience, func() error {
		if err := b.find(t.Context()); err != nil {
			t.Fatal(err)
		}
		if b.Shows(shop) {
			return errors.New("what nobody looks at is shown")
		}
		return nil
	})
}
