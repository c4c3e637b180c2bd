package inspect_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/control/lookup"
	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/inspect"
	"plumb.dev/plumb/object"
)

// told is a Reader without a cluster that knows some manifests.
func told(t *testing.T, manifests ...string) (*inspect.Reader, error) {
	t.Helper()
	var all []*unstructured.Unstructured
	for _, m := range manifests {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(m), &u.Object); err != nil {
			t.Fatal(err)
		}
		all = append(all, u)
	}
	r := inspect.Offline(t.Context())
	return r, r.Tell(all, "default")
}

func TestValuesOfSecretsAreRedactedWhereverTheyAre(t *testing.T) {
	r, err := told(t,
		`{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {password: "hunter2\n", long: hunter2-and-more, tiny: a}}`,
		`{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {host: public.example}}`)
	if err != nil {
		t.Fatal(err)
	}
	got := r.Redact(map[string]any{
		"args": []any{"--password=hunter2", "--host=public.example", int64(3)},
		"env":  "x hunter2-and-more y",
	}).(map[string]any)
	if args := got["args"].([]any); args[0] != "--password=***" || args[1] != "--host=public.example" || args[2] != int64(3) {
		t.Errorf("args: %v", args)
	}
	if got["env"] != "x *** y" {
		t.Errorf("env: %v", got["env"])
	}
	cause := errors.New("parse hunter2: no")
	hidden := r.Hide(cause)
	if !errors.Is(hidden, cause) || hidden.Error() != "parse ***: no" {
		t.Errorf("the error is %v", hidden)
	}
	if r.Hide(nil) != nil {
		t.Error("no error became one")
	}
}

func TestOfflineOnlyWhatWasToldIsKnown(t *testing.T) {
	r, err := told(t, `{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: shop}, data: {a: YWE=}, stringData: {b: bb}}`)
	if err != nil {
		t.Fatal(err)
	}
	data, found, err := r.Get(lookup.Ref{Kind: lookup.Secret, Namespace: "shop", Name: "s"})
	if err != nil || !found || string(data["a"]) != "aa" || string(data["b"]) != "bb" {
		t.Errorf("%v, %v, %v", data, found, err)
	}
	if _, _, err := r.Get(lookup.Ref{Kind: lookup.Secret, Namespace: "shop", Name: "other"}); !errors.Is(err, view.ErrOffline) {
		t.Errorf("error is %v; want that no cluster is asked", err)
	}
	if _, err := r.Resource(t.Context(), object.Ref{Kind: "GitRepository", Namespace: "shop", Name: "a"}); !errors.Is(err, view.ErrOffline) {
		t.Errorf("error is %v; want that no cluster is asked", err)
	}
	for manifest, want := range map[string]string{
		`{apiVersion: v1, kind: Pod, metadata: {name: p}}`:                             "is no Secret and no ConfigMap",
		`{apiVersion: v1, kind: Secret, metadata: {name: s}, data: {a: "%"}}`:          "data.a is not base64",
		`{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: 1}}`:         "data is not made of text",
		`{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, binaryData: {a: "%"}}`: "binaryData.a is not base64",
	} {
		if _, err := told(t, manifest); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v; want %q", manifest, err, want)
		}
	}
}

func TestAReaderReadsInTheNameOfWhoLooksAndOnce(t *testing.T) {
	w := newWorld(t)
	w.apply(`
apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {password: hunter2}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data: {host: public.example}
binaryData: {b: YmI=}
`)
	secret, config := lookup.Ref{Kind: lookup.Secret, Namespace: w.ns, Name: "s"}, lookup.Ref{Kind: lookup.ConfigMap, Namespace: w.ns, Name: "c"}
	r := w.as("").Reader(t.Context())
	for _, c := range []struct {
		ref  lookup.Ref
		want string
	}{{secret, "map[password:hunter2]"}, {config, "map[b:bb host:public.example]"}} {
		data, found, err := r.Get(c.ref)
		texts := map[string]string{}
		for k, v := range data {
			texts[k] = string(v)
		}
		if got := fmt.Sprint(texts); err != nil || !found || got != c.want {
			t.Errorf("%s: %s, %v, %v", c.ref, got, found, err)
		}
	}
	if _, found, err := r.Get(lookup.Ref{Kind: lookup.Secret, Namespace: w.ns, Name: "none"}); err != nil || found {
		t.Errorf("one that does not exist: %v, %v", found, err)
	}
	u := &unstructured.Unstructured{}
	u.SetAPIVersion("v1")
	u.SetKind("Secret")
	u.SetNamespace(w.ns)
	u.SetName("s")
	if err := w.Client.Delete(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if _, found, err := r.Get(secret); err != nil || !found {
		t.Errorf("what was read is read again: %v, %v", found, err)
	}
	if _, _, err := w.as("nobody").Reader(t.Context()).Get(config); err == nil || !strings.Contains(err.Error(), "forbidden") {
		t.Errorf("whoever may not read it gets %v", err)
	}
}

// Secrets that a label selects are read once for each question, and other objects
// as they are.
func TestWhatHasASayIsRead(t *testing.T) {
	w := newWorld(t)
	w.apply(`
apiVersion: v1
kind: Secret
metadata: {name: one, labels: {kind: repository}}
stringData: {password: hunter2}
---
apiVersion: v1
kind: Secret
metadata: {name: other}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
`)
	r := w.as("").Reader(t.Context())
	for range 2 {
		all, err := r.Secrets(t.Context(), w.ns, "kind in (repository)")
		if err != nil || len(all) != 1 || string(all[0].Data["password"]) != "hunter2" {
			t.Fatalf("%d Secrets: %v", len(all), err)
		}
		if err := w.Client.Delete(t.Context(), all[0].DeepCopy()); client.IgnoreNotFound(err) != nil {
			t.Fatal(err)
		}
	}
	maps := schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	if u, err := r.Object(t.Context(), maps, w.ns, "c"); err != nil || u.GetName() != "c" {
		t.Errorf("an object: %v, %v", u, err)
	}
	if u, err := r.Object(t.Context(), maps, w.ns, "none"); err != nil || u != nil {
		t.Errorf("one that there isn't: %v, %v", u, err)
	}
	nobody := w.as("nobody").Reader(t.Context())
	_, errSecrets := nobody.Secrets(t.Context(), w.ns, "kind in (repository)")
	_, errObject := nobody.Object(t.Context(), maps, w.ns, "c")
	for _, err := range []error{errSecrets, errObject} {
		if err == nil || !strings.Contains(err.Error(), "forbidden") {
			t.Errorf("whoever may not read it gets %v", err)
		}
	}
	_, errSecrets = inspect.Offline(t.Context()).Secrets(t.Context(), w.ns, "")
	_, errObject = inspect.Offline(t.Context()).Object(t.Context(), maps, w.ns, "c")
	for _, err := range []error{errSecrets, errObject} {
		if !errors.Is(err, view.ErrOffline) {
			t.Errorf("without a cluster: %v", err)
		}
	}
}
