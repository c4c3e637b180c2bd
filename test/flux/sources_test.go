package flux_test

import (
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/kubetest"
	"plumb.dev/plumb/internal/ocitest"
	"plumb.dev/plumb/internal/s3test"

	pt "plumb.dev/plumb/internal/plumbtest"
)

// The other kinds of source.
const (
	ociRepository = "source.toolkit.fluxcd.io/v1/OCIRepository"
	bucket        = "source.toolkit.fluxcd.io/v1/Bucket"
)

func TestSources(t *testing.T) {
	w := pt.New(t)
	w.RequireControllers(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, *pt.World)
	}{
		{"an artifact of a registry is applied, and the next version when it comes", registry},
		{"what is selected of an artifact", layers},
		{"the ways to log in to a registry", logins},
		{"the objects of a bucket are applied, and others when they are", objects},
		{"fields of registries and buckets that are not supported stall", notOfGit},
		{"older versions of both are served", older},
		{"people can look at both", looked},
		{"what was fetched outlives a restart", restarted}, // the last one: it ends plumb
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, w) })
	}
}

// sourced applies a source of a kind, and a Kustomization u of its directory app.
func sourced(t *testing.T, w *pt.World, kind, ns, spec string, unit ...string) {
	t.Helper()
	at, name := kind[:strings.LastIndex(kind, "/")], kind[strings.LastIndex(kind, "/")+1:]
	w.Apply(t, fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: src, namespace: %s}\nspec:\n  interval: 10m\n%s", at, name, ns, lines(spec)))
	w.Apply(t, fmt.Sprintf(`
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: u, namespace: %s}
spec:
  interval: 10m
  retryInterval: 5s
  prune: true
  path: ./app
  sourceRef: {kind: %s, name: src}
%s`, ns, name, lines(strings.Join(unit, "\n"))))
}

func lines(s string) string {
	var b strings.Builder
	for l := range strings.Lines(s) {
		b.WriteString("  " + l)
	}
	return b.String() + "\n"
}

// polled asks for a reconciliation of src, and waits until that is done.
func polled(t *testing.T, w *pt.World, kind, ns, token string) pt.Status {
	t.Helper()
	resource := strings.ToLower(kind[strings.LastIndex(kind, "/")+1:]) + ".source.toolkit.fluxcd.io/src"
	kubectl(t, w, "-n", ns, "annotate", "--overwrite", resource, "reconcile.fluxcd.io/requestedAt="+token)
	var s pt.Status
	kubetest.Eventually(t, pt.Patience, func() (err error) {
		if s, _, err = w.StatusOf(t.Context(), kind, ns, "src"); err == nil && s.LastHandledReconcileAt != token {
			err = fmt.Errorf("%s is not handled: %+v", token, s)
		}
		return err
	})
	return s
}

func credential(t *testing.T, w *pt.World, ns, name string, data ...string) {
	t.Helper()
	var b strings.Builder
	for i := 0; i < len(data); i += 2 {
		fmt.Fprintf(&b, "\n  %s: %q", data[i], data[i+1])
	}
	w.Apply(t, fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: %s}\nstringData:%s\n", name, ns, b.String()))
}

func dockerConfig(host, user, password string) string {
	return fmt.Sprintf(`{"auths":{%q:{"username":%q,"password":%q}}}`, host, user, password)
}

// hidden fails if something that is said holds a credential: they are all called
// canary.
func hidden(t *testing.T, w *pt.World, ns string) {
	t.Helper()
	said := w.Plumb.Log() + kubectl(t, w, "-n", ns, "get", "ocirepositories,buckets.source.toolkit.fluxcd.io,kustomizations.kustomize.toolkit.fluxcd.io,events", "-o", "yaml")
	if i := strings.Index(said, "canary"); i >= 0 {
		t.Errorf("a credential shows: …%s…", said[max(0, i-200):min(len(said), i+50)])
	}
}

func configMaps(v string) map[string]string {
	return map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", v)}
}

