package flux

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source/bucket"
)

func aBucket(change func(*bucketSource)) *bucketSource {
	b := &bucketSource{}
	b.Namespace, b.Name = "x", "src"
	b.Spec.BucketName, b.Spec.Endpoint, b.Spec.Interval = "state", "host.example", metav1.Duration{Duration: time.Minute}
	change(b)
	return b
}

func TestABucketBecomesASource(t *testing.T) {
	st := newStores(t)
	secrets := secretsOf{
		"auth":  {"accesskey": []byte("canary-1"), "secretkey": []byte("canary-2")},
		"certs": {"ca.crt": []byte("canary-3")},
		"proxy": {"address": []byte("http://proxy"), "password": []byte("canary-4")},
	}
	ref := func(name string) *meta.LocalObjectReference { return &meta.LocalObjectReference{Name: name} }
	s := sourceSpec("Bucket/x/src", aBucket(func(b *bucketSource) {
		b.Spec.SecretRef, b.Spec.CertSecretRef, b.Spec.ProxySecretRef = ref("auth"), ref("certs"), ref("proxy")
		b.Spec.Provider, b.Spec.Region, b.Spec.Prefix, b.Spec.Insecure = "generic", "r", "p/", true
		b.Spec.Timeout, b.Spec.Suspend, b.Spec.Ignore = &metav1.Duration{Duration: time.Second}, true, new("x")
		b.Annotations = map[string]string{requestedAt: "now"}
		b.Status.LastHandledReconcileAt = "now"
		b.Status.Artifact = &meta.Artifact{Revision: aDigest, Digest: "sha256:2"}
	}), secrets, st)
	f := s.From.(bucket.Source)
	m := f.Remote
	if s.Refused != nil || m.Bucket != "state" || m.Endpoint != "host.example" || m.Region != "r" || m.Prefix != "p/" || !m.Insecure || m.Timeout != time.Second ||
		m.Auth != (bucket.Auth{AccessKey: "canary-1", SecretKey: "canary-2"}) || string(m.TLS.CA) != "canary-3" || m.Proxy.URL != "http://proxy" || m.Proxy.Password != "canary-4" {
		t.Errorf("%v: %v", s.Refused, m)
	}
	// What is ignored is so when it is listed, and when it is taken.
	if *f.Ignore != "x" || *s.Shape.Ignore != "x" || f.Store != st.Archives || f.Clients != st.Buckets {
		t.Errorf("%+v", s.Shape)
	}
	if !s.Suspended || s.Requested != "" || s.Last.Revision != aDigest || s.Interval != time.Minute {
		t.Errorf("%+v", s)
	}
	for _, form := range []string{"%v", "%+v", "%#v"} {
		if said := fmt.Sprintf(form, s.From); strings.Contains(said, "canary") {
			t.Errorf("it shows a credential: %s", said)
		}
	}
}

func TestWhatKeepsABucketFromBeingAsked(t *testing.T) {
	st := newStores(t)
	secrets := secretsOf{"half": {"accesskey": []byte("canary")}}
	ref := func(name string) *meta.LocalObjectReference { return &meta.LocalObjectReference{Name: name} }
	place := sourceSpec("Bucket/x/src", aBucket(func(*bucketSource) {}), secrets, st).From.Place()
	for name, c := range map[string]struct {
		change  func(*bucketSource)
		next    fault.Next
		message string
		unknown bool
	}{
		"a Secret that is not there": {func(b *bucketSource) { b.Spec.SecretRef = ref("none") }, fault.Wait, "spec.secretRef: Secret/x/none does not exist", false},
		"one of one key":             {func(b *bucketSource) { b.Spec.SecretRef = ref("half") }, fault.Wait, "spec.secretRef: Secret/x/half lacks one of the keys accesskey and secretkey (add them)", false},
		"certificates that are not":  {func(b *bucketSource) { b.Spec.CertSecretRef = ref("none") }, fault.Wait, "spec.certSecretRef: Secret/x/none does not exist", false},
		"a proxy's that is not there": {
			func(b *bucketSource) { b.Spec.ProxySecretRef = ref("unread") }, fault.Wait, "not read yet", true,
		},
		"a cloud's credentials": {func(b *bucketSource) { b.Spec.Provider = "azure" }, fault.Stall, "spec.provider: ", false},
		"a token service":       {func(b *bucketSource) { b.Spec.STS = &sourcev1.BucketSTSSpec{} }, fault.Stall, "spec.sts: ", false},
		"workload identity":     {func(b *bucketSource) { b.Spec.ServiceAccountName = "a" }, fault.Stall, "spec.serviceAccountName: ", false},
	} {
		s := sourceSpec("Bucket/x/src", aBucket(c.change), secrets, st)
		if f := fault.Of(s.Refused); s.Refused == nil || f.Next != c.next || !strings.HasPrefix(s.Refused.Error(), c.message) {
			t.Errorf("%s: %s: %v", name, f.Next, s.Refused)
		}
		if (s.From == nil) != c.unknown || s.From != nil && s.From.Place() != place {
			t.Errorf("%s: its place is unknown, or another", name)
		}
	}
}
