package cluster

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"plumb.dev/plumb/fault"
)

// tight are bounds that a test can wait for.
var tight = bounds{
	discovery: limit{300 * time.Millisecond, 600 * time.Millisecond, 1 << 20},
	read:      limit{300 * time.Millisecond, 600 * time.Millisecond, 4 << 20},
	write:     limit{300 * time.Millisecond, 600 * time.Millisecond, 1 << 20},
	watch:     limit{300 * time.Millisecond, 0, 8 << 20},
	frame:     1 << 20,
	pause:     100 * time.Millisecond,
}

// remote is a cluster at a server that answers as do says.
func remote(t *testing.T, do http.HandlerFunc) *Cluster {
	t.Helper()
	return remoteWithin(t, do, tight)
}

func remoteWithin(t *testing.T, do http.HandlerFunc, within bounds) *Cluster {
	t.Helper()
	s := httptest.NewTLSServer(do)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return at(t, s.URL, ca, within)
}

func at(t *testing.T, host string, ca []byte, within bounds) *Cluster {
	t.Helper()
	c, err := newCluster("remote", &rest.Config{Host: host, TLSClientConfig: rest.TLSClientConfig{CAData: ca}}, within)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var configMaps = schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}

func wantReason(t *testing.T, err error, reason fault.Reason) {
	t.Helper()
	if f := fault.Of(err); err == nil || f.Reason != reason || f.Next != fault.Retry {
		t.Fatalf("error is %v, want a %s that is tried again", err, reason)
	}
}

// endless writes until nobody listens.
func endless(w io.Writer, begin, more string) {
	if _, err := io.WriteString(w, begin); err != nil {
		return
	}
	block := strings.Repeat(more, 64<<10/len(more))
	for {
		if _, err := io.WriteString(w, block); err != nil {
			return
		}
		w.(http.Flusher).Flush()
	}
}

func TestAServerThatAcceptsAndNeverAnswersHoldsNobody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var conns atomic.Int32
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			t.Cleanup(func() { c.Close() })
		}
	}()
	c := at(t, "https://"+l.Addr().String(), nil, tight)
	_, err = c.Mapping(t.Context(), configMaps)
	wantReason(t, err, fault.NotAnswering)
	if !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("the server is not named: %v", err)
	}
	// Who comes next need not wait to learn it, and hears the same.
	before := conns.Load()
	_, again := c.Mapping(t.Context(), configMaps)
	wantReason(t, again, fault.NotAnswering)
	if again.Error() != err.Error() {
		t.Errorf("the facts are the same, the message is not:\n%v\n%v", err, again)
	}
	if conns.Load() != before {
		t.Error("a server that has just not answered is asked again")
	}
}

func TestAServerThatAnswersAgainIsAskedAgain(t *testing.T) {
	hang := make(chan struct{})
	var hangs atomic.Bool
	hangs.Store(true)
	c := remote(t, func(w http.ResponseWriter, r *http.Request) {
		if hangs.Load() {
			select {
			case <-hang:
			case <-r.Context().Done():
			}
			return
		}
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/api":
			fmt.Fprint(w, `{"kind":"APIVersions","versions":["v1"]}`)
		case "/apis":
			fmt.Fprint(w, `{"kind":"APIGroupList","apiVersion":"v1","groups":[]}`)
		case "/api/v1":
			fmt.Fprint(w, `{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"configmaps","namespaced":true,"kind":"ConfigMap","verbs":["get"]}]}`)
		default:
			http.NotFound(w, r)
		}
	})
	defer close(hang)
	_, err := c.Mapping(t.Context(), configMaps)
	wantReason(t, err, fault.NotAnswering)
	hangs.Store(false)
	deadline := time.Now().Add(20 * time.Second)
	for {
		if _, err = c.Mapping(t.Context(), configMaps); err == nil || time.Now().After(deadline) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		t.Errorf("it answers again: %v", err)
	}
}

