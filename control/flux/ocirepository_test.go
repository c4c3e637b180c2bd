package flux

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/s3test"
	"plumb.dev/plumb/report"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/git"
	"plumb.dev/plumb/source/oci"
	"plumb.dev/plumb/tree"
)

const aDigest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func anOCIRepository(change func(*ociRepository)) *ociRepository {
	o := &ociRepository{}
	o.Namespace, o.Name = "x", "src"
	o.Spec.URL, o.Spec.Interval = "oci://host.example/app", &metav1.Duration{Duration: time.Minute}
	change(o)
	return o
}

func TestAnOCIRepositoryBecomesASource(t *testing.T) {
	st := newStores(t)
	secrets := secretsOf{
		"auth":  {".dockerconfigjson": []byte(`{"auths":{"canary-1":{}}}`)},
		"pull":  {".dockercfg": []byte(`{"host.example":{"password":"canary-2"}}`)},
		"certs": {"ca.crt": []byte("canary-3"), "tls.crt": []byte("crt"), "tls.key": []byte("canary-4")},
		"proxy": {"address": []byte("http://proxy"), "username": []byte("p"), "password": []byte("canary-5")},
		"sa":    {"imagePullSecrets": []byte("pull\nauth")},
	}
	plain := sourceSpec("OCIRepository/x/src", anOCIRepository(func(*ociRepository) {}), secrets, st)
	if f := plain.From.(oci.Source); plain.Interval != time.Minute || plain.Refused != nil || f.Ref != (oci.Ref{}) || f.Store != st.Archives || f.Clients != st.Registries {
		t.Errorf("%+v", plain)
	}
	ref := func(name string) *meta.LocalObjectReference { return &meta.LocalObjectReference{Name: name} }
	full := sourceSpec("OCIRepository/x/src", anOCIRepository(func(o *ociRepository) {
		o.Spec.SecretRef, o.Spec.CertSecretRef, o.Spec.ProxySecretRef, o.Spec.ServiceAccountName = ref("auth"), ref("certs"), ref("proxy"), "sa"
		o.Spec.Reference = &sourcev1.OCIRepositoryRef{Digest: "d", SemVer: "1.x", SemverFilter: "f", Tag: "t"}
		o.Spec.LayerSelector = &sourcev1.OCILayerSelector{MediaType: "m", Operation: "extract"}
		o.Spec.Timeout, o.Spec.Suspend, o.Spec.Insecure, o.Spec.Ignore = &metav1.Duration{Duration: time.Second}, true, true, new("x")
		o.Annotations = map[string]string{requestedAt: "now"}
		o.Status.Artifact = &meta.Artifact{Revision: "t@sha256:1", Digest: "sha256:2"}
	}), secrets, st)
	f := full.From.(oci.Source)
	if f.Ref != (oci.Ref{Digest: "d", SemVer: "1.x", SemverFilter: "f", Tag: "t"}) || f.Layer.MediaType != "m" || f.Layer.Copy {
		t.Errorf("%+v, %+v", f.Ref, f.Layer)
	}
	m := f.Remote
	if m.URL != "oci://host.example/app" || m.Timeout != time.Second || !m.Insecure || string(m.TLS.CA) != "canary-3" || string(m.TLS.ClientCert) != "crt" ||
		string(m.TLS.ClientKey) != "canary-4" || m.Proxy.URL != "http://proxy" || m.Proxy.Username != "p" || m.Proxy.Password != "canary-5" {
		t.Errorf("the remote is another: %v", m)
	}
	var configs []string
	for _, c := range m.Auth.DockerConfigs {
		configs = append(configs, string(c))
	}
	want := []string{`{"auths":{"canary-1":{}}}`, `{"auths":{"host.example":{"password":"canary-2"}}}`, `{"auths":{"canary-1":{}}}`}
	if diff := cmp.Diff(want, configs); diff != "" {
		t.Errorf("the configs: -want +got:\n%s", diff)
	}
	if !full.Suspended || full.Requested != "now" || full.Last.Revision != "t@sha256:1" || *full.Shape.Ignore != "x" || full.Shape.Whole {
		t.Errorf("%+v", full)
	}
	for _, form := range []string{"%v", "%+v", "%#v"} {
		if said := fmt.Sprintf(form, full.From); strings.Contains(said, "canary") {
			t.Errorf("it shows a credential: %s", said)
		}
	}
}

