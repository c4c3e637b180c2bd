package lua

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/watch/health"
)

// The keys of argocd-cm that have rules: one for each kind, as group_Kind, or all
// of them as YAML, where the names may have wildcards, as group/Kind.
const (
	keyHealth   = "resource.customizations.health."
	keyOpenLibs = "resource.customizations.useOpenLibs."
	keyAll      = "resource.customizations"
)

// Rules are the rules of a ConfigMap.
type Rules struct {
	runner *Runner
	exact  map[string]entry // by group/Kind; of the core group by Kind
	wild   []entry          // sorted by name
}

type entry struct {
	name string // group/Kind
	rule
	wrong string // why it can't be run
}

// Rules reads the rules from the data of a ConfigMap of that name. What is wrong
// with one of them is said where it is to judge; an error means that it can't be
// told which there are.
func (r *Runner) Rules(configMap string, data map[string]string) (*Rules, error) {
	rs := &Rules{runner: r, exact: map[string]entry{}}
	if err := rs.readAll(configMap, data[keyAll]); err != nil {
		return nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		kind, ok := strings.CutPrefix(key, keyHealth)
		if !ok || strings.TrimSpace(data[key]) == "" {
			continue
		}
		name := strings.Replace(kind, "_", "/", 1)
		e := entry{name: name, rule: rule{from: configMap + ", " + key, script: data[key]}}
		if data[keyOpenLibs+kind] == "true" {
			e.wrong = fmt.Sprintf("%s%s: %s", keyOpenLibs, kind, noLibs)
		}
		rs.add(e)
	}
	return rs, nil
}

// readAll reads the rules of the key that has all of them.
func (rs *Rules) readAll(configMap, text string) error {
	var all map[string]struct {
		Health   string `json:"health.lua"`
		OpenLibs bool   `json:"health.lua.useOpenLibs"`
	}
	if err := yaml.Unmarshal([]byte(text), &all); err != nil {
		return &fault.Error{
			Next: fault.Wait, Reason: fault.HealthRuleFailed, Err: fmt.Errorf("%s, %s: %w", configMap, keyAll, err),
			Hint: "it has to be YAML: group/Kind and what is customized of it",
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		c := all[name]
		if strings.TrimSpace(c.Health) == "" {
			continue
		}
		e := entry{name: name, rule: rule{from: fmt.Sprintf("%s, %s, %q", configMap, keyAll, name), script: c.Health}}
		if c.OpenLibs {
			e.wrong = noLibs
		}
		rs.add(e)
	}
	return nil
}

func (rs *Rules) add(e entry) {
	if strings.ContainsAny(e.name, "*?[") {
		if _, err := path.Match(e.name, ""); err != nil {
			e.wrong = "its name is no pattern"
		}
		rs.wild = append(rs.wild, e)
		return
	}
	rs.exact[e.name] = e
}

const noLibs = "useOpenLibs is not supported: a rule is given no library but that of tables"

// For implements [health.Judges].
func (rs *Rules) For(gk schema.GroupKind) health.Judge {
	name := strings.TrimPrefix(gk.Group+"/"+gk.Kind, "/")
	if e, ok := rs.exact[name]; ok {
		return rs.judge(e)
	}
	for _, e := range rs.wild {
		if matches(e.name, name) {
			return rs.judge(e)
		}
	}
	return nil
}

func (rs *Rules) judge(e entry) health.Judge {
	if e.wrong != "" {
		return refused{e.rule, e.wrong}
	}
	return judge{rs.runner, e.rule}
}

// matches reports whether a name is one of a pattern, in which * stands for any
// text, also for one with a slash.
func matches(pattern, name string) bool {
	ok, err := path.Match(strings.ReplaceAll(pattern, "/", "\x00"), strings.ReplaceAll(name, "/", "\x00"))
	return ok && err == nil
}

// refused judges nothing, and says why.
type refused struct {
	rule
	why string
}

// Of implements [health.Judge].
func (r refused) Of(u *unstructured.Unstructured) health.Result {
	if u.GetDeletionTimestamp() != nil {
		return health.Result{Status: health.Terminating, Message: "being deleted"}
	}
	return r.Ended(u)
}

// Ended implements [health.Ender].
func (r refused) Ended(*unstructured.Unstructured) health.Result {
	return unjudged(r.wrong("%s", r.why))
}
