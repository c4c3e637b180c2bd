package argocd

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
)

// app returns an Application of that YAML, which is called web.
func app(t *testing.T, parts string) *unstructured.Unstructured {
	t.Helper()
	text, err := yaml.YAMLToJSON([]byte(parts))
	if err != nil {
		t.Fatal(err)
	}
	u := example()
	var more map[string]any
	if err := utiljson.Unmarshal(text, &more); err != nil { // whole numbers as the API server's
		t.Fatal(err)
	}
	for k, v := range more {
		u.Object[k] = v
	}
	u.SetGroupVersionKind(api.ApplicationKind)
	if u.GetName() == "" {
		u.SetName("web")
		u.SetNamespace("argocd")
		u.SetUID("1")
	}
	return u
}

const (
	from   = "{repoURL: 'https://git.example.com/shop.git', path: web}"
	others = "project: default, destination: {name: in-cluster, namespace: shop}"
)

func spec(more string) string { return "spec: {source: " + from + ", " + others + more + "}" }

var dialect = &Options{Namespace: "argocd", OwnNamespace: "plumb-system"}

// What can't be honoured is named, and says which condition it is.
func TestWhatIsWrongWithASpecIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		parts, want string
		reason      fault.Reason
	}{
		"all is well":                  {spec(""), "", ""},
		"a field that there isn't":     {spec(", syncPolicy: {automatd: {}}"), `spec.syncPolicy: strict decoding error: unknown field "spec.syncPolicy.automatd"`, fault.InvalidSpec},
		"deep in a source":             {"spec: {sources: [{repoURL: x, path: p, kustomize: {imagez: []}}], " + others + "}", `unknown field "spec.sources[0].kustomize.imagez"`, fault.InvalidSpec},
		"in an operation":              {spec("") + "\noperation: {sync: {prun: true}}", `operation.sync: strict decoding error: unknown field "operation.sync.prun"`, fault.InvalidSpec},
		"a value of another type":      {spec(", revisionHistoryLimit: many"), "spec.revisionHistoryLimit", fault.InvalidSpec},
		"no source":                    {"spec: {" + others + "}", "spec.source: there is none", fault.InvalidSpec},
		"a source without a place":     {"spec: {source: {path: x}, " + others + "}", "spec.source: it has no repoURL", fault.InvalidSpec},
		"a source of nothing":          {"spec: {source: {repoURL: x}, " + others + "}", "spec.source: it has no path, no chart and no ref", fault.InvalidSpec},
		"one of several":               {"spec: {sources: [" + from + ", {repoURL: x}], " + others + "}", "spec.sources[1]: it has no path", fault.InvalidSpec},
		"files for others":             {"spec: {sources: [" + from + ", {repoURL: x, ref: values}], " + others + "}", "", ""},
		"a number for text":            {"spec: {source: {repoURL: x, path: p, helm: {parameters: [{name: a, value: 1}]}}, " + others + "}", "spec.source.helm.parameters.0.value is a number, not text", fault.InvalidSpec},
		"a chart and a path":           {"spec: {source: {repoURL: x, chart: c, path: p}, " + others + "}", "spec.source: it has both chart and path", fault.InvalidSpec},
		"helm and kustomize":           {"spec: {source: {repoURL: x, path: p, helm: {values: z}, kustomize: {}}, " + others + "}", "it has helm and something else", fault.InvalidSpec},
		"a ref that is none":           {"spec: {sources: [{repoURL: x, ref: a/b}], " + others + "}", `the ref "a/b" is made of other characters`, fault.InvalidSpec},
		"a plugin":                     {"spec: {source: {repoURL: x, path: p, plugin: {name: z}}, " + others + "}", "plugin: plumb runs no programs of others", fault.UnsupportedField},
		"a hydrator":                   {"spec: {sourceHydrator: {drySource: {repoURL: x, targetRevision: r, path: z}, syncSource: {targetBranch: b, path: c}}, " + others + "}", "spec.sourceHydrator", fault.UnsupportedField},
		"overrides of a kustomization": {"spec: {source: {repoURL: x, path: p, kustomize: {}}, " + others + "}", "", ""},
		"a choice of files":            {"spec: {source: {repoURL: x, path: p, directory: {recurse: true}}, " + others + "}", "", ""},
		"both of them":                 {"spec: {source: {repoURL: x, path: p, directory: {}, kustomize: {}}, " + others + "}", "spec.source: it has both", fault.InvalidSpec},
		"no such project":              {"spec: {source: {repoURL: x, path: p}, project: shop, destination: {name: in-cluster}}", "Application referencing project shop which does not exist", fault.InvalidSpec},
		"tags with a prefix":           {"spec: {source: {repoURL: x, path: p, tagPrefix: z}, " + others + "}", "tagPrefix", fault.UnsupportedField},
		"fields that may differ":       {spec(", ignoreDifferences: [{kind: X, jsonPointers: [/a]}]"), "", ""},
		"a field that is none":         {spec(", ignoreDifferences: [{kind: X, jsonPointers: [a]}]"), "spec.ignoreDifferences[0]", fault.InvalidSpec},
		"an expression that is none":   {spec(", ignoreDifferences: [{kind: X, jqPathExpressions: ['.a[']}]"), "spec.ignoreDifferences[0]", fault.InvalidSpec},
		"an option that there isn't":   {spec(", syncPolicy: {syncOptions: [Prun=false]}"), `spec.syncPolicy.syncOptions: "Prun=false" is no sync option, the nearest is Prune; those that there are: ApplyOutOfSyncOnly, `, fault.InvalidSpec},
		"a value that there isn't":     {spec(", syncPolicy: {syncOptions: [Prune=no]}"), `Prune may be confirm or false or true, and not "no"`, fault.InvalidSpec},
		"metadata of no namespace":     {spec(", syncPolicy: {managedNamespaceMetadata: {labels: {a: b}}}"), "", ""},
		"options that change nothing":  {spec(", syncPolicy: {syncOptions: [Validate=false, ApplyOutOfSyncOnly=true, ' ServerSideApply=true', PruneLast=true]}"), "", ""},
		"a pause that is none":         {spec(", syncPolicy: {retry: {backoff: {duration: soon}}}"), `spec.syncPolicy.retry.backoff.duration: "soon" is no duration`, fault.InvalidSpec},
		"a factor that shrinks":        {spec(", syncPolicy: {retry: {backoff: {factor: 0}}}"), "backoff.factor: 0 is less than 1", fault.InvalidSpec},
		"two destinations":             {"spec: {source: " + from + ", project: default, destination: {name: in-cluster, server: 'https://x'}}", "spec.destination: application destination can't have both name and server defined: in-cluster https://x", fault.InvalidSpec},
		"no destination":               {"spec: {source: " + from + ", project: default, destination: {namespace: x}}", "spec.destination: Destination server missing from app spec", fault.InvalidSpec},
		"a cluster that nobody knows":  {"spec: {source: " + from + ", project: default, destination: {name: moon}}", "there are no clusters with this name: moon", fault.InvalidSpec},
	} {
		t.Run(name, func(t *testing.T) {
			u, wants := dialect.toUnit(read(app(t, c.parts)), plain)
			switch f := fault.Of(u.Refused); {
			case c.want == "" && u.Refused != nil:
				t.Errorf("it is refused: %v", u.Refused)
			case c.want == "" && len(wants) == 0:
				t.Error("it wants nothing")
			case c.want == "":
			case u.Refused == nil:
				t.Fatal("it is taken")
			case !strings.Contains(u.Refused.Error(), c.want) || f.Reason != c.reason || f.Next == fault.Retry:
				t.Errorf("it says %v (%s, %s), want %q (%s)", u.Refused, f.Reason, f.Next, c.want, c.reason)
			case len(wants) > 0 || len(u.Renders) > 0:
				t.Errorf("it wants %v all the same", wants)
			}
		})
	}
}

