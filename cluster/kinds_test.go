package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"plumb.dev/plumb/fault"
)

// A kindServer tells of kinds, and at some paths nothing at all.
type kindServer struct {
	*Cluster
	mu    sync.Mutex
	asked map[string]int           // by path
	hangs map[string]chan struct{} // closed: it answers again
	has   map[string]string        // a list of resources by its path
}

const (
	configMapList = `{"kind":"APIResourceList","groupVersion":"v1","resources":[
		{"name":"configmaps","namespaced":true,"kind":"ConfigMap","verbs":["get"]},
		{"name":"secrets","namespaced":true,"kind":"Secret","verbs":["get"]}]}`
	widgetList = `{"kind":"APIResourceList","groupVersion":"shop.example/v1","resources":[
		{"name":"widgets","namespaced":true,"kind":"Widget","verbs":["get"]}]}`
	gadgetList = `{"kind":"APIResourceList","groupVersion":"tools.example/v1","resources":[
		{"name":"gadgets","namespaced":false,"kind":"Gadget","verbs":["get"]}]}`
)

var (
	secrets = schema.GroupVersionKind{Version: "v1", Kind: "Secret"}
	widgets = schema.GroupVersionKind{Group: "shop.example", Version: "v1", Kind: "Widget"}
	gadgets = schema.GroupVersionKind{Group: "tools.example", Version: "v1", Kind: "Gadget"}
)

func serveKinds(t *testing.T) *kindServer {
	t.Helper()
	s := &kindServer{
		asked: make(map[string]int), hangs: make(map[string]chan struct{}),
		has: map[string]string{"/api/v1": configMapList, "/apis/tools.example/v1": gadgetList},
	}
	server := httptest.NewServer(s)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	t.Cleanup(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, c := range s.hangs {
			close(c)
		}
	})
	c, err := New("", &rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	s.Cluster = c
	return s
}

func (s *kindServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	hang, list := s.hangs[r.URL.Path], s.has[r.URL.Path]
	s.asked[r.URL.Path]++
	s.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-r.Context().Done():
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.URL.Path == "/api":
		fmt.Fprint(w, `{"kind":"APIVersions","versions":["v1"]}`)
	case r.URL.Path == "/apis" && list == "":
		fmt.Fprint(w, `{"kind":"APIGroupList","apiVersion":"v1","groups":[]}`)
	case list != "":
		fmt.Fprint(w, list)
	default:
		http.NotFound(w, r)
	}
}

// hang has the server accept what is asked at a path and not answer. What it
// answers in the end is what it would have at the beginning.
func (s *kindServer) hang(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hangs[path] = make(chan struct{})
}

func (s *kindServer) answer(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.hangs[path])
	delete(s.hangs, path)
}

func (s *kindServer) add(path, list string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.has[path] = list
}

type looked struct {
	m   *apimeta.RESTMapping
	err error
}

// look asks for a kind in the background.
func (s *kindServer) look(ctx context.Context, gvk schema.GroupVersionKind) <-chan looked {
	c := make(chan looked, 1)
	go func() {
		m, err := s.Mapping(ctx, gvk)
		c <- looked{m, err}
	}()
	return c
}

func within(t *testing.T, c <-chan looked) looked {
	t.Helper()
	select {
	case l := <-c:
		return l
	case <-time.After(20 * time.Second):
		t.Fatal("it waits for a server that does not answer")
	}
	return looked{}
}

// wasAsked waits until the server has been asked at a path.
func (s *kindServer) wasAsked(t *testing.T, path string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		n := s.asked[path]
		s.mu.Unlock()
		if n > 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("nothing is asked")
		}
	}
}

func TestWhoAsksForAKindWaitsNoLongerThanItsContextSays(t *testing.T) {
	s := serveKinds(t)
	s.hang("/api")
	ctx, stop := context.WithCancel(t.Context())
	first, second := s.look(ctx, configMaps), s.look(t.Context(), configMaps)
	s.wasAsked(t, "/api")
	stop()
	if l := within(t, first); !errors.Is(l.err, context.Canceled) {
		t.Errorf("whoever has left hears %v", l.err)
	}
	s.answer("/api")
	if l := within(t, second); l.err != nil || l.m.Resource.Resource != "configmaps" {
		t.Errorf("whoever has stayed hears %+v, %v", l.m, l.err)
	}
}

