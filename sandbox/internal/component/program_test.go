package component

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestWhatACommandComesTo(t *testing.T) {
	for command, want := range map[string]string{
		`true`:                             "0 after 0s",
		`/bin/false`:                       "1 after 0s",
		`fail`:                             "127 after 0s",
		`exit|3`:                           "3 after 0s",
		`sleep|2`:                          "0 after 2s",
		`sleep|1.5`:                        "0 after 1.5s",
		`sleep|1m|2s`:                      "0 after 1m2s",
		`sleep|infinity`:                   "never",
		`sleep|99999999999d`:               "never",
		`sleep|-1`:                         "unknown",
		`sleep`:                            "unknown",
		`nginx|-g|daemon off;`:             "unknown",
		`sh|-c|exit 7`:                     "7 after 0s",
		`sh|-c|exit 256`:                   "0 after 0s",
		`sh|-c|exit $CODE`:                 "unknown",
		`/bin/bash|-ec|false; exit 0`:      "1 after 0s",
		`sh|-c|false; exit`:                "1 after 0s",
		`sh|-c|false; true`:                "0 after 0s",
		`sh|-c|set -eu; false; true`:       "1 after 0s",
		`sh|-c|set -e; false && true; :`:   "0 after 0s",
		`sh|-c|sleep 2; exit 4`:            "4 after 2s",
		`sh|-c|sleep 2 && false || exit 4`: "4 after 2s",
		`sh|-c|false && exit 4`:            "1 after 0s",
		`sh|-c|true || exit 4`:             "0 after 0s",
		`sh|-c|--|sleep 10h`:               "0 after 10h0m0s",
		`sh|-c|# nothing; exit 1` + "\n" + `echo "a; exit 2" 'b && c'` + "\nsleep 1": "0 after 1s",
		`sh|-c|exit 1; ./never`:               "1 after 0s",
		`sh|-c|echo \"; exit 5`:               "5 after 0s",
		`sh|-c|while true; do sleep 30; done`: "unknown",
		`sh|-c|echo a | tee /tmp/a`:           "unknown",
		`sh|-c|sleep 1 & wait`:                "unknown",
		`sh|-c|echo "$(id)"; false`:           "1 after 0s",
		`sh|-c|echo 'open`:                    "unknown",
		`sh|script.sh`:                        "unknown",
		`sh`:                                  "unknown",
		`bash|--login|-c|exit 1`:              "unknown",
		`sh|-c|sleep infinity; exit 1`:        "never",
		"":                                    "unknown",
	} {
		var argv []string
		if command != "" {
			argv = strings.Split(command, "|")
			if strings.Contains(command, "||") {
				argv = strings.SplitN(command, "|", 3)
			}
		}
		if strings.Contains(command, "a | tee") {
			argv = []string{"sh", "-c", "echo a | tee /tmp/a"}
		}
		r, known := runOf(argv)
		got := "unknown"
		switch {
		case known && r.forever:
			got = "never"
		case known:
			got = fmt.Sprintf("%d after %s", r.code, r.takes)
		}
		if got != want {
			t.Errorf("%q: %s, want %s", argv, got, want)
		}
	}
}

func FuzzScripts(f *testing.F) {
	for _, s := range []string{"", "sleep 1; exit 2", `echo "a`, "a && b || c", "\\", "sleep 1e308"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, script string) {
		r, known := runOf([]string{"sh", "-c", script})
		if known && (r.takes < 0 || r.takes > 1<<62*time.Nanosecond || r.code < 0 || r.code > 255) {
			t.Errorf("%q: %+v", script, r)
		}
	})
}