func registry(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	s := ocitest.New(t)
	s.RequireBasic("ada", "canary-pass-1")
	first := s.Push(t, "apps/web", "1.0.0", ocitest.Files(configMaps("one")))
	credential(t, w, ns, "auth", ".dockerconfigjson", dockerConfig(s.Host(), "ada", "canary-wrong-2"))
	sourced(t, w, ociRepository, ns, fmt.Sprintf("url: oci://%s/apps/web\ninsecure: true\nref: {semver: '>=1.0.0'}\nsecretRef: {name: auth}", s.Host()))
	if msg := w.AwaitReason(t, ociRepository, ns, "src", "AuthenticationFailed"); !strings.Contains(msg, s.Host()) {
		t.Errorf("the message names no server: %q", msg)
	}
	w.AwaitReason(t, pt.Kustomization, ns, "u", "ArtifactFailed")
	credential(t, w, ns, "auth", ".dockerconfigjson", dockerConfig(s.Host(), "ada", "canary-pass-1"))
	w.AwaitReady(t, ns, "u", "1.0.0@"+first) // the change of the Secret wakes it
	w.Await(t, configMap, ns, "c", pt.Has("data.v", "one"))
	u := w.Await(t, ociRepository, ns, "src", pt.Has("status.observedGeneration", 1))
	for path, want := range map[string]string{
		"artifact.revision": "1.0.0@" + first, "artifact.path": "ocirepository/" + ns + "/src/" + first + ".tar.gz",
	} {
		if err := pt.Has("status."+path, want)(u); err != nil {
			t.Error(err)
		}
	}
	if digest, _, _ := unstructured.NestedString(u.Object, "status", "artifact", "digest"); !strings.HasPrefix(digest, "sha256:") {
		t.Errorf("the digest is %q", digest)
	}
	st, _, _ := w.StatusOf(t.Context(), ociRepository, ns, "src")
	if c := st.Condition("Ready"); c.Message != "stored artifact for digest '1.0.0@"+first+"'" || st.Condition("ArtifactInStorage").Status != "True" || len(st.Conditions) != 2 {
		t.Errorf("%+v", st.Conditions)
	}

	second := s.Push(t, "apps/web", "1.1.0", ocitest.Files(configMaps("two")))
	s.Push(t, "apps/web", "2.0.0-rc.1", ocitest.Files(configMaps("too early")))
	if st := polled(t, w, ociRepository, ns, "now"); st.Artifact.Revision != "1.1.0@"+second {
		t.Errorf("it is at %s", st.Artifact.Revision)
	}
	w.AwaitReady(t, ns, "u", "1.1.0@"+second)
	w.Await(t, configMap, ns, "c", pt.Has("data.v", "two"))

	// What fails leaves what there is, and a source that is suspended is not asked.
	s.Fail(ocitest.Status(http.StatusServiceUnavailable))
	st = polled(t, w, ociRepository, ns, "later")
	if st.Condition("Ready").Status != "False" || st.Condition("FetchFailed").Status != "True" || st.Artifact.Revision != "1.1.0@"+second {
		t.Errorf("%+v", st)
	}
	kubectl(t, w, "-n", ns, "delete", "configmap/c")
	w.Await(t, configMap, ns, "c", pt.Has("data.v", "two"))
	s.Fail(nil)
	kubectl(t, w, "-n", ns, "patch", "ocirepository/src", "--type=merge", "-p", `{"spec":{"suspend":true}}`)
	third := s.Push(t, "apps/web", "1.2.0", ocitest.Files(configMaps("three")))
	kubectl(t, w, "-n", ns, "patch", "ocirepository/src", "--type=merge", "-p", `{"spec":{"suspend":false}}`)
	w.AwaitReady(t, ns, "u", "1.2.0@"+third)

	// One digest, and then a tag that moves.
	kubectl(t, w, "-n", ns, "patch", "ocirepository/src", "--type=merge", "-p", fmt.Sprintf(`{"spec":{"ref":{"digest":%q,"semver":null}}}`, first))
	w.AwaitReady(t, ns, "u", first)
	if r := w.AwaitReady(t, ns, "u", first).LastAppliedRevision; r != first {
		t.Errorf("it is at %s", r)
	}
	s.Push(t, "apps/web", "live", ocitest.Files(configMaps("four")))
	kubectl(t, w, "-n", ns, "patch", "ocirepository/src", "--type=merge", "-p", `{"spec":{"ref":{"digest":null,"tag":"live"}}}`)
	w.Await(t, configMap, ns, "c", pt.Has("data.v", "four"))
	s.Push(t, "apps/web", "live", ocitest.Files(configMaps("five")))
	polled(t, w, ociRepository, ns, "again")
	w.Await(t, configMap, ns, "c", pt.Has("data.v", "five"))
	hidden(t, w, ns)
}