// What is copied in Flux is unpacked by who reads it, with nothing left out.
func TestOfALayerThatIsCopiedNothingIsIgnored(t *testing.T) {
	o := anOCIRepository(func(o *ociRepository) {
		o.Spec.LayerSelector, o.Spec.Ignore = &sourcev1.OCILayerSelector{Operation: "copy"}, new("a")
	})
	s := sourceSpec("OCIRepository/x/src", o, secretsOf{}, newStores(t))
	if s.From.(oci.Source).Layer.Copy {
		t.Error("it is not unpacked")
	}
	got, err := s.Shape.Apply(tree.FromFiles(map[string]string{"a": "", "b.zip": "", ".sourceignore": "b.zip"}), &source.Ignorer{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := got.ReadDir("."); err != nil || len(all) != 3 {
		t.Errorf("there are %v, %v", all, err)
	}
}

func TestWhatKeepsARegistryFromBeingAsked(t *testing.T) {
	st := newStores(t)
	secrets := secretsOf{"empty": {}, "sa": {"imagePullSecrets": []byte("gone")}, "sa2": {"imagePullSecrets": []byte("empty")}, "sa3": {"imagePullSecrets": []byte("a/b")}, "sa4": {"imagePullSecrets": nil}}
	place := sourceSpec("OCIRepository/x/src", anOCIRepository(func(*ociRepository) {}), secrets, st).From.Place()
	ref := func(name string) *meta.LocalObjectReference { return &meta.LocalObjectReference{Name: name} }
	for name, c := range map[string]struct {
		change  func(*ociRepository)
		next    fault.Next
		message string
		unknown bool
	}{
		"a Secret that is not there": {func(o *ociRepository) { o.Spec.SecretRef = ref("none") }, fault.Wait, "spec.secretRef: Secret/x/none does not exist", false},
		"one that was not read":      {func(o *ociRepository) { o.Spec.SecretRef = ref("unread") }, fault.Wait, "not read yet", false},
		"one of another type":        {func(o *ociRepository) { o.Spec.SecretRef = ref("empty") }, fault.Wait, "spec.secretRef: Secret/x/empty has no key .dockerconfigjson", false},
		"certificates of none":       {func(o *ociRepository) { o.Spec.CertSecretRef = ref("empty") }, fault.Wait, "spec.certSecretRef: Secret/x/empty has none of the keys ca.crt, tls.crt and tls.key", false},
		"a proxy's that is not there": {
			func(o *ociRepository) { o.Spec.ProxySecretRef = ref("none") }, fault.Wait, "spec.proxySecretRef: Secret/x/none does not exist", true,
		},
		"an account that is not there":        {func(o *ociRepository) { o.Spec.ServiceAccountName = "none" }, fault.Wait, "spec.serviceAccountName: ServiceAccount/x/none does not exist", false},
		"an account that was not read":        {func(o *ociRepository) { o.Spec.ServiceAccountName = "unread" }, fault.Wait, "not read yet", false},
		"an account's Secret that is not":     {func(o *ociRepository) { o.Spec.ServiceAccountName = "sa" }, fault.Wait, "spec.serviceAccountName: Secret/x/gone does not exist", false},
		"an account's Secret of another type": {func(o *ociRepository) { o.Spec.ServiceAccountName = "sa2" }, fault.Wait, "spec.serviceAccountName: Secret/x/empty has no key .dockerconfigjson", false},
		"an account's Secret by a path":       {func(o *ociRepository) { o.Spec.ServiceAccountName = "sa3" }, fault.Stall, `spec.serviceAccountName: imagePullSecrets: "a/b" is no name`, false},
		"signatures":                          {func(o *ociRepository) { o.Spec.Verify = &sourcev1.OCIRepositoryVerification{} }, fault.Stall, "spec.verify", false},
		"a cloud's credentials":               {func(o *ociRepository) { o.Spec.Provider = "aws" }, fault.Stall, "spec.provider", false},
	} {
		s := sourceSpec("OCIRepository/x/src", anOCIRepository(c.change), secrets, st)
		if f := fault.Of(s.Refused); s.Refused == nil || f.Next != c.next || !strings.HasPrefix(s.Refused.Error(), c.message) {
			t.Errorf("%s: %s: %v", name, f.Next, s.Refused)
		}
		if (s.From == nil) != c.unknown || s.From != nil && s.From.Place() != place {
			t.Errorf("%s: its place is unknown, or another", name)
		}
	}
	fine := sourceSpec("OCIRepository/x/src", anOCIRepository(func(o *ociRepository) { o.Spec.ServiceAccountName, o.Spec.Provider = "sa4", "generic" }), secrets, st)
	if fine.Refused != nil {
		t.Errorf("an account without Secrets: %v", fine.Refused)
	}
}

// Names that could lead elsewhere are refused before anything is read.
func TestNamesOfSourcesAreNames(t *testing.T) {
	for _, kind := range []*sourceKind{ociKind(), bucketKind()} {
		for spec, want := range map[string]string{
			"secretRef: {name: a/b}":     "spec.secretRef.name: ",
			"certSecretRef: {name: ..}":  "spec.certSecretRef.name: ",
			"proxySecretRef: {name: ''}": "spec.proxySecretRef.name: ",
			"intervall: 1m":              `this version of plumb can't read it: spec.intervall: `,
		} {
			u := ks(t, "spec: {interval: 1m, "+spec+"}")
			u.SetGroupVersionKind(kind.GroupVersionKind)
			if o, err := kind.decode(u); o != nil || err == nil || !strings.HasPrefix(err.Error(), want) || fault.Of(err).Next != fault.Stall {
				t.Errorf("%s, %s: %v", kind.Kind, spec, err)
			}
		}
	}
	for spec, want := range map[string]string{
		"serviceAccountName: a/b":           "spec.serviceAccountName: ",
		"layerSelector: {operation: unzip}": `spec.layerSelector.operation: "unzip" is none`,
	} {
		if _, err := decodeOCIRepository(ks(t, "spec: {interval: 1m, "+spec+"}")); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", spec, err)
		}
	}
}

// Whoever reads the status of a source finds in it what Flux would say.
func TestWhatTheStatusOfAKindSays(t *testing.T) {
	a := func(revision string) source.State {
		return source.State{Artifact: &source.Artifact{Revision: revision, Tree: tree.FromFiles(nil)}}
	}
	r := newSources(t, newStored(t))
	for name, c := range map[string]struct {
		kind             *sourceKind
		o                sourceObject
		state            source.State
		path, says, news string
	}{
		"a tag": {
			ociKind(), anOCIRepository(func(*ociRepository) {}), a("v1@" + aDigest),
			"ocirepository/x/src/" + aDigest + ".tar.gz", "stored artifact for digest 'v1@" + aDigest + "'", "stored artifact with revision 'v1@" + aDigest + "' from 'oci://host.example/app'",
		},
		"a digest": {
			ociKind(), anOCIRepository(func(*ociRepository) {}), a(aDigest),
			"ocirepository/x/src/" + aDigest + ".tar.gz", "stored artifact for digest '" + aDigest + "'", "stored artifact with revision '" + aDigest + "' from 'oci://host.example/app'",
		},
		"a bucket": {
			bucketKind(), aBucket(func(*bucketSource) {}), a(aDigest),
			"bucket/x/src/" + aDigest[7:] + ".tar.gz", "stored artifact: revision '" + aDigest + "'", "stored artifact with revision '" + aDigest + "' from 'state' bucket",
		},
	} {
		r.kind = c.kind
		r.conclude(c.o, c.state)
		r.tell(c.o, telling{}, c.state)
		r.subject(srcKey).Gone()
		f := c.o.common()
		if (*f.artifact).Path != c.path || (*f.artifact).URL != "http://plumb.example/"+c.path || report.Find(*f.conditions, report.Ready).Message != c.says {
			t.Errorf("%s: %+v, %v", name, *f.artifact, *f.conditions)
		}
		if got := heard(r.events); len(got) != 1 || !strings.HasPrefix(got[0], "Normal NewArtifact "+c.news) {
			t.Errorf("%s: %s", name, got)
		}
		r.conclude(c.o, source.State{Err: &fault.Error{Err: fmt.Errorf("broken")}})
		if got := report.Find(*f.conditions, report.Ready).Reason; got != c.kind.failed {
			t.Errorf("%s: it fails by %s", name, got)
		}
	}
}

// A directory stands for what a source of any kind holds, with its rules.
func TestADirectoryIsReadAsASourceOfAnyKind(t *testing.T) {
	dir := tree.FromFiles(map[string]string{"a.yaml": "", "b.yaml": "", "c.zip": ""})
	for name, c := range map[string]struct {
		kind  *sourceKind
		spec  string
		files int
	}{
		"a repository of Git":  {gitKind(), "ignore: a.yaml", 2},
		"a registry":           {ociKind(), "ignore: a.yaml", 2},
		"a layer of one":       {ociKind(), "layerSelector: {mediaType: m}", 2},
		"one that is copied":   {ociKind(), "layerSelector: {operation: copy}", 3},
		"a bucket":             {bucketKind(), "ignore: a.yaml", 2},
		"one with no patterns": {bucketKind(), "prefix: x", 2},
	} {
		u := ks(t, "spec: {interval: 1m, "+c.spec+"}")
		u.SetGroupVersionKind(c.kind.GroupVersionKind)
		a, err := Options{}.Artifact(t.Context(), u, nil, nil, view.Want{Dir: dir, Revision: "here"})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if all, err := a.Tree.ReadDir("."); err != nil || len(all) != c.files || a.Source != unitName(c.kind.Kind, u.GetNamespace(), u.GetName()) || a.Revision != "here" {
			t.Errorf("%s: %s at %s has %v, %v", name, a.Source, a.Revision, all, err)
		}
	}
	if _, err := (Options{}).Artifact(t.Context(), ks(t, plainSpec), nil, nil, view.Want{}); err == nil {
		t.Error("a Kustomization is a source")
	}
}

// A revision that is named in a status is not asked for; what else people call one
// is.
func TestWhichRevisionIsMeant(t *testing.T) {
	o := anOCIRepository(func(*ociRepository) {})
	for _, name := range []string{aDigest, "v1@" + aDigest} {
		if r, err := o.wanted(t.Context(), nil, name); err != nil || r.Name != name {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	from, err := o.fetcher(secretsOf{}, newStores(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.wanted(t.Context(), from, "no tag"); !fault.Is(err, oci.ReasonInvalidReference) {
		t.Error(err)
	}
	b, s := aBucket(func(*bucketSource) {}), s3test.New(t, "state")
	s.Set(map[string]string{"a": "b"})
	b.Spec.Endpoint, b.Spec.Insecure = s.Endpoint(), true
	if from, err = b.fetcher(secretsOf{}, newStores(t)); err != nil {
		t.Fatal(err)
	}
	now, err := from.Resolve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r, err := b.wanted(t.Context(), from, now.Name); err != nil || r.Name != now.Name {
		t.Errorf("%v, %v", r, err)
	}
	if _, err := b.wanted(t.Context(), from, aDigest); !fault.Is(err, git.ReasonReferenceNotFound) || !strings.Contains(err.Error(), now.Name) {
		t.Error(err)
	}
}
