package cached_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"plumb.dev/plumb/control/argocd/cached"
	"plumb.dev/plumb/internal/redistest"
)

// A server reads Redis as Argo CD's does.
type server struct{ *redis.Client }

func serve(t *testing.T, o *redis.Options) server {
	t.Helper()
	c := redis.NewClient(o)
	t.Cleanup(func() { c.Close() })
	return server{c}
}

// get reads the value of a key, which is gzip.
func (s server) get(t *testing.T, key string, into any) {
	t.Helper()
	text, err := s.Get(t.Context(), key).Result()
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	z, err := gzip.NewReader(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	b, err := io.ReadAll(z)
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
}

func (s server) keys(t *testing.T) []string {
	t.Helper()
	all, err := s.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

func open(t *testing.T, o cached.Options) *cached.Store {
	t.Helper()
	s := cached.Open(o)
	t.Cleanup(func() { s.Close() })
	return s
}

var some = cached.App{
	Resources: []cached.Resource{{Kind: "ConfigMap", Name: "c", TargetState: "null"}},
	Tree:      cached.Tree{Nodes: []cached.Node{{Ref: cached.Ref{Kind: "ConfigMap", Name: "c", UID: "1"}}}},
}

func TestWhatIsStoredIsReadAsArgoCDsServerDoes(t *testing.T) {
	addr := redistest.Start(t)
	s, server := open(t, cached.Options{Addr: addr}), serve(t, &redis.Options{Addr: addr})
	listens := server.Subscribe(t.Context(), "app|managed-resources|shop_web|1.8.3")
	t.Cleanup(func() { listens.Close() })
	if _, err := listens.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "shop_web", some, time.Hour); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if m, err := listens.ReceiveMessage(ctx); err != nil || m.Payload != "" {
		t.Fatalf("%v, %v", m, err)
	}
	var resources []map[string]any
	server.get(t, "app|managed-resources|shop_web|1.8.3.gz", &resources)
	if len(resources) != 1 || resources[0]["targetState"] != "null" {
		t.Errorf("resources %v", resources)
	}
	var tree struct{ Nodes []map[string]any }
	server.get(t, "app|resources-tree|shop_web|1.8.3.gz", &tree)
	if len(tree.Nodes) != 1 || tree.Nodes[0]["uid"] != "1" || tree.Nodes[0]["kind"] != "ConfigMap" {
		t.Errorf("tree %v", tree)
	}
	if left := server.TTL(t.Context(), "app|resources-tree|shop_web|1.8.3.gz").Val(); left <= 0 || left > time.Hour {
		t.Errorf("it stands for %s", left)
	}
	if names, err := s.Open(t.Context()); err != nil || !slices.Equal(names, []string{"shop_web"}) {
		t.Errorf("open are %v, %v", names, err)
	}
	if err := s.PutCluster(t.Context(), "https://kubernetes.default.svc", cached.Cluster{ServerVersion: "v1"}); err != nil {
		t.Fatal(err)
	}
	var cluster map[string]any
	server.get(t, "cluster|info|https://kubernetes.default.svc|1.8.3.gz", &cluster)
	if cluster["serverVersion"] != "v1" || cluster["applicationsCount"] != 0.0 {
		t.Errorf("cluster %v", cluster)
	}

	// An Application without objects is another thing than one that is not known.
	if err := s.Put(t.Context(), "empty", cached.App{}, time.Hour); err != nil {
		t.Fatal(err)
	}
	if server.get(t, "app|managed-resources|empty|1.8.3.gz", &resources); resources == nil || len(resources) != 0 {
		t.Errorf("resources %v", resources)
	}
	if err := s.Drop(t.Context(), "empty"); err != nil {
		t.Fatal(err)
	}
	server.Set(t.Context(), "app|resources-tree|other|1.8.3.gz|1", "", 0)
	server.Set(t.Context(), "mfst|other", "", 0)
	if err := s.Clear(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := server.keys(t), []string{"cluster|info|https://kubernetes.default.svc|1.8.3.gz", "mfst|other"}; !slices.Equal(got, want) {
		t.Errorf("left are %v, want %v", got, want)
	}
}

func TestRedisIsUsedAsArgoCDsOwnProcessesAreToldTo(t *testing.T) {
	addr := redistest.Start(t, "--requirepass", "hunter2")
	server := serve(t, &redis.Options{Addr: addr, Password: "hunter2"})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "auth"), []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		env  map[string]string
		want string // a key
		err  string
	}{
		"a password":       {map[string]string{"REDIS_PASSWORD": "hunter2"}, "app|managed-resources|web|1.8.3.gz", ""},
		"a folder":         {map[string]string{"REDIS_CREDS_DIR_PATH": dir, "REDIS_PASSWORD": "another"}, "app|managed-resources|web|1.8.3.gz", ""},
		"no compression":   {map[string]string{"REDIS_PASSWORD": "hunter2", "REDIS_COMPRESSION": "none"}, "app|managed-resources|web|1.8.3", ""},
		"a prefix":         {map[string]string{"REDIS_PASSWORD": "hunter2", "ARGOCD_REDIS_KEY_PREFIX": "a[b]*"}, "a[b]*app|managed-resources|web|1.8.3.gz", ""},
		"no password":      {nil, "", "NOAUTH"},
		"another password": {map[string]string{"REDIS_PASSWORD": "secret-of-mine"}, "", "WRONGPASS"},
		"what there isn't": {map[string]string{"REDIS_COMPRESSION": "zstd"}, "", `REDIS_COMPRESSION is "zstd"`},
		"no such folder":   {map[string]string{"REDIS_CREDS_DIR_PATH": dir + "/no"}, "", "REDIS_CREDS_DIR_PATH"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, k := range []string{"REDIS_USERNAME", "REDIS_PASSWORD", "REDIS_CREDS_DIR_PATH", "REDIS_COMPRESSION", "ARGOCD_REDIS_KEY_PREFIX"} {
				t.Setenv(k, c.env[k])
			}
			o := cached.Options{Addr: addr}
			err := o.FromEnvironment()
			s := open(t, o)
			if err == nil {
				err = errors.Join(s.Clear(t.Context()), s.Put(t.Context(), "web", some, time.Minute))
			}
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "secret-of-mine") {
					t.Errorf("%v, want %s", err, c.err)
				}
				return
			}
			if err != nil || !slices.Contains(server.keys(t), c.want) {
				t.Errorf("%v: %v, want %s", err, server.keys(t), c.want)
			}
			if err := s.Clear(t.Context()); err != nil || slices.Contains(server.keys(t), c.want) {
				t.Errorf("%v: %v are left", err, server.keys(t))
			}
		})
	}
}

func TestARedisThatIsNotThereIsNamed(t *testing.T) {
	s := open(t, cached.Options{Addr: "127.0.0.1:1"})
	if err := s.Put(t.Context(), "web", some, time.Minute); err == nil || !strings.Contains(err.Error(), "Redis at 127.0.0.1:1") {
		t.Error(err)
	}
	if _, err := cached.Trust(filepath.Join(t.TempDir(), "none.pem")); err == nil {
		t.Error("certificates that there are not are trusted")
	}
}
