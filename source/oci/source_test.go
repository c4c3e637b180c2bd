package oci_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"plumb.dev/plumb/internal/ocitest"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/archive"
	"plumb.dev/plumb/source/oci"
	"plumb.dev/plumb/source/sourcetest"
)

func TestSource(t *testing.T) {
	for name, c := range map[string]registryServer{
		"a tag":              {},
		"a tag, with tokens": {ref: oci.Ref{Tag: "v1"}, tokens: true},
		"a range":            {ref: oci.Ref{SemVer: "1.x"}},
		"a chart":            {layer: oci.Layer{Kind: oci.Chart}},
	} {
		t.Run(name, func(t *testing.T) {
			sourcetest.Run(t, func(t *testing.T) sourcetest.Server {
				s := c
				s.Server, s.dir, s.known = ocitest.New(t), t.TempDir(), new(oci.Clients)
				s.store = openStore(t, s.dir)
				return &s
			})
		})
	}
}

// A registryServer is a reference at a registry.
type registryServer struct {
	*ocitest.Server
	ref    oci.Ref
	layer  oci.Layer
	tokens bool
	dir    string
	store  *archive.Store
	known  *oci.Clients
	n      int
	tags   []string
}

const repository = "team/app"

func openStore(t testing.TB, dir string) *archive.Store {
	t.Helper()
	s, err := archive.Open(dir, archive.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func (s *registryServer) Publish(t testing.TB, files map[string]string) {
	t.Helper()
	a := ocitest.Files(files)
	if s.layer.Kind == oci.Chart {
		all := make(map[string]string)
		for name, content := range files {
			all["app/"+name] = content
		}
		a = ocitest.Artifact{Config: ocitest.ChartConfig, Layers: []ocitest.Layer{{MediaType: ocitest.ChartContent, Content: ocitest.Tar(all)}}}
	}
	tag := "latest"
	switch {
	case s.ref.Tag != "":
		tag = s.ref.Tag
	case s.ref.SemVer != "" || s.layer.Kind == oci.Chart:
		tag = fmt.Sprintf("1.0.%d", s.n)
		s.n++
	}
	s.Push(t, repository, tag, a)
	s.tags = append(s.tags, tag)
}

func (s *registryServer) Withdraw(t testing.TB) {
	t.Helper()
	gone := make(map[string]bool)
	for _, tag := range s.tags {
		if !gone[tag] {
			s.Delete(t, repository, tag)
		}
		gone[tag] = true
	}
	s.tags = nil
}

func (s *registryServer) Admit(password string) {
	if s.tokens {
		s.RequireToken("ada", password, "")
		return
	}
	s.RequireBasic("ada", password)
}

func (s *registryServer) Behave(f sourcetest.Fault) {
	s.Fail(map[sourcetest.Fault]ocitest.Fault{
		sourcetest.Down: ocitest.Status(http.StatusServiceUnavailable),
		sourcetest.Hung: ocitest.Hang(),
		sourcetest.Cut:  ocitest.At("/blobs/", ocitest.Truncate(200)),
		sourcetest.Wrong: ocitest.At("/blobs/", ocitest.Change(func(b []byte) []byte {
			b[len(b)/2] ^= 1
			return b
		})),
	}[f])
}

func (s *registryServer) Fetcher(password string) source.Fetcher {
	f := oci.Source{
		Store: s.store, Clients: s.known, Ref: s.ref, Layer: s.layer,
		Remote: oci.Remote{URL: "oci://" + s.Host() + "/" + repository, Insecure: true},
		Limits: archive.Limits{FileBytes: int64(s.MaxFile())},
	}
	if password != "" {
		f.Remote.Auth = oci.Auth{Username: "ada", Password: password}
	}
	return f
}

func (s *registryServer) MaxFile() int { return 200_000 }

func (s *registryServer) Store() source.Store { return s.store }

func (s *registryServer) Restart(t testing.TB) {
	t.Helper()
	if err := s.store.Close(); err != nil {
		t.Fatal(err)
	}
	s.store, s.known = openStore(t, s.dir), new(oci.Clients)
}

func (s *registryServer) Damage(t testing.TB) {
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

func (s *registryServer) Asked() (requests int, sent int64) {
	requests, sent = len(s.Requests()), s.Sent()
	s.Reset()
	return requests, sent
}
