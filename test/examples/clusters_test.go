package examples

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"syscall"
	"testing"

	"plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/internal/kubetest"
	"plumb.dev/plumb/internal/plumbtest"
)

// twoClusters stops one of the clusters and starts it again: the other never
// notices, and nothing is lost.
func twoClusters(t *testing.T, w *world) {
	far := kubetest.Private(t)
	c := far.Config
	b64 := base64.StdEncoding.EncodeToString
	tls, err := json.Marshal(map[string]string{"caData": b64(c.CAData), "certData": b64(c.CertData), "keyData": b64(c.KeyData)})
	if err != nil {
		t.Fatal(err)
	}
	r := w.repository(t, "clusters")
	w.Apply(t, replaced(t, w.manifest(t, "clusters.yaml"),
		"https://far.example.com:6443", c.Host, `"bearerToken": "TOKEN",`, "", `{"caData": "CERTIFICATE"}`, string(tls)))
	w.synced(t, "shop-near", r.Head(t, "main"))
	w.synced(t, "shop-far", r.Head(t, "main"))
	w.deployment(t, "shop", "shop", 2, "registry.example.com/shop:v1")
	seen := func() (text string) {
		t.Helper()
		text, err := far.Kubectl(t.Context(), "", "-n", "shop", "get", "deployment", "shop", "-o", "jsonpath={.metadata.uid} {.spec.replicas} {.spec.template.spec.containers[0].image}")
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	uid := seen()[:36]
	if text := seen(); text != uid+" 3 registry.example.com/shop:v1" {
		t.Errorf("there it is %q", text)
	}

	far.Signal(t, "kube-apiserver", syscall.SIGSTOP)
	stopped := true
	t.Cleanup(func() {
		if stopped {
			far.Signal(t, "kube-apiserver", syscall.SIGCONT)
		}
	})
	w.Commit(t, r, map[string]string{"base/shop.yaml": replaced(t, content(t, "clusters")["base/shop.yaml"], "shop:v1", "shop:v2")})
	w.synced(t, "shop-near", r.Head(t, "main"))
	w.deployment(t, "shop", "shop", 2, "registry.example.com/shop:v2")
	w.application(t, "shop-far", func(a *argocd.Application) string {
		if s := a.Status; s.Sync.Status != argocd.Unknown || s.Health.Status != argocd.Unknown {
			return fmt.Sprintf("it is %s and %s", s.Sync.Status, s.Health.Status)
		}
		return ""
	})
	far.Signal(t, "kube-apiserver", syscall.SIGCONT)
	stopped = false
	w.synced(t, "shop-far", r.Head(t, "main"))
	kubetest.Eventually(t, plumbtest.Patience, func() error {
		if text := seen(); text != uid+" 3 registry.example.com/shop:v2" {
			return fmt.Errorf("there it is %q", text)
		}
		return nil
	})
}