func TestPermissionFollowsTheSyncPolicy(t *testing.T) {
	for policy, want := range map[string]apply.Permission{
		"":                              apply.LookOnly,
		"{}":                            apply.LookOnly,
		"{automated: {}}":               apply.LookOnly,
		"{automated: {selfHeal: true}}": apply.CorrectDrift,
		"{automated: {selfHeal: true, enabled: true}}":  apply.CorrectDrift,
		"{automated: {selfHeal: true, enabled: false}}": apply.LookOnly,
	} {
		more := ""
		if policy != "" {
			more = ", syncPolicy: " + policy
		}
		u, _ := dialect.toUnit(read(app(t, spec(more))), plain)
		if u.Permission != want || u.Refused != nil {
			t.Errorf("%s: it may do %s, want %s: %v", policy, u.Permission, want, u.Refused)
		}
	}
	u, _ := dialect.toUnit(read(app(t, spec(", syncPolicy: {automated: {allowEmpty: true}}"))), plain)
	if !u.Prune.AllowEmpty || u.Prune.Enabled {
		t.Errorf("it prunes %+v", u.Prune)
	}
}

// A status, or what others write to the metadata, is no other spec.
func TestTheDigestIsThatOfTheSpec(t *testing.T) {
	a := read(app(t, spec("")))
	b := read(app(t, spec("")+"\nstatus: {sync: {status: Synced}}\nmetadata: {name: web, namespace: argocd, uid: '1', generation: 7, annotations: {a: b}}"))
	if a.digest() != b.digest() {
		t.Error("a status makes it another")
	}
	for name, parts := range map[string]string{
		"another spec":   spec(", revisionHistoryLimit: 3"),
		"another object": spec("") + "\nmetadata: {name: web, namespace: argocd, uid: '2'}",
		"unreadable":     spec(", x: y"),
	} {
		if c := read(app(t, parts)); c.digest() == a.digest() {
			t.Errorf("%s is the same", name)
		}
	}
}

