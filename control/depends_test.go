package control

import (
	"strings"
	"testing"

	"plumb.dev/plumb/fault"
)

func TestDependenciesAreRead(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "",
		" , ":                               "",
		"Application/argocd/db":             "Application/argocd/db",
		"Kustomization/db , Application/db": "Kustomization/shop/db Application/shop/db",
		"db":                                "Application/shop/db",
		"infra/db.main":                     "Application/infra/db.main",
		"db,db,Application/shop/db":         "Application/shop/db",
		"application/argocd/db":             `!"application" is no kind`,
		"Application/a/b/c":                 "!too many parts",
		"Application/a/":                    "!is no name of a unit",
		"a b":                               "!is no name of a unit",
		"Äpplication/a/b":                   "!is no name of a unit",
		"//":                                "!is no kind",
	} {
		all, err := Dependencies(text, "Application", "shop")
		if wrong, ok := strings.CutPrefix(want, "!"); ok {
			if f := fault.Of(err); f.Next != fault.Stall || f.Reason != fault.InvalidSpec || !strings.Contains(err.Error(), wrong) {
				t.Errorf("%q: %v, want %q", text, err, wrong)
			}
			continue
		}
		var got []string
		for _, d := range all {
			got = append(got, d.Unit)
			if d.As != d.Unit || !d.Newest {
				t.Errorf("%q: %+v", text, d)
			}
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
	var many []string
	for i := range 101 {
		many = append(many, "x"+strings.Repeat("y", i))
	}
	if _, err := Dependencies(strings.Join(many, ","), "K", "n"); err == nil || !strings.Contains(err.Error(), "more than 100") {
		t.Errorf("too many: %v", err)
	}
}
