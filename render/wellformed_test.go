package render_test

import (
	"fmt"
	"strings"
	"testing"

	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/kustomize"
)

func TestMetadataThatTheAPIServerWouldNotDecodeIsRefused(t *testing.T) {
	for metadata, want := range map[string]string{
		"labels: {app: web, version: 5}": "ConfigMap/a: apps/a.yaml:3: metadata.labels.version is a number, not text (quote it)",
		"labels: {monitored: true}":      "metadata.labels.monitored is a boolean, not text (quote it)",
		"labels: {a: {b: c}}":            "metadata.labels.a is a map, not text",
		"labels: [a]":                    "metadata.labels is a list, not a map",
		"labels: text":                   "metadata.labels is text, not a map",
		"annotations: {l: [a]}":          "metadata.annotations.l is a list, not text",
		"namespace: 5":                   "metadata.namespace is a number, not text (quote it)",
		"finalizers: a":                  "metadata.finalizers is text, not a list",
		"finalizers: [1]":                "metadata.finalizers.0 is a number, not text (quote it)",
		"ownerReferences: [a]":           "metadata.ownerReferences.0 is text, not a map",
		"ownerReferences: [{name: 5}]":   "metadata.ownerReferences.0.name is a number, not text (quote it)",
		"ownerReferences: [{name: x, controller: 'true'}]": "metadata.ownerReferences.0.controller is text, not a boolean",
		"resourceVersion: 5": "metadata.resourceVersion is a number, not text (quote it)",
		"generation: x":      "metadata.generation is text, not a number",
	} {
		inner := strings.TrimSpace(metadata)
		refused(t, files("apps/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, "+inner+"}\n"), options{Path: "apps", Labels: map[string]string{"x": "y"}},
			"BuildFailed", "ConfigMap/", want)
	}
	refused(t, files("apps/a.yaml", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata:\n    name: web\n    labels:\n      monitored: true\n"),
		options{Path: "apps"}, "BuildFailed", "Service/web: apps/a.yaml:9: metadata.labels.monitored is a boolean")
	// A number among annotations is text to Kustomize.
	set, err := mustRender(t, files("apps/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, annotations: {port: 9100}}\n"), options{Path: "apps"}).Objects()
	if err != nil || set[0].GetAnnotations()["port"] != "9100" {
		t.Errorf("%v, %v", set, err)
	}
	refused(t, files("apps/kustomization.yaml", "resources: [a.yaml]\npatches: [{patch: '{apiVersion: v1, kind: ConfigMap, metadata: {name: a, annotations: {l: {x: y}}}}'}]", "apps/a.yaml", configMap("a", "x")),
		options{Path: "apps"}, "BuildFailed", "ConfigMap/a", "metadata.annotations.l is a map, not text")
	// Also where it is exempt from substitution, and where a patch brings it.
	refused(t, files("apps/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels: {x/substitute: disabled, version: 5}\ndata: {run: \"echo ${region}\"}\n"),
		options{Path: "apps", Substitute: &render.Substitution{Strict: true, Always: true, DisabledKey: "x/substitute"}}, "BuildFailed", "metadata.labels.version is a number")
	refused(t, files("apps/a.yaml", configMap("a", "x")), options{Path: "apps", Patches: []kustomize.Patch{{Patch: `[{"op": "add", "path": "/metadata/labels", "value": {"a": 5}}]`, Target: &kustomize.Selector{Kind: "ConfigMap"}}}},
		"BuildFailed", "ConfigMap/a", "metadata.labels.a is a number")
}

func TestDataThatTheAPIServerWouldNotDecodeIsRefusedByItsKey(t *testing.T) {
	const canary = "s3cr3t-canary"
	for content, want := range map[string]string{
		"kind: Secret\nmetadata: {name: a}\nstringData:\n  user: shop\n  port: 5432\n": "Secret/a: apps/a.yaml:6: stringData.port is a number, not text (quote it)",
		"kind: Secret\nmetadata: {name: a}\nstringData: {on: true}\n":                  "stringData.on is a boolean, not text (quote it)",
		"kind: Secret\nmetadata: {name: a}\nstringData: " + canary + "\n":              "stringData is text, not a map",
		"kind: Secret\nmetadata: {name: a}\ndata:\n  user: " + canary + "!\n":          "Secret/a: apps/a.yaml:5: data.user is not base64 (encode it, or put the text into stringData)",
		"kind: Secret\nmetadata: {name: a}\ndata: {n: 5}\n":                            "data.n is a number, not base64",
		"kind: Secret\nmetadata: {name: a}\ndata: {url: \"YWI_YQ==\"}\n":               "data.url is not base64",
		"kind: Secret\nmetadata: {name: a}\ndata: {short: YQ}\n":                       "data.short is not base64",
		"kind: Secret\nmetadata: {name: a}\ndata: {l: [" + canary + "]}\n":             "data.l is a list, not base64",
		"kind: Secret\nmetadata: {name: a}\ntype: 5\n":                                 "type is a number, not text",
		"kind: ConfigMap\nmetadata: {name: a}\ndata: {port: 5432}\n":                   "data.port is a number, not text (quote it)",
		"kind: ConfigMap\nmetadata: {name: a}\ndata: {nested: {a: b}}\n":               "data.nested is a map, not text",
		"kind: ConfigMap\nmetadata: {name: a}\nbinaryData: {b: \"" + canary + "\"}\n":  "binaryData.b is not base64 (encode it, or put the text into data)",
		"kind: ConfigMap\nmetadata: {name: a}\nimmutable: \"true\"\n":                  "immutable is text, not a boolean",
	} {
		err := refused(t, files("apps/a.yaml", "apiVersion: v1\n"+content), options{Path: "apps"}, "BuildFailed", want)
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%v gives a value away", err)
		}
	}
	// A key that is the value of a variable.
	err := refused(t, files("apps/a.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {\"${v}\": 5}\n"),
		options{Path: "apps", Substitute: &render.Substitution{Secret: []string{"v"}, Vars: map[string]string{"v": canary}}}, "BuildFailed", "Secret/a", "stringData.*** is a number")
	if err != nil && strings.Contains(err.Error(), "canary") {
		t.Errorf("%v gives a value away", err)
	}
}

