package render_test

import (
	"slices"
	"strings"
	"testing"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/tree"
)

func TestB07ValuesStayScalars(t *testing.T) {
	const secret = "s3cr3t-canary"
	o := func(v string) options {
		return options{Path: "apps", Substitute: &render.Substitution{Strict: true, Vars: map[string]string{"v": v, "list": secret}}}
	}
	object := "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a}\nspec:\n  plain: ${v}\n  quoted: \"${v}\"\n  block: |\n    x ${v}\n  list:\n  - ${v}\n"
	for _, v := range []string{
		"a: " + secret, "{a: " + secret + "}", "x\revil: " + secret, "x\r---\revil: " + secret, "- " + secret, "[{a: " + secret + "}]", "[[" + secret + "]]",
		"\"" + secret, "'" + secret, "*" + secret, "&" + secret, "!!" + secret + " x: y", "? " + secret, "|\r   " + secret, "x\u2028evil: " + secret, "x\u0085evil: " + secret,
		"@" + secret, "`" + secret, "%" + secret, "\x00" + secret, "\x07" + secret, "}" + secret + ": {",
	} {
		for name, content := range map[string]string{
			"all": object, "plain": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  plain: ${v}\n  z: x\n",
			"key": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  ${v}: x\n", "name": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"${v}\"}\n",
			"list": "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a}\nspec: {list: [\"${v}\", x]}\n",
		} {
			r, err := objects(t.Context(), tree.FromFiles(files("apps/a.yaml", content)), o(v))
			if err != nil {
				if f := fault.Of(err); f.Next != fault.Stall {
					t.Errorf("%q in %s: %v", v, name, err)
				}
				if strings.Contains(err.Error(), "canary") {
					t.Errorf("%q in %s gives the value away: %v", v, name, err)
				}
				continue
			}
			set, _ := r.Objects()
			if len(set) != 1 {
				t.Errorf("%q in %s made %d objects", v, name, len(set))
			}
			if _, evil := set[0].Object["evil"]; evil || nested(set[0].Object, "evil") {
				t.Errorf("%q in %s added a key: %v", v, name, set[0].Object)
			}
			if nested(set[0].Object, "a") {
				t.Errorf("%q in %s added a key: %v", v, name, set[0].Object)
			}
		}
	}
}

func TestB07SubstitutionBombsAreRefused(t *testing.T) {
	o := options{Path: "apps", Substitute: &render.Substitution{Vars: map[string]string{"v": strings.Repeat("x", 1000)}}}
	thing := func(text string) map[string]string {
		return files("apps/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  k: \""+text+"\"\n")
	}
	refused(t, thing(strings.Repeat("${v}", 200_000)), o, "ManifestTooLarge")
	refused(t, thing(strings.Repeat("${v}", 90_000)), o, "ManifestTooLarge")
	refused(t, thing(strings.Repeat("$$", 45_000)+"${v}"+strings.Repeat("y", 1<<20)), o, "ManifestTooLarge")
	refused(t, thing(strings.Repeat("${a:=", 150_000)), o, "ManifestTooLarge")
}

func nested(v any, key string) bool {
	switch x := v.(type) {
	case map[string]any:
		for k, v := range x {
			if k == key || nested(v, key) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(x, func(v any) bool { return nested(v, key) })
	}
	return false
}