func TestAnAnswerWithoutEndIsCutOff(t *testing.T) {
	patient := standard // but for the bytes, so that nothing else cuts it off
	patient.discovery.bytes, patient.read.bytes, patient.write.bytes = tight.discovery.bytes, tight.read.bytes, tight.write.bytes
	client := func(t *testing.T, do http.HandlerFunc) *Client {
		c, err := remoteWithin(t, do, patient).As("")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	maps := schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	fill := func(begin, more string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			endless(w, begin, more)
		}
	}
	for name, ask := range map[string]func(t *testing.T) error{
		"discovery": func(t *testing.T) error {
			_, err := client(t, fill(`{"kind":"APIGroupList","groups":[`, `{"name":"x"},`)).Mapping(t.Context(), configMaps)
			return err
		},
		"a list": func(t *testing.T) error {
			_, err := client(t, fill(`{"kind":"ConfigMapList","apiVersion":"v1","items":[`, `{"metadata":{"name":"x"}},`)).dynamic.Resource(maps).List(t.Context(), metav1.ListOptions{})
			return err
		},
		"an object": func(t *testing.T) error {
			_, err := client(t, fill(`{"kind":"ConfigMap","apiVersion":"v1","data":{"x":"`, "x")).dynamic.Resource(maps).Namespace("x").Get(t.Context(), "x", metav1.GetOptions{})
			return err
		},
		"the answer to a deletion": func(t *testing.T) error {
			return client(t, fill(`{"kind":"Status","apiVersion":"v1","message":"`, "x")).dynamic.Resource(maps).Namespace("x").Delete(t.Context(), "x", metav1.DeleteOptions{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := ask(t)
			runtime.ReadMemStats(&after)
			wantReason(t, err, fault.AnswerTooLarge)
			if grown := int64(after.TotalAlloc - before.TotalAlloc); grown > 128<<20 {
				t.Errorf("%d MiB were used", grown>>20)
			}
		})
	}
}

func TestAnAnswerThatDripsIsCutOff(t *testing.T) {
	c := remote(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, " "); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			time.Sleep(10 * time.Millisecond)
		}
	})
	_, err := c.Mapping(t.Context(), configMaps)
	wantReason(t, err, fault.NotAnswering)
}

func TestAWatchIsNotCutOffForLastingAndOneEventOfItIs(t *testing.T) {
	event := `{"type":"ADDED","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a {\" b"}}}` + "\n"
	more := make(chan string)
	c := remote(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.(http.Flusher).Flush()
		for {
			select {
			case s := <-more:
				if s == "" {
					endless(w, `{"type":"ADDED","object":{"kind":"ConfigMap","apiVersion":"v1","data":{"x":"`, "x")
					return
				}
				_, _ = io.WriteString(w, s)
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				return
			}
		}
	})
	cl, err := c.As("")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	w, err := cl.dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for range 20 { // longer, together, than a list may take
		time.Sleep(50 * time.Millisecond)
		more <- event
		if e, ok := <-w.ResultChan(); !ok || e.Type != "ADDED" {
			t.Fatalf("an event is %v, %v", e, ok)
		}
	}
	more <- ""
	if e, ok := <-w.ResultChan(); ok && e.Type != "ERROR" {
		t.Errorf("an event without end came through: %v", e)
	}
}

func TestAServerLeadsNowhereElse(t *testing.T) {
	reached := make(chan string, 10)
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { reached <- r.Header.Get("Authorization") }))
	defer other.Close()
	c := remote(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+r.URL.Path, http.StatusFound)
	})
	_, err := c.Mapping(t.Context(), configMaps)
	wantReason(t, err, fault.Redirected)
	select {
	case auth := <-reached:
		t.Errorf("the other server was asked, with %q", auth)
	default:
	}
}

func TestAServerDoesNotSayHowLongToSleep(t *testing.T) {
	var asked atomic.Int32
	c := remote(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	if _, err := c.Mapping(t.Context(), configMaps); err == nil {
		t.Error("it has the kind")
	}
	if asked.Load() > 4 {
		t.Errorf("it was asked %d times", asked.Load())
	}
}

func TestPathsOfAnAPIAreToldFromPathsOfObjects(t *testing.T) {
	for path, want := range map[string]bool{
		"/api": true, "/apis": true, "/api/v1": true, "/apis/apps": true, "/apis/apps/v1": true, "/openapi/v3": true,
		"/openapi/v3/apis/apps/v1": true, "/version": true, "/clusters/one/apis/apps/v1": true,
		"/api/v1/configmaps": false, "/api/v1/namespaces/version/configmaps/apis": false, "/apis/apps/v1/deployments": false,
		"/clusters/one/api/v1/pods": false,
	} {
		if got := isDiscovery(path); got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
}
