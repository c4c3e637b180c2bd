package render

import (
	"testing"

	"github.com/fluxcd/pkg/envsubst"
	"github.com/fluxcd/pkg/envsubst/parse"
)

// An expression gives the text that the library gives: what is evaluated here
// is which parts of it are values.
func TestExpressionsMeanWhatTheLibrarySays(t *testing.T) {
	vars := map[string]string{"v": "Hello World", "p": "a/b/c.tar.gz", "e": "", "n": "3", "s": "$ \\ } { ${x} /"}
	for _, expression := range []string{
		"", "x", "$", "$$", "$${v}", "${v}", "a${v}b${n}", "${v:-d}", "${e:-d}", "${e:=d e}", "${none:=${v}}", "${none:=a ${v} b ${n}}", "${e-d}", "${e=d}", "${v:+x}", "${e:?no}", "${v,,}", "${v,}", "${v^^}", "${e^}",
		"${#v}", "${#e}", "${v:2}", "${v:2:3}", "${v:-3}", "${v: -3}", "${v:1:-1}", "${v:${n}}", "${v:0:${n}}", "${v/o/0}", "${v//o/0}", "${v/o}", "${v//o/}", "${v/#Hello/Bye}", "${v/%World/Moon}", "${v//o/${n}}",
		"${p#*/}", "${p##*/}", "${p%.*}", "${p%%.*}", "${p%${none}}", "${s}", "${s//\\//-}", "${s/$/x}", "${none:=a\\}b}", "${v:=\"x\"}", "${none:=\"x\"}", "${v", "${}", "${v:}", "${v.x}", "${ v}", "${v//}",
	} {
		for _, strict := range []bool{true, false} {
			want, wantErr := envsubst.Eval(expression, func(name string) (string, bool) { v, ok := vars[name]; return v, ok || !strict })
			got, gotErr := "", error(nil)
			if tree, err := parse.Parse(expression); err != nil {
				gotErr = err
			} else {
				x := expander{vars: vars, strict: strict, limits: defaultLimits}
				pieces, err := x.eval(tree.Root)
				got, gotErr = whole(pieces), err
			}
			if (wantErr == nil) != (gotErr == nil) || wantErr == nil && got != want {
				t.Errorf("%q, strict %v: %q, %v, and the library's %q, %v", expression, strict, got, gotErr, want, wantErr)
			}
		}
	}
}
