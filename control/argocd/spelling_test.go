package argocd

import (
	"maps"
	"strings"
	"testing"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/engine"
)

func TestTheNearestWord(t *testing.T) {
	for word, want := range map[string]string{
		"Prun": "Prune", "prune": "Prune", "PruneLst": "PruneLast", "Delte": "Delete", "deleteme": "Delete", "Foo": "", "": "",
		"SkipDryRunOnMissingResources": "SkipDryRunOnMissingResource",
	} {
		if got := nearest(word, maps.Keys(known)); got != want {
			t.Errorf("the nearest to %q is %q, want %q", word, got, want)
		}
	}
	if got := nearest("PreDelte", maps.Keys(phaseOf)); got != "PreDelete" {
		t.Errorf("the nearest hook is %q", got)
	}
}

// What an object says that means nothing is told, and keeps it where that may have
// been meant.
func TestMisspeltAnnotations(t *testing.T) {
	for name, c := range map[string]struct {
		annotations map[string]string
		doubts      []string
		prune, goes apply.Consent
	}{
		"all is right":      {map[string]string{syncOptions: "Prune=false, Delete=true,,Validate=false", syncWave: "-1"}, nil, apply.Never, apply.Free},
		"an option":         {map[string]string{syncOptions: "Prun=false"}, []string{`"Prun=false" is no sync option, the nearest is Prune`}, apply.Never, apply.Free},
		"in the wrong case": {map[string]string{syncOptions: "delete=false"}, []string{`"delete=false" is no sync option, the nearest is Delete`}, apply.Free, apply.Never},
		"its value":         {map[string]string{syncOptions: "Delete=flase"}, []string{`Delete may be confirm or false or true, and not "flase"`}, apply.Free, apply.Never},
		"one of two":        {map[string]string{syncOptions: "Delete=confirm,Delete=no"}, []string{`and not "no"`}, apply.Free, apply.Never},
		"harmless":          {map[string]string{syncOptions: "PruneLst=true,Hurry=true"}, []string{"nearest is PruneLast", `"Hurry=true" is no sync option; those`}, apply.Free, apply.Free},
		"a delete policy":   {map[string]string{hookKey: "Sync", hookDelete: "HookSucceded"}, []string{`"HookSucceded" is no delete policy, the nearest is HookSucceeded`}, apply.Free, apply.Free},
		"a wave":            {map[string]string{syncWave: "first"}, []string{`"first" is no whole number`}, apply.Free, apply.Free},
	} {
		t.Run(name, func(t *testing.T) {
			p := (objects{}).Policy(engine.Unit{}, objectWith(nil, c.annotations))
			if p.Prune != c.prune || p.Removal != c.goes {
				t.Errorf("it is pruned %v and deleted %v", p.Prune, p.Removal)
			}
			if (p.Doubt != "") != (len(c.doubts) > 0) {
				t.Errorf("the doubts are %q", p.Doubt)
			}
			for _, want := range c.doubts {
				if !strings.Contains(p.Doubt, want) {
					t.Errorf("%q does not say %q", p.Doubt, want)
				}
			}
		})
	}
	if _, why := hookOf("PreDelte", ""); !strings.Contains(why, "the nearest is PreDelete") {
		t.Error(why)
	}
}