// What the API server decodes is let through, and is what it decodes it to.
func TestDataThatTheAPIServerDecodesIsNotRefused(t *testing.T) {
	set, err := mustRender(t, files("apps/a.yaml", `
apiVersion: v1
kind: Secret
metadata: {name: a, labels: {none: }, annotations: }
data: {user: "c2hv\ncA==\r\n", none: , empty: ""}
stringData: {none: , a: b}
immutable: false
---
apiVersion: v1
kind: ConfigMap
metadata: {name: a, labels: , finalizers: , ownerReferences: [], creationTimestamp: null}
data: {none: , a: ""}
binaryData:
---
apiVersion: example.com/v1
kind: Secret
metadata: {name: other}
data: {n: 5}
stringData: 5
`), options{Path: "apps"}).Objects()
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(set[0].GetLabels(), set[0].Object["stringData"], set[1].Object["data"]); got != "map[none:] map[a:b none:] map[a: none:]" {
		t.Error(got)
	}
}

const sops = "sops:\n  age: [{recipient: age1xxxx, enc: x}]\n  lastmodified: \"2024-01-01T00:00:00Z\"\n  mac: ENC[AES256_GCM,data:BBBB,iv:BBBB,tag:BBBB,type:str]\n  version: 3.9.0\n"

func TestWhatSOPSHasEncryptedIsRecognised(t *testing.T) {
	value := "ENC[AES256_GCM,data:AAAA,iv:AAAA,tag:AAAA,type:str]"
	secret := "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: ns}\nstringData:\n  pw: " + value + "\n"
	refused(t, files("apps/s.yaml", secret+sops), options{Path: "apps"}, "DecryptionUnsupported", "Secret/ns/s: apps/s.yaml:1: is encrypted by SOPS, and this version of plumb does not decrypt")
	refused(t, files("apps/s.yaml", strings.Replace(secret, "stringData", "data", 1)+sops), options{Path: "apps"}, "DecryptionUnsupported", "Secret/ns/s")
	refused(t, files("apps/s.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {replicas: \""+value+"\"}\n"+sops), options{Path: "apps"}, "DecryptionUnsupported", "Deployment/d")
	refused(t, files("apps/s.yaml", secret, "apps/kustomization.yaml", "resources: [s.yaml]\npatches: [{path: p.yaml}]\n", "apps/p.yaml", secret+sops), options{Path: "apps"}, "DecryptionUnsupported", "Secret/ns/s")
	json := `{"data": "` + value + `", "sops": {"mac": "` + value + `", "lastmodified": "2024-01-01T00:00:00Z"}}`
	for _, content := range map[string]string{
		"dotenv": "user=" + value + "\nsops_lastmodified=2024-01-01T00:00:00Z\nsops_mac=" + value + "\nsops_version=3.9.0\n",
		"ini":    "[db]\nuser = " + value + "\n\n[sops]\nlastmodified = 2024-01-01T00:00:00Z\nmac = " + value + "\n",
		"json":   json, "binary": strings.ReplaceAll(json, ", ", ",\n\t"), "yaml": "user: " + value + "\n" + sops,
	} {
		for _, generator := range []string{
			"secretGenerator: [{name: g, files: [k=f]}]\n", "secretGenerator: [{name: g, envs: [f]}]\n",
			"generators: ['{apiVersion: builtin, kind: SecretGenerator, metadata: {name: g}, files: [f]}']\n",
		} {
			refused(t, files("apps/kustomization.yaml", generator, "apps/f", content), options{Path: "apps"}, "DecryptionUnsupported", `"f" is encrypted by SOPS`)
		}
		// To whom a ConfigMap hands it is not for plumb to say.
		mustRender(t, files("apps/kustomization.yaml", "configMapGenerator: [{name: g, files: [f]}]\n", "apps/f", content), options{Path: "apps"})
	}
	// What only speaks of it is not encrypted; nor is what is decrypted in the cluster.
	for what, m := range map[string]map[string]string{
		"a text":     files("apps/kustomization.yaml", "secretGenerator: [{name: g, files: [f]}]\n", "apps/f", "put sops_mac="+value+" into [sops]\n"),
		"a field":    files("apps/a.yaml", "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a}\nsops: {enabled: true}\n"),
		"a config":   files("apps/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {sops: \""+value+"\"}\n"),
		"SopsSecret": files("apps/a.yaml", "apiVersion: isindir.github.com/v1alpha3\nkind: SopsSecret\nmetadata: {name: a}\nspec: {x: \""+value+"\"}\n"+sops),
	} {
		if r := mustRender(t, m, options{Path: "apps"}); len(r.Items) != 1 {
			t.Errorf("%s: %d objects", what, len(r.Items))
		}
	}
}
