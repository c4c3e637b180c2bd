package bucket_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plumb.dev/plumb/internal/s3test"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/archive"
	"plumb.dev/plumb/source/bucket"
	"plumb.dev/plumb/source/sourcetest"
)

func TestSource(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) sourcetest.Server {
		s := &bucketServer{Server: s3test.New(t, "manifests"), dir: t.TempDir(), clients: new(bucket.Clients)}
		s.store = openStore(t, s.dir)
		return s
	})
}

// A bucketServer is a bucket.
type bucketServer struct {
	*s3test.Server
	dir     string
	store   *archive.Store
	clients *bucket.Clients
}

func openStore(t testing.TB, dir string) *archive.Store {
	t.Helper()
	s, err := archive.Open(dir, archive.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func (s *bucketServer) Publish(_ testing.TB, files map[string]string) { s.Set(files) }

func (s *bucketServer) Withdraw(testing.TB) { s.Set(nil) }

func (s *bucketServer) Admit(password string) { s.Require("ada", password) }

func (s *bucketServer) Behave(f sourcetest.Fault) {
	s.Fail(map[sourcetest.Fault]s3test.Fault{
		sourcetest.Down: status(http.StatusServiceUnavailable),
		sourcetest.Hung: func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			<-r.Context().Done()
			return true
		},
		sourcetest.Cut: object(func(w http.ResponseWriter, b []byte) {
			_, _ = w.Write(b[:len(b)/2])
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}),
		sourcetest.Wrong: object(func(w http.ResponseWriter, b []byte) {
			b[len(b)/2] ^= 1
			_, _ = w.Write(b)
		}),
	}[f])
}

// status answers everything with a status, and headers given in pairs.
func status(code int, headers ...string) s3test.Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
		return true
	}
}

// object has each object that is asked for sent by send, with the headers that
// it has.
func object(send func(w http.ResponseWriter, b []byte)) s3test.Fault {
	return objectWith(func(http.Header) {}, send)
}

// header sets a header of the objects that are sent, or takes it away.
func header(name, value string) s3test.Fault {
	return objectWith(func(h http.Header) {
		if h.Del(name); value != "" {
			h.Set(name, value)
		}
	}, func(w http.ResponseWriter, b []byte) { _, _ = w.Write(b) })
}

func objectWith(edit func(http.Header), send func(w http.ResponseWriter, b []byte)) s3test.Fault {
	return func(w http.ResponseWriter, r *http.Request, s3 http.Handler) bool {
		if strings.Count(strings.TrimRight(r.URL.Path, "/"), "/") < 2 {
			return false
		}
		rec := httptest.NewRecorder()
		s3.ServeHTTP(rec, r)
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		edit(w.Header())
		w.WriteHeader(rec.Code)
		if r.Method == http.MethodGet {
			send(w, rec.Body.Bytes())
		}
		return true
	}
}

func (s *bucketServer) Fetcher(password string) source.Fetcher {
	f := at(s.Server, s.store, s.clients)
	if password != "" {
		f.Remote.Auth = bucket.Auth{AccessKey: "ada", SecretKey: password}
	}
	f.Limits = archive.Limits{FileBytes: int64(s.MaxFile())}
	return f
}

// at is a source of the bucket of s.
func at(s *s3test.Server, store *archive.Store, clients *bucket.Clients) bucket.Source {
	return bucket.Source{Store: store, Clients: clients, Remote: bucket.Remote{Bucket: "manifests", Endpoint: s.Endpoint(), Insecure: true}}
}

func (s *bucketServer) MaxFile() int { return 200_000 }

func (s *bucketServer) Store() source.Store { return s.store }

func (s *bucketServer) Restart(t testing.TB) {
	t.Helper()
	if err := s.store.Close(); err != nil {
		t.Fatal(err)
	}
	s.store, s.clients = openStore(t, s.dir), new(bucket.Clients)
}

func (s *bucketServer) Damage(t testing.TB) {
	t.Helper()
	kept, err := filepath.Glob(filepath.Join(s.dir, "*", "*.files"))
	if err != nil || len(kept) == 0 {
		t.Fatalf("%d contents are there: %v", len(kept), err)
	}
	for _, name := range kept {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := 2; i < len(b)-12_000; i += 50 {
			b[i] ^= 0x55
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *bucketServer) Asked() (requests int, sent int64) {
	requests, sent = len(s.Requests()), s.Sent()
	s.Reset()
	return requests, sent
}