func layers(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	s := ocitest.New(t)
	files := func(more string) map[string]string {
		return map[string]string{"app/c.yaml": pt.ConfigMap("c", "from", more), "app/ignored.yaml": pt.ConfigMap("ignored")}
	}
	a := ocitest.Files(files("first"))
	a.Layers = append(a.Layers, ocitest.Layer{MediaType: "application/vnd.example.second", Content: ocitest.Tar(files("second"))})
	s.Push(t, "a", "latest", a)
	sourced(t, w, ociRepository, ns, fmt.Sprintf("url: oci://%s/a\ninsecure: true\nignore: ignored.yaml", s.Host()))
	w.AwaitReady(t, ns, "u", "")
	w.Await(t, configMap, ns, "c", pt.Has("data.from", "first"))
	if _, err := w.Object(t.Context(), configMap, ns, "ignored"); err == nil {
		t.Error("what is ignored is applied")
	}
	patch := func(selector string) *unstructured.Unstructured {
		t.Helper()
		kubectl(t, w, "-n", ns, "patch", "ocirepository/src", "--type=merge", "-p", `{"spec":{"layerSelector":`+selector+`}}`)
		return w.Await(t, ociRepository, ns, "src", func(u *unstructured.Unstructured) error {
			return pt.Has("status.observedGeneration", u.GetGeneration())(u)
		})
	}
	u := patch(`{"mediaType":"application/vnd.example.second"}`)
	if err := pt.Has("status.observedLayerSelector.mediaType", "application/vnd.example.second")(u); err != nil {
		t.Error(err)
	}
	if err := pt.Has("status.observedIgnore", "ignored.yaml")(u); err != nil {
		t.Error(err)
	}
	w.Await(t, configMap, ns, "c", pt.Has("data.from", "second"))
	patch(`{"operation":"copy"}`) // of which nothing is ignored, as what is unpacked is the layer
	w.Await(t, configMap, ns, "ignored", nil)
}

func logins(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	s := ocitest.NewTLS(t, nil)
	s.RequireToken("ada", "canary-pass-3", "")
	digest := s.Push(t, "a", "latest", ocitest.Files(configMaps("one")))
	sourced(t, w, ociRepository, ns, fmt.Sprintf("url: oci://%s/a\nserviceAccountName: puller\ncertSecretRef: {name: ca}", s.Host()))
	if msg := w.AwaitReason(t, ociRepository, ns, "src", "AuthenticationFailed"); !strings.Contains(msg, "spec.certSecretRef: Secret/"+ns+"/ca does not exist") {
		t.Errorf("%q", msg)
	}
	credential(t, w, ns, "ca", "ca.crt", string(s.CA()))
	awaitMessage(t, w, ociRepository, ns, "spec.serviceAccountName: ServiceAccount/"+ns+"/puller does not exist")
	w.Apply(t, fmt.Sprintf("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: puller, namespace: %s}\n", ns))
	awaitMessage(t, w, ociRepository, ns, s.Host())
	w.Apply(t, fmt.Sprintf("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: puller, namespace: %s}\nimagePullSecrets: [{name: pull}]\n", ns))
	awaitMessage(t, w, ociRepository, ns, "Secret/"+ns+"/pull does not exist")
	credential(t, w, ns, "pull", ".dockerconfigjson", dockerConfig(s.Host(), "ada", "canary-pass-3"))
	w.AwaitReady(t, ns, "u", digest)
	hidden(t, w, ns)
}

// awaitMessage waits until src is not ready, and says why.
func awaitMessage(t *testing.T, w *pt.World, kind, ns, part string) {
	t.Helper()
	kubetest.Eventually(t, pt.Patience, func() error {
		s, _, err := w.StatusOf(t.Context(), kind, ns, "src")
		if c := s.Condition("Ready"); err == nil && (c.Status != "False" || !strings.Contains(c.Message, part)) {
			err = fmt.Errorf("it does not say %q: %+v", part, s.Conditions)
		}
		return err
	})
}

