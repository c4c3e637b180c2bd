package manifest

import (
	"regexp"
	"strings"
)

// Here is all that is read from the text of an error of go.yaml.in/yaml, which
// gives nothing else. A test holds it to what the library says.

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// yamlSaid returns the line that an error of go.yaml.in/yaml names, if any, and
// what is wrong there.
func yamlSaid(msg string) (line, rest string, ok bool) {
	m := yamlLine.FindStringSubmatch(msg)
	if m == nil {
		return "", msg, false
	}
	return m[1], msg[len(m[0]):], true
}

// tooDeep reports whether go.yaml.in/yaml gave up on how deep a file is nested.
func tooDeep(msg string) bool { return strings.Contains(msg, "exceeded max depth") }
