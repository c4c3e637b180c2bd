package component

import (
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A fate is what becomes of a container by its command.
type fate struct {
	takes   time.Duration
	forever bool
	code    int32 // the exit code
}

// runOf reads from a command how it runs: true, false, exit and sleep, and
// scripts of a shell that consist of these and of what only prints. known is
// false for every other.
func runOf(argv []string) (r fate, known bool) {
	if len(argv) == 0 {
		return r, false
	}
	switch path.Base(argv[0]) {
	case "sh", "ash", "bash", "dash":
		script, stops, ok := scriptOf(argv[1:])
		if !ok {
			return r, false
		}
		return runScript(script, stops)
	}
	s := shell{}
	known = s.command(argv)
	return s.fate, known
}

// scriptOf returns what a shell is given with -c, and whether it stops at the
// first command that fails.
func scriptOf(args []string) (script string, stops, ok bool) {
	for _, a := range args {
		switch {
		case a == "--":
		case strings.HasPrefix(a, "--"):
			return "", false, false
		case strings.HasPrefix(a, "-"):
			stops = stops || strings.Contains(a, "e")
			ok = ok || strings.Contains(a, "c")
		default:
			return a, stops, ok
		}
	}
	return "", false, false
}

// A shell is a script that runs.
type shell struct {
	fate
	stops bool // at the first command that fails
	ended bool
}

func runScript(script string, stops bool) (fate, bool) {
	words, ok := split(script)
	if !ok {
		return fate{}, false
	}
	s := shell{stops: stops}
	before := ";" // what comes before the command
	for len(words) > 0 && !s.ended {
		n := slices.IndexFunc(words, isSeparator)
		if n < 0 {
			n = len(words)
		}
		skip := before == "&&" && s.code != 0 || before == "||" && s.code == 0
		before = ";"
		if n < len(words) {
			before = words[n]
		}
		if n > 0 && !skip {
			if !s.command(words[:n]) {
				return fate{}, false
			}
			s.ended = s.ended || s.stops && s.code != 0 && before == ";"
		}
		words = words[min(n+1, len(words)):]
	}
	return s.fate, true
}

// command runs a command, if it is a known one.
func (s *shell) command(argv []string) (known bool) {
	name, args := path.Base(argv[0]), argv[1:]
	before := s.code
	s.code = 0
	switch name {
	case "true", ":", "echo", "printf", "date", "pwd", "whoami", "hostname", "uname":
	case "false":
		s.code = 1
	case "fail": // which no image has
		s.code = 127
	case "set":
		s.stops = s.stops || slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "-") && strings.Contains(a, "e") })
	case "exit":
		s.ended, s.code = true, before
		if len(args) > 0 {
			n, err := strconv.Atoi(args[0])
			s.code = int32(n & 0xff)
			return err == nil
		}
	case "sleep":
		return s.sleep(args)
	default:
		return false
	}
	return true
}

var units = map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}

func (s *shell) sleep(args []string) (known bool) {
	if len(args) == 0 {
		return false
	}
	for _, a := range args {
		unit := time.Second
		if n := len(a) - 1; n > 0 && units[a[n]] > 0 {
			unit, a = units[a[n]], a[:n]
		}
		n, err := strconv.ParseFloat(a, 64)
		if err != nil || n < 0 || math.IsNaN(n) {
			return false
		}
		if n*float64(unit) > float64(math.MaxInt64/4) {
			s.forever, s.ended = true, true
			return true
		}
		s.takes += time.Duration(n * float64(unit))
	}
	return true
}

func isSeparator(word string) bool { return word == ";" || word == "&&" || word == "||" }

// split returns the words of a script, and what separates commands as words of
// their own. It is not ok if there is more to the script than that: pipes,
// loops, subshells, jobs in the background.
func split(script string) (words []string, ok bool) {
	var word strings.Builder
	in := false // a word
	end := func() {
		if in {
			words = append(words, word.String())
		}
		word.Reset()
		in = false
	}
	for i := 0; i < len(script); i++ {
		c := script[i]
		two := script[i:min(i+2, len(script))]
		switch {
		case two == "&&" || two == "||":
			end()
			words = append(words, two)
			i++
		case c == ';' || c == '\n':
			end()
			words = append(words, ";")
		case c == '&' || c == '|' || c == '(' || c == ')' || c == '`':
			return nil, false
		case c == ' ' || c == '\t':
			end()
		case c == '#' && !in:
			for i+1 < len(script) && script[i+1] != '\n' {
				i++
			}
		case c == '\\' && i+1 < len(script):
			i++
			word.WriteByte(script[i])
			in = true
		case c == '\'' || c == '"':
			n := strings.IndexByte(script[i+1:], c)
			if n < 0 {
				return nil, false
			}
			quoted := script[i+1 : i+1+n]
			if c == '"' && strings.ContainsAny(quoted, "`\\") {
				return nil, false
			}
			word.WriteString(quoted)
			in = true
			i += n + 1
		default:
			word.WriteByte(c)
			in = true
		}
	}
	end()
	return words, true
}