func objects(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	s := s3test.New(t, "state")
	s.Require("canary-access-4", "canary-secret-4")
	s.Set(map[string]string{
		"prod/app/c.yaml": pt.ConfigMap("c", "v", "one"), "prod/app/d.yaml": pt.ConfigMap("d"), "prod/app/ignored.yaml": pt.ConfigMap("ignored"), "test/app/c.yaml": "no manifest",
	})
	credential(t, w, ns, "auth", "accesskey", "canary-access-4")
	sourced(t, w, bucket, ns, fmt.Sprintf("bucketName: state\nendpoint: %s\ninsecure: true\nregion: %s\nprefix: prod/\nignore: ignored.yaml\nsecretRef: {name: auth}", s.Endpoint(), s3test.Region), "path: ./prod/app")
	awaitMessage(t, w, bucket, ns, "lacks one of the keys accesskey and secretkey")
	credential(t, w, ns, "auth", "accesskey", "canary-access-4", "secretkey", "canary-wrong-4")
	awaitMessage(t, w, bucket, ns, s.Endpoint())
	w.AwaitReason(t, bucket, ns, "src", "AuthenticationFailed")
	credential(t, w, ns, "auth", "accesskey", "canary-access-4", "secretkey", "canary-secret-4")
	revision := w.AwaitReady(t, ns, "u", "").LastAppliedRevision
	w.Await(t, configMap, ns, "c", pt.Has("data.v", "one"))
	if _, err := w.Object(t.Context(), configMap, ns, "ignored"); err == nil {
		t.Error("what is ignored is applied")
	}
	u := w.Await(t, bucket, ns, "src", pt.Has("status.artifact.revision", revision))
	for path, want := range map[string]string{
		"observedIgnore": "ignored.yaml", "artifact.path": "bucket/" + ns + "/src/" + strings.TrimPrefix(revision, "sha256:") + ".tar.gz",
	} {
		if err := pt.Has("status."+path, want)(u); err != nil {
			t.Error(err)
		}
	}
	st, _, _ := w.StatusOf(t.Context(), bucket, ns, "src")
	if c := st.Condition("Ready"); c.Message != "stored artifact: revision '"+revision+"'" || st.Condition("ArtifactInStorage").Status != "True" || len(st.Conditions) != 2 {
		t.Errorf("%+v", st.Conditions)
	}

	s.Put("prod/app/c.yaml", pt.ConfigMap("c", "v", "two"))
	if st := polled(t, w, bucket, ns, "now"); st.Artifact.Revision == revision {
		t.Error("the revision is the same")
	}
	w.Await(t, configMap, ns, "c", pt.Has("data.v", "two"))
	s.Set(map[string]string{"prod/app/c.yaml": pt.ConfigMap("c", "v", "two")})
	polled(t, w, bucket, ns, "later")
	w.AwaitGone(t, configMap, ns, "d")

	s.Fail(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	st = polled(t, w, bucket, ns, "failing")
	if st.Condition("Ready").Status != "False" || st.Condition("FetchFailed").Status != "True" || st.Condition("ArtifactInStorage").Status != "True" || st.Artifact.Revision == "" {
		t.Errorf("%+v", st)
	}
	hidden(t, w, ns)
}

func notOfGit(t *testing.T, w *pt.World) {
	for _, c := range []struct{ kind, field, spec string }{
		{ociRepository, "verify", "url: oci://127.0.0.1:1/a\nverify: {provider: cosign}"},
		{ociRepository, "provider", "url: oci://127.0.0.1:1/a\nprovider: aws"},
		{bucket, "provider", "bucketName: abc\nendpoint: 127.0.0.1:1\nprovider: gcp"},
		{bucket, "sts", "bucketName: abc\nendpoint: 127.0.0.1:1\nsts: {provider: ldap, endpoint: 'https://127.0.0.1:1'}"},
	} {
		ns := w.Namespace(t)
		sourced(t, w, c.kind, ns, c.spec)
		if msg := w.AwaitReason(t, c.kind, ns, "src", "UnsupportedField"); !strings.Contains(msg, "spec."+c.field) {
			t.Errorf("%s is not named: %q", c.field, msg)
		}
		if s, gen, _ := w.StatusOf(t.Context(), c.kind, ns, "src"); s.Condition("Stalled").Status != "True" || s.ObservedGeneration != gen {
			t.Errorf("%s does not stall: %+v", c.field, s)
		}
		w.AwaitReason(t, pt.Kustomization, ns, "u", "ArtifactFailed")
	}
	ns := w.Namespace(t)
	sourced(t, w, bucket, ns, "bucketName: 'No Bucket'\nendpoint: 127.0.0.1:1")
	w.AwaitReason(t, bucket, ns, "src", "InvalidBucket")
}

func older(t *testing.T, w *pt.World) {
	o, b := ocitest.New(t), s3test.New(t, "state")
	o.Push(t, "a", "latest", ocitest.Files(configMaps("one")))
	b.Set(configMaps("one"))
	for kind, spec := range map[string]string{
		"source.toolkit.fluxcd.io/v1beta2/OCIRepository": fmt.Sprintf("url: oci://%s/a\ninsecure: true", o.Host()),
		"source.toolkit.fluxcd.io/v1beta2/Bucket":        fmt.Sprintf("bucketName: state\nendpoint: %s\ninsecure: true\naccessFrom: {namespaceSelectors: [{}]}", b.Endpoint()),
		"source.toolkit.fluxcd.io/v1beta1/Bucket":        fmt.Sprintf("bucketName: state\nendpoint: %s\ninsecure: true", b.Endpoint()),
	} {
		ns := w.Namespace(t)
		sourced(t, w, kind, ns, spec)
		w.AwaitReady(t, ns, "u", "")
	}
}

func looked(t *testing.T, w *pt.World) {
	o, b := ocitest.New(t), s3test.New(t, "state")
	o.Push(t, "a", "latest", ocitest.Files(configMaps("one")))
	b.Set(configMaps("one"))
	for kind, spec := range map[string]string{
		ociRepository: fmt.Sprintf("url: oci://%s/a\ninsecure: true", o.Host()),
		bucket:        fmt.Sprintf("bucketName: state\nendpoint: %s\ninsecure: true", b.Endpoint()),
	} {
		ns := w.Namespace(t)
		sourced(t, w, kind, ns, spec)
		revision := w.AwaitReady(t, ns, "u", "").LastAppliedRevision
		name := kind[strings.LastIndex(kind, "/")+1:]
		says := func(want string, args ...string) {
			t.Helper()
			cmd := exec.CommandContext(t.Context(), pt.Binary(t), append([]string{"--kubeconfig", w.Kubeconfig, "-n", ns}, args...)...)
			cmd.Env = append(cmd.Environ(), "XDG_CACHE_HOME="+t.TempDir())
			if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), want) {
				t.Errorf("plumb %s: %v, want %q in\n%s", strings.Join(args, " "), err, want, out)
			}
		}
		says(revision, "get", "sources", "-o", "json")
		says(name, "get", "sources", "-o", "wide")
		says("v: one", "build", "u")
		says("v: one", "build", "u", "--revision", revision)
		if kind == ociRepository {
			says("v: one", "build", "u", "--revision", "latest")
		}
		says("", "diff", "u")
		says("ConfigMap", "tree", "u")
		says(name+"/"+ns+"/src", "trace", "configmap/c")
		says("", "suspend", "source/src")
		says("", "resume", strings.ToLower(name)+"/src")
		says("", "sync", "u", "--with-source")
	}
}

