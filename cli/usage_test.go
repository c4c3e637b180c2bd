package cli

import (
	"bytes"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// What a person types wrong is answered by one line that ends with what to
// type, whatever is wrong with it.
func TestWhatIsTypedWrongIsAnsweredByOneLine(t *testing.T) {
	unpack(t, "-- unit.yaml --\n{}\n-- repo/x.yaml --\n{}\n")
	for _, c := range []struct {
		args string
		want string // of the line
	}{
		{"gte", `there is no command "gte"; type: plumb get`},
		{"zzz", `there is no command "zzz"; type: plumb --help`},
		{"version", `there is no command "version"; type: plumb --help`},
		{"help gte", `there is no command "gte"; type: plumb get`},
		{"get a b c", `plumb get does not take "c"; type: plumb get [units|sources|all] [NAME]`},
		{"diff", "plumb diff needs more than that; type: plumb diff NAME [--path DIR | --revision REV]"},
		{"diff x --path a --revision b", "--path and --revision do not go together; type: plumb diff NAME"},
		{"build x --path a --revision b", "--path and --revision do not go together; type: plumb build NAME"},
		{"build -f x --revision b", "--filename and --revision do not go together; type: plumb build NAME"},
		{"build -f none.yaml --path repo", "open none.yaml: no such file or directory; name a file, or - for the standard input"},
		{"build -f - --path repo", "the standard input holds no unit"},
		{"tree a b", `plumb tree does not take "b"; type: plumb tree [KIND/]NAME`},
		{"trace web", `"web" is not KIND/NAME; type: plumb trace deployment/web`},
		{"rollback", "plumb rollback needs more than that; type: plumb rollback [KIND/]NAME [ID|REVISION]"},
		{"action web", `"web" is not KIND/NAME; type: plumb action deployment/web`},
		{"action deployment/web scale 3", `"3" is not PARAM=VALUE; type: plumb action deployment/web`},
		{"action deployment/../x restart", `"../x" is no name`},
		{"sync", "plumb sync needs more than that; type: plumb sync [KIND/]NAME"},
		{"sync x --timeout foo", "type: plumb sync --help"},
		{"serve x", `plumb serve does not take "x"; type: plumb serve`},
		{"migrate", "plumb migrate needs more than that; type: plumb migrate flux [--apply]"},
		{"migrate x", `"x" is none of flux; type: plumb migrate --help`},
		{"install x", `plumb install does not take "x"; type: plumb install --help`},
		{"get --foo", "unknown flag: --foo; type: plumb get --help"},
		{"get -o xml", `-o "xml" is none of wide, json, yaml, name; type: plumb get --help`},
		{"events -o name", `-o "name" is none of json, yaml; type: plumb events --help`},
		// A name that is none never becomes part of a request.
		{"get ../../../x", `"../../x" is no name: may not contain '/'; type: plumb get all -A`},
		{"get ..", `".." is no name: may not be '..'; type: plumb get all -A`},
		{"sync kustomization/../../../namespaces/x", `is no name: may not contain '/'`},
		{"sync kustomization/", "name is missing; type: plumb get all -A"},
		{"events source/..", `".." is no name`},
		{"trace secret/../../x", `"../../x" is no name`},
		{"trace secret a%2Fb", `"a%2Fb" is no name: may not contain '%'`},
		{"get x -n ../../x", `"../../x" is no namespace: may not contain '/'`},
		{"get x -o name -n ..", `".." is no namespace`},
		// Where there is no cluster.
		{"get", "connection refused; is that the right cluster? set KUBECONFIG, --kubeconfig or --context"},
		{"trace deployment/web", "connection refused; is that the right cluster? set KUBECONFIG, --kubeconfig or --context"},
		{"events", "is that the right cluster?"},
		{"diff x", "is that the right cluster?"},
	} {
		t.Run(c.args, func(t *testing.T) {
			got := plumb(t, strings.Fields(c.args)...)
			if got.code == 0 || got.out != "" || strings.Count(got.errOut, "\n") != 1 || !strings.HasPrefix(got.errOut, "plumb: ") ||
				!strings.Contains(got.errOut, c.want) || strings.Contains(got.errOut, `\t`) {
				t.Errorf("exit %d: %s%swant one line with: %s", got.code, got.out, got.errOut, c.want)
			}
		})
	}
}

func TestHelpShowsTheFlagsThatDecideWhatAUnitBecomes(t *testing.T) {
	for _, command := range []string{"build", "diff"} {
		got := plumb(t, command, "--help")
		for _, flag := range []string{"--no-cross-namespace-refs", "--no-remote-bases", "--strict-substitutions", "--override-manager"} {
			if got.code != 0 || strings.Count(got.out, flag+" ") < 1 {
				t.Errorf("plumb %s --help does not show %s", command, flag)
			}
		}
	}
	if got := plumb(t); got.code != 0 || !strings.Contains(got.out, "Look:") {
		t.Errorf("plumb alone: exit %d: %s%s", got.code, got.out, got.errOut)
	}
	if got := plumb(t, "help", "get"); got.code != 0 || !strings.Contains(got.out, "List units, sources or both") {
		t.Errorf("plumb help get: exit %d: %s%s", got.code, got.out, got.errOut)
	}
}

func TestMessagesAreCutOnlyForATerminal(t *testing.T) {
	long := strings.Repeat("what went wrong, ", 20) + "the end"
	list := []byte(`[{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: a, namespace: x, generation: 1},
  status: {observedGeneration: 1, conditions: [{type: Ready, status: "False", reason: BuildFailed, message: "` + long + `", observedGeneration: 1}]}}]`)
	for _, terminal := range []bool{false, true} {
		var out, errOut bytes.Buffer
		a := &app{io: genericiooptions.IOStreams{Out: &out, ErrOut: &errOut}, paint: newPaint(false), terminal: terminal}
		if err := (getOptions{}).print(a, items(t, list), false); err != nil {
			t.Fatal(err)
		}
		if whole := strings.Contains(out.String(), "the end"); whole == terminal {
			t.Errorf("on a terminal: %v, whole: %v:\n%s", terminal, whole, out.String())
		}
		if said := strings.Contains(errOut.String(), "-o wide"); said != terminal {
			t.Errorf("on a terminal: %v, told how to see all of it: %v", terminal, said)
		}
	}
}
