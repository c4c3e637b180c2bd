package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"plumb.dev/plumb/internal/child"
	"plumb.dev/plumb/internal/line"
)

// manyClusters are the servers that units name, by a kubeconfig each. There is
// one API server behind all of them: each is a line to it with an address of
// its own, so plumb knows nothing of that, and has a namespace of its own. One
// hangs if its line accepts connections and carries nothing.
type manyClusters struct {
	*world
	lines []*line.Line
	hung  int // how many hang when some do: the first ones
}

func clusterName(i int) string { return fmt.Sprintf("cluster-%02d", i) }

// of is the cluster of the i-th unit.
func (m *manyClusters) of(i int) int { return i % len(m.lines) }

// unitsOf counts the units of clusters from one on, up to but without another.
func (m *manyClusters) unitsOf(from, to int) (n int) {
	for i := range m.n {
		if c := m.of(i); from <= c && c < to {
			n++
		}
	}
	return n
}

// clusters measures commits to an app on each of many clusters, with some that
// hang and with none.
func (w *world) clusters(ctx context.Context) (err error) {
	m := &manyClusters{world: w, hung: max(1, w.bench.clusters*3/20)}
	defer func() {
		for _, l := range m.lines {
			err = errors.Join(err, l.Close())
		}
	}()
	if err := m.create(ctx); err != nil {
		return err
	}
	usual, err := m.commits(ctx, max(1, w.runs/2), false)
	if err != nil {
		return err
	}
	units, stop, err := w.sight(ctx, w.kind.resource, unitSpace, "")
	if err != nil {
		return err
	}
	defer stop()
	began := time.Now()
	for _, l := range m.lines[:m.hung] {
		l.Hang()
	}
	profiled := w.profile(ctx, "clusters", time.Duration(w.runs)*time.Second)
	some, err := m.commits(ctx, w.runs, true)
	if err != nil {
		return err
	}
	if err := profiled(); err != nil {
		return err
	}
	unknown, err := w.many(ctx, units, w.patience(), m.unitsOf(0, m.hung), isUnseen)
	if err != nil {
		return fmt.Errorf("units of clusters that hang: %w", err)
	}
	if err := m.mend(ctx); err != nil {
		return err
	}
	after, err := m.commits(ctx, max(1, w.runs/2), false)
	if err != nil {
		return err
	}
	floor := quantile(append(usual, after...), 0.5).Seconds()
	const same = "the same with none that hangs"
	w.seconds(fmt.Sprintf("clusters: a commit to an app on each of %d → live on the others when %d hang", len(m.lines), m.hung), some...).
		over(floor, same).ratioAtMost(1.2)
	w.seconds("clusters: the first of these commits, before that is known", some[0]).over(floor, same)
	w.seconds("clusters: they hang → all of their units say Unknown, and since when", unknown.Sub(began))
	if u, ok := w.usage(); ok {
		w.add("clusters: memory of plumb", "MB", u.size)
	}
	return nil
}

// mend has all clusters answer, and waits until every unit is ready.
func (m *manyClusters) mend(ctx context.Context) error {
	for _, l := range m.lines {
		l.Mend()
	}
	units, stop, err := m.sight(ctx, m.kind.resource, unitSpace, "")
	if err != nil {
		return err
	}
	defer stop()
	if _, err := m.all(ctx, units, m.patience(), m.kind.settled); err != nil {
		return fmt.Errorf("units of clusters that answer again: %w", err)
	}
	return nil
}

// create starts plumb, and creates the clusters and units on them.
func (m *manyClusters) create(ctx context.Context) error {
	if err := m.serve(); err != nil {
		return err
	}
	if err := m.plumb.Until(ctx, time.Minute, func() error { return child.Get(ctx, "http://"+m.health+"/readyz", io.Discard) }); err != nil {
		return err
	}
	for i := range m.bench.clusters {
		if err := m.createCluster(ctx, clusterName(i)); err != nil {
			return err
		}
	}
	seen, stop, err := m.sight(ctx, m.kind.resource, unitSpace, "")
	if err != nil {
		return err
	}
	defer stop()
	if err := m.createSource(ctx); err != nil {
		return err
	}
	err = parallel(m.n, func(i int) error {
		name := clusterName(m.of(i))
		return m.createUnit(ctx, m.kind, unitName(i), appPath(unitName(i)), map[string]any{
			"targetNamespace": name, "kubeConfig": map[string]any{"secretRef": map[string]any{"name": name}},
		})
	})
	if err != nil {
		return err
	}
	_, err = m.all(ctx, seen, m.patience(), m.kind.settled)
	return err
}

