package cli

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/inspect"
	"plumb.dev/plumb/object"
)

func TestWhatAPersonGoesBackTo(t *testing.T) {
	history := []view.Run{{ID: "3", Revision: "cccc33"}, {ID: "2", Revision: "2222bb"}, {ID: "1", Revision: "aaaa11"}}
	back := view.Kind{Rollback: func(*unstructured.Unstructured, string, string, bool) (map[string]any, error) { return nil, nil }}
	ref := object.Ref{Kind: "Application", Namespace: "argocd", Name: "web"}
	for name, c := range map[string]struct {
		f    inspect.Found
		args []string
		want string // an ID, or an error
	}{
		"the one before":       {inspect.Found{Kind: back, Item: view.Item{Ref: ref, History: history}}, nil, "2"},
		"an ID":                {inspect.Found{Kind: back, Item: view.Item{Ref: ref, History: history}}, []string{"1"}, "1"},
		"an ID before all":     {inspect.Found{Kind: back, Item: view.Item{Ref: ref, History: history}}, []string{"2"}, "2"},
		"a revision":           {inspect.Found{Kind: back, Item: view.Item{Ref: ref, History: history}}, []string{"aaaa"}, "1"},
		"too little of one":    {inspect.Found{Kind: back, Item: view.Item{Ref: ref, History: history}}, []string{"aaa"}, `!"aaa" is no ID and no revision in the history of Application/argocd/web; type: plumb history web -n argocd`},
		"nothing before":       {inspect.Found{Kind: back, Item: view.Item{Ref: ref, History: history[:1]}}, nil, "!has nothing before what it has applied last"},
		"one that is asleep":   {inspect.Found{Kind: back, Item: view.Item{Ref: ref, History: history, Suspended: true}}, nil, "!is suspended; type: plumb resume"},
		"a kind that does not": {inspect.Found{Item: view.Item{Ref: ref, History: history}}, nil, "!is where its source is; revert the commit there"},
	} {
		run, err := backTo(&c.f, c.args)
		if want, ok := strings.CutPrefix(c.want, "!"); ok {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", name, err, want)
			}
		} else if err != nil || run.ID != c.want {
			t.Errorf("%s: %s, %v, want %s", name, run.ID, err, c.want)
		}
	}
}
