package argocd

import (
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

const everything = `
apiVersion: argoproj.io/v1alpha1
kind: AppProject
metadata:
  name: shop
  namespace: argocd
spec:
  clusterResourceBlacklist:
  - {group: "", kind: Namespace, name: kube-*}
  clusterResourceWhitelist:
  - {group: "", kind: Namespace, name: shop-*}
  description: What the shop may do
  destinationServiceAccounts:
  - {defaultServiceAccount: deployer, namespace: shop-*, server: https://kubernetes.default.svc}
  destinations:
  - {name: in-cluster, namespace: shop-*, server: https://kubernetes.default.svc}
  namespaceResourceBlacklist:
  - {group: "", kind: ResourceQuota}
  namespaceResourceWhitelist:
  - {group: apps, kind: Deployment}
  orphanedResources:
    ignore:
    - {group: apps, kind: Deployment, name: a}
    warn: true
  permitOnlyProjectScopedClusters: true
  roles:
  - description: Reads
    groups: [readers]
    jwtTokens:
    - {exp: 2, iat: 1, id: x}
    name: read-only
    policies: ["p, proj:shop:read-only, applications, get, shop/*, allow"]
  signatureKeys:
  - {keyID: ABCDEF}
  sourceIntegrity:
    git:
      policies:
      - gpg: {keys: [D56C4FCA57A46444], mode: strict}
        repos:
        - {url: https://host/*}
  sourceNamespaces: [shop-apps]
  sourceRepos: ["*"]
  syncWindows:
  - andOperator: true
    applications: [web]
    clusters: [in-cluster]
    description: At night
    duration: 1h
    kind: allow
    manualSync: true
    namespaces: [shop-web]
    schedule: 0 2 * * *
    syncOverrun: true
    timeZone: Europe/Berlin
status:
  jwtTokensByRole:
    read-only:
      items:
      - {exp: 2, iat: 1, id: x}
`

func TestAnAppProjectIsWrittenAsItIsRead(t *testing.T) {
	var p AppProject
	if err := yaml.UnmarshalStrict([]byte(everything), &p); err != nil {
		t.Fatal(err)
	}
	empty(t, "AppProject", reflect.ValueOf(p))
	written, err := yaml.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var want, got map[string]any
	if err := yaml.Unmarshal([]byte(everything), &want); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(written, &got); err != nil {
		t.Fatal(err)
	}
	delete(got["metadata"].(map[string]any), "creationTimestamp")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-read +written:\n%s", diff)
	}
}

// empty reports fields that have no value, so that the text above has them all.
func empty(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			t.Errorf("%s is not set", path)
			return
		}
		empty(t, path, v.Elem())
	case reflect.Slice:
		if v.Len() == 0 {
			t.Errorf("%s is empty", path)
		}
		for i := range v.Len() {
			empty(t, path+"[]", v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if strings.HasPrefix(f.Type.PkgPath(), "k8s.io/") && f.Name != "GroupKind" {
				continue // metadata
			}
			empty(t, path+"."+f.Name, v.Field(i))
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			empty(t, path+"."+k.String(), v.MapIndex(k))
		}
	default:
		if v.IsZero() && !strings.HasSuffix(path, ".Group") {
			t.Errorf("%s is not set", path)
		}
	}
}

// That there is a list of kinds and nothing in it allows none, so it must not
// become no list.
func TestAnEmptyWhitelistIsOne(t *testing.T) {
	for spec, isOne := range map[string]bool{"{namespaceResourceWhitelist: []}": true, "{}": false} {
		var p AppProject
		if err := yaml.UnmarshalStrict([]byte("spec: "+spec), &p); err != nil || (p.Spec.NamespaceResourceWhitelist != nil) != isOne {
			t.Errorf("%s: %#v, %v", spec, p.Spec.NamespaceResourceWhitelist, err)
		}
	}
}