// restarted: after a start with servers that do not answer, units are held true to
// what was fetched before, and it is not said anew.
func restarted(t *testing.T, w *pt.World) {
	o, b := ocitest.New(t), s3test.New(t, "state")
	o.Push(t, "a", "latest", ocitest.Files(configMaps("one")))
	b.Set(configMaps("one"))
	kinds := map[string]string{
		ociRepository: fmt.Sprintf("url: oci://%s/a\ninsecure: true", o.Host()),
		bucket:        fmt.Sprintf("bucketName: state\nendpoint: %s\ninsecure: true", b.Endpoint()),
	}
	namespaces, before := map[string]string{}, map[string]any{}
	artifact := func(kind string) any {
		t.Helper()
		u, err := w.Object(t.Context(), kind, namespaces[kind], "src")
		if err != nil {
			t.Fatal(err)
		}
		a, _, _ := unstructured.NestedFieldNoCopy(u.Object, "status", "artifact")
		return a
	}
	for kind, spec := range kinds {
		namespaces[kind] = w.Namespace(t)
		sourced(t, w, kind, namespaces[kind], spec)
		w.AwaitReady(t, namespaces[kind], "u", "")
		before[kind] = artifact(kind)
	}
	w.Plumb.Kill(syscall.SIGKILL)
	unavailable := func(w http.ResponseWriter) bool { w.WriteHeader(http.StatusServiceUnavailable); return true }
	o.Fail(ocitest.Status(http.StatusServiceUnavailable))
	b.Fail(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) bool { return unavailable(w) })
	for _, ns := range namespaces {
		kubectl(t, w, "-n", ns, "delete", "configmap/c")
	}
	w.Plumb.Start()
	for kind, ns := range namespaces {
		w.Await(t, configMap, ns, "c", pt.Has("data.v", "one"))
		awaitMessage(t, w, kind, ns, "503")
		if after := artifact(kind); fmt.Sprint(after) != fmt.Sprint(before[kind]) {
			t.Errorf("%s: it was %v and is %v", kind, before[kind], after)
		}
	}
	o.Fail(nil)
	b.Fail(nil)
	for kind, ns := range namespaces {
		polled(t, w, kind, ns, "back")
		kubetest.Eventually(t, pt.Patience, func() error {
			s, _, err := w.StatusOf(t.Context(), kind, ns, "src")
			if err == nil && s.Condition("Ready").Status != "True" {
				err = fmt.Errorf("%+v", s.Conditions)
			}
			return err
		})
		if after := artifact(kind); fmt.Sprint(after) != fmt.Sprint(before[kind]) {
			t.Errorf("%s: it was %v and is %v afterwards", kind, before[kind], after)
		}
	}
}