func TestWhoAsksForARightWaitsNoLongerThanItsContextSays(t *testing.T) {
	s := serveKinds(t)
	const path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
	s.hang(path)
	rights := NewRights(t.Context(), s.Cluster, func() {})
	ctx, stop := context.WithCancel(t.Context())
	answer := make(chan error, 1)
	go func() {
		_, err := rights.May(ctx, Question{User: User("shop", "deployer"), Verb: "get", Resource: schema.GroupResource{Resource: "secrets"}})
		answer <- err
	}()
	s.wasAsked(t, path)
	stop()
	select {
	case err := <-answer:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("whoever has left hears %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("it waits for a server that does not answer")
	}
}

func TestAKindThatTheServerSaysNothingAboutHoldsUpNoOther(t *testing.T) {
	s := serveKinds(t)
	if _, err := s.Mapping(t.Context(), configMaps); err != nil {
		t.Fatal(err)
	}
	s.add("/apis/shop.example/v1", widgetList)
	s.hang("/apis/shop.example/v1")
	hung := s.look(t.Context(), widgets)
	s.wasAsked(t, "/apis/shop.example/v1")
	for _, gvk := range []schema.GroupVersionKind{configMaps, secrets, gadgets} {
		if l := within(t, s.look(t.Context(), gvk)); l.err != nil {
			t.Errorf("%s: %v", gvk.Kind, l.err)
		}
	}
	s.answer("/apis/shop.example/v1")
	if l := within(t, hung); l.err != nil {
		t.Errorf("%s: %v", widgets.Kind, l.err)
	}
}

func TestWhoAsksTheSameWaitsForOneAnswer(t *testing.T) {
	s := serveKinds(t)
	s.hang("/api")
	var all []<-chan looked
	for range 50 {
		all = append(all, s.look(t.Context(), configMaps))
	}
	s.wasAsked(t, "/api")
	s.answer("/api")
	for _, c := range all {
		if l := within(t, c); l.err != nil {
			t.Error(l.err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.asked["/api"]; n > 1 {
		t.Errorf("the server was asked %d times", n)
	}
}

func TestThatThereIsNoSuchKindIsNotAnsweredByWhatWasAskedBefore(t *testing.T) {
	s := serveKinds(t)
	if _, err := s.Mapping(t.Context(), configMaps); err != nil {
		t.Fatal(err)
	}
	const path = "/apis/shop.example/v1"
	s.hang(path)
	before := s.look(t.Context(), widgets)
	s.wasAsked(t, path)
	s.add(path, widgetList) // which the server has not looked at again
	after := s.look(t.Context(), widgets)
	s.answer(path)
	if l := within(t, before); !fault.Is(l.err, "UnknownKind") {
		t.Errorf("whoever asked before the kind came hears %+v, %v", l.m, l.err)
	}
	if l := within(t, after); l.err != nil {
		t.Errorf("whoever asked after that hears %v", l.err)
	}
}

func TestWhatWasAskedBeforeForgettingIsForgotten(t *testing.T) {
	s := serveKinds(t)
	s.hang("/api/v1")
	before := s.look(t.Context(), configMaps)
	s.wasAsked(t, "/api/v1")
	s.Forget()
	s.mu.Lock()
	old := s.hangs["/api/v1"]
	delete(s.hangs, "/api/v1")
	s.mu.Unlock()
	if l := within(t, s.look(t.Context(), configMaps)); l.err != nil {
		t.Errorf("whoever asked after that hears %v", l.err)
	}
	close(old)
	if l := within(t, before); l.err != nil {
		t.Errorf("whoever asked before hears %v", l.err)
	}
}

func TestAnEmptyVersionIsTheOneThatTheServerPrefers(t *testing.T) {
	s := serveKinds(t)
	s.add("/apis", `{"kind":"APIGroupList","apiVersion":"v1","groups":[{"name":"tools.example",
		"versions":[{"groupVersion":"tools.example/v2","version":"v2"},{"groupVersion":"tools.example/v1","version":"v1"}],
		"preferredVersion":{"groupVersion":"tools.example/v2","version":"v2"}}]}`)
	s.add("/apis/tools.example/v2", strings.ReplaceAll(gadgetList, "v1", "v2"))
	for _, version := range []string{"", "v1", "", "v2"} {
		m, err := s.Mapping(t.Context(), gadgets.GroupKind().WithVersion(version))
		if err != nil {
			t.Fatal(err)
		}
		want := version
		if want == "" {
			want = "v2"
		}
		if got := m.GroupVersionKind.Version; got != want {
			t.Errorf("version %q is %s, want %s", version, got, want)
		}
	}
}

func TestAnUnknownKindIsToldWhereThereIsOne(t *testing.T) {
	s := serveKinds(t)
	for _, gvk := range []schema.GroupVersionKind{gadgets, configMaps} {
		if _, err := s.Mapping(t.Context(), gvk); err != nil {
			t.Fatal(err)
		}
	}
	for gvk, want := range map[schema.GroupVersionKind]string{
		gadgets.GroupKind().WithVersion("v7"):                  "it has Gadget in tools.example/v1;",
		{Group: "tool.example", Version: "v1", Kind: "Gadget"}: "it has Gadget in tools.example/v1;",
		{Group: "tools.example", Version: "v1", Kind: "Gadgt"}: "apply its CustomResourceDefinition first, or correct apiVersion and kind",
	} {
		_, err := s.Mapping(t.Context(), gvk)
		if !fault.Is(err, fault.UnknownKind) || !strings.Contains(fault.Of(err).Hint, want) {
			t.Errorf("%s: %v", gvk, err)
		}
		if again := s.UnknownKind(gvk); again.Error() != err.Error() {
			t.Errorf("%v is also %v", err, again)
		}
	}
}

func TestAKindThatComesIsFoundInAGroupThatIsKnown(t *testing.T) {
	s := serveKinds(t)
	other := gadgets.GroupVersion().WithKind("Cog")
	if _, err := s.Mapping(t.Context(), gadgets); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Mapping(t.Context(), other); !fault.Is(err, "UnknownKind") {
		t.Errorf("before it comes: %v", err)
	}
	s.add("/apis/tools.example/v1", strings.Replace(gadgetList, `"resources":[`, `"resources":[{"name":"cogs","kind":"Cog","verbs":["get"]},`, 1))
	if _, err := s.Mapping(t.Context(), other); err != nil {
		t.Error(err)
	}
}
