package argocd_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/control/argocd/cached"
	"plumb.dev/plumb/internal/kubetest"
	pt "plumb.dev/plumb/internal/plumbtest"
	"plumb.dev/plumb/internal/redistest"
)

// redisOf is the Redis of a control plane, if this machine has one. What another
// controller has left there is out of date.
func redisOf(t *testing.T) (c *redis.Client, flags []string) {
	t.Helper()
	if _, err := redistest.Path(); err != nil {
		return nil, nil // the test of it says so
	}
	addr := redistest.Start(t)
	c = redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { c.Close() })
	if err := c.Set(t.Context(), keyOf("resources-tree", "left"), "stale", 0).Err(); err != nil {
		t.Fatal(err)
	}
	return c, []string{"--argocd-redis", addr}
}

func keyOf(what, app string) string { return "app|" + what + "|" + app + "|1.8.3.gz" }

// An argoServer reads what Argo CD's server does, and asks as it does.
type argoServer struct {
	*world
	redis *redis.Client
}

// cached reads a value; whether there is one.
func (s argoServer) cached(t *testing.T, what, app string, into any) (there bool, text string) {
	t.Helper()
	b, err := s.redis.Get(t.Context(), keyOf(what, app)).Result()
	if errors.Is(err, redis.Nil) {
		return false, ""
	}
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(strings.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(z)
	if err == nil {
		err = json.Unmarshal(all, into)
	}
	if err != nil {
		t.Fatal(err)
	}
	return true, string(all)
}

// refresh asks for one, as the server does for what it misses, and waits until an
// Application without the annotation is seen.
func (s argoServer) refresh(t *testing.T, app string) {
	t.Helper()
	s.kubectl(t, "-n", "argocd", "annotate", "--overwrite", "app", app, "argocd.argoproj.io/refresh=normal", "argocd.argoproj.io/refresh-timestamp="+time.Now().Format(time.RFC3339Nano))
	s.await(t, app, func(a *api.Application) string {
		for name := range a.Annotations {
			if strings.HasPrefix(name, "argocd.argoproj.io/refresh") {
				return "there is the annotation " + name
			}
		}
		return ""
	})
}

// state waits for what is cached of an Application to be right.
func (s argoServer) state(t *testing.T, app string, wrong func([]cached.Resource, cached.Tree) string) {
	t.Helper()
	kubetest.Eventually(t, pt.Patience, func() error {
		var resources []cached.Resource
		var tree cached.Tree
		if there, _ := s.cached(t, "managed-resources", app, &resources); !there {
			return errors.New("no objects are cached")
		}
		if there, _ := s.cached(t, "resources-tree", app, &tree); !there {
			return errors.New("no tree is cached")
		}
		if why := wrong(resources, tree); why != "" {
			return fmt.Errorf("%s: %+v, %+v", why, resources, tree)
		}
		return nil
	})
}

func resourceOf(all []cached.Resource, kind string) (r cached.Resource) {
	for _, r := range all {
		if r.Kind == kind {
			return r
		}
	}
	return r
}

func nodesOf(tree cached.Tree, kind string) (all []cached.Node) {
	for _, n := range tree.Nodes {
		if n.Kind == kind {
			all = append(all, n)
		}
	}
	return all
}

// diffs names the objects that argocd app diff would show.
func diffs(all []cached.Resource) string {
	var kinds []string
	for _, r := range all {
		if r.NormalizedLiveState != r.PredictedLiveState {
			kinds = append(kinds, r.Kind)
		}
	}
	return strings.Join(kinds, " ")
}

// cachedForServer reads Redis as Argo CD's server does.
func cachedForServer(t *testing.T, w *world) {
	if w.redis == nil {
		_, err := redistest.Path()
		t.Skipf("SKIPPED: what Argo CD's server reads is not tested: %v", err)
	}
	s := argoServer{w, w.redis}
	kubetest.Eventually(t, pt.Patience, func() error {
		if n := s.redis.Exists(t.Context(), keyOf("resources-tree", "left")).Val(); n > 0 {
			return errors.New("what was left by another controller is there")
		}
		return nil
	})
	const value = "c2VjcmV0IG9mIG1pbmU="
	ns, r := w.start(t, map[string]string{
		"app/d.yaml": webDeployment, "app/s.yaml": webService,
		"app/secret.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {k: " + value + "}\n",
	})
	app := w.app(t, ns, r)
	w.is(t, app, "OutOfSync Missing", "")
	if there, _ := s.cached(t, "resources-tree", app, nil); there {
		t.Error("what nobody looks at is cached")
	}

	// A miss, a refresh, and it is there by the time that that is answered.
	s.refresh(t, app)
	var resources []cached.Resource
	var tree cached.Tree
	if there, _ := s.cached(t, "managed-resources", app, &resources); !there || len(resources) != 3 || diffs(resources) != "Deployment Secret Service" || resourceOf(resources, "Secret").LiveState != "null" {
		t.Errorf("of objects that are to come: %v, %+v", there, resources)
	}
	if there, _ := s.cached(t, "resources-tree", app, &tree); !there || len(tree.Nodes) != 3 || tree.Nodes[0].Health.Status != "Missing" || tree.Nodes[0].UID != "" {
		t.Errorf("of objects that are to come: %v, %+v", there, tree)
	}

	// What is done is seen without that anybody asks.
	w.patch(t, app, syncNow)
	w.is(t, app, "Synced Healthy", "")
	var owner string
	s.state(t, app, func(all []cached.Resource, tree cached.Tree) string {
		deployments, sets, pods := nodesOf(tree, "Deployment"), nodesOf(tree, "ReplicaSet"), nodesOf(tree, "Pod")
		switch {
		case diffs(all) != "":
			return "differences of what is synced: " + diffs(all)
		case len(deployments) != 1 || len(sets) != 1 || len(pods) != 1:
			return "the tree is not complete"
		case sets[0].ParentRefs[0].UID != deployments[0].UID || pods[0].ParentRefs[0].UID != sets[0].UID:
			return "the parents"
		case pods[0].Health == nil || pods[0].Health.Status != "Healthy" || deployments[0].Health.Status != "Healthy":
			return "the health"
		case len(tree.Hosts) != 1 || len(tree.Hosts[0].Resources) == 0:
			return "the hosts"
		}
		owner = pods[0].Name
		return ""
	})
	if _, text := s.cached(t, "managed-resources", app, &resources); strings.Contains(text, value) || strings.Contains(text, "managedFields") {
		t.Errorf("there is a value of a Secret, or who owns what, in %s", text)
	}
	// What the project does not allow is not shown, and what may not be is not either.
	w.project(t, ns, "{"+anything+", namespaceResourceBlacklist: [{group: '', kind: Secret}]}")
	w.patch(t, app, `{"spec":{"project":"`+ns+`"}}`)
	s.state(t, app, func(all []cached.Resource, tree cached.Tree) string {
		if n := nodesOf(tree, "Secret"); len(n) != 1 || n[0].UID != "" || resourceOf(all, "Secret").LiveState != "null" || len(nodesOf(tree, "Deployment")) != 1 {
			return "the Secret is shown, or the rest is not"
		}
		return ""
	})
	w.project(t, ns, "{sourceRepos: [https://elsewhere.example.com/*], destinations: []}")
	s.state(t, app, func(all []cached.Resource, tree cached.Tree) string {
		if len(all)+len(tree.Nodes) > 0 {
			return "it is shown"
		}
		return ""
	})
	w.project(t, ns, "{"+anything+"}")
	s.state(t, app, func(all []cached.Resource, tree cached.Tree) string {
		if len(nodesOf(tree, "Pod")) != 1 || resourceOf(all, "Secret").LiveState == "null" {
			return "it is not shown again"
		}
		return ""
	})
	s.refresh(t, app) // which finds nothing else, where nothing may be written
	w.is(t, app, "Synced Healthy", "")

	// Who has it open hears of what changes, of children too.
	ctx, cancel := context.WithTimeout(t.Context(), pt.Patience)
	defer cancel()
	listens := s.redis.Subscribe(ctx, "app|managed-resources|"+app+"|1.8.3")
	t.Cleanup(func() { listens.Close() })
	if _, err := listens.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	w.kubectl(t, "-n", ns, "delete", "pod", owner, "--wait=false")
	kubetest.Eventually(t, pt.Patience, func() error {
		if _, err := listens.ReceiveMessage(ctx); err != nil {
			t.Fatal(err)
		}
		s.cached(t, "resources-tree", app, &tree)
		if slices.ContainsFunc(tree.Nodes, func(n cached.Node) bool { return n.Name == owner }) {
			return errors.New("the Pod that was deleted is in the tree")
		}
		return nil
	})
	w.kubectl(t, "-n", ns, "scale", "deployment/guestbook-ui", "--replicas=2")
	s.state(t, app, func(all []cached.Resource, tree cached.Tree) string {
		d := resourceOf(all, "Deployment")
		switch {
		case diffs(all) != "Deployment":
			return "differences: " + diffs(all)
		case !strings.Contains(d.NormalizedLiveState, `"replicas":2`) || !strings.Contains(d.PredictedLiveState, `"replicas":1`):
			return "the prediction"
		case len(nodesOf(tree, "Pod")) != 2:
			return "the Pods"
		}
		return ""
	})

	// One that is open is shown, also where nothing was missed.
	second := w.Namespace(t)
	other := w.named(t, second, second, r, automated)
	w.is(t, other, "Synced Healthy", "")
	opened := s.redis.Subscribe(ctx, "app|managed-resources|"+other+"|1.8.3")
	t.Cleanup(func() { opened.Close() })
	if _, err := opened.ReceiveTimeout(ctx, pt.Patience); err != nil { // that it listens
		t.Fatal(err)
	}
	if _, err := opened.ReceiveMessage(ctx); err != nil {
		t.Fatal(err)
	}
	if there, _ := s.cached(t, "resources-tree", other, &tree); !there || len(tree.Nodes) < 3 {
		t.Errorf("%v: %+v", there, tree)
	}

	// What is no more is not read of.
	w.kubectl(t, "-n", "argocd", "delete", "app", app)
	kubetest.Eventually(t, pt.Patience, func() error {
		if n := s.redis.Exists(t.Context(), keyOf("resources-tree", app), keyOf("managed-resources", app)).Val(); n > 0 {
			return fmt.Errorf("there are %d keys of it", n)
		}
		return nil
	})
	var cluster cached.Cluster
	kubetest.Eventually(t, pt.Patience, func() error {
		b, err := s.redis.Get(t.Context(), "cluster|info|https://kubernetes.default.svc|1.8.3.gz").Result()
		if err != nil {
			return err
		}
		z, err := gzip.NewReader(strings.NewReader(b))
		if err != nil {
			return err
		}
		return json.NewDecoder(z).Decode(&cluster)
	})
	if cluster.Connection.Status != "Successful" || cluster.ServerVersion == "" || cluster.Cache.APIs < 20 || !slices.Contains(cluster.APIVersions, "apps/v1/Deployment") {
		t.Errorf("%+v", cluster)
	}
}