// createCluster begins a line, and creates a namespace and the kubeconfig of an
// account that has all rights in there and none elsewhere: it must not see what
// is on the other clusters.
func (m *manyClusters) createCluster(ctx context.Context, name string) error {
	if err := m.createNamespace(ctx, name); err != nil {
		return err
	}
	meta := map[string]any{"name": "plumb"}
	for _, o := range []map[string]any{
		{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
		{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta,
			"rules": []any{map[string]any{"apiGroups": []any{"*"}, "resources": []any{"*"}, "verbs": []any{"*"}}}},
		{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta,
			"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "plumb"},
			"subjects": []any{map[string]any{"kind": "ServiceAccount", "name": "plumb", "namespace": name}}},
	} {
		u := &unstructured.Unstructured{Object: o}
		if _, err := m.client.Resource(resources[u.GetKind()]).Namespace(name).Create(ctx, u, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("create the %s of %s: %w", u.GetKind(), name, err)
		}
	}
	token := &authenticationv1.TokenRequest{}
	token.Spec.ExpirationSeconds = new(int64(24 * 60 * 60))
	if err := m.core.Post().Namespace(name).Resource("serviceaccounts").Name("plumb").SubResource("token").Body(token).Do(ctx).Into(token); err != nil {
		return fmt.Errorf("create the token of %s: %w", name, err)
	}
	content, err := m.lead(token.Status.Token)
	if err != nil {
		return err
	}
	secret := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name}, "stringData": map[string]any{"value": string(content)},
	}}
	_, err = m.client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "secrets"}).Namespace(unitSpace).
		Create(ctx, secret, metav1.CreateOptions{})
	return err
}

// lead begins a line, and returns a kubeconfig that leads to it.
func (m *manyClusters) lead(token string) ([]byte, error) {
	config, err := clientcmd.LoadFromFile(m.kubeconfig)
	if err != nil {
		return nil, err
	}
	if err := clientcmdapi.FlattenConfig(config); err != nil { // a Secret may name no file
		return nil, err
	}
	for user := range config.AuthInfos {
		config.AuthInfos[user] = &clientcmdapi.AuthInfo{Token: token}
	}
	for _, c := range config.Clusters {
		server, err := url.Parse(c.Server)
		if err != nil {
			return nil, err
		}
		l, err := line.New(server.Host)
		if err != nil {
			return nil, err
		}
		m.lines = append(m.lines, l)
		server.Host = l.Addr()
		c.Server = server.String()
	}
	return clientcmd.Write(*config)
}

// commits makes commits, each to an app on every cluster, and returns how long
// they took to be live on those that never hang. It waits until every app that
// one touches says so, and can.
func (m *manyClusters) commits(ctx context.Context, runs int, hang bool) (took []time.Duration, err error) {
	for range runs {
		d, err := m.commit(ctx, hang)
		if err != nil {
			return nil, err
		}
		took = append(took, d)
	}
	return took, nil
}

func (m *manyClusters) commit(ctx context.Context, hang bool) (time.Duration, error) {
	objects, stop, err := m.sight(ctx, deployments, metav1.NamespaceAll, "")
	if err != nil {
		return 0, err
	}
	defer stop()
	units, stop, err := m.sight(ctx, m.kind.resource, unitSpace, "")
	if err != nil {
		return 0, err
	}
	defer stop()
	m.next++
	files, version, touched := map[string]string{}, m.version(), map[string]bool{}
	each := m.n / len(m.lines)
	for c := range m.lines {
		unit := unitName(c + len(m.lines)*(m.next%each))
		files[overlayFile(unit)], touched[unit] = overlay(unit, version), true
	}
	began, hash, err := m.push(ctx, files)
	if err != nil {
		return 0, err
	}
	live, err := m.many(ctx, objects, m.patience(), len(m.lines)-m.hung, func(u *unstructured.Unstructured) bool {
		return u.GetNamespace() >= clusterName(m.hung) && hasImage(version)(u)
	})
	if err != nil {
		return 0, err
	}
	say := len(m.lines)
	if hang {
		say -= m.hung
	}
	at := m.kind.at(hash)
	_, err = m.many(ctx, units, m.patience(), say, func(u *unstructured.Unstructured) bool { return touched[u.GetName()] && at(u) })
	return live.Sub(began), err
}

// isUnseen reports whether a unit says that nobody can see what it is like, and
// since when.
func isUnseen(u *unstructured.Unstructured) bool {
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range list {
		if m, ok := c.(map[string]any); ok && m["type"] == "Ready" {
			message, _ := m["message"].(string)
			return m["status"] == "Unknown" && m["reason"] == "ClusterNotAnswering" && strings.Contains(message, " has not answered since ")
		}
	}
	return false
}