// What a status says that this version does not know is no error, and what it
// can't mean is told.
func TestAStatusIsReadLeniently(t *testing.T) {
	a := read(app(t, spec("")+"\nstatus: {fromTheFuture: 1, sync: {status: Synced, more: 2}, resources: [{kind: ConfigMap, name: c, version: v1, health: {status: Healthy}, x: y}]}"))
	if a.unreadable != nil || a.Status.Sync.Status != api.Synced || len(inventoryOf(&a.Status)) != 1 {
		t.Errorf("%v: %+v", a.unreadable, a.Status)
	}
	a = read(app(t, spec("")+"\nstatus: {resources: 7}"))
	if u, _ := dialect.toUnit(a, plain); a.statusErr == nil || !fault.Is(u.Refused, fault.InvalidInventory) {
		t.Errorf("%v, refused: %v", a.statusErr, u.Refused)
	}
}

// What is missing was never applied, or is gone; while an operation runs it may
// just have been applied.
func TestTheInventoryIsInTheResources(t *testing.T) {
	resources := `resources: [
		{kind: ConfigMap, namespace: shop, name: there, version: v1, status: Synced},
		{kind: ConfigMap, namespace: shop, name: missing, version: v1, status: OutOfSync, health: {status: Missing}},
		{group: batch, kind: Job, namespace: shop, name: hook, version: v1, hook: true},
		{kind: ConfigMap, namespace: shop, name: surplus, version: v1, status: OutOfSync, requiresPruning: true}]`
	for more, want := range map[string]string{
		"": "surplus there",
		", operationState: {phase: Running, startedAt: '2026-01-01T00:00:00Z', operation: {sync: {}}}":   "missing surplus there",
		", operationState: {phase: Succeeded, startedAt: '2026-01-01T00:00:00Z', operation: {sync: {}}}": "surplus there",
	} {
		a := read(app(t, spec("")+"\nstatus: {"+resources+more+"}"))
		var names []string
		for _, e := range inventoryOf(&a.Status) {
			names = append(names, e.Ref.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: %s, want %s", more, got, want)
		}
	}
}

func TestNamespacesThatAreServed(t *testing.T) {
	o := &Options{Namespace: "argocd", Namespaces: []string{"team-*", "ops"}}
	for ns, want := range map[string]bool{"argocd": true, "team-a": true, "ops": true, "team": false, "kube-system": false, "": false} {
		if o.serves(ns, nil) != want {
			t.Errorf("%q: %v", ns, !want)
		}
	}
}

func TestNamesOfUnits(t *testing.T) {
	a := read(app(t, spec("")))
	if key, ok := keyOf(unitName(a.key())); !ok || key != a.key() {
		t.Errorf("%v, %v", key, ok)
	}
	for _, name := range []string{"", "Application", "Application/x", "Kustomization/x/y", sourceName + "/x/y"} {
		if key, ok := keyOf(name); ok {
			t.Errorf("%q is %v", name, key)
		}
	}
}

// An operation that goes to newer revisions when it is tried again goes to those
// of the sources that it was tried with, also where the spec names others by now.
func TestAnOperationKeepsToItsSources(t *testing.T) {
	o := &Options{Namespace: "argocd"}
	own := api.Source{RepoURL: "https://example.com/shop.git", Path: "old"}
	for name, c := range map[string]struct {
		by      string
		refresh bool
		retries int64
		source  *api.Source // of the operation
		want    string      // path and target, or nothing: those of the spec
	}{
		"the first time":               {"somebody", true, 0, &own, "old@abc"},
		"tried again":                  {"somebody", true, 1, &own, "old@"},
		"that names no source":         {"somebody", true, 1, nil, "old@"},
		"that does not refresh":        {"somebody", false, 1, &own, "old@abc"},
		"by itself":                    {"", true, 1, nil, "old@"},
		"by itself, the first time":    {"", true, 0, nil, ""},
		"by itself, and not refreshed": {"", false, 1, nil, ""},
	} {
		a := decode(app(t, "spec: {source: {repoURL: 'https://example.com/shop.git', path: new}, "+others+"}"))
		s := &api.OperationState{
			Operation: api.Operation{
				InitiatedBy: api.Initiator{Username: c.by, Automated: c.by == ""}, Retry: api.Retry{Limit: -1, Refresh: c.refresh},
				Sync: &api.SyncOperation{Revision: "abc", Source: c.source},
			},
			RetryCount: c.retries, SyncResult: &api.SyncResult{Revision: "abc", Source: &own},
		}
		op, wants, err := o.operation(a, plain, s)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got := ""
		for i, r := range op.Renders {
			got += r.Path + "@" + wants[i].target
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
